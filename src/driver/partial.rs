//! Partial files: a download is written to one until it is complete, and resumes from it.
//!
//! A partial file is called `NAME.SIZE.part` and lies in the folder of the download. A record beside it
//! names the whole file and the sources of the bytes; a file without a record is not a partial file,
//! even under such a name. No complete download gets such a name: see
//! [`crate::transfer::names::safe_local_name`]. A partial file is locked while in use, so two
//! downloads of one name never write to the same one.
//!
//! Complete files of the same name are compared with the source first: one of them may be the file.

mod record;

use crate::transfer::download::{Against, Kept, Partial, Source};
use record::Record;
use std::cmp::Reverse;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Most files of one name in one folder.
const MAX_NAMESAKES: u32 = 10_000;

/// Most complete files of one name that are compared with a source.
const MAX_COMPLETE: usize = 16;

/// Bytes read at once to be compared.
const COMPARE_BYTES: usize = 64 * 1024;

/// A partial file, or the folder and name for one.
#[derive(Debug)]
pub struct PartialFile {
    folder: PathBuf,
    /// A safe local name; see [`crate::transfer::names::safe_local_name`].
    name: String,
    source: Source,
    found: Option<Found>,
    /// Complete files of this name that agree with the source so far.
    complete: Vec<Complete>,
    /// An earlier partial file of this source was set aside.
    changed_before: bool,
    /// It has its final name.
    finished: bool,
}

#[derive(Debug)]
struct Found {
    path: PathBuf,
    file: File,
    record: Record,
}

#[derive(Debug)]
struct Complete {
    path: PathBuf,
    file: File,
    bytes: u64,
}

/// A partial file found in the folder. The greater one is the better one to resume.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct PartialCandidate {
    same_source: bool,
    /// It was not set aside.
    current: bool,
    have: u64,
    path: Reverse<PathBuf>,
}

