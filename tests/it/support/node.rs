//! A servent with the disk it believes in, as a node.

use servent::config::Config;
use servent::library::{Library, LibraryBuilder};
use servent::net::{self, Failure, Node};
use servent::rng::Rng;
use servent::servent::{
    ConnId, Event, FileDone, FileId, FileOp, Observation, Output, Servent, TxChunk,
};
use servent::time::Instant;
use servent::transfer::download::Against;
use servent::wire::ServentId;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddrV4;
use std::sync::Arc;

/// See the module documentation.
pub(crate) struct TestNode {
    pub(super) core: Servent,
    pub(super) events: Vec<Event>,
    pub(super) observations: Vec<Observation>,
    pub(super) disk: Disk,
    pub(super) upload_steps: Vec<UploadStep>,
    now: Instant,
    turn: usize,
    /// The chunk polled last is part of a file.
    sends_file: bool,
}

/// One step of an upload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UploadStep {
    /// The turn of the node it was taken in.
    pub(crate) turn: usize,
    pub(crate) conn: ConnId,
    /// Of the file.
    pub(crate) bytes: usize,
}

/// Files in memory.
#[derive(Default)]
pub(super) struct Disk {
    /// What the shared files contain, by number.
    contents: BTreeMap<u32, Vec<u8>>,
    open: BTreeMap<FileId, OpenFile>,
    /// What an earlier attempt left of the next download.
    pub(super) kept: Vec<u8>,
    /// Complete files of the name of every download.
    complete: Vec<Vec<u8>>,
    /// Partial files that turned out to be of other files.
    set_aside: Vec<Vec<u8>>,
    /// Finished downloads.
    pub(super) downloaded: Vec<Vec<u8>>,
}

enum OpenFile {
    Shared(u32),
    Partial(Vec<u8>),
}

impl TestNode {
    pub(super) fn new(
        config: Config,
        files: &[(u32, &str, Vec<u8>)],
        seed: u64,
        now: Instant,
    ) -> TestNode {
        config.validate().unwrap();
        let identity = ServentId::from_random(Rng::new(seed).fork().bytes16());
        let library =
            library(files.iter().map(|(number, name, bytes)| (*number, *name, bytes.len())));
        let contents = files.iter().map(|(number, _, bytes)| (*number, bytes.clone())).collect();
        TestNode {
            core: Servent::new(Arc::new(config), Arc::new(library), identity, seed, now),
            events: Vec::new(),
            observations: Vec::new(),
            disk: Disk { contents, ..Disk::default() },
            upload_steps: Vec::new(),
            now,
            turn: 0,
            sends_file: false,
        }
    }
}

impl Disk {
    /// Does a file operation at once.
    fn carry_out(&mut self, file: FileId, op: FileOp) -> Option<FileDone> {
        Some(match op {
            FileOp::OpenShared { number } => {
                self.open.insert(file, OpenFile::Shared(number));
                FileDone::Opened { size: self.contents[&number].len() as u64 }
            }
            FileOp::OpenPartial { have, .. } => {
                let kept = std::mem::take(&mut self.kept);
                assert_eq!(have, kept.len() as u64, "goes on with what is there");
                self.open.insert(file, OpenFile::Partial(kept));
                FileDone::Opened { size: have }
            }
            FileOp::SetAside { .. } => {
                let aside = match self.open.insert(file, OpenFile::Partial(Vec::new())) {
                    Some(OpenFile::Partial(bytes)) => bytes,
                    _ => std::mem::take(&mut self.kept),
                };
                self.set_aside.push(aside);
                FileDone::Opened { size: 0 }
            }
            FileOp::Compare { against, offset, bytes } => {
                FileDone::Compared { same: self.compare(file, against, offset, &bytes) }
            }
            FileOp::UseComplete => FileDone::Finished,
            FileOp::Write { offset, bytes } => {
                let Some(OpenFile::Partial(partial)) = self.open.get_mut(&file) else {
                    panic!("a write to a file that is not open for it")
                };
                assert_eq!(offset, partial.len() as u64, "writes come in order");
                partial.extend_from_slice(&bytes);
                FileDone::Written { bytes: bytes.len() as u64 }
            }
            FileOp::Sync => FileDone::Synced,
            FileOp::Finish => {
                let Some(OpenFile::Partial(bytes)) = self.open.remove(&file) else {
                    panic!("a finish of a file that is not open for it")
                };
                self.downloaded.push(bytes);
                FileDone::Finished
            }
            FileOp::Close => {
                self.open.remove(&file);
                return None;
            }
        })
    }

