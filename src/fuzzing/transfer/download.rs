//! The owner of one download, with a disk that answers when the script says so.

use crate::fuzzing::said::said;
use crate::fuzzing::script::Script;
use crate::time::Instant;
use crate::transfer::download::{
    Against, DiskFault, Download, DownloadLimits, DownloadStep, Kept, MAX_BACKLOG_BYTES,
    MAX_WRITE_BYTES, OVERLAP_BYTES, Partial, PushVia, Source,
};
use crate::wire::ServentId;
use crate::wire::http_head::parse_request;
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};

const ADDR: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 6346);

const NAMES: [&str; 4] = ["hello.txt", "a b%41 \u{e4}.txt", "x HTTP/1.0", "a\r\n\r\nGET /"];

const HEADS: [&[u8]; 20] = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n",
    b"HTTP 200 OK\r\nContent-length: 5\r\n\r\n",
    b"HTTP 200 OK\r\n\r\n",
    b"HTTP/1.1 206 P\r\nContent-Range: bytes 2-4/5\r\n\r\n",
    b"HTTP/1.1 206 P\r\nContent-Range: bytes 0-1/5\r\n\r\n",
    b"HTTP/1.1 206 P\r\nContent-Range: bytes 0-99999/200000\r\n\r\n",
    b"HTTP/1.0 206 P\r\nContent-Range: bytes 1-3/*\r\n\r\n",
    b"HTTP/1.1 206 P\r\nContent-Range: bytes 0-18446744073709551614/*\r\n\r\n",
    b"HTTP/1.1 416 R\r\nContent-Range: bytes */5\r\n\r\n",
    b"HTTP/1.1 404 N\r\n\r\n",
    b"HTTP/1.1 503 B\r\nRetry-After: 60\r\n\r\n",
    b"HTTP/1.1 301 M\r\n\r\n",
    b"HTTP/1.1 ",
    b"206 P\r\nContent-Range: bytes ",
    b"\r\nConnection: close",
    b"\r\n\r\n",
    b"hello",
    b"he",
];

const FAULTS: [DiskFault; 3] = [DiskFault::Full, DiskFault::Denied, DiskFault::Failed];

struct Owner {
    download: Download,
    now: Instant,
    link: Link,
    /// What the disk was asked and has not answered.
    asked: VecDeque<Asked>,
    /// End of what was handed to the disk; `None` until the file is open.
    offset: Option<u64>,
    have: u64,
    /// Bytes that came from the source.
    fed: u64,
    /// A comparison with a partial file has failed, and nothing may be written before it is set
    /// aside.
    differs: bool,
    /// A complete file has agreed so far.
    complete: bool,
    finished: bool,
    ended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    None,
    Connecting,
    Connected,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Open,
    Compare(Against),
    Write(u64),
    Sync,
    Finish,
}

pub(super) fn play(settings: u8, script: &mut Script<'_>) {
    let push = PushVia { servent: ServentId([9; 16]), ttl: 4, firewalled: settings & 2 != 0 };
    let source = Source {
        addr: ADDR,
        index: 7,
        name: script.choice(&NAMES).to_owned(),
        size: (settings & 4 != 0).then(|| u64::from(script.number())),
        push: (settings & 1 != 0).then_some(push),
    };
    let partial = (settings & 8 != 0).then(|| Partial {
        have: u64::from(script.number()),
        total: (settings & 16 != 0).then(|| u64::from(script.number())),
        same_source: settings & 32 == 0,
    });
    let kept = Kept { partial, complete: settings & 64 != 0 };
    let have = partial.map_or(0, |partial| partial.have);
    let limits = DownloadLimits::default();
    let download = match Download::new(Instant::ZERO, source, kept, settings & 3 == 2, limits) {
        Ok(download) => download,
        Err(error) => return said(&error),
    };
    let mut owner = Owner {
        download,
        now: Instant::ZERO,
        link: Link::None,
        asked: VecDeque::new(),
        offset: None,
        have,
        fed: 0,
        differs: false,
        complete: kept.complete,
        finished: false,
        ended: false,
    };
    owner.settle();
    while let Some(operation) = script.next() {
        owner.operate(operation, script);
        owner.settle();
    }
}

impl Owner {
    fn operate(&mut self, operation: u8, script: &mut Script<'_>) {
        match operation % 12 {
            0 => self.feed(script.raw()),
            1 => self.feed(script.choice(&HEADS)),
            2 => self.feed(&vec![b'x'; 256 * usize::from(script.number())]),
            3 if self.link == Link::Connecting => {
                self.link = Link::Connected;
                self.download.handle_connected(self.now, (operation / 12).is_multiple_of(2));
                self.check_request();
            }
            4 if self.link == Link::Connecting => {
                self.link = Link::None;
                self.download.handle_connect_failed(self.now, script.number() & 1 == 0);
            }
            5 if self.link != Link::None => {
                self.link = Link::None;
                self.download.handle_closed(self.now, script.number() & 1 == 0);
            }
            6 => self.answer(1, operation / 12 % 4 < 3),
            7 => self.answer(usize::MAX, true),
            8 if !self.asked.is_empty() => {
                self.asked.clear();
                self.download.handle_disk_fault(script.choice(&FAULTS));
            }
            9 => {
                self.now = script.later(self.now);
                self.download.handle_timeout(self.now);
                self.settle();
                let due = self.download.poll_timeout();
                assert!(due.is_none_or(|at| at > self.now), "a timer that was served runs again");
            }
            10 => self.send(usize::from(script.number())),
            11 => self.send(usize::MAX),
            _ => {}
        }
    }

