//! Downloads: one file from one source by HTTP.
//!
//! **Bytes of two files are never joined.** A download that resumes a partial file requests its last
//! [`OVERLAP_BYTES`] again and writes nothing before they agree; if the source ignores the range, all
//! bytes are compared. If they differ, the partial file is set aside and the file is fetched from its
//! start. If there are complete files of the same name, their first and last [`OVERLAP_BYTES`] are
//! compared with the source first; if they agree, nothing is fetched.
//!
//! A body without a length is accepted (0.4 servents send such): it ends at the expected size or, if
//! that is unknown, with the connection; then only a reset shows that bytes are missing.
//!
//! Three kinds of sources get a bounded number of retries: those that send less than was requested
//! (gtk-gnutella) are asked for the rest, those that close a kept connection are dialled again, and
//! those that close without a response get the name once more without percent-encoding (GNU Serveez
//! compares raw bytes).
//!
//! Polling order: after every `handle_*` and `sent`, call [`Download::poll`] until it returns `None`;
//! then [`Download::transmit`] has what to write. Stop reading from the connection while
//! [`Download::backlog_bytes`] is at least [`MAX_BACKLOG_BYTES`]: that and one read bound the memory of
//! a download whose disk is slow.

mod answer;

pub use super::download_error::{DiskFault, DownloadError};
pub use super::download_step::DownloadStep;
pub use super::partial_writer::MAX_WRITE_BYTES;
use super::partial_writer::{Arrival, PartialWriter};
pub use super::source::{Against, DownloadLimits, Kept, OVERLAP_BYTES, Partial, PushVia, Source};
use crate::time::Instant;
use crate::wire::ServentId;
use crate::wire::http_head::{GetRequest, encode_name, parse_response};
use std::collections::VecDeque;

/// Backlog to the disk, in bytes, from which on the owner stops reading from the source.
pub const MAX_BACKLOG_BYTES: u64 = 1024 * 1024;

/// Requests for one file from which on responses must have had [`MIN_PIECE_BYTES`] on average.
/// gtk-gnutella sends at least 128 KiB in each.
pub const FREE_REQUESTS: u32 = 4096;

/// See [`FREE_REQUESTS`].
pub const MIN_PIECE_BYTES: u64 = 32 * 1024;

/// One download.
#[derive(Debug)]
pub struct Download {
    source: Source,
    limits: DownloadLimits,
    expected: Option<u64>,
    goal: Goal,
    /// Bytes from the start of the file that are in the partial file or queued for it.
    received: u64,
    /// Offset of the next byte to receive or to request. Bytes before `received` are compared.
    position: u64,
    /// The partial file was fetched from another source.
    foreign: bool,
    connection: ConnectionState,
    disk: PartialWriter,
    /// Outcome of the network side.
    outcome: Option<Result<Arrival, DownloadError>>,
    /// Requests have the name percent-encoded.
    encoded: bool,
    /// The other spelling of the name was tried.
    respelled: bool,
    /// The source is pushed rather than dialled.
    pushes: bool,
    requests: u32,
    /// Body bytes of their responses.
    body_bytes: u64,
    /// Whether there was a response on this connection, and on any.
    answered_here: bool,
    answered: bool,
    /// ETag or Last-Modified of the file at the source.
    validator: Option<Vec<u8>>,
    steps: VecDeque<DownloadStep>,
    deadline: Instant,
}

/// The purpose of received bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    /// Complete files of this name are compared with the source, range by range.
    Check {
        /// End of the current range
        end: u64,
        /// It is the last range
        last: bool,
    },
    /// The file is fetched.
    Fetch,
}

#[derive(Debug)]
enum ConnectionState {
    None,
    Connecting,
    /// A request is sent and a response head received.
    Asking {
        request: Vec<u8>,
        sent: usize,
        head: Vec<u8>,
    },
    Body(Body),
}

#[derive(Clone, Copy, Debug)]
struct Body {
    /// Remaining bytes; `None` up to the end of the connection.
    left: Option<u64>,
    keep_alive: bool,
}

