//! The extensions that have a meaning here, by their ids (protocol of gtk-gnutella and LimeWire).

use crate::wire::reader::ip;
use crate::wire::urn::Urn;
use std::fmt;
use std::net::{Ipv6Addr, SocketAddrV4};

/// Bytes of an address: IPv4 in dotted order, port little endian.
const ADDR_BYTES: usize = 6;

/// What the data of an extension says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The extension is there, which is all it says.
    Present,
    /// A number, little endian and without trailing zeros.
    Number(u64),
    /// Addresses: IPv4, then port, little endian.
    Addresses(Vec<SocketAddrV4>),
    /// An IPv6 address.
    Ipv6(Ipv6Addr),
    /// Text in UTF-8.
    Text(String),
    /// A content hash.
    Urn(Urn),
    /// A vendor code, and a version of two half bytes.
    Vendor {
        /// Four ASCII characters.
        code: [u8; 4],
        /// Major and minor.
        version: Option<(u8, u8)>,
    },
    /// A version of two half bytes.
    Version(u8, u8),
    /// Free slots of an ultrapeer.
    Slots {
        /// Version of its protocol, two half bytes.
        version: (u8, u8),
        /// For leaves.
        leaves: u8,
        /// For ultrapeers.
        ultrapeers: u8,
    },
    /// One bit for each address of a list, most significant first.
    Bits(Vec<u8>),
    /// Media types wanted (LimeWire's masks).
    Media(u64),
}

/// How the data of an extension is laid out.
#[derive(Clone, Copy)]
enum Layout {
    Present,
    Number,
    Addresses,
    Address,
    Ipv6,
    Text,
    Hash,
    Urn,
    TigerRoot,
    Vendor,
    Version,
    Slots,
    Bits,
    Media,
    Opaque,
}

const KNOWN: [(&str, &str, Layout); 45] = [
    ("6", "address, IPv6", Layout::Ipv6),
    ("ALT", "other sources", Layout::Addresses),
    ("ALT_TLS", "other sources with TLS", Layout::Bits),
    ("BH", "can be browsed", Layout::Present),
    ("CT", "created, seconds since 1970", Layout::Number),
    ("DHT", "Gnutella DHT", Layout::Opaque),
    ("DHTIPP", "hosts of the DHT", Layout::Addresses),
    ("DU", "daily uptime in seconds", Layout::Number),
    ("FW", "firewall to firewall", Layout::Version),
    ("GTKGV", "version of gtk-gnutella", Layout::Opaque),
    ("GUE", "GUESS", Layout::Version),
    ("H", "content hash", Layout::Hash),
    ("HNAME", "host name", Layout::Text),
    ("I6", "takes IPv6", Layout::Opaque),
    ("IP", "your address", Layout::Address),
    ("IPP", "hosts", Layout::Addresses),
    ("IPP_TLS", "hosts with TLS", Layout::Bits),
    ("LF", "file size", Layout::Number),
    ("LOC", "locale", Layout::Text),
    ("M", "media wanted", Layout::Media),
    ("NP", "no proxying of replies by UDP", Layout::Present),
    ("PATH", "path below the shared folder", Layout::Text),
    ("PHC", "host caches", Layout::Text),
    ("PR", "parts available", Layout::Opaque),
    ("PR0", "parts available", Layout::Opaque),
    ("PR1", "parts available", Layout::Opaque),
    ("PR2", "parts available", Layout::Opaque),
    ("PR3", "parts available", Layout::Opaque),
    ("PR4", "parts available", Layout::Opaque),
    ("PRU", "parts not verified", Layout::Present),
    ("PUSH", "push proxies", Layout::Addresses),
    ("PUSH_TLS", "push proxies with TLS", Layout::Bits),
    ("QK", "query key", Layout::Opaque),
    ("SCP", "wants hosts", Layout::Opaque),
    ("SO", "security token", Layout::Opaque),
    ("TLS", "speaks TLS", Layout::Present),
    ("TT", "tiger tree root", Layout::TigerRoot),
    ("UDPHC", "UDP host cache", Layout::Opaque),
    ("UP", "ultrapeer", Layout::Slots),
    ("VC", "vendor", Layout::Vendor),
    ("VMSG", "vendor messages", Layout::Opaque),
    ("WH", "newest files wanted", Layout::Number),
    ("XQ", "search text", Layout::Text),
    ("Z", "takes deflated replies", Layout::Present),
    ("u", "content hash", Layout::Urn),
];

/// What an extension is, in words, and what its data says; `None` for an unknown id. The meaning is
/// missing if the data is opaque or does not follow the extension's layout.
pub fn describe(id: &[u8], data: &[u8]) -> Option<(&'static str, Option<Meaning>)> {
    let at = KNOWN.binary_search_by(|(known, ..)| known.as_bytes().cmp(id)).ok()?;
    let (_, name, layout) = KNOWN[at];
    Some((name, read(layout, data)))
}

