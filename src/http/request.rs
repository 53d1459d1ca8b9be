//! Bytes to HTTP/1.1 requests, without sockets.
//!
//! A head is looked at once its blank line has arrived, or once it cannot arrive within
//! [`MAX_HEAD_BYTES`], so that the result never depends on how TCP split the bytes. What two programs
//! could read in two ways is refused (RFC 9112, 11.2): several lengths, a length beside a transfer
//! coding, bare line feeds, a folded line, a body whose length is not given.

use httparse::{EMPTY_HEADER, Error, Header, Status};
use std::fmt;

/// Longest head, with its blank line.
pub const MAX_HEAD_BYTES: usize = 8 * 1024;
/// Longest body.
pub const MAX_BODY_BYTES: usize = 64 * 1024;
/// Most header lines; browsers send some 20.
const MAX_HEADERS: usize = 64;
/// Longest line with the size of a chunk: 16 digits, and an extension, which nobody sends.
const MAX_CHUNK_LINE_BYTES: usize = 128;

/// A request's method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `GET`
    Get,
    /// `HEAD`: the head of the answer to GET
    Head,
    /// `POST`
    Post,
    /// Any other.
    Other,
}

/// A request with its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its method.
    pub method: Method,
    /// The target up to a `?`, as it came; begins with `/`.
    pub path: String,
    /// What follows the `?`.
    pub query: String,
    /// Whether it is of HTTP/1.1, and may be answered in chunks.
    pub is_http11: bool,
    /// Whether another request may follow on the connection.
    pub keeps_alive: bool,
    /// `Host`
    pub host: Option<String>,
    /// `Origin`
    pub origin: Option<String>,
    /// `Authorization`
    pub authorization: Option<String>,
    /// `Accept`, several joined.
    pub accept: String,
    /// Its body.
    pub body: Vec<u8>,
}

/// Why a connection ends: what follows on it cannot be told apart any more, or is not wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status of the last answer.
    pub status: u16,
    /// One plain sentence.
    pub text: &'static str,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.status, self.text)
    }
}

impl std::error::Error for Refusal {}

const fn refusal(status: u16, text: &'static str) -> Refusal {
    Refusal { status, text }
}

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// A head whose sender waits for `100 Continue` before it sends the body.
    Continue,
    /// A whole request.
    Request(Box<Request>),
}

/// Where the rest of a body ends.
#[derive(Debug)]
enum Rest {
    /// After so many bytes.
    Length(usize),
    /// A line with the size of the next chunk comes.
    ChunkSize,
    /// After so many bytes of a chunk, and the end of its line.
    Chunk(usize),
    /// After the empty line that follows the last chunk.
    LastLine,
}

/// Reads the requests of one connection. Holds at most one head and one body.
#[derive(Debug, Default)]
pub struct RequestReader {
    /// What was fed and not understood yet.
    input: Vec<u8>,
    /// Beginning of `input` in which no head ends.
    scanned: usize,
    /// A request whose body is being read.
    pending: Option<(Box<Request>, Rest)>,
}

impl RequestReader {
    /// Bytes that may be fed now.
    pub fn room(&self) -> usize {
        (MAX_HEAD_BYTES + 1).saturating_sub(self.input.len())
    }

    /// Takes bytes of the connection, at most [`RequestReader::room`].
    pub fn feed(&mut self, bytes: &[u8]) {
        debug_assert!(bytes.len() <= self.room());
        self.input.extend_from_slice(bytes);
    }

    /// Whether a request has begun.
    pub fn has_begun(&self) -> bool {
        self.pending.is_some() || !self.input.is_empty()
    }

    /// Whether a head was read, and its body has not ended.
    pub fn is_in_body(&self) -> bool {
        self.pending.is_some()
    }

