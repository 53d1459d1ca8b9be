//! Links that speak 0.6, beside those that speak 0.4: which dialect is dialled, what is agreed on, who
//! is refused and how links end.

use crate::support::descriptor::{guid, ping, query};
use crate::support::{Bench, Net, shared_files};
use servent::config::{Config, Role};
use servent::net::Peer;
use servent::servent::{CloseReason, Event, KnownHost, PeerRole};
use servent::wire::{Bye, Dialect, Guid, Kind};
use std::net::SocketAddrV4;
use std::time::Duration;

const ULTRAPEER: &str = "X-Ultrapeer: True\r\nBye-Packet: 0.1\r\n";
const LEAF: &str = "X-Ultrapeer: False\r\nBye-Packet: 0.1\r\n";
const LAST_LEG: &[u8] = b"GNUTELLA/0.6 200 OK\r\n\r\n";

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The value of a header in one leg.
fn header<'a>(leg: &'a str, name: &str) -> Option<&'a str> {
    let lines = leg.lines().skip(1).filter_map(|line| line.split_once(": "));
    let mut values = lines.filter(|(known, _)| *known == name).map(|(_, value)| value);
    let value = values.next();
    assert_eq!(values.next(), None, "{name} twice in {leg}");
    value
}

/// A peer asks for a link, and what it is answered.
fn ask(sut: &mut Bench, headers: &str) -> (Peer, String) {
    let peer = sut.dial();
    sut.send_bytes(peer, format!("GNUTELLA CONNECT/0.6\r\n{headers}\r\n").as_bytes());
    let answer = text(&sut.read(peer));
    (peer, answer)
}

/// A peer with a link of 0.6.
fn linked(sut: &mut Bench, headers: &str) -> Peer {
    let (peer, answer) = ask(sut, headers);
    assert!(answer.starts_with("GNUTELLA/0.6 200 OK\r\n"), "{answer}");
    sut.send_bytes(peer, LAST_LEG);
    peer
}

fn roles(sut: &Bench) -> Vec<(Dialect, PeerRole)> {
    sut.core().neighbours().map(|link| (link.peer.dialect, link.peer.role)).collect()
}

/// Dials of the servent to `addr`, until `until`: when, the dialect, and the peer.
fn dials(
    sut: &mut Bench,
    addr: SocketAddrV4,
    until: u64,
    mut reply: impl FnMut(&mut Bench, Peer),
) -> Vec<(u64, Dialect)> {
    let mut seen = Vec::new();
    for second in 0..until {
        if let Some(peer) = sut.net.accept(addr) {
            sut.net.settle();
            let first = text(&sut.read(peer));
            let dialect = match first.starts_with("GNUTELLA CONNECT/0.6\r\n") {
                true => Dialect::V0_6,
                false => Dialect::V0_4,
            };
            seen.push((second, dialect));
            reply(sut, peer);
            sut.net.settle();
        }
        sut.wait_secs(1);
    }
    seen
}

fn listener(sut: &mut Bench, addr: &str) -> SocketAddrV4 {
    let addr = addr.parse().unwrap();
    sut.net.listen(addr);
    addr
}

/// P-13
#[test]
fn a_plain_0_6_request_is_answered_with_all_that_we_can_do_and_no_binary_before_the_last_leg() {
    let mut sut = Bench::with(|config| config.background_pings = true);
    let (peer, answer) = ask(&mut sut, "User-Agent: T/1\r\n");
    assert!(answer.starts_with("GNUTELLA/0.6 200 OK\r\n") && answer.ends_with("\r\n\r\n"));
    let version = concat!("servent/", env!("CARGO_PKG_VERSION"));
    let listen = sut.addr().to_string();
    for (name, value) in [
        ("User-Agent", version),
        ("Listen-IP", &listen),
        ("X-Ultrapeer", "True"),
        ("X-Ultrapeer-Needed", "True"),
        ("X-Query-Routing", "0.1"),
        ("X-Ultrapeer-Query-Routing", "0.1"),
        ("X-Degree", "32"),
        ("X-Max-TTL", "7"),
        ("X-Dynamic-Querying", "0.1"),
        ("GGEP", "0.5"),
        ("Pong-Caching", "0.1"),
        ("Bye-Packet", "0.1"),
        ("Vendor-Message", "0.1"),
        ("Accept-Encoding", "deflate"),
    ] {
        assert_eq!(header(&answer, name), Some(value), "{name} in {answer}");
    }
    assert!(header(&answer, "Remote-IP").is_some());
    assert_eq!(header(&answer, "Content-Encoding"), None, "it was not asked for (P-17)");
    sut.wait_secs(5);
    assert_eq!(sut.read(peer), b"");
    let last = [LAST_LEG, &ping(guid(1)).ttl(1).bytes()].concat();
    sut.send_bytes(peer, &last);
    let kinds: Vec<Kind> = sut.receive(peer).iter().map(|it| it.kind).collect();
    assert_eq!(kinds, [Kind::Ping, Kind::Pong], "our own Ping, and the answer to the peer's");
    assert_eq!(roles(&sut), [(Dialect::V0_6, PeerRole::Servent)]);
}

