//! The way in: bytes of links become descriptors, within each link's share of work.

use super::budget::Unread;
use super::connection::{Link, Phase};
use super::descriptors::Source;
use super::io::{CloseReason, ConnId, IoFailure};
use super::{Observation, RouteTable, Servent};
use crate::config::READ_BYTES;
use crate::stats::DropReason;
use crate::time::Instant;
use crate::transfer::download::MAX_BACKLOG_BYTES;
use crate::wire::{Deframer, Descriptors, FrameError};
use bytes::{Buf, BytesMut};
use std::net::SocketAddrV4;

/// Fewer bytes hold a descriptor or two, whose look-ups gain nothing by being started early.
const WORTH_PREFETCHING: usize = 128;

impl Servent {
    /// How many bytes of this connection may be read and handed to
    /// [`Servent::handle_bytes`] in this turn. 0 while input of a link waits for its share of
    /// work: ask again in the next turn.
    pub fn read_allowance(&self, now: Instant, id: ConnId) -> usize {
        let bytes = self.budget.read_bytes(now);
        debug_assert!(bytes <= READ_BYTES, "one read is the unit of limits on memory");
        match self.links.link(id) {
            Some(link) if link.account.is_waiting() => 0,
            _ if self.awaits_disk(id) => 0,
            _ => bytes,
        }
    }

    /// Whether the source of a download is not read until the disk has taken what came: ask again
    /// after [`Servent::handle_file`].
    pub fn awaits_disk(&self, id: ConnId) -> bool {
        let Some(Phase::Download(transfer)) = self.links.get(id).map(|conn| &conn.phase) else {
            return false;
        };
        self.downloads.backlog_bytes(*transfer) >= MAX_BACKLOG_BYTES
    }

    /// Bytes of an established link: handled as far as its share goes, the rest waits.
    pub(super) fn handle_stream(&mut self, now: Instant, id: ConnId, bytes: &[u8]) {
        let Some(conn) = self.links.get_mut(id) else { return };
        let inflates = conn.coding().inflates;
        let Phase::Link(link) = &mut conn.phase else { return };
        link.last_heard = now;
        link.keepalive_sent = false;
        if inflates {
            return self.handle_deflated(now, id, bytes);
        }
        if link.account.append_unread(bytes) {
            return;
        }
        let taken = match self.budget.credit(now, &mut link.account) {
            Some(credit) => self.serve(now, id, bytes, credit),
            None => 0,
        };
        if taken < bytes.len() {
            let bytes = BytesMut::from(&bytes[taken..]);
            self.keep_unread(now, id, Box::new(Unread { bytes, ended: false }));
        }
    }

    /// Gives each link with unread input its share of this round, and answers requests that waited.
    pub(crate) fn serve_waiting(&mut self, now: Instant) {
        for id in self.budget.take_unanswered() {
            self.uploads.set_waits(id, false);
            self.drive_upload(now, id);
        }
        for _ in 0..self.budget.waiting() {
            let Some(id) = self.budget.next_waiting() else { break };
            let Some(link) = self.links.link_mut(id) else { continue };
            let Some(credit) = self.budget.credit(now, &mut link.account) else {
                self.budget.serve_later(now, id);
                continue;
            };
            let Some(mut unread) = link.account.take_unread() else { continue };
            let taken = self.serve(now, id, &unread.bytes, credit);
            unread.bytes.advance(taken);
            if !unread.bytes.is_empty() {
                self.keep_unread(now, id, unread);
            } else if self.links.get(id).is_some_and(|conn| conn.coding().inflates) {
                self.serve_deflated(now, id, unread);
            } else if unread.ended {
                self.close(now, id, CloseReason::Io(IoFailure::Eof));
            }
        }
    }

