//! The server: who is connected, what was asked, and what its owner has to answer.

use super::access::Access;
use super::client::{Client, Manner, Purpose};
use super::page::Page;
use super::request::{Method, Request};
use super::response::{Framing, Head};
use crate::control::message::{self, RpcError};
use crate::control::params::Topic;
use mio::net::TcpListener;
use mio::{Interest, Registry, Token};
use percent_encoding::percent_decode_str;
use slab::Slab;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// Connections at one time; with all of them in use, the one that idles longest makes way.
pub const MAX_CLIENTS: usize = 32;
/// Of one address, unless it is loopback, which all programs of this machine share.
const MAX_CLIENTS_PER_ADDRESS: usize = 8;
/// Connections accepted in one turn.
const ACCEPTS_PER_TURN: usize = 4;
/// Requests handled in one turn: each may cost as much as hundreds of descriptors.
const REQUESTS_PER_TURN: usize = 4;
/// Pause in accepting after it failed for lack of file descriptors.
const ACCEPT_REST: Duration = Duration::from_millis(500);

/// A bound listening socket.
#[derive(Debug)]
pub struct Listening {
    socket: TcpListener,
    addr: SocketAddr,
}

impl Listening {
    /// Binds; port 0 picks one.
    ///
    /// # Errors
    /// What the system says: the port is taken, the address is not ours.
    pub fn bind(addr: SocketAddr) -> io::Result<Listening> {
        let socket = TcpListener::bind(addr)?;
        let addr = socket.local_addr()?;
        Ok(Listening { socket, addr })
    }

    /// Takes a socket that listens already.
    ///
    /// # Errors
    /// When it is no socket that listens.
    pub fn from_std(socket: std::net::TcpListener) -> io::Result<Listening> {
        socket.set_nonblocking(true)?;
        let addr = socket.local_addr()?;
        Ok(Listening { socket: TcpListener::from_std(socket), addr })
    }

    /// The address with the real port.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

/// Names a request that its owner answers. An answer that comes after its client left goes nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExchangeId {
    slot: usize,
    number: u64,
}

/// What the owner of a server is asked.
#[derive(Debug)]
pub enum Asked {
    /// For the metrics: [`Server::reply`] has them.
    Metrics {
        /// To be answered.
        id: ExchangeId,
        /// In OpenMetrics; else in text format 0.0.4.
        open: bool,
    },
    /// A call: any number of [`Server::notify`], then [`Server::reply`] with its line.
    Call {
        /// To be answered.
        id: ExchangeId,
        /// The request. It always has an id: HTTP answers what JSON-RPC would not.
        request: message::Request,
    },
    /// To be told what happens, by [`Server::notify`], until [`Asked::Gone`].
    Subscribe {
        /// To be notified.
        id: ExchangeId,
        /// What of.
        topics: Vec<Topic>,
    },
    /// The client of an exchange left before its end.
    Gone {
        /// The exchange.
        id: ExchangeId,
    },
}

/// What a server counted since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests that were understood.
    pub requests: u64,
    /// Connections that were turned away.
    pub refused: u64,
    /// Records that clients were not told because they did not keep up.
    pub missed: u64,
    /// Connections now.
    pub clients: usize,
}

/// The server. Each turn of its owner's loop calls [`handle`](Server::handle) for every event whose
/// token it [`owns`](Server::owns), then [`turn`](Server::turn), answers what [`next_asked`](Server::next_asked)
/// asks, and ends with [`flush`](Server::flush); [`deadline`](Server::deadline) is when the next turn
/// is due at the latest.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    /// Token of the listener; those of clients follow.
    first: usize,
    access: Access,
    page: Page,
    clients: Slab<Client>,
    asked: VecDeque<Asked>,
    /// When to accept; `None` until the listener is ready.
    accept_at: Option<Instant>,
    next_number: u64,
    /// The client that is looked at first.
    next_slot: usize,
    counts: Counts,
    buffer: Vec<u8>,
}

impl Server {
    /// A server on `listening` that uses the tokens from `first` on, one more than [`MAX_CLIENTS`].
    ///
    /// # Errors
    /// When the system refuses the registration.
    pub fn new(
        registry: &Registry,
        first: Token,
        listening: Listening,
        access: Access,
        page: Page,
    ) -> io::Result<Server> {
        let mut listener = listening.socket;
        registry.register(&mut listener, first, Interest::READABLE)?;
        Ok(Server {
            listener,
            first: first.0,
            access,
            page,
            clients: Slab::new(),
            asked: VecDeque::new(),
            accept_at: None,
            next_number: 0,
            next_slot: 0,
            counts: Counts::default(),
            buffer: vec![0; 16 * 1024],
        })
    }

    /// Whether `token` is one of its own.
    pub fn owns(&self, token: Token) -> bool {
        (self.first..=self.first + MAX_CLIENTS).contains(&token.0)
    }