impl Download {
    /// Starts a download. `kept` are the local files; with `raw` the name is not percent-encoded at
    /// first, for a source that is known to need that.
    ///
    /// # Errors
    /// [`DownloadError::SizeMismatch`] if the partial file belongs to a file of another size.
    pub fn new(
        now: Instant,
        source: Source,
        kept: Kept,
        raw: bool,
        limits: DownloadLimits,
    ) -> Result<Download, DownloadError> {
        let have = kept.partial.map_or(0, |partial| partial.have);
        let total = kept.partial.and_then(|partial| partial.total);
        let expected = source.size.or(total);
        if let (Some(expected), Some(offered)) = (total, source.size)
            && expected != offered
        {
            return Err(DownloadError::SizeMismatch { expected, offered });
        }
        if let Some(offered) = expected.filter(|&expected| have > expected) {
            return Err(DownloadError::SizeMismatch { expected: have, offered });
        }
        let mut download = Download {
            limits,
            expected,
            goal: match kept.complete {
                true => Goal::Check { end: OVERLAP_BYTES, last: false },
                false => Goal::Fetch,
            },
            received: have,
            position: if kept.complete { 0 } else { overlap_start(have) },
            foreign: kept.partial.is_some_and(|it| it.have > 0 && !it.same_source),
            connection: ConnectionState::None,
            disk: PartialWriter::new(have),
            outcome: None,
            encoded: true,
            respelled: false,
            pushes: source.push.is_some_and(|push| push.firewalled),
            requests: 0,
            body_bytes: 0,
            answered_here: false,
            answered: false,
            validator: None,
            steps: VecDeque::new(),
            deadline: now,
            source,
        };
        download.encoded = !(raw && download.has_other_spelling());
        download.connect(now);
        Ok(download)
    }

    /// The connection stands. It is not `fresh` if it has carried requests before; then its end does not
    /// answer the request.
    pub fn handle_connected(&mut self, now: Instant, fresh: bool) {
        if matches!(self.connection, ConnectionState::Connecting) {
            self.answered_here = !fresh;
            self.ask(now);
        }
    }

    /// The connection failed; `refused` if the other side refused it. A source with a known servent id is
    /// pushed then.
    pub fn handle_connect_failed(&mut self, now: Instant, refused: bool) {
        if matches!(self.connection, ConnectionState::Connecting) {
            self.connection = ConnectionState::None;
            match self.pushes {
                true => self.fail(DownloadError::NoPushRoute),
                false => self.push_or_fail(now, DownloadError::Connect { refused }),
            }
        }
    }

    /// Whether a connection is pending.
    pub fn is_connecting(&self) -> bool {
        matches!(self.connection, ConnectionState::Connecting)
    }

    /// The servent whose connection after a Push is pending.
    pub fn awaited_push(&self) -> Option<ServentId> {
        let waiting = self.pushes && self.is_connecting();
        self.source.push.filter(|_| waiting).map(|push| push.servent)
    }

    /// The pushed servent serves another download meanwhile: restarts the timeout.
    pub fn wait_on(&mut self, now: Instant) {
        if self.awaited_push().is_some() {
            self.deadline = now + self.limits.push_timeout;
        }
    }

    /// The source sent `bytes`.
    pub fn handle_bytes(&mut self, now: Instant, bytes: &[u8]) {
        match &mut self.connection {
            ConnectionState::None | ConnectionState::Connecting => {}
            ConnectionState::Body(_) => self.take_body(now, bytes),
            ConnectionState::Asking { head, .. } => {
                head.extend_from_slice(bytes);
                match parse_response(head) {
                    Ok(None) => {}
                    Ok(Some((response, len))) => {
                        let rest = head.split_off(len);
                        self.handle_head(now, &response, &rest);
                    }
                    Err(error) => self.fail(DownloadError::Response(error)),
                }
            }
        }
    }

