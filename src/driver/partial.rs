//! The file a download is written to until it is complete.
//!
//! It is called `NAME.SIZE.part` and lies where the file will be. The size in its name is what
//! makes it safe to go on with: a source that offers another size has another file. It is locked
//! while in use, so two downloads of one name never write into one partial file.

use crate::transfer::download::Partial;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// How many files of one name may stand in one folder before we give up.
const MAX_NAMESAKES: u32 = 10_000;

/// A partial file, or the place for one.
#[derive(Debug)]
pub struct PartialFile {
    folder: PathBuf,
    /// A name that is safe here, see [`crate::transfer::names::safe_local_name`].
    name: String,
    found: Option<Found>,
    /// It has its name.
    finished: bool,
}

#[derive(Debug)]
struct Found {
    path: PathBuf,
    file: File,
}

impl PartialFile {
    /// Looks for what an earlier download of `name` left in `folder`: a partial file of `size`
    /// if that is known, else of any size.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn look_for(
        folder: &Path,
        name: &str,
        size: Option<u64>,
    ) -> io::Result<(PartialFile, Option<Partial>)> {
        let mut place = PartialFile {
            folder: folder.to_path_buf(),
            name: name.to_owned(),
            found: None,
            finished: false,
        };
        let mut candidates = Vec::new();
        for entry in fs::read_dir(folder)? {
            let file_name = entry?.file_name();
            let total = file_name.to_str().and_then(|text| recorded_size(text, name));
            if let Some(total) = total.filter(|&total| size.is_none_or(|size| size == total)) {
                candidates.push((file_name, total));
            }
        }
        candidates.sort();
        for (file_name, total) in candidates {
            let path = folder.join(file_name);
            let Ok(file) = OpenOptions::new().write(true).open(&path) else { continue };
            if !take(&file, &path)? {
                continue;
            }
            let have = file.metadata()?.len();
            place.found = Some(Found { path, file });
            return Ok((place, Some(Partial { have, total: Some(total) })));
        }
        Ok((place, None))
    }

    /// Where the bytes are, once there are any.
    pub fn path(&self) -> Option<&Path> {
        self.found.as_ref().map(|found| found.path.as_path())
    }

    /// Opens what was found, or creates a new partial file if nothing is there yet.
    pub(super) fn open(&mut self, have: u64, total: Option<u64>) -> io::Result<()> {
        if let Some(found) = &self.found {
            let len = found.file.metadata()?.len();
            return match len >= have {
                true => Ok(()),
                false => Err(io::Error::other("the partial file became shorter")),
            };
        }
        let size = total.map(|total| format!(".{total}")).unwrap_or_default();
        for number in 1..MAX_NAMESAKES {
            let again = if number == 1 { String::new() } else { format!(".{number}") };
            let path = self.folder.join(format!("{}{size}{again}.part", self.name));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
                Ok(file) => {
                    if take(&file, &path)? {
                        self.found = Some(Found { path, file });
                        return Ok(());
                    }
                }
            }
        }
        Err(too_many(&self.name))
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file()?.file.write_all_at(bytes, offset)
    }

    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.file()?.file.sync_all()
    }

    /// Gives the file its name, or `NAME (2)` and so on if that is taken. Nothing is replaced.
    pub(super) fn finish(&mut self) -> io::Result<PathBuf> {
        let partial = self.file()?.path.clone();
        for number in 1..MAX_NAMESAKES {
            let path = self.folder.join(numbered(&self.name, number));
            match rename_new(&partial, &path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
                Ok(()) => {
                    self.finished = true;
                    // The name is durable when the folder is.
                    File::open(&self.folder)?.sync_all()?;
                    return Ok(path);
                }
            }
        }
        Err(too_many(&self.name))
    }

    /// Closes the file; an empty one is not worth keeping.
    pub(super) fn close(self) {
        if let Some(Found { path, file }) = self.found
            && !self.finished
            && file.metadata().is_ok_and(|meta| meta.len() == 0)
        {
            let _ = fs::remove_file(path);
        }
    }

    fn file(&self) -> io::Result<&Found> {
        self.found.as_ref().ok_or_else(|| io::Error::other("the partial file is not open"))
    }
}

