//! A network in several parts, so that each can run on a core of its own.
//!
//! Nothing that happens in one shard can touch another sooner than the least latency between two
//! nodes. So all shards may run through a window of that length at the same time; then they exchange
//! their [`Letter`]s: what arrives at the nodes of others. The keys of events do not depend on who
//! holds which node, so a network runs the same in one shard or in many (the conservative
//! synchronisation of Chandy and Misra 1979, with the windows of Nicol 1993).
//!
//! A connection between two shards has a wire in both. Each holds what the other side has sent as soon
//! as it comes by letter. What would touch both ends at one moment is not for shards: faults, windows,
//! scripted peers, segments cut at random, and losses.

use super::hosts::Hosts;
use super::network::{Event, Net};
use super::node::{Failure, Node, Observer};
use super::segments::Segment;
use super::wires::{End, Holder, LinkParams, Wire};
use crate::rng::Rng;
use crate::time::Instant;
use std::net::SocketAddrV4;
use std::ops::Range;
use std::time::Duration;

/// Letters that wait to be taken.
pub(super) type Post = Vec<Letter>;

/// What leaves a shard for a node of another.
#[derive(Debug)]
pub struct Letter {
    at: Instant,
    key: u64,
    /// The node it is for.
    to: usize,
    body: Body,
}

#[derive(Debug)]
enum Body {
    /// A dial; `wire` is its number at the dialler.
    Accept { from: usize, wire: u32, latency: Duration, dial: u32 },
    /// A dial was accepted; `far` is the wire's number at the acceptor.
    Connected { wire: u32, far: u32 },
    /// A connection failed or was reset.
    Closed { wire: u32, failure: Failure },
    /// Part of a stream.
    Segment { wire: WireName, segment: Segment },
    /// A datagram.
    Datagram { from: usize, bytes: Vec<u8> },
}

/// A wire, as its receiver can find it.
#[derive(Debug)]
enum WireName {
    /// Its number there.
    There(u32),
    /// Its number at the dialler `from`, which has no answer to its dial yet.
    Here { from: usize, wire: u32 },
}

impl Letter {
    /// The node it is for.
    pub fn to(&self) -> usize {
        self.to
    }
}

impl<N: Node, O: Observer<N>> Net<N, O> {
    /// One part of a network of `everywhere` nodes: those with these numbers, which are added in
    /// order. All parts must be given the same address, parameters and randomness.
    pub fn shard(
        first: SocketAddrV4,
        params: LinkParams,
        rng: Rng,
        observer: O,
        nodes: Range<usize>,
        everywhere: usize,
    ) -> Net<N, O> {
        let mut net = Net::new(first, params, rng, observer);
        net.hosts = Hosts::new(nodes.start, everywhere);
        net.hosts.reserve(nodes.len());
        net.post = Some(Post::new());
        net
    }

    /// Lets all happen that is due before `until`, which must not be further away from the next event
    /// of any shard than the least latency. Returns how many events that were.
    pub fn run_before(&mut self, until: Instant) -> usize {
        let (mut events, mut prefetched) = (0, 0);
        while self.queue.next_at().is_some_and(|at| at < until) {
            if prefetched == 0 {
                prefetched = self.prefetch();
            }
            prefetched -= 1;
            self.step();
            events += 1;
        }
        events
    }