impl PartialFile {
    /// Looks in `folder` for what there is of the file of `source`, which is to be called `name` here: a
    /// partial file to resume, and complete files.
    ///
    /// The first choice is a partial file from this source, then one of it that was set aside, then
    /// the longest from any source. If the size is known, only files of this size count.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn look_for(folder: &Path, name: &str, source: &Source) -> io::Result<(PartialFile, Kept)> {
        let mut place = PartialFile {
            folder: folder.to_path_buf(),
            name: name.to_owned(),
            source: source.clone(),
            found: None,
            complete: Vec::new(),
            changed_before: false,
            finished: false,
        };
        let mut candidates = Vec::new();
        for entry in fs::read_dir(folder)? {
            let file_name = entry?.file_name();
            let Some(file_name) = file_name.to_str() else { continue };
            if is_namesake(file_name, name) {
                place.consider_complete(folder.join(file_name));
            } else if is_of(file_name, name, ".part") {
                candidates.extend(place.consider_partial(folder.join(file_name)));
            } else if is_of(file_name, name, ".part.source") {
                place.tidy(&folder.join(file_name.trim_end_matches(".source")));
            }
        }
        place.complete.sort_by(|a, b| a.path.cmp(&b.path));
        candidates.sort_unstable_by(|a, b| b.cmp(a));
        place.changed_before = candidates.iter().any(|candidate| !candidate.current);
        let mut kept = Kept { partial: None, complete: !place.complete.is_empty() };
        for PartialCandidate { same_source, path: Reverse(path), .. } in candidates {
            let Ok(file) = OpenOptions::new().read(true).write(true).open(&path) else { continue };
            let Some(record) = Record::read(&path) else { continue };
            if !take(&file, &path)? {
                continue;
            }
            let (have, total) = (file.metadata()?.len(), record.size);
            place.found = Some(Found { path, file, record });
            kept.partial = Some(Partial { have, total, same_source });
            break;
        }
        Ok((place, kept))
    }

    /// The file that a partial file with this inode has become by renaming: its path and size.
    pub fn finished_as(
        folder: &Path,
        name: &str,
        inode: Option<(u64, u64)>,
    ) -> Option<(PathBuf, u64)> {
        let inode = inode?;
        for entry in fs::read_dir(folder).ok()?.filter_map(io::Result::ok) {
            let file_name = entry.file_name();
            let Some(file_name) = file_name.to_str().filter(|it| is_namesake(it, name)) else {
                continue;
            };
            let path = folder.join(file_name);
            if let Ok(meta) = fs::symlink_metadata(&path)
                && meta.is_file()
                && (meta.dev(), meta.ino()) == inode
            {
                return Some((path, meta.len()));
            }
        }
        None
    }

    /// Path, device and inode of the partial file, once there is one.
    pub(super) fn begun(&self) -> Option<(PathBuf, (u64, u64))> {
        let found = self.found.as_ref()?;
        let meta = found.file.metadata().ok()?;
        Some((found.path.clone(), (meta.dev(), meta.ino())))
    }

    /// Path of the partial file, once there is one.
    pub fn path(&self) -> Option<&Path> {
        self.found.as_ref().map(|found| found.path.as_path())
    }

    /// The folder of the download.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn consider_complete(&mut self, path: PathBuf) {
        let Ok(meta) = fs::symlink_metadata(&path) else { return };
        let fits = self.source.size.is_none_or(|size| size == meta.len());
        if meta.is_file() && fits && self.complete.len() < MAX_COMPLETE {
            let opened = File::open(&path).ok();
            self.complete.extend(opened.map(|file| Complete { path, file, bytes: meta.len() }));
        }
    }

    fn consider_partial(&self, path: PathBuf) -> Option<PartialCandidate> {
        let meta = fs::symlink_metadata(&path).ok().filter(fs::Metadata::is_file)?;
        let record = Record::read(&path)?;
        let (have, same_source) = (meta.len(), record.names(&self.source));
        let fits = match (self.source.size, record.size) {
            (Some(wanted), Some(size)) => wanted == size,
            (Some(_), None) => same_source,
            (None, _) => true,
        };
        let whole = record.size.is_none_or(|size| have <= size);
        // A file that was set aside is resumed from its own source only.
        let current = !path.to_str().is_some_and(is_aside);
        let of_use = record.name == self.name && fits && whole && have > 0;
        (of_use && (current || same_source)).then_some(PartialCandidate {
            same_source,
            current,
            have,
            path: Reverse(path),
        })
    }

    /// Removes the record of a partial file that no longer exists.
    fn tidy(&self, partial: &Path) {
        let gone = fs::symlink_metadata(partial)
            .is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        if gone && Record::read(partial).is_some_and(|record| record.name == self.name) {
            let _ = Record::follow(partial, None);
        }
    }

    /// Opens the partial file that was found, or creates a new one.
    pub(super) fn open(&mut self, have: u64, total: Option<u64>) -> io::Result<()> {
        let Some(found) = &self.found else { return self.create(total) };
        match found.file.metadata()?.len() >= have {
            true => Ok(()),
            false => Err(io::Error::other("the partial file became shorter")),
        }
    }

    fn create(&mut self, total: Option<u64>) -> io::Result<()> {
        for number in 1..MAX_NAMESAKES {
            let path = self.numbered_partial("", total, number);
            let created = OpenOptions::new().read(true).write(true).create_new(true).open(&path);
            let file = match created {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    match abandoned(&path) {
                        Some(file) => file,
                        None => continue,
                    }
                }
                created => created?,
            };
            if take(&file, &path)? {
                let mut record = Record::new(&self.name, total);
                record.add(&path, &self.source)?;
                self.found = Some(Found { path, file, record });
                return Ok(());
            }
        }
        Err(too_many(&self.name))
    }

    /// Whether `bytes` equal those at `offset`.
    pub(super) fn compare(
        &mut self,
        against: Against,
        offset: u64,
        bytes: &[u8],
    ) -> io::Result<bool> {
        match against {
            Against::Partial => agrees(&self.file()?.file, offset, bytes),
            Against::Complete { total } => {
                self.complete.retain(|complete| {
                    complete.bytes == total
                        && agrees(&complete.file, offset, bytes).unwrap_or(false)
                });
                Ok(!self.complete.is_empty())
            }
        }
    }

    /// Renames the partial file to mark it as set aside, and opens an empty one. A partial file of
    /// another size keeps its name, which has the size. Of a source whose file changes every time only
    /// the first partial file is kept.
    pub(super) fn set_aside(&mut self, total: Option<u64>) -> io::Result<()> {
        if let Some(Found { path, file, record }) = self.found.take() {
            let aside = path.to_str().is_some_and(is_aside);
            let only_ours = record.names(&self.source) && record.servents() == 1;
            let superseded = self.changed_before && only_ours && !aside;
            if file.metadata()?.len() == 0 || superseded {
                fs::remove_file(&path)?;
                let _ = Record::follow(&path, None);
            } else if record.size.is_none_or(|size| total.is_none_or(|total| size == total))
                && !aside
            {
                self.rename_aside(&path, total)?;
            }
        }
        self.create(total)
    }

    fn rename_aside(&self, path: &Path, total: Option<u64>) -> io::Result<()> {
        for number in 1..MAX_NAMESAKES {
            let aside = self.numbered_partial(ASIDE, total, number);
            match rename_new(path, &aside) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
                Ok(()) => {
                    log::info!(
                        "{} is of another file: kept as {}",
                        path.display(),
                        aside.display()
                    );
                    return Record::follow(path, Some(&aside));
                }
            }
        }
        Err(too_many(&self.name))
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let source = self.source.clone();
        let found = self.file()?;
        found.record.add(&found.path, &source)?;
        found.file.write_all_at(bytes, offset)
    }

    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.file()?.file.sync_all()
    }

    /// Renames the partial file to its final name, or to `NAME (2)` and so on where that is taken;
    /// never replaces a file. Returns the path, and how many servents the bytes come from.
    pub(super) fn finish(&mut self) -> io::Result<(PathBuf, usize)> {
        let found = self.file()?;
        let (partial, servents) = (found.path.clone(), found.record.servents());
        for number in 1..MAX_NAMESAKES {
            let path = self.folder.join(numbered(&self.name, number));
            match rename_new(&partial, &path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
                Ok(()) => {
                    self.finished = true;
                    let _ = Record::follow(&partial, None);
                    // The name is durable when the folder is.
                    File::open(&self.folder)?.sync_all()?;
                    return Ok((path, servents));
                }
            }
        }
        Err(too_many(&self.name))
    }

    /// The complete file that agreed with the source.
    pub(super) fn use_complete(&self) -> io::Result<PathBuf> {
        let complete = self.complete.first().map(|complete| complete.path.clone());
        complete.ok_or_else(|| io::Error::other("the complete file is gone"))
    }

    /// Closes the file, and removes it if it is empty.
    pub(super) fn close(self) {
        if let Some(Found { path, file, .. }) = self.found
            && !self.finished
            && file.metadata().is_ok_and(|meta| meta.len() == 0)
        {
            let _ = fs::remove_file(&path);
            let _ = Record::follow(&path, None);
        }
    }

    fn file(&mut self) -> io::Result<&mut Found> {
        self.found.as_mut().ok_or_else(|| io::Error::other("the partial file is not open"))
    }

    /// `NAME.SIZE.part`, `NAME.SIZE.2.part`, …, with `word` before `.part`.
    fn numbered_partial(&self, word: &str, total: Option<u64>, number: u32) -> PathBuf {
        let size = total.map(|total| format!(".{total}")).unwrap_or_default();
        let again = if number == 1 { String::new() } else { format!(".{number}") };
        self.folder.join(format!("{}{size}{again}{word}.part", self.name))
    }
}

