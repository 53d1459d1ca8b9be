//! What changes where descriptors cross from one dialect to the other, byte by byte; and that nothing
//! changes between 0.4 links, with 0.6 beside them or not.

use crate::support::descriptor::{guid, hit, ping, pong, push, query, query_at_speed, servent_id};
use crate::support::modern::{HELLO, LEAF, ULTRAPEER};
use crate::support::{Bench, Descriptor, Holder, Net, shared_files};
use servent::config::{Config, Role};
use servent::net::Peer;
use servent::servent::Event;
use servent::transfer::download::Kept;
use servent::wire::{Dialect, Kind};
use std::time::Duration;

const URN: &[u8] = b"urn:sha1:VL2MMHO4YXUKFWV63YHTWSBM3GXKSQ2N";
/// GGEP with one extension, `M`.
const GGEP: &[u8] = &[0xc3, 0x81, b'M', 0x41, 4];

/// A 0.4 neighbour, another one, and an ultrapeer.
fn bridge() -> (Bench, Peer, Peer, Peer) {
    let mut sut = Bench::sharing(&[], |_| ());
    let [old, other] = sut.links();
    let ultrapeer = sut.modern(ULTRAPEER);
    (sut, old, other, ultrapeer)
}

fn extended(number: u32, speed: [u8; 2], extension: &[u8]) -> Descriptor {
    let mut query = query_at_speed(guid(number), speed, "zebra");
    query.payload.extend(extension);
    query
}

/// A hit with this between the NULs of its result, and this trailer.
fn rich_hit(number: u32, from: u8, extension: &[u8], trailer: &[u8]) -> Descriptor {
    let mut hit = hit(guid(number), servent_id(from), "zebra.txt");
    let end = hit.payload.len() - 16;
    hit.payload.splice(end..end, trailer.iter().copied());
    hit.payload.splice(end - 1..end - 1, extension.iter().copied());
    hit
}

#[test]
fn queries_change_their_speed_and_lose_ggep_towards_0_4() {
    let (mut sut, old, other, ultrapeer) = bridge();
    let huge = [URN, &[0x1c], GGEP].concat();
    for (number, came, went) in [
        (1, extended(1, [0, 0], b""), extended(1, [0x80, 0], b"")),
        (2, extended(2, [1, 0], b"urn:\0"), extended(2, [1, 0], b"urn:\0")),
        (3, extended(3, [0x88, 0x0a], &huge), extended(3, [0x88, 0x0a], &huge)),
    ] {
        sut.send(old, &came);
        assert_eq!(sut.receive_one(ultrapeer), went.forwarded().ttl(4), "{number}");
        assert_eq!(sut.receive_one(other), came.forwarded(), "0.4 to 0.4 is verbatim");
    }
    for (number, came, went) in [
        (4, extended(4, [0x80, 0], b""), extended(4, [1, 0], b"")),
        (5, extended(5, [0x88, 0x0a], &huge), extended(5, [1, 0], URN)),
        (6, extended(6, [1, 0], GGEP), extended(6, [1, 0], b"")),
        (7, extended(7, [0x64, 0], b"<x/>"), extended(7, [0x64, 0], b"<x/>")),
    ] {
        sut.send(ultrapeer, &came.clone().ttl(3));
        for peer in [old, other] {
            assert_eq!(sut.receive_one(peer), went.forwarded().ttl(2), "{number}");
        }
    }
    // Between two of 0.6, GGEP goes to those that read it.
    let (reads, does_not) = (sut.modern(ULTRAPEER), sut.modern("X-Ultrapeer: True\r\n"));
    sut.send(ultrapeer, &extended(8, [0x80, 0], &huge));
    assert_eq!(sut.receive_one(reads).payload, extended(8, [0x80, 0], &huge).payload);
    assert_eq!(sut.receive_one(does_not).payload, extended(8, [0x80, 0], URN).payload);
}

