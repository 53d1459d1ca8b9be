//! Builds a [`Library`] in slices small enough to fit between two turns of an event loop.
//!
//! | stage | does |
//! |---|---|
//! | adding | words get provisional numbers from a sorted map; only the forward index (file → words) is kept |
//! | room | allocates the final arrays |
//! | words | takes the words out of the map in order, which numbers them by rank; counts per word give the place of their postings |
//! | files | one pass over the files writes the postings |
//! | bitmaps | sets the bits of the densest words |
//!
//! No stage sorts or copies anything as a whole. The finished library is a few flat arrays, which are
//! dropped at once.

use super::dense::Picker;
use super::index::WordIndex;
use super::names::NameTable;
use super::words::{MAX_NAME_WORDS, WordList};
use super::{File, Library, name_at};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::fmt;

/// The most files in one library. At 128 indexed words each, postings still fit `u32`.
pub const MAX_FILES: usize = 1 << 24;

/// The longest name that is shared, in bytes. File systems stop at 255 letters or bytes.
pub const MAX_NAME_BYTES: usize = 1024;

/// The most bytes of all names, and of all distinct words.
const MAX_TEXT_BYTES: usize = 1 << 31;

/// Array elements zeroed or bits set for one unit of the budget: each is far cheaper than a word.
const ELEMENTS_PER_UNIT: usize = 16;

/// Collects files, then turns them into a [`Library`]; see the module documentation.
///
/// First any number of [`LibraryBuilder::add`], then [`LibraryBuilder::step`] until it returns the
/// library; after that the builder is empty and can be used again.
#[derive(Default)]
pub struct LibraryBuilder {
    /// The library so far.
    library: Library,
    /// The root and path of a folder that was entered and has no file yet.
    entered: Option<(u32, String)>,
    /// Words to provisional numbers.
    words: BTreeMap<WordKey, u32>,
    /// Number of files with each word, by provisional number.
    counts: Vec<u32>,
    words_bytes: usize,
    /// File numbers to positions.
    numbers: BTreeMap<u32, u32>,
    scratch: WordList,
    stage: Stage,
}

/// Why a file was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddError {
    /// The library has [`MAX_FILES`] files, or names or paths of 2 GiB.
    Full,
    /// The name is empty, longer than [`MAX_NAME_BYTES`] or contains NUL: no QueryHit can carry it.
    UnfitName,
    /// Another file has this number.
    NumberTaken(u32),
    /// [`LibraryBuilder::step`] has begun to finish the library.
    Finishing,
}

#[derive(Default)]
enum Stage {
    #[default]
    Adding,
    /// Allocating: touching much new memory takes time.
    Room,
    /// Taking words out of the map.
    Words { ranks: Vec<u32>, picker: Picker, postings: u32 },
    /// Writing postings, numbers and names.
    Files { next: usize, ranks: Vec<u32> },
    /// Setting the bits of dense range `range`, from the posting at offset `next` of it.
    Bitmaps { range: usize, next: usize },
}

impl LibraryBuilder {
    /// An empty builder.
    pub fn new() -> LibraryBuilder {
        LibraryBuilder::default()
    }

    /// The next files lie in the folder at `path` within share root number `root`, until another folder
    /// is entered. Without a call the library has no locations.
    ///
    /// For the binary searches of [`Library::folder`] and [`Library::find_in`] folders must come by
    /// root, then in the order of [`std::path::Path`], and the files of a folder by name.
    pub fn enter(&mut self, root: u32, path: &str) {
        self.entered = Some((root, path.to_owned()));
    }

    /// The file added last is a link to `target`, a path within its root.
    pub fn set_link_target(&mut self, target: &str) {
        if let Some(position) = self.library.files.len().checked_sub(1) {
            let locations = self.library.locations.get_or_insert_default();
            locations.push_link(narrow(position), target);
        }
    }