    /// The next thing that was fed in full. Once it has failed, it is not asked again.
    ///
    /// # Errors
    /// When the bytes are no request, or break a limit.
    pub fn read(&mut self) -> Result<Option<Read>, Refusal> {
        if self.pending.is_none() {
            let Some((request, rest, waits)) = self.head()? else { return Ok(None) };
            self.pending = Some((request, rest));
            if waits {
                return Ok(Some(Read::Continue));
            }
        }
        let Some((mut request, rest)) = self.pending.take() else { return Ok(None) };
        match self.body(&mut request.body, rest)? {
            Some(rest) => {
                self.pending = Some((request, rest));
                Ok(None)
            }
            None => Ok(Some(Read::Request(request))),
        }
    }

    fn head(&mut self) -> Result<Option<(Box<Request>, Rest, bool)>, Refusal> {
        // Some clients end the body before with a line end too many (RFC 9112, 2.2).
        while self.input.starts_with(b"\r\n") {
            self.take(2);
        }
        let Some(end) = self.head_end().filter(|end| *end <= MAX_HEAD_BYTES) else {
            let too_long = self.input.len() > MAX_HEAD_BYTES;
            let refused = refusal(431, "the head of the request is longer than 8 KiB");
            return if too_long { Err(refused) } else { Ok(None) };
        };
        let read = read_head(&self.input[..end])?;
        self.take(end);
        Ok(Some(read))
    }

    /// Length of the head, with its blank line.
    fn head_end(&mut self) -> Option<usize> {
        let from = self.scanned;
        for at in memchr::memchr_iter(b'\n', &self.input[from..]).map(|at| from + at) {
            match &self.input[at + 1..] {
                [b'\n', ..] => return Some(at + 2),
                [b'\r', b'\n', ..] => return Some(at + 3),
                _ => {}
            }
        }
        // The last line feed may be followed by the end of an empty line.
        self.scanned = self.input.len().saturating_sub(2);
        None
    }

    /// Reads as much of a body as there is; what is left of it.
    fn body(&mut self, body: &mut Vec<u8>, mut rest: Rest) -> Result<Option<Rest>, Refusal> {
        let bad = refusal(400, "the body is not in chunks, as its head says");
        loop {
            rest = match rest {
                Rest::Length(left) => {
                    let taken = left.min(self.input.len());
                    body.extend_from_slice(&self.input[..taken]);
                    self.take(taken);
                    return Ok((left > taken).then_some(Rest::Length(left - taken)));
                }
                Rest::ChunkSize => {
                    let Some((line, size)) = chunk_line(&self.input).ok_or(bad)? else {
                        return Ok(Some(Rest::ChunkSize));
                    };
                    if size > MAX_BODY_BYTES - body.len() {
                        return Err(TOO_LARGE);
                    }
                    self.take(line);
                    if size == 0 { Rest::LastLine } else { Rest::Chunk(size) }
                }
                Rest::Chunk(left) if left > 0 => {
                    let taken = left.min(self.input.len());
                    body.extend_from_slice(&self.input[..taken]);
                    self.take(taken);
                    if left > taken {
                        return Ok(Some(Rest::Chunk(left - taken)));
                    }
                    Rest::Chunk(0)
                }
                ref end @ (Rest::Chunk(_) | Rest::LastLine) => {
                    match self.input.get(..2) {
                        Some(b"\r\n") => self.take(2),
                        None if b"\r\n".starts_with(&self.input) => return Ok(Some(rest)),
                        // Also trailers, which nothing here would read.
                        _ => return Err(bad),
                    }
                    match end {
                        Rest::LastLine => return Ok(None),
                        _ => Rest::ChunkSize,
                    }
                }
            }
        }
    }

    fn take(&mut self, count: usize) {
        self.input.drain(..count);
        self.scanned = 0;
    }
}

