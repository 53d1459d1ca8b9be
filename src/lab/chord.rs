//! `chord`: a distributed hash table on a circle of identifiers (Stoica et al. 2001).
//!
//! A node's identifier is the SHA-1 of its address, a file's key that of its name, both cut to 64
//! bits. The first node at or after a key on the circle owns it and holds the names and holders
//! published under it. So only whole names can be found, and the owners of a key learn who searches it.
//!
//! Each node knows its predecessor, [`SUCCESSORS`] successors and, for each power of two, the owner of
//! the identifier that far ahead (a finger). A lookup is iterative: the searcher asks ever closer
//! predecessors of the key until one names the owner. Every [`ROUND`] a node stabilises with its
//! successor and looks a few fingers up, each first at the node that it was; files are published anew
//! every minute. The successors of an owner keep copies of its keys, and a new predecessor gets those
//! that are now its own at once.

use super::chord_task::{Goal, Task};
use super::directory::answered;
use super::host::{Held, Host, Io, System, Wanted};
use super::identifier::{Peer, is_within, key_of};
use super::judge::Verdict;
use super::keys::{Keys, PUBLISH_INTERVAL};
use super::message::{Fields, Head, Purpose, Reader};
use super::relay::ANSWER_TIMEOUT;
use crate::time::Instant;
use crate::wire::Guid;
use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

/// Successors a node knows: all of them die with probability 0.3^8 where 30 % die.
const SUCCESSORS: usize = 8;

/// Time between two stabilisations.
const ROUND: Duration = Duration::from_secs(10);

/// Rounds between two publications of a node's files.
const PUBLISH_ROUNDS: u64 = PUBLISH_INTERVAL.as_secs() / ROUND.as_secs();

/// Fingers looked up in a round: all that differ come by within five rounds at 10,000 nodes.
const FINGERS_PER_ROUND: u8 = 3;

/// A newcomer that has no place by then tries again.
const JOIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Rounds after which a predecessor that said nothing is taken for dead.
const SILENT_ROUNDS: u32 = 3;

/// Closer nodes named in the answer to FIND, so that dead ones can be passed by.
const CANDIDATES: usize = 4;

/// Bytes of an identifier and an address.
const PEER_BYTES: usize = 14;

/// The first byte of a message.
mod op {
    pub(super) const FIND: u8 = 0;
    pub(super) const CLOSER: u8 = 1;
    pub(super) const OWNER: u8 = 2;
    pub(super) const GET: u8 = 3;
    pub(super) const COPIES: u8 = 4;
    pub(super) const PUT: u8 = 5;
    /// Names and holders to keep.
    pub(super) const STORE: u8 = 6;
    pub(super) const STABILISE: u8 = 7;
    pub(super) const STABILISED: u8 = 8;
    pub(super) const NOTIFY: u8 = 9;
}

/// What a node knows of the owner of a key.
enum Known {
    /// The owner and those after it.
    Owner(Vec<Peer>),
    /// Fingers and the successor, as far as they lie before the key, the closest to it first.
    Closer(Vec<Peer>),
}

/// See the module documentation.
pub(super) struct Chord {
    files: Arc<[String]>,
    own: Peer,
    replicas: usize,
    /// The node it was told, and when to try again to join through it: as long as it has no place.
    known: Option<Peer>,
    joining: Option<Instant>,
    predecessor: Option<(Peer, Instant)>,
    successors: Vec<Peer>,
    fingers: [Option<Peer>; 64],
    next_finger: u32,
    /// Fingers still to be looked up in this round.
    fingers_due: u8,
    keys: Keys,
    tasks: BTreeMap<usize, Task>,
    next_task: usize,
    /// The successor asked to stabilise, and until when it may answer.
    stabilising: Option<(Peer, Instant)>,
    round_at: Instant,
    rounds: u64,
}

