//! The routing rules of Gnutella 0.4 as pure functions: what is known of a descriptor in, a
//! [`Verdict`] out. Nothing here changes anything, so judging cannot disturb what is judged.

use super::route_table::LinkKey;
use crate::stats::DropReason;
use crate::wire::Header;

/// Beyond this sum of TTL and hops nobody meant well (gtk-gnutella's hard limit).
const MAX_TTL_PLUS_HOPS: u16 = 15;

/// What to do with a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing, and count why.
    Drop(DropReason),
    /// It is for us only.
    Deliver,
    /// It is for others only.
    Forward(Targets),
    /// It is for us and for others.
    DeliverAndForward(Targets),
}

/// Who gets a forwarded descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Targets {
    /// A flood: every link but the one it came from.
    AllButSource,
    /// The one link on the recorded path.
    One(LinkKey),
}

/// What the route table knows of a broadcast's (GUID, kind).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Nothing.
    New,
    /// It is a descriptor of our own.
    Own,
    /// It came before.
    Before,
}

impl Seen {
    /// Reads the answer of [`super::RouteTable::insert`].
    pub fn from_known(known: Option<LinkKey>) -> Seen {
        match known {
            None => Seen::New,
            Some(LinkKey::OWN) => Seen::Own,
            Some(_) => Seen::Before,
        }
    }
}

/// Where a reply or a Push has to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// To us.
    Own,
    /// To this link.
    Link(LinkKey),
    /// To a link that is no more.
    Gone,
    /// Nowhere known.
    Unknown,
}

/// The TTL to go on with, before anything else looks at a Ping or Query: lowered so that TTL and
/// hops add up to at most `max_ttl`, never raised, and at least 1 (the servent it has reached may
/// answer). A sum above 15 is refused (0.6 draft; gtk-gnutella does the same).
///
/// # Errors
/// [`DropReason::TtlTooHigh`].
pub fn clamp_broadcast(header: &Header, max_ttl: u8) -> Result<u8, DropReason> {
    if u16::from(header.ttl) + u16::from(header.hops) > MAX_TTL_PLUS_HOPS {
        return Err(DropReason::TtlTooHigh);
    }
    Ok(header.ttl.min(max_ttl.saturating_sub(header.hops).max(1)))
}

/// The TTL to go on with for a reply or Push. Replies are trimmed, not refused (gtk-gnutella):
/// their path is recorded and cannot multiply.
///
/// # Errors
/// [`DropReason::TtlTooHigh`] when hops are at their end.
pub fn clamp_reply(header: &Header) -> Result<u8, DropReason> {
    if header.hops == u8::MAX {
        return Err(DropReason::TtlTooHigh);
    }
    let room = MAX_TTL_PLUS_HOPS.saturating_sub(u16::from(header.hops)).max(1);
    Ok(header.ttl.min(u8::try_from(room).unwrap_or(u8::MAX)))
}

/// The header for the next link, if the TTL allows one more.
pub fn next_hop(header: &Header) -> Option<Header> {
    if header.ttl <= 1 {
        return None;
    }
    Some(Header { ttl: header.ttl - 1, hops: header.hops.checked_add(1)?, ..*header })
}

/// A Query: answered once, flooded while its TTL lasts.
pub fn query(header: &Header, seen: Seen, routing: bool) -> Verdict {
    match seen {
        Seen::Before => Verdict::Drop(DropReason::Duplicate),
        Seen::Own => Verdict::Drop(DropReason::OwnEcho),
        Seen::New if header.ttl > 1 && routing => Verdict::DeliverAndForward(Targets::AllButSource),
        Seen::New => Verdict::Deliver,
    }
}

/// A Ping within its rate: answered once, flooded only while there are no cached Pongs to answer
/// with instead (0.6 draft, 2.2.4).
pub fn ping(header: &Header, seen: Seen, routing: bool, cache_empty: bool) -> Verdict {
    match query(header, seen, routing) {
        Verdict::DeliverAndForward(_) if !cache_empty => Verdict::Deliver,
        verdict => verdict,
    }
}

/// A Pong or QueryHit: back the way the Ping or Query came. What reaches us with TTL 0 is still
/// ours (GNU Serveez answers a direct Ping so).
pub fn reply(header: &Header, source: LinkKey, route: Route) -> Verdict {
    match one_link(header, source, route) {
        Ok(verdict) => verdict,
        Err(reason) => Verdict::Drop(reason),
    }
}

/// A Push: along the way the hits of its servent came, once.
pub fn push(header: &Header, source: LinkKey, seen: Seen, route: Route) -> Verdict {
    match seen {
        Seen::Before => Verdict::Drop(DropReason::Duplicate),
        Seen::Own => Verdict::Drop(DropReason::OwnEcho),
        Seen::New => reply(header, source, route),
    }
}

fn one_link(header: &Header, source: LinkKey, route: Route) -> Result<Verdict, DropReason> {
    match route {
        Route::Own => Ok(Verdict::Deliver),
        Route::Gone => Err(DropReason::LinkGone),
        Route::Unknown => Err(DropReason::NoRoute),
        Route::Link(link) if link == source => Err(DropReason::BackToSource),
        Route::Link(_) if header.ttl <= 1 => Err(DropReason::TtlSpent),
        Route::Link(link) => Ok(Verdict::Forward(Targets::One(link))),
    }
}
