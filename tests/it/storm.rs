//! Attacks on a real process, one kind after the other and then all at once: its memory stays below
//! what `--explain-limits` states, and two honest neighbours still exchange descriptors.

use crate::process::{Home, Running, descriptor, lines, query, read_kind};
use servent::testnet::memory;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const QUERY: u8 = 0x80;
const QUERY_HIT: u8 = 0x81;
/// Duration of each attack.
const DURATION: Duration = Duration::from_millis(400);
/// GUID bytes of the Queries that attacks refer to.
const ASKED: u8 = 0x77;

/// The next unused number for a GUID, of all attackers.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// The servent under attack.
struct Target {
    addr: std::net::SocketAddrV4,
    /// Its servent id, which Pushes name.
    identity: [u8; 16],
}

impl Target {
    fn dial(&self) -> Option<TcpStream> {
        let stream = TcpStream::connect(self.addr).ok()?;
        stream.set_write_timeout(Some(DURATION)).ok()?;
        Some(stream)
    }

    fn link(&self) -> Option<TcpStream> {
        let mut stream = self.dial()?;
        stream.write_all(b"GNUTELLA CONNECT/0.4\n\n").ok()?;
        let mut answer = [0; 13];
        stream.read_exact(&mut answer).ok()?;
        Some(stream)
    }

    /// Sends the descriptors that `one` makes from running numbers, until `until` or the link's end.
    fn flood(&self, until: Instant, one: impl Fn(u64) -> Vec<u8>) {
        let Some(mut link) = self.link() else { return };
        link.set_nonblocking(true).unwrap();
        let mut buffer = vec![0; 65_536];
        while Instant::now() < until {
            let first = NEXT_ID.fetch_add(200, Ordering::Relaxed);
            let bytes: Vec<u8> = (first..first + 200).flat_map(&one).collect();
            let mut rest = &bytes[..];
            while !rest.is_empty() && Instant::now() < until {
                match link.write(rest) {
                    Ok(count) => rest = &rest[count..],
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(_) => return,
                }
                // Reads, so that copies from others do not fill this link's queue.
                while matches!(link.read(&mut buffer), Ok(1..)) {}
            }
        }
    }

    /// Opens sockets, with or without a handshake, sends `bytes` on each and holds it.
    fn crowd(&self, until: Instant, handshake: bool, bytes: &[u8]) {
        let mut held = Vec::new();
        while Instant::now() < until {
            let opened = if handshake { self.link() } else { self.dial() };
            let Some(mut socket) = opened else { continue };
            socket.set_nonblocking(true).unwrap();
            let _ = socket.write(bytes);
            held.push(socket);
            if held.len() > 600 {
                held.clear();
            }
        }
    }
}

fn numbered(n: u64, kind: u8, ttl: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = descriptor(1, kind, ttl, 0, payload);
    bytes[..8].copy_from_slice(&n.to_le_bytes());
    bytes
}

fn hit(n: u64) -> Vec<u8> {
    let mut payload = vec![1, 0xca, 0x18, 127, 66, 0, 1, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0];
    payload.extend_from_slice(format!("bait {n}.exe\0\0").as_bytes());
    payload.extend_from_slice(&[&n.to_le_bytes()[..], &[9; 8]].concat());
    descriptor(ASKED, QUERY_HIT, 5, 0, &payload)
}

fn push(n: u64, to: &[u8; 16]) -> Vec<u8> {
    let [a, b, ..] = n.to_le_bytes();
    // No listener is there.
    let target = [127, 66, a, b, 1, 0];
    numbered(n, 0x40, 5, &[&to[..], &[1, 0, 0, 0], &target].concat())
}

