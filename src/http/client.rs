//! One connection: bytes in, requests out, answers in, bytes out. At most one exchange is under way.

use super::request::{
    MAX_BODY_BYTES, MAX_HEAD_BYTES, Read as Parsed, Refusal, Request, RequestReader,
};
use super::response::{Framing, Head, write_piece};
use mio::net::TcpStream;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown};
use std::time::{Duration, Instant};

/// Time for a head to be complete, from the first byte or the connection's begin.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for a head and its body to be complete.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Time between two requests.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Time for an answer to be read, and in which a reader of a stream reads at least a byte.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Time for the other side to close after the last answer. Closed before, it might lose that answer:
/// input that comes later makes the kernel reset the connection.
const LINGER: Duration = Duration::from_secs(2);
/// Interval of comments on a stream without events, by which both sides see that it stands.
const COMMENT_INTERVAL: Duration = Duration::from_secs(15);
/// Unread output above which records of a stream are left out and counted.
const MAX_UNREAD_BYTES: usize = 256 * 1024;
/// Records of events in a second, above which they are left out and counted: a page shows no more, and
/// putting more into words would slow links. A program that wants all asks the control socket.
const MAX_RECORDS_PER_SECOND: u32 = 2_000;
/// Reads of one client in a turn.
const READS_PER_TURN: usize = 4;

/// Bytes of one answer; the longest are lists of what has limits, such as the hosts.
const ANSWER_BYTES: usize = 256 * 1024;
/// Memory of one connection, at most. Buffers grow by doubling.
pub const CLIENT_BYTES: usize =
    size_of::<Client>() + 2 * (MAX_HEAD_BYTES + MAX_BODY_BYTES + MAX_UNREAD_BYTES + ANSWER_BYTES);

/// What an exchange is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// `/metrics`, in OpenMetrics or in the older format.
    Metrics { open: bool },
    /// `/rpc`
    Call,
    /// `/events`
    Events,
}

/// A request that its owner answers.
#[derive(Debug)]
struct Exchange {
    number: u64,
    purpose: Purpose,
    manner: Manner,
    /// The framing of a stream whose head is written.
    stream: Option<Framing>,
    /// Records that were left out and not told yet.
    missed: u64,
    /// Begin of the present second, and the records in it.
    second: Option<Instant>,
    records: u32,
}

/// How a request wants to be answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// Without the body.
    head_only: bool,
    is_http11: bool,
    pub(super) keeps_alive: bool,
}