    /// The source closed the connection, or it broke if `reset`.
    pub fn handle_closed(&mut self, now: Instant, reset: bool) {
        match std::mem::replace(&mut self.connection, ConnectionState::None) {
            ConnectionState::None => {}
            ConnectionState::Connecting => {
                self.push_or_fail(now, DownloadError::Connect { refused: reset })
            }
            ConnectionState::Asking { head, .. } if !head.is_empty() => {
                self.fail(DownloadError::Interrupted)
            }
            // A kept connection may end at any time, before the request is read.
            ConnectionState::Asking { .. } if self.answered_here => self.connect(now),
            ConnectionState::Asking { .. } if self.answered => {
                self.fail(DownloadError::Interrupted)
            }
            ConnectionState::Asking { .. } if !self.respelled && self.has_other_spelling() => {
                self.respelled = true;
                self.encoded = !self.encoded;
                self.connect(now);
            }
            ConnectionState::Asking { .. } => self.fail(DownloadError::NoAnswer),
            ConnectionState::Body(Body { left: None, .. }) if !reset && self.expected.is_none() => {
                match self.position < self.received {
                    true => self.handle_mismatch(now),
                    false => self.complete(false),
                }
            }
            ConnectionState::Body(_) => self.fail(DownloadError::Interrupted),
        }
    }

    /// The partial file is open.
    pub fn handle_file_opened(&mut self) {
        self.disk.handle_opened();
    }

    /// The result of the oldest pending [`DownloadStep::Compare`].
    pub fn handle_compared(&mut self, now: Instant, same: bool) {
        if self.disk.handle_compared() && !same {
            self.handle_mismatch(now);
        }
        self.defer_stall(now);
    }

    /// `bytes` of [`DownloadStep::Write`]s are written.
    pub fn handle_written(&mut self, now: Instant, bytes: u64) {
        self.disk.handle_written(bytes);
        self.defer_stall(now);
    }

    /// The partial file is durable.
    pub fn handle_synced(&mut self) {
        self.disk.handle_synced();
    }

    /// The file has its final name.
    pub fn handle_finished(&mut self) {
        self.disk.handle_finished();
    }

    /// A file step failed. Unwritten bytes are lost, written ones stay.
    pub fn handle_disk_fault(&mut self, fault: DiskFault) {
        if self.disk.handle_fault() {
            self.outcome = None;
            self.fail(DownloadError::Disk(fault));
        }
    }

