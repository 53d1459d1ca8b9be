//! The rules of routing, checked on every descriptor that a servent takes in or queues. Trusts no
//! table of the servent: this one keeps its own, which know exactly as much as those promise.

use super::delta::Delta;
use super::generators::{Descriptor, IDENTITY};
use super::roles::{LinkInfo, Roles};
use crate::config::{Config, Role};
use crate::fuzzing::route_table::{Known, Routes};
use crate::library::Library;
use crate::rules::{self, Violation};
use crate::servent::{CachedPong, ConnId, Observation};
use crate::stats::DropReason;
use crate::time::Instant;
use crate::wire::vendor::EXPERIMENTAL;
use crate::wire::{Bye, Guid, Header, Kind, Pong, Push, QueryHit};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Beyond this sum of TTL and hops nothing is passed on.
const MAX_TTL_PLUS_HOPS: u8 = 15;

/// The link something came by; `None` is the servent itself.
type Way = Option<ConnId>;

/// A descriptor that arrived, and its consequences.
pub(super) struct Arrival<'a> {
    pub(super) from: ConnId,
    pub(super) source: &'a LinkInfo,
    pub(super) descriptor: &'a Descriptor,
    /// The links there were, the one it came by included.
    pub(super) links: &'a [LinkInfo],
    pub(super) outcome: Outcome<'a>,
    pub(super) library: &'a Library,
}

/// The consequences of one call.
pub(super) struct Outcome<'a> {
    pub(super) queued: &'a [(ConnId, Descriptor)],
    pub(super) delta: Delta<'a>,
    pub(super) seen: &'a [Observation],
    /// The links there are now.
    pub(super) links: &'a [LinkInfo],
}

fn link_of(links: &[LinkInfo], conn: ConnId) -> &LinkInfo {
    links.iter().find(|link| link.conn == conn).expect("a link that stands")
}

/// See the module documentation.
pub(super) struct Watch {
    config: Arc<Config>,
    pings: Routes<Way>,
    queries: Routes<Way>,
    pushes: Routes<Way>,
    servents: Routes<Way>,
    roles: Roles,
    /// Searches and pings of the servent, and the links they went to.
    asked: BTreeSet<(Guid, ConnId)>,
    /// Servent ids whose path cannot be known from outside.
    doubtful: BTreeSet<[u8; 16]>,
    /// Pongs of each link that may be passed on, oldest first.
    pongs: Vec<(Instant, ConnId, CachedPong)>,
    /// The hits that came, each to its Query.
    hits: BTreeSet<(Guid, Vec<u8>)>,
    /// Connections made for Pushes, without those on which a file was fetched.
    pushed: Vec<(Instant, Ipv4Addr)>,
    /// Searches and pings of the user, and the results they had.
    requests: BTreeMap<Guid, usize>,
    /// Those under way: a descriptor with their GUID is one of ours.
    under_way: BTreeSet<Guid>,
    /// GUIDs that the servent made, for peers to use.
    pub(super) own: Vec<Guid>,
}

impl Watch {
    pub(super) fn new(config: Arc<Config>) -> Watch {
        let limits = &config.limits;
        Watch {
            pings: Routes::new(limits.ping_routes, limits.ping_route_age),
            queries: Routes::new(limits.query_routes, limits.query_route_age),
            pushes: Routes::new(limits.push_routes, limits.query_route_age),
            servents: Routes::new(limits.servent_routes, limits.servent_route_age),
            roles: Roles::new(Arc::clone(&config)),
            asked: BTreeSet::new(),
            doubtful: BTreeSet::new(),
            pongs: Vec::new(),
            hits: BTreeSet::new(),
            pushed: Vec::new(),
            requests: BTreeMap::new(),
            under_way: BTreeSet::new(),
            own: Vec::new(),
            config,
        }
    }

    /// The user searches, or pings.
    pub(super) fn request(&mut self, now: Instant, guid: Guid, kind: Kind) {
        let routes = if kind == Kind::Query { &mut self.queries } else { &mut self.pings };
        routes.set(now, guid.0, None);
        self.requests.insert(guid, 0);
        self.under_way.insert(guid);
        self.remember_own(guid);
    }

    /// The user ends a request.
    pub(super) fn request_ended(&mut self, guid: Guid) {
        self.under_way.remove(&guid);
    }

    /// A result reaches the user.
    pub(super) fn result(&mut self, search: Guid) {
        let results = self.requests.get_mut(&search).expect("a search of ours");
        *results += 1;
        assert!(*results <= self.config.limits.results_per_search, "{results} results");
    }

