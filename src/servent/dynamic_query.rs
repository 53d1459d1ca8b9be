//! Dynamic querying: sends the search of a leaf to ultrapeers one after the other until it has enough
//! results, instead of flooding it at once (`dq.c` of gtk-gnutella, LimeWire's dynamic query draft).
//!
//! ```text
//! begin ──▶ probes to 3 neighbours ──15.7 s──▶ one neighbour ──3.7 s──▶ one ──3.6 s──▶ … every 1.5 s
//! end: 150 results routed, no neighbour left, 10 minutes over, or the leaf has left
//! ```
//!
//! A probe goes two hops far. Behind the probes, the number of results so far and of ultrapeers reached
//! so far say how many more must be reached, and the degrees of the neighbours left say with which TTL
//! they are. A neighbour gets a search at most once, and never with a higher TTL than the leaf's own
//! Query had left.
//!
//! Only 0.6 ultrapeers are asked so; leaves whose table matches and 0.4 neighbours get the Query at
//! once, from the caller.

use super::link_key::LinkKey;
use crate::time::Instant;
use crate::wire::{Guid, MAX_QUERY_BYTES};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Results that are enough (gtk-gnutella's number for searches of its own user).
const ENOUGH_RESULTS: u32 = 150;
/// Neighbours asked at once, before anything is known.
const PROBES: u32 = 3;
/// TTL of a probe: a neighbour and its neighbours.
const PROBE_TTL: u8 = 2;
/// Wait behind the probes, behind the neighbour after them, and how much each wait is shorter than the
/// one before, until the shortest (observed on gtk-gnutella 1.2.3: neighbours asked after 15.7, 19.4 and 23.0 s).
const PROBE_WAIT: Duration = Duration::from_millis(15_700);
const FIRST_WAIT: Duration = Duration::from_millis(3_700);
const WAIT_STEP: Duration = Duration::from_millis(100);
const SHORTEST_WAIT: Duration = Duration::from_millis(1_500);
/// Time after which a search ends.
const LIFETIME: Duration = Duration::from_secs(600);
/// Largest TTL towards a neighbour that did not announce its own (gtk-gnutella's maximum).
const DEFAULT_MAX_TTL: u8 = 4;

/// Searches under way for one leaf. The next is refused, so that a leaf that floods gets its probes for
/// eight Queries and no more; a search takes minutes at most.
pub(super) const MAX_PER_LEAF: usize = 8;
/// Searches under way in all: four for each of 100 leaves. The next is refused.
pub(super) const MAX_SEARCHES: usize = 400;

/// An ultrapeer that searches can be sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ultrapeer {
    /// Its link.
    pub(super) link: LinkKey,
    /// The ultrapeers it has links with (X-Degree), or a guess.
    pub(super) degree: u32,
    /// The largest TTL it takes (X-Max-TTL).
    pub(super) max_ttl: Option<u8>,
}

/// A Query that is to be sent now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) guid: Guid,
    /// The leaf that asked.
    pub(super) leaf: LinkKey,
    /// The neighbour it goes to.
    pub(super) link: LinkKey,
    pub(super) ttl: u8,
    /// The leaf's own, shared by all steps.
    pub(super) payload: Arc<[u8]>,
}

/// Why a search is not sent in steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The leaf has [`MAX_PER_LEAF`] under way.
    TooManyOfLeaf,
    /// There are [`MAX_SEARCHES`] under way.
    TooMany,
    /// Its Query has no TTL left.
    TtlSpent,
}

/// Upper bound on what is held with so many links: what, how many, and bytes of each.
pub(super) fn bounds(links: usize) -> (&'static str, usize, usize) {
    let asked = 2 * links * size_of::<LinkKey>();
    let entries = size_of::<(Guid, Search)>() + size_of::<(Instant, Guid)>();
    ("searches of leaves", MAX_SEARCHES, MAX_QUERY_BYTES + asked + 2 * entries)
}

