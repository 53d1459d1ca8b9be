//! One line of the file of `--events`: the type that writes it and reads it.
//!
//! The fields of the JSON object stand in the order of declaration; `event` names the variant of
//! [`RecordedEvent`], and its fields follow. [`super::events`] has the table and says when lines are
//! written.

use crate::servent::{Observation, PeerRole};
use crate::stats::DropReason;
use crate::wire::{Dialect, Guid, Header, Kind};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::net::SocketAddrV4;
use uuid::Uuid;

/// A line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRecord {
    /// Unix time in microseconds.
    pub time: u64,
    /// Running number in its run; 0 is [`RecordedEvent::Start`].
    pub seq: u64,
    /// The event.
    #[serde(flatten)]
    pub event: RecordedEvent,
    /// Ends a write: the consequences of every descriptor received so far are recorded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub last: bool,
}

/// An event of one servent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[expect(missing_docs, reason = "fields are named as in the table of the file")]
pub enum RecordedEvent {
    /// A run begins.
    Start { listen: Option<SocketAddrV4> },
    /// A link stands.
    LinkUp {
        peer: SocketAddrV4,
        outbound: bool,
        #[serde(serialize_with = "dialect_name", deserialize_with = "dialect_of_name")]
        dialect: Dialect,
        #[serde(serialize_with = "role_name", deserialize_with = "role_of_name")]
        role: PeerRole,
    },
    /// A link ended, with `unsent` copies queued and not sent in full.
    LinkDown { peer: SocketAddrV4, reason: String, unsent: u64 },
    /// A descriptor arrived.
    Received {
        #[serde(flatten)]
        descriptor: LinkDescriptor,
        payload_bytes: u32,
    },
    /// A copy was queued on behalf of others.
    Forwarded(LinkDescriptor),
    /// A copy of its own making was queued.
    Originated(LinkDescriptor),
    /// The descriptor that arrived went no further.
    Dropped {
        #[serde(flatten)]
        descriptor: LinkDescriptor,
        #[serde(serialize_with = "reason_name", deserialize_with = "reason_of_name")]
        reason: DropReason,
    },
    /// A neighbour's queue had no room for a copy.
    Refused {
        #[serde(flatten)]
        descriptor: LinkDescriptor,
        #[serde(serialize_with = "reason_name", deserialize_with = "reason_of_name")]
        reason: DropReason,
    },
    /// A Query was answered from the library.
    Answered {
        #[serde(serialize_with = "guid_text", deserialize_with = "guid_of_text")]
        guid: Guid,
        criteria: String,
        results: usize,
    },
    /// An event of a later version.
    #[serde(other)]
    Unknown,
}

/// A descriptor on one link, as it arrived or as it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkDescriptor {
    /// The remote end of the link's socket.
    pub peer: SocketAddrV4,
    /// Its kind.
    #[serde(serialize_with = "kind_name", deserialize_with = "kind_of_name")]
    pub kind: Kind,
    /// Names the descriptor.
    #[serde(serialize_with = "guid_text", deserialize_with = "guid_of_text")]
    pub guid: Guid,
    /// Links it may still cross.
    pub ttl: u8,
    /// Links it has crossed.
    pub hops: u8,
}

impl RecordedEvent {
    /// The descriptor it is about, unless it is about a link or a Query as a whole.
    pub fn descriptor(&self) -> Option<&LinkDescriptor> {
        match self {
            RecordedEvent::Received { descriptor, .. }
            | RecordedEvent::Forwarded(descriptor)
            | RecordedEvent::Originated(descriptor)
            | RecordedEvent::Dropped { descriptor, .. }
            | RecordedEvent::Refused { descriptor, .. } => Some(descriptor),
            _ => None,
        }
    }

    /// Whether a copy was queued for a link.
    pub fn is_sent(&self) -> bool {
        matches!(self, RecordedEvent::Forwarded(_) | RecordedEvent::Originated(_))
    }

    /// Whether a link with a leaf stands.
    pub fn is_up_with_leaf(&self) -> bool {
        matches!(self, RecordedEvent::LinkUp { role: PeerRole::Leaf, .. })
    }
}

