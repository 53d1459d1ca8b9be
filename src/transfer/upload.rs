//! Uploads: one inbound HTTP connection.
//!
//! Requests are answered one at a time. The machine holds at most one request head, one response head
//! and a bounded number of pipelined bytes. It neither opens nor reads files: for a body it names a
//! range of an open file, and the owner sends the bytes (`sendfile`, bounded steps, rate limits).
//!
//! ```text
//! Reading ── request ──▶ Asked ── poll ──▶ Opening ── opened ──▶ Sending ──▶ Reading
//!    ▲                     └─ refused ──────────────────────────▶ Sending ──▶ Closed
//! ```
//!
//! Polling order: after every `handle_*` and `sent`, call [`Upload::poll`] until it returns `None`;
//! then [`Upload::transmit`] has what to write.

use super::SharedFiles;
use crate::time::Instant;
use crate::wire::http_head::{
    ContentRange, GetPath, MAX_HEAD_BYTES, Method, PushProxyPath, Reply, RequestError, RequestHead,
    Status, Version, parse_request,
};
use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddrV4;
use std::time::Duration;

/// Bounds of one upload connection.
#[derive(Clone, Copy, Debug)]
pub struct UploadLimits {
    /// From the connection to the end of the first request head.
    pub head_timeout: Duration,
    /// From the end of a response to the end of the next request head.
    pub idle_timeout: Duration,
    /// Longest time without progress of a response.
    pub stall_timeout: Duration,
    /// Retry-After when a file cannot be opened for the moment.
    pub retry_after: Duration,
}

/// Pause between head and body for a client of the old dialect: GNU Serveez stalls when both arrive in
/// one read.
const OLD_DIALECT_PAUSE: Duration = Duration::from_millis(100);

impl Default for UploadLimits {
    fn default() -> UploadLimits {
        UploadLimits {
            head_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(60),
            retry_after: Duration::from_secs(60),
        }
    }
}

/// Whether one more upload may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// It may begin
    Free,
    /// All slots are taken; one is likely to be free after this time
    FreeIn(Duration),
}

/// A step for the owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UploadStep {
    /// Open this file, count one slot as taken, then call [`Upload::handle_opened`]. Every `Open`
    /// is followed by exactly one `Release`.
    Open {
        /// The library's number
        number: u32,
        /// Its size in bytes according to the library
        size: u64,
    },
    /// Close the file if it is open; the slot is free again.
    Release {
        /// The library's number
        number: u32,
        /// Bytes of body that were sent
        bytes: u64,
        /// Whether the body was complete
        complete: bool,
    },
    /// Pass a Push on, then call [`Upload::handle_proxied`].
    Proxy {
        /// Whom to, and for which file
        path: PushProxyPath,
        /// Where it is to be answered
        addr: SocketAddrV4,
    },
    /// A request was refused with 400, 404, 410, 416 or 503.
    Refused {
        /// The status
        status: Status,
        /// The requested path, as sent
        path: Vec<u8>,
    },
    /// The file differs from the library entry: scan again.
    Stale {
        /// The library's number
        number: u32,
    },
    /// Close the connection; this is the last step. Read pending input first: a reset could destroy the
    /// end of the response.
    Close(UploadClose),
}

/// Why an upload connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadClose {
    /// All requests were answered, and the connection is not kept
    Done,
    /// The peer closed or reset the connection
    ByPeer,
    /// No complete request head in time
    NoRequest,
    /// The peer stopped reading
    WriteStalled,
    /// More than [`MAX_HEAD_BYTES`] were sent ahead while a response was going out
    Flooded,
    /// The file became shorter while it was sent
    FileShrank,
    /// The request was malformed, and was answered with an error
    Refused(RequestError),
    /// A 1.1 request without `Host`, answered with 400
    NoHost,
}

