//! Slow and silent neighbours: they cost themselves, not others. Rows P-67 and P-70.

use crate::support::descriptor::{guid, hit, ping, pong, query, servent_id};
use crate::support::{Bench, Descriptor, Peer};
use servent::servent::{CloseReason, Event};
use servent::stats::DropReason;
use servent::wire::{Guid, Kind};

/// Bytes in flight beyond the servent's own queue.
const PIPE_BYTES: usize = 64 * 1024;
const SLACK_BYTES: usize = 1_024;

/// `count` Queries of about 200 bytes, a few at a time.
fn flood(sut: &mut Bench, from: Peer, count: u32) {
    flood_from(sut, from, count, 10_000);
}

/// The same, with GUIDs from `first` on.
fn flood_from(sut: &mut Bench, from: Peer, count: u32, first: u32) {
    let words = "nobody has anything like this ".repeat(6);
    for batch in 0..count / 50 {
        let queries = (0..50).map(|n| query(guid(first + batch * 50 + n), &words).bytes());
        let bytes: Vec<u8> = queries.flatten().collect();
        sut.send_bytes(from, &bytes);
    }
}

fn queue_bytes(sut: &Bench) -> usize {
    sut.core().config().limits.send_queue_bytes
}

fn count(received: &[Descriptor], kind: Kind) -> usize {
    received.iter().filter(|d| d.kind == kind).count()
}

/// P-70
#[test]
fn a_neighbour_that_stops_reading_costs_only_itself() {
    let mut sut = Bench::new();
    let [a, b, c] = sut.links();
    sut.net.stop_reading(b);
    flood(&mut sut, a, 5_000);
    assert_eq!(sut.receive(c).len(), 5_000, "others get everything");
    let refused = sut.dropped(DropReason::QueueFull);
    assert!(refused > 0);

    sut.net.read_again(b);
    sut.net.settle();
    let held = sut.read(b).len();
    assert!(held <= PIPE_BYTES + queue_bytes(&sut) / 2 + SLACK_BYTES, "{held} bytes were held");
    sut.send(a, &query(guid(1), "fresh"));
    assert_eq!(sut.receive_one(b).guid, guid(1), "it has caught up");
    assert_eq!(sut.dropped(DropReason::QueueFull), refused);
}

/// Each class is refused at its own fill, and what is queued stays.
#[test]
fn queries_are_refused_before_pongs_and_hits_last() {
    let mut sut = Bench::with(|config| {
        config.limits.pongs_per_ping = 100_000;
        config.limits.pongs_per_second = 100_000;
    });
    let [a, b] = sut.links();
    sut.send(b, &query(guid(1), "zebra"));
    sut.send(b, &ping(guid(2)));
    sut.receive_asked(b);
    sut.net.stop_reading(b);

    flood(&mut sut, a, 5_000);
    let refused = |sut: &Bench| sut.dropped(DropReason::QueueFull);
    let refused_queries = refused(&sut);
    assert!(refused_queries > 0);

    let some_pong = pong(guid(2), "127.0.0.9:6346".parse().unwrap());
    while refused(&sut) == refused_queries {
        sut.send(a, &some_pong);
    }
    let mut hits = 0_u8;
    while refused(&sut) == refused_queries + 1 {
        hits += 1;
        sut.send(a, &hit(guid(1), servent_id(hits), &"zebra ".repeat(100)));
    }
    sut.net.read_again(b);
    sut.net.settle();
    let received = sut.receive(b);
    let of = |kind| -> usize {
        received.iter().filter(|d| d.kind == kind).map(|d| d.bytes().len()).sum()
    };
    let queue = queue_bytes(&sut);
    let near = |bytes: usize, share: usize| bytes.abs_diff(share) < queue / 16 + SLACK_BYTES;
    // One link alone gets eight ninths of the room for a class.
    let queries = PIPE_BYTES + queue / 2 * 8 / 9;
    assert!(near(of(Kind::Query), queries), "{} of Queries", of(Kind::Query));
    assert!(near(of(Kind::Pong), queue / 4), "{} of Pongs", of(Kind::Pong));
    assert!(near(of(Kind::QueryHit), queue / 4), "{} of hits", of(Kind::QueryHit));
    assert_eq!(count(&received, Kind::QueryHit), usize::from(hits) - 1, "all but the one refused");
}

