//! What both sides of a link agree on before it stands: the dialect, who is what, how bytes are coded.
//!
//! 0.4 agrees on nothing: a line each way. In 0.6 the dialling side says what it is, the accepting side
//! what it is and whether it goes on, and the dialling side confirms. What this servent says of itself
//! stands in [`Servent::describe`], and nowhere else.

use super::Servent;
use super::connection::{
    Connection, Established, Handshake, Link, Origin, PeerInfo, PeerRole, Phase, Progress, Terms,
};
use super::dialer::LearntHost;
use super::io::{CloseReason, ConnId, Event};
use super::observe::Observation;
use crate::config::Role;
use crate::time::Instant;
use crate::wire::Dialect;
use crate::wire::handshake::HandshakeError;
use crate::wire::handshake06::{FirstLine, Headers, Leg, Version};
use std::net::{Ipv4Addr, SocketAddrV4};

/// Our program, as others see it.
const AGENT: &str = concat!("servent/", env!("CARGO_PKG_VERSION"));
/// Addresses in one header of ours, and taken from one header of a peer (gtk-gnutella sends 10).
const MAX_TRY: usize = 10;
/// Addresses in the answer to a crawler, of each kind: the answer stays below the limit of a leg.
const MAX_CRAWLED: usize = 200;
/// How long a servent says it bans us, at most.
const MAX_REST_SECONDS: u32 = 3_600;

impl Servent {
    /// The TCP connection of a dial stands: says the first words.
    pub(super) fn begin_handshake(&mut self, now: Instant, id: ConnId, dialect: Dialect) {
        let Some(conn) = self.links.get(id) else { return };
        let (remote, local_ip) = (conn.remote, conn.local_ip);
        self.dialer.begin_handshake(now, remote);
        let (handshake, opening) = match dialect {
            Dialect::V0_4 => {
                let (handshake, opening) = Handshake::dial_04();
                (handshake, opening.to_vec())
            }
            Dialect::V0_6 => {
                let headers = self.describe(remote, local_ip);
                let mut opening = Vec::new();
                Leg { first: FirstLine::Connect(Version::V06), headers }.write(&mut opening);
                (Handshake::dial_06(), opening)
            }
        };
        if let Some(conn) = self.links.get_mut(id) {
            conn.queue.push_handshake(&opening);
            conn.phase = Phase::Handshaking(Box::new(handshake));
        }
        self.list_ready(id);
    }

    /// The peer has said more.
    pub(super) fn advance_handshake(
        &mut self,
        now: Instant,
        id: ConnId,
        progress: Result<Progress, HandshakeError>,
    ) {
        match progress {
            Ok(Progress::NeedMore) => {}
            Ok(Progress::Offered) => self.grant(now, id),
            Ok(Progress::Complete(established)) => match self.room(id, PeerRole::Servent) {
                Ok(()) => self.establish(now, id, established),
                Err(reason) => self.close(now, id, reason),
            },
            Ok(Progress::Asked(headers)) => self.answer_request(now, id, &headers),
            Ok(Progress::Answered(headers)) => self.confirm(now, id, &headers),
            Ok(Progress::Confirmed(headers)) => self.conclude(now, id, &headers),
            Ok(Progress::Refused { code, text, headers }) => {
                self.learn_tries(now, &headers);
                let rest_seconds = rest_asked(&text, &headers);
                self.close(now, id, CloseReason::Declined { code, text, rest_seconds });
            }
            Err(HandshakeError::Leg(error)) if self.owes_an_answer(id) => {
                let first = error.status();
                let reason = CloseReason::Handshake(HandshakeError::Leg(error));
                self.refuse(now, id, first, Headers::default(), reason);
            }
            Err(error) => self.close(now, id, CloseReason::Handshake(error)),
        }
    }

    /// Whether the peer has asked for a link and was not answered yet.
    fn owes_an_answer(&self, id: ConnId) -> bool {
        let Some(conn) = self.links.get(id) else { return false };
        let Phase::Handshaking(handshake) = &conn.phase else { return false };
        conn.origin == Origin::Inbound && handshake.terms.is_none()
    }

    /// 0.4 knows no refusal but to close.
    fn grant(&mut self, now: Instant, id: ConnId) {
        if let Err(reason) = self.room(id, PeerRole::Servent) {
            return self.close(now, id, reason);
        }
        let Some(conn) = self.links.get_mut(id) else { return };
        let Phase::Handshaking(handshake) = &mut conn.phase else { return };
        let (answer, established) = handshake.grant();
        conn.queue.push_handshake(answer);
        self.establish(now, id, established);
    }