/// The searches under way, and the neighbours they can go to.
#[derive(Debug, Default)]
pub(super) struct DynamicQueries {
    searches: BTreeMap<Guid, Search>,
    /// When each search has something to do.
    schedule: BTreeSet<(Instant, Guid)>,
    ultrapeers: Vec<Ultrapeer>,
    refused: u64,
}

#[derive(Debug)]
struct Search {
    leaf: LinkKey,
    payload: Arc<[u8]>,
    /// The TTL it has left.
    ttl: u8,
    /// Its entry in the schedule.
    next: Instant,
    ends: Instant,
    asked: Vec<LinkKey>,
    /// Of those asked, how many it was sent to.
    sent: u32,
    /// Results routed to the leaf.
    results: u32,
    /// Ultrapeers reached so far, by the estimate.
    horizon: u64,
}

impl DynamicQueries {
    /// Searches under way.
    pub(super) fn len(&self) -> usize {
        self.searches.len()
    }

    /// Searches refused so far.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    /// A neighbour can be asked from now on: for searches under way, too.
    pub(super) fn link_up(&mut self, ultrapeer: Ultrapeer) {
        self.ultrapeers.push(ultrapeer);
    }

    /// A link ended. If it was a leaf's, its searches end.
    pub(super) fn link_down(&mut self, link: LinkKey) {
        self.ultrapeers.retain(|one| one.link != link);
        let of_leaf = |search: &&Search| search.leaf == link;
        if self.searches.values().any(|search| of_leaf(&search)) {
            let ended = self.searches.iter().filter(|(_, search)| of_leaf(search));
            let ended: Vec<Guid> = ended.map(|(guid, _)| *guid).collect();
            ended.into_iter().for_each(|guid| self.end(guid));
        }
    }

    /// A leaf sent a Query, which is new and has `ttl` left for the links that it goes to. Its first
    /// steps are due at once.
    ///
    /// # Errors
    /// When it is not sent to ultrapeers at all.
    pub(super) fn begin(
        &mut self,
        now: Instant,
        guid: Guid,
        leaf: LinkKey,
        ttl: u8,
        payload: &[u8],
    ) -> Result<(), Refused> {
        let of_leaf = self.searches.values().filter(|search| search.leaf == leaf).count();
        let refused = match () {
            () if ttl == 0 => Some(Refused::TtlSpent),
            () if of_leaf >= MAX_PER_LEAF => Some(Refused::TooManyOfLeaf),
            () if self.len() >= MAX_SEARCHES => Some(Refused::TooMany),
            () => None,
        };
        if let Some(refused) = refused {
            self.refused += 1;
            return Err(refused);
        }
        let search = Search {
            leaf,
            payload: payload.into(),
            ttl,
            next: now,
            ends: now + LIFETIME,
            asked: Vec::new(),
            sent: 0,
            results: 0,
            horizon: 0,
        };
        self.end(guid);
        self.searches.insert(guid, search);
        self.schedule.insert((now, guid));
        Ok(())
    }

    /// When [`DynamicQueries::due`] has something to say.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.schedule.first().map(|(at, _)| *at)
    }

    /// The next Query to send now; to be called until there is none.
    pub(super) fn due(&mut self, now: Instant) -> Option<Step> {
        loop {
            let &(at, guid) = self.schedule.first().filter(|(at, _)| *at <= now)?;
            let search = self.searches.get_mut(&guid)?;
            let Some(step) = search.step(now, guid, &self.ultrapeers) else {
                self.end(guid);
                continue;
            };
            let next = search.next;
            self.schedule.remove(&(at, guid));
            self.schedule.insert((next, guid));
            return Some(step);
        }
    }

    /// A step was not sent: its TTL is 1 and the neighbour's table does not match, or there was no room.
    /// The search goes on at once with the next neighbour.
    pub(super) fn not_sent(&mut self, now: Instant, step: &Step) {
        let Some(search) = self.searches.get_mut(&step.guid) else { return };
        self.schedule.remove(&(search.next, step.guid));
        search.next = now;
        search.sent = search.sent.saturating_sub(1);
        self.schedule.insert((now, step.guid));
        let degree = self.ultrapeers.iter().find(|one| one.link == step.link);
        let reached = degree.map_or(0, |one| reach(one.degree, step.ttl));
        search.horizon = search.horizon.saturating_sub(reached);
    }

    /// Results of a search were routed to its leaf. Nothing happens for the GUID of another Query.
    pub(super) fn hits(&mut self, guid: Guid, results: u32) {
        let Some(search) = self.searches.get_mut(&guid) else { return };
        search.results = search.results.saturating_add(results);
        if search.results >= ENOUGH_RESULTS {
            self.end(guid);
        }
    }

    fn end(&mut self, guid: Guid) {
        if let Some(search) = self.searches.remove(&guid) {
            self.schedule.remove(&(search.next, guid));
        }
    }
}

