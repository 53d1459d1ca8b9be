//! Vendor messages (0x31 experimental, 0x32 standard): a vendor's code, a selector, a version, data.
//! They concern one link and are never forwarded; an unknown one is ignored.
//!
//! | message | direction | says |
//! |---|---|---|
//! | 0/0 | both, after the handshake | which vendor messages the sender reads |
//! | 0/10 | both | which features it has (LimeWire) |
//! | BEAR/4 | leaf to ultrapeer | send no Queries with so many hops |
//! | BEAR/7, GTKG/7 | both | connect to this port, so that I learn whether I can be reached |
//! | BEAR/11, BEAR/12 | ultrapeer asks, leaf answers | how many results a search has |
//! | LIME/11, LIME/12 | replies by UDP | so many results wait, send so many |
//! | LIME/21, LIME/22 | leaf to ultrapeer and back | pass Pushes on to me, at this address |

use super::error::DecodeError;
use super::header::{Kind, MAX_PAYLOAD_BYTES};
use super::reader::{check_len, ip};
use byteorder::{ByteOrder, LittleEndian};
use std::fmt;
use std::net::SocketAddrV4;

/// The kind of experimental messages, which all messages of the table are sent as.
pub const EXPERIMENTAL: Kind = Kind::Other(0x31);
/// The kind of standard messages.
pub const STANDARD: Kind = Kind::Other(0x32);

const HEAD_BYTES: usize = 8;
/// Bytes of an item in the list of messages, and in that of features.
const MESSAGE_ITEM_BYTES: usize = 8;
const FEATURE_ITEM_BYTES: usize = 6;

/// Most items read of a list. LimeWire sends 11.
pub const MAX_ITEMS: usize = 256;

/// Four ASCII characters, or four zeros for messages of no vendor.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VendorCode(pub [u8; 4]);

const ANY: VendorCode = VendorCode([0; 4]);
const BEAR: VendorCode = VendorCode(*b"BEAR");
const GTKG: VendorCode = VendorCode(*b"GTKG");
const LIME: VendorCode = VendorCode(*b"LIME");

impl fmt::Display for VendorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == ANY {
            return f.write_str("0");
        }
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for VendorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Names a vendor message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    /// Whose message it is.
    pub vendor: VendorCode,
    /// Its number.
    pub selector: u16,
    /// Its version.
    pub version: u16,
}

impl MessageId {
    const fn new(vendor: VendorCode, selector: u16, version: u16) -> MessageId {
        MessageId { vendor, selector, version }
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} v{}", self.vendor, self.selector, self.version)
    }
}

/// A vendor message's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VendorMessage<'a> {
    /// Which message.
    pub id: MessageId,
    /// What it says; see [`VendorMessage::meaning`].
    pub data: &'a [u8],
}

/// What a known message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VendorMeaning {
    /// Vendor messages the sender reads.
    MessagesSupported(Vec<MessageId>),
    /// Features of the sender, each with a version.
    FeaturesSupported(Vec<(VendorCode, u16)>),
    /// No Queries with this many hops or more, please; 255 takes all.
    HopsFlow(u8),
    /// Connect to this port of the sender by TCP.
    TcpConnectBack(u16),
    /// Answer to this port of the sender by UDP.
    UdpConnectBack(u16),
    /// How many results has the search with this message's GUID?
    QueryStatusRequest,
    /// So many.
    QueryStatus(u16),
    /// So many results wait for a UDP request.
    ResultsWaiting(u8),
    /// Send so many of them.
    SendResults(u8),
    /// Pass Pushes for the servent with this message's GUID on to me.
    PushProxyRequest,
    /// I do, at this address.
    PushProxyAck(SocketAddrV4),
}

