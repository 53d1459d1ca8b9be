//! Downloads against scripted servers.

use super::*;
use crate::wire::http_head::{RangeSpec, ResponseError, parse_request};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

const ADDR: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 6346);

fn seconds(n: u64) -> Instant {
    Instant::from_micros(n * 1_000_000)
}

fn source(name: &str, size: Option<u64>) -> Source {
    Source { addr: ADDR, index: 7, name: name.to_owned(), size, push: None }
}

/// The end of a connection of the scripted server after its answers.
#[derive(Clone, Copy)]
enum End {
    Stay,
    Close,
    Reset,
}

/// The answers on one connection, request by request.
type Script = Vec<(Vec<&'static str>, End)>;

/// Plays owner and server, and keeps what reached the disk.
struct Owner {
    download: Download,
    file: Vec<u8>,
    /// A complete file of the same name.
    complete: Option<Vec<u8>>,
    /// The partial file that turned out to be of another file.
    aside: Option<Vec<u8>>,
    paths: Vec<String>,
    ranges: Vec<Option<RangeSpec>>,
    opened: Vec<(u64, Option<u64>)>,
    result: Option<Result<u64, DownloadError>>,
    already_here: bool,
}

/// The disk of a download.
#[derive(Clone, Copy, Default)]
struct Disk<'a> {
    partial: &'a str,
    total: Option<u64>,
    foreign: bool,
    complete: Option<&'a str>,
}

impl Disk<'_> {
    fn kept(&self) -> Kept {
        let (have, total, same_source) = (self.partial.len() as u64, self.total, !self.foreign);
        let partial = (have > 0 || total.is_some()).then_some(Partial { have, total, same_source });
        Kept { partial, complete: self.complete.is_some() }
    }
}

