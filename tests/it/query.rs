//! Searches: what is answered, with what, and what comes back. Rows P-31, P-38 to P-47, P-50 to
//! P-52 and P-57 of the checklist.

use crate::support::descriptor::{
    bye, guid, hit, query, query_at_speed, read_plain_hit, servent_id,
};
use crate::support::{Bench, Descriptor, Peer, library, vectors};
use servent::servent::{Event, Hit, SearchError};
use servent::stats::DropReason;
use servent::wire::{Guid, Kind, ServentId};
use std::sync::Arc;

/// The names in the answer to a Query for `text`.
fn names_found(text: &str) -> Vec<String> {
    let mut sut = Bench::new();
    let [a, b] = sut.links();
    sut.send(a, &query(guid(1), text));
    assert_eq!(sut.receive_one(b).payload, query(guid(1), text).payload, "forwarded in any case");
    let hits = sut.receive_asked(a);
    hits.iter().flat_map(|hit| read_plain_hit(hit).results).map(|(_, _, name)| name).collect()
}

/// P-31, P-57
#[test]
fn a_matching_query_is_answered_with_a_plain_hit() {
    let mut sut = Bench::new();
    let peer = sut.link();
    sut.send(peer, &vectors::load_descriptor("query").ttl(5).hops(2));
    let answer = sut.receive_one(peer);
    let asked = vectors::load_descriptor("query").guid;
    assert_eq!((answer.guid, answer.hops, answer.ttl), (asked, 0, 4));
    let hit = read_plain_hit(&answer);
    assert_eq!(hit.results, [(8, 2_400, "free bsd notes.txt".to_owned())]);
    assert_eq!((hit.addr, hit.speed), (sut.addr(), 1000));
    assert_eq!(hit.servent, sut.core().identity());
    assert_eq!(hit.trailer, b"SRVT\x02\x04\x00", "not busy");
}

/// P-40, P-41, P-42
#[test]
fn every_word_must_begin_a_word_of_the_name() {
    let notes = ["free bsd notes.txt"];
    for text in ["free bsd", "bsd free", "FREE notes", "fre bs", "notes.txt", "free.BSD"] {
        assert_eq!(names_found(text), notes, "{text}");
    }
    for text in ["free xyzzy", "ree", "*", "", "a", "f b n", "\u{7f}"] {
        assert_eq!(names_found(text), [""; 0], "{text}");
    }
}

/// P-39
#[test]
fn extensions_do_not_disturb_the_match() {
    let mut sut = Bench::new();
    let peer = sut.link();
    sut.send(peer, &vectors::load_descriptor("query-modern"));
    assert_eq!(read_plain_hit(&sut.receive_one(peer)).results[0].0, 8);
}

/// P-38
#[test]
fn a_text_without_nul_is_neither_answered_nor_forwarded() {
    let mut sut = Bench::new();
    let [a, b] = sut.links();
    let mut endless = query(guid(1), "free");
    endless.payload.pop();
    sut.send(a, &endless);
    assert_eq!(sut.dropped(DropReason::Malformed), 1);
    sut.assert_quiet(b);
    sut.assert_alive(a);
}

/// P-43, P-44
#[test]
fn four_spaces_list_everything_to_a_direct_neighbour() {
    let mut sut = Bench::new();
    let peer = sut.link();
    sut.send(peer, &vectors::load_descriptor("query-index"));
    let numbers = |hit: &Descriptor| -> Vec<u32> {
        read_plain_hit(hit).results.iter().map(|result| result.0).collect()
    };
    assert_eq!(numbers(&sut.receive_one(peer)), [7, 8]);
    sut.send(peer, &query(guid(1), "    ").ttl(1));
    sut.assert_quiet(peer);
    for (n, ttl, hops) in [(2, 3, 0), (3, 1, 1)] {
        sut.wait_secs(1);
        sut.send(peer, &query(guid(n), "    ").ttl(ttl).hops(hops));
        sut.assert_quiet(peer);
    }
    sut.send(peer, &query(guid(4), "    ").ttl(1));
    assert_eq!(numbers(&sut.receive_one(peer)), [7, 8], "once a second, not once for all");
}

/// P-45, P-46: a minimum speed filters only if ours was given by the user; flags are no speed.
#[test]
fn a_minimum_speed_counts_only_against_a_known_speed() {
    let cases = [
        (false, [0, 0x7f], true),
        (true, [0, 0x7f], false),
        (true, [0x40, 0], true),
        (true, [0x41, 0], false),
        (true, [0, 0], true),
        (true, [0x88, 0], true),
        (true, [0xff, 0x7f], true),
    ];
    for (speed_known, speed, answered) in cases {
        let mut sut = Bench::with(|config| {
            config.speed_kbps = 64;
            config.speed_known = speed_known;
        });
        let [a, b] = sut.links();
        sut.send(a, &query_at_speed(guid(1), speed, "free bsd"));
        assert_eq!(sut.receive_asked(a).len(), usize::from(answered), "{speed_known} {speed:x?}");
        assert_eq!(sut.receive_one(b).payload[..2], speed, "forwarded in any case");
    }
}

