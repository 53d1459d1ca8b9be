//! Pushes of our own: when a download asks its source to connect, and what a GIV brings. Rows P-97
//! and P-98.

use crate::support::descriptor::servent_id;
use crate::support::{Bench, Descriptor, Net, Peer};
use servent::servent::{Event, TransferId};
use servent::stats::DropReason;
use servent::transfer::download::{DownloadError, Kept, Partial, PushVia, Source};
use servent::wire::Kind;
use std::net::SocketAddrV4;

/// An address without a listener.
const DEAD_END: &str = "127.0.0.77:6346";

const ANSWER: &[u8] = b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/// A hit of servent 1, with a trailer whose flags say whether it can be connected to.
fn hit(search: servent::wire::Guid, name: &str, firewalled: bool) -> Descriptor {
    let mut hit = crate::support::descriptor::hit(search, servent_id(1), name);
    let end = hit.payload.len() - 16;
    let trailer = [&b"TEST\x02"[..], &[u8::from(firewalled), 0x01]].concat();
    hit.payload.splice(end..end, trailer);
    hit
}

/// A servent without files, and a link by which hits came.
fn downloader() -> (Bench, Peer) {
    let mut sut = Bench::sharing(&[], |_| ());
    let link = sut.link();
    (sut, link)
}

/// Searches, and turns the hits of servent 1 for `names` into sources.
fn found(sut: &mut Bench, link: Peer, names: &[&str], firewalled: bool) -> Vec<Source> {
    let search = sut.tell(|core, now| core.search(now, "hello", None)).unwrap();
    sut.receive_one(link);
    for name in names {
        sut.send(link, &hit(search, name, firewalled));
    }
    let source = |event| match event {
        Event::Hit { hit, .. } => Some(hit.into_source()),
        _ => None,
    };
    let sources: Vec<_> = sut.events().into_iter().filter_map(source).collect();
    assert_eq!(sources.len(), names.len());
    sources
}

fn fetch(sut: &mut Bench, source: Source) -> TransferId {
    sut.tell(|core, now| core.download(now, source, Kept::default())).unwrap().0
}

/// A download of a firewalled file that waits for its source.
fn waiting() -> (Bench, Peer) {
    let (mut sut, link) = downloader();
    let source = found(&mut sut, link, &["hello.txt"], true).remove(0);
    fetch(&mut sut, source);
    assert_eq!(sut.receive_one(link).kind, Kind::Push);
    (sut, link)
}

fn giv(n: u8) -> String {
    let id: String = servent_id(n).0.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("GIV 7:{id}/hello.txt\n\n")
}

/// The source connects and says GIV.
fn call(sut: &mut Bench) -> Peer {
    let peer = sut.dial();
    sut.send_bytes(peer, giv(1).as_bytes());
    peer
}

fn request(sut: &mut Bench, peer: Peer) -> String {
    String::from_utf8(sut.read(peer)).unwrap()
}

#[track_caller]
fn assert_saved(sut: &mut Bench, files: usize) {
    let events = sut.events();
    let saved = events.iter().filter(|event| matches!(event, Event::Downloaded { .. })).count();
    assert_eq!(saved, files, "{events:?}");
    assert!(sut.net.downloads(0).iter().all(|bytes| bytes == b"hello"));
}

#[track_caller]
fn error(sut: &mut Bench) -> DownloadError {
    let events = sut.events();
    let failed = events.iter().find_map(|event| match event {
        Event::DownloadFailed { error, .. } => Some(*error),
        _ => None,
    });
    failed.unwrap_or_else(|| panic!("the download has not failed: {events:?}"))
}

#[test]
fn a_firewalled_source_is_pushed_at_once() {
    let (mut sut, link) = downloader();
    let source = found(&mut sut, link, &["hello.txt"], true).remove(0);
    let transfer = fetch(&mut sut, source);
    let push = sut.receive_one(link);
    assert_eq!((push.kind, push.ttl, push.hops, push.payload.len()), (Kind::Push, 2, 0, 26));
    assert_eq!(push.payload[..16], servent_id(1).0);
    assert_eq!(push.payload[16..20], [7, 0, 0, 0], "the index of the hit");
    let us = sut.addr();
    assert_eq!(push.payload[20..24], us.ip().octets());
    assert_eq!(push.payload[24..], us.port().to_le_bytes());
    assert_eq!(sut.net.observer.dials.len(), 0, "connecting would be in vain");
    let pushed = |event: &Event| matches!(event, Event::Pushed { transfer: t } if *t == transfer);
    assert!(sut.events().iter().any(pushed));
}

