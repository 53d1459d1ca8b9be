//! GGEP: named extensions of a Ping, Pong, Push, Query, result or trailer (GGEP 0.51; the GGEP of
//! gtk-gnutella and LimeWire).
//!
//! | item | layout |
//! |---|---|
//! | block | `c3`, extensions, the last of them flagged |
//! | flags | bit 7 last, 6 COBS, 5 deflated, 4 zero, 3–0 length of the id |
//! | id | 1 to 15 bytes, compared exactly |
//! | length | 1 to 3 bytes of six bits, most significant first; bit 7 more follow, bit 6 last |
//! | data | deflated first, then COBS |
//!
//! A block is read as a view: what is not understood is passed on byte for byte. Data is decoded on
//! request, one extension at a time and within a bound.

mod cobs;
mod known;

pub use known::{Meaning, describe, put_addresses, put_number};

use super::deflate::{self, InflateError};
use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddrV4;

/// The byte that begins a block.
pub const MAGIC: u8 = 0xc3;
/// Most bytes that the data of one extension may inflate to: no more than a payload may have.
pub const MAX_INFLATED_BYTES: usize = 65_536;
/// Most bytes that numbers inflate to, and addresses: 64 of them, when gtk-gnutella sends 10 to 15.
/// Reading them is to cost no more than what carries them.
const MAX_NUMBER_BYTES: usize = 8;
const MAX_ADDRESS_BYTES: usize = 6 * 64;
/// Most extensions of one block. gtk-gnutella reads 32; the longest recorded block has 6.
pub const MAX_EXTENSIONS: usize = 32;
/// Longest data that three bytes of length can announce.
pub const MAX_DATA_BYTES: usize = (1 << 18) - 1;
/// Longest id: its length has four bits.
pub const MAX_ID_BYTES: usize = 15;

mod flag {
    pub(super) const LAST: u8 = 0x80;
    pub(super) const COBS: u8 = 0x40;
    pub(super) const DEFLATED: u8 = 0x20;
    pub(super) const RESERVED: u8 = 0x10;
    pub(super) const ID_LEN: u8 = 0x0f;
    /// Of a length byte: another one follows, and none does.
    pub(super) const MORE: u8 = 0x80;
    pub(super) const END: u8 = 0x40;
    pub(super) const SIX_BITS: u8 = 0x3f;
}

/// Why bytes are no block, or data cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GgepError {
    /// The first byte is not [`MAGIC`].
    NoMagic,
    /// The reserved bit of a flag byte is set.
    ReservedBit,
    /// An extension without id.
    NoId,
    /// A length byte with neither or both of its two flags, or a fourth.
    BadLength,
    /// The bytes end within an extension.
    CutShort,
    /// More than [`MAX_EXTENSIONS`].
    TooMany,
    /// Bytes behind the block where only a block may stand.
    BytesBehind,
    /// COBS that encodes nothing.
    BadCobs,
    /// Data that does not inflate.
    Inflate(InflateError),
}

impl fmt::Display for GgepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GgepError::NoMagic => f.write_str("a GGEP block begins with c3"),
            GgepError::ReservedBit => f.write_str("a reserved bit of a GGEP extension is set"),
            GgepError::NoId => f.write_str("a GGEP extension has no id"),
            GgepError::BadLength => f.write_str("the length of a GGEP extension is malformed"),
            GgepError::CutShort => f.write_str("the GGEP block is cut short"),
            GgepError::TooMany => {
                write!(f, "a GGEP block may have {MAX_EXTENSIONS} extensions, more came")
            }
            GgepError::BytesBehind => f.write_str("bytes follow the GGEP block"),
            GgepError::BadCobs => f.write_str("the COBS encoding is broken"),
            GgepError::Inflate(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for GgepError {}

/// A block whose layout has been checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ggep<'a> {
    bytes: &'a [u8],
}