impl From<&Observation> for RecordedEvent {
    fn from(seen: &Observation) -> RecordedEvent {
        let on = LinkDescriptor::new;
        match *seen {
            Observation::LinkUp { peer, outbound, dialect, role } => {
                RecordedEvent::LinkUp { peer, outbound, dialect, role }
            }
            Observation::LinkDown { peer, ref reason, unsent } => {
                RecordedEvent::LinkDown { peer, reason: reason.to_string(), unsent }
            }
            Observation::Received { peer, ref header } => RecordedEvent::Received {
                descriptor: on(peer, header),
                payload_bytes: header.payload_len,
            },
            Observation::Forwarded { peer, ref header } => {
                RecordedEvent::Forwarded(on(peer, header))
            }
            Observation::Originated { peer, ref header } => {
                RecordedEvent::Originated(on(peer, header))
            }
            Observation::Dropped { peer, ref header, reason } => {
                RecordedEvent::Dropped { descriptor: on(peer, header), reason }
            }
            Observation::Refused { peer, ref header } => RecordedEvent::Refused {
                descriptor: on(peer, header),
                reason: DropReason::QueueFull,
            },
            Observation::Answered { guid, ref criteria, results } => RecordedEvent::Answered {
                guid,
                criteria: String::from_utf8_lossy(criteria).into_owned(),
                results,
            },
        }
    }
}

impl LinkDescriptor {
    fn new(peer: SocketAddrV4, header: &Header) -> LinkDescriptor {
        let Header { guid, kind, ttl, hops, .. } = *header;
        LinkDescriptor { peer, kind, guid, ttl, hops }
    }
}

fn kind_name<S: Serializer>(kind: &Kind, serializer: S) -> Result<S::Ok, S::Error> {
    match kind {
        Kind::Other(code) => serializer.collect_str(&format_args!("{}:0x{code:02x}", kind.name())),
        known => serializer.serialize_str(known.name()),
    }
}

fn kind_of_name<'de, D: Deserializer<'de>>(from: D) -> Result<Kind, D::Error> {
    let name = String::deserialize(from)?;
    if let Some((_, code)) = name.split_once(":0x") {
        return u8::from_str_radix(code, 16).map(Kind::from_code).map_err(D::Error::custom);
    }
    [Kind::Ping, Kind::Pong, Kind::Bye, Kind::Push, Kind::Query, Kind::QueryHit]
        .into_iter()
        .find(|kind| kind.name() == name)
        .ok_or_else(|| D::Error::custom(format!("\"{name}\" is not a kind of descriptor")))
}

fn dialect_name<S: Serializer>(dialect: &Dialect, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(dialect.name())
}

fn dialect_of_name<'de, D: Deserializer<'de>>(from: D) -> Result<Dialect, D::Error> {
    let name = String::deserialize(from)?;
    Dialect::named(&name).ok_or_else(|| D::Error::custom(format!("\"{name}\" is not a dialect")))
}

fn role_name<S: Serializer>(role: &PeerRole, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(role.name())
}

fn role_of_name<'de, D: Deserializer<'de>>(from: D) -> Result<PeerRole, D::Error> {
    let name = String::deserialize(from)?;
    [PeerRole::Servent, PeerRole::Ultrapeer, PeerRole::Leaf]
        .into_iter()
        .find(|role| role.name() == name)
        .ok_or_else(|| D::Error::custom(format!("\"{name}\" is not a role")))
}

fn guid_text<S: Serializer>(guid: &Guid, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(guid)
}

fn guid_of_text<'de, D: Deserializer<'de>>(from: D) -> Result<Guid, D::Error> {
    let text = String::deserialize(from)?;
    Uuid::try_parse(&text).map(|id| Guid(id.into_bytes())).map_err(D::Error::custom)
}

fn reason_name<S: Serializer>(reason: &DropReason, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(reason.name())
}

fn reason_of_name<'de, D: Deserializer<'de>>(from: D) -> Result<DropReason, D::Error> {
    let name = String::deserialize(from)?;
    DropReason::ALL
        .into_iter()
        .find(|reason| reason.name() == name)
        .ok_or_else(|| D::Error::custom(format!("\"{name}\" is not a reason of a drop")))
}
