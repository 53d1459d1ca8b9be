//! GGEP, HUGE and deflate: vectors of the protocol's texts and of real servents, errors, bounds.

use crate::support::vectors::load_descriptor;
use proptest::prelude::*;
use servent::wire::deflate::{InflateError, Inflater, deflate, inflate};
use servent::wire::ggep::{
    Ggep, GgepBuilder, GgepError, MAX_DATA_BYTES, MAX_INFLATED_BYTES, Meaning, describe,
    put_addresses, put_number,
};
use servent::wire::huge::{AreaBlock, blocks, put_area};
use servent::wire::{Ping, Pong, Push, Query, QueryHit, Urn};

const HELLO: &str = "urn:sha1:VL2MMHO4YXUKFWV63YHTWSBM3GXKSQ2N";

fn ids(ggep: Ggep<'_>) -> Vec<String> {
    ggep.extensions().map(|it| String::from_utf8_lossy(it.id).into_owned()).collect()
}

/// The block of one extension: flags without "last", id, encoded length, data.
fn block(flags: u8, id: &[u8], length: &[u8], data: &[u8]) -> Vec<u8> {
    let id_len = u8::try_from(id.len()).unwrap();
    [&[0xc3, 0x80 | flags | id_len][..], id, length, data].concat()
}

fn said(id: &str, data: &[u8]) -> String {
    let (name, meaning) = describe(id.as_bytes(), data).unwrap();
    meaning.map_or_else(|| name.to_owned(), |meaning| format!("{name}: {meaning}"))
}

#[test]
fn what_real_servents_extend_is_named() {
    let ping = load_descriptor("gtkg-ping");
    let ping = Ggep::decode_all(Ping::decode(&ping.payload).unwrap().extension).unwrap();
    assert_eq!((ids(ping), ping.get(b"SCP").unwrap().raw), (vec!["SCP".to_owned()], &[3][..]));

    let pong = load_descriptor("gtkg-pong");
    let pong = Ggep::decode_all(Pong::decode(&pong.payload).unwrap().extension).unwrap();
    assert_eq!(ids(pong), ["VC", "UP", "DU", "TLS"]);
    assert_eq!(pong.number(b"DU"), Some(0xa3));
    let of_pong = |id: &str| said(id, &pong.get(id.as_bytes()).unwrap().data().unwrap());
    assert_eq!(of_pong("VC"), "vendor: GTKG 8.3");
    let slots = "ultrapeer: 0.2, free slots: 255 for leaves, 60 for ultrapeers";
    assert_eq!((of_pong("UP"), of_pong("TLS")), (slots.to_owned(), "speaks TLS: yes".to_owned()));

    let limewire = Ggep::decode_all(b"\xc3\x83LOC\x42en\0").unwrap();
    assert_eq!(ids(limewire), ["LOC"], "a NUL behind the block");

    let push = load_descriptor("gtkg-push");
    let push = Ggep::decode_all(Push::decode(&push.payload).unwrap().extension).unwrap();
    assert_eq!(ids(push), ["TLS"]);

    let hit = load_descriptor("gtkg-hit");
    let hit = QueryHit::decode(&hit.payload).unwrap();
    let area: Vec<_> = blocks(hit.results().next().unwrap().extension).collect();
    let [AreaBlock::Urn(urn), AreaBlock::Ggep(ggep)] = area[..] else { panic!("{area:?}") };
    assert_eq!(urn.to_string(), "urn:sha1:WQKD3G2PUOGLIMHLYFPJJC5QBQHNJW4Z");
    assert_eq!(
        (ids(ggep), ggep.number(b"CT")),
        (vec!["TT".into(), "CT".into()], Some(0x6b02_ee18))
    );
    let trailer = Ggep::in_trailer(hit.trailer().unwrap().private).unwrap();
    assert_eq!(ids(trailer), ["GTKGV", "TLS", "BH"]);
}

#[test]
fn a_rich_hit_says_its_real_size_and_its_push_proxy() {
    let hit = load_descriptor("hit-rich");
    let hit = QueryHit::decode(&hit.payload).unwrap();
    let results: Vec<_> = hit.results().collect();
    let hello = Urn::parse(HELLO.as_bytes()).unwrap();
    assert!(blocks(results[0].extension).eq([AreaBlock::Urn(hello)]));
    let (big, rest) = Ggep::decode(results[1].extension).unwrap();
    assert_eq!((big.number(b"LF"), rest), (Some(1 << 32), &[][..]));
    let trailer = Ggep::in_trailer(hit.trailer().unwrap().private).unwrap();
    assert!(trailer.get(b"BH").is_some());
    assert_eq!(trailer.addresses(b"PUSH"), ["198.51.100.7:6347".parse().unwrap()]);

    let query = load_descriptor("query-modern");
    let area: Vec<_> = blocks(Query::decode(&query.payload).unwrap().extension).collect();
    let [AreaBlock::Urn(Urn::AskSha1), AreaBlock::Ggep(media)] = area[..] else {
        panic!("{area:?}")
    };
    assert_eq!(said("M", &media.get(b"M").unwrap().data().unwrap()), "media wanted: audio");
}

