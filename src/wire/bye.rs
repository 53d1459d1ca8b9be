//! Bye (0x02): why the sender is about to close. It comes from 0.6; this servent never sends it over
//! 0.4, but any peer may, and the answer is to close at once.

use super::error::DecodeError;
use super::header::Kind;
use super::reader::check_len;
use byteorder::{ByteOrder, LittleEndian};

mod field {
    use std::ops::Range;
    pub(super) const CODE: Range<usize> = 0..2;
    pub(super) const TEXT: usize = 2;
}

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

    /// Appends the payload to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.code.to_le_bytes());
        out.extend_from_slice(self.rest);
    }
}
