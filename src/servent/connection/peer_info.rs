//! What a handshake says of the peer at the other end of a link.

use crate::wire::Dialect;
use crate::wire::handshake06::Headers;
use std::net::{Ipv4Addr, SocketAddrV4};

/// Longest name of a program that is kept.
const MAX_AGENT_BYTES: usize = 64;

/// Place of a peer in the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerRole {
    /// It routes for others and knows no leaves: every 0.4 servent, and a 0.6 servent that does not say
    /// what it is.
    Servent,
    /// It routes for others and has leaves.
    Ultrapeer,
    /// It forwards nothing: we are its ultrapeer.
    Leaf,
}

impl PeerRole {
    /// A word for reports.
    pub const fn name(self) -> &'static str {
        match self {
            PeerRole::Servent => "servent",
            PeerRole::Ultrapeer => "ultrapeer",
            PeerRole::Leaf => "leaf",
        }
    }
}

/// What a neighbour is to this servent: which descriptors go either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::servent) enum Standing {
    /// A 0.4 servent: all that is forwarded goes either way, unchanged from one to another.
    Plain,
    /// A 0.6 servent that routes for others.
    Relay,
    /// A leaf of ours: its own descriptors come, and Queries that its table matches go.
    Leaf,
    /// We are its leaf: our own descriptors go, and Queries that come are answered and end here.
    OurUltrapeer,
}

/// What a peer can do beyond its version, as announced in its headers. Empty in 0.4.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features(u16);

impl Features {
    /// Nothing beyond the version.
    pub const NONE: Features = Features(0);
    /// It reads GGEP.
    pub const GGEP: Features = Features(1);
    /// It reads Bye.
    pub const BYE: Features = Features(1 << 1);
    /// It reads vendor messages.
    pub const VENDOR: Features = Features(1 << 2);
    /// It answers Pings from a cache.
    pub const PONG_CACHING: Features = Features(1 << 3);
    /// It reads query routing tables of its leaves.
    pub const QUERY_ROUTING: Features = Features(1 << 4);
    /// It reads query routing tables of other ultrapeers.
    pub const LAST_HOP_ROUTING: Features = Features(1 << 5);
    /// It sends the searches of its leaves on in small steps.
    pub const DYNAMIC_QUERYING: Features = Features(1 << 6);

    /// Whether all of `features` are among these.
    pub const fn has(self, features: Features) -> bool {
        self.0 & features.0 == features.0
    }

    const fn with(self, features: Features) -> Features {
        Features(self.0 | features.0)
    }

    /// The features that headers announce. A version that is not a number above 0 announces nothing.
    fn announced(headers: &Headers) -> Features {
        let named = [
            ("GGEP", Features::GGEP),
            ("Bye-Packet", Features::BYE),
            ("Vendor-Message", Features::VENDOR),
            ("Pong-Caching", Features::PONG_CACHING),
            ("X-Query-Routing", Features::QUERY_ROUTING),
            ("X-Ultrapeer-Query-Routing", Features::LAST_HOP_ROUTING),
            ("X-Dynamic-Querying", Features::DYNAMIC_QUERYING),
        ];
        let announced = |name| {
            let version = headers.items(name).next().and_then(|value| value.parse::<f32>().ok());
            version.is_some_and(|version| version > 0.0)
        };
        let all = named.into_iter().filter(|(name, _)| announced(name));
        all.fold(Features::NONE, |sum, (_, feature)| sum.with(feature))
    }
}

/// What a handshake says of the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerInfo {
    /// What the link speaks.
    pub dialect: Dialect,
    /// Its place in the network.
    pub role: PeerRole,
    /// Whether this servent is its leaf: it forwards nothing to it but what it asks itself.
    pub is_our_ultrapeer: bool,
    /// What it can do beyond its version.
    pub features: Features,
    /// The largest TTL of Queries it takes.
    pub max_ttl: Option<u8>,
    /// The number of links with other ultrapeers it says it has.
    pub degree: Option<u16>,
    /// The address it says it listens on. In 0.4 only its Pong says that.
    pub listening_addr: Option<SocketAddrV4>,
    /// Our own address, as it sees it.
    pub our_ip: Option<Ipv4Addr>,
    /// Its program, as it names it: untrusted text without control characters.
    pub agent: Option<String>,
}

impl PeerInfo {
    /// All that a 0.4 handshake says.
    pub const V0_4: PeerInfo = PeerInfo {
        dialect: Dialect::V0_4,
        role: PeerRole::Servent,
        is_our_ultrapeer: false,
        features: Features::NONE,
        max_ttl: None,
        degree: None,
        listening_addr: None,
        our_ip: None,
        agent: None,
    };

    /// What it is to this servent.
    #[inline]
    pub(in crate::servent) fn standing(&self) -> Standing {
        match self.dialect {
            Dialect::V0_4 => Standing::Plain,
            Dialect::V0_6 if self.is_our_ultrapeer => Standing::OurUltrapeer,
            Dialect::V0_6 if self.role == PeerRole::Leaf => Standing::Leaf,
            Dialect::V0_6 => Standing::Relay,
        }
    }

    /// What the headers of a 0.6 peer at `ip` say. The address it listens on is believed only if it has
    /// the IP of the socket: a peer must not speak for others.
    pub(in crate::servent) fn read(headers: &Headers, ip: Ipv4Addr) -> PeerInfo {
        let role = match headers.truth("X-Ultrapeer") {
            Some(true) => PeerRole::Ultrapeer,
            Some(false) => PeerRole::Leaf,
            None => PeerRole::Servent,
        };
        let listening = ["Listen-IP", "Node", "X-My-Address", "X-Node"]
            .into_iter()
            .find_map(|name| headers.addresses(name).next());
        let agent = headers.get("User-Agent").filter(|agent| !agent.is_empty());
        let cut = |agent: &str| agent[..agent.floor_char_boundary(MAX_AGENT_BYTES)].to_owned();
        PeerInfo {
            dialect: Dialect::V0_6,
            role,
            is_our_ultrapeer: false,
            features: Features::announced(headers),
            max_ttl: number(headers, "X-Max-TTL").filter(|&ttl| ttl > 0),
            degree: number(headers, "X-Degree"),
            listening_addr: listening
                .filter(|addr| addr.port() != 0)
                .map(|addr| SocketAddrV4::new(ip, addr.port()))
                .filter(|addr| listening == Some(*addr)),
            our_ip: headers.get("Remote-IP").and_then(|value| value.parse().ok()),
            agent: agent.map(cut),
        }
    }
}

fn number<T: std::str::FromStr>(headers: &Headers, name: &str) -> Option<T> {
    headers.get(name)?.parse().ok()
}
