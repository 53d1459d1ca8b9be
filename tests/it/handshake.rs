//! The handshake in both directions, and input that is none. Rows are those of the conformance
//! checklist: P-01 to P-12 and P-19.

use crate::support::descriptor::{guid, ping, query};
use crate::support::{Bench, vectors};
use servent::servent::{CloseReason, Event, IoFailure};
use servent::wire::Kind;
use servent::wire::handshake::HandshakeError;
use std::time::Duration;

/// The servent's answer to a stranger that sends `bytes`, and whether it hangs up.
fn answer_to(bytes: &[u8]) -> (Vec<u8>, bool) {
    let mut sut = Bench::new();
    let peer = sut.dial();
    sut.send_bytes(peer, bytes);
    (sut.read(peer), sut.is_closed(peer))
}

fn ok() -> Vec<u8> {
    vectors::load("text-ok-04")
}

/// P-01
#[test]
fn the_hello_is_answered_with_exactly_thirteen_bytes() {
    let (answer, closed) = answer_to(&vectors::load("text-connect-04"));
    assert_eq!((answer, closed), (ok(), false));
}

/// P-02
#[test]
fn dialling_starts_with_the_exact_hello() {
    let mut sut = Bench::new();
    let addr = "127.8.0.9:7000".parse().unwrap();
    sut.net.listen(addr);
    sut.tell(|core, now| core.add_static_peer(now, addr));
    let peer = sut.net.accept(addr).unwrap();
    assert_eq!(sut.read(peer), vectors::load("text-connect-04"));
}

/// P-03
#[test]
fn a_hello_with_cr_lf_is_taken_and_answered_without_cr() {
    assert_eq!(answer_to(b"GNUTELLA CONNECT/0.4\r\n\r\n"), (ok(), false));
}

/// P-04
#[test]
fn a_hello_may_come_byte_by_byte() {
    let mut sut = Bench::new();
    let peer = sut.dial();
    let hello = vectors::load("text-connect-04");
    for (at, byte) in hello.iter().enumerate() {
        assert_eq!(sut.read(peer), b"", "an answer before byte {at}");
        sut.send_bytes(peer, &[*byte]);
        sut.wait(Duration::from_millis(10));
    }
    assert_eq!(sut.read(peer), ok());
}

/// P-05
#[test]
fn a_ping_may_follow_in_the_same_segment() {
    let mut sut = Bench::new();
    let peer = sut.dial();
    let segment = [vectors::load("text-connect-04"), ping(guid(1)).ttl(1).bytes()].concat();
    sut.send_bytes(peer, &segment);
    assert_eq!(sut.take(peer, 13), ok());
    let pong = sut.receive_one(peer);
    assert_eq!((pong.kind, pong.guid), (Kind::Pong, guid(1)));
}

/// P-06
#[test]
fn what_is_no_hello_is_hung_up_on_without_a_word() {
    for opening in [
        &b"GNUTELLA CONNECT/0.4\nUser-Agent: T/1\n\n"[..],
        b"HELLO\n\n",
        b"\n",
        b"CHAT CONNECT/0.1\r\n",
        b"\x16\x03\x01\x00\xa5",
    ] {
        assert_eq!(answer_to(opening), (vec![], true), "{}", opening.escape_ascii());
    }
}

/// P-07
#[test]
fn a_first_line_without_end_is_hung_up_on() {
    let noise = vec![b'A'; 100_000];
    assert_eq!(answer_to(&noise), (vec![], true));
    let almost = [b"GNUTELLA CONNECT/0.4", &[b'\r'; 100_000][..]].concat();
    assert_eq!(answer_to(&almost), (vec![], true));
}

/// P-08
#[test]
fn a_stranger_that_says_nothing_is_given_twenty_seconds() {
    let mut sut = Bench::new();
    let (silent, slow) = (sut.dial(), sut.dial());
    sut.send_bytes(slow, b"GNUTELLA CONN");
    sut.wait_secs(19);
    assert!(!sut.is_closed(silent) && !sut.is_closed(slow));
    sut.wait_secs(2);
    assert!(sut.is_closed(silent) && sut.is_closed(slow));
}

