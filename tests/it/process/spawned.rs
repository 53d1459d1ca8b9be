//! One `servent run` process: started, watched, and never left behind. Tests and benches share it.

use rustix::process::{Pid, Signal, kill_process};
use std::io::{self, BufRead, BufReader, Read};
use std::net::SocketAddrV4;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// A servent prints what is waited for within this time.
const PRINT_TIMEOUT: Duration = Duration::from_secs(60);
/// Time from TERM to KILL. A servent stops within two seconds, on a machine that is not overloaded.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// A running servent. Dropping it stops the process and waits for its end.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    addr: SocketAddrV4,
    /// Lines of stdout and stderr.
    lines: Receiver<String>,
    /// Lines that were read and not waited for. The streams race: a log line may overtake the one on
    /// stdout.
    unclaimed: Vec<String>,
}

impl Process {
    /// Starts a `servent run` command and waits until it listens. The log level is `info`, which
    /// [`Process::wait_for`] needs, unless the command sets another.
    ///
    /// # Errors
    /// When it cannot be started, or ends or stays silent instead of listening.
    pub(crate) fn spawn(mut command: Command) -> io::Result<Process> {
        if command.get_envs().all(|(name, _)| name != "RUST_LOG") {
            command.env("RUST_LOG", "info");
        }
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let (sender, lines) = channel();
        let streams: [Option<Box<dyn Read + Send>>; 2] = [
            child.stdout.take().map(|out| Box::new(out) as _),
            child.stderr.take().map(|err| Box::new(err) as _),
        ];
        for stream in streams.into_iter().flatten() {
            let sender = sender.clone();
            // Ends with the process, whose end closes the stream.
            thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let _ = sender.send(line);
                }
            });
        }
        let unknown = SocketAddrV4::new([0, 0, 0, 0].into(), 0);
        let mut process = Process { child, addr: unknown, lines, unclaimed: Vec::new() };
        let line = process.wait_for("listening on ")?;
        process.addr = line
            .trim_start_matches("listening on ")
            .parse()
            .map_err(|_| io::Error::other(format!("a servent printed \"{line}\"")))?;
        Ok(process)
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddrV4 {
        self.addr
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line that contains `text`. Each line is returned once; earlier lines count.
    ///
    /// # Errors
    /// When the line does not come in time, or the process ends before.
    pub(crate) fn wait_for(&mut self, text: &str) -> io::Result<String> {
        if let Some(at) = self.unclaimed.iter().position(|line| line.contains(text)) {
            return Ok(self.unclaimed.remove(at));
        }
        let deadline = Instant::now() + PRINT_TIMEOUT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.contains(text) => return Ok(line),
                Ok(line) => self.unclaimed.push(line),
                Err(error) => {
                    let what = match error {
                        RecvTimeoutError::Timeout => "did not print",
                        RecvTimeoutError::Disconnected => "ended before it printed",
                    };
                    let said = self.unclaimed.join("\n");
                    let text = format!("a servent {what} \"{text}\"; what it did print:\n{said}");
                    return Err(io::Error::other(text));
                }
            }
        }
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn signal(&mut self, signal: Signal) -> io::Result<()> {
        // The id belongs to the child until it is reaped.
        if self.child.try_wait()?.is_none() {
            kill_process(Pid::from_child(&self.child), signal)?;
        }
        Ok(())
    }

    /// Asks it to stop and waits for its end.
    ///
    /// # Errors
    /// When it has to be killed, or does not end with success.
    pub(crate) fn stop(&mut self) -> io::Result<()> {
        self.signal(Signal::TERM)?;
        match self.wait()? {
            status if status.success() => Ok(()),
            status => Err(io::Error::other(format!("a servent ended with {status}"))),
        }
    }

    /// Waits for its end after a signal.
    ///
    /// # Errors
    /// When it does not end in time; it is killed then.
    pub(crate) fn wait(&mut self) -> io::Result<ExitStatus> {
        let deadline = Instant::now() + STOP_TIMEOUT;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                self.child.kill()?;
                self.child.wait()?;
                return Err(io::Error::other("a servent did not stop and had to be killed"));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Reads to the end of the output; the lines that were not waited for.
    pub(crate) fn rest(&mut self) -> Vec<String> {
        self.unclaimed.extend(self.lines.iter());
        std::mem::take(&mut self.unclaimed)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("stopping a servent: {error}");
        }
    }
}
