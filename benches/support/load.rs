//! A load generator for any 0.4 servent: one link that floods descriptors, and sinks that read the
//! copies. One thread, so that it needs one core.

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::SockRef;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const BUFFER: usize = 256 * 1024;
/// Copies that arrive at no sink for this long are lost.
const READ_TIMEOUT: Duration = Duration::from_millis(1_500);

/// A link after its handshake, in blocking mode.
pub fn link(addr: SocketAddr) -> std::net::TcpStream {
    let mut stream = std::net::TcpStream::connect(addr).expect("the servent listens");
    // Only this end's can be chosen; the other end uses its system's.
    let _ = SockRef::from(&stream).set_tcp_congestion(b"cubic");
    stream.set_nodelay(true).unwrap();
    stream.write_all(b"GNUTELLA CONNECT/0.4\n\n").unwrap();
    let mut answer = [0; 13];
    stream.read_exact(&mut answer).expect("the handshake is answered");
    assert_eq!(&answer, b"GNUTELLA OK\n\n");
    stream
}

/// Descriptors to send, each with a new id.
pub struct Stream {
    bytes: Vec<u8>,
    len: usize,
    next_id: u64,
}

/// The bytes of one descriptor.
pub fn descriptor(kind: u8, ttl: u8, hops: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 16];
    bytes.extend_from_slice(&[kind, ttl, hops]);
    bytes.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A Query of 80 bytes, for words that no library has.
pub fn query() -> Vec<u8> {
    let text = format!("{:<54}", "nothing anybody has under this name of many words");
    descriptor(0x80, 5, 2, &[&[1, 0], text.as_bytes(), &[0]].concat()[..57])
}

/// A hit of one result, to a Query without an id yet.
pub fn hit() -> Vec<u8> {
    let payload = [
        &[1, 0xca, 0x18, 127, 0, 0, 1, 0xe8, 3, 0, 0][..],
        &[7, 0, 0, 0, 5, 0, 0, 0],
        b"free bsd notes of some length.txt\0\0",
        &[9; 16],
    ]
    .concat();
    descriptor(0x81, 5, 2, &payload)
}

impl Stream {
    pub fn new(template: &[u8], first_id: u64) -> Stream {
        let copies = (BUFFER / template.len()).max(1);
        let bytes = template.repeat(copies);
        let mut stream = Stream { bytes, len: template.len(), next_id: first_id };
        stream.renew();
        stream
    }

    /// The id of the next descriptor.
    pub fn sent(&self) -> u64 {
        self.next_id
    }

    /// `count` descriptors with new ids, at most one buffer of them.
    pub fn take(&mut self, count: usize) -> &[u8] {
        self.renew_first(count);
        &self.bytes[..count * self.len]
    }

    /// Gives all a new id.
    fn renew(&mut self) {
        self.renew_first(usize::MAX);
    }

    fn renew_first(&mut self, count: usize) {
        for one in self.bytes.chunks_exact_mut(self.len).take(count) {
            let id = self.next_id.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            one[..8].copy_from_slice(&id.to_le_bytes());
            one[8..15].copy_from_slice(&[0xff, 1, 2, 3, 4, 5, 6]);
            self.next_id += 1;
        }
    }
}

/// What one flood came to.
#[derive(Clone, Copy, Debug)]
pub struct Flooded {
    /// Descriptors sent.
    pub sent: u64,
    /// Copies that arrived at all sinks together.
    pub copies: u64,
    /// From the first byte out to the last byte in.
    pub time: Duration,
    /// Reads at the sinks.
    pub reads: u64,
}

impl Flooded {
    /// Descriptors per second that went all the way.
    pub fn rate(&self, sinks: usize) -> f64 {
        self.copies as f64 / sinks as f64 / self.time.as_secs_f64()
    }
}

/// Sends for `time`, and waits until everything has arrived or nothing does any more.
pub fn flood(
    source: std::net::TcpStream,
    sinks: Vec<std::net::TcpStream>,
    stream: &mut Stream,
    time: Duration,
) -> Flooded {
    let count = sinks.len();
    let mut poll = Poll::new().unwrap();
    let own = |stream: std::net::TcpStream| {
        stream.set_nonblocking(true).unwrap();
        TcpStream::from_std(stream)
    };
    let mut links: Vec<TcpStream> = std::iter::once(source).chain(sinks).map(own).collect();
    for (at, link) in links.iter_mut().enumerate() {
        let both = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(link, Token(at), both).unwrap();
    }
    let mut ready = vec![true; links.len()];
    let (mut writable, mut offset, mut sent) = (true, 0, 0u64);
    let (mut bytes, mut reads) = (0u64, 0u64);
    let mut buffer = vec![0; BUFFER];
    let mut events = Events::with_capacity(64);
    let begun = Instant::now();
    let mut last = begun;
    loop {
        let sending = begun.elapsed() < time || offset > 0;
        if sending && writable {
            match links[0].write(&stream.bytes[offset..]) {
                Ok(count) => {
                    sent += count as u64;
                    offset += count;
                    if offset == stream.bytes.len() {
                        stream.renew();
                        offset = 0;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => writable = false,
                Err(error) => panic!("the servent closes on us: {error}"),
            }
        }
        for (link, ready) in links.iter_mut().zip(&mut ready).filter(|(_, ready)| **ready) {
            match link.read(&mut buffer) {
                Ok(0) => panic!("the servent closes on a sink"),
                Ok(count) => {
                    (bytes, reads, last) = (bytes + count as u64, reads + 1, Instant::now());
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => *ready = false,
                Err(error) => panic!("the servent closes on a sink: {error}"),
            }
        }
        let all = bytes >= sent * count as u64;
        if !sending && (all || last.elapsed() > READ_TIMEOUT) {
            break;
        }
        let idle = !(ready.contains(&true) || sending && writable);
        let wait = if idle { Duration::from_millis(20) } else { Duration::ZERO };
        poll.poll(&mut events, Some(wait)).unwrap();
        for event in events.iter() {
            let at = event.token().0;
            ready[at] |= event.is_readable();
            writable |= at == 0 && event.is_writable();
        }
    }
    let len = stream.len as u64;
    Flooded { sent: sent / len, copies: bytes / len, time: last - begun, reads }
}
