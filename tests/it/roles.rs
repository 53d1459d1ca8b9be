//! Leaves and ultrapeers: who sends which route table, who gets which Query, and searches of leaves
//! that are sent on in small steps.

use crate::support::descriptor::{guid, hit, ping, pong, query, query_at_speed, servent_id};
use crate::support::modern::{
    FREE, GNUTELLA, HELLO, LAST_HOP, LEAF, ROUTES, ULTRAPEER, patch, reset, routes,
};
use crate::support::{Bench, Descriptor, library};
use servent::config::{Config, Role};
use servent::net::Peer;
use servent::servent::{Event, PeerRole};
use servent::stats::DropReason;
use servent::wire::qrp::{Qrp, QrpReceiver, QrpTable, word_hash};
use servent::wire::{Bye, Kind};
use std::sync::Arc;
use std::time::Duration;

fn as_leaf(config: &mut Config) {
    (config.role, config.links) = (Role::Leaf, 0);
}

/// Links that may be silent for as long as a test takes.
fn patient(config: &mut Config) {
    config.limits.keepalive_after = Duration::from_secs(3_600);
    config.limits.link_timeout = Duration::from_secs(7_200);
}

/// The table that a peer was sent so far: plain form checked by hand, entries applied.
fn apply(receiver: &mut QrpReceiver, messages: &[Descriptor]) -> Vec<&'static str> {
    let mut forms = Vec::new();
    for message in messages {
        assert_eq!((message.kind, message.ttl, message.hops), (ROUTES, 1, 0));
        assert!(message.payload.len() <= 4_096, "{}", message.payload.len());
        forms.push(match message.payload[0] {
            0 => "RESET",
            1 => {
                assert!(message.payload[1] > 0 && message.payload[4] == 4, "4-bit, from 1");
                "PATCH"
            }
            _ => "?",
        });
        receiver.apply(&Qrp::decode(&message.payload).unwrap()).unwrap();
    }
    forms
}

fn has(receiver: &QrpReceiver, word: &str) -> bool {
    receiver.shared().expect("a complete table").contains(word_hash(word))
}

/// A Query of TTL 7 for one word.
fn asks(number: u32, word: &str) -> Descriptor {
    query(guid(number), word)
}

fn guids(received: &[Descriptor]) -> Vec<u8> {
    received.iter().map(|one| one.guid.0[14]).collect()
}

/// P-101
#[test]
fn a_leaf_sends_its_table_at_once_and_what_changes_later() {
    let mut sut = Bench::with(as_leaf);
    let (ultrapeer, last) = sut.dialled_modern("127.8.0.1:7000", ULTRAPEER);
    assert!(last.contains("X-Ultrapeer: False"), "{last}");
    let mut table = QrpReceiver::default();
    let forms = apply(&mut table, &sut.receive(ultrapeer));
    assert_eq!(forms.first(), Some(&"RESET"));
    assert!(forms.len() > 1 && forms[1..].iter().all(|form| *form == "PATCH"), "{forms:?}");
    for word in ["hello", "free", "bsd", "notes", "hel"] {
        assert!(has(&table, word), "{word}");
    }
    assert!(!has(&table, "zebra"));

    let files = [(7, "hello.txt", 5), (9, "zebra.txt", 5)];
    sut.tell(|core, _| core.handle_library(Arc::new(library(files))));
    sut.wait_secs(11);
    let forms = apply(&mut table, &sut.receive(ultrapeer));
    assert!(!forms.is_empty() && forms.iter().all(|form| *form == "PATCH"), "{forms:?}");
    assert!(has(&table, "zebra") && has(&table, "hello") && !has(&table, "bsd"));
    // The same names again change nothing.
    sut.tell(|core, _| core.handle_library(Arc::new(library(files))));
    sut.wait_secs(20);
    assert_eq!(sut.receive_asked(ultrapeer), []);
}

