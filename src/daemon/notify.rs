//! Tells a service manager how the servent is: sd_notify(3), datagrams on the socket that
//! `NOTIFY_SOCKET` names.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Tells the manager that started this process, if one wants to know. A manager that cannot be told is
/// logged, and no reason to stop.
pub(super) fn tell(state: &str) {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
        return;
    };
    if let Err(error) = send(name.as_bytes(), state) {
        log::warn!("cannot tell the service manager \"{state}\": {error}");
    }
}

fn send(name: &[u8], state: &str) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.send_to_addr(state.as_bytes(), &address(name)?)?;
    Ok(())
}

/// A name that begins with `@` is one of the abstract namespace of Linux, which has no files.
fn address(name: &[u8]) -> io::Result<SocketAddr> {
    use std::ffi::OsStr;
    match name {
        #[cfg(target_os = "linux")]
        [b'@', name @ ..] => {
            use std::os::linux::net::SocketAddrExt;
            SocketAddr::from_abstract_name(name)
        }
        name => SocketAddr::from_pathname(OsStr::from_bytes(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_hears_on_a_socket_with_a_path_and_on_one_without() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str().as_bytes(), "READY=1").unwrap();
        let mut buffer = [0; 64];
        let count = manager.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..count], b"READY=1");
        assert!(send(b"/nowhere/notify", "READY=1").is_err());
        #[cfg(target_os = "linux")]
        {
            let name = format!("@servent-test-{}", std::process::id());
            let manager = UnixDatagram::bind_addr(&address(name.as_bytes()).unwrap()).unwrap();
            send(name.as_bytes(), "STOPPING=1").unwrap();
            let count = manager.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..count], b"STOPPING=1");
        }
    }
}
