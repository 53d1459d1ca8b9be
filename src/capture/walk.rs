//! Cuts a byte stream into items: handshakes, descriptors, and bytes that cannot be read.

use super::reassembly::{ByteStream, Fragment, Lost};
use crate::wire::handshake06::MAX_LEG_BYTES;
use crate::wire::{Deframer, HEADER_BYTES, Header, Kind, MAX_PAYLOAD_BYTES, block_len};
use std::net::SocketAddrV4;
use std::time::Duration;

/// One item of a stream.
#[derive(Debug)]
pub struct Item<'a> {
    /// Its position.
    pub position: Position,
    /// Its content.
    pub content: Content<'a>,
}

/// The position of an item.
#[derive(Clone, Copy, Debug)]
pub struct Position {
    /// Bytes before it in its stream.
    pub offset: u64,
    /// In a capture: the packet that completed it.
    pub origin: Option<Origin>,
}

/// A packet of a capture.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// Its number, from 1.
    pub packet: u32,
    /// Its time, since 1970.
    pub time: Duration,
    /// The sender.
    pub from: SocketAddrV4,
    /// The receiver.
    pub to: SocketAddrV4,
}

/// The kinds of items.
#[derive(Debug)]
pub enum Content<'a> {
    /// A part of the handshake, with its blank line.
    Handshake(&'a [u8]),
    /// A descriptor; its payload may be malformed.
    Descriptor(Header, &'a [u8]),
    /// The beginning of a descriptor.
    CutShort {
        /// Its header, if that is complete.
        header: Option<Header>,
        /// Its bytes, without a complete header.
        bytes: &'a [u8],
    },
    /// Bytes that cannot be read as descriptors.
    Lost {
        /// Their number.
        length: u64,
        /// The reason.
        reason: String,
    },
    /// Bytes that are missing from the capture.
    Missing(u64),
    /// A stream that is not a link: HTTP, GIV or another protocol.
    Other {
        /// Its first bytes.
        beginning: &'a [u8],
        /// Its length in bytes.
        length: u64,
    },
}

/// The items of raw bytes.
pub fn walk_bytes(fragment: &Fragment) -> Vec<Item<'_>> {
    let mut walk = Walk { from_to: None, items: Vec::new() };
    let start = walk.handshakes(fragment);
    if let Some(start) = start {
        walk.descriptors(fragment, start);
    }
    walk.items
}

/// The items of one direction of a recorded connection.
pub fn walk_stream(stream: &ByteStream) -> Vec<Item<'_>> {
    let mut walk = Walk { from_to: Some((stream.from, stream.to)), items: Vec::new() };
    let length: u64 = stream.fragments.iter().map(|fragment| len64(&fragment.bytes)).sum();
    let [first, ..] = &stream.fragments[..] else { return walk.items };
    if !is_handshake(&first.bytes) && !frames_plausibly(first) {
        walk.push(first, 0, Content::Other { beginning: &first.bytes, length });
        return walk.items;
    }
    let mut next = 0;
    for fragment in &stream.fragments {
        if fragment.start > next {
            walk.push(fragment, 0, Content::Missing(fragment.start - next));
        }
        next = fragment.start + len64(&fragment.bytes);
        let start = if fragment.start == 0 {
            walk.handshakes(fragment)
        } else {
            walk.resynchronise(fragment)
        };
        let in_step = match start {
            Some(start) => walk.descriptors(fragment, start),
            // After a malformed handshake nothing can be read; after a gap a header may follow later.
            None => fragment.start > 0,
        };
        if !in_step {
            let end = stream
                .fragments
                .last()
                .map_or(next, |fragment| fragment.start + len64(&fragment.bytes));
            walk.extend_lost(end);
            break;
        }
    }
    walk.items
}

fn len64(bytes: &[u8]) -> u64 {
    bytes.len() as u64
}

struct Walk<'a> {
    from_to: Option<(SocketAddrV4, SocketAddrV4)>,
    items: Vec<Item<'a>>,
}

impl<'a> Walk<'a> {
    /// Adds an item that begins at `at` and is complete before `end`.
    fn push_until(&mut self, fragment: &Fragment, at: usize, end: usize, content: Content<'a>) {
        let mark = fragment.mark(end.saturating_sub(1).max(at));
        let origin = self.from_to.zip(mark).map(|((from, to), mark)| Origin {
            packet: mark.packet,
            time: mark.time,
            from,
            to,
        });
        let offset = fragment.start + at as u64;
        self.items.push(Item { position: Position { offset, origin }, content });
    }

    fn push(&mut self, fragment: &Fragment, at: usize, content: Content<'a>) {
        self.push_until(fragment, at, at, content);
    }

