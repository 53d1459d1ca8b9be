//! Packet captures: pcap and pcapng files to TCP segments.
//!
//! Only TCP over IPv4 is read, behind the common link types. Other packets are counted, so that a
//! capture without a link can be explained. Segments borrow the bytes of the file.

use super::reassembly::TcpSegment;
use etherparse::{EtherType, LaxNetSlice, LaxSlicedPacket, TransportSlice};
use pcap_parser::nom;
use pcap_parser::traits::PcapNGPacketBlock;
use pcap_parser::{
    Block, Linktype, parse_block_be, parse_block_le, parse_pcap_frame, parse_pcap_frame_be,
    parse_pcap_frame_modified, parse_pcap_header,
};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

/// First four bytes of a pcapng file, the same in both byte orders.
const PCAPNG_MAGIC: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// First four bytes of a pcap file: micro- and nanoseconds in both byte orders, and the variant
/// with a longer packet header.
const PCAP_MAGICS: [[u8; 4]; 5] = [
    [0xd4, 0xc3, 0xb2, 0xa1],
    [0xa1, 0xb2, 0xc3, 0xd4],
    [0x4d, 0x3c, 0xb2, 0xa1],
    [0xa1, 0xb2, 0x3c, 0x4d],
    [0x34, 0xcd, 0xb2, 0xa1],
];

/// Block types of pcapng that are read; others are skipped by their length.
mod block_type {
    pub(super) const SECTION: u32 = 0x0a0d_0d0a;
    pub(super) const INTERFACE: u32 = 1;
    pub(super) const SIMPLE_PACKET: u32 = 3;
    pub(super) const ENHANCED_PACKET: u32 = 6;
}

/// Whether a file is a capture, by its first four bytes.
pub fn is_capture(bytes: &[u8]) -> bool {
    bytes
        .first_chunk::<4>()
        .is_some_and(|magic| *magic == PCAPNG_MAGIC || PCAP_MAGICS.contains(magic))
}

/// The contents of a capture.
#[derive(Debug, Default)]
pub struct Capture<'a> {
    /// TCP segments that open a stream or carry data, in file order.
    pub segments: Vec<TcpSegment<'a>>,
    /// Time of the first packet.
    pub start: Duration,
    /// Packets in the file.
    pub packets: u32,
    /// Packets that are not TCP over IPv4, or too damaged to say.
    pub skipped: u32,
    /// Truncated packets.
    pub cut: u32,
    /// Why the file could not be read to its end.
    pub problem: Option<String>,
}

/// One packet of the file.
struct Packet<'a> {
    time: Duration,
    link: Linktype,
    data: &'a [u8],
    cut: bool,
}

impl<'a> Capture<'a> {
    /// Reads a capture up to its end or to the first damaged packet.
    pub fn read(bytes: &'a [u8]) -> Capture<'a> {
        let mut capture = Capture::default();
        let result = if bytes.starts_with(&PCAPNG_MAGIC) {
            read_pcapng(bytes, &mut capture)
        } else {
            read_pcap(bytes, &mut capture)
        };
        capture.problem = result.err();
        capture
    }

    fn add(&mut self, packet: &Packet<'a>) {
        if self.packets == 0 {
            self.start = packet.time;
        }
        self.packets += 1;
        self.cut += u32::from(packet.cut);
        match tcp_segment(packet) {
            Some(segment) if segment.syn || !segment.data.is_empty() => {
                self.segments.push(TcpSegment { packet: self.packets, ..segment });
            }
            Some(_) => {}
            None => self.skipped += 1,
        }
    }
}

fn read_pcap<'a>(bytes: &'a [u8], capture: &mut Capture<'a>) -> Result<(), String> {
    let (mut rest, header) =
        parse_pcap_header(bytes).map_err(|_| "the capture ends within its header".to_owned())?;
    let frame = match (header.is_modified_format(), header.is_bigendian()) {
        (true, _) => parse_pcap_frame_modified,
        (false, true) => parse_pcap_frame_be,
        (false, false) => parse_pcap_frame,
    };
    let unit = if header.is_nanosecond_precision() { 1 } else { 1_000 };
    // The upper bits may hold the length of the frame check sequence.
    let link = Linktype(header.network.0 & 0xffff);
    while !rest.is_empty() {
        let (after, found) = frame(rest).map_err(|_| ends_early(bytes, rest))?;
        capture.add(&Packet {
            time: Duration::new(found.ts_sec.into(), 0)
                + Duration::from_nanos(u64::from(found.ts_usec) * unit),
            link,
            data: found.data,
            cut: found.caplen < found.origlen,
        });
        rest = after;
    }
    Ok(())
}

fn ends_early(bytes: &[u8], rest: &[u8]) -> String {
    let at = bytes.len() - rest.len();
    format!("the capture breaks off or is damaged in the packet at byte {at}")
}

/// An interface that packets were captured on, described once in a pcapng file.
struct Interface {
    link: Linktype,
    /// Units of time per second.
    resolution: u64,
    /// Seconds to add to every time.
    offset: i64,
}

impl Interface {
    fn time(&self, high: u32, low: u32) -> Duration {
        let units = u64::from(high) << 32 | u64::from(low);
        let seconds = (units / self.resolution).saturating_add_signed(self.offset);
        let part = u128::from(units % self.resolution) * 1_000_000_000;
        let nanos = u32::try_from(part / u128::from(self.resolution)).unwrap_or(0);
        Duration::new(seconds, nanos)
    }
}

