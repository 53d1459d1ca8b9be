//! The HTTP server by itself, on loopback: routes, who may ask, streams, limits.

use crate::process::read_head;
use mio::{Events, Poll, Token};
use serde_json::{Value, json};
use servent::control::message::reply_line;
use servent::http::{Access, Asked, ExchangeId, Listening, MAX_CLIENTS, Page, SERVENT, Server};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const TOKEN: &str = "0123456789abcdef";
/// The first token of the server's sockets.
const FIRST: Token = Token(1 << 20);

/// What a test has the owner of the server do.
type Order = Box<dyn FnOnce(&mut Server, &[ExchangeId]) + Send>;

/// A server, and a thread that owns it: it answers metrics with a line, `search` with notifications
/// before its name, other methods with their name, but never `ping`; it keeps subscribers.
struct Site {
    addr: SocketAddr,
    orders: Option<Sender<Order>>,
    gone: Receiver<ExchangeId>,
    thread: Option<JoinHandle<()>>,
}

impl Site {
    fn new() -> Site {
        Site::with_page(SERVENT)
    }

    fn with_page(page: Page) -> Site {
        let listening = Listening::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let addr = listening.addr();
        let (orders, received) = channel::<Order>();
        let (tell_gone, gone) = channel();
        let thread = thread::spawn(move || {
            let mut poll = Poll::new().unwrap();
            let access = Access::new(TOKEN, vec!["box.example".to_owned()]);
            let mut server = Server::new(poll.registry(), FIRST, listening, access, page).unwrap();
            let (mut events, mut subscribers) = (Events::with_capacity(64), Vec::new());
            loop {
                let now = Instant::now();
                let wait = server.deadline(now).map_or(Duration::MAX, |at| at - now.min(at));
                poll.poll(&mut events, Some(wait.min(Duration::from_millis(5)))).unwrap();
                for event in events.iter() {
                    assert!(server.owns(event.token()));
                    server.handle(event.token(), event.is_readable(), event.is_writable());
                }
                let now = Instant::now();
                server.turn(poll.registry(), now);
                while let Some(asked) = server.next_asked() {
                    if let Asked::Gone { id } = asked {
                        let _ = tell_gone.send(id);
                    }
                    answer(&mut server, &mut subscribers, asked, now);
                }
                loop {
                    match received.try_recv() {
                        Ok(order) => order(&mut server, &subscribers),
                        Err(std::sync::mpsc::TryRecvError::Empty) => break,
                        Err(std::sync::mpsc::TryRecvError::Disconnected) => return,
                    }
                }
                server.flush(now);
            }
        });
        Site { addr, orders: Some(orders), gone, thread: Some(thread) }
    }

    fn order(&self, order: impl FnOnce(&mut Server, &[ExchangeId]) + Send + 'static) {
        self.orders.as_ref().unwrap().send(Box::new(order)).unwrap();
    }

    fn dial(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    /// A connection on which `text` was sent; `HOST` in it is the server's address.
    fn send(&self, text: &str) -> TcpStream {
        let mut stream = self.dial();
        stream.write_all(text.replace("HOST", &self.addr.to_string()).as_bytes()).unwrap();
        stream
    }

    /// What is answered up to the end of the connection.
    fn ask(&self, text: &str) -> String {
        let mut answer = String::new();
        self.send(text).read_to_string(&mut answer).unwrap();
        answer
    }

    fn get(&self, path: &str, headers: &str) -> String {
        self.ask(&format!(
            "GET {path} HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n{headers}\r\n"
        ))
    }

    fn rpc(&self, body: &str) -> String {
        self.ask(&post(body, "Connection: close\r\n"))
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        drop(self.orders.take());
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || thread::panicking(), "the server's thread panicked");
    }
}

fn answer(server: &mut Server, subscribers: &mut Vec<ExchangeId>, asked: Asked, now: Instant) {
    match asked {
        Asked::Metrics { id, open } => server.reply(id, &format!("open {open}\n"), now),
        Asked::Subscribe { id, topics } => {
            let topics = serde_json::to_string(&topics).unwrap();
            server.notify(id, "topics", &topics, now);
            subscribers.push(id);
        }
        Asked::Gone { id } => subscribers.retain(|it| *it != id),
        Asked::Call { id, request } => {
            if request.method == "ping" {
                return subscribers.push(id);
            }
            if request.method == "search" {
                for n in 0..2 {
                    server.notify(id, "hit", &format!("{{\"n\":{n}}}"), now);
                }
            }
            let result = json!({"method": request.method});
            server.reply(id, &reply_line(&request.id.unwrap(), Ok(result)), now);
        }
    }
}

