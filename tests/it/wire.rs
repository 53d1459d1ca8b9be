//! Bytes to meaning and back: vectors laid out by hand and recorded from real servents.

use crate::support::descriptor::{Descriptor, take_descriptors};
use crate::support::vectors::{self, load, load_descriptor};
use proptest::prelude::*;
use servent::wire::giv::Giv;
use servent::wire::handshake::{self, Dispatch};
use servent::wire::{
    Bye, DecodeError, Deframer, FrameError, HEADER_BYTES, Header, Kind, MinSpeed, Ping, Pong, Push,
    Query, QueryHit, ServentId,
};

/// Decodes a payload and encodes what was understood.
fn through_the_view(kind: Kind, payload: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut out = Vec::new();
    match kind {
        Kind::Ping => Ping::decode(payload)?.encode(&mut out),
        Kind::Pong => Pong::decode(payload)?.encode(&mut out),
        Kind::Bye => Bye::decode(payload)?.encode(&mut out),
        Kind::Push => Push::decode(payload)?.encode(&mut out),
        Kind::Query => Query::decode(payload)?.encode(&mut out),
        Kind::QueryHit => QueryHit::decode(payload)?.encode(&mut out),
        Kind::Other(_) => out.extend_from_slice(payload),
    }
    Ok(out)
}

/// What the deframer makes of `stream` when it comes in pieces cut at `cuts`, and how many bytes
/// it holds back in the end.
fn deframe(stream: &[u8], cuts: &[usize]) -> Result<(Vec<Descriptor>, usize), FrameError> {
    let mut deframer = Deframer::default();
    let mut found = Vec::new();
    let mut bounds = vec![0, stream.len()];
    bounds.extend(cuts.iter().map(|cut| cut % (stream.len() + 1)));
    bounds.sort_unstable();
    for bounds in bounds.windows(2) {
        let mut descriptors = deframer.feed(&stream[bounds[0]..bounds[1]]);
        while let Some(raw) = descriptors.next()? {
            let Header { guid, kind, ttl, hops, payload_len } = raw.header();
            assert_eq!(payload_len as usize, raw.payload().len());
            found.push(Descriptor { guid, kind, ttl, hops, payload: raw.payload().to_vec() });
        }
    }
    Ok((found, deframer.pending_bytes()))
}

fn all_vectors_as_one_stream() -> Vec<u8> {
    vectors::descriptors().iter().flat_map(|(_, descriptor)| descriptor.bytes()).collect()
}

#[test]
fn the_header_is_read_as_the_text_lays_it_out() {
    let bytes = load("query");
    let header = Header::decode(bytes.first_chunk().unwrap());
    assert_eq!(header.guid.to_string(), "1021324354657687ff98a9bacbdced00");
    assert_eq!((header.kind, header.ttl, header.hops), (Kind::Query, 7, 0));
    assert_eq!(header.payload_len, 11);
    assert_eq!(header.encode(), bytes[..HEADER_BYTES]);
}

#[test]
fn a_pong_has_its_port_little_endian_and_its_address_in_dotted_order() {
    let pong = load_descriptor("pong");
    let pong = Pong::decode(&pong.payload).unwrap();
    assert_eq!(pong.addr, "192.0.2.10:6346".parse().unwrap());
    assert_eq!((pong.files, pong.kib, pong.extension), (12, 3456, &[][..]));
}

#[test]
fn a_push_has_the_address_before_the_port() {
    let push = load_descriptor("push");
    let push = Push::decode(&push.payload).unwrap();
    assert_eq!(push.servent.to_string(), "F0E1D2C3B4A59687FF78695A4B3C2D00");
    assert_eq!((push.index, push.addr), (7, "203.0.113.5:6348".parse().unwrap()));
}

#[test]
fn a_query_is_a_speed_or_flags_a_text_and_a_rest() {
    let plain = load_descriptor("query");
    let plain = Query::decode(&plain.payload).unwrap();
    assert_eq!((plain.speed, plain.criteria), (MinSpeed::Kbps(1), &b"free bsd"[..]));
    let modern = load_descriptor("query-modern");
    let modern = Query::decode(&modern.payload).unwrap();
    assert_eq!((modern.speed, modern.criteria), (MinSpeed::Flags(0x8800), &b"free bsd"[..]));
    assert_eq!(modern.extension, b"urn:sha1:\x1c\xc3\x81M\x41\x04");
}