impl Owner {
    fn new(source: Source, disk: Disk<'_>) -> Owner {
        let limits = DownloadLimits::default();
        let download = Download::new(seconds(0), source, disk.kept(), false, limits);
        Owner {
            download: download.expect("sizes agree"),
            file: disk.partial.as_bytes().to_vec(),
            complete: disk.complete.map(|text| text.as_bytes().to_vec()),
            aside: None,
            paths: Vec::new(),
            ranges: Vec::new(),
            opened: Vec::new(),
            result: None,
            already_here: false,
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
                if matches!(step, DownloadStep::Disconnect | DownloadStep::Release) {
                    connect = false;
                }
                self.on_disk(step);
            }
            if !connect {
                return self;
            }
            let Some((answers, end)) = script.next() else { return self };
            self.download.handle_connected(seconds(1), true);
            self.serve(&answers, end, split);
        }
    }

    fn serve(&mut self, answers: &[&str], end: End, split: usize) {
        for answer in answers {
            self.settle();
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

    /// Does what the disk is asked between two answers on one connection.
    fn settle(&mut self) {
        while let Some(step) = self.download.poll() {
            self.on_disk(step);
        }
    }

    fn on_disk(&mut self, step: DownloadStep) {
        match step {
            DownloadStep::Connect(_)
            | DownloadStep::Push(_)
            | DownloadStep::Disconnect
            | DownloadStep::Release => {}
            DownloadStep::OpenPartial { have, total } => {
                assert_eq!(have, self.file.len() as u64);
                self.opened.push((have, total));
                self.download.handle_file_opened();
            }
            DownloadStep::SetAside { .. } => {
                self.aside = Some(std::mem::take(&mut self.file));
                self.download.handle_file_opened();
            }
            DownloadStep::Compare { against, offset, bytes } => {
                let file = match against {
                    Against::Partial => &self.file,
                    Against::Complete { .. } => self.complete.as_ref().expect("a complete file"),
                };
                let total = match against {
                    Against::Partial => file.len(),
                    Against::Complete { total } => usize::try_from(total).unwrap(),
                };
                let start = usize::try_from(offset).unwrap().min(file.len());
                let same = total == file.len() && file[start..].starts_with(&bytes);
                self.download.handle_compared(seconds(3), same);
            }
            DownloadStep::UseComplete => self.download.handle_finished(),
            DownloadStep::Write { offset, bytes } => {
                assert_eq!(offset, self.file.len() as u64);
                self.file.extend_from_slice(&bytes);
                self.download.handle_written(seconds(3), bytes.len() as u64);
            }
            DownloadStep::Sync => self.download.handle_synced(),
            DownloadStep::Finish => self.download.handle_finished(),
            DownloadStep::Done { bytes, already_here } => {
                self.result = Some(Ok(bytes));
                self.already_here = already_here;
            }
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
    disk: Disk<'_>,
    script: &Script,
    expected: Result<&str, DownloadError>,
) -> Owner {
    let play = |split| Owner::new(source("a b.txt", size), disk).run(script.clone(), split);
    for split in [usize::MAX, 1, 2, 3, 5, 7] {
        let owner = play(split);
        let result = owner.result.expect("an end");
        assert_eq!(result.map(|_| owner.file()), expected, "split {split}");
        assert_eq!(owner.download.backlog_bytes(), 0);
    }
    play(usize::MAX)
}

/// Nothing is on the disk.
const NOTHING: Disk<'_> = Disk { partial: "", total: None, foreign: false, complete: None };

/// The beginning of a file of five bytes is.
fn partial(partial: &str) -> Disk<'_> {
    Disk { partial, total: Some(5), ..NOTHING }
}

const OK5: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

#[test]
fn a_whole_file_from_servers_of_every_age() {
    let serveez = "HTTP 200 OK\r\nUser-agent: Gnutella\r\nContent-length: 5\r\n\r\nhello";
    for answer in [OK5, serveez, "HTTP/1.0 200\r\ncontent-length:5\r\n\r\nhello and surplus"] {
        for size in [Some(5), None] {
            let owner = fetch(size, NOTHING, &vec![(vec![answer], End::Stay)], Ok("hello"));
            assert_eq!(owner.paths, ["/get/7/a%20b.txt"]);
            assert_eq!((owner.ranges[0], owner.opened[0]), (None, (0, Some(5))));
        }
    }
    let empty = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    fetch(Some(0), NOTHING, &vec![(vec![empty], End::Stay)], Ok(""));
}

#[test]
fn a_body_without_length_ends_with_the_connection_or_the_size() {
    let answer = "HTTP 200 OK\r\n\r\nhello";
    fetch(None, NOTHING, &vec![(vec![answer], End::Close)], Ok("hello"));
    fetch(Some(5), NOTHING, &vec![(vec![answer], End::Stay)], Ok("hello"));
    fetch(Some(6), NOTHING, &vec![(vec![answer], End::Close)], Err(DownloadError::Interrupted));
    fetch(None, NOTHING, &vec![(vec![answer], End::Reset)], Err(DownloadError::Interrupted));
}

#[test]
fn a_small_partial_is_compared_whole_and_kept() {
    let owner = fetch(Some(5), partial("he"), &vec![(vec![OK5], End::Stay)], Ok("hello"));
    assert_eq!((&owner.ranges[..], &owner.aside), (&[None][..], &None));
    let more = "HTTP/1.1 206 OK\r\nContent-Range: bytes=0-4/5\r\n\r\nhello";
    let unknown = Disk { partial: "he", ..NOTHING };
    fetch(None, unknown, &vec![(vec![more], End::Stay)], Ok("hello"));
    fetch(None, unknown, &vec![(vec!["HTTP 200 OK\r\n\r\nhello"], End::Close)], Ok("hello"));
    // Even one that has all bytes is compared before it is finished.
    fetch(Some(5), partial("hello"), &vec![(vec![OK5], End::Stay)], Ok("hello"));
}

/// Invariant 8.
#[test]
fn a_partial_of_another_file_is_set_aside_and_the_file_fetched_anew() {
    let bare = "HTTP 200 OK\r\n\r\nhello";
    let short = "HTTP 200 OK\r\n\r\nhe";
    let cases: [(Option<u64>, Disk<'_>, &'static str, End, &str); 5] = [
        (Some(5), partial("HE"), OK5, End::Stay, "hello"),
        (Some(5), partial("hellO"), OK5, End::Stay, "hello"),
        (Some(5), Disk { foreign: true, ..partial("hex") }, OK5, End::Stay, "hello"),
        (None, Disk { partial: "HE", ..NOTHING }, bare, End::Close, "hello"),
        // The source has less than what is here, and says so by closing only.
        (None, Disk { partial: "hello", ..NOTHING }, short, End::Close, "he"),
    ];
    for (size, disk, answer, end, whole) in cases {
        let script = vec![(vec![answer], end), (vec![answer], end)];
        let owner = fetch(size, disk, &script, Ok(whole));
        assert_eq!(owner.aside.as_deref(), Some(disk.partial.as_bytes()), "{answer}");
    }
}

#[test]
fn a_source_that_answers_something_else_each_time_is_given_up() {
    let first = "HTTP/1.1 206 OK\r\nContent-Range: bytes 0-1/5\r\n\r\nhe";
    let other = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHello";
    let script = vec![(vec![first, other], End::Stay)];
    let owner = fetch(Some(5), NOTHING, &script, Err(DownloadError::Changed));
    assert_eq!(owner.file(), "he", "what was written stays");
}

/// Between two answers of one download there is no overlap: what the source says must do.
#[test]
fn a_file_that_changes_between_two_answers_is_not_joined() {
    for tag in ["ETag: \"{}\"", "Last-Modified: Thu, 0{} Jan 2026 00:00:00 GMT"] {
        let answer = |version: &str, span, text| -> &'static str {
            let tag = tag.replace("{}", version);
            let head = format!("HTTP/1.1 206 P\r\n{tag}\r\nContent-Range: bytes {span}/5\r\n\r\n");
            (head + text).leak()
        };
        let first = answer("1", "0-1", "he");
        let script = vec![(vec![first, answer("1", "2-4", "llo")], End::Stay)];
        fetch(None, NOTHING, &script, Ok("hello"));
        let script = vec![(vec![first, answer("2", "2-4", "LLO")], End::Stay)];
        assert_eq!(fetch(None, NOTHING, &script, Err(DownloadError::Changed)).file(), "he");
    }
}

/// The size of the partial of another source says nothing about this one's file.
#[test]
fn a_partial_of_another_source_and_size_is_left_alone() {
    let disk = Disk { partial: "hello w", total: Some(11), foreign: true, complete: None };
    let script = vec![(vec![OK5], End::Stay), (vec![OK5], End::Stay)];
    let owner = fetch(None, disk, &script, Ok("hello"));
    assert_eq!(owner.aside.as_deref(), Some(&b"hello w"[..]));
    let own = Disk { foreign: false, ..disk };
    let error = DownloadError::SizeMismatch { expected: 11, offered: 5 };
    fetch(None, own, &vec![(vec![OK5], End::Stay)], Err(error));
}

#[test]
fn a_size_that_changes_behind_the_join_ends_the_download() {
    let disk = Disk { partial: "hello w", total: Some(11), foreign: true, complete: None };
    let first = "HTTP/1.1 206 P\r\nContent-Range: bytes 0-8/*\r\n\r\nhello wor";
    let second = "HTTP/1.1 206 P\r\nContent-Range: bytes 9-10/12\r\n\r\nld";
    let error = DownloadError::SizeMismatch { expected: 11, offered: 12 };
    let owner = fetch(None, disk, &vec![(vec![first, second], End::Stay)], Err(error));
    assert_eq!((owner.file(), &owner.aside), ("hello wor", &None), "what is joined is kept");
}

/// A file of which no two stretches are the same.
fn long_text(bytes: usize) -> String {
    (0..).map(|n| format!("{n:07} ")).take(bytes / 8 + 1).collect::<String>()[..bytes].to_owned()
}

/// An answer with this stretch of `text`, as honest servents give it.
fn part(text: &str, from: usize, to: usize) -> &'static str {
    let (size, last) = (text.len(), to - 1);
    let head = format!("HTTP/1.1 206 P\r\nContent-Range: bytes {from}-{last}/{size}\r\n\r\n");
    (head + &text[from..to]).leak()
}

