//! Wires: one TCP connection each. Ordered, delayed, perhaps slow, cut at odd places, and with
//! room for a window of unread bytes.
//!
//! What crosses a wire is cut into descriptors as its reader would, as far as it is a Gnutella link, so
//! that each one can be observed, and each one lost with a wire can be counted.

use super::segments::{List, Payload, Segment, Segments};
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::{Deframer, HandshakeEnd, RawDescriptor};
use std::time::Duration;

/// How all wires of a network carry bytes.
#[derive(Clone, Debug)]
pub struct LinkParams {
    /// One-way delay, drawn for each wire from the first to below the second.
    pub latency: (Duration, Duration),
    /// Bytes per second each way; `None` is no limit.
    pub bandwidth: Option<u64>,
    /// Bytes in flight or unread before the writer is blocked; `None` is no limit.
    pub window: Option<usize>,
    /// Writes arrive in segments cut at random.
    pub split: bool,
    /// Probability that a datagram is lost on its way. Connections lose nothing.
    pub loss: f64,
}

impl LinkParams {
    /// The same delay everywhere, and no limits.
    pub fn even(latency: Duration) -> LinkParams {
        LinkParams {
            latency: (latency, latency),
            bandwidth: None,
            window: None,
            split: false,
            loss: 0.0,
        }
    }

    /// The latency that these random bits stand for. None are drawn where all are equal.
    pub(super) fn latency_of(&self, bits: impl FnOnce() -> u64) -> Duration {
        let (least, most) = self.latency;
        let span = u64::try_from(most.saturating_sub(least).as_micros()).unwrap_or(u64::MAX);
        match span {
            0 => least,
            span => least + Duration::from_micros(bits() % span),
        }
    }

    pub(super) fn time_on_wire(&self, len: usize) -> Duration {
        self.bandwidth.map_or(Duration::ZERO, |rate| {
            Duration::from_micros((len as u64).saturating_mul(1_000_000).div_ceil(rate.max(1)))
        })
    }
}

/// One end of a wire, in four bytes: events and socket tables hold many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End(u32);

impl End {
    pub(super) fn new(wire: usize, side: usize) -> End {
        End(u32::try_from(2 * wire + side).expect("at most 2,000,000,000 connections in a run"))
    }

    pub(super) fn wire(self) -> usize {
        (self.0 / 2) as usize
    }

    /// 0 for the side that dialled, 1 for the other.
    pub(super) fn side(self) -> usize {
        (self.0 % 2) as usize
    }

    /// The other end of the same wire.
    pub(super) fn other(self) -> End {
        End(self.0 ^ 1)
    }
}

/// The holder of one end of a wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holder {
    /// The node with this number.
    Node(usize),
    /// A scripted peer.
    Peer(Peer),
    /// A dial to an address without a node.
    Nobody,
}

/// A scripted peer: one end of one connection, in the order they were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer(pub usize);

/// A [`Holder`] in four bytes.
#[derive(Clone, Copy, Debug)]
struct PackedHolder(u32);

/// Set for scripted peers.
const SCRIPTED: u32 = 1 << 31;

impl PackedHolder {
    const NOBODY: PackedHolder = PackedHolder(u32::MAX);

    fn pack(holder: Holder) -> PackedHolder {
        let number = |number: usize| {
            let number = u32::try_from(number).ok().filter(|&number| number < SCRIPTED - 1);
            number.expect("fewer than 2,000,000,000 nodes and peers")
        };
        match holder {
            Holder::Node(node) => PackedHolder(number(node)),
            Holder::Peer(peer) => PackedHolder(SCRIPTED | number(peer.0)),
            Holder::Nobody => PackedHolder::NOBODY,
        }
    }

    #[inline]
    fn unpack(self) -> Holder {
        match self {
            PackedHolder(u32::MAX) => Holder::Nobody,
            PackedHolder(peer) if peer & SCRIPTED != 0 => {
                Holder::Peer(Peer((peer & !SCRIPTED) as usize))
            }
            PackedHolder(node) => Holder::Node(node as usize),
        }
    }
}

