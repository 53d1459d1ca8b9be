//! The line `GIV INDEX:SERVENT-ID/NAME` that opens a connection made in answer to a Push.
//!
//! Only the servent id is relied on: the file is known from our own Push, and peers disagree about
//! index and name (LimeWire sends `0:ID/file`). The line is written as GNU Serveez, the strictest
//! reader, compares it byte for byte: the index of the Push, upper-case hex, two LF.

use data_encoding::{HEXUPPER, HEXUPPER_PERMISSIVE};
use std::fmt;

/// Longest line read or written, in bytes with its two line ends. A name is at most a file name
/// (255 bytes on every common file system, up to three bytes each when percent-encoded).
pub const MAX_GIV_BYTES: usize = 1024;

const TAG: &[u8] = b"GIV ";

/// What the servent that answers a Push says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Giv {
    /// The index of the Push; some peers send another number.
    pub index: u32,
    /// The servent that connects: the one the Push was sent to.
    pub servent_id: [u8; 16],
    /// Name of the file; bytes that are not UTF-8 are replaced.
    pub name: String,
}

/// Why a line is no GIV; the connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GivError {
    /// It cannot become a GIV line any more
    Malformed,
    /// It does not end within [`MAX_GIV_BYTES`]
    TooLong,
}

impl fmt::Display for GivError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GivError::Malformed => f.write_str("the line is not GIV INDEX:SERVENT-ID/NAME"),
            GivError::TooLong => write!(f, "the GIV line is above {MAX_GIV_BYTES} bytes"),
        }
    }
}

impl std::error::Error for GivError {}

impl Giv {
    /// Reads the line at the start of `buf`, with the empty line behind it, and tells the length
    /// of both in bytes; `None` means that more bytes are needed. CR LF is taken for LF.
    pub fn parse(buf: &[u8]) -> Result<Option<(Giv, usize)>, GivError> {
        let window = &buf[..buf.len().min(MAX_GIV_BYTES)];
        let unfinished = if buf.len() < MAX_GIV_BYTES { Ok(None) } else { Err(GivError::TooLong) };
        let Some(line_end) = memchr::memchr(b'\n', window) else { return unfinished };
        let len = match &window[line_end + 1..] {
            [b'\n', ..] => line_end + 2,
            [b'\r', b'\n', ..] => line_end + 3,
            [] | [b'\r'] => return unfinished,
            _ => return Err(GivError::Malformed),
        };
        let line = window[..line_end].strip_suffix(b"\r").unwrap_or(&window[..line_end]);
        Giv::parse_line(line).map(|giv| Some((giv, len))).ok_or(GivError::Malformed)
    }

    fn parse_line(line: &[u8]) -> Option<Giv> {
        let rest = line.strip_prefix(TAG)?;
        let colon = memchr::memchr(b':', rest)?;
        let index = std::str::from_utf8(&rest[..colon]).ok()?.trim().parse().ok()?;
        let (hex, rest) = rest[colon + 1..].split_at_checked(32)?;
        let id = HEXUPPER_PERMISSIVE.decode(hex).ok()?;
        let name = rest.strip_prefix(b"/")?;
        Some(Giv {
            index,
            servent_id: id.try_into().ok()?,
            name: String::from_utf8_lossy(name).into_owned(),
        })
    }

    /// Appends the line to `out`. Control characters would end it early and become `_`; a name
    /// that does not fit is cut.
    pub fn write(&self, out: &mut Vec<u8>) {
        let head = format!("GIV {}:{}/", self.index, HEXUPPER.encode(&self.servent_id));
        let name: String =
            self.name.chars().map(|c| if c.is_control() { '_' } else { c }).collect();
        let room = MAX_GIV_BYTES - head.len() - 2;
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(&name.as_bytes()[..name.floor_char_boundary(room)]);
        out.extend_from_slice(b"\n\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &[u8] = b"GIV 7:F0E1D2C3B4A59687FF78695A4B3C2D00/hello.txt\n\n";
    const ID: [u8; 16] = [
        0xf0, 0xe1, 0xd2, 0xc3, 0xb4, 0xa5, 0x96, 0x87, 0xff, 0x78, 0x69, 0x5a, 0x4b, 0x3c, 0x2d, 0,
    ];

    fn hello() -> Giv {
        Giv { index: 7, servent_id: ID, name: "hello.txt".to_owned() }
    }

    #[test]
    fn writes_what_serveez_compares_byte_for_byte() {
        let mut out = Vec::new();
        hello().write(&mut out);
        assert_eq!(out, LINE);
    }

    #[test]
    fn reads_every_spelling_at_every_split() {
        let crlf = b"GIV 7:f0e1d2c3b4a59687ff78695a4b3c2d00/hello.txt\r\n\r\n";
        for text in [LINE, &crlf[..]] {
            for cut in 0..text.len() {
                assert_eq!(Giv::parse(&text[..cut]), Ok(None), "{cut}");
            }
            assert_eq!(Giv::parse(text), Ok(Some((hello(), text.len()))));
        }
    }

    #[test]
    fn refuses_the_rest() {
        for text in [
            "GIV 7:F0E1/hello\n\n",
            "GIV x:F0E1D2C3B4A59687FF78695A4B3C2D00/a\n\n",
            "GIV 7:F0E1D2C3B4A59687FF78695A4B3C2D00\n\n",
            "GIV 7:F0E1D2C3B4A59687FF78695A4B3C2D00/a\nGET ",
            "GIVE\n\n",
        ] {
            assert_eq!(Giv::parse(text.as_bytes()), Err(GivError::Malformed), "{text}");
        }
        assert_eq!(Giv::parse(&[b'G'; MAX_GIV_BYTES]), Err(GivError::TooLong));
    }

    #[test]
    fn a_hostile_name_stays_one_line() {
        let mut out = Vec::new();
        let name = format!("a\n\nGET / {}", "\u{e4}".repeat(1000));
        Giv { name, ..hello() }.write(&mut out);
        assert!(out.len() <= MAX_GIV_BYTES);
        let (giv, len) = Giv::parse(&out).unwrap().unwrap();
        assert_eq!(len, out.len());
        assert!(giv.name.starts_with("a__GET / \u{e4}"));
    }
}