#[test]
fn lengths_take_one_to_three_bytes() {
    for (len, bytes) in [
        (0, &[0x40][..]),
        (1, &[0x41]),
        (63, &[0x7f]),
        (64, &[0x81, 0x40]),
        (4_095, &[0xbf, 0x7f]),
        (4_096, &[0x81, 0x80, 0x40]),
        (MAX_DATA_BYTES, &[0xbf, 0xbf, 0x7f]),
    ] {
        let mut builder = GgepBuilder::new();
        assert!(builder.add(b"A", &vec![7; len]));
        let built = builder.finish();
        assert_eq!(built[..3 + bytes.len()], *block(0, b"A", bytes, &[]), "{len}");
        assert_eq!(Ggep::decode_all(&built).unwrap().get(b"A").unwrap().raw.len(), len);
    }
    let mut builder = GgepBuilder::new();
    assert!(!builder.add(b"A", &vec![7; MAX_DATA_BYTES + 1]));
    assert!(
        !builder.add(b"", b"x") && !builder.add(&[b'A'; 16], b"x") && !builder.add(b"\0", b"x")
    );
    assert_eq!(builder.finish(), b"", "a block has an extension");
}

#[test]
fn cobs_removes_zeros_as_published() {
    for (raw, encoded) in [
        (&[0][..], &[1, 1][..]),
        (&[0, 0], &[1, 1, 1]),
        (b"a\0b", &[2, b'a', 2, b'b']),
        (&[0x11, 0x22, 0, 0x33], &[3, 0x11, 0x22, 2, 0x33]),
        (&[0, 0, 0, 0, 1], &[1, 1, 1, 1, 2, 1]),
        (&[], &[1]),
    ] {
        let length = [0x40 | u8::try_from(encoded.len()).unwrap()];
        let bytes = block(0x40, b"X", &length, encoded);
        assert_eq!(Ggep::decode_all(&bytes).unwrap().get(b"X").unwrap().data().unwrap(), raw);
        let mut builder = GgepBuilder::nul_free();
        builder.add(b"X", raw);
        // Without a zero there is nothing to remove.
        let expected = if raw.is_empty() { block(0, b"X", &[0x40], &[]) } else { bytes };
        assert_eq!(builder.finish(), expected);
    }
    let hash = [
        &[0xc3, 0xc1, b'H', 0x56, 0x16, 1][..],
        Urn::parse(HELLO.as_bytes()).unwrap().sha1().unwrap(),
    ]
    .concat();
    let hash = Ggep::decode_all(&hash).unwrap().get(b"H").unwrap().data().unwrap();
    assert_eq!(said("H", &hash), format!("content hash: {HELLO}"));
}

#[test]
fn deflated_data_is_inflated_within_its_bound() {
    let published = b"\xc3\xe2ZZ\x4e\x09\x78\xda\x4b\x4c\x4a\x4e\xc4\x8d\x05\xb2\x0c\x0b\x7d";
    let ggep = Ggep::decode_all(published).unwrap();
    assert_eq!(ggep.get(b"ZZ").unwrap().data().unwrap(), "abc".repeat(10).as_bytes());
    let deflated = |len: usize| {
        let mut builder = GgepBuilder::new();
        builder.add(b"Z", &deflate(&vec![0; len]));
        let mut bytes = builder.finish();
        bytes[1] |= 0x20;
        bytes
    };
    let fits = deflated(MAX_INFLATED_BYTES);
    let data = Ggep::decode_all(&fits).unwrap().get(b"Z").unwrap().data().unwrap();
    assert_eq!(data.len(), MAX_INFLATED_BYTES);
    for len in [MAX_INFLATED_BYTES + 1, 10_000_000] {
        let bomb = deflated(len);
        let error = Ggep::decode_all(&bomb).unwrap().get(b"Z").unwrap().data().unwrap_err();
        let limit = MAX_INFLATED_BYTES;
        assert_eq!(error, GgepError::Inflate(InflateError::TooLong { limit }));
    }
}

