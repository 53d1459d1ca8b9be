//! A network looked at again and again, without waiting for any of its nodes.
//!
//! Every node is asked on a connection that is kept. A node that does not answer keeps its last numbers,
//! which are marked as old, and is asked nothing more until it does.

use super::folder::{Network, RunFolder};
use super::process;
use super::view::View;
use crate::control::client::{Client, ClientError};
use crate::control::message::ServerLine;
use crate::control::results::{DescriptorCounts, LinkRow, Status};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

/// Interval of reading answers.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// Longest wait of a look for answers; later ones are part of the next look.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(300);
/// Silence after which a node is said to hang. A busy machine delays answers by less.
const SILENT_AFTER: Duration = Duration::from_secs(2);

/// A network that is watched.
pub struct Watcher {
    view: View,
    talks: Vec<Talk>,
}

/// What a network does at a moment.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// Its nodes, by number.
    pub nodes: Vec<NodeLook>,
    /// Whether each link of the plan stands.
    pub links: Vec<bool>,
    /// Links that have a fault.
    pub faulty_links: usize,
}

/// What a node does at a moment.
#[derive(Clone, Debug, Default)]
pub struct NodeLook {
    /// `up`, or how it ended.
    pub state: String,
    /// Its process, while it runs.
    pub pid: Option<u32>,
    /// `ultrapeer` or `leaf`, as it says.
    pub role: Option<String>,
    /// Links of the plan that stand.
    pub links: usize,
    /// Links of the plan.
    pub planned_links: usize,
    /// Descriptors per second, from its second answer on.
    pub rates: Option<DescriptorRates>,
    /// Its resident memory in bytes, where the system reports it.
    pub resident_bytes: Option<u64>,
    /// Faults of its links, and how many links have each.
    pub faults: BTreeMap<String, usize>,
    /// How long it has not answered, once that is too long.
    pub silent: Option<Duration>,
    /// Whether its numbers are those of an earlier moment.
    pub is_old: bool,
}

/// Descriptors of a node per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DescriptorRates {
    /// Received.
    pub received: f64,
    /// Dropped.
    pub dropped: f64,
}

impl DescriptorRates {
    /// Between two answers of one process. Its own clock tells the time between them: when an answer is
    /// read says little.
    fn between(old: &Status, new: &Status) -> Option<DescriptorRates> {
        let seconds = new.uptime_s - old.uptime_s;
        let sum = |counts: &BTreeMap<String, u64>| counts.values().sum::<u64>();
        let rate = |of: fn(&DescriptorCounts) -> &BTreeMap<String, u64>| {
            let [old, new] = [old, new].map(|status| sum(of(&status.descriptors)));
            new.saturating_sub(old) as f64 / seconds
        };
        (seconds > 0.0).then(|| DescriptorRates {
            received: rate(|it| &it.received),
            dropped: rate(|it| &it.dropped),
        })
    }
}

impl Watcher {
    /// Watches the network in `folder`.
    ///
    /// # Errors
    /// When there is none, or it is not running.
    pub fn open(folder: &RunFolder) -> io::Result<Watcher> {
        process::raise_file_limit();
        let view = View::unasked(folder)?;
        let talks = view.network.nodes.iter().map(|_| Talk::default()).collect();
        Ok(Watcher { view, talks })
    }

    /// The description of the network.
    pub fn network(&self) -> &Network {
        &self.view.network
    }

    /// Looks at all of it.
    ///
    /// # Errors
    /// [`NotConnected`](io::ErrorKind::NotConnected) when the network is not running any more, another
    /// kind when its keeper does not answer as it should.
    pub fn look(&mut self) -> io::Result<Look> {
        let begun = Instant::now();
        self.view.refresh_status()?;
        for node in 0..self.talks.len() {
            let pid = self.view.pid(node).filter(|_| self.view.network.nodes[node].is_ours());
            if pid != self.talks[node].pid {
                self.talks[node] = Talk { pid, ..Talk::default() };
            }
            if pid.is_some() {
                self.with_node(node, |talk, view| talk.ask(view, node, begun));
            }
        }
        loop {
            let is_awaited = |talk: &Talk| talk.waiting_since.is_some_and(|since| since >= begun);
            let awaited: Vec<usize> =
                (0..self.talks.len()).filter(|node| is_awaited(&self.talks[*node])).collect();
            for node in &awaited {
                self.with_node(*node, |talk, _| talk.read());
            }
            if awaited.is_empty() || begun.elapsed() >= ANSWER_TIMEOUT {
                break;
            }
            thread::sleep(POLL_INTERVAL);
        }
        self.view.read_carried()?;
        Ok(self.result())
    }

