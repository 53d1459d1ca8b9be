//! Requests to the keeper of a network and its replies: one line of JSON each, on a Unix socket.

use super::folder::{Conditions, RunFolder};
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::net::SocketAddrV4;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// The keeper replies within this time.
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);

/// A request to the keeper.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum KeeperRequest {
    /// Asks for the state of nodes and links.
    Status,
    /// Faults of the plan may begin: all links have stood.
    Arm,
    /// Sets the conditions of links.
    Set { links: Vec<usize>, conditions: Conditions },
    /// Resets the connections of links.
    Reset { links: Vec<usize> },
    /// Stops a node: with TERM, or with KILL.
    Kill { node: usize, hard: bool },
    /// Starts every node that is not running.
    Start,
    /// Streams what the links carry as a pcapng file, until the client closes.
    Capture,
    /// Stops all nodes and the keeper.
    Stop,
}

/// A reply of the keeper.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum KeeperReply {
    Done,
    Status(NetworkStatus),
    /// The request failed; a sentence says why.
    Failed(String),
}

/// The state of nodes and links.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct NetworkStatus {
    pub(super) nodes: Vec<NodeStatus>,
    pub(super) links: Vec<LinkStatus>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct NodeStatus {
    /// Its process, while it runs.
    pub(super) pid: Option<u32>,
    /// Its exit status or signal, in words.
    pub(super) ended: Option<String>,
    /// It was stopped on purpose.
    pub(super) wanted_down: bool,
    /// A fault of the plan stopped it, not a command.
    pub(super) by_plan: bool,
    /// It runs, and a fault of the plan has stopped its process.
    pub(super) stalled: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct LinkStatus {
    /// The keeper's port that the dialling node connects to.
    pub(super) relay: SocketAddrV4,
    pub(super) conditions: Conditions,
    /// Relayed connections.
    pub(super) open: usize,
}

/// Sends a request; returns the reply and the connection.
pub(super) fn ask(
    folder: &RunFolder,
    request: &KeeperRequest,
) -> io::Result<(KeeperReply, BufReader<UnixStream>)> {
    let mut stream = UnixStream::connect(folder.socket()).map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => io::Error::new(
            ErrorKind::NotConnected,
            format!(
                "the network in {} is no longer running; \"servent testnet down\" removes what is left",
                folder.path().display()
            ),
        ),
        _ => error,
    })?;
    stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut reader = BufReader::new(stream);
    let mut answer = String::new();
    reader.read_line(&mut answer).map_err(|error| match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            let (folder, waited) = (folder.path().display(), REPLY_TIMEOUT.as_secs());
            let text = format!(
                "no answer from the keeper of the network in {folder} for {waited} s: it hangs, or is \
                 stopped"
            );
            io::Error::new(ErrorKind::TimedOut, text)
        }
        _ => error,
    })?;
    if answer.is_empty() {
        return Err(io::Error::other("the keeper of the network closed the connection"));
    }
    match serde_json::from_str(&answer)? {
        KeeperReply::Failed(text) => Err(io::Error::new(ErrorKind::InvalidInput, text)),
        reply => Ok((reply, reader)),
    }
}

/// Whether there is a keeper.
pub(super) fn is_running(folder: &RunFolder) -> bool {
    UnixStream::connect(folder.socket()).is_ok()
}

/// Sends a request whose reply has no content.
pub(super) fn tell(folder: &RunFolder, request: &KeeperRequest) -> io::Result<()> {
    ask(folder, request).map(|_| ())
}

/// The state of nodes and links.
pub(super) fn status(folder: &RunFolder) -> io::Result<NetworkStatus> {
    match ask(folder, &KeeperRequest::Status)?.0 {
        KeeperReply::Status(status) => Ok(status),
        _ => Err(io::Error::other("the keeper of the network sent another reply than the status")),
    }
}
