//! A servent whose output is spoiled in one way. The core inside is honest: its output is cut into
//! descriptors, and some of them are changed, moved, doubled or left out.

use servent::config::Role;
use servent::net::{Failure, Node, Output};
use servent::rng::Rng;
use servent::rules::Rule;
use servent::servent::{ConnId, Neighbour, PeerRole, Servent};
use servent::sim::{Outward, ServentNode};
use servent::time::Instant;
use servent::wire::{Deframer, Guid, HandshakeEnd, Header, Kind};
use std::collections::BTreeMap;
use std::net::SocketAddrV4;

/// What is done to descriptors that are passed on for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spoil {
    /// Nothing: the wrapper alone breaks no rule.
    Nothing,
    /// A Query costs no TTL.
    TtlKept,
    /// A Query gains TTL.
    TtlRaised,
    /// A Query costs TTL and no hop.
    HopsKept,
    /// A Query goes back to its source too.
    SentBack,
    /// A Query goes twice to the same neighbour.
    SentTwice,
    /// A Query goes nowhere.
    Swallowed,
    /// A Query goes on together with one that never came.
    MadeUp,
    /// A Query goes on under another GUID.
    GuidChanged,
    /// A hit goes to another neighbour than the one that asked.
    HitMisled,
    /// A hit goes to all neighbours.
    HitFlooded,
    /// A leaf that answers passes the Query on.
    LeafRelays,
    /// A leaf that answers passes the hit off as another's.
    LeafRelaysHits,
    /// A Query goes to all leaves, whatever their tables say.
    LeavesFlooded,
}

impl Spoil {
    /// All of them, and the rule each breaks.
    pub(super) const ALL: [(Spoil, Rule); 10] = [
        (Spoil::TtlKept, Rule::TtlNeverGrows),
        (Spoil::TtlRaised, Rule::TtlNeverGrows),
        (Spoil::HopsKept, Rule::HopsCount),
        (Spoil::SentBack, Rule::NotBackToSource),
        (Spoil::SentTwice, Rule::ForwardedOnce),
        (Spoil::Swallowed, Rule::Reach),
        (Spoil::MadeUp, Rule::OnlyWhatCame),
        (Spoil::GuidChanged, Rule::OnlyWhatCame),
        (Spoil::HitMisled, Rule::ReversePath),
        (Spoil::HitFlooded, Rule::ReversePath),
    ];

    /// Those that take roles, and the rule each breaks.
    pub(super) const OF_ROLES: [(Spoil, Rule); 5] = [
        (Spoil::LeafRelays, Rule::LeafNeverRelays),
        (Spoil::LeafRelaysHits, Rule::LeafNeverRelays),
        (Spoil::LeavesFlooded, Rule::LeafGetsMatches),
        (Spoil::SentTwice, Rule::ForwardedOnce),
        (Spoil::Swallowed, Rule::Reach),
    ];

    pub(super) fn named(name: &str) -> Spoil {
        let all = Spoil::ALL.iter().map(|(spoil, _)| *spoil);
        all.chain([Spoil::Nothing]).find(|spoil| format!("{spoil:?}") == name).unwrap()
    }
}

/// See the module documentation.
pub(super) struct Spoiler {
    core: Servent,
    spoil: Spoil,
    rng: Rng,
    links: BTreeMap<ConnId, Link>,
    /// The link that each Query first came by, and its TTL.
    sources: BTreeMap<Guid, (ConnId, u8)>,
}

/// One connection, followed in both directions.
#[derive(Default)]
struct Link {
    came: (HandshakeEnd, Deframer),
    sent: (HandshakeEnd, Deframer),
    /// What has been spoiled, and waits to be written.
    ready: Vec<u8>,
    /// The socket took nothing.
    blocked: bool,
}

impl Spoiler {
    pub(super) fn new(core: Servent, spoil: Spoil) -> Spoiler {
        let (links, sources) = (BTreeMap::new(), BTreeMap::new());
        Spoiler { core, spoil, rng: Rng::new(1), links, sources }
    }

    /// Takes all that the core has to send.
    fn pump(&mut self, now: Instant) {
        while let Some((conn, bytes)) = Node::poll_transmit(&mut self.core, now) {
            let bytes = bytes.to_vec();
            Node::sent(&mut self.core, now, conn, bytes.len());
            let link = self.links.entry(conn).or_default();
            let behind = link.sent.0.skip(&bytes);
            link.ready.extend_from_slice(&bytes[..bytes.len() - behind.len()]);
            for (header, payload) in cut(&mut link.sent.1, behind) {
                for (to, header) in self.spoiled(conn, header) {
                    header.frame(&payload, &mut self.links.entry(to).or_default().ready);
                }
            }
        }
    }

