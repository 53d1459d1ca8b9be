//! Attackers for `fair`: the attacks of `tests/it/hostile/table.rs` that work on a process, and the
//! most expensive Queries known.

use super::load::{descriptor, link};
use mio::net::TcpStream;
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Instant;

const PING: u8 = 0;
const PONG: u8 = 1;
const PUSH: u8 = 0x40;
const QUERY: u8 = 0x80;
const HIT: u8 = 0x81;

/// The servent under attack.
pub struct Target {
    pub addr: SocketAddr,
    /// Its servent id.
    pub identity: [u8; 16],
    /// The GUID of a Ping and a Query of an honest neighbour.
    pub asked: [u8; 16],
    /// Its page, and the page's token.
    pub http: SocketAddr,
    pub token: String,
    /// Its control socket.
    pub control: PathBuf,
}

/// What an attacker does with its sockets.
#[derive(Clone, Copy)]
pub enum Act {
    /// One link sends descriptors as fast as possible, or `rate` per second. `one` makes a descriptor
    /// from its number; it gets a new GUID unless `keeps_guid`.
    Flood { one: fn(&Target, u32) -> Vec<u8>, keeps_guid: bool, reads: bool, rate: Option<u32> },
    /// Connects again and again, sends these bytes, and holds up to so many sockets open.
    Crowd(fn() -> Vec<u8>, usize),
    /// So many clients ask for the status, each as soon as it has the answer.
    Poll(Door, usize),
}

/// Where clients ask.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// `POST /rpc`
    Http,
    /// The control socket.
    Control,
}

pub struct Attack {
    pub name: &'static str,
    pub act: Act,
}

const fn flood(name: &'static str, one: fn(&Target, u32) -> Vec<u8>) -> Attack {
    Attack { name, act: Act::Flood { one, keeps_guid: false, reads: true, rate: None } }
}

/// Descriptors that keep the GUID which leads to the intended kind of drop.
const fn replies(name: &'static str, one: fn(&Target, u32) -> Vec<u8>) -> Attack {
    Attack { name, act: Act::Flood { one, keeps_guid: true, reads: true, rate: None } }
}

const fn at_rate(name: &'static str, one: fn(&Target, u32) -> Vec<u8>, rate: u32) -> Attack {
    Attack { name, act: Act::Flood { one, keeps_guid: true, reads: true, rate: Some(rate) } }
}

