//! Uploads against a fake shelf: rows P-80 to P-92, P-95 and P-96 of the conformance list.

use super::*;

const FILES: [(u32, &str, &str); 4] = [
    (1, "hello.txt", "hello"),
    (2, "free bsd notes.txt", "bsd"),
    (3, "empty", ""),
    (4, "100%25", "raw"),
];

struct FakeFiles;

impl SharedFiles for FakeFiles {
    fn find(&self, path: &GetPath) -> Option<(u32, u64)> {
        path.names().find_map(|name| FakeFiles::find_one(path.index, name))
    }
}

impl FakeFiles {
    fn find_one(index: u32, name: &str) -> Option<(u32, u64)> {
        let exact = FILES.iter().find(|file| file.0 == index && file.1 == name);
        let file = exact.or_else(|| FILES.iter().find(|file| file.1 == name))?;
        Some((file.0, file.2.len() as u64))
    }
}

/// Plays the owner: opens files, sends all there is to send in small writes.
struct Owner {
    upload: Upload,
    now: Instant,
    output: Vec<u8>,
    body: &'static str,
    slot_free: bool,
    opened: Option<Result<u64, OpenError>>,
    events: Vec<UploadStep>,
}

impl Owner {
    fn new() -> Owner {
        Owner {
            upload: Upload::new(Instant::ZERO, UploadLimits::default()),
            now: Instant::ZERO,
            output: Vec::new(),
            body: "",
            slot_free: true,
            opened: None,
            events: Vec::new(),
        }
    }

    fn slot(&self) -> Slot {
        if self.slot_free { Slot::Free } else { Slot::FreeIn(Duration::from_secs(70)) }
    }

    fn run(&mut self) {
        loop {
            while let Some(step) = self.upload.poll(self.now, &FakeFiles, self.slot()) {
                if let UploadStep::Open { number, size } = step {
                    self.body = FILES.iter().find(|file| file.0 == number).unwrap().2;
                    self.upload.handle_opened(self.now, self.opened.unwrap_or(Ok(size)));
                } else {
                    self.events.push(step);
                }
            }
            let sent = match self.upload.transmit() {
                Some(Piece::Bytes(bytes)) => bytes[..bytes.len().min(7)].to_vec(),
                Some(Piece::File { offset, len }) => {
                    let start = usize::try_from(offset).unwrap();
                    assert!(offset + len <= self.body.len() as u64);
                    self.body.as_bytes()[start..][..usize::try_from(len.min(2)).unwrap()].to_vec()
                }
                None if self.pauses() => {
                    self.now += OLD_DIALECT_PAUSE;
                    self.upload.handle_timeout(self.now);
                    continue;
                }
                None => return,
            };
            self.output.extend_from_slice(&sent);
            self.upload.sent(self.now, sent.len());
        }
    }

    /// The body waits a moment behind its head.
    fn pauses(&self) -> bool {
        self.upload.poll_timeout().is_some_and(|at| at <= self.now + OLD_DIALECT_PAUSE)
    }

    fn say(&mut self, bytes: &[u8]) {
        self.upload.handle_bytes(self.now, bytes);
        self.run();
    }

    fn output(&self) -> &str {
        std::str::from_utf8(&self.output).unwrap()
    }

    fn closed(&self) -> Option<UploadClose> {
        match self.events.last() {
            Some(UploadStep::Close(reason)) => Some(*reason),
            _ => None,
        }
    }
}

/// The whole answer to one request, which must be the same for every split of the request.
fn ask(request: &str) -> (String, Option<UploadClose>) {
    let mut owner = Owner::new();
    owner.say(request.as_bytes());
    let whole = (owner.output().to_owned(), owner.closed());
    for cut in 1..request.len() {
        let mut owner = Owner::new();
        owner.say(&request.as_bytes()[..cut]);
        owner.say(&request.as_bytes()[cut..]);
        assert_eq!((owner.output().to_owned(), owner.closed()), whole, "cut at {cut}");
    }
    whole
}

#[track_caller]
fn assert_answer(request: &str, status_line: &str, header: &str, body: &str) {
    let (answer, _) = ask(request);
    let (head, got_body) = answer.split_once("\r\n\r\n").expect("a head");
    assert_eq!(head.lines().next(), Some(status_line), "{request}");
    assert!(format!("{head}\r\n").contains(&format!("\r\n{header}\r\n")), "{head}");
    assert_eq!(got_body, body, "{request}");
}

