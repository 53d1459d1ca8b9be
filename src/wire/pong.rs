//! Pong (0x01): the address of a servent and how much it shares.

use super::error::DecodeError;
use super::header::Kind;
use super::reader::{check_len, port_then_ip, put_port_then_ip};
use byteorder::{ByteOrder, LittleEndian};
use std::net::SocketAddrV4;

/// Size of a Pong without extension, the only size GNU Serveez accepts.
pub const PONG_BYTES: usize = 14;

mod field {
    use std::ops::Range;
    pub(super) const ADDR: Range<usize> = 0..6;
    pub(super) const FILES: Range<usize> = 6..10;
    pub(super) const KIB: Range<usize> = 10..14;
    pub(super) const EXTENSION: usize = 14;
}

/// A Pong's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pong<'a> {
    /// Address at which it accepts connections; port 0 means that it accepts none.
    pub addr: SocketAddrV4,
    /// Files shared.
    pub files: u32,
    /// KiB shared.
    pub kib: u32,
    /// Opaque bytes, usually none (a GGEP block on later networks).
    pub extension: &'a [u8],
}

impl<'a> Pong<'a> {
    /// Reads a payload of 14 to 2,048 bytes.
    pub fn decode(payload: &'a [u8]) -> Result<Pong<'a>, DecodeError> {
        check_len(Kind::Pong, payload, PONG_BYTES..2_049)?;
        Ok(Pong {
            addr: port_then_ip(&payload[field::ADDR]),
            files: LittleEndian::read_u32(&payload[field::FILES]),
            kib: LittleEndian::read_u32(&payload[field::KIB]),
            extension: &payload[field::EXTENSION..],
        })
    }

    /// Appends the payload to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_port_then_ip(self.addr, out);
        out.extend_from_slice(&self.files.to_le_bytes());
        out.extend_from_slice(&self.kib.to_le_bytes());
        out.extend_from_slice(self.extension);
    }

    /// The KiB field for `bytes` shared: rounded up, and never a power of two from 8 on, which
    /// gtk-gnutella reads as "this is an ultrapeer" (0.6 draft; others set bit 0 as we do).
    pub fn kib_of(bytes: u64) -> u32 {
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        if kib >= 8 && kib.is_power_of_two() { kib | 1 } else { kib }
    }
}
