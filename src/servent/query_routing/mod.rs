//! Query routing between 0.6 servents: the tables of words that neighbours sent, those we send, and
//! which neighbours a Query may be of use to.
//!
//! | file | holds |
//! |---|---|
//! | `words` | the Query at hand, hashed |
//! | `received` | the table of one neighbour, and the bound on all |
//! | `built` | our own table and the one merged with those of our leaves, built in slices |
//!
//! | exchange of a link | it sends | it gets |
//! |---|---|---|
//! | we are its leaf | – | the words we share |
//! | both are ultrapeers that announced X-Ultrapeer-Query-Routing | its table | the words we and our leaves share |
//! | it is our leaf | its table | – |
//!
//! A leaf gets no Query before its table is complete, and then those of which it has all words; a
//! neighbour's table filters what would go no further than it (TTL 1), and everything passes while it has
//! none.
//!
//! Work is done in steps: [`QueryRouting::step`] builds a slice of a table, or says what one link is
//! to be sent. A table goes out as a whole first, then as changes of what that link has. Servents
//! that never had a 0.6 link build nothing and hold nothing.

mod built;
mod received;
mod words;

use super::link_key::LinkKey;
use crate::library::Library;
use crate::time::Instant;
use crate::wire::Query;
use crate::wire::qrp::{Qrp, QrpError, QrpTable};
use built::{MergedTable, OwnTable};
use received::{BYTES_PER_LINK, MAX_LARGE_BYTES, PATCH_BYTES, Received};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use words::QueryWords;

/// Time after which a table is sent anew to a link whose queue had no room for it.
const RESEND_AFTER: Duration = Duration::from_secs(10);
/// Bytes of what is sent: our own table and the merged one, 8 KiB each, finished, being built and as
/// links have them; and the messages of one of them while they are deflated, twice 33 KB.
const SENT_BYTES: usize = 6 * 8 * 1024 + 2 * 33 * 1024;
/// Testing a Query against one table: mostly a wait for memory.
const TABLE_UNITS: usize = 1;

/// Which tables a link exchanges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exchange {
    /// None: 0.4, or not announced.
    None,
    /// We are its leaf.
    AsLeaf,
    /// It is our leaf.
    WithLeaf,
    /// Both are ultrapeers.
    BetweenUltrapeers,
}

/// What a link is to be sent: payloads of query routing messages, in order. All of them must arrive, or
/// none: see [`QueryRouting::not_sent`].
#[derive(Clone, Debug)]
pub(super) struct TableUpdate {
    pub(super) link: LinkKey,
    pub(super) payloads: Arc<[Vec<u8>]>,
}