#[test]
fn hits_get_a_trailer_towards_0_6_and_lose_extensions_towards_0_4() {
    let (mut sut, old, other, ultrapeer) = bridge();
    let trailer = b"GTKG\x02\x2c\x21";
    sut.send(ultrapeer, &query(guid(1), "zebra"));
    sut.receive(old);
    sut.send(old, &rich_hit(1, 1, b"", b""));
    let bridged = rich_hit(1, 1, b"", b"BRDG\x02\0\0").forwarded();
    assert_eq!(sut.receive_one(ultrapeer), bridged);
    sut.send(old, &rich_hit(1, 2, b"", trailer));
    assert_eq!(sut.receive_one(ultrapeer), rich_hit(1, 2, b"", trailer).forwarded());

    let rich = [URN, &[0x1c], GGEP].concat();
    for (number, wants, left) in
        [(2, &b""[..], &b""[..]), (3, b"urn:", URN), (4, b"urn:sha1:\x1c", URN)]
    {
        sut.send(old, &extended(number, [1, 0], wants));
        sut.send(ultrapeer, &rich_hit(number, 3, &rich, trailer));
        assert_eq!(sut.receive_one(old), rich_hit(number, 3, left, trailer).forwarded());
        // Between 0.4 links, what the other servent sent stays.
        sut.receive(other);
        sut.send(other, &rich_hit(number, 4, &rich, b""));
        assert_eq!(sut.receive_one(old), rich_hit(number, 4, &rich, b"").forwarded());
    }
}

#[test]
fn a_push_finds_its_servent_across_and_is_cut_towards_0_4() {
    let (mut sut, old, other, ultrapeer) = bridge();
    let leaf = sut.leaf(&[HELLO]);
    sut.send(other, &query(guid(1), "hello"));
    for (peer, servent) in [(old, 1), (ultrapeer, 2), (leaf, 3)] {
        sut.receive(peer);
        sut.send(peer, &hit(guid(1), servent_id(servent), "hello"));
        sut.receive(other);
    }
    let addr = "127.0.0.9:1234".parse().unwrap();
    let long = |number, servent| {
        let mut push = push(guid(number), servent_id(servent), addr);
        push.payload.extend(GGEP);
        push
    };
    sut.send(ultrapeer, &long(2, 1));
    assert_eq!(sut.receive_one(old), push(guid(2), servent_id(1), addr).forwarded());
    sut.send(old, &long(3, 2));
    assert_eq!(sut.receive_one(ultrapeer), long(3, 2).forwarded());
    sut.send(ultrapeer, &long(4, 3));
    assert_eq!(sut.receive_one(leaf), long(4, 3).forwarded());
    // Between 0.4 links, whole.
    sut.send(other, &long(5, 1));
    assert_eq!(sut.receive_one(old), long(5, 1).forwarded());
}

#[test]
fn pings_and_pongs_are_plain_towards_0_4_and_pings_go_to_no_0_6_link() {
    let (mut sut, old, other, ultrapeer) = bridge();
    let second = sut.modern(ULTRAPEER);
    let mut asks = ping(guid(1));
    asks.payload = GGEP.to_vec();
    sut.send(ultrapeer, &asks);
    assert_eq!(sut.receive_one(ultrapeer).kind, Kind::Pong);
    for peer in [old, other] {
        assert_eq!(sut.receive_one(peer), ping(guid(1)).forwarded());
    }
    assert_eq!(sut.receive(second), []);
    let answer = pong(guid(1), "127.0.0.9:6346".parse().unwrap());
    sut.send(old, &answer);
    assert_eq!(sut.receive_one(ultrapeer), answer.forwarded());

    sut.wait_secs(80);
    let fresh = ping(guid(2));
    sut.send(old, &fresh);
    for peer in [ultrapeer, second] {
        assert_eq!(sut.receive_asked(peer), []);
    }
}