/// P-97
#[test]
fn a_giv_in_lower_case_is_answered_with_a_get_and_the_file_is_saved() {
    let (mut sut, _) = waiting();
    let source = call(&mut sut);
    let asked = request(&mut sut, source);
    assert!(asked.starts_with("GET /get/7/hello.txt HTTP/1."), "{asked}");
    sut.send_bytes(source, ANSWER);
    assert_saved(&mut sut, 1);
    assert!(sut.is_closed(source));
}

/// P-98
#[test]
fn a_giv_nobody_waits_for_is_closed_without_a_request() {
    let (mut sut, _) = waiting();
    let stranger = sut.dial();
    sut.send_bytes(stranger, giv(2).as_bytes());
    assert_eq!((request(&mut sut, stranger), sut.is_closed(stranger)), (String::new(), true));

    let source = call(&mut sut);
    let second = call(&mut sut);
    assert_eq!((request(&mut sut, second), sut.is_closed(second)), (String::new(), true));
    sut.send_bytes(source, ANSWER);
    assert_saved(&mut sut, 1);
    let late = call(&mut sut);
    assert_eq!((request(&mut sut, late), sut.is_closed(late)), (String::new(), true));
}

#[test]
fn a_giv_means_the_same_however_it_is_cut() {
    let line = giv(1);
    for cut in 1..line.len() {
        let (mut sut, _) = waiting();
        let source = sut.dial();
        sut.send_bytes(source, &line.as_bytes()[..cut]);
        assert_eq!(request(&mut sut, source), "", "cut at {cut}");
        sut.send_bytes(source, &line.as_bytes()[cut..]);
        assert!(request(&mut sut, source).starts_with("GET "), "cut at {cut}");
        sut.send_bytes(source, ANSWER);
        assert_saved(&mut sut, 1);
    }
}

#[test]
fn a_giv_without_end_is_closed() {
    let (mut sut, _) = waiting();
    for at_once in [true, false] {
        let chatter = sut.dial();
        let line = [giv(1).trim_end().as_bytes(), &[b'x'; 2_000]].concat();
        for piece in line.chunks(if at_once { line.len() } else { 100 }) {
            sut.send_bytes(chatter, piece);
        }
        assert_eq!((request(&mut sut, chatter), sut.is_closed(chatter)), (String::new(), true));
    }
    let source = call(&mut sut);
    assert!(request(&mut sut, source).starts_with("GET "), "the download waits on");
}

#[test]
fn a_source_that_refuses_is_pushed() {
    let (mut sut, link) = downloader();
    let source = found(&mut sut, link, &["hello.txt"], false).remove(0);
    assert_eq!(source.addr, DEAD_END.parse().unwrap());
    fetch(&mut sut, source);
    assert_eq!(sut.net.observer.dials.len(), 1, "first the direct way");
    assert_eq!(sut.receive_one(link).kind, Kind::Push);
    let source = call(&mut sut);
    assert!(request(&mut sut, source).starts_with("GET /get/7/hello.txt "));
    sut.send_bytes(source, ANSWER);
    assert_saved(&mut sut, 1);
    assert_eq!(sut.net.observer.dials.len(), 1);
}

#[test]
fn a_source_that_does_not_answer_a_connect_is_pushed() {
    let (mut sut, link) = downloader();
    sut.net.swallow(DEAD_END.parse().unwrap());
    let source = found(&mut sut, link, &["hello.txt"], false).remove(0);
    fetch(&mut sut, source);
    sut.wait_secs(19);
    sut.assert_quiet(link);
    sut.wait_secs(2);
    assert_eq!(sut.receive_one(link).kind, Kind::Push);
    let source = call(&mut sut);
    sut.send_bytes(source, ANSWER);
    assert_saved(&mut sut, 1);
}

#[test]
fn without_a_way_to_the_source_there_is_no_push() {
    let (mut sut, link) = downloader();
    let [direct, firewalled]: [Source; 2] =
        [false, true].map(|firewalled| found(&mut sut, link, &["hello.txt"], firewalled).remove(0));
    sut.net.hang_up(link);
    sut.net.settle();
    for source in [direct, firewalled] {
        fetch(&mut sut, source);
        assert_eq!(error(&mut sut), DownloadError::NoPushRoute);
    }
}

