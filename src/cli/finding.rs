//! Which running servent a command uses. The first of these that applies:
//!
//! 1. `--connect` or `--guest`: none;
//! 2. `--servent`;
//! 3. the running servent at `listen` of the configuration file, or where it listens by default;
//! 4. the only one running;
//! 5. none. With several running it is an error to name none of them.

use super::args::JoinArgs;
use super::exit::Failure;
use super::settings::{usual_servent, usual_socket};
use super::steer_args::SteerArgs;
use crate::control::client::{Client, ClientError};
use crate::control::message::RpcError;
use crate::control::place::{self, Running};
use std::net::SocketAddrV4;
use std::path::Path;

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        let text = error.to_string();
        match error {
            ClientError::NotRunning(..) => Failure::not_connected(text),
            ClientError::Gone(_) | ClientError::Silent(..) => Failure::no_answer(text),
            ClientError::NotAServent(..) => Failure::failed(text),
            ClientError::Refused(error) => match error.code {
                RpcError::UNKNOWN_METHOD | RpcError::INVALID_PARAMS => Failure::usage(text),
                RpcError::NOT_WRITABLE => Failure::disk(text),
                _ => Failure::failed(text),
            },
        }
    }
}

/// The servent through which a command reaches the network; `None` if it is to be a guest.
/// `guest` says so for other reasons than its options.
///
/// # Errors
/// When the servent that is named does not answer, or several run and none is named.
pub(super) fn find_unless_guest(join: &JoinArgs, guest: bool) -> Result<Option<Client>, Failure> {
    if guest || join.guest || !join.connect.is_empty() {
        return Ok(None);
    }
    find(&join.steer)
}

/// The servent that a command steers or watches.
///
/// # Errors
/// As above; also when none runs.
pub(super) fn find_running(steer: &SteerArgs) -> Result<Client, Failure> {
    find(steer)?.ok_or_else(|| {
        Failure::not_connected(
            "no servent is running; start one with 'servent run', or name its control socket with \
             --servent",
        )
    })
}

fn find(steer: &SteerArgs) -> Result<Option<Client>, Failure> {
    if let Some(named) = &steer.servent {
        return connect_to(named).map(Some);
    }
    if let Some(client) = usual_socket()?.and_then(|socket| Client::connect(&socket).ok()) {
        return Ok(Some(client));
    }
    let running = place::running();
    let (listen, _) = usual_servent()?;
    match (at(&running, listen), &running[..]) {
        (Some(usual), _) => Ok(Some(Client::connect(&usual.socket)?)),
        (None, []) => Ok(None),
        (None, [only]) => Ok(Some(Client::connect(&only.socket)?)),
        (None, several) => Err(Failure::usage(format!(
            "{} servents are running, at {}: name one with --servent",
            several.len(),
            addresses(several)
        ))),
    }
}

/// Connects to the servent of `--servent`.
fn connect_to(named: &str) -> Result<Client, Failure> {
    let Ok(addr) = named.parse::<SocketAddrV4>() else {
        if !named.contains('/') && named.contains(':') && !Path::new(named).exists() {
            return Err(Failure::usage(format!(
                "--servent takes an IPv4 address and a port such as 127.0.0.1:6346, or the path of a \
                 control socket; \"{named}\" was given"
            )));
        }
        return Ok(Client::connect(Path::new(named))?);
    };
    let running = place::running();
    let Some(found) = at(&running, addr) else {
        let others = match &running[..] {
            [] => String::new(),
            others => format!("; running: {}", addresses(others)),
        };
        return Err(Failure::not_connected(format!(
            "no servent with a control socket in the usual place listens on {addr}{others}"
        )));
    };
    Ok(Client::connect(&found.socket)?)
}

/// The servent on this address, or on all addresses and this port.
fn at(running: &[Running], addr: SocketAddrV4) -> Option<&Running> {
    let on_all = |it: &&Running| it.addr.ip().is_unspecified() && it.addr.port() == addr.port();
    running.iter().find(|it| it.addr == addr).or_else(|| running.iter().find(on_all))
}

fn addresses(running: &[Running]) -> String {
    running.iter().map(|it| it.addr.to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servent_on_all_addresses_is_found_by_any_of_them() {
        let running = |addr: &str| Running { addr: addr.parse().unwrap(), socket: addr.into() };
        let all = [running("0.0.0.0:6346"), running("127.0.0.1:6346"), running("127.0.0.1:7")];
        let found = |addr: &str| at(&all, addr.parse().unwrap()).map(|it| it.addr.to_string());
        assert_eq!(found("127.0.0.1:6346").unwrap(), "127.0.0.1:6346");
        assert_eq!(found("10.0.0.7:6346").unwrap(), "0.0.0.0:6346");
        assert_eq!(found("10.0.0.7:7"), None);
    }
}