impl Chord {
    /// A node with these files, where each key is kept by `replicas` nodes.
    pub(super) fn new(files: Arc<[String]>, addr: SocketAddrV4, replicas: usize) -> Chord {
        Chord {
            files,
            own: Peer::new(addr),
            replicas,
            known: None,
            joining: None,
            predecessor: None,
            successors: Vec::new(),
            fingers: [None; 64],
            next_finger: 0,
            fingers_due: 0,
            keys: Keys::default(),
            tasks: BTreeMap::new(),
            next_task: 0,
            stabilising: None,
            round_at: Instant::ZERO,
            rounds: 0,
        }
    }

    /// The first live node that does not know the successors or fingers that it should.
    fn wrong(nodes: &[&Chord]) -> Option<String> {
        let mut peers: Vec<Peer> = nodes.iter().map(|node| node.own).collect();
        peers.sort_unstable();
        let owner = |key| peers[peers.partition_point(|peer| peer.id < key) % peers.len()];
        nodes.iter().find_map(|node| {
            let addr = node.own.addr;
            let after = (1..peers.len()).scan(node.own, |last, _| {
                *last = owner(last.id.wrapping_add(1));
                Some(*last)
            });
            if !after.take(SUCCESSORS).eq(node.successors.iter().copied()) {
                return Some(format!("the successors of {addr} are not those after it"));
            }
            let wrong = (0..64)
                .find(|&power| node.fingers[power as usize] != Some(owner(node.start_of(power))));
            wrong.map(|power| format!("finger {power} of {addr} is not the owner of its start"))
        })
    }

    /// What it knows of the owner of a key, leaving out nodes that are known to be dead.
    fn look_for(&self, key: u64, dead: &[SocketAddrV4]) -> Known {
        let is_live = |peer: &&Peer| !dead.contains(&peer.addr);
        let successors: Vec<Peer> = self.successors.iter().filter(is_live).copied().collect();
        let Some(successor) = successors.first() else { return Known::Owner(vec![self.own]) };
        if self.predecessor.is_some_and(|(peer, _)| is_within(key, peer.id, self.own.id)) {
            return Known::Owner([self.own].into_iter().chain(successors).collect());
        }
        if is_within(key, self.own.id, successor.id) {
            return Known::Owner(successors);
        }
        let before_key = |peer: &&Peer| is_within(peer.id, self.own.id, key.wrapping_sub(1));
        let fingers = self.fingers.iter().flatten().filter(is_live).chain([successor]);
        let mut closer: Vec<Peer> = fingers.filter(before_key).copied().collect();
        closer.dedup();
        closer.sort_by_key(|peer| key.wrapping_sub(peer.id));
        closer.dedup();
        closer.truncate(CANDIDATES);
        Known::Closer(closer)
    }

    /// Adds to a task what this node knows itself.
    fn look_here(&self, task: &mut Task) {
        match self.look_for(task.key, &task.dead) {
            Known::Owner(owners) => task.owners = Some(owners),
            Known::Closer(closer) => task.candidates.extend(closer),
        }
    }

    /// Starts to look for the owner of a key.
    fn start(&mut self, goal: Goal, key: u64, (purpose, guid): (Purpose, Guid), io: &mut Io) {
        let number = self.next_task;
        self.next_task += 1;
        let mut task = Task::new(goal, key, Head::new(purpose, guid));
        self.look_here(&mut task);
        if let Goal::Finger(power) = task.goal {
            task.hint = self.fingers[power as usize];
        }
        self.tasks.insert(number, task);
        self.advance(number, io);
    }

