//! Maps a 16-byte id to the link it arrived on.
//!
//! Ids are kept in two generations: when the young one is a lifetime old or full it becomes the old
//! one, and the old one is forgotten. This needs no timestamps, list or sweep. Peers choose the ids,
//! so the hash is keyed at random.
//!
//! Peers choose the number of ids too, and a flooder must not make a servent forget what others
//! sent. So a table has two such pairs of generations: the reserved one, of which a link may fill no
//! more than it leaves free (dynamic thresholds, Choudhury and Hahne 1998: one flooder gets half,
//! two a third each), and the shared one, which takes everything beyond and may rotate at any rate.

use super::id_table::{Hash, Id, IdTable, Key};
use crate::rng::Rng;
use crate::servent::link_key::LinkKey;
use crate::time::Instant;
use std::time::Duration;

/// Fraction of the table kept as the fair-share reserve: 1/8.
const RESERVED_FRACTION: usize = 8;

/// Ids and the links they came from, bounded by count and age.
#[derive(Debug)]
pub struct RouteTable {
    limit: u32,
    lifetime_millis: u32,
    /// Of the key, once there are ids.
    seed: u64,
    /// `None` until the first id: many servents of a simulation never see one of each kind.
    tables: Option<Box<Tables>>,
}

#[derive(Debug)]
struct Tables {
    key: Key,
    reserved: Generations,
    shared: Generations,
    /// Ids of each link in the young reserved generation, by slab index.
    reserved_by_link: Vec<u32>,
}

impl RouteTable {
    /// Ids worth prefetching together: processors have about as many loads in flight.
    #[doc(hidden)]
    pub const PREFETCHED: usize = 16;

    /// A table for `limit` ids, at least 2, of which those within their link's share of the reserve
    /// are remembered for `lifetime` whatever others send, and so are the newest
    /// [`RouteTable::promised`] of all. None is remembered for two lifetimes or longer. An id is as
    /// old as its first [`RouteTable::insert`] or its last [`RouteTable::set`].
    pub fn new(limit: usize, lifetime: Duration, rng: &mut Rng) -> RouteTable {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let lifetime_millis = u32::try_from(lifetime.as_millis()).unwrap_or(u32::MAX);
        RouteTable { limit, lifetime_millis, seed: rng.next_u64(), tables: None }
    }

    /// So many of the newest ids a table for `limit` of them never forgets before their time.
    pub const fn promised(limit: usize) -> usize {
        let promised = generation(limit);
        if promised == 0 { 1 } else { promised }
    }

    #[inline]
    fn lifetime(&self) -> Duration {
        Duration::from_millis(self.lifetime_millis.into())
    }

    /// Remembers that `id` came from `link`, unless it is known: then says from where. The first
    /// to send an id keeps it.
    #[inline]
    pub fn insert(&mut self, now: Instant, id: &Id, link: LinkKey) -> Option<LinkKey> {
        let lifetime = self.lifetime();
        let tables = self.tables_at(now);
        let id = tables.key.hash(id);
        let known = tables.find(id);
        if known.is_none() {
            tables.enter(now, lifetime, id, link);
        }
        known
    }

    /// Remembers that `id` is reached through `link`, whatever was known before.
    pub fn set(&mut self, now: Instant, id: &Id, link: LinkKey) {
        let lifetime = self.lifetime();
        let tables = self.tables_at(now);
        let id = tables.key.hash(id);
        // Whatever is known of an id names the same link everywhere, and mostly this one.
        if [&tables.shared.young, &tables.reserved.young]
            .iter()
            .any(|ids| ids.get(id) == Some(link))
        {
            return;
        }
        let young = [&mut tables.reserved, &mut tables.shared].map(|ids| ids.overwrite(id, link));
        if young == [false, false] {
            tables.enter(now, lifetime, id, link);
        }
    }

    /// Where `id` came from.
    pub fn get(&mut self, now: Instant, id: &Id) -> Option<LinkKey> {
        let lifetime = self.lifetime();
        let tables = self.tables.as_mut()?;
        tables.rotate_if_due(now, lifetime);
        tables.find(tables.key.hash(id))
    }

