//! `http://HOST:PORT/get/INDEX/NAME`: a search result as a URL.

use crate::wire::http_head::encode_name;
use percent_encoding::percent_decode_str;
use std::fmt;
use std::str::FromStr;

/// The default port of URLs and of Gnutella servents.
pub const DEFAULT_PORT: u16 = 6346;

/// A file at a servent. Displayed as a URL with a percent-encoded name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferUrl {
    /// A host name or an IPv4 address; letters, digits, `.`, `-` and `_` only.
    pub host: String,
    /// Never zero.
    pub port: u16,
    /// The index from the hit.
    pub index: u32,
    /// The name at the servent, decoded; not safe as a local name.
    pub name: String,
}

/// Why a text is not such a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlError {
    /// It does not start with `http://`
    Scheme,
    /// The host is missing or contains an invalid character
    Host,
    /// The host is an IPv6 address, which the 0.4 protocol cannot carry
    Ipv6,
    /// The port is not a number from 1 to 65535
    Port,
    /// The path is not `/get/INDEX/NAME`
    Path,
    /// The index is not a number below 2^32
    Index,
    /// The name is empty or, decoded, not UTF-8
    Name,
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            UrlError::Scheme => "it does not start with http://",
            UrlError::Host => "its host is not a host name or an IPv4 address",
            UrlError::Ipv6 => "Gnutella 0.4 knows only IPv4 addresses",
            UrlError::Port => "its port is not a number from 1 to 65535",
            UrlError::Path => "its path does not start with /get/INDEX/",
            UrlError::Index => "its file index is not a number below 4294967296",
            UrlError::Name => "its file name is empty or not UTF-8",
        };
        write!(f, "not a URL such as http://HOST:PORT/get/INDEX/NAME: {what}")
    }
}

impl std::error::Error for UrlError {}

impl FromStr for TransferUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<TransferUrl, UrlError> {
        let rest = match text.split_at_checked(7) {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http://") => rest,
            _ => return Err(UrlError::Scheme),
        };
        let (authority, path) = rest.split_once('/').ok_or(UrlError::Path)?;
        let (host, port) = split_authority(authority)?;
        let (index, name) = path
            .strip_prefix("get/")
            .and_then(|path| path.split_once('/'))
            .ok_or(UrlError::Path)?;
        if !index.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(UrlError::Index);
        }
        let index = index.parse().map_err(|_| UrlError::Index)?;
        let name = percent_decode_str(name.strip_suffix('/').unwrap_or(name));
        let name = name.decode_utf8().map_err(|_| UrlError::Name)?.into_owned();
        if name.is_empty() {
            return Err(UrlError::Name);
        }
        Ok(TransferUrl { host: host.to_owned(), port, index, name })
    }
}

fn split_authority(authority: &str) -> Result<(&str, u16), UrlError> {
    if authority.starts_with('[') || authority.matches(':').count() > 1 {
        return Err(UrlError::Ipv6);
    }
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            (host, port.parse().map_err(|_| UrlError::Port)?)
        }
        Some(_) => return Err(UrlError::Port),
        None => (authority, DEFAULT_PORT),
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if host.is_empty() || !host.bytes().all(plain) {
        return Err(UrlError::Host);
    }
    if port == 0 {
        return Err(UrlError::Port);
    }
    Ok((host, port))
}

impl fmt::Display for TransferUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = encode_name(&self.name);
        write!(f, "http://{}:{}/get/{}/{name}", self.host, self.port, self.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hit_survives_as_url_whatever_its_name() {
        for name in ["hello.txt", "free bsd \u{e4}%20?#&.txt", "../../x", "a\nb", "/"] {
            let host = "192.0.2.1".to_owned();
            let url = TransferUrl { host, port: 6347, index: 7, name: name.to_owned() };
            let text = url.to_string();
            assert!(text.is_ascii() && !text.contains(char::is_whitespace), "{text}");
            assert_eq!(text.parse(), Ok(url));
        }
    }

    #[test]
    fn what_people_type() {
        let url: TransferUrl = "HTTP://localhost/get/0/a b.txt/".parse().unwrap();
        assert_eq!((url.host.as_str(), url.port, url.index), ("localhost", 6346, 0));
        assert_eq!(url.name, "a b.txt");
        for (text, error) in [
            ("localhost:6346/get/0/a", UrlError::Scheme),
            ("https://h/get/0/a", UrlError::Scheme),
            ("http:///get/0/a", UrlError::Host),
            ("http://a b/get/0/a", UrlError::Host),
            ("http://[::1]:6346/get/0/a", UrlError::Ipv6),
            ("http://h:0/get/0/a", UrlError::Port),
            ("http://h:65536/get/0/a", UrlError::Port),
            ("http://h:+1/get/0/a", UrlError::Port),
            ("http://h/", UrlError::Path),
            ("http://h/uri-res/N2R?urn", UrlError::Path),
            ("http://h/get/x/a", UrlError::Index),
            ("http://h/get/1/", UrlError::Name),
            ("http://h/get/1/%ff", UrlError::Name),
        ] {
            assert_eq!(text.parse::<TransferUrl>(), Err(error), "{text}");
        }
    }
}
