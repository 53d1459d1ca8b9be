//! Cuts the byte stream of a link into descriptors.
//!
//! A descriptor that lies complete in the read buffer is handed out as a view into it. Only one that
//! straddles two reads is copied, so an idle link owns no buffer and a busy one copies at most one
//! descriptor per read.

use super::error::FrameError;
use super::header::{HEADER_BYTES, Header, MAX_PAYLOAD_BYTES};
use bytes::BytesMut;

/// A whole descriptor as it lies in the read buffer. The header is decoded on access: passing a
/// decoded one around stalls the processor on store forwarding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawDescriptor<'a> {
    head: &'a [u8; HEADER_BYTES],
    frame: &'a [u8],
}

impl<'a> RawDescriptor<'a> {
    /// The decoded header; its `payload_len` equals that of [`RawDescriptor::payload`].
    #[inline]
    pub fn header(&self) -> Header {
        Header::decode(self.head)
    }

    /// The payload bytes, forwarded as they came.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        &self.frame[HEADER_BYTES..]
    }

    /// Header and payload.
    pub fn frame(&self) -> &'a [u8] {
        self.frame
    }

    fn new(frame: &'a [u8]) -> RawDescriptor<'a> {
        let head = frame.first_chunk().expect("a frame begins with a header");
        RawDescriptor { head, frame }
    }
}

/// The unfinished rest of a link's stream.
#[derive(Debug, Default)]
pub struct Deframer {
    /// The beginning of one descriptor: shorter than its header says, hence never above
    /// [`HEADER_BYTES`] + [`MAX_PAYLOAD_BYTES`].
    pending: BytesMut,
}

/// Buffers above this are given back once their descriptor is done.
const KEEP_CAPACITY_BYTES: usize = 4_096;

impl Deframer {
    /// Takes the next bytes of the stream; the descriptors they complete come from
    /// [`Descriptors::next`], which must be called until it has no more.
    pub fn feed<'a>(&'a mut self, input: &'a [u8]) -> Descriptors<'a> {
        Descriptors { deframer: self, input, handed_out: false }
    }

    /// Bytes held back for an unfinished descriptor.
    pub fn pending_bytes(&self) -> usize {
        self.pending.len()
    }
}

/// The descriptors in one piece of input.
#[derive(Debug)]
pub struct Descriptors<'a> {
    deframer: &'a mut Deframer,
    input: &'a [u8],
    /// `deframer.pending` holds a descriptor the caller has seen.
    handed_out: bool,
}

impl<'a> Descriptors<'a> {
    /// The next complete descriptor; `None` when more bytes are needed.
    ///
    /// # Errors
    /// [`FrameError`] when the stream cannot be followed; the caller closes the link.
    #[expect(clippy::should_implement_trait, reason = "the views borrow self: no Iterator")]
    pub fn next(&mut self) -> Result<Option<RawDescriptor<'_>>, FrameError> {
        self.forget_handed_out();
        if !self.deframer.pending.is_empty() {
            return self.next_straddling();
        }
        let Some((_, payload_len)) = peek_header(self.input)? else {
            return Ok(self.keep_rest());
        };
        let Some((frame, rest)) = self.input.split_at_checked(HEADER_BYTES + payload_len) else {
            return Ok(self.keep_rest());
        };
        self.input = rest;
        Ok(Some(RawDescriptor::new(frame)))
    }

    /// The input behind the last descriptor that was handed out.
    pub fn into_rest(mut self) -> &'a [u8] {
        self.forget_handed_out();
        self.input
    }

    /// The next descriptors that lie complete in the input, at most `most`. Nothing is consumed.
    pub fn ahead(&self, most: usize) -> impl Iterator<Item = RawDescriptor<'_>> {
        let mut input = if self.deframer.pending.is_empty() { self.input } else { &[] };
        let next = move || {
            let (_, payload_len) = peek_header(input).ok()??;
            let (frame, rest) = input.split_at_checked(HEADER_BYTES + payload_len)?;
            input = rest;
            Some(RawDescriptor::new(frame))
        };
        std::iter::from_fn(next).take(most)
    }

    /// Drops the pending descriptor, which was handed out.
    fn forget_handed_out(&mut self) {
        if self.handed_out {
            self.handed_out = false;
            self.deframer.pending.clear();
            if self.deframer.pending.capacity() > KEEP_CAPACITY_BYTES {
                self.deframer.pending = BytesMut::new();
            }
        }
    }

    fn keep_rest(&mut self) -> Option<RawDescriptor<'static>> {
        self.deframer.pending.extend_from_slice(self.input);
        self.input = &[];
        None
    }

    fn next_straddling(&mut self) -> Result<Option<RawDescriptor<'_>>, FrameError> {
        if !self.top_up(HEADER_BYTES) {
            return Ok(None);
        }
        let Some((_, payload_len)) = peek_header(&self.deframer.pending)? else {
            return Ok(None);
        };
        if !self.top_up(HEADER_BYTES + payload_len) {
            return Ok(None);
        }
        self.handed_out = true;
        Ok(Some(RawDescriptor::new(&self.deframer.pending)))
    }

    /// Moves input to the pending bytes until there are `want`; false if the input is too short.
    fn top_up(&mut self, want: usize) -> bool {
        let pending = &mut self.deframer.pending;
        let missing = want.saturating_sub(pending.len()).min(self.input.len());
        let (taken, rest) = self.input.split_at(missing);
        pending.extend_from_slice(taken);
        self.input = rest;
        pending.len() >= want
    }
}

fn peek_header(bytes: &[u8]) -> Result<Option<(Header, usize)>, FrameError> {
    let Some(first) = bytes.first_chunk::<HEADER_BYTES>() else {
        return Ok(None);
    };
    let header = Header::decode(first);
    match usize::try_from(header.payload_len) {
        Ok(len) if len <= MAX_PAYLOAD_BYTES => Ok(Some((header, len))),
        _ => Err(FrameError::PayloadTooLong { kind: header.kind, announced: header.payload_len }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_begun_descriptor_is_not_lost_and_a_large_buffer_not_kept() {
        let mut deframer = Deframer::default();
        let ping = [0; HEADER_BYTES];
        assert_eq!(deframer.feed(&ping[..5]).next(), Ok(None));
        assert_eq!(deframer.pending_bytes(), 5);
        let mut rest = deframer.feed(&ping[5..]);
        assert_eq!(rest.next().map(|raw| raw.map(|raw| raw.frame().len())), Ok(Some(HEADER_BYTES)));
        assert_eq!(rest.into_rest(), b"");
        assert_eq!(deframer.pending_bytes(), 0, "what was handed out is not handed out again");

        let mut large = ping.to_vec();
        large[19..23].copy_from_slice(&60_000_u32.to_le_bytes());
        large.resize(HEADER_BYTES + 60_000, 0);
        assert_eq!(deframer.feed(&large[..100]).next(), Ok(None));
        let mut rest = deframer.feed(&large[100..]);
        assert!(matches!(rest.next(), Ok(Some(_))));
        assert_eq!(rest.next(), Ok(None));
        assert!(deframer.pending.capacity() <= KEEP_CAPACITY_BYTES);
    }
}
