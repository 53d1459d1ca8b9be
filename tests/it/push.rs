//! Pushes find their servent by the path of its hits, and it then connects to the address they name, says
//! GIV and serves, within bounds. Rows P-60 to P-66.

use crate::support::descriptor::{guid, hit, ping, push, query, servent_id};
use crate::support::{Bench, Descriptor, Peer, vectors};
use servent::config::{Config, Scope};
use servent::stats::DropReason;
use servent::wire::{Kind, ServentId};
use std::net::SocketAddrV4;

const CALLER: &str = "127.0.0.60:7000";

fn push_to(n: u32, to: ServentId) -> Descriptor {
    push(guid(n), to, CALLER.parse().unwrap()).ttl(4)
}

/// A asked, B delivered a hit of servent 1, C stands by.
fn after_a_hit() -> (Bench, [Peer; 3]) {
    let mut sut = Bench::new();
    let links @ [a, b, c] = sut.links();
    sut.send(a, &query(guid(1), "zebra"));
    sut.receive_one(b);
    sut.receive_one(c);
    sut.send(b, &hit(guid(1), servent_id(1), "zebra.txt"));
    sut.receive_one(a);
    (sut, links)
}

/// P-60
#[test]
fn a_push_follows_the_hits_of_its_servent() {
    let (mut sut, [a, b, c]) = after_a_hit();
    let wish = push_to(2, servent_id(1));
    sut.send(a, &wish);
    assert_eq!(sut.receive_one(b), wish.forwarded());
    sut.assert_quiet(a);
    sut.assert_quiet(c);
    sut.send(c, &Descriptor { guid: guid(3), ..wish });
    assert_eq!(sut.receive_one(b).guid, guid(3), "whoever sends it");
}

#[test]
fn a_push_with_extensions_is_forwarded_untouched() {
    let (mut sut, [a, b, _]) = after_a_hit();
    let gtkg = vectors::load_descriptor("gtkg-push");
    let theirs = ServentId(gtkg.payload[..16].try_into().unwrap());
    sut.send(b, &hit(guid(1), theirs, "zebra too.txt"));
    sut.receive_one(a);
    sut.send(a, &gtkg);
    assert_eq!(sut.receive_one(b), gtkg.forwarded());
}

#[test]
fn the_latest_hit_shows_the_way() {
    let (mut sut, [a, b, c]) = after_a_hit();
    sut.send(c, &hit(guid(1), servent_id(1), "zebra.txt"));
    sut.receive_one(a);
    sut.send(a, &push_to(2, servent_id(1)));
    assert_eq!(sut.receive_one(c).kind, Kind::Push);
    sut.assert_quiet(b);
}

/// P-61
#[test]
fn a_push_for_an_unknown_servent_goes_nowhere() {
    let (mut sut, links) = after_a_hit();
    sut.send(links[0], &push_to(2, servent_id(99)));
    // An unasked hit records no path.
    sut.send(links[2], &hit(guid(50), servent_id(99), "bait.txt"));
    sut.send(links[0], &push_to(3, servent_id(99)));
    assert_eq!(sut.dropped(DropReason::NoRoute), 3);
    for peer in links {
        sut.assert_alive(peer);
    }
}

#[test]
fn a_push_is_forwarded_once_not_back_and_not_beyond_its_ttl() {
    let (mut sut, [a, b, _]) = after_a_hit();
    sut.send(a, &push_to(2, servent_id(1)));
    sut.send(a, &push_to(2, servent_id(1)));
    sut.receive_one(b);
    sut.send(b, &push_to(3, servent_id(1)));
    sut.send(a, &push_to(4, servent_id(1)).ttl(1));
    sut.assert_quiet(a);
    sut.assert_quiet(b);
    let once = [DropReason::Duplicate, DropReason::BackToSource, DropReason::TtlSpent];
    assert_eq!(once.map(|reason| sut.dropped(reason)), [1, 1, 1]);
}

#[test]
fn a_push_does_not_reach_the_next_tenant_of_a_lost_link() {
    let (mut sut, [a, b, _]) = after_a_hit();
    sut.net.hang_up(b);
    sut.net.settle();
    let tenant = sut.link();
    sut.send(a, &push_to(2, servent_id(1)));
    sut.assert_quiet(tenant);
    assert_eq!(sut.dropped(DropReason::LinkGone), 1);
}

/// P-66
#[test]
fn a_short_push_is_ignored() {
    let (mut sut, [a, b, _]) = after_a_hit();
    let mut short = push_to(2, servent_id(1));
    short.payload.pop();
    sut.send(a, &short);
    assert_eq!(sut.dropped(DropReason::Malformed), 1);
    sut.assert_quiet(b);
    sut.assert_alive(a);
}

