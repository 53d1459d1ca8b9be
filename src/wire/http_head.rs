//! HTTP request and response heads as Gnutella peers write them, in both directions.
//!
//! httparse reads the header lines. The first line is read here, because real peers send what a
//! strict parser refuses: a raw space in the path (GNU Serveez), no version at all, and
//! `HTTP 200 OK` as a status line, which is what the 0.4 text itself prescribes.
//!
//! A head is looked at only once its blank line has arrived, or once it cannot arrive within
//! [`MAX_HEAD_BYTES`]. So the answer never depends on how TCP split the bytes.

mod get_path;
mod push_proxy;
mod range;
mod request;
mod response;

pub use get_path::{GetPath, GetPathError, encode_name};
pub use push_proxy::PushProxyPath;
pub use range::{ContentRange, RangeSpec, Unsatisfiable};
pub use request::{GetRequest, Method, RequestError, RequestHead, parse_request};
pub use response::{Reply, ResponseError, ResponseHead, parse_response};

use httparse::Header;

/// Longest head, in bytes with its blank line, that is read. gtk-gnutella stops at 16 KiB; what
/// real peers send stays below 2 KiB. This bounds the memory one connection can take before its
/// request is understood.
pub const MAX_HEAD_BYTES: usize = 8 * 1024;

/// Most header lines in one head; real peers send below 30.
const MAX_HEADERS: usize = 64;

/// The product name in `Server:` and `User-Agent:`.
const PRODUCT: &str = concat!("servent/", env!("CARGO_PKG_VERSION"));

/// How the first line names its version, and so which dialect a reply is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// No version: the request line ends after the path, the status line is `HTTP 200 OK`.
    Bare,
    /// `HTTP/1.0`
    Http10,
    /// `HTTP/1.1`, and later 1.x, which must understand 1.1
    Http11,
}

impl Version {
    /// Reads what follows `HTTP/`. `1.` without a minor number is sent by Serveez.
    fn parse(text: &[u8]) -> Option<Version> {
        match text {
            b"1." | b"1.0" => Some(Version::Http10),
            [b'1', b'.', b'1'..=b'9'] => Some(Version::Http11),
            _ => None,
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Version::Bare => "HTTP",
            Version::Http10 => "HTTP/1.0",
            Version::Http11 => "HTTP/1.1",
        }
    }
}

/// The statuses this servent answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// 200: the whole file follows
    Ok,
    /// 202: a Push is on its way
    Accepted,
    /// 206: a range of the file follows
    PartialContent,
    /// 400: not a request this servent can read
    BadRequest,
    /// 404: no such shared file
    NotFound,
    /// 405: an HTTP method that has no meaning here
    MethodNotAllowed,
    /// 410: the servent that a Push is for has no link with us
    Gone,
    /// 416: the range starts behind the end of the file
    RangeNotSatisfiable,
    /// 431: the head is longer than [`MAX_HEAD_BYTES`]
    HeadTooLarge,
    /// 501: an unknown method
    NotImplemented,
    /// 503: no upload slot is free
    Busy,
    /// 505: a version other than 1.x
    VersionNotSupported,
}

impl Status {
    /// The three digits.
    pub const fn code(self) -> u16 {
        match self {
            Status::Ok => 200,
            Status::Accepted => 202,
            Status::PartialContent => 206,
            Status::BadRequest => 400,
            Status::NotFound => 404,
            Status::MethodNotAllowed => 405,
            Status::Gone => 410,
            Status::RangeNotSatisfiable => 416,
            Status::HeadTooLarge => 431,
            Status::NotImplemented => 501,
            Status::Busy => 503,
            Status::VersionNotSupported => 505,
        }
    }

