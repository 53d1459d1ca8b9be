//! One `servent run` process: started, watched, and never left behind.

use rustix::process::{Pid, Signal, kill_process};
use std::io::{self, BufRead, BufReader, Read};
use std::net::SocketAddrV4;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// A servent that does not say what is expected within this time is given up.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// After TERM it has this long before it is killed; it promises two seconds.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// A running servent. Dropping it stops the process and waits for its end.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    addr: SocketAddrV4,
    /// What it prints, both streams, line by line.
    lines: Receiver<String>,
}

impl Process {
    /// Starts the running binary as a servent on a free port of 127.0.0.1 and waits until it
    /// listens. `neighbour` is whom it links with.
    pub(super) fn start(
        share: &Path,
        state: &Path,
        neighbour: Option<SocketAddrV4>,
    ) -> io::Result<Process> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["run", "--listen", "127.0.0.1:0", "--links", "0"]);
        command.arg("--share").arg(share).arg("--state").arg(state);
        if let Some(neighbour) = neighbour {
            command.args(["--connect", &neighbour.to_string()]);
        }
        // What is read from it must not depend on the caller's surroundings.
        command.env("RUST_LOG", "info").env("XDG_CONFIG_HOME", state);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
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
        let mut process = Process { child, addr: unknown, lines };
        let line = process.wait_for("listening on ")?;
        process.addr = line
            .trim_start_matches("listening on ")
            .parse()
            .map_err(|_| io::Error::other(format!("a servent printed \"{line}\"")))?;
        Ok(process)
    }

    /// Where it listens.
    pub(super) fn addr(&self) -> SocketAddrV4 {
        self.addr
    }

    /// Waits for a line that contains `text`.
    pub(super) fn wait_for(&self, text: &str) -> io::Result<String> {
        let deadline = Instant::now() + START_TIMEOUT;
        let mut last = String::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.contains(text) => return Ok(line),
                Ok(line) => last = line,
                Err(error) => {
                    let what = match error {
                        RecvTimeoutError::Timeout => "did not print",
                        RecvTimeoutError::Disconnected => "ended before it printed",
                    };
                    let text = format!("a servent {what} \"{text}\"; its last line was: {last}");
                    return Err(io::Error::other(text));
                }
            }
        }
    }

    /// Asks it to stop and waits for its end.
    pub(super) fn stop(&mut self) -> io::Result<()> {
        if self.child.try_wait()?.is_none() {
            // It was not waited for yet, so the id is still its own.
            kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        }
        let deadline = Instant::now() + STOP_TIMEOUT;
        while self.child.try_wait()?.is_none() {
            if Instant::now() >= deadline {
                self.child.kill()?;
                self.child.wait()?;
                return Err(io::Error::other(
                    "a servent had to be killed: it did not stop on TERM",
                ));
            }
            thread::sleep(Duration::from_millis(5));
        }
        match self.child.wait()? {
            status if status.success() => Ok(()),
            status => Err(io::Error::other(format!("a servent ended with {status}"))),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            log::debug!("stopping a servent: {error}");
        }
    }
}
