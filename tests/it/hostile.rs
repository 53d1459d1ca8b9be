//! Peers that mean harm: nothing panics, loops or grows, and the other links do not notice. `table` has
//! a row for each way known from the field; what follows looks at some of them more closely. Rows P-50,
//! P-54 and P-56.

mod http;
mod modern;
mod table;

use crate::support::descriptor::{guid, hit, ping, pong, push, query, servent_id};
use crate::support::{Bench, CONNECT, Descriptor, Peer, vectors};
use proptest::prelude::*;
use servent::config::Scope;
use servent::servent::{CloseReason, Event};
use servent::stats::DropReason;
use servent::wire::{FrameError, Guid, Kind};
use std::net::SocketAddrV4;

/// P-54
#[test]
fn a_length_nobody_can_mean_closes_the_link_before_any_payload() {
    for announced in [65_537, u32::MAX] {
        let mut sut = Bench::new();
        let [a, b] = sut.links();
        let mut header = query(guid(1), "").bytes();
        header[19..23].copy_from_slice(&announced.to_le_bytes());
        sut.send_bytes(a, &header[..23]);
        assert_eq!((sut.read(a), sut.is_closed(a)), (vec![], true));
        let lost = CloseReason::Frame(FrameError::PayloadTooLong { kind: Kind::Query, announced });
        let down =
            |event: &Event| matches!(event, Event::LinkDown { reason, .. } if *reason == lost);
        assert!(sut.events().iter().any(down));
        sut.assert_alive(b);
    }
}

/// P-56
#[test]
fn unknown_kinds_are_counted_and_tolerated() {
    let mut sut = Bench::new();
    let peer = sut.link();
    for _ in 0..30 {
        sut.send(peer, &Descriptor::new(guid(1), Kind::Other(0x99), vec![0; 5]));
    }
    assert_eq!(sut.dropped(DropReason::UnknownKind), 30);
    sut.assert_alive(peer);
}

#[test]
fn the_largest_descriptor_is_taken_and_its_kind_decides() {
    let mut sut = Bench::new();
    let [a, b] = sut.links();
    sut.send(b, &query(guid(1), "zebra"));
    sut.receive_one(a);
    let mut largest = hit(guid(1), servent_id(1), "zebra.txt");
    let at = largest.payload.len() - 16;
    let trailer = vec![0; 65_536 - largest.payload.len()];
    largest.payload.splice(at..at, trailer);
    sut.send(a, &largest);
    assert_eq!(sut.receive_one(b), largest.forwarded());
    for kind in [Kind::Ping, Kind::Pong, Kind::Push, Kind::Query, Kind::Bye] {
        sut.send(a, &Descriptor::new(guid(2), kind, vec![1; 65_536]));
    }
    assert_eq!(sut.dropped(DropReason::Malformed), 5);
    sut.assert_quiet(b);
    sut.assert_alive(a);
}

/// Tables are bounded by count for any input.
#[test]
fn a_storm_of_fresh_guids_fills_no_table_beyond_its_limit() {
    let mut sut = Bench::with(|config| {
        let limits = &mut config.limits;
        limits.ping_routes = 500;
        limits.query_routes = 500;
        limits.push_routes = 500;
        limits.servent_routes = 500;
    });
    let [a, b] = sut.links();
    let caller: SocketAddrV4 = "127.0.0.9:1".parse().unwrap();
    for batch in 0..100 {
        let mut bytes = Vec::new();
        for n in 0..100 {
            let n = batch * 100 + n;
            let id = servent::wire::ServentId(guid(n).0);
            bytes.extend(query(guid(n), "nobody has this").bytes());
            bytes.extend(ping(guid(n)).ttl(1).bytes());
            bytes.extend(push(guid(n), servent_id(1), caller).bytes());
            bytes.extend(hit(guid(n.wrapping_sub(1)), id, "x").bytes());
        }
        sut.send_bytes(a, &bytes);
        assert!(sut.core().routes_held() <= 2_000, "{} routes held", sut.core().routes_held());
        sut.wait_secs(1);
        sut.receive(b);
    }
    assert!(sut.core().routes_held() > 500, "the storm did fill tables");
}

#[test]
fn addresses_offered_without_end_fill_no_more_than_the_host_cache() {
    let mut sut = Bench::with(|config| config.limits.host_cache_entries = 100);
    let peer = sut.link();
    let asked = sut.tell(|core, now| core.ping(now, None));
    for n in 0..2_000_u16 {
        let [high, low] = n.to_be_bytes();
        sut.send(peer, &pong(asked, SocketAddrV4::new([127, 3, high, low].into(), 6346)));
    }
    assert_eq!(sut.core().hosts().len(), 100);
}