    /// Talks with a node; what it told last counts no more when that fails.
    fn with_node(
        &mut self,
        node: usize,
        talk: impl FnOnce(&mut Talk, &View) -> Result<(), ClientError>,
    ) {
        let talked = &mut self.talks[node];
        if let Err(error) = talk(talked, &self.view) {
            log::debug!("node {node}: {error}");
            let since = talked.waiting_since.unwrap_or_else(Instant::now);
            *talked = Talk { pid: talked.pid, waiting_since: Some(since), ..Talk::default() };
        }
        self.view.set_links(node, &talked.links);
    }

    fn result(&self) -> Look {
        let network = &self.view.network;
        let links: Vec<bool> =
            (0..network.links.len()).map(|link| self.view.stands(link)).collect();
        let mut standing = vec![0; network.nodes.len()];
        for (link, _) in network.links.iter().zip(&links).filter(|(_, stands)| **stands) {
            standing[link.from] += 1;
            standing[link.to] += 1;
        }
        let node = |(node, talk): (usize, &Talk)| {
            let silent = talk.waiting_since.map(|since| since.elapsed());
            let silent = silent.filter(|silent| *silent >= SILENT_AFTER);
            let pid = self.view.pid(node);
            NodeLook {
                state: self.view.state(node),
                pid,
                role: talk.status.as_ref().map(|status| status.role.clone()),
                links: standing[node],
                planned_links: network.degree(node),
                rates: talk.rates,
                resident_bytes: pid.and_then(|pid| process::memory(pid, "VmRSS")),
                faults: self.view.faults_of(node),
                silent,
                is_old: silent.is_some() || self.view.is_stalled(node),
            }
        };
        Look {
            nodes: self.talks.iter().enumerate().map(node).collect(),
            faulty_links: (0..links.len())
                .filter(|link| !self.view.fault(*link).is_empty())
                .count(),
            links,
        }
    }
}

/// What is asked of nodes.
#[derive(Clone, Copy, Debug)]
enum Question {
    Status,
    Links,
}

/// The conversation with one process of a node.
#[derive(Default)]
struct Talk {
    /// The process; `None` if it does not run, or is another program.
    pid: Option<u32>,
    client: Option<Client>,
    /// Requests without a reply.
    asked: Vec<(u64, Question)>,
    /// Since when an answer or a connection is waited for.
    waiting_since: Option<Instant>,
    /// Its last answers.
    status: Option<Status>,
    links: Vec<LinkRow>,
    rates: Option<DescriptorRates>,
}

impl Talk {
    /// Reads what has come late, and asks again if nothing is missing.
    fn ask(&mut self, view: &View, node: usize, now: Instant) -> Result<(), ClientError> {
        self.read()?;
        let client = match &mut self.client {
            Some(client) => client,
            None => self.client.insert(Client::connect_now(&view.folder.control(node))?),
        };
        if self.asked.is_empty() {
            for (method, question) in [("status", Question::Status), ("links", Question::Links)] {
                self.asked.push((client.send(method, &json!({}))?, question));
            }
            self.waiting_since = Some(now);
        }
        Ok(())
    }

    /// Reads what has come.
    fn read(&mut self) -> Result<(), ClientError> {
        while let Some(client) = &mut self.client {
            let Some(line) = client.receive_now()? else { break };
            let ServerLine::Reply { id, outcome } = line else { continue };
            let Some(at) = self.asked.iter().position(|(asked, _)| id == *asked) else { continue };
            let (_, question) = self.asked.swap_remove(at);
            self.take_in(question, outcome.map_err(ClientError::Refused)?);
            if self.asked.is_empty() {
                self.waiting_since = None;
            }
        }
        Ok(())
    }

    fn take_in(&mut self, question: Question, result: Value) {
        match question {
            Question::Status => {
                let Ok(status) = Status::deserialize(result) else { return };
                let before = self.status.as_ref();
                self.rates = before.and_then(|old| DescriptorRates::between(old, &status));
                self.status = Some(status);
            }
            Question::Links => self.links = Vec::deserialize(result).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_between_answers_of_one_process() {
        let status = |uptime_s, ping: u64, query: u64, dropped: u64| Status {
            uptime_s,
            descriptors: DescriptorCounts {
                received: [("ping".into(), ping), ("query".into(), query)].into(),
                dropped: [("duplicate".into(), dropped)].into(),
                ..DescriptorCounts::default()
            },
            ..Status::default()
        };
        let (old, new) = (status(10.0, 5, 10, 1), status(12.0, 6, 29, 2));
        let rates = DescriptorRates::between(&old, &new);
        assert_eq!(rates, Some(DescriptorRates { received: 10.0, dropped: 0.5 }));
        assert_eq!(DescriptorRates::between(&new, &old), None, "another process");
        assert_eq!(DescriptorRates::between(&old, &old), None, "the same answer");
    }
}