    /// Handles descriptors while the link has credit. Returns how many bytes were taken, all of
    /// them when the link ended.
    pub(super) fn serve(&mut self, now: Instant, id: ConnId, bytes: &[u8], credit: u32) -> usize {
        self.budget.begin();
        let before = self.tallies.are_kept().then(|| self.counts_of_input());
        let taken = self.handle_descriptors(now, id, bytes, credit);
        if let Some(before) = before {
            self.tally_input(id, before);
        }
        self.flush_batch();
        let spent = self.budget.end();
        self.stats.work += u64::from(spent);
        let taken = match taken {
            Ok(taken) => taken,
            Err(error) => {
                self.close(now, id, CloseReason::Frame(error));
                bytes.len()
            }
        };
        if let Some(link) = self.links.link_mut(id) {
            link.account.debit(spent);
        }
        taken
    }

    /// Handles the descriptors in `bytes` until `credit` units of work are spent. Returns how many
    /// bytes were taken, all of them when the link ended.
    ///
    /// # Errors
    /// The stream is lost; descriptors before the error were handled.
    fn handle_descriptors(
        &mut self,
        now: Instant,
        id: ConnId,
        bytes: &[u8],
        credit: u32,
    ) -> Result<usize, FrameError> {
        let Some(conn) = self.links.get_mut(id) else { return Ok(bytes.len()) };
        let peer = conn.remote;
        let Phase::Link(link) = &mut conn.phase else { return Ok(bytes.len()) };
        let source = Source { id, key: link.key, peer, standing: link.peer().standing() };
        // Taken out while its descriptors are handled, which may end the link.
        let (mut own, mut boxed) = (Deframer::default(), link.deframer.take());
        let deframer = boxed.as_deref_mut().unwrap_or(&mut own);
        let mut descriptors = deframer.feed(bytes);
        let worth_it = bytes.len() >= WORTH_PREFETCHING;
        let mut fetched = 0;
        loop {
            if fetched == 0 && worth_it {
                fetched = RouteTable::PREFETCHED;
                self.routing.prefetch(descriptors.ahead(RouteTable::PREFETCHED));
            }
            fetched = fetched.saturating_sub(1);
            let Some(raw) = descriptors.next()? else { break };
            self.handle_descriptor(now, &source, raw);
            if self.links.link(id).is_none() {
                let is_in_step = self.count_unread(peer, &mut descriptors);
                if own.pending_bytes() > 0 {
                    boxed = Some(Box::new(own));
                }
                self.overhear_from(id, is_in_step.then(|| boxed.unwrap_or_default()));
                return Ok(bytes.len());
            }
            if self.budget.spent() >= credit {
                break;
            }
        }
        let left = descriptors.into_rest().len();
        if let Some(link) = self.links.link_mut(id) {
            // A descriptor has begun, and is the first that straddles two reads.
            if own.pending_bytes() > 0 {
                boxed = Some(Box::new(own));
            }
            link.deframer = boxed;
        }
        Ok(bytes.len() - left)
    }

    pub(super) fn keep_unread(&mut self, now: Instant, id: ConnId, unread: Box<Unread>) {
        let Some(link) = self.links.link_mut(id) else { return };
        link.account.keep_unread(unread);
        self.budget.serve_later(now, id);
    }

    /// Counts the unread input of a link that ends. Whether its stream can be followed further.
    pub(super) fn drop_unread(&mut self, peer: SocketAddrV4, link: &mut Link) -> bool {
        let Some(unread) = link.account.take_unread() else { return true };
        let mut deframer = link.deframer.take().unwrap_or_default();
        let is_in_step = self.count_unread(peer, &mut deframer.feed(&unread.bytes));
        link.deframer = Some(deframer);
        is_in_step
    }

    /// Counts all descriptors that are left. Whether the stream can be followed further.
    pub(super) fn count_unread(&mut self, peer: SocketAddrV4, left: &mut Descriptors<'_>) -> bool {
        loop {
            let header = match left.next() {
                Ok(Some(raw)) => raw.header(),
                Ok(None) => return true,
                Err(_) => return false,
            };
            let reason = DropReason::Unread;
            self.stats.received.add(header.kind);
            self.stats.count_drop(reason);
            self.outbox.observe(|| Observation::Received { peer, header });
            self.outbox.observe(|| Observation::Dropped { peer, header, reason });
        }
    }
}
