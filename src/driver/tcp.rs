//! Non-blocking TCP connections over IPv4, from a chosen source address.

use mio::net::TcpStream;
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

/// Starts a connection to `to`; without `from` the system chooses the source address. Its end is
/// reported by [`finish_connect`].
pub(crate) fn connect(from: Option<Ipv4Addr>, to: SocketAddrV4) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    if let Some(from) = from {
        socket.bind(&SocketAddrV4::new(from, 0).into())?;
    }
    match socket.connect(&to.into()) {
        Err(error) if !is_in_progress(&error) => Err(error),
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

/// The local address of a connection that stands; `Ok(None)` while the attempt has not ended.
pub(crate) fn finish_connect(stream: &TcpStream) -> io::Result<Option<SocketAddrV4>> {
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    match stream.peer_addr() {
        Ok(_) => ipv4(stream.local_addr()?).map(Some),
        Err(error) if error.kind() == ErrorKind::NotConnected => Ok(None),
        Err(error) => Err(error),
    }
}

/// The IPv4 form of an address; 0.4 carries no other.
pub(crate) fn ipv4(addr: SocketAddr) -> io::Result<SocketAddrV4> {
    match addr {
        SocketAddr::V4(addr) => Ok(addr),
        SocketAddr::V6(_) => Err(io::Error::other("Gnutella 0.4 knows only IPv4 addresses")),
    }
}

fn is_in_progress(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
        || error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error())
}