    /// Adds a file of `size` bytes. The work is bounded by the limits of a name, and usually takes 1 to
    /// 3 µs.
    ///
    /// # Errors
    /// When the file cannot be added; the builder is unchanged.
    pub fn add(&mut self, number: u32, name: &str, size: u64) -> Result<(), AddError> {
        if !matches!(self.stage, Stage::Adding) {
            return Err(AddError::Finishing);
        }
        if name.is_empty() || name.len() > MAX_NAME_BYTES || name.contains('\0') {
            return Err(AddError::UnfitName);
        }
        self.scratch.read(name, MAX_NAME_WORDS);
        let position = self.library.files.len();
        let name_end = self.library.text.len() + name.len();
        if position >= MAX_FILES
            || name_end > MAX_TEXT_BYTES
            || self.words_bytes + self.scratch.text_bytes() > MAX_TEXT_BYTES
            || self.location_bytes() > MAX_TEXT_BYTES
        {
            return Err(AddError::Full);
        }
        match self.numbers.entry(number) {
            Slot::Vacant(slot) => slot.insert(narrow(position)),
            Slot::Occupied(_) => return Err(AddError::NumberTaken(number)),
        };
        if let Some((root, path)) = self.entered.take() {
            let locations = self.library.locations.get_or_insert_default();
            locations.push_folder(root, &path, narrow(position));
        }
        self.library.text.push_str(name);
        self.library.files.push(File { number, name_end: narrow(name_end), size });
        self.library.total_bytes = self.library.total_bytes.saturating_add(size);
        self.add_words();
        Ok(())
    }

    /// Bytes of paths, or of link targets, with the folder that was entered.
    fn location_bytes(&self) -> usize {
        let held = self.library.locations.as_ref().map_or(0, |locations| locations.text_bytes());
        held + self.entered.as_ref().map_or(0, |(_, path)| path.len())
    }

    /// Adds the words in `scratch` to the forward index.
    fn add_words(&mut self) {
        let index = &mut self.library.index;
        index.forward_starts.push(narrow(index.forward.len()));
        for word in self.scratch.iter() {
            let provisional = *self.words.entry(WordKey::new(word)).or_insert_with(|| {
                self.words_bytes += word.len();
                self.counts.push(0);
                narrow(self.counts.len() - 1)
            });
            self.counts[provisional as usize] += 1;
            index.forward.push(provisional);
        }
    }

    /// Does work worth about `budget` words or postings; returns the library when it is finished.
    ///
    /// A budget of 2,000 takes well below a millisecond.
    pub fn step(&mut self, budget: usize) -> Option<Library> {
        let mut left = budget.max(1);
        while left > 0 {
            self.stage = match std::mem::take(&mut self.stage) {
                Stage::Adding => self.begin(),
                Stage::Room => self.make_room(&mut left),
                Stage::Words { ranks, picker, postings } => {
                    self.move_words(ranks, picker, postings, &mut left)
                }
                Stage::Files { next, ranks } => self.fill_files(next, ranks, &mut left),
                Stage::Bitmaps { range, next } => {
                    let dense = self.library.index.dense.ranges().len();
                    if range == dense {
                        return Some(std::mem::take(self).library);
                    }
                    self.fill_bitmap(range, next, &mut left)
                }
            };
        }
        None
    }

    fn begin(&mut self) -> Stage {
        let Library { files, text, by_number, by_name, index, locations, .. } = &mut self.library;
        files.shrink_to_fit();
        text.shrink_to_fit();
        if let Some(locations) = locations {
            locations.shrink_to_fit();
        }
        *by_name = NameTable::for_files(files.len());
        by_number.reserve_exact(files.len());
        index.forward_starts.push(narrow(index.forward.len()));
        index.forward_starts.shrink_to_fit();
        index.forward.shrink_to_fit();
        index.text.reserve_exact(self.words_bytes);
        index.starts.reserve_exact(self.counts.len() + 1);
        index.posting_starts.reserve_exact(self.counts.len() + 1);
        index.starts.push(0);
        index.posting_starts.push(0);
        index.postings.reserve_exact(index.forward.len());
        Stage::Room
    }

    fn make_room(&mut self, left: &mut usize) -> Stage {
        let Library { files, by_name, index, .. } = &mut self.library;
        let batch = left.saturating_mul(ELEMENTS_PER_UNIT);
        let missing = index.forward.len() - index.postings.len();
        let postings = missing.min(batch);
        index.postings.resize(index.postings.len() + postings, 0);
        let slots = by_name.make_room(batch - postings);
        *left = left.saturating_sub((postings + slots) / ELEMENTS_PER_UNIT);
        if *left == 0 {
            return Stage::Room;
        }
        let picker = Picker::new(files.len());
        Stage::Words { ranks: vec![0; self.counts.len()], picker, postings: 0 }
    }

