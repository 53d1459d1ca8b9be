//! Captures relayed bytes as packets of a pcapng file, one descriptor in each.
//!
//! The packets are synthetic: the keeper sees byte streams, and puts IP and TCP headers before them as
//! if the two nodes were connected directly.

use crate::capture::write;
use crate::wire::{Deframer, HandshakeEnd};
use std::net::SocketAddrV4;

/// Packs the streams of one relayed connection; follows it from its start, so that a capture may
/// begin at any time.
#[derive(Debug)]
pub(super) struct LinkCapture {
    /// The dialling node's end, and the dialled one's.
    ends: [SocketAddrV4; 2],
    /// The streams of the two sides.
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
        for segment in bytes.chunks(write::MAX_SEGMENT_BYTES) {
            if let Some(capture) = capture {
                let numbers = [from, 1 - from].map(|side| self.streams[side].sequence());
                write::tcp_packet((source, sink), numbers.into(), segment)
                    .into_iter()
                    .for_each(capture);
            }
            let len = u32::try_from(segment.len()).expect("a segment is short");
            self.streams[from].sent = self.streams[from].sent.wrapping_add(len);
        }
    }
}
