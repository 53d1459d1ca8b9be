//! What nodes of the lab say to each other: the 23 bytes of a descriptor header, then fields.
//!
//! The GUID of a lookup stands in all of its messages, answers included; other messages have zeros
//! there. The kind says what a message is for, so one observer counts those of all systems.

use crate::wire::{Guid, HEADER_BYTES, Header, Kind};
use std::net::{Ipv4Addr, SocketAddrV4};

/// What a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Carries a lookup on.
    Lookup,
    /// Answers a lookup.
    Answer,
    /// A newcomer finds its place.
    Join,
    /// Tells others of files.
    Publish,
    /// Keeps state right.
    Upkeep,
}

impl Purpose {
    /// All of them.
    pub const ALL: [Purpose; 5] =
        [Purpose::Lookup, Purpose::Answer, Purpose::Join, Purpose::Publish, Purpose::Upkeep];

    /// The kind byte of the systems other than Gnutella.
    fn kind(self) -> Kind {
        Kind::Other(match self {
            Purpose::Lookup => 0xa0,
            Purpose::Answer => 0xa1,
            Purpose::Join => 0xa2,
            Purpose::Publish => 0xa3,
            Purpose::Upkeep => 0xa4,
        })
    }

    /// What a message of this kind is for. Pings and Pongs keep links and host caches fresh.
    pub fn of(kind: Kind) -> Purpose {
        match kind {
            Kind::Query | Kind::Other(0xa0) => Purpose::Lookup,
            Kind::QueryHit | Kind::Other(0xa1) => Purpose::Answer,
            Kind::Other(0xa2) => Purpose::Join,
            Kind::Other(0xa3) => Purpose::Publish,
            _ => Purpose::Upkeep,
        }
    }
}

/// The head of a message.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// What it is for.
    pub purpose: Purpose,
    /// The lookup it belongs to, or zeros.
    pub guid: Guid,
    /// Links it may still cross, for systems that count them.
    pub ttl: u8,
    /// Links it has crossed.
    pub hops: u8,
}

impl Head {
    /// A head without TTL and hops.
    pub fn new(purpose: Purpose, guid: Guid) -> Head {
        Head { purpose, guid, ttl: 0, hops: 0 }
    }

    /// The whole message.
    pub(super) fn frame(self, fields: &Fields) -> Vec<u8> {
        let (Head { purpose, guid, ttl, hops }, payload) = (self, &fields.0);
        let mut bytes = Vec::with_capacity(HEADER_BYTES + payload.len());
        Header { guid, kind: purpose.kind(), ttl, hops, payload_len: 0 }.frame(payload, &mut bytes);
        bytes
    }

    /// The head of a message, and its fields.
    pub(super) fn read(bytes: &[u8]) -> Option<(Head, Reader<'_>)> {
        let (header, payload) = bytes.split_first_chunk::<HEADER_BYTES>()?;
        let Header { guid, kind, ttl, hops, .. } = Header::decode(header);
        Some((Head { purpose: Purpose::of(kind), guid, ttl, hops }, Reader(payload)))
    }
}

/// The fields of a message in the making.
#[derive(Clone, Debug, Default)]
pub struct Fields(Vec<u8>);

impl Fields {
    /// None yet.
    pub fn new() -> Fields {
        // Room for what most messages hold.
        Fields(Vec::with_capacity(64))
    }

    /// Their bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// These fields, then others.
    pub fn and(mut self, others: &Fields) -> Fields {
        self.0.extend_from_slice(&others.0);
        self
    }

    /// One byte.
    pub fn byte(mut self, byte: u8) -> Fields {
        self.0.push(byte);
        self
    }

    /// A number of four bytes.
    pub fn number(mut self, number: usize) -> Fields {
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        self.0.extend_from_slice(&number.to_le_bytes());
        self
    }

    /// An id of eight bytes.
    pub fn id(mut self, id: u64) -> Fields {
        self.0.extend_from_slice(&id.to_le_bytes());
        self
    }

    /// An address, in six bytes.
    pub fn addr(mut self, addr: SocketAddrV4) -> Fields {
        self.0.extend_from_slice(&addr.ip().octets());
        self.0.extend_from_slice(&addr.port().to_le_bytes());
        self
    }

    /// Addresses, with their number in front.
    pub fn addrs(self, addrs: impl ExactSizeIterator<Item = SocketAddrV4>) -> Fields {
        let fields = self.number(addrs.len());
        addrs.fold(fields, Fields::addr)
    }

    /// Text of at most 255 bytes, with its length in front.
    pub fn text(mut self, text: &str) -> Fields {
        let len = u8::try_from(text.len()).unwrap_or(u8::MAX);
        self.0.push(len);
        self.0.extend_from_slice(&text.as_bytes()[..len.into()]);
        self
    }
}

/// Reads the fields of a message, one after the other. `None` at the end of them.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    /// One byte.
    pub fn byte(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    /// A number of four bytes.
    pub fn number(&mut self) -> Option<usize> {
        self.take().map(|bytes| u32::from_le_bytes(bytes) as usize)
    }

    /// An id of eight bytes.
    pub fn id(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    /// An address.
    pub fn addr(&mut self) -> Option<SocketAddrV4> {
        let ip: [u8; 4] = self.take()?;
        let port = self.take().map(u16::from_le_bytes)?;
        Some(SocketAddrV4::new(Ipv4Addr::from(ip), port))
    }

    /// Addresses with their number in front, as many as there are.
    pub fn addrs(&mut self) -> Option<Vec<SocketAddrV4>> {
        let count = self.number()?;
        (0..count).map(|_| self.addr()).collect()
    }

    /// Text.
    pub fn text(&mut self) -> Option<&'a str> {
        let len = self.byte()?;
        let (text, rest) = self.0.split_at_checked(len.into())?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_back_in_their_order_and_truncated_ones_do_not() {
        let addr: SocketAddrV4 = "10.0.0.1:6346".parse().unwrap();
        let fields = Fields::new().byte(7).number(70_000).id(u64::MAX).text("red river");
        let bytes =
            Head::new(Purpose::Publish, Guid([3; 16])).frame(&fields.addrs([addr; 2].into_iter()));
        let (head, mut reader) = Head::read(&bytes).unwrap();
        assert_eq!((head.purpose, head.guid), (Purpose::Publish, Guid([3; 16])));
        assert_eq!(
            (reader.byte(), reader.number(), reader.id()),
            (Some(7), Some(70_000), Some(u64::MAX))
        );
        assert_eq!((reader.text(), reader.addrs()), (Some("red river"), Some(vec![addr; 2])));
        assert_eq!(reader.byte(), None);
        let (_, mut cut) = Head::read(&bytes[..bytes.len() - 1]).unwrap();
        assert!(cut.byte().and(cut.number()).and(cut.id()).and(cut.text()).is_some());
        assert_eq!(cut.addrs(), None);
    }

    #[test]
    fn each_purpose_has_a_kind_of_its_own() {
        assert!(Purpose::ALL.iter().all(|&purpose| Purpose::of(purpose.kind()) == purpose));
        assert_eq!(Purpose::of(Kind::QueryHit), Purpose::Answer);
    }
}