/// P-47
#[test]
fn ten_thousand_matches_are_cut_into_bounded_hits() {
    let mut sut = Bench::new();
    let peer = sut.link();
    let names: Vec<_> =
        (0..10_000).map(|n| format!("common {n} {}", "x".repeat(n % 200))).collect();
    let many = library((0..).zip(&names).map(|(number, name)| (number, name.as_str(), 1)));
    sut.tell(|core, _| core.handle_library(Arc::new(many)));
    sut.send(peer, &query(guid(1), "common"));
    let hits = sut.receive(peer);
    assert!(hits.len() > 1);
    let mut numbers = Vec::new();
    for hit in &hits {
        assert!(hit.payload.len() <= 4_096, "{} bytes", hit.payload.len());
        numbers.extend(read_plain_hit(hit).results.iter().map(|result| result.0));
    }
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), sut.core().config().limits.results_per_query);
}

#[test]
fn a_new_library_is_searched_at_once() {
    let mut sut = Bench::new();
    let peer = sut.link();
    sut.tell(|core, _| core.handle_library(Arc::new(library([(1, "zebra.txt", 9)]))));
    sut.send(peer, &query(guid(1), "hello"));
    sut.assert_quiet(peer);
    sut.send(peer, &query(guid(2), "zebra"));
    assert_eq!(read_plain_hit(&sut.receive_one(peer)).results, [(1, 9, "zebra.txt".to_owned())]);
}

/// A servent with one link that searches for "hello"; returns the Query as it came out.
fn searching() -> (Bench, Peer, Guid) {
    let mut sut = Bench::new();
    let peer = sut.link();
    let search = sut.tell(|core, now| core.search(now, "hello", None)).unwrap();
    let mine = sut.receive_one(peer);
    assert_eq!((mine.kind, mine.guid, mine.ttl, mine.hops), (Kind::Query, search, 7, 0));
    assert_eq!(mine.payload, b"\x01\x00hello\0");
    (sut, peer, search)
}

fn hits_shown(sut: &mut Bench) -> Vec<Hit> {
    let hit = |event| if let Event::Hit { hit, .. } = event { Some(hit) } else { None };
    sut.events().into_iter().filter_map(hit).collect()
}

/// P-51, results and flags
#[test]
fn a_rich_hit_for_our_search_is_shown_with_its_flags() {
    let (mut sut, peer, search) = searching();
    let rich = Descriptor { guid: search, ..vectors::load_descriptor("hit-rich") };
    sut.send(peer, &rich.hops(3));
    let hits = hits_shown(&mut sut);
    let shown: Vec<_> = hits.iter().map(|hit| (hit.name.as_str(), hit.index, hit.size)).collect();
    assert_eq!(shown, [("hello.txt", 7, 5), ("big.iso", 8, 1 << 32)]);
    for hit in hits {
        assert_eq!((hit.push, hit.busy, hit.vendor), (Some(true), Some(false), Some(*b"RSTG")));
        assert_eq!((hit.addr, hit.hops), ("192.0.2.10:6346".parse().unwrap(), 3));
    }
}

/// P-52
#[test]
fn a_broken_trailer_costs_the_flags_and_not_the_results() {
    for (open_data, vendor) in
        [(&b"\x00"[..], true), (b"\x01\x3d", true), (b"\xc8\x3d\x39", false), (b"", false)]
    {
        let (mut sut, peer, search) = searching();
        let mut reply = hit(search, servent_id(3), "hello.txt");
        let at = reply.payload.len() - 16;
        let trailer = [b"RSTG", open_data].concat();
        reply.payload.splice(at..at, trailer);
        sut.send(peer, &reply);
        let hits = hits_shown(&mut sut);
        assert_eq!(hits.len(), 1);
        assert_eq!((hits[0].name.as_str(), hits[0].servent), ("hello.txt", servent_id(3)));
        assert_eq!((hits[0].vendor.is_some(), hits[0].push, hits[0].busy), (vendor, None, None));
    }
}

/// P-50
#[test]
fn a_malformed_hit_is_dropped() {
    let (mut sut, peer, search) = searching();
    let good = hit(search, servent_id(1), "hello.txt");
    let broken = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut broken = good.clone();
        change(&mut broken.payload);
        broken
    };
    let malformed = [
        broken(&|payload| payload[0] = 255),
        broken(&|payload| payload[0] = 0),
        broken(&|payload| payload.truncate(26)),
        broken(&|payload| payload.retain(|&byte| byte != 0)),
        broken(&|payload| *payload = vec![0x55; 5_000]),
    ];
    for (n, reply) in (1..).zip(&malformed) {
        sut.send(peer, reply);
        assert_eq!(sut.dropped(DropReason::Malformed), n);
    }
    for servent in [ServentId([0; 16]), ServentId(search.0), sut.core().identity()] {
        sut.send(peer, &hit(search, servent, "hello.txt"));
    }
    assert_eq!(sut.dropped(DropReason::ForgedHit), 3);
    assert!(hits_shown(&mut sut).is_empty());
    sut.send(peer, &good.ttl(0));
    assert_eq!(hits_shown(&mut sut).len(), 1, "a reply may reach us with its last TTL");
}

