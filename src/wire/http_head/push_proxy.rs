//! The path `/gnutella/push-proxy?ServerId=…`: asks us to pass a Push on to a leaf of ours (LimeWire's
//! push proxies, as gtk-gnutella asks for them).

use crate::wire::ServentId;
use data_encoding::BASE32_NOPAD;

/// The two spellings of the path.
const PATHS: [&[u8]; 2] = [b"/gnutella/push-proxy?", b"/gnutella/pushproxy?"];

/// Whom a Push is to be passed on to, and for which of its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PushProxyPath {
    /// The servent that has the file.
    pub servent: ServentId,
    /// The file's index there; 0 if the path does not say.
    pub index: u32,
}

impl PushProxyPath {
    /// Reads a request's path; `None` if it is another one. The id is written in base32, names of
    /// parameters count without case.
    pub fn parse(path: &[u8]) -> Option<PushProxyPath> {
        let query = PATHS.iter().find_map(|prefix| path.strip_prefix(*prefix))?;
        let (mut servent, mut index) = (None, 0);
        for part in query.split(|&byte| byte == b'&') {
            let at = memchr::memchr(b'=', part)?;
            let (name, value) = (&part[..at], &part[at + 1..]);
            if name.eq_ignore_ascii_case(b"ServerId") {
                let id = BASE32_NOPAD.decode(&value.to_ascii_uppercase()).ok()?;
                servent = Some(ServentId(id.try_into().ok()?));
            } else if name.eq_ignore_ascii_case(b"file") {
                index = super::decimal(value).and_then(|index| index.try_into().ok()).unwrap_or(0);
            }
        }
        servent.map(|servent| PushProxyPath { servent, index })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_are_read_and_nothing_else() {
        let servent = ServentId([0xab; 16]);
        let id = BASE32_NOPAD.encode(&servent.0);
        let read = |path: String| PushProxyPath::parse(path.as_bytes());
        let both = [
            format!("/gnutella/push-proxy?ServerId={id}"),
            format!("/gnutella/pushproxy?serverid={}", id.to_lowercase()),
        ];
        for path in both {
            assert_eq!(read(path), Some(PushProxyPath { servent, index: 0 }));
        }
        let with_file = format!("/gnutella/push-proxy?file=7&ServerId={id}");
        assert_eq!(read(with_file), Some(PushProxyPath { servent, index: 7 }));
        for other in ["/gnutella/push-proxy?", "/gnutella/push-proxy?ServerId=AA", "/get/1/a"] {
            assert_eq!(read(other.to_owned()), None, "{other}");
        }
    }
}