/// P-102
#[test]
fn a_leaf_gets_what_its_complete_table_matches_and_nothing_before() {
    let mut sut = Bench::new();
    let [asker, other] = sut.links();
    let leaf = sut.modern(LEAF);
    sut.send(asker, &asks(1, "hello"));
    sut.send(leaf, &reset());
    sut.send(asker, &asks(2, "hello"));
    sut.send(leaf, &patch(1, 2, &[FREE, HELLO]));
    sut.send(asker, &asks(3, "hello"));
    assert_eq!(sut.receive(leaf), [], "its table is not complete");
    sut.send(leaf, &patch(2, 2, &[FREE, HELLO]));
    for (number, words) in [(4, "hello"), (5, "gnutella"), (6, "hello free"), (7, "gnutella free")]
    {
        sut.send(asker, &asks(number, words));
    }
    let got = sut.receive(leaf);
    assert_eq!(guids(&got), [4, 6]);
    assert_eq!(got[0], asks(4, "hello").forwarded());
    assert_eq!(sut.receive(other).len(), 7, "0.4 links get all");
    assert_eq!(sut.dropped(DropReason::QueueFull), 0);

    // Its hits go back, and Pushes to it.
    sut.receive(asker);
    sut.send(leaf, &hit(guid(4), servent_id(1), "hello"));
    assert_eq!(sut.receive_one(asker).payload, hit(guid(4), servent_id(1), "hello").payload);
}

#[test]
fn a_query_that_ends_here_reaches_matching_leaves_as_it_is() {
    let mut sut = Bench::new();
    let [asker, other] = sut.links();
    let ultrapeer = sut.modern(ULTRAPEER);
    let (has_it, has_not) = (sut.leaf(&[HELLO]), sut.leaf(&[FREE]));
    let last = asks(1, "hello").ttl(1).hops(3);
    sut.send(asker, &last);
    assert_eq!(sut.receive_one(has_it), last, "TTL and hops together never grow");
    for peer in [has_not, other, ultrapeer] {
        assert_eq!(sut.receive_asked(peer), []);
    }
    // One of a leaf does not come back to it.
    let own = asks(2, "hello").ttl(1);
    sut.send(has_it, &own);
    assert_eq!(sut.receive_asked(has_it).iter().filter(|d| d.kind == Kind::Query).count(), 0);
}

/// P-103
#[test]
fn a_table_that_cannot_be_followed_ends_the_link_with_413() {
    let cases: [&[Descriptor]; 7] = [
        &[patch(1, 1, &[HELLO])],
        &[reset(), patch(1, 3, &[HELLO]), patch(3, 3, &[HELLO])],
        &[reset(), routes(vec![1, 0, 1, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0])],
        &[reset(), routes(vec![1, 1, 1, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0])],
        &[routes(vec![0, 17, 0, 0, 0, 7])],
        &[routes(vec![0, 16, 0, 0, 0, 0])],
        &[reset(), routes(vec![1, 1, 1, 1, 4, 1, 2, 3])],
    ];
    for (at, messages) in cases.into_iter().enumerate() {
        let mut sut = Bench::new();
        let leaf = sut.modern(LEAF);
        messages.iter().for_each(|message| sut.send(leaf, message));
        let bye = sut.receive_one(leaf);
        assert_eq!(bye.kind, Kind::Bye, "case {at}");
        assert_eq!(Bye::decode(&bye.payload).unwrap().code, 413, "case {at}");
        assert!(sut.is_closed(leaf) && sut.core().neighbours().count() == 0, "case {at}");
    }
    // Sizes that are no message's are dropped, and links that exchange no tables may say what they like.
    let mut sut = Bench::new();
    let leaf = sut.modern(LEAF);
    sut.send(leaf, &routes(vec![0, 16, 0, 0, 0]));
    sut.send(leaf, &routes(vec![1, 1, 1, 0, 4]));
    assert_eq!(sut.dropped(DropReason::Malformed), 2);
    let (old, ultrapeer) = (sut.link(), sut.modern(ULTRAPEER));
    for peer in [old, ultrapeer] {
        sut.send(peer, &patch(1, 1, &[HELLO]));
        sut.assert_alive(peer);
    }
    assert_eq!(sut.dropped(DropReason::UnknownKind), 2);
    sut.assert_alive(leaf);
}