/// GNU Serveez stalls when head and body come with one read.
#[test]
fn in_the_old_dialect_the_body_waits_behind_the_head() {
    let mut upload = Upload::new(Instant::ZERO, UploadLimits::default());
    let request = b"GET /get/1/hello.txt HTTP/1.0\r\nContent-range: bytes=0-\r\n\r\n";
    upload.handle_bytes(Instant::ZERO, request);
    while upload.poll(Instant::ZERO, &FakeFiles, Slot::Free).is_some() {
        upload.handle_opened(Instant::ZERO, Ok(5));
    }
    let Some(Piece::Bytes(head)) = upload.transmit() else { panic!("no head") };
    let head = head.len();
    upload.sent(Instant::ZERO, head);
    assert_eq!(upload.transmit(), None);
    let resume = Instant::ZERO + Duration::from_millis(100);
    assert_eq!(upload.poll_timeout(), Some(resume));
    upload.handle_timeout(resume);
    assert_eq!(upload.transmit(), Some(Piece::File { offset: 0, len: 5 }));
}

#[test]
fn whole_files_in_every_dialect() {
    let (ok10, ok11, bare) = ("HTTP/1.0 200 OK", "HTTP/1.1 200 OK", "HTTP 200 OK");
    let length = "Content-Length: 5";
    assert_answer("GET /get/1/hello.txt HTTP/1.0\r\n\r\n", ok10, length, "hello"); // P-80
    assert_answer("GET /get/1/hello.txt/ HTTP/1.0\r\n\r\n", ok10, length, "hello"); // P-81
    let notes = "GET /get/2/%66ree%20bsd%20notes.txt HTTP/1.1\r\nHost: a\r\n\r\n"; // P-82
    assert_answer(notes, ok11, "Content-Type: application/binary", "bsd");
    assert_answer("GET /get/0/hello.txt HTTP/1.0\r\n\r\n", ok10, length, "hello");
    let serveez = "GET /get/2/free bsd notes.txt HTTP/1.0\r\nUser-agent: Gnutella\r\n\
                   Content-range: bytes=0-\r\n\r\n"; // P-89
    assert_answer(serveez, bare, "Content-length: 3", "bsd");
    assert_answer("GET /get/1/hello.txt\r\n\r\n", bare, "Content-length: 5", "hello");
    assert_answer("GET /get/4/100%25\r\n\r\n", bare, "Content-length: 3", "raw");
    assert_answer("GET /get/3/empty HTTP/1.0\r\n\r\n", ok10, "Content-Length: 0", "");
    assert_answer("HEAD /get/1/hello.txt HTTP/1.0\r\n\r\n", ok10, length, ""); // P-90
}

#[test]
fn ranges() {
    for (range, span, body) in [
        ("bytes=1-3", "1-3", "ell"), // P-85
        ("bytes=2-", "2-4", "llo"),  // P-86
        ("bytes=-2", "3-4", "lo"),
        ("bytes=0-99", "0-4", "hello"),
        ("bytes=1-1,3-4", "1-1", "e"),
    ] {
        let request = format!("GET /get/1/hello.txt HTTP/1.0\r\nRange: {range}\r\n\r\n");
        let header = format!("Content-Range: bytes {span}/5");
        assert_answer(&request, "HTTP/1.0 206 Partial Content", &header, body);
    }
    let beyond = "GET /get/1/hello.txt HTTP/1.0\r\nRange: bytes=9-\r\n\r\n"; // P-87
    let status = "HTTP/1.0 416 Range Not Satisfiable";
    assert_answer(beyond, status, "Content-Range: bytes */5", "");
    let nonsense = "GET /get/1/hello.txt HTTP/1.0\r\nRange: nonsense\r\n\r\n"; // P-88
    assert_answer(nonsense, "HTTP/1.0 200 OK", "Content-Length: 5", "hello");
}

#[test]
fn files_that_are_not_there() {
    for path in [
        "/get/99/x", // P-83
        "/get/1/x",
        "/get/1/../../etc/passwd", // P-84
        "/get/1/%2e%2e%2fhello.txt",
        "/get/1//etc/passwd",
        "/get/1/\\hello.txt",
        "/",
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_answer(&request, "HTTP/1.1 404 Not Found", "Content-Length: 0", "");
        assert_eq!(ask(&request).1, None, "the connection stays usable");
    }
}

