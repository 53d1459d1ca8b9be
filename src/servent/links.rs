//! Links and all other sockets: what each is, which of them stand as links, which have something to
//! send.

use super::connection::{Connection, Link, Origin, PeerInfo, PeerRole, Phase, Standing};
use super::io::ConnId;
use super::link_key::LinkKey;
use super::per_address::PerAddressCount;
use crate::rare::Rare;
use crate::time::Instant;
use crate::wire::Dialect;
use slab::Slab;
use std::collections::{BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};

/// All sockets of a servent.
#[derive(Debug, Default)]
pub(super) struct Links {
    connections: Slab<Connection>,
    next_generation: u32,
    /// Generation of the last link in each slot of the slab, for its [`LinkKey`].
    link_generations: Vec<u16>,
    /// Links that speak 0.4, in an order that only depends on what happened. A flood goes to all of them
    /// as it is.
    plain: Vec<LinkKey>,
    /// Links that speak 0.6, in such an order. What each is sent depends on what it is.
    modern: Rare<Vec<LinkKey>>,
    inbound_by_ip: PerAddressCount,
    /// Connections with bytes to send that are not blocked.
    ready: VecDeque<ConnId>,
    /// Connections whose next step is a piece of a file.
    ready_bulk: Rare<VecDeque<ConnId>>,
}

/// What a connection has to send next.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sending {
    /// Bytes from memory.
    Bytes,
    /// A piece of a file.
    Bulk,
}

impl Links {
    /// Sockets of any kind.
    pub(super) fn len(&self) -> usize {
        self.connections.len()
    }

    /// Established links that speak 0.4.
    #[inline]
    pub(super) fn plain(&self) -> &[LinkKey] {
        &self.plain
    }

    /// Established links that speak 0.6.
    #[inline]
    pub(super) fn modern(&self) -> &[LinkKey] {
        self.modern.get().map_or(&[], Vec::as_slice)
    }

    /// Whether a link that stands speaks 0.4.
    #[inline]
    pub(super) fn is_plain(&self, key: LinkKey) -> bool {
        let is_plain = |link: &Link| link.peer().standing() == Standing::Plain;
        self.modern().is_empty() || self.of(key).and_then(Connection::link).is_some_and(is_plain)
    }

    /// An established link by its place among all of them.
    pub(super) fn established(&self, at: usize) -> Option<LinkKey> {
        let modern = || self.modern().get(at - self.plain.len());
        self.plain.get(at).or_else(modern).copied()
    }

    /// Established links that are no leaves of ours: what `max_links` bounds.
    pub(super) fn neighbours(&self) -> usize {
        self.plain.len() + self.modern().len() - self.leaves()
    }

    /// Leaves of ours.
    pub(super) fn leaves(&self) -> usize {
        let is_leaf = |key: &&LinkKey| {
            let link = self.of(**key).and_then(Connection::link);
            link.is_some_and(|link| link.peer().role == PeerRole::Leaf)
        };
        self.modern().iter().filter(is_leaf).count()
    }

