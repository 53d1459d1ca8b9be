//! What links of 0.6 have beyond those of 0.4: an exchange of route tables, and searches that are sent
//! on in small steps.

use super::Servent;
use super::connection::{Connection, Features, Link, PeerInfo, PeerRole, Standing};
use super::descriptors::Source;
use super::dynamic_query::{DynamicQueries, Ultrapeer};
use super::io::{CloseReason, ConnId};
use super::link_key::LinkKey;
use super::query_routing::{Exchange, QueryRouting, TableUpdate};
use super::relays::Relay;
use crate::config::Role;
use crate::stats::DropReason;
use crate::time::Instant;
use crate::wire::qrp::{QRP, Qrp, QrpTable};
use crate::wire::{Guid, Header, RawDescriptor};

/// Ultrapeers that one without X-Degree is taken to have links with (gtk-gnutella).
const LEGACY_DEGREE: u16 = 8;
/// Pieces of work on route tables done before other work is looked at: below a millisecond in all.
const TABLE_STEPS: usize = 4;

/// What is held for 0.6 links beyond what every link has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModernState {
    /// Bytes of complete route tables that neighbours sent. Equal ones count once.
    pub table_bytes: usize,
    /// Route tables being changed.
    pub tables_changing: usize,
    /// Links whose route table is not kept, for want of room.
    pub tables_refused: usize,
    /// Searches of leaves being sent on.
    pub searches: usize,
    /// Searches of leaves that went to no ultrapeer, since there were too many.
    pub searches_refused: u64,
}

impl Servent {
    /// What is held for 0.6 links beyond what every link has.
    pub fn modern_state(&self) -> ModernState {
        let (tables, searches) = (self.query_routing.get(), self.dynamic_queries.get());
        ModernState {
            table_bytes: tables.map_or(0, QueryRouting::received_bytes),
            tables_changing: tables.map_or(0, QueryRouting::changing),
            tables_refused: tables.map_or(0, QueryRouting::refused),
            searches: searches.map_or(0, DynamicQueries::len),
            searches_refused: searches.map_or(0, DynamicQueries::refused),
        }
    }

    /// The complete route table of a neighbour.
    pub fn route_table_of(&self, id: ConnId) -> Option<&QrpTable> {
        self.query_routing.get()?.table_of(self.links.link(id)?.key)
    }

    /// A link stands. For one of 0.4, this is nothing.
    pub(super) fn join_modern(&mut self, now: Instant, key: LinkKey) {
        let Some(peer) = self.links.of(key).and_then(Connection::link).map(Link::peer) else {
            return;
        };
        let (exchange, max_ttl) = (exchange_with(self.config.role, peer), peer.max_ttl);
        let ggep = peer.features.has(Features::GGEP);
        let is_ultrapeer = peer.role == PeerRole::Ultrapeer;
        let degree = peer.degree.unwrap_or(LEGACY_DEGREE).into();
        if peer.standing() == Standing::Relay {
            self.relays.change().push(Relay { link: key, max_ttl, ggep, is_ultrapeer });
            if is_ultrapeer {
                self.dynamic_queries.change().link_up(Ultrapeer { link: key, degree, max_ttl });
            }
        }
        if exchange != Exchange::None {
            self.query_routing.change().link_up(now, key, exchange);
        }
        self.introduce_messages(key);
    }

    /// A link stands no longer.
    pub(super) fn leave_modern(&mut self, key: LinkKey) {
        if let Some(relays) = self.relays.get_mut() {
            relays.retain(|relay| relay.link != key);
        }
        if let Some(tables) = self.query_routing.get_mut() {
            tables.link_down(key);
        }
        if let Some(searches) = self.dynamic_queries.get_mut() {
            searches.link_down(key);
        }
        if let Some(proxies) = self.push_proxies.get_mut() {
            proxies.forget_link(key);
        }
        if let Some(flow) = self.hops_flow.get_mut() {
            flow.forget_link(key);
        }
    }

    /// A leaf sent a Query that is not its own: none of ours would, so it does not know what it is to us.
    #[cold]
    pub(super) fn end_relaying_leaf(
        &mut self,
        now: Instant,
        source: &Source,
    ) -> Result<(), DropReason> {
        self.close(now, source.id, CloseReason::LeafRelays);
        Err(DropReason::NotRouting)
    }

    /// A piece of a neighbour's route table.
    #[cold]
    pub(super) fn handle_route_table(
        &mut self,
        now: Instant,
        source: &Source,
        raw: RawDescriptor<'_>,
    ) -> Result<(), DropReason> {
        let Some(tables) = self.query_routing.get_mut() else {
            return Err(DropReason::UnknownKind);
        };
        let message = Qrp::decode(raw.payload()).map_err(|_| DropReason::Malformed)?;
        match tables.handle_message(source.key, &message) {
            Ok(Some(units)) => {
                self.budget.charge(units);
                self.stats.delivered.add(QRP);
                Ok(())
            }
            // From a link that exchanges none.
            Ok(None) => Err(DropReason::UnknownKind),
            Err(error) => {
                self.close(now, source.id, CloseReason::Qrp(error));
                Err(DropReason::Malformed)
            }
        }
    }

    /// Works on route tables as far as that is due, and as far as one turn goes.
    pub(super) fn step_tables(&mut self, now: Instant) {
        for _ in 0..TABLE_STEPS {
            let Servent { query_routing, library, .. } = self;
            let Some(tables) = query_routing.get_mut() else { return };
            if tables.next_due().is_none_or(|at| at > now) {
                return;
            }
            if let Some(update) = tables.step(now, library) {
                self.send_table(now, &update);
            }
        }
    }

    fn send_table(&mut self, now: Instant, update: &TableUpdate) {
        let sent = update.payloads.iter().all(|payload| {
            let guid = Guid::random(&mut self.rng);
            let header = Header { guid, kind: QRP, ttl: 1, hops: 0, payload_len: 0 };
            let descriptor = self.encoded(header, payload);
            self.enqueue(None, update.link, &descriptor)
        });
        if let Some(tables) = self.query_routing.get_mut().filter(|_| !sent) {
            tables.not_sent(now, update.link);
        }
    }

    /// When [`Servent::step_tables`] has something to do.
    #[inline]
    pub(super) fn next_table_step(&self) -> Option<Instant> {
        self.query_routing.get()?.next_due()
    }

    /// When [`Servent::step_searches`] has something to do.
    #[inline]
    pub(super) fn next_search_step(&self) -> Option<Instant> {
        self.dynamic_queries.get()?.next_due()
    }
}

/// Which route tables a link exchanges. Between a leaf and its ultrapeer that need not be announced:
/// without, the leaf gets no Queries.
fn exchange_with(own: Role, peer: &PeerInfo) -> Exchange {
    let asks = peer.features.has(Features::LAST_HOP_ROUTING);
    match peer.standing() {
        Standing::OurUltrapeer => Exchange::AsLeaf,
        Standing::Leaf => Exchange::WithLeaf,
        Standing::Relay if own == Role::Servent && peer.role == PeerRole::Ultrapeer && asks => {
            Exchange::BetweenUltrapeers
        }
        Standing::Relay | Standing::Plain => Exchange::None,
    }
}