    /// The source sends bytes, unless the download does not read them.
    fn feed(&mut self, bytes: &[u8]) {
        if self.link == Link::Connected && self.download.backlog_bytes() < MAX_BACKLOG_BYTES {
            self.fed += bytes.len() as u64;
            self.download.handle_bytes(self.now, bytes);
        }
    }

    /// The disk has done up to `most` of what it was asked.
    fn answer(&mut self, most: usize, same: bool) {
        for _ in 0..most {
            match self.asked.pop_front() {
                None => return,
                Some(Asked::Open) => self.download.handle_file_opened(),
                Some(Asked::Compare(against)) => {
                    match against {
                        Against::Partial => self.differs |= !same,
                        Against::Complete { .. } => self.complete &= same,
                    }
                    self.download.handle_compared(self.now, same);
                }
                Some(Asked::Write(bytes)) => self.download.handle_written(self.now, bytes),
                Some(Asked::Sync) => self.download.handle_synced(),
                Some(Asked::Finish) => {
                    self.finished = true;
                    self.download.handle_finished();
                }
            }
            self.settle();
        }
    }

    fn send(&mut self, most: usize) {
        if let Some(bytes) = self.download.transmit() {
            let taken = bytes.len().min(most);
            self.download.sent(taken);
        }
    }

    /// Does what the download wants done, and looks at what it is then.
    fn settle(&mut self) {
        while let Some(step) = self.download.poll() {
            assert!(!self.ended, "{step:?} after the end");
            self.step(&step);
        }
        let download = &self.download;
        assert!(download.backlog_bytes() <= self.fed, "more on the way than ever came");
        assert!(download.received_bytes() <= self.have + self.fed);
        assert!(download.expected_bytes().is_none_or(|size| download.received_bytes() <= size));
        let waits = download.poll_timeout().is_some() || !self.asked.is_empty();
        assert!(self.ended || waits, "a download that nothing will wake");
        assert!(!self.ended || self.link == Link::None, "ended with a connection");
        assert_eq!(download.is_connecting(), self.link == Link::Connecting);
        if let Some(request) = download.transmit() {
            assert_eq!(self.link, Link::Connected, "a request to nobody");
            assert!(!request.is_empty());
        }
    }

    fn step(&mut self, step: &DownloadStep) {
        match step {
            DownloadStep::Connect(_) | DownloadStep::Push(_) => {
                assert_eq!(self.link, Link::None, "two connections at a time");
                self.link = Link::Connecting;
            }
            DownloadStep::Disconnect | DownloadStep::Release => {
                assert_ne!(self.link, Link::None, "there is no connection");
                self.link = Link::None;
            }
            DownloadStep::SetAside { .. } => {
                assert!(self.have > 0, "nothing to be set aside");
                assert!(self.offset.is_none_or(|at| at == self.have), "written to already");
                (self.have, self.offset, self.differs) = (0, Some(0), false);
                self.asked.push_back(Asked::Open);
            }
            DownloadStep::Compare { against, offset, bytes } => {
                assert!(bytes.len() <= MAX_WRITE_BYTES);
                if *against == Against::Partial {
                    assert!(!self.asked.contains(&Asked::Open), "before the file is open");
                    let end = offset + bytes.len() as u64;
                    assert!(self.offset.is_some_and(|at| end <= at), "beyond what is there");
                }
                self.asked.push_back(Asked::Compare(*against));
            }
            &DownloadStep::OpenPartial { have, .. } => {
                assert_eq!((self.offset, have), (None, self.have), "opened once, where it ends");
                self.offset = Some(have);
                self.asked.push_back(Asked::Open);
            }
            DownloadStep::Write { offset, bytes } => {
                assert!(!self.asked.contains(&Asked::Open), "a write before the file is open");
                let compared = !self.asked.iter().any(|it| matches!(it, Asked::Compare(_)));
                assert!(compared && !self.differs, "joined to what is not the same");
                assert_eq!(Some(*offset), self.offset, "writes are contiguous");
                assert!(!bytes.is_empty() && bytes.len() <= MAX_WRITE_BYTES);
                let end = offset + bytes.len() as u64;
                assert!(self.download.expected_bytes().is_none_or(|size| end <= size));
                self.offset = Some(end);
                self.asked.push_back(Asked::Write(bytes.len() as u64));
            }
            DownloadStep::Sync => {
                assert_eq!(self.asked, [], "durable before it is written");
                self.asked.push_back(Asked::Sync);
            }
            DownloadStep::Finish => {
                assert_eq!(self.asked, [], "named before it is durable");
                assert!(!self.differs, "finished with bytes that are not the same");
                self.asked.push_back(Asked::Finish);
            }
            DownloadStep::UseComplete => {
                assert_eq!(self.asked, [], "before all was compared");
                assert!(self.complete, "no complete file agrees");
                self.asked.push_back(Asked::Finish);
            }
            &DownloadStep::Done { bytes, already_here } => {
                assert!(self.finished, "done before the file has its name");
                assert!(already_here || self.offset == Some(bytes), "not all is written");
                assert_eq!(self.download.expected_bytes(), Some(bytes));
                self.ended = true;
            }
            DownloadStep::Fail(error) => {
                said(error);
                assert_eq!(self.asked, [], "the disk is still busy");
                self.ended = true;
            }
        }
    }

    /// A request is one request for any name, and asks for the missing part.
    fn check_request(&self) {
        let Some(request) = self.download.transmit() else { return };
        let (head, len) = parse_request(request).expect("our own").expect("and all of it");
        assert_eq!(len, request.len(), "a name ends the request early");
        assert!(head.range.is_some() || self.have <= OVERLAP_BYTES, "all of it again");
    }
}