/// Renames unless `to` exists.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // Not every file system knows the flag.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {}
            done => return Ok(done?),
        }
    }
    fs::hard_link(from, to)?;
    fs::remove_file(from)
}

/// Takes the file for this download; false if another has it, or had it and gave it its final
/// name between our opening and our locking it.
fn take(file: &File, path: &Path) -> io::Result<bool> {
    if !lock(file)? {
        return Ok(false);
    }
    let ours = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Takes the lock that keeps other downloads out; false if one has it.
fn lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        // A file system without locks is no reason not to download.
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// The size in the name of a partial file of `name`: `NAME.SIZE.part` or `NAME.SIZE.N.part`.
fn recorded_size(file_name: &str, name: &str) -> Option<u64> {
    let middle = file_name.strip_prefix(name)?.strip_prefix('.')?.strip_suffix(".part")?;
    let (size, again) = middle.split_once('.').unwrap_or((middle, "2"));
    again.parse::<u32>().ok()?;
    size.parse().ok()
}

/// `name.txt`, `name (2).txt`, …
fn numbered(name: &str, number: u32) -> String {
    match (number, name.rsplit_once('.')) {
        (1, _) => name.to_owned(),
        (_, Some((stem, extension))) if !stem.is_empty() => {
            format!("{stem} ({number}).{extension}")
        }
        _ => format!("{name} ({number})"),
    }
}

fn too_many(name: &str) -> io::Error {
    io::Error::other(format!("there are too many files called \"{name}\" here already"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(folder: &Path, size: Option<u64>) -> (PartialFile, Option<Partial>) {
        PartialFile::look_for(folder, "a.txt", size).unwrap()
    }

    #[test]
    fn what_is_left_is_found_again_by_its_size() {
        let folder = tempfile::tempdir().unwrap();
        let (mut first, none) = begin(folder.path(), Some(10));
        assert_eq!(none, None);
        first.open(0, Some(10)).unwrap();
        first.write(0, b"hello").unwrap();
        assert_eq!(begin(folder.path(), None).1, None, "it is in use");
        drop(first);
        assert_eq!(begin(folder.path(), Some(11)).1, None, "another size is another file");
        let (mut again, partial) = begin(folder.path(), None);
        assert_eq!(partial, Some(Partial { have: 5, total: Some(10) }));
        again.open(5, Some(10)).unwrap();
        again.write(5, b"world").unwrap();
        let path = again.finish().unwrap();
        assert_eq!(fs::read(path).unwrap(), b"helloworld");
    }

    #[test]
    fn two_downloads_of_one_name_become_two_files() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.txt"), "mine").unwrap();
        let (mut first, mut second) = (begin(folder.path(), None).0, begin(folder.path(), None).0);
        first.open(0, Some(3)).unwrap();
        second.open(0, Some(3)).unwrap();
        first.write(0, b"one").unwrap();
        second.write(0, b"two").unwrap();
        assert!(first.finish().unwrap().ends_with("a (2).txt"));
        assert!(second.finish().unwrap().ends_with("a (3).txt"));
        assert_eq!(fs::read(folder.path().join("a.txt")).unwrap(), b"mine");
        assert_eq!(fs::read(folder.path().join("a (3).txt")).unwrap(), b"two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3, "no partial is left");
    }

    /// The other download renamed it between our opening and our locking.
    #[test]
    fn a_file_that_has_its_final_name_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt.3.part");
        fs::write(&path, "one").unwrap();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        assert!(take(&file, &path).unwrap());
        fs::rename(&path, folder.path().join("a.txt")).unwrap();
        assert!(!take(&file, &path).unwrap(), "the name is gone");
        fs::write(&path, "two").unwrap();
        assert!(!take(&file, &path).unwrap(), "the name is another file's");
    }

    #[test]
    fn only_names_with_a_size_count() {
        assert_eq!(recorded_size("a.txt.12.part", "a.txt"), Some(12));
        assert_eq!(recorded_size("a.txt.12.3.part", "a.txt"), Some(12));
        for other in ["a.txt.part", "a.txt.x.part", "b.txt.12.part", "a.txt.12", "a.txt.12.x.part"]
        {
            assert_eq!(recorded_size(other, "a.txt"), None, "{other}");
        }
    }
}
