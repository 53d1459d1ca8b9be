//! What peers of a fuzzed servent say in 0.6 only: legs of the handshake, route tables, vendor messages.

use super::generators::{self, Descriptor, servent_id};
use crate::fuzzing::script::Script;
use crate::wire::handshake06::{FirstLine, Headers, Leg, Version};
use crate::wire::qrp::{PLAIN, Patch, QRP, Qrp, QrpTable, ZLIB};
use crate::wire::vendor::{EXPERIMENTAL, MessageId, VendorCode, VendorMeaning, VendorMessage};
use crate::wire::{Guid, Header, Kind};

/// Words of files that leaves have; see the names in `generators`.
const WORDS: [&str; 4] = ["free", "hello", "notes", "nobody"];

/// Openings that only servents of 0.6 use. The ids are those of `generators::servent_id`, in base32.
pub(super) const TEXTS: [&[u8]; 4] = [
    b"GET /gnutella/push-proxy?ServerId=AEAQCAIBAEAQCAIBAEAQCAIBAE HTTP/1.1\r\nX-Node: 127.0.0.2:6346\r\n\r\n",
    b"HEAD /gnutella/pushproxy?file=7&ServerId=AIBAEAQCAIBAEAQCAIBAEAQCAI HTTP/1.0\r\nX-Node: 127.0.0.3:6346\r\n\r\n",
    b"GNUTELLA CONNECT/0.6\r\nX-Ultrapeer: Fal",
    b"se\r\n continued\r\n\r\n",
];

/// How a leg begins.
#[derive(Clone, Copy)]
pub(super) enum Opening {
    Request,
    Ok,
    Refusal,
}

/// A leg; the first number says which headers it has, the top bit of it that there is something odd about
/// it.
pub(super) fn leg(opening: Opening, script: &mut Script<'_>) -> Vec<u8> {
    let first = match opening {
        Opening::Request => FirstLine::Connect(Version::V06),
        Opening::Ok => FirstLine::ok(),
        Opening::Refusal => FirstLine::status(503, "Banned for 1m 5s"),
    };
    let said = script.number();
    let mut headers = Headers::default();
    match said & 3 {
        0 => {}
        2 => headers.add("X-Ultrapeer", "False"),
        _ => headers.add("X-Ultrapeer", "True"),
    }
    let announced = [
        (4, "GGEP", "0.5"),
        (8, "Bye-Packet", "0.1"),
        (16, "Vendor-Message", "0.1"),
        (32, "X-Ultrapeer-Query-Routing", "0.1"),
        (64, "X-Max-TTL", "3"),
    ];
    for (_, name, value) in announced.into_iter().filter(|(bit, ..)| said & bit != 0) {
        headers.add(name, value);
    }
    let odd = if said & 128 != 0 { script.number() } else { 0 };
    match odd & 7 {
        1 => headers.add("Crawler", "0.1"),
        2 => headers.add("X-Ultrapeer-Needed", "False"),
        3 => headers.add("X-Try-Ultrapeers", &generators::addr(odd >> 3).to_string()),
        4 => headers.add("Listen-IP", &generators::addr(odd >> 3).to_string()),
        5 => headers.add("X-Degree", &odd.to_string()),
        6 => headers.add("Remote-IP", &generators::addr(odd >> 3).ip().to_string()),
        _ => {}
    }
    let mut bytes = Vec::new();
    Leg { first, headers }.write(&mut bytes);
    if odd & 7 == 7 {
        bytes.truncate(bytes.len().saturating_sub(usize::from(odd >> 3)));
        bytes.extend_from_slice(script.raw());
    }
    bytes
}

/// Messages that make up a route table, whole or not, changed or broken.
pub(super) fn route_table(script: &mut Script<'_>) -> Vec<Descriptor> {
    let (shape, words) = (script.number(), script.number());
    let of = |bits: u8| {
        let chosen = WORDS.iter().enumerate().filter(|(at, _)| bits >> at & 1 != 0);
        QrpTable::of_words(chosen.map(|(_, word)| *word))
    };
    let (before, after) = (of(words), of(words >> 4));
    let encoded = |message: Qrp<'_>| {
        let mut payload = Vec::new();
        message.encode(&mut payload);
        vec![payload]
    };
    let payloads = match shape & 7 {
        0..=2 => before.messages(),
        3 => after.messages_after(&before),
        // All but the last.
        4 => before.messages().into_iter().rev().skip(1).rev().collect(),
        5 => encoded(Qrp::Reset { slots: 1 << (shape >> 3), infinity: words }),
        6 => {
            let entries = [0xff; 2];
            let compressor = if words & 1 == 0 { PLAIN } else { ZLIB };
            let (number, count, entry_bits) =
                (1 + (words >> 1 & 1), 1 + (words >> 2 & 1), shape >> 3);
            encoded(Qrp::Patch(Patch { number, count, compressor, entry_bits, data: &entries }))
        }
        _ => vec![script.raw().to_vec()],
    };
    payloads.into_iter().map(|payload| once(QRP, Guid([0x30; 16]), payload)).collect()
}

/// A vendor message.
pub(super) fn vendor_message(script: &mut Script<'_>) -> Descriptor {
    let (what, number) = (script.number(), script.number());
    let addr = generators::addr(number);
    let mut payload = Vec::new();
    match what & 7 {
        0 | 1 => VendorMeaning::PushProxyRequest.encode(&mut payload),
        2 => VendorMeaning::HopsFlow(number).encode(&mut payload),
        3 => VendorMeaning::TcpConnectBack(u16::from(number) * 2).encode(&mut payload),
        4 => {
            let ids = vec![VendorMeaning::PushProxyRequest.id(); usize::from(number & 3)];
            VendorMeaning::MessagesSupported(ids).encode(&mut payload);
        }
        5 => VendorMeaning::PushProxyAck(addr).encode(&mut payload),
        6 => {
            let id =
                MessageId { vendor: VendorCode(*b"TEST"), selector: 1, version: number.into() };
            VendorMessage { id, data: script.raw() }.encode(&mut payload);
        }
        _ => payload.extend_from_slice(script.raw()),
    }
    once(EXPERIMENTAL, Guid(servent_id(what >> 3).0), payload)
}

/// What crosses one link.
fn once(kind: Kind, guid: Guid, payload: Vec<u8>) -> Descriptor {
    let payload_len = u32::try_from(payload.len()).expect("a few kilobytes");
    Descriptor { header: Header { guid, kind, ttl: 1, hops: 0, payload_len }, payload }
}