/// One extension of a block, as it lies there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extension<'a> {
    /// Its name, ASCII in practice.
    pub id: &'a [u8],
    flags: u8,
    /// Its data, still encoded.
    pub raw: &'a [u8],
}

impl<'a> Ggep<'a> {
    /// Reads the block that `bytes` begin with, and returns the bytes behind it.
    ///
    /// # Errors
    /// When it is no block. Data is not looked at: see [`Extension::data`].
    pub fn decode(bytes: &'a [u8]) -> Result<(Ggep<'a>, &'a [u8]), GgepError> {
        if bytes.first() != Some(&MAGIC) {
            return Err(GgepError::NoMagic);
        }
        let mut rest = &bytes[1..];
        for _ in 0..MAX_EXTENSIONS {
            let (extension, behind) = next_extension(rest)?;
            rest = behind;
            if extension.flags & flag::LAST != 0 {
                let len = bytes.len() - rest.len();
                return Ok((Ggep { bytes: &bytes[..len] }, rest));
            }
        }
        Err(GgepError::TooMany)
    }

    /// Reads bytes that are one block and nothing else: the extension of a Ping, Pong or Push. One NUL
    /// behind it is accepted: LimeWire's Pings end with it.
    ///
    /// # Errors
    /// As [`Ggep::decode`], and when bytes follow.
    pub fn decode_all(bytes: &'a [u8]) -> Result<Ggep<'a>, GgepError> {
        match Ggep::decode(bytes)? {
            (ggep, [] | [0]) => Ok(ggep),
            _ => Err(GgepError::BytesBehind),
        }
    }

    /// The block in the private data of a trailer: it begins at the first `c3`, behind bytes of the
    /// vendor's own. `None` if there is none or it is malformed.
    pub fn in_trailer(private: &'a [u8]) -> Option<Ggep<'a>> {
        let at = memchr::memchr(MAGIC, private)?;
        Ggep::decode(&private[at..]).ok().map(|(ggep, _)| ggep)
    }

    /// The extensions in order.
    pub fn extensions(&self) -> impl Iterator<Item = Extension<'a>> + use<'a> {
        let mut rest = &self.bytes[1..];
        std::iter::from_fn(move || {
            let (extension, behind) = next_extension(rest).ok()?;
            rest = behind;
            Some(extension)
        })
    }

    /// The first extension with an id.
    pub fn get(&self, id: &[u8]) -> Option<Extension<'a>> {
        self.extensions().find(|extension| extension.id == id)
    }

    /// The number in an extension such as LF. `None` if it is missing or no number.
    pub fn number(&self, id: &[u8]) -> Option<u64> {
        known::number(&self.get(id)?.data_within(MAX_NUMBER_BYTES).ok()?)
    }

    /// The addresses in an extension such as IPP, ALT or PUSH. Empty if it is missing or malformed.
    pub fn addresses(&self, id: &[u8]) -> Vec<SocketAddrV4> {
        let data = self.get(id).and_then(|it| it.data_within(MAX_ADDRESS_BYTES).ok());
        data.and_then(|data| known::addresses(&data)).unwrap_or_default()
    }

    /// The block as it was read.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

impl<'a> Extension<'a> {
    /// The data, decoded. Free unless it is encoded.
    ///
    /// # Errors
    /// When COBS or zlib is broken, or the data inflates to more than [`MAX_INFLATED_BYTES`].
    pub fn data(&self) -> Result<Cow<'a, [u8]>, GgepError> {
        self.data_within(MAX_INFLATED_BYTES)
    }

    /// The same, with another limit for what is inflated.
    fn data_within(&self, limit: usize) -> Result<Cow<'a, [u8]>, GgepError> {
        let mut data = Cow::Borrowed(self.raw);
        if self.flags & flag::COBS != 0 {
            data = Cow::Owned(cobs::decode(&data).ok_or(GgepError::BadCobs)?);
        }
        if self.flags & flag::DEFLATED != 0 {
            let inflated = deflate::inflate(&data, limit);
            data = Cow::Owned(inflated.map_err(GgepError::Inflate)?);
        }
        Ok(data)
    }

