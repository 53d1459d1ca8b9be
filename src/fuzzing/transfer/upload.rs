//! The owner of one upload, with a shelf of three files and no disk.

use crate::fuzzing::said::said;
use crate::fuzzing::script::Script;
use crate::time::Instant;
use crate::transfer::SharedFiles;
use crate::transfer::upload::{OpenError, Piece, Slot, Upload, UploadLimits, UploadStep};
use crate::wire::http_head::{GetPath, MAX_HEAD_BYTES, ResponseHead, parse_response};
use std::time::Duration;

const FILES: [(u32, &str, u64); 3] =
    [(1, "hello.txt", 5), (2, "free bsd notes.txt", 70_000), (3, "empty", 0)];

const LINES: [&[u8]; 16] = [
    b"GET /get/1/hello.txt HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /get/2/free%20bsd%20notes.txt HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
    b"GET /get/2/free bsd notes.txt HTTP/1.0\r\nContent-range: bytes=0-\r\n\r\n",
    b"GET /get/3/empty HTTP/1.0\r\n\r\n",
    b"GET /get/9/none HTTP/1.1\r\nHost: a\r\n\r\n",
    b"HEAD /get/1/hello.txt HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /get/1/hello.txt HTTP/1.",
    b"GET /get/2/free bsd notes.txt",
    b"GET /get/1/hello.txt/",
    b"\r\n",
    b"\n",
    b"\r\nRange: bytes=1-3",
    b"\r\nRange: bytes=60000-",
    b"\r\nRange: bytes=-2",
    b"\r\nRange: bytes=99999999-",
    b"\r\nConnection: close",
];

const GIV: &[u8] = b"GIV 1:F0E1D2C3B4A59687FF78695A4B3C2D00/hello.txt\n\n";

struct FakeFiles;

impl SharedFiles for FakeFiles {
    fn find(&self, path: &GetPath) -> Option<(u32, u64)> {
        let named = |name: &str| path.names().any(|asked| asked == name);
        let exact = FILES.iter().find(|file| file.0 == path.index && named(file.1));
        let file = exact.or_else(|| FILES.iter().find(|file| named(file.1)))?;
        Some((file.0, file.2))
    }
}

struct Owner {
    upload: Upload,
    now: Instant,
    slot_free: bool,
    held: Option<Held>,
    closed: bool,
    /// What is left to be sent of the line in front of everything.
    giv_left: usize,
    /// Bytes of a head that is not complete.
    head: Vec<u8>,
    last_head: Option<ResponseHead>,
}

/// A file between `Open` and `Release`.
struct Held {
    number: u32,
    size: u64,
    open: bool,
    /// First byte and length, once a piece was offered.
    promised: Option<(u64, u64)>,
    sent: u64,
}

pub(super) fn play(settings: u8, script: &mut Script<'_>) {
    let giving = settings & 1 == 1;
    let limits = UploadLimits::default();
    let mut owner = Owner {
        upload: match giving {
            true => Upload::giving(Instant::ZERO, limits, GIV.to_vec()),
            false => Upload::new(Instant::ZERO, limits),
        },
        now: Instant::ZERO,
        slot_free: true,
        held: None,
        closed: false,
        giv_left: if giving { GIV.len() } else { 0 },
        head: Vec::new(),
        last_head: None,
    };
    owner.settle();
    while let Some(operation) = script.next() {
        owner.operate(operation, script);
        owner.settle();
    }
    owner.upload.handle_reset(owner.now);
    owner.settle();
    assert!(owner.closed, "a connection that is gone ends its upload");
}

impl Owner {
    fn operate(&mut self, operation: u8, script: &mut Script<'_>) {
        let now = self.now;
        match operation % 12 {
            0 => self.upload.handle_bytes(now, script.raw()),
            1 => self.upload.handle_bytes(now, script.choice(&LINES)),
            2 => {
                let filler = vec![b'A'; 64 * usize::from(script.number())];
                self.upload.handle_bytes(now, &filler);
            }
            3 => self.answer_open(0),
            4 => self.answer_open(script.number()),
            5 => self.upload.handle_file_ended(now),
            6 => self.send(usize::from(script.number())),
            7 => self.send(usize::MAX),
            8 => self.slot_free = !self.slot_free,
            9 => {
                self.now = script.later(now);
                self.upload.handle_timeout(self.now);
                self.settle();
                let due = self.upload.poll_timeout();
                assert!(due.is_none_or(|at| at > self.now), "a timer that was served runs again");
            }
            10 => self.upload.handle_eof(now),
            _ => self.upload.handle_reset(now),
        }
    }

