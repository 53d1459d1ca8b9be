//! Real processes for the tests: started in a folder of their own, watched, never left behind.

mod spawned;

use rustix::process::Signal;
use spawned::Process;
use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::time::{Duration, Instant};

/// Longest wait for anything; reaching it is a failure even on an overloaded machine.
const WAIT_TIMEOUT: Duration = Duration::from_secs(120);

/// A temporary folder that is also home, configuration and state of what runs in it.
pub(crate) struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Place {
        Place { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A folder with these files in it.
    pub(crate) fn share(&self, name: &str, files: &[(&str, &[u8])]) -> PathBuf {
        let folder = self.path(name);
        std::fs::create_dir_all(&folder).unwrap();
        for (file, bytes) in files {
            std::fs::write(folder.join(file), bytes).unwrap();
        }
        folder
    }

    /// The program, without anything of the caller's surroundings in its way.
    pub(crate) fn command(&self) -> Command {
        let mut command = servent::testnet::command(Path::new(env!("CARGO_BIN_EXE_servent")));
        command.env("HOME", self.folder.path()).env("RUST_LOG", "info");
        command.env_remove("XDG_CONFIG_HOME").env_remove("XDG_STATE_HOME");
        command.current_dir(self.folder.path());
        command
    }

    /// Runs a one-shot command to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command().args(args).output().unwrap()
    }

    /// Starts `servent run` on a free port of 127.0.0.1 and waits until it listens.
    pub(crate) fn start(&self, args: &[&str]) -> Running {
        let mut command = self.command();
        command.args(["run", "--listen", "127.0.0.1:0"]).args(args);
        Running::start(command)
    }
}

/// A `servent run` that listens. Dropping it stops it.
pub(crate) struct Running {
    process: Process,
    pub(crate) addr: SocketAddrV4,
}

impl Running {
    pub(crate) fn start(command: Command) -> Running {
        let process = Process::spawn(command).unwrap();
        let addr = process.addr();
        Running { process, addr }
    }

    pub(crate) fn host(&self) -> String {
        self.addr.to_string()
    }

    /// Waits until it prints a line with `text` in it.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        self.process.wait_for(text).unwrap()
    }

    pub(crate) fn signal(&mut self, signal: Signal) {
        self.process.signal(signal).unwrap();
    }

    /// Waits for the end, and says how it was and how long it took.
    pub(crate) fn wait(&mut self) -> (ExitStatus, Duration) {
        let begun = Instant::now();
        let status = self.process.wait().unwrap();
        (status, begun.elapsed())
    }

    /// What it printed and nobody waited for.
    pub(crate) fn rest(&mut self) -> Vec<String> {
        self.process.rest()
    }

    /// A plain connection to its port.
    pub(crate) fn dial(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(WAIT_TIMEOUT)).unwrap();
        stream
    }

    /// A link: the hello is done.
    pub(crate) fn link(&self) -> TcpStream {
        let mut stream = self.dial();
        stream.write_all(b"GNUTELLA CONNECT/0.4\n\n").unwrap();
        let mut answer = [0; 13];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"GNUTELLA OK\n\n");
        stream
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Bytes of memory it has resident.
    pub(crate) fn resident_bytes(&self) -> u64 {
        servent::testnet::memory(self.process.id(), "VmRSS").unwrap()
    }
}

/// Reads one descriptor: its header and payload in one piece.
pub(crate) fn read_descriptor(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = vec![0; 23];
    stream.read_exact(&mut bytes).unwrap();
    let len = u32::from_le_bytes(bytes[19..23].try_into().unwrap()) as usize;
    bytes.resize(23 + len, 0);
    stream.read_exact(&mut bytes[23..]).unwrap();
    bytes
}

/// Reads descriptors until one of `kind` comes.
pub(crate) fn read_kind(stream: &mut TcpStream, kind: u8) -> Vec<u8> {
    loop {
        let descriptor = read_descriptor(stream);
        if descriptor[16] == kind {
            return descriptor;
        }
    }
}

/// Frames a descriptor.
pub(crate) fn descriptor(guid: u8, kind: u8, ttl: u8, hops: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![guid; 16];
    bytes.extend_from_slice(&[kind, ttl, hops]);
    bytes.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// The payload of a Query.
pub(crate) fn query(text: &str) -> Vec<u8> {
    [&[1, 0], text.as_bytes(), &[0]].concat()
}

/// Tries again until `attempt` gives something; each attempt takes its own time.
pub(crate) fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + WAIT_TIMEOUT;
    while Instant::now() < deadline {
        if let Some(value) = attempt() {
            return value;
        }
    }
    panic!("this did not come to be: {what}");
}

/// Standard output as lines.
pub(crate) fn lines(output: &Output) -> Vec<String> {
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// Standard error as text.
pub(crate) fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The exit code, with what was said if it is another than expected.
#[track_caller]
pub(crate) fn assert_code(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{} {}", lines(output).join("\n"), told(output));
}

/// The names in a folder, sorted.
pub(crate) fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
