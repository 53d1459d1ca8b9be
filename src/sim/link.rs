//! Wires: what lies between two sockets. Ordered, delayed, perhaps slow, cut at odd places, and
//! with room for only so much that the reader has not read.
//!
//! A wire knows nothing of servents. What it holds when it breaks is counted by cutting the same
//! stream into descriptors that the reader would have cut, so that no copy vanishes uncounted.

use super::oracle::index;
use super::parcels::{List, Parcel, Parcels, Piece};
use crate::rng::Rng;
use crate::servent::ConnId;
use crate::time::Instant;
use crate::wire::handshake::{CONNECT, OK};
use crate::wire::{Deframer, Header};
use std::convert::Infallible;
use std::time::Duration;

/// How all wires of a run carry bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Carriage {
    /// Bytes per second each way.
    pub(super) bandwidth: Option<u64>,
    /// Bytes under way or unread before the writer has to wait.
    pub(super) window: Option<usize>,
    /// Whether writes arrive in pieces.
    pub(super) split: bool,
}

/// One end of a wire, in little room: much of what is scheduled and looked up is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End(u32);

impl End {
    pub(super) fn new(wire: usize, end: usize) -> End {
        End(u32::try_from(2 * wire + end).expect("at most 2,000,000,000 connections in a run"))
    }

    pub(super) fn wire(self) -> usize {
        (self.0 / 2) as usize
    }

    /// 0 for the one that dialled, 1 for the other.
    pub(super) fn end(self) -> usize {
        (self.0 % 2) as usize
    }
}

/// A link in the making or standing; end 0 dialled. There may be hundreds of thousands: it is kept
/// small.
pub(super) struct Wire {
    nodes: [u32; 2],
    /// Emptied when the socket at that end is gone.
    pub(super) conns: [Option<ConnId>; 2],
    latency_micros: u32,
    /// What each end has sent so far, cut into descriptors; fed as it arrives at the other.
    pub(super) taps: [Tap; 2],
    /// What each end has sent and the other has not read.
    pub(super) lanes: [Lane; 2],
    /// It was reset: whatever is sent on it is lost.
    pub(super) dead: bool,
    /// The next bytes to arrive are cut somewhere, and the wire with them.
    pub(super) cuts_next: bool,
}

#[derive(Default)]
pub(super) struct Tap {
    hello_left: u8,
    /// The beginning of a descriptor, if what came last did not end with one.
    unfinished: Option<Box<Deframer>>,
}

/// One direction of a wire.
#[derive(Default)]
pub(super) struct Lane {
    list: List,
    /// How many of its parcels, from the front, lie at the reader's end.
    arrived: u32,
    /// The writer was told to wait.
    blocked: bool,
    unread_bytes: usize,
    /// When the wire has taken all that was put on it.
    free_at: Instant,
}

impl Wire {
    /// A wire from a dialling node to another.
    pub(super) fn new([from, to]: [usize; 2], latency: Duration) -> Wire {
        let micros = u32::try_from(latency.as_micros()).expect("a plan has some seconds at most");
        let tap = |hello: &[u8]| Tap {
            hello_left: u8::try_from(hello.len()).expect("it is a line or two"),
            unfinished: None,
        };
        Wire {
            nodes: [index(from), index(to)],
            conns: [None, None],
            latency_micros: micros,
            taps: [tap(CONNECT), tap(OK)],
            lanes: [Lane::default(), Lane::default()],
            dead: false,
            cuts_next: false,
        }
    }

    /// The node at an end.
    pub(super) fn node(&self, end: usize) -> usize {
        self.nodes[end] as usize
    }

    /// Reads what carrying something needs, for [`super::fetch`].
    pub(super) fn weight(&self) -> u64 {
        let [a, b] = &self.lanes;
        a.free_at.as_micros() ^ b.free_at.as_micros() ^ u64::from(self.latency_micros)
    }

    pub(super) fn latency(&self) -> Duration {
        Duration::from_micros(self.latency_micros.into())
    }

