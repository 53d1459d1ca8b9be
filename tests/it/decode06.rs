//! `servent decode` on 0.6: conversations recorded with gtk-gnutella, GnutellaBun and LimeWire, and
//! deflated links that break.

use crate::decode::{json, kinds, text, unhex};
use crate::support::recorded::Recording;
use serde_json::{Value, json};
use servent::wire::deflate::deflate;
use servent::wire::handshake06::MAX_LEG_LINES;

const REQUEST: &[u8] = b"GNUTELLA CONNECT/0.6\r\nAccept-Encoding: deflate\r\n\r\n";
const ANSWER: &[u8] = b"GNUTELLA/0.6 200 OK\r\nContent-Encoding: deflate\r\n\r\n";
const PING: &str = "00112233445566778899aabbccddeeff 00 01 00 00000000";

fn recorded(name: &str) -> Vec<Value> {
    let (code, values) = json(&Recording::load(name).capture());
    assert_eq!(code, 0, "{name}: {values:#?}");
    values
}

fn find<'a>(values: &'a [Value], kind: &str) -> &'a Value {
    values.iter().find(|value| value["kind"] == kind).unwrap()
}

/// The value of an extension, by its id or kind.
fn extension<'a>(of: &'a Value, name: &str) -> &'a Value {
    let all = of["extensions"].as_array().unwrap();
    let found = all.iter().find(|it| it["id"] == name || it["kind"] == name);
    found.map_or(&Value::Null, |it| &it["value"])
}

#[test]
fn both_deflated_directions_of_gtk_gnutella_are_inflated() {
    let values = recorded("gtkg-in-06-deflate-both");
    let expected = ["hello", "hello", "hello", "ping", "query", "pong", "query_hit"];
    assert_eq!(kinds(&values), expected);
    assert_eq!(values[2]["headers"], json!(["Content-Encoding: deflate"]));
    let (pong, hit) = (find(&values, "pong"), find(&values, "query_hit"));
    assert_eq!((&pong["guid"], &pong["time"]), (&values[3]["guid"], &json!(0.042)));
    assert_eq!(extension(pong, "VC"), "GTKG 8.3");
    assert_eq!(extension(pong, "TLS"), true);
    let slots = "0.2, free slots: 255 for leaves, 59 for ultrapeers";
    assert_eq!(extension(pong, "UP"), slots);
    assert_eq!(hit["time"], 0.522);
    let result = &hit["results"][0];
    assert_eq!(extension(result, "urn"), "urn:sha1:WQKD3G2PUOGLIMHLYFPJJC5QBQHNJW4Z");
    assert_eq!(extension(result, "CT"), 1_795_354_136);
    assert_eq!(extension(hit, "BH"), true);
}

#[test]
fn gnutella_bun_flushes_into_many_packets() {
    let values = recorded("bun-in-06-deflate-both");
    let theirs: Vec<Value> =
        values.iter().filter(|value| value["to"] == "127.0.0.2:40000").cloned().collect();
    assert_eq!(kinds(&theirs), ["hello", "pong", "pong", "pong", "query_hit", "ping"]);
    let times: Vec<&Value> = theirs.iter().map(|value| &value["time"]).collect();
    assert_eq!(times[1..], [0.046, 0.046, 0.046, 0.047, 0.304].map(Value::from).each_ref());
    // Offsets go on behind the handshake, in inflated bytes.
    assert_eq!((&theirs[1]["offset"], &theirs[2]["offset"]), (&json!(378), &json!(378 + 37)));
}

#[test]
fn vendor_messages_of_limewire_say_what_it_reads() {
    let values = recorded("limewire-in-06-ultrafull");
    let messages: Vec<_> = values.iter().filter(|value| value["kind"] == "vendor").collect();
    assert_eq!(messages.len(), 2);
    let meaning = messages[0]["meaning"].as_str().unwrap();
    assert!(meaning.starts_with("reads LIME/8 v1, LIME/21 v1, "), "{meaning}");
    assert_eq!((&messages[1]["vendor"], &messages[1]["selector"]), (&json!("0"), &json!(10)));
    // The locale ends in a byte that must not reach a terminal.
    let (_, out, _) = text(&Recording::load("limewire-in-06-ultrafull").capture());
    assert!(out.contains("GGEP LOC     locale: en\\u{1}\n"), "{out}");
}

#[test]
fn a_leaf_s_table_is_put_together() {
    let values = recorded("gtkg-leafmode-in-06-1");
    let messages: Vec<_> = values.iter().filter(|value| value["kind"] == "qrp").collect();
    assert_eq!((&messages[0]["message"], &messages[0]["slots"]), (&json!("reset"), &json!(16_384)));
    assert_eq!((&messages[1]["number"], &messages[1]["count"]), (&json!(1), &json!(1)));
    assert_eq!((&messages[1]["slots"], &messages[1]["set_slots"]), (&json!(16_384), &json!(22)));
    let (_, out, _) = text(&Recording::load("gtkg-leafmode-in-06-1").capture());
    assert!(out.contains("patch        1 of 1, 4-bit entries, zlib, 79 bytes\n"), "{out}");
    assert!(out.contains("table        complete: 22 of 16384 slots set\n"), "{out}");
}

