//! Who sent what: a 16-byte id to the link it came from.
//!
//! Two generations of a flat open-addressing table with 20-byte slots. When the young one is a
//! lifetime old or holds half of the limit it becomes the old one, and what was old is forgotten:
//! no timestamps, no list, no sweep. Peers choose the ids, so the hash is keyed at random.

use crate::rng::Rng;
use crate::time::Instant;
use std::time::Duration;

/// A link's name in a table: 16 bits of slab index, 16 of generation. Zero is never a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkKey(u32);

impl LinkKey {
    /// The sender is this servent itself.
    pub const OWN: LinkKey = LinkKey(u32::MAX);

    /// The key of the connection at `index`. A slot reused 65,535 times within the life of a
    /// route would be confused with its former tenant, which costs a misrouted reply.
    pub fn new(index: u32, generation: u32) -> LinkKey {
        let index = index & 0xffff;
        // 1 to 0xfffe, so that no key is 0 or OWN.
        let generation = generation % 0xfffe + 1;
        LinkKey(generation << 16 | index)
    }

    /// The slab index.
    pub fn index(self) -> usize {
        (self.0 & 0xffff) as usize
    }
}

/// Ids and the links they came from, bounded by count and age.
#[derive(Debug)]
pub struct RouteTable {
    young: Flat,
    old: Flat,
    young_since: Instant,
    lifetime: Duration,
    generation_limit: usize,
    key: (u64, u64),
}

impl RouteTable {
    /// A table for `limit` ids, at least 2. Of those entered within the last `lifetime` the newest
    /// `limit / 2` are remembered for certain, none for two lifetimes or longer. An id is as old
    /// as its first [`RouteTable::insert`] or its last [`RouteTable::set`].
    pub fn new(limit: usize, lifetime: Duration, rng: &mut Rng, now: Instant) -> RouteTable {
        RouteTable {
            young: Flat::default(),
            old: Flat::default(),
            young_since: now,
            lifetime,
            generation_limit: (limit / 2).max(1),
            key: (rng.next_u64() | 1, rng.next_u64() | 1),
        }
    }

    /// Remembers that `id` came from `link`, unless it is known: then says from where. The first
    /// to send an id keeps it.
    pub fn insert(&mut self, now: Instant, id: &[u8; 16], link: LinkKey) -> Option<LinkKey> {
        self.rotate_if_due(now);
        let (words, hash) = self.hash(id);
        let known = self.find(words, hash);
        if known.is_none() {
            self.young.put(words, hash, link, self.key);
        }
        known
    }

    /// Remembers that `id` is reached through `link`, whatever was known before.
    pub fn set(&mut self, now: Instant, id: &[u8; 16], link: LinkKey) {
        self.rotate_if_due(now);
        let (words, hash) = self.hash(id);
        self.young.put(words, hash, link, self.key);
    }

    /// Where `id` came from.
    pub fn get(&mut self, now: Instant, id: &[u8; 16]) -> Option<LinkKey> {
        self.rotate_if_due(now);
        let (words, hash) = self.hash(id);
        self.find(words, hash)
    }

    /// Both generations may know an id that was set: the young one knows better.
    fn find(&self, words: Words, hash: usize) -> Option<LinkKey> {
        self.young.get(words, hash).or_else(|| self.old.get(words, hash))
    }

    /// Has the slots of `ids` brought into the cache, all at one time: when these ids come one after
    /// the other, none waits for memory. Changes nothing.
    pub fn warm<'a>(&self, ids: impl Iterator<Item = &'a [u8; 16]>) {
        let first_word = |table: &Flat, hash: usize| match table.slots.len() {
            0 => 0,
            count => table.slots[hash & (count - 1)][0],
        };
        // Loads do not wait for each other as long as nobody needs what they bring.
        let touched = ids.fold(0, |sum, id| {
            let (_, hash) = self.hash(id);
            sum ^ first_word(&self.old, hash) ^ first_word(&self.young, hash)
        });
        std::hint::black_box(touched);
    }

    /// Ids held in both generations; never above the limit.
    pub fn len(&self) -> usize {
        self.young.len + self.old.len
    }

    /// True if nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn rotate_if_due(&mut self, now: Instant) {
        let age = now.since(self.young_since);
        if self.young.len < self.generation_limit && age < self.lifetime {
            return;
        }
        // The next generation will be about as large: sized now it need not grow under load.
        let sized_alike = Flat::with_slots(self.young.slots.len());
        self.old = std::mem::replace(&mut self.young, sized_alike);
        if age >= self.lifetime * 2 {
            // Nothing was asked for so long that both generations are past their time.
            self.old = Flat::default();
            self.young = Flat::default();
            self.young_since = now;
        } else if age >= self.lifetime {
            // Late by `age - lifetime`: what is old now must not live that much longer.
            self.young_since += self.lifetime;
        } else {
            self.young_since = now;
        }
    }

    fn hash(&self, id: &[u8; 16]) -> (Words, usize) {
        let words = [word(id, 0), word(id, 4), word(id, 8), word(id, 12)];
        (words, hash(words, self.key))
    }
}

type Words = [u32; 4];

fn word(id: &[u8; 16], at: usize) -> u32 {
    u32::from_le_bytes([id[at], id[at + 1], id[at + 2], id[at + 3]])
}

