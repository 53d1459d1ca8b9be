//! The settings of a servent, [`Config`], and the bounds on what it holds, [`Limits`].

use crate::wire::Dialect;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

/// Which learnt addresses may be dialled and passed on. Does not restrict addresses that the user
/// names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// 127.0.0.0/8.
    Loopback,
    /// RFC 1918, link-local 169.254/16 and carrier-grade 100.64/10.
    Private,
    /// Globally routable addresses.
    Public,
}

impl Scope {
    /// The scope a listening address suggests.
    pub fn of_listener(ip: Ipv4Addr) -> Scope {
        if ip.is_unspecified() {
            return Scope::Private;
        }
        [Scope::Loopback, Scope::Private].into_iter().find(|s| s.holds(ip)).unwrap_or(Scope::Public)
    }

    /// Whether `addr` may be dialled and passed on. Port 0, 0.0.0.0, multicast and broadcast
    /// never may.
    pub fn allows(self, addr: SocketAddrV4) -> bool {
        addr.port() != 0 && self.holds(*addr.ip())
    }

    /// Whether a guest, which has no scope of its own, may connect to an address in a hit: it must be at
    /// least as public as the address of the neighbour the hit came from. So a hit from another
    /// machine cannot name a port of this one.
    pub fn may_follow(near: Ipv4Addr, addr: SocketAddrV4) -> bool {
        let least = Scope::of_listener(near);
        [Scope::Loopback, Scope::Private, Scope::Public]
            .into_iter()
            .any(|scope| scope >= least && scope.allows(addr))
    }

    fn holds(self, ip: Ipv4Addr) -> bool {
        let [a, b, ..] = ip.octets();
        let private = ip.is_private() || ip.is_link_local() || (a == 100 && b & 0xc0 == 64);
        match self {
            Scope::Loopback => ip.is_loopback(),
            Scope::Private => private,
            Scope::Public => {
                // 0/8 is "this network", 224/4 multicast, 240/4 reserved, with broadcast.
                let special = a == 0 || a >= 224 || ip.is_documentation();
                let benchmark = a == 198 && b & 0xfe == 18;
                !(private || ip.is_loopback() || special || benchmark)
            }
        }
    }
}

/// The role of a servent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A full member: accepts links, forwards, and is discovered by others. Towards 0.6 peers it is an
    /// ultrapeer.
    Servent,
    /// A member behind ultrapeers: keeps links with a few of them, answers them and forwards nothing.
    /// 0.4 knows no leaves, so it has no 0.4 links.
    Leaf,
    /// A one-shot command: keeps its links for a short time, forwards nothing, and has port 0 in its
    /// Pongs, so that no servent dials it.
    Guest,
}

/// The settings of one servent. Fixed for its lifetime and shared by reference.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its role.
    pub role: Role,
    /// What it dials with; `None`: what an address is known to speak, 0.4 first where nothing is known.
    /// Inbound links choose for themselves. A leaf dials with 0.6 only.
    pub dialect: Option<Dialect>,
    /// Most leaves, beside `max_links`.
    pub max_leaves: usize,
    /// Whether 0.6 links may be deflated. Off in simulations, which count descriptors on wires.
    pub compress: bool,
    /// The address listened on; unspecified is every address of this machine.
    pub listen_ip: Ipv4Addr,
    /// The address in Pongs, hits and Pushes. Default: the address listened on or, if that is every
    /// address, the local address of each link.
    pub advertise_ip: Option<Ipv4Addr>,
    /// The port in Pongs, hits and Pushes: usually the listening one, 0 without one.
    pub advertise_port: u16,
    /// Outbound links to keep with learnt hosts; 0 dials none.
    pub links: usize,
    /// Most links, inbound and outbound together.
    pub max_links: usize,
    /// TTL limit of forwarded descriptors and default of originated ones, 1 to 15.
    pub ttl: u8,
    /// Advertised speed in kbit/s.
    pub speed_kbps: u32,
    /// Whether the user gave the speed: only then Queries for faster servents are not answered.
    pub speed_known: bool,
    /// Which learnt addresses may be dialled and passed on.
    pub scope: Scope,
    /// Most uploads at one time; further requests are answered 503.
    pub max_uploads: usize,
    /// Most bytes per second of all uploads together; `None` is no limit.
    pub upload_limit: Option<u64>,
    /// Answer browsers that request `/` with a page of the shared files.
    pub browse: bool,
    /// Originate Pings when a link stands and every minute. Off in simulations that count descriptors.
    pub background_pings: bool,
    /// Bounds on everything it holds.
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            role: Role::Servent,
            dialect: None,
            max_leaves: 100,
            compress: true,
            listen_ip: Ipv4Addr::UNSPECIFIED,
            advertise_ip: None,
            advertise_port: 6346,
            links: 4,
            max_links: 32,
            ttl: 7,
            speed_kbps: 1000,
            speed_known: false,
            scope: Scope::Loopback,
            max_uploads: 8,
            upload_limit: None,
            browse: false,
            background_pings: true,
            limits: Limits::default(),
        }
    }
}

