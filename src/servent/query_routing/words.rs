//! The words of the Query at hand, hashed once and then tested against any number of tables.

use crate::library::Criteria;
use crate::wire::huge::{self, AreaBlock};
use crate::wire::qrp::{MIN_WORD_LETTERS, QrpTable, sha1_hash, word_hash};
use crate::wire::{Query, Urn};

/// Units for reading one word and hashing it, and for folding a letter beyond ASCII.
const WORD_UNITS: u32 = 4;
const LETTER_UNITS: u32 = 4;

/// Hashes of what a Query looks for. Reading one allocates nothing once the buffers have grown to their
/// bounds, the words of one Query and the blocks of one extension area; a URN alone is decoded into
/// memory of its own.
///
/// Words are those of the library's own folding, of three letters or more: shorter ones are in no table
/// (0.6 draft). A table matches if it has all words, or any of the URNs. A Query with neither matches no
/// table: two letters, or what is newest, are asked of full neighbours only, since a leaf would have
/// to be sent every such Query of the network.
#[derive(Debug, Default)]
pub(super) struct QueryWords {
    criteria: Criteria,
    words: Vec<u32>,
    urns: Vec<u32>,
}

impl QueryWords {
    /// Reads a Query; returns the units it cost.
    pub(super) fn read(&mut self, query: &Query<'_>) -> u32 {
        self.words.clear();
        self.urns.clear();
        self.read_area(query.extension);
        let by_urn = Urn::parse(query.criteria);
        self.add_urn(by_urn);
        // Words of a URN are no words: they would match no file.
        if by_urn.is_some() || self.criteria.read(query.criteria).is_err() {
            return WORD_UNITS;
        }
        for word in self.criteria.words() {
            let Ok(word) = str::from_utf8(word) else { continue };
            if word.chars().count() >= MIN_WORD_LETTERS {
                self.words.push(word_hash(word));
            }
        }
        let words = u32::try_from(1 + self.words.len() + self.urns.len()).unwrap_or(u32::MAX);
        WORD_UNITS * words + LETTER_UNITS * self.criteria.folded_letters()
    }

    /// Whether a servent with this table may have something.
    #[inline]
    pub(super) fn match_table(&self, table: &QrpTable) -> bool {
        let has = |hash: &u32| table.contains(*hash);
        !self.words.is_empty() && self.words.iter().all(has) || self.urns.iter().any(has)
    }

    fn read_area(&mut self, area: &[u8]) {
        for block in huge::blocks(area) {
            match block {
                AreaBlock::Urn(urn) => self.add_urn(Some(urn)),
                AreaBlock::Ggep(ggep) => {
                    let data = ggep.get(b"u").and_then(|one| one.data().ok());
                    self.add_urn(data.and_then(|data| Urn::parse_short(&data)));
                }
                _ => {}
            }
        }
    }

    fn add_urn(&mut self, urn: Option<Urn>) {
        let sha1 = urn.as_ref().and_then(Urn::sha1);
        self.urns.extend(sha1.map(sha1_hash));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::MinSpeed;
    use crate::wire::ggep::GgepBuilder;

    const URN: &str = "urn:sha1:VL2MMHO4YXUKFWV63YHTWSBM3GXKSQ2N";

    fn words(criteria: &[u8], extension: &[u8]) -> QueryWords {
        let mut words = QueryWords::default();
        words.read(&Query { speed: MinSpeed::ANY, criteria, extension });
        words
    }

    fn matches(criteria: &str, extension: &[u8], table: &QrpTable) -> bool {
        words(criteria.as_bytes(), extension).match_table(table)
    }

    #[test]
    fn all_words_of_three_letters_must_match_as_the_library_folds_them() {
        let table = QrpTable::of_words(["gnutella", "notes", "cafe", "2003"]);
        for text in ["Gnutella NOTES", "gnu note", "Café 2003", "gnutella a of", "notes.notes"] {
            assert!(matches(text, b"", &table), "{text}");
        }
        for text in ["gnutella bsd", "nutella", "gnutellas", "of", "a", "", "*.*", "    "] {
            assert!(!matches(text, b"", &table), "{text}");
        }
        assert!(!words(b"gnutella\xff", b"").match_table(&table), "not UTF-8");
    }

    #[test]
    fn a_urn_matches_wherever_it_stands() {
        let mut table = QrpTable::new(16);
        table.insert(word_hash(URN));
        let mut ggep = GgepBuilder::new();
        assert!(ggep.add(b"M", &[4]) && ggep.add(b"u", &URN.as_bytes()[4..]));
        let ggep = ggep.finish();
        for (criteria, extension) in
            [("\\", URN.as_bytes()), (URN, b""), ("", &ggep), ("no such words", URN.as_bytes())]
        {
            assert!(matches(criteria, extension, &table), "{criteria} {extension:?}");
            assert!(!matches(criteria, extension, &QrpTable::new(16)), "{criteria}");
        }
        assert!(!matches("", b"urn:sha1:", &table), "asks for URNs only");
        assert!(!matches("urn", b"", &QrpTable::of_words(["gnutella"])));
    }

    #[test]
    fn buffers_are_kept_and_bounded() {
        let text: String = (0..200).map(|n| format!("wor{n} ")).collect();
        let mut words = words(text.as_bytes(), b"");
        let capacity = words.words.capacity();
        assert!(capacity <= 2 * crate::library::MAX_QUERY_WORDS, "{capacity}");
        let place = words.words.as_ptr();
        for criteria in [&b"free bsd"[..], text.as_bytes()] {
            let units = words.read(&Query { speed: MinSpeed::ANY, criteria, extension: b"" });
            assert!((8..200).contains(&units), "{units}");
        }
        assert_eq!((words.words.as_ptr(), words.words.capacity()), (place, capacity));
    }
}