/// Upper bounds on what is held for so many links: what, how many, and bytes of each.
pub(super) fn bounds(links: usize) -> [(&'static str, usize, usize); 4] {
    let each = BYTES_PER_LINK + size_of::<(LinkKey, LinkTables)>();
    [
        ("route tables of neighbours", links, each),
        ("larger route tables, together", 1, MAX_LARGE_BYTES),
        ("a change of a route table", 1, PATCH_BYTES),
        ("our own route tables", 1, SENT_BYTES),
    ]
}

/// The tables of all links.
#[derive(Debug, Default)]
pub(super) struct QueryRouting {
    links: BTreeMap<LinkKey, LinkTables>,
    words: QueryWords,
    /// A buffer for the leaves that a Query is for.
    matching: Vec<LinkKey>,
    own: OwnTable,
    merged: MergedTable,
    /// Links that get our own table, and that get the merged one.
    getting_own: usize,
    getting_merged: usize,
    /// Links to be sent something, and when.
    to_send: BTreeSet<(Instant, LinkKey)>,
    /// What the last link was sent: mostly the next one gets the same.
    encoded: Option<Encoded>,
}

/// The tables of one link.
#[derive(Debug)]
struct LinkTables {
    exchange: Exchange,
    received: Received,
    /// What it has of us.
    sent: Option<Arc<QrpTable>>,
}

/// The messages that change one table into another.
#[derive(Debug)]
struct Encoded {
    before: Option<Arc<QrpTable>>,
    after: Arc<QrpTable>,
    payloads: Arc<[Vec<u8>]>,
}

impl QueryRouting {
    /// A link stands that exchanges tables so. What it gets is due at once, if there is something.
    pub(super) fn link_up(&mut self, now: Instant, link: LinkKey, exchange: Exchange) {
        if exchange == Exchange::None {
            return;
        }
        let tables = LinkTables { exchange, received: Received::default(), sent: None };
        self.links.insert(link, tables);
        self.getting_own += usize::from(exchange == Exchange::AsLeaf);
        self.getting_merged += usize::from(exchange == Exchange::BetweenUltrapeers);
        if self.for_exchange(exchange).is_some() {
            self.to_send.insert((now, link));
        }
    }

    /// A link ended.
    pub(super) fn link_down(&mut self, link: LinkKey) {
        let Some(tables) = self.links.remove(&link) else { return };
        self.to_send.retain(|(_, waiting)| *waiting != link);
        match tables.exchange {
            Exchange::AsLeaf => self.getting_own -= 1,
            Exchange::BetweenUltrapeers => self.getting_merged -= 1,
            Exchange::WithLeaf if tables.received.table().is_some() => self.merged.changed(),
            _ => {}
        }
    }

    /// A neighbour sent a message. Returns the units it cost, `None` if no table is expected of it.
    ///
    /// # Errors
    /// When its table cannot be followed: the link is to be closed with Bye 413.
    pub(super) fn handle_message(
        &mut self,
        link: LinkKey,
        message: &Qrp<'_>,
    ) -> Result<Option<u32>, QrpError> {
        let large_left = match message {
            Qrp::Reset { .. } => self.large_bytes_left(link),
            _ => 0,
        };
        let Some(tables) = self.links.get_mut(&link) else { return Ok(None) };
        let is_leaf = match tables.exchange {
            Exchange::WithLeaf => true,
            Exchange::BetweenUltrapeers => false,
            Exchange::None | Exchange::AsLeaf => return Ok(None),
        };
        let had_table = tables.received.table().is_some();
        let applied = tables.received.apply(message, large_left)?;
        if applied.is_complete {
            self.share(link);
        }
        if is_leaf && (applied.is_complete || had_table && applied.is_reset) {
            self.merged.changed();
        }
        Ok(Some(applied.units))
    }

    /// Bytes for large tables that other links leave.
    fn large_bytes_left(&self, link: LinkKey) -> usize {
        let others = self.links.iter().filter(|(other, _)| **other != link);
        let taken = others.map(|(_, tables)| tables.received.large_bytes()).sum();
        MAX_LARGE_BYTES.saturating_sub(taken)
    }

    /// Frees the table of a link if another link has an equal one.
    fn share(&mut self, link: LinkKey) {
        let Some(mut tables) = self.links.remove(&link) else { return };
        let others = self.links.values().filter_map(|tables| tables.received.table());
        others.into_iter().any(|other| tables.received.share(other));
        self.links.insert(link, tables);
    }

    /// What we share has changed.
    pub(super) fn library_changed(&mut self) {
        if self.own.finished().is_some() || self.own.is_building() {
            self.own.replaced();
        }
    }

    /// Whether any neighbour exchanges tables, so that Queries need be read.
    #[inline]
    pub(super) fn is_idle(&self) -> bool {
        self.links.is_empty()
    }

    /// Reads the Query at hand. Returns the units that it and testing all tables costs.
    pub(super) fn read_query(&mut self, query: &Query<'_>) -> u32 {
        let tables = u32::try_from(TABLE_UNITS * self.links.len());
        self.words.read(query) + tables.unwrap_or(u32::MAX)
    }

    /// The leaves that the Query read last is for; [`QueryRouting::recycle`] takes them back.
    pub(super) fn take_matching(&mut self) -> Vec<LinkKey> {
        let mut matching = std::mem::take(&mut self.matching);
        matching.extend(self.matching_leaves());
        matching
    }

    /// Keeps the buffer of leaves that a Query was for.
    pub(super) fn recycle(&mut self, mut matching: Vec<LinkKey>) {
        matching.clear();
        self.matching = matching;
    }

    /// The leaves that the Query read last is for.
    fn matching_leaves(&self) -> impl Iterator<Item = LinkKey> {
        let is_match = |tables: &LinkTables| {
            tables.exchange == Exchange::WithLeaf
                && tables.received.table().is_some_and(|table| self.words.match_table(table))
        };
        self.links.iter().filter(move |(_, tables)| is_match(tables)).map(|(link, _)| *link)
    }

    /// Whether the Query read last may be sent to a link as its last hop. Leaves: whether it may be
    /// sent at all.
    #[inline]
    pub(super) fn admits(&self, link: LinkKey) -> bool {
        let Some(tables) = self.links.get(&link) else { return true };
        match (tables.exchange, tables.received.table()) {
            (Exchange::None | Exchange::AsLeaf, _) => true,
            (Exchange::WithLeaf, None) => false,
            (Exchange::BetweenUltrapeers, None) => true,
            (_, Some(table)) => self.words.match_table(table),
        }
    }

    /// The complete table of a link.
    pub(super) fn table_of(&self, link: LinkKey) -> Option<&QrpTable> {
        self.links.get(&link)?.received.table().map(Arc::as_ref)
    }

    /// Links whose table is not kept, for want of room.
    pub(super) fn refused(&self) -> usize {
        self.links.values().filter(|tables| tables.received.is_refused()).count()
    }

    /// Bytes of complete tables that neighbours sent. Equal ones count once.
    pub(super) fn received_bytes(&self) -> usize {
        let tables = self.links.values().filter_map(|tables| tables.received.table());
        let mut tables: Vec<&Arc<QrpTable>> = tables.collect();
        tables.sort_by_key(|table| Arc::as_ptr(table));
        tables.dedup_by(|a, b| Arc::ptr_eq(a, b));
        tables.into_iter().map(|table| table.bytes()).sum()
    }

    /// Sequences of changes under way.
    pub(super) fn changing(&self) -> usize {
        self.links.values().filter(|tables| tables.received.is_changing()).count()
    }

    /// When [`QueryRouting::step`] has something to do.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let send = self.to_send.first().map(|(at, _)| *at);
        let own = self.needs_own().then(|| self.own.next_due()).flatten();
        let merged = self.needs_merged().then(|| self.merged.next_due()).flatten();
        [send, own, merged].into_iter().flatten().min()
    }

    /// One bounded piece of the work that is due: a link to be sent something, or a slice of a table.
    /// To be called again while [`QueryRouting::next_due`] is not in the future.
    pub(super) fn step(&mut self, now: Instant, library: &Library) -> Option<TableUpdate> {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if let Some(&(at, link)) = self.to_send.first().filter(|(at, _)| *at <= now) {
            self.to_send.remove(&(at, link));
            return self.update_for(link);
        }
        if self.needs_own() && is_due(self.own.next_due()) {
            if self.own.step(now, library) {
                self.merged.changed();
                self.send_to_all(now, Exchange::AsLeaf);
            }
        } else if self.needs_merged() && is_due(self.merged.next_due()) {
            let QueryRouting { links, own, merged, .. } = self;
            let own = own.finished()?;
            let leaves_behind = |behind| {
                let leaves = links.range((behind, std::ops::Bound::Unbounded));
                let leaves = leaves.filter(|(_, tables)| tables.exchange == Exchange::WithLeaf);
                leaves.filter_map(|(link, tables)| Some((*link, &**tables.received.table()?)))
            };
            if merged.step(now, own, leaves_behind) {
                self.send_to_all(now, Exchange::BetweenUltrapeers);
            }
        }
        None
    }

    /// A link did not get all of its last update: it gets the table as a whole, a little later.
    pub(super) fn not_sent(&mut self, now: Instant, link: LinkKey) {
        if let Some(tables) = self.links.get_mut(&link) {
            tables.sent = None;
            self.to_send.retain(|(_, waiting)| *waiting != link);
            self.to_send.insert((now + RESEND_AFTER, link));
        }
    }

    fn needs_own(&self) -> bool {
        self.getting_own + self.getting_merged > 0
    }

    fn needs_merged(&self) -> bool {
        self.getting_merged > 0 && self.own.finished().is_some()
    }

    /// The table that links with this exchange get.
    fn for_exchange(&self, exchange: Exchange) -> Option<&Arc<QrpTable>> {
        match exchange {
            Exchange::AsLeaf => self.own.finished(),
            Exchange::BetweenUltrapeers => self.merged.finished(),
            Exchange::None | Exchange::WithLeaf => None,
        }
    }

    fn send_to_all(&mut self, now: Instant, exchange: Exchange) {
        let waiting: BTreeSet<LinkKey> = self.to_send.iter().map(|(_, link)| *link).collect();
        let links = self.links.iter().filter(|(_, tables)| tables.exchange == exchange);
        let links = links.filter(|(link, _)| !waiting.contains(link));
        self.to_send.extend(links.map(|(link, _)| (now, *link)));
    }

    fn update_for(&mut self, link: LinkKey) -> Option<TableUpdate> {
        let tables = self.links.get(&link)?;
        let after = Arc::clone(self.for_exchange(tables.exchange)?);
        let before = tables.sent.clone();
        let payloads = self.encode(before, &after);
        self.links.get_mut(&link)?.sent = Some(after);
        (!payloads.is_empty()).then_some(TableUpdate { link, payloads })
    }

    /// The messages that make `after` of what a link has.
    fn encode(&mut self, before: Option<Arc<QrpTable>>, after: &Arc<QrpTable>) -> Arc<[Vec<u8>]> {
        let same = |known: &Arc<QrpTable>, other: &Arc<QrpTable>| Arc::ptr_eq(known, other);
        if let Some(known) = &self.encoded
            && same(&known.after, after)
            && match (&known.before, &before) {
                (None, None) => true,
                (Some(known), Some(before)) => same(known, before),
                _ => false,
            }
        {
            return Arc::clone(&known.payloads);
        }
        let payloads: Arc<[Vec<u8>]> = match &before {
            None => after.messages().into(),
            Some(before) => after.messages_after(before).into(),
        };
        let encoded = Encoded { before, after: Arc::clone(after), payloads: payloads.clone() };
        self.encoded = Some(encoded);
        payloads
    }
}

#[cfg(test)]
mod tests;
