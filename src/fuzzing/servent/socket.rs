//! One socket of a fuzzed core: what came, what it takes, and what waits for it.

use super::pool::Descriptor;
use crate::time::Instant;
use crate::wire::handshake;
use crate::wire::{HEADER_BYTES, Header, MAX_PAYLOAD_BYTES};
use std::collections::VecDeque;
use std::net::SocketAddrV4;

/// See the module documentation.
pub(super) struct Socket {
    pub(super) remote: SocketAddrV4,
    pub(super) state: State,
    pub(super) inbound: bool,
    /// A file was fetched on it, though the core had made it.
    pub(super) gave: bool,
    pub(super) since: Instant,
    pub(super) last_heard: Instant,
    /// The core has said hello on it.
    pub(super) greets: bool,
    /// What came and is no whole hello or descriptor.
    pub(super) heard: Vec<u8>,
    /// Bytes it takes before it is full.
    pub(super) room: usize,
    pub(super) full_since: Option<Instant>,
    /// Breaks when it is written to.
    pub(super) broken: bool,
    /// What the core has queued for a link, and the hello before.
    pub(super) queued: Vec<u8>,
    /// The same in whole pieces: bytes left, and whether it is a descriptor.
    pub(super) pieces: VecDeque<(usize, bool)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Connecting,
    Open,
    /// No more bytes come from it.
    Ended,
}

impl Socket {
    pub(super) fn new(remote: SocketAddrV4, state: State, now: Instant) -> Socket {
        Socket {
            remote,
            state,
            inbound: false,
            gave: false,
            since: now,
            last_heard: now,
            greets: false,
            heard: Vec::new(),
            room: usize::MAX,
            full_since: None,
            broken: false,
            queued: Vec::new(),
            pieces: VecDeque::new(),
        }
    }

    /// How much of `bytes` one read takes, and what it completes.
    pub(super) fn read(&self, bytes: &[u8], is_link: bool) -> Read {
        let stream = [&self.heard[..], bytes].concat();
        let hello = match (is_link, self.inbound) {
            (true, _) => Some(0),
            (false, true) => handshake::read_connect(&stream).unwrap_or(None),
            (false, false) if self.greets => handshake::read_answer(&stream).unwrap_or(None),
            (false, false) => None,
        };
        let start = hello.unwrap_or(0);
        let whole = if hello.is_some() { first_descriptor(&stream[start..]) } else { None };
        let (len, rest) = match &whole {
            Some(descriptor) => {
                (start + HEADER_BYTES + descriptor.payload.len() - self.heard.len(), Vec::new())
            }
            None => (bytes.len(), stream[start..].to_vec()),
        };
        Read { len, hello: hello.is_some(), descriptor: whole, rest }
    }

    /// Takes `written` bytes and tells how many descriptors went out whole with them.
    pub(super) fn take(&mut self, written: usize, now: Instant) -> u64 {
        self.room = self.room.saturating_sub(written);
        self.full_since = if written == 0 { self.full_since.or(Some(now)) } else { None };
        let mut left = written.min(self.queued.len());
        self.queued.drain(..left);
        let mut whole = 0;
        while let Some((bytes, descriptor)) = self.pieces.front_mut()
            && left > 0
        {
            let taken = left.min(*bytes);
            (left, *bytes) = (left - taken, *bytes - taken);
            if *bytes == 0 {
                whole += u64::from(*descriptor);
                self.pieces.pop_front();
            }
        }
        whole
    }
}

/// One read of a socket.
pub(super) struct Read {
    /// Bytes it takes.
    pub(super) len: usize,
    /// Whether the hello is complete with it.
    pub(super) hello: bool,
    /// What else is.
    pub(super) descriptor: Option<Descriptor>,
    /// What came behind all that.
    pub(super) rest: Vec<u8>,
}

fn first_descriptor(stream: &[u8]) -> Option<Descriptor> {
    let header = Header::decode(stream.first_chunk()?);
    let len = usize::try_from(header.payload_len).ok().filter(|&len| len <= MAX_PAYLOAD_BYTES)?;
    let payload = stream.get(HEADER_BYTES..HEADER_BYTES + len)?.to_vec();
    Some(Descriptor { header, payload })
}
