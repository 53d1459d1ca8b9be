//! The handshake of one link, from its first byte to what is known of the peer.
//!
//! ```text
//! dialled, 0.4:   dial_04 ──▶ NeedMore ──▶ Complete
//! dialled, 0.6:   dial_06 ──▶ NeedMore ──▶ Answered ──(confirm)──▶ Complete
//! accepted, 0.4:  accept ──▶ NeedMore ──▶ Offered ──(grant)──▶ Complete
//! accepted, 0.6:  accept ──▶ NeedMore ──▶ Asked ──(answered)──▶ NeedMore ──▶ Confirmed
//! ```
//!
//! The machine neither reads nor writes: it is fed the peer's bytes and says how far they lead. What to
//! answer, and whether there is room for the link, is decided by the servent, when the peer has shown
//! that it speaks Gnutella. An inbound peer chooses the dialect by its first line.

use super::peer_info::PeerInfo;
use crate::wire::Dialect;
use crate::wire::handshake::{CONNECT, HandshakeError, OK, read_answer, read_connect};
use crate::wire::handshake06::{FirstLine, Headers, LegReader, Version};

/// The first line of a peer that speaks 0.4.
const CONNECT_04: &[u8] = b"GNUTELLA CONNECT/0.4";

/// One side of a handshake.
#[derive(Debug)]
pub(in crate::servent) struct Handshake {
    awaited: Awaited,
    /// Bytes that are not read yet.
    received: Vec<u8>,
    /// The peer has said something.
    pub(in crate::servent) has_spoken: bool,
    /// What was decided on this side of a 0.6 handshake, until it is complete.
    pub(in crate::servent) terms: Option<Box<Terms>>,
}

/// What both sides of a 0.6 handshake have said so far.
#[derive(Debug)]
pub(in crate::servent) struct Terms {
    /// What the peer says of itself.
    pub(in crate::servent) peer: PeerInfo,
    /// It was told to become a leaf.
    pub(in crate::servent) must_be_leaf: bool,
    /// We said that we deflate.
    pub(in crate::servent) deflates: bool,
}

/// What the peer is to say next.
#[derive(Debug)]
enum Awaited {
    /// Either dialect's request.
    Request,
    /// The answer of 0.4.
    Answer04,
    /// The request of 0.6.
    Request06(LegReader),
    /// The answer of 0.6.
    Answer06(LegReader),
    /// The last leg of 0.6.
    Confirmation(LegReader),
}

/// How far a handshake is.
#[derive(Debug)]
pub(in crate::servent) enum Progress {
    /// The peer has more to say.
    NeedMore,
    /// The peer asks for a 0.4 link: close, or answer with [`Handshake::grant`].
    Offered,
    /// The link stands: 0.4, dialled.
    Complete(Established),
    /// The peer asks for a 0.6 link.
    Asked(Headers),
    /// The peer goes on with a 0.6 link.
    Answered(Headers),
    /// The last leg of a 0.6 handshake.
    Confirmed(Headers),
    /// The peer refuses, or says that it cannot.
    Refused {
        /// Its code.
        code: u16,
        /// Its text.
        text: String,
        /// Where to try instead, and more.
        headers: Headers,
    },
}

/// What a handshake ends in.
#[derive(Debug)]
pub(in crate::servent) struct Established {
    pub(in crate::servent) peer: PeerInfo,
    /// Whether what the peer sends from here on is deflated, and what we send.
    pub(in crate::servent) inflates: bool,
    pub(in crate::servent) deflates: bool,
    /// Bytes of the peer that came behind its handshake.
    pub(in crate::servent) rest: Vec<u8>,
}

impl Handshake {
    fn awaiting(awaited: Awaited) -> Handshake {
        Handshake { awaited, received: Vec::new(), has_spoken: false, terms: None }
    }

    /// The dialling side of 0.4, and what it says first.
    pub(in crate::servent) fn dial_04() -> (Handshake, &'static [u8]) {
        (Handshake::awaiting(Awaited::Answer04), CONNECT)
    }

    /// The dialling side of 0.6.
    pub(in crate::servent) fn dial_06() -> Handshake {
        Handshake::awaiting(Awaited::Answer06(LegReader::default()))
    }