/// P-15
#[test]
fn headers_are_read_in_every_spelling() {
    let mut sut = Bench::new();
    let junk = "x".repeat(1_024);
    let (peer, answer) = ask(
        &mut sut,
        &format!(
            "x-ULTRApeer:\r\n  true\r\nJunk: {junk}\r\nno header\r\nuser-agent: T/1\r\n\tmore\r\n"
        ),
    );
    assert!(answer.starts_with("GNUTELLA/0.6 200 OK\r\n"), "{answer}");
    sut.send_bytes(peer, b"GNUTELLA/0.6 200 fine by me\n\n");
    let link = sut.core().neighbours().next().unwrap();
    assert_eq!(link.peer.role, PeerRole::Ultrapeer);
    assert_eq!(link.peer.agent.as_deref(), Some("T/1 more"));
}

/// P-16
#[test]
fn more_headers_than_anyone_needs_are_refused_with_413() {
    let lines = "A: b\r\n".repeat(1_000);
    for headers in [lines, format!("A: {}\r\n", "b".repeat(100_000))] {
        let mut sut = Bench::new();
        let (peer, answer) = ask(&mut sut, &headers);
        assert!(answer.starts_with("GNUTELLA/0.6 413 "), "{answer}");
        assert!(sut.is_closed(peer));
    }
    let mut sut = Bench::new();
    let peer = sut.dial();
    sut.send_bytes(peer, b"GNUTELLA CONNECT/x.y\r\n\r\n");
    assert!(text(&sut.read(peer)).starts_with("GNUTELLA/0.6 400 "));
    assert!(sut.is_closed(peer));
}

/// P-14
#[test]
fn who_finds_us_full_is_told_of_ultrapeers_and_never_of_leaves() {
    let mut sut = Bench::with(|config| (config.max_links, config.max_leaves) = (1, 1));
    let mut link = |is_ultrapeer, port: u16| {
        let role = if is_ultrapeer { ULTRAPEER } else { LEAF };
        let ip = [127, 5, 0, 1].into();
        let peer = sut.net.dial_from(ip, 0);
        let hello = format!("GNUTELLA CONNECT/0.6\r\n{role}Listen-IP: {ip}:{port}\r\n\r\n");
        sut.send_bytes(peer, hello.as_bytes());
        sut.send_bytes(peer, LAST_LEG);
        sut.read(peer);
        SocketAddrV4::new(ip, port)
    };
    let ultrapeer = link(true, 1_001);
    let leaf = link(false, 1_002);
    assert_eq!(roles(&sut).len(), 2, "a leaf takes no place of a link");
    sut.tell(|core, now| core.learn_host(now, leaf));
    let third = "127.0.0.9:6346".parse().unwrap();
    sut.tell(|core, now| core.learn_host(now, third));
    let other = KnownHost {
        addr: "127.0.0.8:6346".parse().unwrap(),
        answered: true,
        speaks: Some(Dialect::V0_4),
    };
    sut.tell(|core, now| core.learn_known_host(now, other));
    for role in [ULTRAPEER, LEAF] {
        let (peer, answer) = ask(&mut sut, role);
        assert!(answer.starts_with("GNUTELLA/0.6 503 "), "{answer}");
        assert_eq!(header(&answer, "X-Try-Ultrapeers"), Some(&*ultrapeer.to_string()));
        assert_eq!(header(&answer, "X-Try"), Some(&*third.to_string()));
        assert!(sut.is_closed(peer));
    }
}

