//! Ping (0x00): empty in 0.4; later servents put a GGEP block there.

use super::error::DecodeError;
use super::header::Kind;
use super::reader::check_len;

/// A Ping's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ping<'a> {
    /// Opaque bytes, usually none.
    pub extension: &'a [u8],
}

impl<'a> Ping<'a> {
    /// Reads a payload of 0 to 2,048 bytes.
    pub fn decode(payload: &'a [u8]) -> Result<Ping<'a>, DecodeError> {
        check_len(Kind::Ping, payload, 0..2_049)?;
        Ok(Ping { extension: payload })
    }

    /// Appends the payload to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.extension);
    }
}