#[test]
fn a_push_is_waited_for_half_a_minute() {
    let (mut sut, link) = waiting();
    sut.wait_secs(29);
    assert!(!sut.events().iter().any(|event| matches!(event, Event::DownloadFailed { .. })));
    sut.wait_secs(2);
    assert!(matches!(error(&mut sut), DownloadError::PushUnanswered(_)));
    let late = call(&mut sut);
    assert_eq!((request(&mut sut, late), sut.is_closed(late)), (String::new(), true));
    let repeated = sut.receive_asked(link);
    assert!(repeated.iter().all(|push| push.kind == Kind::Push) && repeated.len() == 2);
}

#[test]
fn a_source_that_wants_the_raw_name_is_pushed_once_more() {
    let (mut sut, link) = downloader();
    let source = found(&mut sut, link, &["hello world.txt"], true).remove(0);
    fetch(&mut sut, source);
    sut.receive_one(link);
    let first = call(&mut sut);
    assert!(request(&mut sut, first).starts_with("GET /get/7/hello%20world.txt "));
    sut.net.hang_up(first);
    sut.net.settle();
    sut.wait_secs(1);
    assert_eq!(sut.receive_one(link).kind, Kind::Push);
    let second = call(&mut sut);
    assert!(request(&mut sut, second).starts_with("GET /get/7/hello world.txt "));
    sut.net.hang_up(second);
    sut.net.settle();
    assert_eq!(error(&mut sut), DownloadError::NoAnswer);
    sut.assert_quiet(link);
}

#[test]
fn a_resumed_download_asks_for_the_rest_over_a_pushed_connection() {
    let (mut sut, link) = downloader();
    let source = found(&mut sut, link, &["hello.txt"], true).remove(0);
    sut.net.keep_partial(0, b"hel");
    let partial = Some(Partial { have: 3, total: Some(5), same_source: true });
    let kept = Kept { partial, complete: false };
    sut.tell(|core, now| core.download(now, source, kept)).unwrap();
    sut.receive_one(link);
    let source = call(&mut sut);
    let asked = request(&mut sut, source);
    assert!(!asked.contains("Range: "), "so little is compared whole: {asked}");
    sut.send_bytes(source, ANSWER);
    assert_saved(&mut sut, 1);
}

#[test]
fn two_downloads_from_one_servent_get_a_connection_each() {
    let (mut sut, link) = downloader();
    for source in found(&mut sut, link, &["hello one.txt", "hello two.txt"], true) {
        fetch(&mut sut, source);
    }
    sut.wait_secs(1);
    assert_eq!(sut.receive_asked(link).len(), 2, "a Push for each");
    let (one, two) = (call(&mut sut), call(&mut sut));
    let mut asked = [one, two].map(|peer| request(&mut sut, peer));
    asked.sort();
    assert!(asked[0].starts_with("GET /get/7/hello%20one.txt "), "{asked:?}");
    assert!(asked[1].starts_with("GET /get/7/hello%20two.txt "), "{asked:?}");
    sut.send_bytes(two, ANSWER);
    sut.send_bytes(one, ANSWER);
    assert_saved(&mut sut, 2);
}

/// A servent that pushes serves pushed files itself: two servents, the far one behind a third.
#[test]
fn a_push_crosses_the_network_and_the_file_comes_back() {
    let mut net = Net::new(11);
    let far: SocketAddrV4 = DEAD_END.parse().unwrap();
    let searcher = net.add(Net::still(), &[]);
    let between = net.add(Net::still(), &[]);
    let sharer = net.add(Net::still(), &[(7, "hello.txt", b"hello".to_vec())]);
    for core in [searcher, sharer] {
        let addr = net.addr(between);
        net.tell(core, |core, now| core.add_static_peer(now, addr));
    }
    net.settle();
    let servent = net.core(sharer).identity();
    net.tell(searcher, |core, now| core.search(now, "hello", None)).unwrap();
    net.settle();
    let push = Some(PushVia { servent, ttl: 3, firewalled: false });
    let source = Source { addr: far, index: 7, name: "hello.txt".to_owned(), size: Some(5), push };
    net.tell(searcher, |core, now| core.download(now, source, Kept::default())).unwrap();
    net.settle();
    assert_eq!(net.downloads(searcher), [b"hello"]);
    assert_eq!((net.core(sharer).uploads(), net.open_uploads(sharer)), (0, 0));
    assert_eq!(net.core(between).stats().dropped(DropReason::NoRoute), 0);
}

