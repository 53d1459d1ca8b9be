//! The way out: copies into send queues, and from there, in turn, to the sockets.

use super::connection::Phase;
use super::encoded::EncodedDescriptor;
use super::io::{CloseReason, ConnId, TxChunk};
use super::link_key::LinkKey;
use super::links::Sending;
use super::uploads::UploadChunk;
use super::{Observation, Servent, budget};
use crate::stats::DropReason;
use crate::time::Instant;
use crate::wire::{Header, Kind};

impl Servent {
    /// The next bytes to write and where. Call [`Servent::sent`] with what came of it before
    /// polling again. Everything else goes before uploads, of which one gets one step per turn:
    /// writing a file until the socket is full would keep descriptors waiting for many
    /// milliseconds.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<(ConnId, TxChunk<'_>)> {
        let id = self.next_ready(now)?;
        let filled = self.links.get_mut(id)?.fill();
        self.count_sent(id, filled);
        let conn = self.links.get(id)?;
        let chunk = match &conn.phase {
            Phase::Upload => {
                let step_bytes = self.config.limits.upload_step_bytes;
                match self.uploads.transmit(id, step_bytes)? {
                    UploadChunk::Bytes(bytes) => TxChunk::Bytes(bytes),
                    UploadChunk::File { file, offset, len } => TxChunk::File { file, offset, len },
                }
            }
            Phase::Download(transfer) => TxChunk::Bytes(self.downloads.transmit(*transfer)?),
            _ => TxChunk::Bytes(conn.unsent()),
        };
        Some((id, chunk))
    }

    /// `written` bytes of the chunk polled last went out; 0 means the socket is full, and nothing
    /// is offered for it until [`Servent::handle_writable`].
    pub fn sent(&mut self, now: Instant, id: ConnId, written: usize) {
        self.stats.bytes_out += written as u64;
        self.stats.writes += u64::from(written > 0);
        let bulk = self.links.first_listed(Sending::Bytes) != Some(id);
        let list = if bulk { Sending::Bulk } else { Sending::Bytes };
        debug_assert_eq!(self.links.first_listed(list), Some(id), "sent answers poll_transmit");
        self.links.unlist_first(list);
        let Some(conn) = self.links.get_mut(id) else { return };
        conn.blocked = written == 0;
        match &conn.phase {
            Phase::Upload => {
                self.uploads.sent(now, id, written, bulk);
                return self.drive_upload(now, id);
            }
            Phase::Download(transfer) => self.downloads.sent(*transfer, written),
            Phase::Parting(_) => {
                let (sent, is_over) = (conn.sent(now, written), !conn.has_unsent());
                self.count_sent(id, sent);
                if is_over {
                    return self.drop_socket(now, id, CloseReason::Shutdown);
                }
            }
            _ => {
                let sent = conn.sent(now, written);
                self.count_sent(id, sent);
            }
        }
        self.list_ready(id);
    }

    /// Copies left the queue of a link to the last byte.
    #[inline]
    fn count_sent(&mut self, id: ConnId, copies: u32) {
        self.stats.sent += u64::from(copies);
        self.tallies.change(id, |tally| tally.sent += u64::from(copies));
    }

    /// The socket takes bytes again.
    pub fn handle_writable(&mut self, id: ConnId) {
        if let Some(conn) = self.links.get_mut(id) {
            conn.blocked = false;
            self.list_ready(id);
        }
    }

    /// The front of the lists of connections with something to send; what has nothing is taken off.
    fn next_ready(&mut self, now: Instant) -> Option<ConnId> {
        while let Some(id) = self.links.first_listed(Sending::Bytes) {
            if self.to_send(id) == Some(Sending::Bytes) {
                return Some(id);
            }
            self.links.unlist_first(Sending::Bytes);
            self.list_ready(id);
        }
        if !self.uploads.has_bulk_credit() {
            return None;
        }
        while let Some(id) = self.links.first_listed(Sending::Bulk) {
            if self.to_send(id) == Some(Sending::Bulk) {
                return self.uploads.admit_bulk(now).then_some(id);
            }
            self.links.unlist_first(Sending::Bulk);
            self.list_ready(id);
        }
        None
    }

    /// What a connection has to send next, if it is not blocked.
    #[inline]
    fn to_send(&self, id: ConnId) -> Option<Sending> {
        let conn = self.links.get(id).filter(|conn| !conn.blocked)?;
        match &conn.phase {
            Phase::Upload => {
                let bulk = self.uploads.has_bulk(id)?;
                Some(if bulk { Sending::Bulk } else { Sending::Bytes })
            }
            Phase::Download(transfer) => self.downloads.transmit(*transfer).map(|_| Sending::Bytes),
            _ => conn.has_unsent().then_some(Sending::Bytes),
        }
    }

    /// Lists a connection if it has something to send.
    #[inline]
    pub(super) fn list_ready(&mut self, id: ConnId) {
        if self.links.get(id).is_none_or(|conn| conn.listed) {
            return;
        }
        if let Some(sending) = self.to_send(id) {
            self.links.list(id, sending);
        }
    }

    /// Queues one copy for a link that stands, on behalf of the link `source` or of our own making,
    /// and counts what came of it. False if the queue refused it.
    pub(super) fn enqueue(
        &mut self,
        source: Option<LinkKey>,
        target: LinkKey,
        descriptor: &EncodedDescriptor<'_>,
    ) -> bool {
        if self.routing.pending().is_some_and(|targets| targets.include(target))
            && self.links.is_plain(target)
        {
            // What was broadcast before it goes before it.
            self.flush_batch();
        }
        let (id, conn) = self.links.standing_mut(target);
        let (peer, cost) = (conn.remote, conn.deflate_cost(descriptor.len()));
        if !conn.queue.push(descriptor, source) {
            self.stats.count_drop(DropReason::QueueFull);
            self.tallies.change(id, |tally| tally.dropped += 1);
            self.outbox.observe(|| Observation::Refused { peer, header: descriptor.header() });
            return false;
        }
        self.budget.charge(budget::COPY + cost);
        if descriptor.kind() == Kind::Ping {
            self.note_ping_sent(target, 1);
        }
        let header = || descriptor.header();
        if source.is_some() {
            self.stats.forwarded.add(descriptor.kind());
            self.outbox.observe(|| Observation::Forwarded { peer, header: header() });
        } else {
            self.stats.originated.add(descriptor.kind());
            self.outbox.observe(|| Observation::Originated { peer, header: header() });
        }
        self.list_ready(id);
        true
    }

    /// Pings sent on a link admit Pongs.
    fn note_ping_sent(&mut self, target: LinkKey, count: u64) {
        let per_ping = self.config.limits.pongs_per_ping;
        if let Phase::Link(link) = &mut self.links.standing_mut(target).1.phase {
            (0..count).for_each(|_| link.ping_sent(per_ping));
        }
    }

    /// Queues the broadcasts of the bytes just read for every 0.4 link they go to: all at once where
    /// there is room for all of them. What a 0.6 link gets is decided for each descriptor.
    pub(super) fn flush_batch(&mut self) {
        let Some(targets) = self.routing.pending() else { return };
        let batch = self.routing.take_batch();
        let (source, pings) = (targets.source(), batch.copies().get(Kind::Ping));
        let count = u32::try_from(batch.copies().total()).unwrap_or(u32::MAX);
        for at in 0..self.links.plain().len() {
            let target = self.links.plain()[at];
            if !targets.include(target) {
                continue;
            }
            let (id, conn) = self.links.standing_mut(target);
            let cost = conn.deflate_cost(batch.bytes().len());
            if !self.outbox.is_observed() && conn.queue.push_batch(&batch, count) {
                self.budget.charge(cost);
                self.stats.forwarded.add_all(batch.copies());
                if pings > 0 {
                    self.note_ping_sent(target, pings);
                }
                self.list_ready(id);
                continue;
            }
            for (header, payload) in batch.descriptors() {
                let descriptor = self.encoded(header, payload);
                self.enqueue(source, target, &descriptor);
            }
        }
        self.routing.recycle(batch);
    }

    /// A descriptor for the send queues of this servent.
    pub(super) fn encoded<'a>(&self, header: Header, payload: &'a [u8]) -> EncodedDescriptor<'a> {
        EncodedDescriptor::new(header, payload, self.config.limits.send_queue_bytes)
    }
}