    fn remember_own(&mut self, guid: Guid) {
        self.own.push(guid);
        if self.own.len() > 4 {
            self.own.remove(0);
        }
    }

    /// The servent originated descriptors, and remembers their ids in this order, whether or not a
    /// queue took them.
    fn made_up(&mut self, now: Instant, seen: &[Observation]) {
        for observation in seen {
            let (Observation::Originated { header, .. } | Observation::Refused { header, .. }) =
                observation
            else {
                continue;
            };
            let routes = match header.kind {
                _ if header.hops > 0 || self.requests.contains_key(&header.guid) => continue,
                Kind::Ping => &mut self.pings,
                Kind::Push => &mut self.pushes,
                _ => continue,
            };
            assert_eq!(routes.known(now, &header.guid.0), Known::Not, "an id used again");
            routes.set(now, header.guid.0, None);
            self.remember_own(header.guid);
        }
    }

    /// The servent queued a descriptor of its own on `link`.
    fn originated(&mut self, now: Instant, links: &[LinkInfo], link: ConnId, own: &Descriptor) {
        let Descriptor { header: Header { guid, kind, ttl, .. }, payload } = own;
        let (guid, kind, ttl) = (*guid, *kind, *ttl);
        assert!((1..=MAX_TTL_PLUS_HOPS).contains(&ttl), "starts with TTL {ttl}");
        if kind == Kind::Bye {
            let stands = links.iter().any(|other| other.conn == link);
            return assert!(
                !stands && Bye::decode(payload).is_ok_and(|bye| !bye.text().is_empty())
            );
        }
        let link_info = link_of(links, link);
        let crosses_one = matches!(kind, Kind::Other(_));
        assert!(!crosses_one || ttl == 1 && !link_info.is_plain(), "{own:?} to {link_info:?}");
        let asks = matches!(kind, Kind::Ping | Kind::Query);
        assert!(!asks || self.asked.insert((guid, link)), "{own:?} to {link:?} again");
        match kind {
            Kind::Query => {
                assert!(self.requests.contains_key(&guid), "nobody searches for it");
                self.roles.own_query(link_info, own);
            }
            Kind::Push => {
                let servent = Push::decode(payload).expect("our own").servent.0;
                if !self.roles.is_client(link, &servent) {
                    self.check_way(now, &servent, link);
                }
            }
            _ => {}
        }
    }

    /// A Push for a servent may go to `link`.
    fn check_way(&self, now: Instant, servent: &[u8; 16], link: ConnId) {
        let known = self.servents.known(now, servent);
        let fits = matches!(known, Known::Surely(way) | Known::Perhaps(way) if way == Some(link));
        assert!(fits || self.doubtful.contains(servent), "a Push to {link:?}, known: {known:?}");
    }

    /// A call brought no descriptor.
    pub(super) fn told(&mut self, now: Instant, outcome: &Outcome<'_>) {
        let Outcome { queued, delta, seen, links } = outcome;
        let handled = [delta.after, delta.before].map(|s| (&s.received, &s.delivered));
        assert_eq!(handled[0], handled[1], "nothing came");
        assert_eq!(delta.reason(), None, "nothing came that could be dropped");
        delta.check(seen);
        self.made_up(now, seen);
        for (link, descriptor) in *queued {
            if !self.roles.is_step(links, *link, descriptor) {
                assert!(is_own(descriptor), "nobody asked for {descriptor:?}");
                self.originated(now, links, *link, descriptor);
            }
        }
    }

    /// A descriptor came from a peer that has not heard our last word yet: it is counted, and nothing else.
    pub(super) fn overheard(&mut self, descriptor: &Descriptor, outcome: &Outcome<'_>) {
        let Outcome { queued, delta, seen, .. } = outcome;
        assert_eq!(delta.received(descriptor.header.kind), 1, "{descriptor:?} was not counted");
        assert_eq!(delta.after.received.total() - delta.before.received.total(), 1);
        assert_eq!((delta.reason(), delta.delivered()), (Some(DropReason::Unread), 0));
        assert_eq!(*queued, [], "after the last word");
        delta.check(seen);
    }

