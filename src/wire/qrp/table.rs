//! A table of words: which slots are set, by the hash of a word; and the messages that send it.

use super::{PLAIN, Patch, Qrp, ZLIB};
use crate::wire::deflate::deflate;

/// Size of our own table, as a power of two: the size of gtk-gnutella's and LimeWire's tables.
pub const OWN_TABLE_BITS: u32 = 16;
/// Infinity of our own table, the classic one; GnutellaBun and LimeWire have it too.
const OWN_INFINITY: u8 = 7;
/// Four-bit entries: from infinity to 1, and back.
const SET: u8 = 0xa;
const CLEAR: u8 = 0x6;
/// Data of one PATCH. The whole descriptor stays below 4 KiB, the recommended limit (0.6 draft); gtk-gnutella
/// says Bye above 40,960 bytes.
const PATCH_DATA_BYTES: usize = 4_000;
/// Fewest letters of a word in a table (0.6 draft: 3).
pub const MIN_WORD_LETTERS: usize = 3;
/// Bits of one unit of storage.
const UNIT: usize = 64;

/// The hash of a word, of which a table of 2^n slots takes the top n bits. Letters count without case,
/// by the low byte of their UTF-16 units, as in gtk-gnutella.
pub fn word_hash(word: &str) -> u32 {
    let mut hasher = WordHasher::default();
    word.chars().for_each(|letter| hasher.push(letter));
    hasher.hash()
}

/// The hash under which a file is found by its SHA-1: that of `urn:sha1:` and the base32 characters.
pub fn sha1_hash(sha1: &[u8; 20]) -> u32 {
    let mut base32 = [0; 32];
    data_encoding::BASE32_NOPAD.encode_mut(sha1, &mut base32);
    let mut hasher = WordHasher::default();
    b"urn:sha1:".iter().chain(&base32).for_each(|&byte| hasher.push(char::from(byte)));
    hasher.hash()
}

/// The hash of a word that is given letter by letter, and of each of its beginnings.
#[derive(Default)]
struct WordHasher {
    mixed: u32,
    shift: u32,
}

impl WordHasher {
    #[inline]
    fn push(&mut self, letter: char) {
        if letter.is_ascii() {
            return self.mix(u16::from(letter.to_ascii_lowercase() as u8));
        }
        for lower in letter.to_lowercase() {
            lower.encode_utf16(&mut [0; 2]).iter().for_each(|unit| self.mix(*unit));
        }
    }

    #[inline]
    fn mix(&mut self, unit: u16) {
        self.mixed ^= u32::from(unit & 0xff) << self.shift;
        self.shift = (self.shift + 8) % 32;
    }

    fn hash(&self) -> u32 {
        /// Golden ratio, as published with QRP.
        const FACTOR: u32 = 0x4f1b_bcdc;
        self.mixed.wrapping_mul(FACTOR)
    }
}

/// Which slots are set. One bit each: 8 KiB for 65,536 slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QrpTable {
    bits: u32,
    units: Vec<u64>,
}

impl QrpTable {
    /// A table of 2^`bits` slots, none of them set.
    pub fn new(bits: u32) -> QrpTable {
        QrpTable { bits, units: vec![0; (1_usize << bits).div_ceil(UNIT)] }
    }

