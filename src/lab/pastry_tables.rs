//! What a node of [`super::pastry`] knows of others: its leaf set and its routing table.

use super::identifier::{Peer, distance};
use crate::time::Instant;
use std::net::SocketAddrV4;
use std::time::Duration;

/// Leaves on either side: half of the paper's L = 16.
const SIDE: usize = 8;

/// Bits of a digit: the paper's b.
const DIGIT_BITS: u32 = 4;

/// Values of a digit, and so the entries of a row.
const DIGITS: usize = 1 << DIGIT_BITS;

/// The digits that two identifiers begin with in common.
pub(super) fn shared_digits(a: u64, b: u64) -> usize {
    ((a ^ b).leading_zeros() / DIGIT_BITS) as usize
}

fn digit(id: u64, row: usize) -> usize {
    (id << (DIGIT_BITS as usize * row) >> (u64::BITS - DIGIT_BITS)) as usize
}

/// A node close on the circle.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leaf {
    pub(super) peer: Peer,
    /// When it last said something.
    pub(super) heard: Instant,
}

/// An entry of the routing table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) peer: Peer,
    /// The time to it and back, once it was measured.
    pub(super) round_trip: Option<Duration>,
}

/// The nodes a node knows. Only nodes that it has heard itself get in, so that the dead do not live on
/// in what others tell.
#[derive(Debug)]
pub(super) struct Tables {
    own: Peer,
    /// The nodes before and after it on the circle, the nearest first. In a small network a node may be
    /// on both sides.
    sides: [Vec<Leaf>; 2],
    /// Row r holds nodes that share r digits with this one, by their next digit.
    rows: Vec<[Option<Entry>; DIGITS]>,
}

impl Tables {
    pub(super) fn new(own: Peer) -> Tables {
        Tables { own, sides: [Vec::new(), Vec::new()], rows: Vec::new() }
    }

    /// The way to a node from this one, on the side of lower or of higher identifiers.
    fn ahead(&self, side: usize, id: u64) -> u64 {
        if side == 0 { self.own.id.wrapping_sub(id) } else { id.wrapping_sub(self.own.id) }
    }

    /// Each leaf once.
    pub(super) fn leaves(&self) -> Vec<Peer> {
        let mut peers: Vec<Peer> = self.sides.iter().flatten().map(|leaf| leaf.peer).collect();
        peers.sort_unstable();
        peers.dedup();
        peers
    }

    /// The leaves right before and right after this node.
    pub(super) fn nearest(&self) -> [Option<Peer>; 2] {
        [0, 1].map(|side| self.sides[side].first().map(|leaf| leaf.peer))
    }

    /// The leaf farthest away on the side on which a node is nearer.
    pub(super) fn farthest_towards(&self, id: u64) -> Option<Peer> {
        let side = usize::from(self.ahead(1, id) < self.ahead(0, id));
        self.sides[side].last().map(|leaf| leaf.peer)
    }

    pub(super) fn has_leaf(&self, addr: SocketAddrV4) -> bool {
        self.sides.iter().flatten().any(|leaf| leaf.peer.addr == addr)
    }

    /// A node said something. Whether it is a leaf.
    pub(super) fn hears_leaf(&mut self, addr: SocketAddrV4, now: Instant) -> bool {
        let mut is_leaf = false;
        for leaf in self.sides.iter_mut().flatten().filter(|leaf| leaf.peer.addr == addr) {
            (leaf.heard, is_leaf) = (now, true);
        }
        is_leaf
    }

    /// Leaves that have said nothing since `then`.
    pub(super) fn silent_since(&self, then: Instant) -> Vec<Peer> {
        let silent = |peer: &Peer| {
            let mut same = self.sides.iter().flatten().filter(|leaf| leaf.peer == *peer);
            same.all(|leaf| leaf.heard < then)
        };
        self.leaves().into_iter().filter(silent).collect()
    }

    fn place_on(&self, side: usize, id: u64) -> Option<usize> {
        let ahead = self.ahead(side, id);
        let place = self.sides[side].partition_point(|leaf| self.ahead(side, leaf.peer.id) < ahead);
        (place < SIDE).then_some(place)
    }

