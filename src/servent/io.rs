//! The types that pass between the core and its driver: ids, outputs, events, reasons.

use super::connection::PeerRole;
use crate::transfer::download::{Against, DiskFault, DownloadError, PushVia, Source};
use crate::transfer::names::escape_for_terminal;
use crate::transfer::upload::{OpenError, UploadClose};
use crate::wire::deflate::StreamError;
use crate::wire::handshake::HandshakeError;
use crate::wire::http_head::Status;
use crate::wire::qrp::QrpError;
use crate::wire::{Dialect, FrameError, Guid, ServentId};
use std::fmt;
use std::net::SocketAddrV4;

/// One socket, from [`Output::Connect`] or `handle_accepted` until it is closed. Doubles as the poll
/// token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId {
    pub(super) index: u32,
    /// Tells this socket from earlier ones in the same slab slot.
    pub(super) generation: u32,
}

impl ConnId {
    /// The slab slot it has until it is closed; below `Limits::max_connections`.
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
        /// The id of the new socket.
        conn: ConnId,
        /// The address to connect to.
        addr: SocketAddrV4,
    },
    /// Drop the socket; nothing more is to be reported for it.
    Close {
        /// The socket.
        conn: ConnId,
    },
    /// Do something with a file; report with `handle_file`.
    File {
        /// The file.
        file: FileId,
        /// The operation.
        op: FileOp,
    },
    /// Something a user may want to know.
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
        /// Its number in the library.
        number: u32,
    },
    /// Open or create the partial file of a download; answer `Opened` or `Fault`.
    OpenPartial {
        /// Bytes it must hold already.
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
        /// The file on the disk.
        against: Against,
        /// Offset of the first byte.
        offset: u64,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Write to the partial file; answer `Written` or `Fault`.
    Write {
        /// Offset of the first byte.
        offset: u64,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Make the partial file durable; answer `Synced` or `Fault`.
    Sync,
    /// Give the file its final name without replacing another; answer `Finished` or `Fault`.
    Finish,
    /// Use one of the complete files that agreed in all comparisons as the result; answer `Finished`
    /// or `Fault`.
    UseComplete,
    /// Close it; no answer.
    Close,
}

/// The outcome of a file operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileDone {
    /// The file is open.
    Opened {
        /// Its present size in bytes.
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
        /// Number of bytes.
        bytes: u64,
    },
    /// The file is durable.
    Synced,
    /// The file has its final name.
    Finished,
    /// The local disk failed a download.
    Fault(DiskFault),
}

/// Something that happened.
#[derive(Debug)]
pub enum Event {
    /// A link is established.
    LinkUp {
        /// Its connection.
        conn: ConnId,
        /// Its address; for an inbound link not the one it listens on.
        addr: SocketAddrV4,
        /// Whether we dialled.
        outbound: bool,
        /// What it speaks.
        dialect: Dialect,
        /// The peer's place in the network.
        role: PeerRole,
    },
    /// A link ended.
    LinkDown {
        /// Its connection.
        conn: ConnId,
        /// Its address.
        addr: SocketAddrV4,
        /// Which side ended it, and why.
        reason: CloseReason,
    },
    /// A dial ended without a link.
    DialFailed {
        /// The address dialled.
        addr: SocketAddrV4,
        /// The cause.
        reason: CloseReason,
        /// The dialect with which it is dialled once more in two seconds, since the first came to nothing.
        next: Option<Dialect>,
    },
    /// A Query of a neighbour was answered.
    Answered {
        /// Its search text as received.
        criteria: Vec<u8>,
        /// Number of results.
        results: usize,
    },
    /// A Pong to a Ping of our own.
    Pong {
        /// GUID of the Ping.
        ping: Guid,
        /// Address of the servent; port 0 means that it accepts no connections.
        addr: SocketAddrV4,
        /// Files it shares.
        files: u32,
        /// KiB it shares.
        kib: u32,
        /// Servents between it and this one.
        hops: u8,
    },
    /// A result of a search of our own.
    Hit {
        /// GUID of the search.
        search: Guid,
        /// The result.
        hit: Hit,
    },
    /// An upload of a file ended.
    Served {
        /// Address of the peer.
        addr: SocketAddrV4,
        /// The library's number of the file.
        number: u32,
        /// Bytes of it that were sent.
        bytes: u64,
        /// Whether all requested bytes were sent.
        complete: bool,
    },
    /// A request was answered with 404, 416 or 503.
    Refused {
        /// Address of the peer.
        addr: SocketAddrV4,
        /// The status.
        status: Status,
        /// The requested path as received, cut at 256 bytes.
        path: Vec<u8>,
    },
    /// A shared file is gone or changed: the folders should be scanned again.
    StaleFile {
        /// The library's number of the file.
        number: u32,
    },
    /// The source of a download was asked by a Push to connect to us.
    Pushed {
        /// The download.
        transfer: TransferId,
    },
    /// A download is complete.
    Downloaded {
        /// The download.
        transfer: TransferId,
        /// The file's size.
        bytes: u64,
        /// The file was complete before, and nothing was written.
        already_here: bool,
    },
    /// A download ended without its file; what was received is kept.
    DownloadFailed {
        /// The download.
        transfer: TransferId,
        /// The cause.
        error: DownloadError,
    },
}

