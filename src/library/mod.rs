//! The library: the shared files, found by number, by name and by the words of their names.
//!
//! It has the name, size and place of each file, never its contents. A [`Library`] is immutable: a
//! rescan fills a [`LibraryBuilder`] in bounded slices between turns of the event loop, and the
//! finished library replaces the old one. So searches need no lock, and all servents of a simulation
//! can share one `Arc<Library>`.
//!
//! A file matches if every word of the [`Criteria`] begins a word of its name, in any order; the
//! extension is a word like any other.
//!
//! | file | has |
//! |---|---|
//! | `words` | what a word is, in names and criteria alike |
//! | `index` `dense` | word index: a search takes microseconds among 100,000 names |
//! | `names` | look-up by exact name |
//! | `locations` | share root and folder of each file, as text |
//! | `builder` | building in slices |
//! | `index_page` | the page for a browser |

mod builder;
mod dense;
mod index;
mod index_page;
mod locations;
mod names;
mod words;

pub use builder::{AddError, LibraryBuilder, MAX_FILES, MAX_NAME_BYTES};
pub use index_page::MAX_INDEX_BYTES;
pub use locations::{FolderFiles, Location};
pub use words::{Criteria, CriteriaError, MAX_QUERY_WORDS};

use index::WordIndex;
use locations::Locations;
use names::NameTable;
use std::cmp::Ordering;
use std::fmt;

/// The shared files. Built by [`LibraryBuilder`]; shared as `Arc<Library>`.
#[derive(Default)]
pub struct Library {
    /// In the order of adding. A position is an index into this.
    files: Vec<File>,
    /// All names, one after the other.
    text: String,
    /// Positions, by ascending file number.
    by_number: Vec<u32>,
    by_name: NameTable,
    index: WordIndex,
    /// Locations of the files; `None` if no folder was entered.
    locations: Option<Box<Locations>>,
    total_bytes: u64,
}

/// One shared file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The file's number: the index field of a result, and the INDEX of `/get/INDEX/NAME`.
    pub number: u32,
    /// Its name, without any folder.
    pub name: &'a str,
    /// Its size in bytes.
    pub size: u64,
}

#[derive(Clone, Copy)]
struct File {
    number: u32,
    /// Where its name ends in [`Library::text`]; it starts where the one before ends.
    name_end: u32,
    size: u64,
}

impl Library {
    /// A library without files.
    pub fn empty() -> Library {
        Library::default()
    }

    /// Number of files.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether nothing is shared.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The sum of all sizes, in bytes; saturates.
    pub fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// The file with this number.
    pub fn get(&self, number: u32) -> Option<Entry<'_>> {
        Some(self.entry(self.position(number)?))
    }

    /// The location of the file with this number, if its folder was entered.
    pub fn location(&self, number: u32) -> Option<Location<'_>> {
        let position = self.position(number)?;
        let name = name_at(&self.files, &self.text, position);
        self.locations.as_ref()?.locate(position, name)
    }

    /// The target of the file with this number within its root, if it is a link.
    pub fn link_target(&self, number: u32) -> Option<&str> {
        let locations = self.locations.as_ref().filter(|locations| locations.has_links())?;
        locations.target(self.position(number)?)
    }

    /// The shared files of a folder, without those of its subfolders.
    pub fn folder(&self, root: usize, path: &str) -> Option<FolderFiles> {
        let files = u32::try_from(self.files.len()).ok()?;
        self.locations.as_ref()?.find(root, path, files).map(FolderFiles)
    }

    /// The file of `folder`, one of this library, that is called `name`.
    pub fn find_in(&self, folder: &FolderFiles, name: &str) -> Option<Entry<'_>> {
        let (mut low, mut high) = (folder.0.start, folder.0.end);
        while low < high {
            let middle = low.midpoint(high);
            match name_at(&self.files, &self.text, middle).cmp(name) {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => return Some(self.entry(middle)),
            }
        }
        None
    }

    /// The file with exactly this name; `None` if no file has it, or more than one.
    pub fn by_unique_name(&self, name: &str) -> Option<Entry<'_>> {
        let name_of = |position| name_at(&self.files, &self.text, position);
        self.by_name.unique(name, name_of).map(|position| self.entry(position))
    }

    /// All files, by ascending number: the answer to an index query (draft 0.6 §2.2.7.3).
    pub fn entries(&self) -> impl ExactSizeIterator<Item = Entry<'_>> {
        self.by_number.iter().map(|&position| self.entry(position))
    }

    /// The distinct words of all names, folded and in order, without the first `skip`: what a table of
    /// words is built of, in slices.
    pub(crate) fn words_after(&self, skip: usize) -> impl Iterator<Item = &str> {
        self.index.words_after(skip).filter_map(|word| str::from_utf8(word).ok())
    }

    /// Appends up to `limit` files that match to `found`, each once, in no particular order.
    ///
    /// Does not allocate unless something is found.
    pub fn search<'a>(&'a self, criteria: &Criteria, limit: usize, found: &mut Vec<Entry<'a>>) {
        if limit == 0 {
            return;
        }
        let full = found.len().saturating_add(limit);
        self.index.search(criteria, |position| {
            found.push(self.entry(position));
            found.len() < full
        });
    }

    /// Reads `text` into `criteria` and searches for it. Stops reading at the first word that no file
    /// has, so `criteria` may then hold only a part of the text. Returns the number of steps: letters
    /// beyond ASCII folded, words looked up, candidates, and checks of candidates.
    ///
    /// # Errors
    /// See [`Criteria::read`].
    pub fn search_text<'a>(
        &'a self,
        text: &[u8],
        criteria: &mut Criteria,
        limit: usize,
        found: &mut Vec<Entry<'a>>,
    ) -> Result<u32, CriteriaError> {
        let full = found.len().saturating_add(limit);
        self.index.search_text(text, criteria, |position| {
            if found.len() < full {
                found.push(self.entry(position));
            }
            found.len() < full
        })
    }

    fn position(&self, number: u32) -> Option<u32> {
        let number_at = |&position: &u32| self.files[position as usize].number;
        let at = self.by_number.binary_search_by_key(&number, number_at).ok()?;
        Some(self.by_number[at])
    }

    fn entry(&self, position: u32) -> Entry<'_> {
        let File { number, size, .. } = self.files[position as usize];
        Entry { number, name: name_at(&self.files, &self.text, position), size }
    }
}

/// The name of the file at `position` of `files`, whose names are `text`.
fn name_at<'a>(files: &[File], text: &'a str, position: u32) -> &'a str {
    let at = position as usize;
    let start = at.checked_sub(1).map_or(0, |before| files[before].name_end);
    &text[start as usize..files[at].name_end as usize]
}

impl fmt::Debug for Library {
    /// Counts only, so that a log line does not grow with the library.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Library")
            .field("files", &self.len())
            .field("total_bytes", &self.total_bytes)
            .field("words", &self.index.words())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
