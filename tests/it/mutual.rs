//! Two servents that dial each other keep one link, and no peer can use that against a third.

use crate::support::descriptor::{pong, take_descriptors};
use crate::support::{Bench, CONNECT, Net, OK, Peer};
use servent::config::Config;
use servent::wire::{Dialect, Kind};
use std::net::SocketAddrV4;
use std::time::Duration;

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn curious() -> Config {
    Config { links: 0, ..Config::default() }
}

#[test]
fn of_two_links_the_one_of_the_lower_address_stays() {
    use Dialect::{V0_4, V0_6};
    for (dialect, first) in [(V0_4, 0), (V0_4, 1), (V0_6, 0), (V0_6, 1)] {
        let mut net = Net::new(3);
        for _ in 0..2 {
            net.add(Config { dialect: Some(dialect), ..curious() }, &[]);
        }
        let addrs = [net.addr(0), net.addr(1)];
        assert!(addrs[0] < addrs[1]);
        // At the same moment, or one after the other.
        net.tell(first, |core, now| core.add_static_peer(now, addrs[1 - first]));
        if first == 1 {
            net.run_for(secs(1));
        }
        net.tell(1 - first, |core, now| core.add_static_peer(now, addrs[first]));
        net.run_for(secs(5));
        let links = |net: &Net, node| -> Vec<bool> {
            net.core(node).neighbours().map(|link| link.outbound).collect()
        };
        assert_eq!((links(&net, 0), links(&net, 1)), (vec![true], vec![false]));
        let dials = net.observer.dials.len();
        assert_eq!(dials, 2, "{dialect}: the link that goes is not dialled again");
        net.run_for(secs(600));
        assert_eq!((links(&net, 0), links(&net, 1)), (vec![true], vec![false]));
        assert_eq!(
            net.observer.dials.len(),
            dials,
            "the link that stays is as good as the own one"
        );
        // It stands for the other's own only while it stands.
        net.kill(0);
        net.run_for(secs(70));
        assert!(net.observer.dials.len() > dials);
    }
}

const HIGHER: &str = "127.8.0.1:7000";
const LOWER: &str = "127.0.0.8:7000";

/// A listener, of higher or lower address than the servent's, which is its static peer.
fn dialled_by(sut: &mut Bench, addr: &str) -> (Peer, SocketAddrV4) {
    let addr: SocketAddrV4 = addr.parse().unwrap();
    assert_eq!(sut.addr() < addr, addr == HIGHER.parse().unwrap());
    sut.net.listen(addr);
    sut.tell(|core, now| core.add_static_peer(now, addr));
    let peer = sut.net.accept(addr).unwrap();
    sut.net.skip_handshake(peer);
    sut.send_bytes(peer, OK);
    (peer, addr)
}

/// An inbound link that answers the servent's Ping with this address.
fn claims(sut: &mut Bench, peer: Peer, addr: SocketAddrV4) {
    sut.send_bytes(peer, CONNECT);
    sut.net.skip_handshake(peer);
    let mut stream = sut.read(peer);
    let asked = take_descriptors(&mut stream).unwrap();
    let asked = asked.iter().find(|d| d.kind == Kind::Ping && d.hops == 0).unwrap();
    sut.send(peer, &pong(asked.guid, addr).ttl(1));
}

/// GNU Serveez dials back every peer that dials it, and again when that link ends.
#[test]
fn a_peer_that_dials_again_keeps_its_link_and_ours_ends() {
    let mut sut = Bench::with(|config| config.background_pings = true);
    let (ours, addr) = dialled_by(&mut sut, HIGHER);
    let back = sut.net.dial_from(*addr.ip(), 0);
    claims(&mut sut, back, addr);
    assert!(sut.is_closed(back) && !sut.is_closed(ours), "ours is of the lower address");
    sut.wait_secs(10);
    let again = sut.net.dial_from(*addr.ip(), 0);
    claims(&mut sut, again, addr);
    assert!(sut.is_closed(ours) && !sut.is_closed(again), "it does not follow the rule");
    let dials = sut.net.observer.dials.len();
    sut.wait_secs(80);
    assert_eq!(sut.net.observer.dials.len(), dials, "and has the link that was asked for");
}

/// The other side may close the link that goes before this one knows that there are two.
#[test]
fn a_link_that_the_peer_closed_for_its_own_is_not_dialled_again() {
    let mut sut = Bench::with(|config| config.background_pings = true);
    let (ours, addr) = dialled_by(&mut sut, LOWER);
    let theirs = sut.net.dial_from(*addr.ip(), 0);
    sut.net.hang_up(ours);
    sut.net.settle();
    claims(&mut sut, theirs, addr);
    let dials = sut.net.observer.dials.len();
    sut.wait_secs(80);
    assert_eq!(sut.net.observer.dials.len(), dials);
    // When that link ends, silent as it was, the address is dialled again.
    sut.wait_secs(30);
    assert!(sut.is_closed(theirs) && sut.net.observer.dials.len() > dials);
}

#[test]
fn a_claim_from_elsewhere_closes_nothing() {
    let mut sut = Bench::with(|config| config.background_pings = true);
    let (honest, addr) = dialled_by(&mut sut, HIGHER);
    for _ in 0..3 {
        let liar = sut.net.dial_from("127.7.7.7".parse().unwrap(), 0);
        claims(&mut sut, liar, addr);
        assert!(!sut.is_closed(honest) && !sut.is_closed(liar));
    }
}
