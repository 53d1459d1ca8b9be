//! Deflated links, each direction by itself: the way out is bounded and flushed, the way in is
//! inflated within the link's share of work, and bad streams end the link. Rows P-104 and P-105.

use crate::support::descriptor::{guid, hit, query, servent_id};
use servent::config::Config;
use servent::fuzzing::set_coding;
use servent::library::Library;
use servent::servent::{CloseReason, ConnId, Event, IoFailure, Output, Servent, TxChunk};
use servent::stats::DropReason;
use servent::time::Instant;
use servent::wire::deflate::{Deflater, Inflater, StreamError, deflate};
use servent::wire::{Kind, ServentId};
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

/// Most bytes of a deflated link that wait for the socket besides those in its queue.
const MAX_PIECE_BYTES: usize = 20 * 1024;

/// A core with a plain link and one that is deflated in both directions.
struct Pair {
    core: Servent,
    now: Instant,
    plain: ConnId,
    coded: ConnId,
    /// What each link was sent.
    to_plain: Vec<u8>,
    to_coded: Vec<u8>,
    /// Bytes the coded link still takes.
    takes: usize,
    closed: Vec<(ConnId, CloseReason)>,
}

impl Pair {
    fn new() -> Pair {
        let now = Instant::ZERO;
        let config = Config { background_pings: false, ..Config::default() };
        let (id, library) = (ServentId([1; 16]), Arc::new(Library::empty()));
        let mut core = Servent::new(Arc::new(config), library, id, 1, now);
        let local: SocketAddrV4 = "127.0.0.1:6346".parse().unwrap();
        let [plain, coded] = ["127.0.0.2:5000", "127.0.0.3:5000"].map(|remote| {
            let conn = core.handle_accepted(now, remote.parse().unwrap(), local).unwrap();
            core.handle_bytes(now, conn, b"GNUTELLA CONNECT/0.4\n\n");
            conn
        });
        set_coding(&mut core, coded, true, true);
        let (to_plain, to_coded, closed) = Default::default();
        let mut pair =
            Pair { core, now, plain, coded, to_plain, to_coded, takes: usize::MAX, closed };
        pair.drain();
        assert_eq!(pair.to_coded, b"GNUTELLA OK\n\n", "the handshake is never deflated");
        pair.to_plain.clear();
        pair.to_coded.clear();
        pair
    }

    fn drain(&mut self) {
        while let Some(output) = self.core.poll_output() {
            if let Output::Event(Event::LinkDown { conn, reason, .. }) = output {
                self.closed.push((conn, reason));
            }
        }
        while let Some((conn, chunk)) = self.core.poll_transmit(self.now) {
            let TxChunk::Bytes(bytes) = chunk else { panic!("nothing is uploaded") };
            let taken = if conn == self.plain {
                self.to_plain.extend_from_slice(bytes);
                bytes.len()
            } else {
                assert!(bytes.len() <= MAX_PIECE_BYTES, "{} bytes at once", bytes.len());
                let taken = self.takes.min(bytes.len());
                self.takes -= taken;
                self.to_coded.extend_from_slice(&bytes[..taken]);
                taken
            };
            self.core.sent(self.now, conn, taken);
        }
    }

    fn turn(&mut self) {
        self.core.start_turn();
        self.core.handle_timeout(self.now);
        self.drain();
    }

    /// One read of a link, and what is sent in the same turn.
    fn read(&mut self, conn: ConnId, bytes: &[u8]) {
        self.core.start_turn();
        self.core.handle_bytes(self.now, conn, bytes);
        self.drain();
    }

    fn waits(&self, conn: ConnId) -> bool {
        self.core.read_allowance(self.now, conn) == 0
    }

    fn received(&self) -> u64 {
        self.core.stats().received.total()
    }

    fn reason(&self) -> &CloseReason {
        let (conn, reason) = self.closed.first().expect("a link has ended");
        assert_eq!(*conn, self.coded);
        reason
    }
}

fn queries(numbers: std::ops::Range<u32>) -> Vec<u8> {
    let words = "nobody has anything like this ".repeat(6);
    numbers.flat_map(|number| query(guid(number), &words).bytes()).collect()
}

fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Deflater::default().deflate(bytes, &mut out);
    out
}

/// P-104
#[test]
fn what_a_turn_wrote_can_be_inflated_at_its_end() {
    let (mut pair, mut inflater) = (Pair::new(), Inflater::default());
    for turn in 0..100 {
        let sent = queries(turn * 5..turn * 5 + 5);
        pair.read(pair.plain, &sent);
        let (mut inflated, raw) = (Vec::new(), std::mem::take(&mut pair.to_coded));
        inflater.inflate(&raw, &mut inflated, usize::MAX).unwrap();
        assert_eq!(inflated.len(), sent.len(), "turn {turn}");
        assert!(raw.len() < sent.len() / 2, "{} of {} bytes", raw.len(), sent.len());
    }
    assert_eq!((pair.core.stats().sent, pair.core.copies_queued()), (500, 0));
}

