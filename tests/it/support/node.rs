//! A core with the disk it believes in.

use servent::config::Config;
use servent::library::{Library, LibraryBuilder};
use servent::rng::Rng;
use servent::servent::{Event, FileDone, FileId, FileOp, Observation, Servent};
use servent::time::Instant;
use servent::transfer::download::Against;
use servent::wire::ServentId;
use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::sync::Arc;

pub(super) struct Node {
    pub(super) core: Servent,
    pub(super) addr: SocketAddrV4,
    pub(super) alive: bool,
    pub(super) events: Vec<Event>,
    pub(super) observations: Vec<Observation>,
    /// What its shared files contain, by number.
    pub(super) contents: BTreeMap<u32, Vec<u8>>,
    open: BTreeMap<FileId, OpenFile>,
    /// What an earlier attempt left of the next download.
    pub(super) kept: Vec<u8>,
    /// Complete files of the name of every download.
    pub(super) complete: Vec<Vec<u8>>,
    /// Partial files that turned out to be of other files.
    pub(super) set_aside: Vec<Vec<u8>>,
    /// Finished downloads.
    pub(super) downloaded: Vec<Vec<u8>>,
}

enum OpenFile {
    Shared(u32),
    Partial(Vec<u8>),
}

impl Node {
    pub(super) fn new(
        addr: SocketAddrV4,
        config: Config,
        files: &[(u32, &str, Vec<u8>)],
        seed: u64,
        now: Instant,
    ) -> Node {
        config.validate().unwrap();
        let identity = ServentId::from_random(Rng::new(seed).fork().bytes16());
        let library =
            library(files.iter().map(|(number, name, bytes)| (*number, *name, bytes.len())));
        let core = Servent::new(Arc::new(config), Arc::new(library), identity, seed, now);
        Node {
            core,
            addr,
            alive: true,
            events: Vec::new(),
            observations: Vec::new(),
            contents: files.iter().map(|(number, _, bytes)| (*number, bytes.clone())).collect(),
            open: BTreeMap::new(),
            kept: Vec::new(),
            complete: Vec::new(),
            set_aside: Vec::new(),
            downloaded: Vec::new(),
        }
    }

    /// Does a file operation at once and reports it.
    pub(super) fn do_file_op(&mut self, now: Instant, file: FileId, op: FileOp) {
        let done = match op {
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
                let start = usize::try_from(offset).unwrap();
                let agrees = |file: &Vec<u8>| file[start.min(file.len())..].starts_with(&bytes);
                let same = match (against, self.open.get(&file)) {
                    (Against::Complete { total }, _) => {
                        self.complete.retain(|file| file.len() as u64 == total && agrees(file));
                        !self.complete.is_empty()
                    }
                    (Against::Partial, Some(OpenFile::Partial(partial))) => agrees(partial),
                    _ => panic!("a comparison with a file that is not open"),
                };
                FileDone::Compared { same }
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
                return;
            }
        };
        self.core.handle_file(now, file, done);
    }

    /// Files open for upload.
    pub(super) fn open_shared(&self) -> usize {
        self.open.values().filter(|file| matches!(file, OpenFile::Shared(_))).count()
    }
}

/// A finished part of an open shared file.
pub(super) fn read_shared(node: &NodeFiles<'_>, file: FileId, offset: u64, len: usize) -> Vec<u8> {
    let Some(OpenFile::Shared(number)) = node.open.get(&file) else {
        panic!("an upload from a file that is not open")
    };
    let start = usize::try_from(offset).unwrap();
    node.contents[number][start..start + len].to_vec()
}

/// A node's files, apart from its core.
pub(super) struct NodeFiles<'a> {
    contents: &'a BTreeMap<u32, Vec<u8>>,
    open: &'a BTreeMap<FileId, OpenFile>,
}

impl Node {
    /// The core and the files it may ask for, to be used at the same time.
    pub(super) fn split(&mut self) -> (&mut Servent, NodeFiles<'_>) {
        (&mut self.core, NodeFiles { contents: &self.contents, open: &self.open })
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
