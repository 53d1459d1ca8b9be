//! `servent decode` as a program: hex, raw bytes and captures in, lines and an exit code out.
//!
//! `serveez-04-session.pcap` is GNU Serveez 0.1.5 asked by a probe over a plain 0.4 link, then by
//! HTTP. `tshark-synthetic.pcap` has one descriptor per TCP segment and no handshake, the form in
//! which tshark's dissector reads everything it can.

use serde_json::Value;
use std::io::Write;
use std::process::{Command, Output, Stdio};

const SESSION: &[u8] = include_bytes!("../data/serveez-04-session.pcap");
const SYNTHETIC: &[u8] = include_bytes!("../data/tshark-synthetic.pcap");

const PING: &str = "00112233 44556677 ff 8899aabbccdd 00  00 07 00 00000000 ; a Ping\n";
const QUERY: &str = "
    10213243 54657687 ff 98a9bacbdced 00   # the same id again in its hit
    80 07 00 0b000000
    0100 6672656520627364 00               ; 1 kbit/s, \"free bsd\"
";
const RICH_HIT: &str = "
    10213243 54657687 ff 98a9bacbdced 00
    81 03 00 8b000000
    02 ca18 c000020a 5e010000
    07000000 05000000 68656c6c6f2e747874 00
    75726e3a736861313a564c324d4d484f34595855 4b46575636335948545753424d3347584b5351324e 00
    08000000 ffffffff 6269672e69736f 00
    c3 c2 4c46 46 010101010201 00
    52535447 02 3d 39
    c3 02 4248 40
    84 50555348 46 c6336407 cb18
    f0e1d2c3b4a59687ff78695a4b3c2d00
";

fn decode(input: &[u8], args: &[&str]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_servent"))
        .arg("decode")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The inputs fit into a pipe. A program that stops reading early is seen by the caller.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

pub(crate) fn text(input: &[u8]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = decode(input, &[]);
    let utf8 = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), utf8(stdout), utf8(stderr))
}

pub(crate) fn json(input: &[u8]) -> (i32, Vec<Value>) {
    let output = decode(input, &["-", "--json"]);
    let lines = String::from_utf8(output.stdout).unwrap();
    let values = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (output.status.code().unwrap(), values)
}