impl Manner {
    pub(super) fn of(request: &Request) -> Manner {
        Manner {
            head_only: request.method == super::request::Method::Head,
            is_http11: request.is_http11,
            keeps_alive: request.keeps_alive,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// Closed for sending once the output has left.
    LastAnswer,
    /// Waiting for the other side to close.
    Lingering(Instant),
    Closed,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) stream: TcpStream,
    pub(super) ip: IpAddr,
    reader: RequestReader,
    phase: Phase,
    /// The socket may have input.
    readable: bool,
    /// The socket may take output.
    writable: bool,
    /// The reader may hold another request.
    pipelined: bool,
    /// No request came yet.
    is_new: bool,
    exchange: Option<Exchange>,
    out: Vec<u8>,
    sent: usize,
    /// Since when a request is awaited, or being read.
    awaited_since: Instant,
    /// Since when the output waits to be read.
    stalled_since: Instant,
    /// When the stream was written to last.
    written: Instant,
}

impl Client {
    pub(super) fn new(stream: TcpStream, ip: IpAddr, now: Instant) -> Client {
        Client {
            stream,
            ip,
            reader: RequestReader::default(),
            phase: Phase::Open,
            readable: true,
            writable: true,
            pipelined: false,
            is_new: true,
            exchange: None,
            out: Vec::new(),
            sent: 0,
            awaited_since: now,
            stalled_since: now,
            written: now,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// The number of the exchange under way.
    pub(super) fn exchange(&self) -> Option<u64> {
        self.exchange.as_ref().map(|it| it.number)
    }

    /// Since when it might make way for another: it has no exchange under way.
    pub(super) fn dispensable_since(&self) -> Option<Instant> {
        self.exchange.is_none().then_some(self.awaited_since)
    }

    pub(super) fn handle(&mut self, readable: bool, writable: bool) {
        self.readable |= readable;
        self.writable |= writable;
    }

    /// Whether the next turn finds something to do without any event. Nothing is read for a client
    /// that has not read its last answer.
    pub(super) fn has_input(&self) -> bool {
        match self.phase {
            Phase::Open if self.exchange.is_none() => {
                self.out.is_empty() && (self.readable || self.pipelined)
            }
            Phase::Open => self.readable && self.is_stream_of_events() && self.reader.room() > 0,
            Phase::LastAnswer => false,
            Phase::Lingering(_) => self.readable,
            Phase::Closed => false,
        }
    }

    fn is_stream_of_events(&self) -> bool {
        self.exchange.as_ref().is_some_and(|it| it.purpose == Purpose::Events)
    }

    /// Reads a bounded part of the input; the next request, if it is complete.
    pub(super) fn receive(&mut self, buffer: &mut [u8], now: Instant) -> Option<Box<Request>> {
        for _ in 0..READS_PER_TURN {
            if !self.has_input() {
                return None;
            }
            if self.phase == Phase::Open && self.exchange.is_none() {
                match self.reader.read() {
                    Ok(Some(Parsed::Request(request))) => {
                        (self.is_new, self.pipelined) = (false, false);
                        return Some(request);
                    }
                    Ok(Some(Parsed::Continue)) => self.put(now, b"HTTP/1.1 100 Continue\r\n\r\n"),
                    Ok(None) => self.pipelined = false,
                    Err(refused) => {
                        self.refuse(now, refused);
                        return None;
                    }
                }
            }
            self.read(buffer, now);
        }
        None
    }

    fn read(&mut self, buffer: &mut [u8], now: Instant) {
        let is_lingering = matches!(self.phase, Phase::Lingering(_));
        let room = if is_lingering { buffer.len() } else { self.reader.room().min(buffer.len()) };
        if room == 0 || !self.readable {
            return;
        }
        match self.stream.read(&mut buffer[..room]) {
            Ok(0) => self.phase = Phase::Closed,
            Ok(_) if is_lingering => {}
            Ok(count) => {
                if !self.reader.has_begun() {
                    self.awaited_since = now;
                }
                self.reader.feed(&buffer[..count]);
                self.pipelined = true;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.readable = false,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => self.phase = Phase::Closed,
        }
    }

    fn put(&mut self, now: Instant, bytes: &[u8]) {
        if self.out.is_empty() {
            self.stalled_since = now;
        }
        self.written = now;
        self.out.extend_from_slice(bytes);
    }

    /// Answers a request at once.
    pub(super) fn answer(&mut self, now: Instant, manner: Manner, head: &Head<'_>, body: &str) {
        let mut bytes = Vec::with_capacity(body.len() + 512);
        head.write(&mut bytes);
        if !manner.head_only {
            bytes.extend_from_slice(body.as_bytes());
        }
        self.put(now, &bytes);
        self.end_exchange(now, manner);
    }

    /// The last answer of this connection.
    fn refuse(&mut self, now: Instant, refused: Refusal) {
        let manner = Manner { head_only: false, is_http11: true, keeps_alive: false };
        self.say(now, manner, refused.status, "", refused.text);
    }

    /// Answers with a sentence. `extra` are lines of the head.
    pub(super) fn say(
        &mut self,
        now: Instant,
        manner: Manner,
        status: u16,
        extra: &str,
        text: &str,
    ) {
        let body = format!("{text}\n");
        let head = Head {
            status,
            content_type: "text/plain; charset=utf-8",
            framing: Framing::Length(body.len()),
            keeps_alive: manner.keeps_alive,
            nonce: None,
            extra,
        };
        self.answer(now, manner, &head, &body);
    }

    /// A request that its owner answers begins.
    pub(super) fn begin(&mut self, now: Instant, number: u64, purpose: Purpose, manner: Manner) {
        self.exchange = Some(Exchange {
            number,
            purpose,
            manner,
            stream: None,
            missed: 0,
            second: None,
            records: 0,
        });
        if purpose == Purpose::Events {
            self.begin_stream(now, "text/event-stream; charset=utf-8");
            if manner.head_only {
                self.end_exchange(now, manner);
            }
        }
    }

    fn begin_stream(&mut self, now: Instant, content_type: &str) {
        let Some(exchange) = &mut self.exchange else { return };
        let framing =
            if exchange.manner.is_http11 { Framing::Chunked } else { Framing::UntilClose };
        exchange.stream = Some(framing);
        let mut bytes = Vec::new();
        let keeps_alive = exchange.manner.keeps_alive;
        let head = Head { status: 200, content_type, framing, keeps_alive, nonce: None, extra: "" };
        head.write(&mut bytes);
        self.put(now, &bytes);
    }

    /// A notification of the exchange under way. Left out and counted while the client does not keep
    /// up; returns whether it was.
    pub(super) fn notify(&mut self, now: Instant, method: &str, params: &str) -> bool {
        let has_room = self.has_room(now);
        let Some(exchange) = &mut self.exchange else { return false };
        if !has_room {
            exchange.missed += 1;
            return true;
        }
        if exchange.second.is_none_or(|second| now >= second + Duration::from_secs(1)) {
            (exchange.second, exchange.records) = (Some(now), 0);
        }
        exchange.records += 1;
        if exchange.stream.is_none() {
            self.begin_stream(now, "application/x-ndjson");
        }
        self.tell_missed(now);
        self.record(now, method, params);
        false
    }

    /// Whether another record would be read, and soon.
    pub(super) fn has_room(&self, now: Instant) -> bool {
        let Some(exchange) = &self.exchange else { return false };
        let is_fast = exchange.purpose == Purpose::Events
            && exchange.records >= MAX_RECORDS_PER_SECOND
            && exchange.second.is_some_and(|second| now < second + Duration::from_secs(1));
        // What was left out is told once half of the room is free again, not at each gap.
        let room = if exchange.missed > 0 { MAX_UNREAD_BYTES / 2 } else { MAX_UNREAD_BYTES };
        !is_fast && self.out.len() - self.sent < room
    }

    fn tell_missed(&mut self, now: Instant) {
        let Some(exchange) = &mut self.exchange else { return };
        let missed = std::mem::take(&mut exchange.missed);
        if missed > 0 {
            self.record(now, "missed", &format!("{{\"missed\":{missed}}}"));
        }
    }

    fn record(&mut self, now: Instant, method: &str, params: &str) {
        let text = if self.is_stream_of_events() {
            format!("event: {method}\ndata: {params}\n\n")
        } else {
            format!("{{\"jsonrpc\":\"2.0\",\"method\":\"{method}\",\"params\":{params}}}\n")
        };
        self.piece(now, &text);
    }

    fn piece(&mut self, now: Instant, text: &str) {
        let Some(framing) = self.exchange.as_ref().and_then(|it| it.stream) else { return };
        let mut bytes = Vec::with_capacity(text.len() + 16);
        write_piece(&mut bytes, framing, text);
        self.put(now, &bytes);
    }

    /// The end of the exchange under way, and what its answer is, or ends with.
    pub(super) fn reply(&mut self, now: Instant, body: &str) {
        let Some(exchange) = &self.exchange else { return };
        let (manner, stream) = (exchange.manner, exchange.stream);
        let Some(framing) = stream else {
            let content_type = match exchange.purpose {
                Purpose::Metrics { open: true } => {
                    "application/openmetrics-text; version=1.0.0; charset=utf-8"
                }
                Purpose::Metrics { open: false } => "text/plain; version=0.0.4; charset=utf-8",
                Purpose::Call | Purpose::Events => "application/json",
            };
            let head = Head {
                status: 200,
                content_type,
                framing: Framing::Length(body.len()),
                keeps_alive: manner.keeps_alive,
                nonce: None,
                extra: "",
            };
            return self.answer(now, manner, &head, body);
        };
        self.tell_missed(now);
        if !body.is_empty() {
            self.piece(now, &format!("{body}\n"));
        }
        if framing == Framing::Chunked {
            self.put(now, b"0\r\n\r\n");
        }
        self.end_exchange(now, manner);
    }

    fn end_exchange(&mut self, now: Instant, manner: Manner) {
        let until_close =
            self.exchange.take().is_some_and(|it| it.stream == Some(Framing::UntilClose));
        if !manner.keeps_alive || until_close {
            self.phase = Phase::LastAnswer;
        }
        (self.awaited_since, self.pipelined) = (now, true);
    }

    /// Writes what the socket takes.
    pub(super) fn flush(&mut self, now: Instant) {
        while self.sent < self.out.len() && self.phase != Phase::Closed {
            if !self.writable {
                return self.compact();
            }
            match self.stream.write(&self.out[self.sent..]) {
                Ok(count) => {
                    self.sent += count;
                    if self.exchange.is_some() {
                        self.stalled_since = now;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.writable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.phase = Phase::Closed,
            }
        }
        self.out.clear();
        self.out.shrink_to(8 * 1024);
        self.sent = 0;
        if self.phase == Phase::LastAnswer {
            let shut = self.stream.shutdown(Shutdown::Write);
            self.phase = if shut.is_ok() { Phase::Lingering(now + LINGER) } else { Phase::Closed };
        }
    }

    /// Gives back the room of what was sent, once that is most of it.
    fn compact(&mut self) {
        if self.sent > self.out.len() / 2 {
            self.out.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// When [`Client::handle_timeout`] has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match (self.phase, &self.exchange) {
            (Phase::Lingering(until), _) => Some(until),
            (Phase::Closed, _) => None,
            _ if !self.out.is_empty() => Some(self.stalled_since + STALL_TIMEOUT),
            (_, Some(exchange)) => {
                (exchange.purpose == Purpose::Events).then_some(self.written + COMMENT_INTERVAL)
            }
            (_, None) if self.reader.is_in_body() => Some(self.awaited_since + BODY_TIMEOUT),
            (_, None) if self.reader.has_begun() || self.is_new => {
                Some(self.awaited_since + HEAD_TIMEOUT)
            }
            (_, None) => Some(self.awaited_since + IDLE_TIMEOUT),
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.deadline().is_none_or(|at| at > now) {
            return;
        }
        if self.phase != Phase::Open || !self.out.is_empty() {
            self.phase = Phase::Closed;
        } else if self.exchange.is_some() {
            self.piece(now, ":\n\n");
        } else if self.reader.has_begun() {
            let text = "the request was not complete in time";
            self.refuse(now, Refusal { status: 408, text });
        } else {
            self.phase = Phase::Closed;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream as StdStream};

    /// A client, its other end, and the time.
    fn pair() -> (Client, StdStream, Instant) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let far = StdStream::connect(listener.local_addr().unwrap()).unwrap();
        let (near, from) = listener.accept().unwrap();
        near.set_nonblocking(true).unwrap();
        let now = Instant::now();
        (Client::new(TcpStream::from_std(near), from.ip(), now), far, now)
    }

    fn receive(client: &mut Client, far: &mut StdStream, bytes: &[u8], now: Instant) -> bool {
        far.write_all(bytes).unwrap();
        let mut buffer = vec![0; 16 * 1024];
        client.handle(true, true);
        loop {
            // The bytes cross the kernel in their own time.
            let request = client.receive(&mut buffer, now);
            client.handle(true, false);
            if request.is_some() || client.reader.has_begun() {
                return request.is_some();
            }
        }
    }

    fn at(now: Instant, seconds: u64) -> Instant {
        now + Duration::from_secs(seconds)
    }

    #[test]
    fn a_connection_that_says_nothing_is_closed_and_half_a_head_is_told_so() {
        let (mut client, _far, now) = pair();
        assert_eq!(client.deadline(), Some(now + HEAD_TIMEOUT));
        client.handle_timeout(at(now, 9));
        assert!(!client.is_closed());
        client.handle_timeout(at(now, 10));
        assert!(client.is_closed());

        let (mut client, mut far, now) = pair();
        assert!(!receive(&mut client, &mut far, b"GET / HT", at(now, 5)));
        client.handle_timeout(at(now, 14));
        assert!(!client.is_closed() && client.out.is_empty());
        client.handle_timeout(at(now, 15));
        assert!(client.out.starts_with(b"HTTP/1.1 408 Request Timeout\r\n"));
        client.flush(at(now, 15));
        assert_eq!(client.phase, Phase::Lingering(at(now, 15) + LINGER));
        client.handle_timeout(at(now, 17));
        assert!(client.is_closed());
    }

    #[test]
    fn a_stream_without_events_has_comments_and_one_that_nobody_reads_ends() {
        let (mut client, mut far, now) = pair();
        assert!(receive(&mut client, &mut far, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", now));
        let manner = Manner { head_only: false, is_http11: true, keeps_alive: true };
        client.begin(now, 1, Purpose::Events, manner);
        client.flush(now);
        assert!(client.out.is_empty());
        client.handle_timeout(at(now, 14));
        assert!(client.out.is_empty());
        client.handle_timeout(at(now, 15));
        assert_eq!(client.out, b"3\r\n:\n\n\r\n");
        // Nothing is written meanwhile: as if the other end did not read.
        client.handle_timeout(at(now, 44));
        assert!(!client.is_closed());
        client.handle_timeout(at(now, 45));
        assert!(client.is_closed());
    }

    #[test]
    fn between_requests_a_client_may_idle_for_a_while() {
        let (mut client, mut far, now) = pair();
        assert!(receive(&mut client, &mut far, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", now));
        let manner = Manner { head_only: false, is_http11: true, keeps_alive: true };
        client.say(now, manner, 200, "", "ok");
        assert!(!client.has_input(), "no further request while the answer is not read");
        client.flush(now);
        client.handle_timeout(at(now, 29));
        assert!(!client.is_closed());
        client.handle_timeout(at(now, 30));
        assert!(client.is_closed());
    }
}