    /// Whether a node that is not a leaf would be one.
    pub(super) fn wants_leaf(&self, id: u64) -> bool {
        id != self.own.id && (0..2).any(|side| self.place_on(side, id).is_some())
    }

    /// A node that may be new was heard. Whether it is a new leaf.
    pub(super) fn add_leaf(&mut self, peer: Peer, heard: Instant) -> bool {
        if peer.id == self.own.id || self.hears_leaf(peer.addr, heard) {
            return false;
        }
        let mut is_new = false;
        for side in 0..2 {
            if let Some(place) = self.place_on(side, peer.id) {
                self.sides[side].insert(place, Leaf { peer, heard });
                self.sides[side].truncate(SIDE);
                is_new = true;
            }
        }
        is_new
    }

    fn slot(&self, id: u64) -> (usize, usize) {
        let row = shared_digits(self.own.id, id);
        (row, digit(id, row))
    }

    /// The entry in the place of this node, if any.
    pub(super) fn entry(&self, id: u64) -> Option<Entry> {
        let (row, column) = self.slot(id);
        self.rows.get(row).and_then(|row| row[column])
    }

    /// A node was heard. It gets its place if that is empty, or if it is closer in the network.
    pub(super) fn add_entry(&mut self, peer: Peer, round_trip: Option<Duration>) {
        if peer.id == self.own.id {
            return;
        }
        let (row, column) = self.slot(peer.id);
        if self.rows.len() <= row {
            self.rows.resize(row + 1, [None; DIGITS]);
        }
        let is_closer = match self.rows[row][column] {
            None => true,
            Some(entry) if entry.peer == peer => round_trip.is_some(),
            Some(entry) => {
                round_trip.is_some_and(|new| entry.round_trip.is_none_or(|old| new < old))
            }
        };
        if is_closer {
            self.rows[row][column] = Some(Entry { peer, round_trip });
        }
    }

    /// The entries of a row, none if there is no such row.
    pub(super) fn row(&self, row: usize) -> Vec<Peer> {
        let entries = self.rows.get(row).into_iter().flatten().flatten();
        entries.map(|entry| entry.peer).collect()
    }

    /// Numbers of rows with an entry.
    pub(super) fn used_rows(&self) -> Vec<usize> {
        (0..self.rows.len()).filter(|&row| self.rows[row].iter().any(Option::is_some)).collect()
    }

    /// All entries of the routing table.
    pub(super) fn entries(&self) -> impl Iterator<Item = Entry> {
        self.rows.iter().flatten().flatten().copied()
    }

    /// A node is dead. Whether it was a leaf, and the row it was in.
    pub(super) fn forget(&mut self, addr: SocketAddrV4) -> (Option<Peer>, Option<usize>) {
        let leaf = self.sides.iter().flatten().find(|leaf| leaf.peer.addr == addr);
        let leaf = leaf.map(|leaf| leaf.peer);
        self.sides.iter_mut().for_each(|side| side.retain(|leaf| leaf.peer.addr != addr));
        let mut found = None;
        for (number, row) in self.rows.iter_mut().enumerate() {
            for entry in row.iter_mut() {
                if entry.take_if(|entry| entry.peer.addr == addr).is_some() {
                    found = Some(number);
                }
            }
        }
        (leaf, found)
    }

    /// Whether the owner of a key is this node or one of its leaves.
    fn is_covered(&self, key: u64) -> bool {
        let reach = |side: usize| {
            let last = self.sides[side].last().filter(|_| self.sides[side].len() == SIDE);
            last.map(|leaf| self.ahead(side, leaf.peer.id))
        };
        let (Some(before), Some(after)) = (reach(0), reach(1)) else { return true };
        before.checked_add(after).is_none()
            || self.ahead(0, key) <= before
            || self.ahead(1, key) <= after
    }

    /// This node and its leaves, those closest to the key first.
    pub(super) fn closest(&self, key: u64) -> Vec<Peer> {
        let mut peers = self.leaves();
        peers.push(self.own);
        peers.sort_by_key(|peer| (distance(peer.id, key), peer.id));
        peers
    }

