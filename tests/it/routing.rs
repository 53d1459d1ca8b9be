//! Routing: single rules on scripted links, then whole networks whose taps are
//! read afterwards. Rows P-21 to P-25, P-31 to P-37, P-48, P-49, P-53 and P-55 of the checklist.

use crate::support::descriptor::{guid, hit, ping, pong, push, query, servent_id};
use crate::support::{Bench, Crossing, Descriptor, Graph, Holder, Net, vectors};
use servent::rules::{NodeRules, Sources};
use servent::stats::DropReason;
use servent::wire::{Guid, Header, Kind};
use std::collections::BTreeMap;
use std::time::Duration;

const SOMEBODY: &str = "127.0.0.50:6346";

/// P-21, P-31
#[test]
fn a_broadcast_goes_to_all_but_its_source_with_one_ttl_less() {
    for broadcast in [ping(guid(1)), query(guid(2), "nobody has this")] {
        let mut sut = Bench::new();
        let [a, b, c] = sut.links();
        sut.send(a, &broadcast);
        assert_eq!(sut.receive_one(b), broadcast.forwarded());
        assert_eq!(sut.receive_one(c), broadcast.forwarded());
        assert!(sut.receive(a).iter().all(|back| back.kind == Kind::Pong));
    }
}

/// P-22, P-32, P-33
#[test]
fn what_has_no_ttl_left_goes_no_further() {
    let mut sut = Bench::new();
    let [a, b] = sut.links();
    for ttl in [1, 0] {
        sut.send(a, &ping(guid(1)).ttl(ttl));
        sut.send(a, &query(guid(2), "nothing like it").ttl(ttl));
    }
    sut.assert_quiet(b);
}

/// P-23, P-34: nor is it answered twice, nor does more TTL make it new.
#[test]
fn a_guid_is_forwarded_and_answered_once() {
    for broadcast in [ping(guid(1)).ttl(3), query(guid(2), "hello").ttl(3)] {
        let mut sut = Bench::new();
        let [a, b, c] = sut.links();
        sut.send(a, &broadcast);
        for peer in [a, b, c] {
            sut.receive_one(peer);
        }
        for copy in [broadcast.clone(), broadcast.ttl(7)] {
            for peer in [a, b, a] {
                sut.wait_secs(2);
                sut.send(peer, &copy);
            }
        }
        for peer in [a, b, c] {
            sut.assert_quiet(peer);
        }
        assert_eq!(sut.dropped(DropReason::Duplicate), 6);
    }
}

/// P-35
#[test]
fn a_ping_may_carry_the_guid_of_a_query() {
    let mut sut = Bench::new();
    let [a, b] = sut.links();
    sut.send(a, &query(guid(1), "hello").ttl(1));
    assert_eq!(sut.receive_one(a).kind, Kind::QueryHit);
    sut.send(b, &ping(guid(1)).ttl(1));
    assert_eq!(sut.receive_one(b).kind, Kind::Pong);
}

/// GNU Serveez drops a text it has seen within ten seconds; that makes popular words unfindable.
#[test]
fn equal_words_under_another_guid_are_another_query() {
    let mut sut = Bench::new();
    let [a, b] = sut.links();
    for n in 1..=20 {
        sut.send(a, &query(guid(n), "hello"));
        assert_eq!(sut.receive_one(a).guid, guid(n));
        assert_eq!(sut.receive_one(b).guid, guid(n));
    }
}

/// P-36, P-37
#[test]
fn a_ttl_is_lowered_to_the_horizon_and_never_raised() {
    let cases = [
        ((7, 0), Some((6, 1))),
        ((10, 0), Some((6, 1))),
        ((10, 4), Some((2, 5))),
        ((2, 1), Some((1, 2))),
        ((3, 8), None),
        ((15, 1), None),
        ((20, 20), None),
        ((255, 0), None),
    ];
    let mut sut = Bench::new();
    let [a, b] = sut.links();
    for (n, ((ttl, hops), copy)) in (0..).zip(cases) {
        sut.send(a, &query(guid(n), "nothing like it").ttl(ttl).hops(hops));
        let copies: Vec<_> = sut.receive(b).iter().map(|d| (d.ttl, d.hops)).collect();
        assert_eq!(copies, Vec::from_iter(copy), "TTL {ttl}, hops {hops}");
    }
    assert_eq!(sut.dropped(DropReason::TtlTooHigh), 3);
}

/// P-24, P-48
#[test]
fn a_reply_goes_back_the_way_the_question_came_and_nowhere_else() {
    let cases = [
        (ping(guid(1)), pong(guid(1), SOMEBODY.parse().unwrap())),
        (query(guid(2), "zebra"), hit(guid(2), servent_id(1), "zebra.txt")),
    ];
    for (question, reply) in cases {
        let mut sut = Bench::new();
        let [a, b, c] = sut.links();
        sut.send(a, &question);
        sut.receive_asked(a);
        sut.receive_one(b);
        sut.receive_one(c);
        let reply = reply.ttl(4);
        sut.send(b, &reply);
        assert_eq!(sut.receive_one(a), reply.forwarded());
        sut.assert_quiet(b);
        sut.assert_quiet(c);
    }
}