#[test]
fn a_plain_hit_is_walked_to_its_servent_id() {
    let hit = load_descriptor("hit");
    let hit = QueryHit::decode(&hit.payload).unwrap();
    assert_eq!((hit.addr, hit.speed_kbps), ("192.0.2.10:6346".parse().unwrap(), 350));
    let result = hit.results().next().unwrap();
    assert_eq!((result.index, result.size, result.name), (7, 5, &b"hello.txt"[..]));
    assert_eq!((hit.count, result.extension, hit.trailer_bytes), (1, &[][..], &[][..]));
    assert_eq!(hit.servent.to_string(), "F0E1D2C3B4A59687FF78695A4B3C2D00");
}

#[test]
fn a_rich_hit_tells_names_from_extensions_and_push_from_busy() {
    let hit = load_descriptor("hit-rich");
    let hit = QueryHit::decode(&hit.payload).unwrap();
    let results: Vec<_> = hit.results().collect();
    assert_eq!((results[0].name, results[0].size), (&b"hello.txt"[..], 5));
    assert_eq!(results[0].extension, b"urn:sha1:VL2MMHO4YXUKFWV63YHTWSBM3GXKSQ2N");
    assert_eq!((results[1].name, results[1].size), (&b"big.iso"[..], u32::MAX));
    let trailer = hit.trailer().unwrap();
    assert_eq!(trailer.vendor, *b"RSTG");
    assert_eq!((trailer.push(), trailer.busy()), (Some(true), Some(false)));
}

/// The push bit alone has its value in the first byte and its validity in the second.
#[test]
fn the_push_bit_is_the_other_way_round() {
    let plain = load_descriptor("hit").payload;
    for (flags, push, busy) in [
        ([0x01, 0x01], Some(true), None),
        ([0x00, 0x01], Some(false), None),
        ([0x01, 0x00], None, None),
        ([0x04, 0x04], None, Some(true)),
        ([0x04, 0x00], None, Some(false)),
        ([0x00, 0x04], None, None),
    ] {
        let mut payload = plain.clone();
        let at = payload.len() - 16;
        payload.splice(at..at, [b"TEST\x02", &flags[..]].concat());
        let trailer = QueryHit::decode(&payload).unwrap().trailer().unwrap();
        assert_eq!((trailer.push(), trailer.busy()), (push, busy), "{flags:x?}");
    }
}

#[test]
fn a_bye_says_its_words_up_to_the_first_line_end() {
    for (name, code, text) in [
        ("bye", 200, &b"bye"[..]),
        ("bye-headers", 405, b"Inactivity"),
        ("gtkg-bye", 406, b"No reply to alive pings"),
    ] {
        let descriptor = load_descriptor(name);
        let bye = Bye::decode(&descriptor.payload).unwrap();
        assert_eq!((bye.code, bye.text()), (code, text), "{name}");
    }
}

#[test]
fn what_real_servents_sent_is_understood() {
    let serveez = load_descriptor("serveez-pong");
    assert_eq!((serveez.ttl, serveez.hops), (0, 0), "a reply with TTL 0");
    let gtkg = load_descriptor("gtkg-pong");
    let pong = Pong::decode(&gtkg.payload).unwrap();
    assert_eq!((pong.addr, pong.extension.len()), ("127.0.0.1:6501".parse().unwrap(), 27));

    let first = |name| {
        let descriptor = load_descriptor(name);
        let hit = QueryHit::decode(&descriptor.payload).unwrap();
        let result = hit.results().next().unwrap();
        let vendor = hit.trailer().map(|trailer| trailer.vendor);
        (result.index, result.size, String::from_utf8(result.name.to_vec()).unwrap(), vendor)
    };
    let name = "hello gnutella test.txt".to_owned();
    assert_eq!(first("serveez-hit"), (0, 1050, name.clone(), None));
    assert_eq!(first("gtkg-hit"), (3, 1050, name.clone(), Some(*b"GTKG")));
    assert_eq!(first("bun-hit"), (1, 1050, name, Some(*b"GBUN")));
}

#[test]
fn decoding_and_encoding_again_changes_no_byte() {
    for (name, descriptor) in vectors::descriptors() {
        let again = through_the_view(descriptor.kind, &descriptor.payload);
        assert_eq!(again.as_deref(), Ok(&descriptor.payload[..]), "{name}");
        let mut framed = Vec::new();
        Header::decode(descriptor.bytes().first_chunk().unwrap())
            .frame(&descriptor.payload, &mut framed);
        assert_eq!(framed, load(&name), "{name}");
    }
}

