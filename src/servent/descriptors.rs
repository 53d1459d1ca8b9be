//! What to do with each descriptor a link delivers: decode it, ask the router, act on the verdict.

use super::connection::{Connection, PeerRole};
use super::dialer::LearntHost;
use super::io::{CloseReason, ConnId, Event};
use super::link_key::LinkKey;
use super::routing::{CachedPong, Policy, Route, Seen, Targets, Verdict, router};
use super::{Observation, Servent, budget};
use crate::config::Role;
use crate::stats::DropReason;
use crate::time::Instant;
use crate::wire::{
    Bye, Dialect, Guid, Header, Kind, Ping, Pong, Push, Query, QueryHit, RawDescriptor, ServentId,
};
use std::net::SocketAddrV4;
use std::num::NonZeroU16;

/// The link a descriptor arrived on.
#[derive(Clone, Copy)]
pub(super) struct Source {
    pub(super) id: ConnId,
    pub(super) key: LinkKey,
    pub(super) peer: SocketAddrV4,
}

/// `Err` is the one reason the descriptor is dropped for.
type Handled = Result<(), DropReason>;

impl Servent {
    pub(super) fn handle_descriptor(
        &mut self,
        now: Instant,
        source: Source,
        raw: RawDescriptor<'_>,
    ) {
        let mut header = raw.header();
        let (kind, peer) = (header.kind, source.peer);
        self.stats.received.add(kind);
        self.budget.charge(budget::DESCRIPTOR + header.payload_len / budget::BYTES_PER_UNIT);
        self.outbox.observe(|| Observation::Received { peer, header: raw.header() });
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
            self.outbox.observe(|| Observation::Dropped { peer, header: raw.header(), reason });
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
        let (mut policy, own) = (self.policy(), self.requests.contains(&header.guid));
        policy.forwards &= !self.is_from_our_ultrapeer(source);
        let asker = self.links.get(source.id).and_then(Connection::listening_addr);
        let link = self.links.link_mut(source.id).ok_or(DropReason::LinkGone)?;
        let (arrival, routing, mut cached) = (*header, &mut self.routing, Vec::new());
        let admit = |full| match full {
            true => link.admit_full_ping(now),
            false => link.admit_keepalive(now),
        };
        let known = |full| {
            let seen = routing.note_arrival(now, &arrival, source.key, own);
            if full && seen == Seen::New {
                cached = routing.cached_pongs(now, source.key, asker);
            }
            (seen, !cached.is_empty())
        };
        let verdict = router::ping(header, source.key, policy, admit, known);
        if verdict == Verdict::Drop(DropReason::OwnEcho) && header.hops == 0 {
            // It crossed one link and is ours: we are at both ends of it.
            self.close(now, source.id, CloseReason::OwnAddress);
        }
        self.act(verdict, source, header, raw)?;
        self.stats.delivered.add(Kind::Ping);
        let pongs = u32::try_from(1 + cached.len()).unwrap_or(u32::MAX);
        self.budget.charge(budget::PONG * pongs);
        self.answer_ping(source.key, header, &cached);
        Ok(())
    }

    fn handle_pong(
        &mut self,
        now: Instant,
        source: Source,
        header: &mut Header,
        raw: RawDescriptor<'_>,
    ) -> Handled {
        let pong = Pong::decode(raw.payload()).map_err(|_| DropReason::Malformed)?;
        let known = self.routing.way_of_ping(now, &header.guid);
        let route = self.route(self.or_own(&header.guid, known));
        let in_scope = self.config.scope.allows(pong.addr);
        let (policy, per_second) = (self.policy(), self.config.limits.pongs_per_second);
        let link = self.links.link_mut(source.id).ok_or(DropReason::LinkGone)?;
        let admit = || link.admit_pong(now, per_second);
        let verdict = router::pong(header, source.key, policy, || route, admit, || in_scope);
        if verdict.is_solicited() || verdict == Verdict::Drop(DropReason::OutOfScope) {
            self.budget.charge(budget::ADDRESS);
        }
        if verdict.is_solicited() && in_scope {
            self.learn_from_pong(now, source, header, &pong, route == Route::Own);
        }
        self.act(verdict, source, header, raw)?;
        if verdict == Verdict::Deliver {
            self.stats.delivered.add(Kind::Pong);
            if self.requests.contains(&header.guid) {
                let Pong { addr, files, kib, .. } = pong;
                let (ping, hops) = (header.guid, header.hops);
                self.outbox.event(Event::Pong { ping, addr, files, kib, hops });
            }
        }
        Ok(())
    }

