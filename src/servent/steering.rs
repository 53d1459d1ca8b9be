//! What a user asks of a servent that runs: to be shown its links and transfers, to end a link, to change
//! settings.

use super::Servent;
use super::connection::Phase;
use super::io::{CloseReason, ConnId, Event};
use super::tallies::Tally;
use crate::stats::DropReason;
use crate::time::Instant;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

/// A host that the user has disconnected from is not dialled again for this long, unless he asks for
/// it.
const DISCONNECTED_REST: Duration = Duration::from_secs(600);

/// How far an upload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UploadView {
    /// Its connection.
    pub conn: ConnId,
    /// The peer.
    pub addr: SocketAddrV4,
    /// The file's number in the library.
    pub number: u32,
    /// Bytes of the body that were sent.
    pub sent: u64,
}

/// Settings that can change while a servent runs; `None` leaves one as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Most bytes per second for all uploads together; `Some(None)` is no limit.
    pub upload_limit: Option<Option<u64>>,
    /// Uploads at one time; those that run go on.
    pub max_uploads: Option<usize>,
    /// Outbound links kept with learnt hosts; those that stand stay.
    pub links: Option<usize>,
    /// Most links; those that stand stay.
    pub max_links: Option<usize>,
}

impl Servent {
    /// Descriptors received so far, and those of them dropped. Copies that a queue has no room for, or
    /// that are lost with a link, are not of what came in.
    pub(super) fn counts_of_input(&self) -> (u64, u64) {
        let lost =
            [DropReason::QueueFull, DropReason::LinkEnded].map(|why| self.stats.dropped(why));
        (self.stats.received.total(), self.stats.dropped_total() - lost[0] - lost[1])
    }

    /// Adds what a link has brought since the counts stood at `before` to its tally.
    pub(super) fn tally_input(&mut self, id: ConnId, before: (u64, u64)) {
        let after = self.counts_of_input();
        self.tallies.change(id, |tally| {
            tally.received += after.0 - before.0;
            tally.dropped += after.1 - before.1;
        });
    }

    /// Counts what crosses each link from now on.
    pub fn keep_tallies(&mut self) {
        self.tallies.begin();
    }

    /// What crossed a link since it stands, if tallies were kept all the time.
    pub fn tally_of(&self, id: ConnId) -> Tally {
        self.tallies.of(id)
    }

    /// Sockets of all kinds.
    pub fn connections_held(&self) -> usize {
        self.links.sockets().count()
    }

    /// Bytes that wait to be sent on a connection.
    pub fn unsent_bytes(&self, id: ConnId) -> usize {
        self.links.get(id).map_or(0, |conn| conn.unsent().len())
    }

    /// The uploads that hold a slot.
    pub fn uploads_under_way(&self) -> impl Iterator<Item = UploadView> + '_ {
        self.uploads.holders().filter_map(|(conn, number, sent)| {
            let addr = self.links.get(conn)?.remote;
            Some(UploadView { conn, addr, number, sent })
        })
    }

    /// Ends a connection that fetches a file from us. False if it fetches none.
    pub fn end_upload(&mut self, now: Instant, id: ConnId) -> bool {
        let Some(view) = self.uploads_under_way().find(|view| view.conn == id) else {
            return false;
        };
        let UploadView { addr, number, sent: bytes, .. } = view;
        self.outbox.event(Event::Served { addr, number, bytes, complete: false });
        self.close(now, id, CloseReason::Asked);
        true
    }

    /// The address others are told to reach this servent at, on a link whose own end is `local`.
    pub fn advertised(&self, local: Ipv4Addr) -> SocketAddrV4 {
        self.dialer.advertised(local)
    }

    /// Whether the user wants a link with this address kept.
    pub fn keeps(&self, addr: SocketAddrV4) -> bool {
        self.dialer.is_static_peer(addr)
    }

    /// Ends all links with `addr`, keeps none, and does not dial it for ten minutes. An inbound link is
    /// also meant by the address its peer says it listens on. Returns how many links there were.
    pub fn disconnect(&mut self, now: Instant, addr: SocketAddrV4) -> usize {
        self.dialer.remove_static_peer(addr);
        self.dialer.rest_until(addr, now + DISCONNECTED_REST);
        let meant = self.links.iter().filter(|(_, conn)| {
            let Phase::Link(link) = &conn.phase else { return false };
            conn.remote == addr || link.listening_addr(*conn.remote.ip()) == Some(addr)
        });
        let ids: Vec<ConnId> = meant.map(|(id, _)| id).collect();
        for &id in &ids {
            self.close(now, id, CloseReason::Asked);
        }
        ids.len()
    }

    /// Changes settings.
    ///
    /// # Errors
    /// When the settings would contradict each other; nothing is changed then.
    pub fn reconfigure(
        &mut self,
        now: Instant,
        change: &Change,
    ) -> Result<(), crate::config::ConfigError> {
        let mut config = (*self.config).clone();
        config.upload_limit = change.upload_limit.unwrap_or(config.upload_limit);
        config.max_uploads = change.max_uploads.unwrap_or(config.max_uploads);
        config.links = change.links.unwrap_or(config.links);
        config.max_links = change.max_links.unwrap_or(config.max_links);
        config.validate()?;
        if config.upload_limit != self.config.upload_limit {
            self.uploads.set_rate(now, config.upload_limit);
        }
        self.config = Arc::new(config);
        self.dialer.look_again(now);
        Ok(())
    }
}