#[test]
fn requests_that_end_the_connection() {
    for (request, status) in [
        ("GET /get/1/hello.txt HTTP/1.1\r\n\r\n", "HTTP/1.1 400 Bad Request"), // P-91
        ("HELLO\r\n\r\n", "HTTP/1.1 400 Bad Request"),
        ("POST /x HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 405 Method Not Allowed"),
        ("BREW /x HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 501 Not Implemented"),
        ("GET /x HTTP/2.0\r\n\r\n", "HTTP/1.1 505 HTTP Version Not Supported"),
    ] {
        let followed = format!("{request}GET /get/1/hello.txt HTTP/1.0\r\n\r\n");
        assert_answer(&followed, status, "Connection: close", "");
        assert!(ask(&followed).1.is_some(), "{request}");
    }
}

#[test]
fn a_head_without_end_is_refused() {
    // P-96, in one segment and in many
    for step in [10 * 1024, 100, 1] {
        let mut owner = Owner::new();
        for chunk in [b'A'; 10 * 1024].chunks(step) {
            owner.say(chunk);
        }
        assert!(owner.output().starts_with("HTTP/1.1 431 "), "{}", owner.output());
        assert_eq!(owner.closed(), Some(UploadClose::Refused(RequestError::TooLarge)));
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    // P-92
    let requests = "GET /get/1/hello.txt HTTP/1.1\r\nHost: a\r\n\r\n\r\n\
                    HEAD /get/2/free%20bsd%20notes.txt HTTP/1.1\r\nHost: a\r\n\r\n\
                    GET /get/9/x HTTP/1.1\r\nHost: a\r\n\r\n\
                    GET /get/2/free%20bsd%20notes.txt HTTP/1.1\r\nHost: a\r\n\
                    Connection: close\r\n\r\n";
    let (answer, closed) = ask(requests);
    let (heads, bodies): (Vec<_>, Vec<_>) = answer
        .split("HTTP/1.1 ")
        .skip(1)
        .map(|response| response.split_once("\r\n\r\n").expect("a head"))
        .unzip();
    let codes: Vec<&str> = heads.iter().map(|head| &head[..3]).collect();
    assert_eq!(codes, ["200", "200", "404", "200"]);
    assert_eq!(bodies, ["hello", "", "", "bsd"]);
    assert_eq!(closed, Some(UploadClose::Done));
}

#[test]
fn flooding_during_a_body_closes_and_frees_the_slot() {
    let mut owner = Owner::new();
    let request = b"GET /get/1/hello.txt HTTP/1.1\r\nHost: a\r\n\r\n";
    let flood = [&request[..], &[b'A'; MAX_HEAD_BYTES + 1]].concat();
    owner.upload.handle_bytes(owner.now, &flood);
    owner.run();
    assert_eq!(owner.closed(), Some(UploadClose::Flooded));

    let mut upload = Upload::new(Instant::ZERO, UploadLimits::default());
    upload.handle_bytes(Instant::ZERO, request);
    let open = upload.poll(Instant::ZERO, &FakeFiles, Slot::Free);
    assert_eq!(open, Some(UploadStep::Open { number: 1, size: 5 }));
    upload.handle_opened(Instant::ZERO, Ok(5));
    upload.handle_bytes(Instant::ZERO, &[b'A'; MAX_HEAD_BYTES]);
    assert_eq!(upload.poll(Instant::ZERO, &FakeFiles, Slot::Free), None);
    upload.handle_bytes(Instant::ZERO, b"A");
    let release = UploadStep::Release { number: 1, bytes: 0, complete: false };
    assert_eq!(upload.poll(Instant::ZERO, &FakeFiles, Slot::Free), Some(release));
    let close = UploadStep::Close(UploadClose::Flooded);
    assert_eq!(upload.poll(Instant::ZERO, &FakeFiles, Slot::Free), Some(close));
}

#[test]
fn without_a_slot_only_heads_are_served() {
    // P-95
    let mut owner = Owner::new();
    owner.slot_free = false;
    let host = "HTTP/1.1\r\nHost: a\r\n\r\n";
    owner.say(format!("GET /get/1/hello.txt {host}").as_bytes());
    assert!(owner.output().starts_with("HTTP/1.1 503 Service Unavailable\r\n"));
    assert!(owner.output().contains("\r\nRetry-After: 70\r\n"));
    owner.output.clear();
    owner.say(format!("HEAD /get/1/hello.txt {host}").as_bytes());
    assert!(owner.output().starts_with("HTTP/1.1 200 OK\r\n"));
    owner.output.clear();
    owner.slot_free = true;
    owner.say(format!("GET /get/1/hello.txt {host}").as_bytes());
    assert!(owner.output().ends_with("\r\n\r\nhello"));
    let path = b"/get/1/hello.txt".to_vec();
    let refused = UploadStep::Refused { status: Status::Busy, path };
    let served = UploadStep::Release { number: 1, bytes: 5, complete: true };
    assert_eq!(owner.events, [refused, served]);
}

#[test]
fn a_file_that_changed_is_not_served() {
    for (opened, status, stale) in [
        (Ok(6), "404", true),
        (Err(OpenError::Gone), "404", true),
        (Err(OpenError::Failed), "503", false),
    ] {
        let mut owner = Owner::new();
        owner.opened = Some(opened);
        owner.say(b"GET /get/1/hello.txt HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(owner.output().starts_with(&format!("HTTP/1.1 {status} ")), "{}", owner.output());
        assert_eq!(owner.events.contains(&UploadStep::Stale { number: 1 }), stale);
        let release = UploadStep::Release { number: 1, bytes: 0, complete: false };
        let told = |step: &UploadStep| matches!(step, UploadStep::Refused { .. });
        assert!(owner.events.contains(&release) && owner.events.last().is_some_and(told));
    }
}

#[test]
fn a_file_that_shrinks_closes_the_connection() {
    let mut upload = Upload::new(Instant::ZERO, UploadLimits::default());
    let now = Instant::ZERO;
    upload.handle_bytes(now, b"GET /get/1/hello.txt HTTP/1.1\r\nHost: a\r\n\r\n");
    upload.poll(now, &FakeFiles, Slot::Free);
    upload.handle_opened(now, Ok(5));
    let Some(Piece::Bytes(head)) = upload.transmit() else { panic!("a head") };
    upload.sent(now, head.len());
    upload.sent(now, 2);
    assert_eq!(upload.transmit(), Some(Piece::File { offset: 2, len: 3 }));
    upload.handle_file_ended(now);
    assert_eq!(upload.transmit(), None);
    let steps: Vec<_> = std::iter::from_fn(|| upload.poll(now, &FakeFiles, Slot::Free)).collect();
    let release = UploadStep::Release { number: 1, bytes: 2, complete: false };
    let close = UploadStep::Close(UploadClose::FileShrank);
    assert_eq!(steps, [UploadStep::Stale { number: 1 }, release, close]);
}

#[test]
fn silence_ends_the_connection_in_time() {
    let seconds = |n: u64| Instant::from_micros(n * 1_000_000);
    // A head that trickles in gets no extension.
    let mut owner = Owner::new();
    owner.now = seconds(29);
    owner.say(b"GET /get/1/hel");
    assert_eq!(owner.upload.poll_timeout(), Some(seconds(30)));
    owner.say(b"lo.txt HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(owner.upload.poll_timeout(), Some(seconds(59)), "idle after the response");
    owner.upload.handle_timeout(seconds(58));
    owner.run();
    assert_eq!(owner.closed(), None);
    owner.upload.handle_timeout(seconds(59));
    owner.run();
    assert_eq!(owner.closed(), Some(UploadClose::NoRequest));

    // A peer that stops reading keeps its slot for a minute.
    let mut upload = Upload::new(Instant::ZERO, UploadLimits::default());
    upload.handle_bytes(seconds(1), b"GET /get/1/hello.txt HTTP/1.0\r\n\r\n");
    upload.poll(seconds(1), &FakeFiles, Slot::Free);
    assert_eq!(upload.poll_timeout(), None, "the disk is the owner's");
    upload.handle_opened(seconds(2), Ok(5));
    upload.sent(seconds(50), 1);
    upload.sent(seconds(55), 0);
    assert_eq!(upload.poll_timeout(), Some(seconds(110)));
    upload.handle_timeout(seconds(110));
    let steps: Vec<_> =
        std::iter::from_fn(|| upload.poll(seconds(110), &FakeFiles, Slot::Free)).collect();
    assert_eq!(steps.last(), Some(&UploadStep::Close(UploadClose::WriteStalled)));
}

#[test]
fn a_half_closed_peer_still_gets_its_answer() {
    let mut owner = Owner::new();
    owner.upload.handle_bytes(owner.now, b"GET /get/1/hello.txt HTTP/1.1\r\nHost: a\r\n\r\n");
    owner.upload.handle_eof(owner.now);
    owner.run();
    assert!(owner.output().ends_with("\r\n\r\nhello"));
    assert_eq!(owner.closed(), Some(UploadClose::ByPeer));
}
