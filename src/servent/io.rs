//! What passes between the core and whoever drives it: ids, requests, reports, reasons.

use crate::transfer::download::{Against, DiskFault, DownloadError, PushVia, Source};
use crate::transfer::names::escape_for_terminal;
use crate::transfer::upload::{OpenError, UploadClose};
use crate::wire::handshake::HandshakeError;
use crate::wire::http_head::Status;
use crate::wire::{FrameError, Guid, ServentId};
use std::fmt;
use std::net::SocketAddrV4;

/// One socket, from the wish to connect until it is closed. Doubles as the poll token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId {
    pub(super) index: u32,
    /// Tells this tenant of the slab slot from the one before.
    pub(super) generation: u32,
}

impl ConnId {
    /// The slot it has until it is closed; below `Limits::max_connections`.
    pub fn index(self) -> usize {
        self.index as usize
    }

    /// As one number, for a poll token.
    pub fn to_u64(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    /// The inverse of [`ConnId::to_u64`].
    #[expect(clippy::cast_possible_truncation, reason = "takes the two halves apart")]
    pub fn from_u64(bits: u64) -> ConnId {
        ConnId { index: bits as u32, generation: (bits >> 32) as u32 }
    }
}

/// What the core wants done outside. Polled with [`super::Servent::poll_output`].
#[derive(Debug)]
pub enum Output {
    /// Open a TCP connection; report with `handle_connected` or `handle_closed`.
    Connect {
        /// Its id from now on.
        conn: ConnId,
        /// Whom to connect to.
        addr: SocketAddrV4,
    },
    /// Drop the socket; nothing more is to be reported for it.
    Close {
        /// Which.
        conn: ConnId,
    },
    /// Do something with a file; report with `handle_file`.
    File {
        /// Which file.
        file: FileId,
        /// What to do.
        op: FileOp,
    },
    /// Something happened that a user may care about.
    Event(Event),
}

/// One open file, from the first operation to [`FileOp::Close`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub(super) u64);

/// One download, from command to its final event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransferId(pub(super) u64);

/// What to do with a file. Operations on one file are done in the order given.
#[derive(Debug)]
pub enum FileOp {
    /// Open the shared file with this number; answer `Opened` or `OpenFailed`.
    OpenShared {
        /// The library's number.
        number: u32,
    },
    /// Open or create the partial file of a download; answer `Opened` or `Fault`.
    OpenPartial {
        /// Bytes that are to be in it already.
        have: u64,
        /// Size of the whole file, if known.
        total: Option<u64>,
    },
    /// Keep the partial file under another name and open an empty one; answer `Opened` or
    /// `Fault`.
    SetAside {
        /// Size of the whole file, if known.
        total: Option<u64>,
    },
    /// Compare with what is on the disk; answer `Compared` or `Fault`.
    Compare {
        /// With which file.
        against: Against,
        /// Where.
        offset: u64,
        /// What.
        bytes: Vec<u8>,
    },
    /// Write to the partial file; answer `Written` or `Fault`.
    Write {
        /// Where.
        offset: u64,
        /// What.
        bytes: Vec<u8>,
    },
    /// Make the partial file durable; answer `Synced` or `Fault`.
    Sync,
    /// Give the file its name without replacing another; answer `Finished` or `Fault`.
    Finish,
    /// One of the complete files that have agreed so far is the file; answer `Finished` or
    /// `Fault`.
    UseComplete,
    /// Close it; no answer.
    Close,
}

/// What came of a file operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileDone {
    /// It is open.
    Opened {
        /// Its size in bytes as it is now.
        size: u64,
    },
    /// A shared file could not be opened.
    OpenFailed(OpenError),
    /// A shared file was shorter than the range of a [`TxChunk::File`].
    Ended,
    /// Bytes were compared.
    Compared {
        /// Whether they are the same.
        same: bool,
    },
    /// Bytes are written.
    Written {
        /// How many.
        bytes: u64,
    },
    /// It is durable.
    Synced,
    /// It has its name.
    Finished,
    /// The local disk failed a download.
    Fault(DiskFault),
}

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// A neighbour is there.
    LinkUp {
        /// Its connection.
        conn: ConnId,
        /// Its address; for an inbound link not the one it listens on.
        addr: SocketAddrV4,
        /// Whether we dialled.
        outbound: bool,
    },
    /// A neighbour is gone.
    LinkDown {
        /// Its connection.
        conn: ConnId,
        /// Its address.
        addr: SocketAddrV4,
        /// Who ended it, and why.
        reason: CloseReason,
    },
    /// We dialled and no link came of it.
    DialFailed {
        /// Whom.
        addr: SocketAddrV4,
        /// Why not.
        reason: CloseReason,
    },
    /// We answered a Query.
    Answered {
        /// Its words, as they came.
        criteria: Vec<u8>,
        /// In how many results.
        results: usize,
    },
    /// A Pong to a Ping of our own.
    Pong {
        /// The Ping.
        ping: Guid,
        /// Who answers; port 0 means it takes no connections.
        addr: SocketAddrV4,
        /// Files it shares.
        files: u32,
        /// KiB it shares.
        kib: u32,
        /// How many servents lie between.
        hops: u8,
    },
    /// A result of a search of our own.
    Hit {
        /// The search.
        search: Guid,
        /// What was found.
        hit: Hit,
    },
    /// An upload of a file ended.
    Served {
        /// To whom.
        addr: SocketAddrV4,
        /// The library's number of the file.
        number: u32,
        /// Bytes of it that went out.
        bytes: u64,
        /// Whether that was all that was asked for.
        complete: bool,
    },
    /// A request was answered with 404, 416 or 503.
    Refused {
        /// Who asked.
        addr: SocketAddrV4,
        /// Which of them.
        status: Status,
        /// The path asked for as it came, cut at 256 bytes.
        path: Vec<u8>,
    },
    /// A shared file is gone or changed: the folders should be scanned again.
    StaleFile {
        /// The library's number of the file.
        number: u32,
    },
    /// The source of a download was asked by a Push to connect to us.
    Pushed {
        /// Which.
        transfer: TransferId,
    },
    /// A download is complete.
    Downloaded {
        /// Which.
        transfer: TransferId,
        /// The file's size.
        bytes: u64,
        /// It was complete before, and nothing was written.
        already_here: bool,
    },
    /// A download ended without its file; what was received is kept.
    DownloadFailed {
        /// Which.
        transfer: TransferId,
        /// Why.
        error: DownloadError,
    },
}

