//! A stream of bytes to the things worth a line: hellos, descriptors, and what cannot be read.

use super::reassembly::{Run, Stream};
use crate::wire::handshake::read_answer;
use crate::wire::{Deframer, HEADER_BYTES, Header, Kind, MAX_PAYLOAD_BYTES};
use std::net::SocketAddrV4;
use std::time::Duration;

/// Longest hello that is looked for, with the headers of 0.6.
const MAX_HELLO_BYTES: usize = 16 * 1024;

/// One thing found.
#[derive(Debug)]
pub(super) struct Item<'a> {
    /// Where.
    pub(super) place: Place,
    /// What.
    pub(super) what: What<'a>,
}

/// Where something begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Bytes of its stream before it.
    pub(super) offset: u64,
    /// For captures: the packet that completed it, when that was seen, and who speaks to whom.
    pub(super) origin: Option<Origin>,
}

/// Where in a capture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub(super) packet: u32,
    pub(super) time: Duration,
    pub(super) from: SocketAddrV4,
    pub(super) to: SocketAddrV4,
}

/// What can be found.
#[derive(Debug)]
pub(super) enum What<'a> {
    /// A hello or its answer, with its blank line.
    Hello(&'a [u8]),
    /// A descriptor; its payload need not make sense.
    Descriptor(Header, &'a [u8]),
    /// The beginning of a descriptor. Without a header if not even that is complete.
    CutShort {
        /// The header, if it is there.
        header: Option<Header>,
        /// What is there of it, without the header if that is complete.
        bytes: &'a [u8],
    },
    /// Bytes that cannot be read as descriptors.
    Lost {
        /// How many.
        length: u64,
        /// Why not.
        reason: String,
    },
    /// Bytes that are missing from the capture.
    Missing(u64),
    /// A stream that is not Gnutella: HTTP, GIV or something else altogether.
    Other {
        /// How it begins.
        beginning: &'a [u8],
        /// How long it is.
        length: u64,
    },
}

/// Finds everything in a file of raw bytes.
pub(super) fn walk_bytes(run: &Run) -> Vec<Item<'_>> {
    let mut walk = Walk { from_to: None, items: Vec::new() };
    let start = walk.hellos(run);
    if let Some(start) = start {
        walk.descriptors(run, start);
    }
    walk.items
}

