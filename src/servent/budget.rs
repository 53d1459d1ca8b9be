//! The share of work each link gets: descriptors are charged what they make the servent do, and a
//! link that has had its share leaves the rest of its input unread until the next round.
//!
//! Deficit round robin (Shreedhar and Varghese 1995) over work instead of bytes: a round adds one
//! share to a link's credit, a descriptor may overdraw it, and what is overdrawn is missing in the
//! next round. A lone link gets round after round without a pause and loses nothing.
//!
//! Work is counted in units that do not depend on the machine. One unit is about 80 instructions,
//! 10 ns on a core of 2020. The prices below were set by counting instructions
//! (`cargo bench --bench instructions`); they need to be right within a factor of two only.

use super::connection::{Link, Phase};
use super::io::{CloseReason, ConnId, IoFailure};
use super::{Observation, Servent};
use crate::config::READ_BYTES;
use crate::stats::DropReason;
use crate::time::Instant;
use crate::wire::Descriptors;
use bytes::{Buf, BytesMut};
use std::collections::VecDeque;
use std::net::SocketAddrV4;
use std::num::NonZeroU32;
use std::time::Duration;

/// Framing a descriptor, looking up its id, counting it, and one broadcast of it.
pub(super) const DESCRIPTOR: u32 = 12;
/// Bytes of a payload that cost one unit: they are validated and copied.
pub(super) const BYTES_PER_UNIT: u32 = 32;
/// One copy for one neighbour where it is made alone.
pub(super) const COPY: u32 = 3;
/// A step of a search: folding a letter, a part of looking up a word, checking a file for a word.
pub(super) const SEARCH_STEP: u32 = 1;
/// Steps of a search text that is not answered: it was read all the same.
pub(super) const UNREADABLE_STEPS: u32 = 64;
/// One result written into a hit of ours.
pub(super) const RESULT: u32 = 14;
/// One result of a search of our own, handed to the user.
pub(super) const OWN_RESULT: u32 = 15;
/// One address looked up in or added to the host cache and the pong cache.
pub(super) const ADDRESS: u32 = 40;
/// One Pong made.
pub(super) const PONG: u32 = 12;
/// A connection opened because a Push asked for it: some system calls.
pub(super) const CONNECTION: u32 = 1_500;

/// A link's share of a round while no other connection speaks: more than one read of plain
/// Queries costs.
const SHARE: i32 = 24_000;
/// Copies that one share lets a link cause where each is made alone.
pub(super) const MOST_COPIES: usize = SHARE as usize / COPY as usize;
/// The same while several do: what comes behind it waits some 40 µs.
const CONTESTED_SHARE: i32 = 4_000;
/// Bytes of one socket handled in a turn while several speak.
const CONTESTED_READ_BYTES: usize = 16 * 1024;
/// HTTP requests answered in one turn: each costs system calls, and a peer may send hundreds ahead
/// of their answers.
const ANSWERS_PER_TURN: u32 = 4;
/// How long after two connections have spoken several are taken to.
const CONTESTED_FOR: Duration = Duration::from_millis(50);

/// Which links have unread input, and what is spent on the one being served.
#[derive(Debug)]
pub(super) struct Budget {
    /// Units spent on the link being served, in this visit.
    spent: u32,
    /// Counts turns of the loop, from 1 on: a link gets one share in each.
    round: NonZeroU32,
    speaker: Option<ConnId>,
    contested_until: Instant,
    /// Links with unread input, in round-robin order.
    waiting: VecDeque<ConnId>,
    /// HTTP requests answered in this round.
    answers: u32,
    /// Connections whose next request waits for its answer.
    asked: VecDeque<ConnId>,
    /// When the first entry was added to the two lists while both were empty.
    waiting_since: Instant,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget {
            spent: 0,
            round: NonZeroU32::MIN,
            speaker: None,
            contested_until: Instant::ZERO,
            waiting: VecDeque::new(),
            answers: 0,
            asked: VecDeque::new(),
            waiting_since: Instant::ZERO,
        }
    }
}

impl Budget {
    /// A turn begins: every link may have one more share.
    pub(super) fn next_round(&mut self) {
        self.round = self.round.checked_add(1).unwrap_or(NonZeroU32::MIN);
        self.answers = 0;
    }

    /// Charges the link being served.
    #[inline]
    pub(super) fn charge(&mut self, units: u32) {
        self.spent += units;
    }

    /// What the link being served has cost so far in this visit.
    #[inline]
    pub(super) fn spent(&self) -> u32 {
        self.spent
    }

    /// When unread input wants to be served: at once, if there is any.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.is_waiting().then_some(self.waiting_since)
    }

    fn is_waiting(&self) -> bool {
        !self.waiting.is_empty() || !self.asked.is_empty()
    }

    /// Whether one more request may be answered in this turn.
    pub(super) fn admit_answer(&mut self) -> bool {
        let admitted = self.answers < ANSWERS_PER_TURN;
        self.answers += u32::from(admitted);
        admitted
    }

    /// The next request on this connection, which is not in the list yet, is answered in a later
    /// turn.
    pub(super) fn answer_later(&mut self, now: Instant, id: ConnId) {
        if !self.is_waiting() {
            self.waiting_since = now;
        }
        self.asked.push_back(id);
    }

    /// Notes which connection spoke.
    pub(super) fn heard(&mut self, now: Instant, id: ConnId) {
        if self.speaker.replace(id) != Some(id) {
            self.contested_until = now + CONTESTED_FOR;
        }
    }

    fn share(&self, now: Instant) -> i32 {
        if now < self.contested_until { CONTESTED_SHARE } else { SHARE }
    }
}

