//! The page, the metrics and the control methods over HTTP: where they are, and who may use them.

use super::clients::ClientId;
use super::error::DaemonError;
use super::run::Run;
use super::settings::Settings;
use super::{metrics, views};
use crate::control::params::SubscribeParams;
use crate::control::results::TransferState;
use crate::driver::OWNER_TOKENS;
use crate::http::{Access, Asked, ExchangeId, Listening, MAX_CLIENTS, SERVENT, Server};
use mio::{Registry, Token};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, IsTerminal, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The first of the tokens of the server's sockets; those below are of the control socket.
const FIRST_TOKEN: Token = Token(OWNER_TOKENS.start + (1 << 10));
const _: () = assert!(super::door::TOKENS.end <= FIRST_TOKEN.0);
/// The file of the token, in the state folder.
const TOKEN_FILE: &str = "http-token";
/// Bytes of entropy of a new token.
const TOKEN_BYTES: usize = 32;
/// Shortest token that a user may write there himself.
const MIN_TOKEN_CHARS: usize = 16;

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
        tell_where(addr, &token, &path);
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

/// Logs the address of the page: with the token only where nobody keeps the log.
fn tell_where(addr: SocketAddrV4, token: &str, path: &Path) {
    let shown = match addr.ip().is_unspecified() {
        true => SocketAddrV4::new(Ipv4Addr::LOCALHOST, addr.port()),
        false => addr,
    };
    match io::stderr().is_terminal() {
        true => log::info!("the page is at http://{shown}/#{token}"),
        false => log::info!("the page is at http://{shown}/, its token in {}", path.display()),
    }
    if !addr.ip().is_loopback() {
        log::warn!(
            "the page on {addr} can be reached from other machines, and is not encrypted: whoever \
             has its token, or reads it on the way, steers this servent"
        );
    }
}

fn bind_failure(addr: SocketAddrV4, error: &io::Error) -> String {
    let hint = match error.kind() {
        ErrorKind::AddrInUse => "another program has it; choose another port with --http",
        ErrorKind::AddrNotAvailable => {
            "this machine has no such address; choose one it has with --http"
        }
        ErrorKind::PermissionDenied => "ports below 1024 need privileges; choose a higher one",
        _ => "choose another address with --http",
    };
    let addr = SocketAddr::V4(addr);
    format!("cannot serve the page on {addr}: {error}: {hint}")
}

/// The token of the file, which is made if it is missing. Nobody else may read it.
fn token(path: &Path) -> io::Result<String> {
    match File::open(path) {
        Ok(file) => {
            let mut text = String::new();
            file.take(4_096).read_to_string(&mut text)?;
            let token = text.trim();
            let is_sound =
                token.len() >= MIN_TOKEN_CHARS && token.chars().all(|c| c.is_ascii_graphic());
            if !is_sound {
                let text = format!(
                    "it has no token of at least {MIN_TOKEN_CHARS} characters without blanks; delete \
                     it to have one made"
                );
                return Err(io::Error::new(ErrorKind::InvalidData, text));
            }
            fs::set_permissions(path, Permissions::from_mode(0o600))?;
            Ok(token.to_owned())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let mut bytes = [0; TOKEN_BYTES];
            File::open("/dev/urandom")?.read_exact(&mut bytes)?;
            let token = data_encoding::HEXLOWER.encode(&bytes);
            write_new(path, &token)?;
            Ok(token)
        }
        Err(error) => Err(error),
    }
}

/// Writes beside, and renames: a file that was cut off would be no token.
fn write_new(path: &Path, token: &str) -> io::Result<()> {
    let beside: PathBuf = path.with_extension("new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(&beside)?.write_all(format!("{token}\n").as_bytes())?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_made_once_and_is_nobody_elses() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(TOKEN_FILE);
        let first = token(&path).unwrap();
        assert_eq!(first.len(), 2 * TOKEN_BYTES);
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o600);
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert_eq!(token(&path).unwrap(), first, "kept");
        assert_eq!(mode(), 0o600, "closed again");
        let other = token(&folder.path().join("other")).unwrap();
        assert_ne!(other, first);
        for wrong in [
            "",
            "short\n",
            "has blanks in between\n",
            "\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}\u{fc}",
        ] {
            fs::write(&path, wrong).unwrap();
            assert!(token(&path).unwrap_err().to_string().contains("delete it"), "{wrong}");
        }
    }
}
