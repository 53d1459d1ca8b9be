//! Deflate in zlib's format, with bounded output: links, GGEP extensions and route table patches use
//! it. The only file that names flate2.
//!
//! A link is one zlib stream per direction that never ends. [`Deflater`] flushes each piece it is
//! given to a byte boundary (Z_SYNC_FLUSH), [`Inflater::step`] fills a buffer and pauses.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use std::fmt;

/// Output produced at a time. Output grows as it is needed, never in proportion to a promise.
const STEP_BYTES: usize = 4_096;

/// Why a stream cannot be inflated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InflateError {
    /// The bytes are not deflate's, or its checksum does not fit.
    Broken,
    /// The input ends before the stream does.
    CutShort,
    /// The output exceeds the limit: a bomb, or something this servent has no use for.
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
}

/// Why the deflated stream of a link cannot be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamError {
    /// The bytes are not deflate's.
    Broken,
    /// They become far more than descriptors could.
    Bomb,
    /// The stream ends by its own mark, which a link's never does.
    Ended,
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StreamError::Broken => "the peer's deflated bytes are broken",
            StreamError::Bomb => "the peer's deflated bytes become more than descriptors could",
            StreamError::Ended => "the peer ended its deflated stream",
        })
    }
}

impl std::error::Error for StreamError {}

impl fmt::Display for InflateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InflateError::Broken => f.write_str("the deflated bytes are broken"),
            InflateError::CutShort => f.write_str("the deflated bytes end too early"),
            InflateError::TooLong { limit } => {
                write!(f, "the deflated bytes become more than {limit}")
            }
        }
    }
}

impl std::error::Error for InflateError {}

/// Inflates one zlib stream that arrives in pieces. Holds about 43 KB, most of it the 32 KiB that
/// later bytes may refer to.
#[derive(Debug)]
pub struct Inflater {
    state: Decompress,
    ended: bool,
}

impl Default for Inflater {
    fn default() -> Inflater {
        Inflater { state: Decompress::new(true), ended: false }
    }
}

/// What one step of inflating did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InflateStep {
    /// Bytes taken of the input.
    pub taken: usize,
    /// Bytes written to the output.
    pub made: usize,
}

impl Inflater {
    /// Inflates until `out` is full, `input` is taken or the stream ends. While `out` is full there
    /// may be more output, even without more input.
    ///
    /// # Errors
    /// [`InflateError::Broken`] when the stream is broken or goes on behind its end. The stream cannot
    /// be followed any further.
    pub fn step(&mut self, input: &[u8], out: &mut [u8]) -> Result<InflateStep, InflateError> {
        let (mut taken, mut made) = (0, 0);
        while made < out.len() && !self.ended {
            let before = (self.state.total_in(), self.state.total_out());
            let (rest, room) = (&input[taken..], &mut out[made..]);
            let status = self.state.decompress(rest, room, FlushDecompress::None);
            let took = below_usize(self.state.total_in() - before.0);
            let wrote = below_usize(self.state.total_out() - before.1);
            (taken, made) = (taken + took, made + wrote);
            match status {
                Ok(Status::StreamEnd) => self.ended = true,
                Ok(Status::Ok | Status::BufError) if took == 0 && wrote == 0 => break,
                Ok(_) => {}
                Err(_) => return Err(InflateError::Broken),
            }
        }
        // Room is left and it took no more: there is something behind the end.
        if made < out.len() && taken < input.len() {
            return Err(InflateError::Broken);
        }
        Ok(InflateStep { taken, made })
    }

