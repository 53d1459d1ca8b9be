//! The three legs of the 0.6 handshake: recorded ones, spellings, limits, pieces.

use crate::support::recorded::Recording;
use proptest::prelude::*;
use servent::wire::handshake06::{
    FirstLine, Headers, Leg, LegError, LegReader, MAX_LEG_BYTES, MAX_LEG_LINES, Version,
};

/// What a reader makes of bytes that arrive in pieces of `size`, and how many it took.
fn in_pieces(bytes: &[u8], size: usize) -> Result<Option<(Leg, usize)>, LegError> {
    let mut reader = LegReader::default();
    let mut before = 0;
    for piece in bytes.chunks(size) {
        if let Some((leg, taken)) = reader.read(piece)? {
            return Ok(Some((leg, before + taken)));
        }
        before += piece.len();
    }
    Ok(None)
}

fn leg(text: &str) -> Leg {
    let (leg, taken) = in_pieces(text.as_bytes(), text.len()).unwrap().unwrap();
    assert_eq!(taken, text.len(), "{text:?}");
    leg
}

fn listed(headers: &Headers) -> Vec<(&str, &str)> {
    headers.iter().collect()
}

#[test]
fn all_legs_of_real_servents_are_read_and_written_alike() {
    for name in ["gtkg-in-06-deflate-both", "bun-in-06-deflate-both", "limewire-in-06-ultrafull"] {
        let recording = Recording::load(name);
        let (ours, theirs) = (recording.sent(), recording.received());
        let (request, at) = in_pieces(&ours, 7).unwrap().unwrap();
        let (answer, answer_bytes) = in_pieces(&theirs, 3).unwrap().unwrap();
        let (last, _) = in_pieces(&ours[at..], 5).unwrap().unwrap();
        assert_eq!(request.first, FirstLine::Connect(Version::V06), "{name}");
        assert_eq!((&answer.first, &last.first), (&FirstLine::ok(), &FirstLine::ok()), "{name}");
        assert_eq!(answer.headers.truth("x-ULTRApeer"), Some(true));
        assert!(answer.headers.accepts_deflate());
        assert_eq!(answer.headers.announces_deflate(), name.contains("deflate"));
        assert_eq!(last.headers.announces_deflate(), name.contains("deflate"));
        let mut written = Vec::new();
        answer.write(&mut written);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        assert_eq!(text(&written), text(&theirs[..answer_bytes]), "{name}");
    }
}

#[test]
fn names_have_no_case_and_lines_may_be_folded_and_repeated() {
    let text = "GNUTELLA CONNECT/0.6\n\
        user-AGENT: T/1\n\
        X-Try: 192.0.2.1:6346,\r\n\
        \t192.0.2.3:6348\r\n\
        \x20\x20\r\n\
        no header\r\n continues nothing\r\n\
        bad name: x\r\n\
        x-try: 192.0.2.2:99999,junk,\r\n\
        Accept-encoding: gzip , Deflate\r\n\
        X-Empty:\r\n\r\n";
    let headers = leg(text).headers;
    assert_eq!(
        listed(&headers),
        [
            ("user-AGENT", "T/1"),
            ("X-Try", "192.0.2.1:6346, 192.0.2.3:6348, 192.0.2.2:99999,junk,"),
            ("Accept-encoding", "gzip , Deflate"),
            ("X-Empty", ""),
        ]
    );
    let learnt: Vec<String> = headers.addresses("X-TRY").map(|addr| addr.to_string()).collect();
    assert_eq!(learnt, ["192.0.2.1:6346", "192.0.2.3:6348"]);
    assert!(headers.accepts_deflate() && !headers.announces_deflate());
    assert_eq!((headers.truth("X-Empty"), headers.get("X-None")), (None, None));
}

