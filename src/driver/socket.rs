//! TCP sockets: connecting, hanging up, and what errors of the system mean to the core.

use super::tcp;
use crate::servent::{ConnId, IoFailure};
use mio::net::TcpStream;
use std::io::{self, ErrorKind, Read};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4};

/// Bytes the kernel buffers beyond the peer's receive window (`TCP_NOTSENT_LOWAT`). Without a bound
/// it buffers megabytes. The bound lets the core's send queue decide what a slow neighbour misses,
/// and a completed write then means that the peer read something: a peer that reads 20 kB/s makes
/// room every 13 s and is not taken for a stalled one. A smaller bound slows fast floods down, whose
/// descriptors would be written one by one.
#[cfg(target_os = "linux")]
const NOT_SENT_BYTES: u32 = 512 * 1024;

/// A non-blocking socket of the core's connection `id`.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) id: ConnId,
    pub(super) stream: TcpStream,
    /// The connection attempt has not completed.
    pub(super) connecting: bool,
    /// It is in the list of connections with unread input.
    pub(super) listed: bool,
    /// The peer has sent all it will send.
    pub(super) ended: bool,
}

impl Socket {
    /// Starts to connect; `from` is the address listened on.
    pub(super) fn connect(id: ConnId, addr: SocketAddrV4, from: Ipv4Addr) -> io::Result<Socket> {
        let stream = tcp::connect(source_ip(from, *addr.ip()), addr)?;
        Ok(Socket::new(id, stream, true))
    }

    /// A socket that was accepted.
    pub(super) fn accepted(id: ConnId, stream: TcpStream) -> Socket {
        Socket::new(id, stream, false)
    }

    fn new(id: ConnId, stream: TcpStream, connecting: bool) -> Socket {
        // The core batches descriptors; Nagle's algorithm would only add delay.
        let _ = stream.set_nodelay(true);
        // Best effort: without it the kernel buffers more.
        #[cfg(target_os = "linux")]
        let _ = socket2::SockRef::from(&stream).set_tcp_notsent_lowat(NOT_SENT_BYTES);
        Socket { id, stream, connecting, listed: false, ended: false }
    }

    /// The local address once the attempt to connect has succeeded; `Ok(None)` while it has not ended.
    pub(super) fn finish_connect(&mut self) -> io::Result<Option<SocketAddrV4>> {
        let local = tcp::finish_connect(&self.stream)?;
        self.connecting = local.is_none();
        Ok(local)
    }