    /// It is no earlier than `now`.
    pub fn pass_to(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    /// What has left for other shards.
    pub fn take_letters(&mut self) -> Vec<Letter> {
        self.post.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// A letter from another shard.
    pub fn receive(&mut self, letter: Letter) {
        let Letter { at, key, to, body } = letter;
        let event = match body {
            Body::Accept { from, wire, latency, dial } => {
                let holders = [from, to].map(Holder::Node);
                let mut here = Wire::new(holders, latency, dial);
                here.set_far(wire);
                self.wires.push(here);
                Event::Accept(End::new(self.wires.len() - 1, 1))
            }
            Body::Connected { wire, far } => {
                self.wires[wire as usize].set_far(far);
                Event::Connected(End::new(wire as usize, 0))
            }
            Body::Closed { wire, failure } => Event::Closed(self.end_here(wire as usize), failure),
            Body::Segment { wire, segment } => {
                let end = self.end_here(self.wire_of(&wire));
                let direction = &mut self.wires[end.wire()].directions[end.other().side()];
                direction.take_in(segment, &mut self.segments);
                Event::Arrive(end)
            }
            Body::Datagram { from, bytes } => self.datagrams.hold(from, to, bytes),
        };
        self.in_flight += 1;
        self.queue.schedule(at, key, event);
    }

    fn wire_of(&self, name: &WireName) -> usize {
        match *name {
            WireName::There(wire) => wire as usize,
            WireName::Here { from, wire } => {
                let is_it = |other: &Wire<N::Conn>| {
                    other.far() == Some(wire) && other.node(0) == Some(from)
                };
                self.wires.iter().rposition(is_it).expect("the dial came before")
            }
        }
    }

    /// The end of a wire between two shards that is in this one.
    fn end_here(&self, wire: usize) -> End {
        let end = End::new(wire, 0);
        if self.is_abroad(end) { end.other() } else { end }
    }

    /// Whether the holder of an end is in another shard.
    #[inline]
    pub(super) fn is_abroad(&self, end: End) -> bool {
        self.post.is_some() && self.abroad(end).is_some()
    }

    fn abroad(&self, end: End) -> Option<usize> {
        self.wires[end.wire()].node(end.side()).filter(|&node| !self.hosts.has(node))
    }

    /// Posts an event for an end in another shard. Any other is given back.
    #[inline]
    pub(super) fn post_abroad(&mut self, at: Instant, key: u64, event: Event) -> Option<Event> {
        if self.post.is_none() {
            return Some(event);
        }
        let (Event::Accept(end)
        | Event::Connected(end)
        | Event::Closed(end, _)
        | Event::Arrive(end)
        | Event::Writable(end)) = event
        else {
            return Some(event);
        };
        let Some(to) = self.abroad(end) else { return Some(event) };
        let wire = &self.wires[end.wire()];
        let here = u32::try_from(end.wire()).expect("an end has 32 bits");
        let body = match (event, wire.far()) {
            (Event::Accept(_), _) => {
                let from = wire.node(0).expect("nodes alone dial here");
                Body::Accept { from, wire: here, latency: wire.latency(), dial: wire.dial() }
            }
            (Event::Connected(_), Some(wire)) => Body::Connected { wire, far: here },
            (Event::Closed(_, failure), Some(wire)) => Body::Closed { wire, failure },
            _ => unreachable!("shards have no windows, and the far end of an answer is known"),
        };
        self.put(Letter { at, key, to, body });
        None
    }

    /// Posts what this end sends to one in another shard.
    pub(super) fn post_segment(&mut self, at: Instant, end: End, segment: Segment) {
        let wire = &self.wires[end.wire()];
        let (Holder::Node(from), Holder::Node(to)) =
            (wire.holder(end.side()), wire.holder(end.other().side()))
        else {
            unreachable!("shards have nodes alone")
        };
        let here = || WireName::Here {
            from,
            wire: u32::try_from(end.wire()).expect("an end has 32 bits"),
        };
        let wire = wire.far().map_or_else(here, WireName::There);
        let key = self.next_key(Holder::Node(from));
        self.put(Letter { at, key, to, body: Body::Segment { wire, segment } });
    }

    /// Posts a datagram.
    pub(super) fn post_datagram(
        &mut self,
        at: Instant,
        (from, to): (usize, usize),
        bytes: Vec<u8>,
    ) {
        let key = self.next_key(Holder::Node(from));
        self.put(Letter { at, key, to, body: Body::Datagram { from, bytes } });
    }

    fn put(&mut self, letter: Letter) {
        self.post.get_or_insert_default().push(letter);
    }
}