impl fmt::Display for UploadClose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            UploadClose::Done => "all requests were answered",
            UploadClose::ByPeer => "the peer closed the connection",
            UploadClose::NoRequest => "no complete request in time",
            UploadClose::WriteStalled => "the peer stopped reading",
            UploadClose::Flooded => "the peer sent too much ahead of the response",
            UploadClose::FileShrank => "the shared file became shorter while it was sent",
            UploadClose::Refused(error) => return error.fmt(f),
            UploadClose::NoHost => "an HTTP/1.1 request without a Host header",
        })
    }
}

/// Why a file could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// It no longer exists, is not a regular file, or is not readable: 404
    Gone,
    /// A temporary failure (too many open files, a disk error): 503
    Failed,
}

/// The next bytes to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// These bytes
    Bytes(&'a [u8]),
    /// This range of the open file
    File {
        /// First byte
        offset: u64,
        /// Bytes left of the range; never zero
        len: u64,
    },
}

/// One inbound HTTP connection.
#[derive(Debug)]
pub struct Upload {
    limits: UploadLimits,
    state: State,
    /// Unread input: below [`MAX_HEAD_BYTES`] while reading a head, at most that while answering.
    input: Vec<u8>,
    /// The peer has ended its direction.
    input_ended: bool,
    /// The file between `Open` and `Release`.
    held: Option<ServedFile>,
    steps: VecDeque<UploadStep>,
    deadline: Instant,
}

#[derive(Debug)]
enum State {
    Reading,
    /// A request waits for `poll`, which has the library.
    Asked(Result<RequestHead, RequestError>),
    Opening(ResponsePlan),
    /// A Push is to be passed on; the path that asks for it.
    Proxying(ResponsePlan, Vec<u8>),
    Sending(Outgoing),
    Closed,
}

#[derive(Debug)]
struct ServedFile {
    number: u32,
    sent: u64,
    since: Instant,
    path: Vec<u8>,
}

/// The response to be sent if the file opens.
#[derive(Clone, Copy, Debug)]
struct ResponsePlan {
    version: Version,
    keep_alive: bool,
    size: u64,
    /// First byte and length; `None` for the whole file.
    range: Option<(u64, u64)>,
}

#[derive(Debug)]
struct Outgoing {
    head: Vec<u8>,
    head_sent: usize,
    offset: u64,
    left: u64,
    pause: Pause,
    /// `None` keeps the connection.
    close: Option<UploadClose>,
}

/// The pause between head and body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pause {
    None,
    /// Begins when the head is sent.
    AfterHead,
    Until(Instant),
}

impl Upload {
    /// A connection made in answer to a Push: `line` is the GIV line, then requests follow.
    pub fn giving(now: Instant, limits: UploadLimits, line: Vec<u8>) -> Upload {
        let mut upload = Upload::new(now, limits);
        upload.state = State::Sending(Outgoing::head_only(line, None));
        upload.deadline = now + limits.stall_timeout;
        upload
    }

    /// A connection accepted at `now`.
    pub fn new(now: Instant, limits: UploadLimits) -> Upload {
        Upload {
            limits,
            state: State::Reading,
            input: Vec::new(),
            input_ended: false,
            held: None,
            steps: VecDeque::new(),
            deadline: now + limits.head_timeout,
        }
    }

    /// The peer sent `bytes`. Bytes after a request that ends the connection are ignored.
    pub fn handle_bytes(&mut self, _now: Instant, bytes: &[u8]) {
        match &self.state {
            State::Closed | State::Sending(Outgoing { close: Some(_), .. }) => return,
            State::Asked(Err(_)) => return,
            _ => {}
        }
        // More than one head and the bound on pipelined bytes is never needed.
        let room = 2 * MAX_HEAD_BYTES + 1 - self.input.len();
        self.input.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.read_request();
        if !matches!(self.state, State::Reading) && self.input.len() > MAX_HEAD_BYTES {
            self.close(UploadClose::Flooded);
        }
    }

    /// The peer ended its direction; earlier requests are still answered.
    pub fn handle_eof(&mut self, _now: Instant) {
        self.input_ended = true;
        self.read_request();
    }

    /// The connection was reset.
    pub fn handle_reset(&mut self, _now: Instant) {
        self.close(UploadClose::ByPeer);
    }

