//! Identifiers of hash tables: 64 bits cut from SHA-1, on a circle.

use sha1::{Digest, Sha1};
use std::net::SocketAddrV4;

/// A node as others know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Peer {
    pub(super) id: u64,
    pub(super) addr: SocketAddrV4,
}

impl Peer {
    pub(super) fn new(addr: SocketAddrV4) -> Peer {
        let mut bytes = [0; 6];
        bytes[..4].copy_from_slice(&addr.ip().octets());
        bytes[4..].copy_from_slice(&addr.port().to_be_bytes());
        Peer { id: cut(&bytes), addr }
    }
}

/// The identifier of a text.
pub(super) fn key_of(text: &str) -> u64 {
    cut(text.as_bytes())
}

/// The first 64 bits of a SHA-1.
fn cut(bytes: &[u8]) -> u64 {
    let hash: [u8; 20] = Sha1::digest(bytes).into();
    hash.first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
}

/// Whether `id` lies after `from` and not after `to` on the circle; all of it if they are equal.
pub(super) fn is_within(id: u64, from: u64, to: u64) -> bool {
    let (ahead, length) = (id.wrapping_sub(from), to.wrapping_sub(from));
    length == 0 || (ahead != 0 && ahead <= length)
}

/// The way between two identifiers, along the shorter side of the circle.
pub(super) fn distance(a: u64, b: u64) -> u64 {
    a.wrapping_sub(b).min(b.wrapping_sub(a))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_circle_wraps_around() {
        assert!(is_within(5, 1, 5) && !is_within(1, 1, 5) && !is_within(6, 1, 5));
        assert!(is_within(2, u64::MAX - 1, 4) && !is_within(9, u64::MAX - 1, 4));
        assert!(is_within(7, 3, 3), "one node owns everything");
        assert_eq!((distance(1, u64::MAX), distance(7, 4)), (2, 3));
    }

    #[test]
    fn keys_are_cut_from_sha_1() {
        assert_eq!(key_of("abc"), 0xa999_3e36_4706_816a, "FIPS 180-4");
    }
}
