//! The 0.4 hello and its answer, and the one-port dispatch by first line.
//!
//! We send the exact bytes GNU Serveez compares against and read a little more generously: CR LF
//! line ends are taken (annotated 0.4 specification, section 2), headers and other versions are
//! not, since 0.4 has none.

use std::fmt;

/// What the dialling side sends.
pub const CONNECT: &[u8] = b"GNUTELLA CONNECT/0.4\n\n";
/// What the accepting side answers.
pub const OK: &[u8] = b"GNUTELLA OK\n\n";

/// A first line may be this long before we stop reading it.
const MAX_LINE_BYTES: usize = 128;

/// What a connection that came in turns out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dispatch {
    /// Not enough bytes to tell.
    NeedMore,
    /// `GNUTELLA CONNECT/…`: a neighbour.
    Gnutella,
    /// `GET ` or `HEAD `: somebody wants a file.
    Http,
    /// `GIV `: a servent answers our Push.
    Giv,
    /// None of these: close without a word.
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

/// Why a hello came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandshakeError {
    /// The dialling side speaks something else.
    Unsupported {
        /// Its first line, or as much of it as we read.
        line: String,
    },
    /// The accepting side answered something other than OK.
    Refused {
        /// Its first line, or as much of it as we read.
        line: String,
    },
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
        }
    }
}

impl std::error::Error for HandshakeError {}

/// Reads a hello. `Ok(Some(n))`: complete in `n` bytes, binary descriptors follow; `Ok(None)`:
/// more bytes are needed.
///
/// # Errors
/// [`HandshakeError::Unsupported`] as soon as the bytes cannot become a 0.4 hello.
pub fn read_hello(bytes: &[u8]) -> Result<Option<usize>, HandshakeError> {
    match line_and_blank(bytes, b"GNUTELLA CONNECT/0.4") {
        Match::Complete(len) => Ok(Some(len)),
        Match::Partial => Ok(None),
        Match::Never => Err(HandshakeError::Unsupported { line: first_line(bytes) }),
    }
}

/// Reads the answer to our hello, like [`read_hello`]. Some old servents echo the hello instead
/// of saying OK, which counts as acceptance (annotated 0.4 specification, section 2).
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
    // A refusal is worth reading to its end of line: it says why.
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
