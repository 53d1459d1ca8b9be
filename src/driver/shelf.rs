//! The shelf: where the shared files lie, by file number, and how one of them is opened.
//!
//! A request names a number, never a path; the path comes from the last scan, and [`open_shared`]
//! walks it one component at a time without following links. So whatever was moved or linked since
//! the scan, nothing outside the share is opened.
//!
//! A number belongs to a path: a rescan gives it to the same path again, and never to another one
//! while the program runs. Results that others still hold in their hands stay true.
//!
//! Paths are kept by folder. A folder that a rescan finds unchanged is shared with the shelf
//! before, so two shelves cost little more than one.

use rustix::fs::{Mode, OFlags, open, openat};
use rustix::io::retry_on_intr;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
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
/// No component may be a link, whatever the scan has seen there: a link put in its place since is
/// an error, and so is anything but a regular file. Never waits for the other end of a FIFO.
pub(crate) fn open_shared(root: &ShareRoot, relative: &Path) -> io::Result<(File, u64)> {
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

/// Walks down from `root`, holding one folder open at a time. `flags` are for the last component.
fn open_beneath(root: &ShareRoot, relative: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let no_links = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = no_links | OFlags::DIRECTORY;
    let mut at = retry_on_intr(|| open(root.path(), folder, Mode::empty()))?;
    let mut components = relative.components().peekable();
    while let Some(component) = components.next() {
        let Component::Normal(name) = component else {
            let message = "a path within a share is expected, without `..`";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        };
        let flags = if components.peek().is_some() { folder } else { no_links | flags };
        at = retry_on_intr(|| openat(&at, name, flags, Mode::empty()))?;
    }
    Ok(at)
}

/// Where each shared file lies, by number. Made by a scan; the default one is empty. A clone is
/// the same shelf.
#[derive(Clone, Default)]
pub(crate) struct Shelf(Arc<Tables>);

#[derive(Default)]
struct Tables {
    roots: Vec<Arc<ShareRoot>>,
    /// Those that have shared files, by root, then by path.
    folders: Vec<Arc<Folder>>,
    /// By ascending number.
    slots: Vec<Slot>,
    /// The highest number ever given; 0 is never given.
    last_number: u32,
}

/// The shared files of one folder, without those of its subfolders.
struct Folder {
    /// Position among the roots.
    root: usize,
    /// Relative to the root; empty for the root itself.
    path: PathBuf,
    /// All names, one after the other, in ascending order.
    text: String,
    files: Vec<Shelved>,
    /// What to open for files that are links: their position and a path relative to the root.
    targets: Vec<(u32, PathBuf)>,
}

#[derive(Clone, Copy)]
struct Shelved {
    number: u32,
    /// Where its name ends in [`Folder::text`]; it starts where the one before ends.
    name_end: u32,
}

/// The place of a number: a position among the folders, and one within the folder.
#[derive(Clone, Copy)]
struct Slot {
    number: u32,
    folder: u32,
    position: u32,
}

impl Shelf {
    /// The root and the path beneath it to open for file `number`; see [`open_shared`].
    ///
    /// The path had no links in it when it was scanned: for a shared link it is that of its target.
    pub(crate) fn locate(&self, number: u32) -> Option<(&ShareRoot, PathBuf)> {
        let Tables { roots, folders, slots, .. } = &*self.0;
        let at = slots.binary_search_by_key(&number, |slot| slot.number).ok()?;
        let Slot { folder, position, .. } = slots[at];
        let folder = &folders[folder as usize];
        let path = match folder.target(position) {
            Some(target) => target.to_owned(),
            None => folder.path.join(folder.name(position as usize)),
        };
        Some((&roots[folder.root], path))
    }

    fn folder(&self, root: usize, path: &Path) -> Option<&Arc<Folder>> {
        let place = |folder: &Arc<Folder>| (folder.root, folder.path.as_path()).cmp(&(root, path));
        let folders = &self.0.folders;
        folders.binary_search_by(place).ok().map(|at| &folders[at])
    }
}

impl fmt::Debug for Shelf {
    /// Counts only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shelf")
            .field("files", &self.0.slots.len())
            .field("folders", &self.0.folders.len())
            .finish_non_exhaustive()
    }
}

impl Folder {
    fn name(&self, position: usize) -> &str {
        let start = position.checked_sub(1).map_or(0, |before| self.files[before].name_end);
        &self.text[start as usize..self.files[position].name_end as usize]
    }

    fn target(&self, position: u32) -> Option<&Path> {
        let at = self.targets.binary_search_by_key(&position, |&(position, _)| position).ok()?;
        Some(&self.targets[at].1)
    }

