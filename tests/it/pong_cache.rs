//! Pings, Pongs, and how the cache keeps Pings from flooding. Rows P-20, P-28, P-29 and P-30.

use crate::support::descriptor::{guid, ping, pong, pong_addr};
use crate::support::{Bench, Descriptor, Peer};
use servent::config::Scope;
use servent::servent::Event;
use servent::stats::DropReason;
use servent::wire::Kind;
use std::net::SocketAddrV4;

fn addr(n: u8) -> SocketAddrV4 {
    SocketAddrV4::new([127, 0, 5, n].into(), 6346)
}

/// A link to a core that pings on its own, and that Ping.
fn pinged_link(sut: &mut Bench) -> (Peer, Descriptor) {
    let peer = sut.link();
    let ping = sut.receive(peer).into_iter().find(|d| d.kind == Kind::Ping);
    (peer, ping.expect("a new link is asked who is out there"))
}

fn curious() -> Bench {
    Bench::with(|config| config.background_pings = true)
}

/// P-20
#[test]
fn a_direct_ping_is_answered_with_what_is_shared() {
    let mut sut = Bench::new();
    let peer = sut.link();
    sut.send(peer, &ping(guid(1)).ttl(1));
    let answer = sut.receive_one(peer);
    assert_eq!((answer.guid, answer.hops, answer.ttl), (guid(1), 0, 1));
    assert_eq!(answer.payload.len(), 14, "GNU Serveez takes no other length");
    assert_eq!(pong_addr(&answer), sut.addr());
    assert_eq!(answer.payload[6..], [2, 0, 0, 0, 3, 0, 0, 0], "2 files, 3 KiB");
}

#[test]
fn a_pong_gets_the_ttl_to_reach_the_asker() {
    let mut sut = Bench::new();
    let peer = sut.link();
    sut.send(peer, &ping(guid(1)).ttl(2).hops(4));
    let answer = sut.receive_one(peer);
    assert_eq!((answer.hops, answer.ttl), (0, 5));
}

/// P-28
#[test]
fn pings_that_ask_for_more_are_answered_once_a_second() {
    let mut sut = Bench::new();
    let [a, b] = sut.links();
    for n in 0..100 {
        sut.send(a, &ping(guid(n)));
    }
    assert_eq!(sut.receive(a).len(), 1);
    assert_eq!(sut.receive(b).len(), 1);
    assert_eq!(sut.dropped(DropReason::PingThrottled), 99);
    sut.wait_secs(1);
    sut.send(a, &ping(guid(1000)));
    assert_eq!(sut.receive_one(a).guid, guid(1000));
}

#[test]
fn ten_probes_a_second_are_answered() {
    let mut sut = Bench::new();
    let [a, b] = sut.links();
    for n in 0..30 {
        sut.send(a, &ping(guid(n)).ttl(1));
    }
    assert_eq!(sut.receive(a).len(), 10);
    sut.assert_alive(b);
    sut.wait_secs(1);
    sut.send(a, &ping(guid(100)).ttl(1));
    assert_eq!(sut.receive_one(a).guid, guid(100), "the next second has its own ten");
}

#[test]
fn the_cache_answers_with_pongs_of_other_links_instead_of_a_flood() {
    let mut sut = curious();
    let (a, _) = pinged_link(&mut sut);
    let (b, asked) = pinged_link(&mut sut);
    sut.send(a, &ping(guid(1)));
    assert_eq!(sut.receive_one(b).guid, guid(1), "an empty cache floods");
    assert_eq!(sut.receive(a).len(), 1);
    for n in 1..=12 {
        sut.send(b, &pong(asked.guid, addr(n)).ttl(5).hops(2));
    }
    sut.wait_secs(1);
    sut.send(a, &ping(guid(2)));
    sut.assert_quiet(b);
    let answers = sut.receive_asked(a);
    assert!(answers.iter().all(|pong| pong.guid == guid(2)));
    assert_eq!((answers[0].hops, pong_addr(&answers[0])), (0, sut.addr()));
    let mut cached: Vec<_> = answers[1..].iter().map(pong_addr).collect();
    cached.sort_unstable();
    assert_eq!(cached, (3..=12).map(addr).collect::<Vec<_>>(), "the last ten");
    assert!(answers[1..].iter().all(|pong| (pong.hops, pong.ttl) == (3, 4)));

    sut.wait_secs(1);
    sut.send(b, &ping(guid(3)));
    assert_eq!(sut.receive_one(a).guid, guid(3), "what a link delivered is not told to it");
    assert_eq!(sut.receive_one(b).guid, guid(3));
}

