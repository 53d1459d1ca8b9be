//! What to do with each descriptor a link delivers: decode, ask the router, act on its verdict.

use super::connection::{Link, Phase};
use super::io::{CloseReason, ConnId, Event};
use super::pong_cache::CachedPong;
use super::{
    LinkKey, Observation, Route, RouteTable, Seen, Servent, Targets, Verdict, budget, router,
};
use crate::config::Role;
use crate::library::Entry;
use crate::stats::DropReason;
use crate::time::Instant;
use crate::wire::{
    Bye, Deframer, Guid, HEADER_BYTES, Header, INDEX_QUERY, Kind, MAX_FORWARDED_CRITERIA_BYTES,
    Ping, Pong, Push, Query, QueryHit, QueryHitBuilder, RawDescriptor, ServentId, Trailer,
};
use std::sync::Arc;

/// The code in our trailers.
const VENDOR: [u8; 4] = *b"SRVT";

fn is_search(kind: Kind) -> bool {
    matches!(kind, Kind::Query | Kind::QueryHit)
}

/// The link a descriptor came by.
#[derive(Clone, Copy)]
struct Source {
    id: ConnId,
    index: usize,
    key: LinkKey,
}

impl Servent {
    /// Handles the descriptors in `bytes` until `credit` units of work are spent. Returns how many
    /// bytes were taken, all of them when the link ended.
    pub(super) fn handle_descriptors(
        &mut self,
        now: Instant,
        id: ConnId,
        bytes: &[u8],
        credit: u32,
    ) -> usize {
        let index = id.index as usize;
        let peer = self.connections[index].remote;
        let Some(link) = self.link_mut(id) else { return bytes.len() };
        let source = Source { id, index, key: link.key };
        // Taken out while the descriptors in it are handled, which may end the link.
        let (mut own, mut boxed) = (Deframer::default(), link.deframer.take());
        let deframer = boxed.as_deref_mut().unwrap_or(&mut own);
        let mut descriptors = deframer.feed(bytes);
        let mut warm = 0;
        let error = loop {
            if warm == 0 {
                warm = RouteTable::WARM;
                self.warm(descriptors.ahead(RouteTable::WARM));
            }
            warm -= 1;
            match descriptors.next() {
                Ok(Some(raw)) => self.handle_descriptor(now, source, raw),
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
            if self.link_mut(id).is_none() {
                self.count_unread(peer, &mut descriptors);
                return bytes.len();
            }
            if self.budget.spent() >= credit {
                break None;
            }
        };
        let left = descriptors.into_rest().len();
        if let Some(error) = error {
            // What was flooded before it still goes out.
            self.flush_run();
            self.close(now, id, CloseReason::Frame(error));
            return bytes.len();
        }
        if let Some(link) = self.link_mut(id) {
            // A descriptor has begun, and is the first that did not fit into one read.
            if own.pending_bytes() > 0 {
                boxed = Some(Box::new(own));
            }
            link.deframer = boxed;
        }
        bytes.len() - left
    }

    /// Has what the next descriptors will be looked up in brought into the cache.
    fn warm<'a>(&self, ahead: impl Iterator<Item = RawDescriptor<'a>>) {
        let (mut ids, mut count) = ([[0; 16]; RouteTable::WARM], 0);
        let (mut servents, mut hits) = ([[0; 16]; RouteTable::WARM], 0);
        for raw in ahead {
            let Header { kind, guid, .. } = raw.header();
            if is_search(kind) {
                ids[count] = guid.0;
                count += 1;
            }
            if let (Kind::QueryHit, Some(servent)) = (kind, raw.payload().last_chunk()) {
                servents[hits] = *servent;
                hits += 1;
            }
        }
        self.query_routes.warm(ids[..count].iter());
        self.servent_routes.warm(servents[..hits].iter());
    }

    pub(super) fn link_mut(&mut self, id: ConnId) -> Option<&mut Link> {
        match &mut self.connection_mut(id)?.phase {
            Phase::Link(link) => Some(link),
            _ => None,
        }
    }

