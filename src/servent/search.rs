//! Descriptors of our own that are still of interest: searches and pings of a user.

use super::io::SearchError;
use super::{Event, Hit, LinkKey, Servent, budget};
use crate::library::Criteria;
use crate::stats::DropReason;
use crate::time::Instant;
use crate::wire::{Guid, HitResult, MAX_CRITERIA_BYTES};
use crate::wire::{Header, Kind, MinSpeed, Query, QueryHit};
use siphasher::sip::SipHasher13;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher;

/// No file system has longer names by far; whoever sends them wants our memory.
const MAX_NAME_BYTES: usize = 512;

/// A Ping or Query that goes to every link there is and every one that comes up while it lasts.
#[derive(Debug)]
pub(super) struct Probe {
    pub(super) header: Header,
    pub(super) payload: Vec<u8>,
    results: usize,
    /// How many of them came by each link.
    by_link: BTreeMap<LinkKey, usize>,
    /// Digests of the hits that brought them.
    seen: BTreeSet<u64>,
}

/// A link may bring so many times the results that are still free: alone it gets eight ninths of
/// the limit, and whoever floods us with results leaves room for those of others.
const OVER_FREE: usize = 8;

impl Servent {
    /// Sends a Query for `criteria` to all links, present and to come, and reports results as
    /// [`Event::Hit`] until [`Servent::end_probe`]. `ttl` is capped at 15; the default is the
    /// configured one.
    ///
    /// # Errors
    /// When no servent would answer or forward such a search.
    pub fn search(
        &mut self,
        now: Instant,
        criteria: &str,
        ttl: Option<u8>,
    ) -> Result<Guid, SearchError> {
        if criteria.len() > MAX_CRITERIA_BYTES {
            return Err(SearchError::TooLong { got: criteria.len() });
        }
        if criteria.contains('\0') {
            return Err(SearchError::HoldsNul);
        }
        Criteria::parse(criteria.as_bytes()).map_err(SearchError::Unanswerable)?;
        let mut payload = Vec::new();
        Query { speed: MinSpeed::ANY, criteria: criteria.as_bytes(), extension: &[] }
            .encode(&mut payload);
        Ok(self.probe(now, Kind::Query, ttl, payload))
    }

    /// Sends a Ping to all links, present and to come, and reports answers as [`Event::Pong`]
    /// until [`Servent::end_probe`].
    pub fn ping(&mut self, now: Instant, ttl: Option<u8>) -> Guid {
        self.probe(now, Kind::Ping, ttl, Vec::new())
    }

    /// Stops reporting on a search or ping and sending it to new links.
    pub fn end_probe(&mut self, guid: Guid) {
        self.probes.retain(|probe| probe.header.guid != guid);
    }

    fn probe(&mut self, now: Instant, kind: Kind, ttl: Option<u8>, payload: Vec<u8>) -> Guid {
        let guid = self.fresh_guid();
        let ttl = ttl.unwrap_or(self.config.ttl).clamp(1, 15);
        let header = Header { guid, kind, ttl, hops: 0, payload_len: 0 };
        let routes =
            if kind == Kind::Query { &mut self.query_routes } else { &mut self.ping_routes };
        routes.set(now, &guid.0, LinkKey::OWN);
        let framed = self.framed(header, &payload);
        self.flood(&framed);
        self.probes.push(Probe {
            header,
            payload,
            results: 0,
            by_link: BTreeMap::new(),
            seen: BTreeSet::new(),
        });
        guid
    }

    /// Sends what is being asked to a link that just came up.
    pub(super) fn probe_new_link(&mut self, index: usize) {
        let probes = std::mem::take(&mut self.probes);
        for probe in &probes {
            let framed = self.framed(probe.header, &probe.payload);
            self.enqueue(None, index, &framed);
        }
        self.probes = probes;
    }

    /// A hit for a Query of ours.
    pub(super) fn deliver_hit(
        &mut self,
        link: LinkKey,
        header: &Header,
        hit: &QueryHit<'_>,
        payload: &[u8],
    ) -> Result<(), DropReason> {
        let limit = self.config.limits.results_per_search;
        let search = header.guid;
        let probe = self.probes.iter_mut().find(|probe| probe.header.guid == search);
        let probe = probe.ok_or(DropReason::NoRoute)?;
        let free = limit.saturating_sub(probe.results);
        let taken = usize::from(hit.count).min(free);
        let by_link = probe.by_link.entry(link).or_default();
        if taken == 0 || *by_link > free * OVER_FREE {
            return Err(DropReason::TooManyResults);
        }
        let mut digest = SipHasher13::new_with_key(&self.digest_key);
        digest.write(payload);
        if !probe.seen.insert(digest.finish()) {
            return Err(DropReason::RepeatedHit);
        }
        *by_link += taken;
        self.budget.charge(budget::OWN_RESULT * u32::try_from(taken).unwrap_or(u32::MAX));
        probe.results += taken;
        self.stats.delivered.add(Kind::QueryHit);
        let in_scope = self.may_fetch_from(link, hit.addr);
        let results = hit.results().take(taken);
        for result in results.filter(|result| result.name.len() <= MAX_NAME_BYTES) {
            let hit = describe(header, hit, &result, in_scope);
            self.event(Event::Hit { search, hit });
        }
        Ok(())
    }
}

fn describe(header: &Header, hit: &QueryHit<'_>, result: &HitResult<'_>, in_scope: bool) -> Hit {
    let trailer = hit.trailer();
    Hit {
        name: String::from_utf8_lossy(result.name).into_owned(),
        size: result.size,
        addr: hit.addr,
        in_scope,
        index: result.index,
        speed_kbps: hit.speed_kbps,
        servent: hit.servent,
        hops: header.hops,
        push: trailer.and_then(|trailer| trailer.push()),
        busy: trailer.and_then(|trailer| trailer.busy()),
        vendor: trailer.map(|trailer| trailer.vendor),
    }
}
