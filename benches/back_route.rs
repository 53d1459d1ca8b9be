//! Rate of QueryHits routed back to one link of many; reference: a relay with one other link.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on stops")]
#![allow(clippy::cast_possible_truncation, reason = "figures are far below")]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};
use support::load::{descriptor, hit, link};
use support::{Spread, heading, repetitions, row};

const LINKS: usize = 16;
/// Forwarded Queries whose routes the hits use.
const QUERIES: usize = 64;
const HITS: usize = 600_000;
/// Answering servents.
const SERVENTS: u64 = 20_000;

fn guid(query: usize) -> [u8; 16] {
    let mut guid = [0x5a; 16];
    guid[..8].copy_from_slice(&(query as u64 + 1).to_le_bytes());
    guid
}

/// All hits, for the Queries and from the servents in turn. No two are equal.
fn hits() -> Vec<u8> {
    let one = hit();
    let mut all = one.repeat(HITS);
    for (number, bytes) in all.chunks_exact_mut(one.len()).enumerate() {
        bytes[..16].copy_from_slice(&guid(number % QUERIES));
        let end = bytes.len();
        bytes[end - 8..].copy_from_slice(&(number as u64 % SERVENTS).to_le_bytes());
        bytes[34..38].copy_from_slice(&u32::try_from(number).unwrap().to_le_bytes());
    }
    all
}

/// Reads until nothing arrives for a while: the bytes read, and when the last arrived.
fn take_in(mut sink: &TcpStream) -> (u64, Instant) {
    sink.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
    let (mut buffer, mut bytes, mut last) = (vec![0; 256 * 1024], 0, Instant::now());
    while let Ok(count @ 1..) = sink.read(&mut buffer) {
        (bytes, last) = (bytes + count as u64, Instant::now());
    }
    (bytes, last)
}

/// Hits delivered per second, and their share of all hits.
fn send_hits(mut source: &TcpStream, sinks: &[TcpStream], hits: &[u8]) -> (f64, f64) {
    let (read, begun) = thread::scope(|scope| {
        let readers = sinks.iter().map(|sink| scope.spawn(|| take_in(sink)));
        let readers: Vec<_> = readers.collect();
        let begun = Instant::now();
        source.write_all(hits).unwrap();
        let read = readers.into_iter().map(|it| it.join().unwrap());
        (read.collect::<Vec<(u64, Instant)>>(), begun)
    });
    let bytes: u64 = read.iter().map(|(bytes, _)| bytes).sum();
    let last = read.iter().map(|(_, last)| *last).max().unwrap();
    let delivered = bytes as f64 / hit().len() as f64;
    (delivered / (last - begun).as_secs_f64(), delivered / HITS as f64)
}

/// The second of two runs, when the tables know all servents.
fn twice(source: &TcpStream, sinks: &[TcpStream], hits: &[u8]) -> (f64, f64) {
    send_hits(source, sinks, hits);
    send_hits(source, sinks, hits)
}

fn main() {
    if std::env::args().any(|arg| arg == "--as-relay") {
        return support::relay::main().expect("the relay runs");
    }
    let (hits, folder) = (hits(), tempfile::tempdir().unwrap());
    let (mut relayed, mut routed, mut share) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..repetitions(5) {
        let (mut child, addr) = support::relay::spawn();
        relayed.push(twice(&link(addr), &[link(addr)], &hits).0);
        child.wait().unwrap();

        let mut servent = support::servent(folder.path(), &["--max-links", "64"]);
        let addr = SocketAddr::V4(servent.addr());
        let mut source = link(addr);
        let mut askers: Vec<TcpStream> = (0..LINKS).map(|_| link(addr)).collect();
        for query in 0..QUERIES {
            let mut bytes = descriptor(0x80, 5, 0, b"\x01\x00zebra\0");
            bytes[..16].copy_from_slice(&guid(query));
            askers[0].write_all(&bytes).unwrap();
            // Once it is forwarded here, its route is recorded.
            source.read_exact(&mut bytes).unwrap();
        }
        for other in &mut askers[1..] {
            let one = descriptor(0x80, 5, 0, b"\x01\x00zebra\0").len();
            other.read_exact(&mut vec![0; one * QUERIES]).unwrap();
        }
        let (rate, delivered) = twice(&source, &askers, &hits);
        routed.push(rate);
        share.push(delivered);
        servent.stop().expect("it stops when asked");
    }
    let len = hit().len();
    heading(&format!("{len} bytes a hit, from {SERVENTS} servents, to one link of {LINKS}"));
    println!("congestion control: ours cubic, others {}", support::congestion());
    row("reference: relay, one to one", &Spread::new(relayed.clone()).show("hits/s"));
    row("servent", &Spread::new(routed.clone()).show("hits/s"));
    row("  of the relay", &Spread::ratio(&routed, &relayed).show_percent());
    row("  delivered", &Spread::new(share).show_percent());
}
