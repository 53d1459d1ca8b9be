//! Request heads, read and written.

use super::{
    MAX_HEADERS, PRODUCT, PartsError, RangeSpec, Status, Version, content_length, header,
    keep_alive, parts,
};
use std::fmt;
use std::net::SocketAddrV4;

/// The methods that are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// The file
    Get,
    /// The headers `Get` would be answered with
    Head,
}

/// The parts of a request that matter for serving files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The path with its leading slash, as sent: still percent-encoded, maybe with raw spaces.
    pub path: Vec<u8>,
    /// As the request line names it.
    pub version: Version,
    /// Whether a `Host` header is there, which 1.1 demands.
    pub has_host: bool,
    /// The range asked for; a `Range` header that makes no sense is ignored.
    pub range: Option<RangeSpec>,
    /// Whether the sender keeps the connection open for another request.
    pub keep_alive: bool,
    /// Whether a `Content-Range` header is there. It means nothing in a request, but Serveez
    /// sends it, and accepts nothing but `HTTP 200 OK` in return.
    pub has_content_range: bool,
    /// The address in an `X-Node` header: where a push proxy's Push is to be answered.
    pub node: Option<SocketAddrV4>,
}

impl RequestHead {
    /// The dialect in which the sender wants its answer.
    pub fn reply_version(&self) -> Version {
        match self.version {
            Version::Http10 if self.has_content_range => Version::Bare,
            version => version,
        }
    }
}

/// Why a request is refused. The connection is closed after the answer, since the start of the next
/// request is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// Not an HTTP request
    Malformed,
    /// No end within [`MAX_HEAD_BYTES`](super::MAX_HEAD_BYTES), or more than 64 header lines
    TooLarge,
    /// A body follows, which no request served here has
    HasBody,
    /// A method of HTTP that is not served
    NotAllowed,
    /// Any other method
    UnknownMethod,
    /// A version that is not 1.x
    UnknownVersion,
}

impl RequestError {
    /// The status to refuse with.
    pub const fn status(self) -> Status {
        match self {
            RequestError::Malformed | RequestError::HasBody => Status::BadRequest,
            RequestError::TooLarge => Status::HeadTooLarge,
            RequestError::NotAllowed => Status::MethodNotAllowed,
            RequestError::UnknownMethod => Status::NotImplemented,
            RequestError::UnknownVersion => Status::VersionNotSupported,
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RequestError::Malformed => "not an HTTP request",
            RequestError::TooLarge => "the request head is above 8 KiB or 64 lines",
            RequestError::HasBody => "the request has a body",
            RequestError::NotAllowed => "the method is neither GET nor HEAD",
            RequestError::UnknownMethod => "the method is not one of HTTP",
            RequestError::UnknownVersion => "the version is neither HTTP/1.0 nor HTTP/1.1",
        })
    }
}

impl std::error::Error for RequestError {}

/// An address as text.
fn address(text: &[u8]) -> Option<SocketAddrV4> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

/// Reads the request head at the start of `buf` and tells its length in bytes; `None` means that
/// more bytes are needed.
pub fn parse_request(buf: &[u8]) -> Result<Option<(RequestHead, usize)>, RequestError> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let parts = match parts(buf, &mut headers) {
        Ok(Some(parts)) => parts,
        Ok(None) => return Ok(None),
        Err(PartsError::TooLarge) => return Err(RequestError::TooLarge),
        Err(PartsError::Malformed) => return Err(RequestError::Malformed),
    };
    let (method, path, version) = request_line(parts.line)?;
    let length = content_length(parts.headers).map_err(|()| RequestError::Malformed)?;
    if length.is_some_and(|bytes| bytes > 0) || header(parts.headers, "Transfer-Encoding").is_some()
    {
        return Err(RequestError::HasBody);
    }
    let head = RequestHead {
        method,
        path: path.to_vec(),
        version,
        has_host: header(parts.headers, "Host").is_some(),
        range: header(parts.headers, "Range").and_then(RangeSpec::parse),
        keep_alive: keep_alive(version, parts.headers),
        has_content_range: header(parts.headers, "Content-Range").is_some(),
        node: header(parts.headers, "X-Node").and_then(address),
    };
    Ok(Some((head, parts.len)))
}

/// The version is looked for from the end, since the path may hold raw spaces.
fn request_line(line: &[u8]) -> Result<(Method, &[u8], Version), RequestError> {
    let space = memchr::memchr(b' ', line).ok_or(RequestError::Malformed)?;
    let method = match &line[..space] {
        b"GET" => Method::Get,
        b"HEAD" => Method::Head,
        b"POST" | b"PUT" | b"DELETE" | b"OPTIONS" | b"TRACE" | b"CONNECT" | b"PATCH" => {
            return Err(RequestError::NotAllowed);
        }
        other if !other.is_empty() && other.iter().all(u8::is_ascii_alphanumeric) => {
            return Err(RequestError::UnknownMethod);
        }
        _ => return Err(RequestError::Malformed),
    };
    let rest = &line[space + 1..];
    const TAG: &[u8] = b" HTTP/";
    let (path, version) = match memchr::memmem::rfind(rest, TAG) {
        Some(at) => match Version::parse(rest[at + TAG.len()..].trim_ascii_end()) {
            Some(version) => (&rest[..at], version),
            None => return Err(RequestError::UnknownVersion),
        },
        None => (rest, Version::Bare),
    };
    if path.first() != Some(&b'/') {
        return Err(RequestError::Malformed);
    }
    Ok((method, path, version))
}

