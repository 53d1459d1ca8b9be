//! Transfers in memory: slots, steps and refusals.

use crate::support::{Bench, Net, Peer, shared_files};
use servent::config::{Config, Scope};
use servent::servent::{Event, Hit};
use servent::transfer::download::{DownloadError, Kept, Source};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;
use std::time::Duration;

const BIG_BYTES: usize = 3_000_000;

fn big_file() -> Vec<u8> {
    (0..BIG_BYTES).map(|at| u8::try_from((at * 31 + at / 256) % 251).unwrap()).collect()
}

/// Node 0 shares, node 1 fetches.
fn pair(seed: u64) -> Net {
    let mut files = shared_files();
    files.push((9, "big file.bin", big_file()));
    files.push((10, "empty", Vec::new()));
    let mut net = Net::new(seed);
    net.add(Net::still(), &files);
    net.add(Net::still(), &[]);
    net
}

fn source(addr: SocketAddrV4, index: u32, name: &str) -> Source {
    Source { addr, index, name: name.to_owned(), size: None, push: None }
}

fn fetch(net: &mut Net, index: u32, name: &str) -> Vec<Event> {
    let source = source(net.addr(0), index, name);
    net.tell(1, |core, now| core.download(now, source, Kept::default())).unwrap();
    net.settle();
    net.events(1)
}

#[test]
fn a_file_arrives_byte_for_byte_however_the_stream_is_cut() {
    let mut net = pair(3);
    net.params.split = true;
    for (index, name, bytes) in [
        (7, "hello.txt", b"hello".to_vec()),
        (10, "empty", vec![]),
        (9, "big file.bin", big_file()),
    ] {
        let events = fetch(&mut net, index, name);
        let size = bytes.len() as u64;
        assert!(
            matches!(events[..], [Event::Downloaded { bytes, .. }] if bytes == size),
            "{name}: {events:?}"
        );
        assert!(net.downloads(1).last() == Some(&bytes), "{name}: not the same bytes");
    }
    let served = |event: &Event| matches!(event, Event::Served { complete: true, .. });
    assert_eq!(net.events(0).iter().filter(|event| served(event)).count(), 3);
    assert_eq!((net.core(0).stats().files_served, net.core(0).uploads()), (3, 0));
    assert_eq!(net.open_uploads(0), 0, "files left open");
    assert_eq!(net.core(0).neighbours().count(), 0, "a transfer is no link");
}

/// gtk-gnutella asks with index 0 for hits without a hash.
#[test]
fn a_wrong_index_is_forgiven_for_a_name_there_is_once() {
    let mut net = pair(3);
    let events = fetch(&mut net, 0, "hello.txt");
    assert!(matches!(events[..], [Event::Downloaded { .. }]), "{events:?}");
}