/// A connection in the making or standing; side 0 dialled. Kept small: there may be hundreds of
/// thousands.
pub(super) struct Wire<C> {
    holders: [PackedHolder; 2],
    /// The name of the socket at a side that a node holds, until its connection has ended.
    pub(super) conns: [Option<C>; 2],
    latency_micros: u32,
    /// Which of its dialler's dials made it.
    dial: u32,
    /// See [`Wire::far`].
    far: u32,
    /// How far the handshake of each side's stream has been read.
    handshakes: [HandshakeEnd; 2],
    /// The beginning of a descriptor that straddles two segments, of each side's stream.
    unfinished: [Option<Box<Deframer>>; 2],
    /// What each side has sent and the other has not read.
    pub(super) directions: [Direction; 2],
    /// The side has found no room.
    blocked: [bool; 2],
    /// The side has read the end of the stream.
    pub(super) heard_end: [bool; 2],
    /// The wire was reset: all that is sent on it is lost.
    pub(super) dead: bool,
    /// The next bytes to be read are cut somewhere, and the wire with them.
    pub(super) cuts_next: bool,
}

/// One direction of a wire.
#[derive(Default)]
pub(super) struct Direction {
    list: List,
    /// Segments, from the front, that have reached the reader.
    arrived: u32,
    unread_bytes: u32,
    /// When the wire will have carried all that was put on it.
    free_at: Instant,
}

impl<C: Copy> Wire<C> {
    /// A connection by the dialler's dial of this number.
    pub(super) fn new(holders: [Holder; 2], latency: Duration, dial: u32) -> Wire<C> {
        let micros =
            u32::try_from(latency.as_micros()).expect("latencies are some seconds at most");
        Wire {
            holders: holders.map(PackedHolder::pack),
            conns: [None, None],
            latency_micros: micros,
            dial,
            far: u32::MAX,
            handshakes: Default::default(),
            unfinished: Default::default(),
            directions: Default::default(),
            blocked: [false, false],
            heard_end: [false, false],
            dead: false,
            cuts_next: false,
        }
    }

    #[inline]
    pub(super) fn holder(&self, side: usize) -> Holder {
        self.holders[side].unpack()
    }

    pub(super) fn set_holder(&mut self, side: usize, holder: Holder) {
        self.holders[side] = PackedHolder::pack(holder);
    }

    /// The node at a side.
    #[inline]
    pub(super) fn node(&self, side: usize) -> Option<usize> {
        match self.holder(side) {
            Holder::Node(node) => Some(node),
            _ => None,
        }
    }

    /// Which of its dialler's dials made it.
    pub(super) fn dial(&self) -> u32 {
        self.dial
    }

    /// Its number in the shard that holds the other end, as soon as that is known.
    pub(super) fn far(&self) -> Option<u32> {
        Some(self.far).filter(|&far| far != u32::MAX)
    }

    /// See [`Wire::far`].
    pub(super) fn set_far(&mut self, far: u32) {
        self.far = far;
    }

    /// Tells it from the other connections of its two holders, whoever dialled them.
    pub(super) fn number(&self) -> u32 {
        let [dialler, other] = self.holders;
        self.dial << 1 | u32::from(dialler.0 > other.0)
    }

    pub(super) fn latency(&self) -> Duration {
        Duration::from_micros(self.latency_micros.into())
    }

    /// Touches what carrying something reads, for [`super::prefetch`].
    pub(super) fn touch(&self) -> u64 {
        let [a, b] = &self.directions;
        a.free_at.as_micros() ^ b.free_at.as_micros() ^ u64::from(self.latency_micros)
    }

    /// Breaks it, and counts the descriptors that were on it.
    pub(super) fn kill(&mut self, segments: &mut Segments) -> u64 {
        self.dead = true;
        let directions = std::mem::take(&mut self.directions);
        let mut lost = 0;
        for (side, mut direction) in directions.into_iter().enumerate() {
            while let Some(segment) = segments.pop(&mut direction.list) {
                if let Segment::Bytes(bytes) = segment {
                    lost += self.count(side, &bytes);
                }
            }
        }
        lost
    }

