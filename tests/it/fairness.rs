//! Shares of work: input that causes more work than the link's share waits, however few its bytes.

use crate::support::descriptor::{guid, hit, query, servent_id};
use crate::support::{Bench, Crossing, Holder, Peer};
use servent::servent::{CloseReason, Event, IoFailure};
use servent::stats::DropReason;
use servent::wire::Kind;

/// Files that an answered Query finds; its hits bring 255 of them.
const FILES: u32 = 2_000;
/// Answered Queries in one read: a send queue has room for their hits.
const QUERIES: u32 = 20;
/// Answered Queries that one share of work is good for at most, and one that overdraws it.
const PER_SHARE: usize = 8;

fn sharing_many() -> Bench {
    let names: Vec<String> = (0..FILES).map(|n| format!("hello {n}.txt")).collect();
    let files: Vec<_> =
        names.iter().zip(1..).map(|(name, number)| (number, name.as_str(), vec![0])).collect();
    let mut sut = Bench::sharing(&files, |_| ());
    // All links have their full share again.
    sut.wait_secs(1);
    sut
}

fn dear_queries(first: u32) -> Vec<u8> {
    let queries = (first..first + QUERIES).map(|n| query(guid(n), "hello").ttl(1).bytes());
    queries.flatten().collect()
}

fn answered(sut: &Bench) -> u64 {
    sut.core().stats().queries_answered
}

/// Answered Queries whose first hit arrived at `peer` before what `until` accepts.
fn answered_before(sut: &Bench, peer: Peer, until: impl Fn(&Crossing) -> bool) -> usize {
    let before = sut.net.observer.crossings.iter().take_while(|crossing| !until(crossing));
    let hits = before.filter(|c| c.to == Holder::Peer(peer) && c.descriptor.kind == Kind::QueryHit);
    let mut guids: Vec<_> = hits.map(|c| c.descriptor.guid).collect();
    guids.dedup();
    guids.len()
}

#[test]
fn a_query_waits_for_one_share_of_a_dear_flood_and_no_more() {
    let mut sut = sharing_many();
    let [villain, a, b] = sut.links();
    sut.net.observer.crossings.clear();
    sut.net.write(villain, &dear_queries(1_000));
    sut.net.write(a, &query(guid(1), "between friends").bytes());
    sut.net.settle();
    let friends = |c: &Crossing| c.to == Holder::Peer(b) && c.descriptor.guid == guid(1);
    assert!(sut.net.observer.crossings.iter().any(friends));
    let before = answered_before(&sut, villain, friends);
    assert!((1..=PER_SHARE).contains(&before), "{before} dear Queries came first");
    assert_eq!(answered(&sut), u64::from(QUERIES), "all of them have their turn");
}

#[test]
fn dear_links_take_turns() {
    let mut sut = sharing_many();
    let [a, b] = sut.links();
    // Hits arrive in the order they were queued in.
    sut.net.params.window = None;
    sut.net.observer.crossings.clear();
    sut.net.write(a, &dear_queries(1_000));
    sut.net.write(b, &dear_queries(2_000));
    sut.net.settle();
    assert_eq!(answered(&sut), 2 * u64::from(QUERIES));
    // When the first has its last answer, the second has all but those of one share.
    let last = guid(1_000 + QUERIES - 1);
    let of_b = answered_before(&sut, b, |c| c.descriptor.guid == last && c.to == Holder::Peer(a));
    assert!(of_b + PER_SHARE >= QUERIES as usize, "{of_b} of the second, all of the first");
}

#[test]
fn what_a_peer_says_before_it_closes_is_read_in_its_turn() {
    let mut sut = sharing_many();
    let peer = sut.link();
    sut.net.write(peer, &dear_queries(1_000));
    sut.net.hang_up(peer);
    sut.net.settle();
    assert_eq!(answered(&sut), u64::from(QUERIES));
    let eof = CloseReason::Io(IoFailure::Eof);
    let down = |event: &Event| matches!(event, Event::LinkDown { reason, .. } if *reason == eof);
    assert!(sut.events().iter().any(down), "and then the link ends");
}

#[test]
fn what_a_link_that_breaks_leaves_unread_is_counted() {
    let mut sut = sharing_many();
    let peer = sut.link();
    sut.net.write(peer, &dear_queries(1_000));
    sut.net.reset(peer);
    sut.net.settle();
    let unread = sut.dropped(DropReason::Unread);
    let stats = sut.core().stats();
    assert!(unread > 0);
    assert_eq!(stats.received.get(Kind::Query), u64::from(QUERIES));
    assert_eq!(stats.delivered.get(Kind::Query) + unread, u64::from(QUERIES));
}