    /// Loads what look-ups of the first [`RouteTable::PREFETCHED`] of `ids` need into the cache, so
    /// that look-ups soon after do not wait for memory one after the other. Changes nothing.
    #[doc(hidden)]
    pub fn prefetch<'a>(&self, ids: impl Iterator<Item = &'a Id>) {
        let Some(tables) = &self.tables else { return };
        let mut hashes = [Hash::default(); RouteTable::PREFETCHED];
        let count =
            hashes.iter_mut().zip(ids).map(|(hash, id)| *hash = tables.key.hash(id)).count();
        // Loads do not wait for each other as long as nothing needs their results.
        let (shared, reserved) = (&tables.shared, &tables.reserved);
        let mut touched = 0;
        // The slowest of them first, close together.
        for &id in &hashes[..count] {
            touched ^= shared.young.touch(id);
        }
        for &id in &hashes[..count] {
            touched ^= shared.old.touch_known(id);
            touched ^= reserved.young.touch_known(id) ^ reserved.old.touch_known(id);
        }
        std::hint::black_box(touched);
    }

    /// The link at this slab index ended: the next one there has a share of its own of the reserve.
    pub(super) fn forget_link(&mut self, index: usize) {
        if let Some(count) =
            self.tables.as_mut().and_then(|tables| tables.reserved_by_link.get_mut(index))
        {
            *count = 0;
        }
    }

    /// Ids held in all generations; never above the limit.
    pub fn len(&self) -> usize {
        let Some(tables) = &self.tables else { return 0 };
        [&tables.reserved, &tables.shared].map(|ids| ids.young.len() + ids.old.len()).iter().sum()
    }

    /// True if nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is held, without what is too old by now.
    #[inline]
    fn tables_at(&mut self, now: Instant) -> &mut Tables {
        let (limit, lifetime) = (self.limit as usize, self.lifetime());
        let tables = self.tables.get_or_insert_with(|| {
            let key = Key::new(&mut Rng::new(self.seed));
            Box::new(Tables::new(key, limit, now + lifetime))
        });
        tables.rotate_if_due(now, lifetime);
        tables
    }
}

impl Tables {
    fn new(key: Key, limit: usize, rotates_at: Instant) -> Tables {
        Tables {
            key,
            reserved: Generations::new(generation(limit / RESERVED_FRACTION), rotates_at),
            shared: Generations::new(RouteTable::promised(limit), rotates_at),
            reserved_by_link: Vec::new(),
        }
    }

    #[inline]
    fn find(&self, id: Hash) -> Option<LinkKey> {
        let shared = self.shared.young.get_at_hand(id).or_else(|| self.shared.old.get(id));
        shared.or_else(|| self.reserved.young.get(id).or_else(|| self.reserved.old.get(id)))
    }

    /// Takes in an id that no young generation has.
    fn enter(&mut self, now: Instant, lifetime: Duration, id: Hash, link: LinkKey) {
        if self.admit(link) {
            self.reserved.young.put(id, link);
        } else {
            if self.shared.is_full() {
                self.shared.rotate(now + lifetime);
            }
            self.shared.young.put(id, link);
        }
    }

    /// Whether the reserve has room for one more id of `link`, which then counts.
    fn admit(&mut self, link: LinkKey) -> bool {
        let free = self.reserved.limit - self.reserved.young.len();
        if link == LinkKey::OWN {
            return free > 0;
        }
        let index = link.index();
        if self.reserved_by_link.len() <= index && free > 0 {
            self.reserved_by_link.resize(index + 1, 0);
        }
        let Some(held) = self.reserved_by_link.get_mut(index) else { return false };
        let admitted = (*held as usize) < free;
        *held += u32::from(admitted);
        admitted
    }

    #[inline]
    fn rotate_if_due(&mut self, now: Instant, lifetime: Duration) {
        if now >= self.reserved.rotates_at.min(self.shared.rotates_at) {
            self.rotate(now, lifetime);
        }
    }

    #[cold]
    fn rotate(&mut self, now: Instant, lifetime: Duration) {
        if self.reserved.rotate_if_due(now, lifetime) {
            self.reserved_by_link.clear();
        }
        self.shared.rotate_if_due(now, lifetime);
    }
}

/// Ids in one of two generations that together may hold `limit`, chosen so that a limit that is a power
/// of two fills its tables.
const fn generation(limit: usize) -> usize {
    super::id_table::capacity(limit / 2)
}

/// The newer and the older of the ids entered lately.
#[derive(Debug)]
struct Generations {
    young: IdTable,
    old: IdTable,
    /// When the young ones become the old ones at the latest.
    rotates_at: Instant,
    /// Ids in one generation.
    limit: usize,
}

impl Generations {
    fn new(limit: usize, rotates_at: Instant) -> Generations {
        Generations { young: IdTable::default(), old: IdTable::default(), rotates_at, limit }
    }

