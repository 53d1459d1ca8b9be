//! The unsent bytes of one link, bounded, with the choice of what to refuse.
//!
//! A slow neighbour costs itself: what is queued stays, in order, and the further a queue is
//! filled the fewer classes of descriptor it takes. Broadcasts go first, since their answers
//! could hardly come back; then Pongs and Pushes; QueryHits are the last to be refused.
//!
//! While a neighbour does not keep up, nobody may have all of its queue: what a link has in there
//! is held against what it leaves free (dynamic thresholds, Choudhury and Hahne 1998).

use crate::stats::PerKind;
use crate::wire::{HEADER_BYTES, Header, Kind};
use bytes::{Buf, BytesMut};
use std::collections::VecDeque;

/// The bytes waiting for one link.
#[derive(Debug, Default)]
pub(super) struct SendQueue {
    bytes: BytesMut,
    /// How many bytes at the front belong to the hello.
    hello_left: u32,
    /// How many after those are the rest of a descriptor of which some went out.
    begun_left: u32,
    /// Whose the bytes are, since the neighbour did not take all.
    shares: Option<Box<Shares>>,
}

impl SendQueue {
    /// Appends bytes that must go out whatever the state of the queue: the hello.
    pub(super) fn push_bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.hello_left += short(bytes.len());
    }

    /// Appends a descriptor unless the queue is too full for its class or `source`, the link it came
    /// by, has too much in it already. False if refused.
    #[must_use]
    pub(super) fn push(&mut self, framed: &Framed<'_>, source: Option<usize>) -> bool {
        let needed = framed.len();
        let free = framed.capacity.saturating_sub(self.bytes.len());
        let room = framed.refused_above.saturating_sub(self.bytes.len());
        if needed > free || room == 0 {
            return false;
        }
        if let Some(shares) = &mut self.shares
            && !shares.admit(source, needed, room)
        {
            return false;
        }
        self.bytes.reserve(needed);
        self.bytes.extend_from_slice(&framed.header);
        self.bytes.extend_from_slice(framed.payload);
        true
    }

    /// Appends a whole run if none of its descriptors would be refused. False if one might be.
    #[must_use]
    pub(super) fn push_run(&mut self, run: &Run) -> bool {
        let fits = self.shares.is_none() && self.bytes.len() + run.bytes.len() <= run.refused_above;
        if fits {
            self.bytes.extend_from_slice(&run.bytes);
        }
        fits
    }

    pub(super) fn unsent(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn sent(&mut self, count: usize) {
        if count >= self.bytes.len() {
            if self.hello_left > 0 {
                // That of a hello is as small as it, and many a link never says more.
                self.bytes = BytesMut::new();
            }
            // Back to the start of the buffer, or its front would be lost until it is full.
            self.bytes.clear();
            (self.hello_left, self.begun_left) = (0, 0);
            self.shares = None;
            return;
        }
        let unsent = self.bytes.len();
        self.shares.get_or_insert_with(|| Shares::of_nobody(unsent)).release(count);
        let hello = count.min(self.hello_left as usize);
        self.hello_left -= short(hello);
        self.bytes.advance(hello);
        let count = count - hello;
        let mut begun = self.begun_left as usize;
        while begun < count {
            begun += descriptor_len(&self.bytes[begun..]);
        }
        self.begun_left = short(begun - count);
        self.bytes.advance(count);
    }

    /// Descriptors of which not every byte went out. Walks over all of them.
    pub(super) fn descriptors(&self) -> u64 {
        let mut at = (self.hello_left + self.begun_left) as usize;
        let mut count = u64::from(self.begun_left > 0);
        while at < self.bytes.len() {
            at += descriptor_len(&self.bytes[at..]);
            count += 1;
        }
        count
    }

    /// Gives back what an idle link need not keep.
    pub(super) fn shrink(&mut self) {
        if self.bytes.is_empty() {
            self.bytes = BytesMut::new();
        }
    }
}

/// Links are told apart by their slab index modulo this; those that fall together share a share
/// (stochastic fair queueing, McKenney 1990).
const BUCKETS: usize = 64;
/// A link may have so many times what is free: alone it gets eight ninths of the room there is for
/// a class, and what is left is enough for the first descriptors of others.
const OVER_FREE: usize = 8;

/// Bytes of books for each byte in a queue: at worst every descriptor is somebody else's, and the
/// smallest have a header only.
pub(super) const SHARES_PER_BYTE: usize = 1;
const _: () = assert!(2 * size_of::<(Option<u8>, u32)>() <= SHARES_PER_BYTE * HEADER_BYTES);

/// Who has how many of the bytes in a queue.
#[derive(Debug)]
struct Shares {
    held: [u32; BUCKETS],
    /// Whose the bytes are from the front on: a bucket, or nobody's in particular.
    owners: VecDeque<(Option<u8>, u32)>,
}

