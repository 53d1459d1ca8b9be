//! The circle of [`super::chord`]: identifiers, nodes on it, and the iterative search for the owner of a
//! key.

use super::identifier::Peer;
use super::message::Head;
use super::relay::ANSWER_TIMEOUT;
use crate::time::Instant;
use std::net::SocketAddrV4;

/// Nodes asked at most; a right circle of any size needs far fewer.
const MAX_HOPS: usize = 40;

/// What the owner is looked for.
#[derive(Clone, Debug)]
pub(super) enum Goal {
    /// To become its predecessor.
    Join,
    /// To be the finger of this power of two.
    Finger(u32),
    /// To be told that this node has a file.
    Publish(String),
    /// To be asked for a file.
    LookUp(String),
}

/// A search for the owner of a key.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) goal: Goal,
    pub(super) key: u64,
    pub(super) head: Head,
    /// Nodes asked.
    pub(super) hops: usize,
    /// The node to ask first, whether or not it lies before the key.
    pub(super) hint: Option<Peer>,
    /// Nodes that may be asked.
    pub(super) candidates: Vec<Peer>,
    /// Nodes asked since the last one that did not answer.
    asked: Vec<Peer>,
    /// Nodes that did not answer. They are named in questions, so a node is worth asking again when
    /// there is a new one.
    pub(super) dead: Vec<SocketAddrV4>,
    /// The owner and those after it, once they are known.
    pub(super) owners: Option<Vec<Peer>>,
    /// The node asked last, and until when it may answer.
    pub(super) waits_for: Option<(Peer, Instant)>,
}

impl Task {
    pub(super) fn new(goal: Goal, key: u64, head: Head) -> Task {
        Task {
            goal,
            key,
            head,
            hops: 0,
            hint: None,
            candidates: Vec::new(),
            asked: Vec::new(),
            dead: Vec::new(),
            owners: None,
            waits_for: None,
        }
    }

    /// The candidate closest before the key; `None` gives up.
    pub(super) fn next(&self) -> Option<Peer> {
        let may_answer =
            |peer: &&Peer| !self.asked.contains(peer) && !self.dead.contains(&peer.addr);
        let next = self.candidates.iter().filter(may_answer);
        let next = next.min_by_key(|peer| self.key.wrapping_sub(peer.id)).copied();
        next.filter(|_| self.hops < MAX_HOPS)
    }

    pub(super) fn ask(&mut self, peer: Peer, now: Instant) {
        self.asked.push(peer);
        self.hops += 1;
        self.waits_for = Some((peer, now + ANSWER_TIMEOUT));
    }

    pub(super) fn is_late(&self, now: Instant) -> bool {
        self.waits_for.is_some_and(|(_, until)| until <= now)
    }

    /// Passes by the node that did not answer, and returns it.
    pub(super) fn give_up(&mut self) -> Option<Peer> {
        let (dead, _) = self.waits_for.take()?;
        self.dead.push(dead.addr);
        self.asked.clear();
        match &mut self.owners {
            Some(owners) => owners.retain(|owner| *owner != dead),
            None => self.hops -= 1,
        }
        Some(dead)
    }
}