    fn handle_descriptor(&mut self, now: Instant, source: Source, raw: RawDescriptor<'_>) {
        let mut header = raw.header();
        let kind = header.kind;
        // Handling it may end the link.
        let peer = self.connections[source.index].remote;
        self.stats.received.add(kind);
        self.budget.charge(budget::DESCRIPTOR + header.payload_len / budget::BYTES_PER_UNIT);
        self.observe(|| Observation::Received { peer, header: raw.header() });
        let handled = match kind {
            Kind::Ping => self.handle_ping(now, source, &mut header, raw),
            Kind::Pong => self.handle_pong(now, source, &mut header, raw),
            Kind::Query => self.handle_query(now, source, &mut header, raw),
            Kind::QueryHit => self.handle_query_hit(now, source, &mut header, raw),
            Kind::Push => self.handle_push(now, source, &mut header, raw),
            Kind::Bye => self.handle_bye(now, source, raw),
            Kind::Other(_) => Err(DropReason::UnknownKind),
        };
        if let Err(reason) = handled {
            self.stats.count_drop(reason);
            self.observe(|| Observation::Dropped { peer, header: raw.header(), reason });
            log::trace!("dropped a {kind} {} from {:?}: {reason}", raw.header().guid, source.id);
        }
    }

    fn handle_ping(
        &mut self,
        now: Instant,
        source: Source,
        header: &mut Header,
        raw: RawDescriptor<'_>,
    ) -> Handled {
        Ping::decode(raw.payload()).map_err(|_| DropReason::Malformed)?;
        header.ttl = router::clamp_broadcast(header, self.config.ttl)?;
        let full = header.ttl > 1;
        let link = self.link_mut(source.id).ok_or(DropReason::LinkGone)?;
        if !(if full { link.admit_full_ping(now) } else { link.admit_probe(now) }) {
            return Err(DropReason::PingThrottled);
        }
        let known = match self.is_own_request(&header.guid) {
            true => self.renew_own_request(now, header),
            false => self.ping_routes.insert(now, &header.guid.0, source.key),
        };
        let seen = Seen::from_known(known);
        if seen == Seen::Own && header.hops == 0 {
            // It crossed one link and is ours: we are at both ends of it.
            self.close(now, source.id, CloseReason::OwnAddress);
            return Err(DropReason::OwnEcho);
        }
        let count = self.config.limits.pongs_per_link;
        let cached = if full && seen == Seen::New {
            let asker = self.connections[source.index].listening_addr();
            self.pong_cache.answer(now, source.key, asker, count)
        } else {
            Vec::new()
        };
        let verdict = router::ping(header, seen, self.is_routing(), cached.is_empty());
        self.carry_out(verdict, source, header, raw)?;
        self.stats.delivered.add(Kind::Ping);
        let pongs = u32::try_from(1 + cached.len()).unwrap_or(u32::MAX);
        self.budget.charge(budget::PONG * pongs);
        self.answer_ping(source, header, &cached);
        Ok(())
    }

    fn answer_ping(&mut self, source: Source, ping: &Header, cached: &[CachedPong]) {
        let mut own = self.advertised(self.connections[source.index].local_ip);
        if self.config.role == Role::Guest {
            own.set_port(0);
        }
        let files = u32::try_from(self.library.len()).unwrap_or(u32::MAX);
        let kib = Pong::kib_of(self.library.total_bytes());
        let ttl = ping.hops.saturating_add(1);
        self.send_pong(source.index, ping, ttl, 0, CachedPong { addr: own, files, kib, hops: 0 });
        for pong in cached {
            let hops = pong.hops.saturating_add(1);
            let ttl = self.config.ttl.saturating_sub(hops);
            // One that could not cover the Ping's way back is not worth a start.
            if ttl > ping.hops {
                self.send_pong(source.index, ping, ttl, hops, *pong);
            }
        }
    }