fn read(layout: Layout, data: &[u8]) -> Option<Meaning> {
    Some(match layout {
        // Later versions may add data; its presence still says the same.
        Layout::Present => Meaning::Present,
        Layout::Number => Meaning::Number(number(data)?),
        Layout::Media => Meaning::Media(number(data)?),
        Layout::Addresses => Meaning::Addresses(addresses(data)?),
        Layout::Address => Meaning::Addresses(addresses(data.get(..ADDR_BYTES)?)?),
        Layout::Ipv6 => Meaning::Ipv6(Ipv6Addr::from(*data.first_chunk::<16>()?)),
        Layout::Text => Meaning::Text(String::from_utf8(data.to_vec()).ok()?),
        Layout::Hash => Meaning::Urn(Urn::from_binary(data)?),
        Layout::Urn => Meaning::Urn(Urn::parse_short(data)?),
        Layout::TigerRoot => Meaning::Urn(Urn::TigerTree(data.try_into().ok()?)),
        Layout::Vendor => {
            let (code, rest) = data.split_first_chunk::<4>()?;
            Meaning::Vendor { code: *code, version: rest.first().map(|&byte| halves(byte)) }
        }
        Layout::Version => {
            let (major, minor) = halves(*data.first()?);
            Meaning::Version(major, minor)
        }
        Layout::Slots => {
            let &[version, leaves, ultrapeers] = data.first_chunk()?;
            Meaning::Slots { version: halves(version), leaves, ultrapeers }
        }
        Layout::Bits => Meaning::Bits(data.to_vec()),
        Layout::Opaque => return None,
    })
}

const fn halves(byte: u8) -> (u8, u8) {
    (byte >> 4, byte & 0x0f)
}

/// A little-endian number of up to eight bytes.
pub(super) fn number(data: &[u8]) -> Option<u64> {
    if data.len() > 8 {
        return None;
    }
    Some(data.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
}

/// Addresses, if the data is a list of them.
pub(super) fn addresses(data: &[u8]) -> Option<Vec<SocketAddrV4>> {
    let addr =
        |bytes: &[u8]| SocketAddrV4::new(ip(&bytes[..4]), u16::from_le_bytes([bytes[4], bytes[5]]));
    data.len().is_multiple_of(ADDR_BYTES).then(|| data.chunks_exact(ADDR_BYTES).map(addr).collect())
}

/// The data of a number: little endian, no trailing zeros.
pub fn put_number(number: u64) -> Vec<u8> {
    let bytes = 8 - usize::try_from(number.leading_zeros() / 8).unwrap_or(0);
    number.to_le_bytes()[..bytes].to_vec()
}

/// The data of a list of addresses.
pub fn put_addresses(addresses: impl IntoIterator<Item = SocketAddrV4>) -> Vec<u8> {
    let bytes =
        |addr: SocketAddrV4| addr.ip().octets().into_iter().chain(addr.port().to_le_bytes());
    addresses.into_iter().flat_map(bytes).collect()
}

/// LimeWire's masks for kinds of media.
const MEDIA: [(u64, &str); 7] = [
    (0x004, "audio"),
    (0x008, "video"),
    (0x010, "documents"),
    (0x020, "images"),
    (0x040, "Windows programs"),
    (0x080, "Unix programs"),
    (0x100, "torrents"),
];

impl fmt::Display for Meaning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, items: Vec<String>| f.write_str(&items.join(", "));
        match self {
            Meaning::Present => f.write_str("yes"),
            Meaning::Number(number) => number.fmt(f),
            Meaning::Addresses(all) => list(f, all.iter().map(SocketAddrV4::to_string).collect()),
            Meaning::Ipv6(addr) => addr.fmt(f),
            Meaning::Text(text) => f.write_str(text),
            Meaning::Urn(urn) => urn.fmt(f),
            Meaning::Vendor { code, version } => {
                f.write_str(&String::from_utf8_lossy(code))?;
                version.map_or(Ok(()), |(major, minor)| write!(f, " {major}.{minor}"))
            }
            Meaning::Version(major, minor) => write!(f, "{major}.{minor}"),
            Meaning::Slots { version: (major, minor), leaves, ultrapeers } => write!(
                f,
                "{major}.{minor}, free slots: {leaves} for leaves, {ultrapeers} for ultrapeers"
            ),
            Meaning::Bits(bytes) => {
                list(f, bytes.iter().map(|byte| format!("{byte:08b}")).collect())
            }
            Meaning::Media(bits) => {
                let set = MEDIA.iter().filter(|(bit, _)| bits & bit != 0);
                list(f, set.map(|(_, name)| (*name).to_owned()).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::KNOWN;

    #[test]
    fn ids_are_in_order_so_that_they_are_found() {
        assert!(KNOWN.is_sorted_by(|a, b| a.0 < b.0));
    }
}