impl Search {
    /// Asks the next neighbour; `None` if the search is over.
    fn step(&mut self, now: Instant, guid: Guid, ultrapeers: &[Ultrapeer]) -> Option<Step> {
        if now >= self.ends {
            return None;
        }
        // Searches begin at different neighbours, so that none gets the probes of all.
        let first = usize::from(guid.0[0]) % ultrapeers.len().max(1);
        let (before, from) = ultrapeers.split_at(first);
        let is_left = |one: &&Ultrapeer| !self.asked.contains(&one.link);
        let mut left = from.iter().chain(before).filter(is_left);
        let next = *left.next()?;
        let neighbours_left = 1 + left.count() as u64;
        let most = self.ttl.min(next.max_ttl.unwrap_or(DEFAULT_MAX_TTL)).max(1);
        let ttl = match self.sent < PROBES {
            true => most.min(PROBE_TTL),
            false => self.ttl_for(next.degree, most, neighbours_left),
        };
        self.asked.push(next.link);
        self.sent += 1;
        self.horizon = self.horizon.saturating_add(reach(next.degree, ttl));
        self.next = now + wait_after(self.sent);
        Some(Step { guid, leaf: self.leaf, link: next.link, ttl, payload: self.payload.clone() })
    }

    /// The smallest TTL with which this neighbour reaches its share of the ultrapeers that are still
    /// needed; the largest there is if that cannot be estimated.
    fn ttl_for(&self, degree: u32, most: u8, neighbours_left: u64) -> u8 {
        let wanted = u64::from(ENOUGH_RESULTS.saturating_sub(self.results));
        let needed = (wanted * self.horizon).checked_div(self.results.into());
        let Some(share) = needed.map(|needed| needed / neighbours_left) else { return most };
        (1..most).find(|&ttl| reach(degree, ttl) >= share).unwrap_or(most)
    }
}

/// The wait behind the neighbour asked as number `sent`.
fn wait_after(sent: u32) -> Duration {
    match sent.cmp(&PROBES) {
        Ordering::Less => Duration::ZERO,
        Ordering::Equal => PROBE_WAIT,
        Ordering::Greater => {
            FIRST_WAIT.saturating_sub(WAIT_STEP * (sent - PROBES - 1)).max(SHORTEST_WAIT)
        }
    }
}