/// P-25, P-49
#[test]
fn a_reply_to_nothing_is_dropped() {
    let mut sut = Bench::new();
    let [a, b, c] = sut.links();
    sut.send(a, &pong(guid(1), SOMEBODY.parse().unwrap()));
    sut.send(a, &vectors::load_descriptor("hit"));
    sut.send(a, &vectors::load_descriptor("gtkg-hit"));
    assert_eq!(sut.dropped(DropReason::NoRoute), 3);
    for peer in [a, b, c] {
        sut.assert_alive(peer);
    }
}

#[test]
fn a_reply_does_not_return_to_its_sender_and_does_not_outlive_the_asker() {
    let mut sut = Bench::new();
    let [a, b] = sut.links();
    sut.send(a, &query(guid(1), "zebra"));
    sut.receive_one(b);
    sut.send(a, &hit(guid(1), servent_id(1), "zebra.txt"));
    assert_eq!(sut.dropped(DropReason::BackToSource), 1);
    sut.assert_quiet(a);
    sut.net.hang_up(a);
    sut.net.settle();
    // The slot of the lost link has a new tenant, which asked for nothing.
    let late = sut.link();
    sut.send(b, &hit(guid(1), servent_id(1), "zebra.txt"));
    assert_eq!(sut.dropped(DropReason::LinkGone), 1);
    sut.assert_quiet(late);
}

#[test]
fn a_reply_at_the_end_of_its_ttl_stops() {
    let mut sut = Bench::new();
    let [a, b] = sut.links();
    sut.send(a, &query(guid(1), "zebra"));
    for ttl in [0, 1] {
        sut.send(b, &hit(guid(1), servent_id(1), "zebra.txt").ttl(ttl));
    }
    sut.send(b, &hit(guid(1), servent_id(1), "zebra.txt").hops(255));
    sut.assert_quiet(a);
    assert_eq!(sut.dropped(DropReason::TtlSpent), 2);
    assert_eq!(sut.dropped(DropReason::TtlTooHigh), 1);
}

/// P-53
#[test]
fn a_search_of_our_own_that_comes_back_is_dropped() {
    let mut sut = Bench::new();
    let [a, b] = sut.links();
    sut.tell(|core, now| core.search(now, "hello", None)).unwrap();
    let (mine, _) = (sut.receive_one(a), sut.receive_one(b));
    for back in [mine.clone(), mine.forwarded()] {
        sut.send(b, &back);
    }
    sut.assert_quiet(a);
    sut.assert_quiet(b);
    assert_eq!(sut.dropped(DropReason::OwnEcho), 2);
}

/// P-55
#[test]
fn an_unknown_kind_is_skipped_by_its_length_and_never_forwarded() {
    let mut sut = Bench::new();
    let [a, b] = sut.links();
    for code in [0x99, 0x10, 0x30, 0x31, 0x32, 0x41, 0xff] {
        sut.send(a, &Descriptor::new(guid(1), Kind::from_code(code), b"junk!".to_vec()));
    }
    sut.send(a, &vectors::load_descriptor("vendor-supported"));
    assert_eq!(sut.dropped(DropReason::UnknownKind), 8);
    sut.assert_quiet(b);
    sut.assert_alive(a);
}

/// What was not understood is forwarded byte for byte: GGEP, HUGE, trailers.
#[test]
fn extensions_survive_forwarding() {
    let mut sut = Bench::new();
    let [a, b] = sut.links();
    for name in ["gtkg-ping", "query-modern", "query"] {
        let question = vectors::load_descriptor(name);
        // The two Queries share a GUID.
        let question = Descriptor { guid: Guid(sut.net.fresh_id()), ..question };
        sut.wait_secs(2);
        sut.send(a, &question);
        assert_eq!(sut.receive_one(b), question.forwarded(), "{name}");
        let replies = match question.kind {
            Kind::Ping => vec!["gtkg-pong"],
            _ => vec!["gtkg-hit", "bun-hit", "hit-rich", "hit"],
        };
        sut.receive(a);
        for reply in replies {
            let reply = vectors::load_descriptor(reply).ttl(4);
            let reply = Descriptor { guid: question.guid, ..reply };
            sut.send(b, &reply);
            assert_eq!(sut.receive_one(a), reply.forwarded());
        }
    }
}

/// Descriptor copies of `kind` that crossed the network.
fn copies(net: &Net, kind: Kind) -> usize {
    net.observer.crossings.iter().filter(|crossing| crossing.descriptor.kind == kind).count()
}

