//! The word index: the files with a word that begins with a word of a Query.
//!
//! An inverted index in a few flat arrays. The distinct words are sorted, so words with a common
//! beginning are adjacent; the postings (files) of all words lie in word order, so such a range of
//! words is one slice of postings whose length is known before it is read. A forward index (file →
//! words) checks single candidates, bitmaps check common words. A search costs a look-up per word and
//! a walk over the files of the *rarest* word.

use super::dense::{self, Block, DenseRanges, WordRange};
use super::words::{Criteria, CriteriaError, MAX_QUERY_WORDS};

/// Classes of bytes in a word: ten digits, 26 letters, anything beyond ASCII.
const BYTE_CLASSES: usize = 37;

/// Entries of the look-up table: one for each pair of classes, and the end; 5.5 KB.
const BUCKETS: usize = BYTE_CLASSES * BYTE_CLASSES + 1;

/// With fewer words there is no table: it would be larger than they are, and six comparisons find any
/// word.
const MIN_BUCKETED_WORDS: u32 = 64;

/// The word index. Files are given by position, not by number.
#[derive(Default)]
pub(super) struct WordIndex {
    /// The sorted words, one after the other.
    pub(super) text: Vec<u8>,
    /// Where each word starts in `text`, and the end of the last.
    pub(super) starts: Vec<u32>,
    /// The first word that begins with each pair of byte classes or a greater one.
    pub(super) buckets: Buckets,
    /// Where the postings of each word start, and the end of the last.
    pub(super) posting_starts: Vec<u32>,
    /// Files, ascending for each word.
    pub(super) postings: Vec<u32>,
    /// Where the words of each file start in `forward`, and the end of the last.
    pub(super) forward_starts: Vec<u32>,
    /// Words, ascending for each file.
    pub(super) forward: Vec<u32>,
    pub(super) dense: DenseRanges,
}

/// Cost of decomposing and folding a letter, in steps.
const LETTER_STEPS: u32 = 4;

/// Cost of looking up a word, in steps: a binary search with string comparisons.
const LOOK_UP_STEPS: u32 = 4;

/// One word of a Query, looked up.
#[derive(Clone, Copy, Default)]
struct Term<'a> {
    range: WordRange,
    /// Number of postings: a file with two words in the range counts twice.
    postings: u32,
    bitmap: Option<&'a [Block]>,
}

/// The words of a Query, in their order.
#[derive(Default)]
struct Terms<'a> {
    all: [Term<'a>; MAX_QUERY_WORDS],
    count: usize,
}

impl<'a> Terms<'a> {
    /// Adds a term; false without one, or without room.
    fn push(&mut self, term: Option<Term<'a>>) -> bool {
        let slot = self.all.get_mut(self.count);
        let pushed = slot.zip(term).map(|(slot, term)| *slot = term);
        self.count += usize::from(pushed.is_some());
        pushed.is_some()
    }

    fn given(&mut self) -> &mut [Term<'a>] {
        &mut self.all[..self.count]
    }
}

impl WordIndex {
    /// Number of distinct words.
    pub(super) fn words(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// The distinct words in order, without the first `skip`.
    pub(super) fn words_after(&self, skip: usize) -> impl Iterator<Item = &[u8]> {
        let skip = u32::try_from(skip).unwrap_or(u32::MAX);
        let words = u32::try_from(self.words()).unwrap_or(u32::MAX);
        (skip..words).map(|word| self.word(word))
    }

    /// Calls `found` with each file that matches, once, until it returns false.
    pub(super) fn search(&self, criteria: &Criteria, found: impl FnMut(u32) -> bool) {
        let mut terms = Terms::default();
        if criteria.words().all(|word| terms.push(self.look_up(word))) {
            self.find(terms.given(), found);
        }
    }

    /// Reads and searches at the same time; stops at the first word that no file has, since most
    /// Queries of a network find nothing. Returns the number of steps: letters folded, words looked
    /// up, candidates, and checks of candidates.
    pub(super) fn search_text(
        &self,
        text: &[u8],
        criteria: &mut Criteria,
        found: impl FnMut(u32) -> bool,
    ) -> Result<u32, CriteriaError> {
        // Allocated with the first term, since clearing the room costs time.
        let (mut terms, mut all, mut steps) = (None, true, 0);
        criteria.read_while(text, |word| {
            steps += LOOK_UP_STEPS;
            let term = self.look_up(word);
            all = term.is_some() && terms.get_or_insert_with(Terms::default).push(term);
            all
        })?;
        steps += LETTER_STEPS * criteria.folded_letters();
        if let (Some(terms), true) = (&mut terms, all) {
            steps += self.find(terms.given(), found);
        }
        Ok(steps)
    }

    fn look_up(&self, word: &[u8]) -> Option<Term<'_>> {
        let range = self.words_beginning_with(word)?;
        let postings =
            self.posting_starts[range.end as usize] - self.posting_starts[range.first as usize];
        Some(Term { range, postings, bitmap: self.dense.find(range, postings) })
    }

