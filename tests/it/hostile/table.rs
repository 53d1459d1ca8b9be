//! The attack table: what each attack comes to, what it may cost, and what others still get.

use crate::support::descriptor::{guid, hit, ping, pong, push, query, servent_id};
use crate::support::{Bench, CONNECT, Descriptor, Peer, shared_files};
use servent::servent::Event;
use servent::stats::DropReason;
use servent::wire::{Guid, Kind};
use std::net::SocketAddrV4;

/// What an attack must come to for the link it came by.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fate {
    /// It is closed.
    Closed,
    /// What it sent is dropped, and counted as this.
    Counted(DropReason),
    /// It may go on: it has got no more than its share.
    Tolerated,
}

/// A servent with two honest neighbours and a hostile one.
pub(super) struct Fixture {
    pub(super) sut: Bench,
    pub(super) villain: Peer,
    friends: [Peer; 2],
    /// A search of our own that is under way.
    search: Guid,
    /// A Query of the first friend, passed on to the villain.
    asked: Guid,
    /// Bytes that the villain sent in storms.
    sent: usize,
}

impl Fixture {
    fn new() -> Fixture {
        let names: Vec<String> = (0..300).map(|n| format!("dear {n}.txt")).collect();
        let dear = names.iter().zip(100..).map(|(name, n)| (n, name.as_str(), vec![0]));
        let files: Vec<_> = shared_files().into_iter().chain(dear).collect();
        let mut sut = Bench::sharing(&files, |config| {
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
        Fixture { sut, villain, friends: [a, b], search, asked, sent: 0 }
    }

    /// The villain sends many descriptors, as many at a time as a read brings.
    pub(super) fn storm(&mut self, count: u32, one: impl Fn(u32) -> Descriptor) {
        for begin in (0..count).step_by(100) {
            let some = begin..count.min(begin + 100);
            let bytes: Vec<u8> = some.flat_map(|n| one(n).bytes()).collect();
            self.sent += bytes.len();
            self.sut.send_bytes(self.villain, &bytes);
        }
    }

    /// A stranger connects, sends this, and is closed within half a minute.
    pub(super) fn stranger(&mut self, says: &[u8]) {
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

    /// The villain has a link of 0.6 instead.
    pub(super) fn becomes(&mut self, headers: &str) {
        self.villain = self.sut.modern(headers);
        self.sut.receive(self.villain);
    }

    fn assert_bounded(&self) {
        let (core, limits) = (self.sut.core(), &self.sut.core().config().limits);
        assert!(core.routes_held() <= 4 * 1_024, "{} routes", core.routes_held());
        assert!(core.hosts().len() <= limits.host_cache_entries);
        assert!(core.timers_held() <= limits.max_connections, "{} timers", core.timers_held());
        let victims =
            self.sut.net.observer.dials.iter().filter(|dial| dial.addr.ip().octets()[1] == 66);
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

/// An address the attacker has chosen.
pub(super) fn victim(n: u32) -> SocketAddrV4 {
    let [.., high, low] = n.to_be_bytes();
    SocketAddrV4::new([127, 66, high, low].into(), 7_000)
}

/// A name for each row, what the villain does, what that comes to, and the units of work each KiB it
/// sends may cost: half as much again as it does. Whatever does not go through links is counted as
/// one KiB, in which the friends' signs of life are. S and a number: the list of security problems of the protocol in the field's literature.
pub(super) type Attack = (&'static str, fn(&mut Fixture), Fate, u64);

const ATTACKS: [Attack; 28] = [
    (
        "S1: more Queries than anybody can want",
        |fixture| fixture.storm(20_000, |n| query(guid(10_000 + n), "nobody has this")),
        Fate::Tolerated,
        600,
    ),
    (
        "S1, S11: the same Query again and again",
        |fixture| fixture.storm(5_000, |_| query(guid(77), "nobody has this")),
        Fate::Counted(DropReason::Duplicate),
        450,
    ),
    (
        "S2: Pings without end",
        |fixture| fixture.storm(5_000, |n| ping(guid(10_000 + n))),
        Fate::Counted(DropReason::PingThrottled),
        800,
    ),
    (
        "S2: Pongs to no Ping",
        |fixture| fixture.storm(5_000, |n| pong(guid(10_000 + n), victim(n))),
        Fate::Counted(DropReason::NoRoute),
        500,
    ),
    (
        "S3: Pushes to one victim",
        |fixture| {
            let us = fixture.sut.core().identity();
            fixture.storm(500, |n| push(guid(10_000 + n), us, victim(1)));
        },
        Fate::Counted(DropReason::PushThrottled),
        850,
    ),
    (
        "S3: Pushes to many victims",
        |fixture| {
            let us = fixture.sut.core().identity();
            fixture.storm(500, |n| push(guid(10_000 + n), us, victim(n)));
        },
        Fate::Counted(DropReason::PushThrottled),
        3_400,
    ),
    (
        "S3: Pushes to where no Push may lead",
        |fixture| {
            let us = fixture.sut.core().identity();
            let nowhere = SocketAddrV4::new([224, 66, 0, 1].into(), 7_000);
            fixture.storm(50, |n| push(guid(10_000 + n), us, nowhere));
        },
        Fate::Counted(DropReason::OutOfScope),
        400,
    ),
    (
        "S3, S7: Pongs that name victims",
        |fixture| {
            let asked = fixture.sut.tell(|core, now| core.ping(now, None));
            fixture.storm(5_000, |n| pong(asked, victim(n)));
            fixture.sut.wait_secs(10);
        },
        Fate::Tolerated,
        850,
    ),
    (
        "S7: Pongs that name nobody",
        |fixture| {
            let asked = guid(10_000);
            fixture.sut.wait_secs(1);
            fixture.sut.send(fixture.friends[0], &ping(asked));
            let nobody = SocketAddrV4::new([0, 0, 0, 0].into(), 0);
            fixture.storm(500, |_| pong(asked, nobody));
        },
        Fate::Counted(DropReason::OutOfScope),
        2_200,
    ),
    (
        "S4: hits to nothing that was asked",
        |fixture| fixture.storm(5_000, |n| hit(guid(10_000 + n), servent_id(9), "bait.exe")),
        Fate::Counted(DropReason::NoRoute),
        300,
    ),
    (
        "S4: hits in our own name",
        |fixture| {
            let (us, asked) = (fixture.sut.core().identity(), fixture.asked);
            fixture.storm(500, |_| hit(asked, us, "bait.exe"));
        },
        Fate::Counted(DropReason::ForgedHit),
        300,
    ),
    (
        "S4: the same hit again and again",
        |fixture| {
            let search = fixture.search;
            fixture.storm(5_000, |_| hit(search, servent_id(9), "bait.exe"));
        },
        Fate::Counted(DropReason::RepeatedHit),
        300,
    ),
    (
        "S4: more results than anybody can want",
        |fixture| {
            let search = fixture.search;
            fixture.storm(5_000, |n| hit(search, servent_id(9), &format!("bait {n}.exe")));
        },
        Fate::Counted(DropReason::TooManyResults),
        300,
    ),
    (
        "S6: a TTL that no network needs",
        |fixture| fixture.storm(500, |n| query(guid(10_000 + n), "far").ttl(255)),
        Fate::Counted(DropReason::TtlTooHigh),
        650,
    ),
    (
        "S8: the GUID of somebody else's Query",
        |fixture| {
            let asked = fixture.asked;
            fixture.storm(100, |_| query(asked, "mine now"));
        },
        Fate::Counted(DropReason::Duplicate),
        550,
    ),
    (
        "S8: servent ids without end",
        |fixture| {
            let asked = fixture.asked;
            fixture.storm(20_000, |n| hit(asked, servent::wire::ServentId(guid(n).0), "bait.exe"));
        },
        Fate::Tolerated,
        400,
    ),
    (
        "S9: a payload of 4 GiB",
        |fixture| {
            let mut bytes = query(guid(10_000), "").bytes();
            bytes[19..23].fill(0xff);
            fixture.sut.send_bytes(fixture.villain, &bytes);
        },
        Fate::Closed,
        50,
    ),
    (
        "S14: a length that makes text a header",
        |fixture| {
            let mut bytes = query(guid(10_000), &"x".repeat(200)).bytes();
            bytes[19] = 3;
            fixture.sut.send_bytes(fixture.villain, &bytes);
        },
        Fate::Closed,
        50,
    ),
    (
        "S9: what is no payload of its kind",
        |fixture| fixture.storm(500, |n| Descriptor::new(guid(n), Kind::QueryHit, vec![255; 40])),
        Fate::Counted(DropReason::Malformed),
        350,
    ),
    (
        "S9: coming and going",
        |fixture| {
            for _ in 0..2_000 {
                let stranger = fixture.sut.dial();
                fixture.sut.send_bytes(stranger, CONNECT);
                fixture.sut.net.reset(stranger);
                fixture.sut.net.settle();
            }
        },
        Fate::Tolerated,
        50,
    ),
    (
        "S9: strangers that say little or nothing",
        |fixture| {
            for said in [&b""[..], b"GNUTELLA CONN", b"GET /", b"GIV 7:"] {
                fixture.stranger(said);
            }
        },
        Fate::Tolerated,
        10_000,
    ),
    (
        "S10: requests that do not end",
        |fixture| {
            let many = [&b"GET /get/1/x HTTP/1.1\r\n"[..], &b"X-Y: z\r\n".repeat(20_000)].concat();
            fixture.stranger(&many);
            fixture.stranger(&b"GET /get/1/hello.txt HTTP/1.1\r\nHost: x\r\n\r\n".repeat(20_000));
            fixture.stranger(&[b"GET /", &b"../".repeat(30_000)[..]].concat());
        },
        Fate::Tolerated,
        8_000,
    ),
    (
        "dear answers",
        |fixture| fixture.storm(2_000, |n| query(guid(10_000 + n), "dear").ttl(1)),
        Fate::Tolerated,
        115_000,
    ),
    (
        "dear answers that are never read",
        |fixture| {
            fixture.sut.net.stop_reading(fixture.villain);
            fixture.storm(5_000, |n| query(guid(10_000 + n), "dear").ttl(1));
            fixture.sut.net.read_again(fixture.villain);
        },
        Fate::Tolerated,
        3_000,
    ),
    (
        "search texts of 4 KB that unfold",
        |fixture| fixture.storm(500, |n| query(guid(10_000 + n), &"\u{3316}".repeat(1_360))),
        Fate::Counted(DropReason::QueryTooLong),
        60,
    ),
    (
        "search texts of 255 bytes that unfold",
        |fixture| fixture.storm(2_000, |n| query(guid(10_000 + n), &"\u{3316}".repeat(85))),
        Fate::Tolerated,
        6_000,
    ),
    (
        "S2: Pongs to a Ping of ours, without end",
        |fixture| {
            let asked = fixture.sut.tell(|core, now| core.ping(now, None));
            fixture.storm(5_000, |n| pong(asked, victim(n)));
        },
        Fate::Counted(DropReason::PongThrottled),
        850,
    ),
    (
        "S2: Pongs to a Ping of a neighbour, without end",
        |fixture| {
            let asked = guid(10_000);
            fixture.sut.send(fixture.friends[0], &ping(asked));
            fixture.storm(5_000, |n| pong(asked, victim(n)));
        },
        Fate::Counted(DropReason::PongThrottled),
        850,
    ),
];

#[test]
fn every_attack_costs_the_attacker_and_nobody_else() {
    for (name, act, fate, budget) in ATTACKS.into_iter().chain(super::modern::ATTACKS) {
        let mut fixture = Fixture::new();
        let before = fixture.sut.core().stats().work;
        act(&mut fixture);
        fixture.assert_bounded();
        let (work, sent) = (fixture.sut.core().stats().work - before, fixture.sent as u64);
        println!("{name}: {} units for each KiB", work * 1_024 / sent.max(1));
        assert!(work * 1_024 <= budget * sent.max(1_024), "{name}: {work} units for {sent} bytes");
        let closed = fixture.sut.is_closed(fixture.villain);
        match fate {
            Fate::Closed => assert!(closed, "{name}: the link stands"),
            Fate::Tolerated => {}
            Fate::Counted(reason) => {
                assert!(
                    fixture.sut.dropped(reason) >= 40,
                    "{name}: {}",
                    fixture.sut.dropped(reason)
                );
                assert!(!closed, "{name}: closed");
            }
        }
        fixture.assert_others_are_served(name);
    }
}