fn post(body: &str, headers: &str) -> String {
    let length = body.len();
    format!(
        "POST /rpc HTTP/1.1\r\nHost: HOST\r\nAuthorization: Bearer {TOKEN}\r\n{headers}\
         Content-Length: {length}\r\n\r\n{body}"
    )
}

fn status_of(answer: &str) -> u16 {
    answer
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or_else(|| panic!("{answer}"))
}

fn body_of(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

#[test]
fn routes_are_answered_with_the_headers_that_keep_a_page_safe() {
    let site = Site::new();
    let healthz = site.get("/healthz", "");
    assert_eq!((status_of(&healthz), body_of(&healthz)), (200, "ok\n"));
    for path in ["/", "/healthz", "/metrics", "/nothing", "/rpc", "/events"] {
        let answer = site.get(path, "");
        for line in [
            "X-Content-Type-Options: nosniff\r\n",
            "Cache-Control: no-store\r\n",
            "Referrer-Policy: no-referrer\r\n",
            "Content-Security-Policy: default-src 'none'; ",
            "frame-ancestors 'none'",
        ] {
            assert!(answer.contains(line), "{path}: {line} is missing in {answer}");
        }
        assert!(!answer.contains("Access-Control"), "{answer}");
    }
    let page = site.get("/", "");
    let (head, body) = page.split_once("\r\n\r\n").unwrap();
    let nonce = head.split_once("script-src 'nonce-").unwrap().1.split_once('\'').unwrap().0;
    assert!(body.contains(&format!("<script nonce=\"{nonce}\">")));
    for rule in
        ["connect-src 'self'", "base-uri 'none'", "form-action 'none'", "default-src 'none'"]
    {
        assert!(head.contains(rule), "{head}");
    }
    assert!(!page.contains(TOKEN), "the page holds nothing but the page");
    let other = site.get("/", "");
    assert!(!other.contains(nonce), "a nonce is used once");

    assert_eq!(body_of(&site.get("/metrics", "")), "open false\n");
    let old = site.get("/metrics", "Accept: text/plain\r\n");
    assert!(old.contains("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{old}");
    let accept = "Accept: application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3\r\n";
    let new = site.get("/metrics", accept);
    assert!(new.contains("Content-Type: application/openmetrics-text; version=1.0.0"), "{new}");
    assert_eq!(body_of(&new), "open true\n");

    assert_eq!(status_of(&site.get("/index.html", "")), 404);
    assert_eq!(status_of(&site.get("/../etc/passwd", "")), 404);
    let wrong =
        site.ask("POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    assert!(wrong.contains("405") && wrong.contains("Allow: GET, HEAD\r\n"), "{wrong}");
    let wrong = site.get("/rpc", "");
    assert!(wrong.contains("405") && wrong.contains("Allow: POST\r\n"), "{wrong}");
    let head = site.ask("HEAD /healthz HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n");
    assert!(head.contains("Content-Length: 3\r\n") && body_of(&head).is_empty(), "{head}");
    let head = site.ask("HEAD /metrics HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n");
    assert!(head.contains("Content-Length: 11\r\n") && body_of(&head).is_empty(), "{head}");
}

#[test]
fn only_those_who_may_ask_are_answered() {
    let site = Site::new();
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    let rpc = |host: &str, headers: &str| {
        let text = format!(
            "POST /rpc HTTP/1.1\r\nHost: {host}\r\n{headers}Connection: close\r\n\
             Content-Length: 40\r\n\r\n{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"status\"}}"
        );
        site.ask(&text.replace("40", "42"))
    };
    assert_eq!(status_of(&rpc("HOST", &bearer)), 200);
    for headers in ["", "Authorization: Bearer x\r\n", "Authorization: Basic eA==\r\n"] {
        let answer = rpc("HOST", headers);
        assert_eq!(status_of(&answer), 401, "{headers}");
        assert!(answer.contains("WWW-Authenticate: Bearer\r\n"), "{answer}");
        assert_eq!(status_of(&site.get("/events", headers)), 401, "{headers}");
    }
    for origin in ["http://evil.example", "null", "http://127.0.0.1:1"] {
        let headers = format!("{bearer}Origin: {origin}\r\n");
        assert_eq!(status_of(&rpc("HOST", &headers)), 403, "{origin}");
        assert_eq!(status_of(&site.get("/events", &headers)), 403, "{origin}");
    }
    let own = format!("{bearer}Origin: http://HOST\r\n");
    assert_eq!(status_of(&rpc("HOST", &own)), 200);
    for host in ["evil.example", "evil.example:80", "127.0.0.1.evil.example"] {
        assert_eq!(status_of(&rpc(host, &bearer)), 421, "{host}");
        for path in ["/", "/metrics", "/healthz", "/nothing"] {
            let text = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            assert_eq!(status_of(&site.ask(&text)), 421, "{path} of {host}");
        }
    }
    for host in ["localhost:99", "10.9.8.7", "[::1]:80", "box.example:8080"] {
        assert_eq!(status_of(&rpc(host, &bearer)), 200, "{host}");
    }
}

#[test]
fn calls_are_answered_whole_or_as_lines_while_they_come() {
    let site = Site::new();
    let answer = site.rpc(r#"{"jsonrpc":"2.0","id":"a","method":"status"}"#);
    assert!(answer.contains("Content-Type: application/json\r\n"), "{answer}");
    let reply: Value = serde_json::from_str(body_of(&answer)).unwrap();
    assert_eq!(reply, json!({"jsonrpc": "2.0", "id": "a", "result": {"method": "status"}}));

    let answer = site.rpc(r#"{"jsonrpc":"2.0","id":7,"method":"search"}"#);
    assert!(answer.contains("Content-Type: application/x-ndjson\r\n"), "{answer}");
    let lines = unchunked(body_of(&answer));
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!((&lines[1]["method"], &lines[1]["params"]["n"]), (&json!("hit"), &json!(1)));
    assert_eq!(lines[2]["id"], 7);

    for (body, code) in [
        ("", -32_700),
        ("[]", -32_600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"subscribe","params":{"events":[]}}"#, -32_001),
    ] {
        let answer = site.rpc(body);
        let reply: Value = serde_json::from_str(body_of(&answer)).unwrap();
        assert_eq!(reply["error"]["code"], code, "{answer}");
    }
    // A request without an id has an answer all the same.
    let answer = site.rpc(r#"{"jsonrpc":"2.0","method":"rescan"}"#);
    assert!(body_of(&answer).contains("\"id\":null"), "{answer}");

    // HTTP/1.0 knows no chunks.
    let body = r#"{"jsonrpc":"2.0","id":7,"method":"search"}"#;
    let answer = site.ask(&post(body, "").replace("HTTP/1.1", "HTTP/1.0"));
    assert_eq!(body_of(&answer).lines().count(), 3, "{answer}");
}

fn unchunked(mut text: &str) -> String {
    let mut out = String::new();
    loop {
        let (size, rest) = text.split_once("\r\n").unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        out.push_str(&rest[..size]);
        text = rest[size..].strip_prefix("\r\n").unwrap();
        if size == 0 {
            assert_eq!(text, "");
            return out;
        }
    }
}

#[test]
fn requests_that_follow_each_other_are_answered_in_order() {
    let site = Site::new();
    let one = |id: u32| post(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"status"}}"#), "");
    let last = "GET /healthz HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n";
    let text: String = (0..200).map(one).chain([last.to_owned()]).collect();
    let answer = site.ask(&text);
    let ids: Vec<u32> = answer
        .match_indices("\"id\":")
        .map(|(at, found)| {
            answer[at + found.len()..].split([',', '}']).next().unwrap().parse().unwrap()
        })
        .collect();
    assert_eq!(ids, (0..200).collect::<Vec<_>>());
    assert!(answer.ends_with("ok\n"));
    let mut waits = site.send(&post("{}", "Connection: close\r\nExpect: 100-continue\r\n"));
    assert_eq!(read_head(&mut waits), "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(status_of(&read_head(&mut waits)), 200);
}

/// Reads from a stream until `text` has come.
fn read_to(stream: &mut TcpStream, text: &str) -> String {
    let mut seen = Vec::new();
    let mut byte = [0; 4_096];
    while !String::from_utf8_lossy(&seen).contains(text) {
        let count = stream.read(&mut byte).unwrap();
        assert!(count > 0, "{text} did not come: {}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&byte[..count]);
    }
    String::from_utf8(seen).unwrap()
}

fn subscribe(site: &Site, query: &str) -> TcpStream {
    site.send(&format!(
        "GET /events{query} HTTP/1.1\r\nHost: HOST\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    ))
}

#[test]
fn events_are_streamed_until_the_client_leaves() {
    let site = Site::new();
    let mut all = subscribe(&site, "");
    let head = read_to(&mut all, "event: topics");
    assert!(head.contains("Content-Type: text/event-stream"), "{head}");
    assert!(head.contains(r#"data: ["links","searches","transfers","drops"]"#), "{head}");
    let mut some = subscribe(&site, "?events=drops%2Clinks");
    read_to(&mut some, r#"data: ["drops","links"]"#);
    site.order(|server, subscribers| {
        for id in subscribers {
            server.notify(*id, "event", "{\"seq\":1}", Instant::now());
        }
    });
    for stream in [&mut all, &mut some] {
        read_to(stream, "event: event\ndata: {\"seq\":1}\n\n");
    }
    drop(all);
    site.gone.recv_timeout(Duration::from_secs(60)).unwrap();
    site.order(|server, subscribers| {
        assert_eq!(subscribers.len(), 1);
        server.notify(subscribers[0], "event", "{\"seq\":2}", Instant::now());
    });
    read_to(&mut some, "{\"seq\":2}");
    let bad = site.get("/events?events=everything", &format!("Authorization: Bearer {TOKEN}\r\n"));
    assert!(status_of(&bad) == 400 && bad.contains("searches"), "{bad}");
}

#[test]
fn a_client_that_does_not_keep_up_is_told_what_it_missed() {
    const RECORDS: u64 = 60_000;
    let site = Site::new();
    let mut slow = site.send(&post(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#, ""));
    let (told, counted) = channel();
    let write = move |server: &mut Server, subscribers: &[ExchangeId]| {
        let params = format!("{{\"pad\":\"{}\"}}", "x".repeat(400));
        for n in 0..RECORDS {
            server.notify(subscribers[0], "pong", &params, Instant::now());
            if n % 100 == 0 {
                server.flush(Instant::now());
            }
        }
        told.send(server.counts().missed).unwrap();
    };
    // The request may not have been read yet.
    wait_for_exchange(&site);
    site.order(write);
    let missed = counted.recv_timeout(Duration::from_secs(60)).unwrap();
    assert!(missed > 0, "24 MB fit into no socket");
    // It reads again, and with the next record it is told.
    let (mut told, mut records, mut kept) = (0, 0, String::new());
    let mut buffer = vec![0; 65_536];
    let begun = Instant::now();
    while told < missed {
        assert!(begun.elapsed() < Duration::from_secs(60), "told of {told} of {missed}");
        site.order(|server, subscribers| {
            server.notify(subscribers[0], "pong", "{}", Instant::now());
        });
        let count = slow.read(&mut buffer).unwrap();
        kept.push_str(&String::from_utf8_lossy(&buffer[..count]));
        records += kept.matches("\"pong\"").count() as u64;
        for (at, found) in kept.match_indices("{\"missed\":") {
            let number = kept[at + found.len()..].split_once('}');
            told += number.map_or(0, |(number, _)| number.parse::<u64>().unwrap());
        }
        let from = kept.rfind('\n').map_or(0, |at| at + 1);
        kept.drain(..from);
    }
    assert!(records + told >= RECORDS, "{records} told, {told} missed");
}

fn wait_for_exchange(site: &Site) {
    let (tell, told) = channel();
    loop {
        let tell = tell.clone();
        site.order(move |_, subscribers| tell.send(subscribers.len()).unwrap());
        if told.recv_timeout(Duration::from_secs(60)).unwrap() > 0 {
            return;
        }
    }
}

/// So that a page in the midst of a flood slows no link.
#[test]
fn records_beyond_what_a_page_can_show_are_left_out() {
    let site = Site::new();
    let mut page = subscribe(&site, "");
    read_to(&mut page, "topics");
    let (tell, told) = channel();
    site.order(move |server, subscribers| {
        let now = Instant::now() + Duration::from_secs(5);
        for _ in 0..2_500 {
            server.notify(subscribers[0], "event", "{}", now);
        }
        let missed = server.counts().missed;
        assert!(!server.has_room(subscribers[0], now));
        assert!(server.has_room(subscribers[0], now + Duration::from_secs(1)));
        server.notify(subscribers[0], "event", "{\"last\":1}", now + Duration::from_secs(1));
        tell.send(missed).unwrap();
    });
    assert_eq!(told.recv_timeout(Duration::from_secs(60)).unwrap(), 500);
    let seen = read_to(&mut page, "{\"last\":1}");
    assert!(seen.contains("event: missed\ndata: {\"missed\":500}\n\n"), "{seen}");
}

#[test]
fn idle_connections_make_way_and_streams_stay() {
    let site = Site::new();
    let mut stream = subscribe(&site, "");
    read_to(&mut stream, "topics");
    let idle: Vec<TcpStream> = (0..MAX_CLIENTS * 3).map(|_| site.dial()).collect();
    assert_eq!(body_of(&site.get("/healthz", "")), "ok\n");
    let (tell, told) = channel();
    site.order(move |server, _| tell.send(server.counts().clients).unwrap());
    assert!(told.recv_timeout(Duration::from_secs(60)).unwrap() <= MAX_CLIENTS);
    let closed = idle.iter().filter(|&stream| {
        stream.set_nonblocking(true).unwrap();
        !matches!((&mut &*stream).read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
    });
    assert!(closed.count() >= MAX_CLIENTS, "those that idled longest made way");
    site.order(|server, subscribers| {
        server.notify(subscribers[0], "event", "{}", Instant::now());
    });
    read_to(&mut stream, "event: event");
}
