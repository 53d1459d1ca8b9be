//! Words: how names and the criteria of Queries are split and folded.
//!
//! A word is a maximal run of letters and digits (Unicode alphanumerics) of the folded text.
//! Folding decomposes (NFKD), drops combining marks and lower-cases, so that `Café`, `CAFE` and
//! `cafe` are one word. One-letter words are ignored: they are never searched for (draft 0.6
//! §2.2.7.3), and so not indexed.
//!
//! Names and criteria are read by the same [`WordList`], a buffer that is reused: reading a Query
//! allocates nothing once the buffer has grown to its bound of a few kilobytes.

use std::fmt;
use std::str::Utf8Error;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Most words of one Query. Further words are ignored, which can only widen the answer: a long file
/// name still finds its file.
pub const MAX_QUERY_WORDS: usize = 32;

/// Most words of one name. A name of 255 bytes, the limit of common file systems, has no more, unless a
/// compatibility character decomposes into several words.
pub(super) const MAX_NAME_WORDS: usize = 128;

/// Most letters of a decomposed search text. One compatibility character may decompose into eighteen
/// letters; the bound applies before folding. A text that is cut ends in the beginning of a word,
/// which can only widen the answer.
const MAX_FOLDED_LETTERS: usize = 256;

/// Longest word, in bytes. Words of names and criteria are cut alike, so a cut word still begins with
/// every cut beginning of it.
const MAX_WORD_BYTES: usize = 128;

/// The words of one Query: at most [`MAX_QUERY_WORDS`], distinct, of two letters or more.
///
/// Each must begin a word of a name, in any order. The default value has no words and finds nothing.
/// Takes at most about 4.5 KB.
#[derive(Clone, Default)]
pub struct Criteria {
    words: WordList,
}

/// Why a Query is not answered. It is not malformed, and is still forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CriteriaError {
    /// No text, as in a search by hash.
    Empty,
    /// Text without a letter or digit: `*`, `*.*`, `\`, the four spaces of an index query.
    NoWords,
    /// Every word has only one letter.
    OneLetterWords,
    /// Not UTF-8, as from some old servents.
    NotUtf8,
}

impl Criteria {
    /// Reads search criteria of a Query or of the command line.
    ///
    /// # Errors
    /// When there is no word to search for.
    pub fn parse(text: &[u8]) -> Result<Criteria, CriteriaError> {
        let mut criteria = Criteria::default();
        criteria.read(text)?;
        Ok(criteria)
    }

    /// Like [`Criteria::parse`], into a reused value: a usual Query then allocates nothing. After an
    /// error the criteria are empty.
    ///
    /// # Errors
    /// When there is no word to search for.
    pub fn read(&mut self, text: &[u8]) -> Result<(), CriteriaError> {
        self.read_while(text, |_| true)
    }

    /// Like [`Criteria::read`], but passes each word to `go_on` and stops when it returns false.
    pub(super) fn read_while(
        &mut self,
        text: &[u8],
        mut go_on: impl FnMut(&[u8]) -> bool,
    ) -> Result<(), CriteriaError> {
        self.words.clear();
        if text.is_empty() {
            return Err(CriteriaError::Empty);
        }
        let bounds = (MAX_QUERY_WORDS, MAX_FOLDED_LETTERS);
        let read = self.words.read_while(text, bounds, &mut go_on);
        let one_letter_words = read.map_err(|_| CriteriaError::NotUtf8)?;
        match (self.words.len(), one_letter_words) {
            (0, false) => Err(CriteriaError::NoWords),
            (0, true) => Err(CriteriaError::OneLetterWords),
            _ => Ok(()),
        }
    }

    /// Number of letters decomposed and folded one by one.
    pub(crate) fn folded_letters(&self) -> u32 {
        self.words.folded
    }

    /// The words, folded.
    pub(crate) fn words(&self) -> impl Iterator<Item = &[u8]> {
        self.words.iter()
    }
}

impl fmt::Debug for Criteria {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.words().map(String::from_utf8_lossy)).finish()
    }
}

impl fmt::Display for CriteriaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CriteriaError::Empty => "the search criteria are empty",
            CriteriaError::NoWords => {
                "the search criteria contain no word: letters or digits are needed, and wildcards \
                 stand for nothing"
            }
            CriteriaError::OneLetterWords => {
                "the search criteria contain only one-letter words: servents answer a search only \
                 if a word in it has at least two letters or digits"
            }
            CriteriaError::NotUtf8 => "the search criteria are not UTF-8 text",
        })
    }
}

impl std::error::Error for CriteriaError {}

/// Distinct folded words of a text, one after the other in one buffer.
#[derive(Clone, Default)]
pub(super) struct WordList {
    text: Vec<u8>,
    /// Where each word ends in `text`; it starts where the one before ends.
    ends: Vec<u32>,
    /// Letters decomposed and folded one by one: those of a text beyond ASCII.
    folded: u32,
}

impl WordList {
    /// Replaces the list by the first `limit` distinct words of `text` with two letters or more.
    /// Returns whether shorter words were ignored.
    pub(super) fn read(&mut self, text: &str, limit: usize) -> bool {
        let bounds = (limit, usize::MAX);
        self.read_while(text.as_bytes(), bounds, &mut |_| true).expect("a str is UTF-8")
    }

