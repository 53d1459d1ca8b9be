//! The network with the smallest node there is: it says hello where it dials, and repeats what it hears
//! where it was dialled.

use super::*;
use crate::rng::Rng;
use crate::time::Instant;
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

const FIRST: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 7);
const ELSEWHERE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 9, 9, 9), 7);
const LATENCY: Duration = Duration::from_millis(10);

#[derive(Default)]
struct Echo {
    /// Not sent yet, by connection.
    queues: BTreeMap<usize, VecDeque<u8>>,
    blocked: bool,
    dials: Vec<SocketAddrV4>,
    closes: Vec<usize>,
    connected: Vec<Instant>,
    ended: Vec<(usize, Failure)>,
    heard: Vec<u8>,
    /// Connections it dialled.
    dialled: Vec<usize>,
    next: usize,
}

impl Echo {
    fn open(&mut self) -> usize {
        self.next += 1;
        self.queues.insert(self.next, VecDeque::new());
        self.next
    }
}

impl Node for Echo {
    type Conn = usize;
    type Outward = Infallible;

    fn slot(conn: usize) -> usize {
        conn
    }

    fn handle_accepted(&mut self, _: Instant, _: SocketAddrV4, _: SocketAddrV4) -> Option<usize> {
        Some(self.open())
    }

    fn handle_connected(&mut self, now: Instant, conn: usize, _: SocketAddrV4) {
        self.connected.push(now);
        self.queues.entry(conn).or_default().extend(b"hello");
    }

    fn handle_bytes(&mut self, _: Instant, conn: usize, bytes: &[u8]) {
        self.heard.extend(bytes);
        if !self.dialled.contains(&conn) {
            self.queues.entry(conn).or_default().extend(bytes);
        }
    }

    fn handle_writable(&mut self, _: usize) {
        self.blocked = false;
    }

    fn handle_closed(&mut self, _: Instant, conn: usize, failure: Failure) {
        self.ended.push((conn, failure));
    }

    fn handle_timeout(&mut self, _: Instant) {}

    fn start_turn(&mut self, _: Instant) {}

    fn poll_output(&mut self) -> Option<Output<usize, Infallible>> {
        if let Some(conn) = self.closes.pop() {
            return Some(Output::Close { conn });
        }
        let addr = self.dials.pop()?;
        let conn = self.open();
        self.dialled.push(conn);
        Some(Output::Connect { conn, addr })
    }

    fn poll_transmit(&mut self, _: Instant) -> Option<(usize, &[u8])> {
        let blocked = self.blocked;
        let ready = self.queues.iter_mut().find(|(_, queue)| !blocked && !queue.is_empty())?;
        Some((*ready.0, ready.1.make_contiguous()))
    }

