//! The 23-byte header before every payload.

use super::guid::Guid;
use byteorder::{ByteOrder, LittleEndian};
use std::fmt;

/// Size of a header.
pub const HEADER_BYTES: usize = 23;

/// Largest payload of any kind, as in gtk-gnutella and LimeWire. A header that announces more closes
/// the link before anything is stored.
pub const MAX_PAYLOAD_BYTES: usize = 65_536;

mod field {
    use std::ops::Range;
    pub(super) const GUID: Range<usize> = 0..16;
    pub(super) const KIND: usize = 16;
    pub(super) const TTL: usize = 17;
    pub(super) const HOPS: usize = 18;
    pub(super) const LENGTH: Range<usize> = 19..23;
}

/// The descriptor kinds of Gnutella 0.4, Bye from 0.6, and any other by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// 0x00: asks which servents there are.
    Ping,
    /// 0x01: answers a Ping with the address of a servent.
    Pong,
    /// 0x02: the sender closes, and why (0.6, accepted on every link).
    Bye,
    /// 0x40: asks a servent to connect and offer a file.
    Push,
    /// 0x80: asks for files by words.
    Query,
    /// 0x81: answers a Query with results.
    QueryHit,
    /// Unknown: skipped by its length, never forwarded.
    Other(u8),
}

impl Kind {
    /// The byte on the wire.
    pub const fn code(self) -> u8 {
        match self {
            Kind::Ping => 0x00,
            Kind::Pong => 0x01,
            Kind::Bye => 0x02,
            Kind::Push => 0x40,
            Kind::Query => 0x80,
            Kind::QueryHit => 0x81,
            Kind::Other(code) => code,
        }
    }

    /// The kind a byte stands for.
    pub const fn from_code(code: u8) -> Kind {
        match code {
            0x00 => Kind::Ping,
            0x01 => Kind::Pong,
            0x02 => Kind::Bye,
            0x40 => Kind::Push,
            0x80 => Kind::Query,
            0x81 => Kind::QueryHit,
            other => Kind::Other(other),
        }
    }

    /// Its name in JSON; all unknown kinds share one.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Ping => "ping",
            Kind::Pong => "pong",
            Kind::Bye => "bye",
            Kind::Push => "push",
            Kind::Query => "query",
            Kind::QueryHit => "query_hit",
            Kind::Other(_) => "unknown",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Ping => f.write_str("Ping"),
            Kind::Pong => f.write_str("Pong"),
            Kind::Bye => f.write_str("Bye"),
            Kind::Push => f.write_str("Push"),
            Kind::Query => f.write_str("Query"),
            Kind::QueryHit => f.write_str("QueryHit"),
            Kind::Other(code) => write!(f, "descriptor of unknown kind 0x{code:02x}"),
        }
    }
}

/// A decoded header. Any 23 bytes decode; whether the values are valid is judged by the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Names the descriptor; a reply carries the id of what it replies to.
    pub guid: Guid,
    /// What the payload is.
    pub kind: Kind,
    /// Links it may still cross, including the one it arrived on.
    pub ttl: u8,
    /// Links it had crossed before the one it arrived on.
    pub hops: u8,
    /// Payload bytes that follow.
    pub payload_len: u32,
}

impl Header {
    /// Reads a header.
    #[inline]
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Header {
        let mut guid = [0; 16];
        guid.copy_from_slice(&bytes[field::GUID]);
        Header {
            guid: Guid(guid),
            kind: Kind::from_code(bytes[field::KIND]),
            ttl: bytes[field::TTL],
            hops: bytes[field::HOPS],
            payload_len: LittleEndian::read_u32(&bytes[field::LENGTH]),
        }
    }

    /// The 23 bytes of this header.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[field::GUID].copy_from_slice(&self.guid.0);
        bytes[field::KIND] = self.kind.code();
        bytes[field::TTL] = self.ttl;
        bytes[field::HOPS] = self.hops;
        LittleEndian::write_u32(&mut bytes[field::LENGTH], self.payload_len);
        bytes
    }

    /// Writes TTL and hops into an encoded descriptor whose header is otherwise this one.
    pub(crate) fn patch_travel(&self, frame: &mut [u8]) {
        (frame[field::TTL], frame[field::HOPS]) = (self.ttl, self.hops);
    }

    /// Appends header and payload to `out`. The header's length is taken from the payload.
    ///
    /// # Panics
    /// When the payload is over [`MAX_PAYLOAD_BYTES`]: only what was built or accepted here is encoded.
    pub fn frame(mut self, payload: &[u8], out: &mut Vec<u8>) {
        assert!(payload.len() <= MAX_PAYLOAD_BYTES, "payloads are bounded where they are built");
        self.payload_len = u32::try_from(payload.len()).expect("bounded above");
        out.extend_from_slice(&self.encode());
        out.extend_from_slice(payload);
    }
}
