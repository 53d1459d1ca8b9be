//! Response heads, read and written.

use super::{
    ContentRange, MAX_HEADERS, PRODUCT, PartsError, Status, Version, content_length, decimal,
    header, keep_alive, parts,
};
use std::fmt;
use std::time::Duration;

/// The parts of a response that matter for fetching a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// The three digits, 100 to 999.
    pub status: u16,
    /// Length of the body in bytes, if given.
    pub content_length: Option<u64>,
    /// The range that the body holds, if given.
    pub content_range: Option<ContentRange>,
    /// Whether another request may follow on this connection.
    pub keep_alive: bool,
    /// `Retry-After` of a busy peer, if given in seconds.
    pub retry_after: Option<Duration>,
    /// Validator of the file's version, if given: its `ETag`, else its `Last-Modified`.
    pub validator: Option<Vec<u8>>,
}

/// Why a response cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseError {
    /// Not an HTTP response, or one that contradicts itself
    Malformed,
    /// No end within [`MAX_HEAD_BYTES`](super::MAX_HEAD_BYTES), or more than 64 header lines
    TooLarge,
    /// The body is chunked or compressed, which no Gnutella servent does to a file
    TransferEncoding,
}

impl fmt::Display for ResponseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ResponseError::Malformed => "not an HTTP response",
            ResponseError::TooLarge => "the response head is above 8 KiB or 64 lines",
            ResponseError::TransferEncoding => "the body is chunked, which is not supported",
        })
    }
}

impl std::error::Error for ResponseError {}

/// Reads the response head at the start of `buf` and tells its length in bytes; `None` means that
/// more bytes are needed.
pub fn parse_response(buf: &[u8]) -> Result<Option<(ResponseHead, usize)>, ResponseError> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let parts = match parts(buf, &mut headers) {
        Ok(Some(parts)) => parts,
        Ok(None) => return Ok(None),
        Err(PartsError::TooLarge) => return Err(ResponseError::TooLarge),
        Err(PartsError::Malformed) => return Err(ResponseError::Malformed),
    };
    let (status, version) = status_line(parts.line).ok_or(ResponseError::Malformed)?;
    if header(parts.headers, "Transfer-Encoding")
        .is_some_and(|coding| !coding.eq_ignore_ascii_case(b"identity"))
    {
        return Err(ResponseError::TransferEncoding);
    }
    let content_range = match header(parts.headers, "Content-Range") {
        Some(value) => Some(ContentRange::parse(value).ok_or(ResponseError::Malformed)?),
        None => None,
    };
    let retry_after = header(parts.headers, "Retry-After")
        .and_then(decimal)
        .map(|seconds| Duration::from_secs(seconds.min(u64::from(u32::MAX))));
    let head = ResponseHead {
        status,
        content_length: content_length(parts.headers).map_err(|()| ResponseError::Malformed)?,
        content_range,
        keep_alive: keep_alive(version, parts.headers),
        retry_after,
        validator: header(parts.headers, "ETag")
            .or_else(|| header(parts.headers, "Last-Modified"))
            .map(<[u8]>::to_vec),
    };
    Ok(Some((head, parts.len)))
}

/// `HTTP/1.x NNN text`, `HTTP NNN text` or either without a text; only the number decides.
fn status_line(line: &[u8]) -> Option<(u16, Version)> {
    let rest = line.strip_prefix(b"HTTP")?;
    let space = memchr::memchr(b' ', rest)?;
    let version = match &rest[..space] {
        b"" => Version::Bare,
        [b'/', version @ ..] => Version::parse(version)?,
        _ => return None,
    };
    let rest = rest[space..].trim_ascii();
    let code = rest.split(|&byte| byte == b' ').next()?;
    let status = u16::try_from(decimal(code)?).ok()?;
    (code.len() == 3 && status >= 100).then_some((status, version))
}

/// A response to be written; its body, if any, follows separately.
#[derive(Clone, Copy, Debug)]
pub struct Reply {
    /// The dialect.
    pub version: Version,
    /// The outcome.
    pub status: Status,
    /// Whether we go on reading requests.
    pub keep_alive: bool,
    /// Length in bytes of the body (of the body GET would get, in answer to HEAD).
    pub length: u64,
    /// For 206 and 416.
    pub range: Option<ContentRange>,
    /// For 503.
    pub retry_after: Option<Duration>,
    /// The body is a page for a browser, with text of file names in it.
    pub is_page: bool,
}