    fn number(&self, name: &str) -> Option<u32> {
        let (mut low, mut high) = (0, self.files.len());
        while low < high {
            let middle = low.midpoint(high);
            match self.name(middle).cmp(name) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Some(self.files[middle].number),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }
}

/// Fills a [`Shelf`], folder by folder, with the numbers of the shelf before.
pub(super) struct ShelfBuilder {
    previous: Shelf,
    /// Which root of `previous` each of our roots is.
    previous_roots: Vec<Option<usize>>,
    shelf: Tables,
    /// Number to folder and position. A map, because sorting at the end would be one long step.
    places: BTreeMap<u32, (u32, u32)>,
    draft: Option<Draft>,
}

/// A folder being filled.
struct Draft {
    folder: Folder,
    previous: Option<Arc<Folder>>,
    /// Whether all so far is as in `previous`.
    same: bool,
}

impl ShelfBuilder {
    pub(super) fn new(roots: &[Arc<ShareRoot>], previous: &Shelf) -> ShelfBuilder {
        let before = &previous.0;
        let position = |root| before.roots.iter().position(|other| other == root);
        ShelfBuilder {
            previous_roots: roots.iter().map(position).collect(),
            previous: previous.clone(),
            shelf: Tables {
                roots: roots.to_vec(),
                last_number: before.last_number,
                ..Tables::default()
            },
            places: BTreeMap::new(),
            draft: None,
        }
    }

    /// Begins a folder. Folders must come by root, and by path within a root.
    pub(super) fn enter(&mut self, root: usize, path: &Path) {
        let previous = self.previous_roots[root].and_then(|root| self.previous.folder(root, path));
        let folder = Folder {
            root,
            path: path.to_owned(),
            text: String::new(),
            files: Vec::new(),
            targets: Vec::new(),
        };
        self.draft = Some(Draft {
            folder,
            previous: previous.cloned(),
            same: previous.is_some_and(|previous| previous.root == root),
        });
    }

    /// The number for the file `name` of the folder at hand: the one it had, or the next unused.
    /// `None` if 2^32 numbers were used up.
    pub(super) fn number(&self, name: &str) -> Option<u32> {
        let previous = self.draft.as_ref().and_then(|draft| draft.previous.as_ref());
        let kept = previous.and_then(|folder| folder.number(name));
        kept.or_else(|| self.shelf.last_number.checked_add(1))
    }

    /// Puts a file into the folder at hand. Names must come in ascending order; `number` is what
    /// [`ShelfBuilder::number`] gave for it, and `target` is what to open if the file is a link.
    pub(super) fn put(&mut self, name: &str, number: u32, target: Option<PathBuf>) {
        let Draft { folder, previous, same } =
            self.draft.as_mut().expect("files are put into a folder that was entered");
        let position = folder.files.len();
        *same = *same
            && previous.as_ref().is_some_and(|previous| {
                previous.files.get(position).is_some_and(|file| file.number == number)
                    && previous.target(narrow(position)) == target.as_deref()
            });
        folder.text.push_str(name);
        folder.files.push(Shelved { number, name_end: narrow(folder.text.len()) });
        folder.targets.extend(target.map(|target| (narrow(position), target)));
        self.places.insert(number, (narrow(self.shelf.folders.len()), narrow(position)));
        self.shelf.last_number = self.shelf.last_number.max(number);
    }

    /// Ends the folder at hand.
    pub(super) fn leave(&mut self) {
        let Some(Draft { mut folder, previous, same }) = self.draft.take() else { return };
        if folder.files.is_empty() {
            return;
        }
        let unchanged =
            previous.filter(|previous| same && previous.files.len() == folder.files.len());
        self.shelf.folders.push(unchanged.unwrap_or_else(|| {
            folder.text.shrink_to_fit();
            folder.files.shrink_to_fit();
            folder.targets.shrink_to_fit();
            Arc::new(folder)
        }));
    }

    /// Works on the table of numbers for about `budget` files, and returns the shelf when it is
    /// done.
    pub(super) fn step(&mut self, budget: usize) -> Option<Shelf> {
        let slots = &mut self.shelf.slots;
        if slots.is_empty() {
            slots.reserve_exact(self.places.len());
        }
        for _ in 0..budget.max(1) {
            let Some((number, (folder, position))) = self.places.pop_first() else {
                return Some(Shelf(Arc::new(std::mem::take(&mut self.shelf))));
            };
            slots.push(Slot { number, folder, position });
        }
        None
    }
}

/// Only files of the library are put on the shelf, and its limits keep files and names below 2^32.
fn narrow(number: usize) -> u32 {
    u32::try_from(number).expect("bounded by the limits of the library")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shelf(previous: &Shelf, folders: &[(&str, &[&str])]) -> Shelf {
        let root = Arc::new(ShareRoot { path: "/share".into() });
        let mut builder = ShelfBuilder::new(&[root], previous);
        for (path, names) in folders {
            builder.enter(0, Path::new(path));
            for name in *names {
                let number = builder.number(name).unwrap();
                builder.put(name, number, None);
            }
            builder.leave();
        }
        builder.step(usize::MAX).unwrap()
    }

    #[test]
    fn unchanged_folders_are_shared_with_the_shelf_before() {
        let before: &[(&str, &[&str])] =
            &[("", &["a"]), ("less", &["b", "c"]), ("more", &["d"]), ("other", &["e", "f"])];
        let after: &[(&str, &[&str])] =
            &[("", &["a"]), ("less", &["b"]), ("more", &["d", "e"]), ("other", &["e", "g"])];
        let before = shelf(&Shelf::default(), before);
        let after = shelf(&before, after);
        let same: Vec<_> =
            before.0.folders.iter().zip(&after.0.folders).map(|(a, b)| Arc::ptr_eq(a, b)).collect();
        assert_eq!(same, [true, false, false, false]);
    }
}