impl<'a> VendorMessage<'a> {
    /// Reads a payload of 8 bytes to 64 KiB, of `kind` [`EXPERIMENTAL`] or [`STANDARD`].
    ///
    /// # Errors
    /// When it has another size.
    pub fn decode(kind: Kind, payload: &'a [u8]) -> Result<VendorMessage<'a>, DecodeError> {
        check_len(kind, payload, HEAD_BYTES..MAX_PAYLOAD_BYTES + 1)?;
        let (head, data) = payload.split_at(HEAD_BYTES);
        Ok(VendorMessage { id: message_id(head), data })
    }

    /// Appends the payload to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_message_id(&self.id, out);
        out.extend_from_slice(self.data);
    }

    /// What it says; `None` if the message is not known or its data does not fit it. Data behind what
    /// a known version has is passed over.
    pub fn meaning(&self) -> Option<VendorMeaning> {
        let data = self.data;
        let number = |at: usize| Some(LittleEndian::read_u16(data.get(at..at + 2)?));
        let MessageId { vendor, selector, version } = self.id;
        Some(match (vendor, selector, version) {
            (ANY, 0, 0) => {
                let items = items(data, MESSAGE_ITEM_BYTES)?;
                VendorMeaning::MessagesSupported(items.map(message_id).collect())
            }
            (ANY, 10, _) => {
                let feature = |item: &[u8]| (vendor_code(item), LittleEndian::read_u16(&item[4..]));
                let items = items(data, FEATURE_ITEM_BYTES)?;
                VendorMeaning::FeaturesSupported(items.map(feature).collect())
            }
            (BEAR, 4, 1) => VendorMeaning::HopsFlow(*data.first()?),
            (BEAR, 7, 1) => VendorMeaning::TcpConnectBack(number(0)?),
            (GTKG, 7, 1 | 2) => VendorMeaning::UdpConnectBack(number(0)?),
            (BEAR, 11, 1) => VendorMeaning::QueryStatusRequest,
            (BEAR, 12, 1) => VendorMeaning::QueryStatus(number(0)?),
            (LIME, 12, _) => VendorMeaning::ResultsWaiting(*data.first()?),
            (LIME, 11, _) => VendorMeaning::SendResults(*data.first()?),
            (LIME, 21, 1 | 2) => VendorMeaning::PushProxyRequest,
            (LIME, 22, 2) => {
                let addr = data.get(..4)?;
                VendorMeaning::PushProxyAck(SocketAddrV4::new(ip(addr), number(4)?))
            }
            _ => return None,
        })
    }
}

impl VendorMeaning {
    /// Which message says it, in the version that is sent.
    pub fn id(&self) -> MessageId {
        match self {
            VendorMeaning::MessagesSupported(_) => MessageId::new(ANY, 0, 0),
            VendorMeaning::FeaturesSupported(_) => MessageId::new(ANY, 10, 1),
            VendorMeaning::HopsFlow(_) => MessageId::new(BEAR, 4, 1),
            VendorMeaning::TcpConnectBack(_) => MessageId::new(BEAR, 7, 1),
            VendorMeaning::UdpConnectBack(_) => MessageId::new(GTKG, 7, 1),
            VendorMeaning::QueryStatusRequest => MessageId::new(BEAR, 11, 1),
            VendorMeaning::QueryStatus(_) => MessageId::new(BEAR, 12, 1),
            VendorMeaning::ResultsWaiting(_) => MessageId::new(LIME, 12, 2),
            VendorMeaning::SendResults(_) => MessageId::new(LIME, 11, 2),
            VendorMeaning::PushProxyRequest => MessageId::new(LIME, 21, 1),
            VendorMeaning::PushProxyAck(_) => MessageId::new(LIME, 22, 2),
        }
    }

