//! Requests of our own that are still of interest: searches and pings of a user.

use super::link_key::LinkKey;
use crate::rng::Rng;
use crate::stats::DropReason;
use crate::wire::{Guid, Header, QueryHit};
use siphasher::sip::SipHasher13;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher;

/// A link may bring this many times the results that are still free: alone it gets eight ninths of
/// the limit, and a link that floods us with results leaves room for those of others.
const OVER_FREE: usize = 8;

/// A Ping or Query that goes to every link there is and every one that comes up while it lasts.
#[derive(Debug)]
pub(super) struct OwnRequest {
    header: Header,
    payload: Vec<u8>,
    results: usize,
    /// How many of the results each link brought.
    by_link: BTreeMap<LinkKey, usize>,
    /// Digests of the hits that brought them.
    seen: BTreeSet<u64>,
}

/// Searches and pings under way.
#[derive(Debug)]
pub(super) struct OwnRequests {
    requests: Vec<OwnRequest>,
    /// Keys the digests of hits, which peers choose.
    digest_key: [u8; 16],
}

impl OwnRequests {
    pub(super) fn new(rng: &mut Rng) -> OwnRequests {
        OwnRequests { requests: Vec::new(), digest_key: rng.bytes16() }
    }

    pub(super) fn add(&mut self, header: Header, payload: Vec<u8>) {
        let (by_link, seen) = (BTreeMap::new(), BTreeSet::new());
        self.requests.push(OwnRequest { header, payload, results: 0, by_link, seen });
    }

    pub(super) fn end(&mut self, guid: Guid) {
        self.requests.retain(|request| request.header.guid != guid);
    }

    /// The request at this position, as it is sent to a link that comes up.
    pub(super) fn get(&self, at: usize) -> Option<(Header, Vec<u8>)> {
        self.requests.get(at).map(|request| (request.header, request.payload.clone()))
    }

    /// Whether a request with this id is under way.
    #[inline]
    pub(super) fn contains(&self, guid: &Guid) -> bool {
        self.requests.iter().any(|request| request.header.guid == *guid)
    }

    /// How many results of a hit that `link` brought are taken, of `limit` for one search.
    ///
    /// # Errors
    /// Why none are.
    pub(super) fn admit_hit(
        &mut self,
        link: LinkKey,
        search: &Guid,
        hit: &QueryHit<'_>,
        payload: &[u8],
        limit: usize,
    ) -> Result<usize, DropReason> {
        let request = self.requests.iter_mut().find(|request| request.header.guid == *search);
        let request = request.ok_or(DropReason::NoRoute)?;
        let free = limit.saturating_sub(request.results);
        let taken = usize::from(hit.count).min(free);
        let by_link = request.by_link.entry(link).or_default();
        if taken == 0 || *by_link > free * OVER_FREE {
            return Err(DropReason::TooManyResults);
        }
        let mut digest = SipHasher13::new_with_key(&self.digest_key);
        digest.write(payload);
        if !request.seen.insert(digest.finish()) {
            return Err(DropReason::RepeatedHit);
        }
        *by_link += taken;
        request.results += taken;
        Ok(taken)
    }
}
