//! TCP sockets: opening, reading to the end, writing, and what errors mean.

use crate::servent::{ConnId, IoFailure};
use mio::net::TcpStream;
use socket2::{Domain, Protocol, Type};
use std::io::{self, ErrorKind, Read};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4};

/// A non-blocking socket of the core's connection `id`.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) id: ConnId,
    pub(super) stream: TcpStream,
    /// The connection attempt has not come to an end.
    pub(super) connecting: bool,
    /// It is in the list of those with bytes left to read.
    pub(super) listed: bool,
    /// No more bytes will come.
    pub(super) ended: bool,
}

impl Socket {
    /// Starts to connect. Outbound connections leave from the address we listen on, if that is a
    /// particular one: it is what neighbours are told, and on loopback it tells servents apart.
    pub(super) fn connect(id: ConnId, addr: SocketAddrV4, from: Ipv4Addr) -> io::Result<Socket> {
        let socket = socket2::Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        if !from.is_unspecified() {
            socket.bind(&SocketAddrV4::new(from, 0).into())?;
        }
        match socket.connect(&addr.into()) {
            Err(error) if !is_in_progress(&error) => return Err(error),
            _ => {}
        }
        Ok(Socket::new(id, TcpStream::from_std(socket.into()), true))
    }

    /// A socket that was accepted.
    pub(super) fn accepted(id: ConnId, stream: TcpStream) -> Socket {
        Socket::new(id, stream, false)
    }

    fn new(id: ConnId, stream: TcpStream, connecting: bool) -> Socket {
        // Descriptors are batched by the core; holding them back once more only adds delay.
        let _ = stream.set_nodelay(true);
        Socket { id, stream, connecting, listed: false, ended: false }
    }

    /// Looks how an attempt to connect went. `Ok(None)`: still under way.
    pub(super) fn finish_connect(&mut self) -> io::Result<Option<SocketAddrV4>> {
        if let Some(error) = self.stream.take_error()? {
            return Err(error);
        }
        match self.stream.peer_addr() {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(None),
            Err(error) => return Err(error),
        }
        self.connecting = false;
        v4(self.stream.local_addr()?).map(Some)
    }

    /// Ends the sending direction and takes in what has arrived meanwhile. Dropping a socket with
    /// unread bytes resets the connection, and the peer may lose our last answer.
    pub(super) fn hang_up(mut self, buffer: &mut [u8]) {
        const READS: usize = 16;
        let _ = self.stream.shutdown(Shutdown::Write);
        for _ in 0..READS {
            if !matches!(self.stream.read(buffer), Ok(1..)) {
                break;
            }
        }
    }
}

/// The IPv4 form of an address; 0.4 carries no other.
pub(super) fn v4(addr: SocketAddr) -> io::Result<SocketAddrV4> {
    match addr {
        SocketAddr::V4(addr) => Ok(addr),
        SocketAddr::V6(_) => Err(io::Error::other("Gnutella 0.4 knows only IPv4 addresses")),
    }
}

/// What an error means to the core.
pub(super) fn failure(error: &io::Error) -> IoFailure {
    match error.kind() {
        ErrorKind::ConnectionRefused => IoFailure::Refused,
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted => {
            IoFailure::Reset
        }
        ErrorKind::HostUnreachable | ErrorKind::TimedOut => IoFailure::Unreachable,
        // Our own routes lead nowhere; routers on the way hardly ever say this.
        ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => {
            IoFailure::Local(error.to_string())
        }
        ErrorKind::UnexpectedEof => IoFailure::Eof,
        _ => IoFailure::Other(error.to_string()),
    }
}

/// What an error means that came before anything was sent to the peer.
pub(super) fn local_failure(error: &io::Error) -> IoFailure {
    match error.kind() {
        // Some systems say so at once on loopback.
        ErrorKind::ConnectionRefused => IoFailure::Refused,
        _ => IoFailure::Local(error.to_string()),
    }
}

/// Whether an error says "later" rather than "no".
pub(super) fn is_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

fn is_in_progress(error: &io::Error) -> bool {
    is_later(error) || error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error())
}
