//! The disk side of a download: received bytes on their way to the partial file, in order, those
//! that are there already to be compared and the rest to be written.
//!
//! Nothing is written while a comparison is unanswered, so bytes of one file are never joined to
//! those of another.

use super::download_error::DownloadError;
use super::download_step::DownloadStep;
use super::source::Against;
use std::collections::VecDeque;

/// Largest piece of one [`DownloadStep::Write`] or [`DownloadStep::Compare`], in bytes.
pub const MAX_WRITE_BYTES: usize = 64 * 1024;

/// How a download ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// All bytes are in the partial file.
    Fetched,
    /// A complete file of this size agreed with the source.
    AlreadyHere { bytes: u64 },
}

/// What is to be compared and written, and how far the file is on its way to being finished.
#[derive(Debug)]
pub(super) struct PartialWriter {
    state: State,
    /// Files asked for that are not open yet; the last of them counts.
    opening: usize,
    pieces: VecDeque<Piece>,
    /// Bytes that were in the file when it was opened.
    begin: u64,
    /// Where the next piece to be written goes.
    offset: u64,
    /// Where the last one queued ends.
    queued_end: u64,
    queued_bytes: u64,
    /// Handed to the owner to be written and not acknowledged.
    unwritten_bytes: u64,
    /// Lengths of the pieces being compared, oldest first.
    comparing: VecDeque<u64>,
    /// So many of them concern a comparison that has failed already.
    stale: usize,
}

#[derive(Debug)]
struct Piece {
    /// `None` is to be written.
    against: Option<Against>,
    offset: u64,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Opening,
    Open,
    Syncing,
    Synced,
    Finishing,
    Finished,
    /// `Done` or `Fail` was said.
    Over,
}

impl PartialWriter {
    /// A file that has its first `have` bytes.
    pub(super) fn new(have: u64) -> PartialWriter {
        PartialWriter {
            state: State::Closed,
            opening: 0,
            pieces: VecDeque::new(),
            begin: have,
            offset: have,
            queued_end: have,
            queued_bytes: 0,
            unwritten_bytes: 0,
            comparing: VecDeque::new(),
            stale: 0,
        }
    }

