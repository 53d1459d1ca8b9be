//! What the peers of a fuzzed servent send: descriptors that mostly make sense, from a small stock of
//! ids, addresses and words, so that duplicates, replies and matches come about.

use crate::fuzzing::script::Script;
use crate::library::{Library, LibraryBuilder};
use crate::wire::{
    Bye, Guid, Header, Kind, MinSpeed, Pong, Push, Query, QueryHitBuilder, ServentId, Trailer,
};
use std::net::{Ipv4Addr, SocketAddrV4};

/// The servent id of the servent under test.
pub(super) const IDENTITY: ServentId = ServentId([0xaa; 16]);

/// Where the servent under test listens.
pub(super) const LOCAL: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 1), 6346);

const ADDRS: [([u8; 4], u16); 16] = [
    ([127, 0, 0, 2], 6346),
    ([127, 0, 0, 2], 6347),
    ([127, 0, 0, 3], 6346),
    ([127, 0, 0, 4], 6346),
    ([127, 0, 0, 5], 6346),
    ([127, 0, 0, 6], 6346),
    ([127, 0, 0, 7], 6346),
    ([127, 0, 0, 1], 6346),
    ([127, 0, 0, 9], 0),
    ([10, 0, 0, 1], 6346),
    ([10, 0, 0, 2], 6346),
    ([5, 5, 5, 5], 80),
    ([5, 5, 5, 6], 6346),
    ([224, 0, 0, 1], 1),
    ([0, 0, 0, 0], 6346),
    ([255, 255, 255, 255], 1),
];

/// Names of files, searches and what others say they have.
const NAMES: [&str; 8] =
    ["free bsd notes.txt", "hello.txt", "free", "hello txt", "x", "    ", "nobody has this", "é"];

/// What a connection may begin with or an answer may be, other than descriptors.
pub(super) const TEXTS: [&[u8]; 24] = [
    b"GNUTELLA CONNECT/0.4\n\n",
    b"GNUTELLA OK\n\n",
    b"GNUTELLA CONNECT/0.4\r\n\r\n",
    b"GNUTELLA CONNECT/0.6\r\n",
    b"GNUTELLA CONNECT/",
    b"GNUTELLA 503 Full\n\n",
    b"GET /get/1/hello.txt HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /get/2/free%20bsd%20notes.txt HTTP/1.1\r\nHost: a\r\nRange: bytes=100-\r\n\r\n",
    b"GET /get/2/free bsd notes.txt HTTP/1.0\r\n\r\n",
    b"GET /get/9/nothing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"HEAD /get/1/hello.txt HTTP/1.0\r\n\r\n",
    b"GET /get/1/he",
    b"POST / HTTP/1.1\r\n\r\n",
    b"GIV 7:01010101010101010101010101010101/hello.txt\n\n",
    b"GIV 0:02020202020202020202020202020202/x\n\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"GIV 7:0101",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.1 206 P\r\nContent-Range: bytes 2-4/5\r\n\r\n",
    b"HTTP 200 OK\r\n\r\n",
    b"HTTP/1.1 404 N\r\n\r\n",
    b"HTTP/1.1 503 B\r\nRetry-After: 60\r\n\r\n",
    b"hello",
    b"\n\n",
    b"he",
];

pub(super) fn addr(number: u8) -> SocketAddrV4 {
    let (ip, port) = ADDRS[usize::from(number) % ADDRS.len()];
    SocketAddrV4::new(ip.into(), port)
}

pub(super) fn name(number: u8) -> &'static str {
    NAMES[usize::from(number) % NAMES.len()]
}

/// Some ids are GUIDs too, which makes hits that name them forged.
pub(super) fn servent_id(number: u8) -> ServentId {
    match number % 8 {
        0 => ServentId::default(),
        7 => IDENTITY,
        n => ServentId([n; 16]),
    }
}

/// Three things to share: a little, a lot and nothing. One name of the lot fits into no hit.
pub(super) fn library(number: u8) -> Library {
    let mut builder = LibraryBuilder::new();
    let mut add = |number, name: &str, size| {
        builder.add(number, name, size).expect("is known to fit");
    };
    match number % 3 {
        0 => {
            add(1, NAMES[1], 5);
            add(2, NAMES[0], 10_000);
        }
        1 => {
            for n in 0..40 {
                let times = if n == 0 { 20 } else { 4 };
                add(n * 3, &format!("free copy {n} {}", "of a long name ".repeat(times)), 1 << 33);
            }
        }
        _ => {}
    }
    builder.step(usize::MAX).expect("a budget without end")
}

/// A descriptor with its header, as it goes over a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Descriptor {
    pub(super) header: Header,
    pub(super) payload: Vec<u8>,
}

impl Descriptor {
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.header.frame(&self.payload, &mut bytes);
        bytes
    }
}

/// A descriptor from a script; `own` are GUIDs the servent has sent.
pub(super) fn descriptor(script: &mut Script<'_>, own: &[Guid]) -> Descriptor {
    let kind = [
        Kind::Ping,
        Kind::Pong,
        Kind::Query,
        Kind::QueryHit,
        Kind::Push,
        Kind::Query,
        Kind::Bye,
        Kind::Other(0x31),
    ][usize::from(script.number() % 8)];
    let guid = script.number();
    let guid = match own.get(usize::from(guid % 16)) {
        Some(&guid) if !own.is_empty() => guid,
        _ => Guid([1 + guid % 16; 16]),
    };
    let (ttl, hops) = match script.number() {
        // Both at will, or one byte for what peers usually send.
        255 => (script.number(), script.number()),
        both => (both & 15, both >> 4),
    };
    let payload = match script.number() {
        255 => script.raw().to_vec(),
        shape => payload(kind, shape, script),
    };
    let len = u32::try_from(payload.len()).expect("a few kilobytes");
    Descriptor { header: Header { guid, kind, ttl, hops, payload_len: len }, payload }
}

/// A payload that its kind allows; the top bit of `shape` adds bytes we do not understand.
fn payload(kind: Kind, shape: u8, script: &mut Script<'_>) -> Vec<u8> {
    let extension = if shape & 0x80 != 0 { script.raw() } else { &[] };
    let mut out = Vec::new();
    match kind {
        Kind::Ping => out.extend_from_slice(extension),
        Kind::Pong => {
            let (files, kib) = (u32::from(shape), 1);
            Pong { addr: addr(script.number()), files, kib, extension }.encode(&mut out);
        }
        Kind::Query => {
            let criteria = name(script.number()).as_bytes();
            let speed = [MinSpeed::ANY, MinSpeed::Kbps(9_000), MinSpeed::Flags(0x8000)];
            let speed = speed[usize::from(shape) % speed.len()];
            Query { speed, criteria, extension }.encode(&mut out);
        }
        Kind::QueryHit => {
            let trailer = Trailer { vendor: *b"TEST", open: &[0x05, 0x04], private: extension };
            let servent = servent_id(script.number());
            let addr = addr(script.number());
            let mut builder = QueryHitBuilder::new(addr, 350, trailer, servent, 4_096);
            for result in 0..=shape % 4 {
                builder.add(u32::from(result), 5, name(shape).as_bytes(), &[]);
            }
            out = builder.finish().expect("there is a result");
        }
        Kind::Push => {
            let (servent, addr) = (servent_id(script.number()), addr(script.number()));
            Push { servent, index: u32::from(shape % 4), addr, extension }.encode(&mut out);
        }
        Kind::Bye => Bye { code: 200, rest: b"bye\0" }.encode(&mut out),
        Kind::Other(_) => out.push(shape),
    }
    out
}