    fn send_pong(&mut self, index: usize, ping: &Header, ttl: u8, hops: u8, pong: CachedPong) {
        let mut payload = Vec::with_capacity(crate::wire::PONG_BYTES);
        Pong { addr: pong.addr, files: pong.files, kib: pong.kib, extension: &[] }
            .encode(&mut payload);
        let header = Header { guid: ping.guid, kind: Kind::Pong, ttl, hops, payload_len: 0 };
        let framed = self.framed(header, &payload);
        self.enqueue(None, index, &framed);
    }

    fn handle_pong(
        &mut self,
        now: Instant,
        source: Source,
        header: &mut Header,
        raw: RawDescriptor<'_>,
    ) -> Handled {
        let pong = Pong::decode(raw.payload()).map_err(|_| DropReason::Malformed)?;
        header.ttl = router::clamp_reply(header)?;
        let known = self.ping_routes.get(now, &header.guid.0);
        let route = self.route(self.or_own_request(&header.guid, known));
        let verdict = router::reply(header, source.key, route);
        // Nothing is believed that nobody asked for.
        if let Verdict::Drop(reason @ (DropReason::NoRoute | DropReason::BackToSource)) = verdict {
            return Err(reason);
        }
        let per_second = self.config.limits.pongs_per_second;
        let link = self.link_mut(source.id).ok_or(DropReason::LinkGone)?;
        if !link.admit_pong(now, per_second) {
            return Err(DropReason::PongThrottled);
        }
        self.budget.charge(budget::ADDRESS);
        let in_scope = self.config.scope.allows(pong.addr);
        if in_scope {
            self.learn_from_pong(now, source, header, &pong, route == Route::Own);
        }
        if verdict == Verdict::Deliver {
            self.deliver_pong(header, &pong);
        } else if !in_scope {
            return Err(DropReason::OutOfScope);
        }
        self.carry_out(verdict, source, header, raw)
    }

    fn learn_from_pong(
        &mut self,
        now: Instant,
        source: Source,
        header: &Header,
        pong: &Pong<'_>,
        asked_by_us: bool,
    ) {
        if self.is_own(pong.addr) {
            return;
        }
        let cached =
            CachedPong { addr: pong.addr, files: pong.files, kib: pong.kib, hops: header.hops };
        self.pong_cache.insert(now, source.key, cached);
        self.learn_from(now, pong.addr, Some(source.key));
        let remote = self.connections[source.index].remote;
        if asked_by_us && header.hops == 0 && pong.addr.ip() == remote.ip() {
            // Its own Pong says where it listens: it need not be dialled too.
            if let Some(link) = self.link_mut(source.id) {
                link.listens_on = Some(pong.addr.port());
                self.settle_duplicate(now, pong.addr);
            }
        }
    }

    fn deliver_pong(&mut self, header: &Header, pong: &Pong<'_>) {
        self.stats.delivered.add(Kind::Pong);
        if self.probes.iter().any(|probe| probe.header.guid == header.guid) {
            self.event(Event::Pong {
                ping: header.guid,
                addr: pong.addr,
                files: pong.files,
                kib: pong.kib,
                hops: header.hops,
            });
        }
    }

    fn handle_query(
        &mut self,
        now: Instant,
        source: Source,
        header: &mut Header,
        raw: RawDescriptor<'_>,
    ) -> Handled {
        let query = Query::decode(raw.payload()).map_err(|_| DropReason::Malformed)?;
        if query.criteria.len() > MAX_FORWARDED_CRITERIA_BYTES {
            return Err(DropReason::QueryTooLong);
        }
        header.ttl = router::clamp_broadcast(header, self.config.ttl)?;
        let known = match self.is_own_request(&header.guid) {
            true => self.renew_own_request(now, header),
            false => self.query_routes.insert(now, &header.guid.0, source.key),
        };
        let verdict = router::query(header, Seen::from_known(known), self.is_routing());
        self.carry_out(verdict, source, header, raw)?;
        self.stats.delivered.add(Kind::Query);
        self.answer_query(now, source, header, &query);
        Ok(())
    }