/// A hit that the asker's queue cannot take is not worth a search.
#[test]
fn a_peer_that_never_reads_its_answers_is_not_searched_for() {
    let mut sut = sharing_many();
    let peer = sut.link();
    sut.net.stop_reading(peer);
    for first in [1_000, 2_000, 3_000] {
        sut.send_bytes(peer, &dear_queries(first));
    }
    let (first, work) = (answered(&sut), sut.core().stats().work);
    assert!(first > 0 && first < 3 * u64::from(QUERIES));
    sut.send_bytes(peer, &dear_queries(4_000));
    assert_eq!(answered(&sut), first);
    let each = (sut.core().stats().work - work) / u64::from(QUERIES);
    assert!(each < 50, "{each} units for a Query whose answer has no room");
}

/// A text that normalizes to eighteen times its length costs no more than its letters; a text above
/// 256 bytes costs nothing.
#[test]
fn the_work_of_a_search_text_is_bounded() {
    let mut sut = sharing_many();
    let [a, b] = sut.links();
    let cost = |sut: &mut Bench, n: u32, text: &str| {
        let before = sut.core().stats().work;
        sut.send(a, &query(guid(n), text));
        sut.core().stats().work - before
    };
    let unfolding = cost(&mut sut, 2, &"\u{3316}".repeat(85));
    assert!(unfolding < 1_200, "{unfolding} units");
    assert_eq!(sut.receive(b).len(), 1);
    let long = cost(&mut sut, 3, &"\u{3316}".repeat(1_360));
    assert!(long < 200, "{long} units");
    sut.send(a, &query(guid(4), &"n".repeat(257)));
    sut.assert_quiet(b);
    assert_eq!(sut.dropped(DropReason::QueryTooLong), 2);
    sut.send(a, &query(guid(5), &"n".repeat(256)));
    assert_eq!(sut.receive_one(b).guid, guid(5));
}

/// The GUID of a search under way never ages.
#[test]
fn a_search_of_twenty_minutes_hears_and_knows_itself() {
    let mut sut = Bench::new();
    let [a, b] = sut.links();
    let search = sut.tell(|core, now| core.search(now, "hello", None)).unwrap();
    for minute in 0..20 {
        sut.wait_secs(60);
        for (peer, n) in [(a, 100), (b, 200)] {
            let sign = crate::support::descriptor::ping(guid(n + minute)).ttl(1);
            sut.send(peer, &sign);
        }
    }
    sut.receive(b);
    sut.events();
    sut.send(a, &query(search, "hello").hops(3));
    assert_eq!(sut.dropped(DropReason::OwnEcho), 1);
    sut.assert_quiet(b);
    sut.send(a, &hit(search, servent_id(1), "hello.txt"));
    let heard = |event: &Event| matches!(event, Event::Hit { .. });
    assert_eq!(sut.events().iter().filter(|event| heard(event)).count(), 1);
}

/// A slot that was used before is another link: what belonged to the last one is not for it.
#[test]
fn a_reply_never_reaches_a_later_link_in_the_same_slot() {
    let mut sut = Bench::new();
    let source = sut.link();
    let asker = sut.link();
    sut.send(asker, &query(guid(1), "zebra"));
    sut.net.reset(asker);
    sut.net.settle();
    // Names of links in route tables have 16 bits for this.
    for _ in 0..65_533 {
        let stranger = sut.dial();
        sut.net.drop_peer(stranger);
    }
    let later = sut.link();
    sut.receive(later);
    sut.send(source, &hit(guid(1), servent_id(1), "zebra.txt"));
    sut.assert_quiet(later);
    assert_eq!(sut.dropped(DropReason::LinkGone), 1);
}

/// Requests ahead of their answers wait for their turn like anything else that costs.
#[test]
fn a_query_waits_for_a_few_answered_requests_and_no_more() {
    let mut sut = Bench::new();
    let [a, b] = sut.links();
    let asks = b"GET /get/1/nothing HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100);
    let fetchers: [Peer; 3] = std::array::from_fn(|_| sut.dial());
    let before = sut.core().stats().writes;
    sut.net.observer.crossings.clear();
    for fetcher in fetchers {
        sut.net.write(fetcher, &asks);
    }
    sut.net.write(a, &query(guid(1), "between friends").bytes());
    while sut.net.observer.crossings.is_empty() {
        sut.net.step();
    }
    let crossed = &sut.net.observer.crossings[0];
    assert_eq!((crossed.to, crossed.descriptor.guid), (Holder::Node(0), guid(1)));
    let answered = sut.core().stats().writes - before;
    assert!((1..=16).contains(&answered), "{answered} answers were written first");
    sut.net.settle();
    assert_eq!(sut.receive_one(b).guid, guid(1));
    for fetcher in fetchers {
        let answers = sut.read(fetcher);
        let count = answers.windows(12).filter(|part| part == b"HTTP/1.1 404").count();
        assert_eq!(count, 100);
    }
}