    /// A socket is ready.
    pub fn handle(&mut self, token: Token, readable: bool, writable: bool) {
        match token.0.checked_sub(self.first) {
            Some(0) => self.accept_at = Some(self.accept_at.unwrap_or_else(Instant::now)),
            Some(slot) => {
                if let Some(client) = self.clients.get_mut(slot - 1) {
                    client.handle(readable, writable);
                }
            }
            None => {}
        }
    }

    /// Accepts, and reads at most one request of each client, of a few clients in turn.
    pub fn turn(&mut self, registry: &Registry, now: Instant) {
        if self.accept_at.is_some_and(|at| at <= now) {
            self.accept_at = None;
            self.accept(registry, now);
        }
        let (first, mut left) = (self.next_slot, REQUESTS_PER_TURN);
        for slot in (0..MAX_CLIENTS).map(|step| (first + step) % MAX_CLIENTS) {
            let Some(client) = self.clients.get_mut(slot) else { continue };
            client.handle_timeout(now);
            if let Some(request) = client.receive(&mut self.buffer, now) {
                self.counts.requests += 1;
                self.route(slot, &request, now);
                left -= 1;
                if left == 0 {
                    self.next_slot = slot + 1;
                    return;
                }
            }
        }
    }

    /// What its owner is to answer.
    pub fn next_asked(&mut self) -> Option<Asked> {
        self.asked.pop_front()
    }

    /// A notification of an exchange: `params` is JSON without line ends. A client that does not keep
    /// up is told later how many it missed.
    pub fn notify(&mut self, id: ExchangeId, method: &str, params: &str, now: Instant) {
        if let Some(client) = client_of(&mut self.clients, id) {
            self.counts.missed += u64::from(client.notify(now, method, params));
        }
    }

    /// Whether the client of an exchange keeps up: what it is notified of now reaches it.
    pub fn has_room(&self, id: ExchangeId, now: Instant) -> bool {
        let client = self.clients.get(id.slot).filter(|it| it.exchange() == Some(id.number));
        client.is_some_and(|client| client.has_room(now))
    }

    /// The end of an exchange: the answer, or the last line after notifications.
    pub fn reply(&mut self, id: ExchangeId, body: &str, now: Instant) {
        if let Some(client) = client_of(&mut self.clients, id) {
            client.reply(now, body);
        }
    }

    /// Writes what clients take, and lets those go that have left.
    pub fn flush(&mut self, now: Instant) {
        for slot in 0..self.clients.capacity().min(MAX_CLIENTS) {
            let Some(client) = self.clients.get_mut(slot) else { continue };
            client.flush(now);
            if client.is_closed() {
                self.remove(slot);
            }
        }
    }

