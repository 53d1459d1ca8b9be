//! Scripted peers that speak 0.6, and route tables laid out by hand.

use super::bench::Bench;
use super::descriptor::{Descriptor, guid};
use servent::net::Peer;
use servent::wire::Kind;

pub(crate) const ULTRAPEER: &str =
    "X-Ultrapeer: True\r\nBye-Packet: 0.1\r\nGGEP: 0.5\r\nX-Max-TTL: 4\r\nX-Degree: 16\r\n";
pub(crate) const LEAF: &str =
    "X-Ultrapeer: False\r\nX-Query-Routing: 0.1\r\nBye-Packet: 0.1\r\nGGEP: 0.5\r\n";
/// Asks for our merged table, and has one for us.
pub(crate) const LAST_HOP: &str = "X-Ultrapeer-Query-Routing: 0.1\r\n";
pub(crate) const LAST_LEG: &[u8] = b"GNUTELLA/0.6 200 OK\r\n\r\n";
/// Query routing messages.
pub(crate) const ROUTES: Kind = Kind::Other(0x30);

/// Slots of these words in a table of 16 (protocol tables): in the order of their names.
pub(crate) const FREE: usize = 2;
pub(crate) const GNUTELLA: usize = 5;
pub(crate) const HELLO: usize = 9;

impl Bench {
    /// A link of 0.6 with these headers. The servent's own words up to now are read.
    #[track_caller]
    pub(crate) fn modern(&mut self, headers: &str) -> Peer {
        let peer = self.dial();
        self.send_bytes(peer, format!("GNUTELLA CONNECT/0.6\r\n{headers}\r\n").as_bytes());
        let answer = String::from_utf8(self.read(peer)).unwrap();
        assert!(answer.starts_with("GNUTELLA/0.6 200 OK\r\n"), "{answer}");
        self.send_bytes(peer, LAST_LEG);
        peer
    }

    /// A leaf whose table has these slots of 16.
    #[track_caller]
    pub(crate) fn leaf(&mut self, slots: &[usize]) -> Peer {
        let leaf = self.modern(LEAF);
        self.send(leaf, &reset());
        self.send(leaf, &patch(1, 1, slots));
        leaf
    }

    /// The servent dials this peer in 0.6, which answers with these headers. Returns its last leg.
    pub(crate) fn dialled_modern(&mut self, addr: &str, headers: &str) -> (Peer, String) {
        let addr = addr.parse().unwrap();
        self.net.listen(addr);
        self.tell(|core, now| {
            core.add_static_peer_speaking(now, addr, servent::wire::Dialect::V0_6);
        });
        let peer = self.net.accept(addr).expect("the core dials whom it should keep");
        self.read(peer);
        self.net.write(peer, format!("GNUTELLA/0.6 200 OK\r\n{headers}\r\n").as_bytes());
        self.net.settle();
        let received = self.net.received(peer);
        let end = received.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        let last = received.drain(..end).collect();
        (peer, String::from_utf8(last).unwrap())
    }
}

pub(crate) fn routes(payload: Vec<u8>) -> Descriptor {
    Descriptor::new(guid(0x0909), ROUTES, payload).ttl(1)
}

/// Begins a table of 16 slots, infinity 7.
pub(crate) fn reset() -> Descriptor {
    routes(vec![0, 16, 0, 0, 0, 7])
}

/// Sets these slots of 16, which are not set: plain entries of 4 bits.
pub(crate) fn patch(number: u8, count: u8, slots: &[usize]) -> Descriptor {
    let mut payload = vec![1, number, count, 0, 4];
    let mut entries = [0_u8; 8];
    for &slot in slots {
        entries[slot / 2] |= if slot % 2 == 0 { 0xa0 } else { 0x0a };
    }
    let half = if count == 2 { &entries[usize::from(number - 1) * 4..][..4] } else { &entries[..] };
    payload.extend(half);
    routes(payload)
}
