//! What can be done to a network that runs.

use super::control::{Request, ask, status, tell};
use super::folder::{Conditions, RunFolder};
use std::io::{self, ErrorKind, Read, Write};
use std::thread;
use std::time::{Duration, Instant};

/// A servent that was told to stop does so within this time.
const PATIENCE: Duration = Duration::from_secs(6);
/// How often things are looked at while they are waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// How often a capture looks whether it is to end.
const CAPTURE_TURN: Duration = Duration::from_millis(50);

/// Ends a node, with TERM or, if it is to have no time for a last word, with KILL.
///
/// # Errors
/// When it does not end.
pub fn kill(folder: &RunFolder, node: usize, hard: bool) -> io::Result<()> {
    tell(folder, &Request::Kill { node, hard })?;
    let deadline = Instant::now() + PATIENCE;
    while status(folder)?.nodes[node].pid.is_some() {
        if Instant::now() > deadline {
            return Err(io::Error::new(ErrorKind::TimedOut, "it does not stop; try --hard"));
        }
        thread::sleep(LOOK_AGAIN);
    }
    Ok(())
}

/// Has links behave as `change` makes of how they behave now.
///
/// # Errors
/// When the network has died.
pub fn set(
    folder: &RunFolder,
    links: &[usize],
    change: &dyn Fn(&mut Conditions),
) -> io::Result<()> {
    let now = status(folder)?;
    for &link in links {
        let mut conditions = now.links[link].conditions.clone();
        change(&mut conditions);
        tell(folder, &Request::Set { links: vec![link], conditions })?;
    }
    Ok(())
}

/// Resets the connections of links; the servents dial again.
///
/// # Errors
/// When the network has died.
pub fn reset(folder: &RunFolder, links: &[usize]) -> io::Result<()> {
    tell(folder, &Request::Reset { links: links.to_vec() })
}

/// Writes what the links carry to `out`, as a pcapng file, until `stop` says so or the network ends.
/// Says how many bytes were written.
///
/// # Errors
/// When the network has died, or `out` takes no more.
pub fn capture(
    folder: &RunFolder,
    out: &mut dyn Write,
    stop: &dyn Fn() -> bool,
) -> io::Result<u64> {
    let (_, mut reader) = ask(folder, &Request::Capture)?;
    reader.get_ref().set_read_timeout(Some(CAPTURE_TURN))?;
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
