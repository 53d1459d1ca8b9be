//! The share of work each link gets. Descriptors are charged what they make the servent do; a link
//! that has spent its share leaves the rest of its input unread until the next round.
//!
//! Deficit round robin (Shreedhar and Varghese 1995) over work instead of bytes: a round adds one
//! share to a link's credit, a descriptor may overdraw it, and the debt is subtracted from the next
//! share. A lone link gets round after round without a pause and loses nothing.
//!
//! Work is counted in units that do not depend on the machine. One unit is about 80 instructions,
//! 10 ns on a core of 2020. The prices were set by counting instructions
//! (`cargo bench --bench instructions`) and need to be right within a factor of two only.

use super::io::ConnId;
use crate::config::READ_BYTES;
use crate::rare::Rare;
use crate::time::Instant;
use bytes::BytesMut;
use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::Duration;

/// Deframing a descriptor, looking up its id, counting it, and one broadcast of it.
pub(super) const DESCRIPTOR: u32 = 12;
/// Bytes of a payload that cost one unit: they are validated and copied.
pub(super) const BYTES_PER_UNIT: u32 = 32;
/// One copy for one neighbour, where it is not part of a batch.
pub(super) const COPY: u32 = 3;
/// A step of a search: folding a letter, a part of looking up a word, checking a file for a word.
pub(super) const SEARCH_STEP: u32 = 1;
/// Steps charged for a search text that cannot be searched for: it was parsed all the same.
pub(super) const UNREADABLE_STEPS: u32 = 64;
/// A byte that arrives deflated: small blocks bring tables that are built for a few bytes.
pub(super) const DEFLATED_BYTE: usize = 1;
/// Bytes that are made by inflating for one unit.
pub(super) const INFLATED_BYTES_PER_UNIT: usize = 8;
/// A byte of a descriptor that is deflated for a neighbour.
pub(super) const DEFLATING_BYTE: u32 = 1;
/// Ending a piece of deflated bytes: codes are built for it, however small it is.
pub(super) const DEFLATING_PIECE: u32 = 450;
/// One result written into a hit of ours.
pub(super) const RESULT: u32 = 14;
/// One result of a search of our own, handed to the user.
pub(super) const OWN_RESULT: u32 = 15;
/// One address looked up in or added to the host cache and the pong cache.
pub(super) const ADDRESS: u32 = 40;
/// One Pong made.
pub(super) const PONG: u32 = 12;
/// A connection opened because a Push unanswered for it: some system calls.
pub(super) const CONNECTION: u32 = 1_500;

/// A link's share of a round while no other connection sends: more than one read of plain Queries
/// costs.
const SHARE: i32 = 24_000;
/// Most copies that one share lets a link cause outside of batches.
pub(super) const MOST_COPIES: usize = SHARE as usize / COPY as usize;
/// The same while several send: the next one waits for some 40 µs.
const CONTESTED_SHARE: i32 = 4_000;
/// Bytes of one socket handled in a turn while several send.
const CONTESTED_READ_BYTES: usize = 16 * 1024;
/// HTTP requests answered in one turn: each costs system calls, and a peer may pipeline hundreds.
const ANSWERS_PER_TURN: u32 = 4;
/// How long several connections count as sending after two of them have.
const CONTESTED_FOR: Duration = Duration::from_millis(50);

/// The account of the link being served, and the links and requests that wait for their share.
#[derive(Debug)]
pub(super) struct WorkBudget {
    /// Units spent on the link being served, in this visit.
    spent: u32,
    /// Counts turns of the loop, from 1 on: a link gets one share in each.
    round: NonZeroU32,
    /// The connection that sent last.
    sender: Option<ConnId>,
    contested_until: Instant,
    /// Links with unread input, in round-robin order.
    waiting: Rare<VecDeque<ConnId>>,
    /// HTTP requests answered in this round.
    answers: u32,
    /// Connections whose next request waits for its answer.
    unanswered: Rare<VecDeque<ConnId>>,
    /// When the first entry was added to the two lists while both were empty.
    waiting_since: Instant,
}

impl Default for WorkBudget {
    fn default() -> WorkBudget {
        WorkBudget {
            spent: 0,
            round: NonZeroU32::MIN,
            sender: None,
            contested_until: Instant::ZERO,
            waiting: Rare::default(),
            answers: 0,
            unanswered: Rare::default(),
            waiting_since: Instant::ZERO,
        }
    }
}

impl WorkBudget {
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

