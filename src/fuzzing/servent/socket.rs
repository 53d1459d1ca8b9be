//! One socket of a fuzzed servent: its streams in both directions, cut into descriptors.

use super::generators::Descriptor;
use crate::time::Instant;
use crate::wire::{HEADER_BYTES, HandshakeEnd, Header, Kind, MAX_PAYLOAD_BYTES};
use std::collections::VecDeque;
use std::net::SocketAddrV4;

/// See the module documentation.
pub(super) struct Socket {
    pub(super) remote: SocketAddrV4,
    pub(super) state: State,
    pub(super) inbound: bool,
    /// A file was fetched on it, though the servent had dialled.
    pub(super) gave: bool,
    pub(super) since: Instant,
    pub(super) last_heard: Instant,
    /// Where the peer's handshake ends.
    came: HandshakeEnd,
    /// Bytes that came and make no whole handshake or descriptor.
    pub(super) heard: Vec<u8>,
    pub(super) full_since: Option<Instant>,
    /// Where the servent's own handshake ends; `None` once it is known to be over.
    said: Option<HandshakeEnd>,
    /// What the servent has queued for a link, its handshake included.
    pub(super) queued: Vec<u8>,
    /// The same in whole pieces: bytes left, and whether it is a descriptor.
    pub(super) pieces: VecDeque<(usize, bool)>,
    /// The piece in front has begun to leave.
    begun: bool,
    /// When the link was told that it ends.
    pub(super) parting_since: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Connecting,
    Open,
    /// No more bytes come from it.
    Ended,
}

impl Socket {
    pub(super) fn new(remote: SocketAddrV4, state: State, inbound: bool, now: Instant) -> Socket {
        Socket {
            remote,
            state,
            inbound,
            gave: false,
            since: now,
            last_heard: now,
            came: HandshakeEnd::default(),
            heard: Vec::new(),
            full_since: None,
            said: Some(HandshakeEnd::default()),
            queued: Vec::new(),
            pieces: VecDeque::new(),
            begun: false,
            parting_since: None,
        }
    }

    /// Takes the part of `bytes` that completes a descriptor, or all of them: how many that were,
    /// and the descriptor.
    pub(super) fn hear(&mut self, bytes: &[u8], now: Instant) -> (usize, Option<Descriptor>) {
        self.last_heard = now;
        let (was_link, before) = (self.came.is_link(), self.heard.len());
        let behind = self.came.skip(bytes);
        let handshake = bytes.len() - behind.len();
        if !was_link && !self.came.is_link() {
            self.heard.extend_from_slice(bytes);
            return (bytes.len(), None);
        }
        let before = if was_link { before } else { 0 };
        self.heard.truncate(before);
        self.heard.extend_from_slice(behind);
        let Some(descriptor) = first_descriptor(&self.heard) else { return (bytes.len(), None) };
        let taken = HEADER_BYTES + descriptor.payload.len() - before;
        self.heard.clear();
        (handshake + taken, Some(descriptor))
    }

    /// The link stands, and speaks 0.4: nothing more of a handshake comes, even if it began as one of 0.6.
    pub(super) fn has_said_all(&mut self) {
        if !self.inbound {
            self.said = None;
        }
    }

    /// The servent's queue holds `unsent`: the descriptors that are new in it, and how many it has given
    /// up. That is all that had not begun to leave, for the sake of a Bye.
    pub(super) fn queue(&mut self, unsent: &[u8], now: Instant) -> (Vec<Descriptor>, u64) {
        let cut = if unsent.starts_with(&self.queued) { 0 } else { self.cut() };
        let new = unsent.strip_prefix(&self.queued[..]).expect("what has begun to leave stays");
        self.queued.extend_from_slice(new);
        let mut behind = self.said.as_mut().map_or(new, |said| said.skip(new));
        if behind.len() < new.len() {
            self.pieces.push_back((new.len() - behind.len(), false));
        }
        let mut found = Vec::new();
        while !behind.is_empty() {
            let descriptor = first_descriptor(behind).expect("whole descriptors are queued");
            let len = HEADER_BYTES + descriptor.payload.len();
            self.pieces.push_back((len, true));
            assert_eq!(self.parting_since, None, "behind a last word: {descriptor:?}");
            if descriptor.header.kind == Kind::Bye {
                self.parting_since = Some(now);
            }
            found.push(descriptor);
            behind = &behind[len..];
        }
        assert!(cut == 0 || self.parting_since == Some(now), "{cut} descriptors are gone");
        (found, cut)
    }

    fn cut(&mut self) -> u64 {
        let stays = |at: usize, is_descriptor: bool| !is_descriptor || at == 0 && self.begun;
        let pieces = self.pieces.iter().enumerate();
        let kept = pieces.take_while(|(at, (_, descriptor))| stays(*at, *descriptor)).count();
        let bytes = self.pieces.iter().take(kept).map(|(bytes, _)| bytes).sum();
        self.queued.truncate(bytes);
        self.pieces.drain(kept..).count() as u64
    }

    /// `written` bytes were sent: how many descriptors went out whole with them.
    pub(super) fn sent(&mut self, written: usize, now: Instant) -> u64 {
        self.full_since = if written == 0 { self.full_since.or(Some(now)) } else { None };
        let mut left = written.min(self.queued.len());
        self.queued.drain(..left);
        let mut whole = 0;
        while let Some((bytes, descriptor)) = self.pieces.front_mut()
            && left > 0
        {
            let taken = left.min(*bytes);
            (left, *bytes) = (left - taken, *bytes - taken);
            self.begun = *bytes > 0;
            if *bytes == 0 {
                whole += u64::from(*descriptor);
                self.pieces.pop_front();
            }
        }
        whole
    }

    /// The socket is closed: how many descriptors were queued.
    pub(super) fn drop_queue(&mut self) -> u64 {
        self.queued.clear();
        self.pieces.drain(..).filter(|(_, descriptor)| *descriptor).count() as u64
    }
}

fn first_descriptor(stream: &[u8]) -> Option<Descriptor> {
    let header = Header::decode(stream.first_chunk()?);
    let len = usize::try_from(header.payload_len).ok().filter(|&len| len <= MAX_PAYLOAD_BYTES)?;
    let payload = stream.get(HEADER_BYTES..HEADER_BYTES + len)?.to_vec();
    Some(Descriptor { header, payload })
}
