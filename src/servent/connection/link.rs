//! What a link has beyond its socket, and how often its peer may ask.

use super::codec::LinkCodec;
use super::peer_info::PeerInfo;
use crate::servent::budget::Account;
use crate::servent::link_key::LinkKey;
use crate::time::Instant;
use crate::wire::Deframer;
use crate::wire::deflate::{InflateStep, StreamError};
use bytes::BytesMut;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::num::NonZeroU16;

/// Keepalives (Pings with TTL 1) answered per link and second.
const KEEPALIVES_PER_SECOND: u8 = 10;
/// Pings of ours whose Pongs may be outstanding together on one link.
const PINGS_OUTSTANDING: u32 = 4;
const SECOND_MILLIS: u32 = 1_000;

/// The state of an established link beyond its socket.
#[derive(Debug)]
pub(in crate::servent) struct Link {
    /// `None` for a peer of which its handshake said no more than that it speaks 0.4.
    beyond: Option<Box<Beyond>>,
    /// The port it listens on: that of its own Pong, if the address in it fits the socket.
    pub(in crate::servent) pong_port: Option<NonZeroU16>,
    /// `None` until a descriptor straddles two reads, so that an idle link is small.
    pub(in crate::servent) deframer: Option<Box<Deframer>>,
    /// Its share of work, and input that waits for it.
    pub(in crate::servent) account: Account,
    /// When the handshake was complete.
    pub(in crate::servent) since: Instant,
    pub(in crate::servent) last_heard: Instant,
    /// A keepalive was sent since `last_heard`.
    pub(in crate::servent) keepalive_sent: bool,
    /// Its name in route tables.
    pub(in crate::servent) key: LinkKey,
    /// It is the one that stayed of two links with this servent, instead of the one we dialled.
    pub(in crate::servent) stands_for_ours: bool,
    /// Pongs that the Pings sent on this link still admit.
    pongs_due: u32,
    /// When the second began in which the following are counted, in milliseconds modulo 2^32.
    second_began: u32,
    this_second: Admitted,
}

/// What a plain 0.4 link does not have.
#[derive(Debug)]
struct Beyond {
    peer: PeerInfo,
    /// Present if a direction is deflated.
    codec: Option<Box<LinkCodec>>,
}

/// What a link was admitted in one second.
#[derive(Debug, Default)]
struct Admitted {
    pongs: u32,
    keepalives: u8,
    full_ping: bool,
    index_query: bool,
}

impl Link {
    pub(in crate::servent) fn new(now: Instant, key: LinkKey, peer: PeerInfo) -> Link {
        Link {
            beyond: (peer != PeerInfo::V0_4).then(|| Box::new(Beyond { peer, codec: None })),
            pong_port: None,
            deframer: None,
            account: Account::default(),
            since: now,
            last_heard: now,
            keepalive_sent: false,
            key,
            stands_for_ours: false,
            pongs_due: 0,
            second_began: millis(now),
            this_second: Admitted::default(),
        }
    }

    /// What the handshake said of the peer.
    pub(in crate::servent) fn peer(&self) -> &PeerInfo {
        self.beyond.as_ref().map_or(&PeerInfo::V0_4, |beyond| &beyond.peer)
    }

    /// Begins the streams of a link that has just been established, if it is `coded`.
    pub(super) fn set_coded(&mut self, coded: bool) {
        let plain = || Box::new(Beyond { peer: PeerInfo::V0_4, codec: None });
        if coded {
            self.beyond.get_or_insert_with(plain).codec = Some(Box::default());
        }
    }

    pub(super) fn codec(&self) -> Option<&LinkCodec> {
        self.beyond.as_ref()?.codec.as_deref()
    }

    pub(super) fn codec_mut(&mut self) -> Option<&mut LinkCodec> {
        self.beyond.as_mut()?.codec.as_deref_mut()
    }

