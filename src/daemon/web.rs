//! The page, the metrics and the control methods over HTTP: where they are, and who may use them.

use super::clients::ClientId;
use super::error::DaemonError;
use super::run::Run;
use super::settings::Settings;
use super::{metrics, views};
use crate::control::params::SubscribeParams;
use crate::control::results::TransferState;
use crate::driver::OWNER_TOKENS;
use crate::http::place::{bind_failure, tell_where, token};
use crate::http::{Access, Asked, ExchangeId, Listening, MAX_CLIENTS, SERVENT, Server};
use mio::{Registry, Token};
use std::io;
use std::net::SocketAddrV4;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// The first of the tokens of the server's sockets; those below are of the control socket.
const FIRST_TOKEN: Token = Token(OWNER_TOKENS.start + (1 << 10));
const _: () = assert!(super::door::TOKENS.end <= FIRST_TOKEN.0);
/// The file of the token, in the state folder.
const TOKEN_FILE: &str = "http-token";

/// The server, and what it tells of itself.
#[derive(Debug)]
pub(super) struct Web {
    pub(super) server: Server,
    addr: SocketAddrV4,
    /// Unix time of the start, in seconds.
    started: f64,
}

impl Web {
    /// Serves the page at the address that was asked for, if one was, and logs where.
    ///
    /// # Errors
    /// When the address is taken, or the file of the token cannot be read or written.
    pub(super) fn open(
        settings: &Settings,
        state: &Path,
        registry: &Registry,
    ) -> Result<Option<Web>, DaemonError> {
        let Some(asked) = settings.http else { return Ok(None) };
        let fail = |error: io::Error| DaemonError::Failed(bind_failure(asked, &error));
        let listening = Listening::bind(asked.into()).map_err(fail)?;
        let path = state.join(TOKEN_FILE);
        let token = token(&path).map_err(|error| {
            DaemonError::Disk(format!("the token of the page, {}: {error}", path.display()))
        })?;
        let addr = SocketAddrV4::new(*asked.ip(), listening.addr().port());
        let access = Access::new(token.clone(), settings.http_hosts.clone());
        let server =
            Server::new(registry, FIRST_TOKEN, listening, access, SERVENT).map_err(fail)?;
        tell_where(addr, &token, &path, "this servent");
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Some(Web { server, addr, started: started.as_secs_f64() }))
    }

    pub(super) fn addr(&self) -> SocketAddrV4 {
        self.addr
    }
}

impl Run<'_> {
    /// Answers what was asked over HTTP in this turn.
    pub(super) fn serve_web(&mut self) {
        while let Some(asked) = self.clients.next_asked() {
            match asked {
                Asked::Metrics { id, open } => self.answer_metrics(id, open),
                Asked::Call { id, request } => self.request(ClientId::Web(id), &request),
                Asked::Subscribe { id, topics } => {
                    // The stream has begun; there is no reply to send.
                    self.subscribe(ClientId::Web(id), SubscribeParams { events: topics });
                }
                Asked::Gone { id } => self.forget_client(ClientId::Web(id)),
            }
        }
    }

    fn answer_metrics(&mut self, id: ExchangeId, open: bool) {
        let states = [
            TransferState::Queued,
            TransferState::Waiting,
            TransferState::Active,
            TransferState::Paused,
            TransferState::Done,
            TransferState::Failed,
        ];
        let core = self.driver.core();
        let mut transfers = vec![("up", TransferState::Active.name(), core.uploads())];
        let downloads = states.map(|state| ("down", state.name(), self.queue.count(&[state])));
        transfers.extend(downloads);
        let Some(web) = &self.clients.web else { return };
        let text = metrics::text(
            &metrics::Measured {
                core,
                turns: self.driver.turn_times(),
                links: views::link_counts(core),
                limits: &views::limits(core, &self.own_limits()),
                transfers: &transfers,
                http: web.server.counts(),
                started: web.started,
            },
            open,
        );
        self.clients.answer_text(id, &text);
    }

    /// The connections of the page, and how many there may be.
    pub(super) fn web_clients(&self) -> (usize, usize) {
        let clients = self.clients.web.as_ref().map_or(0, |web| web.server.counts().clients);
        (clients, if self.clients.web.is_some() { MAX_CLIENTS } else { 0 })
    }
}