    fn lose(&mut self, fragment: &Fragment, at: usize, reason: String) {
        let length = len64(&fragment.bytes[at..]);
        self.push(fragment, at, Content::Lost { length, reason });
    }

    /// Extends the last lost item to `end`.
    fn extend_lost(&mut self, end: u64) {
        if let Some(Item { position, content: Content::Lost { length, .. } }) =
            self.items.last_mut()
        {
            *length = end - position.offset;
        }
    }

    /// Adds the handshake and returns where descriptors begin; `None` if there can be none.
    fn handshakes(&mut self, fragment: &'a Fragment) -> Option<usize> {
        let mut at = 0;
        while is_handshake(&fragment.bytes[at..]) {
            let rest = &fragment.bytes[at..];
            let Some(len) = handshake_len(rest) else {
                self.lose(fragment, at, "the handshake does not end with a blank line".to_owned());
                return None;
            };
            self.push_until(fragment, at, at + len, Content::Handshake(&rest[..len]));
            at += len;
        }
        Some(at)
    }

    /// After a gap: the first segment that begins with a plausible header. Bytes before it are lost.
    fn resynchronise(&mut self, fragment: &'a Fragment) -> Option<usize> {
        let starts = fragment.marks.iter().map(|mark| mark.at);
        let found = starts
            .into_iter()
            .find(|&at| header_at(&fragment.bytes[at..]).is_some_and(|header| plausible(&header)));
        let lost = found.unwrap_or(fragment.bytes.len());
        if lost > 0 {
            let reason = "it is not known where the next descriptor begins".to_owned();
            self.push(fragment, 0, Content::Lost { length: lost as u64, reason });
        }
        found
    }

    /// Adds the descriptors from `start` on; returns false if the rest of the stream cannot be read.
    fn descriptors(&mut self, fragment: &'a Fragment, start: usize) -> bool {
        let mut at = start;
        let mut deframer = Deframer::default();
        let mut found = deframer.feed(&fragment.bytes[start..]);
        loop {
            match found.next() {
                Ok(Some(raw)) => {
                    let end = at + HEADER_BYTES + raw.payload().len();
                    let payload = &fragment.bytes[at + HEADER_BYTES..end];
                    self.push_until(fragment, at, end, Content::Descriptor(raw.header(), payload));
                    at = end;
                }
                Ok(None) => break,
                Err(error) => {
                    self.lose(fragment, at, error.to_string());
                    return false;
                }
            }
        }
        let rest = &fragment.bytes[at..];
        if !rest.is_empty() {
            let header = header_at(rest);
            let bytes = rest.get(HEADER_BYTES..).unwrap_or(rest);
            self.push(fragment, at, Content::CutShort { header, bytes });
        }
        if let Some(Lost { length, reason }) = &fragment.lost {
            let content = Content::Lost { length: *length, reason: reason.clone() };
            self.push(fragment, fragment.bytes.len(), content);
        }
        true
    }
}

fn header_at(bytes: &[u8]) -> Option<Header> {
    bytes.first_chunk::<HEADER_BYTES>().map(Header::decode)
}

/// Whether bytes begin a link rather than a transfer.
pub(super) fn is_handshake(bytes: &[u8]) -> bool {
    bytes.starts_with(b"GNUTELLA ") || bytes.starts_with(b"GNUTELLA/")
}

/// Length of a part of the handshake, of 0.4 or 0.6, with its blank line.
pub(super) fn handshake_len(bytes: &[u8]) -> Option<usize> {
    block_len(&bytes[..bytes.len().min(MAX_LEG_BYTES)])
}

/// Whether a stream without a handshake looks like a link recorded from its middle: every header in the
/// first segment is plausible.
fn frames_plausibly(fragment: &Fragment) -> bool {
    let segment = fragment.first_segment();
    let mut at = 0;
    while let Some(header) = segment.get(at..).and_then(header_at) {
        if !plausible(&header) {
            return false;
        }
        at += HEADER_BYTES + usize::try_from(header.payload_len).unwrap_or(MAX_PAYLOAD_BYTES);
    }
    at > 0
}

/// Whether the length suits the kind and the counters are below a generous limit.
fn plausible(header: &Header) -> bool {
    const MAX_LINKS: u8 = 32;
    let length = match header.kind {
        Kind::Ping => 0..=2_048,
        Kind::Pong => 14..=2_048,
        Kind::Bye => 3..=4_096,
        Kind::Push => 26..=2_048,
        Kind::Query => 3..=4_096,
        Kind::QueryHit => 27..=65_536,
        // Route tables and vendor messages of 0.6.
        Kind::Other(0x30..=0x32) => 6..=65_536,
        Kind::Other(_) => return false,
    };
    length.contains(&header.payload_len) && header.ttl <= MAX_LINKS && header.hops <= MAX_LINKS
}
