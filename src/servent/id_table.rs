//! A hash table of 16-byte ids, made for floods of ids that peers choose. An id is known by 64 bits
//! of a keyed hash: of a million ids two would be taken for one in one of 37 million tables, and
//! the later of them lost. One byte of each hash stands apart, eight to a word, so that an id that is
//! not there is told so by one word of a small array. 13 bytes an id, filled to seven eighths. Ids
//! are never taken out one by one.

use super::route_table::LinkKey;
use crate::rng::Rng;

/// What is looked up.
pub(super) type Id = [u8; 16];

/// Ids whose marks share a word.
const GROUP: usize = 8;
const LOW_BITS: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = LOW_BITS << 7;

/// A slot and its mark, filled to seven eighths.
pub(super) const BYTES_PER_ID: usize = (8 * (size_of::<Slot>() + 1)).div_ceil(7);

/// Ids that a table of `slots` slots, a power of two, holds before it grows.
pub(super) const fn capacity(slots: usize) -> usize {
    slots / 8 * 7
}

/// The secret of one table's hashes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key(u64, u64);

/// The keyed hash of an id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hash(u64);

impl Key {
    pub(super) fn new(rng: &mut Rng) -> Key {
        Key(rng.next_u64() | 1, rng.next_u64() | 1)
    }

    /// One folded multiplication. Both factors are masked with secrets, so a peer that picks ids
    /// can neither aim at a slot nor at another id's hash.
    #[inline]
    pub(super) fn hash(self, id: &Id) -> Hash {
        let half = |at: usize| {
            let half: &[u8; 8] = id[at..].first_chunk().expect("half of sixteen bytes");
            u64::from_le_bytes(*half)
        };
        let product = u128::from(half(0) ^ self.0) * u128::from(half(8) ^ self.1);
        #[expect(clippy::cast_possible_truncation, reason = "folding the halves is the point")]
        let folded = (product as u64) ^ ((product >> 64) as u64);
        Hash(folded)
    }
}

impl Hash {
    /// Never zero, which marks an empty slot.
    #[inline]
    fn mark(self) -> u64 {
        (self.0 >> 56).max(1)
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "only the low bits pick a group")]
    fn group(self, groups: usize) -> usize {
        self.0 as usize & (groups - 1)
    }
}

/// A hash in two words and the link its id came from in a third: 12 bytes. An array, since the
/// allocator gives arrays of zeros as untouched pages.
type Slot = [u32; 3];

#[expect(clippy::cast_possible_truncation, reason = "takes the halves apart")]
fn slot(id: Hash, link: LinkKey) -> Slot {
    [id.0 as u32, (id.0 >> 32) as u32, link.bits()]
}

#[inline]
fn hash(slot: &Slot) -> Hash {
    Hash(u64::from(slot[0]) | u64::from(slot[1]) << 32)
}

fn link(slot: &Slot) -> LinkKey {
    LinkKey::from_bits(slot[2])
}

/// Ids and their links.
#[derive(Debug, Default)]
pub(super) struct IdTable {
    /// The marks of [`GROUP`] slots each, a power of two of words or none; probed linearly.
    groups: Vec<u64>,
    slots: Vec<Slot>,
    len: usize,
}

impl IdTable {
    fn with_groups(count: usize) -> IdTable {
        IdTable { groups: vec![0; count], slots: vec![[0; 3]; count * GROUP], len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The link of `id`.
    #[inline]
    pub(super) fn get(&self, id: Hash) -> Option<LinkKey> {
        self.position(id).map(|at| link(&self.slots[at]))
    }

    /// Gives `id` another link if it is there.
    pub(super) fn overwrite(&mut self, id: Hash, link: LinkKey) -> bool {
        let at = self.position(id);
        at.map(|at| self.slots[at] = slot(id, link)).is_some()
    }

    /// Takes in an id that is not there.
    pub(super) fn put(&mut self, id: Hash, link: LinkKey) {
        if self.len >= capacity(self.slots.len()) {
            self.grow();
        }
        let mut group = id.group(self.groups.len());
        let empty = loop {
            match empty_in(self.groups[group]) {
                Some(empty) => break empty,
                None => group = (group + 1) & (self.groups.len() - 1),
            }
        };
        self.groups[group] |= id.mark() << (8 * empty);
        self.slots[group * GROUP + empty] = slot(id, link);
        self.len += 1;
    }

    #[inline]
    fn position(&self, id: Hash) -> Option<usize> {
        if self.len == 0 {
            return None;
        }
        let mut group = id.group(self.groups.len());
        loop {
            let marks = self.groups[group];
            let mut candidates = zero_bytes(marks ^ (id.mark() * LOW_BITS));
            while candidates != 0 {
                let at = group * GROUP + first_byte(candidates);
                if hash(&self.slots[at]) == id {
                    return Some(at);
                }
                candidates &= candidates - 1;
            }
            if empty_in(marks).is_some() {
                return None;
            }
            group = (group + 1) & (self.groups.len() - 1);
        }
    }

    /// Loads the marks that a look-up begins with.
    #[inline]
    pub(super) fn touch(&self, id: Hash) -> u64 {
        if self.len == 0 { 0 } else { self.groups[id.group(self.groups.len())] }
    }

    /// Loads the slot that a look-up would compare, most likely, if there is one.
    #[inline]
    pub(super) fn touch_candidate(&self, id: Hash) -> u64 {
        let group = if self.len == 0 { return 0 } else { id.group(self.groups.len()) };
        match zero_bytes(self.groups[group] ^ (id.mark() * LOW_BITS)) {
            0 => 0,
            candidates => hash(&self.slots[group * GROUP + first_byte(candidates)]).0,
        }
    }

    /// Loads the same, or else the slot that the id would be put into.
    #[inline]
    pub(super) fn touch_slot(&self, id: Hash) -> u64 {
        let group = if self.len == 0 { return 0 } else { id.group(self.groups.len()) };
        let marks = self.groups[group];
        // Slots are filled from the first on: a candidate comes before what is empty.
        let either = zero_bytes(marks ^ (id.mark() * LOW_BITS)) | zero_bytes(marks);
        hash(&self.slots[group * GROUP + first_byte(either) % GROUP]).0
    }

    /// Empties the table, and sizes it for about `expected` ids: it need not grow under load, nor
    /// keep what a flood of long ago has needed.
    pub(super) fn clear_for(&mut self, expected: usize) {
        let slots = self.slots.len();
        if expected <= capacity(slots) && slots <= 8 * GROUP.max(expected) {
            self.groups.fill(0);
            self.len = 0;
        } else {
            let groups = (expected.div_ceil(7)).next_power_of_two();
            *self = IdTable::with_groups(groups);
        }
    }

    fn grow(&mut self) {
        let groups = (self.groups.len() * 2).max(1);
        let small = std::mem::replace(self, IdTable::with_groups(groups));
        for (at, slot) in small.slots.iter().enumerate() {
            let mark = small.groups[at / GROUP] >> (at % GROUP * 8) & 0xff;
            if mark != 0 {
                self.put(hash(slot), link(slot));
            }
        }
    }
}

/// Which of the slots of a group is the first empty one.
#[inline]
fn empty_in(marks: u64) -> Option<usize> {
    let empty = zero_bytes(marks);
    (empty != 0).then(|| first_byte(empty))
}

/// The high bits of the bytes that are zero. One above a zero byte may be told of wrongly, which
/// costs a look at its slot: the first is right.
#[inline]
fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(LOW_BITS) & !word & HIGH_BITS
}

fn first_byte(high_bits: u64) -> usize {
    high_bits.trailing_zeros() as usize / 8
}
