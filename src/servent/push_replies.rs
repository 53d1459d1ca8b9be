//! Limits on connections made because a Push asked for them.
//!
//! The sender of a Push names the address we connect to, so it must not become a weapon: few
//! connections per address and in all, no retries, and none for a while to an address where nothing
//! listened. A connection on which a file was fetched no longer counts: its address has shown that
//! it wants it.

use crate::config::Limits;
use crate::time::Instant;
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};

/// Recent connections for Pushes, and what came of them.
#[derive(Debug, Default)]
pub(super) struct PushReplies {
    /// Connections within the last window, oldest first, without those on which a file was
    /// fetched.
    recent: VecDeque<(Instant, Ipv4Addr)>,
    /// Addresses at which nothing listened, and until when they are left alone, in that order. No
    /// more of them than connections are made in that time.
    failed: VecDeque<(Instant, SocketAddrV4)>,
}

impl PushReplies {
    /// Nothing listened at `addr`: it is left alone until then.
    pub(super) fn failed(&mut self, until: Instant, addr: SocketAddrV4) {
        self.failed.push_back((until, addr));
    }

    /// A file was fetched on a connection made for a Push.
    pub(super) fn led_to_download(&mut self, ip: Ipv4Addr) {
        if let Some(at) = self.recent.iter().position(|(_, target)| *target == ip) {
            self.recent.remove(at);
        }
    }

    /// Whether one more connection may be made, to `addr`; then it counts.
    pub(super) fn admit(&mut self, now: Instant, addr: SocketAddrV4, limits: &Limits) -> bool {
        let ip = *addr.ip();
        while self.failed.front().is_some_and(|(until, _)| *until <= now) {
            self.failed.pop_front();
        }
        if self.failed.iter().any(|(_, target)| *target == addr) {
            return false;
        }
        while self.recent.front().is_some_and(|(at, _)| now.since(*at) >= limits.push_window) {
            self.recent.pop_front();
        }
        let same = self.recent.iter().filter(|(_, target)| *target == ip).count();
        if same >= limits.pushes_per_address || self.recent.len() >= limits.pushes_in_all {
            return false;
        }
        self.recent.push_back((now, ip));
        true
    }
}