/// A servent with a link, and a scripted listener at [`CALLER`].
fn bench(adjust: impl FnOnce(&mut Config)) -> (Bench, Peer) {
    let mut sut = Bench::with(adjust);
    let link = sut.link();
    sut.net.listen(CALLER.parse().unwrap());
    (sut, link)
}

/// Sends the servent a Push for its file 7.
fn push_core(sut: &mut Bench, link: Peer, n: u32, addr: SocketAddrV4) {
    let to = sut.core().identity();
    sut.send(link, &push(guid(n), to, addr));
}

/// The address with this last byte and port.
fn victim(last: u8, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new([127, 0, 1, last].into(), port)
}

/// The connection the servent made to [`CALLER`], and the line it sent.
fn pushed(sut: &mut Bench, link: Peer) -> (Peer, String) {
    push_core(sut, link, 2, CALLER.parse().unwrap());
    let peer = sut.net.accept(CALLER.parse().unwrap()).expect("the core connects");
    let line = String::from_utf8(sut.read(peer)).unwrap();
    (peer, line)
}

/// P-62 and P-63
#[test]
fn a_pushed_core_connects_says_giv_and_serves() {
    let (mut sut, link) = bench(|_| ());
    let (peer, line) = pushed(&mut sut, link);
    let id: String = sut.core().identity().0.iter().map(|byte| format!("{byte:02X}")).collect();
    assert_eq!(line, format!("GIV 7:{id}/hello.txt\n\n"));
    sut.send_bytes(peer, b"GET /get/7/hello.txt HTTP/1.1\r\nHost: a\r\n\r\n");
    let answer = String::from_utf8(sut.read(peer)).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nhello"), "{answer}");
    sut.send_bytes(peer, b"GET /get/8/free%20bsd%20notes.txt HTTP/1.0\r\n\r\n");
    assert!(sut.read(peer).ends_with(b"free system.\n"), "any file, not just the one pushed for");
    assert!(sut.is_closed(peer));
    assert_eq!(sut.core().uploads(), 0);
    sut.assert_quiet(link);
}

/// The index is what Serveez compares, whether or not there is such a file.
#[test]
fn the_index_of_the_push_comes_back_even_if_there_is_no_such_file() {
    let (mut sut, link) = bench(|_| ());
    let to = sut.core().identity();
    let mut wish = push(guid(2), to, CALLER.parse().unwrap());
    wish.payload[16..20].copy_from_slice(&4_000_000_000u32.to_le_bytes());
    sut.send(link, &wish);
    let peer = sut.net.accept(CALLER.parse().unwrap()).expect("the core connects");
    let line = String::from_utf8(sut.read(peer)).unwrap();
    assert!(line.starts_with("GIV 4000000000:") && line.ends_with("/\n\n"), "{line}");
}

