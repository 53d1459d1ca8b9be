//! What 0.6 adds to the rules of a fuzzed servent: which links a Query goes to, by the roles agreed on, the
//! route tables that peers have sent and the hops they take; and the searches of leaves, which go on
//! in small steps.
//!
//! Handshakes are believed as the servent reports them; tables are followed by a receiver of their own.

use super::generators::Descriptor;
use crate::config::{Config, Role};
use crate::library::Criteria;
use crate::rules;
use crate::servent::{ConnId, Features, Neighbour, PeerInfo, PeerRole};
use crate::wire::huge::{self, AreaBlock};
use crate::wire::qrp::{MIN_WORD_LETTERS, QRP, Qrp, QrpReceiver, QrpTable, sha1_hash, word_hash};
use crate::wire::vendor::{VendorMeaning, VendorMessage};
use crate::wire::{Dialect, Guid, Header, Kind, Query, ServentId, Urn};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Largest TTL of a step towards an ultrapeer that announced none.
const STEP_TTL: u8 = 4;
/// Hops of a leaf's Query when it is sent on.
const STEP_HOPS: u8 = 1;

/// A link, with what its handshake agreed on.
#[derive(Clone, Debug)]
pub(super) struct LinkInfo {
    pub(super) conn: ConnId,
    peer: PeerInfo,
}

impl LinkInfo {
    pub(super) fn of(neighbour: &Neighbour<'_>) -> LinkInfo {
        LinkInfo { conn: neighbour.conn, peer: neighbour.peer.clone() }
    }

    /// A link that came up and ended in one read, of which no more is known.
    pub(super) fn ended(conn: ConnId, dialect: Dialect, role: PeerRole) -> LinkInfo {
        LinkInfo { conn, peer: PeerInfo { dialect, role, ..PeerInfo::V0_4 } }
    }

    pub(super) fn is_plain(&self) -> bool {
        self.peer.dialect == Dialect::V0_4
    }

    pub(super) fn is_our_ultrapeer(&self) -> bool {
        self.peer.is_our_ultrapeer
    }

    pub(super) fn is_leaf(&self) -> bool {
        !self.is_plain() && !self.is_our_ultrapeer() && self.peer.role == PeerRole::Leaf
    }

    fn is_ultrapeer(&self) -> bool {
        !self.is_our_ultrapeer() && self.peer.role == PeerRole::Ultrapeer
    }

    /// The TTL of what is sent with `ttl`.
    fn capped(&self, ttl: u8) -> u8 {
        self.peer.max_ttl.map_or(ttl, |most| ttl.min(most.max(1)))
    }
}

/// The search of a leaf, as it is sent on.
struct Search {
    leaf: ConnId,
    /// Header and payload that came.
    asked: Descriptor,
    sent_to: BTreeSet<ConnId>,
}

/// See the module documentation.
pub(super) struct Roles {
    config: Arc<Config>,
    tables: BTreeMap<ConnId, QrpReceiver>,
    hops_flow: BTreeMap<ConnId, u8>,
    searches: BTreeMap<Guid, Search>,
    /// Leaves that Pushes are passed on to.
    clients: BTreeMap<ConnId, ServentId>,
}

impl Roles {
    pub(super) fn new(config: Arc<Config>) -> Roles {
        Roles {
            config,
            tables: BTreeMap::new(),
            hops_flow: BTreeMap::new(),
            searches: BTreeMap::new(),
            clients: BTreeMap::new(),
        }
    }

    /// Whether broadcasts of a link go on.
    pub(super) fn forwards(&self, source: &LinkInfo) -> bool {
        self.config.role == Role::Servent && !source.is_our_ultrapeer()
    }

    /// Whether a Query that came by `source` goes to another link at once.
    pub(super) fn goes_to(&self, source: &LinkInfo, link: &LinkInfo, query: &Descriptor) -> bool {
        let Header { ttl, hops, .. } = query.header;
        let further = ttl > 1 && self.config.ttl > hops.saturating_add(1);
        let next_hops = if further { hops + 1 } else { hops };
        let takes = self.hops_flow.get(&link.conn).is_none_or(|most| next_hops < *most);
        if link.conn == source.conn || !self.forwards(source) || link.is_our_ultrapeer() {
            return false;
        }
        if link.is_plain() {
            return further;
        }
        if link.is_leaf() {
            return ttl > 0 && takes && self.matches(link, &query.payload);
        }
        let left = ttl.min(self.config.ttl.saturating_sub(hops)).saturating_sub(1);
        let in_steps = source.is_leaf() && link.is_ultrapeer();
        further && takes && !in_steps && self.may_end_at(link, link.capped(left), &query.payload)
    }

    /// A copy on a link of 0.6 has no more TTL than the link takes.
    pub(super) fn check_ttl(link: &LinkInfo, copy: &Descriptor) {
        let ttl = copy.header.ttl;
        assert!(copy.header.kind != Kind::Query || link.is_leaf() || ttl == link.capped(ttl));
    }

    /// A Query of the servent's own goes to a link: a leaf gets what its table matches.
    pub(super) fn own_query(&self, link: &LinkInfo, query: &Descriptor) {
        Roles::check_ttl(link, query);
        assert!(!link.is_leaf() || self.matches(link, &query.payload), "not for {link:?}");
        assert!(self.may_end_at(link, query.header.ttl, &query.payload), "ends at {link:?}");
    }