/// An idle link forgets what it has deflated, and its stream goes on.
#[test]
fn a_stream_goes_on_after_silence() {
    let (mut pair, mut inflater) = (Pair::new(), Inflater::default());
    let mut inflated = Vec::new();
    let mut sent = 0;
    for turn in 0..4 {
        let bytes = queries(turn..turn + 1);
        sent += bytes.len();
        pair.read(pair.plain, &bytes);
        for _ in 0..8 {
            pair.now += Duration::from_secs(20);
            // Both are heard, and say nothing.
            pair.read(pair.coded, &[]);
            pair.read(pair.plain, &[]);
            pair.turn();
        }
    }
    inflater.inflate(&pair.to_coded, &mut inflated, usize::MAX).unwrap();
    assert!(inflated.len() >= sent, "{} bytes", inflated.len());
    assert_eq!(pair.closed, []);
}

#[test]
fn a_neighbour_that_stops_reading_fills_its_queue_and_is_closed() {
    let mut pair = Pair::new();
    pair.takes = 10_000;
    let limits = pair.core.config().limits.clone();
    for turn in 0..100 {
        pair.read(pair.plain, &queries(turn * 50..turn * 50 + 50));
        while pair.waits(pair.plain) {
            pair.turn();
        }
    }
    let stats = pair.core.stats();
    assert!(stats.dropped(DropReason::QueueFull) > 0, "classes are refused as on a plain link");
    let most = limits.send_queue_bytes as u64 / 2 / 200 + 1;
    assert!(pair.core.copies_queued() <= most, "{} wait", pair.core.copies_queued());
    assert!(pair.core.copies_queued() > most / 2, "{} wait", pair.core.copies_queued());
    // It goes on saying that it is there.
    let mut peer = Deflater::default();
    for number in 0..=limits.stall_timeout.as_secs() + 31 {
        pair.now += Duration::from_secs(1);
        let mut keepalive = Vec::new();
        let number = 90_000 + u32::try_from(number).unwrap();
        peer.deflate(&query(guid(number), "here").ttl(1).bytes(), &mut keepalive);
        if pair.closed.is_empty() {
            pair.read(pair.coded, &keepalive);
            pair.turn();
        }
    }
    assert_eq!(*pair.reason(), CloseReason::Stalled);
}

/// A piece that is gone leaves a queue whose last piece is stuck: the neighbour has stalled all the
/// same.
#[test]
fn a_last_piece_that_is_never_taken_is_a_stall() {
    let mut pair = Pair::new();
    pair.takes = 1;
    pair.read(pair.plain, &queries(0..1));
    assert_eq!(pair.core.copies_queued(), 0, "it has left the queue");
    let mut peer = Deflater::default();
    for _ in 0..100 {
        pair.now += Duration::from_secs(1);
        let mut keepalive = Vec::new();
        peer.deflate(&query(guid(7), "here").ttl(1).bytes(), &mut keepalive);
        if pair.closed.is_empty() {
            pair.read(pair.coded, &keepalive);
            pair.turn();
        }
    }
    assert_eq!(*pair.reason(), CloseReason::Stalled);
}

#[test]
fn a_slow_neighbour_gets_everything_in_order() {
    let mut pair = Pair::new();
    for turn in 0..10 {
        pair.takes = 0;
        pair.read(pair.plain, &queries(turn * 40..turn * 40 + 40));
        while pair.waits(pair.plain) {
            pair.turn();
        }
        for _ in 0..5 {
            pair.takes = 100;
            pair.core.handle_writable(pair.coded);
            pair.drain();
        }
    }
    pair.takes = usize::MAX;
    pair.core.handle_writable(pair.coded);
    pair.drain();
    let mut inflated = Vec::new();
    Inflater::default().inflate(&pair.to_coded, &mut inflated, usize::MAX).unwrap();
    let mut expected = queries(0..400);
    let len = expected.len() / 400;
    expected.chunks_mut(len).for_each(|one| {
        one[17] -= 1;
        one[18] += 1;
    });
    assert!(inflated == expected);
}

