//! Applies the messages of a neighbour to its table.

use super::table::QrpTable;
use super::{PLAIN, Patch, Qrp, ZLIB};
use crate::wire::deflate::{InflateError, Inflater};
use std::fmt;
use std::sync::Arc;

/// Largest table that is taken, in slots: the largest that gtk-gnutella keeps, 256 KiB here. It
/// shrinks larger ones; no servent is known to send one, and every slot costs work with each sequence.
pub const MAX_SLOTS: u32 = 1 << 21;

/// Entry bytes that are zero, and so inflated and passed over, in one step.
const ZEROS_PER_STEP: usize = 4;

/// Why a neighbour's table cannot be followed. gtk-gnutella answers each with Bye 413, and so does
/// this servent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QrpError {
    /// A PATCH before any RESET.
    NoReset,
    /// A PATCH with another number than the next of its sequence.
    Sequence {
        /// The number that belongs here.
        expected: u8,
        /// The number that came.
        got: u8,
    },
    /// The sequence got another count on its way.
    CountChanged,
    /// The sequence got other entries, or another compressor, on its way.
    EntriesChanged,
    /// Entries of neither 1, 2, 4 nor 8 bits.
    EntryBits(u8),
    /// A number of slots that is no power of two.
    Slots(u32),
    /// An infinity of 0.
    Infinity,
    /// More than [`MAX_SLOTS`].
    TooLarge(u32),
    /// A compressor that is not known.
    Compressor(u8),
    /// Entries for more slots than there are.
    TooManyEntries,
    /// The last PATCH came before the last slot.
    Incomplete,
    /// The zlib stream is broken.
    Broken,
}

impl fmt::Display for QrpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            QrpError::NoReset => f.write_str("a PATCH came before any RESET"),
            QrpError::Sequence { expected, got } => {
                write!(f, "PATCH {got} came in place of PATCH {expected}")
            }
            QrpError::CountChanged => f.write_str("the count of a sequence of PATCHes changed"),
            QrpError::EntriesChanged => {
                f.write_str("entry bits or compressor changed within a sequence of PATCHes")
            }
            QrpError::EntryBits(bits) => write!(f, "a PATCH has entries of {bits} bits"),
            QrpError::Slots(slots) => write!(f, "{slots} slots are not a power of two"),
            QrpError::Infinity => f.write_str("the infinity of a table is 0"),
            QrpError::TooLarge(slots) => {
                write!(f, "a table may have {MAX_SLOTS} slots, not {slots}")
            }
            QrpError::Compressor(number) => write!(f, "compressor {number} is not known"),
            QrpError::TooManyEntries => f.write_str("the PATCHes have more entries than slots"),
            QrpError::Incomplete => f.write_str("the PATCHes end before the last slot"),
            QrpError::Broken => f.write_str("the zlib stream of the PATCHes is broken"),
        }
    }
}

impl std::error::Error for QrpError {}

/// The table of one neighbour, as its messages arrive. Small until the first PATCH; then 256 KiB at
/// most, 43 KB more while a deflated sequence lasts, and 2 MiB for the moment in which a PATCH is
/// applied.
#[derive(Debug, Default)]
pub struct QrpReceiver {
    /// Size of the table, as a power of two, once a RESET has said it.
    bits: Option<u32>,
    /// May be shared with other neighbours that have an equal one: copied when it changes.
    table: Option<Arc<QrpTable>>,
    sequence: Option<Sequence>,
    is_complete: bool,
    /// What the message applied last took.
    steps: usize,
}

/// The sequence of PATCHes under way.
#[derive(Debug)]
struct Sequence {
    next: u8,
    count: u8,
    compressor: u8,
    entry_bits: u8,
    /// Bytes of entries applied.
    applied: usize,
    inflater: Option<Box<Inflater>>,
}

impl QrpReceiver {
    /// Applies a message. True when it completes the table, or a change of it.
    ///
    /// # Errors
    /// When it does not fit what came before. The table is then gone, and with it the link's use.
    pub fn apply(&mut self, message: &Qrp<'_>) -> Result<bool, QrpError> {
        self.steps = 0;
        let result = match message {
            Qrp::Reset { slots, infinity } => self.reset(*slots, *infinity).map(|()| false),
            Qrp::Patch(patch) => self.patch(patch),
            Qrp::Other(_) => Ok(false),
        };
        if result.is_err() {
            *self = QrpReceiver::default();
        }
        result
    }

    /// The table, once a whole sequence of PATCHes has filled it. Changes of it apply as they come.
    pub fn table(&self) -> Option<&QrpTable> {
        self.shared().map(Arc::as_ref)
    }

    /// The same, to be shared.
    pub fn shared(&self) -> Option<&Arc<QrpTable>> {
        self.table.as_ref().filter(|_| self.is_complete)
    }