    /// Appends what `input` becomes to `out`, which grows by at most `limit` bytes.
    ///
    /// # Errors
    /// [`InflateError::TooLong`] when there is more, otherwise as [`Inflater::step`].
    pub fn inflate(
        &mut self,
        mut input: &[u8],
        out: &mut Vec<u8>,
        limit: usize,
    ) -> Result<(), InflateError> {
        let start = out.len();
        let mut buffer = [0; STEP_BYTES];
        loop {
            let step = self.step(input, &mut buffer)?;
            input = &input[step.taken..];
            if step.made > limit - (out.len() - start) {
                return Err(InflateError::TooLong { limit });
            }
            out.extend_from_slice(&buffer[..step.made]);
            if step.made < STEP_BYTES {
                return Ok(());
            }
        }
    }

    /// Bytes taken and bytes made since the stream began.
    pub fn totals(&self) -> (u64, u64) {
        (self.state.total_in(), self.state.total_out())
    }

    /// Whether the stream has ended by its own mark. A link's never does.
    pub fn has_ended(&self) -> bool {
        self.ended
    }
}

/// Both counts are of one call, so below the sizes of its buffers.
fn below_usize(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// The first bytes of a zlib stream with a window of 32 KiB (RFC 1950).
const ZLIB_HEADER: [u8; 2] = [0x78, 0x01];
/// The fastest level. Queries and hits of 60 bytes in pieces of 16 KiB shrink to 65 % at 107 MB/s;
/// level 6 makes 57 % of them at 11 MB/s, with the same memory.
const LEVEL: u32 = 1;

/// Deflates one zlib stream in pieces, each of which can be inflated as soon as it is there. The
/// stream never ends. Holds about 320 KB from the first piece on: codes, hash chains and the window.
#[derive(Debug, Default)]
pub struct Deflater {
    /// Writes blocks without zlib's header. `None` before the first piece and after
    /// [`Deflater::forget`].
    state: Option<Compress>,
    begun: bool,
}

impl Deflater {
    /// Appends `piece`, deflated, to `out`.
    pub fn deflate(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let state = self.state.get_or_insert_with(|| Compress::new(Compression::new(LEVEL), false));
        if !std::mem::replace(&mut self.begun, true) {
            out.extend_from_slice(&ZLIB_HEADER);
        }
        let (mut taken, mut len) = (0, out.len());
        // Enough for bytes that cannot be deflated, and the mark of the flush.
        let mut room = piece.len() + piece.len() / 8 + 64;
        loop {
            out.reserve_exact(room);
            out.resize(len + room, 0);
            let before = (state.total_in(), state.total_out());
            let status = state.compress(&piece[taken..], &mut out[len..], FlushCompress::Sync);
            status.expect("deflating does not fail");
            taken += below_usize(state.total_in() - before.0);
            len += below_usize(state.total_out() - before.1);
            if len < out.len() {
                return out.truncate(len);
            }
            room = STEP_BYTES;
        }
    }

    /// Gives back the memory. Later pieces do not refer to earlier ones: all are whole blocks that
    /// end on a byte, so the stream goes on.
    pub fn forget(&mut self) {
        self.state = None;
    }
}

/// Inflates a complete zlib stream to at most `limit` bytes.
///
/// # Errors
/// When it is not exactly one whole stream, or longer.
pub fn inflate(bytes: &[u8], limit: usize) -> Result<Vec<u8>, InflateError> {
    let mut inflater = Inflater::default();
    let mut out = Vec::new();
    inflater.inflate(bytes, &mut out, limit)?;
    if inflater.has_ended() { Ok(out) } else { Err(InflateError::CutShort) }
}

/// Deflates bytes as a complete zlib stream, quickly: a dense route table of 32 KiB in 0.7 ms to 12 KB,
/// where the usual level takes 4.6 ms for 10 KB, in one turn of the event loop.
pub fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut state = Compress::new(Compression::fast(), true);
    let mut out = Vec::new();
    loop {
        let taken = below_usize(state.total_in());
        out.reserve(STEP_BYTES);
        let status = state.compress_vec(&bytes[taken..], &mut out, FlushCompress::Finish);
        match status.expect("deflating does not fail") {
            Status::StreamEnd => return out,
            Status::Ok | Status::BufError => {}
        }
    }
}