/// Reads the resolution option: a negative power of ten or, with the top bit set, of two.
fn resolution(option: u8) -> u64 {
    const MICROSECONDS: u64 = 1_000_000;
    let exponent = u32::from(option & 0x7f);
    let base: u64 = if option & 0x80 == 0 { 10 } else { 2 };
    base.checked_pow(exponent).unwrap_or(MICROSECONDS)
}

fn read_pcapng<'a>(bytes: &'a [u8], capture: &mut Capture<'a>) -> Result<(), String> {
    let mut rest = bytes;
    let mut big_endian = false;
    let mut interfaces: Vec<Interface> = Vec::new();
    while !rest.is_empty() {
        let damaged = || ends_early(bytes, rest);
        let start = rest.first_chunk::<12>().ok_or_else(damaged)?;
        let [kind, len, order] =
            [0, 4, 8].map(|at| [start[at], start[at + 1], start[at + 2], start[at + 3]]);
        if kind == PCAPNG_MAGIC {
            big_endian = order == [0x1a, 0x2b, 0x3c, 0x4d];
            interfaces.clear();
        }
        let number = if big_endian { u32::from_be_bytes } else { u32::from_le_bytes };
        let len = usize::try_from(number(len)).map_err(|_| damaged())?;
        if len < 12 || len % 4 != 0 {
            return Err(damaged());
        }
        let (block, after) = rest.split_at_checked(len).ok_or_else(damaged)?;
        if matters(number(kind)) {
            let parse = if big_endian { parse_block_be } else { parse_block_le };
            let parsed: nom::IResult<_, _, _> = parse(block);
            let (_, parsed) = parsed.map_err(|_| damaged())?;
            take_block(&parsed, block, &mut interfaces, capture);
        }
        rest = after;
    }
    Ok(())
}

const fn matters(kind: u32) -> bool {
    matches!(
        kind,
        block_type::SECTION
            | block_type::INTERFACE
            | block_type::SIMPLE_PACKET
            | block_type::ENHANCED_PACKET
    )
}

fn take_block<'a>(
    parsed: &Block<'a>,
    bytes: &'a [u8],
    interfaces: &mut Vec<Interface>,
    capture: &mut Capture<'a>,
) {
    match parsed {
        Block::InterfaceDescription(block) => interfaces.push(Interface {
            link: block.linktype,
            resolution: resolution(block.if_tsresol),
            offset: block.if_tsoffset,
        }),
        Block::EnhancedPacket(block) => {
            let number = usize::try_from(block.if_id).unwrap_or(usize::MAX);
            let Some(interface) = interfaces.get(number) else { return skip(capture) };
            let caplen = usize::try_from(block.caplen).unwrap_or(usize::MAX);
            capture.add(&Packet {
                time: interface.time(block.ts_high, block.ts_low),
                link: interface.link,
                data: &block.data[..caplen.min(block.data.len())],
                cut: block.truncated(),
            });
        }
        Block::SimplePacket(block) => {
            let Some(interface) = interfaces.first() else { return skip(capture) };
            // After type, length and original length; before padding and the second length.
            let all = bytes.get(12..bytes.len() - 4).unwrap_or_default();
            let wanted = usize::try_from(block.origlen).unwrap_or(usize::MAX);
            capture.add(&Packet {
                time: capture.start,
                link: interface.link,
                data: &all[..wanted.min(all.len())],
                cut: wanted > all.len(),
            });
        }
        _ => {}
    }
}

fn skip(capture: &mut Capture<'_>) {
    capture.packets += 1;
    capture.skipped += 1;
}

/// The TCP segment in a packet; `packet` is filled in by the caller.
fn tcp_segment<'a>(packet: &Packet<'a>) -> Option<TcpSegment<'a>> {
    let sliced = slice_link(packet.link, packet.data)?;
    let LaxNetSlice::Ipv4(ip) = sliced.net? else { return None };
    if ip.is_payload_fragmented() {
        return None;
    }
    let TransportSlice::Tcp(tcp) = sliced.transport? else { return None };
    let header = ip.header();
    let addr = |ip: Ipv4Addr, port| SocketAddrV4::new(ip, port);
    let syn = tcp.syn();
    Some(TcpSegment {
        from: addr(header.source().into(), tcp.source_port()),
        to: addr(header.destination().into(), tcp.destination_port()),
        // A SYN takes one number of its own.
        seq: tcp.sequence_number().wrapping_add(u32::from(syn)),
        syn,
        packet: 0,
        time: packet.time,
        data: tcp.payload(),
    })
}

fn slice_link(link: Linktype, data: &[u8]) -> Option<LaxSlicedPacket<'_>> {
    let ether_type = |at: usize| {
        let bytes = [*data.get(at)?, *data.get(at + 1)?];
        Some(EtherType(u16::from_be_bytes(bytes)))
    };
    match link {
        Linktype::ETHERNET => LaxSlicedPacket::from_ethernet(data).ok(),
        Linktype::LINUX_SLL => {
            Some(LaxSlicedPacket::from_ether_type(ether_type(14)?, data.get(16..)?))
        }
        Linktype::LINUX_SLL2 => {
            Some(LaxSlicedPacket::from_ether_type(ether_type(0)?, data.get(20..)?))
        }
        // The address family before the packet is in the byte order of the recording machine; the
        // packet's own version says the same.
        Linktype::NULL | Linktype::LOOP => LaxSlicedPacket::from_ip(data.get(4..)?).ok(),
        // 12 and 14 are what BSD systems have for "raw".
        Linktype::RAW | Linktype::IPV4 | Linktype(12 | 14) => LaxSlicedPacket::from_ip(data).ok(),
        _ => None,
    }
}
