//! Query (0x80): a minimum speed, the words searched for, and extensions of later servents.

use super::error::DecodeError;
use super::header::Kind;
use super::reader::{check_len, split_nul};

/// The longest search text we originate. Serveez drops payloads above 257 bytes and
/// gtk-gnutella does not forward those above 256: two for the speed, one for the NUL.
pub const MAX_CRITERIA_BYTES: usize = 253;
/// The longest search text of others that is answered and forwarded. gtk-gnutella relays no longer
/// Query; a longer text can only be meant to cost work.
pub const MAX_FORWARDED_CRITERIA_BYTES: usize = 256;
/// The longest payload that is accepted.
pub const MAX_QUERY_BYTES: usize = 4_096;

/// Four spaces: "list everything you share", asked of a direct neighbour only (0.6 draft,
/// 2.2.7.3).
pub const INDEX_QUERY: &[u8] = b"    ";

mod field {
    pub(super) const SPEED: usize = 0;
    pub(super) const TEXT: usize = 2;
}

/// The first two bytes of a Query, which two generations of servents read differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MinSpeed {
    /// `00 00` to `01 00`, and everything unmarked: answer only if at least this fast, in kbit/s.
    Kbps(u16),
    /// The first byte has its top bit set: flags, read big endian, no speed at all.
    Flags(u16),
}

impl MinSpeed {
    /// The value we send: low enough for Serveez to answer, and not zero, which gtk-gnutella drops
    /// as ancient.
    pub const ANY: MinSpeed = MinSpeed::Kbps(1);

    fn decode(bytes: [u8; 2]) -> MinSpeed {
        match u16::from_be_bytes(bytes) {
            flags if flags & 0x8000 != 0 => MinSpeed::Flags(flags),
            _ => MinSpeed::Kbps(u16::from_le_bytes(bytes)),
        }
    }

    fn encode(self) -> [u8; 2] {
        match self {
            MinSpeed::Kbps(kbps) => kbps.to_le_bytes(),
            MinSpeed::Flags(flags) => flags.to_be_bytes(),
        }
    }

    /// Whether a servent of `kbps` should answer.
    pub fn satisfied_by(self, kbps: u32) -> bool {
        match self {
            MinSpeed::Kbps(wanted) => kbps >= u32::from(wanted),
            MinSpeed::Flags(_) => true,
        }
    }
}

/// A Query's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query<'a> {
    /// Which servents should answer.
    pub speed: MinSpeed,
    /// The words searched for, UTF-8 in practice, without the NUL.
    pub criteria: &'a [u8],
    /// Everything after the NUL, opaque.
    pub extension: &'a [u8],
}

impl<'a> Query<'a> {
    /// Reads a payload of 3 to 4,096 bytes with a NUL after the search text.
    #[inline]
    pub fn decode(payload: &'a [u8]) -> Result<Query<'a>, DecodeError> {
        check_len(Kind::Query, payload, 3..MAX_QUERY_BYTES + 1)?;
        let (criteria, extension) = split_nul(&payload[field::TEXT..])
            .ok_or(DecodeError::MissingNul { kind: Kind::Query, field: "search text" })?;
        let speed = MinSpeed::decode([payload[field::SPEED], payload[field::SPEED + 1]]);
        Ok(Query { speed, criteria, extension })
    }

    /// Appends the payload to `out`. `criteria` must hold no NUL.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.speed.encode());
        out.extend_from_slice(self.criteria);
        out.push(0);
        out.extend_from_slice(self.extension);
    }
}