/// With equal latencies a Query reaches exactly the nodes within its TTL.
#[test]
fn the_horizon_is_the_ball_of_radius_ttl() {
    let graphs = [Graph::line(12), Graph::ring(13), Graph::star(9), Graph::random(5, 40, 25)];
    for graph in graphs {
        let mut net = Net::of_graph(11, &graph, 7);
        for ttl in 1..=7 {
            let asked = |net: &Net, node| net.core(node).stats().delivered.get(Kind::Query);
            let before: Vec<_> = (0..graph.nodes).map(|node| asked(&net, node)).collect();
            net.tell(2, |core, now| core.search(now, "nobody has this", Some(ttl))).unwrap();
            net.settle();
            for (node, distance) in graph.distances(2).into_iter().enumerate() {
                let reached = asked(&net, node) - before[node];
                let due = u64::from((1..=usize::from(ttl)).contains(&distance));
                assert_eq!(reached, due, "node {node}, {distance} away, TTL {ttl}: {graph:?}");
            }
        }
    }
}

/// Every link carries the Query both ways, but for the N - 1 by which it came first.
#[test]
fn a_flood_costs_twice_the_links_less_a_tree() {
    let graphs = [Graph::line(6), Graph::ring(7), Graph::star(9), Graph::random(6, 60, 90)];
    for graph in graphs {
        let mut net = Net::of_graph(12, &graph, 15);
        net.tell(1, |core, now| core.search(now, "nobody has this", Some(15))).unwrap();
        net.settle();
        assert!(graph.distances(1).iter().all(|&distance| distance < 15));
        assert_eq!(copies(&net, Kind::Query), 2 * graph.edges.len() - (graph.nodes - 1));
    }
}

/// Several nodes search, ping and push in a random network, some bytes cut oddly.
fn busy_network(seed: u64) -> Net {
    let graph = Graph::random(seed, 30, 30);
    let mut net = Net::of_graph(seed, &graph, 5);
    net.params.split = true;
    for node in [0, 7, 14, 21] {
        net.tell(node, |core, now| core.search(now, "free notes", Some(5))).unwrap();
        net.tell(node, |core, now| core.ping(now, Some(4)));
        // More Pings at once would be throttled here and there, and go on by other links.
        net.run_for(Duration::from_secs(2));
    }
    // A scripted peer at node 3 pushes for a file of every servent.
    let outsider = net.dial(3);
    net.write(outsider, b"GNUTELLA CONNECT/0.4\n\n");
    net.write(outsider, &query(guid(9), "hello").bytes());
    net.settle();
    for node in 0..graph.nodes {
        let id = net.core(node).identity();
        let wish = push(guid(100 + u32::try_from(node).unwrap()), id, SOMEBODY.parse().unwrap());
        net.write(outsider, &wish.bytes());
    }
    net.settle();
    net
}

/// No rule is broken anywhere, as the taps see it.
#[test]
fn no_descriptor_breaks_the_rules_in_a_whole_network() {
    for seed in 1..=4 {
        let net = busy_network(seed);
        let mut rules: BTreeMap<Holder, NodeRules<Holder>> = BTreeMap::new();
        for crossing in &net.observer.crossings {
            let Crossing { from, to, ref descriptor, .. } = *crossing;
            let &Descriptor { guid, kind, ttl, hops, ref payload } = descriptor;
            let header = Header { guid, kind, ttl, hops, payload_len: 0 };
            let new = || NodeRules::new(Sources::First);
            let judged = rules.entry(from).or_insert_with(new).sent(to, &header, Some(payload));
            // The outsider may do what it likes.
            if let (Holder::Node(_), Err(violation)) = (from, judged) {
                panic!("{violation}: {crossing:?}");
            }
            rules.entry(to).or_insert_with(new).received(from, &header, Some(payload));
        }
        for kind in [Kind::Ping, Kind::Pong, Kind::Query, Kind::QueryHit, Kind::Push] {
            assert!(copies(&net, kind) > 20, "too few of {kind} to prove anything");
        }
    }
}

/// Nothing is lost and nothing counted twice, as far as counters can tell.
#[test]
fn every_copy_is_accounted_for() {
    for seed in 1..=4 {
        let net = busy_network(seed);
        let from_outside =
            net.observer.crossings.iter().filter(|c| matches!(c.from, Holder::Peer(_))).count();
        let to_outside =
            net.observer.crossings.iter().filter(|c| matches!(c.to, Holder::Peer(_))).count();
        let (mut copies_sent, mut copies_received) = (0, 0);
        for node in 0..30 {
            let stats = net.core(node).stats();
            assert_eq!(stats.dropped(DropReason::QueueFull), 0);
            let forwarded_only: u64 = [Kind::Pong, Kind::QueryHit, Kind::Push]
                .map(|k| stats.forwarded.get(k))
                .iter()
                .sum();
            let fates = stats.delivered.total() + forwarded_only + stats.dropped_total();
            assert_eq!(stats.received.total(), fates, "node {node}: {stats:?}");
            copies_sent += stats.forwarded.total() + stats.originated.total();
            copies_received += stats.received.total();
        }
        let crossed = net.observer.crossings.len();
        assert_eq!(usize::try_from(copies_sent).unwrap(), crossed - from_outside);
        assert_eq!(usize::try_from(copies_received).unwrap(), crossed - to_outside);
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let traces: Vec<_> = [3, 3, 4].map(|seed| busy_network(seed).trace()).into();
    assert_eq!(traces[0], traces[1]);
    assert_ne!(traces[1], traces[2]);
}
