//! The unsent bytes of one link: bounded, and choosing what to refuse.
//!
//! A slow neighbour only costs itself: what is queued stays, in order, and the fuller the queue, the
//! fewer classes of descriptor it takes. Broadcasts are refused first, since their answers could
//! hardly come back; then Pongs and Pushes; QueryHits last.
//!
//! While a neighbour does not keep up, no single link may fill its queue: what a link has queued is
//! held against what it leaves free (dynamic thresholds, Choudhury and Hahne 1998).

use crate::servent::encoded::{EncodedDescriptor, descriptor_len, descriptors};
use crate::servent::link_key::LinkKey;
use crate::servent::routing::BroadcastBatch;
use crate::time::Instant;
use crate::wire::HEADER_BYTES;
use bytes::{Buf, BytesMut};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// The bytes waiting for one link.
#[derive(Debug, Default)]
pub(in crate::servent) struct SendQueue {
    /// Sent before `bytes`: a batch shared with other queues, none of which was taken yet.
    shared: Option<Arc<Vec<u8>>>,
    bytes: BytesMut,
    /// Descriptors that have not left yet.
    descriptors: u32,
    /// Bytes at the front that belong to the handshake.
    handshake_left: u32,
    /// Bytes behind those that are the rest of a descriptor partly sent.
    begun_left: u32,
    /// Present while the neighbour does not keep up.
    backlog: Option<Box<Backlog>>,
}

impl SendQueue {
    /// Appends bytes of the handshake, which go out whatever the fill.
    pub(in crate::servent) fn push_handshake(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.handshake_left += short(bytes.len());
    }

    /// Appends a descriptor. False if it is refused: the queue is too full for its class, or
    /// `source`, the link it arrived on, has too much in it already.
    #[must_use]
    pub(in crate::servent) fn push(
        &mut self,
        descriptor: &EncodedDescriptor<'_>,
        source: Option<LinkKey>,
    ) -> bool {
        let needed = descriptor.len();
        let len = self.len();
        let free = descriptor.capacity().saturating_sub(len);
        let room = descriptor.fill_limit().saturating_sub(len);
        if needed > free || room == 0 {
            return false;
        }
        if let Some(backlog) = &mut self.backlog
            && !backlog.admit(source, needed, room)
        {
            return false;
        }
        self.bytes.reserve(needed);
        for part in descriptor.parts() {
            self.bytes.extend_from_slice(part);
        }
        self.descriptors += 1;
        true
    }

    /// Appends a whole batch. False, and nothing is appended, if one of its descriptors might be
    /// refused.
    #[must_use]
    pub(in crate::servent) fn push_batch(&mut self, batch: &BroadcastBatch, count: u32) -> bool {
        let fits = self.backlog.is_none() && self.len() + batch.bytes().len() <= batch.fill_limit();
        if fits {
            match batch.shared() {
                Some(shared) if self.is_empty() => self.shared = Some(Arc::clone(shared)),
                _ => self.bytes.extend_from_slice(batch.bytes()),
            }
            self.descriptors += count;
        }
        fits
    }

    /// What to offer the socket next: everything, or a shared batch alone, so that it is not copied
    /// before it has to be.
    pub(in crate::servent) fn unsent(&self) -> &[u8] {
        self.shared.as_deref().map_or(&self.bytes, Vec::as_slice)
    }

    fn len(&self) -> usize {
        self.shared.as_ref().map_or(0, |batch| batch.len()) + self.bytes.len()
    }

    /// Bytes that still fit.
    pub(in crate::servent) fn room(&self, capacity: usize) -> usize {
        capacity.saturating_sub(self.len())
    }

    pub(in crate::servent) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the neighbour has taken nothing of what it was offered for `timeout`.
    pub(in crate::servent) fn is_stalled(&self, now: Instant, timeout: Duration) -> bool {
        self.backlog.as_ref().is_some_and(|backlog| now.since(backlog.since) >= timeout)
    }

    /// What is left of the handshake.
    pub(in crate::servent) fn handshake(&self) -> &[u8] {
        &self.bytes[..self.handshake_left as usize]
    }

    /// The neighbour took `count` bytes of what [`SendQueue::unsent`] offered it. Returns how many
    /// descriptors left the queue: those whose last byte was taken.
    pub(in crate::servent) fn sent(&mut self, now: Instant, count: usize) -> u32 {
        let offered = self.unsent().len();
        let left = self.take(count);
        self.note_taken(now, count, offered.saturating_sub(count));
        left
    }