/// Most bytes read from one socket in a turn in which no other has input. What they cause is written
/// before more is read, and a send queue takes as many bytes of broadcasts: descriptors of a fast
/// source are not dropped while its neighbours keep up.
pub const READ_BYTES: usize = 64 * 1024;

/// Bounds on what a servent holds, with their memory at the default. Tables start empty and grow to
/// their limit, so an idle servent is small.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Sockets in any state: links, dials, transfers, and inbound connections before their first bytes.
    /// At most one descriptor is assembled per socket (64 KiB + 23 bytes).
    pub max_connections: usize,
    /// Inbound sockets of one address. This and the next limit do not apply to scope loopback, where all
    /// servents share addresses.
    pub connections_per_address: usize,
    /// Inbound links with one address, so that one host cannot become all neighbours.
    pub links_per_address: usize,
    /// Unsent bytes per link, at least 1.5 times the largest descriptor (0.6 draft, 3.1): 256 KiB each,
    /// 8 MiB with the default 32 links.
    pub send_queue_bytes: usize,
    /// Ping GUIDs in the route table, a power of two: 20 bytes each, 2.5 MiB.
    pub ping_routes: usize,
    /// Query GUIDs in the route table: 20 bytes each, 20 MiB.
    pub query_routes: usize,
    /// Push GUIDs in the route table: 1.2 MiB.
    pub push_routes: usize,
    /// Servent ids in the route table: 1.2 MiB.
    pub servent_routes: usize,
    /// Lifetime of a generation of Ping GUIDs; an entry lives for one to two of them.
    pub ping_route_age: Duration,
    /// The same for Query and Push GUIDs (LimeWire used 5 to 10 minutes).
    pub query_route_age: Duration,
    /// The same for servent ids; each hit renews its own.
    pub servent_route_age: Duration,
    /// Pongs that one Ping sent on a link admits: as many as the host cache holds.
    pub pongs_per_ping: u32,
    /// Pongs of one link that are used and forwarded per second.
    pub pongs_per_second: u32,
    /// Pongs kept per link to answer Pings with (0.6 draft, 2.2.4: 10).
    pub pongs_per_link: usize,
    /// Lifetime of such a Pong: a little more than the time between two Pings of a neighbour. Every
    /// servent on the path adds as much to the time a dead host is still advertised.
    pub pong_age: Duration,
    /// Addresses in the host cache: about 100 bytes each.
    pub host_cache_entries: usize,
    /// Results in all hits to one Query (gtk-gnutella: 50, Shareaza: 64).
    pub results_per_query: usize,
    /// Largest QueryHit payload of our own; the 0.6 draft recommends at most 4 kB.
    pub hit_payload_bytes: usize,
    /// Distinct results accepted for one search of our own: a digest of each takes about 50 bytes.
    pub results_per_search: usize,
    /// Connecting and handshake, in either direction (GNU Serveez: 20 s).
    pub handshake_timeout: Duration,
    /// Silence after which a keepalive is sent on a link.
    pub keepalive_after: Duration,
    /// Silence after which a link is closed.
    pub link_timeout: Duration,
    /// Time after which the connection of a peer that reads no byte is closed.
    pub stall_timeout: Duration,
    /// Uploads at one time to one address. Does not apply to scope loopback.
    pub uploads_per_address: usize,
    /// Connections made for Pushes to one address per [`Limits::push_window`] (gtk-gnutella: 5 in 30 s),
    /// in any scope.
    pub pushes_per_address: usize,
    /// The same for all addresses together.
    pub pushes_in_all: usize,
    /// Window of the two limits on Pushes.
    pub push_window: Duration,
    /// Time without another connection to the target of a failed Push (gtk-gnutella: 500 s).
    pub push_rest: Duration,
    /// Bytes of a file sent in one step before links are served.
    pub upload_step_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_connections: 512,
            connections_per_address: 64,
            links_per_address: 8,
            send_queue_bytes: 256 * 1024,
            ping_routes: 1 << 17,
            query_routes: 1 << 20,
            push_routes: 1 << 16,
            servent_routes: 1 << 16,
            ping_route_age: Duration::from_secs(120),
            query_route_age: Duration::from_secs(300),
            servent_route_age: Duration::from_secs(900),
            pongs_per_ping: 1_000,
            pongs_per_second: 1_000,
            pongs_per_link: 10,
            pong_age: Duration::from_secs(75),
            host_cache_entries: 1_000,
            results_per_query: 255,
            hit_payload_bytes: 4_096,
            results_per_search: 10_000,
            handshake_timeout: Duration::from_secs(20),
            keepalive_after: Duration::from_secs(30),
            link_timeout: Duration::from_secs(90),
            stall_timeout: Duration::from_secs(60),
            uploads_per_address: 4,
            pushes_per_address: 5,
            pushes_in_all: 32,
            push_window: Duration::from_secs(30),
            push_rest: Duration::from_secs(500),
            upload_step_bytes: 128 * 1024,
        }
    }
}

