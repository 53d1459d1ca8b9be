//! Counters: descriptors by kind and direction, and every drop under its reason.

use crate::rare::Rare;
use crate::wire::Kind;
use std::fmt;

/// Why a copy of a descriptor was dropped. Every drop has exactly one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// The payload does not follow its layout.
    Malformed,
    /// Not a kind of 0.4.
    UnknownKind,
    /// TTL + hops above 15, or hops at 255: tampering, or a loop.
    TtlTooHigh,
    /// This (GUID, kind) arrived before.
    Duplicate,
    /// Our own descriptor came back.
    OwnEcho,
    /// A reply or Push that may not cross another link.
    TtlSpent,
    /// A reply to nothing that was sent or forwarded, or a Push for a servent without a known route.
    NoRoute,
    /// The link on the recorded route has ended.
    LinkGone,
    /// The recorded route is the link it arrived on.
    BackToSource,
    /// More Pings than a link may send.
    PingThrottled,
    /// A Pong or Push with an address outside the scope.
    OutOfScope,
    /// A hit with a blank or our own servent id, or with its own GUID for one.
    ForgedHit,
    /// The same hit to a search of our own arrived before.
    RepeatedHit,
    /// More results than one search takes, from all links or from this one.
    TooManyResults,
    /// A Push for this servent, which shares nothing.
    PushNotServed,
    /// A Push for this servent beyond the limits on connections for Pushes, or to an address where nothing listened
    /// lately.
    PushThrottled,
    /// A guest forwards nothing.
    NotRouting,
    /// The neighbour's send queue has no room for this class of descriptor.
    QueueFull,
    /// Still queued when its link ended; it was counted as sent before.
    LinkEnded,
    /// Its link ended while it was unread.
    Unread,
    /// More Pongs than the Pings sent on the link admit, or than a link may send in a second.
    PongThrottled,
    /// A Query whose search text is longer than servents relay.
    QueryTooLong,
}

impl DropReason {
    /// Every reason, in the order of the counters.
    pub const ALL: [DropReason; 22] = [
        DropReason::Malformed,
        DropReason::UnknownKind,
        DropReason::TtlTooHigh,
        DropReason::Duplicate,
        DropReason::OwnEcho,
        DropReason::TtlSpent,
        DropReason::NoRoute,
        DropReason::LinkGone,
        DropReason::BackToSource,
        DropReason::PingThrottled,
        DropReason::OutOfScope,
        DropReason::ForgedHit,
        DropReason::RepeatedHit,
        DropReason::TooManyResults,
        DropReason::PushNotServed,
        DropReason::PushThrottled,
        DropReason::NotRouting,
        DropReason::QueueFull,
        DropReason::LinkEnded,
        DropReason::Unread,
        DropReason::PongThrottled,
        DropReason::QueryTooLong,
    ];

    /// A short name for logs and reports.
    pub const fn name(self) -> &'static str {
        match self {
            DropReason::Malformed => "malformed",
            DropReason::UnknownKind => "unknown kind",
            DropReason::TtlTooHigh => "ttl too high",
            DropReason::Duplicate => "duplicate",
            DropReason::OwnEcho => "own echo",
            DropReason::TtlSpent => "ttl spent",
            DropReason::NoRoute => "no route",
            DropReason::LinkGone => "link gone",
            DropReason::BackToSource => "back to source",
            DropReason::PingThrottled => "ping throttled",
            DropReason::OutOfScope => "out of scope",
            DropReason::ForgedHit => "forged hit",
            DropReason::RepeatedHit => "repeated hit",
            DropReason::TooManyResults => "too many results",
            DropReason::PushNotServed => "push not served",
            DropReason::PushThrottled => "push throttled",
            DropReason::NotRouting => "not routing",
            DropReason::QueueFull => "queue full",
            DropReason::LinkEnded => "link ended",
            DropReason::Unread => "unread",
            DropReason::PongThrottled => "pong throttled",
            DropReason::QueryTooLong => "query too long",
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One counter per descriptor kind.
#[derive(Clone, Debug, Default)]
pub struct PerKind(Rare<[u64; 7]>);

impl PerKind {
    /// The count of `kind`; all unknown kinds share one.
    pub fn get(&self, kind: Kind) -> u64 {
        self.0.get().map_or(0, |counts| counts[Self::slot(kind)])
    }

    /// The sum over all kinds.
    pub fn total(&self) -> u64 {
        self.0.get().map_or(0, |counts| counts.iter().sum())
    }

    #[inline]
    pub(crate) fn add(&mut self, kind: Kind) {
        self.0.change()[Self::slot(kind)] += 1;
    }

    pub(crate) fn add_all(&mut self, others: &PerKind) {
        if let Some(others) = others.0.get() {
            self.0.change().iter_mut().zip(others).for_each(|(count, other)| *count += other);
        }
    }

    /// Counts from zero again.
    pub(crate) fn reset(&mut self) {
        if let Some(counts) = self.0.get_mut() {
            counts.fill(0);
        }
    }

    const fn slot(kind: Kind) -> usize {
        match kind {
            Kind::Ping => 0,
            Kind::Pong => 1,
            Kind::Bye => 2,
            Kind::Push => 3,
            Kind::Query => 4,
            Kind::QueryHit => 5,
            Kind::Other(_) => 6,
        }
    }
}

impl PartialEq for PerKind {
    fn eq(&self, other: &PerKind) -> bool {
        let counts = |it: &PerKind| it.0.get().copied().unwrap_or_default();
        counts(self) == counts(other)
    }
}

impl Eq for PerKind {}

/// What a servent has done since it started.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Descriptors that arrived.
    pub received: PerKind,
    /// Copies queued to a neighbour on behalf of others.
    pub forwarded: PerKind,
    /// Copies of this servent's own making queued to a neighbour, replies included.
    pub originated: PerKind,
    /// Queued copies that left their send queue, to the last byte. What was queued and neither left
    /// nor is queued still was dropped for [`DropReason::LinkEnded`].
    pub sent: u64,
    /// Descriptors for this servent: Queries looked up, replies to its own requests.
    pub delivered: PerKind,
    dropped: Rare<[u64; DropReason::ALL.len()]>,
    /// Queries answered with at least one result.
    pub queries_answered: u64,
    /// Files sent in full.
    pub files_served: u64,
    /// Bytes read from and written to sockets.
    pub bytes_in: u64,
    /// See `bytes_in`.
    pub bytes_out: u64,
    /// Writes that took them.
    pub writes: u64,
    /// Work that descriptors of neighbours caused, in units of about 80 instructions.
    pub work: u64,
}

impl Stats {
    /// How many copies were dropped for `reason`.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped.get().map_or(0, |counts| counts[reason as usize])
    }

    /// The sum over all reasons.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.get().map_or(0, |counts| counts.iter().sum())
    }

    pub(crate) fn count_drop(&mut self, reason: DropReason) {
        self.count_drops(reason, 1);
    }

    pub(crate) fn count_drops(&mut self, reason: DropReason, count: u64) {
        self.dropped.change()[reason as usize] += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_counter() {
        for (slot, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, slot, "{reason}");
        }
    }
}