pub const ATTACKS: [Attack; 31] = [
    flood("Queries without answers", |_, _| query(5, &[b'n'; 54])),
    flood("Queries of TTL 1", |_, _| query(1, &[b'n'; 54])),
    flood("answered Queries", |_, _| query(1, b"hello")),
    Attack {
        name: "answered Queries, answers never read",
        act: Act::Flood {
            one: |_, _| query(1, b"hello"),
            keeps_guid: false,
            reads: false,
            rate: None,
        },
    },
    flood("Queries of 4 KB that decompose to 18 times as much", |_, _| query(1, &unfolding(1_360))),
    flood("Queries of 255 bytes that decompose", |_, _| query(1, &unfolding(85))),
    flood("Queries of 32 words", |_, n| query(1, many_words(n).as_bytes())),
    replies("duplicates of one Query", |_, _| query(5, b"nobody has this")),
    flood("Pings of TTL 7", |_, _| descriptor(PING, 7, 0, &[])),
    flood("keepalives: Pings of TTL 1", |_, _| descriptor(PING, 1, 0, &[])),
    flood("Pongs without a Ping", |_, n| pong(n)),
    replies("Pongs to one Ping", |target, n| asked(target, pong(n))),
    replies("Pongs without an address", |target, _| {
        asked(target, descriptor(PONG, 5, 0, &[0; 14]))
    }),
    flood("Pushes to one victim", |target, _| push(target, 1)),
    flood("Pushes to many victims", push),
    flood("hits without a Query", |_, n| hit(n, &[9; 16])),
    replies("hits to one Query", |target, n| asked(target, hit(n, &[9; 16]))),
    replies("hits, each with a new servent id", |target, n| {
        let mut servent = [7; 16];
        servent[..4].copy_from_slice(&n.to_le_bytes());
        asked(target, hit(n, &servent))
    }),
    replies("hits with the servent's own id", |target, n| asked(target, hit(n, &target.identity))),
    flood("Queries of TTL 255", |_, _| query(255, b"far")),
    flood("malformed payloads", |_, _| descriptor(HIT, 5, 0, &[255; 40])),
    flood("unknown kinds", |_, _| descriptor(0x99, 5, 0, &[1; 5])),
    Attack { name: "headers of 4 GiB payloads, reconnecting", act: Act::Crowd(endless, 0) },
    Attack { name: "links that close at once", act: Act::Crowd(|| CONNECT.to_vec(), 0) },
    Attack { name: "silent connections", act: Act::Crowd(Vec::new, 600) },
    Attack {
        name: "unterminated requests",
        act: Act::Crowd(|| [&b"GET /get/1/x HTTP/1.1\r\nX: "[..], &[b'x'; 4_000]].concat(), 600),
    },
    Attack {
        name: "pipelined requests, answers never read",
        act: Act::Crowd(|| b"GET /get/1/nothing HTTP/1.1\r\nHost: x\r\n\r\n".repeat(180), 600),
    },
    at_rate("100,000 Pongs per second", |target, n| asked(target, pong(n)), 100_000),
    at_rate(
        "2,000 decomposing Queries of 4 KB per second",
        |_, n| {
            let mut bytes = query(1, &unfolding(1_360));
            bytes[..4].copy_from_slice(&n.to_le_bytes());
            bytes
        },
        2_000,
    ),
    Attack { name: "ten clients that poll /rpc without pause", act: Act::Poll(Door::Http, 10) },
    Attack { name: "ten clients that poll the control socket", act: Act::Poll(Door::Control, 10) },
];

const CONNECT: &[u8] = b"GNUTELLA CONNECT/0.4\n\n";

fn query(ttl: u8, text: &[u8]) -> Vec<u8> {
    descriptor(QUERY, ttl, 0, &[&[1, 0], text, &[0]].concat())
}

/// U+3316, one of the characters with the longest decomposition.
fn unfolding(count: usize) -> Vec<u8> {
    "\u{3316}".repeat(count).into_bytes()
}

fn many_words(n: u32) -> String {
    (0..32).map(|word| format!("he{} ", (n + word) % 100)).collect()
}

fn pong(n: u32) -> Vec<u8> {
    let [a, b, c, _] = n.to_le_bytes();
    let addr = [0xca, 0x18, 127, 66 + c % 100, a, b];
    descriptor(PONG, 5, 0, &[&addr[..], &[1, 0, 0, 0, 1, 0, 0, 0]].concat())
}

fn push(target: &Target, n: u32) -> Vec<u8> {
    let [a, b, ..] = n.to_le_bytes();
    // No listener is there.
    let victim = [127, 66, a, b, 1, 0];
    descriptor(PUSH, 5, 0, &[&target.identity[..], &[1, 0, 0, 0], &victim].concat())
}

fn hit(n: u32, servent: &[u8; 16]) -> Vec<u8> {
    let mut payload = vec![1, 0xca, 0x18, 127, 66, 0, 1, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0];
    payload.extend_from_slice(format!("bait {n}.exe\0\0").as_bytes());
    payload.extend_from_slice(servent);
    descriptor(HIT, 5, 0, &payload)
}

fn asked(target: &Target, mut descriptor: Vec<u8>) -> Vec<u8> {
    descriptor[..16].copy_from_slice(&target.asked);
    descriptor
}

fn endless() -> Vec<u8> {
    let mut bytes = [CONNECT, &query(1, b"")].concat();
    bytes[CONNECT.len() + 19..CONNECT.len() + 23].fill(0xff);
    bytes
}

/// A running attacker. It works step by step in the measuring thread.
pub enum Attacker {
    Flood(Box<Flooder>),
    /// Connections.
    Crowd(Box<Crowd>),
    /// Clients.
    Poll(Poller),
}