    /// What ends at a link is for it, if it has a table.
    fn may_end_at(&self, link: &LinkInfo, ttl: u8, payload: &[u8]) -> bool {
        ttl > 1 || self.table_of(link).is_none() || self.matches(link, payload)
    }

    fn table_of(&self, link: &LinkInfo) -> Option<&QrpTable> {
        self.tables.get(&link.conn)?.table()
    }

    /// Whether the complete table of a link has all words of a Query, or one of its URNs.
    fn matches(&self, link: &LinkInfo, payload: &[u8]) -> bool {
        let Some(table) = self.table_of(link) else { return false };
        let query = Query::decode(payload).expect("was decoded before");
        let (words, urns) = hashes(&query);
        let has = |hash: &u32| table.contains(*hash);
        !words.is_empty() && words.iter().all(has) || urns.iter().any(has)
    }

    /// A leaf's Query is new: it goes on in steps.
    pub(super) fn search(&mut self, leaf: &LinkInfo, asked: &Descriptor) {
        let search = Search { leaf: leaf.conn, asked: asked.clone(), sent_to: BTreeSet::new() };
        self.searches.insert(asked.header.guid, search);
    }

    /// Whether this is a step of a leaf's search. Then it goes to an ultrapeer, once, and as far as the
    /// leaf's Query would have gone at most.
    pub(super) fn is_step(&mut self, links: &[LinkInfo], to: ConnId, copy: &Descriptor) -> bool {
        let Header { guid, kind, ttl, hops, .. } = copy.header;
        let link = links.iter().find(|link| link.conn == to);
        let Some(link) = link.filter(|link| !link.is_plain() && link.is_ultrapeer()) else {
            return false;
        };
        let Some(search) = self.searches.get_mut(&guid) else { return false };
        if kind != Kind::Query || hops != STEP_HOPS || to == search.leaf {
            return false;
        }
        assert!(links.iter().any(|link| link.conn == search.leaf), "its leaf has left");
        assert!(search.sent_to.insert(to), "a step to {to:?} again");
        let most = link.peer.max_ttl.unwrap_or(STEP_TTL).max(1).min(self.config.ttl);
        assert!((1..=most).contains(&ttl), "a step with TTL {ttl}");
        let (had, sent) =
            ((&search.asked.header, &search.asked.payload[..]), (&copy.header, &copy.payload[..]));
        rules::copy_across(had, sent).unwrap_or_else(|violation| panic!("{violation}"));
        assert!(self.may_end_at(link, ttl, &copy.payload), "ends at {link:?}");
        true
    }

    /// A descriptor that crosses one link came: a piece of a table, or a vendor message.
    pub(super) fn heard(
        &mut self,
        source: &LinkInfo,
        descriptor: &Descriptor,
        answered: bool,
    ) -> Option<ServentId> {
        let Descriptor { header, payload } = descriptor;
        if source.is_plain() {
            return None;
        }
        if header.kind == QRP {
            let between = self.config.role == Role::Servent
                && source.is_ultrapeer()
                && source.peer.features.has(Features::LAST_HOP_ROUTING);
            if let Ok(message) = Qrp::decode(payload)
                && (source.is_leaf() || between)
            {
                // What cannot be followed ends the link.
                let _ = self.tables.entry(source.conn).or_default().apply(&message);
            }
            return None;
        }
        match VendorMessage::decode(header.kind, payload).ok()?.meaning()? {
            VendorMeaning::HopsFlow(hops) => {
                // 255 takes all.
                self.hops_flow.remove(&source.conn);
                if hops < u8::MAX {
                    self.hops_flow.insert(source.conn, hops);
                }
                None
            }
            VendorMeaning::PushProxyRequest if answered => {
                assert!(source.is_leaf(), "a push proxy of {source:?}");
                let servent = ServentId(header.guid.0);
                self.clients.insert(source.conn, servent);
                Some(servent)
            }
            _ => None,
        }
    }

    /// Whether Pushes for a servent are passed on to a link on its behalf.
    pub(super) fn is_client(&self, link: ConnId, servent: &[u8; 16]) -> bool {
        self.clients.get(&link).is_some_and(|known| known.0 == *servent)
    }
}

/// Hashes of the words of three letters and more of a Query, and of its URNs.
fn hashes(query: &Query<'_>) -> (Vec<u32>, Vec<u32>) {
    let by_urn = Urn::parse(query.criteria);
    let mut urns: Vec<Urn> = by_urn.into_iter().collect();
    for block in huge::blocks(query.extension) {
        match block {
            AreaBlock::Urn(urn) => urns.push(urn),
            AreaBlock::Ggep(ggep) => {
                let data = ggep.get(b"u").and_then(|one| one.data().ok());
                urns.extend(data.and_then(|data| Urn::parse_short(&data)));
            }
            _ => {}
        }
    }
    let urns = urns.iter().filter_map(Urn::sha1).map(sha1_hash).collect();
    let criteria = Criteria::parse(query.criteria).ok().filter(|_| by_urn.is_none());
    let words =
        criteria.iter().flat_map(Criteria::words).filter_map(|word| str::from_utf8(word).ok());
    let words = words.filter(|word| word.chars().count() >= MIN_WORD_LETTERS).map(word_hash);
    (words.collect(), urns)
}
