//! A second implementation as judge: Wireshark's gnutella dissector reads what this servent
//! sends and what others sent.
//!
//! It needs `tshark` of the Debian package of that name, and is left to `cargo test -- --ignored`.

use crate::process::{Home, descriptor, query, read_kind};
use crate::support::recorded::Recording;
use crate::testnet::Net;
use serde_json::Value;
use servent::capture::{Capture, Content, inflate_streams, reassemble, walk_stream, write};
use servent::wire::{Header, Kind, Pong, Push, Query, QueryHit, ServentId};
use std::collections::BTreeMap;
use std::io::Write;
use std::net::{SocketAddrV4, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const PORT: u16 = 6346;

/// A capture with one descriptor per TCP segment and no handshake. The dissector reads that most
/// reliably, as the protocol has no marker to find the next descriptor by.
fn write_capture(path: &Path, descriptors: &[Vec<u8>]) {
    let end = |last, port| SocketAddrV4::new([127, 0, 0, last].into(), port);
    let (mut file, mut sequence) = (write::file_header(), 1);
    for (second, payload) in (0..).zip(descriptors) {
        let packet = write::tcp_packet((end(1, PORT), end(2, 40_000)), (sequence, 1), payload);
        file.extend(write::packet_block(Duration::from_secs(second), &packet.unwrap()));
        sequence += u32::try_from(payload.len()).unwrap();
    }
    std::fs::write(path, file).unwrap();
}

/// The dissector's output for each packet: field name to values.
fn judge(pcap: &Path, port: u16) -> Vec<BTreeMap<String, Vec<String>>> {
    let decode_as = format!("tcp.port=={port},gnutella");
    let output = Command::new("tshark")
        .args(["-r", pcap.to_str().unwrap(), "-d", &decode_as, "-T", "json", "--no-duplicate-keys"])
        .args(["-Y", "gnutella.header || _ws.malformed"])
        .output()
        .expect("tshark is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let packets: Value = serde_json::from_slice(&output.stdout).unwrap();
    let fields = |packet: &Value| {
        let mut fields = BTreeMap::new();
        flatten(&packet["_source"]["layers"], &mut fields);
        fields
    };
    packets.as_array().unwrap().iter().map(fields).collect()
}

fn flatten(value: &Value, fields: &mut BTreeMap<String, Vec<String>>) {
    let Value::Object(members) = value else { return };
    for (name, member) in members {
        let list = fields.entry(name.clone()).or_default();
        let repeated = member.as_array().map_or(std::slice::from_ref(member), Vec::as_slice);
        list.extend(repeated.iter().filter_map(Value::as_str).map(str::to_owned));
        repeated.iter().for_each(|member| flatten(member, fields));
    }
}

/// Everything a servent sends, gathered from two links to it.
fn gather(home: &Home) -> Vec<Vec<u8>> {
    let share = home.share("share", &[("free bsd notes.txt", b"ports"), ("hello.txt", b"hello")]);
    let servent = home.start(&["--links", "0", "--share", share.to_str().unwrap()]);
    let (mut a, mut b) = (servent.link(), servent.link());
    let mut sent = vec![read_kind(&mut a, 0x00)];
    let ask = |link: &mut TcpStream, bytes: Vec<u8>| link.write_all(&bytes).unwrap();
    ask(&mut a, descriptor(3, 0x00, 1, 0, &[]));
    sent.push(read_kind(&mut a, 0x01));
    ask(&mut a, descriptor(4, 0x80, 7, 0, &query("notes")));
    let hit = read_kind(&mut a, 0x81);
    sent.push(hit.clone());
    sent.push(read_kind(&mut b, 0x80));
    // The other link answers too, so that a Push for it can be routed.
    let mut answer = descriptor(4, 0x81, 3, 0, &hit[23..]);
    let end = answer.len();
    answer[end - 16..].fill(9);
    ask(&mut b, answer);
    sent.push(read_kind(&mut a, 0x81));
    let mut push = Vec::new();
    let addr = "203.0.113.5:6348".parse().unwrap();
    Push { servent: ServentId([9; 16]), index: 7, addr, extension: &[] }.encode(&mut push);
    ask(&mut a, descriptor(5, 0x40, 4, 0, &push));
    sent.push(read_kind(&mut b, 0x40));
    ask(&mut a, descriptor(6, 0x80, 1, 0, &query("    ")));
    sent.push(read_kind(&mut a, 0x81));
    sent
}

#[test]
#[ignore = "needs tshark"]
fn wireshark_reads_a_capture_of_a_network() {
    let net = Net::new();
    let (capture, packets) = net.captured_search("anything");
    let judged = judge(&capture, net.port());
    let searches = judged.iter().map(|fields| fields.get("gnutella.query.search"));
    assert!(searches.eq(vec![Some(&vec!["anything".to_owned()]); packets]), "{judged:#?}");
}

#[test]
#[ignore = "needs tshark"]
fn wireshark_understands_every_descriptor_of_a_real_servent() {
    let home = Home::new();
    let sent = gather(&home);
    let pcap = home.path("sent.pcapng");
    write_capture(&pcap, &sent);
    let judged = judge(&pcap, PORT);
    assert_eq!(judged.len(), sent.len(), "one packet a descriptor: {judged:#?}");
    for (bytes, fields) in sent.iter().zip(&judged) {
        agree(bytes, fields);
        match bytes[16] {
            0x01 => assert_eq!(one(fields, "gnutella.pong.files"), "2"),
            0x40 => assert_eq!(one(fields, "gnutella.push.ip"), "203.0.113.5"),
            0x80 => assert_eq!(one(fields, "gnutella.query.search"), "notes"),
            _ => {}
        }
    }
}

fn one(fields: &BTreeMap<String, Vec<String>>, name: &str) -> String {
    fields.get(name).map(|values| values.join("|")).unwrap_or_default()
}

/// What the dissector reads of a descriptor is what `wire` reads of it.
fn agree(bytes: &[u8], fields: &BTreeMap<String, Vec<String>>) {
    let header = Header::decode(bytes.first_chunk().unwrap());
    let payload = &bytes[23..];
    let one = |name: &str| one(fields, &format!("gnutella.{name}"));
    let hex =
        |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":");
    assert!(!fields.contains_key("_ws.malformed"), "{header:?}: {fields:#?}");
    assert_eq!(one("header.id").replace(':', ""), header.guid.to_string());
    assert_eq!(one("header.ttl"), header.ttl.to_string());
    assert_eq!(one("header.hops"), header.hops.to_string());
    assert_eq!(one("header.size"), header.payload_len.to_string());
    match header.kind {
        Kind::Pong => {
            let pong = Pong::decode(payload).unwrap();
            assert_eq!(one("pong.files"), pong.files.to_string());
            assert_eq!(one("pong.port"), pong.addr.port().to_string());
            assert_eq!(one("pong.ip"), pong.addr.ip().to_string());
            assert_eq!(one("pong.kbytes"), pong.kib.to_string());
        }
        Kind::Push => {
            let push = Push::decode(payload).unwrap();
            assert_eq!(one("push.index"), push.index.to_string());
            assert_eq!(one("push.ip"), push.addr.ip().to_string());
        }
        Kind::Query => {
            let query = Query::decode(payload).unwrap();
            // The dissector takes all up to the end for the text.
            assert!(one("query.search").starts_with(&*String::from_utf8_lossy(query.criteria)));
        }
        Kind::QueryHit => {
            let hit = QueryHit::decode(payload).unwrap();
            let names: Vec<String> =
                hit.results().map(|r| String::from_utf8_lossy(r.name).into_owned()).collect();
            assert_eq!(one("queryhit.count"), names.len().to_string());
            assert_eq!(one("queryhit.hit.name"), names.join("|"));
            let sizes: Vec<String> = hit.results().map(|r| r.size.to_string()).collect();
            assert_eq!(one("queryhit.hit.size"), sizes.join("|"));
            let extra: Vec<String> = hit.results().map(|r| hex(r.extension)).collect();
            assert_eq!(one("queryhit.hit.extra"), extra.join("|").trim_matches('|'));
            assert_eq!(one("queryhit.extra"), hex(hit.trailer_bytes));
            assert_eq!(one("queryhit.port"), hit.addr.port().to_string());
            let servent = one("queryhit.servent_id").replace(':', "");
            assert_eq!(servent.to_uppercase(), hit.servent.to_string());
        }
        _ => {}
    }
}

/// The descriptors of recorded conversations with 0.6 servents, inflated where they were deflated.
#[test]
#[ignore = "needs tshark"]
fn wireshark_reads_the_descriptors_of_0_6_servents_as_we_do() {
    let home = Home::new();
    for name in Recording::NAMES {
        let capture = Recording::load(name).capture();
        let capture = Capture::read(&capture);
        let mut streams = reassemble(&capture.segments);
        inflate_streams(&mut streams);
        let items = streams.iter().flat_map(walk_stream);
        let descriptors: Vec<Vec<u8>> = items
            .filter_map(|item| match item.content {
                Content::Descriptor(header, payload) => {
                    Some([&header.encode()[..], payload].concat())
                }
                Content::Handshake(_) => None,
                other => panic!("{name}: {other:?}"),
            })
            .collect();
        assert!(descriptors.len() > 2, "{name}");
        let pcap = home.path("recorded.pcapng");
        write_capture(&pcap, &descriptors);
        let judged = judge(&pcap, PORT);
        assert_eq!(judged.len(), descriptors.len(), "{name}: {judged:#?}");
        for (bytes, fields) in descriptors.iter().zip(&judged) {
            agree(bytes, fields);
        }
    }
}
