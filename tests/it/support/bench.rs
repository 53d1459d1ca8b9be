//! One servent with scripted peers plugged in: send bytes, see what comes out where.

use super::descriptor::{Descriptor, take_descriptors};
use super::net::Net;
use super::node::shared_files;
use servent::config::Config;
use servent::net::Peer;
use servent::servent::{Event, Servent};
use servent::stats::DropReason;
use servent::time::Instant;
use servent::wire::{Guid, Kind};
use std::net::SocketAddrV4;
use std::time::Duration;

pub(crate) const CONNECT: &[u8] = b"GNUTELLA CONNECT/0.4\n\n";
pub(crate) const OK: &[u8] = b"GNUTELLA OK\n\n";

/// The servent under test is node 0 of `net`.
pub(crate) struct Bench {
    pub(crate) net: Net,
}

impl Bench {
    /// A servent that shares `hello.txt` and `free bsd notes.txt` and does nothing unasked.
    pub(crate) fn new() -> Bench {
        Bench::with(|_| ())
    }

    pub(crate) fn with(adjust: impl FnOnce(&mut Config)) -> Bench {
        Bench::sharing(&shared_files(), adjust)
    }

    pub(crate) fn sharing(
        files: &[(u32, &str, Vec<u8>)],
        adjust: impl FnOnce(&mut Config),
    ) -> Bench {
        let mut config = Net::still();
        adjust(&mut config);
        let mut net = Net::new(1);
        net.add(config, files);
        Bench { net }
    }

    pub(crate) fn core(&self) -> &Servent {
        self.net.core(0)
    }

    pub(crate) fn addr(&self) -> SocketAddrV4 {
        self.net.addr(0)
    }

    pub(crate) fn dropped(&self, reason: DropReason) -> u64 {
        self.core().stats().dropped(reason)
    }

    pub(crate) fn events(&mut self) -> Vec<Event> {
        self.net.events(0)
    }

    /// Gives the servent a command.
    pub(crate) fn tell<R>(&mut self, command: impl FnOnce(&mut Servent, Instant) -> R) -> R {
        let answer = self.net.tell(0, command);
        self.net.settle();
        answer
    }

    pub(crate) fn wait(&mut self, duration: Duration) {
        self.net.run_for(duration);
    }

    pub(crate) fn wait_secs(&mut self, secs: u64) {
        self.wait(Duration::from_secs(secs));
    }

    /// A TCP connection, nothing said.
    pub(crate) fn dial(&mut self) -> Peer {
        self.net.dial(0)
    }

    /// An accepted 0.4 link.
    pub(crate) fn link(&mut self) -> Peer {
        let peer = self.dial();
        self.send_bytes(peer, CONNECT);
        self.net.skip_handshake(peer);
        peer
    }

    pub(crate) fn links<const N: usize>(&mut self) -> [Peer; N] {
        std::array::from_fn(|_| self.link())
    }

    /// Makes the servent dial a scripted listener; its handshake is read and not answered.
    pub(crate) fn dialled(&mut self) -> Peer {
        let addr = "127.8.0.1:7000".parse().unwrap();
        self.net.listen(addr);
        self.tell(|core, now| core.add_static_peer(now, addr));
        let peer = self.net.accept(addr).expect("the core dials whom it should keep");
        assert_eq!(self.read(peer), CONNECT);
        peer
    }

    pub(crate) fn send_bytes(&mut self, peer: Peer, bytes: &[u8]) {
        self.net.write(peer, bytes);
        self.net.settle();
    }

    pub(crate) fn send(&mut self, peer: Peer, descriptor: &Descriptor) {
        self.send_bytes(peer, &descriptor.bytes());
    }

    /// Takes all bytes a peer has received.
    pub(crate) fn read(&mut self, peer: Peer) -> Vec<u8> {
        self.net.take_received(peer)
    }

    /// Takes the first `count` of them.
    pub(crate) fn take(&mut self, peer: Peer, count: usize) -> Vec<u8> {
        self.net.received(peer).drain(..count).collect()
    }

    pub(crate) fn is_closed(&self, peer: Peer) -> bool {
        self.net.is_closed(peer)
    }

    /// Takes the descriptors a peer has received.
    pub(crate) fn receive(&mut self, peer: Peer) -> Vec<Descriptor> {
        let stream = self.net.received(peer);
        let descriptors = take_descriptors(stream).expect("the core sends descriptors");
        assert!(stream.is_empty(), "the core sent a piece of a descriptor");
        descriptors
    }

    /// As [`Bench::receive`], without the servent's own Pings.
    pub(crate) fn receive_asked(&mut self, peer: Peer) -> Vec<Descriptor> {
        let mut received = self.receive(peer);
        received.retain(|d| d.kind != Kind::Ping || d.hops > 0);
        received
    }

    /// The one descriptor a peer has received.
    #[track_caller]
    pub(crate) fn receive_one(&mut self, peer: Peer) -> Descriptor {
        let mut received = self.receive_asked(peer);
        assert_eq!(received.len(), 1, "one descriptor is due: {received:?}");
        received.remove(0)
    }

    /// Only Pings of the servent's own have come, and the link is up.
    #[track_caller]
    pub(crate) fn assert_quiet(&mut self, peer: Peer) {
        assert_eq!(self.receive_asked(peer), []);
        assert!(!self.is_closed(peer), "the link is closed");
    }

    /// A keepalive Ping is answered.
    #[track_caller]
    pub(crate) fn assert_alive(&mut self, peer: Peer) {
        self.assert_quiet(peer);
        self.wait_secs(1);
        let guid = Guid(self.net.fresh_id());
        self.send(peer, &super::descriptor::ping(guid).ttl(1));
        let pong = self.receive_one(peer);
        assert_eq!((pong.kind, pong.guid), (Kind::Pong, guid));
    }
}
