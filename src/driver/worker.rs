//! The worker: a thread that does what may block on a disk, one thing after the other in the order it
//! was asked. What it has done wakes the loop.
//!
//! The order is a promise: what is stored before an operation on a file is begun is on the disk before
//! that operation.

use super::partial::PartialFile;
use super::share::{ShareRoot, open_shared};
use crate::servent::{FileDone, FileId, FileOp};
use crate::transfer::download::{DiskFault, Kept};
use mio::Waker;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::SystemTime;

/// Work of the driver's owner.
pub type Job = Box<dyn FnOnce() -> JobDone + Send>;

/// What came of a [`Job`].
#[derive(Debug)]
pub enum JobDone {
    /// Something was written.
    Stored(io::Result<()>),
    /// What there is of a file to be downloaded: the finished file, if it is one that an earlier run did
    /// not note, by [`PartialFile::finished_as`]; and what [`PartialFile::look_for`] found.
    Looked(io::Result<Box<Looked>>),
}

/// See [`JobDone::Looked`].
pub type Looked = (Option<(PathBuf, u64)>, (PartialFile, Kept));

/// What the owner is told of a download's file.
#[derive(Debug)]
pub(super) enum FileNews {
    /// It is complete, and its bytes come from this many servents.
    Saved { path: PathBuf, servents: usize },
    /// It cannot be read or written; a sentence says why.
    Failed(String),
    /// It was opened, or made: its path, device and inode.
    Begun { path: PathBuf, inode: (u64, u64) },
}

/// A shared file that was opened.
#[derive(Debug)]
pub(super) struct SharedFile {
    pub(super) file: File,
    pub(super) size: u64,
    /// Its modification time when it was opened.
    pub(super) written: SystemTime,
}

/// Something the worker has done.
#[derive(Debug)]
pub(super) enum Done {
    /// An operation on the file of a download.
    Operated { file: FileId, done: FileDone, news: Option<FileNews> },
    /// A shared file was opened, or not.
    Opened { file: FileId, opened: io::Result<SharedFile> },
    /// Work of the owner.
    Job { ticket: u64, done: JobDone },
}

enum Task {
    Expect {
        file: FileId,
        partial: Box<PartialFile>,
    },
    Operate {
        file: FileId,
        op: FileOp,
    },
    Open {
        file: FileId,
        root: Arc<ShareRoot>,
        path: PathBuf,
    },
    Job {
        ticket: u64,
        job: Job,
    },
    /// Everything asked before is done.
    Settle(Sender<()>),
}

/// The thread, begun when it is first needed.
pub(super) struct Worker {
    waker: Arc<Waker>,
    place: Place,
    done: (Sender<Done>, Receiver<Done>),
}

/// Where the work is done.
enum Place {
    Nowhere,
    Thread(Sender<Task>, JoinHandle<()>),
    /// No thread could be started: the loop does it itself.
    Loop(Bench),
}

impl Worker {
    pub(super) fn new(waker: Arc<Waker>) -> Worker {
        Worker { waker, place: Place::Nowhere, done: channel() }
    }

    /// The download that uses `file` writes to `partial`.
    pub(super) fn expect(&mut self, file: FileId, partial: PartialFile) {
        self.ask(Task::Expect { file, partial: Box::new(partial) });
    }

    /// An operation on the file of a download.
    pub(super) fn operate(&mut self, file: FileId, op: FileOp) {
        self.ask(Task::Operate { file, op });
    }

    /// Opens a shared file.
    pub(super) fn open(&mut self, file: FileId, root: Arc<ShareRoot>, path: PathBuf) {
        self.ask(Task::Open { file, root, path });
    }

    /// Work of the owner; `ticket` names it when it is done.
    pub(super) fn run(&mut self, ticket: u64, job: Job) {
        self.ask(Task::Job { ticket, job });
    }

    /// Waits until everything asked before is done.
    pub(super) fn settle(&self) {
        if let Place::Thread(tasks, _) = &self.place {
            let (sender, receiver) = channel();
            let _ = tasks.send(Task::Settle(sender));
            let _ = receiver.recv();
        }
    }

    /// The oldest thing done and not taken yet.
    pub(super) fn next(&self) -> Option<Done> {
        self.done.1.try_recv().ok()
    }

