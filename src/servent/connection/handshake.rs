//! The handshake of one link, from its first byte to what is known of the peer.
//!
//! ```text
//! dialled:   dial ──▶ NeedMore ──▶ Complete
//! accepted:  accept ──▶ NeedMore ──▶ Offered ──(grant)──▶ Complete
//! ```
//!
//! The machine neither reads nor writes: it is fed the peer's bytes and returns its own. Whether
//! there is room for the link is asked between `Offered` and `grant`, when the peer has shown that
//! it speaks Gnutella.

use crate::wire::handshake::{CONNECT, HandshakeError, OK, read_answer, read_connect};
use std::net::SocketAddrV4;

/// Version of the protocol a link speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Gnutella 0.4: a line each way, no headers.
    V0_4,
}

/// Place of a peer in the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerRole {
    /// It routes for others. In 0.4 every servent does.
    Servent,
}

/// What a peer can do beyond its version, as announced in its headers. Empty in 0.4.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features(u16);

impl Features {
    /// Nothing beyond the version.
    pub const NONE: Features = Features(0);
}

/// What a handshake says of the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerInfo {
    /// The version that the link speaks.
    pub version: Version,
    /// Its place in the network.
    pub role: PeerRole,
    /// What it can do beyond its version.
    pub features: Features,
    /// The address it says it listens on. In 0.4 only its Pong says that.
    pub listening_addr: Option<SocketAddrV4>,
    /// Its program, as it names it.
    pub agent: Option<String>,
}

impl PeerInfo {
    /// All that a 0.4 handshake says.
    pub const V0_4: PeerInfo = PeerInfo {
        version: Version::V0_4,
        role: PeerRole::Servent,
        features: Features::NONE,
        listening_addr: None,
        agent: None,
    };
}

/// One side of a handshake.
#[derive(Debug)]
pub(in crate::servent) struct Handshake {
    dialled: bool,
    received: Vec<u8>,
}

/// How far a handshake is.
#[derive(Debug)]
pub(in crate::servent) enum Progress {
    /// The peer has more to say.
    NeedMore,
    /// The peer asks for a link: close, or answer with [`Handshake::grant`].
    Offered,
    /// The link stands.
    Complete(Established),
}

/// What a handshake ends in.
#[derive(Debug)]
pub(in crate::servent) struct Established {
    pub(in crate::servent) peer: PeerInfo,
    /// Bytes of the peer that came behind its handshake.
    pub(in crate::servent) rest: Vec<u8>,
}

impl Handshake {
    /// The dialling side, and what it says first.
    pub(in crate::servent) fn dial() -> (Handshake, &'static [u8]) {
        (Handshake { dialled: true, received: Vec::new() }, CONNECT)
    }

    /// The accepting side.
    pub(in crate::servent) fn accept() -> Handshake {
        Handshake { dialled: false, received: Vec::new() }
    }

    /// Takes bytes of the peer.
    pub(in crate::servent) fn handle_bytes(
        &mut self,
        bytes: &[u8],
    ) -> Result<Progress, HandshakeError> {
        self.received.extend_from_slice(bytes);
        let read = if self.dialled { read_answer } else { read_connect };
        Ok(match read(&self.received)? {
            None => Progress::NeedMore,
            Some(consumed) => {
                self.received.drain(..consumed);
                if self.dialled { Progress::Complete(self.establish()) } else { Progress::Offered }
            }
        })
    }

    /// Answers an offer: what to say, and what comes of it.
    pub(in crate::servent) fn grant(&mut self) -> (&'static [u8], Established) {
        (OK, self.establish())
    }

    fn establish(&mut self) -> Established {
        Established { peer: PeerInfo::V0_4, rest: std::mem::take(&mut self.received) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs both machines against each other, each fed `step` bytes at a time.
    #[test]
    fn both_sides_agree_however_the_bytes_are_split() {
        for step in 1..=CONNECT.len() {
            let (mut dialler, opening) = Handshake::dial();
            let mut acceptor = Handshake::accept();
            let mut offered = 0;
            for piece in opening.chunks(step) {
                offered +=
                    usize::from(matches!(acceptor.handle_bytes(piece), Ok(Progress::Offered)));
            }
            assert_eq!(offered, 1);
            let (answer, established) = acceptor.grant();
            assert_eq!((established.peer, established.rest), (PeerInfo::V0_4, Vec::new()));
            let behind = [answer, b"descriptors"].concat();
            let mut done = None;
            for piece in behind.chunks(step) {
                match done.as_mut() {
                    None => match dialler.handle_bytes(piece).unwrap() {
                        Progress::Complete(established) => done = Some(established),
                        progress => assert!(matches!(progress, Progress::NeedMore)),
                    },
                    Some(established) => established.rest.extend_from_slice(piece),
                }
            }
            assert_eq!(done.unwrap().rest, b"descriptors");
        }
    }

    #[test]
    fn another_language_is_an_error_with_what_was_said() {
        let error = Handshake::accept().handle_bytes(b"GNUTELLA CONNECT/0.6\r\n").unwrap_err();
        assert!(error.to_string().contains("GNUTELLA CONNECT/0.6"), "{error}");
        let error = Handshake::dial().0.handle_bytes(b"503 Busy\r\n").unwrap_err();
        assert!(error.to_string().contains("503 Busy"), "{error}");
    }
}