    /// The next step of a task: asks a closer node, or does with the owner what it is for.
    fn advance(&mut self, number: usize, io: &mut Io) {
        let Some(mut task) = self.tasks.remove(&number) else { return };
        let Some(owners) = task.owners.clone() else {
            let Some(peer) = task.hint.take().or_else(|| task.next()) else { return };
            task.ask(peer, io.now);
            let fields = Fields::new().byte(op::FIND).number(number).id(task.key);
            let fields = fields.addrs(task.dead.iter().copied());
            io.send(peer.addr, task.head, &fields);
            io.wake_after(ANSWER_TIMEOUT);
            self.tasks.insert(number, task);
            return;
        };
        let Some(&owner) = owners.first() else { return };
        match &task.goal {
            Goal::Join => {
                // Others may know this node from an earlier life.
                self.successors = owners;
                self.successors.retain(|peer| *peer != self.own);
                self.successors.truncate(SUCCESSORS);
                if self.joining.is_some() && !self.successors.is_empty() {
                    self.joining = None;
                    self.stabilise(io);
                    self.publish(Purpose::Publish, io);
                }
            }
            Goal::Finger(power) => {
                self.set_finger(*power, owner);
                self.fix_finger(io);
            }
            Goal::Publish(name) if owner == self.own => self.keep(name, io.own, task.head, io),
            Goal::Publish(name) => {
                let fields = Fields::new().byte(op::PUT).text(name);
                io.send(owner.addr, task.head, &fields);
            }
            Goal::LookUp(name) if owner == self.own => {
                let holders = self.keys.holders(name);
                if !holders.is_empty() {
                    io.found(task.head.guid, name, holders, task.hops);
                }
            }
            Goal::LookUp(name) => {
                io.send(
                    owner.addr,
                    task.head,
                    &Fields::new().byte(op::GET).number(number).text(name),
                );
                io.wake_after(ANSWER_TIMEOUT);
                task.waits_for = Some((owner, io.now + ANSWER_TIMEOUT));
                self.tasks.insert(number, task);
            }
        }
    }

    /// The finger of this power, and those between it and its owner, which have the same.
    fn set_finger(&mut self, power: u32, owner: Peer) {
        for power in power..64 {
            if !is_within(self.start_of(power), self.own.id, owner.id) {
                break;
            }
            self.fingers[power as usize] = Some(owner);
            self.next_finger = power + 1;
        }
    }

    fn start_of(&self, power: u32) -> u64 {
        self.own.id.wrapping_add(1 << power)
    }

    /// Looks up the next finger that lies beyond the successor, if one is due.
    fn fix_finger(&mut self, io: &mut Io) {
        let Some(due) = self.fingers_due.checked_sub(1) else { return };
        self.fingers_due = due;
        let Some(&successor) = self.successors.first() else { return };
        if self.next_finger >= 64 {
            self.next_finger = 0;
        }
        if is_within(self.start_of(self.next_finger), self.own.id, successor.id) {
            self.set_finger(self.next_finger, successor);
        }
        if self.next_finger < 64 {
            let power = self.next_finger;
            let what = (Purpose::Upkeep, Guid::default());
            self.start(Goal::Finger(power), self.start_of(power), what, io);
        }
    }

    /// Asks the successor for its predecessor and successors, unless it has just been asked.
    fn stabilise(&mut self, io: &mut Io) {
        if self.stabilising.is_some() {
            return;
        }
        let Some(&successor) = self.successors.first() else { return };
        self.stabilising = Some((successor, io.now + ANSWER_TIMEOUT));
        io.tell(successor.addr, Purpose::Upkeep, &Fields::new().byte(op::STABILISE));
        io.wake_after(ANSWER_TIMEOUT);
    }

    /// The successor answers with its predecessor, itself and those after it.
    fn stabilised(
        &mut self,
        from: SocketAddrV4,
        mut fields: Reader<'_>,
        io: &mut Io,
    ) -> Option<()> {
        let (successor, _) = self.stabilising.take_if(|(asked, _)| asked.addr == from)?;
        let predecessor = fields.byte()?.eq(&1).then(|| fields.addr().map(Peer::new)).flatten();
        let between = predecessor.filter(|peer| {
            *peer != self.own && *peer != successor && is_within(peer.id, self.own.id, successor.id)
        });
        let after: Vec<Peer> = fields.addrs()?.into_iter().map(Peer::new).collect();
        let all = between.into_iter().chain([successor]).chain(after);
        self.successors = all.take_while(|peer| *peer != self.own).take(SUCCESSORS).collect();
        match between {
            Some(_) => self.stabilise(io),
            None => io.tell(from, Purpose::Upkeep, &Fields::new().byte(op::NOTIFY)),
        }
        Some(())
    }