    /// Whether a connection may become a link with a peer of this role.
    ///
    /// # Errors
    /// Why not.
    fn room(&self, id: ConnId, role: PeerRole) -> Result<(), CloseReason> {
        let conn = self.links.get(id).ok_or(CloseReason::Full)?;
        let (inbound, ip) = (conn.origin == Origin::Inbound, *conn.remote.ip());
        let (held, most) = match role {
            PeerRole::Leaf => (self.links.leaves(), self.config.max_leaves),
            _ => (self.links.neighbours(), self.config.max_links),
        };
        let most_with_ip = self.config.per_address(self.config.limits.links_per_address);
        match self.config.role {
            Role::Leaf | Role::Guest if inbound => Err(CloseReason::Shielded),
            Role::Leaf | Role::Guest if role == PeerRole::Leaf => {
                Err(CloseReason::Handshake(HandshakeError::NoUltrapeer))
            }
            Role::Leaf if role == PeerRole::Servent => {
                Err(CloseReason::Handshake(HandshakeError::NoUltrapeer))
            }
            _ if held >= most => Err(CloseReason::Full),
            _ if inbound && self.links.links_with_ip(ip) >= most_with_ip => Err(CloseReason::Full),
            _ => Ok(()),
        }
    }

    /// A 0.6 peer asks for a link.
    fn answer_request(&mut self, now: Instant, id: ConnId, headers: &Headers) {
        let Some(conn) = self.links.get(id) else { return };
        let (remote, local_ip) = (conn.remote, conn.local_ip);
        if headers.get("Crawler").is_some() {
            return self.answer_crawler(now, id);
        }
        let peer = PeerInfo::read(headers, *remote.ip());
        let mut room = self.room(id, peer.role);
        // There may be room for it as a leaf still.
        let must_be_leaf = room == Err(CloseReason::Full)
            && peer.role == PeerRole::Ultrapeer
            && self.room(id, PeerRole::Leaf).is_ok();
        if must_be_leaf {
            room = Ok(());
        }
        if let Err(reason) = room {
            let text = match reason {
                CloseReason::Shielded => "Shielded leaf node",
                _ => "All link slots are taken",
            };
            let tries = self.tries(remote);
            return self.refuse(now, id, FirstLine::status(503, text), tries, reason);
        }
        let mut answer = self.describe(remote, local_ip);
        let wanted = self.links.neighbours() + 1 < self.config.max_links && !must_be_leaf;
        answer.add("X-Ultrapeer-Needed", truth(wanted));
        let deflates = self.config.compress && headers.accepts_deflate();
        if deflates {
            answer.add("Content-Encoding", "deflate");
        }
        self.add_tries(&mut answer, remote);
        let mut bytes = Vec::new();
        Leg { first: FirstLine::ok(), headers: answer }.write(&mut bytes);
        let Some(conn) = self.links.get_mut(id) else { return };
        conn.queue.push_handshake(&bytes);
        if let Phase::Handshaking(handshake) = &mut conn.phase {
            handshake.answered(Terms { peer, must_be_leaf, deflates });
        }
        self.list_ready(id);
        // The last leg may have come in the same segment.
        let Some(Phase::Handshaking(handshake)) =
            self.links.get_mut(id).map(|conn| &mut conn.phase)
        else {
            return;
        };
        let progress = handshake.handle_bytes(&[]);
        self.advance_handshake(now, id, progress);
    }

