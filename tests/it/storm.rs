//! Attacks on a real process, one kind after the other and then all at once: what it holds stays
//! below what `--explain-limits` says, and two neighbours that behave go on as if nothing was.

use crate::process::{Place, Running, descriptor, lines, query, read_kind};
use servent::testnet::memory;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const QUERY: u8 = 0x80;
const QUERY_HIT: u8 = 0x81;
/// How long each kind of attack goes on.
const TIME: Duration = Duration::from_millis(400);
/// GUID bytes of the Queries that attacks refer to.
const ASKED: u8 = 0x77;

/// Distinct ids for all attackers.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// A storm's surroundings.
struct Target {
    addr: std::net::SocketAddrV4,
    /// Whose id Pushes need.
    identity: [u8; 16],
}

impl Target {
    fn dial(&self) -> Option<TcpStream> {
        let stream = TcpStream::connect(self.addr).ok()?;
        stream.set_write_timeout(Some(TIME)).ok()?;
        Some(stream)
    }

    fn link(&self) -> Option<TcpStream> {
        let mut stream = self.dial()?;
        stream.write_all(b"GNUTELLA CONNECT/0.4\n\n").ok()?;
        let mut answer = [0; 13];
        stream.read_exact(&mut answer).ok()?;
        Some(stream)
    }

    /// Sends what `one` makes until the time is over or the link is.
    fn flood(&self, until: Instant, one: impl Fn(u64) -> Vec<u8>) {
        let Some(mut link) = self.link() else { return };
        link.set_nonblocking(true).unwrap();
        let mut buffer = vec![0; 65_536];
        while Instant::now() < until {
            let first = NEXT.fetch_add(200, Ordering::Relaxed);
            let bytes: Vec<u8> = (first..first + 200).flat_map(&one).collect();
            let mut rest = &bytes[..];
            while !rest.is_empty() && Instant::now() < until {
                match link.write(rest) {
                    Ok(count) => rest = &rest[count..],
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(_) => return,
                }
                // What the others send must not fill this one's queue.
                while matches!(link.read(&mut buffer), Ok(1..)) {}
            }
        }
    }