#[test]
fn an_ultrapeer_too_many_may_stay_as_a_leaf() {
    let mut sut = Bench::with(|config| config.max_links = 0);
    for (last, expected) in [
        (&b"GNUTELLA/0.6 200 OK\r\nX-Ultrapeer: False\r\n\r\n"[..], &[PeerRole::Leaf][..]),
        (LAST_LEG, &[PeerRole::Leaf]),
    ] {
        let (peer, answer) = ask(&mut sut, ULTRAPEER);
        assert_eq!(header(&answer, "X-Ultrapeer-Needed"), Some("False"), "{answer}");
        sut.send_bytes(peer, last);
        assert_eq!(roles(&sut).iter().map(|(_, role)| *role).collect::<Vec<_>>(), expected);
    }
}

/// P-18
#[test]
fn an_end_without_a_byte_leads_to_one_dial_with_the_other_dialect_and_what_worked_is_remembered() {
    let mut sut = Bench::new();
    let addr = listener(&mut sut, "127.8.0.1:7000");
    sut.tell(|core, now| core.add_static_peer(now, addr));
    let mut count = 0;
    let seen = dials(&mut sut, addr, 200, |sut, peer| {
        count += 1;
        match count {
            1 | 4 => sut.net.hang_up(peer),
            2 => {
                sut.send_bytes(peer, format!("GNUTELLA/0.6 200 OK\r\n{ULTRAPEER}\r\n").as_bytes());
                assert!(text(&sut.read(peer)).starts_with("GNUTELLA/0.6 200 OK\r\n"));
                assert_eq!(roles(sut), [(Dialect::V0_6, PeerRole::Ultrapeer)]);
                sut.wait_secs(25);
                sut.net.hang_up(peer);
            }
            _ => {}
        }
    });
    use Dialect::{V0_4, V0_6};
    // The loop's seconds stand still for the 25 of the link. The third handshake waits for its minute.
    assert_eq!(&seen[..2], [(0, V0_4), (2, V0_6)]);
    assert_eq!(seen[2].1, V0_6, "it is known to speak it: {seen:?}");
    assert!(seen[2].0 + 25 >= 60, "{seen:?}");
}

#[test]
fn no_address_gets_a_third_handshake_within_a_minute_unless_it_speaks_0_4() {
    let mut sut = Bench::new();
    let addr = listener(&mut sut, "127.8.0.1:7000");
    sut.tell(|core, now| core.add_static_peer(now, addr));
    let seen = dials(&mut sut, addr, 300, |sut, peer| sut.net.hang_up(peer));
    for three in seen.windows(3) {
        assert!(three[2].0 >= three[0].0 + 60, "{seen:?}");
    }
    let mut sut = Bench::new();
    let addr = listener(&mut sut, "127.8.0.1:7000");
    sut.tell(|core, now| core.add_static_peer(now, addr));
    let mut first = true;
    let seen = dials(&mut sut, addr, 60, |sut, peer| {
        if std::mem::take(&mut first) {
            sut.send_bytes(peer, b"GNUTELLA OK\n\n");
            sut.wait_secs(1);
        }
        sut.net.hang_up(peer);
    });
    assert!(seen.len() > 4 && seen.iter().all(|(_, spoken)| *spoken == Dialect::V0_4), "{seen:?}");
}

#[test]
fn a_0_6_status_line_in_answer_to_0_4_leads_to_0_6() {
    let mut sut = Bench::new();
    let addr = listener(&mut sut, "127.8.0.1:7000");
    sut.tell(|core, now| core.add_static_peer(now, addr));
    let seen = dials(&mut sut, addr, 10, |sut, peer| {
        sut.send_bytes(peer, b"GNUTELLA/0.6 400 Bad handshake\r\n\r\n");
    });
    assert_eq!(seen, [(0, Dialect::V0_4), (2, Dialect::V0_6)]);
}