    /// The accepting side.
    pub(in crate::servent) fn accept() -> Handshake {
        Handshake::awaiting(Awaited::Request)
    }

    /// The dialect, once the side that chooses it has.
    pub(in crate::servent) fn dialect(&self) -> Option<Dialect> {
        match self.awaited {
            Awaited::Request => None,
            Awaited::Answer04 => Some(Dialect::V0_4),
            Awaited::Request06(_) | Awaited::Answer06(_) | Awaited::Confirmation(_) => {
                Some(Dialect::V0_6)
            }
        }
    }

    /// Takes bytes of the peer.
    ///
    /// # Errors
    /// As soon as they cannot become what is awaited.
    pub(in crate::servent) fn handle_bytes(
        &mut self,
        bytes: &[u8],
    ) -> Result<Progress, HandshakeError> {
        self.has_spoken |= !bytes.is_empty();
        self.received.extend_from_slice(bytes);
        if matches!(self.awaited, Awaited::Request) && !is_04(&self.received) {
            if CONNECT_04.starts_with(&self.received) {
                return Ok(Progress::NeedMore);
            }
            self.awaited = Awaited::Request06(LegReader::default());
        }
        let received = std::mem::take(&mut self.received);
        let (progress, taken) = match &mut self.awaited {
            Awaited::Request => match read_connect(&received)? {
                None => (Progress::NeedMore, 0),
                Some(taken) => (Progress::Offered, taken),
            },
            Awaited::Answer04 => match read_answer(&received)? {
                None => (Progress::NeedMore, 0),
                Some(taken) => {
                    let rest = received[taken..].to_vec();
                    return Ok(Progress::Complete(Established::v0_4(rest)));
                }
            },
            Awaited::Request06(reader)
            | Awaited::Answer06(reader)
            | Awaited::Confirmation(reader) => match reader.read(&received)? {
                None => (Progress::NeedMore, received.len()),
                Some((leg, taken)) => {
                    (self.advance(leg.first, leg.headers, &received[taken..])?, taken)
                }
            },
        };
        self.received = received;
        self.received.drain(..taken);
        Ok(progress)
    }

    fn advance(
        &self,
        first: FirstLine,
        headers: Headers,
        rest: &[u8],
    ) -> Result<Progress, HandshakeError> {
        Ok(match (&self.awaited, first) {
            (Awaited::Request06(_), FirstLine::Connect(version)) if version >= Version::V06 => {
                Progress::Asked(headers)
            }
            (Awaited::Answer06(_), FirstLine::Ok04) => {
                // It has overlooked the version, and speaks 0.4.
                Progress::Complete(Established::v0_4(rest.to_vec()))
            }
            (Awaited::Answer06(_), FirstLine::Status { code: 200, .. }) => {
                Progress::Answered(headers)
            }
            (Awaited::Confirmation(_), FirstLine::Status { code: 200, .. }) => {
                Progress::Confirmed(headers)
            }
            (
                Awaited::Answer06(_) | Awaited::Confirmation(_),
                FirstLine::Status { code, text, .. },
            ) => Progress::Refused { code, text, headers },
            (_, first) => return Err(HandshakeError::OutOfTurn(first)),
        })
    }

    /// Answers an offer of 0.4: what to say, and what comes of it.
    pub(in crate::servent) fn grant(&mut self) -> (&'static [u8], Established) {
        (OK, Established::v0_4(std::mem::take(&mut self.received)))
    }

    /// The request of a 0.6 peer was answered, and it is to confirm; on these terms.
    pub(in crate::servent) fn answered(&mut self, terms: Terms) {
        self.awaited = Awaited::Confirmation(LegReader::default());
        self.terms = Some(Box::new(terms));
    }

    /// What came behind the last leg of the peer.
    pub(in crate::servent) fn take_rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.received)
    }
}

/// Whether this is a first line of 0.4, as far as it must be read to know.
fn is_04(received: &[u8]) -> bool {
    let behind = received.strip_prefix(CONNECT_04).and_then(<[u8]>::first);
    behind.is_some_and(|byte| matches!(byte, b'\r' | b'\n'))
}

