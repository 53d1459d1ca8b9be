//! Answers to the Pings and Queries of others, and the searches and pings of the user.

use super::connection::Features;
use super::descriptors::Source;
use super::extensions::{large_file, size_of};
use super::io::{Event, Hit, SearchError};
use super::link_key::LinkKey;
use super::routing::CachedPong;
use super::{Observation, Servent, budget};
use crate::config::Role;
use crate::library::{Criteria, Entry};
use crate::stats::DropReason;
use crate::time::Instant;
use crate::wire::{
    Guid, HEADER_BYTES, Header, HitResult, INDEX_QUERY, Kind, MAX_CRITERIA_BYTES, MinSpeed,
    PONG_BYTES, Pong, Query, QueryHit, QueryHitBuilder, Trailer,
};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

/// The vendor code in our trailers.
pub(super) const VENDOR: [u8; 4] = *b"SRVT";

/// No file system has longer names by far: a longer one is only meant to cost memory.
const MAX_NAME_BYTES: usize = 512;

impl Servent {
    /// Sends a Query for `criteria` to all links, present and to come, and reports results as
    /// [`Event::Hit`] until [`Servent::end_request`]. `ttl` is capped at 15; the default is the
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
        Ok(self.request(now, Kind::Query, ttl, payload))
    }

    /// Sends a Ping to all links, present and to come, and reports answers as [`Event::Pong`]
    /// until [`Servent::end_request`].
    pub fn ping(&mut self, now: Instant, ttl: Option<u8>) -> Guid {
        self.request(now, Kind::Ping, ttl, Vec::new())
    }

    /// Stops reporting on a search or ping and sending it to new links.
    pub fn end_request(&mut self, guid: Guid) {
        self.requests.end(guid);
    }

    fn request(&mut self, now: Instant, kind: Kind, ttl: Option<u8>, payload: Vec<u8>) -> Guid {
        let guid = Guid::random(&mut self.rng);
        let ttl = ttl.unwrap_or(self.config.ttl).clamp(1, 15);
        let header = Header { guid, kind, ttl, hops: 0, payload_len: 0 };
        self.routing.originate(now, kind, &guid);
        let mut at = 0;
        while let Some(target) = self.links.established(at) {
            self.send_request(target, header, &payload);
            at += 1;
        }
        self.requests.add(header, payload);
        guid
    }

    /// Sends the requests under way to a link that just came up.
    pub(super) fn send_requests(&mut self, target: LinkKey) {
        let mut at = 0;
        while let Some((header, payload)) = self.requests.get(at) {
            self.send_request(target, header, &payload);
            at += 1;
        }
    }

    /// A Ping that asks `target` for itself (TTL 1) or for all around it.
    pub(super) fn send_own_ping(&mut self, now: Instant, target: LinkKey, ttl: u8) {
        let guid = Guid::random(&mut self.rng);
        self.routing.originate(now, Kind::Ping, &guid);
        let header = Header { guid, kind: Kind::Ping, ttl, hops: 0, payload_len: 0 };
        let descriptor = self.encoded(header, &[]);
        self.enqueue(None, target, &descriptor);
    }

    /// Answers a Ping that came on `source`; `hosts` says that it asks for hosts.
    pub(super) fn answer_ping(
        &mut self,
        now: Instant,
        source: LinkKey,
        ping: &Header,
        cached: &[CachedPong],
        hosts: bool,
    ) {
        let mut own = self.advertised_on(source);
        if self.config.role == Role::Guest {
            own.set_port(0);
        }
        let files = u32::try_from(self.library.len()).unwrap_or(u32::MAX);
        let kib = Pong::kib_of(self.library.total_bytes());
        let ttl = ping.hops.saturating_add(1);
        let extension = self.pong_extensions(now, source, hosts);
        let own = CachedPong { addr: own, files, kib, hops: 0 };
        self.send_pong(source, ping, ttl, own, &extension);
        for pong in cached {
            let hops = pong.hops.saturating_add(1);
            let ttl = self.config.ttl.saturating_sub(hops);
            // A Pong that cannot cover the Ping's way back is not sent.
            if ttl > ping.hops {
                self.send_pong(source, ping, ttl, CachedPong { hops, ..*pong }, &[]);
            }
        }
    }

    fn send_pong(
        &mut self,
        target: LinkKey,
        ping: &Header,
        ttl: u8,
        pong: CachedPong,
        extension: &[u8],
    ) {
        let CachedPong { addr, files, kib, hops } = pong;
        let mut payload = Vec::with_capacity(PONG_BYTES + extension.len());
        Pong { addr, files, kib, extension }.encode(&mut payload);
        let header = Header { guid: ping.guid, kind: Kind::Pong, ttl, hops, payload_len: 0 };
        let descriptor = self.encoded(header, &payload);
        self.enqueue(None, target, &descriptor);
    }

    pub(super) fn answer_query(
        &mut self,
        now: Instant,
        source: &Source,
        header: &Header,
        query: &Query<'_>,
    ) {
        let too_slow = self.config.speed_known && !query.speed.satisfied_by(self.config.speed_kbps);
        let limits = &self.config.limits;
        let room = self.links.get(source.id).map(|conn| conn.queue.room(limits.send_queue_bytes));
        // A hit that the asker's queue cannot take is not worth a search.
        let no_room = room.is_none_or(|room| room < limits.hit_payload_bytes + HEADER_BYTES);
        if too_slow || no_room || self.library.is_empty() {
            return;
        }
        let limit = limits.results_per_query;
        let mut found = Vec::new();
        if query.criteria == INDEX_QUERY && header.ttl <= 1 && header.hops == 0 {
            let link = self.links.link_mut(source.id);
            if link.is_some_and(|link| link.admit_index_query(now)) {
                found.extend(self.library.entries().take(limit));
            }
        } else {
            // What cannot be searched for is not answered; the Query travels on all the same.
            let text = query.criteria;
            let steps = self.library.search_text(text, self.criteria.change(), limit, &mut found);
            self.budget.charge(budget::SEARCH_STEP * steps.unwrap_or(budget::UNREADABLE_STEPS));
        }
        if !found.is_empty() {
            let numbers: Vec<u32> = found.iter().map(|entry| entry.number).collect();
            self.answer_with(source.key, header, query, &numbers);
        }
    }

    fn answer_with(&mut self, source: LinkKey, header: &Header, query: &Query<'_>, found: &[u32]) {
        let library = Arc::clone(&self.library);
        let entries = found.iter().filter_map(|&number| library.get(number));
        self.send_hits(source, header, entries);
        self.stats.queries_answered += 1;
        let (guid, results) = (header.guid, found.len());
        let count = u32::try_from(results).unwrap_or(u32::MAX);
        self.note_results(guid, count);
        self.budget.charge(budget::RESULT * count);
        let criteria = || query.criteria.to_vec();
        self.outbox.observe(|| Observation::Answered { guid, criteria: criteria(), results });
        self.outbox.event(Event::Answered { criteria: criteria(), results });
    }

    fn send_hits<'a>(
        &mut self,
        target: LinkKey,
        query: &Header,
        found: impl Iterator<Item = Entry<'a>>,
    ) {
        let config = Arc::clone(&self.config);
        let addr = self.advertised_on(target);
        let open = Trailer::busy_flags(self.uploads.slots_taken() >= config.max_uploads);
        let private = self.trailer_extensions(target);
        let open = if private.is_empty() { open } else { Trailer::with_ggep(open) };
        let trailer = Trailer { vendor: VENDOR, open: &open, private: &private };
        let limit = config.limits.hit_payload_bytes;
        let mut hits = QueryHitBuilder::new(addr, config.speed_kbps, trailer, self.identity, limit);
        let header =
            Header { kind: Kind::QueryHit, ttl: query.hops.saturating_add(2), hops: 0, ..*query };
        let send = |servent: &mut Servent, hits: &mut QueryHitBuilder| {
            let Some(payload) = hits.finish() else { return true };
            let descriptor = servent.encoded(header, &payload);
            servent.enqueue(None, target, &descriptor)
        };
        let reads_ggep = self.link_has(target, Features::GGEP);
        for entry in found {
            let extension = if reads_ggep { large_file(entry.size) } else { Vec::new() };
            let (number, size, name) = (entry.number, entry.size, entry.name.as_bytes());
            if !hits.add(number, size, name, &extension) {
                if !send(self, &mut hits) {
                    return;
                }
                // A name that fits no descriptor of its own is left out.
                let _ = hits.add(number, size, name, &extension);
            }
        }
        send(self, &mut hits);
    }

    /// A hit for a Query of ours.
    pub(super) fn deliver_hit(
        &mut self,
        link: LinkKey,
        header: &Header,
        hit: &QueryHit<'_>,
        payload: &[u8],
    ) -> Result<(), DropReason> {
        let (search, limit) = (header.guid, self.config.limits.results_per_search);
        let taken = self.requests.admit_hit(link, &search, hit, payload, limit)?;
        self.budget.charge(budget::OWN_RESULT * u32::try_from(taken).unwrap_or(u32::MAX));
        self.stats.delivered.add(Kind::QueryHit);
        let in_scope = self.may_fetch_from(link, hit.addr);
        let results = hit.results().take(taken);
        for result in results.filter(|result| result.name.len() <= MAX_NAME_BYTES) {
            let hit = describe(header, hit, &result, in_scope);
            self.outbox.event(Event::Hit { search, hit });
        }
        Ok(())
    }

    /// The address we give to others on a link that stands.
    pub(super) fn advertised_on(&self, link: LinkKey) -> SocketAddrV4 {
        let local_ip = self.links.of(link).map_or(Ipv4Addr::UNSPECIFIED, |conn| conn.local_ip);
        self.dialer.advertised(local_ip)
    }
}

fn describe(header: &Header, hit: &QueryHit<'_>, result: &HitResult<'_>, in_scope: bool) -> Hit {
    let trailer = hit.trailer();
    Hit {
        name: String::from_utf8_lossy(result.name).into_owned(),
        size: size_of(result.size, result.extension),
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