/// One result, with what its QueryHit says of the servent that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The file's name as the servent gives it: untrusted text, invalid UTF-8 replaced.
    pub name: String,
    /// Size in bytes; `u32::MAX` when the real size does not fit the field.
    pub size: u32,
    /// Where it can be fetched.
    pub addr: SocketAddrV4,
    /// Whether that address may be connected to; see [`crate::config::Scope`]. A guest, which has
    /// no scope of its own, takes addresses at least as public as that of the neighbour the hit
    /// came from.
    pub in_scope: bool,
    /// Its number there.
    pub index: u32,
    /// Claimed speed.
    pub speed_kbps: u32,
    /// Who has it.
    pub servent: ServentId,
    /// How many servents lie between.
    pub hops: u8,
    /// Whether it asks for a Push; `None` if it does not say.
    pub push: Option<bool>,
    /// Whether all its upload slots are taken; `None` if it does not say.
    pub busy: Option<bool>,
    /// The vendor code of the trailer.
    pub vendor: Option<[u8; 4]>,
}

impl Hit {
    /// Where to fetch it: by a Push only if its address may not be connected to.
    pub fn into_source(self) -> Source {
        Source {
            addr: self.addr,
            index: self.index,
            name: self.name,
            // A size that fills the field is not known.
            size: (self.size != u32::MAX).then_some(u64::from(self.size)),
            push: Some(PushVia {
                servent: self.servent,
                ttl: self.hops.saturating_add(2),
                firewalled: self.push == Some(true) || !self.in_scope,
            }),
        }
    }
}

