//! A hash table of 16-byte ids, made for floods of ids that peers choose: one byte of each hash
//! stands apart, eight to a word, so that an id that is not there is told so by one word of a small
//! array. 21 bytes an id, filled to seven eighths. Ids are never taken out one by one.

use super::route_table::LinkKey;
use crate::rng::Rng;

/// What is looked up.
pub(super) type Id = [u8; 16];

/// Ids whose marks share a word.
const GROUP: usize = 8;
const LOW_BITS: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = LOW_BITS << 7;

/// A slot and its mark, filled to seven eighths.
pub(super) const BYTES_PER_ID: usize = (size_of::<Slot>() + 1).div_ceil(7) * 8;

/// Ids that a table of `slots` slots, a power of two, holds before it grows.
pub(super) const fn capacity(slots: usize) -> usize {
    slots / 8 * 7
}

/// The secret of one table's hashes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key(u64, u64);

/// An id in registers, with its keyed hash.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Hashed {
    halves: [u64; 2],
    hash: u64,
}

impl Key {
    pub(super) fn new(rng: &mut Rng) -> Key {
        Key(rng.next_u64() | 1, rng.next_u64() | 1)
    }

    #[inline]
    pub(super) fn hash(self, id: &Id) -> Hashed {
        let half = |at: usize| {
            let half: &[u8; 8] = id[at..].first_chunk().expect("half of sixteen bytes");
            u64::from_le_bytes(*half)
        };
        self.hash_halves([half(0), half(8)])
    }

    /// One folded multiplication. Both factors are masked with secrets, so a peer that picks ids
    /// cannot aim at a slot.
    #[inline]
    fn hash_halves(self, halves: [u64; 2]) -> Hashed {
        let product = u128::from(halves[0] ^ self.0) * u128::from(halves[1] ^ self.1);
        #[expect(clippy::cast_possible_truncation, reason = "folding the halves is the point")]
        let hash = (product as u64) ^ ((product >> 64) as u64);
        Hashed { halves, hash }
    }
}

impl Hashed {
    /// Never zero, which marks an empty slot.
    #[inline]
    fn mark(self) -> u64 {
        (self.hash >> 56).max(1)
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "only the low bits pick a group")]
    fn group(self, groups: usize) -> usize {
        self.hash as usize & (groups - 1)
    }
}

/// An id in four words and the link it came from in a fifth: 20 bytes. An array, since the allocator
/// gives arrays of zeros as untouched pages.
type Slot = [u32; 5];

#[expect(clippy::cast_possible_truncation, reason = "takes the halves apart")]
fn slot(id: Hashed, link: LinkKey) -> Slot {
    let [a, b] = id.halves;
    [a as u32, (a >> 32) as u32, b as u32, (b >> 32) as u32, link.bits()]
}

#[inline]
fn halves(slot: &Slot) -> [u64; 2] {
    let word = |at: usize| u64::from(slot[at]);
    [word(0) | word(1) << 32, word(2) | word(3) << 32]
}

fn link(slot: &Slot) -> LinkKey {
    LinkKey::from_bits(slot[4])
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
        IdTable { groups: vec![0; count], slots: vec![[0; 5]; count * GROUP], len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The link of `id`.
    #[inline]
    pub(super) fn get(&self, id: Hashed) -> Option<LinkKey> {
        self.position(id).map(|at| link(&self.slots[at]))
    }

    /// Gives `id` another link if it is there.
    pub(super) fn overwrite(&mut self, id: Hashed, link: LinkKey) -> bool {
        let at = self.position(id);
        at.map(|at| self.slots[at] = slot(id, link)).is_some()
    }

    /// Takes in an id that is not there.
    pub(super) fn put(&mut self, id: Hashed, link: LinkKey, key: Key) {
        if self.len >= capacity(self.slots.len()) {
            self.grow(key);
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
    fn position(&self, id: Hashed) -> Option<usize> {
        if self.len == 0 {
            return None;
        }
        let mut group = id.group(self.groups.len());
        loop {
            let marks = self.groups[group];
            let mut candidates = zero_bytes(marks ^ (id.mark() * LOW_BITS));
            while candidates != 0 {
                let at = group * GROUP + first_byte(candidates);
                if halves(&self.slots[at]) == id.halves {
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
    pub(super) fn touch(&self, id: Hashed) -> u64 {
        if self.len == 0 { 0 } else { self.groups[id.group(self.groups.len())] }
    }

    /// Loads the slot that a look-up would compare, most likely, if there is one.
    #[inline]
    pub(super) fn touch_candidate(&self, id: Hashed) -> u64 {
        let group = if self.len == 0 { return 0 } else { id.group(self.groups.len()) };
        match zero_bytes(self.groups[group] ^ (id.mark() * LOW_BITS)) {
            0 => 0,
            candidates => halves(&self.slots[group * GROUP + first_byte(candidates)])[0],
        }
    }

    /// Loads the same, or else the slot that the id would be put into.
    #[inline]
    pub(super) fn touch_slot(&self, id: Hashed) -> u64 {
        let group = if self.len == 0 { return 0 } else { id.group(self.groups.len()) };
        let marks = self.groups[group];
        // Slots are filled from the first on: a candidate comes before what is empty.
        let either = zero_bytes(marks ^ (id.mark() * LOW_BITS)) | zero_bytes(marks);
        halves(&self.slots[group * GROUP + first_byte(either) % GROUP])[0]
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

    fn grow(&mut self, key: Key) {
        let groups = (self.groups.len() * 2).max(1);
        let small = std::mem::replace(self, IdTable::with_groups(groups));
        for (at, slot) in small.slots.iter().enumerate() {
            let mark = small.groups[at / GROUP] >> (at % GROUP * 8) & 0xff;
            if mark != 0 {
                self.put(key.hash_halves(halves(slot)), link(slot), key);
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