#[test]
fn what_the_cache_holds_is_forgotten_with_age_and_with_its_link() {
    let mut sut = curious();
    let (a, _) = pinged_link(&mut sut);
    let (b, asked) = pinged_link(&mut sut);
    let fill_and_count = |sut: &mut Bench, n: u32| {
        sut.wait_secs(2);
        sut.send(a, &ping(guid(n)));
        sut.receive_asked(a).len()
    };
    sut.send(b, &pong(asked.guid, addr(1)));
    assert_eq!(fill_and_count(&mut sut, 1), 2);
    for n in 0..10 {
        sut.wait_secs(20);
        sut.send(b, &ping(guid(50 + n)).ttl(1));
        sut.send(a, &ping(guid(70 + n)).ttl(1));
    }
    sut.receive(a);
    assert_eq!(fill_and_count(&mut sut, 2), 1, "three minutes later");
    let asked = sut.receive(b).into_iter().rfind(|d| d.kind == Kind::Ping && d.hops == 0).unwrap();
    sut.send(b, &pong(asked.guid, addr(2)));
    assert_eq!(fill_and_count(&mut sut, 3), 2);
    sut.net.hang_up(b);
    sut.net.settle();
    assert_eq!(fill_and_count(&mut sut, 4), 1);
}

#[test]
fn a_pong_nobody_asked_for_teaches_nothing() {
    let mut sut = curious();
    let (a, _) = pinged_link(&mut sut);
    let (b, _) = pinged_link(&mut sut);
    sut.send(b, &pong(guid(77), addr(1)));
    assert!(sut.core().hosts().is_empty());
    sut.send(a, &ping(guid(1)));
    assert_eq!(sut.receive_asked(a).len(), 1, "our own and no cached one");
    // Nor does one from the asker itself.
    sut.send(a, &pong(guid(1), addr(2)));
    assert!(sut.core().hosts().is_empty());
}

/// P-29
#[test]
fn only_addresses_in_scope_are_learnt_and_passed_on() {
    let never = [
        "0.0.0.0:6346",
        "224.0.0.1:6346",
        "255.255.255.255:6346",
        "127.0.0.9:0",
        "10.0.0.9:0",
        "5.5.5.5:0",
    ];
    let homes = [
        (Scope::Loopback, "127.0.0.9:6346"),
        (Scope::Private, "10.1.2.3:6346"),
        (Scope::Private, "100.64.0.1:6346"),
        (Scope::Public, "5.5.5.5:6346"),
    ];
    for scope in [Scope::Loopback, Scope::Private, Scope::Public] {
        let mut sut = Bench::with(|config| {
            config.background_pings = true;
            config.scope = scope;
            config.links = 4;
        });
        let (b, asked) = pinged_link(&mut sut);
        let (a, _) = pinged_link(&mut sut);
        let offered = never.into_iter().chain(homes.map(|(_, addr)| addr));
        for addr in offered.cycle().take(200) {
            sut.send(b, &pong(asked.guid, addr.parse().unwrap()).ttl(5));
        }
        let home = homes.iter().filter(|(home, _)| *home == scope);
        let mut allowed: Vec<SocketAddrV4> = home.map(|(_, addr)| addr.parse().unwrap()).collect();
        assert_eq!(sut.core().hosts().addrs().collect::<Vec<_>>(), allowed, "{scope:?}");
        sut.send(a, &ping(guid(1)));
        let mut told: Vec<_> = sut.receive_asked(a)[1..].iter().map(pong_addr).collect();
        told.sort_unstable();
        assert_eq!(told, allowed, "{scope:?}");
        sut.wait_secs(20);
        let mut dialled: Vec<_> = sut.net.dials.iter().map(|dial| dial.addr).collect();
        dialled.sort_unstable();
        allowed.sort_unstable();
        assert_eq!(dialled, allowed, "{scope:?}");
    }
}

#[test]
fn a_pong_out_of_scope_is_not_passed_on_but_shown_to_whom_it_answers() {
    let mut sut = Bench::new();
    let [a, b] = sut.links();
    sut.send(a, &ping(guid(1)));
    sut.receive_asked(a);
    let stranger: SocketAddrV4 = "5.5.5.5:6346".parse().unwrap();
    sut.send(b, &pong(guid(1), stranger));
    sut.assert_quiet(a);
    assert_eq!(sut.dropped(DropReason::OutOfScope), 1);
    let asked = sut.tell(|core, now| core.ping(now, None));
    sut.send(b, &pong(asked, stranger).hops(2));
    let shown = sut.events().into_iter().find_map(|event| match event {
        Event::Pong { addr, hops, files, kib, .. } => Some((addr, hops, files, kib)),
        _ => None,
    });
    assert_eq!(shown, Some((stranger, 2, 12, 3457)));
    assert!(sut.core().hosts().is_empty());
}

/// P-30
#[test]
fn a_short_pong_is_ignored() {
    let mut sut = curious();
    let (peer, asked) = pinged_link(&mut sut);
    let mut short = pong(asked.guid, addr(1));
    short.payload.pop();
    sut.send(peer, &short);
    assert_eq!(sut.dropped(DropReason::Malformed), 1);
    assert!(sut.core().hosts().is_empty());
    sut.assert_alive(peer);
}
