//! The state folder: what a servent keeps between runs, its servent id and the hosts it knows.

use crate::servent::KnownHost;
use crate::wire::{Dialect, ServentId};
use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use uuid::Uuid;

const LOCK: &str = "lock";
const IDENTITY: &str = "identity";
const HOSTS: &str = "hosts";
/// The first line of the host file.
const HOSTS_HEAD: &str = "# known hosts, one ADDR:PORT a line; answered: a link to it has stood; 0.4, 0.6: \
                          what it speaks, if that is known\n";
const ANSWERED: &str = "answered";
const HEARD_OF: &str = "heard-of";
/// Longest host file that is read, in bytes; ours are far shorter.
const MAX_HOSTS_BYTES: u64 = 1024 * 1024;

/// Why a state folder cannot be used.
#[derive(Debug)]
pub enum StateError {
    /// Another servent uses it.
    Locked(PathBuf),
    /// The disk refuses.
    Io(PathBuf, io::Error),
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StateError::Locked(folder) => write!(
                f,
                "the state folder {} is in use by another servent: stop that one or choose \
                 another folder with --state",
                folder.display()
            ),
            StateError::Io(path, error) => write!(
                f,
                "the state folder cannot be used: {}: {error}; choose another with --state",
                path.display()
            ),
        }
    }
}

impl std::error::Error for StateError {}

/// A locked state folder; dropping it releases the lock.
#[derive(Debug)]
pub struct StateFolder {
    folder: PathBuf,
    identity: ServentId,
    _lock: File,
}

impl StateFolder {
    /// Creates the folder if need be, locks it and reads the identity, or makes one.
    ///
    /// # Errors
    /// When another process holds the lock or the disk refuses.
    pub fn open(folder: &Path) -> Result<StateFolder, StateError> {
        let io_error = |path: &Path| {
            let path = path.to_path_buf();
            move |error| StateError::Io(path, error)
        };
        fs::create_dir_all(folder).map_err(io_error(folder))?;
        let lock_path = folder.join(LOCK);
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(io_error(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StateError::Locked(folder.to_path_buf())),
            Err(TryLockError::Error(error)) => return Err(StateError::Io(lock_path, error)),
        }
        let folder = folder.to_path_buf();
        let path = folder.join(IDENTITY);
        let identity =
            load_identity(&folder, &path).map_err(|error| StateError::Io(path, error))?;
        Ok(StateFolder { folder, identity, _lock: lock })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The servent id, the same in every run.
    pub fn identity(&self) -> ServentId {
        self.identity
    }

    /// The hosts of the last run; empty without a readable list.
    pub fn load_hosts(&self) -> Vec<KnownHost> {
        read_hosts(&self.folder)
    }

    /// Replaces the list of hosts. The replacement is atomic: a crash leaves the old list or the new one.
    ///
    /// # Errors
    /// When the disk refuses; the old list is then still there.
    pub fn save_hosts(&self, hosts: impl Iterator<Item = KnownHost>) -> io::Result<()> {
        let mut text = String::from(HOSTS_HEAD);
        for KnownHost { addr, answered, speaks } in hosts {
            let known = if answered { ANSWERED } else { HEARD_OF };
            text.push_str(&format!("{addr} {known}"));
            if let Some(dialect) = speaks {
                text.push_str(&format!(" {dialect}"));
            }
            text.push('\n');
        }
        write_atomically(&self.folder, &self.folder.join(HOSTS), text.as_bytes())
    }
}

/// The hosts stored in a state folder that may be in use by another process. Lines that are no
/// `ADDR:PORT` are skipped; other words behind the address are ignored, since other servents put time
/// stamps there.
pub fn read_hosts(folder: &Path) -> Vec<KnownHost> {
    let path = folder.join(HOSTS);
    let readable = fs::metadata(&path).is_ok_and(|meta| meta.len() <= MAX_HOSTS_BYTES);
    let Some(bytes) = readable.then(|| fs::read(&path).ok()).flatten() else {
        return Vec::new();
    };
    let text = String::from_utf8_lossy(&bytes);
    let host = |line: &str| {
        let mut words = line.split_whitespace();
        let addr = words.next()?.parse().ok()?;
        let answered = words.next() == Some(ANSWERED);
        Some(KnownHost { addr, answered, speaks: words.next().and_then(Dialect::named) })
    };
    text.lines().filter_map(host).collect()
}

/// A fresh id from the system's entropy.
pub fn fresh_identity() -> ServentId {
    ServentId::from_random(Uuid::new_v4().into_bytes())
}

/// A seed from the system's entropy.
pub fn fresh_seed() -> u64 {
    Uuid::new_v4().as_u64_pair().0 ^ Uuid::new_v4().as_u64_pair().1
}

fn load_identity(folder: &Path, path: &Path) -> io::Result<ServentId> {
    match fs::read_to_string(path) {
        Ok(text) => match Uuid::try_parse(text.trim()) {
            Ok(id) => return Ok(ServentId(id.into_bytes())),
            Err(error) => {
                log::warn!("{} holds no servent id ({error}): making a new one", path.display());
            }
        },
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) if error.kind() == ErrorKind::InvalidData => {
            log::warn!("{} holds no servent id ({error}): making a new one", path.display());
        }
        Err(error) => return Err(error),
    }
    let identity = fresh_identity();
    write_atomically(folder, path, format!("{identity}\n").as_bytes())?;
    Ok(identity)
}

/// Replaces a file of a state folder as a whole: a crash leaves the old one or the new one. The draft has a
/// fixed name, since the folder is locked: a draft left by a crash is overwritten.
///
/// # Errors
/// When the disk refuses; the old file is then still there.
pub fn write_atomically(folder: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = path.with_extension("new");
    let mut file = File::create(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(draft, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_and_hosts_survive_and_garbage_does_no_harm() {
        let folder = tempfile::tempdir().unwrap();
        let host = |addr: &str, answered, speaks| KnownHost {
            addr: addr.parse().unwrap(),
            answered,
            speaks,
        };
        let hosts =
            [host("127.0.0.2:6346", true, Some(Dialect::V0_6)), host("127.0.0.3:1", false, None)];
        let first = StateFolder::open(folder.path()).unwrap();
        let identity = first.identity();
        first.save_hosts(hosts.iter().copied()).unwrap();
        assert!(matches!(StateFolder::open(folder.path()), Err(StateError::Locked(_))));
        drop(first);

        let path = folder.path().join(HOSTS);
        let mut text = fs::read(&path).unwrap();
        text.extend_from_slice(b"\xff\xfe garbage\r\n127.0.0.4:5 2026-01-01\r\nhost:99999\n::1\n");
        fs::write(&path, text).unwrap();
        let again = StateFolder::open(folder.path()).unwrap();
        assert_eq!(again.identity(), identity);
        assert_eq!(again.load_hosts()[..2], hosts[..]);
        assert_eq!(again.load_hosts().len(), 3);
        drop(again);

        fs::write(folder.path().join(IDENTITY), b"\xff").unwrap();
        assert_ne!(StateFolder::open(folder.path()).unwrap().identity(), identity);
    }
}