    /// The neighbour took `count` bytes of what it was offered, and left `refused` of them: does it
    /// keep up?
    pub(in crate::servent) fn note_taken(&mut self, now: Instant, count: usize, refused: usize) {
        if refused == 0 && self.is_empty() {
            self.backlog = None;
        } else if refused > 0 || self.backlog.is_some() {
            let unsent = self.len();
            let backlog = self.backlog.get_or_insert_with(|| Backlog::of_nobody(now, unsent));
            if count > 0 {
                backlog.since = now;
            }
        }
    }

    /// Takes `count` bytes off the front. Returns how many descriptors left the queue.
    pub(in crate::servent) fn take(&mut self, count: usize) -> u32 {
        let before = self.descriptors;
        if let Some(backlog) = &mut self.backlog {
            backlog.release(count);
        }
        if let Some(batch) = self.shared.take() {
            if count >= batch.len() {
                self.descriptors = short(descriptors(&self.bytes).count());
                return before - self.descriptors;
            }
            // Its rest concerns this neighbour alone. An empty buffer is used again.
            let behind = if self.bytes.is_empty() {
                BytesMut::new()
            } else {
                std::mem::take(&mut self.bytes)
            };
            self.bytes.reserve(batch.len() + behind.len());
            self.bytes.extend_from_slice(&batch);
            self.bytes.extend_from_slice(&behind);
        }
        if count >= self.bytes.len() {
            if self.handshake_left > 0 {
                // That of a handshake is as small as it, and many a link never says more.
                self.bytes = BytesMut::new();
            }
            // Back to the start of the buffer, or its front would be lost until it is full.
            self.bytes.clear();
            (self.handshake_left, self.begun_left, self.descriptors) = (0, 0, 0);
            return before;
        }
        let handshake = count.min(self.handshake_left as usize);
        self.handshake_left -= short(handshake);
        self.bytes.advance(handshake);
        self.take_descriptors(count - handshake);
        before - self.descriptors
    }

    /// Takes `count` bytes of descriptors off the front.
    fn take_descriptors(&mut self, count: usize) {
        let mut begun = self.begun_left as usize;
        if (1..=count).contains(&begun) {
            self.descriptors -= 1;
        }
        while begun < count {
            begun += descriptor_len(&self.bytes[begun..]);
            self.descriptors -= u32::from(begun <= count);
        }
        self.begun_left = short(begun - count);
        self.bytes.advance(count);
    }

    /// Descriptors of which not every byte went out.
    pub(in crate::servent) fn descriptors(&self) -> u32 {
        self.descriptors
    }

    /// Gives up all that has not begun to leave, so that a last word gets out soon. Returns how many
    /// descriptors that were.
    pub(in crate::servent) fn cut(&mut self) -> u32 {
        let had_shared = self.shared.take().is_some();
        let begun = u32::from(self.begun_left > 0 && !had_shared);
        self.bytes.truncate((self.handshake_left + self.begun_left) as usize);
        self.backlog = None;
        std::mem::replace(&mut self.descriptors, begun) - begun
    }

    /// Gives back what an idle link need not keep.
    pub(in crate::servent) fn shrink(&mut self) {
        if self.is_empty() {
            self.bytes = BytesMut::new();
        }
    }
}

/// Links are told apart by their slab index modulo this; links in one bucket share its fair share
/// (stochastic fair queueing, McKenney 1990).
const BUCKETS: usize = 64;
/// A link may have this many times what is free: alone it gets eight ninths of the room for a class,
/// and what is left is enough for the first descriptors of others.
const OVER_FREE: usize = 8;

/// Bytes of accounts for each byte in a queue: at worst each descriptor has another owner than the one
/// before, and the smallest are a header only.
pub(in crate::servent) const ACCOUNT_BYTES_PER_BYTE: usize = 1;
const _: () = assert!(2 * size_of::<(Option<u8>, u32)>() <= ACCOUNT_BYTES_PER_BYTE * HEADER_BYTES);

/// Accounts of a queue whose neighbour does not keep up: how many of its bytes are whose.
#[derive(Debug)]
struct Backlog {
    /// When it last took something, or was first found to take nothing.
    since: Instant,
    held: [u32; BUCKETS],
    /// Owners of the bytes, from the front on: a bucket, or none.
    owners: VecDeque<(Option<u8>, u32)>,
}

impl Backlog {
    fn of_nobody(since: Instant, bytes: usize) -> Box<Backlog> {
        let owners = VecDeque::from([(None, short(bytes))]);
        Box::new(Backlog { since, held: [0; BUCKETS], owners })
    }