/// P-09. The handshake must be complete: until then it could be a request for a file.
#[test]
fn a_link_too_many_is_closed_in_silence_once_its_hello_is_complete() {
    let mut sut = Bench::with(|config| config.max_links = 2);
    let [a, b] = sut.links();
    let late = sut.dial();
    sut.send_bytes(late, b"GNUTELLA CONNECT/0.4\n");
    assert!(!sut.is_closed(late));
    sut.send_bytes(late, b"\n");
    assert_eq!((sut.read(late), sut.is_closed(late)), (vec![], true));
    let browser = sut.dial();
    sut.send_bytes(browser, b"GET /get/7/hello.txt HTTP/1.0\r\n\r\n");
    assert!(sut.read(browser).ends_with(b"hello"), "files are still served");
    sut.assert_alive(a);
    sut.net.hang_up(b);
    sut.net.settle();
    sut.link();
}

/// P-10
#[test]
fn any_other_answer_is_a_refusal_and_is_reported_in_its_own_words() {
    for (answer, line) in [
        (&b"GNUTELLA BUSY\n\n"[..], "GNUTELLA BUSY"),
        (b"GNUTELLA/0.6 503 Full\r\n\r\n", "GNUTELLA/0.6 503 Full"),
        (b"\x1b[2J\n", ".[2J"),
    ] {
        let mut sut = Bench::new();
        let peer = sut.dialled();
        sut.send_bytes(peer, answer);
        assert_eq!((sut.read(peer), sut.is_closed(peer)), (vec![], true), "{line}");
        let refused = HandshakeError::Refused { line: line.to_owned() };
        assert!(dial_failed(&mut sut, &CloseReason::Handshake(refused)), "{line}");
    }
}

/// P-10
#[test]
fn a_close_instead_of_an_answer_is_a_refusal() {
    let mut sut = Bench::new();
    let peer = sut.dialled();
    sut.net.hang_up(peer);
    sut.net.settle();
    assert!(dial_failed(&mut sut, &CloseReason::Io(IoFailure::Eof)));
}

fn dial_failed(sut: &mut Bench, why: &CloseReason) -> bool {
    let failed = |event: &Event| matches!(event, Event::DialFailed { reason, .. } if reason == why);
    sut.events().iter().any(failed)
}

/// P-11; some old servents answered the handshake by repeating it.
#[test]
fn acceptance_is_understood_in_every_spelling() {
    for answer in [&b"GNUTELLA OK\n\n"[..], b"GNUTELLA OK\r\n\r\n", b"GNUTELLA CONNECT/0.4\n\n"] {
        let mut sut = Bench::new();
        let peer = sut.dialled();
        sut.send_bytes(peer, answer);
        sut.assert_alive(peer);
    }
}

/// P-12
#[test]
fn descriptors_may_follow_the_acceptance_in_the_same_segment() {
    let mut sut = Bench::new();
    let peer = sut.dialled();
    sut.send_bytes(peer, &[ok(), ping(guid(1)).ttl(1).bytes()].concat());
    assert_eq!(sut.receive_one(peer).guid, guid(1));
}

#[test]
fn no_descriptor_leaves_before_the_acceptance() {
    let mut sut = Bench::with(|config| config.background_pings = true);
    let peer = sut.dialled();
    sut.tell(|core, now| core.search(now, "free", None)).unwrap();
    sut.send_bytes(peer, b"GNUTELLA ");
    assert_eq!(sut.read(peer), b"");
    sut.send_bytes(peer, b"OK\n\n");
    let kinds: Vec<_> = sut.receive(peer).iter().map(|d| d.kind).collect();
    assert_eq!(kinds, [Kind::Ping, Kind::Query]);
}

/// P-19
#[test]
fn descriptors_may_be_split_anywhere() {
    let stream = [ping(guid(1)).ttl(1).bytes(), query(guid(2), "hello").ttl(1).bytes()].concat();
    for cut in 1..stream.len() {
        let mut sut = Bench::new();
        let peer = sut.link();
        sut.send_bytes(peer, &stream[..cut]);
        sut.send_bytes(peer, &stream[cut..]);
        let got: Vec<_> = sut.receive(peer).iter().map(|d| (d.kind, d.guid)).collect();
        assert_eq!(got, [(Kind::Pong, guid(1)), (Kind::QueryHit, guid(2))], "cut at {cut}");
    }
}
