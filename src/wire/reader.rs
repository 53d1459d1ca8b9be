//! Field access shared by the payload views: checked sizes first, then plain reads.

use super::error::DecodeError;
use super::header::Kind;
use byteorder::{ByteOrder, LittleEndian};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::Range;

/// Checks a payload's size against what its kind allows.
pub(super) fn check_len(
    kind: Kind,
    payload: &[u8],
    allowed: Range<usize>,
) -> Result<(), DecodeError> {
    let got = payload.len();
    if got < allowed.start {
        return Err(DecodeError::TooShort { kind, need: allowed.start, got });
    }
    if got >= allowed.end {
        return Err(DecodeError::TooLong { kind, limit: allowed.end - 1, got });
    }
    Ok(())
}

/// Splits at the first NUL, which belongs to neither half.
pub(super) fn split_nul(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    // Mostly there is nothing between the two NULs of a result.
    let at = if bytes.first() == Some(&0) { 0 } else { memchr::memchr(0, bytes)? };
    Some((&bytes[..at], &bytes[at + 1..]))
}

/// A port (little endian) directly followed by an IPv4 address (dotted order), as Pong and
/// QueryHit have it.
pub(super) fn port_then_ip(bytes: &[u8]) -> SocketAddrV4 {
    SocketAddrV4::new(ip(&bytes[2..6]), LittleEndian::read_u16(&bytes[..2]))
}

/// Four bytes in dotted order.
pub(super) fn ip(bytes: &[u8]) -> Ipv4Addr {
    Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3])
}

/// The inverse of [`port_then_ip`].
pub(super) fn put_port_then_ip(addr: SocketAddrV4, out: &mut Vec<u8>) {
    out.extend_from_slice(&addr.port().to_le_bytes());
    out.extend_from_slice(&addr.ip().octets());
}

/// Sixteen bytes as an array; the caller has checked the length.
pub(super) fn id16(bytes: &[u8]) -> [u8; 16] {
    let mut id = [0; 16];
    id.copy_from_slice(bytes);
    id
}
