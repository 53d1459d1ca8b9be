//! The routing rules of Gnutella 0.4: what is known of a descriptor in, a [`Verdict`] out.
//!
//! The verdict is whole: TTL, duplicates, routes, throttling, scope and the servent's role are all
//! judged here, in this order. Nothing here has state. What is costly to know, or what asking
//! changes, is passed in as a closure and asked for only if nothing before it decides.

use crate::servent::link_key::LinkKey;
use crate::stats::DropReason;
use crate::wire::{Header, MAX_FORWARDED_CRITERIA_BYTES};

/// Largest sum of TTL and hops of an honest descriptor (gtk-gnutella's hard limit).
const MAX_TTL_PLUS_HOPS: u16 = 15;

/// What to do with a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing, and count why.
    Drop(DropReason),
    /// It is for this servent only.
    Deliver,
    /// It is for others only.
    Forward(Targets),
    /// It is for this servent and for others.
    DeliverAndForward(Targets),
}

impl Verdict {
    /// Whether a reply came from where its request was sent, so that what it says may be learnt,
    /// also when it can go no further.
    pub fn is_solicited(self) -> bool {
        use DropReason::{LinkGone, NotRouting, TtlSpent};
        match self {
            Verdict::Drop(reason) => matches!(reason, LinkGone | TtlSpent | NotRouting),
            _ => true,
        }
    }
}

/// The links a forwarded descriptor goes to: a predicate over links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Targets {
    /// A flood: every link but the one it came from.
    AllBut(LinkKey),
    /// A reply or Push: the one link on the recorded path.
    One(LinkKey),
}

impl Targets {
    /// The link that a flood came from.
    pub fn source(self) -> Option<LinkKey> {
        match self {
            Targets::AllBut(source) => Some(source),
            Targets::One(_) => None,
        }
    }

    /// Whether a copy goes to `link`.
    #[inline]
    pub fn include(self, link: LinkKey) -> bool {
        match self {
            Targets::AllBut(source) => link != source,
            Targets::One(target) => link == target,
        }
    }
}

/// What the route table knows of the (GUID, kind) of a Ping, Query or Push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Nothing.
    New,
    /// It is a descriptor of our own.
    Own,
    /// It arrived before.
    Duplicate,
}

impl Seen {
    /// Reads the answer of [`crate::servent::RouteTable::insert`].
    #[inline]
    pub fn from_known(known: Option<LinkKey>) -> Seen {
        match known {
            None => Seen::New,
            Some(LinkKey::OWN) => Seen::Own,
            Some(_) => Seen::Duplicate,
        }
    }
}

/// Where a reply or a Push has to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// To this servent.
    Own,
    /// To this link.
    Link(LinkKey),
    /// To a link that ended.
    Gone,
    /// Nowhere known.
    Unknown,
}

/// What a servent's settings say about routing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Cap for the TTL of broadcasts.
    pub max_ttl: u8,
    /// Whether it forwards: a guest does not.
    pub forwards: bool,
}

/// Lowers the TTL of a Ping or Query so that TTL and hops add up to at most `max_ttl`; never raises
/// it, and leaves at least 1 (the servent it has reached may answer). A sum above 15 is refused (0.6
/// draft; gtk-gnutella does the same).
///
/// # Errors
/// [`DropReason::TtlTooHigh`].
pub fn clamp_broadcast(header: &mut Header, max_ttl: u8) -> Result<(), DropReason> {
    if u16::from(header.ttl) + u16::from(header.hops) > MAX_TTL_PLUS_HOPS {
        return Err(DropReason::TtlTooHigh);
    }
    header.ttl = header.ttl.min(max_ttl.saturating_sub(header.hops).max(1));
    Ok(())
}

/// Lowers the TTL of a reply or Push so that TTL and hops add up to at most 15. Replies are trimmed,
/// not refused (gtk-gnutella): their path is recorded and cannot multiply.
///
/// # Errors
/// [`DropReason::TtlTooHigh`] when hops cannot be counted further.
pub fn clamp_reply(header: &mut Header) -> Result<(), DropReason> {
    if header.hops == u8::MAX {
        return Err(DropReason::TtlTooHigh);
    }
    let room = MAX_TTL_PLUS_HOPS.saturating_sub(u16::from(header.hops)).max(1);
    header.ttl = header.ttl.min(u8::try_from(room).unwrap_or(u8::MAX));
    Ok(())
}

/// The header for the next link. The verdict has found TTL left.
#[inline]
pub fn next_hop(header: &Header) -> Header {
    debug_assert!(header.ttl > 1 && header.hops < u8::MAX, "only what may travel is forwarded");
    Header { ttl: header.ttl.saturating_sub(1), hops: header.hops.saturating_add(1), ..*header }
}

