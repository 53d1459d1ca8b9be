//! The disk side of a download: queues received bytes, to be compared with local ones or written.
//!
//! Nothing is written while a comparison is pending, so bytes of one file are never joined to those of
//! another.

use super::download_error::DownloadError;
use super::download_step::DownloadStep;
use super::source::Against;
use std::collections::VecDeque;

/// Most bytes of one [`DownloadStep::Write`] or [`DownloadStep::Compare`].
pub const MAX_WRITE_BYTES: usize = 64 * 1024;

/// The result of a successful download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// All bytes are in the partial file.
    Fetched,
    /// A complete file of this size agreed with the source.
    AlreadyHere { bytes: u64 },
}

/// The queue of a download and the state of its partial file.
#[derive(Debug)]
pub(super) struct PartialWriter {
    state: State,
    /// Opens that are pending; the last of them counts.
    opening: usize,
    pieces: VecDeque<Piece>,
    /// Length of the file when it was opened.
    begin: u64,
    /// Offset of the next write.
    offset: u64,
    /// End of the last queued write.
    queued_end: u64,
    queued_bytes: u64,
    /// Bytes of writes that are not acknowledged.
    unwritten_bytes: u64,
    /// Lengths of pending comparisons, oldest first.
    comparing: VecDeque<u64>,
    /// Number of pending comparisons whose result no longer counts.
    stale: usize,
}

#[derive(Debug)]
struct Piece {
    /// The file to compare with; `None` is a write.
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
    /// `Done` or `Fail` was returned.
    Over,
}

impl PartialWriter {
    /// A writer for a file that has its first `have` bytes.
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

    /// Queues bytes to be written at the end.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.queue(None, self.queued_end, bytes);
        self.queued_end += bytes.len() as u64;
    }

    /// Queues bytes to be compared with those at `offset`.
    pub(super) fn compare(&mut self, against: Against, offset: u64, bytes: &[u8]) {
        self.queue(Some(against), offset, bytes);
    }

    /// Small reads share a piece, since each piece costs memory and a system call.
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

    /// Queues a comparison with complete files of zero bytes.
    pub(super) fn compare_empty(&mut self) {
        let against = Some(Against::Complete { total: 0 });
        self.pieces.push_back(Piece { against, offset: 0, bytes: Vec::new() });
    }

    pub(super) fn backlog_bytes(&self) -> u64 {
        self.queued_bytes + self.unwritten_bytes + self.comparing.iter().sum::<u64>()
    }

    /// Whether the file has bytes of this download, or no bytes of an earlier one.
    pub(super) fn holds_ours(&self) -> bool {
        self.offset > self.begin || self.begin == 0
    }

    /// End of the file, with pending writes.
    pub(super) fn end(&self) -> u64 {
        self.offset
    }

    /// Opens the file, the first time.
    pub(super) fn open(&mut self, total: Option<u64>) -> Option<DownloadStep> {
        (self.state == State::Closed).then(|| {
            self.state = State::Opening;
            self.opening += 1;
            DownloadStep::OpenPartial { have: self.offset, total }
        })
    }

    /// Discards the queue and starts again with an empty file.
    pub(super) fn set_aside(&mut self, total: Option<u64>) -> DownloadStep {
        (self.begin, self.offset) = (0, 0);
        self.drop_queued();
        self.state = State::Opening;
        self.opening += 1;
        DownloadStep::SetAside { total }
    }

    /// Discards the queue. Results of pending comparisons no longer count.
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

    /// Takes the result of the oldest comparison; returns whether it counts.
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

    /// Discards what is not written; false if the download had ended.
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

    /// The next step; `outcome` is that of the network side, once there is one. Everything received is
    /// written before success or failure is returned.
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