    fn learn_from_pong(
        &mut self,
        now: Instant,
        source: Source,
        header: &Header,
        pong: &Pong<'_>,
        asked_by_us: bool,
    ) {
        if self.dialer.is_own(pong.addr) {
            return;
        }
        let cached =
            CachedPong { addr: pong.addr, files: pong.files, kib: pong.kib, hops: header.hops };
        self.routing.learn_pong(now, source.key, cached);
        let speaks = self.links.link(source.id).map(|link| link.peer().dialect);
        let speaks = speaks.filter(|dialect| *dialect == Dialect::V0_6);
        self.learn_from(now, LearntHost { addr: pong.addr, source: Some(source.key), speaks });
        if asked_by_us && header.hops == 0 && pong.addr.ip() == source.peer.ip() {
            // Its own Pong says where it listens: it need not be dialled too.
            if let Some(link) = self.links.link_mut(source.id) {
                link.pong_port = NonZeroU16::new(pong.addr.port());
                self.settle_duplicate(now, pong.addr);
            }
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
        let (mut policy, own) = (self.policy(), self.requests.contains(&header.guid));
        // What its ultrapeer sends to a leaf is for the leaf.
        policy.forwards &= !self.is_from_our_ultrapeer(source);
        let (arrival, routing) = (*header, &mut self.routing);
        let seen = || routing.note_arrival(now, &arrival, source.key, own);
        let verdict = router::query(header, source.key, policy, query.criteria.len(), seen);
        self.act(verdict, source, header, raw)?;
        self.stats.delivered.add(Kind::Query);
        self.answer_query(now, source, header, &query);
        Ok(())
    }

    fn handle_query_hit(
        &mut self,
        now: Instant,
        source: Source,
        header: &mut Header,
        raw: RawDescriptor<'_>,
    ) -> Handled {
        let hit = QueryHit::decode(raw.payload()).map_err(|_| DropReason::Malformed)?;
        let its_guid = ServentId(header.guid.0);
        let forged =
            hit.servent.is_blank() || hit.servent == self.identity || hit.servent == its_guid;
        let (policy, guid) = (self.policy(), header.guid);
        let route = || {
            let known = self.routing.way_of_query(now, &guid);
            self.route(self.or_own(&guid, known))
        };
        let verdict = router::query_hit(header, source.key, policy, forged, route);
        if verdict.is_solicited() {
            self.routing.learn_servent(now, hit.servent, source.key);
        }
        self.act(verdict, source, header, raw)?;
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
        let arrival = *header;
        let policy = self.policy();
        let known = self.routing.way_to_servent(now, push.servent);
        let route = if push.servent == self.identity { Route::Own } else { self.route(known) };
        let Servent { routing, uploads, library, config, .. } = self;
        let seen = || routing.note_arrival(now, &arrival, source.key, false);
        let serve = || {
            if library.is_empty() {
                Err(DropReason::PushNotServed)
            } else if !config.scope.allows(push.addr) {
                Err(DropReason::OutOfScope)
            } else if !uploads.push_replies().admit(now, push.addr, &config.limits) {
                Err(DropReason::PushThrottled)
            } else {
                Ok(())
            }
        };
        let verdict = router::push(header, source.key, policy, seen, || route, serve);
        self.act(verdict, source, header, raw)?;
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

    /// Forwards what the verdict says is for others; a drop is handed back as the error to count.
    #[inline]
    fn act(
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
        let next = router::next_hop(header);
        match targets {
            Targets::One(target) => {
                let descriptor = self.encoded(next, raw.payload());
                self.enqueue(Some(source.key), target, &descriptor);
            }
            Targets::AllBut(_) => {
                let capacity = self.config.limits.send_queue_bytes;
                self.routing.broadcast(targets, &next, raw.frame(), capacity);
                if self.outbox.is_observed() {
                    // What comes of a descriptor is told before the next one is.
                    self.flush_batch();
                }
                if !self.links.modern().is_empty() {
                    self.flood_modern(source, &next, raw.payload());
                }
            }
        }
        Ok(())
    }

    /// Queues a broadcast for each 0.6 link that it is of use to: Queries for ultrapeers, Pings for nobody,
    /// since who speaks 0.6 answers them from a cache.
    fn flood_modern(&mut self, source: Source, next: &Header, payload: &[u8]) {
        if next.kind != Kind::Query {
            return;
        }
        for at in 0..self.links.modern().len() {
            let target = self.links.modern()[at];
            let Some(link) = self.links.of(target).and_then(Connection::link) else { continue };
            let peer = link.peer();
            if target == source.key || peer.is_our_ultrapeer || peer.role == PeerRole::Leaf {
                continue;
            }
            let ttl = peer.max_ttl.map_or(next.ttl, |most| next.ttl.min(most));
            let descriptor = self.encoded(Header { ttl, ..*next }, payload);
            self.enqueue(Some(source.key), target, &descriptor);
        }
    }

    /// What is known of an id, or that it is of a request of our own.
    fn or_own(&self, guid: &Guid, known: Option<LinkKey>) -> Option<LinkKey> {
        if self.requests.contains(guid) { Some(LinkKey::OWN) } else { known }
    }

    fn route(&self, known: Option<LinkKey>) -> Route {
        match known {
            None => Route::Unknown,
            Some(LinkKey::OWN) => Route::Own,
            Some(key) if self.links.of(key).is_some() => Route::Link(key),
            Some(_) => Route::Gone,
        }
    }

    #[inline]
    fn is_from_our_ultrapeer(&self, source: Source) -> bool {
        self.links.link(source.id).is_some_and(|link| link.peer().is_our_ultrapeer)
    }

    #[inline]
    fn policy(&self) -> Policy {
        Policy { max_ttl: self.config.ttl, forwards: self.config.role == Role::Servent }
    }
}