    /// Inflates `input` until `out` is full. For links whose peer deflates.
    ///
    /// # Errors
    /// The stream is broken, a bomb, or has ended by its own mark. The link is lost.
    pub(in crate::servent) fn inflate(
        &mut self,
        input: &[u8],
        out: &mut [u8],
    ) -> Result<InflateStep, StreamError> {
        let codec = self.codec_mut().expect("only a coded link is inflated");
        codec.inbound.inflate(input, out)
    }

    /// Whether the peer's deflated stream has ended by its own mark.
    pub(in crate::servent) fn has_stream_ended(&self) -> bool {
        self.codec().is_some_and(|codec| codec.inbound.has_ended())
    }

    /// Adds deflated input behind what waits already.
    pub(in crate::servent) fn append_deflated(&mut self, bytes: &[u8]) {
        if let Some(codec) = self.codec_mut() {
            codec.inbound.waiting.extend_from_slice(bytes);
        }
    }

    /// Lets the rest of [`Link::take_deflated`] wait, in front of nothing.
    pub(in crate::servent) fn put_back_deflated(&mut self, bytes: BytesMut) {
        if let Some(codec) = self.codec_mut() {
            codec.inbound.waiting = bytes;
        }
    }

    /// Takes the deflated input that waits.
    pub(in crate::servent) fn take_deflated(&mut self) -> BytesMut {
        self.codec_mut().map(|codec| std::mem::take(&mut codec.inbound.waiting)).unwrap_or_default()
    }

    /// Where a peer at `ip` listens, as far as it is known.
    pub(in crate::servent) fn listening_addr(&self, ip: Ipv4Addr) -> Option<SocketAddrV4> {
        let by_pong = self.pong_port.map(|port| SocketAddrV4::new(ip, port.get()));
        by_pong.or(self.peer().listening_addr)
    }

    /// Whether a Ping that is more than a keepalive may be answered: one a second.
    pub(in crate::servent) fn admit_full_ping(&mut self, now: Instant) -> bool {
        !std::mem::replace(&mut self.admitted(now).full_ping, true)
    }

    /// Whether "list everything" may be answered: one a second.
    pub(in crate::servent) fn admit_index_query(&mut self, now: Instant) -> bool {
        !std::mem::replace(&mut self.admitted(now).index_query, true)
    }

    /// Whether a keepalive may be answered.
    pub(in crate::servent) fn admit_keepalive(&mut self, now: Instant) -> bool {
        let keepalives = &mut self.admitted(now).keepalives;
        *keepalives = keepalives.saturating_add(1);
        *keepalives <= KEEPALIVES_PER_SECOND
    }

    /// A Ping was sent on this link: it admits `per_ping` more Pongs, up to those of
    /// [`PINGS_OUTSTANDING`] Pings.
    pub(in crate::servent) fn ping_sent(&mut self, per_ping: u32) {
        let most = per_ping.saturating_mul(PINGS_OUTSTANDING);
        self.pongs_due = self.pongs_due.saturating_add(per_ping).min(most);
    }

    /// Whether one more Pong may be learnt from and passed on.
    pub(in crate::servent) fn admit_pong(&mut self, now: Instant, per_second: u32) -> bool {
        let due = self.pongs_due > 0;
        let pongs = &mut self.admitted(now).pongs;
        let admitted = due && *pongs < per_second;
        *pongs += u32::from(admitted);
        self.pongs_due -= u32::from(admitted);
        admitted
    }

    fn admitted(&mut self, now: Instant) -> &mut Admitted {
        if millis(now).wrapping_sub(self.second_began) >= SECOND_MILLIS {
            self.second_began = millis(now);
            self.this_second = Admitted::default();
        }
        &mut self.this_second
    }
}

#[expect(clippy::cast_possible_truncation, reason = "differences are taken modulo 2^32")]
fn millis(now: Instant) -> u32 {
    (now.as_micros() / 1_000) as u32
}