/// One folded multiplication. Both factors are masked with secret keys, so a peer that picks ids
/// cannot aim at a slot.
fn hash(words: Words, key: (u64, u64)) -> usize {
    let low = u64::from(words[0]) | u64::from(words[1]) << 32;
    let high = u64::from(words[2]) | u64::from(words[3]) << 32;
    let product = u128::from(low ^ key.0) * u128::from(high ^ key.1);
    #[expect(clippy::cast_possible_truncation, reason = "folding the halves is the point")]
    let folded = (product as u64) ^ ((product >> 64) as u64);
    #[expect(clippy::cast_possible_truncation, reason = "only the low bits pick a slot")]
    let hash = (folded ^ folded >> 32) as usize;
    hash
}

/// One generation: slots of four words of id and one of link, zero meaning empty; a power of two
/// of them, at most 7/8 full, probed linearly.
#[derive(Debug, Default)]
struct Flat {
    slots: Vec<[u32; 5]>,
    len: usize,
}

impl Flat {
    fn with_slots(count: usize) -> Flat {
        // Arrays of zeros come from the allocator as untouched pages.
        Flat { slots: vec![[0; 5]; count], len: 0 }
    }

    fn get(&self, words: Words, hash: usize) -> Option<LinkKey> {
        if self.len == 0 {
            return None;
        }
        let slot = &self.slots[self.probe(words, hash)];
        (slot[4] != 0).then_some(LinkKey(slot[4]))
    }

    /// Enters `words`, in place of what was known of them.
    fn put(&mut self, words: Words, hash: usize, link: LinkKey, key: (u64, u64)) {
        if (self.len + 1) * 8 > self.slots.len() * 7 {
            self.grow(key);
        }
        let at = self.probe(words, hash);
        let slot = &mut self.slots[at];
        self.len += usize::from(slot[4] == 0);
        let [a, b, c, d] = words;
        *slot = [a, b, c, d, link.0];
    }

    /// The slot that holds `words`, or the empty one where they belong.
    fn probe(&self, words: Words, hash: usize) -> usize {
        let mask = self.slots.len() - 1;
        let mut at = hash & mask;
        loop {
            let slot = &self.slots[at];
            if slot[4] == 0 || slot[..4] == words {
                return at;
            }
            at = (at + 1) & mask;
        }
    }

    fn grow(&mut self, key: (u64, u64)) {
        let count = (self.slots.len() * 2).max(16);
        let small = std::mem::replace(self, Flat::with_slots(count));
        for slot in small.slots.into_iter().filter(|slot| slot[4] != 0) {
            let words = [slot[0], slot[1], slot[2], slot[3]];
            let at = self.probe(words, hash(words, key));
            self.slots[at] = slot;
            self.len += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    const LIFETIME: Duration = Duration::from_secs(10);

    fn id(n: u64) -> [u8; 16] {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&n.to_le_bytes());
        id
    }

    fn at(secs: u64) -> Instant {
        Instant::from_micros(secs * 1_000_000)
    }

    fn table(limit: usize) -> RouteTable {
        RouteTable::new(limit, LIFETIME, &mut Rng::new(1), Instant::ZERO)
    }

    #[test]
    fn the_first_sender_keeps_an_id_and_set_overrides() {
        let (a, b) = (LinkKey::new(1, 1), LinkKey::new(2, 1));
        let mut table = table(1_000);
        assert_eq!(table.insert(at(0), &id(7), a), None);
        assert_eq!(table.insert(at(0), &id(7), b), Some(a));
        table.set(at(0), &id(7), b);
        assert_eq!(table.get(at(0), &id(7)), Some(b));
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn an_id_lives_one_to_two_lifetimes() {
        let link = LinkKey::new(1, 1);
        let mut table = table(1_000);
        table.insert(at(9), &id(1), link);
        assert_eq!(table.get(at(11), &id(1)), Some(link), "older generation");
        assert_eq!(table.insert(at(19), &id(1), LinkKey::OWN), Some(link));
        assert_eq!(table.get(at(22), &id(1)), None);
        table.insert(at(23), &id(2), link);
        assert_eq!(table.get(at(100), &id(2)), None, "a long silence ends both generations");
    }

    #[test]
    fn the_count_never_passes_the_limit_and_the_newest_half_is_kept() {
        let link = LinkKey::new(3, 9);
        let mut table = table(1_000);
        for n in 0..100_000 {
            assert_eq!(table.insert(at(0), &id(n), link), None);
            assert!(table.len() <= 1_000, "{} ids held", table.len());
            assert_eq!(table.get(at(0), &id(n.saturating_sub(499))), Some(link));
        }
    }

    #[test]
    fn agrees_with_a_plain_map() {
        let mut rng = Rng::new(11);
        let mut table = table(1 << 20);
        let mut model = HashMap::new();
        for _ in 0..50_000 {
            let key = id(rng.next_u64() % 20_000);
            let link = LinkKey::new(u32::try_from(rng.below(9)).unwrap(), 5);
            let known = model.get(&key).copied();
            assert_eq!(table.insert(at(0), &key, link), known);
            model.entry(key).or_insert(link);
        }
        assert_eq!(table.len(), model.len());
    }

    #[test]
    fn link_keys_are_never_the_reserved_ones() {
        for generation in [0, 1, 0xfffd, 0xfffe, 0xffff, 0x10000, u32::MAX] {
            let key = LinkKey::new(0xffff, generation);
            assert_ne!(key, LinkKey::OWN);
            assert_ne!(key.0, 0);
            assert_eq!(key.index(), 0xffff);
        }
    }
}
