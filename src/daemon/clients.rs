//! The clients of a running servent, whichever door they came by, and what they subscribed to.

use super::door::{Door, Key};
use crate::control::message::{RpcError, notification_line, reply_line};
use crate::control::params::Topic;
use mio::{Events, Registry};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Names a client; no later one has the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ClientId {
    /// One on the control socket.
    Socket(Key),
}

/// A request, and who is to have the reply.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Asker {
    pub(super) client: ClientId,
    /// The id of the request; `None` wants no reply.
    pub(super) id: Option<Value>,
}

/// All clients.
#[derive(Debug, Default)]
pub(super) struct Clients {
    pub(super) door: Option<Door>,
    subscriptions: BTreeMap<ClientId, Subscription>,
}

#[derive(Debug, Default)]
struct Subscription {
    topics: BTreeSet<Topic>,
    /// Records lost since the client was last told how many.
    missed: u64,
}

impl Clients {
    pub(super) fn new(door: Option<Door>) -> Clients {
        Clients { door, ..Clients::default() }
    }

    /// Handles the events of a turn that are of the doors' sockets.
    pub(super) fn handle(&mut self, registry: &Registry, events: &Events) {
        for event in events {
            let token = event.token().0;
            if super::door::TOKENS.contains(&token)
                && let Some(door) = &mut self.door
            {
                door.handle(registry, event);
            }
        }
    }

    /// The requests of this turn: at most one of each client.
    pub(super) fn requests(&mut self) -> Vec<(ClientId, Vec<u8>)> {
        let of_door = self.door.as_mut().map(Door::requests).unwrap_or_default();
        of_door.into_iter().map(|(key, line)| (ClientId::Socket(key), line)).collect()
    }

    /// Clients that have ended; each is told once.
    pub(super) fn gone(&mut self) -> Vec<ClientId> {
        let gone: Vec<ClientId> =
            std::iter::from_fn(|| self.door.as_mut()?.next_gone()).map(ClientId::Socket).collect();
        for client in &gone {
            self.subscriptions.remove(client);
        }
        gone
    }

    /// Whether a client has more to be looked at without waiting for its socket.
    pub(super) fn is_busy(&self) -> bool {
        self.door.as_ref().is_some_and(Door::is_busy)
    }

    /// Replies to a request.
    pub(super) fn answer(&mut self, asker: &Asker, outcome: Result<Value, RpcError>) {
        let ClientId::Socket(key) = asker.client;
        let Some(door) = &mut self.door else { return };
        match &asker.id {
            Some(id) => door.answer(key, &reply_line(id, outcome)),
            None => door.forget(key),
        }
    }

    /// Sends a notification that belongs to a request.
    pub(super) fn notify(&mut self, client: ClientId, method: &str, params: &Value) {
        let ClientId::Socket(key) = client;
        if let Some(door) = &mut self.door {
            door.notify(key, &notification_line(method, params));
        }
    }

    /// Replaces what a client is told of.
    pub(super) fn subscribe(&mut self, client: ClientId, topics: BTreeSet<Topic>) {
        if topics.is_empty() {
            self.subscriptions.remove(&client);
            return;
        }
        if self.subscriptions.insert(client, Subscription { topics, missed: 0 }).is_none() {
            let ClientId::Socket(key) = client;
            if let Some(door) = &mut self.door {
                door.keep(key);
            }
        }
    }

    /// Whether anybody is told of `topic`.
    pub(super) fn is_wanted(&self, topic: Topic) -> bool {
        self.subscriptions.values().any(|subscription| subscription.topics.contains(&topic))
    }

    /// Tells all who subscribed to `topic`.
    pub(super) fn tell(&mut self, topic: Topic, method: &str, params: &Value) {
        let line = notification_line(method, params);
        for (client, subscription) in &mut self.subscriptions {
            if subscription.topics.contains(&topic) {
                tell_one(self.door.as_mut(), *client, subscription, &line);
            }
        }
    }

    /// Records were lost before anybody could be told.
    pub(super) fn missed(&mut self, count: u64) {
        for subscription in self.subscriptions.values_mut() {
            subscription.missed += count;
        }
    }

    /// Tells clients that keep up again how many records they have lost.
    pub(super) fn tell_missed(&mut self) {
        for (client, subscription) in &mut self.subscriptions {
            let ClientId::Socket(key) = *client;
            let Some(door) = &mut self.door else { continue };
            if subscription.missed > 0 && door.has_room(key) {
                let missed = std::mem::take(&mut subscription.missed);
                door.notify(key, &notification_line("missed", &json!({"missed": missed})));
            }
        }
    }
}

/// Tells one subscriber; one that does not keep up loses the record.
fn tell_one(
    door: Option<&mut Door>,
    client: ClientId,
    subscription: &mut Subscription,
    line: &str,
) {
    let ClientId::Socket(key) = client;
    let Some(door) = door else { return };
    // What was lost is told before what comes after it.
    if subscription.missed > 0 || !door.has_room(key) {
        subscription.missed += 1;
        return;
    }
    door.notify(key, line);
}