const KEPT: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

#[test]
fn a_connection_that_was_pushed_for_serves_the_next_file_too() {
    let (mut sut, link) = downloader();
    let mut sources = found(&mut sut, link, &["hello one.txt", "hello two.txt"], true);
    fetch(&mut sut, sources.remove(0));
    sut.receive_one(link);
    let source = call(&mut sut);
    assert!(request(&mut sut, source).starts_with("GET /get/7/hello%20one.txt "));
    sut.send_bytes(source, KEPT);
    assert_saved(&mut sut, 1);
    assert!(!sut.is_closed(source), "it is kept");
    sut.wait_secs(20);
    fetch(&mut sut, sources.remove(0));
    assert!(request(&mut sut, source).starts_with("GET /get/7/hello%20two.txt "));
    sut.assert_quiet(link);
    sut.send_bytes(source, KEPT);
    assert_saved(&mut sut, 1);
    sut.wait_secs(24);
    assert!(!sut.is_closed(source));
    sut.wait_secs(2);
    assert!(sut.is_closed(source), "but not for ever");
}

/// Several wait, one connection comes: it serves them one after the other.
#[test]
fn a_connection_goes_on_to_the_download_that_waits() {
    let (mut sut, link) = downloader();
    for source in found(&mut sut, link, &["hello one.txt", "hello two.txt", "hello 3.txt"], true) {
        fetch(&mut sut, source);
    }
    let source = call(&mut sut);
    for name in ["hello%20one.txt", "hello%20two.txt", "hello%203.txt"] {
        // Each takes long, and none times out.
        sut.wait_secs(25);
        let asked = request(&mut sut, source);
        assert!(asked.starts_with(&format!("GET /get/7/{name} ")), "{asked}");
        sut.send_bytes(source, KEPT);
        assert_saved(&mut sut, 1);
    }
}

#[test]
fn a_kept_connection_that_ends_is_replaced() {
    let (mut sut, link) = downloader();
    let mut sources = found(&mut sut, link, &["hello one.txt", "hello two.txt", "hello 3"], true);
    fetch(&mut sut, sources.remove(0));
    sut.receive_one(link);
    let source = call(&mut sut);
    sut.send_bytes(source, KEPT);
    assert_saved(&mut sut, 1);
    // It ends before the next file is asked for, and then in place of an answer.
    sut.net.hang_up(source);
    sut.net.settle();
    sut.wait_secs(1);
    fetch(&mut sut, sources.remove(0));
    assert_eq!(sut.receive_one(link).kind, Kind::Push);
    let source = call(&mut sut);
    sut.send_bytes(source, KEPT);
    assert_saved(&mut sut, 1);
    request(&mut sut, source);
    sut.wait_secs(1);
    fetch(&mut sut, sources.remove(0));
    assert!(request(&mut sut, source).starts_with("GET /get/7/hello%203 "));
    sut.net.hang_up(source);
    sut.net.settle();
    assert_eq!(sut.receive_one(link).kind, Kind::Push, "not held against the source");
    let source = call(&mut sut);
    assert!(request(&mut sut, source).starts_with("GET /get/7/hello%203 "), "the same spelling");
    sut.send_bytes(source, KEPT);
    assert_saved(&mut sut, 1);
}

#[test]
fn bytes_on_a_kept_connection_that_nobody_asked_for_end_it() {
    let (mut sut, _) = waiting();
    let source = call(&mut sut);
    sut.send_bytes(source, KEPT);
    assert_saved(&mut sut, 1);
    sut.send_bytes(source, b"HTTP/1.1 200 OK\r\n");
    assert!(sut.is_closed(source));
}