#[test]
fn a_search_goes_to_links_that_come_up_later_and_ends_when_told() {
    let (mut sut, early, search) = searching();
    let late = sut.link();
    assert_eq!(sut.receive_one(late).guid, search);
    sut.send(late, &hit(search, servent_id(1), "hello.txt"));
    assert_eq!(hits_shown(&mut sut).len(), 1);
    sut.tell(|core, _| core.end_request(search));
    sut.send(late, &hit(search, servent_id(1), "hello.txt"));
    assert!(hits_shown(&mut sut).is_empty());
    let later = sut.link();
    sut.assert_quiet(later);
    sut.assert_quiet(early);
}

#[test]
fn one_search_takes_a_bounded_number_of_results() {
    let mut sut = Bench::with(|config| config.limits.results_per_search = 90);
    let [greedy, other] = sut.links();
    let search = sut.tell(|core, now| core.search(now, "hello", None)).unwrap();
    for n in 0..200 {
        sut.send(greedy, &hit(search, servent_id(n), "hello.txt"));
    }
    assert_eq!(hits_shown(&mut sut).len(), 81, "eight ninths for one link");
    for n in 200..210 {
        sut.send(other, &hit(search, servent_id(n), "hello.txt"));
    }
    assert_eq!(hits_shown(&mut sut).len(), 9, "what is left");
    assert_eq!(sut.dropped(DropReason::TooManyResults), 120);
}

/// A repeated hit of another servent delays no search and is shown once.
#[test]
fn the_same_hit_to_a_search_is_shown_once() {
    let mut sut = Bench::new();
    let [b, c] = sut.links();
    let [first, second] =
        ["hello", "notes"].map(|text| sut.tell(|core, now| core.search(now, text, None)).unwrap());
    for peer in [b, b, c] {
        sut.send(peer, &hit(first, servent_id(1), "hello.txt"));
    }
    sut.send(b, &hit(first, servent_id(2), "hello.txt"));
    sut.send(b, &hit(second, servent_id(1), "hello.txt"));
    assert_eq!(hits_shown(&mut sut).len(), 3);
    assert_eq!(sut.dropped(DropReason::RepeatedHit), 2);
}

#[test]
fn a_search_nobody_would_answer_is_not_sent() {
    let mut sut = Bench::new();
    let peer = sut.link();
    let long = "x".repeat(254);
    assert_eq!(
        sut.tell(|core, now| core.search(now, &long, None)),
        Err(SearchError::TooLong { got: 254 })
    );
    for text in ["a b", "nul\0nul", ""] {
        assert!(sut.tell(|core, now| core.search(now, text, None)).is_err(), "{text:?}");
    }
    sut.assert_quiet(peer);
}

#[test]
fn a_hit_says_whether_all_upload_slots_are_taken() {
    let big = vec![(1, "hello big.bin", vec![7; 500_000])];
    let mut sut = Bench::sharing(&big, |config| config.max_uploads = 1);
    let [peer] = sut.links();
    let flags = |sut: &mut Bench, n| {
        sut.send(peer, &query(guid(n), "hello"));
        read_plain_hit(&sut.receive_one(peer)).trailer[5..].to_vec()
    };
    assert_eq!(flags(&mut sut, 1), [4, 0]);
    let reader = sut.dial();
    sut.net.stop_reading(reader);
    sut.send_bytes(reader, b"GET /get/1/hello%20big.bin HTTP/1.0\r\n\r\n");
    assert_eq!(flags(&mut sut, 2), [4, 4]);
}

/// P-68, P-71
#[test]
fn a_bye_ends_the_link_at_once_and_nothing_is_said() {
    for text in [&b"bye\0"[..], b"no end", b"\0", b"moved\r\nServer: T/1\r\n\r\n\0"] {
        let mut sut = Bench::new();
        let [a, b] = sut.links();
        sut.send(a, &bye(200, text));
        assert_eq!((sut.read(a), sut.is_closed(a)), (vec![], true));
        sut.assert_quiet(b);
        assert_eq!(sut.core().neighbours().count(), 1);
    }
    for len in [1, 10_000] {
        let mut sut = Bench::new();
        let peer = sut.link();
        sut.send(peer, &Descriptor::new(guid(1), Kind::Bye, vec![b'x'; len]));
        assert_eq!(sut.dropped(DropReason::Malformed), 1, "{len} bytes");
        sut.assert_alive(peer);
    }
}
