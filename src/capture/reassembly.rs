//! TCP reassembly: segments of a capture to one byte stream for each direction of a connection.
//!
//! The whole capture is in memory, so segments are sorted rather than buffered, and one pass finds
//! retransmissions, overlaps and gaps. Every byte of a stream is copied at most once, so memory stays
//! below the size of the capture.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::time::Duration;

/// One TCP segment.
#[derive(Clone, Debug)]
pub struct TcpSegment<'a> {
    /// The sender.
    pub from: SocketAddrV4,
    /// The receiver.
    pub to: SocketAddrV4,
    /// Sequence number of the first data byte.
    pub seq: u32,
    /// SYN: it opens the stream.
    pub syn: bool,
    /// The packet's number in the capture, from 1.
    pub packet: u32,
    /// Time of the packet, since 1970.
    pub time: Duration,
    /// Its payload.
    pub data: &'a [u8],
}

/// One direction of one connection.
#[derive(Debug)]
pub struct ByteStream {
    /// The sender.
    pub from: SocketAddrV4,
    /// The receiver.
    pub to: SocketAddrV4,
    /// Its fragments in order, with a gap between each two. Not empty.
    pub fragments: Vec<Fragment>,
}

/// Bytes without a gap.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Fragment {
    /// Position of the first byte in the stream.
    pub start: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The starts of each packet's bytes, the first at 0; empty for raw input.
    pub marks: Vec<Mark>,
    /// Of an inflated fragment: what followed and could not be inflated.
    pub lost: Option<Lost>,
}

/// Bytes that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Their number.
    pub length: u64,
    /// The reason.
    pub reason: String,
}

/// The packet of the bytes from a position on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Index into the bytes of the fragment.
    pub at: usize,
    /// The packet that completed the stream up to here; never decreases along a stream.
    pub packet: u32,
    /// Its time.
    pub time: Duration,
}

impl Fragment {
    /// The mark that covers the byte at `at`.
    pub fn mark(&self, at: usize) -> Option<Mark> {
        let after = self.marks.partition_point(|mark| mark.at <= at);
        Some(self.marks[after.checked_sub(1)?])
    }

    /// The bytes of the first segment.
    pub fn first_segment(&self) -> &[u8] {
        &self.bytes[..self.marks.get(1).map_or(self.bytes.len(), |mark| mark.at)]
    }
}

/// Reassembles segments, given in the order of the capture.
pub fn reassemble(segments: &[TcpSegment<'_>]) -> Vec<ByteStream> {
    let mut current = BTreeMap::new();
    let mut directions: Vec<StreamBuilder<'_>> = Vec::new();
    for segment in segments {
        let key = (segment.from, segment.to);
        let known = current.get(&key).copied().filter(|&at: &usize| {
            let direction = &directions[at];
            // A SYN with another sequence number opens another connection.
            !segment.syn || direction.opening == Some(segment.seq)
        });
        let at = known.unwrap_or_else(|| {
            directions.push(StreamBuilder::new(segment));
            directions.len() - 1
        });
        current.insert(key, at);
        directions[at].add(segment);
    }
    directions.into_iter().filter_map(StreamBuilder::finish).collect()
}

struct StreamBuilder<'a> {
    from: SocketAddrV4,
    to: SocketAddrV4,
    /// Sequence number of the first byte, if the SYN was captured.
    opening: Option<u32>,
    last_seq: u32,
    last_place: i64,
    parts: Vec<Part<'a>>,
}

struct Part<'a> {
    /// Position relative to the first captured segment; negative if that one was out of order.
    place: i64,
    packet: u32,
    time: Duration,
    data: &'a [u8],
}

