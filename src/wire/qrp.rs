//! Query routing (0x30): the table of words a servent has, sent to its neighbours so that they pass
//! on only the Queries it may answer (QRP 0.1; `qrp.c` of gtk-gnutella).
//!
//! | message | layout |
//! |---|---|
//! | RESET | 00, slots (4 bytes, a power of two), infinity |
//! | PATCH | 01, number from 1, count, compressor (0 none, 1 zlib), bits of an entry, data |
//!
//! After a RESET no slot is set. A PATCH has one signed entry for each slot, in order: below zero sets
//! the slot, above zero clears it, zero leaves it. An entry of one bit flips its slot. The
//! PATCHes 1 to count are one sequence, which covers the whole table, and with zlib one stream.
//! `qrp::receive` has what applies them, `qrp::table` the table and its sender.

mod receive;
mod table;

pub use receive::{MAX_SLOTS, QrpError, QrpReceiver};
pub use table::{MIN_WORD_LETTERS, OWN_TABLE_BITS, QrpTable, sha1_hash, word_hash};

use super::error::DecodeError;
use super::header::{Kind, MAX_PAYLOAD_BYTES};
use super::reader::check_len;
use byteorder::{ByteOrder, LittleEndian};

/// The kind of these messages.
pub const QRP: Kind = Kind::Other(0x30);
/// Compressor of plain data.
pub const PLAIN: u8 = 0;
/// Compressor of a zlib stream.
pub const ZLIB: u8 = 1;

const RESET: u8 = 0;
const PATCH: u8 = 1;
const RESET_BYTES: usize = 6;
const PATCH_HEAD_BYTES: usize = 5;

/// A query routing message's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qrp<'a> {
    /// Begins a new table.
    Reset {
        /// Number of slots.
        slots: u32,
        /// The value of a slot that is not set.
        infinity: u8,
    },
    /// Changes the table.
    Patch(Patch<'a>),
    /// Another variant, to be ignored.
    Other(&'a [u8]),
}

/// One message of a sequence of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patch<'a> {
    /// Its place in the sequence, from 1.
    pub number: u8,
    /// Messages in the sequence.
    pub count: u8,
    /// [`PLAIN`], [`ZLIB`], or one that is not known.
    pub compressor: u8,
    /// Bits for each slot: 1, 2, 4 or 8.
    pub entry_bits: u8,
    /// This message's part of the entries.
    pub data: &'a [u8],
}

impl<'a> Qrp<'a> {
    /// Reads a payload: 6 bytes of a RESET, more than 5 of a PATCH.
    ///
    /// # Errors
    /// When it has another size. gtk-gnutella drops such a message and keeps the link.
    pub fn decode(payload: &'a [u8]) -> Result<Qrp<'a>, DecodeError> {
        check_len(QRP, payload, 1..MAX_PAYLOAD_BYTES + 1)?;
        match payload[0] {
            RESET => {
                check_len(QRP, payload, RESET_BYTES..RESET_BYTES + 1)?;
                let slots = LittleEndian::read_u32(&payload[1..5]);
                Ok(Qrp::Reset { slots, infinity: payload[5] })
            }
            PATCH => {
                check_len(QRP, payload, PATCH_HEAD_BYTES + 1..MAX_PAYLOAD_BYTES + 1)?;
                let &[_, number, count, compressor, entry_bits] =
                    payload.first_chunk().expect("checked above");
                let data = &payload[PATCH_HEAD_BYTES..];
                Ok(Qrp::Patch(Patch { number, count, compressor, entry_bits, data }))
            }
            _ => Ok(Qrp::Other(payload)),
        }
    }

    /// Appends the payload to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Qrp::Reset { slots, infinity } => {
                out.push(RESET);
                out.extend_from_slice(&slots.to_le_bytes());
                out.push(*infinity);
            }
            Qrp::Patch(Patch { number, count, compressor, entry_bits, data }) => {
                out.extend_from_slice(&[PATCH, *number, *count, *compressor, *entry_bits]);
                out.extend_from_slice(data);
            }
            Qrp::Other(payload) => out.extend_from_slice(payload),
        }
    }
}