/// A GET request to be written.
#[derive(Clone, Debug)]
pub struct GetRequest<'a> {
    /// The path with its leading slash, as it is to appear on the wire: no control characters.
    pub path: &'a [u8],
    /// `HOST:PORT` of the other side.
    pub host: &'a str,
    /// The first byte wanted.
    pub from: u64,
    /// The last byte wanted; `None` is the rest of the file. All of it has no `Range` header.
    pub to: Option<u64>,
}

impl GetRequest<'_> {
    /// Appends the head to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"GET ");
        out.extend_from_slice(self.path);
        let rest = format!(" HTTP/1.1\r\nHost: {}\r\nUser-Agent: {PRODUCT}\r\n", self.host);
        out.extend_from_slice(rest.as_bytes());
        match (self.from, self.to) {
            (0, None) => {}
            (from, None) => out.extend_from_slice(format!("Range: bytes={from}-\r\n").as_bytes()),
            (from, Some(to)) => {
                out.extend_from_slice(format!("Range: bytes={from}-{to}\r\n").as_bytes());
            }
        }
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<RequestHead, RequestError> {
        parse_request(text.as_bytes()).map(|found| {
            let (head, len) = found.expect("a complete head");
            assert_eq!(len, text.len());
            head
        })
    }

    #[test]
    fn the_serveez_request_is_read() {
        let head = parse(
            "GET /get/7/zebra sample.txt HTTP/1.0\r\nUser-agent: Gnutella\r\n\
             Content-range: bytes=0-\r\n\r\n",
        )
        .unwrap();
        assert_eq!(head.path, b"/get/7/zebra sample.txt");
        assert_eq!((head.version, head.reply_version()), (Version::Http10, Version::Bare));
        assert!(!head.keep_alive && head.range.is_none() && head.has_content_range);
    }

    #[test]
    fn request_lines_of_many_kinds() {
        let version = |line: &str| parse(&format!("{line}\r\n\r\n")).map(|head| head.version);
        assert_eq!(version("GET /get/1/a"), Ok(Version::Bare));
        assert_eq!(version("GET /get/1/a HTTP/1.1"), Ok(Version::Http11));
        assert_eq!(version("GET /gnutella-net HTTP/1."), Ok(Version::Http10));
        assert_eq!(version("HEAD /x HTTP/1.7"), Ok(Version::Http11));
        assert_eq!(version("GET /x HTTP/2.0"), Err(RequestError::UnknownVersion));
        assert_eq!(version("POST /x HTTP/1.1"), Err(RequestError::NotAllowed));
        assert_eq!(version("BREW /x HTTP/1.1"), Err(RequestError::UnknownMethod));
        assert_eq!(version("GET x HTTP/1.1"), Err(RequestError::Malformed));
        assert_eq!(version("GET"), Err(RequestError::Malformed));
        assert_eq!(version(""), Err(RequestError::Malformed));
    }

    #[test]
    fn a_bare_lf_ends_lines_and_names_ignore_case() {
        let head =
            parse("GET /x HTTP/1.0\nrange: bytes=2-\nCONNECTION: x, keep-alive\n\n").unwrap();
        assert_eq!(head.range, Some(RangeSpec::From(2)));
        assert!(head.keep_alive);
        assert!(!parse("GET /x HTTP/1.1\r\nConnection: Close\r\n\r\n").unwrap().keep_alive);
    }

    #[test]
    fn a_body_cannot_hide_a_second_request() {
        for extra in ["Content-Length: 4", "Transfer-Encoding: chunked"] {
            let text = format!("GET /x HTTP/1.1\r\nHost: a\r\n{extra}\r\n\r\n");
            assert_eq!(parse(&text), Err(RequestError::HasBody));
        }
        assert!(parse("GET /x HTTP/1.1\r\nContent-Length: 0\r\n\r\n").is_ok());
    }

    #[test]
    fn the_limit_is_exact() {
        let fill = "a".repeat(super::super::MAX_HEAD_BYTES - "GET /x\r\nA: \r\n\r\n".len());
        assert!(parse(&format!("GET /x\r\nA: {fill}\r\n\r\n")).is_ok());
        assert_eq!(parse(&format!("GET /x\r\nA: {fill}a\r\n\r\n")), Err(RequestError::TooLarge));
        assert_eq!(parse_request(&[b'A'; 8191]), Ok(None));
        assert_eq!(parse_request(&[b'A'; 8192]), Err(RequestError::TooLarge));
    }

    #[test]
    fn what_we_write_we_read() {
        let mut out = Vec::new();
        let request =
            |to| GetRequest { path: b"/get/3/a%20b", host: "192.0.2.1:6346", from: 5, to };
        request(Some(9)).write(&mut out);
        let (head, len) = parse_request(&out).unwrap().unwrap();
        assert_eq!((len, head.range), (out.len(), Some(RangeSpec::Span(5, 9))));
        out.clear();
        request(None).write(&mut out);
        let (head, len) = parse_request(&out).unwrap().unwrap();
        assert_eq!((len, head.range), (out.len(), Some(RangeSpec::From(5))));
        assert!(head.has_host && head.keep_alive);
    }
}
