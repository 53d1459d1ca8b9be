//! Orders to a running network: stop nodes, set faults, capture.

use super::control::{KeeperRequest, ask, status, tell};
use super::folder::{Conditions, RunFolder};
use super::process::poll_for;
use std::io::{self, ErrorKind, Read, Write};
use std::time::Duration;

/// A servent stops within this time.
const STOP_TIMEOUT: Duration = Duration::from_secs(6);
/// Interval at which a capture checks whether to end.
const CAPTURE_POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Stops a node, with TERM or, if `hard`, with KILL.
///
/// # Errors
/// When it does not stop.
pub fn kill(folder: &RunFolder, node: usize, hard: bool) -> io::Result<()> {
    tell(folder, &KeeperRequest::Kill { node, hard })?;
    let stopped = || Ok(status(folder)?.nodes[node].pid.is_none().then_some(()));
    poll_for(STOP_TIMEOUT, stopped)?
        .ok_or_else(|| io::Error::new(ErrorKind::TimedOut, "it does not stop; try --hard"))
}

/// Changes the conditions of links.
///
/// # Errors
/// When the network is not running.
pub fn set(
    folder: &RunFolder,
    links: &[usize],
    change: &dyn Fn(&mut Conditions),
) -> io::Result<()> {
    let now = status(folder)?;
    for &link in links {
        let mut conditions = now.links[link].conditions.clone();
        change(&mut conditions);
        tell(folder, &KeeperRequest::Set { links: vec![link], conditions })?;
    }
    Ok(())
}

/// Resets the connections of links; the servents dial again.
///
/// # Errors
/// When the network is not running.
pub fn reset(folder: &RunFolder, links: &[usize]) -> io::Result<()> {
    tell(folder, &KeeperRequest::Reset { links: links.to_vec() })
}

/// Writes what the links carry to `out`, as a pcapng file, until `stop` returns true or the network
/// ends. Returns the number of bytes written.
///
/// # Errors
/// When the network is not running, or `out` fails.
pub fn capture(
    folder: &RunFolder,
    out: &mut dyn Write,
    stop: &dyn Fn() -> bool,
) -> io::Result<u64> {
    let (_, mut reader) = ask(folder, &KeeperRequest::Capture)?;
    reader.get_ref().set_read_timeout(Some(CAPTURE_POLL_INTERVAL))?;
    let (mut buffer, mut written) = (vec![0; 64 * 1024], 0);
    while !stop() {
        match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                out.write_all(&buffer[..count])?;
                out.flush()?;
                written += count as u64;
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}
