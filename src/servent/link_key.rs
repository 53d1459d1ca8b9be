//! The name of a link wherever links are remembered: route tables, caches, batches.

/// Identifies a link for as long as it stands: 16 bits of slab index, 16 bits of generation, so
/// that a link in a reused slot is not taken for the one before it. Zero is never a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkKey(u32);

impl LinkKey {
    /// The sender is this servent itself.
    pub const OWN: LinkKey = LinkKey(u32::MAX);

    /// The key of a link in slab slot `index`. Generations repeat after 65,534 links in one slot; a
    /// route that old would be taken for the new link's, which costs a misrouted reply.
    pub fn new(index: u32, generation: u32) -> LinkKey {
        let index = index & 0xffff;
        // 1 to 0xfffe, so that no key is 0 or OWN.
        let generation = generation % 0xfffe + 1;
        LinkKey(generation << 16 | index)
    }

    pub(super) fn bits(self) -> u32 {
        self.0
    }

    pub(super) fn from_bits(bits: u32) -> LinkKey {
        LinkKey(bits)
    }

    /// The slab index.
    #[inline]
    pub fn index(self) -> usize {
        (self.0 & 0xffff) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