    /// Whether the data is deflated.
    pub fn is_deflated(&self) -> bool {
        self.flags & flag::DEFLATED != 0
    }
}

fn next_extension(bytes: &[u8]) -> Result<(Extension<'_>, &[u8]), GgepError> {
    let (&flags, rest) = bytes.split_first().ok_or(GgepError::CutShort)?;
    if flags & flag::RESERVED != 0 {
        return Err(GgepError::ReservedBit);
    }
    let id_len = usize::from(flags & flag::ID_LEN);
    if id_len == 0 {
        return Err(GgepError::NoId);
    }
    let (id, rest) = rest.split_at_checked(id_len).ok_or(GgepError::CutShort)?;
    let (len, rest) = length(rest)?;
    let (raw, rest) = rest.split_at_checked(len).ok_or(GgepError::CutShort)?;
    Ok((Extension { id, flags, raw }, rest))
}

fn length(mut bytes: &[u8]) -> Result<(usize, &[u8]), GgepError> {
    let mut len = 0;
    for _ in 0..3 {
        let (&byte, rest) = bytes.split_first().ok_or(GgepError::CutShort)?;
        bytes = rest;
        len = len << 6 | usize::from(byte & flag::SIX_BITS);
        match byte & (flag::MORE | flag::END) {
            flag::END => return Ok((len, rest)),
            flag::MORE => {}
            _ => return Err(GgepError::BadLength),
        }
    }
    Err(GgepError::BadLength)
}

/// Builds a block.
#[derive(Debug)]
pub struct GgepBuilder {
    bytes: Vec<u8>,
    /// Position of the last extension's flags.
    last: usize,
    count: usize,
    nul_free: bool,
}

impl GgepBuilder {
    /// A block for a Ping, Pong, Push, Query or trailer.
    pub fn new() -> GgepBuilder {
        GgepBuilder { bytes: vec![MAGIC], last: 0, count: 0, nul_free: false }
    }

    /// A block without zero bytes, as it stands between the two NULs of a result.
    pub fn nul_free() -> GgepBuilder {
        GgepBuilder { nul_free: true, ..GgepBuilder::new() }
    }

    /// Adds an extension. False, and nothing is added, if the id has not 1 to 15 bytes other than NUL,
    /// the data is too long, or the block is full.
    pub fn add(&mut self, id: &[u8], data: &[u8]) -> bool {
        let Some(id_len) = u8::try_from(id.len()).ok().filter(|len| (1..=15).contains(len)) else {
            return false;
        };
        let stuffed = self.nul_free && data.contains(&0);
        let data = if stuffed { Cow::Owned(cobs::encode(data)) } else { Cow::Borrowed(data) };
        if id.contains(&0) || data.len() > MAX_DATA_BYTES || self.count == MAX_EXTENSIONS {
            return false;
        }
        self.count += 1;
        self.last = self.bytes.len();
        self.bytes.push(id_len | if stuffed { flag::COBS } else { 0 });
        self.bytes.extend_from_slice(id);
        self.put_length(data.len());
        self.bytes.extend_from_slice(&data);
        true
    }

    /// The block; empty if nothing was added, since a block has at least one extension.
    pub fn finish(mut self) -> Vec<u8> {
        if self.count == 0 {
            return Vec::new();
        }
        self.bytes[self.last] |= flag::LAST;
        self.bytes
    }

    fn put_length(&mut self, len: usize) {
        for shift in [12, 6] {
            if len >> shift > 0 {
                self.bytes.push(flag::MORE | six_bits(len >> shift));
            }
        }
        self.bytes.push(flag::END | six_bits(len));
    }
}

impl Default for GgepBuilder {
    fn default() -> GgepBuilder {
        GgepBuilder::new()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "six bits are left")]
fn six_bits(value: usize) -> u8 {
    value as u8 & flag::SIX_BITS
}
