//! The clients of a running servent, whichever door they came by, and what they subscribed to.

use super::door::{Door, Key};
use super::web::Web;
use crate::control::message::{RpcError, notification_line_of, reply_line};
use crate::control::params::Topic;
use crate::http::{Asked, ExchangeId};
use mio::{Events, Registry};
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// Names a client; no later one has the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ClientId {
    /// One on the control socket.
    Socket(Key),
    /// A request over HTTP.
    Web(ExchangeId),
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
    pub(super) web: Option<Web>,
    subscriptions: BTreeMap<ClientId, Subscription>,
}

#[derive(Debug, Default)]
struct Subscription {
    topics: BTreeSet<Topic>,
    /// Records lost since the client was last told how many.
    missed: u64,
}

impl Clients {
    pub(super) fn new(door: Option<Door>, web: Option<Web>) -> Clients {
        Clients { door, web, ..Clients::default() }
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
            if let Some(web) = &mut self.web
                && web.server.owns(event.token())
            {
                web.server.handle(event.token(), event.is_readable(), event.is_writable());
            }
        }
        if let Some(web) = &mut self.web {
            web.server.turn(registry, Instant::now());
        }
    }

    /// What was asked over HTTP in this turn.
    pub(super) fn next_asked(&mut self) -> Option<Asked> {
        self.web.as_mut()?.server.next_asked()
    }

    /// Answers a request over HTTP that is no call.
    pub(super) fn answer_text(&mut self, id: ExchangeId, text: &str) {
        if let Some(web) = &mut self.web {
            web.server.reply(id, text, Instant::now());
        }
    }

    /// Sends what was answered over HTTP in this turn.
    pub(super) fn flush(&mut self) {
        if let Some(web) = &mut self.web {
            web.server.flush(Instant::now());
        }
    }

    /// When clients are to be looked at, if nothing happens before.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        self.web.as_ref()?.server.deadline(now)
    }

    /// The requests of this turn: at most one of each client.
    pub(super) fn requests(&mut self) -> Vec<(ClientId, Vec<u8>)> {
        let of_door = self.door.as_mut().map(Door::requests).unwrap_or_default();
        of_door.into_iter().map(|(key, line)| (ClientId::Socket(key), line)).collect()
    }

    /// Clients of the control socket that have ended; each is told once.
    pub(super) fn gone(&mut self) -> Vec<ClientId> {
        std::iter::from_fn(|| self.door.as_mut()?.next_gone()).map(ClientId::Socket).collect()
    }

    /// A client has ended.
    pub(super) fn forget(&mut self, client: ClientId) {
        self.subscriptions.remove(&client);
    }

    /// Whether a client has more to be looked at without waiting for its socket.
    pub(super) fn is_busy(&self) -> bool {
        self.door.as_ref().is_some_and(Door::is_busy)
    }

    /// Replies to a request.
    pub(super) fn answer(&mut self, asker: &Asker, outcome: Result<Value, RpcError>) {
        match (asker.client, &asker.id) {
            (ClientId::Web(exchange), id) => {
                let line = reply_line(id.as_ref().unwrap_or(&Value::Null), outcome);
                self.answer_text(exchange, &line);
            }
            (ClientId::Socket(key), id) => {
                let Some(door) = &mut self.door else { return };
                match id {
                    Some(id) => door.answer(key, &reply_line(id, outcome)),
                    None => door.forget(key),
                }
            }
        }
    }

    /// Sends a notification that belongs to a request.
    pub(super) fn notify(&mut self, client: ClientId, method: &str, params: &Value) {
        notify_one(&mut self.door, &mut self.web, client, method, &params.to_string());
    }

    /// Replaces what a client is told of.
    pub(super) fn subscribe(&mut self, client: ClientId, topics: BTreeSet<Topic>) {
        if topics.is_empty() {
            let was_kept = self.subscriptions.remove(&client).is_some();
            if let (true, ClientId::Socket(key), Some(door)) = (was_kept, client, &mut self.door) {
                door.forget(key);
            }
            return;
        }
        let is_new =
            self.subscriptions.insert(client, Subscription { topics, missed: 0 }).is_none();
        if let (true, ClientId::Socket(key), Some(door)) = (is_new, client, &mut self.door) {
            door.keep(key);
        }
    }

    /// Whether anybody is told of `topic`.
    pub(super) fn is_wanted(&self, topic: Topic) -> bool {
        self.subscriptions.values().any(|subscription| subscription.topics.contains(&topic))
    }

    /// Tells all who subscribed to `topic`. A client that does not keep up loses the record; one that
    /// nobody has room for is not even put into words.
    pub(super) fn tell(&mut self, topic: Topic, method: &str, params: &impl Serialize) {
        let mut text: Option<String> = None;
        let now = Instant::now();
        for (client, subscription) in &mut self.subscriptions {
            if !subscription.topics.contains(&topic) {
                continue;
            }
            let has_room = has_room(&mut self.door, &self.web, *client, now);
            // What was lost is told before what comes after it.
            if subscription.missed > 0 || !has_room {
                subscription.missed += 1;
                continue;
            }
            let text =
                text.get_or_insert_with(|| serde_json::to_string(params).unwrap_or_default());
            notify_one(&mut self.door, &mut self.web, *client, method, text);
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
        let now = Instant::now();
        for (client, subscription) in &mut self.subscriptions {
            if subscription.missed == 0 {
                continue;
            }
            let has_room = has_room(&mut self.door, &self.web, *client, now);
            if has_room {
                let missed = std::mem::take(&mut subscription.missed);
                let text = format!("{{\"missed\":{missed}}}");
                notify_one(&mut self.door, &mut self.web, *client, "missed", &text);
            }
        }
    }
}

/// Whether a client reads what it is told.
fn has_room(door: &mut Option<Door>, web: &Option<Web>, client: ClientId, now: Instant) -> bool {
    match client {
        ClientId::Socket(key) => door.as_mut().is_some_and(|door| door.has_room(key)),
        ClientId::Web(id) => web.as_ref().is_some_and(|web| web.server.has_room(id, now)),
    }
}

/// Sends one client a notification, whose parameters are JSON already.
fn notify_one(
    door: &mut Option<Door>,
    web: &mut Option<Web>,
    client: ClientId,
    method: &str,
    params: &str,
) {
    match client {
        ClientId::Socket(key) => {
            if let Some(door) = door {
                door.notify(key, &notification_line_of(method, params));
            }
        }
        ClientId::Web(id) => {
            if let Some(web) = web {
                web.server.notify(id, method, params, Instant::now());
            }
        }
    }
}