const LONG: usize = 300_000;
const OVERLAP: usize = 64 * 1024;

#[test]
fn a_long_partial_is_joined_behind_an_overlap() {
    let text = long_text(LONG);
    let disk = Disk { partial: &text[..200_000], total: Some(LONG as u64), ..NOTHING };
    let from = 200_000 - OVERLAP;
    let script = vec![(vec![part(&text, from, LONG)], End::Stay)];
    let owner = fetch(None, disk, &script, Ok(&text));
    assert_eq!(owner.ranges, [Some(RangeSpec::From(from as u64))]);
    // In pieces smaller than the overlap.
    let pieces = (from..LONG).step_by(30_000);
    let pieces = pieces.map(|at| part(&text, at, LONG.min(at + 30_000)));
    let script = pieces.map(|piece| (vec![piece], End::Close)).collect();
    fetch(None, disk, &script, Ok(&text));
    // One byte of the overlap differs: nothing is joined.
    let mut other = text.clone();
    other.replace_range(from..=from, "x");
    let disk = Disk { partial: &other[..200_000], ..disk };
    let script =
        vec![(vec![part(&text, from, LONG)], End::Stay), (vec![part(&text, 0, LONG)], End::Stay)];
    let owner = fetch(None, disk, &script, Ok(&text));
    assert_eq!(owner.aside.as_deref(), Some(disk.partial.as_bytes()));
    assert_eq!(owner.ranges, [Some(RangeSpec::From(from as u64)), None]);
}

