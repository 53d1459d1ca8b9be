//! Zones and neighbours of [`super::Can`] in a network that grows and in one that loses nodes.

use super::super::host::Participant;
use super::*;
use crate::net::{LinkParams, Net};
use crate::rng::Rng;

/// A network of so many nodes, each with one file, `rounds` after the last one came.
fn network(nodes: u32, dimensions: usize, rounds: u32) -> Net<Host<Can>, ()> {
    let first: SocketAddrV4 = "10.0.0.1:6346".parse().unwrap();
    let latency = (Duration::from_millis(10), Duration::from_millis(100));
    let params = LinkParams { latency, ..LinkParams::even(Duration::ZERO) };
    let mut net = Net::new(first, params, Rng::new(2), ());
    for node in 0..nodes {
        let addr = SocketAddrV4::new((u32::from(*first.ip()) + node).into(), 6346);
        let system = Can::new(Arc::new([format!("striped zebra {node}")]), dimensions, 3);
        let number = net.add(Host::new(system, addr, Rng::new(node.into())));
        let now = net.now();
        let known = if node == 0 { Vec::new() } else { vec![first] };
        net.node_mut(number).join(now, &known);
        net.turn(number);
        net.run(now + Duration::from_millis(100), now + Duration::from_millis(100));
    }
    pass(&mut net, rounds);
    net
}

fn pass(net: &mut Net<Host<Can>, ()>, rounds: u32) {
    let until = net.now() + ROUND * rounds;
    net.run(until, until);
}

/// Every point belongs to one node, and all nodes that share a face know each other.
fn check(all: &[(SocketAddrV4, &Can)]) {
    let systems: Vec<&Can> = all.iter().map(|(_, can)| *can).collect();
    assert_eq!(Can::wrong(&systems), None);
    for (a, can) in all {
        for (b, other) in all.iter().filter(|(b, _)| a != b) {
            let zones = can.neighbours.get(b).map(|neighbour| &neighbour.zones);
            let right = can.is_beside(&other.zones).then_some(&other.zones);
            assert_eq!(zones, right, "{b} as {a} knows it");
        }
    }
}

#[test]
fn zones_tile_the_torus_and_neighbours_know_each_other() {
    let mut net = network(200, 4, 2);
    let addr = |net: &Net<Host<Can>, ()>, node| net.addr_of(node);
    let all: Vec<_> = (0..200).map(|node| (addr(&net, node), net.node(node).system())).collect();
    check(&all);
    let but_one: Vec<&Can> = all.iter().skip(1).map(|(_, can)| *can).collect();
    assert!(Can::wrong(&but_one).is_some(), "its zone belongs to nobody");
    let volumes: Vec<u128> = all.iter().map(|(_, can)| volume(&can.zones)).collect();
    let [least, most] = [volumes.iter().min(), volumes.iter().max()].map(|it| *it.unwrap());
    assert!(most <= least * 4, "{least} to {most}: newcomers split the largest zone around");
    let mut dead = Rng::new(5);
    for node in 0..200 {
        if dead.below(10) < 3 {
            net.crash(node, false);
        }
    }
    pass(&mut net, 14);
    let live = (0..200).filter(|&node| net.state(node) == crate::net::State::Up);
    let all: Vec<_> = live.map(|node| (addr(&net, node), net.node(node).system())).collect();
    assert!((120..160).contains(&all.len()));
    check(&all);
}

/// Greedy routing needs no luck: from each node there is a way to the owner of each point.
#[test]
fn there_is_a_closer_neighbour_until_the_owner_whatever_the_dimensions() {
    for dimensions in [1, 2, 3, 7, 10] {
        let net = network(120, dimensions, 4);
        let all: Vec<_> =
            (0..120).map(|node| (net.addr_of(node), net.node(node).system())).collect();
        check(&all);
        let mut rng = Rng::new(6);
        for (addr, can) in &all {
            let key = rng.next_u64();
            let next = can.next_hop(key, *addr);
            assert!(next.is_some() || can.owns(key), "{dimensions}: {addr} to {key:x}");
        }
    }
}
