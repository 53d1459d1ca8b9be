//! Pushes find their servent by the way its hits came. Rows P-60, P-61 and P-66.

use crate::support::descriptor::{guid, hit, push, query, servent_id};
use crate::support::{Bench, Descriptor, Peer, vectors};
use servent::stats::DropReason;
use servent::wire::{Kind, ServentId};

const CALLER: &str = "127.0.0.60:7000";

fn push_to(n: u32, to: ServentId) -> Descriptor {
    push(guid(n), to, CALLER.parse().unwrap()).ttl(4)
}

/// A asked, B delivered a hit of servent 1, C stands by.
fn after_a_hit() -> (Bench, [Peer; 3]) {
    let mut sut = Bench::new();
    let links @ [a, b, c] = sut.links();
    sut.send(a, &query(guid(1), "zebra"));
    sut.receive_one(b);
    sut.receive_one(c);
    sut.send(b, &hit(guid(1), servent_id(1), "zebra.txt"));
    sut.receive_one(a);
    (sut, links)
}

/// P-60
#[test]
fn a_push_follows_the_hits_of_its_servent() {
    let (mut sut, [a, b, c]) = after_a_hit();
    let wish = push_to(2, servent_id(1));
    sut.send(a, &wish);
    assert_eq!(sut.receive_one(b), wish.forwarded());
    sut.assert_quiet(a);
    sut.assert_quiet(c);
    sut.send(c, &Descriptor { guid: guid(3), ..wish });
    assert_eq!(sut.receive_one(b).guid, guid(3), "whoever sends it");
}

#[test]
fn a_push_with_extensions_is_forwarded_untouched() {
    let (mut sut, [a, b, _]) = after_a_hit();
    let gtkg = vectors::load_descriptor("gtkg-push");
    let theirs = ServentId(gtkg.payload[..16].try_into().unwrap());
    sut.send(b, &hit(guid(1), theirs, "zebra too.txt"));
    sut.receive_one(a);
    sut.send(a, &gtkg);
    assert_eq!(sut.receive_one(b), gtkg.forwarded());
}

#[test]
fn the_latest_hit_shows_the_way() {
    let (mut sut, [a, b, c]) = after_a_hit();
    sut.send(c, &hit(guid(1), servent_id(1), "zebra.txt"));
    sut.receive_one(a);
    sut.send(a, &push_to(2, servent_id(1)));
    assert_eq!(sut.receive_one(c).kind, Kind::Push);
    sut.assert_quiet(b);
}

/// P-61
#[test]
fn a_push_for_an_unknown_servent_goes_nowhere() {
    let (mut sut, links) = after_a_hit();
    sut.send(links[0], &push_to(2, servent_id(99)));
    // A hit nobody asked for is no signpost.
    sut.send(links[2], &hit(guid(50), servent_id(99), "bait.txt"));
    sut.send(links[0], &push_to(3, servent_id(99)));
    assert_eq!(sut.dropped(DropReason::NoRoute), 3);
    for peer in links {
        sut.assert_alive(peer);
    }
}

#[test]
fn a_push_is_forwarded_once_not_back_and_not_beyond_its_ttl() {
    let (mut sut, [a, b, _]) = after_a_hit();
    sut.send(a, &push_to(2, servent_id(1)));
    sut.send(a, &push_to(2, servent_id(1)));
    sut.receive_one(b);
    sut.send(b, &push_to(3, servent_id(1)));
    sut.send(a, &push_to(4, servent_id(1)).ttl(1));
    sut.assert_quiet(a);
    sut.assert_quiet(b);
    let once = [DropReason::Duplicate, DropReason::BackToSource, DropReason::TtlSpent];
    assert_eq!(once.map(|reason| sut.dropped(reason)), [1, 1, 1]);
}

#[test]
fn a_push_does_not_reach_the_next_tenant_of_a_lost_link() {
    let (mut sut, [a, b, _]) = after_a_hit();
    sut.net.hang_up(b);
    sut.net.settle();
    let tenant = sut.link();
    sut.send(a, &push_to(2, servent_id(1)));
    sut.assert_quiet(tenant);
    assert_eq!(sut.dropped(DropReason::LinkGone), 1);
}

/// P-66
#[test]
fn a_short_push_is_ignored() {
    let (mut sut, [a, b, _]) = after_a_hit();
    let mut short = push_to(2, servent_id(1));
    short.payload.pop();
    sut.send(a, &short);
    assert_eq!(sut.dropped(DropReason::Malformed), 1);
    sut.assert_quiet(b);
    sut.assert_alive(a);
}