    /// The words after the code.
    pub const fn text(self) -> &'static str {
        match self {
            Status::Ok => "OK",
            Status::Accepted => "Push Sent",
            Status::PartialContent => "Partial Content",
            Status::BadRequest => "Bad Request",
            Status::NotFound => "Not Found",
            Status::MethodNotAllowed => "Method Not Allowed",
            Status::Gone => "Servent Not Connected",
            Status::RangeNotSatisfiable => "Range Not Satisfiable",
            Status::HeadTooLarge => "Request Header Fields Too Large",
            Status::NotImplemented => "Not Implemented",
            Status::Busy => "Service Unavailable",
            Status::VersionNotSupported => "HTTP Version Not Supported",
        }
    }
}

/// A complete head, split into its first line and its header lines.
struct Parts<'b, 'h> {
    line: &'b [u8],
    headers: &'h [Header<'b>],
    /// Length of the head with its blank line.
    len: usize,
}

/// Why a head cannot be split.
enum PartsError {
    TooLarge,
    Malformed,
}

/// Splits the head at the start of `buf`; `None` while its blank line is missing.
fn parts<'b, 'h>(
    buf: &'b [u8],
    headers: &'h mut [Header<'b>; MAX_HEADERS],
) -> Result<Option<Parts<'b, 'h>>, PartsError> {
    let Some(len) = head_end(&buf[..buf.len().min(MAX_HEAD_BYTES)]) else {
        return if buf.len() < MAX_HEAD_BYTES { Ok(None) } else { Err(PartsError::TooLarge) };
    };
    let head = &buf[..len];
    let line_end = memchr::memchr(b'\n', head).ok_or(PartsError::Malformed)?;
    let line = head[..line_end].strip_suffix(b"\r").unwrap_or(&head[..line_end]);
    if line.iter().any(|byte| byte.is_ascii_control()) {
        return Err(PartsError::Malformed);
    }
    match httparse::parse_headers(&head[line_end + 1..], headers) {
        Ok(httparse::Status::Complete((used, headers))) if line_end + 1 + used == len => {
            Ok(Some(Parts { line, headers, len }))
        }
        Err(httparse::Error::TooManyHeaders) => Err(PartsError::TooLarge),
        Ok(_) | Err(_) => Err(PartsError::Malformed),
    }
}

/// Where the head ends: behind the first line that is empty. Lines may end with a bare LF.
fn head_end(buf: &[u8]) -> Option<usize> {
    memchr::memchr_iter(b'\n', buf).find_map(|at| match &buf[at + 1..] {
        [b'\n', ..] => Some(at + 2),
        [b'\r', b'\n', ..] => Some(at + 3),
        _ => None,
    })
}

/// The first value of the header `name`, without the spaces around it.
fn header<'b>(headers: &[Header<'b>], name: &str) -> Option<&'b [u8]> {
    let found = headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
    found.map(|header| header.value.trim_ascii())
}

/// Whether the connection stays open after this message: 1.1 unless `close` is said, earlier
/// versions only if `keep-alive` is said.
fn keep_alive(version: Version, headers: &[Header<'_>]) -> bool {
    let says = |word: &[u8]| {
        headers
            .iter()
            .filter(|header| header.name.eq_ignore_ascii_case("Connection"))
            .flat_map(|header| header.value.split(|&byte| byte == b','))
            .any(|token| token.trim_ascii().eq_ignore_ascii_case(word))
    };
    !says(b"close") && (version == Version::Http11 || says(b"keep-alive"))
}

/// A decimal number of at least one digit and nothing else; saturates, since a number that does
/// not fit is still a number (a range beyond every file).
fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |sum, &byte| match byte {
        b'0'..=b'9' => Some(sum.saturating_mul(10).saturating_add(u64::from(byte - b'0'))),
        _ => None,
    })
}

/// The length every `Content-Length` header agrees on: `Ok(None)` if there is none, `Err` if one
/// is no number or two differ, which would let two readers see different messages.
fn content_length(headers: &[Header<'_>]) -> Result<Option<u64>, ()> {
    let mut length = None;
    for header in headers.iter().filter(|h| h.name.eq_ignore_ascii_case("Content-Length")) {
        let value = decimal(header.value.trim_ascii()).ok_or(())?;
        if length.is_some_and(|earlier| earlier != value) {
            return Err(());
        }
        length = Some(value);
    }
    Ok(length)
}