    /// Opens sockets, says the same on each, and holds them.
    fn crowd(&self, until: Instant, hello: bool, says: &[u8]) {
        let mut held = Vec::new();
        while Instant::now() < until {
            let opened = if hello { self.link() } else { self.dial() };
            let Some(mut socket) = opened else { continue };
            socket.set_nonblocking(true).unwrap();
            let _ = socket.write(says);
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
    // Nobody is there.
    let target = [127, 66, a, b, 1, 0];
    numbered(n, 0x40, 5, &[&to[..], &[1, 0, 0, 0], &target].concat())
}

type Storm = (&'static str, fn(&Target, Instant));

const STORMS: [Storm; 11] = [
    ("Queries", |at, until| at.flood(until, |n| numbered(n, QUERY, 7, &query("hello nobody")))),
    ("answered Queries", |at, until| at.flood(until, |n| numbered(n, QUERY, 1, &query("hello")))),
    ("the longest Queries", |at, until| {
        at.flood(until, |n| numbered(n, QUERY, 7, &query(&"long ".repeat(800))));
    }),
    ("Pings", |at, until| at.flood(until, |n| numbered(n, 0, 7, &[]))),
    ("hits", |at, until| at.flood(until, hit)),
    ("Pushes", |at, until| at.flood(until, |n| push(n, &at.identity))),
    ("descriptors that do not end", |at, until| {
        let begun = descriptor(1, QUERY_HIT, 5, 0, &vec![1; 65_000]);
        at.crowd(until, true, &begun[..60_000]);
    }),
    ("links that never read", |at, until| at.crowd(until, true, b"")),
    ("strangers that say nothing", |at, until| at.crowd(until, false, b"")),
    ("requests that do not end", |at, until| {
        let head = [&b"GET /get/1/x HTTP/1.1\r\nX: "[..], &vec![b'x'; 8_000]].concat();
        at.crowd(until, false, &head);
    }),
    ("requests ahead of their answers", |at, until| {
        let asks = b"GET /get/1/hello.txt HTTP/1.1\r\nHost: x\r\n\r\n";
        at.crowd(until, false, &asks.repeat(180));
    }),
];

/// Sends a Query from one link to the other, over and over, and says how long the slowest took.
fn converse(
    mut from: TcpStream,
    mut to: TcpStream,
    stop: Arc<AtomicBool>,
) -> thread::JoinHandle<(u64, Duration)> {
    thread::spawn(move || {
        // What the storms send to everybody is taken in all the time.
        let mut drain = from.try_clone().unwrap();
        thread::spawn(move || while matches!(drain.read(&mut [0; 65_536]), Ok(1..)) {});
        let (mut count, mut slowest) = (0, Duration::ZERO);
        while !stop.load(Ordering::Relaxed) {
            count += 1;
            let asked = numbered(count | 1 << 63, QUERY, 5, &query("between friends"));
            let begun = Instant::now();
            from.write_all(&asked).unwrap();
            while read_kind(&mut to, QUERY)[..16] != asked[..16] {}
            slowest = slowest.max(begun.elapsed());
        }
        (count, slowest)
    })
}

/// What `run --explain-limits` says is the most.
fn stated_bound(place: &Place, args: &[&str]) -> u64 {
    let told = lines(&place.run(&[&["run", "--explain-limits"], args].concat()));
    let line = told.iter().find(|line| line.ends_with("in all")).expect("the sum is told");
    let mebibytes: f64 = line.split_whitespace().next().unwrap().parse().unwrap();
    assert!(line.contains("MiB"), "{line}");
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few millions")]
    let bytes = (mebibytes * 1024.0 * 1024.0) as u64;
    bytes
}

fn identity(servent: &Running) -> [u8; 16] {
    let mut link = servent.link();
    link.write_all(&descriptor(3, QUERY, 1, 0, &query("hello"))).unwrap();
    let hit = read_kind(&mut link, QUERY_HIT);
    *hit.last_chunk().unwrap()
}

#[test]
fn what_a_servent_holds_under_attack_is_what_it_says_at_most() {
    let place = Place::new();
    let share = place.share("pub", &[("hello.txt", b"hello")]);
    let args = ["--links", "0", "--no-pings"];
    let bound = stated_bound(&place, &args);
    let mut servent = place.start(&[&args[..], &["--share", share.to_str().unwrap()]].concat());
    let target = Target { addr: servent.addr, identity: identity(&servent) };
    let (mut from, to) = (servent.link(), servent.link());
    from.write_all(&descriptor(ASKED, QUERY, 5, 0, &query("something"))).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let friends = converse(from, to, Arc::clone(&stop));
    let pid = servent.pid();
    for (name, storm) in STORMS {
        storm(&target, Instant::now() + TIME);
        let most = memory(pid, "VmHWM").unwrap();
        println!("{name}: {} KiB", most / 1024);
        assert!(most <= bound, "{most} bytes after {name}, at most {bound} were stated");
    }
    let all = &target;
    thread::scope(|scope| {
        for (_, storm) in STORMS {
            scope.spawn(move || storm(all, Instant::now() + 3 * TIME));
        }
    });
    let most = memory(pid, "VmHWM").unwrap();
    println!("all at once: {} KiB, stated {} KiB", most / 1024, bound / 1024);
    assert!(most <= bound, "{most} bytes, at most {bound} were stated");
    stop.store(true, Ordering::Relaxed);
    let (count, slowest) = friends.join().expect("friends are heard all the time");
    println!("{count} Queries between friends, the slowest took {slowest:?}");
    servent.signal(rustix::process::Signal::INT);
    assert!(servent.wait().0.success());
}
