//! The three legs of the 0.6 handshake: a first line, headers, an empty line (0.6 draft, 2.1).
//!
//! ```text
//! dialling side   GNUTELLA CONNECT/0.6   headers   ─▶
//!              ◀─ GNUTELLA/0.6 200 OK    headers      accepting side
//! dialling side   GNUTELLA/0.6 200 OK    headers   ─▶
//! ```
//!
//! A line ends with CR LF; LF alone is accepted. Names are compared without case. A line that begins
//! with a space or tab continues the header before it, and headers of one name are one list, joined by
//! commas. Unknown headers are kept. A line that is no header (no colon, or a name that is no token)
//! is skipped but counts towards the limits. Control characters of a value become spaces, so
//! that a value taken from one peer cannot end a line sent to another.

mod headers;

pub use headers::Headers;

use super::handshake_end::BlankLine;
use std::fmt;

/// Most lines of one leg, its first and last included: what gtk-gnutella accepts.
pub const MAX_LEG_LINES: usize = 128;
/// Most bytes of one leg: what gtk-gnutella accepts. The longest recorded leg has 584.
pub const MAX_LEG_BYTES: usize = 16 * 1024;
/// Longest first line; that of a refusal has a sentence in it.
const MAX_FIRST_LINE_BYTES: usize = 256;
/// Longest text of a status that is kept or sent, so that its line fits: bytes that are not UTF-8 grow
/// when they are replaced.
const MAX_STATUS_BYTES: usize = 200;

/// Major and minor number of a protocol version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u8, pub u8);

impl Version {
    /// The version of this file.
    pub const V06: Version = Version(0, 6);

    fn parse(text: &str) -> Option<Version> {
        let (major, minor) = text.split_once('.')?;
        let number = |text: &str| {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|_| digits)
        };
        Some(Version(number(major)?, number(minor)?))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// The first line of a leg.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FirstLine {
    /// `GNUTELLA CONNECT/0.6`: asks for a link.
    Connect(Version),
    /// `GNUTELLA/0.6 200 OK`: goes on with code 200, refuses with any other.
    Status {
        /// The version of the side that answers.
        version: Version,
        /// The decision; 100 to 999.
        code: u16,
        /// The reason in words, free text.
        text: String,
    },
    /// `GNUTELLA OK`: the acceptance of 0.4, from a servent that overlooked the version.
    Ok04,
}

impl FirstLine {
    /// The line that goes on.
    pub fn ok() -> FirstLine {
        FirstLine::status(200, "OK")
    }

    /// A status line of this version. Control characters of the text become spaces, and it ends after
    /// 200 bytes.
    pub fn status(code: u16, text: &str) -> FirstLine {
        FirstLine::Status { version: Version::V06, code, text: status_text(text) }
    }

    fn parse(line: &[u8]) -> Result<FirstLine, LegError> {
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end();
        let wrong = || LegError::FirstLine { line: headers::clean(line) };
        if line == "GNUTELLA OK" {
            return Ok(FirstLine::Ok04);
        }
        if let Some(version) = line.strip_prefix("GNUTELLA CONNECT/") {
            return Version::parse(version).map(FirstLine::Connect).ok_or_else(wrong);
        }
        let rest = line.strip_prefix("GNUTELLA/").ok_or_else(wrong)?;
        let (version, rest) = rest.split_once(' ').ok_or_else(wrong)?;
        let (code, text) = rest.split_once(' ').unwrap_or((rest, ""));
        let code = Some(code).filter(|code| code.len() == 3 && !code.starts_with(['+', '0']));
        let code = code.and_then(|code| code.parse().ok()).ok_or_else(wrong)?;
        let version = Version::parse(version).ok_or_else(wrong)?;
        Ok(FirstLine::Status { version, code, text: status_text(text) })
    }
}

fn status_text(text: &str) -> String {
    let text = headers::clean(text);
    text[..text.floor_char_boundary(MAX_STATUS_BYTES)].trim_end().to_owned()
}