    /// Breaks it, and says how many descriptors were on it.
    pub(super) fn kill(&mut self, parcels: &mut Parcels) -> u64 {
        self.dead = true;
        let lanes = std::mem::take(&mut self.lanes);
        let mut lost = 0;
        for (mut lane, tap) in lanes.into_iter().zip(&mut self.taps) {
            while let Some(parcel) = parcels.pop(&mut lane.list) {
                if let Parcel::Bytes(bytes) = parcel {
                    lost += tap.count(&bytes);
                }
            }
        }
        lost
    }
}

impl Tap {
    /// How many descriptors `bytes`, the next of the stream, complete.
    pub(super) fn count(&mut self, bytes: &[u8]) -> u64 {
        let mut count = 0;
        let Ok(()) = self.cut(bytes, |_| {
            count += 1;
            Ok::<_, Infallible>(())
        });
        count
    }

    /// Shows each descriptor that `bytes`, the next of the stream, complete, until one fails.
    pub(super) fn cut<E>(
        &mut self,
        bytes: &[u8],
        mut show: impl FnMut(&Header) -> Result<(), E>,
    ) -> Result<(), E> {
        let hello = bytes.len().min(self.hello_left.into());
        self.hello_left -= u8::try_from(hello).expect("no more than was left");
        // Hardly anything is ever unfinished: a buffer for it would be in the way.
        let mut deframer = self.unfinished.take().map_or_else(Deframer::default, |kept| *kept);
        let mut descriptors = deframer.feed(&bytes[hello..]);
        while let Ok(Some(raw)) = descriptors.next() {
            show(&raw.header())?;
        }
        if deframer.pending_bytes() > 0 {
            self.unfinished = Some(Box::new(deframer));
        }
        Ok(())
    }
}

impl Lane {
    /// How many of `len` bytes may be put on now; a writer that may put on none is remembered.
    pub(super) fn room(&mut self, len: usize, carriage: &Carriage) -> usize {
        let free = carriage.window.map_or(len, |most| most.saturating_sub(self.unread_bytes));
        self.blocked = free == 0;
        len.min(free)
    }

    /// Puts bytes on; `arrives` is told when each piece of them does.
    pub(super) fn put(
        &mut self,
        piece: Piece,
        parcels: &mut Parcels,
        (now, latency): (Instant, Duration),
        carriage: &Carriage,
        rng: &mut Rng,
        mut arrives: impl FnMut(Instant),
    ) {
        self.unread_bytes += piece.len();
        let mut put = |piece: Piece| {
            self.free_at = self.free_at.max(now) + time_on_wire(piece.len(), carriage);
            parcels.push(&mut self.list, Parcel::Bytes(piece));
            arrives(self.free_at + latency);
        };
        if !carriage.split {
            return put(piece);
        }
        let mut rest = &*piece;
        while !rest.is_empty() {
            let (front, after) = rest.split_at(1 + rng.below(rest.len()));
            put(Piece::new(front));
            rest = after;
        }
    }

    /// Puts the end of the stream on, and says when it arrives.
    pub(super) fn finish(
        &mut self,
        parcels: &mut Parcels,
        now: Instant,
        latency: Duration,
    ) -> Instant {
        parcels.push(&mut self.list, Parcel::End);
        self.free_at.max(now) + latency
    }

    /// The next parcel has reached the reader's end, unless it was lost with the wire.
    pub(super) fn arrive(&mut self) {
        if !self.list.is_empty() {
            self.arrived += 1;
        }
    }

    /// Reads a parcel that has arrived.
    pub(super) fn read(&mut self, parcels: &mut Parcels) -> Option<Parcel> {
        self.arrived = self.arrived.checked_sub(1)?;
        let parcel = parcels.pop(&mut self.list)?;
        if let Parcel::Bytes(bytes) = &parcel {
            self.unread_bytes -= bytes.len();
        }
        Some(parcel)
    }

