//! Seeded randomness for the core: the same seed gives the same run on every machine.
//!
//! Peers see descriptor GUIDs, which come from here, and must not be able to work out the hash
//! keys of our tables from them. So the generator is SipHash-1-3 in counter mode: 24 bytes of
//! state, unpredictable from its output, and cheap to fork for every virtual node.

use siphasher::sip::SipHasher13;
use std::hash::Hasher;

/// A keyed counter; see the module documentation.
#[derive(Clone, Debug)]
pub struct Rng {
    key: (u64, u64),
    counter: u64,
}

impl Rng {
    /// A generator for `seed`. Equal seeds give equal sequences.
    pub fn new(seed: u64) -> Rng {
        Rng { key: (seed, 0x5365_7276_656e_7421), counter: 0 }
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.key.0, self.key.1);
        hasher.write(&self.counter.to_le_bytes());
        self.counter += 1;
        hasher.finish()
    }

    /// An independent generator: its output says nothing about this one.
    pub fn fork(&mut self) -> Rng {
        Rng { key: (self.next_u64(), self.next_u64()), counter: 0 }
    }

    /// 16 random bytes.
    pub fn bytes16(&mut self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.next_u64().to_le_bytes());
        bytes[8..].copy_from_slice(&self.next_u64().to_le_bytes());
        bytes
    }

    /// A number below `bound`, which must not be zero. The bias is below `bound` / 2^64.
    pub fn below(&mut self, bound: usize) -> usize {
        assert!(bound > 0, "Rng::below needs a bound above zero");
        let wide = u128::from(self.next_u64()) * bound as u128;
        usize::try_from(wide >> 64).expect("the high half is below bound")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_agree_and_forks_differ() {
        let (mut a, mut b) = (Rng::new(7), Rng::new(7));
        assert_eq!(a.bytes16(), b.bytes16());
        let (mut fork_a, mut fork_b) = (a.fork(), b.fork());
        assert_eq!(fork_a.next_u64(), fork_b.next_u64());
        assert_ne!(fork_a.next_u64(), a.next_u64());
        assert_ne!(Rng::new(8).next_u64(), Rng::new(7).next_u64());
    }

    #[test]
    fn the_sequence_is_the_same_on_every_machine() {
        let mut rng = Rng::new(1);
        assert_eq!([rng.next_u64(), rng.next_u64()], [2771246581696571843, 13034538701311958598]);
    }

    #[test]
    fn below_covers_its_range() {
        let mut rng = Rng::new(3);
        let mut seen = [false; 5];
        for _ in 0..200 {
            seen[rng.below(5)] = true;
        }
        assert_eq!(seen, [true; 5]);
    }
}