/// Clients that ask for the status without pause.
pub struct Poller {
    clients: VecDeque<Asking>,
    request: Vec<u8>,
    door: Door,
    count: usize,
}

trait Both: Read + Write {}
impl<T: Read + Write> Both for T {}

/// A client, and what it has of its answer; `None` before it asks.
struct Asking {
    stream: Box<dyn Both>,
    answer: Option<Vec<u8>>,
}

impl Poller {
    fn new(target: &Target, door: Door, clients: usize) -> Poller {
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"status"}"#;
        let request = match door {
            Door::Control => format!("{body}\n"),
            Door::Http => format!(
                "POST /rpc HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\
                 \r\n{body}",
                target.http,
                target.token,
                body.len()
            ),
        };
        let dial = || -> Box<dyn Both> {
            match door {
                Door::Http => {
                    let stream = std::net::TcpStream::connect(target.http).unwrap();
                    stream.set_nonblocking(true).unwrap();
                    Box::new(stream)
                }
                Door::Control => {
                    let stream = std::os::unix::net::UnixStream::connect(&target.control).unwrap();
                    stream.set_nonblocking(true).unwrap();
                    Box::new(stream)
                }
            }
        };
        let clients = (0..clients).map(|_| Asking { stream: dial(), answer: None }).collect();
        Poller { clients, request: request.into_bytes(), door, count: 0 }
    }

    fn go_on(&mut self) {
        let Some(mut client) = self.clients.pop_front() else { return };
        match &mut client.answer {
            None => {
                client.stream.write_all(&self.request).unwrap();
                client.answer = Some(Vec::new());
            }
            Some(answer) => {
                let mut buffer = [0; 8_192];
                match client.stream.read(&mut buffer) {
                    Ok(0) => panic!("the servent closes on a client"),
                    Ok(count) => answer.extend_from_slice(&buffer[..count]),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                }
                if self.door.is_complete(answer) {
                    client.answer = None;
                    self.count += 1;
                }
            }
        }
        self.clients.push_back(client);
    }
}

impl Door {
    fn is_complete(self, answer: &[u8]) -> bool {
        if self == Door::Control {
            return answer.ends_with(b"\n");
        }
        let text = String::from_utf8_lossy(answer);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let length = head.split_once("Content-Length: ").unwrap().1;
        body.len() >= length.split("\r\n").next().unwrap().parse().unwrap()
    }
}

/// Connections that send the same bytes and are closed, or held up to a limit.
pub struct Crowd {
    addr: SocketAddr,
    says: Vec<u8>,
    /// Not connected yet. Connecting never blocks: a full backlog of the listener would stop the
    /// measuring thread.
    connecting: VecDeque<TcpStream>,
    held: VecDeque<TcpStream>,
    most: usize,
    count: usize,
    dialled: u16,
}

/// Connections in progress at one time.
const CONNECTING: usize = 64;

impl Crowd {
    fn new(addr: SocketAddr, says: Vec<u8>, most: usize) -> Crowd {
        let (connecting, held) = (VecDeque::new(), VecDeque::new());
        Crowd { addr, says, connecting, held, most, count: 0, dialled: 0 }
    }

    fn go_on(&mut self) {
        if self.connecting.len() < CONNECTING {
            let dialled = self.dial();
            self.connecting.extend(dialled);
        }
        let Some(mut stream) = self.connecting.pop_front() else { return };
        if stream.peer_addr().is_err() {
            // In progress, or failed.
            if matches!(stream.take_error(), Ok(None)) {
                self.connecting.push_back(stream);
            }
            return;
        }
        let _ = stream.write(&self.says);
        self.count += 1;
        self.held.push_back(stream);
        if self.held.len() > self.most {
            self.held.pop_front();
        }
    }

