//! What is said to the keeper of a network, and how: a line of JSON there, a line of JSON back.

use super::folder::{Conditions, RunFolder};
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::net::SocketAddrV4;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// The keeper answers at once; one that does not within this time hangs.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the keeper can be asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Request {
    /// How things stand.
    Status,
    /// Faults of the plan may begin.
    Arm,
    /// Links, by number, are to behave so from now on.
    Set { links: Vec<usize>, conditions: Conditions },
    /// Connections of these links are reset.
    Reset { links: Vec<usize> },
    /// A node is ended: with TERM, or with KILL.
    Kill { node: usize, hard: bool },
    /// What is not running is started.
    Start,
    /// All that is carried, as a pcapng file, until this side hangs up.
    Capture,
    /// Everything is ended, the keeper too.
    Stop,
}

/// What it answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reply {
    Done,
    Status(Status),
    /// It cannot be done.
    Wrong(String),
}

/// How things stand.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Status {
    pub(super) nodes: Vec<NodeStatus>,
    pub(super) links: Vec<LinkStatus>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct NodeStatus {
    /// While it runs.
    pub(super) pid: Option<u32>,
    /// How it ended otherwise.
    pub(super) ended: Option<String>,
    /// It was ended on purpose.
    pub(super) wanted_down: bool,
    /// By a fault of the plan, not by command.
    pub(super) by_plan: bool,
    /// It runs, but a fault of the plan keeps it from doing anything.
    pub(super) stalled: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct LinkStatus {
    /// Where the dialling node dials.
    pub(super) relay: SocketAddrV4,
    pub(super) conditions: Conditions,
    /// Connections that are carried.
    pub(super) open: usize,
}

/// Sends one request and gives back the connection with what was answered.
pub(super) fn ask(
    folder: &RunFolder,
    request: &Request,
) -> io::Result<(Reply, BufReader<UnixStream>)> {
    let mut stream = UnixStream::connect(folder.socket()).map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => io::Error::new(
            ErrorKind::NotConnected,
            format!(
                "the network in {} is not running any more; \"servent testnet down\" cleans up",
                folder.path().display()
            ),
        ),
        _ => error,
    })?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut reader = BufReader::new(stream);
    let mut answer = String::new();
    reader.read_line(&mut answer)?;
    if answer.is_empty() {
        return Err(io::Error::other("the keeper of the network hung up"));
    }
    match serde_json::from_str(&answer)? {
        Reply::Wrong(text) => Err(io::Error::new(ErrorKind::InvalidInput, text)),
        reply => Ok((reply, reader)),
    }
}

/// Sends a request that is only to be done.
pub(super) fn tell(folder: &RunFolder, request: &Request) -> io::Result<()> {
    ask(folder, request).map(|_| ())
}

/// How things stand.
pub(super) fn status(folder: &RunFolder) -> io::Result<Status> {
    match ask(folder, &Request::Status)?.0 {
        Reply::Status(status) => Ok(status),
        _ => Err(io::Error::other("the keeper of the network answered something else")),
    }
}
