//! Pushes of our own: when a download asks its source to connect, and what a GIV brings. Rows P-97
//! and P-98.

use crate::support::descriptor::servent_id;
use crate::support::{Bench, Descriptor, Net, Peer};
use servent::servent::{Event, TransferId};
use servent::stats::DropReason;
use servent::transfer::download::{DownloadError, Partial, PushVia, Source};
use servent::wire::Kind;
use std::net::SocketAddrV4;

/// Nobody listens there.
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

/// A core without files, and a link by which hits came.
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
        Event::Hit { hit, .. } => Some(Source {
            addr: hit.addr,
            index: hit.index,
            name: hit.name,
            size: Some(hit.size.into()),
            push: Some(PushVia {
                servent: hit.servent,
                ttl: hit.hops + 2,
                firewalled: hit.push == Some(true),
            }),
        }),
        _ => None,
    };
    let sources: Vec<_> = sut.events().into_iter().filter_map(source).collect();
    assert_eq!(sources.len(), names.len());
    sources
}

fn fetch(sut: &mut Bench, source: Source) -> TransferId {
    sut.tell(|core, now| core.download(now, source, None)).unwrap().0
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
    assert_eq!(sut.net.dials.len(), 0, "connecting would be in vain");
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
    assert_eq!(sut.net.dials.len(), 1, "first the direct way");
    assert_eq!(sut.receive_one(link).kind, Kind::Push);
    let source = call(&mut sut);
    assert!(request(&mut sut, source).starts_with("GET /get/7/hello.txt "));
    sut.send_bytes(source, ANSWER);
    assert_saved(&mut sut, 1);
    assert_eq!(sut.net.dials.len(), 1);
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
    sut.assert_quiet(link);
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
    let partial = Some(Partial { have: 3, total: Some(5) });
    sut.tell(|core, now| core.download(now, source, partial)).unwrap();
    sut.receive_one(link);
    let source = call(&mut sut);
    let asked = request(&mut sut, source);
    assert!(asked.contains("\r\nRange: bytes=3-\r\n"), "{asked}");
    sut.send_bytes(source, b"HTTP/1.0 206 P\r\nContent-Range: bytes 3-4/5\r\n\r\nlo");
    assert_saved(&mut sut, 1);
}

#[test]
fn two_downloads_from_one_servent_get_a_connection_each() {
    let (mut sut, link) = downloader();
    for source in found(&mut sut, link, &["hello one.txt", "hello two.txt"], true) {
        fetch(&mut sut, source);
    }
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

/// What is pushed for is served by who pushes as well: two cores, the far one behind a third.
#[test]
fn a_push_crosses_the_network_and_the_file_comes_back() {
    let mut net = Net::new(11);
    let far: SocketAddrV4 = DEAD_END.parse().unwrap();
    let searcher = net.add(Net::still(), &[]);
    let between = net.add(Net::still(), &[]);
    let sharer = net.add(Net::still(), &[(7, "hello.txt", b"hello".to_vec())]);
    for core in [searcher, sharer] {
        let addr = net.addr(between);
        net.tell(core, |core, now| core.keep(now, addr));
    }
    net.settle();
    let servent = net.core(sharer).identity();
    net.tell(searcher, |core, now| core.search(now, "hello", None)).unwrap();
    net.settle();
    let push = Some(PushVia { servent, ttl: 3, firewalled: false });
    let source = Source { addr: far, index: 7, name: "hello.txt".to_owned(), size: Some(5), push };
    net.tell(searcher, |core, now| core.download(now, source, None)).unwrap();
    net.settle();
    assert_eq!(net.downloads(searcher), [b"hello"]);
    assert_eq!((net.core(sharer).uploads(), net.open_uploads(sharer)), (0, 0));
    assert_eq!(net.core(between).stats().dropped(DropReason::NoRoute), 0);
}