impl Shares {
    fn of_nobody(bytes: usize) -> Box<Shares> {
        Box::new(Shares { held: [0; BUCKETS], owners: VecDeque::from([(None, short(bytes))]) })
    }

    /// Whether `source` may add `bytes` where `room` is left for their class; then they count.
    fn admit(&mut self, source: Option<usize>, bytes: usize, room: usize) -> bool {
        let bucket = source.map(|index| index % BUCKETS);
        let bytes = short(bytes);
        if let Some(bucket) = bucket {
            if self.held[bucket] as usize > room * OVER_FREE {
                return false;
            }
            self.held[bucket] += bytes;
        }
        let owner = bucket.and_then(|bucket| u8::try_from(bucket).ok());
        match self.owners.back_mut() {
            Some((last, count)) if *last == owner => *count += bytes,
            _ => self.owners.push_back((owner, bytes)),
        }
        true
    }

    /// So many bytes at the front went out.
    fn release(&mut self, bytes: usize) {
        let mut left = short(bytes);
        while let Some((owner, count)) = self.owners.front_mut() {
            let gone = left.min(*count);
            *count -= gone;
            left -= gone;
            if let Some(bucket) = *owner {
                self.held[usize::from(bucket)] -= gone;
            }
            if *count > 0 {
                return;
            }
            self.owners.pop_front();
        }
    }
}

/// Broadcasts that came by one link, one after the other and ready for any other.
#[derive(Debug, Default)]
pub(super) struct Run {
    bytes: Vec<u8>,
    /// The slab index of that link; `None` while there are none.
    pub(super) source: Option<usize>,
    pub(super) copies: PerKind,
    /// The fill, in bytes, from which on one of them is refused.
    refused_above: usize,
}

impl Run {
    /// Appends `frame` with the header `next`, which differs from its own in TTL and hops only.
    pub(super) fn append(&mut self, source: usize, next: &Header, frame: &[u8], capacity: usize) {
        let refused_above = refused_above(next, capacity);
        if self.source.is_none() {
            (self.source, self.refused_above) = (Some(source), refused_above);
        }
        self.refused_above = self.refused_above.min(refused_above);
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(frame);
        next.patch_travel(&mut self.bytes[begin..]);
        self.copies.add(next.kind);
    }

    /// One by one, in order.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = (Header, &[u8])> {
        let mut rest = &self.bytes[..];
        std::iter::from_fn(move || {
            let header = rest.first_chunk().map(Header::decode)?;
            let (one, behind) = rest.split_at(descriptor_len(rest));
            rest = behind;
            Some((header, &one[HEADER_BYTES..]))
        })
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        (self.source, self.copies) = (None, PerKind::default());
    }
}

/// A number of bytes in a queue.
fn short(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("a queue is bounded")
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
        let refused_above = refused_above(&header, capacity);
        Framed { kind: header.kind, header: header.encode(), payload, capacity, refused_above }
    }

    fn len(&self) -> usize {
        HEADER_BYTES + self.payload.len()
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// The header as it is sent.
    pub(super) fn header(&self) -> Header {
        Header::decode(&self.header)
    }
}

/// The fill of a queue of `capacity` bytes from which on it takes no more of a class.
fn refused_above(header: &Header, capacity: usize) -> usize {
    // Among broadcasts the far-travelled go first: each hop lowers their bound by a 32nd.
    let far = usize::from(header.hops.min(8)) * capacity / 32;
    match header.kind {
        Kind::Ping | Kind::Query => capacity / 2 - far,
        Kind::Pong | Kind::Push => capacity / 4 * 3,
        _ => capacity,
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
        while queue.push(&framed(kind, hops), None) {}
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
            assert!(queue.push(&framed(Kind::Ping, 0), None));
        }
        let sizes = [3, 2, 1, HEADER_BYTES - 2, 1, HEADER_BYTES + 5, HEADER_BYTES - 6, 1];
        let left = sizes.map(|size| {
            queue.sent(size);
            queue.descriptors()
        });
        assert_eq!(left, [3, 3, 3, 3, 2, 1, 1, 0]);
    }

    #[test]
    fn an_idle_queue_keeps_no_buffer() {
        let mut queue = SendQueue::default();
        queue.push_bytes(b"hello");
        queue.sent(5);
        assert_eq!(queue.bytes.capacity(), 0, "many links never say more than that");
        assert!(queue.push(&framed(Kind::Ping, 0), None));
        queue.shrink();
        assert_eq!(queue.descriptors(), 1);
        queue.sent(HEADER_BYTES);
        assert!(queue.bytes.capacity() > 0, "while it is used, it is kept");
        queue.shrink();
        assert_eq!(queue.bytes.capacity(), 0);
    }

    #[test]
    fn an_emptied_queue_takes_everything_again() {
        let mut queue = SendQueue::default();
        let full = fill(&mut queue, Kind::QueryHit, 0);
        queue.sent(full);
        assert!(queue.is_empty() && queue.push(&framed(Kind::Ping, 7), None));
    }
}
