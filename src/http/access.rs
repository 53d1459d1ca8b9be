//! Who may ask: the names this server answers to, the pages that may ask it, the token.
//!
//! A page of another site can make a browser send requests here, by its own name (DNS rebinding) or by
//! ours; `Host` and `Origin` tell. Neither reads a token, which is no cookie and is sent by the page
//! of this server only.

use super::request::Request;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Who may ask.
#[derive(Clone)]
pub struct Access {
    token: String,
    hosts: Vec<String>,
}

impl Access {
    /// Access for those who have `token`, to a server that is known as `hosts`. IP addresses and
    /// `localhost` need no mention.
    pub fn new(token: impl Into<String>, hosts: Vec<String>) -> Access {
        Access { token: token.into(), hosts }
    }

    /// Whether the request was sent to this server, as far as its `Host` says. No name of a foreign
    /// page is an address, so that addresses need no list.
    pub(super) fn is_meant(&self, request: &Request) -> bool {
        let Some(host) = &request.host else { return true };
        if let Some((name, port)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            return name.parse::<Ipv6Addr>().is_ok() && (port.is_empty() || port.starts_with(':'));
        }
        let name = host.split_once(':').map_or(&**host, |(name, _)| name);
        name.parse::<Ipv4Addr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || self.hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
    }

    /// Whether a page of another site makes its browser ask.
    pub(super) fn is_of_foreign_page(request: &Request) -> bool {
        let Some(origin) = &request.origin else { return false };
        let from = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        match (from, &request.host) {
            (Some(from), Some(host)) => !from.eq_ignore_ascii_case(host),
            _ => true,
        }
    }

    /// Whether the request has the token. Takes as long for any wrong one of its length.
    pub(super) fn has_token(&self, request: &Request) -> bool {
        let given = request.authorization.as_deref().and_then(|value| value.split_once(' '));
        let Some((scheme, given)) = given else { return false };
        let (given, token) = (given.trim().as_bytes(), self.token.as_bytes());
        let differences = given.iter().zip(token).fold(0, |seen, (a, b)| seen | (a ^ b));
        let equal = std::hint::black_box(differences) == 0 && given.len() == token.len();
        equal && !token.is_empty() && scheme.eq_ignore_ascii_case("bearer")
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::request::{Read, RequestReader};
    use super::*;

    fn request(headers: &str) -> Request {
        let mut reader = RequestReader::default();
        reader.feed(format!("GET / HTTP/1.1\r\n{headers}\r\n\r\n").as_bytes());
        match reader.read() {
            Ok(Some(Read::Request(request))) => *request,
            other => panic!("{headers}: {other:?}"),
        }
    }

    #[test]
    fn addresses_localhost_and_given_names_are_meant() {
        let access = Access::new("t", vec!["box.example".to_owned()]);
        for host in [
            "127.0.0.1:80",
            "10.0.0.7",
            "[::1]:80",
            "[::1]",
            "localhost:1",
            "LOCALHOST",
            "Box.Example:9",
        ] {
            assert!(access.is_meant(&request(&format!("Host: {host}"))), "{host}");
        }
        for host in [
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "",
            "[::1]x",
            "1.2.3",
            "[a]",
        ] {
            assert!(!access.is_meant(&request(&format!("Host: {host}"))), "{host}");
        }
    }

    #[test]
    fn another_origin_is_foreign() {
        let foreign = |origin: &str| {
            Access::is_of_foreign_page(&request(&format!("Host: 127.0.0.1:80\r\nOrigin: {origin}")))
        };
        assert!(!foreign("http://127.0.0.1:80") && !foreign("https://127.0.0.1:80"));
        for origin in
            ["null", "http://127.0.0.1:81", "http://evil.example", "", "file://127.0.0.1:80"]
        {
            assert!(foreign(origin), "{origin}");
        }
        assert!(!Access::is_of_foreign_page(&request("Host: a")), "no browser");
    }

    #[test]
    fn only_the_token_opens() {
        let access = Access::new("abc", Vec::new());
        let opens = |line: &str| access.has_token(&request(&format!("Host: a{line}")));
        assert!(opens("\r\nAuthorization: Bearer abc") && opens("\r\nAuthorization: bearer  abc"));
        for line in ["", "\r\nAuthorization: abc", "\r\nAuthorization: Basic abc"] {
            assert!(!opens(line), "{line}");
        }
        for given in ["", "ab", "abd", "abcd", "ABC"] {
            assert!(!opens(&format!("\r\nAuthorization: Bearer {given}")), "{given}");
        }
        assert!(
            !Access::new("", Vec::new()).has_token(&request("Host: a\r\nAuthorization: Bearer "))
        );
        assert!(!format!("{access:?}").contains("abc"), "no token in a log");
    }
}
