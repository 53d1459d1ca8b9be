//! Searches and pings of clients: each ends after its wait, with the number of answers it had.

use super::clients::{Asker, ClientId};
use crate::wire::Guid;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Most searches and pings at one time, of all clients: each is sent to every new link.
pub(super) const MAX_ONGOING: usize = 64;
/// Most answers passed on of one search or ping: as many as the core takes results of a search. A ping may
/// go on for a day.
const MAX_ANSWERS: usize = 10_000;
/// Longest wait of a search without one of its own.
const MAX_SEARCH_WAIT: Duration = Duration::from_secs(10);
/// Without a wait of its own a search ends this long after its most recent hit.
const WAIT_AFTER_HIT: Duration = Duration::from_secs(2);
/// Wait of a ping without one of its own.
const PING_WAIT: Duration = Duration::from_secs(3);
/// Longest wait that may be asked for.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(86_400);

/// What is being asked of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    Search,
    Ping,
}

/// One search or ping of a client.
#[derive(Debug)]
pub(super) struct Ongoing {
    pub(super) asker: Asker,
    pub(super) guid: Guid,
    pub(super) question: Question,
    /// Answers that were passed on.
    pub(super) answers: u64,
    deadline: Instant,
    latest: Instant,
    /// A hit brings the end nearer.
    ends_early: bool,
    /// URLs of hits, addresses of Pongs: each is passed on once.
    seen: BTreeSet<String>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct AllOngoing(Vec<Ongoing>);

impl AllOngoing {
    /// Whether one more may begin.
    pub(super) fn has_room(&self) -> bool {
        self.0.len() < MAX_ONGOING
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// One begins.
    pub(super) fn begin(
        &mut self,
        now: Instant,
        asker: Asker,
        (guid, question): (Guid, Question),
        wait: Option<Duration>,
    ) {
        let usual = match question {
            Question::Search => MAX_SEARCH_WAIT,
            Question::Ping => PING_WAIT,
        };
        let latest = now + wait.unwrap_or(usual).min(MAX_WAIT);
        self.0.push(Ongoing {
            asker,
            guid,
            question,
            answers: 0,
            deadline: latest,
            latest,
            ends_early: wait.is_none() && question == Question::Search,
            seen: BTreeSet::new(),
        });
    }

    /// An answer came. Returns who is to have it, unless he has had it.
    pub(super) fn answered(&mut self, now: Instant, guid: Guid, what: String) -> Option<ClientId> {
        let ongoing = self.0.iter_mut().find(|ongoing| ongoing.guid == guid)?;
        if ongoing.ends_early {
            ongoing.deadline = ongoing.latest.min(now + WAIT_AFTER_HIT);
        }
        if ongoing.seen.len() >= MAX_ANSWERS || !ongoing.seen.insert(what) {
            return None;
        }
        ongoing.answers += 1;
        Some(ongoing.asker.client)
    }

    /// The next that is over.
    pub(super) fn due(&mut self, now: Instant) -> Option<Ongoing> {
        let at = self.0.iter().position(|ongoing| ongoing.deadline <= now)?;
        Some(self.0.swap_remove(at))
    }

    /// When the next is over.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.iter().map(|ongoing| ongoing.deadline).min()
    }

    /// A client is gone: what it asked for is of no interest any more.
    pub(super) fn forget(&mut self, client: ClientId) -> Vec<Guid> {
        let of_client = |ongoing: &Ongoing| ongoing.asker.client == client;
        let guids = self.0.iter().filter(|it| of_client(it)).map(|it| it.guid).collect();
        self.0.retain(|ongoing| !of_client(ongoing));
        guids
    }
}
