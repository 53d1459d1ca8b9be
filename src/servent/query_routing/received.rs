//! The table of one neighbour as it arrives, and the bound on all of them.
//!
//! | table | room |
//! |---|---|
//! | up to 65,536 slots, the usual size | 8 KiB for each link, always |
//! | larger, up to 2^21 slots | [`MAX_LARGE_BYTES`] for all links together |
//!
//! A table for which there is no room left is not kept: its link counts as one without a table, until a
//! RESET for which there is. A neighbour with a huge table so takes nothing from those of usual size.

use crate::wire::qrp::{OWN_TABLE_BITS, Qrp, QrpError, QrpReceiver, QrpTable};
use std::sync::Arc;

/// Slots of a table that every link may have.
const USUAL_SLOTS: u32 = 1 << OWN_TABLE_BITS;
/// Bytes of such a table.
const USUAL_BYTES: usize = USUAL_SLOTS as usize / 8;
/// Bytes of the larger tables of all links: gtk-gnutella's merged tables have up to 2^20 slots, 128 KiB
/// each, and there are 32 neighbours that may send one; twice that.
pub(in crate::servent) const MAX_LARGE_BYTES: usize = 8 << 20;
/// Bytes of a link whose table is of usual size, while a deflated sequence of changes lasts.
pub(in crate::servent) const BYTES_PER_LINK: usize = USUAL_BYTES + 48 * 1024;
/// Bytes of one PATCH of entries for the largest table, while it is applied and its buffer doubles.
pub(in crate::servent) const PATCH_BYTES: usize = 4 << 20;
/// Steps of applying a message that cost one unit; see [`QrpReceiver::steps`].
const STEPS_PER_UNIT: usize = 3;

/// What a neighbour sent of its table.
#[derive(Debug, Default)]
pub(super) struct Received {
    receiver: QrpReceiver,
    /// Bytes of the table, if it is larger than usual.
    large_bytes: usize,
    /// There was no room for it: PATCHes are passed over.
    is_refused: bool,
}

/// What came of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Applied {
    /// The table is complete, or was changed as a whole.
    pub(super) is_complete: bool,
    /// There is no table any more, or not yet: a RESET.
    pub(super) is_reset: bool,
    /// What it cost.
    pub(super) units: u32,
}

impl Received {
    /// Applies a message, with so many bytes left for large tables.
    pub(super) fn apply(
        &mut self,
        message: &Qrp<'_>,
        large_bytes_left: usize,
    ) -> Result<Applied, QrpError> {
        let is_reset = matches!(message, Qrp::Reset { .. });
        if self.is_refused && !is_reset {
            return Ok(Applied { is_complete: false, is_reset, units: 0 });
        }
        let is_complete = self.receiver.apply(message)?;
        if let Qrp::Reset { slots, .. } = *message {
            let bytes = slots as usize / 8;
            self.large_bytes = if slots > USUAL_SLOTS { bytes } else { 0 };
            self.is_refused = self.large_bytes > large_bytes_left;
            if self.is_refused {
                *self = Received { is_refused: true, ..Received::default() };
            }
        }
        let units = u32::try_from(self.receiver.steps().div_ceil(STEPS_PER_UNIT));
        Ok(Applied { is_complete, is_reset, units: units.unwrap_or(u32::MAX) })
    }

    /// The table, once complete.
    #[inline]
    pub(super) fn table(&self) -> Option<&Arc<QrpTable>> {
        self.receiver.shared()
    }

    /// Shares an equal table; see [`QrpReceiver::share`].
    pub(super) fn share(&mut self, other: &Arc<QrpTable>) -> bool {
        self.receiver.share(other)
    }

    /// Bytes it takes of those for large tables.
    pub(super) fn large_bytes(&self) -> usize {
        self.large_bytes
    }

    /// Whether its table was not kept, for want of room.
    pub(super) fn is_refused(&self) -> bool {
        self.is_refused
    }

    /// Whether a sequence of changes is under way.
    pub(super) fn is_changing(&self) -> bool {
        self.receiver.is_changing()
    }
}