    /// A Push was passed on, or could not be, since its servent has no link with us.
    pub fn handle_proxied(&mut self, now: Instant, passed_on: bool) {
        let State::Proxying(plan, path) = &mut self.state else { return };
        let (plan, path) = (*plan, std::mem::take(path));
        match passed_on {
            true => self.send_head(now, plan.reply(Status::Accepted), None),
            false => self.decline(now, plan.reply(Status::Gone), &path),
        }
    }

    /// The answer to [`UploadStep::Open`]: the size in bytes of the open file.
    pub fn handle_opened(&mut self, now: Instant, opened: Result<u64, OpenError>) {
        let State::Opening(plan) = self.state else { return };
        let Some(held) = &mut self.held else { return };
        let (number, path) = (held.number, std::mem::take(&mut held.path));
        let reply = match opened {
            Ok(size) if size == plan.size => return self.send_file(now, plan),
            Ok(_) | Err(OpenError::Gone) => {
                self.steps.push_back(UploadStep::Stale { number });
                plan.reply(Status::NotFound)
            }
            Err(OpenError::Failed) => plan.busy(self.limits.retry_after),
        };
        self.release(false);
        self.decline(now, reply, &path);
    }

    /// The open file ended before the promised range did, or cannot be read.
    pub fn handle_file_ended(&mut self, _now: Instant) {
        if let Some(held) = &self.held {
            self.steps.push_back(UploadStep::Stale { number: held.number });
            self.close(UploadClose::FileShrank);
        }
    }

    /// Time has passed; see [`Upload::poll_timeout`].
    pub fn handle_timeout(&mut self, now: Instant) {
        let due = self.poll_timeout().is_some_and(|deadline| deadline <= now);
        if let State::Sending(sending) = &mut self.state
            && due
            && matches!(sending.pause, Pause::Until(_))
        {
            sending.pause = Pause::None;
            self.deadline = now + self.limits.stall_timeout;
        } else if due {
            self.close(match self.state {
                State::Sending(_) => UploadClose::WriteStalled,
                _ => UploadClose::NoRequest,
            });
        }
    }

    /// The next step; `None` until something happens. `slot` counts only for a request with a body.
    pub fn poll(
        &mut self,
        now: Instant,
        files: &impl SharedFiles,
        slot: Slot,
    ) -> Option<UploadStep> {
        if let Some(step) = self.steps.pop_front() {
            return Some(step);
        }
        if matches!(self.state, State::Asked(_))
            && let State::Asked(request) = std::mem::replace(&mut self.state, State::Reading)
        {
            match request {
                Ok(request) => self.answer(now, files, slot, request),
                Err(error) => self.refuse(now, error.status(), UploadClose::Refused(error)),
            }
        }
        self.steps.pop_front()
    }

    /// Whether a request waits for [`Upload::poll`].
    pub fn is_asked(&self) -> bool {
        matches!(self.state, State::Asked(_))
    }