/// GNU Serveez ignores ranges and sends the whole file.
#[test]
fn a_source_without_ranges_is_compared_from_its_first_byte() {
    let text = long_text(LONG);
    let whole = format!("HTTP 200 OK\r\nContent-length: {LONG}\r\n\r\n{text}").leak();
    let disk = Disk { partial: &text[..200_000], total: Some(LONG as u64), ..NOTHING };
    fetch(None, disk, &vec![(vec![&*whole], End::Close)], Ok(&text));
    // The overlap agrees, the first byte does not.
    let mut other = text.clone();
    other.replace_range(0..1, "x");
    let disk = Disk { partial: &other[..200_000], ..disk };
    let script = vec![(vec![&*whole], End::Close), (vec![&*whole], End::Close)];
    let owner = fetch(None, disk, &script, Ok(&text));
    assert_eq!(owner.aside.as_deref(), Some(disk.partial.as_bytes()));
}

#[test]
fn a_complete_file_is_already_here_when_both_its_ends_agree() {
    let text = long_text(LONG);
    let disk = Disk { complete: Some(&text), ..NOTHING };
    let (head, tail) = (part(&text, 0, OVERLAP), part(&text, LONG - OVERLAP, LONG));
    for size in [None, Some(LONG as u64)] {
        let owner = fetch(size, disk, &vec![(vec![head, tail], End::Stay)], Ok(""));
        assert!(owner.already_here && owner.opened.is_empty());
        let span = |from, to| Some(RangeSpec::Span(from as u64, to as u64 - 1));
        assert_eq!(owner.ranges, [span(0, OVERLAP), span(LONG - OVERLAP, LONG)]);
        assert_eq!(owner.result, Some(Ok(LONG as u64)));
    }
    let small = Disk { complete: Some("hello"), ..NOTHING };
    let all = "HTTP/1.1 206 P\r\nContent-Range: bytes 0-4/5\r\n\r\nhello";
    for answer in [all, OK5] {
        assert!(fetch(None, small, &vec![(vec![answer], End::Stay)], Ok("")).already_here);
    }
    let empty = Disk { complete: Some(""), ..NOTHING };
    let none = "HTTP/1.1 416 R\r\nContent-Range: bytes */0\r\nContent-Length: 0\r\n\r\n";
    let nothing = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    for answer in [none, nothing] {
        assert!(fetch(None, empty, &vec![(vec![answer], End::Stay)], Ok("")).already_here);
    }
}

#[test]
fn a_complete_file_that_differs_leaves_the_download_as_it_would_be() {
    let text = long_text(LONG);
    let mut other = text.clone();
    other.replace_range(LONG - 1.., "x");
    let disk = Disk { complete: Some(&other), ..NOTHING };
    let (head, tail) = (part(&text, 0, OVERLAP), part(&text, LONG - OVERLAP, LONG));
    let all = part(&text, 0, LONG);
    let script = vec![(vec![head, tail], End::Stay), (vec![all], End::Stay)];
    let owner = fetch(None, disk, &script, Ok(&text));
    assert!(!owner.already_here);
    // A partial beside it is gone on with.
    let disk = Disk { partial: &text[..100_000], total: Some(LONG as u64), ..disk };
    let rest = part(&text, 100_000 - OVERLAP, LONG);
    let script = vec![(vec![head, tail], End::Stay), (vec![rest], End::Stay)];
    fetch(None, disk, &script, Ok(&text));
    // Another size, an empty answer to a file that is not, and a source without ranges: the middle
    // decides.
    let small = Disk { complete: Some("hello world"), ..NOTHING };
    for answer in [OK5, "HTTP/1.1 206 P\r\nContent-Range: bytes 0-4/5\r\n\r\nhello"] {
        let script = vec![(vec![answer], End::Stay), (vec![OK5], End::Stay)];
        assert!(!fetch(None, small, &script, Ok("hello")).already_here);
    }
    let nothing = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let script = vec![(vec![nothing], End::Stay), (vec![nothing], End::Stay)];
    assert!(!fetch(None, small, &script, Ok("")).already_here);
    let mut middle = text.clone();
    middle.replace_range(150_000..150_001, "x");
    let disk = Disk { complete: Some(&middle), ..NOTHING };
    let whole = &*format!("HTTP 200 OK\r\nContent-length: {LONG}\r\n\r\n{text}").leak();
    let script = vec![(vec![whole], End::Close), (vec![whole], End::Close)];
    assert!(!fetch(None, disk, &script, Ok(&text)).already_here);
    assert!(fetch(None, Disk { complete: Some(&text), ..NOTHING }, &script, Ok("")).already_here);
}