#[test]
fn a_flood_between_0_4_links_is_the_same_with_0_6_beside_it() {
    let traffic = |sut: &mut Bench, from: Peer| {
        for n in 0..20_u8 {
            let number = u32::from(n);
            sut.send(from, &extended(number, [n % 3, 0], &GGEP[..usize::from(n % 6)]));
            sut.send(from, &ping(guid(100 + number)));
        }
    };
    let mut seen = Vec::new();
    for modern in [false, true] {
        let mut sut = Bench::sharing(&[], |_| ());
        let [from, to] = sut.links();
        if modern {
            sut.modern(ULTRAPEER);
            sut.leaf(&[HELLO]);
        }
        traffic(&mut sut, from);
        seen.push((sut.read(to), sut.core().stats().work));
    }
    assert!(!seen[0].0.is_empty() && seen[0].0 == seen[1].0);
    assert!(seen[0].1 < seen[1].1, "those beside it cost something");
}

/// A classroom of 0.4 on one side, a 0.6 network with leaves on the other.
fn two_worlds() -> (Net, [usize; 4]) {
    let mut net = Net::new(5);
    // What crosses is read on the wires.
    let of_role = |role| Config { role, compress: false, ..Net::still() };
    let class = net.add(of_role(Role::Servent), &[(1, "blackboard.txt", b"chalk".to_vec())]);
    let [bridge, ultrapeer] = [(); 2].map(|()| net.add(of_role(Role::Servent), &[]));
    let leaf = net.add(of_role(Role::Leaf), &shared_files());
    for (from, to, dialect) in [
        (class, bridge, Dialect::V0_4),
        (bridge, ultrapeer, Dialect::V0_6),
        (leaf, ultrapeer, Dialect::V0_6),
    ] {
        let addr = net.addr(to);
        net.tell(from, |core, now| core.add_static_peer_speaking(now, addr, dialect));
    }
    net.run_for(Duration::from_secs(2));
    (net, [class, bridge, ultrapeer, leaf])
}

/// The hits that a search of `node` has brought within a minute.
fn finds(net: &mut Net, node: usize, words: &str) -> Vec<servent::servent::Hit> {
    net.tell(node, |core, now| core.search(now, words, None)).unwrap();
    net.run_for(Duration::from_secs(60));
    let events = net.events(node).into_iter();
    events.filter_map(|e| if let Event::Hit { hit, .. } = e { Some(hit) } else { None }).collect()
}

#[test]
fn a_classroom_of_0_4_and_a_leaf_of_0_6_find_and_fetch_each_others_files() {
    let (mut net, [class, _, ultrapeer, leaf]) = two_worlds();
    let tables = net.core(ultrapeer).modern_state().table_bytes;
    assert_eq!(tables, 2 * 8_192, "the leaf's, and the bridge's merged one");
    for (node, words, name, bytes) in [
        (class, "hello", "hello.txt", &b"hello"[..]),
        (leaf, "blackboard", "blackboard.txt", b"chalk"),
    ] {
        let hits = finds(&mut net, node, words);
        let names: Vec<_> = hits.iter().map(|hit| (&*hit.name, hit.hops)).collect();
        assert_eq!(names, [(name, 2)]);
        // As a firewalled servent would: by a Push along the way of the hit.
        let mut source = hits[0].clone().into_source();
        source.push.as_mut().unwrap().firewalled = true;
        net.tell(node, |core, now| core.download(now, source, Kept::default())).unwrap();
        net.run_for(Duration::from_secs(30));
        assert_eq!(net.downloads(node), [bytes]);
    }
    assert!(finds(&mut net, class, "nobody").is_empty());
    let crossings = net.observer.crossings.iter();
    let to_leaf = crossings.filter(|one| one.to == Holder::Node(leaf));
    let queries = to_leaf.filter(|one| one.descriptor.kind == Kind::Query).count();
    assert_eq!(queries, 1, "only what its table matches");
}

#[test]
fn a_leaf_without_ggep_gets_none() {
    let (mut sut, old, _, _) = bridge();
    let leaf = sut.modern(&LEAF.replace("GGEP: 0.5\r\n", ""));
    sut.send(leaf, &crate::support::modern::reset());
    sut.send(leaf, &crate::support::modern::patch(1, 1, &[HELLO]));
    let mut rich = query_at_speed(guid(1), [0, 0], "hello");
    rich.payload.extend(GGEP);
    sut.send(old, &rich);
    assert_eq!(sut.receive_one(leaf), query_at_speed(guid(1), [0x80, 0], "hello").forwarded());
}