    /// The table of a servent that has files with these words.
    pub fn of_words<'a>(words: impl IntoIterator<Item = &'a str>) -> QrpTable {
        let mut table = QrpTable::new(OWN_TABLE_BITS);
        words.into_iter().for_each(|word| table.insert_word(word));
        table
    }

    /// Adds a word of the name of a shared file. A beginning of it finds the file, so each beginning of
    /// three letters or more is added too, as in gtk-gnutella's tables.
    pub fn insert_word(&mut self, word: &str) {
        let mut hasher = WordHasher::default();
        for (letters, letter) in (1..).zip(word.chars()) {
            hasher.push(letter);
            if letters >= MIN_WORD_LETTERS {
                self.insert(hasher.hash());
            }
        }
    }

    /// Bytes it takes.
    pub fn bytes(&self) -> usize {
        self.units.len() * size_of::<u64>()
    }

    /// Slots, set or not.
    pub fn slots(&self) -> usize {
        1 << self.bits
    }

    /// Slots that are set.
    pub fn set_slots(&self) -> usize {
        self.units.iter().map(|unit| unit.count_ones() as usize).sum()
    }

    /// Adds a word by its hash.
    pub fn insert(&mut self, hash: u32) {
        self.put(self.slot(hash), true);
    }

    /// Whether the word with this hash may be there.
    pub fn contains(&self, hash: u32) -> bool {
        self.is_set(self.slot(hash))
    }

    /// Sets what `other` has set. Tables of different sizes are joined so that no word of either is
    /// missed: a slot of the smaller stands for all that begin like it.
    pub fn merge(&mut self, other: &QrpTable) {
        if self.bits == other.bits {
            for (unit, more) in self.units.iter_mut().zip(&other.units) {
                *unit |= more;
            }
            return;
        }
        let set = other.units.iter().enumerate().filter(|(_, unit)| **unit != 0);
        if other.bits > self.bits {
            // Whole groups of slots become one slot each: a large table is not gone through bit by bit.
            let shift = other.bits - self.bits;
            let group = UNIT.min(1 << shift);
            let mask = u64::MAX >> (UNIT - group);
            for (at, unit) in set {
                let starts = (0..UNIT).step_by(group).filter(|start| unit >> start & mask != 0);
                starts.for_each(|start| self.put((at * UNIT + start) >> shift, true));
            }
            return;
        }
        let more = self.bits - other.bits;
        for slot in (0..other.slots()).filter(|&slot| other.is_set(slot)) {
            ((slot << more)..((slot + 1) << more)).for_each(|slot| self.put(slot, true));
        }
    }

    /// Whether a slot is set.
    pub fn is_set(&self, slot: usize) -> bool {
        self.units.get(slot / UNIT).is_some_and(|unit| unit >> (slot % UNIT) & 1 == 1)
    }

    pub(super) fn put(&mut self, slot: usize, set: bool) {
        let bit = 1 << (slot % UNIT);
        let unit = &mut self.units[slot / UNIT];
        *unit = if set { *unit | bit } else { *unit & !bit };
    }

    fn slot(&self, hash: u32) -> usize {
        // A shift by 32 is left to a table of one slot.
        hash.checked_shr(32 - self.bits).unwrap_or(0) as usize
    }

    /// The payloads that send this table anew: RESET, then PATCHes.
    pub fn messages(&self) -> Vec<Vec<u8>> {
        let slots = u32::try_from(self.slots()).unwrap_or(u32::MAX);
        let mut reset = Vec::new();
        Qrp::Reset { slots, infinity: OWN_INFINITY }.encode(&mut reset);
        let patches = self.changes(|_| false);
        std::iter::once(reset).chain(patches).collect()
    }

    /// The payloads that change `before`, which the neighbour has, into this table of the same size.
    /// None if they are equal.
    pub fn messages_after(&self, before: &QrpTable) -> Vec<Vec<u8>> {
        if self == before {
            return Vec::new();
        }
        if self.bits != before.bits {
            return self.messages();
        }
        self.changes(|slot| before.is_set(slot))
    }

    /// A sequence of four-bit PATCHes (1-bit ones are misread by gtk-gnutella 1.2.3).
    fn changes(&self, before: impl Fn(usize) -> bool) -> Vec<Vec<u8>> {
        let entry = |slot: usize| match (before(slot), self.is_set(slot)) {
            (false, true) => SET,
            (true, false) => CLEAR,
            _ => 0,
        };
        let pairs = (0..self.slots()).step_by(2);
        let plain: Vec<u8> = pairs.map(|slot| entry(slot) << 4 | entry(slot + 1)).collect();
        let deflated = deflate(&plain);
        let (compressor, data) =
            if deflated.len() < plain.len() { (ZLIB, deflated) } else { (PLAIN, plain) };
        // The count is one byte, so a very large table has larger PATCHes.
        let size = PATCH_DATA_BYTES.max(data.len().div_ceil(usize::from(u8::MAX)));
        let count = u8::try_from(data.len().div_ceil(size)).unwrap_or(u8::MAX);
        let patch = |(number, data)| {
            let mut out = Vec::new();
            Qrp::Patch(Patch { number, count, compressor, entry_bits: 4, data }).encode(&mut out);
            out
        };
        (1..=count).zip(data.chunks(size)).map(patch).collect()
    }
}
