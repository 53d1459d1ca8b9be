//! Pings, Pongs, and how the cache keeps Pings from flooding. Rows P-20, P-28, P-29 and P-30.

use crate::support::descriptor::{guid, ping, pong, pong_addr, take_descriptors};
use crate::support::{Bench, CONNECT, Descriptor, Graph, Net, OK, Peer};
use servent::config::Config;
use servent::config::Scope;
use servent::servent::Event;
use servent::stats::DropReason;
use servent::wire::{Guid, Kind};
use std::collections::BTreeMap;
use std::net::SocketAddrV4;

fn addr(n: u8) -> SocketAddrV4 {
    SocketAddrV4::new([127, 0, 5, n].into(), 6346)
}

/// A link to a servent with background Pings, and its first Ping.
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
        let mut dialled: Vec<_> = sut.net.observer.dials.iter().map(|dial| dial.addr).collect();
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

/// Cores that ping on their own, linked as in `graph`.
fn curious_net(graph: &Graph) -> Net {
    let mut net = Net::new(11);
    for _ in 0..graph.nodes {
        net.add(Config { links: 0, ..Config::default() }, &[]);
    }
    for &(a, b) in &graph.edges {
        let addr = net.addr(b);
        net.tell(a, |core, now| core.add_static_peer(now, addr));
    }
    net.settle();
    net
}

/// The addresses that a guest's Ping finds through `node`, with their hops.
fn told_by(net: &mut Net, node: usize) -> BTreeMap<SocketAddrV4, u8> {
    let guest = net.dial(node);
    net.write(guest, CONNECT);
    net.settle();
    let asked = Guid(net.fresh_id());
    net.write(guest, &ping(asked).bytes());
    net.settle();
    net.skip_handshake(guest);
    let mut received = net.take_received(guest);
    let pongs = take_descriptors(&mut received).unwrap();
    net.reset(guest);
    net.settle();
    let of_asked = pongs.iter().filter(|pong| pong.guid == asked && pong.kind == Kind::Pong);
    of_asked.map(|pong| (pong_addr(pong), pong.hops)).collect()
}

fn secs(secs: u64) -> std::time::Duration {
    std::time::Duration::from_secs(secs)
}

#[test]
fn in_a_triangle_both_neighbours_are_one_hop_away_at_any_time() {
    let graph = Graph { nodes: 3, edges: vec![(0, 1), (1, 2), (2, 0)] };
    let mut net = curious_net(&graph);
    let mut last = 0;
    for at in [1, 65, 305, 1_000] {
        net.run_for(secs(at - last));
        last = at;
        for node in 0..3 {
            let all: BTreeMap<_, _> =
                (0..3).map(|other| (net.addr(other), u8::from(other != node))).collect();
            assert_eq!(told_by(&mut net, node), all, "by {node} after {at} s");
        }
    }
}

/// Whether its link is closed or falls silent.
#[test]
fn a_dead_host_of_a_triangle_is_gone_within_three_minutes() {
    for silent in [false, true] {
        for lived in [100, 110, 119, 131, 150] {
            let graph = Graph { nodes: 3, edges: vec![(0, 1), (1, 2), (2, 0)] };
            let mut net = curious_net(&graph);
            net.run_for(secs(lived));
            let dead = net.addr(2);
            if silent {
                net.freeze(2);
            } else {
                net.kill(2);
            }
            net.run_for(secs(180));
            for node in [0, 1] {
                let told = told_by(&mut net, node);
                assert!(!told.contains_key(&dead), "{told:?} by {node}, silent: {silent}");
                assert_eq!(told.len(), 2);
            }
        }
    }
}

#[test]
fn a_dead_host_at_the_end_of_a_line_of_eight_is_gone_after_ten_minutes() {
    for lived in [200, 230, 259] {
        let graph = Graph { nodes: 8, edges: (0..7).map(|n| (n, n + 1)).collect() };
        let mut net = curious_net(&graph);
        net.run_for(secs(lived));
        let dead = net.addr(7);
        assert_eq!(told_by(&mut net, 6).get(&dead), Some(&1));
        net.freeze(7);
        net.run_for(secs(600));
        for node in 0..7 {
            let told = told_by(&mut net, node);
            assert!(!told.contains_key(&dead), "{told:?} by {node}");
        }
    }
}

#[test]
fn an_idle_link_carries_less_than_200_bytes_a_second() {
    let graph = Graph { nodes: 3, edges: vec![(0, 1), (1, 2), (2, 0)] };
    let mut net = curious_net(&graph);
    net.run_for(secs(10));
    net.observer.crossings.clear();
    net.run_for(secs(600));
    let bytes: usize = net.observer.crossings.iter().map(|c| c.descriptor.bytes().len()).sum();
    assert!(bytes > 0 && bytes / 600 / graph.edges.len() < 200, "{bytes} bytes in ten minutes");
}

/// P-28: what one Ping brings, and what one link may send in a second.
#[test]
fn a_ping_admits_a_bounded_number_of_pongs() {
    let mut sut = Bench::with(|config| {
        config.limits.pongs_per_ping = 50;
        config.limits.pongs_per_second = 20;
    });
    let [a, b] = sut.links();
    sut.send(a, &ping(guid(1)));
    sut.receive_asked(a);
    let far = |n: u16| SocketAddrV4::new([127, 3, 0, 1].into(), n);
    let mut came = Vec::new();
    for second in 0..5 {
        let pongs = (0..100).flat_map(|n| pong(guid(1), far(1 + second * 100 + n)).ttl(5).bytes());
        sut.send_bytes(b, &pongs.collect::<Vec<_>>());
        came.push(sut.receive_asked(a).len());
        sut.wait_secs(1);
    }
    assert_eq!(came, [20, 20, 10, 0, 0]);
    assert_eq!(sut.dropped(DropReason::PongThrottled), 450);
    assert_eq!(sut.core().hosts().len(), 50);
}

#[test]
fn nobody_is_told_about_itself_nor_about_us_twice() {
    let mut sut = curious();
    let (a, asked_a) = pinged_link(&mut sut);
    let (b, asked) = pinged_link(&mut sut);
    // Where the first neighbour listens: its own Pong says so.
    let remote = *sut.core().neighbours().next().unwrap().addr.ip();
    let of_a = SocketAddrV4::new(remote, 7_777);
    sut.send(a, &pong(asked_a.guid, of_a).ttl(1));
    sut.send(b, &pong(asked.guid, sut.addr()).hops(2));
    sut.send(b, &pong(asked.guid, of_a).hops(1));
    sut.send(b, &pong(asked.guid, addr(9)).hops(1));
    sut.send(a, &ping(guid(1)));
    let told: Vec<_> = sut.receive_asked(a).iter().map(pong_addr).collect();
    assert_eq!(told, [sut.addr(), addr(9)]);
    let stranger = sut.link();
    sut.send(stranger, &ping(guid(2)));
    let told: Vec<_> = sut.receive_asked(stranger).iter().map(pong_addr).collect();
    assert_eq!(told, [sut.addr(), of_a, addr(9)]);
    // A neighbour that we dialled listens where we did so, whatever its Pong says.
    let dialled = sut.dialled();
    sut.send_bytes(dialled, OK);
    sut.send(b, &pong(asked.guid, "127.8.0.1:7000".parse().unwrap()).hops(1));
    sut.send(dialled, &ping(guid(3)));
    let told: Vec<_> = sut.receive_asked(dialled).iter().map(pong_addr).collect();
    assert_eq!(told, [sut.addr(), of_a, addr(9)]);
}