/// A Query: answered once, flooded while its TTL lasts.
#[inline]
pub fn query(
    header: &mut Header,
    source: LinkKey,
    policy: Policy,
    criteria_bytes: usize,
    seen: impl FnOnce() -> Seen,
) -> Verdict {
    if criteria_bytes > MAX_FORWARDED_CRITERIA_BYTES {
        return Verdict::Drop(DropReason::QueryTooLong);
    }
    match clamp_broadcast(header, policy.max_ttl) {
        Err(reason) => Verdict::Drop(reason),
        Ok(()) => broadcast(header, source, policy, seen()),
    }
}

/// A Ping within its rate: answered once, flooded only while there are no cached Pongs to answer
/// with instead (0.6 draft, 2.2.4). `admit` and `known` are told whether it asks for more than a
/// keepalive; `known` says whether it is new, and whether there are cached Pongs.
pub fn ping(
    header: &mut Header,
    source: LinkKey,
    policy: Policy,
    admit: impl FnOnce(bool) -> bool,
    known: impl FnOnce(bool) -> (Seen, bool),
) -> Verdict {
    if let Err(reason) = clamp_broadcast(header, policy.max_ttl) {
        return Verdict::Drop(reason);
    }
    let full = header.ttl > 1;
    if !admit(full) {
        return Verdict::Drop(DropReason::PingThrottled);
    }
    let (seen, has_cached_pongs) = known(full);
    match broadcast(header, source, policy, seen) {
        Verdict::DeliverAndForward(_) if has_cached_pongs => Verdict::Deliver,
        verdict => verdict,
    }
}

/// A Pong: back the way its Ping came, if the Pings on that way admit it and its address is in
/// scope.
pub fn pong(
    header: &mut Header,
    source: LinkKey,
    policy: Policy,
    route: impl FnOnce() -> Route,
    admit: impl FnOnce() -> bool,
    in_scope: impl FnOnce() -> bool,
) -> Verdict {
    if let Err(reason) = clamp_reply(header) {
        return Verdict::Drop(reason);
    }
    let verdict = reply(header, source, policy, route());
    if !verdict.is_solicited() {
        return verdict;
    }
    if !admit() {
        return Verdict::Drop(DropReason::PongThrottled);
    }
    if verdict != Verdict::Deliver && !in_scope() {
        return Verdict::Drop(DropReason::OutOfScope);
    }
    verdict
}

/// A QueryHit: back the way its Query came. `forged` says that its servent id cannot be true.
pub fn query_hit(
    header: &mut Header,
    source: LinkKey,
    policy: Policy,
    forged: bool,
    route: impl FnOnce() -> Route,
) -> Verdict {
    match clamp_reply(header) {
        Err(reason) => Verdict::Drop(reason),
        Ok(()) if forged => Verdict::Drop(DropReason::ForgedHit),
        Ok(()) => reply(header, source, policy, route()),
    }
}

/// A Push: along the way the hits of its servent came, once. `serve` says whether one for this
/// servent may be acted on.
pub fn push(
    header: &mut Header,
    source: LinkKey,
    policy: Policy,
    seen: impl FnOnce() -> Seen,
    route: impl FnOnce() -> Route,
    serve: impl FnOnce() -> Result<(), DropReason>,
) -> Verdict {
    if let Err(reason) = clamp_reply(header) {
        return Verdict::Drop(reason);
    }
    let verdict = match seen() {
        Seen::Duplicate => Verdict::Drop(DropReason::Duplicate),
        Seen::Own => Verdict::Drop(DropReason::OwnEcho),
        Seen::New => reply(header, source, policy, route()),
    };
    match verdict {
        Verdict::Deliver => serve().map_or_else(Verdict::Drop, |()| verdict),
        _ => verdict,
    }
}

#[inline]
fn broadcast(header: &Header, source: LinkKey, policy: Policy, seen: Seen) -> Verdict {
    match seen {
        Seen::Duplicate => Verdict::Drop(DropReason::Duplicate),
        Seen::Own => Verdict::Drop(DropReason::OwnEcho),
        Seen::New if header.ttl > 1 && policy.forwards => {
            Verdict::DeliverAndForward(Targets::AllBut(source))
        }
        Seen::New => Verdict::Deliver,
    }
}

