//! Requests of clients: each method, and what it does to the servent.

use super::clients::{Asker, ClientId};
use super::ongoing::{MAX_ONGOING, MAX_WAIT, Question};
use super::run::Run;
use super::{log_ring, views};
use crate::control::message::{Request, RpcError};
use crate::control::methods::{self, Call};
use crate::control::params::{PingParams, SearchParams, SetParams, SubscribeParams, Topic};
use crate::control::results::{
    Done, PeerRef, PingEnd, SearchEnd, Settings, Status, Subscribed, TransferCounts, TransferState,
};
use crate::driver::{EventRecord, Host, RecordedEvent, ScanTrigger};
use crate::plan::hit_record::HitRecord;
use crate::servent::{Change, Event};
use crate::text;
use crate::wire::Guid;
use log::LevelFilter;
use serde::Serialize;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The result of a call; `None` if the reply comes later.
pub(super) type Outcome = Option<Result<Value, RpcError>>;

/// A result that is there at once.
pub(super) fn now(result: impl Serialize) -> Outcome {
    let value = serde_json::to_value(result);
    Some(value.map_err(|error| RpcError::new(RpcError::INTERNAL, error.to_string())))
}

/// An error that is there at once.
pub(super) fn refuse(code: i64, text: impl Into<String>) -> Outcome {
    Some(Err(RpcError::new(code, text)))
}

