//! The path `/get/INDEX/NAME` of a shared file.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, utf8_percent_encode};
use std::fmt;

/// Everything but letters, digits and `-_.~` is encoded, so that all readers agree.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Which file a path asks for.
///
/// Peers that do not encode (GNU Serveez) send the bytes of a name as they are, so its `%20` may be
/// part of the name; the path alone does not tell. Both readings are kept, at least one of them
/// valid: not empty, `.` or `..`, and without `/`, `\` and NUL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetPath {
    /// The index from the hit; some peers send 0 for "the file of this name".
    pub index: u32,
    /// The name, percent-decoded.
    pub decoded: Option<String>,
    /// The name exactly as sent, if that differs.
    pub literal: Option<String>,
}

/// Why a path names no file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GetPathError {
    /// It does not start with `/get/INDEX/`
    NotGet,
    /// The index is no number below 2^32
    Index,
    /// The name is empty, not UTF-8, or a path in every reading
    Name,
}

impl fmt::Display for GetPathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            GetPathError::NotGet => "the path is not /get/INDEX/NAME",
            GetPathError::Index => "the file index is no number below 4294967296",
            GetPathError::Name => "the name is not that of a file without folders",
        })
    }
}

impl std::error::Error for GetPathError {}

impl GetPath {
    /// Reads a request's path. The 0.4 text ends it with a slash, real peers do not; both are
    /// taken.
    pub fn parse(path: &[u8]) -> Result<GetPath, GetPathError> {
        let rest = path.strip_prefix(b"/get/").ok_or(GetPathError::NotGet)?;
        let slash = memchr::memchr(b'/', rest).ok_or(GetPathError::NotGet)?;
        let index = super::decimal(&rest[..slash])
            .and_then(|index| u32::try_from(index).ok())
            .ok_or(GetPathError::Index)?;
        let raw = &rest[slash + 1..];
        let raw = raw.strip_suffix(b"/").unwrap_or(raw);
        let plain = |name: &str| is_plain_name(name).then(|| name.to_owned());
        let decoded = percent_decode(raw).decode_utf8().ok().and_then(|name| plain(&name));
        let literal = std::str::from_utf8(raw).ok().and_then(plain);
        let literal = literal.filter(|name| decoded.as_ref() != Some(name));
        match (&decoded, &literal) {
            (None, None) => Err(GetPathError::Name),
            _ => Ok(GetPath { index, decoded, literal }),
        }
    }

    /// The readings of the name, the likelier one first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.decoded.iter().chain(&self.literal).map(String::as_str)
    }

    /// Whether `name` has bytes beyond ASCII and the path has `_` in place of each of them, which
    /// is how GNU Serveez asks for it.
    pub fn masks(&self, name: &str) -> bool {
        let masked = |asked: &str| {
            asked.len() == name.len()
                && asked.bytes().zip(name.bytes()).all(|(asked, byte)| match byte {
                    ..0x80 => asked == byte,
                    _ => asked == b'_',
                })
        };
        !name.is_ascii() && self.names().any(masked)
    }
}

/// Percent-encodes a name for use in a path.
pub fn encode_name(name: &str) -> String {
    utf8_percent_encode(name, ENCODED).to_string()
}

fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\\', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(path: &str) -> Result<String, GetPathError> {
        let path = GetPath::parse(path.as_bytes())?;
        Ok(path.names().next().expect("at least one reading").to_owned())
    }

    #[test]
    fn names_in_every_spelling() {
        assert_eq!(name("/get/7/hello.txt").as_deref(), Ok("hello.txt"));
        assert_eq!(name("/get/7/hello.txt/").as_deref(), Ok("hello.txt"));
        assert_eq!(name("/get/7/%66ree%20bsd%20notes.txt").as_deref(), Ok("free bsd notes.txt"));
        assert_eq!(name("/get/7/zebra sample.txt").as_deref(), Ok("zebra sample.txt"));
        assert_eq!(name("/get/7/100%.txt").as_deref(), Ok("100%.txt"));
        let both = GetPath::parse(b"/get/7/a%20b").unwrap();
        assert_eq!(both.names().collect::<Vec<_>>(), ["a b", "a%20b"]);
        let odd = "\u{e4} %/?#\\";
        let path = format!("/get/1/{}", encode_name("\u{e4} %?#&+"));
        assert_eq!(name(&path).as_deref(), Ok("\u{e4} %?#&+"));
        assert!(encode_name(odd).is_ascii());
    }

    #[test]
    fn serveez_masks_what_is_not_ascii() {
        let path = GetPath::parse(b"/get/6/gr__n 100%25.txt").unwrap();
        assert!(path.masks("gr\u{fc}n 100%.txt") && path.masks("gr\u{fc}n 100%25.txt"));
        for other in ["gr__n 100%.txt", "gr\u{fc}m 100%.txt", "gr\u{fc}n 100%.tx", "\u{fc}"] {
            assert!(!path.masks(other), "{other}");
        }
    }

    #[test]
    fn nothing_leaves_the_share() {
        // row P-84
        for path in [
            "/get/1/../../etc/passwd",
            "/get/1//etc/passwd",
            "/get/1/a\\b",
            "/get/1/..",
            "/get/1/.",
            "/get/1/",
            "/get/1/a\0",
        ] {
            assert_eq!(name(path), Err(GetPathError::Name), "{path}");
        }
        // As bytes of a name they are harmless, and a file may have such a name.
        for path in
            ["/get/1/%2e%2e%2fetc", "/get/1/a%5Cb", "/get/1/%2e%2E/", "/get/1/a%00", "/get/1/%ff"]
        {
            let literal = path.trim_end_matches('/').rsplit('/').next().unwrap().to_owned();
            let parsed = GetPath::parse(path.as_bytes()).unwrap();
            assert_eq!((parsed.decoded, parsed.literal), (None, Some(literal)), "{path}");
        }
        assert_eq!(name("/get/4294967296/a"), Err(GetPathError::Index));
        assert_eq!(name("/get/-1/a"), Err(GetPathError::Index));
        assert_eq!(name("/"), Err(GetPathError::NotGet));
        assert_eq!(name("/get/1"), Err(GetPathError::NotGet));
    }
}
