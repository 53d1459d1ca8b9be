//! Wires: what lies between two sockets. Ordered, delayed, perhaps slow, cut at odd places, and
//! with room for only so much that the reader has not read.
//!
//! A wire knows nothing of servents. What it holds when it breaks is counted by cutting the same
//! stream into descriptors that the reader would have cut, so that no copy vanishes uncounted.

use crate::rng::Rng;
use crate::servent::ConnId;
use crate::time::Instant;
use crate::wire::Deframer;
use crate::wire::handshake::{CONNECT, OK};
use std::collections::VecDeque;
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

/// A link in the making or standing; end 0 dialled.
pub(super) struct Wire {
    pub(super) nodes: [usize; 2],
    /// Emptied when the socket at that end is gone.
    pub(super) conns: [Option<ConnId>; 2],
    pub(super) latency: Duration,
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
    pub(super) hello_left: usize,
    pub(super) deframer: Deframer,
}

/// One direction of a wire.
#[derive(Default)]
pub(super) struct Lane {
    parcels: VecDeque<Parcel>,
    /// How many of them, from the front, lie at the reader's end.
    arrived: usize,
    unread_bytes: usize,
    /// When the wire has taken all that was put on it.
    free_at: Instant,
    /// The writer was told to wait.
    blocked: bool,
}

/// What arrives at once.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parcel {
    Bytes(Vec<u8>),
    /// The end of the stream.
    End,
}

impl Wire {
    /// A wire from a dialling node to another.
    pub(super) fn new(nodes: [usize; 2], latency: Duration) -> Wire {
        let tap = |hello: &[u8]| Tap { hello_left: hello.len(), ..Tap::default() };
        Wire {
            nodes,
            conns: [None, None],
            latency,
            taps: [tap(CONNECT), tap(OK)],
            lanes: [Lane::default(), Lane::default()],
            dead: false,
            cuts_next: false,
        }
    }

    /// Breaks it, and says how many descriptors were on it.
    pub(super) fn kill(&mut self) -> u64 {
        self.dead = true;
        let lanes = std::mem::take(&mut self.lanes);
        let mut lost = 0;
        for (lane, tap) in lanes.into_iter().zip(&mut self.taps) {
            for parcel in lane.parcels {
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
        let hello = self.hello_left.min(bytes.len());
        self.hello_left -= hello;
        let mut descriptors = self.deframer.feed(&bytes[hello..]);
        let mut count = 0;
        while let Ok(Some(_)) = descriptors.next() {
            count += 1;
        }
        count
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
        bytes: Vec<u8>,
        (now, latency): (Instant, Duration),
        carriage: &Carriage,
        rng: &mut Rng,
        mut arrives: impl FnMut(Instant),
    ) {
        self.unread_bytes += bytes.len();
        let mut rest = bytes;
        while !rest.is_empty() {
            let size = if carriage.split { 1 + rng.below(rest.len()) } else { rest.len() };
            let after = rest.split_off(size);
            self.free_at = self.free_at.max(now) + time_on_wire(size, carriage);
            self.parcels.push_back(Parcel::Bytes(rest));
            arrives(self.free_at + latency);
            rest = after;
        }
    }

    /// Puts the end of the stream on, and says when it arrives.
    pub(super) fn finish(&mut self, now: Instant, latency: Duration) -> Instant {
        self.parcels.push_back(Parcel::End);
        self.free_at.max(now) + latency
    }

    /// The next parcel has reached the reader's end.
    pub(super) fn arrive(&mut self) {
        self.arrived = self.parcels.len().min(self.arrived + 1);
    }

    /// Reads a parcel that has arrived.
    pub(super) fn read(&mut self) -> Option<Parcel> {
        self.arrived = self.arrived.checked_sub(1)?;
        let parcel = self.parcels.pop_front()?;
        if let Parcel::Bytes(bytes) = &parcel {
            self.unread_bytes -= bytes.len();
        }
        if self.parcels.is_empty() {
            // Most links are silent most of the time, and there may be hundreds of thousands.
            self.parcels = VecDeque::new();
        }
        Some(parcel)
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

    fn put(lane: &mut Lane, len: usize, carriage: &Carriage) -> Vec<u64> {
        let mut times = Vec::new();
        let mut rng = Rng::new(3);
        let bytes = (0..=250).cycle().take(len).collect();
        lane.put(bytes, (NOW, LATENCY), carriage, &mut rng, |at| {
            times.push(at.since(NOW).as_micros().try_into().expect("soon"));
        });
        times
    }

    #[test]
    fn bytes_follow_each_other_at_the_pace_of_the_wire() {
        let carriage = Carriage { bandwidth: Some(1_000), window: None, split: false };
        let mut lane = Lane::default();
        assert_eq!(put(&mut lane, 100, &carriage), [110_000]);
        assert_eq!(put(&mut lane, 50, &carriage), [160_000], "it waits for the first");
        assert_eq!(lane.finish(NOW, LATENCY).since(NOW), Duration::from_millis(160));
    }

    #[test]
    fn pieces_make_the_whole_and_only_what_has_arrived_is_read() {
        let carriage = Carriage { bandwidth: None, window: Some(400), split: true };
        let mut lane = Lane::default();
        assert_eq!(lane.room(1_000, &carriage), 400);
        let pieces = put(&mut lane, 400, &carriage).len();
        assert!(pieces > 1 && lane.read().is_none());
        assert_eq!(lane.room(1, &carriage), 0, "the window is full");
        let mut whole = Vec::new();
        for _ in 0..pieces {
            lane.arrive();
            let Some(Parcel::Bytes(bytes)) = lane.read() else { panic!("it has arrived") };
            whole.extend(bytes);
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
        let mut rng = Rng::new(1);
        wire.lanes[0].put(bytes, (NOW, LATENCY), &carriage, &mut rng, |_| ());
        assert_eq!(wire.kill(), 2, "the third is not whole");
        assert_eq!(wire.taps[0].count(&ping[22..]), 1, "now it is");
    }
}
