//! Finding and keeping neighbours, and addresses that must not be dialled.

use crate::support::descriptor::{guid, ping, pong, pong_addr};
use crate::support::{Bench, Graph, Net, OK};
use servent::config::{Config, Role};
use servent::servent::{CloseReason, Event};
use servent::wire::Kind;
use std::net::SocketAddrV4;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// Servents that know only servent 0.
fn bootstrap_star(seed: u64, nodes: usize) -> Net {
    let mut net = Net::new(seed);
    for _ in 0..nodes {
        net.add(Config { links: 4, ..Config::default() }, &[]);
    }
    let bootstrap = net.addr(0);
    for node in 1..nodes {
        net.tell(node, |core, now| core.add_static_peer(now, bootstrap));
        net.run_for(Duration::from_millis(700));
    }
    net
}

fn outbound(net: &Net, node: usize) -> usize {
    net.core(node).neighbours().filter(|neighbour| neighbour.outbound).count()
}

/// It has the outbound links it wants, the named bootstrap not counted, or there is no host left to
/// dial.
fn is_content(net: &Net, node: usize) -> bool {
    let bootstrap = net.addr(0);
    let known = net.core(node).hosts().addrs().filter(|addr| *addr != bootstrap).count();
    let named = usize::from(net.neighbours(node).contains(&0));
    outbound(net, node) == 4 + named || net.neighbours(node).len() >= known + named
}

/// The links as they are, without the nodes before `first`.
fn links_between(net: &Net, first: usize, nodes: usize) -> Graph {
    let of = |node| net.neighbours(node).into_iter().map(move |other| (node, other));
    let pairs = (first..nodes).flat_map(of).filter(|&(a, b)| a < b && a >= first);
    Graph { nodes: nodes - first, edges: pairs.map(|(a, b)| (a - first, b - first)).collect() }
}

#[test]
fn a_star_around_a_bootstrap_grows_into_a_net_that_does_not_need_it() {
    const NODES: usize = 16;
    for seed in [1, 2] {
        let mut net = bootstrap_star(seed, NODES);
        net.run_for(MINUTE * 5);
        for node in 1..NODES {
            assert!(is_content(&net, node), "outbound links of {node}");
            let own = net.addr(node);
            assert!(
                net.observer.dials.iter().all(|d| d.node != node || d.addr != own),
                "{node} dials itself"
            );
        }
        net.kill(0);
        net.settle();
        assert!(links_between(&net, 1, NODES).is_connected());
        net.run_for(MINUTE * 5);
        assert!(links_between(&net, 1, NODES).is_connected());
        for node in 1..NODES {
            assert!(is_content(&net, node), "outbound links of {node} after the loss");
        }

        // It was named by the user of every servent, so they come back when it does.
        let dead = net.addr(0);
        let back = net.add_at(dead, Config { links: 0, ..Config::default() }, &[]);
        net.run_for(MINUTE * 2);
        assert_eq!(net.core(back).neighbours().count(), NODES - 1);
    }
}

/// The times a servent dialled `addr`, in seconds since its first try.
fn dial_times(net: &Net, addr: SocketAddrV4) -> Vec<u64> {
    let dials: Vec<_> = net.observer.dials.iter().filter(|dial| dial.addr == addr).collect();
    dials.iter().map(|dial| dial.at.since(dials[0].at).as_secs()).collect()
}

fn learning() -> Bench {
    Bench::with(|config| config.links = 4)
}

#[test]
fn a_learnt_host_that_fails_is_tried_less_and_less_and_then_forgotten() {
    let mut sut = learning();
    let nobody = "127.0.0.99:6346".parse().unwrap();
    sut.tell(|core, now| core.learn_host(now, nobody));
    sut.wait(MINUTE * 60);
    assert_eq!(dial_times(&sut.net, nobody), [0, 60, 180, 420, 900]);
    assert!(sut.core().hosts().is_empty());
}

#[test]
fn a_host_that_refuses_is_left_alone_for_ten_minutes() {
    let mut sut = learning();
    let full = "127.0.0.98:6346".parse().unwrap();
    sut.net.listen(full);
    sut.tell(|core, now| core.learn_host(now, full));
    for second in 0..1_500 {
        if let Some(peer) = sut.net.accept(full) {
            // Some say so, others hang up.
            if second == 0 {
                sut.send_bytes(peer, b"GNUTELLA BUSY\n\n");
            } else {
                sut.net.hang_up(peer);
            }
        }
        sut.wait_secs(1);
    }
    // One that says nothing may speak the other dialect. It is looked after once a second.
    assert_eq!(dial_times(&sut.net, full), [0, 600, 602, 1_203, 1_206]);
}

#[test]
fn an_address_the_user_named_is_tried_every_minute_at_the_latest() {
    let mut sut = Bench::new();
    let nobody = "10.9.9.9:6346".parse().unwrap();
    sut.tell(|core, now| core.add_static_peer(now, nobody));
    sut.wait(MINUTE * 5);
    assert_eq!(dial_times(&sut.net, nobody), [0, 1, 3, 7, 15, 31, 63, 123, 183, 243]);
}