    /// The disk answers, if it was asked.
    fn answer_open(&mut self, how: u8) {
        let Some(held) = self.held.as_mut().filter(|held| !held.open) else { return };
        let answer = match how {
            0 => Ok(held.size),
            1 => Err(OpenError::Gone),
            2 => Err(OpenError::Failed),
            other => Ok(u64::from(other)),
        };
        held.open = answer == Ok(held.size);
        self.upload.handle_opened(self.now, answer);
    }

    /// The socket takes up to `most` bytes of the piece at hand.
    fn send(&mut self, most: usize) {
        let taken = match self.upload.transmit() {
            None => return,
            Some(Piece::Bytes(bytes)) => {
                let taken = bytes.len().min(most);
                let giv = self.giv_left.min(taken);
                let line = &GIV[GIV.len() - self.giv_left..][..giv];
                assert_eq!(&bytes[..giv], line, "the line that announces us comes first");
                self.giv_left -= giv;
                self.head.extend_from_slice(&bytes[giv..taken]);
                taken
            }
            Some(Piece::File { len, .. }) => {
                let taken = usize::try_from(len).unwrap_or(usize::MAX).min(most);
                let held = self.held.as_mut().expect("a piece of a file that is held");
                held.sent += taken as u64;
                taken
            }
        };
        self.read_head();
        self.upload.sent(self.now, taken);
    }

    /// What is not file is heads, each in a piece of its own.
    fn read_head(&mut self) {
        match parse_response(&self.head) {
            Ok(None) => {}
            Ok(Some((head, len))) => {
                assert_eq!(len, self.head.len(), "something follows a head");
                self.last_head = Some(head);
                self.head.clear();
            }
            Err(error) => panic!("{error}: {}", self.head.escape_ascii()),
        }
    }

    /// Does what the upload wants done, and looks at what it is then.
    fn settle(&mut self) {
        while let Some(step) = self.upload.poll(self.now, &FakeFiles, self.slot()) {
            assert!(!self.closed, "{step:?} after the end");
            self.step(&step);
        }
        assert!(self.upload.input_bytes() <= MAX_HEAD_BYTES, "input grows");
        match self.upload.transmit() {
            None if self.closed => assert_eq!(self.upload.poll_timeout(), None),
            None => {
                let opening = self.held.as_ref().is_some_and(|held| !held.open);
                let waits = self.upload.poll_timeout().is_some();
                assert!(opening || waits, "an upload that nothing will wake");
            }
            Some(_) if self.closed => panic!("something to send after the end"),
            Some(Piece::Bytes(bytes)) => assert!(!bytes.is_empty()),
            Some(Piece::File { offset, len }) => self.check_piece(offset, len),
        }
    }

    fn slot(&self) -> Slot {
        if self.slot_free { Slot::Free } else { Slot::FreeIn(Duration::from_secs(7)) }
    }

    fn step(&mut self, step: &UploadStep) {
        match *step {
            UploadStep::Open { number, size } => {
                assert!(self.held.is_none(), "two files at a time");
                assert!(self.slot_free, "a file without a slot");
                assert!(FILES.iter().any(|file| (file.0, file.2) == (number, size)));
                self.held = Some(Held { number, size, open: false, promised: None, sent: 0 });
            }
            UploadStep::Release { number, bytes, complete } => {
                let held = self.held.take().expect("what is released was opened");
                assert_eq!((held.number, held.sent), (number, bytes));
                let promised = held.promised.map_or(0, |(_, len)| len);
                assert!(!complete || bytes == promised, "{bytes} of {promised} are not all");
            }
            UploadStep::Proxy { .. } => self.upload.handle_proxied(self.now, self.slot_free),
            UploadStep::Refused { status, .. } => {
                assert!(matches!(status.code(), 400 | 404 | 410 | 416 | 503), "{status:?}");
            }
            UploadStep::Stale { number } => {
                assert!(FILES.iter().any(|file| file.0 == number));
            }
            UploadStep::Close(ref why) => {
                said(why);
                assert!(self.held.is_none(), "closed with a file open");
                self.closed = true;
            }
        }
    }

    /// The rest of the range the head told of, which lies inside the file.
    fn check_piece(&mut self, offset: u64, len: u64) {
        let held = self.held.as_mut().expect("a piece of a file that is held");
        assert!(held.open && len > 0 && offset + len <= held.size);
        let head = self.last_head.as_ref().expect("a head comes before its body");
        let (start, length) = *held.promised.get_or_insert((offset, len));
        assert_eq!((offset, len), (start + held.sent, length - held.sent), "the range moves");
        assert_eq!(head.content_length, Some(length));
        match head.content_range.and_then(|range| range.span) {
            None => assert_eq!((head.status, start, length), (200, 0, held.size)),
            Some(span) => assert_eq!((head.status, span), (206, (start, start + length - 1))),
        }
    }
}
