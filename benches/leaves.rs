//! Rate of Queries that an ultrapeer passes on to 4 other ultrapeers and to those of its 100 leaves whose
//! route table matches: 1 in 100. The same client drives any other 0.6 servent: `-- --peer IP:PORT`,
//! with `--from A.B.C` for its own addresses (A.B.C.10 and up), since gtk-gnutella takes few links from
//! one.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on stops")]
#![allow(clippy::cast_possible_truncation, reason = "figures are far below")]

mod support;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use servent::wire::HEADER_BYTES;
use servent::wire::qrp::QrpTable;
use socket2::{Domain, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};
use support::load::descriptor;
use support::{Spread, cpu_of, heading, option, repetitions, row};

const ULTRAPEERS: usize = 4;
const LEAVES: usize = 100;
/// Queries sent before their copies are waited for.
const IN_FLIGHT: usize = 64;
const TIME: Duration = Duration::from_secs(3);
/// Copies that do not arrive for this long are lost.
const PATIENCE: Duration = Duration::from_millis(500);
/// Tables are applied, and what a servent says of itself has arrived.
const SETTLING: Duration = Duration::from_secs(3);
const QUERY: u8 = 0x80;
const ROUTES: u8 = 0x30;

fn main() {
    let from = option("--from").map(|text| {
        let parts: Vec<u8> = text.split('.').map(|part| part.parse().unwrap()).collect();
        <[u8; 3]>::try_from(parts).expect("--from takes A.B.C")
    });
    let from = from.unwrap_or([127, 0, 9]);
    heading(&format!(
        "{ULTRAPEERS} ultrapeers, {LEAVES} leaves of which 1 matches, {IN_FLIGHT} in flight"
    ));
    if let Some(peer) = option("--peer") {
        let addr = peer.parse().expect("--peer takes IP:PORT");
        let pid = option("--pid").map(|text| text.parse().expect("--pid takes a number"));
        let mut client = Client::join(addr, from);
        let runs: Vec<Run> = (0..repetitions(3)).map(|_| client.run(pid)).collect();
        return show(&runs);
    }
    let runs: Vec<Run> = (0..repetitions(3))
        .map(|_| {
            let folder = tempfile::tempdir().unwrap();
            let mut servent = support::servent(folder.path(), &["--max-links", "16"]);
            let run = Client::join(SocketAddr::V4(servent.addr()), from).run(Some(servent.id()));
            servent.stop().expect("it stops when asked");
            run
        })
        .collect();
    show(&runs);
}

struct Run {
    queries: u64,
    to_ultrapeers: u64,
    to_leaves: u64,
    time: Duration,
    cpu: Option<Duration>,
}

fn show(runs: &[Run]) {
    let each = |of: &dyn Fn(&Run) -> f64| Spread::new(runs.iter().map(of).collect());
    row("passed on", &each(&|run| run.queries as f64 / run.time.as_secs_f64()).show("queries/s"));
    let share =
        |copies: u64, run: &Run, each: usize| copies as f64 / (run.queries * each as u64) as f64;
    let ultrapeers = |run: &Run| share(run.to_ultrapeers, run, ULTRAPEERS);
    row("  copies at ultrapeers, of those due", &each(&ultrapeers).show_percent());
    row(
        "  copies at leaves, of those due",
        &each(&|run| share(run.to_leaves, run, 1)).show_percent(),
    );
    if runs.iter().all(|run| run.cpu.is_some()) {
        let cpu = |run: &Run| run.cpu.unwrap_or_default().as_nanos() as f64 / run.queries as f64;
        row("  CPU per query", &each(&cpu).show("ns"));
    }
}

/// One link: what arrives on it is counted.
struct Link {
    stream: TcpStream,
    rest: Vec<u8>,
    queries: u64,
}

impl Link {
    fn read(&mut self, buffer: &mut [u8]) {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => panic!("the servent closes on us"),
                Ok(count) => self.rest.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("the servent closes on us: {error}"),
            }
        }
        let mut at = 0;
        while let Some(header) = self.rest.get(at..at + HEADER_BYTES) {
            let payload = u32::from_le_bytes(header[19..23].try_into().unwrap()) as usize;
            if self.rest.len() < at + HEADER_BYTES + payload {
                break;
            }
            self.queries += u64::from(header[16] == QUERY);
            at += HEADER_BYTES + payload;
        }
        self.rest.drain(..at);
    }
}

struct Client {
    poll: Poll,
    /// The source, the ultrapeers, then the leaves.
    links: Vec<Link>,
    next: u64,
}