    fn sent(&mut self, _: Instant, conn: usize, written: usize) {
        self.blocked = written == 0;
        self.queues.entry(conn).or_default().drain(..written);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
}

/// Two nodes and a scripted peer that node 0 has accepted.
fn network() -> (Net<Echo, ()>, Peer) {
    let mut net = Net::new(FIRST, LinkParams::even(LATENCY), Rng::new(1), ());
    net.add(Echo::default());
    net.add(Echo::default());
    let peer = net.dial_from(Ipv4Addr::LOCALHOST, 0);
    (net, peer)
}

fn settle(net: &mut Net<Echo, ()>) {
    net.run(net.now(), Instant::FAR_FUTURE);
}

/// Has node 1 dial, and returns how its connections ended.
fn dial(net: &mut Net<Echo, ()>, addr: SocketAddrV4) -> Vec<(usize, Failure)> {
    net.node_mut(1).dials.push(addr);
    net.turn(1);
    settle(net);
    std::mem::take(&mut net.node_mut(1).ended)
}

#[test]
fn bytes_cross_a_wire_in_its_latency_and_come_back() {
    let (mut net, peer) = network();
    net.write(peer, b"abc");
    settle(&mut net);
    assert_eq!(net.received(peer), b"abc");
    assert_eq!(net.now(), Instant::ZERO + LATENCY * 2);
    net.hang_up(peer);
    settle(&mut net);
    assert_eq!(net.node(0).ended, [(1, Failure::Eof)]);
    assert!(!net.is_closed(peer), "the node may still say something");
}

#[test]
fn dials_are_accepted_refused_or_left_alone() {
    let (mut net, _) = network();
    assert_eq!(dial(&mut net, FIRST), []);
    assert_eq!(net.node(1).connected, [Instant::ZERO + LATENCY * 2], "there and back");
    assert_eq!(net.node(0).heard, b"hello");
    assert_eq!(dial(&mut net, ELSEWHERE), [(2, Failure::Refused)]);
    net.listen(ELSEWHERE);
    assert_eq!(dial(&mut net, ELSEWHERE), []);
    let peer = net.accept_from(ELSEWHERE).expect("it was dialled");
    assert_eq!(net.received(peer), b"hello");
    net.swallow(ELSEWHERE);
    assert_eq!(dial(&mut net, ELSEWHERE), []);
    let [unanswered] = net.unanswered()[..] else { panic!("one dial") };
    let peer = net.answer(unanswered, None).expect("it is accepted");
    settle(&mut net);
    assert_eq!(net.received(peer), b"hello");
    net.crash(0, false);
    assert_eq!(dial(&mut net, FIRST), [(1, Failure::Reset), (5, Failure::Refused)]);
}

#[test]
fn a_full_window_blocks_the_writer_until_the_reader_reads() {
    let (mut net, peer) = network();
    net.take_up_to(peer, 2);
    net.write(peer, b"abc");
    settle(&mut net);
    assert!(net.received(peer).is_empty() && net.node(0).blocked);
    net.set_reading(peer, true);
    settle(&mut net);
    assert_eq!(net.received(peer), b"abc");
}

#[test]
fn stalled_held_and_parted_nodes_take_up_where_they_were() {
    let (mut net, peer) = network();
    net.stall(0);
    net.write(peer, b"a");
    settle(&mut net);
    assert!(net.node(0).heard.is_empty());
    net.hold(0);
    net.resume(0);
    settle(&mut net);
    assert!(net.node(0).heard == b"a" && net.received(peer).is_empty(), "heard, not answered");
    net.release(0);
    settle(&mut net);
    assert_eq!(net.received(peer), b"a");

    dial(&mut net, FIRST);
    net.node_mut(0).heard.clear();
    net.part(vec![true, false]);
    net.node_mut(1).queues.entry(1).or_default().extend(b"over");
    net.turn(1);
    settle(&mut net);
    assert!(net.node(0).heard.is_empty());
    net.heal();
    assert!(net.node(0).heard.ends_with(b"over"));
}

#[test]
fn a_reset_ends_both_sides_and_loses_what_is_in_flight() {
    let (mut net, _) = network();
    dial(&mut net, FIRST);
    net.node_mut(0).heard.clear();
    net.node_mut(1).queues.entry(1).or_default().extend(b"lost");
    net.turn(1);
    assert!(net.reset(1) && !net.reset(1));
    settle(&mut net);
    assert!(net.node(0).heard.is_empty());
    assert_eq!(net.node(0).ended, [(2, Failure::Reset)]);
    assert_eq!(net.node(1).ended, [(1, Failure::Reset)]);
}

/// What a node saw of dials, ends and bytes.
type Saw = (Vec<Instant>, Vec<(usize, Failure)>, Vec<u8>);

/// What each of four nodes saw, with this many nodes in each shard. Nodes 0 and
/// 1 dial the others; node 2 is refused; node 3 hangs up before its dial is answered.
fn seen_in_shards(nodes_each: usize) -> Vec<Saw> {
    let (first, until) = (|shard: usize| shard * nodes_each, Instant::ZERO + LATENCY * 20);
    let latency = (LATENCY, LATENCY * 3);
    let params = LinkParams { latency, ..LinkParams::even(LATENCY) };
    let mut shards: Vec<Net<Echo, ()>> = (0..4 / nodes_each)
        .map(|shard| {
            let nodes = first(shard)..first(shard + 1);
            Net::shard(FIRST, params.clone(), Rng::new(3), (), nodes, 4)
        })
        .collect();
    for node in 0..4 {
        assert_eq!(shards[node / nodes_each].add(Echo::default()), node);
    }
    let addrs = [0, 1, 2, 3].map(|node| shards[0].addr_of(node));
    let mut turn = |node: usize, dials: &[SocketAddrV4], closes: &[usize]| {
        let net = &mut shards[node / nodes_each];
        net.node_mut(node).dials.extend(dials);
        net.node_mut(node).closes.extend(closes);
        net.turn(node);
    };
    turn(0, &[addrs[3], addrs[1]], &[]);
    turn(1, &[addrs[2], addrs[3], addrs[0]], &[]);
    turn(2, &[ELSEWHERE], &[]);
    turn(3, &[addrs[0]], &[]);
    turn(3, &[], &[1]);
    loop {
        let letters: Vec<Letter> = shards.iter_mut().flat_map(Net::take_letters).collect();
        for letter in letters {
            shards[letter.to() / nodes_each].receive(letter);
        }
        let next = shards.iter_mut().filter_map(Net::next_at).min();
        let Some(at) = next.filter(|at| *at < until) else { break };
        for net in &mut shards {
            net.run_before(at + LATENCY);
        }
    }
    let seen = |node: usize| {
        let node = shards[node / nodes_each].node(node);
        (node.connected.clone(), node.ended.clone(), node.heard.clone())
    };
    (0..4).map(seen).collect()
}

#[test]
fn a_network_in_shards_does_what_it_does_in_one_piece() {
    let whole = seen_in_shards(4);
    assert_eq!(whole[0].0.len(), 2, "{whole:?}");
    assert_eq!(whole[2].1, [(1, Failure::Refused)], "{whole:?}");
    assert_eq!(whole[0].1, [(4, Failure::Eof)], "node 3 hung up: {whole:?}");
    assert_eq!(seen_in_shards(2), whole);
    assert_eq!(seen_in_shards(1), whole);
}