    /// Bytes to be written behind all others.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.queue(None, self.queued_end, bytes);
        self.queued_end += bytes.len() as u64;
    }

    /// Bytes to be compared with those at `offset`.
    pub(super) fn compare(&mut self, against: Against, offset: u64, bytes: &[u8]) {
        self.queue(Some(against), offset, bytes);
    }

    /// Small reads share a piece: each piece costs memory and a system call.
    fn queue(&mut self, against: Option<Against>, mut offset: u64, mut bytes: &[u8]) {
        self.queued_bytes += bytes.len() as u64;
        while !bytes.is_empty() {
            let fits = |piece: &&mut Piece| {
                piece.against == against
                    && piece.offset + piece.bytes.len() as u64 == offset
                    && piece.bytes.len() < MAX_WRITE_BYTES
            };
            let piece = match self.pieces.back_mut().filter(fits) {
                Some(piece) => piece,
                None => self.pieces.push_back_mut(Piece { against, offset, bytes: Vec::new() }),
            };
            let room = MAX_WRITE_BYTES - piece.bytes.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            piece.bytes.extend_from_slice(now);
            offset += now.len() as u64;
            bytes = later;
        }
    }

    /// Asks whether there is a complete file without any bytes.
    pub(super) fn compare_empty(&mut self) {
        let against = Some(Against::Complete { total: 0 });
        self.pieces.push_back(Piece { against, offset: 0, bytes: Vec::new() });
    }

    pub(super) fn backlog_bytes(&self) -> u64 {
        self.queued_bytes + self.unwritten_bytes + self.comparing.iter().sum::<u64>()
    }

    /// Whether bytes of this download are in the file, or no others.
    pub(super) fn holds_ours(&self) -> bool {
        self.offset > self.begin || self.begin == 0
    }

    /// Where the file ends, with what is being written.
    pub(super) fn end(&self) -> u64 {
        self.offset
    }

    /// Asks for the file unless that was done before.
    pub(super) fn open(&mut self, total: Option<u64>) -> Option<DownloadStep> {
        (self.state == State::Closed).then(|| {
            self.state = State::Opening;
            self.opening += 1;
            DownloadStep::OpenPartial { have: self.offset, total }
        })
    }

    /// Gives up what is queued and begins again with an empty file.
    pub(super) fn set_aside(&mut self, total: Option<u64>) -> DownloadStep {
        (self.begin, self.offset) = (0, 0);
        self.drop_queued();
        self.state = State::Opening;
        self.opening += 1;
        DownloadStep::SetAside { total }
    }

    /// Gives up what is queued. Answers to comparisons under way no longer count.
    pub(super) fn drop_queued(&mut self) {
        self.pieces.clear();
        self.queued_bytes = 0;
        self.queued_end = self.offset;
        self.stale = self.comparing.len();
    }

    pub(super) fn handle_opened(&mut self) {
        self.opening = self.opening.saturating_sub(1);
        if self.opening == 0 {
            self.advance(State::Opening, State::Open);
        }
    }

    /// Whether the answer to a comparison counts.
    pub(super) fn handle_compared(&mut self) -> bool {
        if self.comparing.pop_front().is_none() {
            return false;
        }
        let counts = self.stale == 0;
        self.stale = self.stale.saturating_sub(1);
        counts
    }

    pub(super) fn handle_written(&mut self, bytes: u64) {
        self.unwritten_bytes = self.unwritten_bytes.saturating_sub(bytes);
    }

    pub(super) fn handle_synced(&mut self) {
        self.advance(State::Syncing, State::Synced);
    }

    pub(super) fn handle_finished(&mut self) {
        self.advance(State::Finishing, State::Finished);
    }

    /// Gives up what is not written; `false` if everything was over already.
    pub(super) fn handle_fault(&mut self) -> bool {
        self.drop_queued();
        (self.opening, self.unwritten_bytes) = (0, 0);
        self.comparing.clear();
        self.stale = 0;
        let counts = self.state != State::Over;
        if counts {
            self.state = State::Closed;
        }
        counts
    }

    /// The next step, with the `outcome` of the network part once there is one. Everything that
    /// was received is written before success or failure is told.
    pub(super) fn poll(
        &mut self,
        outcome: Option<Result<Arrival, DownloadError>>,
    ) -> Option<DownloadStep> {
        if let Some(piece) = self.pieces.pop_front_if(|piece| match piece.against {
            None => self.state == State::Open && self.comparing.is_empty(),
            Some(Against::Partial) => self.state == State::Open,
            Some(Against::Complete { .. }) => true,
        }) {
            return Some(self.hand_out(piece));
        }
        if self.state == State::Opening || !self.pieces.is_empty() || self.is_waiting() {
            return None;
        }
        let (state, step) = match (outcome?, self.state) {
            (_, State::Over) => return None,
            (Err(error), _) => (State::Over, DownloadStep::Fail(error)),
            (Ok(Arrival::AlreadyHere { .. }), State::Closed | State::Open) => {
                (State::Finishing, DownloadStep::UseComplete)
            }
            (Ok(_), State::Open) => (State::Syncing, DownloadStep::Sync),
            (Ok(_), State::Synced) => (State::Finishing, DownloadStep::Finish),
            (Ok(arrival), State::Finished) => {
                let (bytes, already_here) = match arrival {
                    Arrival::Fetched => (self.offset, false),
                    Arrival::AlreadyHere { bytes } => (bytes, true),
                };
                (State::Over, DownloadStep::Done { bytes, already_here })
            }
            (Ok(_), _) => return None,
        };
        self.state = state;
        Some(step)
    }

    fn hand_out(&mut self, Piece { against, offset, bytes }: Piece) -> DownloadStep {
        let len = bytes.len() as u64;
        self.queued_bytes -= len;
        match against {
            Some(against) => {
                self.comparing.push_back(len);
                DownloadStep::Compare { against, offset, bytes }
            }
            None => {
                self.offset += len;
                self.unwritten_bytes += len;
                DownloadStep::Write { offset, bytes }
            }
        }
    }

    fn is_waiting(&self) -> bool {
        self.unwritten_bytes > 0 || !self.comparing.is_empty()
    }

    fn advance(&mut self, from: State, to: State) {
        if self.state == from {
            self.state = to;
        }
    }
}