    /// Appends the payload of the message to `out`. Items beyond [`MAX_ITEMS`] are left out.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_message_id(&self.id(), out);
        let put_count = |count: usize, out: &mut Vec<u8>| {
            let count = u16::try_from(count.min(MAX_ITEMS)).unwrap_or(0);
            out.extend_from_slice(&count.to_le_bytes());
        };
        match self {
            VendorMeaning::MessagesSupported(all) => {
                put_count(all.len(), out);
                all.iter().take(MAX_ITEMS).for_each(|id| put_message_id(id, out));
            }
            VendorMeaning::FeaturesSupported(all) => {
                put_count(all.len(), out);
                for (code, version) in all.iter().take(MAX_ITEMS) {
                    out.extend_from_slice(&code.0);
                    out.extend_from_slice(&version.to_le_bytes());
                }
            }
            VendorMeaning::HopsFlow(number) | VendorMeaning::SendResults(number) => {
                out.push(*number);
            }
            // The second byte: unsolicited UDP does not arrive.
            VendorMeaning::ResultsWaiting(number) => out.extend_from_slice(&[*number, 0]),
            VendorMeaning::TcpConnectBack(number)
            | VendorMeaning::UdpConnectBack(number)
            | VendorMeaning::QueryStatus(number) => out.extend_from_slice(&number.to_le_bytes()),
            VendorMeaning::QueryStatusRequest | VendorMeaning::PushProxyRequest => {}
            VendorMeaning::PushProxyAck(addr) => {
                out.extend_from_slice(&addr.ip().octets());
                out.extend_from_slice(&addr.port().to_le_bytes());
            }
        }
    }
}

impl fmt::Display for VendorMeaning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VendorMeaning::MessagesSupported(all) => {
                let all: Vec<String> = all.iter().map(MessageId::to_string).collect();
                write!(f, "reads {}", all.join(", "))
            }
            VendorMeaning::FeaturesSupported(all) => {
                let one = |(code, version): &(VendorCode, u16)| format!("{code} v{version}");
                let all: Vec<String> = all.iter().map(one).collect();
                write!(f, "has {}", all.join(", "))
            }
            VendorMeaning::HopsFlow(255) => f.write_str("takes Queries of any hops"),
            VendorMeaning::HopsFlow(hops) => {
                write!(f, "takes no Queries of {hops} hops or more")
            }
            VendorMeaning::TcpConnectBack(port) => {
                write!(f, "asks for a connection to its port {port}")
            }
            VendorMeaning::UdpConnectBack(port) => write!(f, "asks for UDP to its port {port}"),
            VendorMeaning::QueryStatusRequest => f.write_str("asks how many results a search has"),
            VendorMeaning::QueryStatus(results) => write!(f, "the search has {results} results"),
            VendorMeaning::ResultsWaiting(results) => {
                write!(f, "has {results} results to send by UDP")
            }
            VendorMeaning::SendResults(results) => write!(f, "asks for {results} results by UDP"),
            VendorMeaning::PushProxyRequest => f.write_str("asks for a push proxy"),
            VendorMeaning::PushProxyAck(addr) => write!(f, "is the push proxy at {addr}"),
        }
    }
}

fn vendor_code(bytes: &[u8]) -> VendorCode {
    let mut code = [0; 4];
    code.copy_from_slice(&bytes[..4]);
    VendorCode(code)
}

fn message_id(bytes: &[u8]) -> MessageId {
    let selector = LittleEndian::read_u16(&bytes[4..6]);
    MessageId::new(vendor_code(bytes), selector, LittleEndian::read_u16(&bytes[6..8]))
}

fn put_message_id(id: &MessageId, out: &mut Vec<u8>) {
    out.extend_from_slice(&id.vendor.0);
    out.extend_from_slice(&id.selector.to_le_bytes());
    out.extend_from_slice(&id.version.to_le_bytes());
}

/// The items of a list behind its count. `None` if fewer are there than the count says, or too many.
fn items(data: &[u8], size: usize) -> Option<impl Iterator<Item = &[u8]>> {
    let (count, rest) = data.split_first_chunk::<2>()?;
    let count = usize::from(u16::from_le_bytes(*count));
    let all = rest.get(..count * size).filter(|_| count <= MAX_ITEMS)?;
    Some(all.chunks_exact(size))
}
