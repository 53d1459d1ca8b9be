//! One socket as the core sees it, from dial or accept to close.

use super::budget::Account;
use super::io::TransferId;
use super::route_table::LinkKey;
use super::send_queue::SendQueue;
use super::transfers::Uploading;
use crate::time::Instant;
use crate::wire::{Deframer, ServentId};
use std::net::{Ipv4Addr, SocketAddrV4};

/// Pings with TTL 1 answered per link and second.
const PROBES_PER_SECOND: u8 = 10;
/// Pings on one link whose Pongs may be outstanding together.
const PINGS_ANSWERED_LATE: u32 = 4;
const SECOND_MILLIS: u32 = 1_000;

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
    /// Boxed, and none while no descriptor has straddled two reads: an idle link is small.
    pub(super) deframer: Option<Box<Deframer>>,
    pub(super) account: Account,
    /// When the handshake was complete.
    pub(super) since: Instant,
    pub(super) last_heard: Instant,
    /// We asked for a sign of life since `last_heard`.
    pub(super) probed: bool,
    /// The peer has closed its end, and input of it waits to be read.
    pub(super) ended: bool,
    /// Its name in route tables.
    pub(super) key: LinkKey,
    /// The port it says it listens on: its own Pong, if the address fits the socket.
    pub(super) listens_on: Option<u16>,
    /// It is the one that stayed of two links with this servent, instead of the one we dialled.
    pub(super) stands_for_ours: bool,
    /// Pongs that the Pings sent on this link still admit.
    pongs_due: u32,
    /// When the second began in which the following are counted, in milliseconds modulo 2^32.
    second_began: u32,
    this_second: Admitted,
}

/// What a link was admitted in one second.
#[derive(Debug, Default)]
struct Admitted {
    pongs: u32,
    probes: u8,
    full_ping: bool,
    index_query: bool,
}

impl Link {
    pub(super) fn new(now: Instant, key: LinkKey) -> Link {
        Link {
            deframer: None,
            account: Account::default(),
            since: now,
            last_heard: now,
            probed: false,
            ended: false,
            key,
            listens_on: None,
            stands_for_ours: false,
            pongs_due: 0,
            second_began: millis(now),
            this_second: Admitted::default(),
        }
    }

    /// Whether a Ping that asks for more than a sign of life may be answered: one a second.
    pub(super) fn admit_full_ping(&mut self, now: Instant) -> bool {
        !std::mem::replace(&mut self.admitted(now).full_ping, true)
    }

    /// Whether "list everything" may be answered: one a second.
    pub(super) fn admit_index_query(&mut self, now: Instant) -> bool {
        !std::mem::replace(&mut self.admitted(now).index_query, true)
    }

    /// Whether a Ping with TTL 1 may be answered.
    pub(super) fn admit_probe(&mut self, now: Instant) -> bool {
        let probes = &mut self.admitted(now).probes;
        *probes = probes.saturating_add(1);
        *probes <= PROBES_PER_SECOND
    }

    /// A Ping was sent on this link: it admits `per_ping` Pongs more. What several Pings admit
    /// adds up to a bound.
    pub(super) fn ping_sent(&mut self, per_ping: u32) {
        let most = per_ping.saturating_mul(PINGS_ANSWERED_LATE);
        self.pongs_due = self.pongs_due.saturating_add(per_ping).min(most);
    }

    /// Whether one more Pong may be believed and passed on.
    pub(super) fn admit_pong(&mut self, now: Instant, per_second: u32) -> bool {
        let due = self.pongs_due > 0;
        let pongs = &mut self.admitted(now).pongs;
        let admitted = due && *pongs < per_second;
        *pongs += u32::from(admitted);
        self.pongs_due -= u32::from(admitted);
        admitted
    }

    fn admitted(&mut self, now: Instant) -> &mut Admitted {
        if millis(now).wrapping_sub(self.second_began) >= SECOND_MILLIS {
            self.second_began = millis(now);
            self.this_second = Admitted::default();
        }
        &mut self.this_second
    }
}

#[expect(clippy::cast_possible_truncation, reason = "differences are taken modulo 2^32")]
fn millis(now: Instant) -> u32 {
    (now.as_micros() / 1_000) as u32
}