/// One read of a few hundred bytes becomes a hundred times as many, and waits for its share.
#[test]
fn inflated_input_waits_for_its_share_of_work() {
    let mut pair = Pair::new();
    let one = query(guid(1), "again").bytes();
    // As many copies of one Query as a stream may become, with something random before them.
    let copies = 2_500;
    let bytes = deflated(&[queries(10..400), one.repeat(copies)].concat());
    assert!(bytes.len() < 64 * 1024);
    pair.read(pair.coded, &bytes);
    assert!(pair.waits(pair.coded), "one share of work is not enough");
    let first = pair.received();
    assert!(first > 0 && pair.core.poll_timeout().is_some_and(|(at, _)| at <= pair.now));
    pair.core.handle_closed(pair.now, pair.coded, IoFailure::Eof);
    let mut turns = 0;
    while pair.closed.is_empty() {
        let (before, work) = (pair.received(), pair.core.stats().work);
        // The turn of another link goes on meanwhile.
        pair.read(pair.plain, &query(guid(100_000 + turns), "between").bytes());
        pair.turn();
        assert!(pair.received() - before <= 64 * 1024 / one.len() as u64 + 1);
        assert!(pair.core.stats().work - work < 60_000, "more than the shares of a turn");
        turns += 1;
        assert!(turns < 1_000);
    }
    assert_eq!(*pair.reason(), CloseReason::Io(IoFailure::Eof), "after all was read");
    assert_eq!(pair.received(), 390 + copies as u64 + u64::from(turns));
    assert!(turns > 1);
}

/// P-105
#[test]
fn a_bomb_ends_the_link_and_costs_little() {
    let mut pair = Pair::new();
    let bomb = deflate(&vec![0; 64 << 20]);
    let mut read = 0;
    for piece in bomb.chunks(1_000) {
        while pair.waits(pair.coded) && pair.closed.is_empty() {
            pair.turn();
        }
        if pair.closed.is_empty() {
            pair.read(pair.coded, piece);
            read += piece.len();
        }
    }
    assert_eq!(*pair.reason(), CloseReason::Inflate(StreamError::Bomb));
    assert!(read <= 2_000, "{read} bytes were read");
    assert!(pair.core.stats().work < 60_000, "{} units", pair.core.stats().work);
}

#[test]
fn broken_and_ended_streams_end_the_link_after_what_came_before() {
    let some = queries(0..3);
    let cases = [
        ([&deflated(&some)[..], &[0xff; 20]].concat(), StreamError::Broken),
        (b"GNUTELLA OK\n\n".to_vec(), StreamError::Broken),
        (deflate(&some), StreamError::Ended),
        ([&deflate(&some)[..], &some].concat(), StreamError::Ended),
    ];
    for (bytes, error) in cases {
        for size in [1, 7, bytes.len()] {
            let mut pair = Pair::new();
            for piece in bytes.chunks(size) {
                if pair.closed.is_empty() {
                    pair.read(pair.coded, piece);
                }
            }
            assert_eq!(*pair.reason(), CloseReason::Inflate(error), "{size} bytes at a time");
            assert!(pair.received() <= 3);
        }
    }
}

/// Each direction is by itself.
#[test]
fn one_direction_may_be_plain() {
    for (inflates, deflates) in [(true, false), (false, true)] {
        let mut pair = Pair::new();
        let coded = pair.coded;
        set_coding(&mut pair.core, coded, inflates, deflates);
        let to_us = queries(0..1);
        pair.read(coded, &if inflates { deflated(&to_us) } else { to_us.clone() });
        assert_eq!(pair.core.stats().received.get(Kind::Query), 1);
        let answer = hit(guid(0), servent_id(1), "zebra").bytes();
        pair.read(pair.plain, &answer);
        let to_them = std::mem::take(&mut pair.to_coded);
        let begins_deflated = to_them.starts_with(&[0x78]);
        assert_eq!(begins_deflated, deflates);
        assert!(!to_them.is_empty());
    }
}

#[test]
fn a_deflated_link_keeps_to_its_memory_and_allocates_nothing_once_warm() {
    let mut pair = Pair::new();
    let rows = pair.core.config().memory(1, false);
    let row = rows.iter().find(|row| row.what == "streams of deflated links").unwrap();
    let coded = deflated(&queries(1_000_000..1_000_040));
    pair.to_coded.reserve(1 << 20);
    let plain: Vec<Vec<u8>> = (0..40).map(|n| queries(n * 100..n * 100 + 100)).collect();
    let fresh = allocation_counter::measure(|| {
        let conn = pair.coded;
        set_coding(&mut pair.core, conn, true, true);
        pair.read(pair.plain, &plain[0]);
        pair.read(conn, &coded);
    });
    println!("{} bytes at most, {} kept", fresh.bytes_max, fresh.bytes_current);
    assert!(fresh.bytes_max > 320_000, "it has both streams");
    let limit = row.bytes as u64 + 64 * 1024;
    assert!(fresh.bytes_max < limit, "{} bytes, with tables and queues", fresh.bytes_max);
    let each = (1..40).map(|turn| {
        pair.now += Duration::from_secs(1);
        allocation_counter::measure(|| {
            pair.read(pair.plain, &plain[turn]);
            while pair.waits(pair.plain) {
                pair.turn();
            }
        })
        .count_total
    });
    let each: Vec<u64> = each.collect();
    assert!(each[20..].contains(&0), "a turn without allocations: {each:?}");
}
