//! Datagrams: bytes between two nodes without a connection and without set-up.
//!
//! A datagram takes the latency of its pair of nodes, which follows from the seed and is the same
//! both ways at all times. With a bandwidth limit, all datagrams of a sender share one uplink. A
//! datagram is lost by [`super::LinkParams::loss`], by a partition, and at a receiver that is not
//! up or does not read; nobody is told. A network that sends none pays nothing for them.

use super::hosts::State;
use super::network::{Event, Net};
use super::node::{Node, Observer, Passed};
use super::wires::Holder;
use crate::rng::Rng;
use crate::time::Instant;
use siphasher::sip::SipHasher13;
use slab::Slab;
use std::collections::BTreeMap;
use std::hash::Hasher;
use std::net::SocketAddrV4;
use std::time::Duration;

/// Datagrams under way.
pub(super) struct Datagrams {
    under_way: Slab<Datagram>,
    /// Keys latencies: of each pair of nodes, and of each dial.
    key: (u64, u64),
    /// When each sender's uplink is free, with a bandwidth limit.
    free_at: BTreeMap<usize, Instant>,
}

struct Datagram {
    from: usize,
    to: usize,
    bytes: Vec<u8>,
}

impl Datagrams {
    /// Takes nothing from `rng`, so that runs without datagrams stay what they were.
    pub(super) fn new(rng: &Rng) -> Datagrams {
        let mut fork = rng.clone().fork();
        let key = (fork.next_u64(), fork.next_u64());
        Datagrams { under_way: Slab::new(), key, free_at: BTreeMap::new() }
    }

    fn pair_bits(&self, a: usize, b: usize) -> u64 {
        self.bits([a.min(b) as u64, a.max(b) as u64])
    }

    /// Randomness for a node's dial of this number.
    pub(super) fn dial_bits(&self, node: usize, dial: u32) -> u64 {
        self.bits([!u64::from(dial), node as u64])
    }

    fn bits(&self, words: [u64; 2]) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.key.0, self.key.1);
        words.into_iter().for_each(|word| hasher.write_u64(word));
        hasher.finish()
    }

    /// Holds a datagram until it arrives.
    pub(super) fn hold(&mut self, from: usize, to: usize, bytes: Vec<u8>) -> Event {
        let slot = self.under_way.insert(Datagram { from, to, bytes });
        Event::Datagram(u32::try_from(slot).expect("less than memory can hold"))
    }
}

/// The chance that a drawn number is below `probability`.
fn happens(probability: f64, rng: &mut Rng) -> bool {
    probability > 0.0 && (rng.next_u64() >> 11) as f64 / ((1u64 << 53) as f64) < probability
}

impl<N: Node, O: Observer<N>> Net<N, O> {
    /// One-way delay of datagrams between two nodes.
    pub fn latency_between(&self, a: usize, b: usize) -> Duration {
        self.params.latency_of(|| self.datagrams.pair_bits(a, b))
    }

    pub(super) fn send_datagram(&mut self, from: usize, to: SocketAddrV4, bytes: Vec<u8>) {
        let (now, to) = (self.now, self.node_at(to));
        let lost = happens(self.params.loss, &mut self.rng);
        let Some(to) = to.filter(|_| !lost) else {
            let passed = Passed { at: now, from, to, bytes: &bytes, arrived: false };
            return self.observer.datagram(&passed);
        };
        let leaves_at = match self.params.bandwidth {
            None => now,
            Some(_) => {
                let free_at = self.datagrams.free_at.entry(from).or_default();
                *free_at = (*free_at).max(now) + self.params.time_on_wire(bytes.len());
                *free_at
            }
        };
        let at = leaves_at + self.latency_between(from, to);
        if self.post.is_some() && !self.hosts.has(to) {
            return self.post_datagram(at, (from, to), bytes);
        }
        let event = self.datagrams.hold(from, to, bytes);
        self.travel(at, Holder::Node(from), event);
    }

