//! Downloads against scripted servers.

use super::*;
use crate::wire::http_head::{RangeSpec, parse_request};
use std::net::Ipv4Addr;

const ADDR: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 6346);

fn seconds(n: u64) -> Instant {
    Instant::from_micros(n * 1_000_000)
}

fn source(name: &str, size: Option<u64>) -> Source {
    Source { addr: ADDR, index: 7, name: name.to_owned(), size, push: None }
}

/// How the scripted server ends a connection after its answers.
#[derive(Clone, Copy)]
enum End {
    Stay,
    Close,
    Reset,
}

/// What one connection answers, request by request.
type Script = Vec<(Vec<&'static str>, End)>;

/// Plays owner and server, and keeps what reached the disk.
struct Owner {
    download: Download,
    file: Vec<u8>,
    paths: Vec<String>,
    ranges: Vec<Option<RangeSpec>>,
    opened: Vec<(u64, Option<u64>)>,
    result: Option<Result<u64, DownloadError>>,
}

impl Owner {
    fn new(source: Source, have: &str, total: Option<u64>) -> Owner {
        let partial = (!have.is_empty() || total.is_some())
            .then_some(Partial { have: have.len() as u64, total });
        let limits = DownloadLimits::default();
        Owner {
            download: Download::new(seconds(0), source, partial, limits).expect("sizes agree"),
            file: have.as_bytes().to_vec(),
            paths: Vec::new(),
            ranges: Vec::new(),
            opened: Vec::new(),
            result: None,
        }
    }

    /// Does what is asked, one connection of the script after the other; every answer is given in
    /// pieces of `split` bytes.
    fn run(mut self, script: Script, split: usize) -> Owner {
        let mut script = script.into_iter();
        loop {
            let mut connect = false;
            while let Some(step) = self.download.poll() {
                connect |= step == DownloadStep::Connect(ADDR);
                if step == DownloadStep::Disconnect {
                    connect = false;
                }
                self.on_disk(step);
            }
            if !connect {
                return self;
            }
            let Some((answers, end)) = script.next() else { return self };
            self.download.handle_connected(seconds(1));
            self.serve(&answers, end, split);
        }
    }

    fn serve(&mut self, answers: &[&str], end: End, split: usize) {
        for answer in answers {
            let request = self.download.transmit().expect("a request").to_vec();
            self.download.sent(request.len());
            assert_eq!(self.download.transmit(), None);
            let (head, len) = parse_request(&request).unwrap().unwrap();
            assert_eq!(len, request.len());
            self.paths.push(String::from_utf8(head.path).unwrap());
            self.ranges.push(head.range);
            for piece in answer.as_bytes().chunks(split) {
                self.download.handle_bytes(seconds(2), piece);
            }
        }
        match end {
            End::Stay => {}
            End::Close => self.download.handle_closed(seconds(3), false),
            End::Reset => self.download.handle_closed(seconds(3), true),
        }
    }

    fn on_disk(&mut self, step: DownloadStep) {
        match step {
            DownloadStep::Connect(_) | DownloadStep::Push(_) | DownloadStep::Disconnect => {}
            DownloadStep::OpenPartial { have, total } => {
                assert_eq!(have, self.file.len() as u64);
                self.opened.push((have, total));
                self.download.handle_file_opened();
            }
            DownloadStep::Write { offset, bytes } => {
                assert_eq!(offset, self.file.len() as u64);
                self.file.extend_from_slice(&bytes);
                self.download.handle_written(seconds(3), bytes.len() as u64);
            }
            DownloadStep::Sync => self.download.handle_synced(),
            DownloadStep::Finish => self.download.handle_finished(),
            DownloadStep::Done { bytes } => self.result = Some(Ok(bytes)),
            DownloadStep::Fail(error) => self.result = Some(Err(error)),
        }
    }

    fn file(&self) -> &str {
        std::str::from_utf8(&self.file).unwrap()
    }
}

/// Runs one scripted download at every kind of split; result and file must always be the same.
#[track_caller]
fn fetch(
    size: Option<u64>,
    have: (&str, Option<u64>),
    script: &Script,
    expected: Result<&str, DownloadError>,
) -> Owner {
    let play =
        |split| Owner::new(source("a b.txt", size), have.0, have.1).run(script.clone(), split);
    for split in [usize::MAX, 1, 2, 3, 5, 7] {
        let owner = play(split);
        let result = owner.result.expect("an end");
        assert_eq!(result.map(|_| owner.file()), expected, "split {split}");
        assert_eq!(owner.download.backlog_bytes(), 0);
    }
    play(usize::MAX)
}

const OK5: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

#[test]
fn a_whole_file_from_servers_of_every_age() {
    let serveez = "HTTP 200 OK\r\nUser-agent: Gnutella\r\nContent-length: 5\r\n\r\nhello";
    for answer in [OK5, serveez, "HTTP/1.0 200\r\ncontent-length:5\r\n\r\nhello and surplus"] {
        for size in [Some(5), None] {
            let owner = fetch(size, ("", None), &vec![(vec![answer], End::Stay)], Ok("hello"));
            assert_eq!(owner.paths, ["/get/7/a%20b.txt"]);
            assert_eq!((owner.ranges[0], owner.opened[0]), (None, (0, Some(5))));
        }
    }
    let empty = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    fetch(Some(0), ("", None), &vec![(vec![empty], End::Stay)], Ok(""));
}

#[test]
fn a_body_without_length_ends_with_the_connection_or_the_size() {
    let answer = "HTTP 200 OK\r\n\r\nhello";
    fetch(None, ("", None), &vec![(vec![answer], End::Close)], Ok("hello"));
    fetch(Some(5), ("", None), &vec![(vec![answer], End::Stay)], Ok("hello"));
    let short = DownloadError::Interrupted { received: 5, expected: Some(6) };
    fetch(Some(6), ("", None), &vec![(vec![answer], End::Close)], Err(short));
    let reset = DownloadError::Interrupted { received: 5, expected: None };
    fetch(None, ("", None), &vec![(vec![answer], End::Reset)], Err(reset));
}

#[test]
fn resuming_keeps_what_is_there() {
    let rest = "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 2-4/5\r\n\
                Content-Length: 3\r\n\r\nllo";
    let owner = fetch(Some(5), ("he", Some(5)), &vec![(vec![rest], End::Stay)], Ok("hello"));
    assert_eq!(owner.ranges, [Some(RangeSpec::From(2))]);
    // The range is ignored: the first bytes are skipped, not written again.
    fetch(Some(5), ("HE", Some(5)), &vec![(vec![OK5], End::Stay)], Ok("HEllo"));
    fetch(None, ("HE", None), &vec![(vec!["HTTP 200 OK\r\n\r\nhello"], End::Close)], Ok("HEllo"));
    // More than was asked for.
    let more = "HTTP/1.1 206 OK\r\nContent-Range: bytes=1-4/5\r\n\r\nello";
    fetch(None, ("HE", Some(5)), &vec![(vec![more], End::Stay)], Ok("HEllo"));
    // Everything is there: no connection at all, or a 416 that says so.
    fetch(Some(5), ("hello", Some(5)), &Vec::new(), Ok("hello"));
    let nothing = "HTTP/1.1 416 No\r\nContent-Range: bytes */5\r\nContent-Length: 0\r\n\r\n";
    fetch(None, ("hello", None), &vec![(vec![nothing], End::Stay)], Ok("hello"));
    let wrong = DownloadError::WrongRange { wanted: 2, offered: None };
    fetch(Some(5), ("he", None), &vec![(vec![nothing], End::Stay)], Err(wrong));
}

#[test]
fn short_answers_are_continued() {
    let first = "HTTP/1.1 206 OK\r\nContent-Range: bytes 0-1/5\r\nContent-Length: 2\r\n\r\nhe";
    let second = "HTTP/1.1 206 OK\r\nContent-Range: bytes 2-4/5\r\nContent-Length: 3\r\n\r\nllo";
    let kept = vec![(vec![first, second], End::Stay)];
    let owner = fetch(None, ("", None), &kept, Ok("hello"));
    assert_eq!(owner.ranges, [None, Some(RangeSpec::From(2))]);
    // The server closes after each answer, with and without a warning.
    let dropped = vec![(vec![first], End::Close), (vec![second], End::Close)];
    let owner = fetch(None, ("", None), &dropped, Ok("hello"));
    assert_eq!(owner.paths.len(), 2);
    let said = "HTTP/1.0 206 OK\r\nContent-Range: bytes 0-1/5\r\n\r\nhe";
    fetch(None, ("", None), &vec![(vec![said], End::Stay), (vec![second], End::Stay)], Ok("hello"));
    // What follows an answer unasked is not taken for the next one.
    let surplus = "HTTP/1.1 206 OK\r\nContent-Range: bytes 0-1/5\r\n\r\nheHTTP/1.1 404 No\r\n\r\n";
    let owner = Owner::new(source("a", None), "", None)
        .run(vec![(vec![surplus], End::Stay), (vec![second], End::Stay)], usize::MAX);
    assert_eq!((owner.result, owner.file()), (Some(Ok(5)), "hello"));
    // The second connection fails to answer: what came stays.
    let lost = DownloadError::Interrupted { received: 2, expected: Some(5) };
    fetch(None, ("", None), &vec![(vec![said], End::Stay), (vec![""], End::Close)], Err(lost));
}

#[test]
fn a_server_that_wants_raw_names_is_asked_once_more() {
    let script = vec![(vec![""], End::Close), (vec![OK5], End::Close)];
    let owner = fetch(Some(5), ("", None), &script, Ok("hello"));
    assert_eq!(owner.paths, ["/get/7/a%20b.txt", "/get/7/a b.txt"]);
    let script = vec![(vec![""], End::Reset), (vec![""], End::Reset)];
    fetch(Some(5), ("", None), &script, Err(DownloadError::NoAnswer));
    // A name that would smuggle a second request is never sent raw; a plain one has no other form.
    for name in ["a\r\n\r\nGET /x", "plain"] {
        let owner = Owner::new(source(name, None), "", None);
        let owner = owner.run(vec![(vec![""], End::Close), (vec![OK5], End::Close)], 9);
        assert_eq!(owner.result, Some(Err(DownloadError::NoAnswer)));
        assert_eq!(owner.paths.len(), 1);
    }
}

#[test]
fn answers_that_end_the_download() {
    let busy = DownloadError::Busy { retry_after: Some(Duration::from_secs(70)) };
    let other = DownloadError::SizeMismatch { expected: 5, offered: 6 };
    for (answer, error) in [
        ("HTTP/1.1 404 Not Found\r\n\r\n", DownloadError::NotFound),
        ("HTTP/1.1 503 Busy\r\nRetry-After: 70\r\n\r\n", busy),
        ("HTTP/1.1 503 Busy\r\n\r\n", DownloadError::Busy { retry_after: None }),
        ("HTTP/1.1 403 No\r\n\r\n", DownloadError::Refused { status: 403 }),
        ("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello!", other),
        ("HTTP/1.1 206 OK\r\nContent-Range: bytes 2-5/6\r\n\r\nllo!", other),
        ("HTTP/1.1 206 OK\r\nContent-Range: bytes 2-5/*\r\n\r\nllo!", other),
        (
            "HTTP/1.1 206 OK\r\nContent-Range: bytes 3-4/5\r\n\r\nlo",
            DownloadError::WrongRange { wanted: 2, offered: Some(3) },
        ),
        (
            "HTTP/1.1 206 OK\r\nContent-Range: bytes 0-1/5\r\n\r\nhe",
            DownloadError::WrongRange { wanted: 2, offered: Some(0) },
        ),
        ("HTTP/1.1 206 OK\r\n\r\n", DownloadError::WrongRange { wanted: 2, offered: None }),
        (
            "HTTP/1.1 206 OK\r\nContent-Range: bytes 2-4/5\r\nContent-Length: 9\r\n\r\n",
            DownloadError::Response(ResponseError::Malformed),
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            DownloadError::Response(ResponseError::TransferEncoding),
        ),
        ("GNUTELLA OK\r\n\r\n", DownloadError::Response(ResponseError::Malformed)),
    ] {
        let owner = fetch(Some(5), ("he", Some(5)), &vec![(vec![answer], End::Stay)], Err(error));
        assert_eq!(owner.file(), "he", "the partial is kept");
        let sentence = error.to_string();
        assert!(sentence.starts_with("expected ") && !sentence.contains("  "), "{sentence}");
    }
    let limits = DownloadLimits::default();
    let partial = Some(Partial { have: 2, total: Some(5) });
    let mismatch = Download::new(seconds(0), source("a", Some(6)), partial, limits);
    assert_eq!(mismatch.err(), Some(other));
}

#[test]
fn an_interrupted_download_keeps_what_came() {
    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel";
    let error = DownloadError::Interrupted { received: 3, expected: Some(5) };
    for end in [End::Close, End::Reset] {
        let owner = fetch(Some(5), ("", None), &vec![(vec![cut], end)], Err(error));
        assert_eq!(owner.file(), "hel");
    }
}

#[test]
fn silence_ends_the_download() {
    let mut owner = Owner::new(source("a", None), "", None).run(Vec::new(), 1);
    assert_eq!(owner.download.poll_timeout(), Some(seconds(20)));
    owner.download.handle_timeout(seconds(19));
    assert_eq!(owner.download.poll(), None);
    owner.download.handle_timeout(seconds(20));
    assert_eq!(owner.download.poll(), Some(DownloadStep::Disconnect));
    let error = DownloadError::ConnectTimeout(Duration::from_secs(20));
    assert_eq!(owner.download.poll(), Some(DownloadStep::Fail(error)));

    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel";
    let mut owner = Owner::new(source("a", None), "", None).run(vec![(vec![cut], End::Stay)], 9);
    owner.download.handle_timeout(seconds(32));
    assert_eq!(owner.result, None, "the last bytes reached the disk at second 3");
    owner.download.handle_timeout(seconds(33));
    let owner = owner.run(Vec::new(), 1);
    let silence = Duration::from_secs(30);
    let error = DownloadError::Stalled { silence, received: 3, expected: Some(5) };
    assert_eq!((owner.result, owner.file()), (Some(Err(error)), "hel"));
}

#[test]
fn a_slow_disk_is_waited_for_and_a_broken_one_ends_it() {
    let mut owner = Owner::new(source("a", None), "", None);
    assert_eq!(owner.download.poll(), Some(DownloadStep::Connect(ADDR)));
    owner.download.handle_connected(seconds(0));
    let size = 2 * MAX_BACKLOG_BYTES;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n");
    owner.download.handle_bytes(seconds(0), head.as_bytes());
    owner
        .download
        .handle_bytes(seconds(0), &vec![b'x'; usize::try_from(MAX_BACKLOG_BYTES).unwrap()]);
    assert_eq!(owner.download.backlog_bytes(), MAX_BACKLOG_BYTES);
    assert_eq!(owner.download.poll_timeout(), None, "nobody reads, so nobody is late");
    let open = DownloadStep::OpenPartial { have: 0, total: Some(size) };
    assert_eq!(owner.download.poll(), Some(open));
    assert_eq!(owner.download.poll(), None, "no write before the file is open");
    owner.download.handle_file_opened();
    while let Some(step) = owner.download.poll() {
        let DownloadStep::Write { bytes, .. } = step else { panic!("{step:?}") };
        assert!(bytes.len() <= MAX_WRITE_BYTES);
    }
    assert_eq!(owner.download.backlog_bytes(), MAX_BACKLOG_BYTES, "unwritten bytes count");
    owner.download.handle_written(seconds(100), 1);
    assert_eq!(owner.download.poll_timeout(), Some(seconds(130)));
    owner.download.handle_disk_fault(DiskFault::Full);
    assert_eq!(owner.download.poll(), Some(DownloadStep::Disconnect));
    let error = DownloadError::Disk(DiskFault::Full);
    assert_eq!(owner.download.poll(), Some(DownloadStep::Fail(error)));
    assert_eq!(owner.download.poll(), None);
}

#[test]
fn nothing_is_finished_before_it_is_written() {
    let mut download =
        Download::new(seconds(0), source("a", None), None, DownloadLimits::default()).unwrap();
    download.handle_connected(seconds(0));
    download.handle_bytes(seconds(0), OK5.as_bytes());
    download.handle_file_opened();
    let steps: Vec<_> = std::iter::from_fn(|| download.poll()).collect();
    assert!(matches!(steps.last(), Some(DownloadStep::Write { .. })), "{steps:?}");
    download.handle_written(seconds(1), 4);
    assert_eq!(download.poll(), None);
    download.handle_written(seconds(1), 1);
    assert_eq!(download.poll(), Some(DownloadStep::Sync));
    assert_eq!(download.poll(), None);
    download.handle_synced();
    assert_eq!(download.poll(), Some(DownloadStep::Finish));
    download.handle_finished();
    assert_eq!(download.poll(), Some(DownloadStep::Done { bytes: 5 }));
}