pub(crate) fn kinds(values: &[Value]) -> Vec<&str> {
    values.iter().map(|value| value["kind"].as_str().unwrap()).collect()
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let lines = text.lines().map(|line| line.split([';', '#']).next().unwrap());
    let digits = lines.flat_map(str::chars).filter_map(|c| c.to_digit(16));
    let digits: Vec<u8> = digits.map(|digit| u8::try_from(digit).unwrap()).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

#[test]
fn hex_with_comments_becomes_readable_blocks() {
    let (code, out, err) = text(format!("{PING}{QUERY}").as_bytes());
    assert_eq!((code, err.as_str()), (0, ""));
    let lines: Vec<Vec<&str>> = out.lines().map(|line| line.split_whitespace().collect()).collect();
    let ping = "@0 Ping 0011223344556677ff8899aabbccdd00 TTL 7, hops 0, 0 bytes";
    assert_eq!(lines[0].join(" "), ping);
    let query = "@23 Query 1021324354657687ff98a9bacbdced00 TTL 7, hops 0, 11 bytes";
    assert_eq!(lines[1].join(" "), query);
    assert_eq!(lines[2..], [vec!["min", "speed", "1", "kbit/s"], vec!["criteria", "free", "bsd"]]);
}

#[test]
fn json_names_every_field_and_keeps_extensions_as_hex() {
    let (code, values) = json(RICH_HIT.as_bytes());
    assert_eq!((code, values.len()), (0, 1));
    let hit = &values[0];
    for (name, expected) in [
        ("offset", Value::from(0)),
        ("guid", "1021324354657687ff98a9bacbdced00".into()),
        ("kind", "query_hit".into()),
        ("ttl", 3.into()),
        ("hops", 0.into()),
        ("length", 139.into()),
        ("host", "192.0.2.10".into()),
        ("port", 6346.into()),
        ("speed_kbps", 350.into()),
        ("vendor", "RSTG".into()),
        ("push", true.into()),
        ("busy", false.into()),
        ("extension", "c302424840845055534846c6336407cb18".into()),
        ("servent_id", "F0E1D2C3B4A59687FF78695A4B3C2D00".into()),
    ] {
        assert_eq!(hit[name], expected, "{name}");
    }
    assert!(hit.get("error").is_none() && hit.get("time").is_none());
    let big = &hit["results"][1];
    assert_eq!(big["name"], "big.iso");
    assert_eq!(big["size"], u32::MAX);
    assert_eq!(big["extension"], "c3c24c4646010101010201");
}

#[test]
fn raw_bytes_go_on_after_what_is_malformed() {
    let mut input = b"GNUTELLA CONNECT/0.4\n\nGNUTELLA OK\n\n".to_vec();
    let unterminated = "00112233445566778899aabbccddeeff 80 07 00 04000000 0000 6162";
    let short_pong = "00112233445566778899aabbccddeeff 01 01 00 03000000 010203";
    let begun = "00112233445566778899aabbccddeeff 40 01 00 1a000000 0001";
    for hex in [unterminated, PING, short_pong, QUERY, begun] {
        input.extend(unhex(hex));
    }
    let (code, values) = json(&input);
    assert_eq!(code, 1);
    assert_eq!(kinds(&values), ["hello", "hello", "query", "ping", "pong", "query", "push"]);
    let error = |at: usize| values[at]["error"].as_str().unwrap_or_default();
    assert_eq!(values[2]["offset"], 35);
    assert!(error(2).contains("should end with a NUL byte"), "{values:?}");
    assert!(error(4).contains("needs at least 14 payload bytes, 3 came"), "{values:?}");
    assert_eq!(values[4]["payload"], "010203");
    assert_eq!(error(6), "cut short: expected 26 payload bytes, 2 came");
    let (code, out, err) = text(&input);
    assert_eq!(code, 1);
    assert!(out.contains("hello  GNUTELLA OK\n") && out.contains("criteria     free bsd\n"));
    assert!(err.ends_with("2 descriptors malformed, 1 cut short\n"), "{err}");
}

#[test]
fn a_stream_out_of_step_ends_with_its_length() {
    let mut input = unhex(PING);
    input.extend([0xff; 40]);
    let (code, values) = json(&input);
    assert_eq!((code, kinds(&values)), (1, vec!["ping", "lost"]));
    assert_eq!(values[1]["length"], 40);
    assert!(values[1]["error"].as_str().unwrap().contains("at most 65536 are allowed"));
}

#[test]
fn names_cannot_act_on_the_terminal() {
    let mut hex = "00112233445566778899aabbccddeeff 80 07 00 0b000000 0100 ".to_owned();
    hex += "1b5b324a e280ae 61 00";
    let (code, out, _) = text(hex.as_bytes());
    assert_eq!(code, 0);
    assert!(out.contains("criteria     \\u{1b}[2J\\u{202e}a\n"), "{out}");
}

#[test]
fn undecodable_input_is_explained_in_one_line() {
    for (input, reason) in [
        (&b""[..], "standard input is empty"),
        (b"  \n; nothing\n", "there are no hex digits"),
        (b"00 0", "the number of hex digits is odd"),
        (b"00\nhello", "line 2 has 'h' where hex digits belong"),
        (b"0011", "a header alone has 23 bytes, 2 came"),
        (&[0xa5; 100], "at most 65536 are allowed"),
        (&SESSION[..24], "no Gnutella link in standard input: 0 packets"),
    ] {
        let (code, out, err) = text(input);
        assert_eq!((code, out.as_str()), (1, ""), "{reason}");
        assert!(err.contains(reason) && err.lines().count() == 1, "{err}");
    }
    let missing = decode(b"", &["/nonexistent/file"]);
    assert_eq!(missing.status.code(), Some(8));
}

#[test]
fn a_recorded_session_is_shown_in_order() {
    let (code, values) = json(SESSION);
    assert_eq!(code, 0);
    let link: Vec<_> =
        values.iter().take_while(|value| value["to"] != "127.0.0.1:59422").cloned().collect();
    let link = &link[..12];
    assert_eq!(
        kinds(link),
        [
            "hello",
            "hello",
            "ping",
            "ping",
            "pong",
            "ping",
            "pong",
            "query",
            "query_hit",
            "query",
            "query_hit",
            "query"
        ]
    );
    assert_eq!(link[8]["guid"], link[7]["guid"]);
    assert_eq!(link[8]["results"][0]["name"], "hello gnutella test.txt");
    assert_eq!(link[8]["from"], "127.0.0.1:6401");
    assert_eq!(link[8]["to"], "127.0.0.1:54314");
    assert!(link[8]["time"].as_f64() > link[7]["time"].as_f64());
    let foreign: Vec<_> = values.iter().filter(|value| value["kind"] == "other").collect();
    assert_eq!(foreign[0]["line"], "GET /get/0/hello gnutella test.txt HTTP/1.0");
    assert_eq!(foreign[1]["line"], "HTTP 200 OK");
}

#[test]
fn all_that_tshark_decodes_is_decoded_and_more() {
    let (code, values) = json(SYNTHETIC);
    assert_eq!(code, 0);
    assert_eq!(
        kinds(&values),
        [
            "ping",
            "pong",
            "query",
            "query",
            "query_hit",
            "query_hit",
            "push",
            "bye",
            "ping",
            "qrp",
            "ping",
            "query",
            "pong",
            "query",
            "query",
            "query_hit",
            "ping"
        ]
    );
    // tshark -d tcp.port==6346,gnutella -T json: gnutella.push.*, gnutella.queryhit.hit.*
    assert_eq!((&values[6]["index"], &values[6]["port"]), (&7.into(), &6346.into()));
    let names: Vec<_> =
        values[4]["results"].as_array().unwrap().iter().map(|hit| &hit["name"]).collect();
    assert_eq!(names, ["a b.txt", "c.txt"]);
    assert_eq!(values[7]["text"], "bye");
    assert_eq!((&values[9]["code"], &values[9]["slots"]), (&0x30.into(), &16_384.into()));
    assert_eq!(values[15]["length"], 9037, "tshark stops at payloads of 4096 bytes");
}

/// A pcap file of TCP segments from 10.0.0.1:1000 to 10.0.0.2:6346.
fn pcap(link: u32, link_header: &[u8], segments: &[(u32, &[u8])]) -> Vec<u8> {
    let mut file = unhex("d4c3b2a1 0200 0400 00000000 00000000 ffff0000");
    file.extend(link.to_le_bytes());
    for &(seq, data) in segments {
        let packet = packet(link_header, seq, data);
        file.extend(unhex("01000000 02000000"));
        for _ in 0..2 {
            file.extend(u32::try_from(packet.len()).unwrap().to_le_bytes());
        }
        file.extend(packet);
    }
    file
}

/// The same as pcapng with one interface.
fn pcapng(link: u16, link_header: &[u8], segments: &[(u32, &[u8])]) -> Vec<u8> {
    let mut file = unhex("0a0d0d0a 1c000000 4d3c2b1a 0100 0000 ffffffffffffffff 1c000000");
    file.extend(unhex("01000000 14000000"));
    file.extend(link.to_le_bytes());
    file.extend(unhex("0000 ffff0000 14000000"));
    for &(seq, data) in segments {
        let mut packet = packet(link_header, seq, data);
        let captured = u32::try_from(packet.len()).unwrap().to_le_bytes();
        packet.resize(packet.len().next_multiple_of(4), 0);
        let len = u32::try_from(32 + packet.len()).unwrap().to_le_bytes();
        file.extend([&unhex("06000000")[..], &len, &[0; 12], &captured, &captured].concat());
        file.extend([&packet[..], &len].concat());
    }
    file
}

fn packet(link_header: &[u8], seq: u32, data: &[u8]) -> Vec<u8> {
    let total = u16::try_from(40 + data.len()).unwrap();
    let mut packet = [link_header, &[0x45, 0], &total.to_be_bytes()].concat();
    packet.extend(unhex("0000 4000 40 06 0000 0a000001 0a000002 03e8 18ca"));
    packet.extend(seq.to_be_bytes());
    packet.extend(unhex("00000000 50 18 ffff 0000 0000"));
    packet.extend(data);
    packet
}

#[test]
fn every_link_type_carries_a_shuffled_stream() {
    let whole = [unhex(PING), unhex(QUERY), unhex(RICH_HIT)].concat();
    let first = u32::MAX - 30;
    let part = |from: usize, to: usize| {
        (first.wrapping_add(u32::try_from(from).unwrap()), &whole[from..to])
    };
    // Later before earlier, a retransmission, an overlap.
    let segments = [part(0, 30), part(60, 100), part(30, 50), part(0, 30), part(40, 70)];
    let segments = [&segments[..], &[part(100, whole.len())]].concat();
    let ethernet = unhex("000000000000 000000000000 0800");
    let sll = unhex("0000 0304 0006 0000000000000000 0800");
    let sll2 = unhex("0800 0000 00000001 0304 00 06 0000000000000000");
    let raw = [];
    let loopback = unhex("02000000");
    for (link, header) in
        [(1, &ethernet[..]), (113, &sll), (276, &sll2), (101, &raw), (228, &raw), (0, &loopback)]
    {
        for file in
            [pcap(link, header, &segments), pcapng(u16::try_from(link).unwrap(), header, &segments)]
        {
            let (code, values) = json(&file);
            assert_eq!((code, kinds(&values)), (0, vec!["ping", "query", "query_hit"]), "{link}");
            assert_eq!(values[2]["from"], "10.0.0.1:1000");
        }
    }
}

#[test]
fn after_a_gap_only_a_plausible_header_is_trusted() {
    let (ping, query) = (unhex(PING), unhex(QUERY));
    let lost_text = [7; 40];
    let segments = [
        (1000, &ping[..]),
        (1023, &query[..10]), // the rest of the Query is missing
        (1057, &lost_text),
        (1097, &ping),
        (1120, &query),
    ];
    let (code, values) = json(&pcap(101, &[], &segments));
    assert_eq!(code, 1);
    assert_eq!(kinds(&values), ["ping", "cut_short", "missing", "lost", "ping", "query"]);
    assert_eq!((&values[2]["length"], &values[3]["length"]), (&24.into(), &40.into()));
    assert_eq!(values[4]["offset"], 97);
    let (code, values) = json(&pcap(101, &[], &segments[..3]));
    assert_eq!((code, kinds(&values)), (1, vec!["ping", "cut_short", "missing", "lost"]));
}

#[test]
fn damaged_captures_end_with_an_error_message() {
    let ng = pcapng(101, &[], &[(1, &unhex(PING)), (24, &unhex(QUERY))]);
    let damaged = (0..20).map(|turn| {
        let mut file = if turn % 2 == 0 { SESSION[..4_000].to_vec() } else { ng.clone() };
        for at in 0..8 {
            let place = (turn * 7919 + at * 104_729) % file.len();
            file[place] = file[place].wrapping_mul(31).wrapping_add(u8::try_from(turn).unwrap());
        }
        file
    });
    let cut = [SESSION, &ng].into_iter().flat_map(|file| {
        [5, 23, 41, 70, file.len() - 3].map(|len| file[..len.min(file.len())].to_vec())
    });
    for (case, file) in damaged.chain(cut).enumerate() {
        let (code, _, err) = text(&file);
        assert!(matches!(code, 0 | 1) && !err.contains("panicked"), "{case}: {code} {err}");
    }
}
