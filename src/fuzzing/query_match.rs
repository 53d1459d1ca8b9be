//! The library under fire: names, queries and slices decoded from bytes, and the answers held
//! against a matcher that looks at every name.

use super::script::Script;
use crate::library::{
    AddError, Criteria, CriteriaError, Entry, Library, LibraryBuilder, MAX_NAME_BYTES,
    MAX_QUERY_WORDS,
};
use std::collections::btree_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Enough files for bitmaps, which start at 1,024.
const MANY_FILES: u32 = 1_100;
const MAX_FILES: usize = 1_500;

/// Queries of one run; more only take longer.
const MAX_QUERIES: usize = 32;

/// The invariants are those of `library::words`.
const MAX_NAME_WORDS: usize = 128;
const MAX_WORD_BYTES: usize = 128;

const PARTS: [&str; 40] = [
    "free",
    "freedom",
    "fr",
    "bsd",
    "notes",
    "mp3",
    "a",
    "x",
    "the",
    "THE",
    "10",
    "1",
    "Café",
    "cafe\u{301}",
    "CAFES",
    "ﬁn",
    "fin",
    "日本語",
    "日本",
    "ΟΔΟΣ",
    "οδος",
    "İz",
    "iz",
    "½",
    "한글",
    "é",
    "e\u{301}",
    "\u{301}",
    "ẞ",
    "ß",
    "\u{fdfa}",
    "🎵",
    " ",
    "  ",
    ".",
    "_",
    "-",
    "*",
    "\u{1}",
    "\u{345}",
];

