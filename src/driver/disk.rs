//! Open files: shared files that are being uploaded, and what the worker is asked to do for the others.

use super::index::SharedIndex;
use super::partial::PartialFile;
use super::worker::{SharedFile, Worker};
use crate::servent::{FileDone, FileId, FileOp};
use crate::transfer::upload::OpenError;
use mio::Waker;
use mio::net::TcpStream;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::SystemTime;

/// The files behind the core's [`FileId`]s. Those of downloads are the worker's.
pub(super) struct Disk {
    pub(super) worker: Worker,
    shared: HashMap<FileId, Shared>,
    /// Shared files that are being opened.
    opening: HashSet<FileId>,
}

struct Shared {
    file: File,
    /// Its modification time when it was opened.
    written: SystemTime,
}

impl Disk {
    pub(super) fn new(waker: Arc<Waker>) -> Disk {
        Disk { worker: Worker::new(waker), shared: HashMap::new(), opening: HashSet::new() }
    }

    /// The download that uses `id` writes to `partial`.
    pub(super) fn expect_download(&mut self, id: FileId, partial: PartialFile) {
        self.worker.expect(id, partial);
    }

    /// Begins one operation; shared files are those of `index`. Returns what is known at once.
    pub(super) fn operate(
        &mut self,
        id: FileId,
        op: FileOp,
        index: &SharedIndex,
    ) -> Option<FileDone> {
        match op {
            FileOp::OpenShared { number } => {
                let Some((root, path)) = index.locate(number) else {
                    return Some(FileDone::OpenFailed(OpenError::Gone));
                };
                self.opening.insert(id);
                self.worker.open(id, Arc::clone(root), path);
            }
            FileOp::Close if self.opening.remove(&id) || self.shared.remove(&id).is_some() => {}
            op => self.worker.operate(id, op),
        }
        None
    }

    /// The worker has opened a shared file, or not. `None` if nobody wants it any more.
    pub(super) fn opened(
        &mut self,
        id: FileId,
        opened: io::Result<SharedFile>,
    ) -> Option<FileDone> {
        if !self.opening.remove(&id) {
            return None;
        }
        Some(match opened {
            Ok(SharedFile { file, size, written }) => {
                self.shared.insert(id, Shared { file, written });
                FileDone::Opened { size }
            }
            Err(error) => FileDone::OpenFailed(open_error(&error)),
        })
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
        let Some(Shared { file, written }) = self.shared.get(&id) else {
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