#[test]
fn what_is_no_block_says_why() {
    let many = [&[0xc3][..], &b"\x01A\x40".repeat(33)].concat();
    for (bytes, error) in [
        (&b""[..], GgepError::NoMagic),
        (b"\x82BH\x40", GgepError::NoMagic),
        (b"\xc3", GgepError::CutShort),
        (b"\xc3\x02BH\x40", GgepError::CutShort),
        (b"\xc3\x82BH\x41", GgepError::CutShort),
        (b"\xc3\x92BH\x40", GgepError::ReservedBit),
        (b"\xc3\x80\x40", GgepError::NoId),
        (b"\xc3\x81A\x00", GgepError::BadLength),
        (b"\xc3\x81A\xc0", GgepError::BadLength),
        (b"\xc3\x81A\x80\x80\x80\x40", GgepError::BadLength),
        (b"\xc3\x81A\x40garbage", GgepError::BytesBehind),
        (b"\xc3\x81A\x40\0\0", GgepError::BytesBehind),
        (&many, GgepError::TooMany),
    ] {
        assert_eq!(Ggep::decode_all(bytes), Err(error), "{bytes:x?}");
    }
    for broken in [&[0u8][..], &[3, 1], &[2, 0]] {
        let length = [0x40 | u8::try_from(broken.len()).unwrap()];
        let bytes = block(0x40, b"X", &length, broken);
        let data = Ggep::decode_all(&bytes).unwrap().get(b"X").unwrap().data();
        assert_eq!(data, Err(GgepError::BadCobs), "{broken:x?}");
    }
}

#[test]
fn numbers_and_addresses_inflate_to_no_more_than_anyone_sends() {
    let inflates_to = |id: &[u8], bytes: usize| {
        let data = deflate(&vec![7; bytes]);
        block(0x20, id, &[0x40 | u8::try_from(data.len()).unwrap()], &data)
    };
    for (bytes, hosts) in [(60, 10), (6_000, 0)] {
        let block = inflates_to(b"IPP", bytes);
        assert_eq!(Ggep::decode_all(&block).unwrap().addresses(b"IPP").len(), hosts);
    }
    let block = inflates_to(b"LF", 8);
    assert_eq!(Ggep::decode_all(&block).unwrap().number(b"LF"), Some(0x0707_0707_0707_0707));
}

#[test]
fn known_extensions_are_written_as_they_are_read() {
    assert_eq!(put_number(0), [0u8; 0]);
    assert_eq!(put_number(1 << 32), [0, 0, 0, 0, 1]);
    assert_eq!(put_number(u64::MAX), [0xff; 8]);
    let hosts = ["192.0.2.1:6346".parse().unwrap(), "198.51.100.7:80".parse().unwrap()];
    let mut builder = GgepBuilder::new();
    assert!(builder.add(b"IPP", &put_addresses(hosts)) && builder.add(b"LF", &put_number(5 << 30)));
    let bytes = builder.finish();
    let ggep = Ggep::decode_all(&bytes).unwrap();
    assert_eq!((ggep.addresses(b"IPP"), ggep.number(b"LF")), (hosts.to_vec(), Some(5 << 30)));
    for (id, data, text) in [
        ("IPP", put_addresses(hosts), "hosts: 192.0.2.1:6346, 198.51.100.7:80"),
        ("ALT", vec![1, 2, 3], "other sources"),
        ("GUE", vec![0x01], "GUESS: 0.1"),
        ("u", HELLO.as_bytes()[4..].to_vec(), &format!("content hash: {HELLO}")),
        ("XQ", b"free bsd".to_vec(), "search text: free bsd"),
        ("XQ", vec![0xff], "search text"),
        (
            "M",
            vec![0xfc, 0x01],
            "media wanted: audio, video, documents, images, Windows programs, Unix programs, torrents",
        ),
        ("6", vec![0; 16], "address, IPv6: ::"),
        ("ALT_TLS", vec![0xa0], "other sources with TLS: 10100000"),
        ("CT", vec![1; 9], "created, seconds since 1970"),
    ] {
        assert_eq!(said(id, &data), text, "{id}");
    }
    assert_eq!(describe(b"ZZ", &[]), None);
    assert_eq!(describe(b"BH", b"later").unwrap().1, Some(Meaning::Present));
}