    /// The servent that was dialled goes on: says the last word.
    fn confirm(&mut self, now: Instant, id: ConnId, headers: &Headers) {
        let Some(conn) = self.links.get(id) else { return };
        let remote = conn.remote;
        self.learn_tries(now, headers);
        let mut peer = PeerInfo::read(headers, *remote.ip());
        if let Err(reason) = self.room(id, peer.role) {
            let refusal = match reason {
                CloseReason::Full => FirstLine::status(503, "All link slots are taken"),
                _ => FirstLine::status(503, "Shielded leaf node"),
            };
            let tries = self.tries(remote);
            return self.refuse(now, id, refusal, tries, reason);
        }
        let is_alone = self.links.iter().next().is_none();
        let not_needed = headers.truth("X-Ultrapeer-Needed") == Some(false);
        // Links that rely on us to forward are not given up for one more.
        let steps_down = not_needed && is_alone && peer.role == PeerRole::Ultrapeer;
        let is_leaf = steps_down || self.config.role != Role::Servent;
        peer.is_our_ultrapeer = is_leaf && peer.role == PeerRole::Ultrapeer;
        let mut last = Headers::default();
        last.add("X-Ultrapeer", truth(!is_leaf));
        let deflates = self.config.compress && headers.accepts_deflate();
        if deflates {
            last.add("Content-Encoding", "deflate");
        }
        let mut bytes = Vec::new();
        Leg { first: FirstLine::ok(), headers: last }.write(&mut bytes);
        let Some(conn) = self.links.get_mut(id) else { return };
        conn.queue.push_handshake(&bytes);
        let Phase::Handshaking(handshake) = &mut conn.phase else { return };
        let rest = handshake.take_rest();
        let inflates = self.config.compress && headers.announces_deflate();
        self.establish(now, id, Established { peer, inflates, deflates, rest });
    }

    /// The peer has confirmed: the link stands if it is what was agreed on.
    fn conclude(&mut self, now: Instant, id: ConnId, headers: &Headers) {
        let Some(conn) = self.links.get_mut(id) else { return };
        let Phase::Handshaking(handshake) = &mut conn.phase else { return };
        let Some(terms) = handshake.terms.take() else { return };
        let rest = handshake.take_rest();
        let Terms { mut peer, must_be_leaf, deflates } = *terms;
        if headers.truth("X-Ultrapeer") == Some(false) {
            peer.role = PeerRole::Leaf;
        }
        // Others may have taken the room meanwhile.
        let room = match (must_be_leaf, peer.role) {
            (true, role) if role != PeerRole::Leaf => {
                Err(CloseReason::Handshake(HandshakeError::NoLeaf))
            }
            (_, role) => self.room(id, role),
        };
        match room {
            Ok(()) => {
                let inflates = self.config.compress && headers.announces_deflate();
                self.establish(now, id, Established { peer, inflates, deflates, rest });
            }
            Err(reason) => self.close(now, id, reason),
        }
    }

    /// What this servent says of itself to a peer.
    fn describe(&self, remote: SocketAddrV4, local_ip: Ipv4Addr) -> Headers {
        let mut headers = Headers::default();
        headers.add("User-Agent", AGENT);
        // Port 0 says that nothing listens.
        headers.add("Listen-IP", &self.dialer.advertised(local_ip).to_string());
        headers.add("Remote-IP", &remote.ip().to_string());
        let routes = self.config.role == Role::Servent;
        headers.add("X-Ultrapeer", truth(routes));
        headers.add("X-Query-Routing", "0.1");
        if routes {
            headers.add("X-Ultrapeer-Query-Routing", "0.1");
            headers.add("X-Degree", &self.config.max_links.to_string());
            headers.add("X-Dynamic-Querying", "0.1");
        }
        headers.add("X-Max-TTL", &self.config.ttl.to_string());
        headers.add("GGEP", "0.5");
        headers.add("Pong-Caching", "0.1");
        headers.add("Bye-Packet", "0.1");
        headers.add("Vendor-Message", "0.1");
        if self.config.compress {
            headers.add("Accept-Encoding", "deflate");
        }
        headers
    }

    /// Where `asker` may try instead: ultrapeers, and other hosts. Never leaves.
    fn tries(&self, asker: SocketAddrV4) -> Headers {
        let mut headers = Headers::default();
        self.add_tries(&mut headers, asker);
        headers
    }

    fn add_tries(&self, headers: &mut Headers, asker: SocketAddrV4) {
        let scope = self.config.scope;
        let listed = |role: PeerRole| {
            let of_role = self.links.iter().filter(move |(_, conn)| {
                let peer = conn.link().map(Link::peer);
                peer.is_some_and(|it| it.role == role && it.dialect == Dialect::V0_6)
            });
            of_role
                .filter_map(|(_, conn)| conn.listening_addr())
                .filter(move |addr| scope.allows(*addr) && *addr != asker)
        };
        let ultrapeers: Vec<_> = listed(PeerRole::Ultrapeer).take(MAX_TRY).collect();
        let leaves: Vec<_> = listed(PeerRole::Leaf).collect();
        // Whom we name is dialled with 0.6. Hosts that have answered come first.
        let hosts = self.dialer.hosts().iter().filter(|host| host.speaks != Some(Dialect::V0_4));
        let others = listed(PeerRole::Servent).chain(hosts.map(|host| host.addr));
        let others = others
            .filter(|addr| *addr != asker && !ultrapeers.contains(addr) && !leaves.contains(addr));
        let others: Vec<_> = others.take(MAX_TRY).collect();
        for (name, addrs) in [("X-Try-Ultrapeers", &ultrapeers), ("X-Try", &others)] {
            if !addrs.is_empty() {
                headers.add(name, &join(addrs));
            }
        }
    }

