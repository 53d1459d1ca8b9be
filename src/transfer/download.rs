//! Fetching one file from one source with plain HTTP.
//!
//! Bytes of two files are never joined. A download that goes on with a partial file asks for the
//! last [`OVERLAP_BYTES`] of it once more and writes nothing before they have agreed; a source that
//! ignores the range is compared from its first byte on. When they differ, the partial is set aside
//! and the file is fetched from its start. Where complete files of the same name are here, their
//! first and last [`OVERLAP_BYTES`] are compared with the source first: if they agree, the file is
//! here already.
//!
//! A body without a length is taken too (0.4 servents send such): it ends at the expected size,
//! or with the connection when no size is known; only a reset then tells that bytes are missing.
//!
//! Sources of three kinds need patience, and get a bounded amount: those that answer with less
//! than was asked (gtk-gnutella) are asked again for the rest, those that close a kept connection
//! are dialled again, and those that close without a word get the name once more without percent
//! encoding (GNU Serveez compares raw bytes).
//!
//! Polling order: after every `handle_*` and `sent`, call [`Download::poll`] until it returns
//! `None`; then [`Download::transmit`] tells what to write. Stop reading from the connection while
//! [`Download::backlog_bytes`] is at [`MAX_BACKLOG_BYTES`] or above: that, plus one read, bounds
//! the memory of a download whose disk is slow.

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

/// Above this many bytes on their way to the disk the owner stops reading from the source.
pub const MAX_BACKLOG_BYTES: u64 = 1024 * 1024;

/// Requests for one file after which their answers must have held [`MIN_PIECE_BYTES`] on average.
/// gtk-gnutella gives at least 128 KiB for each.
pub const FREE_REQUESTS: u32 = 4096;

/// See [`FREE_REQUESTS`].
pub const MIN_PIECE_BYTES: u64 = 32 * 1024;

/// One download; see the module documentation.
#[derive(Debug)]
pub struct Download {
    source: Source,
    limits: DownloadLimits,
    expected: Option<u64>,
    goal: Goal,
    /// Bytes from the start of the file that are in the partial file or on their way to it.
    received: u64,
    /// The next byte to come, or to be asked for. Bytes before `received` are compared.
    position: u64,
    /// The partial file was fetched from another source.
    foreign: bool,
    link: Link,
    disk: PartialWriter,
    /// Set once the network part is over.
    outcome: Option<Result<Arrival, DownloadError>>,
    /// Names go out percent-encoded.
    encoded: bool,
    /// The other spelling of the name was tried.
    respelled: bool,
    /// The source is asked to connect, rather than connected to.
    pushes: bool,
    requests: u32,
    /// Bytes of bodies that came in answer to them.
    body_bytes: u64,
    /// Whether a response came on the present connection, and on any.
    answered_here: bool,
    answered: bool,
    /// What the source said changes with the file.
    validator: Option<Vec<u8>>,
    steps: VecDeque<DownloadStep>,
    deadline: Instant,
}

/// What the bytes that come are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    /// Complete files of this name are compared with the source, stretch by stretch.
    Check {
        /// Where the stretch at hand ends
        end: u64,
        /// Nothing needs to be compared behind it
        last: bool,
    },
    /// The file is fetched.
    Fetch,
}

#[derive(Debug)]
enum Link {
    None,
    Connecting,
    /// A request goes out and a head comes in.
    Asking {
        request: Vec<u8>,
        sent: usize,
        head: Vec<u8>,
    },
    Body(Body),
}

#[derive(Clone, Copy, Debug)]
struct Body {
    /// Bytes to come; `None` if only the end of the connection tells.
    left: Option<u64>,
    keep_alive: bool,
}

impl Download {
    /// Starts at `now`. `kept` is what is on the disk; with `raw` names are not percent-encoded
    /// at first, for a source that is known to want them so.
    ///
    /// # Errors
    /// [`DownloadError::SizeMismatch`] if the partial belongs to a file of another size.
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
            link: Link::None,
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

    /// The connection is there. It is not `fresh` if it has carried requests before: its end is
    /// then no answer.
    pub fn handle_connected(&mut self, now: Instant, fresh: bool) {
        if matches!(self.link, Link::Connecting) {
            self.answered_here = !fresh;
            self.ask(now);
        }
    }

