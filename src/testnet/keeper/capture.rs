//! Captures relayed bytes as packets of a pcapng file, one descriptor in each.
//!
//! The packets are synthetic: the keeper sees byte streams, and puts IP and TCP headers before them as
//! if the two nodes were connected directly.

use crate::wire::{Deframer, HandshakeEnd};
use etherparse::PacketBuilder;
use std::net::SocketAddrV4;
use std::time::Duration;

/// Raw IPv4 without a link layer.
const LINKTYPE_IPV4: u16 = 228;
/// The longest payload of one packet, well below what the length field of IPv4 takes.
const MAX_SEGMENT: usize = 32 * 1024;

/// The header of a pcapng file.
pub(super) fn file_header() -> Vec<u8> {
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

/// Packs the streams of one relayed connection. Follows it from its start, so that a capture may begin at any time.
#[derive(Debug)]
pub(super) struct LinkCapture {
    /// The dialling node's end, and the dialled one's.
    ends: [SocketAddrV4; 2],
    /// What each side has sent.
    streams: [SentStream; 2],
}

#[derive(Debug, Default)]
struct SentStream {
    /// Bytes sent so far, modulo 2^32.
    sent: u32,
    handshake: HandshakeEnd,
    deframer: Deframer,
}

impl SentStream {
    fn sequence(&self) -> u32 {
        self.sent.wrapping_add(1)
    }
}

impl LinkCapture {
    pub(super) fn new(dialling: SocketAddrV4, dialled: SocketAddrV4) -> LinkCapture {
        LinkCapture { ends: [dialling, dialled], streams: Default::default() }
    }

    /// The side `from` has sent `bytes`; their packets go to `capture`, if there is one. The handshake,
    /// and a stream that is not a link, are packed as they arrive.
    pub(super) fn note(
        &mut self,
        from: usize,
        bytes: &[u8],
        capture: &mut Option<&mut dyn FnMut(Vec<u8>)>,
    ) {
        let behind = self.streams[from].handshake.skip(bytes);
        self.pack(from, &bytes[..bytes.len() - behind.len()], capture);
        if !self.streams[from].handshake.is_link() {
            return;
        }
        let mut deframer = std::mem::take(&mut self.streams[from].deframer);
        let mut descriptors = deframer.feed(behind);
        loop {
            match descriptors.next() {
                Ok(Some(raw)) => self.pack(from, raw.frame(), capture),
                Ok(None) => break,
                Err(_) => {
                    self.streams[from].handshake.give_up();
                    break;
                }
            }
        }
        self.streams[from].deframer = deframer;
    }

    fn pack(&mut self, from: usize, bytes: &[u8], capture: &mut Option<&mut dyn FnMut(Vec<u8>)>) {
        let (source, sink) = (self.ends[from], self.ends[1 - from]);
        for segment in bytes.chunks(MAX_SEGMENT) {
            if let Some(capture) = capture {
                let mut packet = Vec::with_capacity(segment.len() + 40);
                let built = PacketBuilder::ipv4(source.ip().octets(), sink.ip().octets(), 64)
                    .tcp(source.port(), sink.port(), self.streams[from].sequence(), u16::MAX)
                    .ack(self.streams[1 - from].sequence())
                    .psh()
                    .write(&mut packet, segment);
                if built.is_ok() {
                    capture(packet);
                }
            }
            let len = u32::try_from(segment.len()).expect("a segment is short");
            self.streams[from].sent = self.streams[from].sent.wrapping_add(len);
        }
    }
}

/// A packet as a block of the file; `time` is since 1970.
pub(super) fn packet_block(time: Duration, packet: &[u8]) -> Vec<u8> {
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