/// An attack, and the rows of `--explain-limits` whose memory it may use besides [`USUAL`].
type Storm = (&'static str, fn(&Target, Instant), &'static [&'static str]);

const SENT: &[&str] = &["send queues", "accounts"];
const IDS: &[&str] = &["ids of Pings"];
const ASSEMBLED: &[&str] = &["descriptors being"];
const HEADS: &[&str] = &["request heads"];
/// Rows that every attack uses.
const USUAL: [&str; 7] = [
    "the program itself",
    "sockets",
    "bytes of one read",
    "input that waits",
    "records of --events",
    "cached Pongs",
    "hosts known",
];

const STORMS: [Storm; 11] = [
    (
        "Queries",
        |at, until| at.flood(until, |n| numbered(n, QUERY, 7, &query("nobody"))),
        &["send queues", "accounts", "descriptors being", "ids of Queries", "ids being moved"],
    ),
    (
        "answered Queries",
        |at, until| at.flood(until, |n| numbered(n, QUERY, 1, &query("hello"))),
        &[
            "send queues",
            "accounts",
            "descriptors being",
            "ids of Queries",
            "ids being",
            "pending events",
        ],
    ),
    (
        "the longest Queries",
        |at, until| at.flood(until, |n| numbered(n, QUERY, 7, &query(&"long ".repeat(800)))),
        ASSEMBLED,
    ),
    ("Pings", |at, until| at.flood(until, |n| numbered(n, 0, 7, &[])), IDS),
    (
        "hits",
        |at, until| at.flood(until, hit),
        &["send queues", "accounts", "descriptors being", "servent ids", "ids of Queries"],
    ),
    (
        "Pushes",
        |at, until| at.flood(until, |n| push(n, &at.identity)),
        &["ids of Pushes", "Pushes remembered"],
    ),
    (
        "descriptors that do not end",
        |at, until| {
            let begun = descriptor(1, QUERY_HIT, 5, 0, &vec![1; 65_000]);
            at.crowd(until, true, &begun[..60_000]);
        },
        ASSEMBLED,
    ),
    ("links that never read", |at, until| at.crowd(until, true, b""), SENT),
    ("strangers that say nothing", |at, until| at.crowd(until, false, b""), HEADS),
    (
        "requests that do not end",
        |at, until| {
            let head = [&b"GET /get/1/x HTTP/1.1\r\nX: "[..], &vec![b'x'; 8_000]].concat();
            at.crowd(until, false, &head);
        },
        HEADS,
    ),
    (
        "requests ahead of their answers",
        |at, until| {
            let asks = b"GET /get/1/hello.txt HTTP/1.1\r\nHost: x\r\n\r\n";
            at.crowd(until, false, &asks.repeat(180));
        },
        &["request heads", "pending events"],
    ),
];

/// Sends Queries from one honest link to another until `stop`; their number, and the slowest one's
/// time.
fn converse(
    mut from: TcpStream,
    mut to: TcpStream,
    stop: Arc<AtomicBool>,
) -> thread::JoinHandle<(u64, Duration)> {
    thread::spawn(move || {
        // Reads what the attacks flood to all links.
        let mut drain = from.try_clone().unwrap();
        thread::spawn(move || while matches!(drain.read(&mut [0; 65_536]), Ok(1..)) {});
        let (mut count, mut slowest) = (0, Duration::ZERO);
        while !stop.load(Ordering::Relaxed) {
            count += 1;
            let asked = numbered(count | 1 << 63, QUERY, 5, &query("honest"));
            let begun = Instant::now();
            from.write_all(&asked).unwrap();
            while read_kind(&mut to, QUERY)[..16] != asked[..16] {}
            slowest = slowest.max(begun.elapsed());
        }
        (count, slowest)
    })
}

/// The rows of `run --explain-limits` in bytes, and their sum.
fn stated(home: &Home, args: &[&str]) -> (Vec<(String, u64)>, u64) {
    let table = lines(&home.run(&[&["run", "--explain-limits"], args].concat()));
    let mut rows = table.iter().skip(1).map_while(|line| {
        let mut words = line.split_whitespace();
        let number: f64 = words.next()?.parse().ok()?;
        let scale = match words.next()? {
            "B" => 1.0,
            "KiB" => 1024.0,
            "MiB" => 1024.0 * 1024.0,
            _ => return None,
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "millions")]
        let bytes = (number * scale) as u64;
        Some((words.collect::<Vec<_>>().join(" "), bytes))
    });
    let mut rows: Vec<_> = rows.by_ref().collect();
    let (name, all) = rows.pop().expect("the last row is the sum");
    assert_eq!(name, "in all");
    (rows, all)
}

/// A servent under attack, with two honest neighbours that exchange Queries.
struct Besieged {
    servent: Running,
    target: Target,
    stop: Arc<AtomicBool>,
    honest: thread::JoinHandle<(u64, Duration)>,
}

impl Besieged {
    fn new(home: &Home, args: &[&str], state: &str) -> Besieged {
        let servent = home.start(&[args, &["--state", state]].concat());
        let target = Target { addr: servent.addr, identity: identity(&servent) };
        let (mut from, to) = (servent.link(), servent.link());
        from.write_all(&descriptor(ASKED, QUERY, 5, 0, &query("something"))).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let honest = converse(from, to, Arc::clone(&stop));
        Besieged { servent, target, stop, honest }
    }

    /// Its peak of resident memory so far, in bytes.
    fn peak(&self) -> u64 {
        memory(self.servent.pid(), "VmHWM").unwrap()
    }

    fn end(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let (count, slowest) =
            self.honest.join().expect("honest neighbours are served all the time");
        println!("{count} honest Queries, the slowest took {slowest:?}");
        self.servent.signal(rustix::process::Signal::INT);
        assert!(self.servent.wait().0.success());
    }
}

fn identity(servent: &Running) -> [u8; 16] {
    let mut link = servent.link();
    link.write_all(&descriptor(3, QUERY, 1, 0, &query("hello"))).unwrap();
    let hit = read_kind(&mut link, QUERY_HIT);
    *hit.last_chunk().unwrap()
}

/// Each attack alone uses no more than its rows state, with or without `--events`; all at once use no
/// more than the sum.
#[test]
fn memory_under_attack_stays_below_what_explain_limits_states() {
    let home = Home::new();
    let share = home.share("pub", &[("hello.txt", b"hello")]);
    let file = home.path("events");
    let share = ["--links", "0", "--no-pings", "--share", share.to_str().unwrap()];
    // Few links make the bounds low enough for a leak to exceed them.
    let args = [&share[..], &["--max-links", "8"]].concat();
    let events = [&args[..], &["--events", file.to_str().unwrap()]].concat();
    let (every_row, _) = stated(&home, &events);
    for (number, (name, storm, uses)) in STORMS.into_iter().enumerate() {
        for used in USUAL.iter().chain(uses) {
            assert!(every_row.iter().any(|(row, _)| row.starts_with(used)), "no row \"{used}\"");
        }
        // Half of the attacks run with --events.
        let args = if number % 2 == 0 { &events[..] } else { &args[..] };
        let (rows, _) = stated(&home, args);
        let used = |row: &str| USUAL.iter().chain(uses).any(|used| row.starts_with(used));
        let bound: u64 = rows.iter().filter(|(row, _)| used(row)).map(|(_, bytes)| bytes).sum();
        let besieged = Besieged::new(&home, args, &format!("state-{number}"));
        storm(&besieged.target, Instant::now() + DURATION);
        let peak = besieged.peak();
        println!("{name}: {} KiB, stated {} KiB", peak / 1024, bound / 1024);
        assert!(peak <= bound, "{peak} bytes after {name}, at most {bound} were stated");
        besieged.end();
    }
    let events = [&share[..], &["--events", file.to_str().unwrap()]].concat();
    let (_, bound) = stated(&home, &events);
    let besieged = Besieged::new(&home, &events, "state");
    let target = &besieged.target;
    thread::scope(|scope| {
        for (_, storm, _) in STORMS {
            scope.spawn(move || storm(target, Instant::now() + 3 * DURATION));
        }
    });
    let peak = besieged.peak();
    println!("all at once: {} KiB, stated {} KiB", peak / 1024, bound / 1024);
    assert!(peak <= bound, "{peak} bytes, at most {bound} were stated");
    besieged.end();
}
