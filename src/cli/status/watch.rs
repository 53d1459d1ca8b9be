//! `servent status --watch`: the loop of the live screen.

use super::paint::{BAD, GOOD};
use super::view::View;
use crate::cli::exit::Failure;
use crate::cli::finding;
use crate::cli::interrupt::StopFlag;
use crate::cli::screen::{self, KEY_INTERVAL, failed, leaves, unix_seconds};
use crate::cli::steer_args::SteerArgs;
use crate::control::client::{Client, ClientError};
use crate::control::message::ServerLine;
use crate::control::params::{NoParams, SubscribeParams, Topic};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Interval of asking for numbers.
const ASK_INTERVAL: Duration = Duration::from_secs(1);
/// Interval of drawing when only news have come.
const DRAW_INTERVAL: Duration = Duration::from_millis(200);
/// Silence after which the servent is said to hang.
const HANGS_AFTER: Duration = Duration::from_secs(4);
/// Notifications taken in between two looks at the keys.
const MAX_LINES: usize = 2_000;

const TOPICS: [Topic; 4] = [Topic::Links, Topic::Searches, Topic::Transfers, Topic::Drops];

pub(super) fn run(steer: &SteerArgs) -> Result<(), Failure> {
    screen::must_be_terminal("--watch", "'servent status --json' and 'servent ctl subscribe' are")?;
    let client = finding::find_running(steer)?;
    let mut watch = Watch {
        socket: client.socket().to_owned(),
        client: None,
        asked: BTreeMap::new(),
        next_ask: Instant::now(),
        heard: Instant::now(),
        changed: true,
        view: View::default(),
    };
    screen::taken_over(|terminal, stop| {
        watch.begin(client)?;
        watch.until_left(terminal, stop)
    })
}

struct Watch {
    socket: PathBuf,
    /// `None` while the servent is gone.
    client: Option<Client>,
    /// Requests without a reply yet, by id.
    asked: BTreeMap<u64, &'static str>,
    next_ask: Instant,
    /// When something came last.
    heard: Instant,
    /// Something is to be drawn.
    changed: bool,
    view: View,
}

impl Watch {
    fn begin(&mut self, mut client: Client) -> Result<(), ClientError> {
        client.send("subscribe", &SubscribeParams { events: TOPICS.to_vec() })?;
        self.asked.clear();
        self.client = Some(client);
        (self.next_ask, self.heard) = (Instant::now(), Instant::now());
        Ok(())
    }

    fn until_left(
        &mut self,
        terminal: &mut DefaultTerminal,
        stop: &StopFlag,
    ) -> Result<(), Failure> {
        let mut next_draw = Instant::now();
        while !stop.is_set() {
            if let Err(error) = self.turn() {
                self.lost(&error);
            }
            let now = Instant::now();
            if self.changed && now >= next_draw {
                terminal.draw(|frame| self.view.draw(frame)).map_err(|error| failed(&error))?;
                (self.changed, next_draw) = (false, now + DRAW_INTERVAL);
            }
            if event::poll(KEY_INTERVAL).map_err(|error| failed(&error))? {
                match event::read().map_err(|error| failed(&error))? {
                    Event::Key(key) if leaves(&key) => return Ok(()),
                    Event::Resize(..) => (self.changed, next_draw) = (true, now),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Asks what is due and takes in what has come.
    fn turn(&mut self) -> Result<(), ClientError> {
        let now = Instant::now();
        let due = now >= self.next_ask;
        if due {
            self.next_ask = now + ASK_INTERVAL;
        }
        if self.client.is_none() && due {
            match Client::connect(&self.socket) {
                Ok(client) => {
                    self.begin(client)?;
                    self.view.trouble = None;
                    self.view.news.text(unix_seconds(), "the servent is back".into(), GOOD);
                }
                Err(_) => return Ok(()),
            }
        }
        let Some(client) = &mut self.client else { return Ok(()) };
        // One that hangs is not asked again and again.
        if due && self.asked.is_empty() {
            for method in ["status", "links", "transfers", "limits"] {
                self.asked.insert(client.send(method, &NoParams {})?, method);
            }
        }
        for _ in 0..MAX_LINES {
            let Some(client) = &mut self.client else { break };
            let Some(line) = client.receive(now)? else { break };
            (self.heard, self.changed) = (now, true);
            match line {
                ServerLine::Reply { id, outcome } => {
                    let method = id.as_u64().and_then(|id| self.asked.remove(&id));
                    if let Some(method) = method {
                        self.take_in(now, method, outcome.map_err(ClientError::Refused)?);
                    }
                }
                ServerLine::Notification { method, params } => {
                    self.view.news.note(&method, &params, unix_seconds());
                }
            }
        }
        let silence = now.duration_since(self.heard);
        let hangs = silence >= HANGS_AFTER && !self.asked.is_empty();
        let trouble = hangs.then(|| {
            format!("no answer for {} s: the servent hangs, or is stopped", silence.as_secs())
        });
        self.changed |= trouble != self.view.trouble;
        self.view.trouble = trouble;
        Ok(())
    }

    fn take_in(&mut self, now: Instant, method: &str, result: Value) {
        fn read<T: DeserializeOwned>(result: Value, show: impl FnOnce(T)) {
            if let Ok(rows) = serde_json::from_value(result) {
                show(rows);
            }
        }
        let view = &mut self.view;
        match method {
            "status" => read(result, |status| view.set_status(now, status)),
            "links" => read(result, |rows| view.set_links(now, rows)),
            "transfers" => read(result, |rows| view.set_transfers(rows)),
            _ => read(result, |rows| view.set_limits(rows)),
        }
    }

    /// The connection ended: waits for the servent.
    fn lost(&mut self, error: &ClientError) {
        self.client = None;
        self.view.forget_rates();
        self.view.trouble = Some(format!("{error}; waiting for it"));
        self.view.news.text(unix_seconds(), error.to_string(), BAD);
        self.changed = true;
        self.next_ask = Instant::now() + ASK_INTERVAL;
    }
}