/// Length of the line that begins a chunk, and the size it gives; `Some(None)` while it has no end.
/// httparse also takes a line without a size.
fn chunk_line(input: &[u8]) -> Option<Option<(usize, usize)>> {
    let begin = &input[..input.len().min(MAX_CHUNK_LINE_BYTES)];
    let Some(end) = memchr::memchr(b'\n', begin) else {
        return (input.len() < MAX_CHUNK_LINE_BYTES).then_some(None);
    };
    let line = begin[..end].strip_suffix(b"\r")?;
    let digits = line.split(|byte| *byte == b';').next()?;
    // `from_str_radix` takes a sign.
    if !(1..=16).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let size = u64::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
    Some(Some((end + 1, usize::try_from(size).unwrap_or(usize::MAX))))
}

const TOO_LARGE: Refusal = refusal(413, "the body of the request is longer than 64 KiB");

/// The request of a head, where its body ends, and whether its sender waits for `100 Continue`.
fn read_head(head: &[u8]) -> Result<(Box<Request>, Rest, bool), Refusal> {
    if memchr::memchr_iter(b'\n', head).any(|at| at == 0 || head[at - 1] != b'\r') {
        return Err(refusal(400, "a line of the head ends without a carriage return"));
    }
    let mut headers = [EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    match parsed.parse(head) {
        Ok(Status::Complete(_)) => {}
        Ok(Status::Partial) => return Err(refusal(400, "the head has no request line")),
        Err(Error::TooManyHeaders) => {
            return Err(refusal(431, "the head of the request has more than 64 lines"));
        }
        Err(Error::Version) => {
            return Err(refusal(505, "only HTTP/1.0 and HTTP/1.1 are spoken here"));
        }
        Err(_) => return Err(refusal(400, "this is not a request of HTTP/1.1")),
    }
    let is_http11 = parsed.version == Some(1);
    let headers = &*parsed.headers;
    let target = parsed.path.unwrap_or_default();
    if !target.starts_with('/') {
        return Err(refusal(400, "the target of the request is to be a path"));
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let host = single(headers, "host")?;
    if is_http11 && host.is_none() {
        return Err(refusal(400, "the request has no Host"));
    }
    let rest = framing(headers, parsed.method == Some("POST"), is_http11)?;
    let request = Request {
        method: match parsed.method {
            Some("GET") => Method::Get,
            Some("HEAD") => Method::Head,
            Some("POST") => Method::Post,
            _ => Method::Other,
        },
        path: path.to_owned(),
        query: query.to_owned(),
        is_http11,
        keeps_alive: is_http11 && !listed(headers, "connection", "close"),
        host,
        origin: single(headers, "origin")?,
        authorization: single(headers, "authorization")?,
        accept: values(headers, "accept").collect::<Vec<_>>().join(","),
        body: Vec::new(),
    };
    let waits = is_http11 && listed(headers, "expect", "100-continue");
    Ok((Box::new(request), rest, waits))
}

/// Where the body ends, which only one header may say.
fn framing(headers: &[Header<'_>], is_post: bool, is_http11: bool) -> Result<Rest, Refusal> {
    let length = single(headers, "content-length")?;
    let coding = single(headers, "transfer-encoding")?;
    match (length, coding) {
        (Some(_), Some(_)) => {
            Err(refusal(400, "the request has both a Content-Length and a Transfer-Encoding"))
        }
        (None, Some(coding)) if is_http11 && coding.eq_ignore_ascii_case("chunked") => {
            Ok(Rest::ChunkSize)
        }
        (None, Some(_)) => Err(refusal(501, "the only Transfer-Encoding understood is chunked")),
        (Some(length), None) => {
            // `parse` takes a sign.
            if length.is_empty() || !length.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(refusal(400, "the Content-Length is not a number"));
            }
            let length = length.parse().unwrap_or(usize::MAX);
            if length > MAX_BODY_BYTES { Err(TOO_LARGE) } else { Ok(Rest::Length(length)) }
        }
        (None, None) if is_post => {
            Err(refusal(411, "the request does not say how long its body is"))
        }
        (None, None) => Ok(Rest::Length(0)),
    }
}

fn values<'a>(headers: &'a [Header<'_>], name: &'a str) -> impl Iterator<Item = String> + 'a {
    headers
        .iter()
        .filter(move |header| header.name.eq_ignore_ascii_case(name))
        .map(|header| String::from_utf8_lossy(header.value.trim_ascii()).into_owned())
}

/// The value of a header that may stand once.
fn single(headers: &[Header<'_>], name: &str) -> Result<Option<String>, Refusal> {
    let mut found = values(headers, name);
    let first = found.next();
    if found.next().is_some() {
        return Err(refusal(400, "a header that may stand once stands twice"));
    }
    Ok(first)
}

/// Whether a header that is a list has `word`.
fn listed(headers: &[Header<'_>], name: &str, word: &str) -> bool {
    values(headers, name)
        .any(|value| value.split(',').any(|item| item.trim().eq_ignore_ascii_case(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything read of a stream in reads of `size` bytes.
    fn read(stream: &[u8], size: usize) -> (Vec<Read>, Option<Refusal>) {
        let (mut reader, mut found) = (RequestReader::default(), Vec::new());
        let mut left = stream;
        while !left.is_empty() {
            let (now, later) = left.split_at(size.min(left.len()).min(reader.room()));
            reader.feed(now);
            left = later;
            loop {
                match reader.read() {
                    Ok(Some(one)) => found.push(one),
                    Ok(None) => break,
                    Err(refused) => return (found, Some(refused)),
                }
            }
            assert!(reader.room() > 0, "a reader that is stuck");
        }
        (found, None)
    }

    fn refused(stream: impl AsRef<[u8]>) -> u16 {
        let (_, whole) = read(stream.as_ref(), usize::MAX);
        let (_, single) = read(stream.as_ref(), 1);
        assert_eq!(whole, single);
        whole.map_or(0, |refused| refused.status)
    }

    fn requests(stream: &[u8]) -> Vec<Request> {
        let whole = read(stream, usize::MAX);
        assert_eq!(whole.1, None);
        for size in [1, 2, 3, 7, 64] {
            assert_eq!(read(stream, size), whole, "reads of {size} bytes");
        }
        let requests = whole.0.into_iter().filter_map(|one| match one {
            Read::Request(request) => Some(*request),
            Read::Continue => None,
        });
        requests.collect()
    }

    #[test]
    fn requests_are_read_one_after_the_other() {
        let found = requests(
            b"GET /events?events=links HTTP/1.1\r\nHost: localhost:80\r\nAccept: a\r\naccept:b\r\n\r\n\
              \r\nPOST /rpc HTTP/1.1\r\nhost: a\r\nContent-Length: 3\r\nOrigin: http://a\r\n\
              Authorization: Bearer t\r\nConnection: x, Close\r\n\r\nabc\
              HEAD / HTTP/1.0\r\n\r\n",
        );
        let [first, second, third] = &found[..] else { panic!("{found:?}") };
        assert_eq!(
            (first.method, &*first.path, &*first.query),
            (Method::Get, "/events", "events=links")
        );
        assert_eq!((first.host.as_deref(), &*first.accept), (Some("localhost:80"), "a,b"));
        assert!(first.keeps_alive && first.is_http11);
        assert_eq!((second.method, &*second.body), (Method::Post, &b"abc"[..]));
        assert_eq!(second.authorization.as_deref(), Some("Bearer t"));
        assert_eq!(second.origin.as_deref(), Some("http://a"));
        assert!(!second.keeps_alive);
        assert_eq!(
            (third.method, third.is_http11, third.keeps_alive),
            (Method::Head, false, false)
        );
    }

    #[test]
    fn chunks_are_put_together() {
        let head = "POST /rpc HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n";
        let found = requests(
            format!("{head}3\r\nabc\r\n0a;x=y\r\n0123456789\r\n0\r\n\r\n{head}0\r\n\r\n")
                .as_bytes(),
        );
        assert_eq!(found[0].body, b"abc0123456789");
        assert_eq!(found[1].body, b"");
        for body in ["x\r\n", "3\r\nabcd\r\n", "-1\r\n", "3\nabc\r\n", "0\r\nA: b\r\n\r\n", "\r\n"]
        {
            assert_eq!(refused(format!("{head}{body}")), 400, "{body:?}");
        }
        assert_eq!(refused(format!("{head}1;{}", "x".repeat(200))), 400);
        assert_eq!(refused(format!("{head}1;{}\r\n", "x".repeat(200))), 400);
        assert_eq!(refused(format!("{head}10001\r\n")), 413);
        assert_eq!(refused(format!("{head}ffffffffffffffff\r\n")), 413);
        let most = format!("8000\r\n{}\r\n", "x".repeat(0x8000));
        assert_eq!(refused(format!("{head}{most}{most}1\r\n")), 413);
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let post =
            |headers: &str| refused(format!("POST /rpc HTTP/1.1\r\nHost: a\r\n{headers}\r\n"));
        assert_eq!(post("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"), 400);
        assert_eq!(post("Content-Length: 3\r\nContent-Length: 3\r\n"), 400);
        assert_eq!(post("Content-Length: 3, 3\r\n"), 400);
        assert_eq!(post("Content-Length: +3\r\n"), 400);
        assert_eq!(post("Content-Length: \r\n"), 400);
        assert_eq!(post("Content-Length: 65537\r\n"), 413);
        assert_eq!(post("Content-Length: 99999999999999999999\r\n"), 413);
        assert_eq!(post("Transfer-Encoding: gzip\r\n"), 501);
        assert_eq!(post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), 400);
        assert_eq!(post("Transfer-Encoding: xchunked\r\n"), 501);
        assert_eq!(post(""), 411);
        assert_eq!(post("Content-Length : 3\r\n"), 400);
        assert_eq!(post("A: b\r\n Content-Length: 3\r\n"), 400);
        assert_eq!(post("A: b\nContent-Length: 3\r\n"), 400);
        let old = "POST /rpc HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(refused(old), 501);
        assert_eq!(refused("GET / HTTP/1.1\r\n\r\n"), 400, "no Host");
        assert_eq!(refused("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"), 400);
        assert_eq!(refused("GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
        assert_eq!(refused("GET / HTTP/1.1\nHost: a\n\n"), 400);
        assert_eq!(refused("GET / HTTP/2.0\r\n\r\n"), 505);
        assert_eq!(refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505);
        assert_eq!(refused("\x16\x03\x01\x02\0\n\n"), 400, "TLS");
        assert_eq!(refused("\n\n"), 400);
    }

    #[test]
    fn a_head_has_a_longest_length() {
        let head = |len: usize| {
            let fixed = "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n".len();
            format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(len - fixed))
        };
        assert_eq!(refused(head(MAX_HEAD_BYTES)), 0);
        assert_eq!(refused(head(MAX_HEAD_BYTES + 1)), 431);
        assert_eq!(refused("x".repeat(MAX_HEAD_BYTES + 1)), 431);
        assert_eq!(refused("x".repeat(MAX_HEAD_BYTES)), 0);
        let lines = "A: b\r\n".repeat(MAX_HEADERS);
        assert_eq!(refused(format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n")), 431);
    }

    #[test]
    fn who_waits_for_a_sign_is_given_one() {
        let head =
            "POST /rpc HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\n";
        let mut reader = RequestReader::default();
        reader.feed(head.as_bytes());
        assert_eq!(reader.read(), Ok(Some(Read::Continue)));
        assert_eq!(reader.read(), Ok(None));
        reader.feed(b"x");
        assert!(matches!(reader.read(), Ok(Some(Read::Request(request))) if request.body == b"x"));
        assert!(!reader.has_begun());
    }
}