/// Ultrapeers that a Query reaches through a neighbour, if all have as many links as it has: itself,
/// its other neighbours, theirs.
fn reach(degree: u32, ttl: u8) -> u64 {
    let others = u64::from(degree.max(1) - 1);
    let ring = |hop: u8| others.saturating_pow(hop.into());
    (0..ttl).fold(0, |sum: u64, hop| sum.saturating_add(ring(hop)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    const NOW: Instant = Instant::from_micros(1_000_000);
    const LEAF: u32 = 900;

    fn link(index: u32) -> LinkKey {
        LinkKey::new(index, 0)
    }

    fn guid(number: u16) -> Guid {
        let mut guid = Guid::default();
        guid.0[1..3].copy_from_slice(&number.to_le_bytes());
        guid
    }

    fn with_ultrapeers(count: u32, max_ttl: Option<u8>) -> DynamicQueries {
        let mut queries = DynamicQueries::default();
        for index in 0..count {
            queries.link_up(Ultrapeer { link: link(index), degree: 32, max_ttl });
        }
        queries
    }

    /// Every step of the searches with its moment in milliseconds, `per_step` results for each.
    fn run(queries: &mut DynamicQueries, per_step: u32) -> Vec<(u64, LinkKey, u8)> {
        let mut steps = Vec::new();
        while let Some(now) = queries.next_due() {
            while let Some(step) = queries.due(now) {
                let millis = u64::try_from(now.since(NOW).as_millis()).unwrap();
                steps.push((millis, step.link, step.ttl));
                queries.hits(step.guid, per_step);
            }
            assert!(queries.next_due() != Some(now), "no progress at {now:?}");
        }
        assert_eq!(queries.len(), 0);
        steps
    }

    #[test]
    fn three_probes_then_one_neighbour_at_a_time_with_the_waits_of_gtk_gnutella() {
        let mut queries = with_ultrapeers(40, Some(4));
        queries.begin(NOW, guid(1), link(LEAF), 6, b"payload").unwrap();
        let steps = run(&mut queries, 0);
        let at: Vec<u64> = steps.iter().map(|(at, ..)| *at).collect();
        assert_eq!(at[..6], [0, 0, 0, 15_700, 19_400, 23_000]);
        assert!(at[3..].is_sorted_by(|a, b| b - a >= 1_500), "{at:?}");
        assert_eq!(at[39] - at[38], 1_500);
        let ttls: Vec<u8> = steps.iter().map(|(.., ttl)| *ttl).collect();
        assert_eq!(ttls[..3], [2; 3]);
        assert_eq!(ttls[3..], [4; 37], "nothing was found: as far as possible");
        let mut asked: Vec<LinkKey> = steps.iter().map(|(_, link, _)| *link).collect();
        asked.sort();
        asked.dedup();
        assert_eq!(asked.len(), 40, "each once");
    }

    #[test]
    fn it_ends_with_enough_results_and_reaches_no_further_than_needed() {
        let mut queries = with_ultrapeers(40, None);
        queries.begin(NOW, guid(1), link(LEAF), 6, b"").unwrap();
        assert_eq!(run(&mut queries, 75).len(), 2, "150 results after two probes");
        queries.begin(NOW, guid(2), link(LEAF), 6, b"").unwrap();
        let steps = run(&mut queries, 30);
        assert_eq!(steps.len(), 5);
        // 90 results from 96 ultrapeers: 64 more are needed, of 37 neighbours one or two each.
        assert_eq!(steps[3].2, 1, "{steps:?}");
        queries.begin(NOW, guid(3), link(LEAF), 6, b"").unwrap();
        let steps = run(&mut queries, 1);
        assert_eq!(steps[3].2, 3, "4,704 more of 37 neighbours: {steps:?}");
    }

    #[test]
    fn ttl_is_bounded_by_the_neighbour_and_by_what_the_query_has_left() {
        for (left, max_ttl, most) in [(6, Some(3), 3), (2, Some(4), 2), (1, None, 1), (6, None, 4)]
        {
            let mut queries = with_ultrapeers(8, max_ttl);
            queries.begin(NOW, guid(1), link(LEAF), left, b"").unwrap();
            let steps = run(&mut queries, 0);
            assert_eq!(steps.iter().map(|step| step.2).max(), Some(most), "{left} {max_ttl:?}");
        }
        let mut queries = with_ultrapeers(8, None);
        let refused = queries.begin(NOW, guid(1), link(LEAF), 0, b"");
        assert_eq!((refused, queries.next_due()), (Err(Refused::TtlSpent), None));
    }

    #[test]
    fn a_leaf_that_leaves_ends_its_searches_and_a_neighbour_that_comes_is_asked() {
        let mut queries = with_ultrapeers(3, None);
        queries.begin(NOW, guid(1), link(LEAF), 6, b"").unwrap();
        queries.begin(NOW, guid(2), link(LEAF + 1), 6, b"").unwrap();
        while queries.due(NOW).is_some() {}
        queries.link_down(link(LEAF));
        assert_eq!(queries.len(), 1);
        queries.link_down(link(1));
        queries.link_up(Ultrapeer { link: link(50), degree: 2, max_ttl: None });
        let steps = run(&mut queries, 0);
        assert_eq!(steps, [(15_700, link(50), 4)]);
    }

    #[test]
    fn a_search_ends_after_ten_minutes() {
        let mut queries = with_ultrapeers(1_000, None);
        queries.begin(NOW, guid(1), link(LEAF), 6, b"").unwrap();
        let steps = run(&mut queries, 0);
        assert!((300..1_000).contains(&steps.len()), "{}", steps.len());
        assert!(steps.iter().all(|(at, ..)| *at < 600_000));
    }

    #[test]
    fn a_step_that_was_not_sent_is_made_up_at_once() {
        let mut queries = with_ultrapeers(9, None);
        queries.begin(NOW, guid(1), link(LEAF), 1, b"").unwrap();
        let (mut sent, mut skipped) = (0, Vec::new());
        while let Some(step) = queries.due(NOW) {
            if step.link.index() % 2 == 0 {
                queries.not_sent(NOW, &step);
                skipped.push(step.link);
            } else {
                sent += 1;
            }
        }
        assert_eq!((sent, queries.len()), (3, 1), "three probes for all that: {skipped:?}");
        assert!(!skipped.is_empty());
        let left = run(&mut queries, 0);
        assert!(left.iter().all(|(_, link, _)| !skipped.contains(link)), "and never asked again");
    }

    #[test]
    fn searches_under_way_are_bounded_and_those_beyond_are_counted() {
        let mut queries = with_ultrapeers(3, None);
        let mut refused = 0;
        for number in 0..1_000u16 {
            let leaf = link(LEAF + u32::from(number) % 100);
            let result = queries.begin(NOW, guid(number), leaf, 6, b"");
            refused += u64::from(result.is_err());
        }
        assert_eq!((queries.len(), refused, queries.refused()), (MAX_SEARCHES, 600, 600));
        let mut queries = with_ultrapeers(3, None);
        for number in 0..=8u16 {
            let result = queries.begin(NOW, guid(number), link(LEAF), 6, b"");
            assert_eq!(result.is_err(), number == 8);
        }
        let (_, count, bytes) = bounds(132);
        assert!((1 << 20..3 << 20).contains(&(count * bytes)), "{count} of {bytes}");
        assert_eq!(queries.len(), MAX_PER_LEAF);
        assert_eq!(
            run(&mut queries, 0).len(),
            8 * 3,
            "and the flood costs eight times three steps"
        );
    }

    #[test]
    fn schedule_and_searches_agree_whatever_happens() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let mut queries = DynamicQueries::default();
            let (mut now, mut sent) = (NOW, BTreeSet::new());
            for step in 0..300u16 {
                now += Duration::from_millis(rng.below(4_000) as u64);
                let any = link(u32::try_from(rng.below(12)).unwrap());
                let begun = u16::try_from(rng.below(usize::from(step) + 1)).unwrap();
                match rng.below(6) {
                    0 => queries.link_up(Ultrapeer {
                        link: link(1_000 + u32::from(step)),
                        degree: u32::from(step) % 40,
                        max_ttl: None,
                    }),
                    1 => queries.link_down(any),
                    2 => drop(queries.begin(now, guid(step), any, 5, b"")),
                    3 => queries.hits(guid(begun), 60),
                    _ => {
                        while let Some(step) = queries.due(now) {
                            assert!(sent.insert((step.guid, step.link)), "seed {seed}: twice");
                            assert!((1..=4).contains(&step.ttl), "seed {seed}");
                        }
                    }
                }
                let entries: BTreeSet<(Instant, Guid)> =
                    queries.searches.iter().map(|(guid, search)| (search.next, *guid)).collect();
                assert_eq!(entries, queries.schedule, "seed {seed}");
            }
        }
    }
}
