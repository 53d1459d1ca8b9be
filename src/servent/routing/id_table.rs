//! A hash table of 16-byte ids that peers choose, built for floods of new ids.
//!
//! An id is represented by 64 bits of a keyed hash. With 1 M ids the chance of any collision is 1 in
//! 37 million; a collision loses the later id. A bucket fills one cache line, so a look-up waits for
//! memory once, and mostly not at all when the id is unknown. At the usual load of seven tenths an
//! id takes 20 bytes. Ids are never removed one by one: each bucket is stamped with the epoch it was
//! filled in, and buckets of earlier epochs count as empty.

use crate::rng::Rng;
use crate::servent::link_key::LinkKey;

/// What is looked up.
pub(super) type Id = [u8; 16];

/// Ids in a bucket: 12 bytes each, beside 4 bytes for the epoch and their number.
const IDS: usize = 5;

/// Bytes of a full table for each id in it.
pub(in crate::servent) const BYTES_PER_ID: usize =
    (2 * (size_of::<Bucket>() + size_of::<Filter>())).div_ceil(7);

/// Ids a table of `slots / 4` buckets (a power of two) holds before it grows: 3.5 for each bucket of 5,
/// a load of 0.7.
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
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "only the low bits pick a bucket")]
    fn bucket(self, buckets: usize) -> usize {
        self.0 as usize & (buckets - 1)
    }

    #[inline]
    fn filter(self) -> Filter {
        1 << (self.0 >> 59) | 1 << (self.0 >> 54 & 31)
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "takes the halves apart")]
    fn halves(self) -> (u32, u32) {
        (self.0 as u32, (self.0 >> 32) as u32)
    }
}

/// Up to [`IDS`] ids; the two halves of their hashes, and the links they came from.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Bucket {
    /// The epoch, and the number of ids in the three lowest bits.
    head: u32,
    low: [u32; IDS],
    high: [u32; IDS],
    links: [u32; IDS],
}

const EPOCH_BITS: u32 = u32::BITS - 3;
const _: () = assert!(size_of::<Bucket>() == 64);

/// Bloom filter of the ids whose look-up begins at one bucket, two bits for each. Most ids that are
/// looked up are new, and the filters fit the cache: 1 in 25 look-ups of an unknown id reads the bucket.
type Filter = u32;

impl Bucket {
    #[inline]
    fn len(&self, epoch: u32) -> usize {
        if self.head >> 3 == epoch { (self.head & 7) as usize } else { 0 }
    }

    #[inline]
    fn position(&self, id: Hash, len: usize) -> Option<usize> {
        let (low, high) = id.halves();
        // All slots, used or not: a loop of fixed length is predicted.
        (0..IDS).find(|&at| self.low[at] == low && self.high[at] == high && at < len)
    }
}

/// Ids and their links.
#[derive(Debug, Default)]
pub(super) struct IdTable {
    /// A power of two, or none; probed linearly.
    buckets: Vec<Bucket>,
    /// One for each bucket.
    filters: Vec<Filter>,
    epoch: u32,
    len: usize,
}

impl IdTable {
    fn with_buckets(count: usize) -> IdTable {
        let (buckets, filters) = (vec![Bucket::default(); count], vec![0; count]);
        IdTable { buckets, filters, epoch: 0, len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The link of `id`.
    #[inline]
    pub(super) fn get(&self, id: Hash) -> Option<LinkKey> {
        if self.may_have(id) { self.get_at_hand(id) } else { None }
    }

    /// The same without the filter, for a bucket that [`IdTable::touch`] has brought into the cache.
    #[inline]
    pub(super) fn get_at_hand(&self, id: Hash) -> Option<LinkKey> {
        let (bucket, at) = self.position(id)?;
        Some(LinkKey::from_bits(self.buckets[bucket].links[at]))
    }

    /// Gives `id` another link if it is there.
    pub(super) fn overwrite(&mut self, id: Hash, link: LinkKey) -> bool {
        let position = self.position(id);
        position.map(|(bucket, at)| self.buckets[bucket].links[at] = link.bits()).is_some()
    }

    /// Adds an id that is not in the table.
    pub(super) fn put(&mut self, id: Hash, link: LinkKey) {
        if self.len >= self.capacity() {
            self.grow();
        }
        let mut index = id.bucket(self.buckets.len());
        self.filters[index] |= id.filter();
        while self.buckets[index].len(self.epoch) == IDS {
            index = (index + 1) & (self.buckets.len() - 1);
        }
        let bucket = &mut self.buckets[index];
        let at = bucket.len(self.epoch);
        (bucket.low[at], bucket.high[at]) = id.halves();
        bucket.links[at] = link.bits();
        bucket.head = if at == 0 { self.epoch << 3 | 1 } else { bucket.head + 1 };
        self.len += 1;
    }

    #[inline]
    fn position(&self, id: Hash) -> Option<(usize, usize)> {
        if self.len == 0 {
            return None;
        }
        let mut index = id.bucket(self.buckets.len());
        loop {
            let bucket = &self.buckets[index];
            let len = bucket.len(self.epoch);
            if let Some(at) = bucket.position(id, len) {
                return Some((index, at));
            }
            if len < IDS {
                return None;
            }
            index = (index + 1) & (self.buckets.len() - 1);
        }
    }

    #[inline]
    fn may_have(&self, id: Hash) -> bool {
        let filter = id.filter();
        self.len > 0 && self.filters[id.bucket(self.buckets.len())] & filter == filter
    }

    /// Loads what a look-up needs.
    #[inline]
    pub(super) fn touch_known(&self, id: Hash) -> u32 {
        if self.may_have(id) { self.touch(id) } else { 0 }
    }

    /// Loads what an entry needs.
    #[inline]
    pub(super) fn touch(&self, id: Hash) -> u32 {
        if self.buckets.is_empty() {
            return 0;
        }
        let index = id.bucket(self.buckets.len());
        self.buckets[index].head ^ self.filters[index]
    }

    /// Ids it holds before it grows. At least one slot stays free, or no look-up would end.
    fn capacity(&self) -> usize {
        let one = (IDS - 1) * self.buckets.len().min(1);
        capacity(4 * self.buckets.len()).max(one)
    }

    /// Empties the table and sizes it for about `expected` ids, so that it neither grows under load nor
    /// keeps the size that an old flood needed.
    pub(super) fn clear_for(&mut self, expected: usize) {
        let fits = expected <= self.capacity() && self.buckets.len() <= 2 * expected.max(IDS);
        if fits && self.epoch + 1 < 1 << EPOCH_BITS {
            self.epoch += 1;
            self.len = 0;
            self.filters.fill(0);
        } else {
            *self = IdTable::with_buckets((2 * expected).div_ceil(7).next_power_of_two());
        }
    }

    fn grow(&mut self) {
        let larger = IdTable::with_buckets((self.buckets.len() * 2).max(1));
        let small = std::mem::replace(self, larger);
        for bucket in &small.buckets {
            for at in 0..bucket.len(small.epoch) {
                let hash = u64::from(bucket.low[at]) | u64::from(bucket.high[at]) << 32;
                self.put(Hash(hash), LinkKey::from_bits(bucket.links[at]));
            }
        }
    }
}