impl fmt::Display for FirstLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FirstLine::Connect(version) => write!(f, "GNUTELLA CONNECT/{version}"),
            FirstLine::Status { version, code, text } if text.is_empty() => {
                write!(f, "GNUTELLA/{version} {code}")
            }
            FirstLine::Status { version, code, text } => {
                write!(f, "GNUTELLA/{version} {code} {text}")
            }
            FirstLine::Ok04 => f.write_str("GNUTELLA OK"),
        }
    }
}

/// Why a leg cannot be read. The connection ends; an accepting side may say so first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LegError {
    /// The first line is none of Gnutella's, or longer than one may be.
    FirstLine {
        /// What was read of it.
        line: String,
    },
    /// More than [`MAX_LEG_LINES`] lines.
    TooManyLines,
    /// More than [`MAX_LEG_BYTES`] bytes.
    TooLong,
}

impl LegError {
    /// The status to refuse with: 413 for a limit, as gtk-gnutella does, else 400.
    pub fn status(&self) -> FirstLine {
        match self {
            LegError::FirstLine { .. } => FirstLine::status(400, "Bad handshake"),
            LegError::TooManyLines | LegError::TooLong => {
                FirstLine::status(413, "Headers too long")
            }
        }
    }
}

impl fmt::Display for LegError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LegError::FirstLine { line } => {
                write!(f, "\"{line}\" is not a first line of a Gnutella handshake")
            }
            LegError::TooManyLines => {
                write!(f, "a handshake may have {MAX_LEG_LINES} lines, more came")
            }
            LegError::TooLong => write!(f, "a handshake may have {MAX_LEG_BYTES} bytes, more came"),
        }
    }
}

impl std::error::Error for LegError {}

/// One leg of a handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leg {
    /// What it is: a request, or the answer to one.
    pub first: FirstLine,
    /// Its headers.
    pub headers: Headers,
}

impl Leg {
    /// Reads the lines of a complete leg, whose limits are kept.
    fn of_block(block: &[u8]) -> Result<Leg, LegError> {
        let mut lines = block.split(|&byte| byte == b'\n');
        let first = FirstLine::parse(lines.next().unwrap_or_default())?;
        Ok(Leg { first, headers: Headers::parse(lines) })
    }

    /// Appends the leg to `out`, its empty line included.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("{}\r\n", self.first).as_bytes());
        self.headers.write(out);
        out.extend_from_slice(b"\r\n");
    }
}

/// Reads one leg as its bytes arrive. Each byte is looked at once before the leg is complete, and no
/// more than [`MAX_LEG_BYTES`] are held.
#[derive(Debug, Default)]
pub struct LegReader {
    bytes: Vec<u8>,
    lines: usize,
    blank: BlankLine,
}

impl LegReader {
    /// Takes the next bytes. Returns the leg with how many of `input` it took, once it is complete;
    /// what follows belongs to the next leg or the link. The reader is then empty again.
    ///
    /// # Errors
    /// As soon as the bytes cannot become a leg. The connection is then of no use.
    pub fn read(&mut self, input: &[u8]) -> Result<Option<(Leg, usize)>, LegError> {
        for (at, &byte) in input.iter().enumerate() {
            if self.bytes.len() == MAX_LEG_BYTES {
                return Err(LegError::TooLong);
            }
            self.bytes.push(byte);
            let ends = self.blank.ends_at(byte);
            if byte == b'\n' {
                self.lines += 1;
                if self.lines > MAX_LEG_LINES {
                    return Err(LegError::TooManyLines);
                }
            }
            if self.lines == 0 && self.bytes.len() >= MAX_FIRST_LINE_BYTES
                || self.lines == 1 && byte == b'\n'
            {
                self.check_first_line()?;
            }
            if ends {
                let block = std::mem::take(self).bytes;
                return Ok(Some((Leg::of_block(&block)?, at + 1)));
            }
        }
        Ok(None)
    }

    fn check_first_line(&self) -> Result<(), LegError> {
        if self.lines == 0 {
            let line = headers::clean(&String::from_utf8_lossy(&self.bytes));
            return Err(LegError::FirstLine { line });
        }
        FirstLine::parse(&self.bytes).map(drop)
    }
}
