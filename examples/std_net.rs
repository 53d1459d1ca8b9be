//! Servents on plain `std::net` sockets: `cargo run --example std_net`.
//!
//! The driver of the program uses mio. This is the least a loop of one's own has to do: sockets that
//! do not block, a pause when nothing happens, and the [`Servent`] told and asked in turn. Two
//! servents find each other on loopback, and one finds a file of the other.

use servent::config::{Config, Role};
use servent::library::{Library, LibraryBuilder};
use servent::servent::{ConnId, Event, IoFailure, Output, Servent, TxChunk};
use servent::time::Instant;
use servent::wire::ServentId;
use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// A servent and its sockets.
struct Node {
    core: Servent,
    listener: TcpListener,
    sockets: BTreeMap<ConnId, TcpStream>,
    /// Where [`Instant::ZERO`] lies.
    origin: std::time::Instant,
}

impl Node {
    fn new(number: u8, role: Role, library: Library) -> io::Result<Node> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let advertise_port = listener.local_addr()?.port();
        let config = Config { role, advertise_port, ..Config::default() };
        let (library, id) = (Arc::new(library), ServentId([number; 16]));
        let core = Servent::new(Arc::new(config), library, id, number.into(), Instant::ZERO);
        Ok(Node { core, listener, sockets: BTreeMap::new(), origin: std::time::Instant::now() })
    }

    fn addr(&self) -> io::Result<SocketAddrV4> {
        v4(self.listener.local_addr()?)
    }

    fn now(&self) -> Instant {
        Instant::ZERO + self.origin.elapsed()
    }

    /// One turn: tells the core what has arrived, then does what it asks for. Returns its events.
    fn turn(&mut self) -> io::Result<Vec<Event>> {
        let now = self.now();
        self.core.start_turn();
        while let Ok((stream, remote)) = self.listener.accept() {
            let local = v4(stream.local_addr()?)?;
            if let Some(conn) = self.core.handle_accepted(now, v4(remote)?, local) {
                self.hold(conn, stream)?;
            }
        }
        self.read(now);
        // mio would say when a socket takes bytes again; this loop simply tries.
        self.sockets.keys().for_each(|&conn| self.core.handle_writable(conn));
        self.core.handle_timeout(now);
        self.write(now);
        let mut events = Vec::new();
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Connect { conn, addr } => match TcpStream::connect(addr) {
                    Ok(stream) => {
                        self.core.handle_connected(now, conn, v4(stream.local_addr()?)?);
                        self.hold(conn, stream)?;
                    }
                    Err(_) => self.core.handle_closed(now, conn, IoFailure::Refused),
                },
                Output::Close { conn } => {
                    self.sockets.remove(&conn);
                }
                // Uploads and downloads would open, read and write files here.
                Output::File { .. } => {}
                Output::Event(event) => events.push(event),
            }
        }
        Ok(events)
    }

    /// Reads each socket as far as the core allows in this turn; what it leaves, TCP holds back.
    fn read(&mut self, now: Instant) {
        let mut buffer = vec![0; 64 * 1024];
        for (&conn, stream) in &mut self.sockets {
            let allowed = self.core.read_allowance(now, conn).min(buffer.len());
            match stream.read(&mut buffer[..allowed]) {
                _ if allowed == 0 => {}
                Ok(0) => self.core.handle_closed(now, conn, IoFailure::Eof),
                Ok(count) => self.core.handle_bytes(now, conn, &buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => self.core.handle_closed(now, conn, IoFailure::Reset),
            }
        }
    }

    /// Writes what the core has to send; 0 bytes taken tell it that the socket is full.
    fn write(&mut self, now: Instant) {
        while let Some((conn, chunk)) = self.core.poll_transmit(now) {
            let TxChunk::Bytes(bytes) = chunk else { unreachable!("no file was opened") };
            let written = self.sockets.get_mut(&conn).map_or(Ok(0), |stream| stream.write(bytes));
            self.core.sent(now, conn, written.unwrap_or(0));
        }
    }

    fn hold(&mut self, conn: ConnId, stream: TcpStream) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        self.sockets.insert(conn, stream);
        Ok(())
    }
}

fn v4(addr: SocketAddr) -> io::Result<SocketAddrV4> {
    match addr {
        SocketAddr::V4(addr) => Ok(addr),
        SocketAddr::V6(_) => Err(io::Error::other("Gnutella 0.4 knows only IPv4 addresses")),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut files = LibraryBuilder::new();
    files.add(1, "Zebra crossing.ogg", 3_000_000)?;
    let library = std::iter::repeat_with(|| files.step(1_000)).find_map(|done| done);
    let mut sharer = Node::new(1, Role::Servent, library.unwrap_or_default())?;
    // A guest takes part for the length of one search: it forwards nothing for others.
    let mut seeker = Node::new(2, Role::Guest, Library::empty())?;
    let (addr, now) = (sharer.addr()?, seeker.now());
    seeker.core.add_static_peer(now, addr);
    seeker.core.search(now, "zebra", None)?;
    while seeker.now() < Instant::ZERO + Duration::from_secs(10) {
        sharer.turn()?;
        for event in seeker.turn()? {
            if let Event::Hit { hit, .. } = event {
                println!("{} at http://{}/get/{}/…", hit.name, hit.addr, hit.index);
                return Ok(());
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Err("nothing was found".into())
}
