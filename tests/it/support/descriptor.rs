//! Descriptors laid out and read by hand: a second opinion, so that a mistake in `servent::wire`
//! cannot confirm itself.

use servent::wire::{Guid, Kind, ServentId};
use std::fmt;
use std::net::SocketAddrV4;

/// One descriptor as it crosses a link.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Descriptor {
    pub(crate) guid: Guid,
    pub(crate) kind: Kind,
    pub(crate) ttl: u8,
    pub(crate) hops: u8,
    pub(crate) payload: Vec<u8>,
}

impl Descriptor {
    /// Fresh from its originator: TTL 7, hops 0.
    pub(crate) fn new(guid: Guid, kind: Kind, payload: Vec<u8>) -> Descriptor {
        Descriptor { guid, kind, ttl: 7, hops: 0, payload }
    }

    pub(crate) fn ttl(self, ttl: u8) -> Descriptor {
        Descriptor { ttl, ..self }
    }

    pub(crate) fn hops(self, hops: u8) -> Descriptor {
        Descriptor { hops, ..self }
    }

    /// As it should look one link further.
    pub(crate) fn forwarded(&self) -> Descriptor {
        Descriptor { ttl: self.ttl - 1, hops: self.hops + 1, ..self.clone() }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let len = u32::try_from(self.payload.len()).unwrap().to_le_bytes();
        let head = [&self.guid.0[..], &[self.kind.code(), self.ttl, self.hops], &len].concat();
        [head, self.payload.clone()].concat()
    }
}

impl fmt::Debug for Descriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Descriptor { guid, kind, ttl, hops, payload } = self;
        write!(f, "{kind} {guid} ttl {ttl} hops {hops} \"{}\"", payload.escape_ascii())
    }
}

/// Takes the complete descriptors off the front of `stream`. `None` if it is no stream of
/// descriptors.
pub(crate) fn take_descriptors(stream: &mut Vec<u8>) -> Option<Vec<Descriptor>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(head) = stream.get(at..at + 23) {
        let len = u32::from_le_bytes(head[19..23].try_into().unwrap());
        let len = usize::try_from(len).unwrap();
        if len > 65_536 {
            return None;
        }
        let Some(payload) = stream.get(at + 23..at + 23 + len) else { break };
        found.push(Descriptor {
            guid: Guid(head[..16].try_into().unwrap()),
            kind: Kind::from_code(head[16]),
            ttl: head[17],
            hops: head[18],
            payload: payload.to_vec(),
        });
        at += 23 + len;
    }
    stream.drain(..at);
    Some(found)
}

/// A GUID that is easy to find in a dump.
pub(crate) fn guid(n: u32) -> Guid {
    let [a, b, c, d] = n.to_be_bytes();
    Guid([0x10, 0x21, 0x32, 0x43, 0x54, 0x65, 0x76, 0x87, 0xff, 0, 0, a, b, c, d, 0])
}

pub(crate) fn servent_id(n: u8) -> ServentId {
    ServentId([0xf0, 0xe1, 0xd2, 0xc3, 0xb4, 0xa5, 0x96, 0x87, 0xff, 0, 0, 0, 0, 0, n, 0])
}

pub(crate) fn ping(guid: Guid) -> Descriptor {
    Descriptor::new(guid, Kind::Ping, Vec::new())
}

pub(crate) fn pong(guid: Guid, addr: SocketAddrV4) -> Descriptor {
    let mut payload = port_then_ip(addr);
    payload.extend([12, 0, 0, 0, 0x81, 0x0d, 0, 0]);
    Descriptor::new(guid, Kind::Pong, payload)
}

/// A Query with minimum speed 1.
pub(crate) fn query(guid: Guid, text: &str) -> Descriptor {
    query_at_speed(guid, [1, 0], text)
}

pub(crate) fn query_at_speed(guid: Guid, speed: [u8; 2], text: &str) -> Descriptor {
    Descriptor::new(guid, Kind::Query, [&speed[..], text.as_bytes(), &[0]].concat())
}

/// A plain 0.4 QueryHit with one result: file 7 of 5 bytes.
pub(crate) fn hit(guid: Guid, from: ServentId, name: &str) -> Descriptor {
    let mut payload = vec![1];
    payload.extend(port_then_ip("127.0.0.77:6346".parse().unwrap()));
    payload.extend([0x5e, 1, 0, 0, 7, 0, 0, 0, 5, 0, 0, 0]);
    payload.extend(name.as_bytes());
    payload.extend([0, 0]);
    payload.extend(from.0);
    Descriptor::new(guid, Kind::QueryHit, payload)
}

pub(crate) fn push(guid: Guid, to: ServentId, addr: SocketAddrV4) -> Descriptor {
    let mut payload = to.0.to_vec();
    payload.extend([7, 0, 0, 0]);
    payload.extend(addr.ip().octets());
    payload.extend(addr.port().to_le_bytes());
    Descriptor::new(guid, Kind::Push, payload)
}

pub(crate) fn bye(code: u16, text: &[u8]) -> Descriptor {
    let payload = [&code.to_le_bytes(), text].concat();
    Descriptor::new(guid(0xb1e), Kind::Bye, payload).ttl(1)
}

/// The address in a Pong.
pub(crate) fn pong_addr(pong: &Descriptor) -> SocketAddrV4 {
    assert_eq!(pong.kind, Kind::Pong);
    addr_at(&pong.payload)
}

/// The fields of a QueryHit that has no extensions: address, speed, results as (index, size,
/// name), trailer, servent id.
pub(crate) struct PlainHit {
    pub(crate) addr: SocketAddrV4,
    pub(crate) speed: u32,
    pub(crate) results: Vec<(u32, u32, String)>,
    pub(crate) trailer: Vec<u8>,
    pub(crate) servent: ServentId,
}

/// Walks a QueryHit as GNU Serveez does: nothing may lie between the two NULs of a result.
pub(crate) fn read_plain_hit(hit: &Descriptor) -> PlainHit {
    assert_eq!(hit.kind, Kind::QueryHit);
    let payload = &hit.payload;
    let word = |at: usize| u32::from_le_bytes(payload[at..at + 4].try_into().unwrap());
    let mut at = 11;
    let mut results = Vec::new();
    for _ in 0..payload[0] {
        let (index, size) = (word(at), word(at + 4));
        let len = payload[at + 8..].iter().position(|&byte| byte == 0).unwrap();
        let name = String::from_utf8(payload[at + 8..at + 8 + len].to_vec()).unwrap();
        at += 8 + len + 2;
        assert_eq!(payload[at - 2..at], [0, 0], "something lies between the NULs");
        results.push((index, size, name));
    }
    let end = payload.len() - 16;
    PlainHit {
        addr: addr_at(&payload[1..]),
        speed: word(7),
        results,
        trailer: payload[at..end].to_vec(),
        servent: ServentId(payload[end..].try_into().unwrap()),
    }
}

fn port_then_ip(addr: SocketAddrV4) -> Vec<u8> {
    [&addr.port().to_le_bytes()[..], &addr.ip().octets()].concat()
}

fn addr_at(bytes: &[u8]) -> SocketAddrV4 {
    let ip: [u8; 4] = bytes[2..6].try_into().unwrap();
    SocketAddrV4::new(ip.into(), u16::from_le_bytes([bytes[0], bytes[1]]))
}
