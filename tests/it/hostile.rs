//! Peers that mean harm: nothing panics, loops or grows, and the other links do not notice. The table
//! has a row for each way known from the field; what follows looks at some of them more closely. Rows
//! P-50, P-54 and P-56.

use crate::support::descriptor::{guid, hit, ping, pong, push, query, servent_id};
use crate::support::{Bench, CONNECT, Descriptor, Peer, vectors};
use proptest::prelude::*;
use servent::config::Scope;
use servent::servent::{CloseReason, Event};
use servent::stats::DropReason;
use servent::wire::{FrameError, Guid, Kind};
use std::net::SocketAddrV4;

/// What an attack must come to for the link it came by.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// It is closed.
    Closed,
    /// What it sent is dropped, and counted as this.
    Counted(DropReason),
    /// It may go on: it has got no more than its share.
    Tolerated,
}

/// A core with two neighbours that behave and one that is about not to.
struct Scene {
    sut: Bench,
    villain: Peer,
    friends: [Peer; 2],
    /// A search of our own that is under way.
    search: Guid,
    /// A Query of the first friend, passed on to the villain.
    asked: Guid,
}

impl Scene {
    fn new() -> Scene {
        let mut sut = Bench::with(|config| {
            config.max_links = 8;
            config.links = 2;
            let limits = &mut config.limits;
            limits.max_connections = 40;
            limits.host_cache_entries = 50;
            limits.results_per_search = 90;
            let tables = [
                &mut limits.ping_routes,
                &mut limits.query_routes,
                &mut limits.push_routes,
                &mut limits.servent_routes,
            ];
            tables.into_iter().for_each(|table| *table = 1_024);
        });
        let [villain, a, b] = sut.links();
        let search = sut.tell(|core, now| core.search(now, "hello", None)).unwrap();
        let asked = guid(1);
        sut.send(a, &query(asked, "zebra"));
        for peer in [villain, a, b] {
            sut.receive(peer);
        }
        Scene { sut, villain, friends: [a, b], search, asked }
    }

    /// The villain sends many descriptors, as many at a time as a read brings.
    fn storm(&mut self, count: u32, one: impl Fn(u32) -> Descriptor) {
        for begin in (0..count).step_by(100) {
            let some = begin..count.min(begin + 100);
            let bytes: Vec<u8> = some.flat_map(|n| one(n).bytes()).collect();
            self.sut.send_bytes(self.villain, &bytes);
        }
    }

    /// Somebody else connects, says this, and is closed within half a minute.
    fn stranger(&mut self, says: &[u8]) {
        let stranger = self.sut.dial();
        self.sut.send_bytes(stranger, says);
        for _ in 0..31 {
            self.sut.wait_secs(1);
            for friend in self.friends {
                let guid = Guid(self.sut.net.fresh_id());
                self.sut.send(friend, &ping(guid).ttl(1));
            }
        }
        assert!(self.sut.is_closed(stranger), "a stranger that says {} bytes", says.len());
    }

    fn assert_bounded(&self) {
        let (core, limits) = (self.sut.core(), &self.sut.core().config().limits);
        assert!(core.routes_held() <= 4 * 1_024, "{} routes", core.routes_held());
        assert!(core.hosts().len() <= limits.host_cache_entries);
        assert!(core.timers_held() <= limits.max_connections, "{} timers", core.timers_held());
        let victims = self.sut.net.dials.iter().filter(|dial| dial.addr.ip().octets()[1] == 66);
        assert!(victims.count() <= limits.pushes_in_all, "connections to victims");
    }

    /// The friends and we ourselves get what we would get without the villain.
    fn assert_others_are_served(&mut self, attack: &str) {
        let [a, b] = self.friends;
        self.sut.receive(a);
        self.sut.receive(b);
        self.sut.events();
        self.sut.send(b, &hit(self.asked, servent_id(1), "zebra.txt"));
        assert_eq!(self.sut.receive_one(a).kind, Kind::QueryHit, "{attack}: an old Query's hit");
        self.sut.send(a, &query(guid(2), "giraffe"));
        assert_eq!(self.sut.receive_one(b).guid, guid(2), "{attack}: a Query");
        self.sut.send(b, &hit(guid(2), servent_id(2), "giraffe.txt"));
        assert_eq!(self.sut.receive_one(a).guid, guid(2), "{attack}: its hit");
        self.sut.send(a, &push(guid(3), servent_id(2), "127.0.0.9:7000".parse().unwrap()));
        assert_eq!(self.sut.receive_one(b).kind, Kind::Push, "{attack}: a Push for its hit");
        self.sut.send(b, &hit(self.search, servent_id(3), "hello.txt"));
        let ours = |event: &Event| matches!(event, Event::Hit { .. });
        assert_eq!(self.sut.events().iter().filter(|event| ours(event)).count(), 1, "{attack}");
    }
}

