//! Captures relayed bytes as packets of a pcapng file, one descriptor in each.
//!
//! The packets are synthetic: the keeper sees byte streams, and puts IP and TCP headers before them as
//! if the two nodes were connected directly.

use crate::wire::Deframer;
use etherparse::PacketBuilder;
use memchr::memmem;
use std::net::SocketAddrV4;
use std::time::Duration;

/// Raw IPv4 without a link layer.
const LINKTYPE_IPV4: u16 = 228;
/// The longest payload of one packet, well below what the length field of IPv4 takes.
const MAX_SEGMENT: usize = 32 * 1024;
/// Longest handshake in bytes; a longer stream is not a link.
const MAX_HANDSHAKE: usize = 4_096;

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

/// Follows one relayed connection from its start, so that a capture may begin at any time.
#[derive(Debug)]
pub(super) struct Tap {
    /// The dialling node's end, and the dialled one's.
    ends: [SocketAddrV4; 2],
    /// The streams of both sides.
    sent: [Stream; 2],
}

#[derive(Debug)]
struct Stream {
    /// TCP sequence number.
    sequence: u32,
    part: Part,
}

#[derive(Debug)]
enum Part {
    /// The handshake, as far as it has arrived.
    Handshake(Vec<u8>),
    Descriptors(Deframer),
    /// Anything else: one packet for each read.
    Opaque,
}

impl Tap {
    pub(super) fn new(dialling: SocketAddrV4, dialled: SocketAddrV4) -> Tap {
        let stream = || Stream { sequence: 1, part: Part::Handshake(Vec::new()) };
        Tap { ends: [dialling, dialled], sent: [stream(), stream()] }
    }

    /// The side `from` has sent `bytes`; their packets go to `capture`, if there is one.
    pub(super) fn note(
        &mut self,
        from: usize,
        bytes: &[u8],
        capture: &mut Option<&mut dyn FnMut(Vec<u8>)>,
    ) {
        let (mut handshake, rest);
        let mut bytes = bytes;
        if let Part::Handshake(so_far) = &mut self.sent[from].part {
            so_far.extend_from_slice(bytes);
            let end = [&b"\n\n"[..], b"\r\n\r\n"]
                .into_iter()
                .filter_map(|end| Some(memmem::find(so_far, end)? + end.len()))
                .min();
            match end {
                Some(end) => {
                    handshake = std::mem::take(so_far);
                    rest = handshake.split_off(end);
                    self.sent[from].part = Part::Descriptors(Deframer::default());
                }
                None if so_far.len() > MAX_HANDSHAKE => {
                    (handshake, rest) = (std::mem::take(so_far), Vec::new());
                    self.sent[from].part = Part::Opaque;
                }
                None => return,
            }
            self.pack(from, &handshake, capture);
            bytes = &rest;
        }
        let mut part = std::mem::replace(&mut self.sent[from].part, Part::Opaque);
        if let Part::Descriptors(deframer) = &mut part {
            let mut descriptors = deframer.feed(bytes);
            let lost = loop {
                match descriptors.next() {
                    Ok(Some(raw)) => {
                        let whole = [&raw.header().encode()[..], raw.payload()].concat();
                        self.pack(from, &whole, capture);
                    }
                    Ok(None) => break false,
                    Err(_) => break true,
                }
            };
            if lost {
                part = Part::Opaque;
            }
        } else {
            self.pack(from, bytes, capture);
        }
        self.sent[from].part = part;
    }

    fn pack(&mut self, from: usize, bytes: &[u8], capture: &mut Option<&mut dyn FnMut(Vec<u8>)>) {
        let (source, sink) = (self.ends[from], self.ends[1 - from]);
        for segment in bytes.chunks(MAX_SEGMENT) {
            if let Some(capture) = capture {
                let mut packet = Vec::with_capacity(segment.len() + 40);
                let built = PacketBuilder::ipv4(source.ip().octets(), sink.ip().octets(), 64)
                    .tcp(source.port(), sink.port(), self.sent[from].sequence, u16::MAX)
                    .ack(self.sent[1 - from].sequence)
                    .psh()
                    .write(&mut packet, segment);
                if built.is_ok() {
                    capture(packet);
                }
            }
            let len = u32::try_from(segment.len()).expect("a segment is short");
            self.sent[from].sequence = self.sent[from].sequence.wrapping_add(len);
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