    /// Dials from a new source address each time: finding a free port of one address takes the kernel
    /// milliseconds when tens of thousands are in use.
    fn dial(&mut self) -> Option<TcpStream> {
        use socket2::{Domain, Socket, Type};
        self.dialled = self.dialled.wrapping_add(1);
        let [low, high] = self.dialled.to_le_bytes();
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).ok()?;
        socket.set_nonblocking(true).ok()?;
        socket.bind(&SocketAddr::from(([127, 77, high, low], 0)).into()).ok()?;
        // In progress; a failure is seen later.
        let _ = socket.connect(&self.addr.into());
        Some(TcpStream::from_std(socket.into()))
    }
}

pub struct Flooder {
    stream: TcpStream,
    /// Whole descriptors, sent over and over.
    bytes: Vec<u8>,
    /// Where each begins.
    starts: Vec<usize>,
    /// Bytes of `bytes` sent in this round.
    sent: usize,
    keeps_guid: bool,
    reads: bool,
    rate: Option<u32>,
    begun: Instant,
    total: usize,
    next_id: u64,
    buffer: Vec<u8>,
}

/// Bytes of one step: a few microseconds.
const STEP_BYTES: usize = 8 * 1024;
/// Different descriptors.
const POOL: u32 = 4_000;

impl Attacker {
    pub fn new(attack: &Attack, target: &Target) -> Attacker {
        match attack.act {
            Act::Flood { one, keeps_guid, reads, rate } => {
                let (mut bytes, mut starts) = (Vec::new(), Vec::new());
                for n in 0..POOL {
                    starts.push(bytes.len());
                    bytes.extend_from_slice(&one(target, n));
                }
                let flooder = Flooder {
                    stream: nonblocking(target.addr),
                    bytes,
                    starts,
                    sent: 0,
                    keeps_guid,
                    reads,
                    rate,
                    begun: Instant::now(),
                    total: 0,
                    next_id: 1 << 40,
                    buffer: vec![0; 256 * 1024],
                };
                Attacker::Flood(Box::new(flooder))
            }
            Act::Crowd(says, most) => {
                Attacker::Crowd(Box::new(Crowd::new(target.addr, says(), most)))
            }
            Act::Poll(door, clients) => Attacker::Poll(Poller::new(target, door, clients)),
        }
    }

    /// One step: a few microseconds, some tens for a connection.
    pub fn go_on(&mut self) {
        match self {
            Attacker::Flood(flooder) => flooder.go_on(),
            Attacker::Crowd(crowd) => crowd.go_on(),
            Attacker::Poll(poller) => poller.go_on(),
        }
    }

    /// Descriptors, connections or answers so far.
    pub fn count(&self) -> usize {
        match self {
            Attacker::Flood(flooder) => {
                let part = flooder.starts.partition_point(|start| *start < flooder.sent);
                flooder.total + part
            }
            Attacker::Crowd(crowd) => crowd.count,
            Attacker::Poll(poller) => poller.count,
        }
    }
}

impl Flooder {
    fn go_on(&mut self) {
        if self.reads {
            while matches!(self.stream.read(&mut self.buffer), Ok(1..)) {}
        }
        let part = self.starts.partition_point(|start| *start < self.sent);
        let allowed = self.rate.map(|rate| self.begun.elapsed().as_secs_f64() * f64::from(rate));
        if allowed.is_some_and(|allowed| (self.total + part) as f64 > allowed) {
            return;
        }
        if self.sent == 0 && !self.keeps_guid {
            for start in &self.starts {
                let id = self.next_id.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                self.bytes[*start..start + 8].copy_from_slice(&id.to_le_bytes());
                self.next_id += 1;
            }
        }
        let end = self.bytes.len().min(self.sent + STEP_BYTES);
        match self.stream.write(&self.bytes[self.sent..end]) {
            Ok(count) => self.sent += count,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
        }
        if self.sent == self.bytes.len() {
            self.sent = 0;
            self.total += self.starts.len();
        }
    }
}

pub fn nonblocking(addr: SocketAddr) -> TcpStream {
    let stream = link(addr);
    stream.set_nonblocking(true).unwrap();
    TcpStream::from_std(stream)
}
