//! Where control sockets are: named after the address their servent listens on, in the folder of the
//! session if there is one, else in the state folder of the servent.

use etcetera::{BaseStrategy, HomeDirError, base_strategy::Xdg};
use socket2::{Domain, SockAddr, Socket, Type};
use std::fs;
use std::io::{self, ErrorKind};
use std::net::SocketAddrV4;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest path of a Unix socket in bytes: `sun_path` of Linux has 108 with the final 0, of the BSDs
/// and macOS 104.
pub const MAX_SOCKET_PATH: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A servent that answered on its control socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// The address it listens on, from the name of its socket.
    pub addr: SocketAddrV4,
    /// Its control socket.
    pub socket: PathBuf,
}

/// `$XDG_STATE_HOME/servent`: what commands keep, and a folder for each address listened on.
///
/// # Errors
/// When there is no home folder.
pub fn states() -> Result<PathBuf, HomeDirError> {
    let base = Xdg::new()?;
    let state = base.state_dir().unwrap_or_else(|| base.home_dir().join(".local/state"));
    Ok(state.join("servent"))
}

/// The default state folder of the servent that listens on `addr`.
///
/// # Errors
/// When there is no home folder.
pub fn default_state(addr: SocketAddrV4) -> Result<PathBuf, HomeDirError> {
    Ok(states()?.join(format!("{}-{}", addr.ip(), addr.port())))
}

/// The control socket of the servent that listens on `addr`, with this state folder, unless it was
/// given another.
pub fn default_socket(addr: SocketAddrV4, state: &Path) -> PathBuf {
    let name = format!("{}-{}.sock", addr.ip(), addr.port());
    session().unwrap_or_else(|| state.to_owned()).join(name)
}

/// Refuses a path that no Unix socket can have.
///
/// # Errors
/// With a sentence that names the limit.
pub fn check_path(path: &Path) -> Result<(), String> {
    let bytes = path.as_os_str().as_bytes().len();
    if bytes <= MAX_SOCKET_PATH {
        return Ok(());
    }
    Err(format!(
        "the path of the control socket has {bytes} bytes, a Unix socket takes {MAX_SOCKET_PATH}: {}; \
         name a shorter one with --control, or run without with --no-control",
        path.display()
    ))
}

/// Connects to a control socket.
///
/// # Errors
/// What the system says; `WouldBlock` when the servent accepts no connection for ten seconds.
pub fn connect(socket: &Path) -> io::Result<UnixStream> {
    let stream = unconnected(socket)?;
    // Also bounds the wait for room in the queue of connections of a servent that hangs.
    stream.set_write_timeout(Some(CONNECT_TIMEOUT))?;
    stream.connect(&SockAddr::unix(socket)?)?;
    Ok(UnixStream::from(OwnedFd::from(stream)))
}

/// Connects to a control socket if that takes no wait.
///
/// # Errors
/// What the system says; `WouldBlock` when the servent has no room for another connection now.
pub fn connect_now(socket: &Path) -> io::Result<UnixStream> {
    let stream = unconnected(socket)?;
    stream.set_nonblocking(true)?;
    stream.connect(&SockAddr::unix(socket)?)?;
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(CONNECT_TIMEOUT))?;
    Ok(UnixStream::from(OwnedFd::from(stream)))
}

/// A socket for a connection to `socket`.
fn unconnected(socket: &Path) -> io::Result<Socket> {
    let bytes = socket.as_os_str().len();
    if bytes > MAX_SOCKET_PATH {
        let text = format!("a Unix socket takes a path of {MAX_SOCKET_PATH} bytes, not of {bytes}");
        return Err(io::Error::new(ErrorKind::InvalidInput, text));
    }
    Socket::new(Domain::UNIX, Type::STREAM, None)
}

/// The servents of this user that answer, by address. A socket nobody answers is no running servent.
pub fn running() -> Vec<Running> {
    let mut found: Vec<Running> = Vec::new();
    let answers = |running: &Running| connect(&running.socket).is_ok();
    for folder in folders() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        let sockets =
            entries.filter_map(io::Result::ok).filter_map(|entry| of_socket(entry.path()));
        found.extend(sockets.filter(answers));
    }
    found.sort_by_key(|running| running.addr);
    found.dedup_by_key(|running| running.addr);
    found
}

/// Folders in which usual sockets may be.
fn folders() -> Vec<PathBuf> {
    let states = states().ok();
    let own = states.iter().filter_map(|states| fs::read_dir(states).ok()).flatten();
    let own = own.filter_map(io::Result::ok).map(|entry| entry.path());
    session().into_iter().chain(own).collect()
}

/// `$XDG_RUNTIME_DIR/servent`.
fn session() -> Option<PathBuf> {
    Some(Xdg::new().ok()?.runtime_dir()?.join("servent"))
}

fn of_socket(socket: PathBuf) -> Option<Running> {
    let name = socket.file_name()?.to_str()?.strip_suffix(".sock")?;
    let (ip, port) = name.rsplit_once('-')?;
    let addr = SocketAddrV4::new(ip.parse().ok()?, port.parse().ok()?);
    Some(Running { addr, socket })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_named_after_its_address() {
        let addr = "127.0.0.1:6346".parse().unwrap();
        let socket = default_socket(addr, Path::new("/x/state"));
        assert!(socket.ends_with("127.0.0.1-6346.sock"), "{}", socket.display());
        assert_eq!(of_socket(socket.clone()), Some(Running { addr, socket }));
        for other in ["hosts", "x.sock", "1.2.3-5.sock", "127.0.0.1-x.sock"] {
            assert_eq!(of_socket(PathBuf::from(other)), None, "{other}");
        }
    }

    #[test]
    fn a_path_too_long_is_refused_with_the_limit() {
        let path = |bytes: usize| PathBuf::from("/".to_owned() + &"x".repeat(bytes - 1));
        assert_eq!(check_path(&path(MAX_SOCKET_PATH)), Ok(()));
        let text = check_path(&path(MAX_SOCKET_PATH + 1)).unwrap_err();
        assert!(
            text.contains(&MAX_SOCKET_PATH.to_string()) && text.contains("--control"),
            "{text}"
        );
    }
}
