//! Where a page is, and what opens it: its address and its token.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, IsTerminal, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Bytes of entropy of a new token.
const TOKEN_BYTES: usize = 32;
/// Shortest token that a user may write there himself.
const MIN_TOKEN_CHARS: usize = 16;

/// Logs the address of the page: with the token only where nobody keeps the log. `steered` is what the
/// page steers, in words.
pub fn tell_where(addr: SocketAddrV4, token: &str, path: &Path, steered: &str) {
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
             has its token, or reads it on the way, steers {steered}"
        );
    }
}

/// What to say when the page cannot be served on `addr`, and what to do.
pub fn bind_failure(addr: SocketAddrV4, error: &io::Error) -> String {
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
///
/// # Errors
/// When the file cannot be read or written, or has no token.
pub fn token(path: &Path) -> io::Result<String> {
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
        let path = folder.path().join("http-token");
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