    /// Where a descriptor that the core sends to `to` goes instead, and how.
    fn spoiled(&mut self, to: ConnId, header: Header) -> Vec<(ConnId, Header)> {
        let came = self.sources.get(&header.guid);
        let (source, ttl) = came.map_or((None, 0), |(conn, ttl)| (Some(*conn), *ttl));
        let passed_on = header.hops > 0;
        let is_leaf = self.core.config().role == Role::Leaf;
        match self.spoil {
            Spoil::LeafRelays if is_leaf && header.kind == Kind::QueryHit => {
                let query = Header { kind: Kind::Query, ttl: 1, hops: 3, ..header };
                let others = self.core.neighbours().map(|link| link.conn);
                let others = others.filter(|conn| *conn != to).map(|conn| (conn, query));
                others.chain([(to, header)]).collect()
            }
            Spoil::LeafRelaysHits if is_leaf && header.kind == Kind::QueryHit => {
                vec![(to, Header { hops: 1, ..header })]
            }
            Spoil::HitMisled | Spoil::HitFlooded if header.kind == Kind::QueryHit => {
                let links = self.core.neighbours().map(|link| link.conn);
                let others = links.filter(|conn| Some(*conn) != source);
                match self.spoil {
                    Spoil::HitMisled => others.take(1).map(|conn| (conn, header)).collect(),
                    _ => others.chain([to]).map(|conn| (conn, header)).collect(),
                }
            }
            _ if !passed_on || header.kind != Kind::Query => vec![(to, header)],
            Spoil::TtlKept => vec![(to, Header { ttl, ..header })],
            Spoil::TtlRaised => vec![(to, Header { ttl: ttl + 4, ..header })],
            Spoil::HopsKept => vec![(to, Header { hops: header.hops - 1, ..header })],
            Spoil::SentBack => {
                [Some(to), source].map(|conn| Some((conn?, header))).into_iter().flatten().collect()
            }
            Spoil::LeavesFlooded => {
                let is_leaf = |link: &Neighbour<'_>| link.peer.role == PeerRole::Leaf;
                let leaves = self.core.neighbours().filter(is_leaf).map(|link| (link.conn, header));
                leaves.chain([(to, header)]).collect()
            }
            Spoil::SentTwice => vec![(to, header), (to, header)],
            Spoil::Swallowed => Vec::new(),
            Spoil::MadeUp => {
                let guid = Guid::random(&mut self.rng);
                vec![(to, header), (to, Header { guid, ..header })]
            }
            Spoil::GuidChanged => {
                vec![(to, Header { guid: Guid::random(&mut self.rng), ..header })]
            }
            Spoil::Nothing
            | Spoil::HitMisled
            | Spoil::HitFlooded
            | Spoil::LeafRelays
            | Spoil::LeafRelaysHits => vec![(to, header)],
        }
    }
}

/// The descriptors that `bytes`, the next of a stream, complete.
fn cut(deframer: &mut Deframer, bytes: &[u8]) -> Vec<(Header, Vec<u8>)> {
    let (mut found, mut descriptors) = (Vec::new(), deframer.feed(bytes));
    while let Ok(Some(raw)) = descriptors.next() {
        found.push((raw.header(), raw.payload().to_vec()));
    }
    found
}

impl Node for Spoiler {
    type Conn = ConnId;
    type Outward = Outward;

    fn slot(conn: ConnId) -> usize {
        conn.index()
    }

    fn handle_accepted(
        &mut self,
        now: Instant,
        remote: SocketAddrV4,
        local: SocketAddrV4,
    ) -> Option<ConnId> {
        self.core.handle_accepted(now, remote, local)
    }

    fn handle_connected(&mut self, now: Instant, conn: ConnId, local: SocketAddrV4) {
        self.core.handle_connected(now, conn, local);
    }

    fn handle_bytes(&mut self, now: Instant, conn: ConnId, bytes: &[u8]) {
        let link = self.links.entry(conn).or_default();
        for (header, _) in cut(&mut link.came.1, link.came.0.skip(bytes)) {
            if header.kind == Kind::Query {
                self.sources.entry(header.guid).or_insert((conn, header.ttl));
            }
        }
        self.core.handle_bytes(now, conn, bytes);
    }

    fn handle_writable(&mut self, conn: ConnId) {
        if let Some(link) = self.links.get_mut(&conn) {
            link.blocked = false;
        }
    }

    fn handle_closed(&mut self, now: Instant, conn: ConnId, failure: Failure) {
        Node::handle_closed(&mut self.core, now, conn, failure);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.core.handle_timeout(now);
    }

    fn start_turn(&mut self, _now: Instant) {
        self.core.start_turn();
    }

    fn poll_output(&mut self) -> Option<Output<ConnId, Outward>> {
        let output = Node::poll_output(&mut self.core);
        if let Some(Output::Close { conn }) = output {
            self.links.remove(&conn);
        }
        output
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<(ConnId, &[u8])> {
        self.pump(now);
        let mut ready = self.links.iter().filter(|(_, link)| !link.blocked);
        let (conn, link) = ready.find(|(_, link)| !link.ready.is_empty())?;
        Some((*conn, &link.ready))
    }

    fn sent(&mut self, _now: Instant, conn: ConnId, written: usize) {
        if let Some(link) = self.links.get_mut(&conn) {
            link.ready.drain(..written);
            link.blocked = written == 0;
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        Node::poll_timeout(&self.core)
    }
}

impl ServentNode for Spoiler {
    fn servent(&self) -> &Servent {
        &self.core
    }

    fn servent_mut(&mut self) -> &mut Servent {
        &mut self.core
    }
}