    /// A node says that it is the predecessor. If it is, it gets the keys that are now its own.
    fn notified(&mut self, peer: Peer, io: &mut Io) {
        if self.successors.is_empty() {
            self.successors.push(peer);
        }
        let is_new = match self.predecessor {
            Some((known, _)) if known == peer => false,
            Some((known, _)) => is_within(peer.id, known.id, self.own.id),
            None => true,
        };
        let is_known = self.predecessor.is_some_and(|(known, _)| known == peer);
        if is_new || is_known {
            self.predecessor = Some((peer, io.now));
        }
        if is_new {
            let own = self.own.id;
            let is_its = |key| !is_within(key, peer.id, own);
            for fields in self.keys.fields_of(&Fields::new().byte(op::STORE), is_its) {
                io.tell(peer.addr, Purpose::Upkeep, &fields);
            }
        }
    }

    /// Keeps a name whose key is its own, here and at the successors.
    fn keep(&mut self, name: &str, holder: SocketAddrV4, head: Head, io: &mut Io) {
        self.keys.put(name, holder, io.now);
        let store = Fields::new().byte(op::STORE).text(name).addrs([holder].into_iter());
        for successor in self.successors.iter().take(self.replicas.saturating_sub(1)) {
            io.tell(successor.addr, head.purpose, &store);
        }
    }

    fn publish(&mut self, purpose: Purpose, io: &mut Io) {
        for name in Arc::clone(&self.files).iter() {
            let (goal, key) = (Goal::Publish(name.clone()), key_of(name));
            self.start(goal, key, (purpose, Guid::default()), io);
        }
    }

    fn forget(&mut self, dead: Peer) {
        self.successors.retain(|peer| *peer != dead);
        for finger in self.fingers.iter_mut().filter(|finger| **finger == Some(dead)) {
            *finger = None;
        }
        self.predecessor.take_if(|(peer, _)| *peer == dead);
        if self.successors.is_empty() {
            // The next node ahead that is known; stabilising goes back from there.
            self.successors.extend(self.fingers.iter().flatten().next());
            self.successors.extend(self.predecessor.map(|(peer, _)| peer));
            self.successors.truncate(1);
        }
    }

    fn answer_find(
        &mut self,
        from: SocketAddrV4,
        head: Head,
        mut fields: Reader<'_>,
        io: &mut Io,
    ) -> Option<()> {
        let (number, key, dead) = (fields.number()?, fields.id()?, fields.addrs()?);
        if self.successors.first().is_some_and(|peer| dead.contains(&peer.addr)) {
            self.stabilise(io);
        }
        let (code, peers) = match self.look_for(key, &dead) {
            Known::Owner(owners) => (op::OWNER, owners),
            Known::Closer(closer) => (op::CLOSER, closer),
        };
        let purpose = if head.purpose == Purpose::Lookup { Purpose::Answer } else { head.purpose };
        let fields = Fields::new().byte(code).number(number);
        let fields = fields.addrs(peers.iter().map(|peer| peer.addr));
        io.send(from, Head::new(purpose, head.guid), &fields);
        Some(())
    }

