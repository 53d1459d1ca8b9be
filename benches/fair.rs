//! How long descriptors between two well-behaved neighbours take while a third one floods, beside
//! how long they take when it is quiet.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on stops")]
#![allow(clippy::cast_possible_truncation, reason = "figures are far below")]

mod support;

use mio::net::TcpStream;
use servent::wire::Deframer;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use support::load::{self, Stream, descriptor, link};
use support::{Spread, heading, repetitions, row};

const TIME: Duration = Duration::from_secs(2);
/// Between two descriptors whose way is timed.
const PAUSE: Duration = Duration::from_millis(1);
/// The first bytes of the ids whose way is timed.
const MARK: [u8; 4] = *b"fair";

/// A neighbour that sends as much as the servent takes.
struct Flooder {
    stream: TcpStream,
    queries: Stream,
    /// What is left of the bytes it has begun to send.
    rest: Vec<u8>,
    bytes: u64,
}

impl Flooder {
    fn new(addr: SocketAddr, ttl: u8) -> Flooder {
        let mut template = load::query();
        template[17] = ttl;
        let queries = Stream::new(&template, 1 + u64::from(ttl) * (1 << 40));
        Flooder { stream: nonblocking(addr), queries, rest: Vec::new(), bytes: 0 }
    }

    /// A few microseconds' worth.
    fn go_on(&mut self) {
        if self.rest.is_empty() {
            self.rest.extend_from_slice(self.queries.take(100));
        }
        match self.stream.write(&self.rest) {
            Ok(count) => {
                self.rest.drain(..count);
                self.bytes += count as u64;
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    }
}

fn nonblocking(addr: SocketAddr) -> TcpStream {
    let stream = link(addr);
    stream.set_nonblocking(true).unwrap();
    TcpStream::from_std(stream)
}

/// The p50, p99 and p99.9 of a descriptor's way from one link to another, in microseconds. One
/// thread does everything: the servent has the other processor for itself.
fn ways(addr: SocketAddr, first: u32, mut flooder: Option<&mut Flooder>) -> [f64; 3] {
    let (mut from, mut to) = (nonblocking(addr), nonblocking(addr));
    let mut one = descriptor(0x80, 5, 0, b"\x01\x00zebra\0");
    one[..4].copy_from_slice(&MARK);
    let (mut deframer, mut buffer) = (Deframer::default(), vec![0; 64 * 1024]);
    let (mut ways, mut number) = (Vec::new(), first);
    let (begun, mut next, mut sent) = (Instant::now(), Instant::now(), None);
    while begun.elapsed() < TIME {
        if let Some(flooder) = &mut flooder {
            flooder.go_on();
        }
        if sent.is_none() && Instant::now() >= next {
            number += 1;
            one[4..8].copy_from_slice(&number.to_le_bytes());
            sent = Some(Instant::now());
            from.write_all(&one).unwrap();
        }
        let count = match to.read(&mut buffer) {
            Ok(0) => panic!("the servent closes on us"),
            Ok(count) => count,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                continue;
            }
        };
        let mut descriptors = deframer.feed(&buffer[..count]);
        while let Ok(Some(raw)) = descriptors.next() {
            if raw.frame()[..4] == MARK
                && let Some(sent) = sent.take()
            {
                ways.push(sent.elapsed().as_secs_f64() * 1e6);
                next = Instant::now() + PAUSE;
            }
        }
    }
    ways.sort_by(f64::total_cmp);
    [0.5, 0.99, 0.999].map(|share| ways[((ways.len() - 1) as f64 * share) as usize])
}

fn main() {
    let folder = tempfile::tempdir().unwrap();
    println!("congestion control: ours cubic, others {}", support::congestion());
    let floods = [("no flood", None), ("a flood that ends here", Some(1)), ("a flood", Some(5))];
    let mut all = floods.map(|_| [const { Vec::new() }; 3]);
    let mut rates = floods.map(|_| Vec::new());
    let mut first = 0;
    for _ in 0..repetitions(5) {
        let mut servent = support::servent(folder.path(), &["--max-links", "64"]);
        let addr = SocketAddr::V4(servent.addr());
        for (at, (_, ttl)) in floods.iter().enumerate() {
            let mut flooder = ttl.map(|ttl| Flooder::new(addr, ttl));
            first += 1_000_000;
            for (figures, way) in all[at].iter_mut().zip(ways(addr, first, flooder.as_mut())) {
                figures.push(way);
            }
            let queries = flooder.map(|flooder| flooder.bytes / load::query().len() as u64);
            rates[at].extend(queries.map(|count| count as f64 / TIME.as_secs_f64()));
        }
        servent.stop().expect("it stops when asked");
    }
    for (at, (what, _)) in floods.iter().enumerate() {
        heading(what);
        if !rates[at].is_empty() {
            row("flooded with", &Spread::new(rates[at].clone()).show("queries/s"));
        }
        for (name, number) in [("p50", 0), ("p99", 1), ("p99.9", 2)] {
            let figures = &all[at][number];
            let ratio = Spread::ratio(figures, &all[0][number]);
            let shown = Spread::new(figures.clone()).show("us");
            row(
                &format!("a descriptor's way, {name}"),
                &format!("{shown}, {:.1} times the quiet one", ratio.median()),
            );
        }
    }
}