    /// A descriptor came. `risen` says that its link came up with the same read.
    pub(super) fn arrived(&mut self, now: Instant, arrival: &Arrival<'_>, risen: bool) {
        let Arrival { from, source, descriptor, outcome, .. } = arrival;
        let Outcome { queued, delta, seen, links } = outcome;
        let Header { guid, kind, .. } = descriptor.header;
        assert_eq!(delta.received(kind), 1, "{descriptor:?} was not counted");
        assert_eq!(delta.after.received.total() - delta.before.received.total(), 1);
        delta.check(seen);
        self.made_up(now, seen);
        let (mut copies, mut answers) = (Vec::new(), Vec::new());
        for (link, queued) in *queued {
            let asked = (queued.header.guid, queued.header.kind) == (guid, kind);
            match queued {
                copy if asked && link != from => copies.push((*link, copy)),
                own if is_own(own) => {
                    let of_source = link == from && (risen || own.header.kind == EXPERIMENTAL);
                    let expected = of_source || own.header.kind == Kind::Bye;
                    assert!(expected, "nobody asked for {own:?}");
                    self.originated(now, links, *link, own);
                }
                copy if asked => copies.push((*link, copy)),
                step if self.roles.is_step(links, *link, step) => {}
                answer => answers.push((*link, answer)),
            }
        }
        let had = (&descriptor.header, &descriptor.payload[..]);
        let sent = copies.iter().map(|(link, copy)| (*link, (&copy.header, &copy.payload[..])));
        let horizon = self.config.ttl;
        let judge = |to, sent| judge_copy(source, (link_of(links, to), horizon), had, sent);
        rules::copies(*from, had.0, sent, judge).unwrap_or_else(|violation| panic!("{violation}"));
        for (link, copy) in &copies {
            self.check_horizon(copy);
            Roles::check_ttl(link_of(links, *link), copy);
        }

        let passed_on = match kind {
            // Copies of a flood come on top of what is done with it here.
            Kind::Ping | Kind::Query => 0,
            _ => copies.len() as u64 + delta.dropped(DropReason::QueueFull),
        };
        let dropped = delta.reason();
        let fates = delta.delivered() + passed_on + u64::from(dropped.is_some());
        assert_eq!(fates, 1, "{descriptor:?} is dropped for {dropped:?} and {copies:?}");

        match kind {
            Kind::Ping | Kind::Query => self.flooded(now, arrival, &copies, &answers),
            _ => assert_eq!(answers, [], "an answer to {descriptor:?}"),
        }
        match kind {
            Kind::Pong => self.pong(now, arrival, &copies),
            Kind::QueryHit => self.hit(now, arrival, &copies),
            Kind::Push => self.push(now, arrival, &copies),
            Kind::Bye | Kind::Other(_) => assert_eq!(copies, [], "never passed on"),
            Kind::Ping | Kind::Query => {}
        }
        if matches!(kind, Kind::Other(_)) {
            let answered = seen.iter().any(|seen| {
                matches!(seen, Observation::Originated { header, .. } | Observation::Refused { header, .. }
                    if (header.guid, header.kind) == (guid, EXPERIMENTAL))
            });
            if let Some(servent) = self.roles.heard(source, descriptor, answered) {
                self.doubtful.remove(&servent.0);
                self.servents.set(now, servent.0, Some(*from));
            }
        }
    }

    /// A copy goes no further than this servent lets it.
    fn check_horizon(&self, copy: &Descriptor) {
        let Header { kind, ttl, hops, .. } = copy.header;
        assert_eq!(self.config.role, Role::Servent, "a guest passes nothing on");
        let most = match kind {
            Kind::Ping | Kind::Query => self.config.ttl,
            _ => MAX_TTL_PLUS_HOPS,
        };
        assert!(ttl.saturating_add(hops) <= most, "{:?}", copy.header);
    }

    /// Whether a Ping, Query or Push is new, as the servent treats it.
    fn is_new(
        routes: &mut Routes<Way>,
        under_way: &BTreeSet<Guid>,
        now: Instant,
        arrival: &Arrival<'_>,
    ) -> bool {
        use DropReason::{Malformed, PingThrottled, QueryTooLong, TtlTooHigh};
        let guid = arrival.descriptor.header.guid.0;
        let ours = under_way.contains(&Guid(guid));
        let known = if ours { Known::Surely(None) } else { routes.known(now, &guid) };
        match (arrival.outcome.delta.reason(), known) {
            (Some(Malformed | TtlTooHigh | PingThrottled | QueryTooLong), _) => false,
            (Some(DropReason::OwnEcho), _) if ours => {
                routes.set(now, guid, None);
                false
            }
            (Some(DropReason::Duplicate), Known::Surely(Some(_)) | Known::Perhaps(Some(_))) => {
                false
            }
            (Some(DropReason::OwnEcho), Known::Surely(None) | Known::Perhaps(None)) => false,
            (Some(reason @ (DropReason::Duplicate | DropReason::OwnEcho)), _) => {
                panic!("{reason}, but it is {known:?}")
            }
            (_, Known::Surely(from)) => panic!("taken for new, but known from {from:?}"),
            (_, Known::Perhaps(_) | Known::Not) => {
                routes.set(now, guid, Some(arrival.from));
                true
            }
        }
    }

