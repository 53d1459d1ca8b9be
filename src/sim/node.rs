//! The servent as a node of a network in memory.

use crate::net::{Failure, Node, Output};
use crate::servent::{self, ConnId, Event, FileId, FileOp, IoFailure, Servent, TxChunk};
use crate::stats::DropReason;
use crate::time::Instant;
use crate::wire::Kind;
use std::net::SocketAddrV4;

/// What a servent says or asks for, other than of its sockets.
#[derive(Debug)]
pub enum Outward {
    /// Something happened that a user may care about.
    Event(Event),
    /// Do something with a file; answered with `handle_file`.
    File {
        /// Which file.
        file: FileId,
        /// What to do.
        op: FileOp,
    },
}

/// A node with a servent inside: the servent itself, or one whose output is tampered with.
pub trait ServentNode: Node<Conn = ConnId, Outward = Outward> + Send {
    /// The servent.
    fn servent(&self) -> &Servent;

    /// The servent, to be given commands.
    fn servent_mut(&mut self) -> &mut Servent;
}

impl ServentNode for Servent {
    fn servent(&self) -> &Servent {
        self
    }

    fn servent_mut(&mut self) -> &mut Servent {
        self
    }
}

impl From<Failure> for IoFailure {
    fn from(failure: Failure) -> IoFailure {
        match failure {
            Failure::Eof => IoFailure::Eof,
            Failure::Refused => IoFailure::Refused,
            Failure::Unreachable => IoFailure::Unreachable,
            Failure::Reset => IoFailure::Reset,
            Failure::Offline => IoFailure::Local("no network".to_owned()),
        }
    }
}

/// Uploads stop at the first byte of their file: a bare servent has no disk.
impl Node for Servent {
    type Conn = ConnId;
    type Outward = Outward;

    fn slot(conn: ConnId) -> usize {
        conn.index()
    }

    fn handle_accepted(
        &mut self,
        now: Instant,
        remote: SocketAddrV4,
        local: SocketAddrV4,
    ) -> Option<ConnId> {
        self.handle_accepted(now, remote, local)
    }

    fn handle_connected(&mut self, now: Instant, conn: ConnId, local: SocketAddrV4) {
        self.handle_connected(now, conn, local);
    }

    fn handle_bytes(&mut self, now: Instant, conn: ConnId, bytes: &[u8]) {
        self.handle_bytes(now, conn, bytes);
    }

    fn handle_writable(&mut self, conn: ConnId) {
        self.handle_writable(conn);
    }

    fn handle_closed(&mut self, now: Instant, conn: ConnId, failure: Failure) {
        self.handle_closed(now, conn, failure.into());
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.handle_timeout(now);
    }

    fn start_turn(&mut self, _now: Instant) {
        self.start_turn();
    }

    fn poll_output(&mut self) -> Option<Output<ConnId, Outward>> {
        Some(match self.poll_output()? {
            servent::Output::Connect { conn, addr } => Output::Connect { conn, addr },
            servent::Output::Close { conn } => Output::Close { conn },
            servent::Output::File { file, op } => Output::Outward(Outward::File { file, op }),
            servent::Output::Event(event) => Output::Outward(Outward::Event(event)),
        })
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<(ConnId, &[u8])> {
        match self.poll_transmit(now)? {
            (conn, TxChunk::Bytes(bytes)) => Some((conn, bytes)),
            (_, TxChunk::File { .. }) => None,
        }
    }

    fn sent(&mut self, now: Instant, conn: ConnId, written: usize) {
        self.sent(now, conn, written);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.poll_timeout().map(|(at, _)| at)
    }

    fn wants_turn(&self) -> bool {
        self.has_bulk_ready()
    }

    fn touch(&self) -> u64 {
        let stats = self.stats();
        stats.received.get(Kind::Query)
            ^ stats.forwarded.get(Kind::Query)
            ^ stats.delivered.get(Kind::Query)
            ^ stats.dropped(DropReason::Duplicate)
            ^ stats.bytes_out
            ^ self.routes_held() as u64
            ^ self.library().len() as u64
            ^ self.timers_held() as u64
    }

    fn touch_arrival(&self, conn: ConnId, guid: &[u8; 16]) -> u64 {
        self.prefetch(conn, guid)
    }

    fn touch_links(&self) -> u64 {
        let remotes = self.neighbours().map(|link| u64::from(link.addr.port())).sum::<u64>();
        self.copies_queued() ^ remotes
    }
}
