//! HUGE: the extension areas of Queries and results, where URNs, GGEP and metadata stand (HUGE 0.94).
//!
//! An area follows the search text of a Query or stands between the two NULs of a result. It is a
//! list of blocks with a byte 1c between them; a GGEP block ends by itself.
//!
//! | begins with | in a Query | in a result |
//! |---|---|---|
//! | `urn:` alone, or with a kind: `urn:sha1:` | asks for URNs | – |
//! | a whole URN | asks for that file | names the content |
//! | `c3` | GGEP | GGEP |
//! | `<`, `{` | metadata | metadata |

use super::ggep::{Ggep, GgepError, MAGIC};
use super::urn::Urn;

/// Between two blocks of an area.
pub const SEPARATOR: u8 = 0x1c;
/// Most blocks read of one area; what follows them is passed over. A result names its content by few
/// hashes, and gtk-gnutella reads no more extensions than this.
pub const MAX_BLOCKS: usize = 32;

/// One block of an extension area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AreaBlock<'a> {
    /// A URN, or a request for some.
    Urn(Urn),
    /// Extensions by name.
    Ggep(Ggep<'a>),
    /// Bytes that begin as GGEP does and are none. They end the area.
    BadGgep(&'a [u8], GgepError),
    /// XML, or its encoded form.
    Metadata(&'a [u8]),
    /// Anything else, a URN of an unknown kind included.
    Other(&'a [u8]),
}

/// The blocks of an extension area in order, empty ones left out, at most [`MAX_BLOCKS`].
pub fn blocks(area: &[u8]) -> impl Iterator<Item = AreaBlock<'_>> {
    let mut rest = area;
    let next = move || loop {
        let first = *rest.first()?;
        if first == SEPARATOR {
            rest = &rest[1..];
            continue;
        }
        if first == MAGIC {
            return Some(match Ggep::decode(rest) {
                Ok((ggep, behind)) => {
                    rest = behind;
                    AreaBlock::Ggep(ggep)
                }
                Err(error) => AreaBlock::BadGgep(std::mem::take(&mut rest), error),
            });
        }
        let end = rest.iter().position(|&byte| byte == SEPARATOR || byte == 0);
        let (block, behind) = rest.split_at(end.unwrap_or(rest.len()));
        rest = behind.get(1..).unwrap_or_default();
        return match (Urn::parse(block), block) {
            (Some(urn), _) => Some(AreaBlock::Urn(urn)),
            (None, [b'<' | b'{', ..]) => Some(AreaBlock::Metadata(block)),
            (None, []) => continue,
            (None, block) => Some(AreaBlock::Other(block)),
        };
    };
    std::iter::from_fn(next).take(MAX_BLOCKS)
}

/// Appends an area to `out`: URNs, then a GGEP block, which may be empty.
pub fn put_area(urns: &[Urn], ggep: &[u8], out: &mut Vec<u8>) {
    let urns = urns.iter().map(|urn| urn.to_string().into_bytes());
    let ggep = Some(ggep.to_vec()).filter(|ggep| !ggep.is_empty());
    let all: Vec<Vec<u8>> = urns.chain(ggep).collect();
    out.extend_from_slice(&all.join(&SEPARATOR));
}