    fn answer_query(&mut self, now: Instant, source: Source, header: &Header, query: &Query<'_>) {
        let too_slow = self.config.speed_known && !query.speed.satisfied_by(self.config.speed_kbps);
        let limits = &self.config.limits;
        let queue = &self.connections[source.index].queue;
        // A hit that the asker's queue cannot take is not worth a search.
        let no_room = queue.room(limits.send_queue_bytes) < limits.hit_payload_bytes + HEADER_BYTES;
        if too_slow || no_room || self.library.is_empty() {
            return;
        }
        let limit = limits.results_per_query;
        let mut found = Vec::new();
        if query.criteria == INDEX_QUERY && header.ttl <= 1 && header.hops == 0 {
            let link = self.link_mut(source.id);
            if link.is_some_and(|link| link.admit_index_query(now)) {
                found.extend(self.library.entries().take(limit));
            }
        } else {
            // What cannot be searched for is not answered; the Query travels on all the same.
            let text = query.criteria;
            let steps = self.library.search_text(text, &mut self.criteria, limit, &mut found);
            self.budget.charge(budget::SEARCH_STEP * steps.unwrap_or(budget::UNREADABLE_STEPS));
        }
        if !found.is_empty() {
            let numbers: Vec<u32> = found.iter().map(|entry| entry.number).collect();
            self.answer_with(source, header, query, &numbers);
        }
    }

    fn answer_with(&mut self, source: Source, header: &Header, query: &Query<'_>, found: &[u32]) {
        let library = Arc::clone(&self.library);
        let entries = found.iter().filter_map(|&number| library.get(number));
        self.send_hits(source, header, entries);
        self.stats.queries_answered += 1;
        let (guid, results) = (header.guid, found.len());
        self.budget.charge(budget::RESULT * u32::try_from(results).unwrap_or(u32::MAX));
        let criteria = || query.criteria.to_vec();
        self.observe(|| Observation::Answered { guid, criteria: criteria(), results });
        self.event(Event::Answered { criteria: criteria(), results });
    }