#[test]
fn a_lost_link_to_a_named_address_is_made_again_at_once() {
    let mut net = Net::new(7);
    let (a, b) = (net.add(Net::still(), &[]), net.add(Net::still(), &[]));
    let addr = net.addr(b);
    net.tell(a, |core, now| core.add_static_peer(now, addr));
    net.run_for(MINUTE * 10);
    assert_eq!(net.neighbours(a), [b]);
    net.kill(b);
    net.run_for(Duration::from_millis(500));
    let again = net.add_at(addr, Net::still(), &[]);
    net.run_for(Duration::from_secs(2));
    assert_eq!(net.neighbours(a), [again]);
    assert_eq!(dial_times(&net, addr).len(), 2);
}

#[test]
fn only_as_many_hosts_are_dialled_as_links_are_wanted() {
    let mut sut = learning();
    for n in 1..=30 {
        let addr = SocketAddrV4::new([127, 0, 6, n].into(), 6346);
        sut.net.listen(addr);
        sut.tell(|core, now| core.learn_host(now, addr));
    }
    sut.wait_secs(5);
    assert_eq!(sut.net.observer.dials.len(), 4);
}

#[test]
fn a_servent_that_dials_itself_notices_and_does_not_do_it_again() {
    let mut net = Net::new(8);
    let node = net.add(Config::default(), &[]);
    let own = net.addr(node);
    net.tell(node, |core, now| core.add_static_peer(now, own));
    net.run_for(MINUTE * 10);
    assert_eq!(net.core(node).neighbours().count(), 0);
    assert_eq!(net.observer.dials.len(), 1);
    let noticed =
        |event: &Event| matches!(event, Event::LinkDown { reason: CloseReason::OwnAddress, .. });
    assert!(net.events(node).iter().any(noticed));
}

/// A guest says by port 0 that it takes no links, and forwards nothing.
#[test]
fn a_guest_is_never_learnt_and_forwards_nothing() {
    let mut net = Net::new(9);
    let host = net.add(Config::default(), &[]);
    let guest = net.add(Config { role: Role::Guest, links: 0, ..Config::default() }, &[]);
    let other = net.add(Net::still(), &[]);
    for at in [host, other] {
        let addr = net.addr(at);
        net.tell(guest, |core, now| core.add_static_peer(now, addr));
    }
    net.run_for(MINUTE * 3);
    assert_eq!(net.neighbours(guest), [host, other]);
    let guest_ip = *net.addr(guest).ip();
    let learnt: Vec<_> = net.core(host).hosts().addrs().collect();
    assert_eq!(learnt, [net.addr(other)], "through the guest's cache, and not the guest");
    assert!(net.observer.dials.iter().all(|dial| *dial.addr.ip() != guest_ip));
    net.tell(host, |core, now| core.search(now, "zebra", None)).unwrap();
    net.settle();
    assert!(net.core(guest).stats().received.get(Kind::Query) > 0);
    assert_eq!(net.core(guest).stats().forwarded.total(), 0);
}

#[test]
fn a_guest_answers_with_port_zero() {
    let mut sut = Bench::with(|config| config.role = Role::Guest);
    let peer = sut.dialled();
    sut.send_bytes(peer, b"GNUTELLA OK\n\n");
    sut.send(peer, &ping(guid(1)).ttl(1));
    assert_eq!(pong_addr(&sut.receive_one(peer)).port(), 0);
}

#[test]
fn new_links_are_pinged_and_all_are_every_minute() {
    let mut sut = Bench::with(|config| config.background_pings = true);
    sut.wait_secs(30);
    let peer = sut.link();
    let mut at = Vec::new();
    for second in 0..150 {
        for asked in sut.receive(peer) {
            assert_eq!((asked.kind, asked.ttl, asked.hops), (Kind::Ping, 7, 0));
            at.push(second);
        }
        sut.send(peer, &pong(guid(1), "127.0.0.9:6346".parse().unwrap()));
        sut.wait_secs(1);
    }
    assert_eq!(at, [0, 30, 90]);
}

/// A neighbour's own Pong says where it listens: it is not dialled a second time there.
#[test]
fn a_neighbour_that_dialled_us_is_not_dialled_too() {
    let mut net = Net::new(10);
    let (a, b) = (net.add(Config::default(), &[]), net.add(Config::default(), &[]));
    let addr = net.addr(a);
    net.tell(b, |core, now| core.add_static_peer(now, addr));
    net.run_for(MINUTE * 5);
    assert_eq!((net.neighbours(a), net.neighbours(b)), (vec![b], vec![a]));
    assert_eq!(net.observer.dials.len(), 1);
}

