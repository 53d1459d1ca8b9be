//! Open files: shared files that are being uploaded, partial files of downloads.

use super::index::SharedIndex;
use super::partial::PartialFile;
use super::share::open_shared;
use crate::servent::{FileDone, FileId, FileOp};
use crate::transfer::download::DiskFault;
use crate::transfer::upload::OpenError;
use mio::net::TcpStream;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::time::SystemTime;

/// The files behind the core's [`FileId`]s.
#[derive(Debug, Default)]
pub(super) struct Disk {
    files: HashMap<FileId, OpenFile>,
    ended: HashMap<FileId, Ended>,
}

/// The final state of a download's file.
#[derive(Debug)]
pub(super) enum Ended {
    /// It is complete, and its bytes come from this many servents.
    Saved { path: PathBuf, servents: usize },
    /// It cannot be read or written; a sentence says why.
    Failed(String),
}

#[derive(Debug)]
enum OpenFile {
    Shared {
        file: File,
        /// Its modification time when it was opened.
        written: SystemTime,
    },
    Partial(Box<PartialFile>),
}

impl Disk {
    /// The download that uses `id` writes to `partial`.
    pub(super) fn expect_download(&mut self, id: FileId, partial: PartialFile) {
        self.files.insert(id, OpenFile::Partial(Box::new(partial)));
    }

    /// The final state of a download's file; returned once.
    pub(super) fn take_ended(&mut self, id: FileId) -> Option<Ended> {
        self.ended.remove(&id)
    }

    /// Does one operation; shared files are those of `index`. `None`: nothing is to be reported.
    pub(super) fn operate(
        &mut self,
        id: FileId,
        op: FileOp,
        index: &SharedIndex,
    ) -> Option<FileDone> {
        if let FileOp::OpenShared { number } = op {
            return Some(self.open_shared(id, number, index));
        }
        if matches!(op, FileOp::Close) {
            if let Some(OpenFile::Partial(partial)) = self.files.remove(&id) {
                partial.close();
            }
            return None;
        }
        let Some(OpenFile::Partial(partial)) = self.files.get_mut(&id) else {
            return Some(FileDone::Fault(DiskFault::Failed));
        };
        let done = match op {
            FileOp::OpenPartial { have, total } => {
                partial.open(have, total).map(|()| FileDone::Opened { size: have })
            }
            FileOp::Write { offset, bytes } => partial
                .write(offset, &bytes)
                .map(|()| FileDone::Written { bytes: bytes.len() as u64 }),
            FileOp::SetAside { total } => {
                partial.set_aside(total).map(|()| FileDone::Opened { size: 0 })
            }
            FileOp::Compare { against, offset, bytes } => {
                partial.compare(against, offset, &bytes).map(|same| FileDone::Compared { same })
            }
            FileOp::Sync => partial.sync().map(|()| FileDone::Synced),
            FileOp::Finish => partial.finish().map(|(path, servents)| {
                self.ended.insert(id, Ended::Saved { path, servents });
                FileDone::Finished
            }),
            FileOp::UseComplete => partial.use_complete().map(|path| {
                self.ended.insert(id, Ended::Saved { path, servents: 1 });
                FileDone::Finished
            }),
            FileOp::OpenShared { .. } | FileOp::Close => return None,
        };
        Some(done.unwrap_or_else(|error| {
            let place = partial.path().unwrap_or(partial.folder()).display();
            self.ended.insert(id, Ended::Failed(format!("cannot write {place}: {error}")));
            FileDone::Fault(fault(&error))
        }))
    }

    fn open_shared(&mut self, id: FileId, number: u32, index: &SharedIndex) -> FileDone {
        let Some((root, path)) = index.locate(number) else {
            return FileDone::OpenFailed(OpenError::Gone);
        };
        match open_shared(root, &path) {
            Ok((file, size)) => match file.metadata().and_then(|meta| meta.modified()) {
                Ok(written) => {
                    self.files.insert(id, OpenFile::Shared { file, written });
                    FileDone::Opened { size }
                }
                Err(error) => FileDone::OpenFailed(open_error(&error)),
            },
            Err(error) => {
                log::warn!("cannot open the shared file {}: {error}", path.display());
                FileDone::OpenFailed(open_error(&error))
            }
        }
    }

    /// Sends a range of a shared file to a socket. `Ok(None)`: the file ends before the range, or was
    /// modified since it was opened, so its bytes may belong to another version.
    pub(super) fn send(
        &self,
        id: FileId,
        offset: u64,
        len: usize,
        stream: &mut TcpStream,
        buffer: &mut [u8],
    ) -> io::Result<Option<usize>> {
        let Some(OpenFile::Shared { file, written }) = self.files.get(&id) else {
            return Err(io::Error::other("the file is not open"));
        };
        if file.metadata()?.modified()? != *written {
            return Ok(None);
        }
        match copy(file, offset, len, stream, buffer)? {
            0 => Ok(None),
            sent => Ok(Some(sent)),
        }
    }
}

/// Copies within the kernel, from the page cache to the socket.
#[cfg(target_os = "linux")]
fn copy(
    file: &File,
    mut offset: u64,
    len: usize,
    stream: &mut TcpStream,
    _buffer: &mut [u8],
) -> io::Result<usize> {
    Ok(rustix::fs::sendfile(stream, file, Some(&mut offset), len)?)
}

#[cfg(not(target_os = "linux"))]
fn copy(
    file: &File,
    offset: u64,
    len: usize,
    stream: &mut TcpStream,
    buffer: &mut [u8],
) -> io::Result<usize> {
    use std::io::Write;
    use std::os::unix::fs::FileExt;
    let len = len.min(buffer.len());
    match file.read_at(&mut buffer[..len], offset)? {
        0 => Ok(0),
        read => stream.write(&buffer[..read]),
    }
}

fn open_error(error: &io::Error) -> OpenError {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::PermissionDenied | ErrorKind::InvalidInput => {
            OpenError::Gone
        }
        // A link is in the place of the file.
        _ if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            OpenError::Gone
        }
        ErrorKind::NotADirectory | ErrorKind::IsADirectory => OpenError::Gone,
        _ => OpenError::Failed,
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
