//! Attacks on the page's server of a real process. Each comes to what its row says, none takes more
//! memory than its connections may, an honest client is answered afterwards, and a descriptor still
//! crosses from one link to the other.

use crate::process::{Home, Running, descriptor, query, read_kind};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longest wait for anything.
const TIMEOUT: Duration = Duration::from_secs(60);
/// More than 32 clients with a head, a body, 256 KiB of output and a page each may take.
const MEMORY_BYTES: u64 = 32 << 20;

/// What an attack must come to for the connection it came by.
#[derive(Debug, PartialEq)]
enum Fate {
    /// It is answered with this status and closed; nothing that follows is answered.
    Refused(u16),
    /// It is closed, or waits: no more is read of it.
    Held,
    /// It gets what it asked for.
    Served,
}

struct Target {
    servent: Running,
    http: SocketAddr,
    token: String,
}

type Row = (&'static str, Fate, fn(&Target) -> Fate);

const ROWS: [Row; 15] = [
    ("a head without end", Fate::Refused(431), |at| {
        at.endless(b"GET / HTTP/1.1\r\nX: ", b"xxxxxxxxxxxxxxxx")
    }),
    ("header lines without end", Fate::Refused(431), |at| {
        at.endless(b"GET / HTTP/1.1\r\n", b"A: b\r\nA: b\r\n")
    }),
    ("empty lines without end", Fate::Held, |at| at.endless(b"", b"\r\n\r\n\r\n\r\n")),
    ("a body of a terabyte", Fate::Refused(413), |at| {
        at.endless(&at.post("Content-Length: 1000000000000\r\n"), &[b'x'; 4_096])
    }),
    ("chunks without end", Fate::Refused(413), |at| {
        at.endless(&at.post("Transfer-Encoding: chunked\r\n"), b"10\r\nxxxxxxxxxxxxxxxx\r\n")
    }),
    ("a chunk of 16 EiB", Fate::Refused(413), |at| {
        at.say(&[&at.post("Transfer-Encoding: chunked\r\n")[..], b"ffffffffffffffff\r\n"].concat())
    }),
    ("a length beside chunks, and a request in the body", Fate::Refused(400), |at| {
        let head = at.post("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n");
        at.say(&[&head[..], b"0\r\n\r\n", at.get("/metrics").as_bytes()].concat())
    }),
    ("two lengths, and a request in the body", Fate::Refused(400), |at| {
        let head = at.post("Content-Length: 0\r\nContent-Length: 90\r\n");
        at.say(&[&head[..], at.get("/metrics").as_bytes()].concat())
    }),
    ("a body of unknown length", Fate::Refused(411), |at| at.say(&at.post(""))),
    ("a bare line feed that ends a head for some", Fate::Refused(400), |at| {
        at.say(format!("GET / HTTP/1.1\nHost: {}\n\n{}", at.http, at.get("/metrics")).as_bytes())
    }),
    ("TLS", Fate::Refused(400), |at| at.say(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\r\n")),
    ("slow heads on many connections", Fate::Held, |at| at.crowd(300, b"GET / HTTP/1.1\r\nX")),
    ("silent connections", Fate::Held, |at| at.crowd(300, b"")),
    ("pages that are asked for and never read", Fate::Held, |at| {
        let mut streams: Vec<TcpStream> = (0..20).map(|_| at.dial()).collect();
        let pages = at.get("/").repeat(500);
        for stream in &mut streams {
            stream.set_nonblocking(true).unwrap();
            let _ = stream.write(pages.as_bytes());
        }
        at.is_served();
        Fate::Held
    }),
    ("a thousand requests at once", Fate::Served, |at| {
        let mut stream = at.dial();
        stream.write_all(at.get("/healthz").repeat(1_000).as_bytes()).unwrap();
        let mut seen = Vec::new();
        while seen.windows(6).filter(|it| it == b"\r\n\r\nok").count() < 1_000 {
            let mut buffer = [0; 65_536];
            let count = stream.read(&mut buffer).unwrap();
            assert!(count > 0, "closed in between");
            seen.extend_from_slice(&buffer[..count]);
        }
        Fate::Served
    }),
];

impl Target {
    fn new(home: &Home) -> Target {
        let state = home.path("state");
        let mut servent = home.start(&[
            "--links",
            "0",
            "--http",
            "127.0.0.1:0",
            "--state",
            state.to_str().unwrap(),
        ]);
        let said = servent.wait_for("the page is at http://");
        let (_, rest) = said.split_once("http://").unwrap();
        let http = rest.split('/').next().unwrap().parse().unwrap();
        let token = std::fs::read_to_string(state.join("http-token")).unwrap().trim().to_owned();
        Target { servent, http, token }
    }

    fn dial(&self) -> TcpStream {
        let stream = TcpStream::connect(self.http).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.set_write_timeout(Some(TIMEOUT)).unwrap();
        stream
    }

    fn get(&self, path: &str) -> String {
        format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.http)
    }

    /// The head of a call by somebody who has the token.
    fn post(&self, headers: &str) -> Vec<u8> {
        let (http, token) = (self.http, &self.token);
        let text = format!(
            "POST /rpc HTTP/1.1\r\nHost: {http}\r\nAuthorization: Bearer {token}\r\n{headers}\r\n"
        );
        text.into_bytes()
    }

    fn say(&self, bytes: &[u8]) -> Fate {
        let mut stream = self.dial();
        stream.write_all(bytes).unwrap();
        fate_of(&mut stream)
    }

    /// Sends `more` again and again, up to 8 MiB, or until that is read no more.
    fn endless(&self, first: &[u8], more: &[u8]) -> Fate {
        let mut stream = self.dial();
        stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
        let more = more.repeat(65_536 / more.len());
        let mut sent = stream.write_all(first);
        for _ in 0..(8 << 20) / more.len() {
            sent = sent.and_then(|()| stream.write_all(&more));
        }
        match sent {
            // The rest of what was sent is thrown away after the answer, and resets the connection.
            Ok(()) | Err(_) if first.is_empty() => Fate::Held,
            _ => fate_of(&mut stream),
        }
    }

    /// Opens sockets, sends `bytes` on each and holds them while somebody else is served.
    fn crowd(&self, count: usize, bytes: &[u8]) -> Fate {
        let streams: Vec<TcpStream> = (0..count)
            .map(|_| {
                let mut stream = self.dial();
                let _ = stream.write_all(bytes);
                stream
            })
            .collect();
        self.is_served();
        assert!(self.metric("servent_http_clients") <= 32);
        drop(streams);
        Fate::Held
    }

    fn answer(&self, path: &str) -> String {
        let mut stream = self.dial();
        let text = self.get(path).replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
        stream.write_all(text.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn is_served(&self) {
        let answer = self.answer("/healthz");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("ok\n"), "{answer}");
    }

    fn metric(&self, name: &str) -> u64 {
        let answer = self.answer("/metrics");
        let line = answer.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }
}

fn fate_of(stream: &mut TcpStream) -> Fate {
    let (mut answer, mut buffer) = (Vec::new(), [0; 4_096]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => panic!("neither answered nor closed: {error}"),
        }
    }
    let answer = String::from_utf8_lossy(&answer);
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    Fate::Refused(answer.split(' ').nth(1).unwrap().parse().unwrap())
}

/// A descriptor crosses from one link to the other.
fn crosses(links: &mut [TcpStream; 2], id: u8) {
    let [from, to] = links;
    from.write_all(&descriptor(id, 0x80, 5, 0, &query("nobody has this"))).unwrap();
    loop {
        if read_kind(to, 0x80)[..16] == [id; 16] {
            return;
        }
    }
}

#[test]
fn a_page_under_attack_costs_its_share_and_no_link() {
    let home = Home::new();
    let target = Target::new(&home);
    let mut links = [target.servent.link(), target.servent.link()];
    crosses(&mut links, 100);
    let before = target.servent.resident_bytes();
    for ((name, fate, attack), id) in ROWS.into_iter().zip(1..) {
        println!("{name}");
        assert_eq!(attack(&target), fate, "{name}");
        target.is_served();
        crosses(&mut links, id);
        let grown = target.servent.resident_bytes().saturating_sub(before);
        assert!(grown < MEMORY_BYTES, "{name}: {grown} bytes more");
    }
}

/// Nobody reads its events, while many happen.
#[test]
fn a_listener_that_never_reads_loses_records_and_costs_no_link() {
    let home = Home::new();
    let target = Target::new(&home);
    let mut links = [target.servent.link(), target.servent.link()];
    crosses(&mut links, 100);
    let before = target.servent.resident_bytes();
    let listeners: Vec<TcpStream> = (0..8)
        .map(|_| {
            let mut stream = target.dial();
            let (http, token) = (target.http, &target.token);
            let text = format!(
                "GET /events HTTP/1.1\r\nHost: {http}\r\nAuthorization: Bearer {token}\r\n\r\n"
            );
            stream.write_all(text.as_bytes()).unwrap();
            let mut first = [0; 15];
            stream.read_exact(&mut first).unwrap();
            assert_eq!(&first, b"HTTP/1.1 200 OK");
            stream
        })
        .collect();
    for round in 0..200_u32 {
        let bytes: Vec<u8> = (0..100_u32)
            .flat_map(|n| {
                let mut one = descriptor(9, 0x80, 5, 0, &query("nobody has this"));
                one[..4].copy_from_slice(&(round * 100 + n).to_le_bytes());
                one
            })
            .collect();
        links[0].write_all(&bytes).unwrap();
        for _ in 0..100 {
            read_kind(&mut links[1], 0x80);
        }
    }
    crosses(&mut links, 101);
    target.is_served();
    let grown = target.servent.resident_bytes().saturating_sub(before);
    assert!(grown < MEMORY_BYTES, "{grown} bytes more");
    drop(listeners);
}