    /// Time has passed; see [`Download::poll_timeout`].
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_none_or(|deadline| deadline > now) {
            return;
        }
        if self.awaited_push().is_some() {
            self.fail(DownloadError::PushUnanswered(self.limits.push_timeout));
        } else if matches!(self.connection, ConnectionState::Connecting) {
            self.disconnect();
            self.push_or_fail(now, DownloadError::ConnectTimeout(self.limits.connect_timeout));
        } else {
            let silence = self.limits.stall_timeout;
            self.fail(DownloadError::Stalled { silence, begun: self.answered });
        }
    }

    /// The next step; `None` until something happens.
    pub fn poll(&mut self) -> Option<DownloadStep> {
        self.steps.pop_front().or_else(|| self.disk.poll(self.outcome))
    }

    /// The next bytes to write; report with [`Download::sent`] how many were written.
    pub fn transmit(&self) -> Option<&[u8]> {
        match &self.connection {
            ConnectionState::Asking { request, sent, .. } => {
                Some(&request[*sent..]).filter(|r| !r.is_empty())
            }
            _ => None,
        }
    }

    /// `written` bytes of [`Download::transmit`] were written.
    pub fn sent(&mut self, written: usize) {
        if let ConnectionState::Asking { request, sent, .. } = &mut self.connection {
            *sent = request.len().min(*sent + written);
        }
    }

    /// Time to call [`Download::handle_timeout`]; `None` while nothing is expected of the source.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let waits = match self.connection {
            ConnectionState::None => false,
            ConnectionState::Connecting | ConnectionState::Asking { .. } => true,
            ConnectionState::Body(_) => self.backlog_bytes() < MAX_BACKLOG_BYTES,
        };
        waits.then_some(self.deadline)
    }

    /// Bytes received and neither written nor compared yet.
    pub fn backlog_bytes(&self) -> u64 {
        self.disk.backlog_bytes()
    }

    /// Bytes of the file that were received, with those of earlier attempts.
    pub fn received_bytes(&self) -> u64 {
        self.received
    }

    /// Size of the file in bytes, once it is known.
    pub fn expected_bytes(&self) -> Option<u64> {
        self.expected
    }

    /// The source of the file.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Whether the source responded to a raw name that would be spelled differently percent-encoded: it
    /// needs raw names.
    pub fn found_raw(&self) -> bool {
        self.answered && !self.encoded
    }

    fn connect(&mut self, now: Instant) {
        self.disconnect();
        self.connection = ConnectionState::Connecting;
        let (timeout, step) = match self.source.push.filter(|_| self.pushes) {
            Some(push) => (self.limits.push_timeout, DownloadStep::Push(push)),
            None => (self.limits.connect_timeout, DownloadStep::Connect(self.source.addr)),
        };
        self.deadline = now + timeout;
        self.steps.push_back(step);
    }

    /// The source cannot be dialled: pushes it, if that is possible and was not tried.
    fn push_or_fail(&mut self, now: Instant, error: DownloadError) {
        if self.source.push.is_some() && !self.pushes {
            self.pushes = true;
            self.connect(now);
        } else {
            self.fail(error);
        }
    }

    fn disconnect(&mut self) {
        if !matches!(self.connection, ConnectionState::None) {
            self.connection = ConnectionState::None;
            self.steps.push_back(DownloadStep::Disconnect);
        }
    }

    /// Whether the name may also be sent raw: not if it could end the request line.
    fn has_other_spelling(&self) -> bool {
        let name = &self.source.name;
        encode_name(name) != *name && !name.contains(char::is_control)
    }

    /// Restarts the stall timeout: while the disk was slow, the source was not read.
    fn defer_stall(&mut self, now: Instant) {
        if matches!(self.connection, ConnectionState::Body(_)) {
            self.deadline = now + self.limits.stall_timeout;
        }
    }

    fn ask(&mut self, now: Instant) {
        let least = u64::from(self.requests) * MIN_PIECE_BYTES;
        if self.requests >= FREE_REQUESTS && self.body_bytes < least {
            return self.fail(DownloadError::TooManyPieces { requests: self.requests });
        }
        self.requests += 1;
        let Source { addr, index, name, .. } = &self.source;
        let path = if self.encoded {
            format!("/get/{index}/{}", encode_name(name))
        } else {
            format!("/get/{index}/{name}")
        };
        let to = match self.goal {
            Goal::Check { end, .. } => Some(end - 1),
            Goal::Fetch => None,
        };
        let mut request = Vec::new();
        let host = addr.to_string();
        let from = self.position;
        GetRequest { path: path.as_bytes(), host: &host, from, to }.write(&mut request);
        self.connection = ConnectionState::Asking { request, sent: 0, head: Vec::new() };
        self.deadline = now + self.limits.stall_timeout;
    }

    fn take_body(&mut self, now: Instant, bytes: &[u8]) {
        let ConnectionState::Body(body) = &mut self.connection else { return };
        // Bytes after the body belong to no request.
        let take = limit(bytes.len(), body.left);
        let surplus = take < bytes.len();
        body.left = body.left.map(|left| left - take as u64);
        body.keep_alive &= !surplus;
        let body = *body;
        // A body without a length ends at the expected size.
        let end = match self.goal {
            Goal::Check { end, .. } => Some(end),
            Goal::Fetch => self.expected,
        };
        let wanted = end.map(|end| end.saturating_sub(self.position));
        let bytes = &bytes[..limit(take, wanted)];
        self.deadline = now + self.limits.stall_timeout;
        self.body_bytes += bytes.len() as u64;
        match (self.goal, self.expected) {
            (Goal::Check { .. }, Some(total)) => {
                self.disk.compare(Against::Complete { total }, self.position, bytes);
            }
            _ => {
                let here = self.received - self.position.min(self.received);
                let (known, fresh) = bytes.split_at(limit(bytes.len(), Some(here)));
                self.disk.compare(Against::Partial, self.position, known);
                self.disk.push(fresh);
                self.received += fresh.len() as u64;
            }
        }
        self.position += bytes.len() as u64;
        let reusable = body.left == Some(0) && body.keep_alive;
        if end == Some(self.position) {
            self.range_done(now, reusable);
        } else if reusable {
            self.ask(now);
        } else if body.left == Some(0) {
            self.connect(now);
        }
    }

    /// The current range is complete.
    fn range_done(&mut self, now: Instant, reusable: bool) {
        let total = self.expected.unwrap_or(self.position);
        match &mut self.goal {
            Goal::Check { end, last: last @ false } => {
                self.position = overlap_start(total).max(self.position);
                (*end, *last) = (total, true);
                if reusable { self.ask(now) } else { self.connect(now) }
            }
            _ => self.complete(reusable),
        }
    }

    /// The bytes of the source differ from the local ones.
    fn handle_mismatch(&mut self, now: Instant) {
        self.disk.drop_queued();
        match self.goal {
            Goal::Check { .. } => self.give_up_check(now),
            Goal::Fetch if self.disk.holds_ours() => {
                self.outcome = None;
                self.received = self.disk.end();
                self.fail(DownloadError::Changed);
            }
            Goal::Fetch => self.restart(now),
        }
    }

    /// No complete local file is the one at the source.
    fn give_up_check(&mut self, now: Instant) {
        self.goal = Goal::Fetch;
        self.position = overlap_start(self.received);
        self.go_on(now);
    }

    /// The partial file belongs to another file than the source's.
    fn restart(&mut self, now: Instant) {
        self.foreign = false;
        (self.received, self.position) = (0, 0);
        let step = self.disk.set_aside(self.expected);
        self.steps.push_back(step);
        self.go_on(now);
    }

    /// Connects again, unless the network side has failed meanwhile.
    fn go_on(&mut self, now: Instant) {
        if !matches!(self.outcome, Some(Err(_))) {
            self.outcome = None;
            self.connect(now);
        }
    }

    fn complete(&mut self, reusable: bool) {
        let bytes = *self.expected.get_or_insert(self.received);
        self.leave(reusable);
        match self.goal {
            Goal::Check { .. } => {
                if bytes == 0 {
                    self.disk.compare_empty();
                }
                self.end(Ok(Arrival::AlreadyHere { bytes }));
            }
            Goal::Fetch => {
                self.open_partial();
                self.end(Ok(Arrival::Fetched));
            }
        }
    }

    /// Gives the connection back.
    fn leave(&mut self, reusable: bool) {
        if reusable && !matches!(self.connection, ConnectionState::None) {
            self.connection = ConnectionState::None;
            self.steps.push_back(DownloadStep::Release);
        }
    }

    fn fail(&mut self, error: DownloadError) {
        self.end(Err(error));
    }

    fn end(&mut self, outcome: Result<Arrival, DownloadError>) {
        self.disconnect();
        self.outcome.get_or_insert(outcome);
    }

    fn open_partial(&mut self) {
        let step = self.disk.open(self.expected);
        self.steps.extend(step);
    }
}

/// Offset of the last [`OVERLAP_BYTES`] of `bytes`.
fn overlap_start(bytes: u64) -> u64 {
    bytes.saturating_sub(OVERLAP_BYTES)
}

/// `len`, but at most `most`.
fn limit(len: usize, most: Option<u64>) -> usize {
    most.and_then(|most| usize::try_from(most).ok()).map_or(len, |most| len.min(most))
}

#[cfg(test)]
#[path = "download_tests.rs"]
mod tests;
