//! Share roots, and how a file beneath one is opened.
//!
//! A request names a number, never a path; the path comes from the library, which has it from the
//! last scan. It is resolved beneath the root without following a link, so nothing outside the share
//! is opened even if files were moved or linked since the scan. Linux does that in one system call
//! (openat2(2), since 5.6); elsewhere each folder on the way is opened in turn.

use rustix::fs::{Mode, OFlags, open, openat};
use rustix::io::{Errno, retry_on_intr};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::{fmt, fs, io};

/// A folder whose files are shared, at its canonical path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareRoot {
    path: PathBuf,
}

/// Why a folder cannot be shared.
#[derive(Debug)]
pub enum ShareError {
    /// Nothing is there.
    NotFound(PathBuf),
    /// Something else is there.
    NotADirectory(PathBuf),
    /// It cannot be listed.
    Unreadable(PathBuf, io::Error),
}

impl ShareRoot {
    /// Checks that `path` leads to a folder which can be listed.
    pub fn open(path: &Path) -> Result<ShareRoot, ShareError> {
        let explain = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => ShareError::NotFound(path.to_owned()),
            io::ErrorKind::NotADirectory => ShareError::NotADirectory(path.to_owned()),
            _ => ShareError::Unreadable(path.to_owned(), error),
        };
        let root = ShareRoot { path: fs::canonicalize(path).map_err(explain)? };
        fs::read_dir(&root.path).map_err(explain)?;
        Ok(root)
    }

    /// The canonical path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl fmt::Display for ShareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ShareError::NotFound(path) => write!(
                f,
                "no such folder: {}; create it or name another one with --share",
                path.display()
            ),
            ShareError::NotADirectory(path) => write!(
                f,
                "cannot share {}: it is not a folder; name the folder the files are in",
                path.display()
            ),
            ShareError::Unreadable(path, error) => write!(
                f,
                "cannot share {}: {error}; allow reading it or name another folder",
                path.display()
            ),
        }
    }
}

impl std::error::Error for ShareError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ShareError::Unreadable(_, error) => Some(error),
            ShareError::NotFound(_) | ShareError::NotADirectory(_) => None,
        }
    }
}

/// Opens the file at `relative` beneath `root` for reading, and tells its size in bytes.
///
/// A link in the path is an error, and so is anything but a regular file, even if the scan found one.
/// Never waits for the other end of a FIFO.
pub(super) fn open_shared(root: &ShareRoot, relative: &Path) -> io::Result<(File, u64)> {
    // Without NONBLOCK, opening a FIFO would wait; on regular files it means nothing.
    let file = File::from(open_beneath(root, relative, OFlags::NONBLOCK)?);
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no longer a regular file"));
    }
    Ok((file, metadata.len()))
}

/// Opens the folder at `relative` beneath `root`; an empty path is the root itself.
pub(super) fn open_folder(root: &ShareRoot, relative: &Path) -> io::Result<OwnedFd> {
    open_beneath(root, relative, OFlags::DIRECTORY)
}

const NO_LINKS: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const FOLDER: OFlags = NO_LINKS.union(OFlags::DIRECTORY);

/// `flags` are for the last component.
fn open_beneath(root: &ShareRoot, relative: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    if !relative.components().all(|component| matches!(component, Component::Normal(_))) {
        let message = "it is not a path within a share, without `..`";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let folder = retry_on_intr(|| open(root.path(), FOLDER, Mode::empty()))?;
    if relative.as_os_str().is_empty() {
        return Ok(folder);
    }
    match resolve(&folder, relative, NO_LINKS | flags) {
        // An older kernel; a sandbox may refuse what it does not know.
        Err(Errno::NOSYS | Errno::PERM) => Ok(walk(folder, relative, NO_LINKS | flags)?),
        opened => Ok(opened?),
    }
}

/// Has the kernel resolve the whole path.
#[cfg(target_os = "linux")]
fn resolve(folder: &OwnedFd, relative: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    use rustix::fs::{ResolveFlags, openat2};
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    retry_on_intr(|| openat2(folder, relative, flags, Mode::empty(), how))
}

#[cfg(not(target_os = "linux"))]
fn resolve(_: &OwnedFd, _: &Path, _: OFlags) -> Result<OwnedFd, Errno> {
    Err(Errno::NOSYS)
}

/// Opens one component after the other, holding one folder open at a time.
fn walk(folder: OwnedFd, relative: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let mut at = folder;
    let mut components = relative.iter().peekable();
    while let Some(name) = components.next() {
        let flags = if components.peek().is_some() { FOLDER } else { flags };
        at = retry_on_intr(|| openat(&at, name, flags, Mode::empty()))?;
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    /// By openat2(2), where the system has it, and by the walk.
    #[test]
    fn openat2_and_the_walk_resolve_alike() {
        let (share, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = |name: &str| share.path().join(name);
        fs::create_dir_all(path("a/b")).unwrap();
        for file in ["top", "a/b/deep"] {
            fs::write(path(file), file).unwrap();
        }
        fs::write(outside.path().join("secret"), "").unwrap();
        symlink(outside.path().join("secret"), path("out")).unwrap();
        symlink(outside.path(), path("away")).unwrap();
        symlink("top", path("inside")).unwrap();
        symlink("a", path("alias")).unwrap();
        type Resolver = fn(OwnedFd, &Path, OFlags) -> Result<OwnedFd, Errno>;
        let resolvers: [Resolver; 2] = [|folder, path, flags| resolve(&folder, path, flags), walk];
        for (number, resolver) in resolvers.into_iter().enumerate() {
            let open = |relative: &str| {
                let folder = open(share.path(), FOLDER, Mode::empty()).unwrap();
                resolver(folder, Path::new(relative), NO_LINKS).map(File::from)
            };
            if matches!(open("top"), Err(Errno::NOSYS | Errno::PERM)) {
                println!("this system has no resolver {number}");
                continue;
            }
            for file in ["top", "a/b/deep"] {
                let mut text = String::new();
                open(file).unwrap().read_to_string(&mut text).unwrap();
                assert_eq!(text, file);
            }
            for refused in ["out", "away/secret", "inside", "alias/b/deep"] {
                let error = open(refused).unwrap_err();
                assert!(matches!(error, Errno::LOOP | Errno::NOTDIR), "{refused}: {error}");
            }
            assert_eq!(open("a/none").unwrap_err(), Errno::NOENT);
        }
    }
}