    /// When to serve what waits: at once, if anything does.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.is_waiting().then_some(self.waiting_since)
    }

    fn is_waiting(&self) -> bool {
        [&self.waiting, &self.unanswered]
            .iter()
            .any(|list| list.get().is_some_and(|list| !list.is_empty()))
    }

    /// Whether one more request may be answered in this turn.
    pub(super) fn admit_answer(&mut self) -> bool {
        let admitted = self.answers < ANSWERS_PER_TURN;
        self.answers += u32::from(admitted);
        admitted
    }

    /// Answers the next request of this connection, which is not in the list yet, in a later turn.
    pub(super) fn answer_later(&mut self, now: Instant, id: ConnId) {
        self.wait_since(now);
        self.unanswered.change().push_back(id);
    }

    /// Serves this link, which has unread input and is not in the list yet, in a later turn.
    pub(super) fn serve_later(&mut self, now: Instant, id: ConnId) {
        self.wait_since(now);
        self.waiting.change().push_back(id);
    }

    fn wait_since(&mut self, now: Instant) {
        if !self.is_waiting() {
            self.waiting_since = now;
        }
    }

    /// Takes the connections whose next request waits for its answer off the list.
    pub(super) fn take_unanswered(&mut self) -> VecDeque<ConnId> {
        self.unanswered.get_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Links with unread input.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.get().map_or(0, VecDeque::len)
    }

    /// Takes the next link with unread input off the list.
    pub(super) fn next_waiting(&mut self) -> Option<ConnId> {
        self.waiting.get_mut()?.pop_front()
    }

    /// Notes that a connection sent something.
    #[inline]
    pub(super) fn note_sender(&mut self, now: Instant, id: ConnId) {
        if self.sender.replace(id) != Some(id) {
            self.contested_until = now + CONTESTED_FOR;
        }
    }

    /// Bytes of one socket to be handled in a turn.
    pub(super) fn read_bytes(&self, now: Instant) -> usize {
        if now < self.contested_until { CONTESTED_READ_BYTES } else { READ_BYTES }
    }

    /// Adds this round's share to an account that has not had it. Returns what may be spent, if
    /// anything.
    #[inline]
    pub(super) fn credit(&self, now: Instant, account: &mut Account) -> Option<u32> {
        let share = if now < self.contested_until { CONTESTED_SHARE } else { SHARE };
        let round = self.round.get();
        if account.round != round {
            account.round = round;
            account.credit = account.credit.saturating_add(share).min(share);
        }
        u32::try_from(account.credit).ok().filter(|&credit| credit > 0)
    }

    /// A link is about to be served: what is charged from now on is its.
    pub(super) fn begin(&mut self) {
        self.spent = 0;
    }

    /// The link has been served: what it cost.
    pub(super) fn end(&mut self) -> u32 {
        std::mem::take(&mut self.spent)
    }
}

/// A link's credit, and the input that waits for more of it.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// Units left of the share; negative when a descriptor overdrew it.
    credit: i32,
    /// The round of the last share; 0 before the first.
    round: u32,
    /// Input that waits for the next share.
    unread: Option<Box<Unread>>,
}

/// Input of a link that waits for its share of work.
#[derive(Debug, Default)]
pub(super) struct Unread {
    /// At most one read. Of a link that is inflated, inflated; there may be none, while the rest of the
    /// read waits as it came.
    pub(super) bytes: BytesMut,
    /// The peer has closed its end behind it.
    pub(super) ended: bool,
}

impl Account {
    /// Whether input waits for the next share.
    #[inline]
    pub(super) fn is_waiting(&self) -> bool {
        self.unread.is_some()
    }

    /// Takes what it cost to serve the link off its credit.
    #[inline]
    pub(super) fn debit(&mut self, spent: u32) {
        let spent = i32::try_from(spent).unwrap_or(i32::MAX);
        self.credit = self.credit.saturating_sub(spent);
    }

    /// Adds input behind what waits already; false if nothing does.
    #[inline]
    pub(super) fn append_unread(&mut self, bytes: &[u8]) -> bool {
        let Some(unread) = &mut self.unread else { return false };
        unread.bytes.extend_from_slice(bytes);
        true
    }

    /// Notes that the peer has closed its end behind input that waits.
    pub(super) fn end_unread(&mut self) {
        if let Some(unread) = &mut self.unread {
            unread.ended = true;
        }
    }

    /// Keeps input for the next share.
    pub(super) fn keep_unread(&mut self, unread: Box<Unread>) {
        self.unread = Some(unread);
    }

    /// Takes the input that waits.
    pub(super) fn take_unread(&mut self) -> Option<Box<Unread>> {
        self.unread.take()
    }
}