impl Reply {
    /// Appends the head to `out`. The bare dialect spells header names as the 0.4 text does, for
    /// readers as old as it.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut text = format!(
            "{} {} {}\r\nServer: {PRODUCT}\r\n",
            self.version.text(),
            self.status.code(),
            self.status.text()
        );
        let (kind, length, range) = match self.version {
            Version::Bare => ("Content-type", "Content-length", "Content-range"),
            _ => ("Content-Type", "Content-Length", "Content-Range"),
        };
        if self.is_page {
            text += "Content-Type: text/html; charset=utf-8\r\n\
                     Content-Security-Policy: default-src 'none'\r\nX-Content-Type-Options: nosniff\r\n";
        } else if matches!(self.status, Status::Ok | Status::PartialContent) {
            text += &format!("{kind}: application/binary\r\n");
        }
        text += &format!("{length}: {}\r\n", self.length);
        if let Some(value) = self.range {
            text += &format!("{range}: {value}\r\n");
        }
        if let Some(delay) = self.retry_after {
            text += &format!("Retry-After: {}\r\n", delay.as_secs());
        }
        if self.status == Status::MethodNotAllowed {
            text += "Allow: GET, HEAD\r\n";
        }
        text += match (self.version, self.keep_alive) {
            (Version::Http11, true) => "",
            (_, true) => "Connection: Keep-Alive\r\n",
            (_, false) => "Connection: close\r\n",
        };
        text += "\r\n";
        out.extend_from_slice(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ResponseHead, ResponseError> {
        parse_response(text.as_bytes()).map(|found| found.expect("a complete head").0)
    }

    #[test]
    fn status_lines_of_many_kinds() {
        let status = |line: &str| parse(&format!("{line}\r\n\r\n")).map(|head| head.status);
        for line in ["HTTP/1.1 206 OK", "HTTP 206 OK", "HTTP/1.0 206", "HTTP 206", "HTTP/1.1 206 "]
        {
            assert_eq!(status(line), Ok(206), "{line}");
        }
        for line in ["HTTP/2.0 200 OK", "HTTP/1.1 20", "HTTP/1.1", "ICY 200 OK", "HTTP/1.1 2000"] {
            assert_eq!(status(line), Err(ResponseError::Malformed), "{line}");
        }
    }

    #[test]
    fn the_headers_a_download_needs() {
        let head = parse(
            "HTTP/1.1 206 Partial\r\ncontent-length: 3\r\nContent-range: bytes=1-3/5\r\n\
             Retry-After: 70\r\n\r\n",
        )
        .unwrap();
        assert_eq!(head.content_length, Some(3));
        assert_eq!(head.content_range, Some(ContentRange { span: Some((1, 3)), total: Some(5) }));
        assert_eq!(head.retry_after, Some(Duration::from_secs(70)));
        assert!(head.keep_alive);
        assert!(!parse("HTTP 200 OK\r\n\r\n").unwrap().keep_alive);
    }

    #[test]
    fn contradictions_and_chunks_are_refused() {
        let refuse = |header: &str| parse(&format!("HTTP/1.1 200 OK\r\n{header}\r\n\r\n"));
        assert_eq!(refuse("Transfer-Encoding: chunked"), Err(ResponseError::TransferEncoding));
        for header in [
            "Content-Length: 3\r\nContent-Length: 4",
            "Content-Length: -1",
            "Content-Range: bytes 3-1/5",
        ] {
            assert_eq!(refuse(header), Err(ResponseError::Malformed), "{header}");
        }
    }

    #[test]
    fn the_bare_dialect_is_the_one_serveez_wants() {
        let mut out = Vec::new();
        let reply = Reply {
            version: Version::Bare,
            status: Status::Ok,
            keep_alive: false,
            length: 5,
            range: None,
            is_page: false,
            retry_after: None,
        };
        reply.write(&mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("HTTP 200 OK\r\n"), "{text}");
        assert!(text.contains("\r\nContent-length: 5\r\n"), "{text}");
    }
}