/// 600 MiB in answers of 128 KiB, as gtk-gnutella gives them: 4,800 requests.
#[test]
fn many_answers_are_taken_if_they_are_not_too_small() {
    const PIECE: u64 = 128 * 1024;
    let play = |pieces: u64, piece: u64| {
        let size = pieces * piece;
        let limits = DownloadLimits::default();
        let kept = Kept::default();
        let mut download =
            Download::new(seconds(0), source("a", Some(size)), kept, false, limits).unwrap();
        download.handle_connected(seconds(0), true);
        let body = vec![b'x'; usize::try_from(piece).unwrap()];
        let mut at = 0;
        loop {
            while let Some(step) = download.poll() {
                match step {
                    DownloadStep::OpenPartial { .. } => download.handle_file_opened(),
                    DownloadStep::Write { bytes, .. } => {
                        download.handle_written(seconds(0), bytes.len() as u64);
                    }
                    DownloadStep::Sync => download.handle_synced(),
                    DownloadStep::Finish => download.handle_finished(),
                    DownloadStep::Done { bytes, .. } => return Ok(bytes),
                    DownloadStep::Fail(error) => return Err(error),
                    _ => {}
                }
            }
            let last = at + piece - 1;
            let head = format!(
                "HTTP/1.1 206 P\r\nContent-Length: {piece}\r\nContent-Range: bytes \
                 {at}-{last}/{size}\r\n\r\n"
            );
            download.handle_bytes(seconds(0), head.as_bytes());
            download.handle_bytes(seconds(0), &body);
            at += piece;
        }
    };
    assert_eq!(play(4_800, PIECE), Ok(4_800 * PIECE));
    assert_eq!(play(5_000, 1_000), Err(DownloadError::TooManyPieces { requests: 4_096 }));
}

#[test]
fn a_source_known_for_raw_names_is_asked_so_at_once() {
    let limits = DownloadLimits::default();
    let begin = |name| {
        let kept = Kept::default();
        let mut download =
            Download::new(seconds(0), source(name, None), kept, true, limits).unwrap();
        download.handle_connected(seconds(0), true);
        String::from_utf8(download.transmit().unwrap().to_vec()).unwrap()
    };
    assert!(begin("a b").starts_with("GET /get/7/a b HTTP"));
    assert!(begin("a\r\n\r\nGET /x").starts_with("GET /get/7/a%0D%0A"), "never sent raw");
}

#[test]
fn short_answers_are_continued() {
    let first = "HTTP/1.1 206 OK\r\nContent-Range: bytes 0-1/5\r\nContent-Length: 2\r\n\r\nhe";
    let second = "HTTP/1.1 206 OK\r\nContent-Range: bytes 2-4/5\r\nContent-Length: 3\r\n\r\nllo";
    let kept = vec![(vec![first, second], End::Stay)];
    let owner = fetch(None, NOTHING, &kept, Ok("hello"));
    assert_eq!(owner.ranges, [None, Some(RangeSpec::From(2))]);
    // The server closes after each answer, with and without a warning.
    let dropped = vec![(vec![first], End::Close), (vec![second], End::Close)];
    let owner = fetch(None, NOTHING, &dropped, Ok("hello"));
    assert_eq!(owner.paths.len(), 2);
    let said = "HTTP/1.0 206 OK\r\nContent-Range: bytes 0-1/5\r\n\r\nhe";
    fetch(None, NOTHING, &vec![(vec![said], End::Stay), (vec![second], End::Stay)], Ok("hello"));
    // Unrequested bytes after an answer are not read as the next one.
    let surplus = "HTTP/1.1 206 OK\r\nContent-Range: bytes 0-1/5\r\n\r\nheHTTP/1.1 404 No\r\n\r\n";
    let owner = Owner::new(source("a", None), NOTHING)
        .run(vec![(vec![surplus], End::Stay), (vec![second], End::Stay)], usize::MAX);
    assert_eq!((owner.result, owner.file()), (Some(Ok(5)), "hello"));
    // The second connection fails to answer: what came stays.
    fetch(
        None,
        NOTHING,
        &vec![(vec![said], End::Stay), (vec![""], End::Close)],
        Err(DownloadError::Interrupted),
    );
}

