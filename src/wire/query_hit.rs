//! QueryHit (0x81): the address of the answering servent, its results, an optional vendor
//! trailer and its servent id.

use super::error::DecodeError;
use super::guid::ServentId;
use super::header::{Kind, MAX_PAYLOAD_BYTES};
use super::reader::{check_len, id16, port_then_ip, put_port_then_ip, split_nul};
use byteorder::{ByteOrder, LittleEndian};
use std::net::SocketAddrV4;

/// The count is one byte.
pub const MAX_RESULTS_PER_HIT: usize = 255;

mod field {
    use std::ops::Range;
    pub(super) const COUNT: usize = 0;
    pub(super) const ADDR: Range<usize> = 1..7;
    pub(super) const SPEED: Range<usize> = 7..11;
    pub(super) const RESULTS: usize = 11;
    /// Counted from the end.
    pub(super) const SERVENT_BYTES: usize = 16;

    pub(super) const RESULT_INDEX: Range<usize> = 0..4;
    pub(super) const RESULT_SIZE: Range<usize> = 4..8;
    pub(super) const RESULT_NAME: usize = 8;
}

/// A QueryHit's payload, its results checked but not copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueryHit<'a> {
    /// Address the files can be fetched from.
    pub addr: SocketAddrV4,
    /// Speed the servent claims.
    pub speed_kbps: u32,
    /// Number of results, never 0.
    pub count: u8,
    results: &'a [u8],
    /// The bytes between the results and the servent id; see [`QueryHit::trailer`].
    pub trailer_bytes: &'a [u8],
    /// The servent that answers.
    pub servent: ServentId,
}

/// One file in a QueryHit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HitResult<'a> {
    /// The file's index at its servent; any value, 0 included, is valid.
    pub index: u32,
    /// Size in bytes; `u32::MAX` when it does not fit (the size is then in a GGEP extension).
    pub size: u32,
    /// The name, UTF-8 in practice.
    pub name: &'a [u8],
    /// The bytes between the two NULs, opaque; empty in plain 0.4.
    pub extension: &'a [u8],
}

impl<'a> QueryHit<'a> {
    /// Reads a payload of 27 bytes to 64 KiB and walks all its results, so that they can be
    /// iterated without error later.
    #[inline]
    pub fn decode(payload: &'a [u8]) -> Result<QueryHit<'a>, DecodeError> {
        let fixed = field::RESULTS + field::SERVENT_BYTES;
        check_len(Kind::QueryHit, payload, fixed..MAX_PAYLOAD_BYTES + 1)?;
        let (body, servent) = payload.split_at(payload.len() - field::SERVENT_BYTES);
        let count = body[field::COUNT];
        if count == 0 {
            return Err(DecodeError::NoResults);
        }
        let all = &body[field::RESULTS..];
        let mut rest = all;
        for found in 0..count {
            rest =
                next_result(rest).ok_or(DecodeError::MissingResults { announced: count, found })?.1;
        }
        Ok(QueryHit {
            addr: port_then_ip(&body[field::ADDR]),
            speed_kbps: LittleEndian::read_u32(&body[field::SPEED]),
            count,
            results: &all[..all.len() - rest.len()],
            trailer_bytes: rest,
            servent: ServentId(id16(servent)),
        })
    }

    /// The results in order.
    pub fn results(&self) -> HitResults<'a> {
        HitResults { rest: self.results }
    }

    /// The vendor trailer, if there is a well-formed one.
    pub fn trailer(&self) -> Option<Trailer<'a>> {
        Trailer::decode(self.trailer_bytes)
    }

    /// Appends the payload to `out`, byte for byte what was read.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.encode_with(self.results, out);
    }

    /// The same with other bytes for its results: as many of them, each written by
    /// [`HitResult::encode_with`].
    pub(crate) fn encode_with(&self, results: &[u8], out: &mut Vec<u8>) {
        out.push(self.count);
        put_port_then_ip(self.addr, out);
        out.extend_from_slice(&self.speed_kbps.to_le_bytes());
        out.extend_from_slice(results);
        out.extend_from_slice(self.trailer_bytes);
        out.extend_from_slice(&self.servent.0);
    }
}

fn next_result(bytes: &[u8]) -> Option<(HitResult<'_>, &[u8])> {
    let (name, rest) = split_nul(bytes.get(field::RESULT_NAME..)?)?;
    let (extension, rest) = split_nul(rest)?;
    let result = HitResult {
        index: LittleEndian::read_u32(&bytes[field::RESULT_INDEX]),
        size: LittleEndian::read_u32(&bytes[field::RESULT_SIZE]),
        name,
        extension,
    };
    Some((result, rest))
}

impl HitResult<'_> {
    /// Appends the result to `out`, with another extension, which has no NUL.
    pub(crate) fn encode_with(&self, extension: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(&self.index.to_le_bytes());
        out.extend_from_slice(&self.size.to_le_bytes());
        out.extend_from_slice(self.name);
        out.push(0);
        out.extend_from_slice(extension);
        out.push(0);
    }
}