impl Run<'_> {
    /// Answers the requests of this turn.
    pub(super) fn serve_clients(&mut self) {
        for (client, line) in self.clients.requests() {
            match Request::parse(&line) {
                Ok(request) => self.request(client, &request),
                Err((id, error)) => {
                    let asker = Asker { client, id: Some(id) };
                    self.clients.answer(&asker, Err(error));
                }
            }
        }
        for client in self.clients.gone() {
            self.forget_client(client);
        }
    }

    /// A client has ended: what it asked for, and what it is told of, ends too.
    pub(super) fn forget_client(&mut self, client: ClientId) {
        self.clients.forget(client);
        for guid in self.ongoing.forget(client) {
            self.driver.command(|core, _| core.end_request(guid));
        }
        self.follow_topics();
    }

    /// Answers a request, now or later.
    pub(super) fn request(&mut self, client: ClientId, request: &Request) {
        let asker = Asker { client, id: request.id.clone() };
        let outcome = match Call::of(request) {
            Ok(call) => self.call(&asker, call),
            Err(error) => Some(Err(error)),
        };
        if let Some(outcome) = outcome {
            self.clients.answer(&asker, outcome);
        }
    }

    fn call(&mut self, asker: &Asker, call: Call) -> Outcome {
        let core = self.driver.core();
        match call {
            Call::Status(_) => now(self.status()),
            Call::Links(_) => now(views::links(core, self.driver.now())),
            Call::Hosts(_) => now(views::hosts(core)),
            Call::Shares(_) => now(views::shares(self.scan_log.last())),
            Call::Transfers(_) => now(self.transfer_rows()),
            Call::Limits(_) => now(views::limits(core, &self.own_limits())),
            Call::Log(params) => now(log_ring::latest(params.lines.unwrap_or(usize::MAX))),
            Call::Search(params) => self.begin_search(asker, &params),
            Call::Ping(params) => self.begin_ping(asker, &params),
            Call::Download(params) => self.add_download(asker, params),
            Call::Pause(params) => self.pause_download(asker, params.id),
            Call::Resume(params) => self.resume_download(asker, params.id),
            Call::Cancel(params) => self.cancel_transfer(asker, params.id),
            Call::Retry(params) => self.retry_download(asker, params.id),
            Call::Connect(params) => self.connect(&params.addr),
            Call::Disconnect(params) => self.disconnect(&params.addr),
            Call::Rescan(_) => {
                self.scan(ScanTrigger::Asked);
                now(Done {})
            }
            Call::Set(params) => self.set(&params),
            Call::Subscribe(params) => self.subscribe(asker.client, params),
            Call::Stop(_) => {
                log::info!("stopping: a client asked for it");
                self.stops = true;
                now(Done {})
            }
            Call::Discover(_) => now(methods::discover()),
        }
    }

    /// What the servent is doing, in numbers.
    pub(super) fn status(&self) -> Status {
        let core = self.driver.core();
        let stats = core.stats();
        let count = |wanted: &[TransferState]| self.queue.count(wanted);
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            servent_id: core.identity().to_string(),
            listen: self.addr.to_string(),
            advertise: views::advertised(core).map(|addr| addr.to_string()),
            uptime_s: self.started.elapsed().as_secs_f64(),
            role: match core.config().role {
                crate::config::Role::Leaf => "leaf",
                _ => "ultrapeer",
            }
            .to_owned(),
            links: views::link_counts(core),
            hosts: core.hosts().len(),
            share: views::share_counts(core),
            transfers: TransferCounts {
                up: core.uploads(),
                down: count(&[TransferState::Active]),
                queued: count(&[TransferState::Queued, TransferState::Waiting]),
            },
            reachable: views::reachable(&self.driver, self.addr),
            descriptors: views::descriptors(core),
            searches_answered: stats.queries_answered,
            files_served: stats.files_served,
            bytes_in: stats.bytes_in,
            bytes_out: stats.bytes_out,
            http: self.http_addr().map(|addr| addr.to_string()),
        }
    }

    fn begin_search(&mut self, asker: &Asker, params: &SearchParams) -> Outcome {
        let (ttl, wait) = match self.check_question(params.ttl, params.wait) {
            Ok(checked) => checked,
            Err(error) => return Some(Err(error)),
        };
        let begun = self.driver.command(|core, now| core.search(now, &params.words, ttl));
        let guid = match begun {
            Ok(guid) => guid,
            Err(error) => return refuse(RpcError::INVALID_PARAMS, error.to_string()),
        };
        let now = Instant::now();
        self.ongoing.begin(now, asker.clone(), (guid, Question::Search), wait);
        for hit in views::own_hits(self.driver.core(), &params.words, self.addr) {
            self.pass_hit_on(now, guid, &hit);
        }
        None
    }

    fn begin_ping(&mut self, asker: &Asker, params: &PingParams) -> Outcome {
        let (ttl, wait) = match self.check_question(params.ttl, params.wait) {
            Ok(checked) => checked,
            Err(error) => return Some(Err(error)),
        };
        let guid = self.driver.command(|core, now| core.ping(now, ttl));
        self.ongoing.begin(Instant::now(), asker.clone(), (guid, Question::Ping), wait);
        None
    }

    fn check_question(
        &self,
        ttl: Option<u8>,
        wait: Option<f64>,
    ) -> Result<(Option<u8>, Option<Duration>), RpcError> {
        let wrong = |text: String| Err(RpcError::new(RpcError::INVALID_PARAMS, text));
        if let Some(ttl) = ttl.filter(|ttl| !(1..=15).contains(ttl)) {
            return wrong(format!("\"ttl\" is 1 to 15, {ttl} was given"));
        }
        let read = |wait: f64| Duration::try_from_secs_f64(wait).ok().filter(|it| *it <= MAX_WAIT);
        let wait = match wait.map(|wait| read(wait).ok_or(wait)).transpose() {
            Ok(wait) => wait,
            Err(given) => {
                return wrong(format!(
                    "\"wait\" is 0 to {} s, {given} was given",
                    MAX_WAIT.as_secs()
                ));
            }
        };
        if !self.ongoing.has_room() {
            let text = format!("{MAX_ONGOING} searches are under way: wait until one is over");
            return Err(RpcError::new(RpcError::REFUSED, text));
        }
        Ok((ttl, wait))
    }

    /// Passes an answer of the network on to the client that asked for it.
    pub(super) fn answer_came(&mut self, event: &Event) {
        match event {
            Event::Hit { search, hit } => match self.queue.is_search(*search) {
                true => self.source_found(*search, hit),
                false => self.pass_hit_on(Instant::now(), *search, &views::hit_record(hit)),
            },
            Event::Pong { ping, addr, files, kib, hops } => {
                let asked = self.ongoing.answered(Instant::now(), *ping, addr.to_string());
                if let Some(client) = asked {
                    let (host, port) = (addr.ip().to_string(), addr.port());
                    let pong = json!({
                        "ping": hex(*ping), "host": host, "port": port, "files": files, "kib": kib,
                        "hops": hops,
                    });
                    self.clients.notify(client, "pong", &pong);
                }
            }
            _ => {}
        }
    }

    fn pass_hit_on(&mut self, now: Instant, search: Guid, hit: &HitRecord) {
        let Some(client) = self.ongoing.answered(now, search, hit.url.clone()) else { return };
        let mut params = json!(hit);
        params["search"] = hex(search).into();
        self.clients.notify(client, "hit", &params);
    }

    /// Ends searches and pings whose wait is over.
    pub(super) fn end_questions(&mut self, now: Instant) {
        while let Some(over) = self.ongoing.due(now) {
            self.driver.command(|core, _| core.end_request(over.guid));
            let (guid, count) = (hex(over.guid), over.answers);
            let result = match over.question {
                Question::Search => json!(SearchEnd { search: guid, hits: count }),
                Question::Ping => json!(PingEnd { ping: guid, pongs: count }),
            };
            self.clients.answer(&over.asker, Ok(result));
        }
    }

    fn connect(&mut self, addr: &str) -> Outcome {
        match addr.parse::<Host>() {
            Err(error) => refuse(RpcError::INVALID_PARAMS, error.to_string()),
            Ok(host) => {
                let named = addr.to_owned();
                match self.keep_link(host) {
                    Ok(()) => now(PeerRef { addr: named }),
                    Err(error) => refuse(RpcError::INTERNAL, error.to_string()),
                }
            }
        }
    }

    fn disconnect(&mut self, addr: &str) -> Outcome {
        let gone = match addr.parse::<Host>() {
            Err(error) => return refuse(RpcError::INVALID_PARAMS, error.to_string()),
            Ok(Host::Addr(addr)) => Some(addr),
            Ok(Host::Name(host, port)) => self.names.remove(&host, port),
        };
        let is_kept = gone.is_some_and(|gone| self.driver.core().keeps(gone));
        let links =
            gone.map_or(0, |gone| self.driver.command(|core, now| core.disconnect(now, gone)));
        if links == 0 && !is_kept {
            let text = format!("there is no link with {addr}; links lists those there are");
            return refuse(RpcError::NOT_FOUND, text);
        }
        let links = text::count(links as u64, "link", "links");
        log::info!("disconnected from {addr} ({links} ended): not dialled for ten minutes");
        now(PeerRef { addr: addr.to_owned() })
    }

    fn set(&mut self, params: &SetParams) -> Outcome {
        let level = match params.log.as_deref().map(str::parse::<LevelFilter>).transpose() {
            Ok(level) => level,
            Err(_) => {
                let text = "\"log\" is off, error, warn, info, debug or trace".to_owned();
                return refuse(RpcError::INVALID_PARAMS, text);
            }
        };
        if params.max_uploads == Some(0) {
            let text =
                "\"max_uploads\" is at least 1: a servent that shares nothing has no uploads";
            return refuse(RpcError::INVALID_PARAMS, text);
        }
        let change = Change {
            upload_limit: params.upload_limit.map(|limit| (limit > 0).then_some(limit)),
            max_uploads: params.max_uploads,
            links: params.links,
            max_links: params.max_links,
        };
        if let Err(error) = self.driver.command(|core, now| core.reconfigure(now, &change)) {
            return refuse(RpcError::INVALID_PARAMS, error.to_string());
        }
        if let Some(level) = level {
            log_ring::set_wanted(level);
        }
        let config = self.driver.core().config();
        now(Settings {
            upload_limit: config.upload_limit.unwrap_or(0),
            max_uploads: config.max_uploads,
            links: config.links,
            max_links: config.max_links,
            log: log::max_level().as_str().to_lowercase(),
        })
    }

    pub(super) fn subscribe(&mut self, client: ClientId, params: SubscribeParams) -> Outcome {
        self.tell_records();
        self.clients.subscribe(client, params.events.iter().copied().collect());
        self.follow_topics();
        now(Subscribed { events: params.events, next_seq: self.driver.next_seq() })
    }

    /// Has the core observed while anybody wants records of it.
    fn follow_topics(&mut self) {
        let wanted = [Topic::Links, Topic::Searches, Topic::Drops];
        let wanted = wanted.into_iter().any(|topic| self.clients.is_wanted(topic));
        if wanted != self.taped {
            self.taped = wanted;
            self.driver.set_taped(wanted);
        }
    }

    /// Tells subscribers what was observed since the last turn.
    pub(super) fn tell_records(&mut self) {
        if !self.taped {
            return;
        }
        let (missed, mut records) = self.driver.take_tape();
        self.clients.missed(missed);
        if let Some(last) = records.back_mut() {
            // As in the file: all consequences of what was received are told.
            last.last = true;
        }
        for record in records {
            if let Some(topic) = topic_of(&record).filter(|topic| self.clients.is_wanted(*topic)) {
                self.clients.tell(topic, "event", &record);
            }
        }
    }
}

/// The topic of a record.
fn topic_of(record: &EventRecord) -> Option<Topic> {
    Some(match record.event {
        RecordedEvent::LinkUp { .. } | RecordedEvent::LinkDown { .. } => Topic::Links,
        RecordedEvent::Received { .. }
        | RecordedEvent::Forwarded(_)
        | RecordedEvent::Originated(_)
        | RecordedEvent::Answered { .. } => Topic::Searches,
        RecordedEvent::Dropped { .. } | RecordedEvent::Refused { .. } => Topic::Drops,
        RecordedEvent::Start { .. } | RecordedEvent::Unknown => return None,
    })
}

fn hex(guid: Guid) -> String {
    guid.to_string()
}