#[test]
fn a_bye_is_shown_with_its_headers() {
    let values = recorded("gtkg-idle-silent");
    let bye = find(&values, "bye");
    assert_eq!(bye["text"], "No reply to alive pings");
    assert!(bye["headers"][0].as_str().unwrap().starts_with("Server: gtk-gnutella/1.2.3"));
    let ping = find(&values, "ping");
    assert_eq!(
        ping["extensions"],
        json!([{
            "kind": "ggep", "id": "SCP", "name": "wants hosts", "hex": "03"
        }])
    );
}

#[test]
fn hex_of_an_area_is_explained_and_what_is_malformed_says_why() {
    let query = format!(
        "{} 80 01 00 1d000000 0100 {} 00 {} 1c {} c381",
        "00112233445566778899aabbccddeeff",
        "61",
        "75726e3a",
        "3c1b2f3e1c7573796e3a781c c301 58414f"
    );
    let query = query.replace("1d000000", &format!("{:02x}000000", unhex(&query).len() - 23));
    let (code, values) = json(query.as_bytes());
    assert_eq!(code, 0, "a broken area leaves the Query readable");
    let all = values[0]["extensions"].as_array().unwrap();
    let kinds: Vec<_> = all.iter().map(|it| it["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["urn", "metadata", "other", "ggep"]);
    assert_eq!((&all[0]["value"], &all[2]["hex"]), (&json!("urn:"), &json!("7573796e3a78")));
    assert_eq!(all[3]["error"], "the GGEP block is cut short");
    let (_, out, _) = text(query.as_bytes());
    assert!(out.contains("urn          urn: (asks for URNs)\n"), "{out}");
    assert!(out.contains("metadata     <\\u{1b}/>\n"), "{out}");
}

#[test]
fn wrong_sequences_and_endless_headers_are_named() {
    let guid = "00112233445566778899aabbccddeeff";
    let reset = format!("{guid} 30 01 00 06000000 00 10000000 07");
    let second = format!("{guid} 30 01 00 06000000 01 02 02 00 04 00");
    let (code, values) = json(format!("{reset} {second}").as_bytes());
    assert_eq!((code, kinds(&values)), (1, vec!["qrp", "qrp"]));
    assert_eq!(values[1]["error"], "PATCH 2 came in place of PATCH 1");
    // The RESET may have been sent before the recording began.
    let (code, values) = json(second.as_bytes());
    assert_eq!((code, values[0].get("error")), (0, None));
    let lines = "A: b\r\n".repeat(MAX_LEG_LINES);
    let (_, values) = json(format!("GNUTELLA CONNECT/0.6\r\n{lines}\r\n").as_bytes());
    assert_eq!(values[0]["error"], "a handshake may have 128 lines, more came");
}

#[test]
fn raw_bytes_of_one_deflated_direction_are_inflated() {
    let descriptors = unhex(&PING.repeat(3));
    let (code, values) = json(&[ANSWER, &deflate(&descriptors)].concat());
    assert_eq!((code, kinds(&values)), (0, vec!["hello", "ping", "ping", "ping"]));
    // Without the announcement the same bytes are no descriptors.
    let plain = b"GNUTELLA/0.6 200 OK\r\n\r\n";
    let (code, values) = json(&[&plain[..], &deflate(&descriptors)].concat());
    assert_eq!((code, kinds(&values).contains(&"ping")), (1, false));
}

#[test]
fn a_broken_or_endless_deflated_stream_ends_with_its_reason() {
    let mut broken = deflate(&unhex(&PING.repeat(100)));
    broken.truncate(30);
    broken.extend([0xff; 20]);
    let (code, values) = json(&[ANSWER, &broken].concat());
    assert_eq!(code, 1);
    let last = values.last().unwrap();
    assert_eq!((&last["kind"], &last["length"]), (&json!("lost"), &json!(50)));
    assert_eq!(last["error"], "the deflated bytes are broken");
    // Zeros are Pings too, a thousand times more than their deflated bytes.
    let bomb = deflate(&vec![0; 20 << 20]);
    let (code, values) = json(&[ANSWER, &bomb].concat());
    let last = values.last().unwrap();
    assert_eq!((code, &last["length"]), (1, &json!(bomb.len())));
    let limit = (1 << 20) + 16 * bomb.len();
    assert_eq!(last["error"], format!("the deflated bytes become more than {limit}"));
    assert!(last["offset"].as_u64().unwrap() <= (ANSWER.len() + limit) as u64);
}

#[test]
fn only_what_both_sides_agreed_on_is_inflated() {
    let descriptors = unhex(&PING.repeat(2));
    let capture = |request: &[u8], from_acceptor: &[u8]| {
        Recording::of_turns([
            (false, request.to_vec()),
            (true, ANSWER.to_vec()),
            (true, from_acceptor.to_vec()),
        ])
        .capture()
    };
    let (code, values) = json(&capture(REQUEST, &deflate(&descriptors)));
    assert_eq!((code, kinds(&values)), (0, vec!["hello", "hello", "ping", "ping"]));
    let without = b"GNUTELLA CONNECT/0.6\r\n\r\n";
    let (code, values) = json(&capture(without, &descriptors));
    assert_eq!((code, kinds(&values)), (0, vec!["hello", "hello", "ping", "ping"]));
}