    /// The node to pass a message to, as in section 2.3 of the paper; `None` if it belongs here. It is
    /// never passed to `except`.
    pub(super) fn next_hop(&self, key: u64, except: Option<SocketAddrV4>) -> Option<Peer> {
        let may_be = |peer: &Peer| Some(peer.addr) != except;
        if self.is_covered(key) {
            return self.closest(key).into_iter().find(may_be).filter(|peer| *peer != self.own);
        }
        let row = shared_digits(self.own.id, key);
        let column = digit(key, row.min(DIGITS - 1));
        let entry = self.rows.get(row).and_then(|row| row[column]);
        if let Some(Entry { peer, .. }) = entry.filter(|entry| may_be(&entry.peer)) {
            return Some(peer);
        }
        // The rare case: any node that shares no fewer digits and is closer.
        let known = self.leaves().into_iter().chain(self.entries().map(|entry| entry.peer));
        let own = distance(self.own.id, key);
        let closer = known.filter(|peer| {
            may_be(peer) && shared_digits(peer.id, key) >= row && distance(peer.id, key) < own
        });
        closer.min_by_key(|peer| distance(peer.id, key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(id: u64) -> Peer {
        let [.., a, b] = id.to_be_bytes();
        let top = u8::try_from(id >> 56).unwrap();
        Peer { id, addr: SocketAddrV4::new([10, top, a, b].into(), 1) }
    }

    #[test]
    fn digits_are_counted_from_the_front() {
        assert_eq!(shared_digits(0x1234 << 48, 0x1235 << 48), 3);
        assert_eq!((digit(0x1234 << 48, 0), digit(0x1234 << 48, 3)), (1, 4));
        assert_eq!(shared_digits(7, 7), 16);
    }

    #[test]
    fn leaves_are_the_eight_nearest_on_either_side() {
        let mut tables = Tables::new(peer(1_000));
        for id in (0..2_000).filter(|id| *id != 1_000) {
            tables.add_leaf(peer(id), Instant::ZERO);
        }
        let ids: Vec<u64> = tables.leaves().iter().map(|peer| peer.id).collect();
        assert_eq!(ids, (992..=1_008).filter(|&id| id != 1_000).collect::<Vec<_>>());
        assert_eq!(tables.next_hop(1_003, None), Some(peer(1_003)));
        assert_eq!(tables.next_hop(1_000, None), None);
        assert_eq!(tables.closest(1_000)[..2], [peer(1_000), peer(999)]);
        tables.forget(peer(1_003).addr);
        assert_eq!(tables.next_hop(1_003, None), Some(peer(1_002)));
    }

    #[test]
    fn a_message_gains_a_digit_with_each_link_or_comes_closer() {
        let mut tables = Tables::new(peer(1 << 60));
        (0..=16).for_each(|id| {
            tables.add_leaf(peer((1 << 60) + id - 8), Instant::ZERO);
        });
        for id in [0x2, 0x30, 0x31] {
            let id = if id < 16 { id << 60 } else { id << 56 };
            tables.add_entry(peer(id), None);
        }
        assert_eq!(
            tables.next_hop(0x39 << 56, None),
            Some(peer(0x30 << 56)),
            "the first of its place"
        );
        assert_eq!(tables.next_hop(0x25 << 56, None), Some(peer(0x2 << 60)));
        assert_eq!(
            tables.next_hop(0x4 << 60, None),
            Some(peer(0x30 << 56)),
            "no such row: the closest"
        );
    }

    #[test]
    fn the_closer_node_in_the_network_keeps_the_place() {
        let (mut tables, millis) = (Tables::new(peer(0)), Duration::from_millis);
        let [a, b, c] = [0x30, 0x31, 0x32].map(|id: u64| peer(id << 56));
        tables.add_entry(a, Some(millis(50)));
        tables.add_entry(b, Some(millis(80)));
        tables.add_entry(c, None);
        assert_eq!(tables.entry(b.id).map(|entry| entry.peer), Some(a));
        tables.add_entry(b, Some(millis(20)));
        assert_eq!(tables.entry(a.id).map(|entry| entry.peer), Some(b));
        assert_eq!(tables.forget(b.addr), (None, Some(0)));
        assert!(tables.entry(a.id).is_none());
    }
}