/// Iterator over the results of a QueryHit.
#[derive(Clone, Debug)]
pub struct HitResults<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for HitResults<'a> {
    type Item = HitResult<'a>;

    fn next(&mut self) -> Option<HitResult<'a>> {
        let (result, rest) = next_result(self.rest)?;
        self.rest = rest;
        Some(result)
    }
}

/// The vendor trailer ("QHD"): a code, a few flags, and private bytes of the vendor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer<'a> {
    /// Four ASCII characters such as `GTKG`, compared without case.
    pub vendor: [u8; 4],
    /// The open data; its first two bytes hold the flags.
    pub open: &'a [u8],
    /// The bytes behind it: vendor data, GGEP, XML.
    pub private: &'a [u8],
}

impl<'a> Trailer<'a> {
    fn decode(bytes: &'a [u8]) -> Option<Trailer<'a>> {
        let (vendor, rest) = bytes.split_first_chunk::<4>()?;
        let (&open_len, rest) = rest.split_first()?;
        let (open, private) = rest.split_at_checked(usize::from(open_len))?;
        Some(Trailer { vendor: *vendor, open, private })
    }

    /// The servent cannot be connected to, a Push is needed. `None`: it does not say. This bit
    /// alone has its value in the first byte and its validity in the second.
    pub fn push(&self) -> Option<bool> {
        self.flag(0x01, 1, 0)
    }

    /// All upload slots are taken. `None`: it does not say.
    pub fn busy(&self) -> Option<bool> {
        self.flag(0x04, 0, 1)
    }

    /// The two flag bytes that say whether the servent is busy and nothing else.
    pub fn busy_flags(busy: bool) -> [u8; 2] {
        [0x04, if busy { 0x04 } else { 0 }]
    }

    /// These flag bytes, which say further that there is GGEP among the private bytes.
    pub fn with_ggep([first, second]: [u8; 2]) -> [u8; 2] {
        [first | 0x20, second | 0x20]
    }

    /// Appends the trailer to `out`; open data beyond 255 bytes is left out.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.vendor);
        let open_len = u8::try_from(self.open.len()).unwrap_or(0);
        out.push(open_len);
        out.extend_from_slice(&self.open[..usize::from(open_len)]);
        out.extend_from_slice(self.private);
    }

    fn flag(&self, bit: u8, valid_at: usize, value_at: usize) -> Option<bool> {
        let (valid, value) = (self.open.get(valid_at)?, self.open.get(value_at)?);
        (valid & bit != 0).then_some(value & bit != 0)
    }
}

/// Builds the QueryHits of one answer: as many descriptors as the results need.
#[derive(Debug)]
pub struct QueryHitBuilder {
    payload: Vec<u8>,
    /// Trailer and servent id.
    tail: Vec<u8>,
    limit_bytes: usize,
}

impl QueryHitBuilder {
    /// Payloads of at most `limit_bytes` (never above [`MAX_PAYLOAD_BYTES`]); `trailer` is put
    /// before the servent id of each.
    pub fn new(
        addr: SocketAddrV4,
        speed_kbps: u32,
        trailer: Trailer<'_>,
        servent: ServentId,
        limit_bytes: usize,
    ) -> QueryHitBuilder {
        let mut tail = Vec::new();
        trailer.encode(&mut tail);
        tail.extend_from_slice(&servent.0);
        let mut payload = vec![0];
        put_port_then_ip(addr, &mut payload);
        payload.extend_from_slice(&speed_kbps.to_le_bytes());
        QueryHitBuilder { payload, tail, limit_bytes: limit_bytes.min(MAX_PAYLOAD_BYTES) }
    }

    /// Adds a result with an extension, which is empty towards 0.4. False if it does not fit: take the
    /// payload with [`QueryHitBuilder::finish`] and add it again.
    pub fn add(&mut self, index: u32, size: u64, name: &[u8], extension: &[u8]) -> bool {
        let len = field::RESULT_NAME + name.len() + extension.len() + 2;
        let full = usize::from(self.payload[field::COUNT]) == MAX_RESULTS_PER_HIT
            || self.payload.len() + len + self.tail.len() > self.limit_bytes;
        let has_nul = |bytes| memchr::memchr(0, bytes).is_some();
        if full || has_nul(name) || has_nul(extension) {
            return false;
        }
        self.payload[field::COUNT] += 1;
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        HitResult { index, size, name, extension }.encode_with(extension, &mut self.payload);
        true
    }

    /// The finished payload, `None` if no result is in it. The builder is then empty again.
    pub fn finish(&mut self) -> Option<Vec<u8>> {
        if self.payload[field::COUNT] == 0 {
            return None;
        }
        let mut next = self.payload[..field::RESULTS].to_vec();
        next[field::COUNT] = 0;
        let mut payload = std::mem::replace(&mut self.payload, next);
        payload.extend_from_slice(&self.tail);
        Some(payload)
    }
}