    fn ask(&mut self, task: Task) {
        if matches!(self.place, Place::Nowhere) {
            self.place = match self.begin() {
                Ok((tasks, thread)) => Place::Thread(tasks, thread),
                Err(error) => {
                    log::warn!("no thread for the disk ({error}): links wait for it instead");
                    Place::Loop(Bench::default())
                }
            };
        }
        match &mut self.place {
            Place::Nowhere => {}
            // Fails only if the thread has panicked, which nothing in it may.
            Place::Thread(tasks, _) => drop(tasks.send(task)),
            Place::Loop(bench) => {
                if let Some(done) = bench.work(task) {
                    let _ = self.done.0.send(done);
                    let _ = self.waker.wake();
                }
            }
        }
    }

    fn begin(&self) -> io::Result<(Sender<Task>, JoinHandle<()>)> {
        let (tasks, asked) = channel::<Task>();
        let (done, waker) = (self.done.0.clone(), Arc::clone(&self.waker));
        let thread = thread::Builder::new().name("disk".into()).spawn(move || {
            let mut bench = Bench::default();
            for task in asked {
                if let Some(it) = bench.work(task) {
                    // Both fail only when the loop is gone.
                    let _ = done.send(it);
                    let _ = waker.wake();
                }
            }
        })?;
        Ok((tasks, thread))
    }
}

/// Everything asked is done before the program ends.
impl Drop for Worker {
    fn drop(&mut self) {
        if let Place::Thread(tasks, thread) = std::mem::replace(&mut self.place, Place::Nowhere) {
            drop(tasks);
            let _ = thread.join();
        }
    }
}

/// Files of downloads, and what is done with them.
#[derive(Default)]
struct Bench {
    files: HashMap<FileId, Box<PartialFile>>,
}

impl Bench {
    fn work(&mut self, task: Task) -> Option<Done> {
        match task {
            Task::Expect { file, partial } => {
                self.files.insert(file, partial);
                None
            }
            Task::Operate { file, op } => self.operate(file, op),
            Task::Open { file, root, path } => {
                let opened = open_shared(&root, &path).and_then(|(file, size)| {
                    let written = file.metadata()?.modified()?;
                    Ok(SharedFile { file, size, written })
                });
                let warn = |error: &io::Error| {
                    log::warn!("cannot open the shared file {}: {error}", path.display());
                };
                Some(Done::Opened { file, opened: opened.inspect_err(warn) })
            }
            Task::Job { ticket, job } => Some(Done::Job { ticket, done: job() }),
            Task::Settle(sender) => {
                let _ = sender.send(());
                None
            }
        }
    }

    fn operate(&mut self, file: FileId, op: FileOp) -> Option<Done> {
        if matches!(op, FileOp::Close) {
            if let Some(partial) = self.files.remove(&file) {
                partial.close();
            }
            return None;
        }
        let Some(partial) = self.files.get_mut(&file) else {
            let done = FileDone::Fault(DiskFault::Failed);
            return Some(Done::Operated { file, done, news: None });
        };
        let mut news = None;
        let done = match op {
            FileOp::OpenPartial { have, total } => partial.open(have, total).map(|()| {
                news = partial.begun().map(|(path, inode)| FileNews::Begun { path, inode });
                FileDone::Opened { size: have }
            }),
            FileOp::Write { offset, bytes } => partial
                .write(offset, &bytes)
                .map(|()| FileDone::Written { bytes: bytes.len() as u64 }),
            FileOp::SetAside { total } => partial.set_aside(total).map(|()| {
                news = partial.begun().map(|(path, inode)| FileNews::Begun { path, inode });
                FileDone::Opened { size: 0 }
            }),
            FileOp::Compare { against, offset, bytes } => {
                partial.compare(against, offset, &bytes).map(|same| FileDone::Compared { same })
            }
            FileOp::Sync => partial.sync().map(|()| FileDone::Synced),
            FileOp::Finish => partial.finish().map(|(path, servents)| {
                news = Some(FileNews::Saved { path, servents });
                FileDone::Finished
            }),
            FileOp::UseComplete => partial.use_complete().map(|path| {
                news = Some(FileNews::Saved { path, servents: 1 });
                FileDone::Finished
            }),
            FileOp::OpenShared { .. } | FileOp::Close => return None,
        };
        let done = done.unwrap_or_else(|error| {
            let place = partial.path().unwrap_or(partial.folder()).display();
            news = Some(FileNews::Failed(format!("cannot write {place}: {error}")));
            FileDone::Fault(fault(&error))
        });
        Some(Done::Operated { file, done, news })
    }
}

fn fault(error: &io::Error) -> DiskFault {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            DiskFault::Full
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => DiskFault::Denied,
        _ => DiskFault::Failed,
    }
}
