//! What a node tells on its control socket: its links, and the records of what it does, none missing.
//!
//! A node that makes records faster than they are read loses some on the way, and says so. Its event log
//! has them all, under the same numbers: what was missed is read from there.

use super::tail::EventTail;
use crate::control::client::{Client, ClientError};
use crate::control::message::ServerLine;
use crate::control::params::{SubscribeParams, Topic};
use crate::control::results::{LinkRow, Subscribed};
use crate::driver::EventRecord;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

/// A node's control socket, from a moment on.
pub(super) struct Feed {
    client: Client,
    log: PathBuf,
    /// The number of the next record.
    next_seq: u64,
    /// Records whose consequences have not all come.
    incomplete: Vec<EventRecord>,
    /// Other notifications, in order.
    others: VecDeque<(String, Value)>,
    /// Replies that came, by the ids of their requests.
    replies: Vec<(Value, Result<Value, ClientError>)>,
    /// Records that neither came nor stand in the log.
    lost: usize,
}

impl Feed {
    /// Follows all that the node at `socket` does from now on; `log` is its event log.
    ///
    /// # Errors
    /// When it does not answer.
    pub(super) fn open(socket: &Path, log: PathBuf) -> io::Result<Feed> {
        let mut client = Client::connect(socket).map_err(of_client)?;
        let events = vec![Topic::Links, Topic::Searches, Topic::Drops];
        let told: Subscribed =
            client.ask("subscribe", &SubscribeParams { events }).map_err(of_client)?;
        Ok(Feed {
            client,
            log,
            next_seq: told.next_seq,
            incomplete: Vec::new(),
            others: VecDeque::new(),
            replies: Vec::new(),
            lost: 0,
        })
    }

    /// Sends a request; [`Feed::take_reply`] has its result.
    ///
    /// # Errors
    /// When the node is gone.
    pub(super) fn send(&mut self, method: &str, params: &Value) -> io::Result<u64> {
        self.client.send(method, params).map_err(of_client)
    }

    /// The result of a request, once it has come.
    pub(super) fn take_reply(&mut self, id: u64) -> Option<io::Result<Value>> {
        let at = self.replies.iter().position(|(of, _)| *of == id)?;
        Some(self.replies.swap_remove(at).1.map_err(of_client))
    }

    /// The next notification that is no record.
    pub(super) fn next_other(&mut self) -> Option<(String, Value)> {
        self.others.pop_front()
    }

    /// The records since the last call, each with its consequences.
    ///
    /// # Errors
    /// When the node is gone, or its log cannot be read.
    pub(super) fn read(&mut self) -> io::Result<Vec<EventRecord>> {
        let mut complete = Vec::new();
        while let Some(line) = self.client.receive_now().map_err(of_client)? {
            match line {
                ServerLine::Notification { method, params } if method == "event" => {
                    if let Ok(record) = serde_json::from_value::<EventRecord>(params) {
                        self.take(record, &mut complete)?;
                    }
                }
                ServerLine::Notification { method, params } if method == "missed" => {
                    let missed = params["missed"].as_u64().unwrap_or(0);
                    self.catch_up(self.next_seq + missed, &mut complete)?;
                }
                ServerLine::Notification { method, params } => {
                    self.others.push_back((method, params));
                }
                ServerLine::Reply { id, outcome } => {
                    self.replies.push((id, outcome.map_err(ClientError::Refused)));
                }
            }
        }
        Ok(complete)
    }

    /// Records known to be lost.
    pub(super) fn lost(&self) -> usize {
        self.lost
    }

    fn take(&mut self, record: EventRecord, complete: &mut Vec<EventRecord>) -> io::Result<()> {
        // Told of a record before what was missed in front of it.
        self.catch_up(record.seq, complete)?;
        if record.seq < self.next_seq {
            // It was read from the log already.
            return Ok(());
        }
        self.push(record, complete);
        Ok(())
    }

    fn push(&mut self, record: EventRecord, complete: &mut Vec<EventRecord>) {
        self.next_seq = record.seq + 1;
        let last = record.last;
        self.incomplete.push(record);
        if last {
            complete.append(&mut self.incomplete);
        }
    }