    fn compare(&mut self, file: FileId, against: Against, offset: u64, bytes: &[u8]) -> bool {
        let start = usize::try_from(offset).unwrap();
        let agrees = |file: &Vec<u8>| file[start.min(file.len())..].starts_with(bytes);
        match (against, self.open.get(&file)) {
            (Against::Complete { total }, _) => {
                self.complete.retain(|file| file.len() as u64 == total && agrees(file));
                !self.complete.is_empty()
            }
            (Against::Partial, Some(OpenFile::Partial(partial))) => agrees(partial),
            _ => panic!("a comparison with a file that is not open"),
        }
    }

    fn read_shared(&self, file: FileId, offset: u64, len: usize) -> &[u8] {
        let Some(OpenFile::Shared(number)) = self.open.get(&file) else {
            panic!("an upload from a file that is not open")
        };
        let start = usize::try_from(offset).unwrap();
        &self.contents[number][start..start + len]
    }

    /// Files open for upload.
    pub(super) fn open_shared(&self) -> usize {
        self.open.values().filter(|file| matches!(file, OpenFile::Shared(_))).count()
    }
}

impl Node for TestNode {
    type Conn = ConnId;
    type Outward = Infallible;

    fn slot(conn: ConnId) -> usize {
        conn.index()
    }

    fn handle_accepted(
        &mut self,
        now: Instant,
        remote: SocketAddrV4,
        local: SocketAddrV4,
    ) -> Option<ConnId> {
        self.core.handle_accepted(now, remote, local)
    }

    fn handle_connected(&mut self, now: Instant, conn: ConnId, local: SocketAddrV4) {
        self.core.handle_connected(now, conn, local);
    }

    fn handle_bytes(&mut self, now: Instant, conn: ConnId, bytes: &[u8]) {
        self.core.handle_bytes(now, conn, bytes);
    }

    fn handle_writable(&mut self, conn: ConnId) {
        self.core.handle_writable(conn);
    }

    fn handle_closed(&mut self, now: Instant, conn: ConnId, failure: Failure) {
        Node::handle_closed(&mut self.core, now, conn, failure);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.core.handle_timeout(now);
    }

    fn start_turn(&mut self, now: Instant) {
        self.now = now;
        self.turn += 1;
        self.core.start_turn();
    }

    fn poll_output(&mut self) -> Option<net::Output<ConnId, Infallible>> {
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Connect { conn, addr } => return Some(net::Output::Connect { conn, addr }),
                Output::Close { conn } => return Some(net::Output::Close { conn }),
                Output::Event(event) => self.events.push(event),
                Output::File { file, op } => {
                    if let Some(done) = self.disk.carry_out(file, op) {
                        self.core.handle_file(self.now, file, done);
                    }
                }
            }
        }
        self.observations.extend(std::iter::from_fn(|| self.core.poll_observation()));
        None
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<(ConnId, &[u8])> {
        let (conn, chunk) = self.core.poll_transmit(now)?;
        self.sends_file = matches!(chunk, TxChunk::File { .. });
        Some(match chunk {
            TxChunk::Bytes(bytes) => (conn, bytes),
            TxChunk::File { file, offset, len } => (conn, self.disk.read_shared(file, offset, len)),
        })
    }

    fn sent(&mut self, now: Instant, conn: ConnId, written: usize) {
        if self.sends_file {
            self.upload_steps.push(UploadStep { turn: self.turn, conn, bytes: written });
        }
        self.core.sent(now, conn, written);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        Node::poll_timeout(&self.core)
    }

    fn wants_turn(&self) -> bool {
        self.core.has_bulk_ready()
    }
}

/// A finished library of (number, name, size).
pub(crate) fn library<'a>(files: impl IntoIterator<Item = (u32, &'a str, usize)>) -> Library {
    let mut builder = LibraryBuilder::new();
    for (number, name, size) in files {
        builder.add(number, name, size as u64).unwrap();
    }
    std::iter::repeat_with(|| builder.step(100_000)).flatten().next().unwrap()
}

/// The two files the conformance checklist wants shared.
pub(crate) fn shared_files() -> Vec<(u32, &'static str, Vec<u8>)> {
    let notes = b"Notes on a free system.\n".repeat(100);
    vec![(7, "hello.txt", b"hello".to_vec()), (8, "free bsd notes.txt", notes)]
}
