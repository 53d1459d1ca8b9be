//! The way in of links whose peer deflates: a piece at a time is inflated and handled, within the
//! link's share of work, in front of what `input` does for all links.

use super::Servent;
use super::budget::{DEFLATED_BYTE, INFLATED_BYTES_PER_UNIT, Unread};
use super::io::{CloseReason, ConnId, IoFailure};
use crate::time::Instant;
use bytes::{Buf, BytesMut};

/// Bytes inflated at a time, and most that wait inflated, besides those in the inflater's window.
const PIECE_BYTES: usize = 8 * 1024;

impl Servent {
    /// Deflated bytes of an established link: handled as far as its share goes, the rest waits.
    pub(super) fn handle_deflated(&mut self, now: Instant, id: ConnId, bytes: &[u8]) {
        let Some(link) = self.links.link_mut(id) else { return };
        if link.account.is_waiting() {
            return link.append_deflated(bytes);
        }
        if let Some((taken, unread)) = self.inflate(now, id, bytes, BytesMut::new()) {
            let Some(link) = self.links.link_mut(id) else { return };
            link.append_deflated(&bytes[taken..]);
            self.keep_unread(now, id, Box::new(Unread { bytes: unread, ended: false }));
        }
    }

    /// Goes on with the deflated input that waits, after all that was inflated of it.
    pub(super) fn serve_deflated(&mut self, now: Instant, id: ConnId, mut unread: Box<Unread>) {
        let Some(link) = self.links.link_mut(id) else { return };
        let mut waiting = link.take_deflated();
        let buffer = std::mem::take(&mut unread.bytes);
        if let Some((taken, inflated)) = self.inflate(now, id, &waiting, buffer) {
            let Some(link) = self.links.link_mut(id) else { return };
            waiting.advance(taken);
            link.put_back_deflated(waiting);
            unread.bytes = inflated;
            self.keep_unread(now, id, unread);
        } else if unread.ended {
            self.close(now, id, CloseReason::Io(IoFailure::Eof));
        }
    }

    /// Inflates and handles `bytes` while the link has credit, up to as many bytes as are read of a plain
    /// link, since the neighbours' queues are drained before the next. `None` when all is handled or the link
    /// has ended; otherwise how many bytes were taken, and what they became and was not handled, in
    /// `unread`.
    fn inflate(
        &mut self,
        now: Instant,
        id: ConnId,
        bytes: &[u8],
        mut unread: BytesMut,
    ) -> Option<(usize, BytesMut)> {
        let (mut piece, mut taken, mut made) = ([0; PIECE_BYTES], 0, 0);
        unread.clear();
        while made < self.budget.read_bytes(now) {
            let link = self.links.link_mut(id)?;
            let Some(credit) = self.budget.credit(now, &mut link.account) else { break };
            let step = match link.inflate(&bytes[taken..], &mut piece) {
                Ok(step) => step,
                Err(error) => {
                    self.close(now, id, CloseReason::Inflate(error));
                    return None;
                }
            };
            taken += step.taken;
            made += step.made;
            let cost = DEFLATED_BYTE * step.taken + step.made.div_ceil(INFLATED_BYTES_PER_UNIT);
            let cost = u32::try_from(cost).unwrap_or(u32::MAX);
            link.account.debit(cost);
            self.stats.work += u64::from(cost);
            let is_all = step.made < piece.len() && taken == bytes.len();
            let is_all = is_all && !link.has_stream_ended();
            let inflated = &piece[..step.made];
            let handled = self.serve(now, id, inflated, credit);
            if handled < inflated.len() {
                unread.extend_from_slice(&inflated[handled..]);
                break;
            }
            if is_all {
                return None;
            }
        }
        Some((taken, unread))
    }
}