    /// The first 16 bytes of what arrives next, if it has as many.
    pub(super) fn next_guid<'a>(&self, parcels: &'a Parcels) -> Option<&'a [u8; 16]> {
        parcels.first_guid(&self.list)
    }

    /// Reads what arrives next, for [`super::fetch`].
    pub(super) fn weight(&self, parcels: &Parcels) -> u64 {
        parcels.weight(&self.list)
    }

    /// Whether a writer waits that need not any more.
    pub(super) fn unblocks(&mut self) -> bool {
        std::mem::take(&mut self.blocked)
    }
}

fn time_on_wire(len: usize, carriage: &Carriage) -> Duration {
    carriage.bandwidth.map_or(Duration::ZERO, |rate| {
        Duration::from_micros((len as u64).saturating_mul(1_000_000).div_ceil(rate.max(1)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_micros(5_000_000);
    const LATENCY: Duration = Duration::from_millis(10);

    fn put(lane: &mut Lane, parcels: &mut Parcels, len: usize, carriage: &Carriage) -> Vec<u64> {
        let mut times = Vec::new();
        let mut rng = Rng::new(3);
        let bytes: Vec<u8> = (0..=250).cycle().take(len).collect();
        lane.put(Piece::new(&bytes), parcels, (NOW, LATENCY), carriage, &mut rng, |at| {
            times.push(at.since(NOW).as_micros().try_into().expect("soon"));
        });
        times
    }

    #[test]
    fn bytes_follow_each_other_at_the_pace_of_the_wire() {
        let carriage = Carriage { bandwidth: Some(1_000), window: None, split: false };
        let (mut lane, mut parcels) = (Lane::default(), Parcels::default());
        assert_eq!(put(&mut lane, &mut parcels, 100, &carriage), [110_000]);
        assert_eq!(put(&mut lane, &mut parcels, 50, &carriage), [160_000], "it waits");
        assert_eq!(lane.finish(&mut parcels, NOW, LATENCY).since(NOW), Duration::from_millis(160));
    }

    #[test]
    fn pieces_make_the_whole_and_only_what_has_arrived_is_read() {
        let carriage = Carriage { bandwidth: None, window: Some(400), split: true };
        let (mut lane, mut parcels) = (Lane::default(), Parcels::default());
        assert_eq!(lane.room(1_000, &carriage), 400);
        let pieces = put(&mut lane, &mut parcels, 400, &carriage).len();
        assert!(pieces > 1 && lane.read(&mut parcels).is_none());
        assert_eq!(lane.room(1, &carriage), 0, "the window is full");
        let mut whole = Vec::new();
        for _ in 0..pieces {
            lane.arrive();
            let Some(Parcel::Bytes(bytes)) = lane.read(&mut parcels) else { panic!("it is there") };
            whole.extend_from_slice(&bytes);
        }
        assert_eq!(whole, (0..=250).cycle().take(400).collect::<Vec<u8>>());
        assert!(lane.unblocks() && !lane.unblocks());
        assert_eq!(lane.room(1_000, &carriage), 400);
    }

    #[test]
    fn what_is_on_a_wire_that_breaks_is_counted() {
        let carriage = Carriage { bandwidth: None, window: None, split: true };
        let mut wire = Wire::new([0, 1], LATENCY);
        let ping = [&[7; 16][..], &[0, 1, 0, 0, 0, 0, 0]].concat();
        let bytes = [CONNECT, &ping, &ping, &ping[..22]].concat();
        let (mut rng, mut parcels) = (Rng::new(1), Parcels::default());
        wire.lanes[0].put(
            Piece::new(&bytes),
            &mut parcels,
            (NOW, LATENCY),
            &carriage,
            &mut rng,
            |_| (),
        );
        assert_eq!(wire.kill(&mut parcels), 2, "the third is not whole");
        assert_eq!(wire.taps[0].count(&ping[22..]), 1, "now it is");
    }
}
