//! The heads of answers, and the bodies of those that say what is wrong.

use std::fmt::Write;

/// What every answer has: nothing is kept, guessed, embedded elsewhere or told to other sites.
const ALWAYS: &str = "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\
                      Referrer-Policy: no-referrer\r\nX-Frame-Options: DENY\r\n";

/// How an answer's body is told from what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes.
    Length(usize),
    /// Chunks.
    Chunked,
    /// It ends with the connection.
    UntilClose,
}

/// The head of an answer.
pub(super) struct Head<'a> {
    pub(super) status: u16,
    pub(super) content_type: &'a str,
    pub(super) framing: Framing,
    /// Whether another answer may follow.
    pub(super) keeps_alive: bool,
    /// The nonce of a page's own style and program.
    pub(super) nonce: Option<&'a str>,
    /// A line that only this answer has, with its end.
    pub(super) extra: &'a str,
}

impl Head<'_> {
    /// Appends the head with its blank line.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let Head { status, content_type, .. } = *self;
        let mut text =
            format!("HTTP/1.1 {status} {}\r\nContent-Type: {content_type}\r\n", reason(status));
        text.push_str(ALWAYS);
        // Writing to a string does not fail.
        let _ = match self.nonce {
            Some(nonce) => write!(
                text,
                "Content-Security-Policy: default-src 'none'; script-src 'nonce-{nonce}'; style-src \
                 'nonce-{nonce}'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
                 frame-ancestors 'none'\r\n"
            ),
            None => write!(
                text,
                "Content-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\n"
            ),
        };
        text.push_str(self.extra);
        let _ = match self.framing {
            Framing::Length(length) => write!(text, "Content-Length: {length}\r\n"),
            Framing::Chunked => write!(text, "Transfer-Encoding: chunked\r\n"),
            Framing::UntilClose => Ok(()),
        };
        if !self.keeps_alive {
            text.push_str("Connection: close\r\n");
        }
        text.push_str("\r\n");
        out.extend_from_slice(text.as_bytes());
    }
}

/// Appends a piece of a body.
pub(super) fn write_piece(out: &mut Vec<u8>, framing: Framing, piece: &str) {
    if framing == Framing::Chunked {
        out.extend_from_slice(format!("{:x}\r\n{piece}\r\n", piece.len()).as_bytes());
    } else {
        out.extend_from_slice(piece.as_bytes());
    }
}

/// The reason phrase of a status that is used here.
const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        411 => "Length Required",
        413 => "Content Too Large",
        421 => "Misdirected Request",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}
