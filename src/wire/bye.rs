//! Bye (0x02): why the sender is about to close. It comes from 0.6; this servent never sends it over
//! 0.4, but any peer may, and the answer is to close at once. Behind the text may come headers, as in
//! a handshake (0.6 draft).

use super::error::DecodeError;
use super::header::Kind;
use super::reader::check_len;
use byteorder::{ByteOrder, LittleEndian};

mod field {
    use std::ops::Range;
    pub(super) const CODE: Range<usize> = 0..2;
    pub(super) const TEXT: usize = 2;
}

/// Longest text that is sent; a reason is a sentence.
const MAX_TEXT_BYTES: usize = 256;

/// A Bye's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bye<'a> {
    /// 2xx no fault, 4xx the receiver's fault, 5xx the sender's.
    pub code: u16,
    /// Everything behind the code, up to the end of the payload.
    pub rest: &'a [u8],
}

impl<'a> Bye<'a> {
    /// Reads a payload of 3 to 4,096 bytes. A missing NUL is accepted: the link ends anyway.
    pub fn decode(payload: &'a [u8]) -> Result<Bye<'a>, DecodeError> {
        check_len(Kind::Bye, payload, 3..4_097)?;
        Ok(Bye {
            code: LittleEndian::read_u16(&payload[field::CODE]),
            rest: &payload[field::TEXT..],
        })
    }

    /// The reason in words: up to the first line end or NUL.
    pub fn text(&self) -> &'a [u8] {
        let end = self.rest.iter().position(|byte| matches!(byte, 0 | b'\r' | b'\n'));
        &self.rest[..end.unwrap_or(self.rest.len())]
    }

    /// The lines behind the text, such as `Server: gtk-gnutella/1.2`: up to the empty line or the NUL.
    pub fn headers(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let lines = &self.rest[self.text().len()..];
        let end = lines.iter().position(|&byte| byte == 0);
        let lines = lines[..end.unwrap_or(lines.len())].split(|&byte| byte == b'\n');
        // The first is the end of the text's own line.
        lines.skip(1).map(|line| line.trim_ascii_end()).take_while(|line| !line.is_empty())
    }

    /// Appends a payload of our own: a code and one line of text. An empty Bye crashes gtk-gnutella
    /// 1.2.3, so an empty text becomes `Bye`.
    pub fn write(code: u16, text: &str, out: &mut Vec<u8>) {
        let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let line = if line.trim().is_empty() { "Bye" } else { &line };
        let line = &line[..line.floor_char_boundary(MAX_TEXT_BYTES)];
        Bye { code, rest: &[line.as_bytes(), &[0]].concat() }.encode(out);
    }

    /// Appends the payload to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.code.to_le_bytes());
        out.extend_from_slice(self.rest);
    }
}