    /// Shares the table of another neighbour if both are equal, so that one of the two is freed. Says
    /// whether they are.
    pub fn share(&mut self, other: &Arc<QrpTable>) -> bool {
        let is_equal = self.shared().is_some_and(|table| table == other);
        if is_equal {
            self.table = Some(Arc::clone(other));
        }
        is_equal
    }

    /// What the message applied last took: one step for each entry of a byte that is not zero, and one
    /// for every four bytes that are.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Whether a sequence of PATCHes is under way: 43 KB more if it is deflated.
    pub fn is_changing(&self) -> bool {
        self.sequence.is_some()
    }

    fn reset(&mut self, slots: u32, infinity: u8) -> Result<(), QrpError> {
        if !slots.is_power_of_two() {
            return Err(QrpError::Slots(slots));
        }
        if infinity == 0 {
            return Err(QrpError::Infinity);
        }
        if slots > MAX_SLOTS {
            return Err(QrpError::TooLarge(slots));
        }
        *self = QrpReceiver { bits: Some(slots.trailing_zeros()), ..QrpReceiver::default() };
        Ok(())
    }

    fn patch(&mut self, patch: &Patch<'_>) -> Result<bool, QrpError> {
        let bits = self.bits.ok_or(QrpError::NoReset)?;
        let mut sequence = match self.sequence.take() {
            Some(sequence) => sequence,
            None => Sequence::begin(patch)?,
        };
        sequence.check(patch)?;
        let table = self.table.get_or_insert_with(|| Arc::new(QrpTable::new(bits)));
        let table = Arc::make_mut(table);
        self.steps = sequence.apply(patch.data, table)?;
        if patch.number < patch.count {
            sequence.next += 1;
            self.sequence = Some(sequence);
            return Ok(false);
        }
        if sequence.applied < sequence.wanted_bytes(table) {
            return Err(QrpError::Incomplete);
        }
        self.is_complete = true;
        Ok(true)
    }
}

impl Sequence {
    fn begin(first: &Patch<'_>) -> Result<Sequence, QrpError> {
        let Patch { count, compressor, entry_bits, .. } = *first;
        if !matches!(entry_bits, 1 | 2 | 4 | 8) {
            return Err(QrpError::EntryBits(entry_bits));
        }
        let inflater = match compressor {
            PLAIN => None,
            ZLIB => Some(Box::default()),
            other => return Err(QrpError::Compressor(other)),
        };
        Ok(Sequence { next: 1, count, compressor, entry_bits, applied: 0, inflater })
    }

    fn check(&self, patch: &Patch<'_>) -> Result<(), QrpError> {
        if patch.number != self.next {
            return Err(QrpError::Sequence { expected: self.next, got: patch.number });
        }
        if patch.count != self.count {
            return Err(QrpError::CountChanged);
        }
        if (patch.entry_bits, patch.compressor) != (self.entry_bits, self.compressor) {
            return Err(QrpError::EntriesChanged);
        }
        if patch.count < patch.number {
            return Err(QrpError::Sequence { expected: patch.count, got: patch.number });
        }
        Ok(())
    }

    /// Bytes of entries that cover a table. The last byte of a table smaller than eight slots may
    /// have entries to spare.
    fn wanted_bytes(&self, table: &QrpTable) -> usize {
        (table.slots() * usize::from(self.entry_bits)).div_ceil(8)
    }

    /// Returns the number of steps; see [`QrpReceiver::steps`].
    fn apply(&mut self, data: &[u8], table: &mut QrpTable) -> Result<usize, QrpError> {
        let left = self.wanted_bytes(table) - self.applied;
        let mut inflated = Vec::new();
        let entries = match &mut self.inflater {
            None => data,
            Some(inflater) => {
                inflater.inflate(data, &mut inflated, left).map_err(|error| match error {
                    InflateError::TooLong { .. } => QrpError::TooManyEntries,
                    InflateError::Broken | InflateError::CutShort => QrpError::Broken,
                })?;
                &inflated
            }
        };
        if entries.len() > left {
            return Err(QrpError::TooManyEntries);
        }
        let per_byte = 8 / usize::from(self.entry_bits);
        let mut looked_at = 0;
        for (at, &byte) in (self.applied..).zip(entries) {
            if byte == 0 {
                continue;
            }
            looked_at += per_byte;
            for place in 0..per_byte {
                let slot = at * per_byte + place;
                if slot < table.slots() {
                    self.apply_entry(byte << (place * usize::from(self.entry_bits)), slot, table);
                }
            }
        }
        self.applied += entries.len();
        Ok(looked_at + entries.len() / ZEROS_PER_STEP)
    }

    /// Applies the entry in the top bits of a byte.
    fn apply_entry(&self, byte: u8, slot: usize, table: &mut QrpTable) {
        let entry = byte >> (8 - self.entry_bits);
        let negative = byte & 0x80 != 0;
        match self.entry_bits {
            _ if entry == 0 => {}
            1 => table.put(slot, !table.is_set(slot)),
            _ => table.put(slot, negative),
        }
    }
}