/// A peer that takes the link and ends it at once is no better than one that refuses.
#[test]
fn a_peer_that_closes_right_after_its_ok_is_dialled_less_and_less() {
    let dials_of = |sut: &mut Bench, addr: SocketAddrV4, secs: u64| {
        sut.net.listen(addr);
        for _ in 0..secs * 10 {
            if let Some(peer) = sut.net.accept(addr) {
                sut.send_bytes(peer, OK);
                sut.net.hang_up(peer);
            }
            sut.wait(Duration::from_millis(100));
        }
        dial_times(&sut.net, addr).len()
    };
    let addr = "127.0.0.97:6346".parse().unwrap();
    let mut sut = Bench::new();
    sut.tell(|core, now| core.add_static_peer(now, addr));
    let named = dials_of(&mut sut, addr, 120);
    assert!((5..=8).contains(&named), "{named} dials of a named address in two minutes");
    let mut sut = learning();
    sut.tell(|core, now| core.learn_host(now, addr));
    let learnt = dials_of(&mut sut, addr, 600);
    assert!((2..=5).contains(&learnt), "{learnt} dials of a learnt address in ten minutes");
}

/// Being offline counts against no peer: invariant 9.
#[test]
fn being_offline_costs_no_host_and_few_dials() {
    let mut sut = learning();
    let hosts: Vec<SocketAddrV4> =
        (1..=200).map(|n| SocketAddrV4::new([127, 0, 7, n].into(), 6346)).collect();
    for &host in &hosts {
        sut.tell(|core, now| core.learn_host(now, host));
    }
    let named = "127.0.0.96:6346".parse().unwrap();
    sut.net.observer.offline = true;
    sut.tell(|core, now| core.add_static_peer(now, named));
    sut.wait(MINUTE * 35);
    assert_eq!(sut.core().hosts().len(), 200);
    let tries = sut.net.observer.dials.len();
    assert!((35..=400).contains(&tries), "{tries} dials in 35 minutes without a network");
    sut.net.observer.offline = false;
    sut.net.listen(named);
    let mut accepted = (0..60).filter_map(|_| {
        sut.wait_secs(1);
        sut.net.accept(named)
    });
    let peer = accepted.next().expect("the named address is dialled again within a minute");
    sut.send_bytes(peer, OK);
    assert!(sut.core().neighbours().any(|link| link.addr == named));
}

/// `--links` counts links with learnt hosts; named ones are kept besides.
#[test]
fn named_links_do_not_count_as_learnt_ones() {
    let mut sut = Bench::with(|config| config.links = 1);
    let [named, learnt] = ["127.0.0.94:6346", "127.0.0.95:6346"].map(|addr| addr.parse().unwrap());
    for addr in [named, learnt] {
        sut.net.listen(addr);
    }
    sut.tell(|core, now| core.add_static_peer(now, named));
    sut.tell(|core, now| core.learn_host(now, learnt));
    sut.wait_secs(2);
    for addr in [named, learnt] {
        let peer = sut.net.accept(addr).expect("both are dialled");
        sut.send_bytes(peer, OK);
    }
    assert_eq!(sut.core().neighbours().count(), 2);
}

/// A listener on loopback is out of reach of links that lead elsewhere: port 0 says so.
#[test]
fn nobody_is_told_an_address_that_cannot_be_reached() {
    let told = |listen: [u8; 4]| {
        let mut sut = Bench::with(|config| config.listen_ip = listen.into());
        let peer = sut.link();
        sut.send(peer, &ping(guid(1)).ttl(1));
        pong_addr(&sut.receive_one(peer))
    };
    assert_eq!(told([127, 1, 0, 1]), "127.1.0.1:6346".parse().unwrap());
    assert_eq!(told([10, 0, 0, 7]), "10.0.0.7:6346".parse().unwrap());
    let mut sut = Bench::with(|config| config.listen_ip = [127, 0, 0, 1].into());
    let remote: SocketAddrV4 = "10.9.9.9:6346".parse().unwrap();
    sut.net.listen(remote);
    sut.net.source_ip = Some([10, 0, 0, 7].into());
    sut.tell(|core, now| core.add_static_peer(now, remote));
    let peer = sut.net.accept(remote).unwrap();
    sut.net.skip_handshake(peer);
    sut.send_bytes(peer, OK);
    sut.send(peer, &ping(guid(1)).ttl(1));
    assert_eq!(pong_addr(&sut.receive_one(peer)).port(), 0);
}

#[test]
fn an_address_no_longer_kept_is_not_dialled_again() {
    let mut sut = Bench::new();
    let nobody = "127.0.0.93:6346".parse().unwrap();
    sut.tell(|core, now| core.add_static_peer(now, nobody));
    sut.wait_secs(2);
    sut.tell(|core, _| core.remove_static_peer(nobody));
    let dials = sut.net.observer.dials.len();
    sut.wait_secs(600);
    assert_eq!(sut.net.observer.dials.len(), dials);
}