    /// Shuts the sending direction down and reads what has arrived. Dropping a socket with unread
    /// bytes would reset the connection, and the peer could lose our last answer.
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

/// The source address of a connection to `target`; `None` lets the system choose. It is the address
/// listened on, if that is a single one that reaches the target: neighbours know the servent by it,
/// and on loopback it tells servents apart. Nothing beyond loopback can be reached from 127.0.0.1.
fn source_ip(listening: Ipv4Addr, target: Ipv4Addr) -> Option<Ipv4Addr> {
    let reaches = listening.is_loopback() == target.is_loopback();
    (reaches && !listening.is_unspecified()).then_some(listening)
}

/// The core's term for an error.
pub(super) fn failure(error: &io::Error) -> IoFailure {
    match error.kind() {
        ErrorKind::ConnectionRefused => IoFailure::Refused,
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted => {
            IoFailure::Reset
        }
        ErrorKind::HostUnreachable | ErrorKind::TimedOut => IoFailure::Unreachable,
        // This machine has no route; routers on the way hardly ever report this.
        ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => IoFailure::Local(plain(error)),
        ErrorKind::UnexpectedEof => IoFailure::Eof,
        _ => IoFailure::Other(error.to_string()),
    }
}

/// The core's term for an error before anything was sent to the peer.
pub(super) fn local_failure(error: &io::Error) -> IoFailure {
    match error.kind() {
        // Some systems report it at once on loopback.
        ErrorKind::ConnectionRefused => IoFailure::Refused,
        _ => IoFailure::Local(plain(error)),
    }
}

/// The system's message without its error number.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

/// Whether the operation may succeed later.
pub(super) fn is_later(error: &io::Error) -> bool {
    error.kind() == ErrorKind::WouldBlock
}

/// Repeats an operation that a signal interrupted.
pub(super) fn uninterrupted<T>(mut act: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match act() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::{Domain, Type};
    use std::io::Write;
    use std::net::{TcpListener, TcpStream as StdStream};

    /// An accepted socket and the peer's end, whose receive buffer has a usual size.
    fn pair() -> (Socket, StdStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(128 * 1024).unwrap();
        socket.connect(&listener.local_addr().unwrap().into()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        let id = ConnId::from_u64(0);
        (Socket::accepted(id, TcpStream::from_std(stream)), socket.into())
    }

    /// Writes until the socket takes no more, and says how much that was.
    fn fill(socket: &mut Socket) -> usize {
        let (bytes, mut total) = (vec![0; 64 * 1024], 0);
        loop {
            match socket.stream.write(&bytes) {
                Ok(count) => total += count,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    return total;
                }
            }
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn little_is_taken_beyond_what_the_peer_has_room_for() {
        let (mut socket, mut peer) = pair();
        let first = fill(&mut socket);
        // The kernel doubles the receive buffer asked for; our bound comes on top.
        assert!(first <= 1_280 * 1024, "{first} bytes wait in the kernel");
        // A peer that reads a part of it makes room.
        peer.read_exact(&mut vec![0; first / 2]).unwrap();
        let mut again = fill(&mut socket);
        while again == 0 {
            std::thread::yield_now();
            again = fill(&mut socket);
        }
        assert!(again <= first);
    }

    #[test]
    fn a_signal_in_between_is_not_a_full_socket() {
        let mut answers = [ErrorKind::Interrupted, ErrorKind::Interrupted].into_iter();
        let mut act = || answers.next().map_or(Ok(7), |kind| Err(kind.into()));
        assert_eq!(uninterrupted(&mut act).unwrap(), 7);
        let full: io::Error = ErrorKind::WouldBlock.into();
        assert!(is_later(&full) && !is_later(&ErrorKind::Interrupted.into()));
    }

    #[test]
    fn what_is_not_in_reach_of_the_listening_address_is_dialled_from_elsewhere() {
        let ip = |text: &str| text.parse::<Ipv4Addr>().unwrap();
        let cases = [
            ("127.0.0.1", "10.0.0.7", None),
            ("127.0.0.9", "127.0.0.1", Some("127.0.0.9")),
            ("10.0.0.5", "10.0.0.7", Some("10.0.0.5")),
            ("10.0.0.5", "127.0.0.1", None),
            ("0.0.0.0", "10.0.0.7", None),
        ];
        for (listening, target, from) in cases {
            assert_eq!(source_ip(ip(listening), ip(target)), from.map(ip), "{listening} {target}");
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = tcp::ipv4(listener.local_addr().unwrap()).unwrap();
        Socket::connect(ConnId::from_u64(0), target, ip("127.0.0.9")).unwrap();
        let (_, from) = listener.accept().unwrap();
        assert_eq!(from.ip(), ip("127.0.0.9"));
    }

    #[test]
    fn what_this_machine_refuses_says_nothing_about_the_peer() {
        for kind in [ErrorKind::NetworkUnreachable, ErrorKind::HostUnreachable] {
            assert!(matches!(local_failure(&kind.into()), IoFailure::Local(_)), "{kind}");
        }
        let refused = io::Error::from_raw_os_error(rustix::io::Errno::NETUNREACH.raw_os_error());
        let text = local_failure(&refused).to_string();
        assert_eq!(text, "this machine cannot connect: Network is unreachable");
        let offline = failure(&ErrorKind::NetworkUnreachable.into());
        assert!(matches!(offline, IoFailure::Local(_)));
        assert_eq!(failure(&ErrorKind::HostUnreachable.into()), IoFailure::Unreachable);
    }
}
