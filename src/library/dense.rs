//! Bitmaps of the files that have one of the densest beginnings of words.
//!
//! Walking posting lists is slow when every word of a Query is common (`the`, `mp3`, `co`). The
//! [`MAX_RANGES`] densest beginnings therefore have one bit per file: a common word is checked with one
//! load, and several are intersected 512 files at a time. That takes at most `MAX_RANGES` / 8 = 16
//! bytes per file.
//!
//! Words are sorted, so a beginning is a range of words. [`Picker`] is given the words in order and
//! knows, when a beginning ends, how many postings it had.

use super::words::first_letter_bytes;

/// Most beginnings with a bitmap.
const MAX_RANGES: usize = 128;

/// Below this many files a posting list is as quick as a bitmap.
const MIN_FILES: usize = 1024;

/// A beginning gets a bitmap from one posting per this many files on: then reading the whole bitmap is
/// faster than walking the postings.
const FILES_PER_POSTING: usize = 64;

/// One bit for each of 512 consecutive files: a size for vector instructions.
pub(super) type Block = [u64; 8];

/// Files in a [`Block`].
const BLOCK_FILES: usize = 512;

/// A range of words, `first..end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WordRange {
    pub(super) first: u32,
    pub(super) end: u32,
}

/// The finished bitmaps.
#[derive(Default)]
pub(super) struct DenseRanges {
    /// Sorted.
    ranges: Vec<WordRange>,
    /// No range with fewer postings has a bitmap.
    min_postings: u32,
    /// `blocks_each` blocks for every range.
    blocks: Vec<Block>,
    blocks_each: usize,
}

impl DenseRanges {
    /// The bitmap of `range`, which has `postings` postings, if it has one.
    pub(super) fn find(&self, range: WordRange, postings: u32) -> Option<&[Block]> {
        if postings < self.min_postings || self.ranges.is_empty() {
            return None;
        }
        let at = self.ranges.binary_search(&range).ok()?;
        self.blocks.get(at * self.blocks_each..(at + 1) * self.blocks_each)
    }

    /// The ranges that have a bitmap.
    pub(super) fn ranges(&self) -> &[WordRange] {
        &self.ranges
    }

    /// Adds an empty bitmap, for the first range in [`DenseRanges::ranges`] that has none.
    pub(super) fn add_bitmap(&mut self) {
        self.blocks.resize(self.blocks.len() + self.blocks_each, [0; 8]);
    }

    /// Sets the bit of `file` in the bitmap of the range at `at` in [`DenseRanges::ranges`].
    pub(super) fn set(&mut self, at: usize, file: u32) {
        let (block, word, bit) = position(file);
        self.blocks[at * self.blocks_each + block][word] |= 1 << bit;
    }
}

/// Whether `file` is in `bitmap`.
pub(super) fn contains(bitmap: &[Block], file: u32) -> bool {
    let (block, word, bit) = position(file);
    bitmap[block][word] >> bit & 1 == 1
}

/// The files of a block whose first file is `BLOCK_FILES * index`.
pub(super) fn files_of(index: usize, block: Block) -> impl Iterator<Item = u32> {
    block.into_iter().enumerate().flat_map(move |(word, mut bits)| {
        let base = index * BLOCK_FILES + word * 64;
        std::iter::from_fn(move || {
            let bit = bits.trailing_zeros() as usize;
            bits &= bits.checked_sub(1)?;
            u32::try_from(base + bit).ok()
        })
    })
}

fn position(file: u32) -> (usize, usize, usize) {
    let file = file as usize;
    (file / BLOCK_FILES, file % BLOCK_FILES / 64, file % 64)
}

/// Picks the densest beginnings from all words, given in sorted order.
#[derive(Default)]
pub(super) struct Picker {
    /// For each length, less one, of a beginning of the last word: the first word that had it, and
    /// the number of postings before that word.
    open: Vec<(u32, u32)>,
    last: Vec<u8>,
    min_postings: u32,
    /// At most [`MAX_RANGES`], with their postings.
    picked: Vec<(u32, WordRange)>,
    files: usize,
}

