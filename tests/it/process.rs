//! Real processes for the tests: each has a home folder of its own, and none outlives its test.

mod spawned;

use rustix::process::Signal;
use spawned::Process;
use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Longest wait for anything; reaching it is a failure even on an overloaded machine.
const WAIT_TIMEOUT: Duration = Duration::from_secs(120);

/// Folder of the control sockets in a home.
const RUNTIME: &str = "run";

/// A temporary folder that serves as home directory, configuration, state and session.
pub(crate) struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    pub(crate) fn new() -> Home {
        let home = Home { folder: tempfile::tempdir().unwrap() };
        std::fs::create_dir(home.path(RUNTIME)).unwrap();
        home
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

    /// The program, independent of the caller's environment.
    pub(crate) fn command(&self) -> Command {
        let mut command = servent::testnet::command(Path::new(env!("CARGO_BIN_EXE_servent")));
        command.env("HOME", self.folder.path()).env("RUST_LOG", "info");
        command.env_remove("XDG_CONFIG_HOME").env_remove("XDG_STATE_HOME");
        command.env("XDG_RUNTIME_DIR", self.path(RUNTIME));
        command.current_dir(self.folder.path());
        command
    }

    /// Runs a one-shot command to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command().args(args).output().unwrap()
    }

    /// Starts `servent run` on a free port of 127.0.0.1 and waits until it listens. One-shot commands do
    /// not find it by themselves: its control socket is not in the usual place.
    pub(crate) fn start(&self, args: &[&str]) -> Running {
        let mut command = self.command();
        command.args(["run", "--listen", "127.0.0.1:0"]).args(args);
        command
            .env("SERVENT_CONTROL", self.path(RUNTIME).join(Uuid::new_v4().simple().to_string()));
        Running::start(command)
    }

    /// The same with its control socket in the usual place, where one-shot commands find it.
    pub(crate) fn serve(&self, args: &[&str]) -> Running {
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

    /// Waits for the end; the exit status, and how long it took.
    pub(crate) fn wait(&mut self) -> (ExitStatus, Duration) {
        let begun = Instant::now();
        let status = self.process.wait().unwrap();
        (status, begun.elapsed())
    }

    /// Lines it printed that no test waited for.
    pub(crate) fn rest(&mut self) -> Vec<String> {
        self.process.rest()
    }

    /// A plain connection to its port.
    pub(crate) fn dial(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(WAIT_TIMEOUT)).unwrap();
        stream
    }

    /// A link, after its handshake.
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

/// Reads an HTTP head with its blank line, or what comes of it before the connection closes.
pub(crate) fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// Reads one descriptor: header and payload.
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

/// Repeats `attempt` until it returns a value. An attempt waits by itself, so there is no pause.
pub(crate) fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + WAIT_TIMEOUT;
    while Instant::now() < deadline {
        if let Some(value) = attempt() {
            return value;
        }
    }
    panic!("not within {WAIT_TIMEOUT:?}: {what}");
}

/// Standard output as lines.
pub(crate) fn lines(output: &Output) -> Vec<String> {
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// Standard error as text.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Asserts the exit code; a failure shows the output.
#[track_caller]
pub(crate) fn assert_code(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{} {}", lines(output).join("\n"), stderr(output));
}

/// The names in a folder, sorted.
pub(crate) fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