    /// How many descriptors `bytes`, the next of this side's stream, complete.
    pub(super) fn count(&mut self, side: usize, bytes: &[u8]) -> u64 {
        let mut count = 0;
        self.cut(side, bytes, |_| count += 1);
        count
    }

    /// Shows each descriptor that `bytes`, the next of this side's stream, complete.
    #[inline]
    pub(super) fn cut(
        &mut self,
        side: usize,
        bytes: &[u8],
        mut show: impl FnMut(RawDescriptor<'_>),
    ) {
        let (handshake, unfinished) = (&mut self.handshakes[side], &mut self.unfinished[side]);
        let bytes = handshake.skip(bytes);
        if bytes.is_empty() {
            return;
        }
        // Most segments end on a descriptor boundary, so no deframer is kept between them.
        let mut deframer = unfinished.take().map_or_else(Deframer::default, |kept| *kept);
        let mut descriptors = deframer.feed(bytes);
        loop {
            match descriptors.next() {
                Ok(Some(raw)) => show(raw),
                Ok(None) => break,
                Err(_) => return handshake.give_up(),
            }
        }
        if deframer.pending_bytes() > 0 {
            *unfinished = Some(Box::new(deframer));
        }
    }

    /// How many of `len` bytes the window admits to this side. One that may write none is unblocked by
    /// [`Wire::unblocks`].
    pub(super) fn room(&mut self, side: usize, len: usize, window: Option<usize>) -> usize {
        let unread = self.directions[side].unread_bytes();
        let free = window.map_or(len, |most| most.saturating_sub(unread));
        self.blocked[side] = free == 0;
        len.min(free)
    }

    /// Whether this side was blocked and may write again.
    pub(super) fn unblocks(&mut self, side: usize) -> bool {
        std::mem::take(&mut self.blocked[side])
    }
}

impl Direction {
    /// Bytes that the reader has not taken.
    pub(super) fn unread_bytes(&self) -> usize {
        self.unread_bytes as usize
    }

    /// Puts bytes on; `arrives` is called with the arrival time of each segment of them.
    pub(super) fn put(
        &mut self,
        bytes: Payload,
        segments: &mut Segments,
        (now, latency): (Instant, Duration),
        params: &LinkParams,
        rng: &mut Rng,
        mut arrives: impl FnMut(Instant),
    ) {
        let mut put = |bytes: Payload| {
            let free_at = self.occupy(bytes.len(), now, params);
            self.take_in(Segment::Bytes(bytes), segments);
            arrives(free_at + latency);
        };
        if !params.split {
            return put(bytes);
        }
        let mut rest = &*bytes;
        while !rest.is_empty() {
            let (front, after) = rest.split_at(1 + rng.below(rest.len()));
            put(Payload::new(front));
            rest = after;
        }
    }

    /// Puts as many bytes on the wire, and returns when it has carried them.
    pub(super) fn occupy(&mut self, len: usize, now: Instant, params: &LinkParams) -> Instant {
        self.free_at = self.free_at(now) + params.time_on_wire(len);
        self.free_at
    }

    /// When it has carried all that was put on it.
    pub(super) fn free_at(&self, now: Instant) -> Instant {
        self.free_at.max(now)
    }

    /// Holds a segment for the reader.
    pub(super) fn take_in(&mut self, segment: Segment, segments: &mut Segments) {
        if let Segment::Bytes(bytes) = &segment {
            self.unread_bytes += len_of(bytes);
        }
        segments.push(&mut self.list, segment);
    }

    /// The next segment has reached the reader, unless it was lost with the wire.
    pub(super) fn arrive(&mut self) {
        if !self.list.is_empty() {
            self.arrived += 1;
        }
    }

    /// Reads a segment that has arrived.
    pub(super) fn read(&mut self, segments: &mut Segments) -> Option<Segment> {
        self.arrived = self.arrived.checked_sub(1)?;
        let segment = segments.pop(&mut self.list)?;
        if let Segment::Bytes(bytes) = &segment {
            self.unread_bytes -= len_of(bytes);
        }
        Some(segment)
    }