/// Nor the room another neighbour needs: what a link has in a queue is held against what is left.
#[test]
fn a_flood_does_not_starve_another_neighbour() {
    let mut sut = Bench::new();
    let [a, b, c, d] = sut.links();
    sut.send(b, &query(guid(1), "zebra"));
    sut.receive(c);
    sut.net.stop_reading(b);
    flood(&mut sut, a, 5_000);
    let refused = sut.dropped(DropReason::QueueFull);
    assert!(refused > 0);
    // A second flooder gets a part of what the first has left, and not all of that either.
    flood_from(&mut sut, d, 5_000, 100_000);
    let queries: Vec<Guid> = (2..12).map(guid).collect();
    for &id in &queries {
        sut.send(c, &query(id, "giraffe"));
    }
    sut.send(c, &hit(guid(1), servent_id(1), "zebra.txt"));
    sut.net.read_again(b);
    sut.net.settle();
    let received = sut.receive(b);
    let came = |id: &Guid| received.iter().any(|d| d.guid == *id && d.kind == Kind::Query);
    assert!(queries.iter().all(came), "the Queries of the third were refused");
    assert_eq!(count(&received, Kind::QueryHit), 1);
}

/// The traffic of others never takes the room a search of our own needs.
#[test]
fn a_flood_does_not_starve_our_own_search() {
    let mut sut = Bench::new();
    let [a, b] = sut.links();
    sut.net.stop_reading(b);
    flood(&mut sut, a, 5_000);
    assert!(sut.dropped(DropReason::QueueFull) > 0);
    let search = sut.tell(|core, now| core.search(now, "zebra", None)).unwrap();
    flood(&mut sut, a, 500);
    sut.net.read_again(b);
    sut.net.settle();
    let received = sut.receive(b);
    assert_eq!(received.iter().filter(|d| d.guid == search).count(), 1);

    sut.send(b, &hit(search, servent_id(1), "zebra.txt"));
    flood(&mut sut, a, 500);
    assert_eq!(sut.events().iter().filter(|event| matches!(event, Event::Hit { .. })).count(), 1);
}

#[test]
fn a_lone_link_may_flood_as_much_as_it_likes() {
    let mut sut = Bench::new();
    let peer = sut.link();
    flood(&mut sut, peer, 20_000);
    assert_eq!(sut.core().stats().received.get(Kind::Query), 20_000);
    assert_eq!(sut.core().stats().dropped_total(), 0);
    sut.assert_alive(peer);
}

fn why_down(sut: &mut Bench) -> Vec<CloseReason> {
    let reason = |event| match event {
        Event::LinkDown { reason, .. } => Some(reason),
        _ => None,
    };
    sut.events().into_iter().filter_map(reason).collect()
}

#[test]
fn a_neighbour_that_talks_but_never_reads_is_closed() {
    let mut sut = Bench::new();
    let [a, b] = sut.links();
    sut.net.stop_reading(b);
    for minute in 0..4 {
        flood(&mut sut, a, 1_000);
        for n in 0..6 {
            sut.wait_secs(10);
            sut.send(a, &ping(guid(minute * 6 + n)).ttl(1));
            if !sut.is_closed(b) {
                sut.send(b, &ping(guid(100 + minute * 6 + n)).ttl(1));
            }
        }
    }
    assert_eq!(why_down(&mut sut), [CloseReason::Stalled]);
    assert!(sut.is_closed(b) && !sut.is_closed(a));
}

/// P-67
#[test]
fn a_silent_link_is_asked_after_thirty_seconds_and_closed_after_ninety() {
    let mut sut = Bench::new();
    let peer = sut.link();
    sut.wait_secs(29);
    assert_eq!(sut.receive(peer), []);
    sut.wait_secs(2);
    let asked = sut.receive(peer);
    assert_eq!(asked.len(), 1);
    assert_eq!((asked[0].kind, asked[0].ttl, asked[0].hops), (Kind::Ping, 1, 0));
    sut.wait_secs(57);
    assert!(!sut.is_closed(peer));
    assert_eq!(sut.receive(peer), [], "asked once");
    sut.wait_secs(2);
    assert!(sut.is_closed(peer));
    assert_eq!(why_down(&mut sut), [CloseReason::Timeout("answer to our keepalive")]);
}

#[test]
fn a_neighbour_that_answers_is_kept_and_one_that_talks_is_not_asked() {
    let mut sut = Bench::new();
    let [quiet, busy] = sut.links();
    for n in 0..30 {
        sut.wait_secs(20);
        for asked in sut.receive(quiet) {
            assert_eq!((asked.kind, asked.ttl), (Kind::Ping, 1));
            let answer = pong(asked.guid, "127.0.0.9:6346".parse().unwrap());
            sut.send(quiet, &answer.ttl(0));
        }
        let id = Guid(sut.net.fresh_id());
        sut.send(busy, &query(id, "nobody has this").ttl(1));
        assert_eq!(sut.receive(busy), [], "round {n}");
    }
    assert!(!sut.is_closed(quiet) && !sut.is_closed(busy));
}
