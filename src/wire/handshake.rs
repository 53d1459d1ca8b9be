//! The lines of the 0.4 handshake, and the dispatch of inbound connections by their first line.
//!
//! Sent are the exact bytes that GNU Serveez compares against. Read is a little more: CR LF line
//! ends are accepted (annotated 0.4 specification, section 2); headers and other versions are not,
//! since 0.4 has none.

use super::handshake06::{FirstLine, LegError};
use std::fmt;

/// The version of Gnutella that a link speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dialect {
    /// Gnutella 0.4: a line each way, no headers.
    V0_4,
    /// Gnutella 0.6: three legs with headers.
    V0_6,
}

impl Dialect {
    /// As it is written: `0.4`, `0.6`.
    pub const fn name(self) -> &'static str {
        match self {
            Dialect::V0_4 => "0.4",
            Dialect::V0_6 => "0.6",
        }
    }

    /// The one with this name.
    pub fn named(name: &str) -> Option<Dialect> {
        [Dialect::V0_4, Dialect::V0_6].into_iter().find(|dialect| dialect.name() == name)
    }

    /// The one that is not this one.
    pub const fn other(self) -> Dialect {
        match self {
            Dialect::V0_4 => Dialect::V0_6,
            Dialect::V0_6 => Dialect::V0_4,
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Handshake of the dialling side.
pub const CONNECT: &[u8] = b"GNUTELLA CONNECT/0.4\n\n";
/// Answer of the accepting side.
pub const OK: &[u8] = b"GNUTELLA OK\n\n";

/// Longest first line that is read.
const MAX_LINE_BYTES: usize = 128;

/// What an inbound connection turns out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dispatch {
    /// More bytes are needed.
    NeedMore,
    /// `GNUTELLA CONNECT/…`: a link.
    Gnutella,
    /// `GET ` or `HEAD `: a request for a file.
    Http,
    /// `GIV `: a servent answers our Push.
    Giv,
    /// None of these: to be closed without an answer.
    Unknown,
}

/// Decides by the first bytes of an inbound connection.
pub fn dispatch(bytes: &[u8]) -> Dispatch {
    const OPENINGS: [(&[u8], Dispatch); 4] = [
        (b"GNUTELLA CONNECT/", Dispatch::Gnutella),
        (b"GET ", Dispatch::Http),
        (b"HEAD ", Dispatch::Http),
        (b"GIV ", Dispatch::Giv),
    ];
    let mut undecided = false;
    for (opening, meaning) in OPENINGS {
        if bytes.starts_with(opening) {
            return meaning;
        }
        undecided |= opening.starts_with(bytes);
    }
    if undecided { Dispatch::NeedMore } else { Dispatch::Unknown }
}

/// Why a handshake failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandshakeError {
    /// The dialling side does not speak 0.4.
    Unsupported {
        /// Its first line, as far as it was read.
        line: String,
    },
    /// The accepting side answered something other than OK.
    Refused {
        /// Its first line, as far as it was read.
        line: String,
    },
    /// A leg of 0.6 cannot be read.
    Leg(LegError),
    /// The other side of a 0.6 handshake refused.
    Status {
        /// Its code, never 200.
        code: u16,
        /// Its text, untrusted.
        text: String,
    },
    /// The first line is one of 0.6 that does not belong here.
    OutOfTurn(FirstLine),
    /// A leaf and a servent that is no ultrapeer have no use for each other.
    NoUltrapeer,
    /// The peer should have become a leaf, and did not.
    NoLeaf,
}

impl From<LegError> for HandshakeError {
    fn from(error: LegError) -> HandshakeError {
        HandshakeError::Leg(error)
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HandshakeError::Unsupported { line } => {
                write!(f, "the peer sent \"{line}\" instead of \"GNUTELLA CONNECT/0.4\"")
            }
            HandshakeError::Refused { line } => {
                write!(f, "the servent answered \"{line}\" instead of \"GNUTELLA OK\"")
            }
            HandshakeError::Leg(error) => error.fmt(f),
            HandshakeError::Status { code, text } => {
                write!(f, "the servent refused: {code} {}", text.trim_end())
            }
            HandshakeError::OutOfTurn(line) => {
                write!(f, "the peer sent \"{line}\" where a handshake has no such line")
            }
            HandshakeError::NoUltrapeer => {
                f.write_str("the peer is no ultrapeer, and a leaf has links with ultrapeers only")
            }
            HandshakeError::NoLeaf => {
                f.write_str("there is room for a leaf, and the peer stayed an ultrapeer")
            }
        }
    }
}

impl std::error::Error for HandshakeError {}

/// Reads the dialling side's handshake. `Ok(Some(n))`: complete in `n` bytes, binary descriptors follow; `Ok(None)`:
/// more bytes are needed.
///
/// # Errors
/// [`HandshakeError::Unsupported`] as soon as the bytes cannot become one of 0.4.
pub fn read_connect(bytes: &[u8]) -> Result<Option<usize>, HandshakeError> {
    match line_and_blank(bytes, b"GNUTELLA CONNECT/0.4") {
        Match::Complete(len) => Ok(Some(len)),
        Match::Partial => Ok(None),
        Match::Never => Err(HandshakeError::Unsupported { line: first_line(bytes) }),
    }
}

/// Reads the accepting side's answer, like [`read_connect`]. Some old servents echo our line instead
/// of answering OK, which counts as acceptance (annotated 0.4 specification, section 2).
///
/// # Errors
/// [`HandshakeError::Refused`] once a whole line, or more than a line may have, says otherwise.
pub fn read_answer(bytes: &[u8]) -> Result<Option<usize>, HandshakeError> {
    let answers = [&b"GNUTELLA OK"[..], b"GNUTELLA CONNECT/0.4"];
    let mut partial = false;
    for answer in answers {
        match line_and_blank(bytes, answer) {
            Match::Complete(len) => return Ok(Some(len)),
            Match::Partial => partial = true,
            Match::Never => {}
        }
    }
    // A refusal is read to the end of its line: it says why.
    let line_open = memchr::memchr(b'\n', bytes).is_none() && bytes.len() < MAX_LINE_BYTES;
    if partial || line_open {
        return Ok(None);
    }
    Err(HandshakeError::Refused { line: first_line(bytes) })
}

enum Match {
    Complete(usize),
    Partial,
    Never,
}

/// Matches `line`, a line end and an empty line, where a line end is LF or CR LF.
fn line_and_blank(bytes: &[u8], line: &[u8]) -> Match {
    if bytes.len() < line.len() {
        return if line.starts_with(bytes) { Match::Partial } else { Match::Never };
    }
    let Some(mut rest) = bytes.strip_prefix(line) else {
        return Match::Never;
    };
    for _ in 0..2 {
        rest = match rest {
            [b'\n', rest @ ..] | [b'\r', b'\n', rest @ ..] => rest,
            [] | [b'\r'] => return Match::Partial,
            _ => return Match::Never,
        };
    }
    Match::Complete(bytes.len() - rest.len())
}

/// The first line for an error text, with everything but printable ASCII replaced.
fn first_line(bytes: &[u8]) -> String {
    let line = bytes.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    let shown = &line[..line.len().min(MAX_LINE_BYTES)];
    shown
        .iter()
        .map(|&b| if b.is_ascii_graphic() || b == b' ' { char::from(b) } else { '.' })
        .collect()
}
