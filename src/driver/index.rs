//! The index of a finished scan, and how the next one is built from it.
//!
//! A number belongs to a path: a rescan gives it to the same path again, and never to another one
//! while the program runs, so results that others still hold stay true. Where a file lies stands in
//! the library beside its name; the driver opens what the library names and keeps no list of its
//! own. A scan that finds everything as it was keeps the library that is in use.

use super::share::ShareRoot;
use crate::library::{AddError, FolderFiles, Library, LibraryBuilder};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The shared files, and the numbers that the next scan must keep.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedIndex {
    pub(super) library: Arc<Library>,
    /// The roots that locations in the library count in.
    roots: Vec<Arc<ShareRoot>>,
    /// Numbers of files that were left for a later scan and are not in the library, by path.
    held_back: BTreeMap<PathBuf, u32>,
    /// The highest number ever given; 0 is never given.
    last_number: u32,
}

impl SharedIndex {
    /// The root and the path beneath it to open for file `number`.
    ///
    /// The path had no links in it when it was scanned: for a shared link it is that of its target.
    pub(super) fn locate(&self, number: u32) -> Option<(&Arc<ShareRoot>, PathBuf)> {
        let location = self.library.location(number)?;
        let root = self.roots.get(location.root)?;
        Some((root, Path::new(location.folder).join(location.file)))
    }
}

/// Builds a [`SharedIndex`] with the numbers of the one before.
pub(super) struct IndexBuilder {
    previous: SharedIndex,
    /// Which root of `previous` each of our roots is.
    previous_roots: Vec<Option<usize>>,
    roots: Vec<Arc<ShareRoot>>,
    library: LibraryBuilder,
    held_back: BTreeMap<PathBuf, u32>,
    last_number: u32,
    /// The folder at hand, and its files in `previous`.
    folder: PathBuf,
    previous_folder: Option<FolderFiles>,
    /// Files that have the size they had in `previous`.
    same: usize,
    /// A link leads elsewhere than in `previous`.
    relinked: bool,
}

/// The number and size of a file in the previous index.
#[derive(Clone, Copy, Debug)]
pub(super) struct KnownFile {
    /// The number it had, or the next unused one.
    number: u32,
    /// The size with which it is shared so far.
    pub(super) size: Option<u64>,
}

impl IndexBuilder {
    pub(super) fn new(roots: &[Arc<ShareRoot>], previous: &SharedIndex) -> IndexBuilder {
        let position = |root| previous.roots.iter().position(|other| other == root);
        IndexBuilder {
            previous_roots: roots.iter().map(position).collect(),
            roots: roots.to_vec(),
            library: LibraryBuilder::new(),
            held_back: BTreeMap::new(),
            last_number: previous.last_number,
            folder: PathBuf::new(),
            previous_folder: None,
            same: 0,
            relinked: false,
            previous: previous.clone(),
        }
    }

    /// Begins a folder of a root. Folders must come by root, then by path; the files of a folder by
    /// name.
    pub(super) fn enter(&mut self, root: usize, path: &Path) {
        let text = path.to_str().expect("folders whose names are not UTF-8 are skipped");
        let previous_root = self.previous_roots[root];
        self.previous_folder =
            previous_root.and_then(|root| self.previous.library.folder(root, text));
        self.folder = self.roots[root].path().join(path);
        let root = u32::try_from(root).expect("there are few share roots");
        self.library.enter(root, text);
    }

    /// The file `name` of the current folder in the previous index; `None` if 2^32 numbers were used
    /// up.
    pub(super) fn look_up(&self, name: &str) -> Option<KnownFile> {
        let library = &self.previous.library;
        let folder = self.previous_folder.as_ref();
        if let Some(entry) = folder.and_then(|folder| library.find_in(folder, name)) {
            return Some(KnownFile { number: entry.number, size: Some(entry.size) });
        }
        let held_back = &self.previous.held_back;
        let number = match held_back.is_empty() {
            true => None,
            false => held_back.get(&self.folder.join(name)).copied(),
        };
        let number = number.or_else(|| self.last_number.checked_add(1))?;
        Some(KnownFile { number, size: None })
    }

    /// Leaves a file for a later scan, which will give it the same number.
    pub(super) fn hold_back(&mut self, name: &str, known: KnownFile) {
        self.last_number = self.last_number.max(known.number);
        self.held_back.insert(self.folder.join(name), known.number);
    }

    /// Adds a file to the folder at hand; `target` is what to open if it is a link.
    pub(super) fn add(
        &mut self,
        name: &str,
        known: KnownFile,
        size: u64,
        target: Option<&Path>,
    ) -> Result<(), AddError> {
        let KnownFile { number, size: size_before } = known;
        self.library.add(number, name, size)?;
        let target = target.map(|path| path.to_str().expect("links to other names are skipped"));
        if let Some(target) = target {
            self.library.set_link_target(target);
        }
        if size_before == Some(size) {
            self.same += 1;
            self.relinked |= self.previous.library.link_target(number) != target;
        }
        self.last_number = self.last_number.max(number);
        Ok(())
    }

    /// Works on the library for about `budget` words or postings. When it is done, returns the index,
    /// and whether other files are shared than before, or files of other sizes.
    pub(super) fn step(&mut self, budget: usize) -> Option<(SharedIndex, bool)> {
        let library = self.library.step(budget)?;
        let previous = &self.previous;
        let changed = self.same != library.len() || self.same != previous.library.len();
        let as_it_was = !changed && !self.relinked && self.roots == previous.roots;
        let index = SharedIndex {
            library: if as_it_was { Arc::clone(&previous.library) } else { Arc::new(library) },
            roots: std::mem::take(&mut self.roots),
            held_back: std::mem::take(&mut self.held_back),
            last_number: self.last_number,
        };
        Some((index, changed))
    }
}
