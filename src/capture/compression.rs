//! Inflates the directions of links that are deflated, so that the rest of the code sees descriptors.
//!
//! A direction is deflated if its sender announced it (`Content-Encoding`) and the other side, where
//! its direction was captured, accepts it (`Accept-Encoding`). The zlib stream begins with the first
//! byte behind the handshake. Positions behind it count inflated bytes.

use super::reassembly::{ByteStream, Fragment, Lost, Mark};
use super::walk::{handshake_len, is_handshake};
use crate::wire::deflate::Inflater;
use crate::wire::handshake06::LegReader;
use std::collections::BTreeMap;

/// Most bytes that one input inflates to: the largest input that is read.
const MAX_INFLATED_BYTES: usize = 256 * 1024 * 1024;
/// Most bytes that a stream inflates to for each of its own, so that a small bomb stays small. Deflate
/// can make 1,032 of one; descriptors become about three.
const MAX_RATIO: usize = 16;
/// Bytes that any stream may inflate to.
const FREE_BYTES: usize = 1024 * 1024;

/// The handshake of one direction.
#[derive(Debug, Default)]
struct Handshake {
    /// Its length.
    len: usize,
    announces: bool,
    accepts: bool,
}

impl Handshake {
    fn of(bytes: &[u8]) -> Handshake {
        let mut found = Handshake::default();
        while let Some(len) = next_leg(&bytes[found.len..]) {
            if let Ok(Some((leg, _))) = LegReader::default().read(&bytes[found.len..][..len]) {
                found.announces |= leg.headers.announces_deflate();
                found.accepts |= leg.headers.accepts_deflate();
            }
            found.len += len;
        }
        found
    }
}

fn next_leg(bytes: &[u8]) -> Option<usize> {
    is_handshake(bytes).then(|| handshake_len(bytes)).flatten()
}

/// Inflates raw bytes of one direction.
pub fn inflate_raw(fragment: &mut Fragment) {
    let handshake = Handshake::of(&fragment.bytes);
    if handshake.announces {
        let mut left = MAX_INFLATED_BYTES;
        inflate_fragment(fragment, handshake.len, &mut left);
    }
}

/// Inflates the streams of a capture. What follows a gap in a deflated stream is lost: it refers to
/// bytes before it.
pub fn inflate_streams(streams: &mut [ByteStream]) {
    let of_stream = |stream: &ByteStream| match &stream.fragments[..] {
        [first, ..] if first.start == 0 => Handshake::of(&first.bytes),
        _ => Handshake::default(),
    };
    let handshakes: Vec<Handshake> = streams.iter().map(of_stream).collect();
    // The connections between two addresses and ports, one after the other.
    let mut connections: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    let mut ordinals = Vec::new();
    for (at, stream) in streams.iter().enumerate() {
        let same = connections.entry((stream.from, stream.to)).or_default();
        ordinals.push(same.len());
        same.push(at);
    }
    let mut left = MAX_INFLATED_BYTES;
    for (at, stream) in streams.iter_mut().enumerate() {
        let others = connections.get(&(stream.to, stream.from));
        let other = others.and_then(|all| all.get(ordinals[at]));
        let accepts = other.is_none_or(|&other| handshakes[other].accepts);
        if handshakes[at].announces && accepts {
            inflate_stream(stream, handshakes[at].len, &mut left);
        }
    }
}

fn inflate_stream(stream: &mut ByteStream, from: usize, left: &mut usize) {
    let behind: usize = stream.fragments.iter().skip(1).map(|it| it.bytes.len()).sum();
    stream.fragments.truncate(1);
    let Some(first) = stream.fragments.first_mut() else { return };
    inflate_fragment(first, from, left);
    if behind > 0 {
        let reason = || "a part of the deflated stream before it is missing".to_owned();
        let lost = first.lost.get_or_insert_with(|| Lost { length: 0, reason: reason() });
        lost.length += behind as u64;
    }
}

/// Inflates the bytes from `from` on, packet by packet, so that each descriptor keeps the packet that
/// completed it.
fn inflate_fragment(fragment: &mut Fragment, from: usize, left: &mut usize) {
    let deflated = std::mem::take(fragment);
    *fragment = Fragment {
        start: deflated.start,
        bytes: deflated.bytes[..from].to_vec(),
        marks: deflated.marks.iter().copied().filter(|mark| mark.at < from).collect(),
        lost: None,
    };
    let ends = deflated.marks.iter().map(|mark| mark.at).filter(|&at| at > from);
    let ends: Vec<usize> = ends.chain([deflated.bytes.len()]).collect();
    let mut inflater = Inflater::default();
    let fair = FREE_BYTES + MAX_RATIO * (deflated.bytes.len() - from);
    let limit = from + fair.min(*left);
    let mut at = from;
    for end in ends {
        let before = fragment.bytes.len();
        if let Some(mark) = deflated.mark(at) {
            fragment.marks.push(Mark { at: before, ..mark });
        }
        let room = limit - before;
        let result = inflater.inflate(&deflated.bytes[at..end], &mut fragment.bytes, room);
        *left -= fragment.bytes.len() - before;
        if let Err(error) = result {
            let length = (deflated.bytes.len() - at) as u64;
            fragment.lost = Some(Lost { length, reason: error.to_string() });
            return;
        }
        at = end;
    }
}
