//! Fuzz target for deflated links: two servents with a pipe between them, and one servent beside
//! another whose link is plain.

use super::script::Script;
use crate::config::Config;
use crate::library::Library;
use crate::servent::{CloseReason, ConnId, Event, Output, Servent, TxChunk};
use crate::time::Instant;
use crate::wire::deflate::{Deflater, Inflater};
use crate::wire::handshake::CONNECT;
use crate::wire::{Deframer, Guid, Header, Kind, ServentId};
use std::sync::Arc;
use std::time::Duration;

/// Most bytes offered for a deflated link at a time: a piece that could not be made smaller.
const MAX_OFFERED: usize = 20 * 1024;
/// A stream inflates to at most this many times its size, and so many bytes more.
const MAX_RATIO: u64 = 64;
const FREE_BYTES: u64 = 64 * 1024;

/// Deflates directions of an established link, as a handshake would: for tests and benches whose
/// handshakes do not agree on it.
pub fn set_coding(servent: &mut Servent, conn: ConnId, inflates: bool, deflates: bool) {
    servent.set_coding(conn, inflates, deflates);
}

/// Descriptors that cross a deflated link arrive as they were queued, however writes and reads are cut
/// and whichever end is slow; a deflated link does with descriptors what a plain one does with the
/// same; and any bytes inflate to no more than the limit or end the link.
///
/// The first byte of `data` chooses among the three, the rest are operations, descriptors or a stream.
pub fn codec(data: &[u8]) {
    match data.split_first() {
        Some((choice, rest)) if choice.is_multiple_of(3) => across(rest),
        Some((choice, rest)) if choice % 3 == 1 => beside(*choice, rest),
        Some((choice, rest)) => any_bytes(*choice, rest),
        None => {}
    }
}

/// A servent with two links that take what the script lets them.
struct Side {
    core: Servent,
    links: [ConnId; 2],
    /// What each was sent.
    sent: [Vec<u8>; 2],
    /// Bytes each still takes in this drain.
    takes: [usize; 2],
    closed: Option<CloseReason>,
}

impl Side {
    /// A servent of its own: two with one seed would take each other's Pings for their own.
    fn new(seed: u8) -> Side {
        let now = Instant::ZERO;
        let config = Config { background_pings: false, ..Config::default() };
        let library = Arc::new(Library::empty());
        let mut core =
            Servent::new(Arc::new(config), library, ServentId([seed; 16]), seed.into(), now);
        let links = [5_000, 5_001].map(|port| {
            let [remote, local] = [port, 6_346].map(|port| ([127, 0, 0, 1], port).into());
            let conn = match (remote, local) {
                (std::net::SocketAddr::V4(remote), std::net::SocketAddr::V4(local)) => {
                    core.handle_accepted(now, remote, local)
                }
                _ => None,
            };
            let conn = conn.expect("there is room");
            core.handle_bytes(now, conn, CONNECT);
            conn
        });
        let mut side =
            Side { core, links, sent: Default::default(), takes: [usize::MAX; 2], closed: None };
        side.drain(now);
        side.sent = Default::default();
        side
    }

    /// The bytes of link `at` are handed over as far as they may be. Returns how many were.
    fn read(&mut self, now: Instant, at: usize, bytes: &[u8]) -> usize {
        let count = self.core.read_allowance(now, self.links[at]).min(bytes.len());
        if count > 0 {
            self.core.handle_bytes(now, self.links[at], &bytes[..count]);
        }
        self.drain(now);
        count
    }

    /// All of the bytes of link `at` are handed over, `size` at a time, and handled.
    fn read_all(&mut self, now: Instant, at: usize, bytes: &[u8], size: usize) {
        for piece in bytes.chunks(size) {
            let mut rest = piece;
            while !rest.is_empty() && self.closed.is_none() {
                rest = &rest[self.read(now, at, rest)..];
                self.turn(now);
            }
        }
        while self.core.read_allowance(now, self.links[at]) == 0 && self.closed.is_none() {
            self.turn(now);
        }
    }

