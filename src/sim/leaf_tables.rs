//! The route tables of leaves, by the draft and not by what the servents make of it: the slots of each
//! beginning of each word of a library, three letters or more. A table has 65,536 slots.

use crate::library::{Criteria, Library};
use crate::wire::qrp::{MIN_WORD_LETTERS, word_hash};

/// By leaf: the slots that are set, in order.
#[derive(Default)]
pub(super) struct LeafTables(Vec<Box<[u16]>>);

impl LeafTables {
    /// The table of each node that is a leaf; empty ones for the others.
    pub(super) fn new<'a>(libraries: impl Iterator<Item = Option<&'a Library>>) -> LeafTables {
        LeafTables(libraries.map(|library| library.map_or_else(Box::default, table)).collect())
    }

    /// By node: whether it is a leaf whose table has all words of a search.
    pub(super) fn matching(&self, text: &str) -> Vec<bool> {
        let words = Criteria::parse(text.as_bytes()).expect("generated names are searchable");
        let words = words.words().filter_map(|word| str::from_utf8(word).ok());
        let long = words.filter(|word| word.chars().count() >= MIN_WORD_LETTERS);
        let slots: Vec<u16> = long.map(slot).collect();
        let has_all = |table: &[u16]| slots.iter().all(|slot| table.binary_search(slot).is_ok());
        self.0.iter().map(|table| !slots.is_empty() && has_all(table)).collect()
    }
}

fn table(library: &Library) -> Box<[u16]> {
    let mut slots = Vec::new();
    for word in library.words_after(0) {
        let ends = word.char_indices().skip(MIN_WORD_LETTERS).map(|(at, _)| at);
        let long = word.chars().count() >= MIN_WORD_LETTERS;
        let beginnings = ends.chain(long.then_some(word.len()));
        slots.extend(beginnings.map(|end| slot(&word[..end])));
    }
    slots.sort_unstable();
    slots.dedup();
    slots.into()
}

fn slot(word: &str) -> u16 {
    (word_hash(word) >> 16) as u16
}