impl Limits {
    /// Most targets of Pushes that are remembered: those of the last window, and failed ones for
    /// [`Limits::push_rest`].
    pub fn pushes_remembered(&self) -> usize {
        let windows = self.push_rest.as_secs().div_ceil(self.push_window.as_secs().max(1));
        self.pushes_in_all * (usize::try_from(windows).unwrap_or(usize::MAX).saturating_add(2))
    }
}

/// Inconsistent settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// A limit on what one address may have. On loopback all share one address, and none applies.
    pub(crate) fn per_address(&self, limit: usize) -> usize {
        if self.scope == Scope::Loopback { usize::MAX } else { limit }
    }

    /// Checks the settings against each other.
    ///
    /// # Errors
    /// The first relation that does not hold, with both values.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let limits = &self.limits;
        let check = |holds: bool, text: String| if holds { Ok(()) } else { Err(ConfigError(text)) };
        check(
            (1..=15).contains(&self.ttl),
            format!("the TTL should be 1 to 15, {} was given", self.ttl),
        )?;
        check(
            self.links <= self.max_links,
            format!(
                "{} outbound links do not fit into at most {} links in all: lower --links or \
                 raise --max-links",
                self.links, self.max_links
            ),
        )?;
        check(
            self.role != Role::Leaf || self.dialect != Some(Dialect::V0_4),
            "a leaf speaks 0.6 only: leave out --dialect 0.4 or --role leaf".to_owned(),
        )?;
        // A route names its link by 16 bits of slab index; see servent::route_table.
        check(
            self.max_links <= limits.max_connections && limits.max_connections <= 65_535,
            format!(
                "at most 65535 sockets can be held, and links are some of them: {} links and {} \
                 sockets were asked for",
                self.max_links, limits.max_connections
            ),
        )?;
        check(
            limits.send_queue_bytes >= 3 * crate::wire::MAX_PAYLOAD_BYTES / 2,
            format!(
                "a send queue of {} bytes cannot hold one and a half of the largest descriptor",
                limits.send_queue_bytes
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(scope: Scope, ip: [u8; 4]) -> bool {
        scope.allows(SocketAddrV4::new(ip.into(), 6346))
    }

    #[test]
    fn each_address_belongs_to_at_most_one_scope() {
        let cases = [
            ([127, 0, 0, 1], Some(Scope::Loopback)),
            ([10, 1, 2, 3], Some(Scope::Private)),
            ([169, 254, 1, 1], Some(Scope::Private)),
            ([100, 64, 0, 1], Some(Scope::Private)),
            ([100, 128, 0, 1], Some(Scope::Public)),
            ([5, 5, 5, 5], Some(Scope::Public)),
            ([0, 0, 0, 0], None),
            ([224, 0, 0, 1], None),
            ([255, 255, 255, 255], None),
            ([192, 0, 2, 1], None),
        ];
        for (ip, home) in cases {
            for scope in [Scope::Loopback, Scope::Private, Scope::Public] {
                assert_eq!(allowed(scope, ip), home == Some(scope), "{ip:?} in {scope:?}");
            }
        }
        assert!(!Scope::Loopback.allows("127.0.0.1:0".parse().unwrap()), "port 0");
    }

    #[test]
    fn relations_are_checked() {
        assert_eq!(Config::default().validate(), Ok(()));
        let wrong = Config { links: 40, ..Config::default() };
        assert!(wrong.validate().unwrap_err().to_string().contains("--max-links"));
    }
}
