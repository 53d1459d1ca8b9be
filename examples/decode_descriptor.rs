//! Reads a QueryHit from the bytes of a link: `cargo run --example decode_descriptor`.
//!
//! The byte stream of a link is cut into descriptors by a [`Deframer`]. A descriptor is a header of
//! 23 bytes and a payload, which a view such as [`QueryHit`] reads where it lies, without a copy.

use servent::wire::{Deframer, Kind, Query, QueryHit};
use std::error::Error;

/// A Query and the QueryHit that answers it: both carry the same GUID.
const STREAM: &[u8] = &[
    // GUID of the Query
    0x10, 0x21, 0x32, 0x43, 0x54, 0x65, 0x76, 0x87, 0xff, 0x98, 0xa9, 0xba, 0xcb, 0xdc, 0xed, 0x00,
    // kind, TTL, hops; length of the payload, little endian
    0x80, 0x07, 0x00, 0x08, 0x00, 0x00, 0x00, //
    // minimum speed, search text, NUL
    0x01, 0x00, b'h', b'e', b'l', b'l', b'o', 0x00, //
    // GUID of the QueryHit
    0x10, 0x21, 0x32, 0x43, 0x54, 0x65, 0x76, 0x87, 0xff, 0x98, 0xa9, 0xba, 0xcb, 0xdc, 0xed, 0x00,
    // kind, TTL, hops; length of the payload
    0x81, 0x03, 0x00, 0x2e, 0x00, 0x00, 0x00, //
    // number of results; port 6346 and address 192.0.2.10; speed in kbit/s
    0x01, 0xca, 0x18, 0xc0, 0x00, 0x02, 0x0a, 0x5e, 0x01, 0x00, 0x00, //
    // the result: file index, file size, name, NUL, no extension, NUL
    0x07, 0x00, 0x00, 0x00, 0x05, 0x00, 0x00, 0x00, b'h', b'e', b'l', b'l', b'o', b'.', b't', b'x',
    b't', 0x00, 0x00, //
    // servent id
    0xf0, 0xe1, 0xd2, 0xc3, 0xb4, 0xa5, 0x96, 0x87, 0xff, 0x78, 0x69, 0x5a, 0x4b, 0x3c, 0x2d, 0x00,
];

fn main() -> Result<(), Box<dyn Error>> {
    let mut deframer = Deframer::default();
    // A socket gives the stream in pieces of any size; a descriptor that is cut is put together.
    for piece in STREAM.chunks(40) {
        let mut descriptors = deframer.feed(piece);
        while let Some(raw) = descriptors.next()? {
            let header = raw.header();
            println!("{} {} TTL {} hops {}", header.kind, header.guid, header.ttl, header.hops);
            match header.kind {
                Kind::Query => {
                    let query = Query::decode(raw.payload())?;
                    println!("  searches for {:?}", String::from_utf8_lossy(query.criteria));
                }
                Kind::QueryHit => {
                    let hit = QueryHit::decode(raw.payload())?;
                    for result in hit.results() {
                        let name = String::from_utf8_lossy(result.name);
                        println!(
                            "  http://{}/get/{}/{name}, {} bytes",
                            hit.addr, result.index, result.size
                        );
                    }
                }
                _ => {}
            }
        }
    }
    Ok(())
}