/// Stands before `.part` in the name of a partial file that was set aside.
const ASIDE: &str = ".old";

fn is_aside(path: &str) -> bool {
    path.strip_suffix(".part").is_some_and(|path| path.ends_with(ASIDE))
}

/// Whether the file holds these bytes at `offset`.
fn agrees(file: &File, mut offset: u64, bytes: &[u8]) -> io::Result<bool> {
    let mut buffer = vec![0; bytes.len().min(COMPARE_BYTES)];
    for bytes in bytes.chunks(COMPARE_BYTES) {
        let here = &mut buffer[..bytes.len()];
        match file.read_exact_at(here, offset) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            read => read?,
        }
        if here != bytes {
            return Ok(false);
        }
        offset += bytes.len() as u64;
    }
    Ok(true)
}

/// An empty partial file, left by a download that ended before its first byte.
fn abandoned(path: &Path) -> Option<File> {
    let file = OpenOptions::new().read(true).write(true).open(path).ok()?;
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.len() == 0).then_some(file)
}

/// Whether `file_name` is `name`, something after a dot, and `ending`.
fn is_of(file_name: &str, name: &str, ending: &str) -> bool {
    let rest = file_name.strip_prefix(name).and_then(|rest| rest.strip_suffix(ending));
    rest.is_some_and(|middle| middle.is_empty() || middle.starts_with('.'))
}

/// Whether a complete download called `name` may have got the name `file_name`.
fn is_namesake(file_name: &str, name: &str) -> bool {
    let (stem, extension) = split(name);
    let number = file_name
        .strip_prefix(stem)
        .and_then(|rest| rest.strip_suffix(extension))
        .and_then(|rest| rest.strip_prefix(" ("))
        .and_then(|rest| rest.strip_suffix(')'));
    file_name == name
        || number.is_some_and(|digits| {
            !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
        })
}

/// `name.txt`, `name (2).txt`, …
fn numbered(name: &str, number: u32) -> String {
    match (number, split(name)) {
        (1, _) => name.to_owned(),
        (_, (stem, extension)) => format!("{stem} ({number}){extension}"),
    }
}

/// The stem of a name, and its extension with the dot.
fn split(name: &str) -> (&str, &str) {
    match name.rfind('.') {
        Some(dot) if dot > 0 => name.split_at(dot),
        _ => (name, ""),
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

/// Locks the file for this download. Returns false if another download has it, or has renamed it
/// between our opening and locking it.
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

/// Takes the lock; false if another download has it.
fn lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        // Downloads also work on file systems without locks.
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn too_many(name: &str) -> io::Error {
    io::Error::other(format!("there are too many files called \"{name}\" here already"))
}

#[cfg(test)]
#[path = "partial/tests.rs"]
mod tests;
