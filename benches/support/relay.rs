//! The reference relay: a mio loop that copies what it reads to all other connections. Nothing that
//! parses descriptors can be faster.

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use std::io::{self, ErrorKind, Read, Write};
use std::process::{Child, Stdio};

/// Bytes of one read, and of a sink's queue at which reading stops.
const BUFFER: usize = 256 * 1024;
const LISTENER: Token = Token(usize::MAX);

struct Peer {
    stream: TcpStream,
    linked: bool,
    out: Vec<u8>,
    readable: bool,
}

/// Runs as the process `oneself(&["--as-relay"])`; prints where it listens.
pub fn main() -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::bind("127.0.0.1:0".parse().unwrap())?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    println!("listening on {}", listener.local_addr()?);
    let (mut peers, mut events): (Vec<Option<Peer>>, _) = (Vec::new(), Events::with_capacity(64));
    let mut buffer = vec![0; BUFFER];
    loop {
        let busy = peers.iter().flatten().any(|peer| peer.readable && peer.linked);
        let full = peers.iter().flatten().any(|peer| peer.out.len() >= BUFFER);
        poll.poll(&mut events, (busy && !full).then_some(std::time::Duration::ZERO))?;
        for event in events.iter() {
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    stream.set_nodelay(true)?;
                    let token = Token(peers.len());
                    let both = Interest::READABLE | Interest::WRITABLE;
                    poll.registry().register(&mut stream, token, both)?;
                    peers.push(Some(Peer {
                        stream,
                        linked: false,
                        out: Vec::new(),
                        readable: false,
                    }));
                }
            } else if let Some(Some(peer)) = peers.get_mut(event.token().0) {
                peer.readable |= event.is_readable();
            }
        }
        flush(&mut peers);
        for at in 0..peers.len() {
            if peers.iter().flatten().any(|peer| peer.out.len() >= BUFFER) {
                break;
            }
            let Some(peer) = peers[at].as_mut().filter(|peer| peer.readable) else { continue };
            match peer.stream.read(&mut buffer) {
                Ok(0) => peers[at] = None,
                Ok(count) if peer.linked => {
                    for (other, sink) in peers.iter_mut().enumerate() {
                        if let Some(sink) = sink.as_mut().filter(|sink| other != at && sink.linked)
                        {
                            sink.out.extend_from_slice(&buffer[..count]);
                        }
                    }
                    flush(&mut peers);
                }
                // The handshake, unchecked.
                Ok(_) => {
                    peer.linked = true;
                    peer.stream.write_all(b"GNUTELLA OK\n\n")?;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => peer.readable = false,
                Err(_) => peers[at] = None,
            }
        }
        if !peers.is_empty() && peers.iter().all(Option::is_none) {
            return Ok(());
        }
    }
}

fn flush(peers: &mut [Option<Peer>]) {
    for slot in peers.iter_mut() {
        let Some(peer) = slot else { continue };
        while !peer.out.is_empty() {
            match peer.stream.write(&peer.out) {
                Ok(count) => {
                    peer.out.drain(..count);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    *slot = None;
                    break;
                }
            }
        }
    }
}

/// The relay as a process, and where it listens. It ends when its last peer leaves.
pub fn spawn() -> (Child, std::net::SocketAddr) {
    use std::io::BufRead;
    let mut child = super::oneself(&["--as-relay"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let addr = line.trim().trim_start_matches("listening on ").parse().unwrap();
    (child, addr)
}
