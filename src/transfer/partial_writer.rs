//! The disk side of a download: received bytes on their way to the partial file, in order.

use super::download::{DownloadStep, MAX_WRITE_BYTES};
use super::download_error::DownloadError;
use std::collections::VecDeque;

/// What is to be written, and how far the file is on its way to being finished.
#[derive(Debug)]
pub(super) struct PartialWriter {
    state: State,
    pieces: VecDeque<Vec<u8>>,
    /// Where the first piece goes.
    offset: u64,
    queued_bytes: u64,
    /// Handed to the owner and not acknowledged.
    unwritten_bytes: u64,
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
            pieces: VecDeque::new(),
            offset: have,
            queued_bytes: 0,
            unwritten_bytes: 0,
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.pieces.extend(bytes.chunks(MAX_WRITE_BYTES).map(<[u8]>::to_vec));
        self.queued_bytes += bytes.len() as u64;
    }

    pub(super) fn backlog_bytes(&self) -> u64 {
        self.queued_bytes + self.unwritten_bytes
    }

    /// Asks for the file unless that was done before.
    pub(super) fn open(&mut self, total: Option<u64>) -> Option<DownloadStep> {
        (self.state == State::Closed).then(|| {
            self.state = State::Opening;
            DownloadStep::OpenPartial { have: self.offset, total }
        })
    }

    pub(super) fn handle_opened(&mut self) {
        self.advance(State::Opening, State::Open);
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
        self.pieces.clear();
        self.queued_bytes = 0;
        self.unwritten_bytes = 0;
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
        outcome: Option<Result<(), DownloadError>>,
    ) -> Option<DownloadStep> {
        if self.state == State::Open
            && let Some(bytes) = self.pieces.pop_front()
        {
            let offset = self.offset;
            let len = bytes.len() as u64;
            self.offset += len;
            self.queued_bytes -= len;
            self.unwritten_bytes += len;
            return Some(DownloadStep::Write { offset, bytes });
        }
        if self.state == State::Opening || self.backlog_bytes() > 0 {
            return None;
        }
        let (state, step) = match (outcome?, self.state) {
            (_, State::Over) => return None,
            (Err(error), _) => (State::Over, DownloadStep::Fail(error)),
            (Ok(()), State::Open) => (State::Syncing, DownloadStep::Sync),
            (Ok(()), State::Synced) => (State::Finishing, DownloadStep::Finish),
            (Ok(()), State::Finished) => (State::Over, DownloadStep::Done { bytes: self.offset }),
            (Ok(()), _) => return None,
        };
        self.state = state;
        Some(step)
    }

    fn advance(&mut self, from: State, to: State) {
        if self.state == from {
            self.state = to;
        }
    }
}