    /// Whether `source` may add `bytes` where `room` is left for their class; then they count.
    fn admit(&mut self, source: Option<LinkKey>, bytes: usize, room: usize) -> bool {
        let bucket = source.map(|link| link.index() % BUCKETS);
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

    /// `bytes` at the front went out.
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

/// A number of bytes in a queue.
fn short(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("a queue is bounded")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use crate::servent::routing::Targets;
    use crate::wire::{Guid, Header, Kind};

    const CAPACITY: usize = 32_000;

    fn encoded(kind: Kind, hops: u8) -> EncodedDescriptor<'static> {
        let header = Header { guid: Guid::default(), kind, ttl: 1, hops, payload_len: 0 };
        EncodedDescriptor::new(header, &[], CAPACITY)
    }

    /// Fills a queue with one kind until it refuses, and says how full it became.
    fn fill(queue: &mut SendQueue, kind: Kind, hops: u8) -> usize {
        while queue.push(&encoded(kind, hops), None) {}
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
        queue.push_handshake(b"hello");
        assert_eq!(queue.descriptors(), 0);
        for _ in 0..3 {
            assert!(queue.push(&encoded(Kind::Ping, 0), None));
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
        let (mut rng, mut batch, now) = (Rng::new(5), BroadcastBatch::default(), Instant::ZERO);
        let source = LinkKey::new(0, 1);
        let mut queues = [(); 3].map(|()| (SendQueue::default(), Vec::new()));
        let (mut shared, mut left, mut last) = (0, 0, 0u64);
        let mut query = |ttl| {
            last += 1;
            let mut guid = Guid::default();
            guid.0[..8].copy_from_slice(&last.to_le_bytes());
            Header { guid, kind: Kind::Query, ttl, hops: 0, payload_len: 0 }
        };
        for _ in 0..3_000 {
            batch.clear();
            for _ in 0..[3, 400][rng.below(2)] {
                let header = query(2);
                batch.append(Targets::AllBut(source), &header, &header.encode(), CAPACITY);
            }
            batch.seal();
            for (queue, queued) in &mut queues {
                if queue.push_batch(&batch, short(batch.descriptors().count())) {
                    queued.extend_from_slice(batch.bytes());
                }
                shared += usize::from(queue.shared.is_some());
                let one = query(1);
                if rng.below(2) == 0
                    && queue
                        .push(&EncodedDescriptor::new(one, &[], CAPACITY), Some(LinkKey::new(1, 1)))
                {
                    queued.extend_from_slice(&one.encode());
                }
                for _ in 0..rng.below(3) {
                    let offered = queue.unsent();
                    let taken = [0, 1, rng.below(offered.len() + 1), offered.len()][rng.below(4)];
                    let taken = taken.min(offered.len());
                    assert_eq!(offered[..taken], queued[..taken]);
                    queued.drain(..taken);
                    let (before, gone) = (queue.descriptors(), queue.sent(now, taken));
                    assert_eq!(before, queue.descriptors() + gone);
                }
                assert_eq!(queue.len(), queued.len());
                assert_eq!(queue.descriptors() as usize, queued.len().div_ceil(HEADER_BYTES));
                left += usize::from(queue.backlog.is_some());
            }
        }
        assert!(shared > 100 && left > 100, "{shared} shared, {left} with a backlog");
    }

    #[test]
    fn an_idle_queue_keeps_no_buffer() {
        let mut queue = SendQueue::default();
        queue.push_handshake(b"hello");
        queue.sent(Instant::ZERO, 5);
        assert_eq!(queue.bytes.capacity(), 0, "many links never say more than that");
        assert!(queue.push(&encoded(Kind::Ping, 0), None));
        queue.shrink();
        assert_eq!(queue.descriptors(), 1);
        queue.sent(Instant::ZERO, HEADER_BYTES);
        assert!(queue.bytes.capacity() > 0, "while it is used, it is kept");
        queue.shrink();
        assert_eq!(queue.bytes.capacity(), 0);
    }

    #[test]
    fn a_cut_queue_keeps_the_descriptor_that_has_begun_to_leave() {
        for (taken, kept) in [(0, 0), (5, 0), (6, HEADER_BYTES - 1), (5 + HEADER_BYTES, 0)] {
            let mut queue = SendQueue::default();
            queue.push_handshake(b"hello");
            for _ in 0..3 {
                assert!(queue.push(&encoded(Kind::Ping, 0), None));
            }
            let gone = if taken > 0 { queue.sent(Instant::ZERO, taken) } else { 0 };
            let cut = queue.cut();
            assert_eq!(gone + cut + queue.descriptors(), 3, "{taken}");
            assert_eq!(queue.len(), kept + 5 * usize::from(taken == 0), "{taken}");
            assert!(queue.push(&encoded(Kind::Bye, 0), None), "there is room for a last word");
        }
    }

    #[test]
    fn an_emptied_queue_takes_everything_again() {
        let mut queue = SendQueue::default();
        let full = fill(&mut queue, Kind::QueryHit, 0);
        queue.sent(Instant::ZERO, full);
        assert!(queue.is_empty() && queue.push(&encoded(Kind::Ping, 7), None));
    }
}
