//! The unsent bytes of one link, bounded, with the choice of what to refuse.
//!
//! A slow neighbour costs itself: what is queued stays, in order, and the further a queue is
//! filled the fewer classes of descriptor it takes. Broadcasts go first, since their answers
//! could hardly come back; then Pongs and Pushes; QueryHits are the last to be refused.
//!
//! While a neighbour does not keep up, nobody may have all of its queue: what a link has in there
//! is held against what it leaves free (dynamic thresholds, Choudhury and Hahne 1998).

use crate::stats::PerKind;
use crate::time::Instant;
use crate::wire::{HEADER_BYTES, Header, Kind, MAX_QUERY_BYTES};
use bytes::{Buf, BytesMut};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// The bytes waiting for one link.
#[derive(Debug, Default)]
pub(super) struct SendQueue {
    /// Goes before `bytes`: a run that other queues have too, of which nothing was offered yet.
    shared: Option<Arc<Vec<u8>>>,
    bytes: BytesMut,
    /// How many bytes at the front belong to the hello.
    hello_left: u32,
    /// How many after those are the rest of a descriptor of which some went out.
    begun_left: u32,
    /// Since the neighbour did not take all it was offered.
    backlog: Option<Box<Backlog>>,
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
        let len = self.len();
        let free = framed.capacity.saturating_sub(len);
        let room = framed.refused_above.saturating_sub(len);
        if needed > free || room == 0 {
            return false;
        }
        if let Some(backlog) = &mut self.backlog
            && !backlog.admit(source, needed, room)
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
        let fits = self.backlog.is_none() && self.len() + run.bytes().len() <= run.refused_above;
        if fits {
            match run.shared() {
                Some(shared) if self.is_empty() => self.shared = Some(Arc::clone(shared)),
                _ => self.bytes.extend_from_slice(run.bytes()),
            }
        }
        fits
    }

    /// What to offer next: all of it, or a run that is not copied first.
    pub(super) fn unsent(&self) -> &[u8] {
        self.shared.as_deref().map_or(&self.bytes, Vec::as_slice)
    }

    fn len(&self) -> usize {
        self.shared.as_ref().map_or(0, |run| run.len()) + self.bytes.len()
    }

    /// Bytes that still fit.
    pub(super) fn room(&self, capacity: usize) -> usize {
        capacity.saturating_sub(self.len())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether nothing was taken for so long of what was offered.
    pub(super) fn is_stalled(&self, now: Instant, timeout: Duration) -> bool {
        self.backlog.as_ref().is_some_and(|backlog| now.since(backlog.since) >= timeout)
    }

    /// The neighbour took `count` bytes of what [`SendQueue::unsent`] offered it.
    pub(super) fn sent(&mut self, now: Instant, count: usize) {
        if let Some(run) = self.shared.take() {
            if count >= run.len() {
                return;
            }
            // Its rest is this neighbour's own matter.
            let behind = std::mem::take(&mut self.bytes);
            self.bytes.reserve(run.len() + behind.len());
            self.bytes.extend_from_slice(&run);
            self.bytes.extend_from_slice(&behind);
        }
        if count >= self.bytes.len() {
            if self.hello_left > 0 {
                // That of a hello is as small as it, and many a link never says more.
                self.bytes = BytesMut::new();
            }
            // Back to the start of the buffer, or its front would be lost until it is full.
            self.bytes.clear();
            (self.hello_left, self.begun_left) = (0, 0);
            self.backlog = None;
            return;
        }
        let unsent = self.bytes.len();
        let backlog = self.backlog.get_or_insert_with(|| Backlog::of_nobody(now, unsent));
        if count > 0 {
            backlog.since = now;
        }
        backlog.release(count);
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
        let begun = u64::from(self.begun_left > 0);
        let behind = &self.bytes[(self.hello_left + self.begun_left) as usize..];
        let whole = self.shared.iter().flat_map(|run| descriptors(run)).chain(descriptors(behind));
        begun + whole.count() as u64
    }

    /// Gives back what an idle link need not keep.
    pub(super) fn shrink(&mut self) {
        if self.is_empty() {
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

/// What is kept of a queue whose neighbour did not take all: who has how many of the bytes in it.
#[derive(Debug)]
struct Backlog {
    /// When it last took something, or was first found to take nothing.
    since: Instant,
    held: [u32; BUCKETS],
    /// Whose the bytes are from the front on: a bucket, or nobody's in particular.
    owners: VecDeque<(Option<u8>, u32)>,
}

impl Backlog {
    fn of_nobody(since: Instant, bytes: usize) -> Box<Backlog> {
        let owners = VecDeque::from([(None, short(bytes))]);
        Box::new(Backlog { since, held: [0; BUCKETS], owners })
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

/// From so many bytes on a run is not copied to each link. Longer than any single broadcast.
const SHARED_FROM_BYTES: usize = 2 * MAX_QUERY_BYTES;

/// Broadcasts that came by one link, one after the other and ready for any other.
#[derive(Debug, Default)]
pub(super) struct Run {
    bytes: Vec<u8>,
    /// The last one that was long, if not this one: for its buffer.
    long: Option<Arc<Vec<u8>>>,
    is_long: bool,
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

    /// Nothing more is appended before the next [`Run::clear`].
    pub(super) fn end(&mut self) {
        self.is_long = self.bytes.len() >= SHARED_FROM_BYTES;
        if !self.is_long {
            return;
        }
        match self.long.as_mut().and_then(Arc::get_mut) {
            Some(last) => std::mem::swap(last, &mut self.bytes),
            None => self.long = Some(Arc::new(std::mem::take(&mut self.bytes))),
        }
    }

    /// One that has ended, if it is worth sharing.
    fn shared(&self) -> Option<&Arc<Vec<u8>>> {
        self.long.as_ref().filter(|_| self.is_long)
    }

    fn bytes(&self) -> &[u8] {
        self.shared().map_or(&self.bytes, |run| run)
    }

    /// One by one, in order.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = (Header, &[u8])> {
        descriptors(self.bytes())
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        (self.source, self.copies, self.is_long) = (None, PerKind::default(), false);
    }
}

/// Headers and payloads of bytes that are whole descriptors.
fn descriptors(mut rest: &[u8]) -> impl Iterator<Item = (Header, &[u8])> {
    std::iter::from_fn(move || {
        let header = rest.first_chunk().map(Header::decode)?;
        let (one, behind) = rest.split_at(descriptor_len(rest));
        rest = behind;
        Some((header, &one[HEADER_BYTES..]))
    })
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
    use crate::rng::Rng;
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
            queue.sent(Instant::ZERO, size);
            queue.descriptors()
        });
        assert_eq!(left, [3, 3, 3, 3, 2, 1, 1, 0]);
    }

    #[test]
    fn what_comes_out_is_what_was_queued_whoever_shares_it() {
        let (mut rng, mut run, now) = (Rng::new(5), Run::default(), Instant::ZERO);
        let mut queues = [(); 3].map(|()| (SendQueue::default(), Vec::new()));
        let (mut shared, mut left, mut last) = (0, 0, 0u64);
        let mut query = |ttl| {
            last += 1;
            let mut guid = Guid::default();
            guid.0[..8].copy_from_slice(&last.to_le_bytes());
            Header { guid, kind: Kind::Query, ttl, hops: 0, payload_len: 0 }
        };
        for _ in 0..3_000 {
            run.clear();
            for _ in 0..[3, 400][rng.below(2)] {
                let header = query(2);
                run.append(0, &header, &header.encode(), CAPACITY);
            }
            run.end();
            for (queue, queued) in &mut queues {
                if queue.push_run(&run) {
                    queued.extend_from_slice(run.bytes());
                }
                shared += usize::from(queue.shared.is_some());
                let one = query(1);
                if rng.below(2) == 0 && queue.push(&Framed::new(one, &[], CAPACITY), Some(1)) {
                    queued.extend_from_slice(&one.encode());
                }
                for _ in 0..rng.below(3) {
                    let offered = queue.unsent();
                    let taken = [0, 1, rng.below(offered.len() + 1), offered.len()][rng.below(4)];
                    let taken = taken.min(offered.len());
                    assert_eq!(offered[..taken], queued[..taken]);
                    queued.drain(..taken);
                    queue.sent(now, taken);
                }
                assert_eq!(queue.len(), queued.len());
                assert_eq!(queue.descriptors(), queued.len().div_ceil(HEADER_BYTES) as u64);
                left += usize::from(queue.backlog.is_some());
            }
        }
        assert!(shared > 100 && left > 100, "{shared} shared, {left} with a backlog");
    }

    #[test]
    fn an_idle_queue_keeps_no_buffer() {
        let mut queue = SendQueue::default();
        queue.push_bytes(b"hello");
        queue.sent(Instant::ZERO, 5);
        assert_eq!(queue.bytes.capacity(), 0, "many links never say more than that");
        assert!(queue.push(&framed(Kind::Ping, 0), None));
        queue.shrink();
        assert_eq!(queue.descriptors(), 1);
        queue.sent(Instant::ZERO, HEADER_BYTES);
        assert!(queue.bytes.capacity() > 0, "while it is used, it is kept");
        queue.shrink();
        assert_eq!(queue.bytes.capacity(), 0);
    }

    #[test]
    fn an_emptied_queue_takes_everything_again() {
        let mut queue = SendQueue::default();
        let full = fill(&mut queue, Kind::QueryHit, 0);
        queue.sent(Instant::ZERO, full);
        assert!(queue.is_empty() && queue.push(&framed(Kind::Ping, 7), None));
    }
}