/// Nor do those that begin a request, or are done with one: newcomers are let in.
#[test]
fn strangers_with_requests_make_way_for_newcomers() {
    for says in [&b"GET "[..], b"GET /get/1/nothing HTTP/1.1\r\nHost: x\r\n\r\n"] {
        let mut sut = Bench::with(|config| {
            config.scope = Scope::Private;
            config.limits.max_connections = 40;
            config.max_links = 8;
        });
        for n in 0..700_u16 {
            let [high, low] = n.to_be_bytes();
            let stranger = sut.net.dial_from([10, 5, high, low].into(), 0);
            sut.send_bytes(stranger, says);
        }
        // A peer with an upload slot stays.
        let fetcher = sut.net.dial_from([10, 6, 0, 1].into(), 0);
        sut.net.stop_reading(fetcher);
        sut.send_bytes(fetcher, b"GET /get/8/free%20bsd%20notes.txt HTTP/1.1\r\nHost: x\r\n\r\n");
        for n in 0..100 {
            let stranger = sut.net.dial_from([10, 7, 0, n].into(), 0);
            sut.send_bytes(stranger, says);
        }
        let newcomer = sut.net.dial_from([10, 8, 0, 1].into(), 0);
        sut.send_bytes(newcomer, CONNECT);
        assert_eq!(sut.core().neighbours().count(), 1, "{:?}", String::from_utf8_lossy(says));
    }
}

/// Strangers that say nothing hold a bounded number of sockets for a bounded time.
#[test]
fn strangers_cannot_hold_all_sockets_for_long() {
    let mut sut = Bench::with(|config| {
        config.limits.max_connections = 40;
        config.max_links = 8;
    });
    let link = sut.link();
    let strangers: Vec<_> = (0..60).map(|_| sut.dial()).collect();
    sut.wait_secs(1);
    let open = |sut: &Bench| strangers.iter().filter(|&&peer| !sut.is_closed(peer)).count();
    assert_eq!(open(&sut), 39, "the longest silent made way");
    sut.assert_alive(link);
    sut.link();
    sut.wait_secs(21);
    assert_eq!(open(&sut), 0);
}

/// A peer that feeds us addresses does not decide how fast we dial.
#[test]
fn a_neighbour_cannot_make_us_a_port_scanner() {
    let mut sut = Bench::with(|config| config.links = 4);
    let peer = sut.link();
    let asked = sut.tell(|core, now| core.ping(now, None));
    for round in 0..10_u16 {
        for n in 0..50 {
            let victim = SocketAddrV4::new([127, 9, 9, 9].into(), 1 + round * 50 + n);
            sut.send(peer, &pong(asked, victim));
        }
        sut.wait_secs(1);
    }
    let dials = sut
        .net
        .observer
        .dials
        .iter()
        .filter(|dial| dial.addr.ip().octets() == [127, 9, 9, 9])
        .count();
    assert!((1..=16).contains(&dials), "{dials} dials in ten seconds");
}

/// Where addresses tell peers apart.
#[test]
fn one_address_gets_a_part_of_the_sockets_and_links_only() {
    let mut sut = Bench::with(|config| {
        config.scope = Scope::Private;
        config.limits.connections_per_address = 12;
        config.limits.links_per_address = 3;
    });
    let greedy = [10, 1, 1, 1].into();
    let dials: Vec<Peer> = (0..20).map(|_| sut.net.dial_from(greedy, 0)).collect();
    assert_eq!(dials.iter().filter(|peer| !sut.is_closed(**peer)).count(), 12);
    for &peer in &dials[..6] {
        sut.send_bytes(peer, CONNECT);
    }
    let linked = |sut: &Bench| sut.core().neighbours().count();
    assert_eq!(linked(&sut), 3);
    assert_eq!(dials[..12].iter().filter(|peer| !sut.is_closed(**peer)).count(), 9);
    let other = sut.net.dial_from([10, 1, 1, 2].into(), 0);
    sut.send_bytes(other, CONNECT);
    assert_eq!(linked(&sut), 4);
    // Room that was given back can be had again.
    sut.net.reset(dials[0]);
    sut.net.settle();
    let again = sut.net.dial_from(greedy, 0);
    sut.send_bytes(again, CONNECT);
    assert_eq!(linked(&sut), 4);
}