    /// Reads the records before number `until` from the log.
    fn catch_up(&mut self, until: u64, complete: &mut Vec<EventRecord>) -> io::Result<()> {
        if until <= self.next_seq {
            return Ok(());
        }
        let missed = self.next_seq..until;
        for record in EventTail::new(self.log.clone()).read_run()? {
            if missed.contains(&record.seq) && record.seq >= self.next_seq {
                self.push(record, complete);
            }
        }
        let lost = until.saturating_sub(self.next_seq);
        self.lost += usize::try_from(lost).unwrap_or(usize::MAX);
        self.next_seq = until.max(self.next_seq);
        Ok(())
    }
}

/// The links of the node at `socket`, as it sees them now.
///
/// # Errors
/// When it does not answer.
pub(super) fn links(socket: &Path) -> io::Result<Vec<LinkRow>> {
    let mut client = Client::connect(socket).map_err(of_client)?;
    client.ask("links", &json!({})).map_err(of_client)
}

/// The kind of error decides the exit code: a node that does not answer is one that is not there.
pub(super) fn of_client(error: ClientError) -> io::Error {
    let kind = match &error {
        ClientError::NotRunning(..) | ClientError::Gone(_) => io::ErrorKind::NotConnected,
        ClientError::Silent(..) => io::ErrorKind::TimedOut,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::RecordedEvent;
    use std::fs;
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::net::UnixListener;
    use std::thread;
    use std::time::{Duration, Instant};

    fn record(seq: u64, last: bool) -> EventRecord {
        let event = match seq {
            0 => RecordedEvent::Start { listen: None },
            _ => RecordedEvent::LinkDown {
                peer: "127.0.0.1:1".parse().unwrap(),
                reason: seq.to_string(),
                unsent: 0,
            },
        };
        EventRecord { time: 1, seq, event, last }
    }

    #[test]
    fn what_was_missed_is_read_from_the_log_by_its_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let [socket, log] = ["control", "events"].map(|name| folder.path().join(name));
        let lines = (0..9).map(|seq| serde_json::to_string(&record(seq, seq % 2 == 0)).unwrap());
        fs::write(&log, lines.collect::<Vec<_>>().join("\n") + "\n").unwrap();
        let listener = UnixListener::bind(&socket).unwrap();
        // Records 3 and 4 are missed, then 6 to the end.
        let node = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream);
            reader.read_line(&mut String::new()).unwrap();
            let event = |seq, last| json!({"jsonrpc": "2.0", "method": "event", "params": record(seq, last)});
            let said = [
                json!({"jsonrpc": "2.0", "id": 1, "result": {"events": [], "next_seq": 1}}),
                event(1, false),
                event(2, true),
                json!({"jsonrpc": "2.0", "method": "missed", "params": {"missed": 2}}),
                event(5, false),
                json!({"jsonrpc": "2.0", "method": "hit", "params": {}}),
                json!({"jsonrpc": "2.0", "method": "missed", "params": {"missed": 3}}),
                json!({"jsonrpc": "2.0", "method": "missed", "params": {"missed": 2}}),
            ];
            for line in said {
                writeln!(reader.get_mut(), "{line}").unwrap();
            }
            // Keeps the connection until the other side has gone.
            let _ = reader.read_line(&mut String::new());
        });
        let mut feed = Feed::open(&socket, log).unwrap();
        let mut seqs = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(60);
        while feed.lost() == 0 {
            seqs.extend(feed.read().unwrap().iter().map(|record| record.seq));
            assert!(Instant::now() < deadline, "{seqs:?}");
        }
        assert_eq!(seqs, [1, 2, 3, 4, 5, 6, 7, 8], "in order, each once");
        assert_eq!(feed.lost(), 2, "numbers 9 and 10 stand nowhere");
        assert_eq!(feed.next_other().map(|(method, _)| method).as_deref(), Some("hit"));
        drop(feed);
        node.join().unwrap();
    }
}