    /// Like [`WordList::read`], until `go_on` returns false for a word, and at most this many letters of
    /// a text beyond ASCII.
    fn read_while(
        &mut self,
        text: &[u8],
        (limit, letters): (usize, usize),
        go_on: &mut impl FnMut(&[u8]) -> bool,
    ) -> Result<bool, Utf8Error> {
        self.clear();
        let mut reader = Reader { list: self, start: 0, limit, one_letter_words: false, go_on };
        if text.is_ascii() {
            for word in text.split(|&byte| FOLDED[usize::from(byte)] == 0) {
                if !word.is_empty() && !reader.ascii_word(word) {
                    break;
                }
            }
        } else {
            let decomposed = std::str::from_utf8(text)?.nfkd().take(letters);
            for letter in decomposed {
                reader.list.folded += 1;
                if is_combining_mark(letter) {
                    continue;
                }
                if letter.is_alphanumeric() {
                    for lower in letter.to_lowercase() {
                        // Both small sigmas have the same capital.
                        let lower = if lower == 'ς' { 'σ' } else { lower };
                        reader.push(lower.encode_utf8(&mut [0; 4]).as_bytes());
                    }
                } else if !reader.end_word() {
                    break;
                }
            }
        }
        reader.end_word();
        Ok(reader.one_letter_words)
    }

    /// The words, in the order in which they were first seen.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let word = &self.text[start..end as usize];
            start = end as usize;
            word
        })
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The length of all words together.
    pub(super) fn text_bytes(&self) -> usize {
        self.text.len()
    }

    fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
        self.folded = 0;
    }
}

/// The folded form of each ASCII letter and digit; zero for bytes that end a word.
const FOLDED: [u8; 256] = {
    let mut folded = [0; 256];
    let mut byte = 0;
    while byte < 128u8 {
        if byte.is_ascii_alphanumeric() {
            folded[byte as usize] = byte.to_ascii_lowercase();
        }
        byte += 1;
    }
    folded
};

/// Fills a [`WordList`]; the word being read is the end of its text from `start`.
struct Reader<'a, F> {
    list: &'a mut WordList,
    start: usize,
    limit: usize,
    one_letter_words: bool,
    go_on: &'a mut F,
}

impl<F: FnMut(&[u8]) -> bool> Reader<'_, F> {
    /// Adds a whole word of ASCII letters and digits; false when no more are wanted.
    fn ascii_word(&mut self, word: &[u8]) -> bool {
        let word = &word[..word.len().min(MAX_WORD_BYTES)];
        self.list.text.extend(word.iter().map(|&byte| FOLDED[usize::from(byte)]));
        self.end_word()
    }

    /// Adds one letter, given as UTF-8, to the word being read.
    fn push(&mut self, letter: &[u8]) {
        if self.list.text.len() - self.start < MAX_WORD_BYTES {
            self.list.text.extend_from_slice(letter);
        }
    }

    /// Ends the word being read, if there is one; false when no more are wanted.
    fn end_word(&mut self) -> bool {
        let mut go_on = true;
        let word = &self.list.text[self.start..];
        if !word.is_empty() {
            let one_letter = word.len() == first_letter_bytes(word);
            self.one_letter_words |= one_letter;
            if one_letter || self.list.iter().any(|known| known == word) {
                self.list.text.truncate(self.start);
            } else {
                go_on = (self.go_on)(word);
                let end = self.list.text.len();
                self.list.ends.push(u32::try_from(end).expect("a few kilobytes at most"));
                self.start = end;
            }
        }
        go_on && self.list.len() < self.limit
    }
}

/// Bytes of the first letter of a word, which is UTF-8.
pub(super) fn first_letter_bytes(word: &[u8]) -> usize {
    match word.first() {
        None => 0,
        Some(0..0xc0) => 1,
        Some(0xc0..0xe0) => 2,
        Some(0xe0..0xf0) => 3,
        Some(0xf0..) => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let criteria = Criteria::parse(text.as_bytes()).expect("answerable");
        criteria.words().map(|word| String::from_utf8(word.to_vec()).expect("UTF-8")).collect()
    }

    #[test]
    fn folding_drops_case_accents_and_compatibility_forms() {
        assert_eq!(words("Café_del-Mar (2003).MP3"), ["cafe", "del", "mar", "2003", "mp3"]);
        assert_eq!(words("cafe\u{301}s"), ["cafes"], "a combining mark does not end a word");
        assert_eq!(words("ﬁne Ⅳ ΟΔΟΣ İZMİR"), ["fine", "iv", "οδοσ", "izmir"]);
        assert_eq!(words("οδος"), ["οδοσ"]);
    }

    #[test]
    fn words_are_distinct_and_bounded() {
        assert_eq!(words("a tale of Tale b"), ["tale", "of"]);
        let many: String = (0..100).map(|n| format!("word{n} ")).collect();
        assert_eq!(words(&many).len(), MAX_QUERY_WORDS);
        let long = "é".repeat(2000);
        assert_eq!(words(&long), ["e".repeat(MAX_WORD_BYTES)]);
    }

    #[test]
    fn unanswerable_criteria_say_why() {
        let error = |text: &[u8]| Criteria::parse(text).expect_err("must not be answered");
        assert_eq!(error(b""), CriteriaError::Empty);
        for text in [&b"*"[..], b"*.*", b"    ", b"\\", b"\0\x01"] {
            assert_eq!(error(text), CriteriaError::NoWords);
        }
        for text in ["a", "a b ?", "é", "語"] {
            assert_eq!(error(text.as_bytes()), CriteriaError::OneLetterWords);
        }
        assert_eq!(error(b"free\xff"), CriteriaError::NotUtf8);
        assert!(CriteriaError::OneLetterWords.to_string().contains("at least two letters"));
    }

    #[test]
    fn criteria_read_again_forget_the_last_query() {
        let mut criteria = Criteria::parse(b"free notes").expect("answerable");
        assert!(criteria.read(b"free\xff").is_err());
        assert_eq!(criteria.words().count(), 0);
    }
}