/// Servents are replaced, and what stood in a file may be old.
#[test]
fn what_is_known_of_an_address_is_doubted_when_it_says_otherwise() {
    use Dialect::{V0_4, V0_6};
    let known_to_speak_04 = |role, listening: &str| {
        let mut sut = Bench::with(|config| config.role = role);
        let addr = listener(&mut sut, listening);
        sut.tell(|core, now| {
            core.add_static_peer(now, addr);
            core.recall(now, addr, Some(V0_4), &[]);
        });
        (sut, addr)
    };
    let (mut sut, addr) = known_to_speak_04(Role::Servent, "127.8.0.1:7000");
    let seen = dials(&mut sut, addr, 10, |sut, peer| {
        sut.send_bytes(peer, b"GNUTELLA/0.6 400 Bad handshake\r\n\r\n");
    });
    assert_eq!(seen, [(0, V0_4), (2, V0_6)], "it said what it speaks");
    let (mut sut, addr) = known_to_speak_04(Role::Guest, "127.8.0.2:7000");
    let seen = dials(&mut sut, addr, 10, |sut, peer| sut.net.hang_up(peer));
    assert_eq!(seen, [(0, V0_4), (2, V0_6)], "a command tries once only");
    let (mut sut, addr) = known_to_speak_04(Role::Servent, "127.8.0.3:7000");
    let seen = dials(&mut sut, addr, 200, |sut, peer| sut.net.hang_up(peer));
    let first = seen.iter().find(|(_, spoken)| *spoken == V0_6);
    assert!(first.is_some_and(|(at, _)| *at >= 60), "it may have been full: {seen:?}");
    let later = seen.iter().filter(|(at, _)| *at >= 60).collect::<Vec<_>>();
    for three in later.windows(3) {
        assert!(three[2].0 >= three[0].0 + 60, "{seen:?}");
    }
}

#[test]
fn a_status_in_answer_to_0_6_ends_the_attempt_for_as_long_as_it_says() {
    for (status, least) in [
        ("503 Full", 60),
        ("429 Banned for 5m 0s", 300),
        ("429 Banned for 2h", 3_600),
        ("429 Slow down\r\nRetry-After: 100", 100),
        ("429 Banned for 5m 0s\r\nRetry-After: 100", 300),
    ] {
        let mut sut = Bench::with(|config| config.dialect = None);
        let addr = listener(&mut sut, "127.8.0.1:7000");
        sut.tell(|core, now| {
            core.recall(now, addr, Some(Dialect::V0_6), &[]);
            core.add_static_peer(now, addr);
            core.recall(now, addr, Some(Dialect::V0_6), &[]);
        });
        let seen = dials(&mut sut, addr, 4_000, |sut, peer| {
            sut.send_bytes(peer, format!("GNUTELLA/0.6 {status}\r\n\r\n").as_bytes());
        });
        assert!(seen.iter().all(|(_, spoken)| *spoken == Dialect::V0_6), "{status}: {seen:?}");
        assert!((least..least + 62).contains(&seen[1].0), "{status}: {seen:?}");
        let told = sut.events().iter().any(|event| {
            matches!(event, Event::DialFailed { reason: CloseReason::Declined { .. }, .. })
        });
        assert!(told, "{status}");
    }
}

/// P-108
#[test]
fn hosts_that_a_0_6_servent_names_are_dialled_with_0_6() {
    let mut sut = Bench::with(|config| config.links = 4);
    let named = listener(&mut sut, "127.9.0.1:6346");
    let addr = listener(&mut sut, "127.8.0.1:7000");
    sut.tell(|core, now| core.add_static_peer_speaking(now, addr, Dialect::V0_6));
    let peer = sut.net.accept(addr).unwrap();
    sut.send_bytes(
        peer,
        b"GNUTELLA/0.6 503 Full\r\nX-Try: 127.9.0.1:6346, 127.9.0.2:99999,junk, 10.0.0.1:6346,\r\n\r\n",
    );
    assert_eq!(sut.core().hosts().addrs().collect::<Vec<_>>(), [named]);
    assert_eq!(dials(&mut sut, named, 3, |_, _| ()), [(0, Dialect::V0_6)]);
}

/// Whoever may connect could otherwise fill the host cache without ever being a neighbour.
#[test]
fn who_asks_for_a_link_names_no_hosts() {
    let mut sut = Bench::with(|config| config.links = 4);
    let tries = "X-Try: 127.9.0.1:6346\r\nX-Try-Ultrapeers: 127.9.0.2:6346\r\n";
    let (_, answer) = ask(&mut sut, tries);
    assert!(answer.starts_with("GNUTELLA/0.6 200 OK\r\n"), "{answer}");
    assert_eq!(sut.core().hosts().addrs().count(), 0);
}

