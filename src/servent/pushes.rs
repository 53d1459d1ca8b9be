//! Pushes for us: connecting to the address they name, and saying GIV.
//!
//! The sender of a Push names the address we connect to, so it must not become a weapon: few
//! connections per address and in all, addresses in scope only, nothing on port 0, no retries, and
//! none for a while where nothing listened. A connection on which a file was fetched no longer
//! counts: its address has shown that it wants it.

use super::connection::Phase;
use super::io::{ConnId, Output};
use super::{Servent, budget};
use crate::config::Config;
use crate::stats::DropReason;
use crate::time::Instant;
use crate::transfer::upload::{Upload, UploadLimits};
use crate::wire::giv::Giv;
use crate::wire::{Kind, Push};
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};

/// What came of Pushes lately.
#[derive(Debug, Default)]
pub(super) struct PushLog {
    /// The connections made for them within the last window, oldest first, without those on
    /// which a file was fetched.
    recent: VecDeque<(Instant, Ipv4Addr)>,
    /// Addresses at which nothing listened, and until when they are left alone, in that order. No
    /// more of them than connections are made in that time.
    failed: VecDeque<(Instant, SocketAddrV4)>,
}

impl PushLog {
    pub(super) fn failed(&mut self, until: Instant, addr: SocketAddrV4) {
        self.failed.push_back((until, addr));
    }

    /// A file was fetched on a connection made for a Push.
    pub(super) fn led_to_download(&mut self, ip: Ipv4Addr) {
        if let Some(at) = self.recent.iter().position(|(_, target)| *target == ip) {
            self.recent.remove(at);
        }
    }
}

impl Servent {
    /// A Push for us: connects to whom it names and says GIV.
    pub(super) fn answer_push(&mut self, now: Instant, push: &Push<'_>) -> Result<(), DropReason> {
        if self.library.is_empty() {
            return Err(DropReason::PushNotServed);
        }
        if !self.config.scope.allows(push.addr) {
            return Err(DropReason::OutOfScope);
        }
        if !self.admit_push(now, push.addr) {
            return Err(DropReason::PushThrottled);
        }
        let name = self.library.get(push.index).map_or("", |entry| entry.name).to_owned();
        let mut line = Vec::new();
        Giv { index: push.index, servent_id: self.identity.0, name }.write(&mut line);
        let phase = Phase::Giving(line.into_boxed_slice());
        self.budget.charge(budget::CONNECTION);
        let conn = self
            .open(now, push.addr, None, Ipv4Addr::UNSPECIFIED, phase)
            .ok_or(DropReason::PushThrottled)?;
        self.outputs.push_back(Output::Connect { conn, addr: push.addr });
        self.stats.delivered.add(Kind::Push);
        Ok(())
    }

    /// The connection a Push asked for stands: announces us and waits for requests.
    pub(super) fn give(&mut self, now: Instant, id: ConnId, line: Vec<u8>) {
        let upload = Upload::giving(now, UploadLimits::default(), line);
        self.begin_upload(now, id, upload);
    }

    fn admit_push(&mut self, now: Instant, addr: SocketAddrV4) -> bool {
        let (limits, ip) = (&self.config.limits, *addr.ip());
        let PushLog { recent, failed } = &mut self.push_log;
        while failed.front().is_some_and(|(until, _)| *until <= now) {
            failed.pop_front();
        }
        if failed.iter().any(|(_, target)| *target == addr) {
            return false;
        }
        while recent.front().is_some_and(|(at, _)| now.since(*at) >= limits.push_window) {
            recent.pop_front();
        }
        let same = recent.iter().filter(|(_, target)| *target == ip).count();
        if same >= limits.pushes_per_address || recent.len() >= limits.pushes_in_all {
            return false;
        }
        recent.push_back((now, ip));
        true
    }

    /// The address given to others from now on names this port: a guest opens its listening
    /// socket only when it has a link.
    pub fn set_advertised_port(&mut self, port: u16) {
        self.advertised_port = port;
    }

    /// The address we give to others on a connection whose end here is `local_ip`. Port 0 says that
    /// none can be connected to: loopback is listened on, and the link leads elsewhere.
    pub(super) fn advertised(&self, local_ip: Ipv4Addr) -> SocketAddrV4 {
        let Config { listen_ip, advertise_ip, .. } = *self.config;
        let listening = if listen_ip.is_unspecified() { local_ip } else { listen_ip };
        let out_of_reach = listening.is_loopback() && !local_ip.is_loopback();
        match advertise_ip {
            Some(ip) => SocketAddrV4::new(ip, self.advertised_port),
            None if out_of_reach => SocketAddrV4::new(local_ip, 0),
            None => SocketAddrV4::new(listening, self.advertised_port),
        }
    }
}