#[test]
fn urns_have_a_kind_and_a_hash_or_ask_for_one() {
    let tiger = "LWPNACQDBZRYXW3VHJVCJ64QBZNGHOHHHZWCLNQ";
    let bitprint = format!("urn:bitprint:{}.{tiger}", &HELLO[9..]);
    for text in [HELLO, &bitprint, &format!("urn:tree:tiger/:{tiger}"), "urn:", "urn:sha1:"] {
        let urn = Urn::parse(text.as_bytes()).unwrap();
        assert_eq!(urn.to_string(), text);
        assert_eq!(Urn::parse(text.to_ascii_lowercase().as_bytes()), Some(urn));
        assert_eq!(urn.is_request(), text.ends_with(':'));
        assert!(urn.to_binary().is_none_or(|binary| Urn::from_binary(&binary) == Some(urn)));
    }
    let short = &HELLO[..HELLO.len() - 1];
    for wrong in [
        "",
        "urn",
        "urn:md5:x",
        short,
        "urn:sha1:VL2MMHO4YXUKFWV63YHTWSBM3GXKSQ21",
        &bitprint[..50],
    ] {
        assert_eq!(Urn::parse(wrong.as_bytes()), None, "{wrong}");
    }
}

#[test]
fn an_area_is_read_block_by_block_and_ends_at_what_is_malformed() {
    let hello = Urn::parse(HELLO.as_bytes()).unwrap();
    let mut area = Vec::new();
    put_area(&[Urn::AskAny, hello], b"\xc3\x81M\x41\x04", &mut area);
    assert_eq!(area, [b"urn:\x1c", HELLO.as_bytes(), b"\x1c\xc3\x81M\x41\x04"].concat());
    area.extend(b"\x1c<audio/>\x1c{deflate}x\0\x1curn:md5:y\x1c\xc3\x81");
    let read: Vec<_> = blocks(&area).collect();
    assert_eq!(read[..2], [AreaBlock::Urn(Urn::AskAny), AreaBlock::Urn(hello)]);
    assert!(matches!(read[2], AreaBlock::Ggep(_)));
    assert_eq!(
        read[3..],
        [
            AreaBlock::Metadata(b"<audio/>"),
            AreaBlock::Metadata(b"{deflate}x"),
            AreaBlock::Other(b"urn:md5:y"),
            AreaBlock::BadGgep(b"\xc3\x81", GgepError::CutShort),
        ]
    );
    assert_eq!(blocks(&b"x\x1c".repeat(100)).count(), 32);
}

#[test]
fn a_stream_inflates_in_pieces_and_ends_when_it_is_broken() {
    let text = b"hello gnutella ".repeat(500);
    let deflated = deflate(&text);
    for size in [1, 7, 10_000] {
        let (mut inflater, mut out) = (Inflater::default(), Vec::new());
        for piece in deflated.chunks(size) {
            inflater.inflate(piece, &mut out, 100_000).unwrap();
        }
        assert!(inflater.has_ended() && out == text);
        assert_eq!(inflater.inflate(b"x", &mut out, 10), Err(InflateError::Broken));
    }
    assert_eq!(
        inflate(&deflated, text.len() - 1),
        Err(InflateError::TooLong { limit: text.len() - 1 })
    );
    assert_eq!(inflate(&deflated[..deflated.len() - 1], 10_000), Err(InflateError::CutShort));
    let mut wrong_sum = deflated;
    *wrong_sum.last_mut().unwrap() ^= 1;
    assert_eq!(inflate(&wrong_sum, 10_000), Err(InflateError::Broken));
    assert_eq!(inflate(b"no zlib", 10_000), Err(InflateError::Broken));
}

proptest! {
    /// What is built is read as it was meant, and a block for a result has no zero in it.
    #[test]
    fn blocks_go_there_and_back(
        all in prop::collection::vec(("[A-Za-z_]{1,15}", prop::collection::vec(any::<u8>(), 0..700)), 1..32),
    ) {
        for mut builder in [GgepBuilder::new(), GgepBuilder::nul_free()] {
            for (id, data) in &all {
                prop_assert!(builder.add(id.as_bytes(), data));
            }
            let bytes = builder.finish();
            let ggep = Ggep::decode_all(&bytes).unwrap();
            let read = ggep.extensions().map(|it| (it.id.to_vec(), it.data().unwrap().into_owned()));
            let meant = all.iter().map(|(id, data)| (id.clone().into_bytes(), data.clone()));
            prop_assert!(read.eq(meant));
        }
        let mut builder = GgepBuilder::nul_free();
        for (id, data) in &all {
            builder.add(id.as_bytes(), data);
        }
        prop_assert!(!builder.finish().contains(&0));
    }
}