#[test]
fn a_leaf_has_links_with_ultrapeers_only_and_accepts_none() {
    let leaf = |config: &mut Config| (config.role, config.links) = (Role::Leaf, 3);
    let mut sut = Bench::with(leaf);
    for headers in [ULTRAPEER, LEAF, ""] {
        let (peer, answer) = ask(&mut sut, headers);
        assert!(answer.starts_with("GNUTELLA/0.6 503 Shielded leaf node\r\n"), "{answer}");
        assert!(sut.is_closed(peer));
    }
    let old = sut.dial();
    sut.send_bytes(old, b"GNUTELLA CONNECT/0.4\n\n");
    assert_eq!((sut.read(old), sut.is_closed(old)), (vec![], true));
    for (answer, stays) in [(ULTRAPEER, true), (LEAF, false), ("", false)] {
        let mut sut = Bench::with(leaf);
        let addr = listener(&mut sut, "127.8.0.1:7000");
        sut.tell(|core, now| core.add_static_peer(now, addr));
        let peer = sut.net.accept(addr).unwrap();
        let hello = text(&sut.read(peer));
        assert!(hello.starts_with("GNUTELLA CONNECT/0.6\r\n"), "{hello}");
        assert_eq!(header(&hello, "X-Ultrapeer"), Some("False"));
        sut.send_bytes(peer, format!("GNUTELLA/0.6 200 OK\r\n{answer}\r\n").as_bytes());
        let last = text(&sut.read(peer));
        assert_eq!(last.starts_with("GNUTELLA/0.6 200 OK\r\n"), stays, "{last}");
        assert_eq!(sut.core().neighbours().count(), usize::from(stays));
    }
}

#[test]
fn a_leaf_keeps_three_ultrapeers_and_counts_those_that_were_named() {
    let mut sut = Bench::with(|config| (config.role, config.links) = (Role::Leaf, 3));
    let addrs: Vec<SocketAddrV4> =
        (1..=6).map(|n| listener(&mut sut, &format!("127.8.0.{n}:7000"))).collect();
    sut.tell(|core, now| {
        core.add_static_peer(now, addrs[0]);
        addrs[1..].iter().for_each(|addr| core.learn_host(now, *addr));
    });
    for _ in 0..10 {
        for addr in &addrs {
            if let Some(peer) = sut.net.accept(*addr) {
                let answer = format!("GNUTELLA/0.6 200 OK\r\n{ULTRAPEER}\r\n");
                sut.send_bytes(peer, answer.as_bytes());
            }
        }
        sut.wait_secs(1);
    }
    let linked: Vec<_> = sut.core().neighbours().map(|link| link.addr).collect();
    assert!(linked.contains(&addrs[0]) && linked.len() == 3, "{linked:?}");
}

#[test]
fn an_ultrapeer_that_nobody_needs_steps_down_unless_others_rely_on_it() {
    for (others, peer_is, steps_down) in
        [(0, ULTRAPEER, true), (1, ULTRAPEER, false), (0, "Bye-Packet: 0.1\r\n", false)]
    {
        let mut sut = Bench::new();
        if others == 1 {
            sut.link();
        }
        let addr = listener(&mut sut, "127.8.0.1:7000");
        sut.tell(|core, now| core.add_static_peer_speaking(now, addr, Dialect::V0_6));
        let peer = sut.net.accept(addr).unwrap();
        sut.read(peer);
        let answer = format!("GNUTELLA/0.6 200 OK\r\n{peer_is}X-Ultrapeer-Needed: False\r\n\r\n");
        sut.send_bytes(peer, answer.as_bytes());
        let last = text(&sut.read(peer));
        let says = if steps_down { "False" } else { "True" };
        assert_eq!(header(&last, "X-Ultrapeer"), Some(says), "{last}");
        let is_leaf = sut.core().neighbours().any(|link| link.peer.is_our_ultrapeer);
        assert_eq!(is_leaf, steps_down);
    }
}

#[test]
fn a_crawler_is_told_our_neighbours_and_leaves() {
    let mut sut = Bench::new();
    let ip = [127, 5, 0, 1].into();
    let up = sut.net.dial_from(ip, 0);
    let ip: std::net::Ipv4Addr = ip;
    let hello = format!("GNUTELLA CONNECT/0.6\r\n{ULTRAPEER}Node: {ip}:1001\r\n\r\n");
    sut.send_bytes(up, hello.as_bytes());
    sut.send_bytes(up, LAST_LEG);
    let (peer, answer) = ask(&mut sut, "Crawler: 0.1\r\n");
    assert!(answer.starts_with("GNUTELLA/0.6 200 OK\r\n"), "{answer}");
    assert_eq!(header(&answer, "Peers"), Some(&*format!("{ip}:1001")));
    assert!(answer.contains("Leaves:"), "{answer}");
    assert!(sut.is_closed(peer) && sut.core().neighbours().count() == 1);
}