    pub(super) fn datagram_arrives(&mut self, slot: u32) {
        let Datagram { from, to, bytes } = self.datagrams.under_way.remove(slot as usize);
        let host = &self.hosts[to];
        let is_cut_off = self.sides.as_ref().is_some_and(|sides| sides[from] != sides[to]);
        let arrived = host.state == State::Up && !host.stalled && !is_cut_off;
        let at = self.now;
        self.observer.datagram(&Passed { at, from, to: Some(to), bytes: &bytes, arrived });
        if arrived {
            let from = self.addr_of(from);
            self.hosts[to].node.handle_datagram(at, from, &bytes);
            self.turn(to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Failure, LinkParams, Output};
    use super::*;

    /// Sends what it is told and keeps what comes.
    #[derive(Default)]
    struct Mailbox {
        to_send: Vec<(SocketAddrV4, Vec<u8>)>,
        got: Vec<(Instant, SocketAddrV4, Vec<u8>)>,
    }

    impl Node for Mailbox {
        type Conn = u8;
        type Outward = ();

        fn slot(conn: u8) -> usize {
            conn.into()
        }
        fn handle_accepted(&mut self, _: Instant, _: SocketAddrV4, _: SocketAddrV4) -> Option<u8> {
            None
        }
        fn handle_connected(&mut self, _: Instant, _: u8, _: SocketAddrV4) {}
        fn handle_bytes(&mut self, _: Instant, _: u8, _: &[u8]) {}
        fn handle_writable(&mut self, _: u8) {}
        fn handle_closed(&mut self, _: Instant, _: u8, _: Failure) {}
        fn handle_datagram(&mut self, now: Instant, from: SocketAddrV4, bytes: &[u8]) {
            self.got.push((now, from, bytes.to_vec()));
        }
        fn handle_timeout(&mut self, _: Instant) {}
        fn start_turn(&mut self, _: Instant) {}
        fn poll_output(&mut self) -> Option<Output<u8, ()>> {
            self.to_send.pop().map(|(to, bytes)| Output::Datagram { to, bytes })
        }
        fn poll_transmit(&mut self, _: Instant) -> Option<(u8, &[u8])> {
            None
        }
        fn sent(&mut self, _: Instant, _: u8, _: usize) {}
        fn poll_timeout(&self) -> Option<Instant> {
            None
        }
    }

    /// How many datagrams arrived and how many did not.
    #[derive(Default)]
    struct Counts(usize, usize);

    impl Observer<Mailbox> for Counts {
        fn datagram(&mut self, passed: &Passed<'_>) {
            *(if passed.arrived { &mut self.0 } else { &mut self.1 }) += 1;
        }
    }

    fn net(params: LinkParams) -> Net<Mailbox, Counts> {
        let first = "10.0.0.1:6346".parse().unwrap();
        let mut net = Net::new(first, params, Rng::new(4), Counts::default());
        for _ in 0..3 {
            net.add(Mailbox::default());
        }
        net
    }

    fn send(net: &mut Net<Mailbox, Counts>, from: usize, to: usize, len: usize) {
        let to = net.addr_of(to);
        net.node_mut(from).to_send.push((to, vec![7; len]));
        net.turn(from);
    }

    fn settle(net: &mut Net<Mailbox, Counts>) {
        net.run(net.now(), net.now() + Duration::from_secs(100));
    }

    fn uneven() -> LinkParams {
        let latency = (Duration::from_millis(10), Duration::from_millis(100));
        LinkParams { latency, ..LinkParams::even(Duration::ZERO) }
    }

    #[test]
    fn events_are_as_small_as_without_datagrams() {
        assert_eq!(size_of::<Event>(), 8);
    }

    #[test]
    fn a_pair_of_nodes_has_one_latency_both_ways() {
        let mut net = net(uneven());
        let latency = net.latency_between(0, 1);
        assert_eq!(latency, net.latency_between(1, 0));
        assert_ne!(latency, net.latency_between(0, 2));
        assert!((10..100).contains(&latency.as_millis()), "{latency:?}");
        send(&mut net, 0, 1, 5);
        settle(&mut net);
        let first = net.addr_of(0);
        assert_eq!(net.node(1).got, [(Instant::ZERO + latency, first, vec![7; 5])]);
    }

    #[test]
    fn datagrams_of_one_sender_share_its_bandwidth() {
        let params = LinkParams { bandwidth: Some(1_000), ..LinkParams::even(Duration::ZERO) };
        let mut net = net(params);
        send(&mut net, 0, 1, 100);
        send(&mut net, 0, 2, 100);
        settle(&mut net);
        assert_eq!(net.node(1).got[0].0.as_micros(), 100_000);
        assert_eq!(net.node(2).got[0].0.as_micros(), 200_000);
    }

    #[test]
    fn what_does_not_arrive_is_lost_and_seen() {
        let mut net = net(uneven());
        net.crash(1, false);
        send(&mut net, 0, 1, 1);
        net.part(vec![false, false, true]);
        send(&mut net, 0, 2, 1);
        settle(&mut net);
        net.heal();
        net.node_mut(0).to_send.push(("9.9.9.9:9".parse().unwrap(), vec![1]));
        net.turn(0);
        assert_eq!((net.observer.0, net.observer.1), (0, 3));
        net.params.loss = 0.5;
        (0..1_000).for_each(|_| send(&mut net, 0, 2, 1));
        settle(&mut net);
        assert!((450..550).contains(&net.observer.0), "{} arrived", net.observer.0);
        assert_eq!(net.observer.0 + net.observer.1, 1_003);
        assert_eq!(net.node(2).got.len(), net.observer.0);
    }
}
