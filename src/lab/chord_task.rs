//! The circle of [`super::chord`]: identifiers, nodes on it, and the iterative search for the owner of a
//! key.

use super::identifier::Peer;
use super::message::Head;
use super::relay::ANSWER_TIMEOUT;
use crate::time::Instant;

/// Nodes asked at most; a right circle of any size needs far fewer.
const MAX_HOPS: usize = 100;

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
    candidates: Vec<Peer>,
    /// Nodes to ask when there is no candidate left.
    spare: Vec<Peer>,
    asked: Vec<Peer>,
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
            spare: Vec::new(),
            asked: Vec::new(),
            owners: None,
            waits_for: None,
        }
    }

    pub(super) fn add(&mut self, candidates: Vec<Peer>, spare: Vec<Peer>) {
        self.candidates.extend(candidates);
        self.spare.extend(spare);
    }

    /// The node closest before the key that was not asked; `None` gives up.
    pub(super) fn next(&self) -> Option<Peer> {
        let closest = |peers: &[Peer]| {
            let new = peers.iter().filter(|peer| !self.asked.contains(peer));
            new.min_by_key(|peer| self.key.wrapping_sub(peer.id)).copied()
        };
        let next = closest(&self.candidates).or_else(|| closest(&self.spare));
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
        match &mut self.owners {
            Some(owners) => owners.retain(|owner| *owner != dead),
            None => self.hops -= 1,
        }
        Some(dead)
    }
}
