//! The user of a fuzzed servent: searches, pings, fetches, names hosts.

use super::generators;
use super::watched::Watched;
use crate::fuzzing::script::Script;
use crate::transfer::download::{Kept, Partial, PushVia, Source};
use crate::wire::Kind;

impl Watched {
    /// The user searches, pings, or ends a request.
    pub(super) fn ask(&mut self, script: &mut Script<'_>) {
        let (what, ttl) = (script.number(), script.number());
        let ttl = (ttl > 0).then_some(ttl);
        if what & 7 == 7 && !self.requests.is_empty() {
            let guid = self.requests.remove(usize::from(what >> 3) % self.requests.len());
            self.watch.request_ended(guid);
            return self.tell(|core, _| core.end_request(guid));
        }
        // The watch must know the GUID before it sees copies.
        let before = self.core.stats().clone();
        let (asked, kind) = if what & 1 == 0 {
            (self.core.search(self.now, generators::name(what >> 3), ttl).ok(), Kind::Query)
        } else {
            (Some(self.core.ping(self.now, ttl)), Kind::Ping)
        };
        if let Some(guid) = asked {
            self.watch.request(self.now, guid, kind);
            self.requests.push(guid);
        }
        self.told(&before);
    }

    pub(super) fn name_host(&mut self, script: &mut Script<'_>) {
        let (what, number) = (script.number(), script.number());
        match what % 4 {
            0 => self.tell(|core, now| core.add_static_peer(now, generators::addr(number % 3))),
            1 => self.tell(|core, _| core.set_advertised_port(6_346 * u16::from(number % 2))),
            _ => self.tell(|core, now| core.learn_host(now, generators::addr(number))),
        }
    }

    pub(super) fn fetch(&mut self, script: &mut Script<'_>) {
        let (how, number, what) = (script.number(), script.number(), script.number());
        // Downloads may have ended.
        self.pull();
        if let Some(&transfer) = self.downloads.first().filter(|_| how & 15 == 15) {
            self.downloads.remove(&transfer);
            return self.tell(|core, now| core.cancel_download(now, transfer));
        }
        if self.downloads.len() >= 8 {
            return;
        }
        let (servent, firewalled) = (generators::servent_id(number >> 4), how & 2 != 0);
        let source = Source {
            addr: generators::addr(number),
            index: 7,
            name: generators::name(what).to_owned(),
            size: (how & 4 != 0).then_some(5),
            push: (how & 1 != 0).then_some(PushVia { servent, ttl: 3, firewalled }),
        };
        let partial = Partial { have: 2, total: None, same_source: how & 16 != 0 };
        let kept = Kept { partial: (how & 8 != 0).then_some(partial), complete: how & 32 != 0 };
        if let Ok((transfer, _)) = self.tell(|core, now| core.download(now, source, kept)) {
            self.downloads.insert(transfer);
        }
    }
}