    /// The connection could not be made; `refused` if the other side refused it. A source with a
    /// known servent id is then asked to connect itself.
    pub fn handle_connect_failed(&mut self, now: Instant, refused: bool) {
        if matches!(self.link, Link::Connecting) {
            self.link = Link::None;
            match self.pushes {
                true => self.fail(DownloadError::NoPushRoute),
                false => self.push_or_fail(now, DownloadError::Connect { refused }),
            }
        }
    }

    /// Whether a connection is asked for and not there.
    pub fn is_connecting(&self) -> bool {
        matches!(self.link, Link::Connecting)
    }

    /// The servent that was asked to connect and is waited for.
    pub fn awaited_push(&self) -> Option<ServentId> {
        let waiting = self.pushes && self.is_connecting();
        self.source.push.filter(|_| waiting).map(|push| push.servent)
    }

    /// The servent serves another download meanwhile: the wait for its connection starts anew.
    pub fn wait_on(&mut self, now: Instant) {
        if self.awaited_push().is_some() {
            self.deadline = now + self.limits.push_timeout;
        }
    }

    /// The source sent `bytes`.
    pub fn handle_bytes(&mut self, now: Instant, bytes: &[u8]) {
        match &mut self.link {
            Link::None | Link::Connecting => {}
            Link::Body(_) => self.take_body(now, bytes),
            Link::Asking { head, .. } => {
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
        match std::mem::replace(&mut self.link, Link::None) {
            Link::None => {}
            Link::Connecting => self.push_or_fail(now, DownloadError::Connect { refused: reset }),
            Link::Asking { head, .. } if !head.is_empty() => self.fail(DownloadError::Interrupted),
            // A kept connection may end at any time; the request was not looked at.
            Link::Asking { .. } if self.answered_here => self.connect(now),
            Link::Asking { .. } if self.answered => self.fail(DownloadError::Interrupted),
            Link::Asking { .. } if !self.respelled && self.has_other_spelling() => {
                self.respelled = true;
                self.encoded = !self.encoded;
                self.connect(now);
            }
            Link::Asking { .. } => self.fail(DownloadError::NoAnswer),
            Link::Body(Body { left: None, .. }) if !reset && self.expected.is_none() => {
                match self.position < self.received {
                    true => self.handle_mismatch(now),
                    false => self.complete(false),
                }
            }
            Link::Body(_) => self.fail(DownloadError::Interrupted),
        }
    }

    /// The partial file is open.
    pub fn handle_file_opened(&mut self) {
        self.disk.handle_opened();
    }

    /// Whether the bytes of the oldest [`DownloadStep::Compare`] not yet answered are the `same`.
    pub fn handle_compared(&mut self, now: Instant, same: bool) {
        if self.disk.handle_compared() && !same {
            self.handle_mismatch(now);
        }
        self.defer_stall(now);
    }

    /// `bytes` of earlier [`DownloadStep::Write`]s are written.
    pub fn handle_written(&mut self, now: Instant, bytes: u64) {
        self.disk.handle_written(bytes);
        self.defer_stall(now);
    }

    /// The partial file is durable.
    pub fn handle_synced(&mut self) {
        self.disk.handle_synced();
    }

    /// The file has its name.
    pub fn handle_finished(&mut self) {
        self.disk.handle_finished();
    }

    /// A file step failed. What was not written yet is lost, what was written stays.
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
        } else if matches!(self.link, Link::Connecting) {
            self.disconnect();
            self.push_or_fail(now, DownloadError::ConnectTimeout(self.limits.connect_timeout));
        } else {
            let silence = self.limits.stall_timeout;
            self.fail(DownloadError::Stalled { silence, begun: self.answered });
        }
    }

    /// What to do next; `None` when there is nothing until something happens.
    pub fn poll(&mut self) -> Option<DownloadStep> {
        self.steps.pop_front().or_else(|| self.disk.poll(self.outcome))
    }

    /// What to write to the connection next, as much of it as it takes; then call
    /// [`Download::sent`].
    pub fn transmit(&self) -> Option<&[u8]> {
        match &self.link {
            Link::Asking { request, sent, .. } => Some(&request[*sent..]).filter(|r| !r.is_empty()),
            _ => None,
        }
    }

    /// `written` bytes of what [`Download::transmit`] named went out.
    pub fn sent(&mut self, written: usize) {
        if let Link::Asking { request, sent, .. } = &mut self.link {
            *sent = request.len().min(*sent + written);
        }
    }

