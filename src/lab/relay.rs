//! Recursive routing: messages passed from node to node towards the owner of a key.
//!
//! Datagrams say nothing of a dead receiver, so each node acknowledges what it is passed, and a
//! message is kept until then. Without an acknowledgement its sender forgets the receiver and passes
//! the message elsewhere. Acknowledgements count as messages of what they acknowledge.

use super::directory::answered;
use super::host::Io;
use super::keys::Keys;
use super::message::{Fields, Head, Purpose, Reader};
use crate::time::Instant;
use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::time::Duration;

/// A node that has not answered by then is taken for dead. There and back takes 0.2 s at most.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);

/// The first byte of a message; those of systems begin at [`op::OWN`].
pub(super) mod op {
    pub(in super::super) const ROUTE: u8 = 0;
    pub(in super::super) const ACK: u8 = 1;
    /// The holders of a name, for its searcher.
    pub(in super::super) const COPIES: u8 = 2;
    /// Names and holders to keep.
    pub(in super::super) const STORE: u8 = 3;
    pub(in super::super) const OWN: u8 = 4;
}

/// What is to be done at the owner of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Errand {
    /// To name the holders of a file.
    LookUp,
    /// To learn that the origin has a file.
    Publish,
    /// To give the origin its place.
    Join,
    /// To give the origin a part of the zone of the node it is passed to.
    Split,
}

impl Errand {
    const ALL: [Errand; 4] = [Errand::LookUp, Errand::Publish, Errand::Join, Errand::Split];
}

/// A message to the owner of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Routed {
    pub(super) errand: Errand,
    pub(super) key: u64,
    /// The node that it serves.
    pub(super) origin: SocketAddrV4,
    /// The name of the file it is about, if any.
    pub(super) name: String,
}

impl Routed {
    /// Its fields, without the byte in front.
    pub(super) fn read(fields: &mut Reader<'_>) -> Option<Routed> {
        let errand = *Errand::ALL.get(usize::from(fields.byte()?))?;
        let (key, origin, name) = (fields.id()?, fields.addr()?, fields.text()?.to_owned());
        Some(Routed { errand, key, origin, name })
    }
}

/// Answers a lookup at the owner of its key.
pub(super) fn answer(keys: &Keys, head: Head, routed: &Routed, io: &mut Io) {
    let (name, holders) = (&routed.name, keys.holders(&routed.name));
    if routed.origin != io.own {
        let answer = Head { purpose: Purpose::Answer, ..head };
        let fields = Fields::new().byte(op::COPIES).text(name).addrs(holders.into_iter());
        io.send(routed.origin, answer, &fields);
    } else if !holders.is_empty() {
        io.found(head.guid, name, holders, head.hops.into());
    }
}

/// Keeps a name that was published, here and at some other nodes.
pub(super) fn keep(
    keys: &mut Keys,
    purpose: Purpose,
    routed: &Routed,
    others: impl Iterator<Item = SocketAddrV4>,
    io: &mut Io,
) {
    keys.put(&routed.name, routed.origin, io.now);
    let store = Fields::new().byte(op::STORE).text(&routed.name);
    let store = store.addrs([routed.origin].into_iter());
    others.for_each(|other| io.tell(other, purpose, &store));
}

/// Takes in the messages that [`answer`] and [`keep`] send.
pub(super) fn taken(
    keys: &mut Keys,
    (code, head): (u8, Head),
    fields: Reader<'_>,
    io: &mut Io,
) -> Option<()> {
    for (name, holders) in answered(fields) {
        match code {
            op::COPIES if holders.is_empty() => {}
            op::COPIES => io.found(head.guid, name, holders, head.hops.into()),
            op::STORE => holders.into_iter().for_each(|holder| keys.put(name, holder, io.now)),
            _ => return None,
        }
    }
    Some(())
}

/// A message that is not acknowledged yet.
#[derive(Debug)]
struct Unacknowledged {
    to: SocketAddrV4,
    until: Instant,
    head: Head,
    routed: Routed,
}

/// The messages that a node has passed on; see the module documentation.
#[derive(Debug, Default)]
pub(super) struct Relay {
    /// By number. All have the same time, so the first is due first.
    passed: BTreeMap<usize, Unacknowledged>,
    next: usize,
}

impl Relay {
    /// Passes a message one link on.
    pub(super) fn pass(&mut self, to: SocketAddrV4, head: Head, routed: Routed, io: &mut Io) {
        let number = self.next;
        self.next += 1;
        let Routed { errand, key, origin, name } = &routed;
        let fields = Fields::new().byte(op::ROUTE).number(number).byte(*errand as u8);
        let next = Head { hops: head.hops.saturating_add(1), ..head };
        io.send(to, next, &fields.id(*key).addr(*origin).text(name));
        io.wake_after(ANSWER_TIMEOUT);
        let until = io.now + ANSWER_TIMEOUT;
        self.passed.insert(number, Unacknowledged { to, until, head, routed });
    }

    /// Reads a message passed here and acknowledges it.
    pub(super) fn take(
        from: SocketAddrV4,
        head: Head,
        fields: &mut Reader<'_>,
        io: &mut Io,
    ) -> Option<Routed> {
        let number = fields.number()?;
        let routed = Routed::read(fields)?;
        let purpose = if head.purpose == Purpose::Lookup { Purpose::Answer } else { head.purpose };
        let ack = Fields::new().byte(op::ACK).number(number);
        io.send(from, Head::new(purpose, head.guid), &ack);
        Some(routed)
    }

    /// A node has what it was passed.
    pub(super) fn acknowledged(&mut self, from: SocketAddrV4, number: usize) {
        if self.passed.get(&number).is_some_and(|passed| passed.to == from) {
            self.passed.remove(&number);
        }
    }

    /// The next message that was not acknowledged in time, and the node it was passed to.
    pub(super) fn late(&mut self, now: Instant) -> Option<(SocketAddrV4, Head, Routed)> {
        let first = self.passed.first_entry().filter(|first| first.get().until <= now)?;
        let Unacknowledged { to, head, routed, .. } = first.remove();
        Some((to, head, routed))
    }

    /// When the first message is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.passed.first_key_value().map(|(_, passed)| passed.until)
    }
}