#[test]
fn tables_come_and_go_and_equal_ones_are_kept_once() {
    let mut sut = Bench::new();
    let asker = sut.link();
    let leaf = sut.leaf(&[HELLO]);
    let work = sut.core().stats().work;
    let large = QrpTable::new(16).messages();
    let bytes: usize = large.iter().map(Vec::len).sum();
    large.into_iter().for_each(|payload| sut.send(leaf, &routes(payload)));
    let work = sut.core().stats().work - work;
    assert!(bytes < 200 && work > 500, "65,536 slots in {bytes} bytes cost {work} units");
    sut.send(leaf, &reset());
    sut.send(asker, &asks(1, "hello"));
    assert_eq!(sut.receive(leaf), [], "a RESET takes the table away");
    sut.send(leaf, &patch(1, 1, &[GNUTELLA]));
    sut.send(asker, &asks(2, "hello"));
    sut.send(asker, &asks(3, "gnutella"));
    assert_eq!(guids(&sut.receive(leaf)), [3]);
    let one = sut.core().modern_state().table_bytes;
    let twin = sut.leaf(&[GNUTELLA]);
    assert_eq!(sut.core().modern_state().table_bytes, one);
    sut.net.drop_peer(leaf);
    sut.send(asker, &asks(4, "gnutella"));
    assert_eq!(guids(&sut.receive(twin)), [4]);
    sut.net.drop_peer(twin);
    assert_eq!(sut.core().modern_state().table_bytes, 0);
}

#[test]
fn a_leaf_that_relays_a_query_is_told_to_go_with_414() {
    let mut sut = Bench::new();
    let other = sut.link();
    let leaf = sut.modern(LEAF);
    sut.send(leaf, &asks(1, "hello").ttl(6).hops(1));
    let bye = sut.receive_one(leaf);
    assert_eq!((bye.kind, Bye::decode(&bye.payload).unwrap().code), (Kind::Bye, 414));
    assert!(sut.is_closed(leaf));
    assert_eq!(sut.receive(other), []);
    assert_eq!(sut.dropped(DropReason::NotRouting), 1);
}

/// What a peer says before it has heard our Bye is counted, wherever its reads are cut, and until its
/// stream cannot be followed.
#[test]
fn what_comes_between_our_bye_and_its_end_is_counted_whole() {
    let mut sut = Bench::new();
    let leaf = sut.modern(LEAF);
    sut.net.take_up_to(leaf, 0);
    let relayed = asks(1, "hello").ttl(6).hops(1).bytes();
    let more = [asks(2, "hello").bytes(), asks(3, "hello").bytes()].concat();
    let (first, rest) = more.split_at(30);
    sut.send_bytes(leaf, &[&relayed, first].concat());
    assert!(sut.core().is_parting(), "it has not heard the Bye");
    sut.send_bytes(leaf, rest);
    assert_eq!((sut.core().stats().received.total(), sut.dropped(DropReason::Unread)), (3, 2));
    sut.send_bytes(leaf, &[0xff; 40]);
    sut.send_bytes(leaf, &[0; 40]);
    assert_eq!((sut.core().stats().received.total(), sut.dropped(DropReason::Unread)), (3, 2));
}

#[test]
fn leaves_are_named_to_nobody() {
    let mut sut = Bench::with(|config| config.links = 4);
    let asker = sut.link();
    let leaf = sut.modern(LEAF);
    // Pings reach no leaf; its Pongs are not passed on, whosever Ping they are for.
    sut.send(asker, &ping(guid(1)));
    assert_eq!(sut.receive_one(asker).kind, Kind::Pong);
    assert_eq!(sut.receive(leaf), []);
    sut.tell(|core, now| core.ping(now, Some(1)));
    let asked = sut.receive(leaf).remove(0);
    let (own, named) = ("127.9.0.2:6346".parse().unwrap(), "127.44.0.1:6346".parse().unwrap());
    sut.send(leaf, &pong(asked.guid, own));
    sut.send(leaf, &pong(guid(1), named));
    assert_eq!(sut.dropped(DropReason::NoRoute), 1);
    assert_eq!(sut.receive_asked(asker), []);
    sut.wait_secs(2);
    sut.send(asker, &ping(guid(2)));
    assert_eq!(sut.receive_one(asker).kind, Kind::Pong, "our own and no other");
    assert_eq!(sut.core().hosts().addrs().count(), 0);
    let told = sut.events().into_iter().filter(|event| matches!(event, Event::Pong { .. }));
    assert_eq!(told.count(), 1, "the user asked");
}