#[test]
fn pushes_are_spaced_repeated_and_few() {
    let (mut sut, link) = downloader();
    let names: Vec<String> = (0..12).map(|n| format!("hello {n}.txt")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for source in found(&mut sut, link, &names, true) {
        fetch(&mut sut, source);
    }
    let mut seconds = Vec::new();
    for second in 0..30 {
        seconds.extend(sut.receive_asked(link).iter().map(|_| second));
        sut.wait_secs(1);
    }
    assert_eq!(seconds, [0, 1, 2, 3], "a sharer takes no more");
    let (mut sut, link) = waiting();
    sut.wait_secs(9);
    sut.assert_quiet(link);
    sut.wait_secs(2);
    assert_eq!(sut.receive_one(link).kind, Kind::Push, "the first one may be lost");
    let source = call(&mut sut);
    sut.send_bytes(source, ANSWER);
    assert_saved(&mut sut, 1);
}

/// Twelve files of a servent that cannot be connected to, all asked for at once.
#[test]
fn twelve_files_of_a_firewalled_servent_arrive() {
    let names: Vec<String> = (1..=12).map(|n| format!("wall {n}.txt")).collect();
    let files: Vec<(u32, &str, Vec<u8>)> =
        (1..).zip(&names).map(|(n, name)| (n, name.as_str(), vec![b'x'; 100_000])).collect();
    let mut net = Net::new(12);
    let searcher = net.add(Net::still(), &[]);
    let sharer = net.add(Net::still(), &files);
    let addr = net.addr(searcher);
    net.tell(sharer, |core, now| core.add_static_peer(now, addr));
    net.settle();
    net.tell(searcher, |core, now| core.search(now, "wall", None)).unwrap();
    net.settle();
    let mut sources = Vec::new();
    for event in net.events(searcher) {
        if let Event::Hit { hit, .. } = event {
            sources.push(Source { addr: DEAD_END.parse().unwrap(), ..hit.into_source() });
        }
    }
    assert_eq!(sources.len(), 12);
    for source in sources {
        net.tell(searcher, |core, now| core.download(now, source, Kept::default())).unwrap();
    }
    net.run_for(std::time::Duration::from_secs(60));
    assert_eq!(net.downloads(searcher).len(), 12, "{:?}", net.events(searcher));
    assert!(
        net.observer.dials.iter().filter(|dial| dial.node == sharer).count() <= 5,
        "few connections"
    );
}

/// A hit from another machine cannot have a port of this one connected to.
#[test]
fn an_address_out_of_scope_is_never_connected_to() {
    use servent::config::{Role, Scope};
    let cases = [
        (Role::Guest, Scope::Public, [10, 0, 0, 2], [127, 0, 0, 1], false),
        (Role::Guest, Scope::Public, [10, 0, 0, 2], [10, 0, 0, 9], true),
        (Role::Guest, Scope::Public, [10, 0, 0, 2], [5, 6, 7, 8], true),
        (Role::Guest, Scope::Public, [5, 6, 7, 8], [10, 0, 0, 9], false),
        (Role::Guest, Scope::Public, [127, 0, 0, 2], [127, 0, 0, 1], true),
        (Role::Guest, Scope::Public, [127, 0, 0, 2], [0, 0, 0, 0], false),
        (Role::Servent, Scope::Private, [10, 0, 0, 2], [127, 0, 0, 1], false),
        (Role::Servent, Scope::Private, [10, 0, 0, 2], [10, 0, 0, 9], true),
        (Role::Servent, Scope::Loopback, [127, 0, 0, 2], [127, 0, 0, 1], true),
    ];
    for (role, scope, near, named, in_scope) in cases {
        let mut sut = Bench::sharing(&[], |config| {
            config.scope = scope;
            config.role = role;
        });
        let neighbour = SocketAddrV4::new(near.into(), 6346);
        sut.net.listen(neighbour);
        sut.tell(|core, now| core.add_static_peer(now, neighbour));
        let link = sut.net.accept(neighbour).unwrap();
        sut.read(link);
        sut.send_bytes(link, b"GNUTELLA OK\n\n");
        let search = sut.tell(|core, now| core.search(now, "hello", None)).unwrap();
        sut.receive_one(link);
        let mut answer = crate::support::descriptor::hit(search, servent_id(1), "hello.txt");
        answer.payload[3..7].copy_from_slice(&named);
        sut.send(link, &answer);
        let hit = sut.events().into_iter().find_map(|event| match event {
            Event::Hit { hit, .. } => Some(hit),
            _ => None,
        });
        let hit = hit.unwrap();
        assert_eq!((hit.addr.ip().octets(), hit.in_scope), (named, in_scope), "{role:?} {near:?}");
        let dials = sut.net.observer.dials.len();
        fetch(&mut sut, hit.into_source());
        let pushed = sut.receive_asked(link).iter().filter(|d| d.kind == Kind::Push).count();
        let connected = sut.net.observer.dials.len() - dials;
        assert_eq!(connected, usize::from(in_scope), "{near:?} {named:?}");
        assert!(in_scope || pushed == 1, "it is asked to connect instead");
    }
}