    /// Returns the number of steps.
    fn find(&self, terms: &mut [Term<'_>], found: impl FnMut(u32) -> bool) -> u32 {
        // The rarest first; of the others, those with a bitmap first, the cheapest check.
        terms.sort_unstable_by_key(|term| term.postings);
        let Some((rarest, others)) = terms.split_first_mut() else { return 0 };
        others.sort_unstable_by_key(|term| term.bitmap.is_none());
        match rarest.bitmap {
            Some(bitmap) => self.intersect(bitmap, others, found),
            None => self.walk(rarest.range, others, found),
        }
    }

    /// Checks each file of the rarest word for the other words.
    fn walk(
        &self,
        range: WordRange,
        others: &[Term<'_>],
        mut found: impl FnMut(u32) -> bool,
    ) -> u32 {
        let (several_words, mut steps) = (range.end - range.first > 1, 0);
        for word in range.first..range.end {
            for &file in self.postings_of(word) {
                steps += 1;
                let mut has = |term| {
                    steps += 1;
                    self.has(file, term)
                };
                if others.iter().all(&mut has)
                    // A file with several words in the range is found at the first of them.
                    && (!several_words || self.first_word_in(file, range) == Some(word))
                    && !found(file)
                {
                    return steps;
                }
            }
        }
        steps
    }

    /// Intersects the bitmaps of common words, block by block.
    fn intersect(
        &self,
        bitmap: &[Block],
        others: &[Term<'_>],
        mut found: impl FnMut(u32) -> bool,
    ) -> u32 {
        let mut steps = 0;
        let with_bitmap = others.iter().take_while(|term| term.bitmap.is_some()).count();
        let (others, rest) = others.split_at(with_bitmap);
        for (index, &block) in bitmap.iter().enumerate() {
            let mut common = block;
            steps += 1;
            for other in others.iter().filter_map(|term| term.bitmap) {
                for (bits, other) in common.iter_mut().zip(&other[index]) {
                    *bits &= other;
                }
            }
            if common == [0; 8] {
                continue;
            }
            for file in dense::files_of(index, common) {
                let mut has = |term| {
                    steps += 1;
                    self.has(file, term)
                };
                if rest.iter().all(&mut has) && !found(file) {
                    return steps;
                }
            }
        }
        steps
    }

    fn has(&self, file: u32, term: &Term<'_>) -> bool {
        match term.bitmap {
            Some(bitmap) => dense::contains(bitmap, file),
            None => self.first_word_in(file, term.range).is_some(),
        }
    }

    /// The first word of `file` that lies in `range`.
    fn first_word_in(&self, file: u32, range: WordRange) -> Option<u32> {
        let file = file as usize;
        let words = self.forward_starts[file] as usize..self.forward_starts[file + 1] as usize;
        let word = self.forward[words].iter().copied().find(|&word| word >= range.first)?;
        (word < range.end).then_some(word)
    }

    /// The words that begin with `beginning`, which has two bytes or more; `None` if there are
    /// none.
    fn words_beginning_with(&self, beginning: &[u8]) -> Option<WordRange> {
        let (low, high) = self.buckets.find(beginning)?;
        let first = partition_point(low, high, |word| self.word(word) < beginning);
        if first == high || !self.word(first).starts_with(beginning) {
            return None;
        }
        let end = partition_point(first + 1, high, |word| self.word(word).starts_with(beginning));
        Some(WordRange { first, end })
    }

    fn word(&self, word: u32) -> &[u8] {
        let word = word as usize;
        &self.text[self.starts[word] as usize..self.starts[word + 1] as usize]
    }

    pub(super) fn postings_of(&self, word: u32) -> &[u32] {
        let word = word as usize;
        &self.postings[self.posting_starts[word] as usize..self.posting_starts[word + 1] as usize]
    }
}

/// A table by the first two bytes of a word, which narrows the binary search.
#[derive(Default)]
pub(super) struct Buckets {
    /// The first word of each pair of classes; empty if there are few words.
    starts: Vec<u32>,
    words: u32,
}

impl Buckets {
    /// The next word, in sorted order.
    pub(super) fn push(&mut self, word: &[u8], index: u32) {
        if let Some(pair) = class_pair(word)
            && self.starts.len() <= pair
        {
            self.starts.resize(pair + 1, index);
        }
    }

    /// There are `words` words, and no more.
    pub(super) fn finish(&mut self, words: u32) {
        self.words = words;
        if words < MIN_BUCKETED_WORDS {
            self.starts = Vec::new();
        } else {
            self.starts.resize(BUCKETS, words);
        }
    }

    /// The range of words that have the two first byte classes of `word`.
    fn find(&self, word: &[u8]) -> Option<(u32, u32)> {
        let pair = class_pair(word)?;
        if self.starts.is_empty() {
            return Some((0, self.words));
        }
        Some((*self.starts.get(pair)?, *self.starts.get(pair + 1)?))
    }
}

/// The pair of classes of the first two bytes; ascends with the word.
fn class_pair(word: &[u8]) -> Option<usize> {
    let &[first, second, ..] = word else { return None };
    Some(byte_class(first) * BYTE_CLASSES + byte_class(second))
}

/// The class of a byte of a word: ASCII digits, small ASCII letters, bytes beyond ASCII, in this order.
fn byte_class(byte: u8) -> usize {
    match byte {
        ..b'a' => usize::from(byte.saturating_sub(b'0').min(9)),
        b'a'..=b'z' => usize::from(byte - b'a') + 10,
        _ => BYTE_CLASSES - 1,
    }
}

/// The first of `low..high` for which `before` is false; `before` must be true up to some point and
/// false from there on.
fn partition_point(mut low: u32, mut high: u32, before: impl Fn(u32) -> bool) -> u32 {
    while low < high {
        let middle = low + (high - low) / 2;
        if before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}
