//! The page of a network: a process of its own, so that nothing it does delays a relay of the keeper.
//!
//! ```text
//! browser ── HTTP ──▶ loop ──▶ lanes: state, searches, orders ──▶ keeper, control sockets of nodes
//! ```
//!
//! The command that asks for the page binds its address and hands the socket over as standard input:
//! an address that is taken is an error before anything is started. The process has the mark of the
//! network and ends with it.

mod answers;
mod lane;

use super::control;
use super::folder::{Network, RunFolder};
use super::process;
use crate::control::message::{self, RpcError};
use crate::http::place::{bind_failure, tell_where, token};
use crate::http::{Access, Asked, ExchangeId, Listening, NETWORK, Server};
use answers::lane_of;
use lane::{Job, Lanes};
use mio::{Events, Poll, Token, Waker};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::{SocketAddrV4, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// Token of the lanes' waker.
const WAKER: Token = Token(0);
/// The first of the tokens of the server's sockets.
const FIRST_TOKEN: Token = Token(1);
/// Interval of checking that the network still runs.
const KEEPER_INTERVAL: Duration = Duration::from_secs(1);

/// A bound address, for the page of a network that may not have been started yet.
#[derive(Debug)]
pub struct PageAddress {
    socket: TcpListener,
    addr: SocketAddrV4,
}

impl PageAddress {
    /// Binds; port 0 picks one.
    ///
    /// # Errors
    /// When the address is taken or is not one of this machine; the message says what to do.
    pub fn bind(asked: SocketAddrV4) -> io::Result<PageAddress> {
        let fail = |error: io::Error| io::Error::other(bind_failure(asked, &error));
        let socket = TcpListener::bind(asked).map_err(fail)?;
        let port = socket.local_addr().map_err(fail)?.port();
        Ok(PageAddress { socket, addr: SocketAddrV4::new(*asked.ip(), port) })
    }
}

/// Serves the page of the network in `folder` until the network ends, and logs where. `hosts` are names
/// it is known by, beside IP addresses and `localhost`.
///
/// # Errors
/// When there is no network, or its folder cannot be written.
pub fn open_page(folder: &RunFolder, at: PageAddress, hosts: &[String]) -> io::Result<()> {
    let network: Network = folder.network()?;
    let path = folder.token();
    let token = token(&path).map_err(|error| {
        let text = format!("the token of the page, {}: {error}", path.display());
        io::Error::new(error.kind(), text)
    })?;
    let mut command = process::command(&std::env::current_exe()?);
    command.args(["testnet", "page", "--dir"]).arg(folder.path());
    command.args(hosts.iter().flat_map(|name| ["--http-host", name]));
    let log = File::options().create(true).append(true).open(folder.page_log())?;
    command.stdin(Stdio::from(OwnedFd::from(at.socket))).stdout(Stdio::null()).stderr(log);
    command.env("RUST_LOG", "info");
    // Ctrl-C on the terminal stops the network, which ends its page.
    command.process_group(0);
    process::mark(&mut command, &network.id);
    command.spawn()?;
    tell_where(at.addr, &token, &path, "this network");
    Ok(())
}

/// Serves the page of the network in `folder` on the socket that is standard input, until the network
/// ends.
///
/// # Errors
/// When standard input is no socket that listens, or the system refuses.
pub fn serve_page(folder: &RunFolder, hosts: Vec<String>) -> io::Result<()> {
    process::raise_file_limit();
    let socket = TcpListener::from(io::stdin().as_fd().try_clone_to_owned()?);
    let listening = Listening::from_std(socket).map_err(|error| {
        let text = format!(
            "standard input is no listening socket ({error}): \"servent testnet up --http\" starts this"
        );
        io::Error::new(ErrorKind::InvalidInput, text)
    })?;
    let mut poll = Poll::new()?;
    let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
    let access = Access::new(token(&folder.token())?, hosts);
    let mut server = Server::new(poll.registry(), FIRST_TOKEN, listening, access, NETWORK)?;
    let (done, answered) = channel();
    let lanes = Lanes::new(folder, &done, &waker)?;
    let (mut events, mut check_at) = (Events::with_capacity(64), Instant::now());
    loop {
        let now = Instant::now();
        if check_at <= now {
            if !control::is_running(folder) {
                return Ok(());
            }
            check_at = now + KEEPER_INTERVAL;
        }
        let due = server.deadline(now).map_or(check_at, |at| at.min(check_at));
        match poll.poll(&mut events, Some(due.saturating_duration_since(now))) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        for event in &events {
            if server.owns(event.token()) {
                server.handle(event.token(), event.is_readable(), event.is_writable());
            }
        }
        let now = Instant::now();
        server.turn(poll.registry(), now);
        while let Some(asked) = server.next_asked() {
            if let Some((id, line)) = begin(asked, &lanes) {
                server.reply(id, &line, now);
            }
        }
        for (id, text) in answered.try_iter() {
            server.reply(id, &text, now);
        }
        server.flush(now);
    }
}

/// Hands what is asked to a lane, or answers at once.
fn begin(asked: Asked, lanes: &Lanes) -> Option<(ExchangeId, String)> {
    let (id, request) = match asked {
        // The answer will find nobody.
        Asked::Gone { .. } => return None,
        // The page asks for the state; nothing is streamed.
        Asked::Subscribe { id, .. } => return Some((id, String::new())),
        Asked::Metrics { id, open } => {
            let job = Job::Metrics { id, open };
            let busy = (id, "# the network is busy\n".to_owned());
            return (!lanes.push(lane::Lane::State, job)).then_some(busy);
        }
        Asked::Call { id, request } => (id, request),
    };
    let reply_to = request.id.clone().unwrap_or_default();
    let refused = match lane_of(&request.method) {
        Some(lane) => {
            if lanes.push(lane, Job::Call { id, request }) {
                return None;
            }
            RpcError::new(RpcError::REFUSED, "too much is asked at a time; try again")
        }
        None => answers::unknown(&request.method),
    };
    Some((id, message::reply_line(&reply_to, Err(refused))))
}