    /// What was asked for a task is answered.
    fn answered(
        &mut self,
        code: u8,
        from: SocketAddrV4,
        mut fields: Reader<'_>,
        io: &mut Io,
    ) -> Option<()> {
        let number = fields.number()?;
        let task = self.tasks.get_mut(&number)?;
        task.waits_for.take_if(|(peer, _)| peer.addr == from)?;
        if code == op::COPIES {
            let task = self.tasks.remove(&number)?;
            let (Goal::LookUp(name), holders) = (&task.goal, fields.addrs()?) else { return None };
            if !holders.is_empty() {
                io.found(task.head.guid, name, holders, task.hops);
            }
            return Some(());
        }
        let peers: Vec<Peer> = fields.addrs()?.into_iter().map(Peer::new).collect();
        match code {
            op::OWNER => task.owners = Some(peers),
            _ => task.candidates.extend(peers),
        }
        self.advance(number, io);
        Some(())
    }

    fn send_join(&mut self, io: &mut Io) {
        self.joining = Some(io.now + JOIN_TIMEOUT);
        io.wake_after(JOIN_TIMEOUT);
        let number = self.next_task;
        self.next_task += 1;
        let head = Head::new(Purpose::Join, Guid::default());
        let mut task = Task::new(Goal::Join, self.own.id, head);
        task.candidates.extend(self.known);
        self.tasks.insert(number, task);
        self.advance(number, io);
    }

    fn round(&mut self, io: &mut Io) {
        self.round_at = io.now + ROUND;
        self.rounds += 1;
        let silent = ROUND * SILENT_ROUNDS;
        self.predecessor.take_if(|(_, heard)| io.now.since(*heard) > silent);
        self.stabilise(io);
        self.fingers_due = FINGERS_PER_ROUND;
        self.fix_finger(io);
        if self.rounds.is_multiple_of(PUBLISH_ROUNDS) {
            self.keys.expire(io.now);
            self.publish(Purpose::Upkeep, io);
        }
        io.wake_after(ROUND);
    }
}

/// The rule of a settled network: successors and fingers are the right ones.
pub(super) fn rule(live: &[(usize, &Host<Chord>)]) -> Verdict {
    let nodes: Vec<&Chord> = live.iter().map(|(_, host)| host.system()).collect();
    Chord::wrong(&nodes).map_or(Ok(()), Err)
}

impl System for Chord {
    fn join(&mut self, known: &[SocketAddrV4], io: &mut Io) {
        // Rounds of nodes that join together are spread.
        let first = ROUND / 1_000 * u32::try_from(1 + io.rng.below(1_000)).unwrap_or(1);
        self.round_at = io.now + first;
        io.wake_after(first);
        match known.first() {
            None => self.publish(Purpose::Publish, io),
            Some(&addr) => {
                self.known = Some(Peer::new(addr));
                self.send_join(io);
            }
        }
    }

    fn look_up(&mut self, wanted: &Wanted, io: &mut Io) {
        if self.joining.is_some() {
            return;
        }
        let key = key_of(&wanted.text);
        self.start(Goal::LookUp(wanted.text.clone()), key, (Purpose::Lookup, wanted.guid), io);
    }

    fn message(
        &mut self,
        from: SocketAddrV4,
        head: Head,
        mut fields: Reader<'_>,
        io: &mut Io,
    ) -> Option<()> {
        match fields.byte()? {
            // Without a place it knows nothing that helps others.
            op::FIND | op::GET | op::PUT | op::STABILISE | op::NOTIFY if self.joining.is_some() => {
                return None;
            }
            op::FIND => self.answer_find(from, head, fields, io)?,
            op::GET => {
                let (number, name) = (fields.number()?, fields.text()?);
                let answer = Fields::new().byte(op::COPIES).number(number);
                let answer = answer.addrs(self.keys.holders(name).into_iter());
                io.send(from, Head::new(Purpose::Answer, head.guid), &answer);
            }
            op::PUT => self.keep(fields.text()?, from, head, io),
            op::STORE => {
                for (name, holders) in answered(fields) {
                    holders.into_iter().for_each(|holder| self.keys.put(name, holder, io.now));
                }
            }
            op::STABILISE => {
                let answer = Fields::new().byte(op::STABILISED);
                let answer = match self.predecessor {
                    Some((peer, _)) => answer.byte(1).addr(peer.addr),
                    None => answer.byte(0),
                };
                let answer = answer.addrs(self.successors.iter().map(|peer| peer.addr));
                io.tell(from, Purpose::Upkeep, &answer);
            }
            op::STABILISED => self.stabilised(from, fields, io)?,
            op::NOTIFY => self.notified(Peer::new(from), io),
            code => self.answered(code, from, fields, io)?,
        }
        Some(())
    }