    fn turn(&mut self, now: Instant) {
        self.core.start_turn();
        self.core.handle_timeout(now);
        self.drain(now);
    }

    fn drain(&mut self, now: Instant) {
        while let Some(output) = self.core.poll_output() {
            if let Output::Event(Event::LinkDown { reason, .. }) = output {
                self.closed = Some(reason);
            }
        }
        while let Some((conn, chunk)) = self.core.poll_transmit(now) {
            let TxChunk::Bytes(bytes) = chunk else { panic!("nothing is uploaded") };
            assert!(!bytes.is_empty());
            let at = usize::from(conn == self.links[1]);
            let taken = self.takes[at].min(bytes.len());
            self.takes[at] -= taken;
            self.sent[at].extend_from_slice(&bytes[..taken]);
            self.core.sent(now, conn, taken);
        }
    }
}

/// A source, two servents with a deflated link between them, and a sink.
fn across(data: &[u8]) {
    let mut script = Script::new(data);
    let (mut now, mut near, mut far) = (Instant::ZERO, Side::new(1), Side::new(2));
    near.core.set_coding(near.links[1], true, true);
    far.core.set_coding(far.links[0], true, true);
    let (mut pipe, mut queued, mut last) = (Vec::new(), Vec::new(), 0_u64);
    while let Some(operation) = script.next() {
        match operation % 8 {
            0 | 1 => {
                let count = u64::from(script.number()) + 1;
                let (fill, len) = (script.number(), usize::from(script.number()) * 8);
                for _ in 0..count {
                    last += 1;
                    let query = query(last, fill, len);
                    let forwarded = near.core.stats().forwarded.get(Kind::Query);
                    near.read_all(now, 0, &query, query.len());
                    if near.core.stats().forwarded.get(Kind::Query) > forwarded {
                        queued.push(query);
                    }
                }
            }
            2 | 3 => {
                near.takes[1] = usize::from(script.number()) << (operation / 8 % 8);
                near.core.handle_writable(near.links[1]);
                near.drain(now);
                if let Some(offered) = near.core.unsent(near.links[1]) {
                    assert!(offered.len() <= MAX_OFFERED, "{} bytes deflated", offered.len());
                }
                pipe.append(&mut near.sent[1]);
            }
            4 | 5 => {
                let count = usize::from(script.number()) << (operation / 8 % 8);
                let count = count.min(pipe.len());
                let read = far.read(now, 0, &pipe[..count]);
                pipe.drain(..read);
            }
            6 => far.turn(now),
            _ => now += Duration::from_millis(u64::from(script.number())),
        }
    }
    near.takes[1] = usize::MAX;
    near.core.handle_writable(near.links[1]);
    near.drain(now);
    pipe.append(&mut near.sent[1]);
    far.read_all(now, 0, &pipe, usize::MAX);
    assert_eq!((near.closed, far.closed), (None, None));
    assert_eq!(near.core.copies_queued(), 0);
    // One hop further at each of the two.
    for query in &mut queued {
        query[17] -= 2;
        query[18] += 2;
    }
    let arrived = queries_in(&far.sent[1]);
    assert!(arrived == queued.concat(), "{} queries do not arrive as queued", queued.len());
}

/// The Queries among descriptors: a servent that waits long enough also sends Pings of its own.
fn queries_in(bytes: &[u8]) -> Vec<u8> {
    let mut deframer = Deframer::default();
    let (mut descriptors, mut queries) = (deframer.feed(bytes), Vec::new());
    while let Ok(Some(raw)) = descriptors.next() {
        if raw.header().kind == Kind::Query {
            raw.header().frame(raw.payload(), &mut queries);
        }
    }
    queries
}

