//! Writes pcapng files: TCP segments over IPv4, without a link layer.

use etherparse::PacketBuilder;
use std::net::SocketAddrV4;
use std::time::Duration;

/// Raw IPv4 without a link layer.
const LINKTYPE_IPV4: u16 = 228;
/// Most bytes of one segment, well below the limit of an IPv4 packet.
pub const MAX_SEGMENT_BYTES: usize = 32 * 1024;

/// The header of a pcapng file.
pub fn file_header() -> Vec<u8> {
    let mut out = Vec::new();
    let section = [0x1a2b_3c4d, 0x0000_0001, u32::MAX, u32::MAX].map(u32::to_le_bytes).concat();
    block(&mut out, 0x0a0d_0d0a, &section);
    // No limit on packet size; times are in microseconds, the default.
    let interface = [u32::from(LINKTYPE_IPV4), 0].map(u32::to_le_bytes).concat();
    block(&mut out, 1, &interface);
    out
}

fn block(out: &mut Vec<u8>, kind: u32, body: &[u8]) {
    let padding = body.len().next_multiple_of(4) - body.len();
    let len = u32::try_from(body.len() + padding + 12).expect("packets are below 64 KiB");
    out.extend(kind.to_le_bytes());
    out.extend(len.to_le_bytes());
    out.extend(body);
    out.extend(std::iter::repeat_n(0, padding));
    out.extend(len.to_le_bytes());
}

/// An IPv4 packet with one TCP segment; `data` has at most [`MAX_SEGMENT_BYTES`]. `sequence` and
/// `acknowledged` are the sequence numbers of both directions.
pub fn tcp_packet(
    (from, to): (SocketAddrV4, SocketAddrV4),
    (sequence, acknowledged): (u32, u32),
    data: &[u8],
) -> Option<Vec<u8>> {
    let mut packet = Vec::with_capacity(data.len() + 40);
    PacketBuilder::ipv4(from.ip().octets(), to.ip().octets(), 64)
        .tcp(from.port(), to.port(), sequence, u16::MAX)
        .ack(acknowledged)
        .psh()
        .write(&mut packet, data)
        .ok()
        .map(|()| packet)
}

/// A packet as a block of the file; `time` is since 1970.
pub fn packet_block(time: Duration, packet: &[u8]) -> Vec<u8> {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let len = u32::try_from(packet.len()).expect("packets are below 64 KiB");
    let mut body = Vec::with_capacity(packet.len() + 20);
    #[expect(clippy::cast_possible_truncation, reason = "the format has two halves of 32 bits")]
    let halves = [(micros >> 32) as u32, micros as u32];
    for word in [0, halves[0], halves[1], len, len] {
        body.extend(u32::to_le_bytes(word));
    }
    body.extend_from_slice(packet);
    let mut out = Vec::with_capacity(body.len() + 16);
    block(&mut out, 6, &body);
    out
}