#[test]
fn who_steps_down_sends_its_ultrapeer_only_what_is_its_own() {
    let mut sut = Bench::new();
    let not_needed = format!("{ULTRAPEER}X-Ultrapeer-Needed: False\r\n");
    let (ultrapeer, last) = sut.dialled_modern("127.8.0.1:7000", &not_needed);
    assert!(last.contains("X-Ultrapeer: False"), "{last}");
    let mut table = QrpReceiver::default();
    apply(&mut table, &sut.receive(ultrapeer));
    assert!(has(&table, "hello"));
    let [a, b] = sut.links();
    let leaf = sut.leaf(&[HELLO]);
    sut.send(a, &asks(1, "hello"));
    assert_eq!(sut.receive(b).len(), 1);
    assert_eq!(sut.receive(leaf).len(), 1);
    assert_eq!(sut.receive(ultrapeer), [], "nothing of others");
    sut.send(ultrapeer, &asks(2, "hello"));
    assert_eq!(sut.receive_one(ultrapeer).kind, Kind::QueryHit, "an answer");
    for peer in [b, leaf] {
        assert_eq!(sut.receive(peer), [], "what comes by an ultrapeer of ours ends here");
    }
    sut.tell(|core, now| core.search(now, "hello", None)).unwrap();
    assert_eq!(sut.receive_one(ultrapeer).kind, Kind::Query);
}

#[test]
fn our_own_search_has_flags_on_0_6_and_reaches_matching_leaves() {
    let mut sut = Bench::new();
    let old = sut.link();
    let ultrapeer = sut.modern(ULTRAPEER);
    let (has_it, has_not, no_table) = (sut.leaf(&[HELLO]), sut.leaf(&[FREE]), sut.modern(LEAF));
    let search = sut.tell(|core, now| core.search(now, "hello", None)).unwrap();
    assert_eq!(sut.receive_one(old), query_at_speed(search, [1, 0], "hello"));
    assert_eq!(sut.receive_one(ultrapeer), query_at_speed(search, [0x80, 0], "hello").ttl(4));
    assert_eq!(sut.receive_one(has_it), query_at_speed(search, [0x80, 0], "hello"));
    assert_eq!((sut.receive(has_not), sut.receive(no_table)), (vec![], vec![]));
    let later = sut.modern(ULTRAPEER);
    assert_eq!(sut.receive_one(later).payload, query_at_speed(search, [0x80, 0], "hello").payload);
}

#[test]
fn ultrapeers_that_ask_get_what_we_and_our_leaves_have() {
    let mut sut = Bench::new();
    let leaf = sut.modern(LEAF);
    let words = QrpTable::of_words(["gnutella"]);
    words.messages().into_iter().for_each(|payload| sut.send(leaf, &routes(payload)));
    let asks_for_it = sut.modern(&format!("{ULTRAPEER}{LAST_HOP}"));
    let does_not = sut.modern(ULTRAPEER);
    sut.wait_secs(1);
    let mut table = QrpReceiver::default();
    let forms = apply(&mut table, &sut.receive_asked(asks_for_it));
    assert_eq!(forms.first(), Some(&"RESET"));
    assert!(has(&table, "hello") && has(&table, "gnutella") && !has(&table, "zebra"));
    assert_eq!(sut.receive_asked(does_not), []);
    sut.net.drop_peer(leaf);
    sut.wait_secs(70);
    let forms = apply(&mut table, &sut.receive_asked(asks_for_it));
    assert!(!forms.is_empty() && forms.iter().all(|form| *form == "PATCH"), "{forms:?}");
    assert!(has(&table, "hello") && !has(&table, "gnutella"));
}

#[test]
fn the_last_hop_is_filtered_by_the_table_of_the_neighbour_it_ends_at() {
    let mut sut = Bench::new();
    let asker = sut.link();
    let ultrapeer = sut.modern(&format!("{ULTRAPEER}{LAST_HOP}"));
    sut.wait_secs(1);
    sut.receive(ultrapeer);
    sut.send(asker, &asks(1, "gnutella").ttl(2));
    assert_eq!(guids(&sut.receive_asked(ultrapeer)), [1], "it has sent no table");
    sut.send(ultrapeer, &reset());
    sut.send(ultrapeer, &patch(1, 1, &[HELLO]));
    sut.send(asker, &asks(2, "gnutella").ttl(2));
    sut.send(asker, &asks(3, "hello").ttl(2));
    sut.send(asker, &asks(4, "gnutella").ttl(3));
    assert_eq!(guids(&sut.receive_asked(ultrapeer)), [3, 4]);
}

/// Which peers got a Query since, and its TTL.
fn asked(sut: &mut Bench, peers: &[Peer]) -> Vec<(usize, u8)> {
    let mut found = Vec::new();
    for (at, peer) in peers.iter().enumerate() {
        for one in sut.receive_asked(*peer) {
            assert_eq!((one.kind, one.hops), (Kind::Query, 1));
            found.push((at, one.ttl));
        }
    }
    found
}