fn query(number: u64, fill: u8, len: usize) -> Vec<u8> {
    let mut guid = Guid::default();
    guid.0[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    guid.0[8..].copy_from_slice(&number.to_le_bytes());
    let mut payload = vec![0, 0];
    // Text that is found nowhere, alike or not.
    let letter = |at: usize| b'a' + (fill.wrapping_mul(u8::try_from(at % 256).unwrap_or(0))) % 26;
    payload.extend((0..len.min(240)).map(letter));
    payload.push(0);
    let mut bytes = Vec::new();
    let header = Header { guid, kind: Kind::Query, ttl: 5, hops: 0, payload_len: 0 };
    header.frame(&payload, &mut bytes);
    bytes
}

/// The same bytes over a plain link of one servent and a deflated link of another.
fn beside(choice: u8, data: &[u8]) {
    let (size, now) = (usize::from(choice / 3) + 1, Instant::ZERO);
    let mut deflater = Deflater::default();
    let mut deflated = Vec::new();
    for (at, piece) in data.chunks(size * 16).enumerate() {
        deflater.deflate(piece, &mut deflated);
        if at % 4 == 3 {
            deflater.forget();
        }
    }
    // Alike, to be compared.
    let (mut plain, mut coded) = (Side::new(1), Side::new(1));
    coded.core.set_coding(coded.links[0], true, true);
    plain.read_all(now, 0, data, size);
    coded.read_all(now, 0, &deflated, size);
    assert_eq!(plain.closed, coded.closed);
    assert!(plain.sent[1] == coded.sent[1], "they forward alike");
    if plain.closed.is_some() {
        // What was read behind the last descriptor, and is counted, depends on the reads.
        return;
    }
    let mut answers = Vec::new();
    let inflated = Inflater::default().inflate(&coded.sent[0], &mut answers, plain.sent[0].len());
    assert_eq!(inflated, Ok(()), "what it says can be inflated");
    assert!(plain.sent[0] == answers, "they answer alike");
    let [a, b] = [&plain, &coded].map(|side| side.core.stats());
    assert_eq!(a.received.total(), b.received.total());
    assert_eq!((a.delivered.total(), a.dropped_total()), (b.delivered.total(), b.dropped_total()));
}

/// Any bytes as a deflated stream, which needs its header to be one.
fn any_bytes(choice: u8, data: &[u8]) {
    let now = Instant::ZERO;
    let mut side = Side::new(1);
    side.core.set_coding(side.links[0], true, false);
    let header: &[u8] = if choice.is_multiple_of(2) { &[0x78, 0x01] } else { &[] };
    let stream = [header, data].concat();
    side.read_all(now, 0, &stream, usize::from(choice / 3) + 1);
    let received = side.core.stats().received.total();
    let most = MAX_RATIO * stream.len() as u64 + FREE_BYTES;
    assert!(received * 23 <= most, "{received} descriptors of {} bytes", stream.len());
    let mut deframer = Deframer::default();
    let mut forwarded = deframer.feed(&side.sent[1]);
    while let Ok(Some(_)) = forwarded.next() {}
    assert!(forwarded.into_rest().is_empty(), "whole descriptors only");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// Operations by chance, and descriptors of which some answer others.
    #[test]
    fn streams_by_chance_keep_the_promises() {
        for seed in 0..300 {
            println!("seed {seed}");
            let mut rng = Rng::new(seed);
            let script: Vec<u8> = (0..rng.below(120)).map(|_| rng.bytes16()[0]).collect();
            across(&script);
            let mut descriptors = Vec::new();
            for _ in 0..rng.below(200) {
                let kind =
                    [Kind::Ping, Kind::Query, Kind::Pong, Kind::Bye][rng.below(61).min(60) / 20];
                let mut guid = Guid::default();
                guid.0[0] = rng.bytes16()[0] % 32;
                let header = Header { guid, kind, ttl: 3, hops: 1, payload_len: 0 };
                let payload = vec![rng.bytes16()[0] % 3; [0, 14, rng.below(300)][rng.below(3)]];
                header.frame(&payload, &mut descriptors);
            }
            beside(rng.bytes16()[0], &descriptors);
            any_bytes(rng.bytes16()[0], &script);
        }
    }
}