    /// When [`Download::handle_timeout`] wants to be called; `None` while the source owes nothing.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let waits = match self.link {
            Link::None => false,
            Link::Connecting | Link::Asking { .. } => true,
            Link::Body(_) => self.backlog_bytes() < MAX_BACKLOG_BYTES,
        };
        waits.then_some(self.deadline)
    }

    /// Bytes that were received and are not yet written to the disk or compared with it.
    pub fn backlog_bytes(&self) -> u64 {
        self.disk.backlog_bytes()
    }

    /// Bytes from the start of the file that are here, with those of earlier attempts.
    pub fn received_bytes(&self) -> u64 {
        self.received
    }

    /// Size of the file in bytes, as soon as it was told.
    pub fn expected_bytes(&self) -> Option<u64> {
        self.expected
    }

    /// Where the file comes from.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Whether the source has answered to a name that was not percent-encoded and has another
    /// spelling, and so is a servent that wants raw names.
    pub fn found_raw(&self) -> bool {
        self.answered && !self.encoded
    }

    fn connect(&mut self, now: Instant) {
        self.disconnect();
        self.link = Link::Connecting;
        let (timeout, step) = match self.source.push.filter(|_| self.pushes) {
            Some(push) => (self.limits.push_timeout, DownloadStep::Push(push)),
            None => (self.limits.connect_timeout, DownloadStep::Connect(self.source.addr)),
        };
        self.deadline = now + timeout;
        self.steps.push_back(step);
    }

    /// The source cannot be connected to: asks it to connect, if that is possible and was not
    /// tried.
    fn push_or_fail(&mut self, now: Instant, error: DownloadError) {
        if self.source.push.is_some() && !self.pushes {
            self.pushes = true;
            self.connect(now);
        } else {
            self.fail(error);
        }
    }

    fn disconnect(&mut self) {
        if !matches!(self.link, Link::None) {
            self.link = Link::None;
            self.steps.push_back(DownloadStep::Disconnect);
        }
    }

    /// A raw name that could end the request line early must never be sent.
    fn has_other_spelling(&self) -> bool {
        let name = &self.source.name;
        encode_name(name) != *name && !name.contains(char::is_control)
    }

    /// While the disk was behind nobody read from the source, which is not its fault.
    fn defer_stall(&mut self, now: Instant) {
        if matches!(self.link, Link::Body(_)) {
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
        self.link = Link::Asking { request, sent: 0, head: Vec::new() };
        self.deadline = now + self.limits.stall_timeout;
    }

    fn take_body(&mut self, now: Instant, bytes: &[u8]) {
        let Link::Body(body) = &mut self.link else { return };
        // What follows the body belongs to nothing we asked for.
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
            self.stretch_done(now, reusable);
        } else if reusable {
            self.ask(now);
        } else if body.left == Some(0) {
            self.connect(now);
        }
    }

    /// All that was wanted is here.
    fn stretch_done(&mut self, now: Instant, reusable: bool) {
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

    /// The source's bytes differ from those on the disk.
    fn handle_mismatch(&mut self, now: Instant) {
        self.disk.drop_queued();
        match self.goal {
            Goal::Check { .. } => self.give_up_check(now),
            Goal::Fetch if self.disk.holds_ours() => {
                self.outcome = None;
                self.received = self.disk.end();
                self.fail(DownloadError::Changed);
            }
            Goal::Fetch => self.start_anew(now),
        }
    }

    /// No complete file here is the one at the source.
    fn give_up_check(&mut self, now: Instant) {
        self.goal = Goal::Fetch;
        self.position = overlap_start(self.received);
        self.go_on(now);
    }

    /// The partial file is not of the source's file.
    fn start_anew(&mut self, now: Instant) {
        self.foreign = false;
        (self.received, self.position) = (0, 0);
        let step = self.disk.set_aside(self.expected);
        self.steps.push_back(step);
        self.go_on(now);
    }

    /// Asks anew, unless the network part has come to a bad end meanwhile.
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

    /// Needs the connection no longer.
    fn leave(&mut self, reusable: bool) {
        if reusable && !matches!(self.link, Link::None) {
            self.link = Link::None;
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

/// Where the last [`OVERLAP_BYTES`] of `bytes` begin.
fn overlap_start(bytes: u64) -> u64 {
    bytes.saturating_sub(OVERLAP_BYTES)
}

/// `len`, but at most `most` if there is such a bound.
fn limit(len: usize, most: Option<u64>) -> usize {
    most.and_then(|most| usize::try_from(most).ok()).map_or(len, |most| len.min(most))
}

#[cfg(test)]
#[path = "download_tests.rs"]
mod tests;
