//! The part of a hash table that one node keeps: names and holders, each until it is no longer published.
//!
//! Files are published anew every [`PUBLISH_INTERVAL`]; a holder that missed two publications is taken
//! for gone. A name is kept by some nodes more where the system has an order of nodes after its
//! owner, so that a death loses few of them.

use super::host::Held;
use super::identifier::key_of;
use super::message::Fields;
use crate::time::Instant;
use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::time::Duration;

/// Time between two publications of a file.
pub(super) const PUBLISH_INTERVAL: Duration = Duration::from_secs(60);

/// A holder is kept this long after its last publication.
const LIFETIME: Duration = Duration::from_secs(150);

/// Most holders of a name in one answer, as in [`super::directory`]. An answer stays below 64 KiB.
const MAX_HOLDERS: usize = 4_000;

/// A message of names and holders is ended when it is this long, so that it stays below 64 KiB.
const FULL_MESSAGE: usize = 16 * 1024;

/// See the module documentation.
#[derive(Debug, Default)]
pub(super) struct Keys {
    names: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    key: u64,
    /// Until when each holder is kept.
    holders: BTreeMap<SocketAddrV4, Instant>,
}

impl Keys {
    /// `holder` has a file of this name.
    pub(super) fn put(&mut self, name: &str, holder: SocketAddrV4, now: Instant) {
        if !self.names.contains_key(name) {
            let entry = Entry { key: key_of(name), holders: BTreeMap::new() };
            self.names.insert(name.to_owned(), entry);
        }
        if let Some(entry) = self.names.get_mut(name) {
            entry.holders.insert(holder, now + LIFETIME);
        }
    }

    /// The holders of a name, none if it is not here.
    pub(super) fn holders(&self, name: &str) -> Vec<SocketAddrV4> {
        let holders = self.names.get(name).map(|entry| entry.holders.keys().copied());
        holders.into_iter().flatten().take(MAX_HOLDERS).collect()
    }

    /// Removes the holders that are no longer published.
    pub(super) fn expire(&mut self, now: Instant) {
        self.names.retain(|_, entry| {
            entry.holders.retain(|_, until| *until > now);
            !entry.holders.is_empty()
        });
    }

    /// The names whose keys `is_chosen` accepts, with their holders, as the fields of messages.
    pub(super) fn fields_of(&self, start: &Fields, is_chosen: impl Fn(u64) -> bool) -> Vec<Fields> {
        let chosen = self.names.iter().filter(|(_, entry)| is_chosen(entry.key));
        let mut messages = Vec::new();
        let mut message = start.clone();
        for (name, _) in chosen {
            message = message.text(name).addrs(self.holders(name).into_iter());
            if message.len() > FULL_MESSAGE {
                messages.push(std::mem::replace(&mut message, start.clone()));
            }
        }
        messages.extend((message.len() > start.len()).then_some(message));
        messages
    }

    /// Removes the names whose keys `is_chosen` accepts.
    pub(super) fn remove(&mut self, is_chosen: impl Fn(u64) -> bool) {
        self.names.retain(|_, entry| !is_chosen(entry.key));
    }

    /// Its pairs of name and holder.
    pub(super) fn state(&self) -> Held {
        let pairs = self.names.iter().map(|(name, entry)| (entry.holders.len(), name.len() + 6));
        pairs.map(|(count, bytes)| Held::new(count, bytes)).fold(Held::default(), Held::and)
    }
}

#[cfg(test)]
mod tests {
    use super::super::directory::answered;
    use super::super::message::{Head, Purpose};
    use super::*;
    use crate::wire::Guid;

    #[test]
    fn a_holder_is_kept_as_long_as_it_publishes() {
        let [a, b] = ["10.0.0.1:1", "10.0.0.2:1"].map(|addr| addr.parse().unwrap());
        let (mut keys, start) = (Keys::default(), Instant::ZERO);
        keys.put("red river", a, start);
        keys.put("red river", b, start);
        keys.put("red river", b, start + LIFETIME / 2);
        assert_eq!(keys.state(), Held::new(2, 15));
        keys.expire(start + LIFETIME);
        assert_eq!(keys.holders("red river"), [b]);
        keys.expire(start + LIFETIME * 2);
        assert_eq!((keys.holders("red river"), keys.state()), (Vec::new(), Held::default()));
    }

    #[test]
    fn names_are_handed_over_whole_in_as_many_messages_as_they_need() {
        let addr: SocketAddrV4 = "10.0.0.1:1".parse().unwrap();
        let mut keys = Keys::default();
        (0..5_000).for_each(|number| keys.put(&format!("file {number}"), addr, Instant::ZERO));
        let messages = keys.fields_of(&Fields::new(), |_| true);
        assert!((5..10).contains(&messages.len()), "{} messages", messages.len());
        assert!(messages.iter().all(|fields| fields.len() < 17_000));
        let read = messages.iter().flat_map(|fields| {
            let bytes = Head::new(Purpose::Upkeep, Guid::default()).frame(fields);
            let (_, fields) = Head::read(&bytes).unwrap();
            answered(fields).map(|(name, holders)| (name.to_owned(), holders)).collect::<Vec<_>>()
        });
        assert_eq!(read.filter(|(_, holders)| *holders == [addr]).count(), 5_000);
        keys.remove(|key| key == key_of("file 7"));
        assert_eq!((keys.state().entries, keys.holders("file 7").len()), (4_999, 0));
    }
}