/// For any names and numbers, built in slices of any size: the library knows each file by its number
/// and its unique name, and finds for any criteria exactly the files a plain matcher finds, or as
/// many of them as it was asked for.
///
/// The first byte of `data` is the budget of a slice, the rest are operations: files to add, and
/// queries.
pub fn query_match(data: &[u8]) {
    let mut script = Script::new(data);
    let budget = usize::from(script.number()) * 8 + 1;
    let mut model = Model::default();
    let mut queries = Vec::new();
    while let Some(operation) = script.next() {
        match operation % 8 {
            0 => model.add(script.number(), text(script.raw())),
            1..=3 => model.add(script.number(), parts(&mut script)),
            4 => model.copy_last(script.number(), script.number()),
            5 => queries.push((script.raw().to_vec(), script.number())),
            _ => queries.push((parts(&mut script).into_bytes(), script.number())),
        }
    }
    let library = finish(&mut model.builder, budget);
    model.check(&library);
    // The same files in another order and other slices give the same answers.
    let mut again = LibraryBuilder::new();
    for Entry { number, name, size } in model.entries() {
        again.add(number, name, size).expect("was taken before");
    }
    let again = finish(&mut again, usize::MAX);
    for (query, limit) in queries.iter().take(MAX_QUERIES) {
        model.ask([&library, &again], query, usize::from(*limit));
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A text of up to 256 parts that are likely to match one another.
fn parts(script: &mut Script<'_>) -> String {
    let count = script.number();
    let parts = script.raw().iter().map(|&part| PARTS[usize::from(part) % PARTS.len()]);
    let text: String = parts.collect();
    text.repeat(1 + usize::from(count >> 4))
}

fn finish(builder: &mut LibraryBuilder, budget: usize) -> Library {
    loop {
        if let Some(library) = builder.step(budget) {
            return library;
        }
    }
}

/// What was put into a library.
#[derive(Default)]
struct Model {
    builder: LibraryBuilder,
    files: BTreeMap<u32, Shelved>,
    last: String,
}

struct Shelved {
    name: String,
    words: Vec<String>,
    size: u64,
}

impl Model {
    fn add(&mut self, number: u8, name: String) {
        // Numbers far apart are no positions by chance.
        self.add_numbered(u32::from(number) * 0x0101_0101, &name);
        self.last = name;
    }

    /// Many files with nearly one name: common words.
    fn copy_last(&mut self, count: u8, different: u8) {
        let first = 0x7000_0000 + u32::try_from(self.files.len()).expect("few");
        let count = if count == u8::MAX { MANY_FILES } else { u32::from(count) };
        for copy in 0..count {
            let name = match different {
                0 => self.last.clone(),
                _ => format!("{} no{}", self.last, copy % u32::from(different)),
            };
            self.add_numbered(first + copy, &name);
        }
    }

    fn add_numbered(&mut self, number: u32, name: &str) {
        if self.files.len() >= MAX_FILES {
            return;
        }
        let size = u64::from(number) << 20;
        let fits = (1..=MAX_NAME_BYTES).contains(&name.len()) && !name.contains('\0');
        let expected = match self.files.entry(number) {
            _ if !fits => Err(AddError::UnfitName),
            Slot::Occupied(_) => Err(AddError::NumberTaken(number)),
            Slot::Vacant(slot) => {
                let words = counted(words(name), MAX_NAME_WORDS);
                slot.insert(Shelved { name: name.to_owned(), words, size });
                Ok(())
            }
        };
        assert_eq!(self.builder.add(number, name, size), expected, "{name:?}");
    }

    fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        let entry = |(&number, file)| {
            let Shelved { name, size, .. }: &Shelved = file;
            Entry { number, name, size: *size }
        };
        self.files.iter().map(entry)
    }

    /// Each file is known by its number and, if no other has it, by its name.
    fn check(&self, library: &Library) {
        assert!(library.entries().eq(self.entries()), "other files, or in another order");
        assert_eq!(library.len(), self.files.len());
        assert_eq!(library.is_empty(), self.files.is_empty());
        assert_eq!(library.total_bytes(), self.entries().map(|entry| entry.size).sum::<u64>());
        let mut by_name: BTreeMap<&str, Vec<Entry<'_>>> = BTreeMap::new();
        for entry in self.entries() {
            by_name.entry(entry.name).or_default().push(entry);
            assert_eq!(library.get(entry.number), Some(entry));
            let next = entry.number.wrapping_add(1);
            assert_eq!(library.get(next).is_some(), self.files.contains_key(&next));
        }
        for (name, entries) in by_name {
            let unique = if entries.len() == 1 { Some(entries[0]) } else { None };
            assert_eq!(library.by_unique_name(name), unique, "{name:?}");
        }
    }

    fn ask(&self, libraries: [&Library; 2], query: &[u8], limit: usize) {
        let wanted = wanted(query);
        let mut criteria = match Criteria::parse(query) {
            Ok(criteria) => criteria,
            Err(error) => {
                let mut found = Vec::new();
                let searched =
                    libraries[0].search_text(query, &mut Criteria::default(), limit, &mut found);
                assert_eq!((searched, found), (Err(error), Vec::new()));
                return assert_eq!(Err(error), wanted.map(drop));
            }
        };
        let wanted = wanted.unwrap_or_else(|error| panic!("{error:?}, but was answered"));
        let begins =
            |words: &[String], wanted: &String| words.iter().any(|w| w.starts_with(wanted));
        let matches: BTreeSet<u32> = self
            .files
            .iter()
            .filter(|(_, file)| wanted.iter().all(|wanted| begins(&file.words, wanted)))
            .map(|(&number, _)| number)
            .collect();
        let [one, other] = libraries;
        for (library, limit) in [(one, limit), (one, usize::MAX), (other, usize::MAX)] {
            let before = Entry { number: u32::MAX, name: "before", size: 0 };
            let (mut found, mut at_once) = (vec![before], vec![before]);
            library.search(&criteria, limit, &mut found);
            library.search_text(query, &mut criteria, limit, &mut at_once).expect("as before");
            assert_eq!(at_once, found, "read while it is searched for");
            criteria.read(query).expect("as before");
            assert_eq!(found.remove(0), before, "what was found before is left alone");
            let numbers: BTreeSet<u32> = found.iter().map(|entry| entry.number).collect();
            assert_eq!(numbers.len(), found.len(), "a file twice");
            assert_eq!(numbers.len(), matches.len().min(limit), "{wanted:?}");
            assert!(numbers.is_subset(&matches), "{wanted:?}");
            assert!(found.iter().all(|&entry| library.get(entry.number) == Some(entry)));
        }
    }
}

/// The words that must begin words of a name, or why there are none.
fn wanted(query: &[u8]) -> Result<Vec<String>, CriteriaError> {
    if query.is_empty() {
        return Err(CriteriaError::Empty);
    }
    let text = std::str::from_utf8(query).map_err(|_| CriteriaError::NotUtf8)?;
    let words = words(text);
    if words.is_empty() {
        return Err(CriteriaError::NoWords);
    }
    let long = counted(words, MAX_QUERY_WORDS);
    if long.is_empty() { Err(CriteriaError::OneLetterWords) } else { Ok(long) }
}

/// The first `limit` distinct words of two letters or more.
fn counted(words: Vec<String>, limit: usize) -> Vec<String> {
    let mut counted = Vec::new();
    for word in words {
        if word.chars().nth(1).is_some() && !counted.contains(&word) && counted.len() < limit {
            counted.push(word);
        }
    }
    counted
}

/// All words of a text, folded and cut after the letter that makes them long enough.
fn words(text: &str) -> Vec<String> {
    let folded: String = text.nfkd().filter(|&letter| !is_combining_mark(letter)).collect();
    let folded = folded.to_lowercase().replace('ς', "σ");
    let words = folded.split(|letter: char| !letter.is_alphanumeric());
    words.filter(|word| !word.is_empty()).map(cut).collect()
}

fn cut(word: &str) -> String {
    let mut cut = String::new();
    for letter in word.chars() {
        if cut.len() < MAX_WORD_BYTES {
            cut.push(letter);
        }
    }
    cut
}
