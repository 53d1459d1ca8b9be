//! The queue as it is on the disk: one JSON file, replaced whole, so that a crash leaves the one before
//! or the new one.

use crate::driver::write_atomically;
use crate::transfer::download::{PushVia, Source};
use crate::wire::ServentId;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, ErrorKind};
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// The file in the state folder.
pub(super) const NAME: &str = "downloads.json";
/// A queue at its limits is smaller by far.
const MAX_BYTES: u64 = 64 << 20;

/// The whole queue.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct QueueRecord {
    /// The number of the next download.
    pub(super) next_id: u64,
    pub(super) jobs: Vec<JobRecord>,
}

/// Where a download stands, as far as it outlives the program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::daemon) enum Standing {
    /// To be fetched.
    #[default]
    Open,
    Paused,
    Done,
    Failed,
}

/// One download.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::daemon) struct JobRecord {
    pub(in crate::daemon) id: u64,
    /// Its local name.
    pub(in crate::daemon) name: String,
    /// The folder it goes to.
    pub(in crate::daemon) folder: PathBuf,
    /// Size in bytes, once known.
    pub(in crate::daemon) size: Option<u64>,
    pub(in crate::daemon) sources: Vec<SourceRecord>,
    pub(in crate::daemon) standing: Standing,
    /// Why it failed.
    pub(in crate::daemon) error: Option<String>,
    pub(in crate::daemon) exit_code: Option<u8>,
    /// The complete file, else the partial one.
    pub(in crate::daemon) path: Option<PathBuf>,
    /// Device and inode of the partial file. Renaming keeps them: a file of this name that has them is
    /// the finished one, even if the program was killed before it could note that.
    pub(in crate::daemon) inode: Option<(u64, u64)>,
    /// Bytes that are here.
    pub(in crate::daemon) bytes: u64,
    pub(in crate::daemon) already_here: bool,
    pub(in crate::daemon) joined_from: usize,
    /// Longest wait for sources in all, if there is one; then nothing is searched for.
    pub(in crate::daemon) patience_s: Option<f64>,
}

/// One source of a download.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::daemon) struct SourceRecord {
    addr: SocketAddrV4,
    index: u32,
    name: String,
    servent_id: Option<Uuid>,
    ttl: u8,
    firewalled: bool,
}

impl SourceRecord {
    pub(in crate::daemon) fn of(source: &Source) -> SourceRecord {
        SourceRecord {
            addr: source.addr,
            index: source.index,
            name: source.name.clone(),
            servent_id: source.push.map(|push| Uuid::from_bytes(push.servent.0)),
            ttl: source.push.map_or(0, |push| push.ttl),
            firewalled: source.push.is_some_and(|push| push.firewalled),
        }
    }

    pub(in crate::daemon) fn source(&self, size: Option<u64>) -> Source {
        let push = self.servent_id.map(|id| PushVia {
            servent: ServentId(id.into_bytes()),
            ttl: self.ttl,
            firewalled: self.firewalled,
        });
        Source { addr: self.addr, index: self.index, name: self.name.clone(), size, push }
    }
}

/// Reads the queue of an earlier run. One that cannot be read is set aside, so that nothing is lost.
///
/// # Errors
/// With a sentence, when the file is there and the disk refuses.
pub(in crate::daemon) fn read(folder: &Path) -> Result<QueueRecord, String> {
    let path = folder.join(NAME);
    let fail =
        |error: io::Error| format!("cannot read the downloads in {}: {error}", path.display());
    match fs::metadata(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(QueueRecord::default()),
        Err(error) => return Err(fail(error)),
        Ok(meta) if meta.len() > MAX_BYTES => {
            return Err(format!("{} is too large for a queue of downloads", path.display()));
        }
        Ok(_) => {}
    }
    let bytes = fs::read(&path).map_err(fail)?;
    match serde_json::from_slice(&bytes) {
        Ok(queue) => Ok(queue),
        Err(error) => {
            let aside = path.with_extension("unreadable");
            fs::rename(&path, &aside).map_err(fail)?;
            log::warn!(
                "the downloads in {} cannot be read: {error}; kept as {}",
                path.display(),
                aside.display()
            );
            Ok(QueueRecord::default())
        }
    }
}

/// Replaces the queue on the disk.
///
/// # Errors
/// When the disk refuses; the one before is then still there.
pub(in crate::daemon) fn write(folder: &Path, queue: &QueueRecord) -> io::Result<()> {
    write_atomically(folder, &folder.join(NAME), &serde_json::to_vec(queue)?)
}