    /// The next bytes to write; report with [`Upload::sent`] how many were written.
    pub fn transmit(&self) -> Option<Piece<'_>> {
        let State::Sending(sending) = &self.state else { return None };
        match &sending.head[sending.head_sent..] {
            [] if sending.left > 0 && sending.pause == Pause::None => {
                Some(Piece::File { offset: sending.offset, len: sending.left })
            }
            [] => None,
            head => Some(Piece::Bytes(head)),
        }
    }

    /// `written` bytes of the last piece of [`Upload::transmit`] were written.
    pub fn sent(&mut self, now: Instant, written: usize) {
        let State::Sending(sending) = &mut self.state else { return };
        if written == 0 {
            return;
        }
        self.deadline = now + self.limits.stall_timeout;
        let head_left = sending.head.len() - sending.head_sent;
        if head_left > 0 {
            sending.head_sent += written.min(head_left);
            if sending.pause == Pause::AfterHead && sending.head_sent == sending.head.len() {
                sending.pause = Pause::Until(now + OLD_DIALECT_PAUSE);
            }
        } else {
            let body = sending.left.min(written as u64);
            sending.offset += body;
            sending.left -= body;
            if let Some(held) = &mut self.held {
                held.sent += body;
            }
        }
        if sending.head_sent == sending.head.len() && sending.left == 0 {
            let close = sending.close;
            self.release(true);
            match close {
                Some(reason) => self.close(reason),
                None => {
                    self.state = State::Reading;
                    self.deadline = now + self.limits.idle_timeout;
                    self.read_request();
                }
            }
        }
    }

    /// Time to call [`Upload::handle_timeout`]; `None` while the owner has a step to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Sending(Outgoing { pause: Pause::Until(until), .. }) => Some(*until),
            State::Reading | State::Sending(_) => Some(self.deadline),
            _ => None,
        }
    }

    /// Time to the end of the response at its speed so far; `None` without a response or before its
    /// first byte.
    pub fn time_left(&self, now: Instant) -> Option<Duration> {
        let (State::Sending(sending), Some(held)) = (&self.state, &self.held) else { return None };
        let speed = held.sent as f64 / now.since(held.since).as_secs_f64();
        Duration::try_from_secs_f64(sending.left as f64 / speed).ok()
    }

    /// The number of the file that is being sent, from `Open` to `Release`.
    pub fn file_number(&self) -> Option<u32> {
        self.held.as_ref().map(|held| held.number)
    }

    /// Body bytes sent of the current response.
    pub fn body_bytes_sent(&self) -> u64 {
        self.held.as_ref().map_or(0, |held| held.sent)
    }

    /// Bytes of unanswered requests; at most [`MAX_HEAD_BYTES`] once [`Upload::poll`] returns `None`.
    pub fn input_bytes(&self) -> usize {
        self.input.len()
    }

    /// Takes the next request from the input, if all of it is there.
    fn read_request(&mut self) {
        if !matches!(self.state, State::Reading) {
            return;
        }
        // Old clients send an extra line end after a request.
        let junk = self.input.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        self.input.drain(..junk);
        match parse_request(&self.input) {
            Ok(Some((head, len))) => {
                self.input.drain(..len);
                self.state = State::Asked(Ok(head));
            }
            Ok(None) if self.input_ended => self.close(UploadClose::ByPeer),
            Ok(None) => {}
            Err(error) => {
                self.input = Vec::new();
                self.state = State::Asked(Err(error));
            }
        }
    }

    fn answer(&mut self, now: Instant, files: &impl SharedFiles, slot: Slot, request: RequestHead) {
        if request.version == Version::Http11 && !request.has_host {
            return self.refuse(now, Status::BadRequest, UploadClose::NoHost);
        }
        let version = request.reply_version();
        let mut plan =
            ResponsePlan { version, keep_alive: request.keep_alive, size: 0, range: None };
        if let Some(path) = PushProxyPath::parse(&request.path) {
            let Some(addr) = request.node else {
                return self.decline(now, plan.reply(Status::BadRequest), &request.path);
            };
            self.state = State::Proxying(plan, request.path);
            return self.steps.push_back(UploadStep::Proxy { path, addr });
        }
        if request.path == b"/"
            && let Some(page) = files.index_page()
        {
            return self.send_page(now, plan, request.method, page);
        }
        let found = GetPath::parse(&request.path).ok().and_then(|path| files.find(&path));
        let Some((number, size)) = found else {
            return self.decline(now, plan.reply(Status::NotFound), &request.path);
        };
        plan.size = size;
        plan.range = match request.range.map_or(Ok(None), |range| range.resolve(size)) {
            Ok(range) => range,
            Err(_) => {
                let range = Some(ContentRange { span: None, total: Some(size) });
                let reply = Reply { range, ..plan.reply(Status::RangeNotSatisfiable) };
                return self.decline(now, reply, &request.path);
            }
        };
        match (request.method, slot) {
            (Method::Head, _) => self.send_head(now, plan.success().0, None),
            (Method::Get, Slot::FreeIn(delay)) => {
                self.decline(now, plan.busy(delay), &request.path);
            }
            (Method::Get, Slot::Free) => {
                self.held = Some(ServedFile { number, sent: 0, since: now, path: request.path });
                self.state = State::Opening(plan);
                self.steps.push_back(UploadStep::Open { number, size });
            }
        }
    }

    /// Answers a well-formed request without a file.
    fn decline(&mut self, now: Instant, reply: Reply, path: &[u8]) {
        self.steps.push_back(UploadStep::Refused { status: reply.status, path: path.to_vec() });
        self.send_head(now, reply, None);
    }

    /// Answers a browser.
    fn send_page(&mut self, now: Instant, plan: ResponsePlan, method: Method, mut page: Vec<u8>) {
        let length = page.len() as u64;
        let reply = Reply { length, is_page: true, ..plan.reply(Status::Ok) };
        self.send_head(now, reply, None);
        if let (State::Sending(sending), Method::Get) = (&mut self.state, method) {
            sending.head.append(&mut page);
        }
    }

    fn refuse(&mut self, now: Instant, status: Status, reason: UploadClose) {
        let plan =
            ResponsePlan { version: Version::Http11, keep_alive: false, size: 0, range: None };
        self.send_head(now, plan.reply(status), Some(reason));
    }

    fn send_file(&mut self, now: Instant, plan: ResponsePlan) {
        if let Some(held) = &mut self.held {
            held.since = now;
        }
        let (reply, offset) = plan.success();
        let length = reply.length;
        self.send_head(now, reply, None);
        if let State::Sending(sending) = &mut self.state {
            sending.offset = offset;
            sending.left = length;
            if plan.version == Version::Bare {
                sending.pause = Pause::AfterHead;
            }
        }
    }

    /// Starts a response; `reason` is why the connection ends after it, if not because it is not kept.
    fn send_head(&mut self, now: Instant, reply: Reply, reason: Option<UploadClose>) {
        let mut head = Vec::new();
        reply.write(&mut head);
        let close = if reply.keep_alive { None } else { reason.or(Some(UploadClose::Done)) };
        if close.is_some() {
            self.input = Vec::new();
        }
        self.state = State::Sending(Outgoing::head_only(head, close));
        self.deadline = now + self.limits.stall_timeout;
    }

    fn release(&mut self, complete: bool) {
        let released = self.held.take().map(|held| UploadStep::Release {
            number: held.number,
            bytes: held.sent,
            complete,
        });
        self.steps.extend(released);
    }

    fn close(&mut self, reason: UploadClose) {
        if !matches!(self.state, State::Closed) {
            self.release(false);
            self.state = State::Closed;
            self.input = Vec::new();
            self.steps.push_back(UploadStep::Close(reason));
        }
    }
}

impl Outgoing {
    fn head_only(head: Vec<u8>, close: Option<UploadClose>) -> Outgoing {
        Outgoing { head, head_sent: 0, offset: 0, left: 0, pause: Pause::None, close }
    }
}

impl ResponsePlan {
    /// A response without a body.
    fn reply(self, status: Status) -> Reply {
        Reply {
            version: self.version,
            status,
            keep_alive: self.keep_alive,
            length: 0,
            range: None,
            retry_after: None,
            is_page: false,
        }
    }

    /// The 503 response.
    fn busy(self, delay: Duration) -> Reply {
        Reply { retry_after: Some(delay), ..self.reply(Status::Busy) }
    }

    /// The response head of the file or its range, and the offset of the body.
    fn success(self) -> (Reply, u64) {
        match self.range {
            None => (Reply { length: self.size, ..self.reply(Status::Ok) }, 0),
            Some((start, length)) => {
                let span = Some((start, start + length - 1));
                let range = Some(ContentRange { span, total: Some(self.size) });
                (Reply { length, range, ..self.reply(Status::PartialContent) }, start)
            }
        }
    }
}

#[cfg(test)]
#[path = "upload_tests.rs"]
mod tests;