/// Bytes to be written to one socket.
#[derive(Debug)]
pub enum TxChunk<'a> {
    /// These.
    Bytes(&'a [u8]),
    /// A range of an open file.
    File {
        /// Which file.
        file: FileId,
        /// First byte.
        offset: u64,
        /// How many, never 0.
        len: usize,
    },
}

/// What ended a socket, as far as the operating system said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IoFailure {
    /// The other side closed in good order.
    Eof,
    /// Nobody listens there.
    Refused,
    /// No way there.
    Unreachable,
    /// Cut in the middle.
    Reset,
    /// This machine refused: no network, no file descriptors, no memory. Says nothing about the
    /// peer.
    Local(String),
    /// Anything else, in the system's words.
    Other(String),
}

impl fmt::Display for IoFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            IoFailure::Eof => "the peer closed the connection",
            IoFailure::Refused => "connection refused: nothing listens there",
            IoFailure::Unreachable => "the host cannot be reached",
            IoFailure::Reset => "the peer reset the connection",
            IoFailure::Local(text) => return write!(f, "this machine cannot connect: {text}"),
            IoFailure::Other(text) => text,
        })
    }
}

/// Why a socket was closed, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The peer, or the network.
    Io(IoFailure),
    /// The peer said why.
    Bye {
        /// 2xx no fault, 4xx ours, 5xx its own trouble.
        code: u16,
        /// Its words, untrusted.
        text: String,
    },
    /// Its answer to our hello, or its hello, was not what 0.4 asks for.
    Handshake(HandshakeError),
    /// Its stream fell out of step.
    Frame(FrameError),
    /// It was silent for too long.
    Timeout(&'static str),
    /// It stopped reading.
    Stalled,
    /// We have all the links we want.
    Full,
    /// We had dialled ourselves.
    OwnAddress,
    /// There are two links with this servent, and the other one stays.
    Duplicate,
    /// Its first line is nothing we speak, or answers nothing we asked.
    Unasked,
    /// An inbound HTTP connection is over.
    Upload(UploadClose),
    /// The download on it is over, well or not.
    TransferEnded,
    /// We are done.
    Shutdown,
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CloseReason::Io(failure) => failure.fmt(f),
            CloseReason::Bye { code, text } => {
                write!(f, "the peer said goodbye ({code} {})", escape_for_terminal(text))
            }
            CloseReason::Handshake(error) => error.fmt(f),
            CloseReason::Frame(error) => error.fmt(f),
            CloseReason::Timeout(what) => write!(f, "no {what} in time"),
            CloseReason::Stalled => f.write_str("the peer stopped reading"),
            CloseReason::Full => f.write_str("all link slots are taken"),
            CloseReason::Duplicate => {
                f.write_str("there is another link with this servent, which stays")
            }
            CloseReason::OwnAddress => f.write_str("that is this servent itself"),
            CloseReason::Unasked => f.write_str("the peer said nothing we can answer"),
            CloseReason::Upload(why) => why.fmt(f),
            CloseReason::TransferEnded => f.write_str("the transfer is over"),
            CloseReason::Shutdown => f.write_str("shutting down"),
        }
    }
}

/// Why a search was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SearchError {
    /// Longer than others forward.
    TooLong {
        /// Bytes given.
        got: usize,
    },
    /// A NUL ends the text on the wire.
    HoldsNul,
    /// No servent answers it.
    Unanswerable(crate::library::CriteriaError),
}

impl fmt::Display for SearchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SearchError::TooLong { got } => write!(
                f,
                "a search may have at most {} bytes, {got} were given: use fewer words",
                crate::wire::MAX_CRITERIA_BYTES
            ),
            SearchError::HoldsNul => f.write_str("a search text cannot hold a NUL byte"),
            SearchError::Unanswerable(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SearchError {}
