//! The unsent bytes of one link, bounded, with the choice of what to refuse.
//!
//! A slow neighbour costs itself: what is queued stays, in order, and the further a queue is
//! filled the fewer classes of descriptor it takes. Broadcasts go first, since their answers
//! could hardly come back; then Pongs and Pushes; QueryHits are the last to be refused.

use crate::wire::{HEADER_BYTES, Header, Kind};
use bytes::{Buf, BytesMut};

/// The bytes waiting for one link.
#[derive(Debug, Default)]
pub(super) struct SendQueue {
    bytes: BytesMut,
    /// How many bytes at the front belong to the hello.
    hello_left: usize,
    /// How many after those are the rest of a descriptor of which some went out.
    begun_left: usize,
}

/// A queue that ran empty keeps this much, the rest goes back to the allocator when the link is
/// next looked at.
const KEEP_CAPACITY_BYTES: usize = 4_096;

impl SendQueue {
    /// Appends bytes that must go out whatever the state of the queue: the hello.
    pub(super) fn push_bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.hello_left += bytes.len();
    }

    /// Appends a descriptor unless the queue is too full for its class. False if refused.
    #[must_use]
    pub(super) fn push(&mut self, framed: &Framed<'_>) -> bool {
        let needed = framed.header.len() + framed.payload.len();
        let free = framed.capacity.saturating_sub(self.bytes.len());
        if needed > free || self.bytes.len() >= framed.refused_above {
            return false;
        }
        self.bytes.reserve(needed);
        self.bytes.extend_from_slice(&framed.header);
        self.bytes.extend_from_slice(framed.payload);
        true
    }

    pub(super) fn unsent(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn sent(&mut self, count: usize) {
        if count >= self.bytes.len() {
            // Back to the start of the buffer, or its front would be lost until it is full.
            self.bytes.clear();
            (self.hello_left, self.begun_left) = (0, 0);
            return;
        }
        let hello = count.min(self.hello_left);
        self.hello_left -= hello;
        self.bytes.advance(hello);
        let count = count - hello;
        while self.begun_left < count {
            self.begun_left += descriptor_len(&self.bytes[self.begun_left..]);
        }
        self.begun_left -= count;
        self.bytes.advance(count);
    }

    /// Descriptors of which not every byte went out. Walks over all of them.
    pub(super) fn descriptors(&self) -> u64 {
        let mut at = self.hello_left + self.begun_left;
        let mut count = u64::from(self.begun_left > 0);
        while at < self.bytes.len() {
            at += descriptor_len(&self.bytes[at..]);
            count += 1;
        }
        count
    }

    /// Gives back what an idle link need not keep.
    pub(super) fn shrink(&mut self) {
        if self.bytes.is_empty() && self.bytes.capacity() > KEEP_CAPACITY_BYTES {
            self.bytes = BytesMut::new();
        }
    }
}

/// The length of the descriptor that starts at the front of `bytes`.
fn descriptor_len(bytes: &[u8]) -> usize {
    let header = bytes.first_chunk().map(Header::decode);
    let payload = header.expect("whole descriptors were queued").payload_len;
    HEADER_BYTES + payload as usize
}

/// A descriptor ready to be appended to any number of queues.
#[derive(Debug)]
pub(super) struct Framed<'a> {
    kind: Kind,
    header: [u8; HEADER_BYTES],
    payload: &'a [u8],
    capacity: usize,
    /// The fill, in bytes, from which on its class is refused.
    refused_above: usize,
}

impl<'a> Framed<'a> {
    /// `header.payload_len` is taken from the payload; queues hold `capacity` bytes.
    pub(super) fn new(mut header: Header, payload: &'a [u8], capacity: usize) -> Framed<'a> {
        header.payload_len = u32::try_from(payload.len()).expect("payloads are at most 64 KiB");
        // Among broadcasts the far-travelled go first: each hop lowers their bound by a 32nd.
        let far = usize::from(header.hops.min(8)) * capacity / 32;
        let refused_above = match header.kind {
            Kind::Ping | Kind::Query => capacity / 2 - far,
            Kind::Pong | Kind::Push => capacity / 4 * 3,
            _ => capacity,
        };
        let kind = header.kind;
        Framed { kind, header: header.encode(), payload, capacity, refused_above }
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// The header as it is sent.
    pub(super) fn header(&self) -> Header {
        Header::decode(&self.header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Guid;

    const CAPACITY: usize = 32_000;

    fn framed(kind: Kind, hops: u8) -> Framed<'static> {
        let header = Header { guid: Guid::default(), kind, ttl: 1, hops, payload_len: 0 };
        Framed::new(header, &[], CAPACITY)
    }

    /// Fills a queue with one kind until it refuses, and says how full it became.
    fn fill(queue: &mut SendQueue, kind: Kind, hops: u8) -> usize {
        while queue.push(&framed(kind, hops)) {}
        queue.unsent().len()
    }

    #[test]
    fn classes_are_refused_in_order_and_what_is_queued_stays() {
        let mut queue = SendQueue::default();
        let slack = HEADER_BYTES;
        let far = fill(&mut queue, Kind::Query, 7);
        let near = fill(&mut queue, Kind::Query, 0);
        let pong = fill(&mut queue, Kind::Pong, 0);
        let hit = fill(&mut queue, Kind::QueryHit, 0);
        assert!(far < near, "far-travelled Queries are refused first: {far} {near}");
        assert!((CAPACITY / 2..CAPACITY / 2 + slack).contains(&near), "{near}");
        assert!((CAPACITY / 4 * 3..CAPACITY / 4 * 3 + slack).contains(&pong), "{pong}");
        assert!((CAPACITY - slack..=CAPACITY).contains(&hit), "{hit}");
        assert_eq!(queue.unsent()[16], Kind::Query.code(), "the first is still the first");
    }

    #[test]
    fn a_descriptor_waits_until_its_last_byte_is_sent() {
        let mut queue = SendQueue::default();
        queue.push_bytes(b"hello");
        assert_eq!(queue.descriptors(), 0);
        for _ in 0..3 {
            assert!(queue.push(&framed(Kind::Ping, 0)));
        }
        let sizes = [3, 2, 1, HEADER_BYTES - 2, 1, HEADER_BYTES + 5, HEADER_BYTES - 6, 1];
        let left = sizes.map(|size| {
            queue.sent(size);
            queue.descriptors()
        });
        assert_eq!(left, [3, 3, 3, 3, 2, 1, 1, 0]);
    }

    #[test]
    fn an_emptied_queue_takes_everything_again() {
        let mut queue = SendQueue::default();
        let full = fill(&mut queue, Kind::QueryHit, 0);
        queue.sent(full);
        assert!(queue.is_empty() && queue.push(&framed(Kind::Ping, 7)));
    }
}