    /// Replaces what is known of `id`; true if the young generation knew it.
    fn overwrite(&mut self, id: Hash, link: LinkKey) -> bool {
        self.old.overwrite(id, link);
        self.young.overwrite(id, link)
    }

    fn is_full(&self) -> bool {
        self.young.len() >= self.limit
    }

    /// Turns if the young generation's lifetime is over. True if it was.
    fn rotate_if_due(&mut self, now: Instant, lifetime: Duration) -> bool {
        if now < self.rotates_at {
            return false;
        }
        if now.since(self.rotates_at) >= lifetime {
            // Nothing was asked for so long that both generations are past their time.
            *self = Generations::new(self.limit, now + lifetime);
        } else {
            // Late as it may be: what is old now must not live that much longer.
            self.rotate(self.rotates_at + lifetime);
        }
        true
    }

    /// The young generation becomes the old one.
    fn rotate(&mut self, rotates_at: Instant) {
        std::mem::swap(&mut self.young, &mut self.old);
        self.rotates_at = rotates_at;
        self.young.clear_for(self.old.len());
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
        RouteTable::new(limit, LIFETIME, &mut Rng::new(1))
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
        table.insert(at(0), &id(0), link);
        table.insert(at(9), &id(1), link);
        assert_eq!(table.get(at(11), &id(1)), Some(link), "older generation");
        assert_eq!(table.insert(at(19), &id(1), LinkKey::OWN), Some(link));
        assert_eq!(table.get(at(22), &id(1)), None);
        table.insert(at(23), &id(2), link);
        assert_eq!(table.get(at(100), &id(2)), None, "a long silence ends both generations");
    }

    #[test]
    fn the_count_never_passes_the_limit_and_the_newest_are_kept() {
        let link = LinkKey::new(3, 9);
        let mut table = table(1_000);
        let kept = RouteTable::promised(1_000) as u64;
        assert!(kept > 400);
        for n in 0..100_000 {
            assert_eq!(table.insert(at(0), &id(n), link), None);
            assert!(table.len() <= 1_000, "{} ids held", table.len());
            assert_eq!(table.get(at(0), &id(n.saturating_sub(kept - 1))), Some(link));
        }
    }

    #[test]
    fn a_flood_does_not_displace_what_others_sent() {
        let mut table = table(8_000);
        let quiet = LinkKey::new(9, 1);
        let remembered = |table: &mut RouteTable| {
            (0..20).filter(|n| table.get(at(0), &id(*n)) == Some(quiet)).count()
        };
        // One flooder before and, with a second one and ids of our own, after the quiet link.
        for n in 1_000..50_000 {
            table.insert(at(0), &id(n), LinkKey::new(1, 1));
        }
        for n in 0..20 {
            table.insert(at(0), &id(n), quiet);
        }
        table.set(at(0), &id(999), LinkKey::OWN);
        for n in 50_000..100_000 {
            table.set(at(0), &id(n), LinkKey::new((n % 7) as u32, 1));
        }
        assert_eq!(remembered(&mut table), 20);
        assert_eq!(table.get(at(0), &id(999)), Some(LinkKey::OWN));
        assert!(table.len() <= 8_000);
    }

    #[test]
    fn a_link_in_the_slot_of_a_flooder_has_a_share_of_its_own() {
        let mut table = table(8_000);
        let (flooder, later) = (LinkKey::new(1, 1), LinkKey::new(1, 2));
        for n in 1_000..50_000 {
            table.insert(at(0), &id(n), flooder);
        }
        table.forget_link(1);
        for n in 0..20 {
            table.insert(at(0), &id(n), later);
        }
        for n in 50_000..100_000 {
            table.insert(at(0), &id(n), LinkKey::new(2, 1));
        }
        let known = (0..20).filter(|n| table.get(at(0), &id(*n)) == Some(later)).count();
        assert_eq!(known, 20);
    }

    #[test]
    fn what_was_set_last_is_known_wherever_it_lies() {
        let mut table = table(100);
        let link = |n: u64| LinkKey::new(u32::try_from(n % 4).unwrap(), 1);
        let mut last = HashMap::new();
        let mut rng = Rng::new(3);
        for n in 0..20_000 {
            let id = id(rng.next_u64() % 60);
            table.set(at(n / 2_000), &id, link(n));
            last.insert(id, link(n));
            for (id, set) in &last {
                assert!(table.get(at(n / 2_000), id).is_none_or(|known| known == *set));
            }
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
}