impl Client {
    fn join(addr: SocketAddr, [a, b, c]: [u8; 3]) -> Client {
        let poll = Poll::new().unwrap();
        let mut links: Vec<Link> = (0..1 + ULTRAPEERS + LEAVES)
            .map(|at| {
                let from = Ipv4Addr::new(a, b, c, 10 + at as u8);
                let mut stream = handshake(addr, from, at <= ULTRAPEERS);
                if let Some(leaf) = at.checked_sub(1 + ULTRAPEERS) {
                    let table = QrpTable::of_words([&*word(leaf)]);
                    for (number, payload) in (0..).zip(table.messages()) {
                        let mut message = descriptor(ROUTES, 1, 0, &payload);
                        message[..9].copy_from_slice(&[1, number, at as u8, 4, 5, 6, 7, 8, 0xff]);
                        stream.write_all(&message).unwrap();
                    }
                }
                stream.set_nonblocking(true).unwrap();
                Link { stream: TcpStream::from_std(stream), rest: Vec::new(), queries: 0 }
            })
            .collect();
        for (at, link) in links.iter_mut().enumerate() {
            poll.registry().register(&mut link.stream, Token(at), Interest::READABLE).unwrap();
        }
        let mut client = Client { poll, links, next: 1 };
        client.read_until(Instant::now() + SETTLING, u64::MAX);
        client
    }

    /// Reads until so many copies have arrived in all, or until then.
    fn read_until(&mut self, until: Instant, copies: u64) {
        let (mut events, mut buffer) = (Events::with_capacity(256), vec![0; 64 * 1024]);
        while self.links.iter().map(|link| link.queries).sum::<u64>() < copies {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            self.poll.poll(&mut events, Some(left)).unwrap();
            for event in &events {
                self.links[event.token().0].read(&mut buffer);
            }
        }
    }

    fn run(&mut self, pid: Option<u32>) -> Run {
        self.links.iter_mut().for_each(|link| link.queries = 0);
        let before = pid.map(cpu_of);
        let (mut queries, mut lost) = (0, Duration::ZERO);
        let (mut expected, begun) = (0, Instant::now());
        while begun.elapsed() < TIME {
            let batch: Vec<u8> = (0..IN_FLIGHT).flat_map(|_| self.query()).collect();
            self.links[0].stream.write_all(&batch).expect("a batch fits the socket");
            queries += IN_FLIGHT as u64;
            expected += (IN_FLIGHT * (ULTRAPEERS + 1)) as u64;
            let sent = Instant::now();
            self.read_until(sent + PATIENCE, expected);
            let arrived: u64 = self.links.iter().map(|link| link.queries).sum();
            if arrived < expected {
                // Some were not passed on: the time waited for them is not the servent's.
                lost += PATIENCE;
                expected = arrived;
            }
        }
        let time = begun.elapsed() - lost.min(begun.elapsed() / 2);
        let cpu = pid.map(cpu_of).zip(before).map(|(now, then)| now.0 + now.1 - then.0 - then.1);
        let sum = |links: &[Link]| links.iter().map(|link| link.queries).sum();
        let to_ultrapeers = sum(&self.links[1..=ULTRAPEERS]);
        let to_leaves = sum(&self.links[1 + ULTRAPEERS..]);
        Run { queries, to_ultrapeers, to_leaves, time, cpu }
    }

    /// A Query that one leaf matches. No text comes twice: gtk-gnutella drops repeated ones. What makes it
    /// new are words of two letters, which no table has.
    fn query(&mut self) -> Vec<u8> {
        let number = self.next;
        self.next += 1;
        let pair = |number: u64| {
            let letter = |number: u64| char::from(b'a' + (number % 26) as u8);
            format!("{}{}", letter(number / 26), letter(number))
        };
        let leaf = (number % LEAVES as u64) as usize;
        let text = format!(
            "{} {} {} {} {}",
            word(leaf),
            pair(number),
            pair(number / 676),
            pair(number / 676 / 676),
            pair(number / 676 / 676 / 676)
        );
        let mut bytes = descriptor(QUERY, 3, 1, &[&[0x80, 0][..], text.as_bytes(), &[0]].concat());
        let id = (number ^ u64::from(std::process::id()) << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bytes[..8].copy_from_slice(&id.to_le_bytes());
        bytes[8..15].copy_from_slice(&[0xff, 1, 2, 3, 4, 5, 6]);
        bytes
    }
}

/// The word that one leaf has.
fn word(leaf: usize) -> String {
    let letter = |number: usize| char::from(b'a' + (number % 26) as u8);
    format!("{}{}q{}z", letter(leaf), letter(leaf / 26), letter(leaf * 7))
}

fn handshake(addr: SocketAddr, from: Ipv4Addr, is_ultrapeer: bool) -> std::net::TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddrV4::new(from, 0).into()).expect("the address is there");
    socket.connect(&addr.into()).expect("the servent listens");
    let mut stream = std::net::TcpStream::from(socket);
    stream.set_nodelay(true).unwrap();
    let role = if is_ultrapeer { "True" } else { "False" };
    let hello = format!(
        "GNUTELLA CONNECT/0.6\r\nUser-Agent: servent-bench/1\r\nX-Ultrapeer: {role}\r\n\
         X-Query-Routing: 0.1\r\nX-Degree: 32\r\nX-Max-TTL: 4\r\nX-Dynamic-Querying: 0.1\r\n\
         Bye-Packet: 0.1\r\n\r\n"
    );
    stream.write_all(hello.as_bytes()).unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("the handshake is answered");
        answer.push(byte[0]);
    }
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.starts_with("GNUTELLA/0.6 200"), "{answer}");
    stream.write_all(b"GNUTELLA/0.6 200 OK\r\n\r\n").unwrap();
    stream
}