    /// Gives words their final numbers: the rank among the sorted words. `postings` counts those of the
    /// words moved so far.
    fn move_words(
        &mut self,
        mut ranks: Vec<u32>,
        mut picker: Picker,
        mut postings: u32,
        left: &mut usize,
    ) -> Stage {
        let index = &mut self.library.index;
        while *left > 0 {
            *left -= 1;
            let rank = narrow(index.words());
            let Some((key, provisional)) = self.words.pop_first() else {
                index.buckets.finish(rank);
                index.dense = picker.finish(rank, postings);
                return Stage::Files { next: 0, ranks };
            };
            let start = index.text.len();
            key.append_to(&mut index.text);
            index.starts.push(narrow(index.text.len()));
            let word = &index.text[start..];
            index.buckets.push(word, rank);
            picker.word(word, rank, postings);
            ranks[provisional as usize] = rank;
            // `fill_files` advances this with each posting of the word, so that in the end it is
            // where the postings of the next word start.
            index.posting_starts.push(postings);
            postings += self.counts[provisional as usize];
        }
        Stage::Words { ranks, picker, postings }
    }

    /// Enters each file under its name, its number and its words.
    fn fill_files(&mut self, mut next: usize, ranks: Vec<u32>, left: &mut usize) -> Stage {
        let Library { files, text, by_number, by_name, index, .. } = &mut self.library;
        while *left > 0 {
            let Some((_, position)) = self.numbers.pop_first() else {
                return Stage::Bitmaps { range: 0, next: 0 };
            };
            by_number.push(position);
            let position = narrow(next);
            by_name.insert(position, |position| name_at(files, text, position));
            let words =
                index.forward_starts[next] as usize..index.forward_starts[next + 1] as usize;
            *left = left.saturating_sub(2 + words.len());
            for word in &mut index.forward[words.clone()] {
                *word = ranks[*word as usize];
                let end = &mut index.posting_starts[*word as usize + 1];
                index.postings[*end as usize] = position;
                *end += 1;
            }
            index.forward[words].sort_unstable();
            next += 1;
        }
        Stage::Files { next, ranks }
    }

    /// Sets the bits of one dense range.
    fn fill_bitmap(&mut self, range: usize, next: usize, left: &mut usize) -> Stage {
        let WordIndex { dense, postings, posting_starts, .. } = &mut self.library.index;
        if next == 0 {
            dense.add_bitmap();
        }
        let words = dense.ranges()[range];
        let first = posting_starts[words.first as usize] as usize + next;
        let end = posting_starts[words.end as usize] as usize;
        let until = end.min(first.saturating_add(left.saturating_mul(ELEMENTS_PER_UNIT)));
        for &file in &postings[first..until] {
            dense.set(range, file);
        }
        *left = left.saturating_sub(1 + (until - first) / ELEMENTS_PER_UNIT);
        if until == end {
            Stage::Bitmaps { range: range + 1, next: 0 }
        } else {
            Stage::Bitmaps { range, next: next + (until - first) }
        }
    }
}

impl fmt::Debug for LibraryBuilder {
    /// Counts only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LibraryBuilder")
            .field("files", &self.library.files.len())
            .field("words", &self.counts.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for AddError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AddError::Full => write!(f, "the library is full: {MAX_FILES} files or 2 GiB of names"),
            AddError::UnfitName => write!(
                f,
                "the file name cannot be sent: a name has 1 to {MAX_NAME_BYTES} bytes and no NUL"
            ),
            AddError::NumberTaken(number) => {
                write!(f, "file number {number} is taken by another file")
            }
            AddError::Finishing => f.write_str("the library is being finished"),
        }
    }
}

impl std::error::Error for AddError {}

/// A word as a key of the map: its first eight bytes are one number, so most comparisons stay within
/// the nodes of the map and most words need no allocation.
///
/// Words have no zero bytes, so padding with zeros keeps their order.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct WordKey {
    head: u64,
    tail: Box<[u8]>,
}

impl WordKey {
    fn new(word: &[u8]) -> WordKey {
        let (head, tail) = word.split_at(word.len().min(8));
        let mut padded = [0; 8];
        padded[..head.len()].copy_from_slice(head);
        WordKey { head: u64::from_be_bytes(padded), tail: tail.into() }
    }

    fn append_to(&self, text: &mut Vec<u8>) {
        text.extend(self.head.to_be_bytes().into_iter().take_while(|&byte| byte != 0));
        text.extend_from_slice(&self.tail);
    }
}

/// Positions, words, postings and offsets all fit 32 bits by the limits checked in `add`.
fn narrow(number: usize) -> u32 {
    u32::try_from(number).expect("bounded by MAX_FILES and MAX_TEXT_BYTES")
}
