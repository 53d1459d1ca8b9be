//! The machines of a network, each with its node, by number.

use super::node::Node;
use super::wires::End;
use crate::time::Instant;
use std::ops::{Index, IndexMut, Range};

/// A node and its machine.
pub(super) struct Host<N: Node> {
    pub(super) node: N,
    /// By slot.
    pub(super) sockets: Vec<Option<(N::Conn, End)>>,
    /// The earliest wake-up scheduled.
    pub(super) wakes_at: Instant,
    /// Events it has scheduled, modulo 2^32.
    scheduled: u32,
    /// Connections it has dialled.
    pub(super) dials: u32,
    pub(super) state: State,
    /// It reads nothing.
    pub(super) stalled: bool,
    /// It takes no turns.
    pub(super) held: bool,
    /// It is among those that did something lately.
    pub(super) busy: bool,
}

/// The state of a node and its machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The program runs.
    Up,
    /// The program is stopped; its machine still accepts connections.
    Frozen,
    /// The program is gone; its machine refuses connections.
    Down,
    /// The machine is gone: nothing is answered.
    Dark,
}

/// Hosts with successive numbers: all of a network, or those of one shard of it.
pub(super) struct Hosts<N: Node> {
    first: usize,
    here: Vec<Host<N>>,
    /// Nodes of the whole network, if some are elsewhere.
    everywhere: usize,
}

impl<N: Node> Host<N> {
    fn new(node: N) -> Host<N> {
        Host {
            node,
            sockets: Vec::new(),
            wakes_at: Instant::FAR_FUTURE,
            scheduled: 0,
            dials: 0,
            state: State::Up,
            stalled: false,
            held: false,
            busy: false,
        }
    }

    /// Orders what this host, whose number is `number`, schedules: after what it scheduled before,
    /// and apart from all that others schedule, wherever they are.
    pub(super) fn next_key(&mut self, number: usize) -> u64 {
        self.scheduled = self.scheduled.wrapping_add(1);
        (number as u64) << 32 | u64::from(self.scheduled)
    }
}

impl<N: Node> Hosts<N> {
    /// Hosts from the number `first` on, in a network of as many nodes as will be added here, or of
    /// `everywhere` if that is more.
    pub(super) fn new(first: usize, everywhere: usize) -> Hosts<N> {
        Hosts { first, here: Vec::new(), everywhere }
    }

    pub(super) fn add(&mut self, node: N) -> usize {
        self.here.push(Host::new(node));
        self.numbers().end - 1
    }

    pub(super) fn reserve(&mut self, count: usize) {
        self.here.reserve_exact(count);
    }

    /// The numbers of those that are here.
    pub(super) fn numbers(&self) -> Range<usize> {
        self.first..self.first + self.here.len()
    }

    /// Nodes of the whole network.
    pub(super) fn count_everywhere(&self) -> usize {
        self.everywhere.max(self.numbers().end)
    }

    #[inline]
    pub(super) fn get(&self, number: usize) -> Option<&Host<N>> {
        self.here.get(number.wrapping_sub(self.first))
    }

    /// Whether a node is here.
    #[inline]
    pub(super) fn has(&self, number: usize) -> bool {
        number.wrapping_sub(self.first) < self.here.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Host<N>> {
        self.here.iter()
    }
}

impl<N: Node> Index<usize> for Hosts<N> {
    type Output = Host<N>;

    #[inline]
    fn index(&self, number: usize) -> &Host<N> {
        &self.here[number - self.first]
    }
}

impl<N: Node> IndexMut<usize> for Hosts<N> {
    #[inline]
    fn index_mut(&mut self, number: usize) -> &mut Host<N> {
        &mut self.here[number - self.first]
    }
}