impl Picker {
    /// A picker for a library of `files` files.
    pub(super) fn new(files: usize) -> Picker {
        let min_postings =
            if files < MIN_FILES { u32::MAX } else { clamp_u32(files.div_ceil(FILES_PER_POSTING)) };
        Picker { min_postings, files, ..Picker::default() }
    }

    /// The next word, number `index`; `postings` postings belong to the words before it.
    pub(super) fn word(&mut self, word: &[u8], index: u32, postings: u32) {
        let common = self.last.iter().zip(word).take_while(|(a, b)| a == b).count();
        self.close(common, index, postings);
        self.open.resize(word.len(), (index, postings));
        self.last.clear();
        self.last.extend_from_slice(word);
    }

    /// The bitmaps to be filled, after all `words` words with `postings` postings.
    pub(super) fn finish(mut self, words: u32, postings: u32) -> DenseRanges {
        self.close(0, words, postings);
        let min_postings = self.picked.iter().map(|&(count, _)| count).min().unwrap_or(u32::MAX);
        let mut ranges: Vec<_> = self.picked.iter().map(|&(_, range)| range).collect();
        ranges.sort_unstable();
        let blocks_each = self.files.div_ceil(BLOCK_FILES);
        let blocks = Vec::with_capacity(blocks_each * ranges.len());
        DenseRanges { ranges, min_postings, blocks, blocks_each }
    }

    /// Beginnings of the last word longer than `common` bytes end before word `end`.
    fn close(&mut self, common: usize, end: u32, postings: u32) {
        let first_letter = first_letter_bytes(&self.last);
        let mut longer = None;
        while self.open.len() > common {
            let length = self.open.len();
            let Some((first, before)) = self.open.pop() else { break };
            // Words of criteria have at least two whole letters: no other beginning is looked up.
            let whole_letters = self.last.get(length).is_none_or(|&byte| byte & 0xc0 != 0x80);
            if whole_letters && length > first_letter && longer != Some(first) {
                longer = Some(first);
                self.offer(postings - before, WordRange { first, end });
            }
        }
    }

    fn offer(&mut self, count: u32, range: WordRange) {
        if count < self.min_postings {
            return;
        }
        if self.picked.len() < MAX_RANGES {
            self.picked.push((count, range));
        } else if let Some(least) = self.picked.iter_mut().min_by_key(|(count, _)| *count)
            && least.0 < count
        {
            *least = (count, range);
        }
    }
}

fn clamp_u32(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dense_beginnings_of_two_letters_or_more_are_picked_once() {
        // Of 6400 files 100 make a beginning dense.
        let mut picker = Picker::new(6400);
        let words = [("cafe", 60), ("car", 60), ("dog", 99), ("éa", 50), ("éb", 150), ("éé", 100)];
        let mut postings = 0;
        for ((word, count), index) in words.into_iter().zip(0..) {
            picker.word(word.as_bytes(), index, postings);
            postings += count;
        }
        let dense = picker.finish(6, postings);
        // "ca" together, but neither "cafe" nor "car"; not the single letters "c" and "é", nor the
        // common first byte of "éa" and "éé".
        let range = |first, end| WordRange { first, end };
        assert_eq!(dense.ranges(), [range(0, 2), range(4, 5), range(5, 6)]);
        assert_eq!(dense.min_postings, 100);
    }

    #[test]
    fn only_the_densest_are_kept() {
        let mut picker = Picker::new(MIN_FILES);
        for index in 0..200 {
            picker.offer(1000 + index, WordRange { first: index, end: index + 1 });
        }
        let dense = picker.finish(200, 0);
        assert_eq!(dense.ranges().len(), MAX_RANGES);
        assert_eq!(dense.min_postings, 1200 - u32::try_from(MAX_RANGES).expect("small"));
    }
}