    /// Established links with their ids.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ConnId, &Connection)> {
        self.plain.iter().chain(self.modern()).map(|key| {
            let conn = &self.connections[key.index()];
            (id_of(key.index(), conn), conn)
        })
    }

    /// All sockets.
    pub(super) fn sockets(&self) -> impl Iterator<Item = (ConnId, &Connection)> {
        self.connections.iter().map(|(index, conn)| (id_of(index, conn), conn))
    }

    #[inline]
    pub(super) fn get(&self, id: ConnId) -> Option<&Connection> {
        self.connections.get(id.index()).filter(|conn| conn.generation == id.generation)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, id: ConnId) -> Option<&mut Connection> {
        self.connections.get_mut(id.index()).filter(|conn| conn.generation == id.generation)
    }

    #[inline]
    pub(super) fn link(&self, id: ConnId) -> Option<&Link> {
        match &self.get(id)?.phase {
            Phase::Link(link) => Some(link),
            _ => None,
        }
    }

    #[inline]
    pub(super) fn link_mut(&mut self, id: ConnId) -> Option<&mut Link> {
        match &mut self.get_mut(id)?.phase {
            Phase::Link(link) => Some(link),
            _ => None,
        }
    }

    /// The connection of a link, if it still stands.
    #[inline]
    pub(super) fn of(&self, key: LinkKey) -> Option<&Connection> {
        let conn = self.connections.get(key.index())?;
        match &conn.phase {
            Phase::Link(link) if link.key == key => Some(conn),
            _ => None,
        }
    }

    /// The connection of a link that stands: one of [`Links::established`], or one that
    /// [`Links::of`] has found.
    #[inline]
    pub(super) fn standing_mut(&mut self, key: LinkKey) -> (ConnId, &mut Connection) {
        let conn = &mut self.connections[key.index()];
        (id_of(key.index(), conn), conn)
    }

    /// Holds one more socket; its deadline is to be scheduled by the caller.
    pub(super) fn open(
        &mut self,
        remote: SocketAddrV4,
        local_ip: Ipv4Addr,
        origin: Origin,
        phase: Phase,
        deadline: Instant,
    ) -> ConnId {
        let generation = self.next_generation;
        self.next_generation = self.next_generation.wrapping_add(1);
        if origin == Origin::Inbound {
            self.inbound_by_ip.add(*remote.ip());
        }
        let conn = Connection::new(generation, remote, local_ip, origin, phase, deadline);
        let index = self.connections.insert(conn);
        ConnId { index: slot(index), generation }
    }

    /// Gives a socket up.
    pub(super) fn remove(&mut self, id: ConnId) -> Option<Connection> {
        self.get(id)?;
        let conn = self.connections.remove(id.index());
        if conn.origin == Origin::Inbound {
            self.inbound_by_ip.remove(*conn.remote.ip());
        }
        if let Phase::Link(link) = &conn.phase {
            self.unlink(link.key);
        }
        Some(conn)
    }

    /// A link is none any more; its socket may still be there.
    pub(super) fn unlink(&mut self, gone: LinkKey) {
        self.plain.retain(|key| *key != gone);
        if let Some(modern) = self.modern.get_mut() {
            modern.retain(|key| *key != gone);
        }
    }

    /// Makes a link of a connection whose handshake is complete.
    pub(super) fn establish(
        &mut self,
        now: Instant,
        id: ConnId,
        peer: PeerInfo,
    ) -> Option<LinkKey> {
        self.get(id)?;
        let index = id.index();
        if self.link_generations.len() <= index {
            self.link_generations.resize(index + 1, 0);
        }
        let generation = &mut self.link_generations[index];
        *generation = generation.wrapping_add(1);
        let key = LinkKey::new(id.index, (*generation).into());
        match peer.dialect {
            Dialect::V0_4 => self.plain.push(key),
            Dialect::V0_6 => self.modern.change().push(key),
        }
        self.get_mut(id)?.phase = Phase::Link(Box::new(Link::new(now, key, peer)));
        Some(key)
    }

    /// Inbound sockets of an address.
    pub(super) fn inbound_of(&self, ip: Ipv4Addr) -> usize {
        self.inbound_by_ip.of(ip)
    }

    /// Links, in both directions, with an address.
    pub(super) fn links_with_ip(&self, ip: Ipv4Addr) -> usize {
        self.iter().filter(|(_, conn)| *conn.remote.ip() == ip).count()
    }

    /// A link with the servent that listens at `addr`, dialled by us or not.
    pub(super) fn link_with(&self, addr: SocketAddrV4, dialled: bool) -> Option<ConnId> {
        let with =
            |conn: &Connection| conn.is_dialled() == dialled && conn.listening_addr() == Some(addr);
        self.iter().find(|(_, conn)| with(conn)).map(|(id, _)| id)
    }

    /// Whether a static peer has its link, standing or being dialled: one that we dialled, or the one
    /// of two that stayed.
    pub(super) fn serves_static_peer(&self, addr: SocketAddrV4) -> bool {
        let stands_for_ours = |conn: &Connection| match &conn.phase {
            Phase::Link(link) => link.stands_for_ours && conn.listening_addr() == Some(addr),
            _ => false,
        };
        let dialled = |conn: &Connection| conn.is_dialled() && conn.remote == addr;
        self.connections.iter().any(|(_, conn)| dialled(conn) || stands_for_ours(conn))
    }

    /// Addresses with which there is a connection: dialled, or a neighbour says it listens there.
    pub(super) fn connected_addrs(&self) -> BTreeSet<SocketAddrV4> {
        self.connections.iter().filter_map(|(_, conn)| conn.listening_addr()).collect()
    }

    /// Connections to learnt hosts: all, and those of them that are no links yet.
    pub(super) fn to_learnt_hosts(&self) -> (usize, usize) {
        let learnt = self.connections.iter().filter(|(_, conn)| conn.origin == Origin::Learnt);
        learnt.fold((0, 0), |(all, dialing), (_, conn)| {
            (all + 1, dialing + usize::from(!matches!(conn.phase, Phase::Link(_))))
        })
    }

    /// Links that we dialled to stay, and those on their way.
    pub(super) fn dialled(&self) -> usize {
        let stays = |conn: &Connection| matches!(conn.origin, Origin::Learnt | Origin::Static);
        self.connections.iter().filter(|(_, conn)| stays(conn)).count()
    }

    /// The inbound connection that has been idle for longest: it has not said what it wants, or
    /// uses HTTP without an upload under way (`is_uploading` says which are). HTTP goes first: a
    /// peer that wants a file soon holds a slot.
    pub(super) fn longest_idle(&self, is_uploading: impl Fn(ConnId) -> bool) -> Option<ConnId> {
        let is_idle = |&(id, conn): &(ConnId, &Connection)| {
            conn.origin == Origin::Inbound
                && match &conn.phase {
                    Phase::Accepted(_) | Phase::Handshaking(_) => true,
                    Phase::Upload => !is_uploading(id),
                    _ => false,
                }
        };
        let rank = |(_, conn): &(ConnId, &Connection)| {
            (!matches!(conn.phase, Phase::Upload), conn.deadline)
        };
        self.sockets().filter(is_idle).min_by_key(rank).map(|(id, _)| id)
    }

    /// A connection kept idle for the next file of `servent`.
    pub(super) fn idle_of(&self, servent: crate::wire::ServentId) -> Option<ConnId> {
        let idle = |conn: &Connection| match &conn.phase {
            Phase::Idle(whose) => **whose == servent,
            _ => false,
        };
        self.sockets().find(|(_, conn)| idle(conn)).map(|(id, _)| id)
    }

    /// Connections kept idle for the next file of some servent.
    pub(super) fn idle_count(&self) -> usize {
        self.connections.iter().filter(|(_, conn)| matches!(conn.phase, Phase::Idle(_))).count()
    }

    /// Moves a connection's deadline. If its timer entry comes up too late for it, returns that
    /// entry's moment, which is to be replaced by the deadline.
    pub(super) fn move_deadline(&mut self, id: ConnId, deadline: Instant) -> Option<Instant> {
        let conn = self.get_mut(id)?;
        conn.deadline = deadline;
        (deadline < conn.scheduled).then(|| std::mem::replace(&mut conn.scheduled, deadline))
    }

    /// Lists a connection among those with something to send. It is not listed yet.
    #[inline]
    pub(super) fn list(&mut self, id: ConnId, sending: Sending) {
        match sending {
            Sending::Bytes => self.ready.push_back(id),
            Sending::Bulk => self.ready_bulk.change().push_back(id),
        }
        if let Some(conn) = self.get_mut(id) {
            conn.listed = true;
        }
    }

    /// The next connection in a list.
    #[inline]
    pub(super) fn first_listed(&self, sending: Sending) -> Option<ConnId> {
        match sending {
            Sending::Bytes => self.ready.front().copied(),
            Sending::Bulk => self.ready_bulk.get()?.front().copied(),
        }
    }

    /// Takes the next connection off a list.
    #[inline]
    pub(super) fn unlist_first(&mut self, sending: Sending) {
        let taken = match sending {
            Sending::Bytes => self.ready.pop_front(),
            Sending::Bulk => self.ready_bulk.get_mut().and_then(VecDeque::pop_front),
        };
        if let Some(conn) = taken.and_then(|id| self.get_mut(id)) {
            conn.listed = false;
        }
    }
}

fn id_of(index: usize, conn: &Connection) -> ConnId {
    ConnId { index: slot(index), generation: conn.generation }
}

/// Slab indices stay below `Limits::max_connections`, which is checked to fit 16 bits.
fn slot(index: usize) -> u32 {
    u32::try_from(index).expect("at most 65,535 connections")
}