#[test]
fn first_lines_say_version_and_code() {
    let first = |line: &str| leg(&format!("{line}\r\n\r\n")).first;
    assert_eq!(first("GNUTELLA CONNECT/0.4"), FirstLine::Connect(Version(0, 4)));
    assert_eq!(first("GNUTELLA CONNECT/1.12"), FirstLine::Connect(Version(1, 12)));
    assert!(Version(0, 6) < Version(0, 7) && Version(0, 7) < Version(1, 0));
    assert_eq!(first("GNUTELLA OK"), FirstLine::Ok04);
    let busy = "GNUTELLA/0.6 503 Shielded leaf node";
    assert_eq!(first(busy), FirstLine::status(503, "Shielded leaf node"));
    assert_eq!(first(busy).to_string(), busy);
    assert_eq!(first("GNUTELLA/0.6 200"), FirstLine::status(200, ""));
    for wrong in [
        "",
        "GNUTELLA",
        "GET / HTTP/1.1",
        "GNUTELLA CONNECT/",
        "GNUTELLA CONNECT/0",
        "GNUTELLA/0.6",
        "GNUTELLA/0.6 20 OK",
        "GNUTELLA/0.6 +20 OK",
        "GNUTELLA/0.6 2000 OK",
        "GNUTELLA/a.b 200 OK",
        "GNUTELLA CONNECT/0.+6",
        "GNUTELLA BUSY",
    ] {
        let error = in_pieces(format!("{wrong}\r\n").as_bytes(), 64).unwrap_err();
        assert!(matches!(error, LegError::FirstLine { .. }), "{wrong:?}: {error}");
        assert!(matches!(error.status(), FirstLine::Status { code: 400, .. }));
    }
    // What is not UTF-8 grows, and must still fit into a line of ours.
    let noisy = [b"GNUTELLA/0.6 503 ", &[0xff; 220][..], b"\r\n\r\n"].concat();
    let (leg, _) = in_pieces(&noisy, 7).unwrap().unwrap();
    let mut written = Vec::new();
    leg.write(&mut written);
    assert_eq!(in_pieces(&written, 7), Ok(Some((leg, written.len()))));
    assert!(in_pieces(&[b'G'; 300], 1).is_err(), "a first line without end");
}

#[test]
fn limits_end_a_leg_however_its_bytes_arrive() {
    let many =
        |headers: usize| format!("GNUTELLA CONNECT/0.6\r\n{}\r\n", "A: b\r\n".repeat(headers));
    let fits = leg(&many(MAX_LEG_LINES - 2));
    assert_eq!(fits.headers.items("a").count(), MAX_LEG_LINES - 2);
    let folded = format!("GNUTELLA CONNECT/0.6\r\nA: b\r\n{}", " c\r\n".repeat(1_000));
    for (text, expected) in [
        (many(MAX_LEG_LINES - 1), LegError::TooManyLines),
        (folded, LegError::TooManyLines),
        (format!("GNUTELLA CONNECT/0.6\r\nA: {}", "b".repeat(100_000)), LegError::TooLong),
    ] {
        for size in [1, 13, 1_460, 200_000] {
            assert_eq!(in_pieces(text.as_bytes(), size).unwrap_err(), expected);
        }
        assert!(matches!(expected.status(), FirstLine::Status { code: 413, .. }));
    }
    let start = "GNUTELLA CONNECT/0.6\r\nX-Junk: ";
    let junk = "j".repeat(MAX_LEG_BYTES - start.len() - 4);
    leg(&format!("{start}{junk}\r\n\r\n"));
}

#[test]
fn a_value_of_one_peer_cannot_end_a_line_to_another() {
    let mut headers = Headers::default();
    headers.add("X-Try", "a\r\nX-Ultrapeer: False\r\n\r\n");
    headers.add("bad\r\nname", "x");
    headers.add("", "x");
    let first = FirstLine::status(503, "Busy\r\nA: b");
    let mut out = Vec::new();
    Leg { first, headers }.write(&mut out);
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text, "GNUTELLA/0.6 503 Busy  A: b\r\nX-Try: a  X-Ultrapeer: False\r\n\r\n");
}

proptest! {
    /// Any lines are read the same in any pieces, and what was understood survives being written.
    #[test]
    fn what_is_read_is_written_and_read_again(
        lines in prop::collection::vec("[A-Za-z:, \\t\\r\\x00-\\x7f\u{e9}]{0,40}", 0..20),
        size in 1usize..50,
    ) {
        let text = format!("GNUTELLA CONNECT/0.6\r\n{}\n\n", lines.join("\n"));
        let whole = in_pieces(text.as_bytes(), text.len());
        prop_assert_eq!(&in_pieces(text.as_bytes(), size), &whole);
        if let Ok(Some((leg, _))) = whole {
            let mut out = Vec::new();
            leg.write(&mut out);
            prop_assert_eq!(in_pieces(&out, size), Ok(Some((leg, out.len()))));
        }
    }
}
