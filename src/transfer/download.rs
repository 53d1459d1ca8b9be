//! Fetching one file from one source with plain HTTP.
//!
//! Nothing received is ever thrown away: bytes go to a partial file strictly in order, a resumed
//! download asks for the rest, and a source that ignores the range has its first bytes skipped.
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

pub use super::download_error::{DiskFault, DownloadError};
use super::partial_writer::PartialWriter;
use crate::time::Instant;
use crate::wire::ServentId;
use crate::wire::http_head::{
    GetRequest, ResponseError, ResponseHead, encode_name, parse_response,
};
use std::collections::VecDeque;
use std::net::SocketAddrV4;
use std::time::Duration;

/// Above this many bytes on their way to the disk the owner stops reading from the source.
pub const MAX_BACKLOG_BYTES: u64 = 1024 * 1024;

/// Largest piece of one [`DownloadStep::Write`], in bytes.
pub const MAX_WRITE_BYTES: usize = 64 * 1024;

/// Most requests for one file. gtk-gnutella gives at least 128 KiB for each.
pub const MAX_REQUESTS: u32 = 4096;

/// Where a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Who serves it.
    pub addr: SocketAddrV4,
    /// The index from the hit.
    pub index: u32,
    /// The name as the source calls it.
    pub name: String,
    /// Size in bytes from the hit, if there was one.
    pub size: Option<u64>,
    /// How to have it connect to us; `None` if its servent id is not known.
    pub push: Option<PushVia>,
}

/// What a Push to a source needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PushVia {
    /// Whom to push.
    pub servent: ServentId,
    /// Links the Push may cross: those its hit crossed, and one or two more.
    pub ttl: u8,
    /// Push at once: the source says that it cannot be connected to.
    pub firewalled: bool,
}

/// What an earlier attempt left on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partial {
    /// Bytes from the start of the file that are there.
    pub have: u64,
    /// Size of the whole file, if it was recorded.
    pub total: Option<u64>,
}

/// Bounds of one download.
#[derive(Clone, Copy, Debug)]
pub struct DownloadLimits {
    /// From dialling to being connected.
    pub connect_timeout: Duration,
    /// From a Push to the connection it asks for.
    pub push_timeout: Duration,
    /// From a request to the end of the response head, and between any two reads of the body.
    pub stall_timeout: Duration,
}

impl Default for DownloadLimits {
    fn default() -> DownloadLimits {
        DownloadLimits {
            connect_timeout: Duration::from_secs(20),
            push_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(30),
        }
    }
}

/// What the owner must do next. File steps are to be done in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DownloadStep {
    /// Dial, then call [`Download::handle_connected`] or [`Download::handle_connect_failed`].
    Connect(SocketAddrV4),
    /// Send a Push. When the source connects and says GIV, call [`Download::handle_connected`];
    /// if no Push can be sent, [`Download::handle_connect_failed`].
    Push(PushVia),
    /// Drop the connection; the machine knows, no `handle_closed` is due.
    Disconnect,
    /// Open the partial file to go on behind its first `have` bytes, or create it if there is
    /// none, and record `total`; then call [`Download::handle_file_opened`].
    OpenPartial {
        /// Bytes that are to be in it already
        have: u64,
        /// Size of the whole file, if known by now
        total: Option<u64>,
    },
    /// Write to the partial file, then call [`Download::handle_written`].
    Write {
        /// Where; always the end of what was written before
        offset: u64,
        /// At most [`MAX_WRITE_BYTES`]
        bytes: Vec<u8>,
    },
    /// Make the partial file durable, then call [`Download::handle_synced`].
    Sync,
    /// Give the file its name, without replacing another; then call [`Download::handle_finished`].
    Finish,
    /// The file is there. Nothing else will come.
    Done {
        /// Its size
        bytes: u64,
    },
    /// Close the partial file if it is open, and keep it. Nothing else will come.
    Fail(DownloadError),
}

/// One download; see the module documentation.
#[derive(Debug)]
pub struct Download {
    source: Source,
    limits: DownloadLimits,
    expected: Option<u64>,
    /// Bytes from the start of the file that are on the disk or on their way to it.
    received: u64,
    link: Link,
    disk: PartialWriter,
    /// Set once the network part is over.
    outcome: Option<Result<(), DownloadError>>,
    encoded: bool,
    /// The source is asked to connect, rather than connected to.
    pushes: bool,
    requests: u32,
    /// Whether a response came on the present connection, and on any.
    answered_here: bool,
    answered: bool,
    steps: VecDeque<DownloadStep>,
    deadline: Instant,
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
    /// Bytes to come that are here already.
    skip: u64,
    /// Bytes to come in all; `None` if only the end of the connection tells.
    left: Option<u64>,
    keep_alive: bool,
}