    fn flooded(
        &mut self,
        now: Instant,
        arrival: &Arrival<'_>,
        copies: &[(ConnId, &Descriptor)],
        answers: &[(ConnId, &Descriptor)],
    ) {
        let header = arrival.descriptor.header;
        let query = header.kind == Kind::Query;
        let dropped = arrival.outcome.delta.reason();
        if query && arrival.source.is_leaf() && header.hops > 0 {
            let refused = matches!(dropped, Some(DropReason::Malformed | DropReason::NotRouting));
            assert!(refused, "a leaf passed on {header:?}");
            assert_eq!((copies, answers), (&[][..], &[][..]), "of {header:?}");
            return;
        }
        let routes = if query { &mut self.queries } else { &mut self.pings };
        if !Watch::is_new(routes, &self.under_way, now, arrival) {
            assert_eq!((copies, answers), (&[][..], &[][..]), "of {header:?}");
            return;
        }
        self.check_flood(arrival, copies);
        let elsewhere = answers.iter().find(|(link, _)| *link != arrival.from);
        assert_eq!(elsewhere, None, "an answer to somebody else");
        let answers = answers.iter().map(|(_, answer)| *answer);
        if query {
            self.check_hits(arrival, answers);
        } else {
            self.check_pongs(now, arrival, answers);
        }
    }

    /// A flood goes to all links that it is for, if their queues have room. A Ping is not flooded if it
    /// can be answered from the cache.
    fn check_flood(&mut self, arrival: &Arrival<'_>, copies: &[(ConnId, &Descriptor)]) {
        let Arrival { source, descriptor, links, outcome, .. } = arrival;
        let header = descriptor.header;
        let query = header.kind == Kind::Query;
        if query && source.is_leaf() && self.roles.forwards(source) {
            self.roles.search(source, descriptor);
        }
        let further = header.ttl > 1 && self.config.ttl > header.hops.saturating_add(1);
        let is_target = |link: &&LinkInfo| match query {
            true => self.roles.goes_to(source, link, descriptor),
            false => {
                let floods = further && self.roles.forwards(source) && !copies.is_empty();
                floods && link.conn != source.conn && link.is_plain()
            }
        };
        let targets: Vec<ConnId> = links.iter().filter(is_target).map(|link| link.conn).collect();
        let (mut reached, mut others) = (0, Vec::new());
        for (link, copy) in copies {
            match targets.contains(link) {
                true => reached += 1,
                false => others.push((*link, *copy)),
            }
        }
        for (link, copy) in others {
            assert!(query && self.roles.is_step(outcome.links, link, copy), "{copy:?} to {link:?}");
        }
        let refused = usize::try_from(outcome.delta.dropped(DropReason::QueueFull)).expect("few");
        let all = reached == targets.len() || reached + refused >= targets.len();
        assert!(all, "{reached} copies of {header:?} for {targets:?}");
    }

