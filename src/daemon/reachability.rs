//! Whether other servents can connect to this one, why not, and what to do about it.

use crate::control::results::Reachable;
use std::net::{Ipv4Addr, SocketAddrV4};

/// What is known of the way in.
#[derive(Clone, Debug)]
pub(super) struct WayIn {
    /// The address listened on.
    pub(super) listen: SocketAddrV4,
    /// The address others are told, if a link has shown which; port 0 means none is told.
    pub(super) advertised: Option<SocketAddrV4>,
    /// Who connected first.
    pub(super) first_inbound: Option<SocketAddrV4>,
    /// This servent's addresses as neighbours see it.
    pub(super) seen_as: Vec<Ipv4Addr>,
    /// Its own ends of links.
    pub(super) local: Vec<Ipv4Addr>,
}

impl WayIn {
    /// The answer for a user.
    pub(super) fn explain(&self) -> Reachable {
        let seen_as = self.seen_as.iter().map(Ipv4Addr::to_string).collect();
        Reachable {
            inbound_seen: self.first_inbound.is_some(),
            inbound_from: self.first_inbound.map(|from| from.to_string()),
            seen_as,
            reason: self.reason(),
        }
    }

    fn reason(&self) -> String {
        let (listen, port) = (self.listen, self.listen.port());
        let is_here = |ip: Ipv4Addr| ip.is_loopback() || self.local.contains(&ip);
        if listen.ip().is_loopback() {
            return match self.local.iter().find(|ip| !ip.is_loopback()) {
                Some(ip) => format!(
                    "listening on {listen}, which only this machine can connect to, while neighbours are \
                     elsewhere; to be reached, listen with --listen {ip}:{port} or --listen 0.0.0.0:{port}"
                ),
                None => format!(
                    "listening on {listen}: servents on this machine can connect; for others, listen with \
                     --listen 0.0.0.0:{port}"
                ),
            };
        }
        if let Some(from) = self.first_inbound.filter(|from| !is_here(*from.ip())) {
            return format!("{from} has connected to this servent");
        }
        let told = self.advertised.filter(|told| told.port() != 0);
        if let Some(told) = told
            && let Some(seen) = self.seen_as.iter().find(|ip| *ip != told.ip())
        {
            return format!(
                "no other machine has connected; neighbours see this servent at {seen}, but it tells \
                 others {told}: forward TCP port {port} of the router to this machine and give \
                 --advertise {seen}"
            );
        }
        let Some(told) = told else {
            return "no other machine has connected: there is no link that would show the address"
                .into();
        };
        format!(
            "no other machine has connected to {told} so far; if none ever does, a firewall or router \
             stands between: open TCP port {port}, or forward it to this machine"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way() -> WayIn {
        WayIn {
            listen: "0.0.0.0:6346".parse().unwrap(),
            advertised: Some("10.0.0.7:6346".parse().unwrap()),
            first_inbound: None,
            seen_as: vec![],
            local: vec!["10.0.0.7".parse().unwrap()],
        }
    }

    #[test]
    fn each_case_says_why_and_what_to_do() {
        let far: SocketAddrV4 = "10.0.0.9:4000".parse().unwrap();
        let here: SocketAddrV4 = "10.0.0.7:4000".parse().unwrap();
        let loopback: SocketAddrV4 = "127.0.0.1:6346".parse().unwrap();
        let seen = vec!["5.6.7.8".parse().unwrap()];
        let cases = [
            (way(), "open TCP port 6346"),
            (WayIn { first_inbound: Some(far), ..way() }, "10.0.0.9:4000 has connected"),
            (WayIn { first_inbound: Some(here), ..way() }, "no other machine"),
            (WayIn { seen_as: seen.clone(), ..way() }, "--advertise 5.6.7.8"),
            (WayIn { seen_as: vec!["10.0.0.7".parse().unwrap()], ..way() }, "open TCP port"),
            (WayIn { advertised: None, local: vec![], ..way() }, "no link"),
            (WayIn { listen: loopback, ..way() }, "--listen 10.0.0.7:6346"),
            (
                WayIn { listen: loopback, local: vec![*loopback.ip()], ..way() },
                "servents on this machine",
            ),
        ];
        for (way, said) in cases {
            let told = way.explain();
            assert!(told.reason.contains(said), "{way:?}: {}", told.reason);
            assert_eq!(told.inbound_seen, way.first_inbound.is_some());
        }
    }
}