#[test]
fn many_ports_of_one_address_are_one_victim() {
    let mut sut = Bench::with(|config| {
        config.links = 4;
        config.scope = Scope::Private;
    });
    let peer = sut.link();
    let asked = sut.tell(|core, now| core.ping(now, None));
    for port in 1..200 {
        sut.send(peer, &pong(asked, SocketAddrV4::new([10, 9, 9, 9].into(), port)));
    }
    sut.wait_secs(15);
    assert_eq!(sut.net.observer.dials.len(), 4, "in one window");
    sut.send(peer, &ping(guid(1)).ttl(1));
    sut.wait_secs(16);
    assert_eq!(sut.net.observer.dials.len(), 8, "in the next");
}

/// It would be dialled if no other peer claimed to listen there.
#[test]
fn a_neighbour_cannot_pass_for_a_named_host() {
    let mut sut = Bench::new();
    let liar = sut.link();
    let asked = sut.tell(|core, now| core.ping(now, Some(1)));
    let named = SocketAddrV4::new(*sut.core().neighbours().next().unwrap().addr.ip(), 6346);
    sut.send(liar, &pong(asked, named));
    sut.tell(|core, now| core.add_static_peer(now, named));
    sut.wait_secs(1);
    assert!(
        sut.net.observer.dials.iter().any(|dial| dial.addr == named),
        "{named} was not dialled"
    );
}

/// Names longer than any file system has are not worth our memory.
#[test]
fn a_result_with_an_endless_name_is_left_out() {
    let mut sut = Bench::new();
    let peer = sut.link();
    let search = sut.tell(|core, now| core.search(now, "hello", None)).unwrap();
    sut.events();
    sut.send(peer, &hit(search, servent_id(1), &"x".repeat(60_000)));
    sut.send(peer, &hit(search, servent_id(1), "hello.txt"));
    let names: Vec<String> = sut
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::Hit { hit, .. } => Some(hit.name),
            _ => None,
        })
        .collect();
    assert_eq!(names, ["hello.txt"]);
}

/// A servent with two links, one of which is about to misbehave.
fn attack(bytes: &[u8]) {
    let mut sut = Bench::with(|config| config.background_pings = true);
    let [villain, bystander] = sut.links();
    sut.tell(|core, now| core.search(now, "hello", None)).unwrap();
    sut.read(bystander);
    sut.net.params.split = true;
    sut.send_bytes(villain, bytes);
    sut.wait_secs(2);
    sut.receive(bystander);
    let guid = Guid(sut.net.fresh_id());
    sut.send(bystander, &ping(guid).ttl(1));
    assert_eq!(sut.receive_one(bystander).guid, guid);
}

#[test]
fn every_truncated_payload_is_survived() {
    for (_, descriptor) in vectors::descriptors() {
        let shorter =
            |len| Descriptor { payload: descriptor.payload[..len].to_vec(), ..descriptor.clone() };
        let all = (0..descriptor.payload.len()).rev().flat_map(|len| shorter(len).bytes());
        attack(&all.collect::<Vec<_>>());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(96) })]

    #[test]
    fn noise_on_a_link_is_survived(noise in prop::collection::vec(any::<u8>(), 0..2_000)) {
        attack(&noise);
    }

    /// Real descriptors, with a few bytes changed: what noise does not reach.
    #[test]
    fn damaged_descriptors_are_survived(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
    ) {
        let mut stream: Vec<u8> =
            vectors::descriptors().iter().flat_map(|(_, descriptor)| descriptor.bytes()).collect();
        for (at, byte) in damage {
            let at = at.index(stream.len());
            stream[at] = byte;
        }
        attack(&stream);
    }

    /// First lines of every protocol the port speaks, and then anything.
    #[test]
    fn strangers_may_say_anything(
        opening in prop::sample::select(vec![CONNECT, b"GET /get/7/", b"HEAD /", b"GIV 7:", b"GNUTELLA", b""]),
        rest in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'\n'), Just(b'\r')], 0..600),
    ) {
        let mut sut = Bench::new();
        sut.net.params.split = true;
        let link = sut.link();
        let stranger = sut.dial();
        sut.send_bytes(stranger, &[opening, &rest].concat());
        sut.wait_secs(100);
        prop_assert!(sut.is_closed(stranger));
        prop_assert!(sut.is_closed(link), "nothing was heard of it for 90 seconds");
        sut.link();
    }

    /// The side we dial may answer anything.
    #[test]
    fn answers_may_be_anything(answer in prop::collection::vec(any::<u8>(), 1..300), close in any::<bool>()) {
        let mut sut = Bench::new();
        let peer = sut.dialled();
        sut.send_bytes(peer, &answer);
        if close {
            sut.net.hang_up(peer);
        }
        sut.wait_secs(21);
        prop_assert!(sut.is_closed(peer));
        prop_assert_eq!(sut.read(peer), b"");
    }
}