#[test]
fn a_server_that_wants_raw_names_is_asked_once_more() {
    let script = vec![(vec![""], End::Close), (vec![OK5], End::Close)];
    let owner = fetch(Some(5), NOTHING, &script, Ok("hello"));
    assert_eq!(owner.paths, ["/get/7/a%20b.txt", "/get/7/a b.txt"]);
    let script = vec![(vec![""], End::Reset), (vec![""], End::Reset)];
    fetch(Some(5), NOTHING, &script, Err(DownloadError::NoAnswer));
    // A name that would smuggle a second request is never sent raw; a plain one has no other form.
    for name in ["a\r\n\r\nGET /x", "plain"] {
        let owner = Owner::new(source(name, None), NOTHING);
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
            DownloadError::WrongRange { wanted: 0, offered: Some(3) },
        ),
        ("HTTP/1.1 206 OK\r\n\r\n", DownloadError::WrongRange { wanted: 0, offered: None }),
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
        let owner = fetch(Some(5), partial("he"), &vec![(vec![answer], End::Stay)], Err(error));
        assert_eq!(owner.file(), "he", "the partial is kept");
        let sentence = error.to_string();
        assert!(!sentence.starts_with("expected") && !sentence.contains("  "), "{sentence}");
    }
    let limits = DownloadLimits::default();
    let kept = partial("he").kept();
    let mismatch = Download::new(seconds(0), source("a", Some(6)), kept, false, limits);
    assert_eq!(mismatch.err(), Some(other));
}

#[test]
fn an_interrupted_download_keeps_what_came() {
    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel";
    let error = DownloadError::Interrupted;
    for end in [End::Close, End::Reset] {
        let owner = fetch(Some(5), NOTHING, &vec![(vec![cut], end)], Err(error));
        assert_eq!(owner.file(), "hel");
    }
}

#[test]
fn silence_ends_the_download() {
    let mut owner = Owner::new(source("a", None), NOTHING).run(Vec::new(), 1);
    assert_eq!(owner.download.poll_timeout(), Some(seconds(20)));
    owner.download.handle_timeout(seconds(19));
    assert_eq!(owner.download.poll(), None);
    owner.download.handle_timeout(seconds(20));
    assert_eq!(owner.download.poll(), Some(DownloadStep::Disconnect));
    let error = DownloadError::ConnectTimeout(Duration::from_secs(20));
    assert_eq!(owner.download.poll(), Some(DownloadStep::Fail(error)));

    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel";
    let mut owner = Owner::new(source("a", None), NOTHING).run(vec![(vec![cut], End::Stay)], 9);
    owner.download.handle_timeout(seconds(32));
    assert_eq!(owner.result, None, "the last bytes reached the disk at second 3");
    owner.download.handle_timeout(seconds(33));
    let owner = owner.run(Vec::new(), 1);
    let silence = Duration::from_secs(30);
    let error = DownloadError::Stalled { silence, begun: true };
    assert_eq!((owner.result, owner.file()), (Some(Err(error)), "hel"));
}

#[test]
fn a_slow_disk_is_waited_for_and_a_broken_one_ends_it() {
    let mut owner = Owner::new(source("a", None), NOTHING);
    assert_eq!(owner.download.poll(), Some(DownloadStep::Connect(ADDR)));
    owner.download.handle_connected(seconds(0), true);
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
    let (kept, limits) = (Kept::default(), DownloadLimits::default());
    let mut download = Download::new(seconds(0), source("a", None), kept, false, limits).unwrap();
    download.handle_connected(seconds(0), true);
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
    assert_eq!(download.poll(), Some(DownloadStep::Done { bytes: 5, already_here: false }));
}