#[test]
fn a_busy_core_connects_and_says_so() {
    let (mut sut, link) = bench(|config| config.max_uploads = 0);
    let (peer, line) = pushed(&mut sut, link);
    assert!(line.starts_with("GIV 7:"), "{line}");
    sut.send_bytes(peer, b"GET /get/7/hello.txt HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(sut.read(peer).starts_with(b"HTTP/1.1 503 "));
}

#[test]
fn a_pushed_connection_without_a_request_is_closed() {
    let (mut sut, link) = bench(|_| ());
    let (peer, _) = pushed(&mut sut, link);
    sut.wait_secs(25);
    assert!(!sut.is_closed(peer));
    sut.wait_secs(40);
    assert!(sut.is_closed(peer));
}

/// P-64
#[test]
fn pushes_for_one_address_are_few_in_any_half_minute() {
    let (mut sut, link) = bench(|_| ());
    (7_000..7_007).for_each(|port| sut.net.listen(victim(1, port)));
    for n in 0..50 {
        // Other ports of one address are the same victim.
        push_core(&mut sut, link, n, victim(1, 7_000 + u16::try_from(n % 7).unwrap()));
    }
    assert_eq!(sut.net.observer.dials.len(), 5);
    assert_eq!(sut.dropped(DropReason::PushThrottled), 45);
    sut.wait_secs(29);
    push_core(&mut sut, link, 50, victim(1, 7_000));
    assert_eq!(sut.net.observer.dials.len(), 5, "the window is not over");
    sut.wait_secs(2);
    for n in 51..100 {
        push_core(&mut sut, link, n, victim(1, 7_000));
    }
    assert_eq!(sut.net.observer.dials.len(), 10, "the next window");
}

#[test]
fn where_nobody_was_no_push_leads_for_a_while() {
    let (mut sut, link) = bench(|_| ());
    push_core(&mut sut, link, 1, victim(1, 7_000));
    for n in 2..20 {
        sut.wait_secs(25);
        sut.send(link, &ping(guid(900 + n)).ttl(1));
        push_core(&mut sut, link, n, victim(1, 7_000));
    }
    assert_eq!(sut.net.observer.dials.len(), 1, "nobody listened there");
    push_core(&mut sut, link, 30, victim(1, 7_001));
    assert_eq!(sut.net.observer.dials.len(), 2, "another port was not tried");
    sut.wait_secs(60);
    push_core(&mut sut, link, 31, victim(1, 7_000));
    assert_eq!(sut.net.observer.dials.len(), 3, "it is 500 seconds later");
}

#[test]
fn pushes_for_many_addresses_are_bounded_together() {
    let (mut sut, link) = bench(|_| ());
    let most = sut.core().config().limits.pushes_in_all;
    for last in 1..=50 {
        push_core(&mut sut, link, last.into(), victim(last, 7_000));
    }
    assert_eq!(sut.net.observer.dials.len(), most);
    sut.wait_secs(31);
    push_core(&mut sut, link, 99, victim(99, 7_000));
    assert_eq!(sut.net.observer.dials.len(), most + 1);
}

/// P-65
#[test]
fn only_addresses_in_scope_are_connected_to_and_none_on_port_0() {
    let addresses = [
        ("127.0.0.60:7000", Some(Scope::Loopback)),
        ("10.1.2.3:7000", Some(Scope::Private)),
        ("100.64.0.1:7000", Some(Scope::Private)),
        ("5.6.7.8:7000", Some(Scope::Public)),
        ("0.0.0.0:7000", None),
        ("224.0.0.1:7000", None),
        ("255.255.255.255:7000", None),
        ("127.0.0.60:0", None),
        ("10.1.2.3:0", None),
        ("5.6.7.8:0", None),
    ];
    for scope in [Scope::Loopback, Scope::Private, Scope::Public] {
        for (addr, home) in addresses {
            let (mut sut, link) = bench(|config| config.scope = scope);
            let addr = addr.parse().unwrap();
            push_core(&mut sut, link, 2, addr);
            let allowed = home == Some(scope);
            let dialled: Vec<_> = sut.net.observer.dials.iter().map(|dial| dial.addr).collect();
            assert_eq!(dialled, if allowed { vec![addr] } else { vec![] }, "{addr} in {scope:?}");
            assert_eq!(sut.dropped(DropReason::OutOfScope), u64::from(!allowed));
        }
    }
}

#[test]
fn who_shares_nothing_does_not_connect() {
    let mut sut = Bench::sharing(&[], |_| ());
    let link = sut.link();
    push_core(&mut sut, link, 2, CALLER.parse().unwrap());
    assert_eq!(sut.net.observer.dials.len(), 0);
    assert_eq!(sut.dropped(DropReason::PushNotServed), 1);
}

/// A Push is a wish to connect once.
#[test]
fn a_refused_connect_is_not_tried_again() {
    let (mut sut, link) = bench(|_| ());
    push_core(&mut sut, link, 2, victim(1, 7_000));
    sut.wait_secs(120);
    assert_eq!(sut.net.observer.dials.len(), 1);
}

/// What wants files is not what Pushes may be aimed at.
#[test]
fn a_push_that_led_to_a_download_does_not_count() {
    let (mut sut, link) = bench(|_| ());
    for n in 0..12 {
        push_core(&mut sut, link, 100 + n, CALLER.parse().unwrap());
        let peer = sut.net.accept(CALLER.parse().unwrap()).expect("the core connects");
        sut.read(peer);
        sut.send_bytes(peer, b"GET /get/7/hello.txt HTTP/1.0\r\n\r\n");
        assert!(sut.read(peer).ends_with(b"hello"));
    }
    // One that leads to a request for what is not there counts, and one that leads to two files
    // makes up for one connection only.
    for n in 0..12 {
        push_core(&mut sut, link, 200 + n, CALLER.parse().unwrap());
        let Some(peer) = sut.net.accept(CALLER.parse().unwrap()) else { continue };
        sut.send_bytes(peer, b"GET /get/9/no HTTP/1.0\r\n\r\n");
    }
    assert_eq!(sut.net.observer.dials.len(), 12 + 5);
    assert_eq!(sut.dropped(DropReason::PushThrottled), 7);
    let (mut sut, link) = bench(|_| ());
    for n in 0..5 {
        push_core(&mut sut, link, n, CALLER.parse().unwrap());
    }
    let peer = sut.net.accept(CALLER.parse().unwrap()).expect("the core connects");
    for _ in 0..3 {
        sut.send_bytes(peer, b"GET /get/7/hello.txt HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    for n in 10..15 {
        push_core(&mut sut, link, n, CALLER.parse().unwrap());
    }
    assert_eq!(sut.net.observer.dials.len(), 6);
}
