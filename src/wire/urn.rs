//! URNs: names of content by its hash, `urn:sha1:` and 32 characters of base32 (RFC 3548), and the
//! beginnings of them that ask for one (HUGE 0.94).

use data_encoding::BASE32_NOPAD;
use std::fmt;

const SHA1_BYTES: usize = 20;
const TIGER_BYTES: usize = 24;
/// Characters of those as base32.
const SHA1_CHARS: usize = 32;
const TIGER_CHARS: usize = 39;

/// A URN, or the beginning of one that asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Urn {
    /// `urn:`: asks for URNs of any kind.
    AskAny,
    /// `urn:sha1:`: asks for that kind.
    AskSha1,
    /// `urn:bitprint:`: asks for that kind.
    AskBitprint,
    /// The SHA-1 of the content.
    Sha1([u8; SHA1_BYTES]),
    /// SHA-1 and root of the tiger tree.
    Bitprint([u8; SHA1_BYTES], [u8; TIGER_BYTES]),
    /// The root of the tiger tree.
    TigerTree([u8; TIGER_BYTES]),
}

impl Urn {
    /// Reads a URN, without regard to case. `None` for a kind that is not known, and for a hash that
    /// is malformed.
    pub fn parse(text: &[u8]) -> Option<Urn> {
        let rest = after(text, "urn:")?;
        if rest.is_empty() {
            return Some(Urn::AskAny);
        }
        Urn::parse_short(rest)
    }

    /// Reads a URN without its `urn:`, the form GGEP "u" has.
    pub fn parse_short(text: &[u8]) -> Option<Urn> {
        if let Some(hash) = after(text, "sha1:") {
            return if hash.is_empty() { Some(Urn::AskSha1) } else { base32(hash).map(Urn::Sha1) };
        }
        if let Some(hashes) = after(text, "bitprint:") {
            if hashes.is_empty() {
                return Some(Urn::AskBitprint);
            }
            let (sha1, tiger) = hashes.split_at_checked(SHA1_CHARS)?;
            let tiger = tiger.strip_prefix(b".")?;
            return Some(Urn::Bitprint(base32(sha1)?, base32(tiger)?));
        }
        let tiger = after(text, "tree:tiger/:").or_else(|| after(text, "tree:tiger:"))?;
        base32(tiger).map(Urn::TigerTree)
    }

    /// Reads a hash in binary behind its kind, the form GGEP "H" has: 1 is SHA-1, 2 bitprint.
    pub fn from_binary(data: &[u8]) -> Option<Urn> {
        let (kind, hash) = data.split_first()?;
        match kind {
            1 => hash.try_into().ok().map(Urn::Sha1),
            2 => {
                let (sha1, tiger) = hash.split_first_chunk()?;
                Some(Urn::Bitprint(*sha1, tiger.try_into().ok()?))
            }
            _ => None,
        }
    }

    /// The binary form behind its kind, as GGEP "H" has it; `None` for what it has no kind for.
    pub fn to_binary(&self) -> Option<Vec<u8>> {
        match self {
            Urn::Sha1(sha1) => Some([&[1][..], sha1].concat()),
            Urn::Bitprint(sha1, tiger) => Some([&[2][..], sha1, tiger].concat()),
            _ => None,
        }
    }

    /// The SHA-1 in it.
    pub fn sha1(&self) -> Option<&[u8; SHA1_BYTES]> {
        match self {
            Urn::Sha1(sha1) | Urn::Bitprint(sha1, _) => Some(sha1),
            _ => None,
        }
    }

    /// Whether it asks for URNs rather than being one.
    pub fn is_request(&self) -> bool {
        matches!(self, Urn::AskAny | Urn::AskSha1 | Urn::AskBitprint)
    }
}

impl fmt::Display for Urn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let base32 = |hash: &[u8]| BASE32_NOPAD.encode(hash);
        match self {
            Urn::AskAny => f.write_str("urn:"),
            Urn::AskSha1 => f.write_str("urn:sha1:"),
            Urn::AskBitprint => f.write_str("urn:bitprint:"),
            Urn::Sha1(sha1) => write!(f, "urn:sha1:{}", base32(sha1)),
            Urn::Bitprint(sha1, tiger) => {
                write!(f, "urn:bitprint:{}.{}", base32(sha1), base32(tiger))
            }
            Urn::TigerTree(tiger) => write!(f, "urn:tree:tiger/:{}", base32(tiger)),
        }
    }
}

/// The text behind a prefix, without regard to case.
fn after<'a>(text: &'a [u8], prefix: &str) -> Option<&'a [u8]> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix.as_bytes()).then_some(rest)
}

fn base32<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.len() > TIGER_CHARS {
        return None;
    }
    BASE32_NOPAD.decode(&text.to_ascii_uppercase()).ok()?.try_into().ok()
}