    fn check_hits<'a>(&self, arrival: &Arrival<'_>, answers: impl Iterator<Item = &'a Descriptor>) {
        let asked = arrival.descriptor.header;
        let mut results = 0;
        for answer in answers {
            let expected = Header {
                kind: Kind::QueryHit,
                ttl: asked.hops + 2,
                hops: 0,
                payload_len: answer.header.payload_len,
                ..asked
            };
            assert_eq!(answer.header, expected);
            assert!(answer.payload.len() <= self.config.limits.hit_payload_bytes);
            let hit = QueryHit::decode(&answer.payload).expect("our own");
            assert_eq!(hit.servent, IDENTITY);
            for result in hit.results() {
                let entry = arrival.library.get(result.index).expect("is shared");
                assert_eq!(entry.name.as_bytes(), result.name);
            }
            results += usize::from(hit.count);
        }
        assert!(results <= self.config.limits.results_per_query, "{results} results");
    }

    fn check_pongs<'a>(
        &self,
        now: Instant,
        arrival: &Arrival<'_>,
        answers: impl Iterator<Item = &'a Descriptor>,
    ) {
        let asked = arrival.descriptor.header;
        let (mut cached, mut told_of) = (0, BTreeSet::new());
        for answer in answers {
            let Header { guid, kind, ttl, hops, .. } = answer.header;
            assert_eq!((guid, kind), (asked.guid, Kind::Pong));
            assert!(ttl > asked.hops, "a Pong that cannot cover its way back");
            if hops == 0 {
                assert_eq!(ttl, asked.hops + 1);
                continue;
            }
            cached += 1;
            let pong = Pong::decode(&answer.payload).expect("our own");
            assert!(told_of.insert(pong.addr), "{} is told of twice", pong.addr);
            assert!(ttl + hops <= self.config.ttl, "{:?}", answer.header);
            let sources = arrival.links.iter().filter(|link| link.conn != arrival.from);
            let known = sources.flat_map(|link| self.pongs_of(now, link.conn)).any(|known| {
                let told = (known.addr, known.files, known.kib, known.hops + 1);
                told == (pong.addr, pong.files, pong.kib, hops)
            });
            assert!(known, "nobody said {pong:?}");
        }
        assert!(cached <= self.config.limits.pongs_per_link, "{cached} Pongs");
    }

    /// What may be passed on of what a link has said.
    fn pongs_of(&self, now: Instant, link: ConnId) -> impl Iterator<Item = &CachedPong> {
        let age = self.config.limits.pong_age;
        let of_link = self.pongs.iter().filter(move |(_, from, _)| *from == link);
        of_link.filter(move |(at, ..)| now.since(*at) < age).map(|(_, _, pong)| pong)
    }

    /// Where an id came from, as far as can be told.
    fn known(&self, routes: &Routes<Way>, now: Instant, guid: Guid) -> Known<Way> {
        match self.under_way.contains(&guid) {
            true => Known::Surely(None),
            false => routes.known(now, &guid.0),
        }
    }

    /// What goes back a recorded way goes there and nowhere else, if it is sure that there is one.
    fn check_reply(
        &self,
        arrival: &Arrival<'_>,
        known: Known<Way>,
        copies: &[(ConnId, &Descriptor)],
        may_go: bool,
    ) {
        for (link, copy) in copies {
            let way =
                matches!(known, Known::Surely(way) | Known::Perhaps(way) if way == Some(*link));
            assert!(way, "{copy:?} to {link:?}, known: {known:?}");
        }
        let Header { ttl, hops, .. } = arrival.descriptor.header;
        let further = ttl > 1 && hops < MAX_TTL_PLUS_HOPS - 1;
        if let Known::Surely(Some(way)) = known
            && may_go
            && further
            && self.config.role == Role::Servent
            && way != arrival.from
            && arrival.links.iter().any(|link| link.conn == way)
        {
            let refused = arrival.outcome.delta.dropped(DropReason::QueueFull);
            assert_eq!(copies.len() as u64 + refused, 1, "a reply that does not go back");
        }
    }

    fn pong(&mut self, now: Instant, arrival: &Arrival<'_>, copies: &[(ConnId, &Descriptor)]) {
        use DropReason::{BackToSource, Malformed, NoRoute, OutOfScope, PongThrottled, TtlTooHigh};
        let header = arrival.descriptor.header;
        let dropped = arrival.outcome.delta.reason();
        let known = self.known(&self.pings, now, header.guid);
        let may_go = !matches!(dropped, Some(Malformed | TtlTooHigh | OutOfScope | PongThrottled));
        let may_go = may_go && !arrival.source.is_leaf();
        assert!(may_go || copies.is_empty(), "a Pong that may not go on");
        self.check_reply(arrival, known, copies, may_go);
        let unasked = matches!(dropped, Some(NoRoute | BackToSource | PongThrottled));
        if unasked || matches!(dropped, Some(Malformed | TtlTooHigh)) {
            return;
        }
        let pong = Pong::decode(&arrival.descriptor.payload).expect("is not malformed");
        if self.config.scope.allows(pong.addr) && !arrival.source.is_leaf() {
            let cached =
                CachedPong { addr: pong.addr, files: pong.files, kib: pong.kib, hops: header.hops };
            let age = self.config.limits.pong_age;
            self.pongs.retain(|(at, ..)| now.since(*at) < age);
            self.pongs.push((now, arrival.from, cached));
        }
    }

    fn hit(&mut self, now: Instant, arrival: &Arrival<'_>, copies: &[(ConnId, &Descriptor)]) {
        use DropReason::{BackToSource, ForgedHit, Malformed, NoRoute, RepeatedHit, TtlTooHigh};
        let dropped = arrival.outcome.delta.reason();
        let known = self.known(&self.queries, now, arrival.descriptor.header.guid);
        let unreadable = matches!(dropped, Some(Malformed | TtlTooHigh | ForgedHit));
        let repeated = dropped == Some(RepeatedHit);
        self.check_reply(arrival, known, copies, !unreadable && !repeated);
        if unreadable || dropped == Some(BackToSource) {
            return;
        }
        let first =
            self.hits.insert((arrival.descriptor.header.guid, arrival.descriptor.payload.clone()));
        assert!(!repeated || !first, "a hit that never came before");
        let hit = QueryHit::decode(&arrival.descriptor.payload).expect("is not malformed");
        assert!(hit.servent != IDENTITY && !hit.servent.is_blank(), "forged");
        match (dropped, known) {
            // To a search that ended, or to none.
            (Some(NoRoute), Known::Perhaps(None)) => {
                self.doubtful.insert(hit.servent.0);
            }
            (Some(NoRoute), Known::Not | Known::Perhaps(Some(_)) | Known::Surely(Some(_))) => {
                return;
            }
            _ => {
                self.doubtful.remove(&hit.servent.0);
            }
        }
        self.servents.set(now, hit.servent.0, Some(arrival.from));
    }

    fn push(&mut self, now: Instant, arrival: &Arrival<'_>, copies: &[(ConnId, &Descriptor)]) {
        if !Watch::is_new(&mut self.pushes, &BTreeSet::new(), now, arrival) {
            assert_eq!(copies, [], "a Push twice");
            return;
        }
        let push = Push::decode(&arrival.descriptor.payload).expect("is not malformed");
        if push.servent == IDENTITY {
            assert_eq!(copies, [], "it is for us");
            if arrival.outcome.delta.delivered() == 1 {
                self.connects_for_push(now, *push.addr.ip());
            }
        } else if self.doubtful.contains(&push.servent.0) {
            assert!(copies.len() <= 1);
        } else {
            let known = self.servents.known(now, &push.servent.0);
            self.check_reply(arrival, known, copies, true);
        }
    }

    /// A file was fetched on a connection made for a Push, which no longer counts.
    pub(super) fn led_to_download(&mut self, ip: Ipv4Addr) {
        if let Some(at) = self.pushed.iter().position(|(_, other)| *other == ip) {
            self.pushed.remove(at);
        }
    }

    fn connects_for_push(&mut self, now: Instant, ip: Ipv4Addr) {
        let limits = &self.config.limits;
        self.pushed.push((now, ip));
        self.pushed.retain(|(at, _)| now.since(*at) < limits.push_window);
        let same = self.pushed.iter().filter(|(_, other)| *other == ip).count();
        assert!(same <= limits.pushes_per_address, "{same} connections to {ip}");
        assert!(self.pushed.len() <= limits.pushes_in_all, "{} connections", self.pushed.len());
    }
}

/// Whether the servent originated it: forwarded descriptors have crossed a link, and answers are of
/// other kinds.
fn is_own(descriptor: &Descriptor) -> bool {
    let Header { kind, hops, .. } = descriptor.header;
    let answers = matches!(kind, Kind::Pong | Kind::QueryHit);
    hops == 0 && !answers
}

/// A copy from one link to another: between two 0.4 links nothing is changed, and a leaf gets what came
/// with the last TTL as it is.
fn judge_copy(
    source: &LinkInfo,
    (link, horizon): (&LinkInfo, u8),
    had: (&Header, &[u8]),
    sent: (&Header, &[u8]),
) -> Result<(), Violation> {
    let travel = |header: &Header| (header.ttl, header.hops);
    // What may cross no further link still goes to leaves, as it is.
    let is_last_hop = had.0.ttl == 1 || had.0.ttl > 1 && had.0.hops.saturating_add(1) >= horizon;
    if source.is_plain() && link.is_plain() {
        rules::copy(had, sent)
    } else if link.is_leaf() && is_last_hop && travel(sent.0) == (1, had.0.hops) {
        rules::same_meaning(had, sent)
    } else {
        rules::copy_across(had, sent)
    }
}
