//! Vendor messages of 0.6: what the sender understands, how far it wants Queries from, whether it can be
//! reached, and push proxies. Unknown ones are ignored. They cross one link and are never forwarded.

use super::Servent;
use super::budget;
use super::connection::{Connection, Features, Link, Origin, Phase, Standing};
use super::descriptors::Source;
use super::link_key::LinkKey;
use super::push_replies::PushReplies;
use crate::stats::DropReason;
use crate::time::Instant;
use crate::wire::vendor::{EXPERIMENTAL, MessageId, VendorMeaning, VendorMessage};
use crate::wire::{Guid, Header, RawDescriptor, ServentId};
use std::collections::BTreeMap;
use std::net::SocketAddrV4;

/// No limit on the hops of Queries.
pub(super) const ANY_HOPS: u8 = 255;

/// What neighbours have asked for: Queries with fewer hops than this only. Bounded by the number of
/// links.
#[derive(Debug, Default)]
pub(super) struct HopsFlow(BTreeMap<LinkKey, u8>);

impl HopsFlow {
    /// A link ended.
    pub(super) fn forget_link(&mut self, link: LinkKey) {
        self.0.remove(&link);
    }
}

impl Servent {
    /// Tells a peer that reads vendor messages which ones we read.
    pub(super) fn introduce_messages(&mut self, target: LinkKey) {
        if !self.link_has(target, Features::VENDOR) {
            return;
        }
        let understood = [
            VendorMeaning::HopsFlow(ANY_HOPS),
            VendorMeaning::TcpConnectBack(0),
            VendorMeaning::PushProxyRequest,
            VendorMeaning::PushProxyAck(SocketAddrV4::new([0; 4].into(), 0)),
        ];
        let ids = understood.iter().map(VendorMeaning::id).collect();
        let guid = Guid::random(&mut self.rng);
        self.send_vendor_message(target, guid, &VendorMeaning::MessagesSupported(ids));
    }

    /// A vendor message arrived.
    pub(super) fn handle_vendor_message(
        &mut self,
        now: Instant,
        source: &Source,
        raw: RawDescriptor<'_>,
    ) -> Result<(), DropReason> {
        if source.standing == Standing::Plain {
            return Err(DropReason::UnknownKind);
        }
        let header = raw.header();
        let message = VendorMessage::decode(header.kind, raw.payload());
        let message = message.map_err(|_| DropReason::Malformed)?;
        self.stats.delivered.add(header.kind);
        match message.meaning() {
            Some(VendorMeaning::MessagesSupported(ids)) => self.note_messages(source, &ids),
            Some(VendorMeaning::HopsFlow(ANY_HOPS)) => {
                if let Some(flow) = self.hops_flow.get_mut() {
                    flow.forget_link(source.key);
                }
            }
            Some(VendorMeaning::HopsFlow(hops)) => {
                self.hops_flow.change().0.insert(source.key, hops);
            }
            Some(VendorMeaning::TcpConnectBack(port)) => self.connect_back(now, source, port),
            Some(VendorMeaning::PushProxyRequest) => {
                let servent = ServentId(header.guid.0);
                let own = self.become_push_proxy(now, source.key, source.standing, servent);
                if let Some(own) = own {
                    let ack = VendorMeaning::PushProxyAck(own);
                    self.send_vendor_message(source.key, header.guid, &ack);
                }
            }
            Some(VendorMeaning::PushProxyAck(addr)) => {
                self.found_push_proxy(source.id, source.key, addr);
            }
            _ => {}
        }
        Ok(())
    }

    /// A leaf asks the ultrapeers that can to be its push proxies.
    fn note_messages(&mut self, source: &Source, ids: &[MessageId]) {
        let proxies = ids.iter().any(|id| {
            let known = VendorMeaning::PushProxyRequest.id();
            (id.vendor, id.selector) == (known.vendor, known.selector)
        });
        let shares = !self.library.is_empty();
        if proxies && shares && source.standing == Standing::OurUltrapeer {
            self.await_push_proxy(source.key);
            let guid = Guid(self.identity.0);
            self.send_vendor_message(source.key, guid, &VendorMeaning::PushProxyRequest);
        }
    }

    /// A neighbour wants to know whether it can be connected to. Only its own address is tried, as rarely
    /// as the targets of Pushes are.
    fn connect_back(&mut self, now: Instant, source: &Source, port: u16) {
        let addr = SocketAddrV4::new(*source.peer.ip(), port);
        let limits = &self.config.limits;
        let admitted =
            port != 0 && PushReplies::admit(self.uploads.push_replies(), now, addr, limits);
        if admitted {
            self.budget.charge(budget::CONNECTION);
            self.dial(now, addr, Origin::Transfer, Phase::ConnectBack);
        }
    }

    /// Whether a neighbour takes Queries that have crossed so many links.
    #[inline]
    pub(super) fn takes_hops(&self, target: LinkKey, hops: u8) -> bool {
        let flow = self.hops_flow.get().and_then(|flow| flow.0.get(&target));
        flow.is_none_or(|most| hops < *most)
    }

    /// Whether the peer of a link has announced all of `features`.
    pub(super) fn link_has(&self, link: LinkKey, features: Features) -> bool {
        let peer = self.links.of(link).and_then(Connection::link).map(Link::peer);
        peer.is_some_and(|peer| peer.features.has(features))
    }

    fn send_vendor_message(&mut self, target: LinkKey, guid: Guid, meaning: &VendorMeaning) {
        let mut payload = Vec::new();
        meaning.encode(&mut payload);
        let header = Header { guid, kind: EXPERIMENTAL, ttl: 1, hops: 0, payload_len: 0 };
        let descriptor = self.encoded(header, &payload);
        self.enqueue(None, target, &descriptor);
    }
}