    /// The first 16 bytes of the next segment, if it has as many.
    pub(super) fn next_guid<'a>(&self, segments: &'a Segments) -> Option<&'a [u8; 16]> {
        segments.first_guid(&self.list)
    }

    /// Touches the next segment, for [`super::prefetch`].
    pub(super) fn touch(&self, segments: &Segments) -> u64 {
        segments.touch(&self.list)
    }
}

fn len_of(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("one write is not that long")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_micros(5_000_000);
    const LATENCY: Duration = Duration::from_millis(10);

    fn put(
        lane: &mut Direction,
        segments: &mut Segments,
        len: usize,
        params: &LinkParams,
    ) -> Vec<u64> {
        let mut times = Vec::new();
        let mut rng = Rng::new(3);
        let bytes: Vec<u8> = (0..=250).cycle().take(len).collect();
        lane.put(Payload::new(&bytes), segments, (NOW, LATENCY), params, &mut rng, |at| {
            times.push(at.since(NOW).as_micros().try_into().expect("soon"));
        });
        times
    }

    fn params() -> LinkParams {
        LinkParams::even(LATENCY)
    }

    #[test]
    fn bytes_follow_each_other_at_the_pace_of_the_wire() {
        let params = LinkParams { bandwidth: Some(1_000), ..params() };
        let (mut direction, mut segments) = (Direction::default(), Segments::default());
        assert_eq!(put(&mut direction, &mut segments, 100, &params), [110_000]);
        assert_eq!(put(&mut direction, &mut segments, 50, &params), [160_000], "it waits");
        assert_eq!(direction.free_at(NOW).since(NOW), Duration::from_millis(150));
    }

    #[test]
    fn segments_make_the_whole_and_only_what_has_arrived_is_read() {
        let params = LinkParams { window: Some(400), split: true, ..params() };
        let mut wire = Wire::<u64>::new([Holder::Node(0), Holder::Node(1)], LATENCY, 1);
        let mut segments = Segments::default();
        assert_eq!(wire.room(0, 1_000, params.window), 400);
        let direction = &mut wire.directions[0];
        let count = put(direction, &mut segments, 400, &params).len();
        assert!(count > 1 && direction.read(&mut segments).is_none());
        assert_eq!(wire.room(0, 1, params.window), 0, "the window is full");
        let direction = &mut wire.directions[0];
        let mut whole = Vec::new();
        for _ in 0..count {
            direction.arrive();
            let Some(Segment::Bytes(bytes)) = direction.read(&mut segments) else {
                panic!("a segment has arrived")
            };
            whole.extend_from_slice(&bytes);
        }
        assert_eq!(whole, (0..=250).cycle().take(400).collect::<Vec<u8>>());
        assert!(wire.unblocks(0) && !wire.unblocks(0));
        assert_eq!(wire.room(0, 1_000, params.window), 400);
    }

    #[test]
    fn descriptors_on_a_wire_that_breaks_are_counted() {
        let params = LinkParams { split: true, ..params() };
        let mut wire = Wire::<u64>::new([Holder::Node(0), Holder::Node(1)], LATENCY, 1);
        let ping = [&[7; 16][..], &[0, 1, 0, 0, 0, 0, 0]].concat();
        let bytes = [b"GNUTELLA OK\n\n", &ping[..], &ping, &ping[..22]].concat();
        let (mut rng, mut segments) = (Rng::new(1), Segments::default());
        wire.directions[0].put(
            Payload::new(&bytes),
            &mut segments,
            (NOW, LATENCY),
            &params,
            &mut rng,
            |_| (),
        );
        assert_eq!(wire.kill(&mut segments), 2, "the third is not whole");
        assert_eq!(wire.count(0, &ping[22..]), 1, "now it is");
        assert_eq!(wire.count(0, &[0xff; 40]), 0, "no descriptor is as long as this one says");
        assert_eq!(wire.count(0, &ping), 0, "and nothing is known of what follows");
    }

    #[test]
    fn holders_fit_into_four_bytes() {
        for holder in [Holder::Node(9), Holder::Peer(Peer(9)), Holder::Nobody] {
            assert_eq!(PackedHolder::pack(holder).unpack(), holder);
        }
        assert!(size_of::<Wire<(u32, u32)>>() <= 128, "{}", size_of::<Wire<(u32, u32)>>());
    }
}