/// Finds everything in one direction of a recorded connection.
pub(super) fn walk_stream(stream: &Stream) -> Vec<Item<'_>> {
    let mut walk = Walk { from_to: Some((stream.from, stream.to)), items: Vec::new() };
    let length: u64 = stream.runs.iter().map(|run| len64(&run.bytes)).sum();
    let [first, ..] = &stream.runs[..] else { return walk.items };
    if !is_hello(&first.bytes) && !frames_plausibly(first) {
        walk.push(first, 0, What::Other { beginning: &first.bytes, length });
        return walk.items;
    }
    let mut next = 0;
    for run in &stream.runs {
        if run.start > next {
            walk.push(run, 0, What::Missing(run.start - next));
        }
        next = run.start + len64(&run.bytes);
        let start = if run.start == 0 { walk.hellos(run) } else { walk.resynchronise(run) };
        let in_step = match start {
            Some(start) => walk.descriptors(run, start),
            // A hello that cannot be read ends it all, a hole may be followed by a header later.
            None => run.start > 0,
        };
        if !in_step {
            let end = stream.runs.last().map_or(next, |run| run.start + len64(&run.bytes));
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
    /// Records `what`, which begins at `at` and was complete before `end`.
    fn push_until(&mut self, run: &Run, at: usize, end: usize, what: What<'a>) {
        let mark = run.mark(end.saturating_sub(1).max(at));
        let origin = self.from_to.zip(mark).map(|((from, to), mark)| Origin {
            packet: mark.packet,
            time: mark.time,
            from,
            to,
        });
        let offset = run.start + at as u64;
        self.items.push(Item { place: Place { offset, origin }, what });
    }

    fn push(&mut self, run: &Run, at: usize, what: What<'a>) {
        self.push_until(run, at, at, what);
    }

    fn lose(&mut self, run: &Run, at: usize, reason: String) {
        let length = len64(&run.bytes[at..]);
        self.push(run, at, What::Lost { length, reason });
    }

    /// Lets what was lost last reach to the place `end`.
    fn extend_lost(&mut self, end: u64) {
        if let Some(Item { place, what: What::Lost { length, .. } }) = self.items.last_mut() {
            *length = end - place.offset;
        }
    }

    /// Takes the hellos at the beginning and tells where descriptors begin; `None` if there can
    /// be none.
    fn hellos(&mut self, run: &'a Run) -> Option<usize> {
        let mut at = 0;
        while is_hello(&run.bytes[at..]) {
            let rest = &run.bytes[at..];
            let Some(len) = hello_len(rest) else {
                self.lose(run, at, "the hello has no blank line at its end".to_owned());
                return None;
            };
            self.push_until(run, at, at + len, What::Hello(&rest[..len]));
            at += len;
            if announces_deflate(&rest[..len]) && !is_hello(&run.bytes[at..]) {
                if at < run.bytes.len() {
                    self.lose(run, at, "the link is compressed from here on".to_owned());
                }
                return None;
            }
        }
        Some(at)
    }

    /// Behind a hole: where a segment begins with what looks like a header. Everything before is
    /// lost.
    fn resynchronise(&mut self, run: &'a Run) -> Option<usize> {
        let starts = run.marks.iter().map(|mark| mark.at);
        let found = starts
            .into_iter()
            .find(|&at| header_at(&run.bytes[at..]).is_some_and(|header| plausible(&header)));
        let lost = found.unwrap_or(run.bytes.len());
        if lost > 0 {
            let reason = "it is not known where the next descriptor begins".to_owned();
            self.push(run, 0, What::Lost { length: lost as u64, reason });
        }
        found
    }

    /// Takes descriptors from `start` to the end of the run; false if the stream cannot be
    /// followed any further.
    fn descriptors(&mut self, run: &'a Run, start: usize) -> bool {
        let mut at = start;
        let mut deframer = Deframer::default();
        let mut found = deframer.feed(&run.bytes[start..]);
        loop {
            match found.next() {
                Ok(Some(raw)) => {
                    let end = at + HEADER_BYTES + raw.payload().len();
                    let payload = &run.bytes[at + HEADER_BYTES..end];
                    self.push_until(run, at, end, What::Descriptor(raw.header(), payload));
                    at = end;
                }
                Ok(None) => break,
                Err(error) => {
                    self.lose(run, at, error.to_string());
                    return false;
                }
            }
        }
        let rest = &run.bytes[at..];
        if !rest.is_empty() {
            let header = header_at(rest);
            let bytes = rest.get(HEADER_BYTES..).unwrap_or(rest);
            self.push(run, at, What::CutShort { header, bytes });
        }
        true
    }
}

fn header_at(bytes: &[u8]) -> Option<Header> {
    bytes.first_chunk::<HEADER_BYTES>().map(Header::decode)
}

/// Whether bytes begin a link rather than a transfer.
fn is_hello(bytes: &[u8]) -> bool {
    bytes.starts_with(b"GNUTELLA ") || bytes.starts_with(b"GNUTELLA/")
}

/// Length of a hello of 0.4 or 0.6 with its blank line.
fn hello_len(bytes: &[u8]) -> Option<usize> {
    if let Ok(Some(len)) = read_answer(bytes) {
        return Some(len);
    }
    let window = &bytes[..bytes.len().min(MAX_HELLO_BYTES)];
    memchr::memchr_iter(b'\n', window).find_map(|at| match &window[at + 1..] {
        [b'\n', ..] => Some(at + 2),
        [b'\r', b'\n', ..] => Some(at + 3),
        _ => None,
    })
}

/// Whether a side of a 0.6 hello says that it compresses what it sends.
fn announces_deflate(hello: &[u8]) -> bool {
    hello.split(|&byte| byte == b'\n').any(|line| {
        let line = line.trim_ascii().to_ascii_lowercase();
        line.strip_prefix(b"content-encoding:")
            .is_some_and(|value| value.trim_ascii() == b"deflate")
    })
}

/// Whether a stream that begins without hello looks like a link recorded from its middle: every
/// header that begins in the first segment is one a servent would send.
fn frames_plausibly(run: &Run) -> bool {
    let segment = run.first_segment();
    let mut at = 0;
    while let Some(header) = segment.get(at..).and_then(header_at) {
        if !plausible(&header) {
            return false;
        }
        at += HEADER_BYTES + usize::try_from(header.payload_len).unwrap_or(MAX_PAYLOAD_BYTES);
    }
    at > 0
}

/// A header with a length its kind can have and counters that no sane servent exceeds.
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
