//! What to do with each descriptor a link delivers: decode it, ask the router, act on the verdict.

use super::connection::{Connection, Standing};
use super::dialer::LearntHost;
use super::extensions::asks_for_hosts;
use super::io::{CloseReason, ConnId, Event};
use super::link_key::LinkKey;
use super::routing::{CachedPong, Policy, Route, Seen, Targets, Verdict, router};
use super::{Observation, Servent, budget};
use crate::config::Role;
use crate::stats::DropReason;
use crate::time::Instant;
use crate::wire::qrp::QRP;
use crate::wire::vendor::{EXPERIMENTAL, STANDARD};
use crate::wire::{
    Bye, Dialect, Guid, Header, Kind, Ping, Pong, Push, Query, QueryHit, RawDescriptor, ServentId,
};
use std::net::SocketAddrV4;
use std::num::NonZeroU16;

/// The link a descriptor arrived on.
pub(super) struct Source {
    pub(super) id: ConnId,
    pub(super) key: LinkKey,
    pub(super) peer: SocketAddrV4,
    pub(super) standing: Standing,
}

/// `Err` is the one reason the descriptor is dropped for.
type Handled = Result<(), DropReason>;

impl Servent {
    #[inline(always)]
    pub(super) fn handle_descriptor(
        &mut self,
        now: Instant,
        source: &Source,
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
            Kind::Other(_) => self.handle_other(now, source, raw),
        };
        if let Err(reason) = handled {
            self.stats.count_drop(reason);
            self.outbox.observe(|| Observation::Dropped { peer, header: raw.header(), reason });
            log::trace!("dropped a {kind} {} from {:?}: {reason}", raw.header().guid, source.id);
        }
    }

    /// A kind that 0.4 does not know. Out of line, so that the path of the others stays short.
    #[cold]
    #[inline(never)]
    fn handle_other(&mut self, now: Instant, source: &Source, raw: RawDescriptor<'_>) -> Handled {
        match raw.header().kind {
            QRP => self.handle_route_table(now, source, raw),
            EXPERIMENTAL | STANDARD => self.handle_vendor_message(now, source, raw),
            _ => Err(DropReason::UnknownKind),
        }
    }

    fn handle_ping(
        &mut self,
        now: Instant,
        source: &Source,
        header: &mut Header,
        raw: RawDescriptor<'_>,
    ) -> Handled {
        let ping = Ping::decode(raw.payload()).map_err(|_| DropReason::Malformed)?;
        let hosts = source.standing != Standing::Plain && asks_for_hosts(ping.extension);
        let (mut policy, own) = (self.policy(), self.requests.contains(&header.guid));
        policy.forwards &= source.standing != Standing::OurUltrapeer;
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
        self.act(now, verdict, source, header, raw)?;
        self.stats.delivered.add(Kind::Ping);
        let pongs = u32::try_from(1 + cached.len()).unwrap_or(u32::MAX);
        self.budget.charge(budget::PONG * pongs);
        self.answer_ping(now, source.key, header, &cached, hosts);
        Ok(())
    }

    fn handle_pong(
        &mut self,
        now: Instant,
        source: &Source,
        header: &mut Header,
        raw: RawDescriptor<'_>,
    ) -> Handled {
        let pong = Pong::decode(raw.payload()).map_err(|_| DropReason::Malformed)?;
        let known = self.routing.way_of_ping(now, &header.guid);
        let route = match self.route(self.or_own(&header.guid, known)) {
            // No Ping of others went to a leaf, and leaves are not named to others.
            Route::Link(_) if source.standing == Standing::Leaf => Route::Unknown,
            route => route,
        };
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
        self.act(now, verdict, source, header, raw)?;
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
        source: &Source,
        header: &Header,
        pong: &Pong<'_>,
        asked_by_us: bool,
    ) {
        if source.standing != Standing::Plain {
            self.learn_named_hosts(now, source.key, pong.extension);
        }
        if self.dialer.is_own(pong.addr) {
            return;
        }
        if source.standing != Standing::Leaf {
            let Pong { addr, files, kib, .. } = *pong;
            let cached = CachedPong { addr, files, kib, hops: header.hops };
            self.routing.learn_pong(now, source.key, cached);
            let speaks = (source.standing != Standing::Plain).then_some(Dialect::V0_6);
            self.learn_from(now, LearntHost { addr, source: Some(source.key), speaks });
        }
        if asked_by_us && header.hops == 0 && pong.addr.ip() == source.peer.ip() {
            // Its own Pong says where it listens: it need not be dialled too.
            if let Some(link) = self.links.link_mut(source.id) {
                link.pong_port = NonZeroU16::new(pong.addr.port());
                self.settle_duplicate(now, pong.addr);
            }
        }
    }

    #[inline(always)]
    fn handle_query(
        &mut self,
        now: Instant,
        source: &Source,
        header: &mut Header,
        raw: RawDescriptor<'_>,
    ) -> Handled {
        let query = Query::decode(raw.payload()).map_err(|_| DropReason::Malformed)?;
        let (mut policy, own) = (self.policy(), self.requests.contains(&header.guid));
        match source.standing {
            Standing::Plain | Standing::Relay => {}
            Standing::Leaf if header.hops > 0 => return self.end_relaying_leaf(now, source),
            Standing::Leaf => {}
            // What its ultrapeer sends to a leaf is for the leaf.
            Standing::OurUltrapeer => policy.forwards = false,
        }
        let (arrival, routing) = (*header, &mut self.routing);
        let seen = || routing.note_arrival(now, &arrival, source.key, own);
        let verdict = router::query(header, source.key, policy, query.criteria.len(), seen);
        self.act(now, verdict, source, header, raw)?;
        if policy.forwards && !self.links.modern().is_empty() {
            self.flood_modern(now, source, header, &query, raw.payload());
        }
        self.stats.delivered.add(Kind::Query);
        self.answer_query(now, source, header, &query);
        Ok(())
    }

    fn handle_query_hit(
        &mut self,
        now: Instant,
        source: &Source,
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
        self.act(now, verdict, source, header, raw)?;
        match verdict {
            Verdict::Deliver => self.deliver_hit(source.key, header, &hit, raw.payload())?,
            _ => self.note_results(guid, hit.count.into()),
        }
        Ok(())
    }

    fn handle_push(
        &mut self,
        now: Instant,
        source: &Source,
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
        self.act(now, verdict, source, header, raw)?;
        match verdict {
            Verdict::Deliver => self.answer_push(now, &push),
            _ => Ok(()),
        }
    }

    #[cold]
    #[inline(never)]
    fn handle_bye(&mut self, now: Instant, source: &Source, raw: RawDescriptor<'_>) -> Handled {
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
        now: Instant,
        verdict: Verdict,
        source: &Source,
        header: &Header,
        raw: RawDescriptor<'_>,
    ) -> Handled {
        match verdict {
            Verdict::Drop(reason) => return Err(reason),
            Verdict::Deliver => {}
            Verdict::Forward(targets) | Verdict::DeliverAndForward(targets) => {
                self.forward(now, targets, source, header, raw);
            }
        }
        Ok(())
    }

    fn forward(
        &mut self,
        now: Instant,
        targets: Targets,
        source: &Source,
        header: &Header,
        raw: RawDescriptor<'_>,
    ) {
        let next = router::next_hop(header);
        match targets {
            Targets::One(target) => {
                if source.standing == Standing::Plain && self.links.is_plain(target) {
                    let descriptor = self.encoded(next, raw.payload());
                    self.enqueue(Some(source.key), target, &descriptor);
                } else {
                    self.forward_translated(now, source, target, &next, raw.payload());
                }
            }
            Targets::AllBut(_) => self.flood_plain(targets, source, &next, raw),
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
    fn policy(&self) -> Policy {
        Policy { max_ttl: self.config.ttl, forwards: self.config.role == Role::Servent }
    }
}
