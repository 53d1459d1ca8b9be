//! Locations of the shared files as text: a share root by number, a folder within it, a name.
//!
//! The library stores and compares this text and opens nothing by it. Files are added folder by
//! folder, so the files of a folder are a range of positions and a file takes no bytes here. A folder
//! takes 12 bytes and its path.

use std::ops::Range;
use std::path::Path;

/// The location of a shared file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location<'a> {
    /// The number of the share root.
    pub root: usize,
    /// The folder within the root; empty is the root itself.
    pub folder: &'a str,
    /// The file's name; for a link, with an empty folder, the path of its target.
    pub file: &'a str,
}

/// The files of one folder; see [`Library::folder`](super::Library::folder).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderFiles(pub(super) Range<u32>);

/// The folders of a library's files, and the files that are links.
#[derive(Default)]
pub(super) struct Locations {
    /// By root, then by path.
    folders: Vec<Folder>,
    paths: String,
    /// By position.
    links: Vec<Symlink>,
    targets: String,
}

#[derive(Clone, Copy)]
struct Folder {
    root: u32,
    /// The position of its first file. Its last is the one before the next folder's first.
    first: u32,
    /// Where its path ends in [`Locations::paths`]; it starts where the one before ends.
    path_end: u32,
}

#[derive(Clone, Copy)]
struct Symlink {
    position: u32,
    /// Where its target ends in [`Locations::targets`]; it starts where the one before ends.
    target_end: u32,
}

impl Locations {
    /// The next files, from position `first` on, lie in this folder.
    pub(super) fn push_folder(&mut self, root: u32, path: &str, first: u32) {
        self.paths.push_str(path);
        self.folders.push(Folder { root, first, path_end: narrow(self.paths.len()) });
    }

    /// The file at `position`, the last one added, is a link to `target` within its root.
    pub(super) fn push_link(&mut self, position: u32, target: &str) {
        self.targets.push_str(target);
        self.links.push(Symlink { position, target_end: narrow(self.targets.len()) });
    }

    /// Bytes of text held.
    pub(super) fn text_bytes(&self) -> usize {
        self.paths.len().max(self.targets.len())
    }

    pub(super) fn shrink_to_fit(&mut self) {
        self.folders.shrink_to_fit();
        self.paths.shrink_to_fit();
        self.links.shrink_to_fit();
        self.targets.shrink_to_fit();
    }

    /// The location of the file `name` at `position`.
    pub(super) fn locate<'a>(&'a self, position: u32, name: &'a str) -> Option<Location<'a>> {
        let after = self.folders.partition_point(|folder| folder.first <= position);
        let at = after.checked_sub(1)?;
        let root = self.folders[at].root as usize;
        Some(match self.target(position) {
            Some(file) => Location { root, folder: "", file },
            None => Location { root, folder: self.path(at), file: name },
        })
    }

    /// Whether any file is a link.
    pub(super) fn has_links(&self) -> bool {
        !self.links.is_empty()
    }

    /// The target of the link at `position`; `None` for other files.
    pub(super) fn target(&self, position: u32) -> Option<&str> {
        let at = self.links.binary_search_by_key(&position, |link| link.position).ok()?;
        let start = at.checked_sub(1).map_or(0, |before| self.links[before].target_end);
        Some(&self.targets[start as usize..self.links[at].target_end as usize])
    }

    /// The positions of the files in a folder, in a library of `files` files.
    pub(super) fn find(&self, root: usize, path: &str, files: u32) -> Option<Range<u32>> {
        let order = |at: usize| {
            let own = (self.folders[at].root as usize, Path::new(self.path(at)));
            own.cmp(&(root, Path::new(path)))
        };
        let (mut low, mut high) = (0, self.folders.len());
        while low < high {
            let middle = low.midpoint(high);
            match order(middle) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => {
                    let end = self.folders.get(middle + 1).map_or(files, |next| next.first);
                    return Some(self.folders[middle].first..end);
                }
            }
        }
        None
    }

    fn path(&self, at: usize) -> &str {
        let start = at.checked_sub(1).map_or(0, |before| self.folders[before].path_end);
        &self.paths[start as usize..self.folders[at].path_end as usize]
    }
}

/// The builder keeps texts below 2 GiB.
fn narrow(number: usize) -> u32 {
    u32::try_from(number).expect("bounded by the builder")
}