    fn send_hits<'a>(
        &mut self,
        source: Source,
        query: &Header,
        found: impl Iterator<Item = Entry<'a>>,
    ) {
        let config = Arc::clone(&self.config);
        let addr = self.advertised(self.connections[source.index].local_ip);
        let open = Trailer::busy_flags(self.uploads_open >= config.max_uploads);
        let trailer = Trailer { vendor: VENDOR, open: &open, private: &[] };
        let limit = config.limits.hit_payload_bytes;
        let mut hits = QueryHitBuilder::new(addr, config.speed_kbps, trailer, self.identity, limit);
        let header =
            Header { kind: Kind::QueryHit, ttl: query.hops.saturating_add(2), hops: 0, ..*query };
        let send = |servent: &mut Servent, hits: &mut QueryHitBuilder| {
            let Some(payload) = hits.finish() else { return true };
            let framed = servent.framed(header, &payload);
            servent.enqueue(None, source.index, &framed)
        };
        for entry in found {
            if !hits.add(entry.number, entry.size, entry.name.as_bytes()) {
                if !send(self, &mut hits) {
                    return;
                }
                // A name that fits no descriptor of its own is left out.
                let _ = hits.add(entry.number, entry.size, entry.name.as_bytes());
            }
        }
        send(self, &mut hits);
    }

    fn handle_query_hit(
        &mut self,
        now: Instant,
        source: Source,
        header: &mut Header,
        raw: RawDescriptor<'_>,
    ) -> Handled {
        let hit = QueryHit::decode(raw.payload()).map_err(|_| DropReason::Malformed)?;
        header.ttl = router::clamp_reply(header)?;
        let forged = ServentId(header.guid.0);
        if hit.servent.is_blank() || hit.servent == self.identity || hit.servent == forged {
            return Err(DropReason::ForgedHit);
        }
        let known = self.query_routes.get(now, &header.guid.0);
        let route = self.route(self.or_own_request(&header.guid, known));
        let verdict = router::reply(header, source.key, route);
        if !matches!(verdict, Verdict::Drop(DropReason::NoRoute | DropReason::BackToSource)) {
            self.servent_routes.set(now, &hit.servent.0, source.key);
        }
        self.carry_out(verdict, source, header, raw)?;
        if verdict == Verdict::Deliver {
            self.deliver_hit(source.key, header, &hit, raw.payload())?;
        }
        Ok(())
    }

    fn handle_push(
        &mut self,
        now: Instant,
        source: Source,
        header: &mut Header,
        raw: RawDescriptor<'_>,
    ) -> Handled {
        let push = Push::decode(raw.payload()).map_err(|_| DropReason::Malformed)?;
        header.ttl = router::clamp_reply(header)?;
        let known = self.push_routes.insert(now, &header.guid.0, source.key);
        let seen = Seen::from_known(known);
        let route = if push.servent == self.identity {
            Route::Own
        } else {
            let known = self.servent_routes.get(now, &push.servent.0);
            self.route(known)
        };
        let verdict = router::push(header, source.key, seen, route);
        self.carry_out(verdict, source, header, raw)?;
        match verdict {
            Verdict::Deliver => self.answer_push(now, &push),
            _ => Ok(()),
        }
    }

    fn handle_bye(&mut self, now: Instant, source: Source, raw: RawDescriptor<'_>) -> Handled {
        let bye = Bye::decode(raw.payload()).map_err(|_| DropReason::Malformed)?;
        let text = String::from_utf8_lossy(bye.text()).into_owned();
        self.stats.delivered.add(Kind::Bye);
        self.close(now, source.id, CloseReason::Bye { code: bye.code, text });
        Ok(())
    }

    /// Forwards as far as the verdict says so; a drop is handed back as the error to count.
    #[inline]
    fn carry_out(
        &mut self,
        verdict: Verdict,
        source: Source,
        header: &Header,
        raw: RawDescriptor<'_>,
    ) -> Handled {
        let targets = match verdict {
            Verdict::Drop(reason) => return Err(reason),
            Verdict::Deliver => return Ok(()),
            Verdict::Forward(targets) | Verdict::DeliverAndForward(targets) => targets,
        };
        let next = router::next_hop(header).ok_or(DropReason::TtlSpent)?;
        match targets {
            Targets::AllButSource => {
                let capacity = self.config.limits.send_queue_bytes;
                self.run.append(source.index, &next, raw.frame(), capacity);
                if self.observations.is_some() {
                    // What came of a descriptor is told before the next one is.
                    self.flush_run();
                }
            }
            Targets::One(key) => {
                let index = self.link_of(key).ok_or(DropReason::LinkGone)?;
                if !self.is_routing() {
                    return Err(DropReason::NotRouting);
                }
                let framed = self.framed(next, raw.payload());
                self.enqueue(Some(source.index), index, &framed);
            }
        }
        Ok(())
    }

    /// A request of our own came back: it outlives the table, which forgets by age and under
    /// floods.
    #[cold]
    fn renew_own_request(&mut self, now: Instant, header: &Header) -> Option<LinkKey> {
        let pings = header.kind == Kind::Ping;
        let routes = if pings { &mut self.ping_routes } else { &mut self.query_routes };
        routes.set(now, &header.guid.0, LinkKey::OWN);
        Some(LinkKey::OWN)
    }

    /// What is known of an id, or that it is of a request of our own.
    fn or_own_request(&self, guid: &Guid, known: Option<LinkKey>) -> Option<LinkKey> {
        if self.is_own_request(guid) { Some(LinkKey::OWN) } else { known }
    }

    /// Whether a search or ping of our own with this id is under way.
    #[inline]
    fn is_own_request(&self, guid: &Guid) -> bool {
        self.probes.iter().any(|probe| probe.header.guid == *guid)
    }

    fn route(&self, known: Option<LinkKey>) -> Route {
        match known {
            None => Route::Unknown,
            Some(LinkKey::OWN) => Route::Own,
            Some(key) if self.link_of(key).is_some() => Route::Link(key),
            Some(_) => Route::Gone,
        }
    }

    fn is_routing(&self) -> bool {
        self.config.role == Role::Servent
    }
}

/// `Err` is the one reason the descriptor is dropped for.
type Handled = Result<(), DropReason>;