/// The part of a link's state that bounds its work.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// Units left of the share; negative when a descriptor overdrew it.
    credit: i32,
    /// The round of the last share, before the first of all 0.
    round: u32,
    /// Input that waits for the next share, at most one read.
    rest: Option<Box<BytesMut>>,
}

impl Account {
    /// Whether input waits for the next share.
    pub(super) fn is_waiting(&self) -> bool {
        self.rest.is_some()
    }

    /// Adds this round's share unless the link has had it. False if nothing is left to spend.
    fn refill(&mut self, round: u32, share: i32) -> bool {
        if self.round != round {
            self.round = round;
            self.credit = self.credit.saturating_add(share).min(share);
        }
        self.credit > 0
    }
}

impl Servent {
    /// How many bytes of this connection may be read and handed to
    /// [`Servent::handle_bytes`] in this turn. 0 while input of a link waits for its share of
    /// work: ask again in the next turn.
    pub fn read_allowance(&self, now: Instant, id: ConnId) -> usize {
        let waits = self.connections.get(id.index()).is_some_and(|conn| match &conn.phase {
            Phase::Link(link) => conn.generation == id.generation && link.account.is_waiting(),
            _ => false,
        });
        match waits {
            true => 0,
            false if now < self.budget.contested_until => CONTESTED_READ_BYTES,
            false => READ_BYTES,
        }
    }

    /// Bytes of an established link: handled as far as its share goes, the rest waits.
    pub(super) fn handle_stream(&mut self, now: Instant, id: ConnId, bytes: &[u8]) {
        let share = self.budget.share(now);
        let round = self.budget.round.get();
        let Some(link) = self.link_mut(id) else { return };
        link.last_heard = now;
        link.probed = false;
        if let Some(rest) = &mut link.account.rest {
            return rest.extend_from_slice(bytes);
        }
        let taken = match link.account.refill(round, share) {
            true => self.serve(now, id, bytes),
            false => 0,
        };
        if taken < bytes.len() {
            self.keep_rest(now, id, Box::new(BytesMut::from(&bytes[taken..])));
        }
    }

    /// Gives each link with unread input its share of this round, and answers requests that waited.
    pub(crate) fn serve_waiting(&mut self, now: Instant) {
        for _ in 0..self.budget.asked.len() {
            let Some(id) = self.budget.asked.pop_front() else { break };
            if let Some(uploading) = self.uploading_mut(id) {
                uploading.waits = false;
            }
            self.drive_upload(now, id);
        }
        let share = self.budget.share(now);
        for _ in 0..self.budget.waiting.len() {
            let Some(id) = self.budget.waiting.pop_front() else { break };
            let round = self.budget.round.get();
            let Some(link) = self.link_mut(id) else { continue };
            if !link.account.refill(round, share) {
                self.budget.waiting.push_back(id);
                continue;
            }
            let Some(mut rest) = link.account.rest.take() else { continue };
            let taken = self.serve(now, id, &rest);
            rest.advance(taken);
            if !rest.is_empty() {
                self.keep_rest(now, id, rest);
            } else if self.link_mut(id).is_some_and(|link| link.ended) {
                self.close(now, id, CloseReason::Io(IoFailure::Eof));
            }
        }
    }

    /// Handles descriptors while the link has credit. Returns how many bytes were taken, all of
    /// them when the link ended.
    fn serve(&mut self, now: Instant, id: ConnId, bytes: &[u8]) -> usize {
        self.budget.spent = 0;
        let Some(link) = self.link_mut(id) else { return bytes.len() };
        let credit = u32::try_from(link.account.credit).unwrap_or(0);
        let taken = self.handle_descriptors(now, id, bytes, credit);
        self.flush_run();
        let spent = std::mem::take(&mut self.budget.spent);
        self.stats.work += u64::from(spent);
        if let Some(link) = self.link_mut(id) {
            let spent = i32::try_from(spent).unwrap_or(i32::MAX);
            link.account.credit = link.account.credit.saturating_sub(spent);
        }
        taken
    }

    fn keep_rest(&mut self, now: Instant, id: ConnId, rest: Box<BytesMut>) {
        let Some(link) = self.link_mut(id) else { return };
        link.account.rest = Some(rest);
        if !self.budget.is_waiting() {
            self.budget.waiting_since = now;
        }
        self.budget.waiting.push_back(id);
    }

    /// Counts what a link that ends has not read.
    pub(super) fn drop_unread(&mut self, peer: SocketAddrV4, link: &mut Link) {
        if let Some(rest) = link.account.rest.take() {
            let mut deframer = link.deframer.take().unwrap_or_default();
            self.count_unread(peer, &mut deframer.feed(&rest));
        }
    }

    /// Counts all descriptors that are left.
    pub(super) fn count_unread(&mut self, peer: SocketAddrV4, left: &mut Descriptors<'_>) {
        while let Ok(Some(raw)) = left.next() {
            let (header, reason) = (raw.header(), DropReason::Unread);
            self.stats.received.add(header.kind);
            self.stats.count_drop(reason);
            self.observe(|| Observation::Received { peer, header });
            self.observe(|| Observation::Dropped { peer, header, reason });
        }
    }
}
