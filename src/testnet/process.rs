//! One `servent run` process: started, watched, and never left behind.

use rustix::process::{Pid, Signal, kill_process};
use std::io::{self, BufRead, BufReader, Read};
use std::net::SocketAddrV4;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// A servent that does not say what is expected within this time is given up.
const PATIENCE: Duration = Duration::from_secs(60);
/// After TERM it has this long before it is killed. It promises two seconds, on a machine that has
/// time for it.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// A running servent. Dropping it stops the process and waits for its end.
#[derive(Debug)]
pub struct Process {
    child: Child,
    addr: SocketAddrV4,
    /// What it prints, both streams, line by line.
    lines: Receiver<String>,
    /// Lines that came and were not waited for. The streams race: a log line may well overtake
    /// the one on stdout.
    passed: Vec<String>,
}

/// A command for the program `exe` that no `SERVENT_…` variable of the caller's changes.
pub fn command(exe: &Path) -> Command {
    let mut command = Command::new(exe);
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"SERVENT_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// A figure of a process's memory in bytes, by its name in `/proc`: `VmRSS` is what is resident,
/// `VmHWM` the most that was. `None` where the system does not tell.
pub fn memory(pid: u32, what: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let figure = |line: &str| Some(line.strip_prefix(what)?.strip_prefix(':')?.trim().to_owned());
    let figure = status.lines().find_map(figure)?;
    figure.strip_suffix("kB")?.trim_end().parse::<u64>().ok()?.checked_mul(1024)
}

impl Process {
    /// Starts a `servent run` command and waits until it listens. Its output is taken over, its
    /// log level set to what [`Process::wait_for`] needs unless the command sets its own.
    ///
    /// # Errors
    /// When it cannot be started, or ends or stays silent instead of listening.
    pub fn spawn(mut command: Command) -> io::Result<Process> {
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
        let mut process = Process { child, addr: unknown, lines, passed: Vec::new() };
        let line = process.wait_for("listening on ")?;
        process.addr = line
            .trim_start_matches("listening on ")
            .parse()
            .map_err(|_| io::Error::other(format!("a servent printed \"{line}\"")))?;
        Ok(process)
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddrV4 {
        self.addr
    }

    /// Its process id, its own until it was waited for.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line that contains `text`. Each line is given out once; one that came earlier
    /// counts.
    ///
    /// # Errors
    /// When it does not come in time, or the process ends before.
    pub fn wait_for(&mut self, text: &str) -> io::Result<String> {
        if let Some(at) = self.passed.iter().position(|line| line.contains(text)) {
            return Ok(self.passed.remove(at));
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.contains(text) => return Ok(line),
                Ok(line) => self.passed.push(line),
                Err(error) => {
                    let what = match error {
                        RecvTimeoutError::Timeout => "did not print",
                        RecvTimeoutError::Disconnected => "ended before it printed",
                    };
                    let said = self.passed.join("\n");
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
    pub fn signal(&mut self, signal: Signal) -> io::Result<()> {
        // As long as it was not waited for, the id is its own.
        if self.child.try_wait()?.is_none() {
            kill_process(Pid::from_child(&self.child), signal)?;
        }
        Ok(())
    }

    /// Asks it to stop and waits for its end.
    ///
    /// # Errors
    /// When it has to be killed, or does not end with success.
    pub fn stop(&mut self) -> io::Result<()> {
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
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
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

    /// Lines it has printed that were not waited for, to the end of its output.
    pub fn rest(&mut self) -> Vec<String> {
        self.passed.extend(self.lines.iter());
        std::mem::take(&mut self.passed)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            log::debug!("stopping a servent: {error}");
        }
    }
}
