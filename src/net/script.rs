//! Scripted peers: connections whose other end is the caller, byte by byte.

use super::hosts::State;
use super::network::Net;
use super::node::{Failure, Node, Observer};
use super::peers::{Listener, Script};
use super::segments::{Payload, Segment};
use super::wires::{End, Holder, Peer, Wire};
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};

impl<N: Node, O: Observer<N>> Net<N, O> {
    /// Opens a connection from `ip` to a node, which accepts or refuses it at once.
    pub fn dial_from(&mut self, ip: Ipv4Addr, node: usize) -> Peer {
        let (wire, peer) = (self.wires.len(), Peer(self.scripts.len()));
        let latency = self.params.latency_of(|| self.rng.next_u64());
        let dial = u32::try_from(wire).expect("fewer than 2,000,000,000 connections");
        self.wires.push(Wire::new([Holder::Peer(peer), Holder::Node(node)], latency, dial));
        self.add_script(ip, End::new(wire, 0));
        if self.hosts[node].state == State::Up {
            self.accept_at(node, End::new(wire, 1));
        }
        peer
    }

    fn add_script(&mut self, ip: Ipv4Addr, end: End) {
        let (wire, side) = (end.wire(), end.side());
        let received = Vec::new();
        self.scripts.push(Script { ip, wire, side, received, reads: true, window: None });
    }

    /// The number of scripted peers so far.
    pub fn peers(&self) -> usize {
        self.scripts.len()
    }

    /// Listens on an address; [`Net::accept_from`] takes the connections.
    pub fn listen(&mut self, addr: SocketAddrV4) {
        self.listeners.insert(addr, Listener::Scripted(VecDeque::new()));
    }

    /// Leaves dials to an address unanswered, as a firewall does.
    pub fn swallow(&mut self, addr: SocketAddrV4) {
        self.listeners.insert(addr, Listener::Silent);
    }

    /// The next connection to a scripted listener.
    pub fn accept_from(&mut self, addr: SocketAddrV4) -> Option<Peer> {
        match self.listeners.get_mut(&addr) {
            Some(Listener::Scripted(waiting)) => waiting.pop_front(),
            _ => None,
        }
    }

    /// A dial to where no node is. `None` when it is not answered.
    pub(super) fn accept_by_script(&mut self, end: End) -> Option<Result<(), Failure>> {
        let (wire, peer) = (end.wire(), Peer(self.scripts.len()));
        let addr = *self.dialled.get(&wire)?;
        let accepted = match self.listeners.get_mut(&addr) {
            Some(Listener::Scripted(waiting)) => {
                waiting.push_back(peer);
                true
            }
            Some(Listener::Silent) => return None,
            Some(Listener::Node(_)) | None => false,
        };
        self.dialled.remove(&wire);
        if !accepted {
            return Some(Err(Failure::Refused));
        }
        self.wires[wire].set_holder(end.side(), Holder::Peer(peer));
        self.add_script(*addr.ip(), end);
        Some(Ok(()))
    }

    /// The dials that have no answer, by wire, in the order they were made.
    pub fn unanswered(&self) -> Vec<usize> {
        let open = |wire: &usize| self.wires[*wire].conns[0].is_some();
        self.dialled.keys().copied().filter(open).collect()
    }

    /// Answers such a dial at once: a scripted peer accepts it, or it fails.
    pub fn answer(&mut self, wire: usize, fails: Option<Failure>) -> Option<Peer> {
        let addr = self.dialled.remove(&wire)?;
        let end = End::new(wire, 0);
        if let Some(failure) = fails {
            self.ended(end, failure);
            return None;
        }
        let peer = Peer(self.scripts.len());
        self.wires[wire].set_holder(1, Holder::Peer(peer));
        self.add_script(*addr.ip(), end.other());
        self.connected(end);
        Some(peer)
    }

    fn end_of_peer(&self, peer: Peer) -> End {
        End::new(self.scripts[peer.0].wire, self.scripts[peer.0].side)
    }

    /// Sends bytes, however full the window is.
    pub fn write(&mut self, peer: Peer, bytes: &[u8]) {
        let end = self.end_of_peer(peer);
        self.send(end, Payload::new(bytes));
    }

    /// All bytes a scripted peer has read, to be looked at or taken.
    pub fn received(&mut self, peer: Peer) -> &mut Vec<u8> {
        &mut self.scripts[peer.0].received
    }

    /// Whether the node has closed the connection, or refused it.
    pub fn is_closed(&self, peer: Peer) -> bool {
        let end = self.end_of_peer(peer).other();
        self.wires[end.wire()].conns[end.side()].is_none()
    }

    /// Closes the sending side. What the node still says is read.
    pub fn hang_up(&mut self, peer: Peer) {
        self.finish(self.end_of_peer(peer), Segment::End);
    }

    /// Closes the connection with a reset, which arrives behind what was sent before.
    pub fn abort(&mut self, peer: Peer) {
        self.finish(self.end_of_peer(peer), Segment::Reset);
    }

    /// Ends a connection as the node sees it, at once.
    pub fn sever(&mut self, peer: Peer) {
        let end = self.end_of_peer(peer).other();
        let wire = &mut self.wires[end.wire()];
        self.lost += wire.kill(&mut self.segments);
        if let (Some(node), Some(conn)) = (wire.node(end.side()), wire.conns[end.side()].take()) {
            self.hosts[node].node.handle_closed(self.now, conn, Failure::Reset);
            self.turn(node);
        }
    }

    /// A peer is gone; the node learns of it when it sends something.
    pub fn vanish(&mut self, peer: Peer) {
        let wire = self.scripts[peer.0].wire;
        self.lost += self.wires[wire].kill(&mut self.segments);
    }

    /// A scripted peer leaves what arrives unread from now on, or reads it.
    pub fn set_reading(&mut self, peer: Peer, reads: bool) {
        let script = &mut self.scripts[peer.0];
        script.reads = reads;
        if reads {
            script.window = None;
            self.read(self.end_of_peer(peer));
        }
    }

    /// A scripted peer reads nothing more, and its socket takes `bytes` more until it is full.
    pub fn take_up_to(&mut self, peer: Peer, bytes: usize) {
        let end = self.end_of_peer(peer).other();
        let unread = self.wires[end.wire()].directions[end.side()].unread_bytes();
        let script = &mut self.scripts[peer.0];
        (script.reads, script.window) = (false, Some(unread.saturating_add(bytes)));
    }
}