#[test]
fn a_search_of_a_leaf_goes_to_0_4_at_once_and_to_ultrapeers_in_small_steps() {
    let mut sut = Bench::sharing(&[], patient);
    let ups: [Peer; 6] = std::array::from_fn(|_| sut.modern(ULTRAPEER));
    let (old, legacy) = (sut.link(), sut.modern("GGEP: 0.5\r\n"));
    let (leaf, other) = (sut.leaf(&[FREE]), sut.leaf(&[GNUTELLA]));
    sut.send(leaf, &asks(1, "gnutella"));
    assert_eq!(sut.receive_one(old), asks(1, "gnutella").forwarded());
    assert_eq!(sut.receive_one(legacy), asks(1, "gnutella").forwarded());
    assert_eq!(sut.receive_one(other), asks(1, "gnutella").forwarded());
    let probes = asked(&mut sut, &ups);
    assert_eq!(probes.len(), 3);
    assert!(probes.iter().all(|(_, ttl)| *ttl == 2), "{probes:?}");
    sut.wait(Duration::from_millis(15_600));
    assert_eq!(asked(&mut sut, &ups), []);
    sut.wait(Duration::from_millis(200));
    let fourth = asked(&mut sut, &ups);
    assert!(matches!(fourth[..], [(_, 4)]), "nothing was found: {fourth:?}");
    assert!(!probes.iter().any(|(at, _)| *at == fourth[0].0), "each gets it once");
    sut.wait(Duration::from_millis(3_700));
    assert_eq!(asked(&mut sut, &ups).len(), 1);
    sut.wait_secs(600);
    assert_eq!(asked(&mut sut, &ups).len(), 1, "the sixth, and then nobody is left");
    assert_eq!(sut.core().modern_state().searches, 0);
}

#[test]
fn a_search_ends_with_enough_results_and_with_its_leaf() {
    for (brings, leaves, more) in [(50, false, 5), (150, false, 0), (0, true, 0), (0, false, 5)] {
        let mut sut = Bench::sharing(&[], patient);
        let ups: [Peer; 8] = std::array::from_fn(|_| sut.modern(ULTRAPEER));
        let leaf = sut.leaf(&[]);
        sut.send(leaf, &asks(1, "gnutella"));
        let probes = asked(&mut sut, &ups);
        for n in 0..brings {
            sut.send(ups[probes[0].0], &hit(guid(1), servent_id(n), "gnutella"));
        }
        assert_eq!(sut.receive_asked(leaf).len(), usize::from(brings));
        if leaves {
            sut.net.drop_peer(leaf);
        }
        sut.wait_secs(120);
        assert_eq!(asked(&mut sut, &ups).len(), more, "{brings} results");
        assert_eq!(sut.core().modern_state().searches, 0);
    }
}

#[test]
fn a_leaf_has_eight_searches_under_way_and_more_go_to_no_ultrapeer() {
    let mut sut = Bench::sharing(&[], patient);
    let ups: [Peer; 4] = std::array::from_fn(|_| sut.modern(ULTRAPEER));
    let old = sut.link();
    let leaf = sut.leaf(&[]);
    (0..12).for_each(|n| sut.send(leaf, &asks(n, "gnutella")));
    assert_eq!(asked(&mut sut, &ups).len(), 3 * 8);
    assert_eq!(sut.receive_asked(old).len(), 12);
    let state = sut.core().modern_state();
    assert_eq!((state.searches, state.searches_refused), (8, 4));
}

#[test]
fn a_leaf_forwards_nothing_between_its_ultrapeers() {
    let mut sut = Bench::with(as_leaf);
    let (a, _) = sut.dialled_modern("127.8.0.1:7000", ULTRAPEER);
    let (b, _) = sut.dialled_modern("127.8.0.2:7000", ULTRAPEER);
    for peer in [a, b] {
        assert!(sut.receive(peer).iter().all(|one| one.kind == ROUTES));
    }
    sut.send(a, &asks(1, "gnutella"));
    sut.send(a, &ping(guid(2)));
    sut.send(a, &asks(3, "hello"));
    assert_eq!(sut.receive_asked(b), []);
    let kinds: Vec<Kind> = sut.receive_asked(a).iter().map(|one| one.kind).collect();
    assert_eq!(kinds, [Kind::Pong, Kind::QueryHit]);
    let roles = sut.core().neighbours().map(|link| link.peer.role);
    assert!(roles.eq([PeerRole::Ultrapeer; 2]));
}