    /// When [`Server::turn`] is to be called, if nothing happens before.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let busy = !self.asked.is_empty() || self.clients.iter().any(|(_, it)| it.has_input());
        let clients = self.clients.iter().filter_map(|(_, client)| client.deadline());
        busy.then_some(now).into_iter().chain(self.accept_at).chain(clients).min()
    }

    /// What it counted so far.
    pub fn counts(&self) -> Counts {
        Counts { clients: self.clients.len(), ..self.counts }
    }

    fn remove(&mut self, slot: usize) {
        let client = self.clients.remove(slot);
        if let Some(number) = client.exchange() {
            self.asked.push_back(Asked::Gone { id: ExchangeId { slot, number } });
        }
    }

    fn accept(&mut self, registry: &Registry, now: Instant) {
        for _ in 0..ACCEPTS_PER_TURN {
            match self.listener.accept() {
                Ok((stream, from)) => {
                    if !self.make_room(from.ip()) {
                        self.counts.refused += 1;
                        continue;
                    }
                    let slot = self.clients.vacant_key();
                    let mut client = Client::new(stream, from.ip(), now);
                    let token = Token(self.first + 1 + slot);
                    let both = Interest::READABLE | Interest::WRITABLE;
                    if registry.register(&mut client.stream, token, both).is_ok() {
                        self.clients.insert(client);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::ConnectionAborted
                            | ErrorKind::ConnectionReset
                            | ErrorKind::Interrupted
                    ) => {}
                Err(_) => {
                    self.accept_at = Some(now + ACCEPT_REST);
                    return;
                }
            }
        }
        // More may be waiting, and mio reports each readiness once.
        self.accept_at = Some(now);
    }

    /// Whether a connection from `ip` has a place; one that idles may lose its own.
    fn make_room(&mut self, ip: IpAddr) -> bool {
        let of_address = self.clients.iter().filter(|(_, client)| client.ip == ip).count();
        if !ip.is_loopback() && of_address >= MAX_CLIENTS_PER_ADDRESS {
            return false;
        }
        if self.clients.len() < MAX_CLIENTS {
            return true;
        }
        let idle = self
            .clients
            .iter()
            .filter_map(|(slot, client)| Some((client.dispensable_since()?, slot)))
            .min();
        if let Some((_, slot)) = idle {
            self.remove(slot);
        }
        idle.is_some()
    }

    fn route(&mut self, slot: usize, request: &Request, now: Instant) {
        let manner = Manner::of(request);
        let Some(client) = self.clients.get_mut(slot) else { return };
        let mut say =
            |status, extra: &str, text: &str| client.say(now, manner, status, extra, text);
        if !self.access.is_meant(request) {
            return say(
                421,
                "",
                "this server is not known by that name; --http-host NAME adds one",
            );
        }
        let allowed: &[Method] = match &*request.path {
            "/" | "/healthz" | "/metrics" | "/events" => &[Method::Get, Method::Head],
            "/rpc" => &[Method::Post],
            _ => {
                return say(404, "", "there is /, /healthz, /metrics, /rpc and /events");
            }
        };
        if !allowed.contains(&request.method) {
            return match allowed {
                [Method::Post] => say(405, "Allow: POST\r\n", "/rpc takes POST"),
                _ => say(405, "Allow: GET, HEAD\r\n", "this takes GET and HEAD"),
            };
        }
        if matches!(&*request.path, "/rpc" | "/events") {
            if Access::is_of_foreign_page(request) {
                return say(403, "", "pages of other sites may not ask this server");
            }
            if !self.access.has_token(request) {
                let text =
                    "the header Authorization: Bearer TOKEN is missing, or the token is wrong";
                return say(401, "WWW-Authenticate: Bearer\r\n", text);
            }
        }
        match &*request.path {
            "/healthz" => say(200, "", "ok"),
            "/" => self.send_page(slot, manner, now),
            "/metrics" => {
                let open = asks_for_open_metrics(&request.accept);
                if let Some(id) = self.begin(slot, Purpose::Metrics { open }, manner, now) {
                    self.asked.push_back(Asked::Metrics { id, open });
                }
            }
            "/events" => match topics(&request.query) {
                Ok(topics) => {
                    if let Some(id) = self.begin(slot, Purpose::Events, manner, now) {
                        self.asked.push_back(Asked::Subscribe { id, topics });
                    }
                }
                Err(text) => say(400, "", &text),
            },
            _ => self.call(slot, request, manner, now),
        }
    }

    fn send_page(&mut self, slot: usize, manner: Manner, now: Instant) {
        let (page, nonce) = self.page.with_nonce();
        let head = Head {
            status: 200,
            content_type: "text/html; charset=utf-8",
            framing: Framing::Length(page.len()),
            keeps_alive: manner.keeps_alive,
            nonce: Some(&nonce),
            extra: "",
        };
        self.clients[slot].answer(now, manner, &head, &page);
    }

    /// Begins an exchange, unless it has ended with its head.
    fn begin(
        &mut self,
        slot: usize,
        purpose: Purpose,
        manner: Manner,
        now: Instant,
    ) -> Option<ExchangeId> {
        self.next_number += 1;
        let client = self.clients.get_mut(slot)?;
        client.begin(now, self.next_number, purpose, manner);
        client.exchange().map(|number| ExchangeId { slot, number })
    }

    fn call(&mut self, slot: usize, request: &Request, manner: Manner, now: Instant) {
        let Some(id) = self.begin(slot, Purpose::Call, manner, now) else { return };
        let refused = match message::Request::parse(&request.body) {
            Ok(call) if call.method == "subscribe" => {
                let text =
                    "subscribe needs a connection of its own: GET /events?events=links,drops";
                let error = RpcError::new(RpcError::REFUSED, text);
                message::reply_line(&call.id.unwrap_or_default(), Err(error))
            }
            Ok(mut call) => {
                call.id.get_or_insert_default();
                return self.asked.push_back(Asked::Call { id, request: call });
            }
            Err((of, error)) => message::reply_line(&of, Err(error)),
        };
        self.reply(id, &refused, now);
    }
}

fn client_of(clients: &mut Slab<Client>, id: ExchangeId) -> Option<&mut Client> {
    clients.get_mut(id.slot).filter(|client| client.exchange() == Some(id.number))
}

/// Whether an `Accept` names OpenMetrics, and does not rule it out.
fn asks_for_open_metrics(accept: &str) -> bool {
    accept.split(',').any(|item| {
        let mut parts = item.split(';').map(str::trim);
        parts.next() == Some("application/openmetrics-text") && parts.all(|it| it != "q=0")
    })
}

/// The topics that the query of `/events` names; all if it names none.
fn topics(query: &str) -> Result<Vec<Topic>, String> {
    let given = query.split('&').find_map(|pair| pair.strip_prefix("events="));
    let Some(given) = given.filter(|given| !given.is_empty()) else {
        return Ok(vec![Topic::Links, Topic::Searches, Topic::Transfers, Topic::Drops]);
    };
    let given = percent_decode_str(given).decode_utf8_lossy();
    let topic = |name: &str| {
        serde_json::from_value(name.into())
            .map_err(|_| "events is a list of links, searches, transfers and drops".to_owned())
    };
    given.split(',').map(topic).collect()
}