impl<'a> StreamBuilder<'a> {
    fn new(first: &TcpSegment<'a>) -> StreamBuilder<'a> {
        StreamBuilder {
            from: first.from,
            to: first.to,
            opening: first.syn.then_some(first.seq),
            last_seq: first.seq,
            last_place: 0,
            parts: Vec::new(),
        }
    }

    fn add(&mut self, segment: &TcpSegment<'a>) {
        // Sequence numbers wrap: the position nearest to the last one is meant.
        let step = segment.seq.wrapping_sub(self.last_seq).cast_signed();
        self.last_place += i64::from(step);
        self.last_seq = segment.seq;
        if !segment.data.is_empty() {
            let (packet, time, data) = (segment.packet, segment.time, segment.data);
            self.parts.push(Part { place: self.last_place, packet, time, data });
        }
    }

    fn finish(mut self) -> Option<ByteStream> {
        self.parts.sort_by_key(|part| (part.place, part.packet));
        let first = self.parts.first()?.place;
        let origin = if self.opening.is_some() { 0 } else { first };
        let mut fragments: Vec<Fragment> = Vec::new();
        let mut next = origin;
        let mut newest = Mark { at: 0, packet: 0, time: Duration::ZERO };
        for part in &self.parts {
            let known = usize::try_from(next - part.place).unwrap_or(0);
            let Some(fresh) = part.data.get(known..).filter(|fresh| !fresh.is_empty()) else {
                continue;
            };
            let place = part.place.max(next);
            if place > next || fragments.is_empty() {
                let start = u64::try_from(place - origin).unwrap_or(0);
                fragments.push(Fragment { start, ..Fragment::default() });
            }
            let fragment = fragments.last_mut()?;
            if part.packet > newest.packet {
                newest = Mark { at: 0, packet: part.packet, time: part.time };
            }
            fragment.marks.push(Mark { at: fragment.bytes.len(), ..newest });
            fragment.bytes.extend_from_slice(fresh);
            next = place + i64::try_from(fresh.len()).ok()?;
        }
        (!fragments.is_empty()).then_some(ByteStream { from: self.from, to: self.to, fragments })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn segment(seq: u32, packet: u32, data: &[u8]) -> TcpSegment<'_> {
        let addr = |port| SocketAddrV4::new([127, 0, 0, 1].into(), port);
        let time = Duration::from_secs(packet.into());
        TcpSegment { from: addr(1), to: addr(2), seq, syn: false, packet, time, data }
    }

    fn texts(segments: &[TcpSegment<'_>]) -> Vec<(u64, String)> {
        let streams = reassemble(segments);
        let fragments = streams.iter().flat_map(|stream| &stream.fragments);
        fragments
            .map(|fragment| (fragment.start, String::from_utf8(fragment.bytes.clone()).unwrap()))
            .collect()
    }

    #[test]
    fn order_copies_and_overlaps() {
        let near_wrap = u32::MAX - 3;
        let all = [
            segment(near_wrap.wrapping_add(4), 1, b"efgh"),
            segment(near_wrap, 2, b"abcd"),
            segment(near_wrap, 3, b"abcd"),
            segment(near_wrap.wrapping_add(6), 4, b"ghij"),
            segment(near_wrap.wrapping_add(2), 5, b"cd"),
        ];
        assert_eq!(texts(&all), [(0, "abcdefghij".to_owned())]);
        let streams = reassemble(&all);
        let fragment = &streams[0].fragments[0];
        assert_eq!(fragment.first_segment(), b"abcd");
        let packets = [0, 3, 4, 8, 9].map(|at| fragment.mark(at).unwrap().packet);
        assert_eq!(packets, [2, 2, 2, 4, 4], "\"efgh\" could be read only once packet 2 was there");
    }

    #[test]
    fn a_hole_splits_the_stream() {
        let opening = TcpSegment { syn: true, ..segment(100, 1, b"") };
        assert_eq!(
            texts(&[opening.clone(), segment(100, 2, b"abc"), segment(105, 3, b"fg")]),
            [(0, "abc".to_owned()), (5, "fg".to_owned())]
        );
        // The SYN tells that the beginning is missing; a probe below it adds nothing.
        assert_eq!(
            texts(&[opening, segment(99, 2, b"x"), segment(102, 3, b"cd")]),
            [(2, "cd".to_owned())]
        );
    }

    #[test]
    fn a_port_used_again_is_another_connection() {
        let opening = |seq, packet| TcpSegment { syn: true, ..segment(seq, packet, b"") };
        let all = [
            opening(10, 1),
            segment(10, 2, b"one"),
            opening(9_000, 3),
            opening(9_000, 4),
            segment(9_000, 5, b"two"),
        ];
        assert_eq!(texts(&all), [(0, "one".to_owned()), (0, "two".to_owned())]);
    }

    proptest! {
        /// However a text is cut, repeated and shuffled, it is put together again.
        #[test]
        fn any_order_gives_the_text(
            first in any::<u32>(),
            mut cuts in prop::collection::vec((0usize..200, 1usize..40), 0..60),
            order in any::<prop::sample::Index>(),
        ) {
            let text: Vec<u8> = (0..200).collect();
            cuts.extend((0..200).step_by(10).map(|at| (at, 10)));
            let turn = order.index(cuts.len());
            cuts.rotate_left(turn);
            let segments: Vec<_> = cuts
                .iter()
                .zip(1..)
                .map(|(&(at, len), packet)| {
                    let seq = first.wrapping_add(u32::try_from(at).unwrap());
                    segment(seq, packet, &text[at..(at + len).min(200)])
                })
                .collect();
            let streams = reassemble(&segments);
            prop_assert_eq!(streams.len(), 1);
            prop_assert_eq!(streams[0].fragments.len(), 1);
            prop_assert_eq!(&streams[0].fragments[0].bytes, &text);
        }
    }
}
