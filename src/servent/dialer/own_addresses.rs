//! Our own addresses: what we tell others, and which of those we hear of are ourselves.

use crate::config::{Config, Scope};
use crate::rare::Rare;
use crate::servent::per_address::PerAddressCount;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

/// Own addresses remembered; a machine has few.
const MAX_PROVEN: usize = 16;

/// Our address as 0.6 neighbours see it.
#[derive(Debug, Default)]
struct Told {
    by: Vec<(SocketAddrV4, Ipv4Addr)>,
    /// What two of them agree on. Kept, since each address learnt is compared with it.
    agreed: Option<Ipv4Addr>,
}

impl Told {
    /// The address that two neighbours agree on: one alone could make others connect to a third.
    fn agree(&mut self, neighbours_share: bool) {
        let mut first = BTreeMap::new();
        let mut agreed = self.by.iter().filter(|(by, ip)| {
            let before = *first.entry(*ip).or_insert(*by);
            before != *by && (neighbours_share || before.ip() != by.ip())
        });
        self.agreed = agreed.next().map(|(_, ip)| *ip);
    }
}

/// Addresses under which this servent can be reached.
#[derive(Debug)]
pub(super) struct OwnAddresses {
    listen_ip: Ipv4Addr,
    advertise_ip: Option<Ipv4Addr>,
    port: u16,
    /// Addresses that were dialled and turned out to be our own.
    proven: Rare<Vec<SocketAddrV4>>,
    /// Our own ends of sockets.
    local_ips: PerAddressCount,
    told: Rare<Told>,
    /// Whether neighbours share addresses, as all do on loopback.
    neighbours_share: bool,
}

impl OwnAddresses {
    pub(super) fn new(config: &Config) -> OwnAddresses {
        OwnAddresses {
            listen_ip: config.listen_ip,
            advertise_ip: config.advertise_ip,
            port: config.advertise_port,
            proven: Rare::default(),
            local_ips: PerAddressCount::default(),
            told: Rare::default(),
            neighbours_share: config.scope == Scope::Loopback,
        }
    }

    /// A neighbour sees us at this address.
    pub(super) fn told_by(&mut self, neighbour: SocketAddrV4, ip: Ipv4Addr) {
        if Scope::may_follow(*neighbour.ip(), SocketAddrV4::new(ip, self.port.max(1))) {
            let told = self.told.change();
            told.by.push((neighbour, ip));
            told.agree(self.neighbours_share);
        }
    }

    /// A neighbour is gone, and what it told with it.
    pub(super) fn forget(&mut self, neighbour: SocketAddrV4) {
        if let Some(told) = self.told.get_mut() {
            told.by.retain(|(by, _)| *by != neighbour);
            told.agree(self.neighbours_share);
        }
    }

    fn agreed(&self) -> Option<Ipv4Addr> {
        self.told.get()?.agreed
    }

    pub(super) fn set_port(&mut self, port: u16) {
        self.port = port;
    }

    /// A socket has this local address.
    pub(super) fn add_local(&mut self, ip: Ipv4Addr) {
        if !ip.is_unspecified() {
            self.local_ips.add(ip);
        }
    }

    /// A socket with this local address is closed.
    pub(super) fn remove_local(&mut self, ip: Ipv4Addr) {
        if !ip.is_unspecified() {
            self.local_ips.remove(ip);
        }
    }

    /// Dialling this address has led back to us.
    pub(super) fn prove(&mut self, addr: SocketAddrV4) {
        let proven = self.proven.change();
        if proven.len() < MAX_PROVEN {
            proven.push(addr);
        }
    }

    pub(super) fn contains(&self, addr: SocketAddrV4) -> bool {
        let ip = *addr.ip();
        self.proven.get().is_some_and(|proven| proven.contains(&addr))
            || (addr.port() == self.port
                && (self.advertise_ip == Some(ip)
                    || self.local_ips.of(ip) > 0
                    || self.agreed() == Some(ip)))
    }

    /// See [`super::Dialer::advertised`].
    pub(super) fn advertised(&self, local_ip: Ipv4Addr) -> SocketAddrV4 {
        let listening = match self.listen_ip.is_unspecified() {
            true => self.agreed().unwrap_or(local_ip),
            false => self.listen_ip,
        };
        let out_of_reach = listening.is_loopback() && !local_ip.is_loopback();
        match self.advertise_ip {
            Some(ip) => SocketAddrV4::new(ip, self.port),
            None if out_of_reach => SocketAddrV4::new(local_ip, 0),
            None => SocketAddrV4::new(listening, self.port),
        }
    }
}
