//! Hosts as people name them.

use crate::transfer::url::DEFAULT_PORT;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};
use std::str::FromStr;

/// A host to connect to: `HOST[:PORT]`, where HOST is a name or an IPv4 address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// An address.
    Addr(SocketAddrV4),
    /// A name to be looked up, and a port.
    Name(String, u16),
}

/// A text that names no host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostError(String);

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HostError(text) = self;
        write!(
            f,
            "\"{text}\" is not HOST or HOST:PORT with a host name or an IPv4 address{}",
            if is_ipv6(text) { ": Gnutella 0.4 knows only IPv4 addresses" } else { "" }
        )
    }
}

impl std::error::Error for HostError {}

impl FromStr for Host {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Host, HostError> {
        let (host, port) = match text.rsplit_once(':') {
            None => (text, Some(DEFAULT_PORT)),
            Some((host, port)) => (host, port.parse().ok().filter(|&port| port != 0)),
        };
        let is_name = !host.is_empty()
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        match (port, host.parse::<Ipv4Addr>()) {
            (Some(port), Ok(ip)) => Ok(Host::Addr(SocketAddrV4::new(ip, port))),
            (Some(port), Err(_)) if is_name => Ok(Host::Name(host.to_owned(), port)),
            _ => Err(HostError(text.to_owned())),
        }
    }
}

/// Whether the text is an IPv6 address, which Gnutella has no room for.
pub fn is_ipv6(text: &str) -> bool {
    let inner = text.strip_prefix('[').and_then(|rest| rest.split(']').next()).unwrap_or(text);
    inner.parse::<Ipv6Addr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        let addr = |text: &str| Ok(Host::Addr(text.parse().unwrap()));
        assert_eq!("127.0.0.1".parse(), addr("127.0.0.1:6346"));
        assert_eq!("127.0.0.1:5".parse(), addr("127.0.0.1:5"));
        assert_eq!("a.example:5".parse(), Ok(Host::Name("a.example".into(), 5)));
        for wrong in ["", ":5", "a:0", "a:x", "a b", "::1", "[::1]:6346", "http://a"] {
            wrong.parse::<Host>().unwrap_err();
        }
        assert!("::1".parse::<Host>().unwrap_err().to_string().contains("IPv4"));
    }
}