#[test]
fn two_neighbours_that_agree_tell_our_own_address() {
    let mut sut = Bench::with(|config| config.listen_ip = [0, 0, 0, 0].into());
    let seen_at = "Remote-IP: 127.77.0.1\r\n";
    let advertised = |sut: &mut Bench| {
        let asker = sut.link();
        let fresh = Guid(sut.net.fresh_id());
        sut.send(asker, &ping(fresh).ttl(1));
        let pong = sut.receive_one(asker);
        sut.net.drop_peer(asker);
        <[u8; 4]>::try_from(&pong.payload[2..6]).unwrap()
    };
    let before = advertised(&mut sut);
    linked(&mut sut, seen_at);
    assert_eq!(advertised(&mut sut), before, "one alone could send others to a third");
    let other = linked(&mut sut, seen_at);
    assert_eq!(advertised(&mut sut), [127, 77, 0, 1]);
    sut.net.drop_peer(other);
    sut.wait_secs(1);
    assert_eq!(advertised(&mut sut), before);
}

/// gtk-gnutella: Bye 501.
#[test]
fn who_deflates_badly_is_told_so() {
    let mut sut = Bench::with(|config| config.compress = true);
    let (peer, _) = ask(&mut sut, ULTRAPEER);
    sut.send_bytes(peer, b"GNUTELLA/0.6 200 OK\r\nContent-Encoding: deflate\r\n\r\n");
    sut.receive(peer);
    sut.send_bytes(peer, &[0xff; 40]);
    let last = sut.receive(peer);
    let bye = last.last().map(|it| Bye::decode(&it.payload).unwrap());
    assert_eq!(bye.map(|bye| bye.code), Some(501));
    assert!(sut.is_closed(peer));
}

#[test]
fn a_link_that_we_end_is_told_why_if_the_peer_reads_it() {
    for (headers, says) in [(ULTRAPEER, true), ("X-Ultrapeer: True\r\n", false)] {
        let mut sut = Bench::new();
        let peer = linked(&mut sut, headers);
        sut.tell(|core, now| core.shut_down(now));
        let last = sut.receive(peer);
        assert_eq!(last.len(), usize::from(says));
        if let [bye] = &last[..] {
            let bye = Bye::decode(&bye.payload).unwrap();
            assert_eq!((bye.code, bye.text().is_empty()), (200, false));
        }
        assert!(sut.is_closed(peer) && !sut.core().is_parting());
        let downs = sut.events().iter().filter(|e| matches!(e, Event::LinkDown { .. })).count();
        assert_eq!(downs, 1);
    }
}

#[test]
fn a_search_crosses_from_0_4_to_0_6_and_its_hit_comes_back() {
    let mut net = Net::new(3);
    let nodes = [0, 1, 2].map(|at| {
        let files = if at == 2 { shared_files() } else { Vec::new() };
        net.add(Net::still(), &files)
    });
    for (from, to, dialect) in [(0, 1, Dialect::V0_4), (1, 2, Dialect::V0_6)] {
        let addr = net.addr(nodes[to]);
        net.tell(nodes[from], |core, now| core.add_static_peer_speaking(now, addr, dialect));
    }
    net.run_for(Duration::from_secs(1));
    let spoken: Vec<_> = net.core(nodes[1]).neighbours().map(|link| link.peer.dialect).collect();
    assert!(spoken.contains(&Dialect::V0_4) && spoken.contains(&Dialect::V0_6), "{spoken:?}");
    net.tell(nodes[0], |core, now| core.search(now, "hello", None)).unwrap();
    net.run_for(Duration::from_secs(1));
    let hits = net.events(nodes[0]);
    let name = |event: &Event| match event {
        Event::Hit { hit, .. } => Some(hit.name.clone()),
        _ => None,
    };
    assert_eq!(hits.iter().filter_map(name).collect::<Vec<_>>(), ["hello.txt"]);
}

#[test]
fn a_query_of_0_4_is_flooded_to_ultrapeers_with_the_ttl_they_take() {
    let mut sut = Bench::new();
    let up = linked(&mut sut, &format!("{ULTRAPEER}X-Max-TTL: 3\r\n"));
    let leaf = linked(&mut sut, LEAF);
    let [a, b] = sut.links();
    sut.send(a, &query(guid(1), "zebra").ttl(7).hops(0));
    let sent = sut.receive_one(up);
    assert_eq!((sent.ttl, sent.hops), (3, 1));
    assert_eq!(sut.receive_one(b).ttl, 6);
    assert_eq!(sut.receive(leaf).len(), 0, "it has not said what it has");
}