    /// Hosts that a peer names are dialled with 0.6, which it speaks itself. Only one that we have dialled
    /// names any: our own dials bound how many strangers can.
    fn learn_tries(&mut self, now: Instant, headers: &Headers) {
        for name in ["X-Try-Ultrapeers", "X-Try"] {
            for addr in headers.addresses(name).take(MAX_TRY) {
                let speaks = Some(Dialect::V0_6);
                self.learn_from(now, LearntHost { addr, source: None, speaks });
            }
        }
    }

    /// A crawler of the network's topology is told who our neighbours are.
    fn answer_crawler(&mut self, now: Instant, id: ConnId) {
        let mut headers = Headers::default();
        headers.add("User-Agent", AGENT);
        headers.add("X-Ultrapeer", truth(self.config.role == Role::Servent));
        for (name, leaves) in [("Peers", false), ("Leaves", true)] {
            let is_such = |conn: &&Connection| {
                let role = conn.link().map(|link| link.peer().role);
                (role == Some(PeerRole::Leaf)) == leaves
            };
            let links = self.links.iter().map(|(_, conn)| conn).filter(is_such);
            let addrs: Vec<_> =
                links.filter_map(Connection::listening_addr).take(MAX_CRAWLED).collect();
            headers.add(name, &join(&addrs));
        }
        self.refuse(now, id, FirstLine::ok(), headers, CloseReason::Crawled);
    }

    fn establish(&mut self, now: Instant, id: ConnId, established: Established) {
        let Established { peer, inflates, deflates, rest } = established;
        let (dialect, role, our_ip) = (peer.dialect, peer.role, peer.our_ip);
        let Some(key) = self.links.establish(now, id, peer) else { return };
        self.list_ready(id);
        self.set_deadline(id, now + self.config.limits.keepalive_after);
        let Some(conn) = self.links.get_mut(id) else { return };
        conn.set_coding(inflates, deflates);
        let (addr, outbound) = (conn.remote, conn.is_dialled());
        if outbound {
            self.dialer.answered(addr);
            self.dialer.proved(addr, dialect);
        }
        if let Some(ip) = our_ip {
            self.dialer.told_own_ip(addr, ip);
        }
        self.tallies.reset(id);
        self.outbox.event(Event::LinkUp { conn: id, addr, outbound, dialect, role });
        self.outbox.observe(|| Observation::LinkUp { peer: addr, outbound, dialect, role });
        self.join_modern(now, key);
        if self.config.background_pings {
            self.send_own_ping(now, key, self.config.ttl);
        }
        self.send_requests(key);
        if outbound {
            self.settle_duplicate(now, addr);
        }
        if !rest.is_empty() {
            self.handle_stream(now, id, &rest);
        }
    }
}

fn truth(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}

fn join(addrs: &[SocketAddrV4]) -> String {
    let texts: Vec<_> = addrs.iter().map(SocketAddrV4::to_string).collect();
    texts.join(", ")
}

/// How long a servent that declines wants us to stay away, in seconds: the longer of what `Retry-After`
/// says and a text such as `Banned for 5m 0s`.
fn rest_asked(text: &str, headers: &Headers) -> u32 {
    let least = headers.get("Retry-After").and_then(|value| value.parse().ok()).unwrap_or(0);
    let seconds = text.split_whitespace().filter_map(|word| {
        let at = word.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = word.split_at(at);
        let unit: u32 = match unit {
            "d" => 86_400,
            "h" => 3_600,
            "m" => 60,
            "s" => 1,
            _ => return None,
        };
        number.parse::<u32>().ok().map(|number| number.saturating_mul(unit))
    });
    seconds.fold(0, u32::saturating_add).max(least).min(MAX_REST_SECONDS)
}
