//! Push proxies: ultrapeers that pass Pushes on to a leaf, whoever brings them.
//!
//! A Push that follows the way of a hit dies with the first link on it. So a leaf asks its ultrapeers to be
//! its proxies (LIME/21), names those that agree (LIME/22) in its hits (GGEP `PUSH`), and who wants one
//! of its files tells a proxy by HTTP where to connect to.

use super::Servent;
use super::connection::{Features, Standing};
use super::io::ConnId;
use super::link_key::LinkKey;
use crate::time::Instant;
use crate::wire::ggep::{self, GgepBuilder};
use crate::wire::http_head::PushProxyPath;
use crate::wire::{Guid, Header, Kind, PUSH_BYTES, Push, ServentId};
use std::net::SocketAddrV4;

/// Proxies named in a hit: a leaf has three ultrapeers.
const MAX_NAMED: usize = 4;

/// Who passes Pushes on for whom. Bounded by the number of links.
#[derive(Debug, Default)]
pub(super) struct PushProxies {
    /// Leaves that have asked us, at most one id for each.
    clients: Vec<(LinkKey, ServentId)>,
    /// Ultrapeers that we have asked, with their address once they agree.
    ours: Vec<(LinkKey, Option<SocketAddrV4>)>,
}

impl PushProxies {
    fn add_client(&mut self, link: LinkKey, servent: ServentId) {
        self.clients.retain(|(known, _)| *known != link);
        self.clients.push((link, servent));
    }

    fn client(&self, servent: ServentId) -> Option<LinkKey> {
        self.clients.iter().find(|(_, known)| *known == servent).map(|(link, _)| *link)
    }

    fn asked(&mut self, link: LinkKey) {
        if self.ours.iter().all(|(known, _)| *known != link) {
            self.ours.push((link, None));
        }
    }

    /// Only who was asked may agree.
    fn agreed(&mut self, link: LinkKey, addr: SocketAddrV4) {
        if let Some((_, known)) = self.ours.iter_mut().find(|(asked, _)| *asked == link) {
            *known = Some(addr);
        }
    }

    /// A link ended.
    pub(super) fn forget_link(&mut self, link: LinkKey) {
        self.clients.retain(|(known, _)| *known != link);
        self.ours.retain(|(known, _)| *known != link);
    }

    fn named(&self) -> impl Iterator<Item = SocketAddrV4> {
        self.ours.iter().filter_map(|(_, addr)| *addr).take(MAX_NAMED)
    }
}

impl Servent {
    /// A leaf asks to have Pushes passed on. The answer is where we can be asked to.
    pub(super) fn become_push_proxy(
        &mut self,
        now: Instant,
        link: LinkKey,
        standing: Standing,
        servent: ServentId,
    ) -> Option<SocketAddrV4> {
        let own = self.advertised_on(link);
        if standing != Standing::Leaf || servent.is_blank() || own.port() == 0 {
            return None;
        }
        self.push_proxies.change().add_client(link, servent);
        self.routing.learn_servent(now, servent, link);
        Some(own)
    }

    /// Notes that an ultrapeer is asked to be our proxy.
    pub(super) fn await_push_proxy(&mut self, link: LinkKey) {
        self.push_proxies.change().asked(link);
    }

    /// An ultrapeer passes Pushes on to us. It is believed only about itself.
    pub(super) fn found_push_proxy(&mut self, id: ConnId, link: LinkKey, addr: SocketAddrV4) {
        let is_its_own = self.links.get(id).is_some_and(|conn| conn.remote.ip() == addr.ip());
        if is_its_own && addr.port() != 0 {
            self.push_proxies.change().agreed(link, addr);
        }
    }

    /// An HTTP request on `id` asks for a Push to a leaf of ours, to be answered at `target`. Whether one
    /// is on its way. The target must be the requester's own address, or we could be used to make
    /// leaves connect to a victim.
    pub(super) fn pass_push_on(
        &mut self,
        now: Instant,
        id: ConnId,
        path: PushProxyPath,
        target: SocketAddrV4,
    ) -> bool {
        let is_own = self.links.get(id).is_some_and(|conn| conn.remote.ip() == target.ip());
        let client = self.push_proxies.get().and_then(|all| all.client(path.servent));
        let Some(link) = client.filter(|link| self.links.of(*link).is_some()) else { return false };
        if !is_own || target.port() == 0 || !self.config.scope.allows(target) {
            return false;
        }
        let guid = Guid::random(&mut self.rng);
        self.routing.originate(now, Kind::Push, &guid);
        let mut payload = Vec::with_capacity(PUSH_BYTES);
        let PushProxyPath { servent, index } = path;
        Push { servent, index, addr: target, extension: &[] }.encode(&mut payload);
        let header = Header { guid, kind: Kind::Push, ttl: 1, hops: 0, payload_len: 0 };
        let descriptor = self.encoded(header, &payload);
        self.enqueue(None, link, &descriptor)
    }

    /// The private part of a trailer for a link: the proxies of this servent, if the peer reads GGEP and
    /// there are any.
    pub(super) fn trailer_extensions(&self, target: LinkKey) -> Vec<u8> {
        let reads = self.link_has(target, Features::GGEP);
        let Some(proxies) = self.push_proxies.get().filter(|_| reads) else { return Vec::new() };
        let data = ggep::put_addresses(proxies.named());
        if data.is_empty() {
            return Vec::new();
        }
        let mut block = GgepBuilder::new();
        block.add(b"PUSH", &data);
        block.finish()
    }
}