/// What reaches us with TTL 0 is still ours (GNU Serveez answers a direct Ping so).
fn reply(header: &Header, source: LinkKey, policy: Policy, route: Route) -> Verdict {
    match route {
        Route::Own => Verdict::Deliver,
        Route::Gone => Verdict::Drop(DropReason::LinkGone),
        Route::Unknown => Verdict::Drop(DropReason::NoRoute),
        Route::Link(link) if link == source => Verdict::Drop(DropReason::BackToSource),
        Route::Link(_) if header.ttl <= 1 => Verdict::Drop(DropReason::TtlSpent),
        Route::Link(_) if !policy.forwards => Verdict::Drop(DropReason::NotRouting),
        Route::Link(link) => Verdict::Forward(Targets::One(link)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Guid, Kind};

    const POLICY: Policy = Policy { max_ttl: 7, forwards: true };

    fn header(kind: Kind, ttl: u8, hops: u8) -> Header {
        Header { guid: Guid::default(), kind, ttl, hops, payload_len: 0 }
    }

    fn links() -> (LinkKey, LinkKey) {
        (LinkKey::new(1, 1), LinkKey::new(2, 1))
    }

    /// A fact that nothing may ask for: it was decided before.
    fn unasked<T>() -> T {
        panic!("asked for a fact that cannot matter")
    }

    #[test]
    fn what_decides_first_is_asked_first() {
        let (source, other) = links();
        let mut too_high = header(Kind::Ping, 9, 8);
        let reason = DropReason::TtlTooHigh;
        let verdict = ping(&mut too_high, source, POLICY, |_| unasked(), |_| unasked());
        assert_eq!(verdict, Verdict::Drop(reason));
        let mut fast = header(Kind::Ping, 7, 0);
        let verdict = ping(&mut fast, source, POLICY, |_| false, |_| unasked());
        assert_eq!(verdict, Verdict::Drop(DropReason::PingThrottled), "and it is not remembered");
        let mut pong_header = header(Kind::Pong, 7, 0);
        for (route, reason) in
            [(Route::Unknown, DropReason::NoRoute), (Route::Link(source), DropReason::BackToSource)]
        {
            let verdict = pong(&mut pong_header, source, POLICY, || route, unasked, unasked);
            assert_eq!(verdict, Verdict::Drop(reason), "nothing is admitted that is unasked for");
        }
        let to_other = || Route::Link(other);
        let verdict = pong(&mut pong_header, source, POLICY, to_other, || false, unasked);
        assert_eq!(verdict, Verdict::Drop(DropReason::PongThrottled));
        let verdict = pong(&mut pong_header, source, POLICY, to_other, || true, || false);
        assert_eq!(verdict, Verdict::Drop(DropReason::OutOfScope));
        let verdict = pong(&mut pong_header, source, POLICY, || Route::Own, || true, unasked);
        assert_eq!(verdict, Verdict::Deliver, "the user is told whatever the scope");
        let mut long = header(Kind::Query, 7, 0);
        let verdict = query(&mut long, source, POLICY, 257, unasked);
        assert_eq!(verdict, Verdict::Drop(DropReason::QueryTooLong));
    }

    #[test]
    fn a_guest_delivers_and_forwards_nothing() {
        let (source, other) = links();
        let guest = Policy { forwards: false, ..POLICY };
        let mut broadcast = header(Kind::Query, 7, 0);
        assert_eq!(query(&mut broadcast, source, guest, 3, || Seen::New), Verdict::Deliver);
        let mut hit = header(Kind::QueryHit, 7, 0);
        let verdict = query_hit(&mut hit, source, guest, false, || Route::Link(other));
        assert_eq!(verdict, Verdict::Drop(DropReason::NotRouting));
        assert!(verdict.is_solicited());
        let verdict = query_hit(&mut hit, source, guest, false, || Route::Own);
        assert_eq!(verdict, Verdict::Deliver);
    }

    #[test]
    fn a_push_for_us_is_judged_by_what_we_serve_and_others_are_passed_on() {
        let (source, other) = links();
        let judge = |seen, route, serve: Result<(), DropReason>| {
            let mut header = header(Kind::Push, 7, 0);
            push(&mut header, source, POLICY, || seen, || route, || serve)
        };
        let refused = Err(DropReason::PushNotServed);
        assert_eq!(judge(Seen::New, Route::Own, Ok(())), Verdict::Deliver);
        let dropped = Verdict::Drop(DropReason::PushNotServed);
        assert_eq!(judge(Seen::New, Route::Own, refused), dropped);
        let forward = Verdict::Forward(Targets::One(other));
        assert_eq!(judge(Seen::New, Route::Link(other), refused), forward);
        let duplicate = Verdict::Drop(DropReason::Duplicate);
        assert_eq!(judge(Seen::Duplicate, Route::Own, Ok(())), duplicate);
    }

    #[test]
    fn ttl_is_lowered_and_never_raised() {
        for (ttl, hops, max, expected) in [(7, 0, 7, 7), (7, 3, 7, 4), (2, 9, 7, 1), (1, 0, 7, 1)] {
            let mut header = header(Kind::Ping, ttl, hops);
            assert_eq!(clamp_broadcast(&mut header, max), Ok(()));
            assert_eq!(header.ttl, expected, "{ttl} {hops}");
        }
        for (ttl, hops, expected) in [(200, 3, 12), (3, 3, 3), (9, 40, 1)] {
            let mut header = header(Kind::Pong, ttl, hops);
            assert_eq!(clamp_reply(&mut header), Ok(()));
            assert_eq!(header.ttl, expected, "{ttl} {hops}");
        }
        assert_eq!(clamp_reply(&mut header(Kind::Pong, 1, 255)), Err(DropReason::TtlTooHigh));
    }
}