    fn timeout(&mut self, io: &mut Io) {
        if let Some((dead, _)) = self.stabilising.take_if(|(_, until)| *until <= io.now) {
            self.forget(dead);
            self.stabilise(io);
        }
        let late = self.tasks.iter().filter(|(_, task)| task.is_late(io.now));
        for number in late.map(|(&number, _)| number).collect::<Vec<_>>() {
            let Some(mut task) = self.tasks.remove(&number) else { continue };
            if let Some(dead) = task.give_up() {
                self.forget(dead);
            }
            if task.owners.is_none() && self.joining.is_none() {
                self.look_here(&mut task);
            }
            self.tasks.insert(number, task);
            self.advance(number, io);
        }
        if self.joining.is_some_and(|until| until <= io.now) {
            self.send_join(io);
        }
        if self.round_at <= io.now {
            self.round(io);
        }
        io.wake_after(self.round_at.since(io.now));
        if let Some(until) = self.joining {
            io.wake_after(until.since(io.now));
        }
    }

    fn state(&self) -> Held {
        let mut peers: Vec<u64> = self.fingers.iter().flatten().map(|peer| peer.id).collect();
        peers.extend(self.successors.iter().map(|peer| peer.id));
        peers.extend(self.predecessor.iter().map(|(peer, _)| peer.id));
        peers.sort_unstable();
        peers.dedup();
        Held::new(peers.len(), PEER_BYTES).and(self.keys.state())
    }
}

#[cfg(test)]
mod tests {
    use super::super::host::Participant;
    use super::*;
    use crate::net::{LinkParams, Net};
    use crate::rng::Rng;

    #[test]
    fn fingers_and_keys_come_right_by_themselves() {
        const NODES: u32 = 60;
        let first: SocketAddrV4 = "10.0.0.1:6346".parse().unwrap();
        let params = LinkParams::even(Duration::from_millis(20));
        let mut net = Net::new(first, params, Rng::new(2), ());
        let mut addrs = Vec::new();
        for node in 0..NODES {
            let addr = SocketAddrV4::new((u32::from(*first.ip()) + node).into(), 6346);
            let files = Arc::new([format!("striped zebra {node}")]);
            let number =
                net.add(Host::new(Chord::new(files, addr, 3), addr, Rng::new(node.into())));
            let now = net.now();
            net.node_mut(number).join(now, &addrs[..addrs.len().min(1)]);
            net.turn(number);
            addrs.push(addr);
        }
        let until = net.now() + ROUND * 60;
        net.run(until, until);
        let all: Vec<&Chord> = (0..addrs.len()).map(|node| net.node(node).system()).collect();
        assert_eq!(Chord::wrong(&all), None);
        assert!(Chord::wrong(&all[1..]).is_some(), "others know the one left out");
        let mut peers: Vec<Peer> = addrs.iter().map(|&addr| Peer::new(addr)).collect();
        peers.sort_unstable();
        for (number, addr) in addrs.iter().enumerate() {
            let name = format!("striped zebra {number}");
            let first = peers.partition_point(|peer| peer.id < key_of(&name));
            for place in first..first + 3 {
                let keeper = peers[place % peers.len()].addr;
                let keeper = addrs.iter().position(|&addr| addr == keeper).unwrap();
                assert_eq!(all[keeper].keys.holders(&name), [*addr], "{name}");
            }
        }
    }
}