/// Without an optional part at the end, nothing can be missing.
#[test]
fn a_truncated_payload_is_an_error() {
    for (name, descriptor) in vectors::descriptors() {
        let optional_end = matches!(descriptor.kind, Kind::Ping | Kind::Bye | Kind::Other(_))
            || ["query-modern", "hit-rich", "gtkg-", "bun-"].iter().any(|n| name.starts_with(n));
        for len in 0..descriptor.payload.len() {
            let short = &descriptor.payload[..len];
            match through_the_view(descriptor.kind, short) {
                // What is left is a shorter descriptor of the same kind, and nothing else.
                Ok(again) => assert!(optional_end && again == short, "{name} at {len}"),
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
    }
}

#[test]
fn a_truncated_stream_waits_for_the_rest() {
    for (name, descriptor) in vectors::descriptors() {
        let bytes = descriptor.bytes();
        for len in 0..bytes.len() {
            assert_eq!(deframe(&bytes[..len], &[]), Ok((vec![], len)), "{name} at {len}");
        }
    }
}

#[test]
fn a_truncated_line_waits_for_the_rest() {
    let (connect, ok, giv) = (load("text-connect-04"), load("text-ok-04"), load("text-giv"));
    for len in 0..connect.len() {
        assert_eq!(handshake::read_connect(&connect[..len]), Ok(None), "{len}");
    }
    assert_eq!(handshake::read_connect(&connect), Ok(Some(connect.len())));
    for len in 0..ok.len() {
        assert_eq!(handshake::read_answer(&ok[..len]), Ok(None), "{len}");
    }
    assert_eq!(handshake::read_answer(&ok), Ok(Some(ok.len())));
    for len in 0..giv.len() {
        assert_eq!(Giv::parse(&giv[..len]), Ok(None), "{len}");
    }
    assert_eq!(handshake::dispatch(&giv), Dispatch::Giv);
}

#[test]
fn a_giv_is_written_as_serveez_reads_it() {
    let line = load("text-giv");
    let (giv, len) = Giv::parse(&line).unwrap().unwrap();
    assert_eq!((giv.index, giv.name.as_str(), len), (7, "zebra sample.txt", line.len()));
    let push = load_descriptor("serveez-push");
    assert_eq!(ServentId(giv.servent_id), Push::decode(&push.payload).unwrap().servent);
    let mut again = Vec::new();
    giv.write(&mut again);
    assert_eq!(again, line);
}

#[test]
fn a_length_beyond_64_kib_loses_the_stream_before_its_payload_comes() {
    let mut header = load("ping");
    for (len, fits) in
        [(65_536_u32, true), (65_537, false), (0x0001_0000_u32 << 8, false), (u32::MAX, false)]
    {
        header[19..23].copy_from_slice(&len.to_le_bytes());
        assert_eq!(deframe(&header, &[]).is_ok(), fits, "{len}");
        assert_eq!(deframe(&header, &[22]).is_ok(), fits, "{len}, header in two pieces");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    /// How TCP cuts the stream makes no difference.
    #[test]
    fn the_deframer_does_not_depend_on_the_split(cuts in prop::collection::vec(0usize..5_000, 0..60)) {
        let stream = all_vectors_as_one_stream();
        let whole = take_descriptors(&mut stream.clone()).unwrap();
        prop_assert_eq!(deframe(&stream, &cuts), Ok((whole, 0)));
    }

    /// Nor for noise, where both ways end in the same error or the same bytes held back.
    #[test]
    fn nor_does_it_on_noise(
        noise in prop::collection::vec(prop_oneof![4 => Just(0u8), 1 => any::<u8>()], 0..300),
        cuts in prop::collection::vec(0usize..300, 0..20),
    ) {
        prop_assert_eq!(deframe(&noise, &cuts), deframe(&noise, &[]));
    }

    /// A view of any bytes is an error, or shows exactly those bytes.
    #[test]
    fn no_payload_is_read_as_something_else(
        kind in prop::sample::select(vec![0x00, 0x01, 0x02, 0x40, 0x80, 0x81]),
        payload in prop::collection::vec(prop_oneof![Just(0u8), Just(1u8), any::<u8>()], 0..200),
    ) {
        if let Ok(again) = through_the_view(Kind::from_code(kind), &payload) {
            prop_assert_eq!(again, payload);
        }
    }
}
