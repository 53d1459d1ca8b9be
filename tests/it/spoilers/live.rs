//! A spoiled servent as a program: a plain `std::net` loop around [`Spoiler`], which takes the place
//! of a node in a network of real processes. It accepts links and dials none.

use super::spoiler::{Spoil, Spoiler};
use servent::config::Config;
use servent::library::Library;
use servent::net::{Failure, Node, Output};
use servent::servent::{ConnId, Servent};
use servent::time::Instant;
use servent::wire::ServentId;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

/// What happened on a socket.
enum SocketEvent {
    Accepted(TcpStream),
    Bytes(ConnId, Vec<u8>),
    Closed(ConnId),
}

/// Runs until it is killed.
pub(super) fn run(spoil: Spoil, listen: SocketAddrV4) -> ! {
    let listener = TcpListener::bind(listen).unwrap();
    let config = Config {
        links: 0,
        background_pings: false,
        advertise_port: listen.port(),
        ..Config::default()
    };
    let (library, identity) = (Arc::new(Library::empty()), ServentId([7; 16]));
    let core = Servent::new(Arc::new(config), library, identity, 7, Instant::ZERO);
    let (tell, happened) = channel();
    let accepted = tell.clone();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            accepted.send(SocketEvent::Accepted(stream)).unwrap();
        }
    });
    Program { node: Spoiler::new(core, spoil), sockets: BTreeMap::new(), listen, tell }
        .run(&happened)
}

struct Program {
    node: Spoiler,
    sockets: BTreeMap<ConnId, TcpStream>,
    listen: SocketAddrV4,
    tell: Sender<SocketEvent>,
}

impl Program {
    fn run(mut self, happened: &Receiver<SocketEvent>) -> ! {
        let begun = std::time::Instant::now();
        let now = || Instant::ZERO + begun.elapsed();
        loop {
            let due = self.node.poll_timeout().map(|at| at.since(now()));
            match happened.recv_timeout(due.unwrap_or(Duration::from_secs(1))) {
                Ok(happened) => self.handle(now(), happened),
                Err(RecvTimeoutError::Timeout) => self.node.handle_timeout(now()),
                Err(RecvTimeoutError::Disconnected) => panic!("this loop holds a sender"),
            }
            self.turn(now());
        }
    }

    fn handle(&mut self, now: Instant, happened: SocketEvent) {
        match happened {
            SocketEvent::Accepted(stream) => {
                let Ok(SocketAddr::V4(remote)) = stream.peer_addr() else { return };
                if let Some(conn) = self.node.handle_accepted(now, remote, self.listen) {
                    let (reader, tell) = (stream.try_clone().unwrap(), self.tell.clone());
                    thread::spawn(move || read(reader, conn, &tell));
                    self.sockets.insert(conn, stream);
                }
            }
            SocketEvent::Bytes(conn, bytes) => self.node.handle_bytes(now, conn, &bytes),
            SocketEvent::Closed(conn) => self.node.handle_closed(now, conn, Failure::Eof),
        }
    }

    fn turn(&mut self, now: Instant) {
        self.node.start_turn(now);
        loop {
            while let Some(output) = self.node.poll_output() {
                match output {
                    Output::Connect { conn, .. } => {
                        self.node.handle_closed(now, conn, Failure::Unreachable);
                    }
                    Output::Close { conn } => {
                        if let Some(stream) = self.sockets.remove(&conn) {
                            let _ = stream.shutdown(Shutdown::Both);
                        }
                    }
                    Output::Datagram { .. } | Output::Outward(_) => {}
                }
            }
            let Some((conn, bytes)) = self.node.poll_transmit(now) else { break };
            let written = bytes.len();
            // A write that fails is followed by the end of what is read.
            let _ = self.sockets.get_mut(&conn).map(|stream| stream.write_all(bytes));
            self.node.sent(now, conn, written);
        }
    }
}

fn read(mut stream: TcpStream, conn: ConnId, tell: &Sender<SocketEvent>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        tell.send(SocketEvent::Bytes(conn, buffer[..count].to_vec())).unwrap();
    }
    tell.send(SocketEvent::Closed(conn)).unwrap();
}
