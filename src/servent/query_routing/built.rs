//! The two tables we send, built in slices: that of the words we share, and the one that merges it with
//! the tables of our leaves.

use crate::library::Library;
use crate::servent::link_key::LinkKey;
use crate::time::Instant;
use crate::wire::qrp::{OWN_TABLE_BITS, QrpTable};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

/// Words of the library added in one step: about 30 µs.
const WORDS_PER_STEP: usize = 1_000;
/// Tables of leaves merged in one step: less than 1 ms even if all are of the largest size.
const TABLES_PER_STEP: usize = 8;
/// Time from the beginning of one building of our own table to the next: a folder that is being filled
/// changes every second, and each change is sent to all links.
const OWN_INTERVAL: Duration = Duration::from_secs(10);
/// The same for the merged table, which changes with each leaf (gtk-gnutella: 5 minutes).
pub(super) const MERGE_INTERVAL: Duration = Duration::from_secs(60);

/// A table that is rebuilt when what it is built of has changed. What stands is complete, whatever is
/// being built.
#[derive(Debug, Default)]
pub(super) struct BuiltTable<P> {
    finished: Option<Arc<QrpTable>>,
    building: Option<(QrpTable, P)>,
    is_stale: bool,
    /// When the next building may begin.
    not_before: Instant,
}

/// The words we share; its progress is the number of words added.
pub(super) type OwnTable = BuiltTable<usize>;
/// What we and our leaves share; its progress is the leaf merged last.
pub(super) type MergedTable = BuiltTable<Option<LinkKey>>;

impl<P: Default> BuiltTable<P> {
    /// The table as it was finished last.
    pub(super) fn finished(&self) -> Option<&Arc<QrpTable>> {
        self.finished.as_ref()
    }

    /// Whether it is being built.
    pub(super) fn is_building(&self) -> bool {
        self.building.is_some()
    }

    /// What it is built of has changed. A change behind what was added already is made up for in the
    /// next building.
    pub(super) fn changed(&mut self) {
        self.is_stale = true;
    }

    /// As [`BuiltTable::changed`], when a building cannot go on with what there is now.
    pub(super) fn replaced(&mut self) {
        if self.building.take().is_some() {
            // That one has not come to anything: the next need not wait for it.
            self.not_before = Instant::ZERO;
        }
        self.is_stale = true;
    }

    /// When the next step is due, if there is something to do.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let is_due = self.building.is_some() || self.is_stale || self.finished.is_none();
        is_due.then_some(if self.building.is_some() { Instant::ZERO } else { self.not_before })
    }

    /// The table being built, which begins now if none is.
    fn under_way(&mut self, now: Instant, interval: Duration) -> &mut (QrpTable, P) {
        self.building.get_or_insert_with(|| {
            self.is_stale = false;
            self.not_before = now + interval;
            (QrpTable::new(OWN_TABLE_BITS), P::default())
        })
    }

    /// The table is built. True if it is another than before.
    fn finish(&mut self) -> bool {
        let Some((table, _)) = self.building.take() else { return false };
        let is_new = self.finished.as_deref() != Some(&table);
        if is_new {
            self.finished = Some(Arc::new(table));
        }
        is_new
    }
}

impl OwnTable {
    /// Adds some words. True when the table is finished and another than before.
    pub(super) fn step(&mut self, now: Instant, library: &Library) -> bool {
        let (table, added) = self.under_way(now, OWN_INTERVAL);
        let mut words = 0;
        for word in library.words_after(*added).take(WORDS_PER_STEP) {
            table.insert_word(word);
            words += 1;
        }
        *added += words;
        words < WORDS_PER_STEP && self.finish()
    }
}

impl MergedTable {
    /// Merges some tables: `own` first, then those of leaves behind a given one. True when the table
    /// is finished and another than before.
    pub(super) fn step<'a, I>(
        &mut self,
        now: Instant,
        own: &QrpTable,
        leaves_behind: impl FnOnce(Bound<LinkKey>) -> I,
    ) -> bool
    where
        I: Iterator<Item = (LinkKey, &'a QrpTable)>,
    {
        let (table, last) = self.under_way(now, MERGE_INTERVAL);
        if last.is_none() {
            table.merge(own);
        }
        let mut merged = 0;
        let behind = last.map_or(Bound::Unbounded, Bound::Excluded);
        for (leaf, other) in leaves_behind(behind).take(TABLES_PER_STEP) {
            table.merge(other);
            *last = Some(leaf);
            merged += 1;
        }
        merged < TABLES_PER_STEP && self.finish()
    }
}