impl Established {
    fn v0_4(rest: Vec<u8>) -> Established {
        Established { peer: PeerInfo::V0_4, inflates: false, deflates: false, rest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::handshake06::Leg;

    /// Feeds `bytes` in pieces until the machine has something to say other than that it needs more.
    fn feed(machine: &mut Handshake, bytes: &[u8], step: usize) -> (Progress, Vec<u8>) {
        let mut pieces = bytes.chunks(step);
        for piece in pieces.by_ref() {
            match machine.handle_bytes(piece).unwrap() {
                Progress::NeedMore => {}
                progress => return (progress, pieces.flatten().copied().collect()),
            }
        }
        (Progress::NeedMore, Vec::new())
    }

    fn leg(first: FirstLine, headers: &[(&str, &str)]) -> Vec<u8> {
        let mut list = Headers::default();
        headers.iter().for_each(|(name, value)| list.add(name, value));
        let mut bytes = Vec::new();
        Leg { first, headers: list }.write(&mut bytes);
        bytes
    }

    #[test]
    fn both_sides_of_0_4_agree_however_the_bytes_are_split() {
        for step in 1..=CONNECT.len() {
            let (mut dialler, opening) = Handshake::dial_04();
            let mut acceptor = Handshake::accept();
            let (progress, _) = feed(&mut acceptor, opening, step);
            assert!(matches!(progress, Progress::Offered), "{progress:?}");
            let (answer, established) = acceptor.grant();
            assert_eq!((established.peer, established.rest), (PeerInfo::V0_4, Vec::new()));
            let behind = [answer, b"descriptors"].concat();
            let (Progress::Complete(established), later) = feed(&mut dialler, &behind, step) else {
                panic!("not complete");
            };
            assert_eq!([established.rest, later].concat(), b"descriptors");
        }
    }

    #[test]
    fn three_legs_of_0_6_are_told_apart_and_what_follows_is_kept() {
        let connect = leg(FirstLine::Connect(Version::V06), &[("X-Ultrapeer", "True")]);
        let ok = leg(FirstLine::ok(), &[("Bye-Packet", "0.1")]);
        for step in 1..=connect.len() {
            let mut acceptor = Handshake::accept();
            let (progress, _) = feed(&mut acceptor, &connect, step);
            let Progress::Asked(headers) = progress else { panic!("{progress:?}") };
            let peer = PeerInfo::read(&headers, [127, 0, 0, 1].into());
            acceptor.answered(Terms { peer, must_be_leaf: false, deflates: false });
            let last = [&ok[..], b"descriptors"].concat();
            let (progress, later) = feed(&mut acceptor, &last, step);
            assert!(matches!(progress, Progress::Confirmed(_)), "{progress:?}");
            assert_eq!([acceptor.take_rest(), later].concat(), b"descriptors");
            let mut dialler = Handshake::dial_06();
            let (progress, _) = feed(&mut dialler, &ok, step);
            assert!(matches!(progress, Progress::Answered(_)), "{progress:?}");
        }
    }

    #[test]
    fn a_0_6_request_may_be_answered_by_a_servent_of_0_4() {
        let (progress, _) = feed(&mut Handshake::dial_06(), b"GNUTELLA OK\n\nmore", 99);
        let Progress::Complete(established) = progress else { panic!("{progress:?}") };
        assert_eq!((established.peer, &established.rest[..]), (PeerInfo::V0_4, &b"more"[..]));
    }

    #[test]
    fn another_language_is_an_error_with_what_was_said() {
        let error = Handshake::accept().handle_bytes(b"GNUTELLA CONNECT/0.5\r\n\r\n").unwrap_err();
        assert!(error.to_string().contains("GNUTELLA CONNECT/0.5"), "{error}");
        let error = Handshake::accept().handle_bytes(b"GNUTELLA/0.6 200 OK\r\n\r\n").unwrap_err();
        assert!(error.to_string().contains("200 OK"), "{error}");
        let error = Handshake::dial_04().0.handle_bytes(b"503 Busy\r\n").unwrap_err();
        assert!(error.to_string().contains("503 Busy"), "{error}");
        let (progress, _) = feed(&mut Handshake::dial_06(), b"GNUTELLA/0.6 503 Full\r\n\r\n", 7);
        assert!(matches!(progress, Progress::Refused { code: 503, .. }), "{progress:?}");
    }
}
