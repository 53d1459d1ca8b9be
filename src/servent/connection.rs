//! One socket as the core sees it, from dial or accept to close.

use super::budget::Account;
use super::io::TransferId;
use super::route_table::LinkKey;
use super::send_queue::SendQueue;
use super::transfers::Uploading;
use crate::time::Instant;
use crate::wire::{Deframer, ServentId};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

/// Pings with TTL 1 answered per link and second.
const PROBES_PER_SECOND: u8 = 10;
/// Pings on one link whose Pongs may be outstanding together.
const PINGS_ANSWERED_LATE: u32 = 4;
const SECOND: Duration = Duration::from_secs(1);

/// Why we dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialled {
    /// The user named the address: it is dialled again when the link ends.
    Kept,
    /// It came from the host cache.
    Learnt,
}

/// A socket. Links are boxed, so that a slot of the slab stays small.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) generation: u32,
    pub(super) remote: SocketAddrV4,
    /// Our own address on it.
    pub(super) local_ip: Ipv4Addr,
    /// `None` for an inbound one and for that of a transfer.
    pub(super) dialled: Option<Dialled>,
    /// It came in on the listening socket.
    pub(super) inbound: bool,
    pub(super) phase: Phase,
    /// When its timer has something to do.
    pub(super) deadline: Instant,
    /// When its entry among the timers comes up: not after `deadline`.
    pub(super) scheduled: Instant,
    pub(super) queue: SendQueue,
    /// It is in a list of those with something to send.
    pub(super) listed: bool,
    /// The socket took nothing: wait until it is writable.
    pub(super) blocked: bool,
}

#[derive(Debug)]
pub(super) enum Phase {
    /// The TCP connection is not there yet.
    Dialing,
    /// What came of the answer to our hello; or inbound, of a first line that may become anything.
    Opening(Vec<u8>),
    /// A neighbour.
    Link(Box<Link>),
    /// A peer that fetches files from us.
    Upload(Box<Uploading>),
    /// A connection a Push asked us for; the line to send first.
    Giving(Box<[u8]>),
    /// The connection of a download, from its dial on.
    Fetching(TransferId),
    /// A connection this servent made for a Push of ours, kept for the next file.
    Idle(ServentId),
}

/// What a neighbour has beyond its socket.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) deframer: Deframer,
    pub(super) account: Account,
    /// When the handshake was complete.
    pub(super) since: Instant,
    pub(super) last_heard: Instant,
    /// We asked for a sign of life since `last_heard`.
    pub(super) probed: bool,
    /// Its name in route tables.
    pub(super) key: LinkKey,
    /// The port it says it listens on: its own Pong, if the address fits the socket.
    pub(super) listens_on: Option<u16>,
    /// It is the one that stayed of two links with this servent, instead of the one we dialled.
    pub(super) stands_for_ours: bool,
    next_full_ping: Instant,
    next_index_query: Instant,
    probe_window: Instant,
    probes: u8,
    /// Pongs that the Pings sent on this link still admit.
    pongs_due: u32,
    pong_window: Instant,
    /// Pongs taken since `pong_window`.
    pongs: u32,
}

impl Link {
    pub(super) fn new(now: Instant, key: LinkKey) -> Link {
        Link {
            deframer: Deframer::default(),
            account: Account::default(),
            since: now,
            last_heard: now,
            probed: false,
            key,
            listens_on: None,
            stands_for_ours: false,
            next_full_ping: now,
            next_index_query: now,
            probe_window: now,
            probes: 0,
            pongs_due: 0,
            pong_window: now,
            pongs: 0,
        }
    }

    /// Whether a Ping that asks for more than a sign of life may be answered: one a second.
    pub(super) fn admit_full_ping(&mut self, now: Instant) -> bool {
        once_a_second(&mut self.next_full_ping, now)
    }

    /// Whether "list everything" may be answered: one a second.
    pub(super) fn admit_index_query(&mut self, now: Instant) -> bool {
        once_a_second(&mut self.next_index_query, now)
    }

    /// Whether a Ping with TTL 1 may be answered.
    pub(super) fn admit_probe(&mut self, now: Instant) -> bool {
        if now.since(self.probe_window) >= SECOND {
            self.probe_window = now;
            self.probes = 0;
        }
        self.probes = self.probes.saturating_add(1);
        self.probes <= PROBES_PER_SECOND
    }

    /// A Ping was sent on this link: it admits `per_ping` Pongs more. What several Pings admit
    /// adds up to a bound.
    pub(super) fn ping_sent(&mut self, per_ping: u32) {
        let most = per_ping.saturating_mul(PINGS_ANSWERED_LATE);
        self.pongs_due = self.pongs_due.saturating_add(per_ping).min(most);
    }

    /// Whether one more Pong may be believed and passed on.
    pub(super) fn admit_pong(&mut self, now: Instant, per_second: u32) -> bool {
        if now.since(self.pong_window) >= SECOND {
            self.pong_window = now;
            self.pongs = 0;
        }
        let admitted = self.pongs < per_second && self.pongs_due > 0;
        self.pongs += u32::from(admitted);
        self.pongs_due -= u32::from(admitted);
        admitted
    }
}

fn once_a_second(next: &mut Instant, now: Instant) -> bool {
    let admitted = now >= *next;
    if admitted {
        *next = now + SECOND;
    }
    admitted
}