impl Download {
    /// Starts at `now`. `partial` is what an earlier attempt left.
    ///
    /// # Errors
    /// [`DownloadError::SizeMismatch`] if the partial belongs to a file of another size.
    pub fn new(
        now: Instant,
        source: Source,
        partial: Option<Partial>,
        limits: DownloadLimits,
    ) -> Result<Download, DownloadError> {
        let have = partial.map_or(0, |partial| partial.have);
        let total = partial.and_then(|partial| partial.total);
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
            received: have,
            link: Link::None,
            disk: PartialWriter::new(have),
            outcome: None,
            encoded: true,
            pushes: source.push.is_some_and(|push| push.firewalled),
            requests: 0,
            answered_here: false,
            answered: false,
            steps: VecDeque::new(),
            deadline: now,
            source,
        };
        if partial.is_some() && expected == Some(have) {
            download.complete();
        } else {
            download.connect(now);
        }
        Ok(download)
    }

    /// The connection is there.
    pub fn handle_connected(&mut self, now: Instant) {
        if matches!(self.link, Link::Connecting) {
            self.answered_here = false;
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
            Link::Asking { head, .. } if !head.is_empty() => self.interrupted(),
            // A kept connection may end at any time; the request was not looked at.
            Link::Asking { .. } if self.answered_here => self.connect(now),
            Link::Asking { .. } if self.answered => self.interrupted(),
            Link::Asking { .. } if self.encoded && self.has_other_spelling() => {
                self.encoded = false;
                self.connect(now);
            }
            Link::Asking { .. } => self.fail(DownloadError::NoAnswer),
            Link::Body(Body { left: None, skip: 0, .. }) if !reset && self.expected.is_none() => {
                self.complete();
            }
            Link::Body(_) => self.interrupted(),
        }
    }

    /// The partial file is open.
    pub fn handle_file_opened(&mut self) {
        self.disk.handle_opened();
    }

    /// `bytes` of earlier [`DownloadStep::Write`]s are written.
    pub fn handle_written(&mut self, now: Instant, bytes: u64) {
        self.disk.handle_written(bytes);
        // While the disk was behind nobody read from the source, which is not its fault.
        if matches!(self.link, Link::Body(_)) {
            self.deadline = now + self.limits.stall_timeout;
        }
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
            self.fail(DownloadError::Stalled {
                silence: self.limits.stall_timeout,
                received: self.received,
                expected: self.expected,
            });
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

    /// Bytes that were received and are not yet written to the disk.
    pub fn backlog_bytes(&self) -> u64 {
        self.disk.backlog_bytes()
    }

    /// Bytes from the start of the file that are here, with those of earlier attempts.
    pub fn received_bytes(&self) -> u64 {
        self.received
    }

    /// Size of the file in bytes, as soon as somebody has told it.
    pub fn expected_bytes(&self) -> Option<u64> {
        self.expected
    }

    /// Where the file comes from.
    pub fn source(&self) -> &Source {
        &self.source
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

    fn ask(&mut self, now: Instant) {
        if self.requests == MAX_REQUESTS {
            return self.fail(DownloadError::TooManyPieces { requests: self.requests });
        }
        self.requests += 1;
        let Source { addr, index, name, .. } = &self.source;
        let path = if self.encoded {
            format!("/get/{index}/{}", encode_name(name))
        } else {
            format!("/get/{index}/{name}")
        };
        let mut request = Vec::new();
        let host = addr.to_string();
        GetRequest { path: path.as_bytes(), host: &host, from: self.received }.write(&mut request);
        self.link = Link::Asking { request, sent: 0, head: Vec::new() };
        self.deadline = now + self.limits.stall_timeout;
    }

    fn handle_head(&mut self, now: Instant, response: &ResponseHead, rest: &[u8]) {
        self.answered_here = true;
        self.answered = true;
        let body = match response.status {
            200 | 206 => self.plan_body(response),
            416 => return self.range_refused(response),
            404 | 410 => Err(DownloadError::NotFound),
            429 | 503 => Err(DownloadError::Busy { retry_after: response.retry_after }),
            status => Err(DownloadError::Refused { status }),
        };
        match body {
            Ok(body) => {
                self.link = Link::Body(body);
                self.open_partial();
                self.take_body(now, rest);
            }
            Err(error) => self.fail(error),
        }
    }

    /// Which bytes of the file the body holds. A `Content-Range` counts whatever the status.
    fn plan_body(&mut self, response: &ResponseHead) -> Result<Body, DownloadError> {
        let wanted = self.received;
        let range = response.content_range;
        let keep_alive = response.keep_alive;
        let Some((start, end)) = range.and_then(|range| range.span) else {
            if response.status == 206 {
                return Err(DownloadError::WrongRange { wanted, offered: None });
            }
            if let Some(size) = response.content_length {
                self.learn_size(size)?;
            }
            return Ok(Body { skip: wanted, left: response.content_length, keep_alive });
        };
        let length = end - start + 1;
        if response.content_length.is_some_and(|told| told != length) {
            return Err(DownloadError::Response(ResponseError::Malformed));
        }
        if let Some(total) = range.and_then(|range| range.total) {
            self.learn_size(total)?;
        } else if let Some(expected) = self.expected.filter(|&expected| end >= expected) {
            return Err(DownloadError::SizeMismatch { expected, offered: end + 1 });
        }
        if start > wanted || end < wanted {
            return Err(DownloadError::WrongRange { wanted, offered: Some(start) });
        }
        Ok(Body { skip: wanted - start, left: Some(length), keep_alive })
    }

    fn learn_size(&mut self, offered: u64) -> Result<(), DownloadError> {
        match self.expected {
            Some(expected) if expected != offered => {
                Err(DownloadError::SizeMismatch { expected, offered })
            }
            None if offered < self.received => {
                Err(DownloadError::SizeMismatch { expected: self.received, offered })
            }
            _ => {
                self.expected = Some(offered);
                Ok(())
            }
        }
    }

    /// 416 is good news if the partial turns out to be everything.
    fn range_refused(&mut self, response: &ResponseHead) {
        let learnt = match response.content_range.and_then(|range| range.total) {
            Some(total) => self.learn_size(total),
            None => Ok(()),
        };
        match learnt {
            Ok(()) if self.received > 0 && self.expected == Some(self.received) => self.complete(),
            Ok(()) => {
                self.fail(DownloadError::WrongRange { wanted: self.received, offered: None });
            }
            Err(error) => self.fail(error),
        }
    }

    fn take_body(&mut self, now: Instant, bytes: &[u8]) {
        let Link::Body(body) = &mut self.link else { return };
        // What follows the body belongs to nothing we asked for.
        let take = limit(bytes.len(), body.left);
        let surplus = take < bytes.len();
        body.left = body.left.map(|left| left - take as u64);
        body.keep_alive &= !surplus;
        let skip = limit(take, Some(body.skip));
        body.skip -= skip as u64;
        let body = *body;
        // A body without a length ends at the expected size.
        let wanted = self.expected.map(|expected| expected - self.received);
        let fresh = &bytes[skip..take];
        let fresh = &fresh[..limit(fresh.len(), wanted)];
        self.deadline = now + self.limits.stall_timeout;
        self.disk.push(fresh);
        self.received += fresh.len() as u64;

        if self.expected == Some(self.received) {
            self.complete();
        } else if body.left == Some(0) {
            if body.keep_alive {
                self.ask(now);
            } else {
                self.connect(now);
            }
        }
    }

    fn interrupted(&mut self) {
        let (received, expected) = (self.received, self.expected);
        self.fail(DownloadError::Interrupted { received, expected });
    }

    fn complete(&mut self) {
        self.expected = Some(self.received);
        self.open_partial();
        self.end(Ok(()));
    }

    fn fail(&mut self, error: DownloadError) {
        self.end(Err(error));
    }

    fn end(&mut self, outcome: Result<(), DownloadError>) {
        self.disconnect();
        self.outcome.get_or_insert(outcome);
    }

    fn open_partial(&mut self) {
        let step = self.disk.open(self.expected);
        self.steps.extend(step);
    }
}

/// `len`, but at most `most` if there is such a bound.
fn limit(len: usize, most: Option<u64>) -> usize {
    most.and_then(|most| usize::try_from(most).ok()).map_or(len, |most| len.min(most))
}

#[cfg(test)]
#[path = "download_tests.rs"]
mod tests;