/// Somebody the attacker has chosen.
fn victim(n: u32) -> SocketAddrV4 {
    let [.., high, low] = n.to_be_bytes();
    SocketAddrV4::new([127, 66, high, low].into(), 7_000)
}

/// A name for each row, what the villain does, and what that comes to. S and a number: the list of
/// security problems of the protocol in the field's literature.
type Attack = (&'static str, fn(&mut Scene), Fate);

const ATTACKS: [Attack; 22] = [
    (
        "S1: more Queries than anybody can want",
        |scene| scene.storm(20_000, |n| query(guid(10_000 + n), "nobody has this")),
        Fate::Tolerated,
    ),
    (
        "S1, S11: the same Query again and again",
        |scene| scene.storm(5_000, |_| query(guid(77), "nobody has this")),
        Fate::Counted(DropReason::Duplicate),
    ),
    (
        "S2: Pings without end",
        |scene| scene.storm(5_000, |n| ping(guid(10_000 + n))),
        Fate::Counted(DropReason::PingThrottled),
    ),
    (
        "S2: Pongs to no Ping",
        |scene| scene.storm(5_000, |n| pong(guid(10_000 + n), victim(n))),
        Fate::Counted(DropReason::NoRoute),
    ),
    (
        "S3: Pushes to one victim",
        |scene| {
            let us = scene.sut.core().identity();
            scene.storm(500, |n| push(guid(10_000 + n), us, victim(1)));
        },
        Fate::Counted(DropReason::PushThrottled),
    ),
    (
        "S3: Pushes to many victims",
        |scene| {
            let us = scene.sut.core().identity();
            scene.storm(500, |n| push(guid(10_000 + n), us, victim(n)));
        },
        Fate::Counted(DropReason::PushThrottled),
    ),
    (
        "S3: Pushes to where no Push may lead",
        |scene| {
            let us = scene.sut.core().identity();
            let nowhere = SocketAddrV4::new([224, 66, 0, 1].into(), 7_000);
            scene.storm(50, |n| push(guid(10_000 + n), us, nowhere));
        },
        Fate::Counted(DropReason::OutOfScope),
    ),
    (
        "S3, S7: Pongs that name victims",
        |scene| {
            let asked = scene.sut.tell(|core, now| core.ping(now, None));
            scene.storm(5_000, |n| pong(asked, victim(n)));
            scene.sut.wait_secs(10);
        },
        Fate::Tolerated,
    ),
    (
        "S7: Pongs that name nobody",
        |scene| {
            let asked = guid(10_000);
            scene.sut.wait_secs(1);
            scene.sut.send(scene.friends[0], &ping(asked));
            let nobody = SocketAddrV4::new([0, 0, 0, 0].into(), 0);
            scene.storm(500, |_| pong(asked, nobody));
        },
        Fate::Counted(DropReason::OutOfScope),
    ),
    (
        "S4: hits to nothing that was asked",
        |scene| scene.storm(5_000, |n| hit(guid(10_000 + n), servent_id(9), "bait.exe")),
        Fate::Counted(DropReason::NoRoute),
    ),
    (
        "S4: hits in our own name",
        |scene| {
            let (us, asked) = (scene.sut.core().identity(), scene.asked);
            scene.storm(500, |_| hit(asked, us, "bait.exe"));
        },
        Fate::Counted(DropReason::ForgedHit),
    ),
    (
        "S4: the same hit again and again",
        |scene| {
            let search = scene.search;
            scene.storm(5_000, |_| hit(search, servent_id(9), "bait.exe"));
        },
        Fate::Counted(DropReason::RepeatedHit),
    ),
    (
        "S4: more results than anybody can want",
        |scene| {
            let search = scene.search;
            scene.storm(5_000, |n| hit(search, servent_id(9), &format!("bait {n}.exe")));
        },
        Fate::Counted(DropReason::TooManyResults),
    ),
    (
        "S6: a TTL that no network needs",
        |scene| scene.storm(500, |n| query(guid(10_000 + n), "far").ttl(255)),
        Fate::Counted(DropReason::TtlTooHigh),
    ),
    (
        "S8: the GUID of somebody else's Query",
        |scene| {
            let asked = scene.asked;
            scene.storm(100, |_| query(asked, "mine now"));
        },
        Fate::Counted(DropReason::Duplicate),
    ),
    (
        "S8: servent ids without end",
        |scene| {
            let asked = scene.asked;
            scene.storm(20_000, |n| hit(asked, servent::wire::ServentId(guid(n).0), "bait.exe"));
        },
        Fate::Tolerated,
    ),
    (
        "S9: a payload of 4 GiB",
        |scene| {
            let mut bytes = query(guid(10_000), "").bytes();
            bytes[19..23].fill(0xff);
            scene.sut.send_bytes(scene.villain, &bytes);
        },
        Fate::Closed,
    ),
    (
        "S14: a length that makes text a header",
        |scene| {
            let mut bytes = query(guid(10_000), &"x".repeat(200)).bytes();
            bytes[19] = 3;
            scene.sut.send_bytes(scene.villain, &bytes);
        },
        Fate::Closed,
    ),
    (
        "S9: what is no payload of its kind",
        |scene| scene.storm(500, |n| Descriptor::new(guid(n), Kind::QueryHit, vec![255; 40])),
        Fate::Counted(DropReason::Malformed),
    ),
    (
        "S9: coming and going",
        |scene| {
            for _ in 0..2_000 {
                let stranger = scene.sut.dial();
                scene.sut.send_bytes(stranger, CONNECT);
                scene.sut.net.reset(stranger);
                scene.sut.net.settle();
            }
        },
        Fate::Tolerated,
    ),
    (
        "S9: strangers that say little or nothing",
        |scene| {
            for said in [&b""[..], b"GNUTELLA CONN", b"GET /", b"GIV 7:"] {
                scene.stranger(said);
            }
        },
        Fate::Tolerated,
    ),
    (
        "S10: requests that do not end",
        |scene| {
            let many = [&b"GET /get/1/x HTTP/1.1\r\n"[..], &b"X-Y: z\r\n".repeat(20_000)].concat();
            scene.stranger(&many);
            scene.stranger(&b"GET /get/1/hello.txt HTTP/1.1\r\nHost: x\r\n\r\n".repeat(20_000));
            scene.stranger(&[b"GET /", &b"../".repeat(30_000)[..]].concat());
        },
        Fate::Tolerated,
    ),
];

#[test]
fn every_attack_costs_the_attacker_and_nobody_else() {
    for (name, act, fate) in ATTACKS {
        let mut scene = Scene::new();
        act(&mut scene);
        scene.assert_bounded();
        let closed = scene.sut.is_closed(scene.villain);
        match fate {
            Fate::Closed => assert!(closed, "{name}: the link stands"),
            Fate::Tolerated => {}
            Fate::Counted(reason) => {
                assert!(scene.sut.dropped(reason) >= 40, "{name}: {}", scene.sut.dropped(reason));
                assert!(!closed, "{name}: closed");
            }
        }
        scene.assert_others_are_served(name);
    }
}

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

/// Tables are bounded by count, whatever the peer invents.
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

/// Whoever feeds us addresses does not decide how fast we dial.
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
    let dials =
        sut.net.dials.iter().filter(|dial| dial.addr.ip().octets() == [127, 9, 9, 9]).count();
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
    assert_eq!(sut.net.dials.len(), 4, "in one window");
    sut.send(peer, &ping(guid(1)).ttl(1));
    sut.wait_secs(16);
    assert_eq!(sut.net.dials.len(), 8, "in the next");
}

/// It would be dialled if nobody claimed to listen there.
#[test]
fn a_neighbour_cannot_pass_for_a_named_host() {
    let mut sut = Bench::new();
    let liar = sut.link();
    let asked = sut.tell(|core, now| core.ping(now, Some(1)));
    let named = SocketAddrV4::new(*sut.core().neighbours().next().unwrap().addr.ip(), 6346);
    sut.send(liar, &pong(asked, named));
    sut.tell(|core, now| core.keep(now, named));
    sut.wait_secs(1);
    assert!(sut.net.dials.iter().any(|dial| dial.addr == named), "{named} was not dialled");
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

/// A core with two links, one of which is about to misbehave.
fn attack(bytes: &[u8]) {
    let mut sut = Bench::with(|config| config.background_pings = true);
    let [villain, bystander] = sut.links();
    sut.tell(|core, now| core.search(now, "hello", None)).unwrap();
    sut.read(bystander);
    sut.net.split_oddly = true;
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
        sut.net.split_oddly = true;
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