#[test]
fn what_is_not_there_fails_in_so_many_words() {
    let mut net = pair(3);
    let events = fetch(&mut net, 7, "no such file");
    let [Event::DownloadFailed { error, .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(*error, DownloadError::NotFound);

    let nobody = source("127.0.0.99:1".parse().unwrap(), 7, "hello.txt");
    net.tell(1, |core, now| core.download(now, nobody, Kept::default())).unwrap();
    net.settle();
    let events = net.events(1);
    let [Event::DownloadFailed { error, .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(*error, DownloadError::Connect { refused: true });
}

#[test]
fn what_a_search_finds_can_be_fetched() {
    let mut net = pair(4);
    let addr = net.addr(0);
    net.tell(1, |core, now| core.add_static_peer(now, addr));
    net.settle();
    net.tell(1, |core, now| core.search(now, "bsd notes", None)).unwrap();
    net.settle();
    let found = net.events(1).into_iter().find_map(|event| match event {
        Event::Hit { hit, .. } => Some(hit),
        _ => None,
    });
    let Hit { addr, index, name, size, .. } = found.expect("a hit");
    let source = Source { addr, index, name, size: Some(size), push: None };
    net.tell(1, |core, now| core.download(now, source, Kept::default())).unwrap();
    net.settle();
    assert_eq!(net.downloads(1), [shared_files().remove(1).2]);
    assert_eq!(net.neighbours(1), [0], "the link is still there");
}

fn sharing_big() -> Bench {
    Bench::sharing(&[(1, "big.bin", big_file())], |_| ())
}

/// A peer that asks for the file and does not read the answer.
fn greedy(sut: &mut Bench) -> Peer {
    let peer = sut.dial();
    sut.net.stop_reading(peer);
    sut.send_bytes(peer, b"GET /get/1/big.bin HTTP/1.0\r\n\r\n");
    peer
}

#[test]
fn the_ninth_upload_is_told_to_come_back() {
    let mut sut = sharing_big();
    let readers: Vec<_> = (0..8).map(|_| greedy(&mut sut)).collect();
    assert_eq!((sut.core().uploads(), sut.net.open_uploads(0)), (8, 8));
    let ask = |sut: &mut Bench| {
        let ninth = sut.dial();
        sut.send_bytes(ninth, b"GET /get/1/big.bin HTTP/1.1\r\nHost: x\r\n\r\n");
        String::from_utf8_lossy(&sut.read(ninth)).into_owned()
    };
    let busy = ask(&mut sut);
    assert!(busy.starts_with("HTTP/1.1 503 "), "{busy}");
    assert!(busy.contains("Retry-After: "), "{busy}");
    sut.net.reset(readers[3]);
    sut.net.settle();
    assert!(ask(&mut sut).starts_with("HTTP/1.1 200 "), "a reader that leaves frees its slot");
}

#[test]
fn a_reader_may_close_its_own_side_first() {
    let mut sut = sharing_big();
    let reader = sut.dial();
    sut.net.write(reader, b"GET /get/1/big.bin HTTP/1.0\r\n\r\n");
    sut.net.hang_up(reader);
    sut.net.settle();
    assert!(sut.read(reader).ends_with(&big_file()));
    assert!(sut.is_closed(reader) && sut.core().uploads() == 0);
}

#[test]
fn a_reader_that_stops_reading_loses_its_slot_within_a_minute_or_so() {
    let mut sut = sharing_big();
    let reader = greedy(&mut sut);
    sut.wait_secs(55);
    assert_eq!(sut.core().uploads(), 1);
    sut.wait_secs(10);
    assert_eq!((sut.core().uploads(), sut.is_closed(reader)), (0, true));
}

/// One bounded step of one upload a turn, in turns, so that descriptors never wait behind files.
#[test]
fn uploads_take_turns_and_leave_room_for_descriptors() {
    let mut config = Net::still();
    config.limits.upload_step_bytes = 10_000;
    let mut net = Net::new(5);
    net.add(config, &[(1, "big.bin", big_file())]);
    let fetchers = [1, 2, 3].map(|_| net.add(Net::still(), &[]));
    for fetcher in fetchers {
        let source = source(net.addr(0), 1, "big.bin");
        net.tell(fetcher, |core, now| core.download(now, source, Kept::default())).unwrap();
    }
    net.settle();
    for fetcher in fetchers {
        assert!(net.downloads(fetcher) == [big_file()], "fetcher {fetcher}");
    }
    let steps = net.upload_steps(0);
    assert!(steps.iter().all(|step| step.bytes <= 10_000));
    assert!(steps.windows(2).all(|pair| pair[0].turn != pair[1].turn), "two steps in one turn");
    let first: BTreeSet<_> = steps[..30].iter().map(|step| step.conn).collect();
    assert_eq!(first.len(), 3, "nobody waits for another's file to end");
}

#[test]
fn a_link_is_served_while_files_go_out() {
    let mut sut = sharing_big();
    let link = sut.link();
    for _ in 0..4 {
        let reader = sut.dial();
        sut.net.write(reader, b"GET /get/1/big.bin HTTP/1.0\r\n\r\n");
    }
    sut.net.run_for(crate::support::LATENCY * 4);
    assert_eq!(sut.core().uploads(), 4, "in the middle of it");
    sut.net.write(
        link,
        &crate::support::descriptor::query(servent::wire::Guid([9; 16]), "big").bytes(),
    );
    sut.net.run_for(crate::support::LATENCY * 2);
    assert_eq!(sut.core().uploads(), 4, "still in the middle of it");
    assert_eq!(sut.receive(link).len(), 1);
}

#[test]
fn a_guest_serves_files_but_takes_no_links() {
    let role = servent::config::Role::Guest;
    let mut sut = Bench::with(|config: &mut Config| config.role = role);
    let peer = sut.dial();
    sut.send_bytes(peer, crate::support::CONNECT);
    assert_eq!((sut.read(peer), sut.is_closed(peer)), (vec![], true));
    let reader = sut.dial();
    sut.send_bytes(reader, b"GET /get/7/hello.txt HTTP/1.0\r\n\r\n");
    assert!(sut.read(reader).ends_with(b"hello"));
}

#[test]
fn the_upload_limit_holds_and_is_shared_fairly() {
    const LIMIT: usize = 200_000;
    const SECONDS: usize = 10;
    let mut sut = Bench::sharing(&[(1, "big.bin", big_file())], |config| {
        config.upload_limit = Some(LIMIT as u64);
    });
    for _ in 0..3 {
        let reader = sut.dial();
        sut.net.write(reader, b"GET /get/1/big.bin HTTP/1.0\r\n\r\n");
    }
    sut.wait_secs(SECONDS as u64);
    let mut sent = BTreeMap::new();
    for step in sut.net.upload_steps(0) {
        *sent.entry(step.conn).or_insert(0) += step.bytes;
    }
    let sent: Vec<usize> = sent.into_values().collect();
    let total: usize = sent.iter().sum();
    assert_eq!(sent.len(), 3, "nobody is left out");
    assert!(total <= LIMIT * SECONDS + LIMIT / 4, "{total} bytes");
    assert!(total >= LIMIT * SECONDS * 9 / 10, "{total} bytes: the limit is there to be used");
    let (least, most) = (sent.iter().min().unwrap(), sent.iter().max().unwrap());
    assert!(least * 6 >= most * 5, "{sent:?}");
}

#[test]
fn a_reader_that_stops_leaves_its_share_to_the_others() {
    const LIMIT: usize = 200_000;
    let mut sut = Bench::sharing(&[(1, "big.bin", big_file())], |config| {
        config.upload_limit = Some(LIMIT as u64);
    });
    greedy(&mut sut);
    let reader = sut.dial();
    sut.net.write(reader, b"GET /get/1/big.bin HTTP/1.0\r\n\r\n");
    sut.wait_secs(10);
    let got = sut.read(reader).len();
    assert!(got >= 9 * LIMIT, "{got} bytes");
}

#[test]
fn one_address_does_not_take_all_slots() {
    let mut sut =
        Bench::sharing(&[(1, "big.bin", big_file())], |config| config.scope = Scope::Private);
    let ask = |sut: &mut Bench, last: u8| {
        let reader = sut.net.dial_from([10, 0, 0, last].into(), 0);
        sut.send_bytes(reader, b"GET /get/1/big.bin HTTP/1.0\r\n");
        sut.net.stop_reading(reader);
        sut.send_bytes(reader, b"\r\n");
        sut.net.read_again(reader);
        let status = String::from_utf8_lossy(&sut.take(reader, 12)).into_owned();
        sut.net.stop_reading(reader);
        (reader, status)
    };
    let readers: Vec<_> = (0..4).map(|_| ask(&mut sut, 1)).collect();
    assert!(readers.iter().all(|(_, status)| status == "HTTP/1.0 200"), "{readers:?}");
    assert_eq!(ask(&mut sut, 1).1, "HTTP/1.0 503");
    assert_eq!(ask(&mut sut, 2).1, "HTTP/1.0 200");
    assert_eq!(sut.core().uploads(), 5);
    sut.net.reset(readers[0].0);
    sut.net.settle();
    assert_eq!(ask(&mut sut, 1).1, "HTTP/1.0 200", "a slot given back is free again");
}

/// The bytes GNU Serveez sends. It takes no other status line, and stalls when the body comes with
/// the head.
#[test]
fn serveez_gets_its_dialect_and_a_pause() {
    let mut sut = Bench::sharing(&[(7, "zebra sample.txt", b"stripes".to_vec())], |_| ());
    let reader = sut.dial();
    let request = "GET /get/7/zebra sample.txt HTTP/1.0\r\nUser-agent: Gnutella\r\n\
                   Content-range: bytes=0-\r\n\r\n";
    sut.send_bytes(reader, request.as_bytes());
    let head = String::from_utf8(sut.read(reader)).unwrap();
    assert!(head.starts_with("HTTP 200 OK\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    assert!(head.contains("\r\nContent-length: 7\r\n"), "{head}");
    sut.wait(Duration::from_millis(98));
    assert_eq!(sut.read(reader), b"");
    sut.wait(Duration::from_millis(10));
    assert_eq!(sut.read(reader), b"stripes");
    assert!(sut.is_closed(reader));
}

/// What a hit offers can be fetched by peers that encode names and by those that do not.
#[test]
fn every_name_can_be_asked_for_in_both_dialects() {
    let names = ["100%2F%5C%ff.txt", "gr\u{fc}n \u{4e2d}.txt", "a%20b", "a b", "x?#&.txt", "%41"];
    let files: Vec<(u32, &str, Vec<u8>)> =
        (1..).zip(names).map(|(n, name)| (n, name, name.as_bytes().to_vec())).collect();
    let mut sut = Bench::sharing(&files, |_| ());
    let mut ask = |path: String| {
        let reader = sut.dial();
        sut.send_bytes(reader, format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes());
        String::from_utf8(sut.read(reader)).unwrap()
    };
    for (number, name) in (1..).zip(names) {
        let encoded = servent::wire::http_head::encode_name(name);
        // GNU Serveez sends other bytes than ASCII as underscores.
        let masked: String =
            name.bytes().map(|byte| if byte.is_ascii() { char::from(byte) } else { '_' }).collect();
        for asked in [encoded, name.to_owned(), masked] {
            let answer = ask(format!("/get/{number}/{asked}"));
            assert!(answer.ends_with(&format!("\r\n\r\n{name}")), "{asked}: {answer}");
        }
    }
    let wrong = ask("/get/2/gr__m ___.txt".to_owned());
    assert!(wrong.starts_with("HTTP/1.0 404"), "another name: {wrong}");
}

/// GNU Serveez closes when it is asked for an encoded name, for each file anew.
#[test]
fn a_servent_that_wants_raw_names_is_asked_so_from_its_second_file_on() {
    let mut sut = Bench::sharing(&[], |_| ());
    let serveez: SocketAddrV4 = "127.0.0.66:6346".parse().unwrap();
    sut.net.listen(serveez);
    let mut paths = Vec::new();
    for file in ["a one", "a two"] {
        let source = source(serveez, 7, file);
        sut.tell(|core, now| core.download(now, source, Kept::default())).unwrap();
        while let Some(peer) = sut.net.accept(serveez) {
            let request = String::from_utf8(sut.read(peer)).unwrap();
            paths.push(request.lines().next().unwrap().to_owned());
            if !request.contains('%') {
                sut.send_bytes(peer, b"HTTP 200 OK\r\nContent-length: 2\r\n\r\nok");
            }
            sut.net.hang_up(peer);
            sut.net.settle();
        }
    }
    assert_eq!(sut.net.downloads(0).len(), 2);
    let asked = ["a%20one", "a one", "a two"].map(|name| format!("GET /get/7/{name} HTTP/1.1"));
    assert_eq!(paths, asked);
}

fn retry_after(sut: &mut Bench, peer: Peer) -> Option<u64> {
    sut.send_bytes(peer, b"GET /get/1/big.bin HTTP/1.1\r\nHost: x\r\n\r\n");
    let answer = String::from_utf8_lossy(&sut.read(peer)).into_owned();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    let value = answer.lines().find_map(|line| line.strip_prefix("Retry-After: "))?;
    value.parse().ok()
}

/// What the peer is told is when the first upload will end at its present speed.
#[test]
fn a_busy_servent_says_when_a_slot_is_likely_to_be_free() {
    let mut sut = Bench::sharing(&[(1, "big.bin", big_file())], |config| {
        config.max_uploads = 1;
        config.upload_limit = Some(100_000);
    });
    let reader = sut.dial();
    sut.net.write(reader, b"GET /get/1/big.bin HTTP/1.0\r\n\r\n");
    sut.wait_secs(10);
    let asker = sut.dial();
    let first = retry_after(&mut sut, asker).unwrap();
    assert!((19..=22).contains(&first), "{first} s for 2 MB");
    sut.wait_secs(10);
    let second = retry_after(&mut sut, asker).unwrap();
    assert!((9..=12).contains(&second), "{second} s for 1 MB");
    sut.wait_secs(second);
    sut.send_bytes(asker, b"GET /get/1/big.bin HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(sut.read(asker).starts_with(b"HTTP/1.1 200 "), "it was right");
}

#[test]
fn a_refused_request_is_told_and_a_finished_one_is_not() {
    let mut sut = sharing_big();
    let peer = sut.dial();
    for (path, range) in [("/get/1/no", ""), ("/get/1/big.bin", "Range: bytes=9999999-\r\n")] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{range}\r\n");
        sut.send_bytes(peer, request.as_bytes());
    }
    let long = format!("GET /{} HTTP/1.0\r\n\r\n", "x".repeat(5_000));
    sut.send_bytes(peer, long.as_bytes());
    let told: Vec<_> = sut
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::Refused { status, path, .. } => Some((status.code(), path.len())),
            _ => None,
        })
        .collect();
    assert_eq!(told, [(404, 9), (416, 14), (404, 256)]);
}
