//! Push (0x40): asks a servent that cannot be reached to connect to the requester instead.

use super::error::DecodeError;
use super::guid::ServentId;
use super::header::Kind;
use super::reader::{check_len, id16, ip};
use byteorder::{ByteOrder, LittleEndian};
use std::net::SocketAddrV4;

/// Size of a Push without extension, the only size GNU Serveez accepts.
pub const PUSH_BYTES: usize = 26;

mod field {
    use std::ops::Range;
    pub(super) const SERVENT: Range<usize> = 0..16;
    pub(super) const INDEX: Range<usize> = 16..20;
    pub(super) const IP: Range<usize> = 20..24;
    pub(super) const PORT: Range<usize> = 24..26;
    pub(super) const EXTENSION: usize = 26;
}

/// A Push's payload. Unlike in a Pong or QueryHit, the address comes before the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Push<'a> {
    /// The servent that is to connect.
    pub servent: ServentId,
    /// The file it is to offer, by its index there.
    pub index: u32,
    /// The address it is to connect to.
    pub addr: SocketAddrV4,
    /// Opaque bytes, usually none.
    pub extension: &'a [u8],
}

impl<'a> Push<'a> {
    /// Reads a payload of 26 to 2,048 bytes.
    pub fn decode(payload: &'a [u8]) -> Result<Push<'a>, DecodeError> {
        check_len(Kind::Push, payload, PUSH_BYTES..2_049)?;
        let port = LittleEndian::read_u16(&payload[field::PORT]);
        Ok(Push {
            servent: ServentId(id16(&payload[field::SERVENT])),
            index: LittleEndian::read_u32(&payload[field::INDEX]),
            addr: SocketAddrV4::new(ip(&payload[field::IP]), port),
            extension: &payload[field::EXTENSION..],
        })
    }

    /// Appends the payload to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.servent.0);
        out.extend_from_slice(&self.index.to_le_bytes());
        out.extend_from_slice(&self.addr.ip().octets());
        out.extend_from_slice(&self.addr.port().to_le_bytes());
        out.extend_from_slice(self.extension);
    }
}