/// One result, with what its QueryHit says of its servent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The file's name as the servent gives it: untrusted text, invalid UTF-8 replaced.
    pub name: String,
    /// Size in bytes; `u32::MAX` when the real size does not fit the field of 0.4 and nothing else says
    /// it.
    pub size: u64,
    /// Where it can be fetched.
    pub addr: SocketAddrV4,
    /// Whether that address may be connected to; see [`crate::config::Scope`]. A guest has no scope
    /// of its own and accepts addresses at least as public as that of the neighbour that sent the
    /// hit.
    pub in_scope: bool,
    /// The file's index at its servent.
    pub index: u32,
    /// Speed the servent claims.
    pub speed_kbps: u32,
    /// The servent that has it.
    pub servent: ServentId,
    /// Servents between it and this one.
    pub hops: u8,
    /// Whether it asks for a Push; `None` if it does not say.
    pub push: Option<bool>,
    /// Whether all its upload slots are taken; `None` if it does not say.
    pub busy: Option<bool>,
    /// The vendor code of the trailer.
    pub vendor: Option<[u8; 4]>,
}

impl Hit {
    /// The source to fetch it from: by a Push only if its address may not be connected to.
    pub fn into_source(self) -> Source {
        Source {
            addr: self.addr,
            index: self.index,
            name: self.name,
            // A size that fills the field stands for any size that does not fit it.
            size: (self.size != u64::from(u32::MAX)).then_some(self.size),
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
    /// Bytes in memory.
    Bytes(&'a [u8]),
    /// A range of an open file.
    File {
        /// Which file.
        file: FileId,
        /// First byte.
        offset: u64,
        /// Number of bytes, never 0.
        len: usize,
    },
}

/// What ended a socket, as the operating system reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IoFailure {
    /// The peer closed its end.
    Eof,
    /// Nothing listens there.
    Refused,
    /// There is no route to the host.
    Unreachable,
    /// The peer reset the connection.
    Reset,
    /// This machine refused: no network, no file descriptors, no memory. It says nothing about the
    /// peer.
    Local(String),
    /// Anything else, in the operating system's words.
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

/// Why a socket was closed, and by which side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The peer or the network ended it.
    Io(IoFailure),
    /// The peer sent a Bye.
    Bye {
        /// 2xx no fault, 4xx our fault, 5xx the peer's.
        code: u16,
        /// Its text, untrusted.
        text: String,
    },
    /// The peer's side of the handshake was none, or led to nothing.
    Handshake(HandshakeError),
    /// A 0.6 servent declined a link.
    Declined {
        /// Its code, never 200.
        code: u16,
        /// Its text, untrusted.
        text: String,
        /// How long it wants us to stay away.
        rest_seconds: u32,
    },
    /// This servent is a leaf, which accepts no links.
    Shielded,
    /// It asked who our neighbours are, and was told.
    Crawled,
    /// Its stream could not be followed.
    Frame(FrameError),
    /// Its deflated stream could not be followed.
    Inflate(StreamError),
    /// Its route table could not be followed.
    Qrp(QrpError),
    /// A leaf sent a Query that is not its own.
    LeafRelays,
    /// The peer was silent for too long.
    Timeout(&'static str),
    /// The peer stopped reading.
    Stalled,
    /// All link slots are taken.
    Full,
    /// The dialled address is our own.
    OwnAddress,
    /// A second link with the same servent stays instead.
    Duplicate,
    /// Its first line is in no protocol spoken here, or answers no Push of ours.
    Unasked,
    /// An inbound HTTP connection ended.
    Upload(UploadClose),
    /// The download on it ended, with or without success.
    TransferEnded,
    /// The user asked for it.
    Asked,
    /// This servent stops.
    Shutdown,
}

impl CloseReason {
    /// What a Bye says of a link that we end for this reason: 2xx nobody's fault, 4xx the peer's, 5xx
    /// ours (the codes are gtk-gnutella's). `None` if the peer could not hear it, or ended the link
    /// itself.
    pub fn bye_code(&self) -> Option<u16> {
        Some(match self {
            CloseReason::Shutdown | CloseReason::OwnAddress | CloseReason::Asked => 200,
            CloseReason::Duplicate => 202,
            CloseReason::Frame(_) => 400,
            CloseReason::Timeout(_) => 405,
            CloseReason::Qrp(_) => 413,
            CloseReason::LeafRelays => 414,
            CloseReason::Inflate(_) => 501,
            CloseReason::Full => 503,
            _ => return None,
        })
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CloseReason::Io(failure) => failure.fmt(f),
            CloseReason::Bye { code, text } => {
                write!(f, "the peer said goodbye ({code} {})", escape_for_terminal(text))
            }
            CloseReason::Handshake(error) => {
                write!(f, "{}", escape_for_terminal(&error.to_string()))
            }
            CloseReason::Declined { code, text, .. } => {
                write!(f, "the servent declined: {code} {}", escape_for_terminal(text))
            }
            CloseReason::Shielded => f.write_str("this servent is a leaf, which accepts no links"),
            CloseReason::Crawled => f.write_str("a crawler, which has its answer"),
            CloseReason::Frame(error) => error.fmt(f),
            CloseReason::Inflate(error) => error.fmt(f),
            CloseReason::Qrp(error) => error.fmt(f),
            CloseReason::LeafRelays => f.write_str("the leaf sent a Query of another servent"),
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
            CloseReason::Asked => f.write_str("ended by the user"),
            CloseReason::Shutdown => f.write_str("shutting down"),
        }
    }
}

/// Why a search was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SearchError {
    /// The text is longer than others forward.
    TooLong {
        /// Its length in bytes.
        got: usize,
    },
    /// The text holds a NUL, which would end it on the wire.
    HoldsNul,
    /// No servent answers such a text.
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
