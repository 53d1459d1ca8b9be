//! `Range` in requests, `Content-Range` in responses, with the old spellings of both.

use super::decimal;
use std::fmt;

/// The one range a request asks for. Of several only the first counts, as in gtk-gnutella.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeSpec {
    /// `bytes=a-`
    From(u64),
    /// `bytes=a-b`, both inclusive, `a <= b`
    Span(u64, u64),
    /// `bytes=-n`: the last n bytes
    Last(u64),
}

/// No byte of the file lies in the range: status 416.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsatisfiable;

impl RangeSpec {
    /// Reads a header value; `None` (the header is then ignored) for what makes no sense.
    pub(super) fn parse(value: &[u8]) -> Option<RangeSpec> {
        let first = after_unit(value)?.split(|&byte| byte == b',').next()?.trim_ascii();
        let dash = memchr::memchr(b'-', first)?;
        let (start, end) = (first[..dash].trim_ascii(), first[dash + 1..].trim_ascii());
        match (start.is_empty(), end.is_empty()) {
            (true, true) => None,
            (true, false) => Some(RangeSpec::Last(decimal(end)?)),
            (false, true) => Some(RangeSpec::From(decimal(start)?)),
            (false, false) => {
                let (start, end) = (decimal(start)?, decimal(end)?);
                (start <= end).then_some(RangeSpec::Span(start, end))
            }
        }
    }

    /// First byte and length within a file of `size` bytes; `Ok(None)` means the whole file, to be
    /// answered with 200: old clients send `bytes=0-` with every request, also for empty files.
    pub fn resolve(self, size: u64) -> Result<Option<(u64, u64)>, Unsatisfiable> {
        match self {
            RangeSpec::From(0) => Ok(None),
            RangeSpec::Last(wanted) if wanted > 0 && size == 0 => Ok(None),
            RangeSpec::Last(wanted) if wanted > 0 => {
                let len = wanted.min(size);
                Ok(Some((size - len, len)))
            }
            RangeSpec::From(start) if start < size => Ok(Some((start, size - start))),
            RangeSpec::Span(start, end) if start < size => {
                Ok(Some((start, end.min(size - 1) - start + 1)))
            }
            _ => Err(Unsatisfiable),
        }
    }
}

/// A `Content-Range`: `bytes a-b/total`, `bytes a-b/*` or `bytes */total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentRange {
    /// First and last byte, inclusive; `None` for `*`.
    pub span: Option<(u64, u64)>,
    /// Size of the whole file; `None` for `*`.
    pub total: Option<u64>,
}

impl ContentRange {
    /// Reads a header value; also `bytes=a-b/total` (Gnucleus, Shareaza). `None` if it contradicts
    /// itself.
    pub(super) fn parse(value: &[u8]) -> Option<ContentRange> {
        let value = after_unit(value)?;
        let (span, total) = match memchr::memchr(b'/', value) {
            Some(slash) => (value[..slash].trim_ascii(), value[slash + 1..].trim_ascii()),
            None => (value, &b"*"[..]),
        };
        let total = if total == b"*" { None } else { Some(decimal(total)?) };
        let span = if span == b"*" {
            None
        } else {
            let dash = memchr::memchr(b'-', span)?;
            let (start, end) = (decimal(&span[..dash])?, decimal(&span[dash + 1..])?);
            // The end of a saturated number would have no successor.
            if start > end || end == u64::MAX || total.is_some_and(|total| end >= total) {
                return None;
            }
            Some((start, end))
        };
        Some(ContentRange { span, total })
    }
}

impl fmt::Display for ContentRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.span {
            Some((start, end)) => write!(f, "bytes {start}-{end}/")?,
            None => f.write_str("bytes */")?,
        }
        match self.total {
            Some(total) => write!(f, "{total}"),
            None => f.write_str("*"),
        }
    }
}

/// What follows `bytes=` or `bytes `.
fn after_unit(value: &[u8]) -> Option<&[u8]> {
    let value = value.trim_ascii();
    let (unit, rest) = value.split_at_checked(5)?;
    let separated = matches!(rest.first(), Some(b'=' | b' ' | b'\t'));
    (unit.eq_ignore_ascii_case(b"bytes") && separated).then(|| rest[1..].trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_five_bytes() {
        // protocol table of §4.3 and rows P-85 to P-88
        type Resolved = Option<Result<Option<(u64, u64)>, Unsatisfiable>>;
        let cases: &[(&str, Resolved)] = &[
            ("bytes=1-3", Some(Ok(Some((1, 3))))),
            ("bytes 1-3", Some(Ok(Some((1, 3))))),
            ("Bytes=2-", Some(Ok(Some((2, 3))))),
            ("bytes=0-", Some(Ok(None))),
            ("bytes=-2", Some(Ok(Some((3, 2))))),
            ("bytes=-9", Some(Ok(Some((0, 5))))),
            ("bytes=0-99", Some(Ok(Some((0, 5))))),
            ("bytes=1-1, 3-4", Some(Ok(Some((1, 1))))),
            ("bytes=5-", Some(Err(Unsatisfiable))),
            ("bytes=-0", Some(Err(Unsatisfiable))),
            ("bytes=99999999999999999999999-", Some(Err(Unsatisfiable))),
            ("bytes=3-1", None),
            ("bytes=", None),
            ("bytes=-", None),
            ("bytes=a-b", None),
            ("items=1-3", None),
            ("nonsense", None),
        ];
        for (value, expected) in cases {
            let got = RangeSpec::parse(value.as_bytes()).map(|range| range.resolve(5));
            assert_eq!(got, *expected, "{value}");
        }
    }

    #[test]
    fn an_empty_file_has_a_whole_but_no_range() {
        assert_eq!(RangeSpec::From(0).resolve(0), Ok(None));
        assert_eq!(RangeSpec::Last(3).resolve(0), Ok(None));
        assert_eq!(RangeSpec::Span(0, 0).resolve(0), Err(Unsatisfiable));
    }

    #[test]
    fn content_ranges() {
        let parse = |value: &str| {
            ContentRange::parse(value.as_bytes()).map(|range| (range.span, range.total))
        };
        assert_eq!(parse("bytes 1-3/5"), Some((Some((1, 3)), Some(5))));
        assert_eq!(parse("bytes=1-3/5"), Some((Some((1, 3)), Some(5))));
        assert_eq!(parse("bytes 1-3/*"), Some((Some((1, 3)), None)));
        assert_eq!(parse("bytes */5"), Some((None, Some(5))));
        for bad in ["bytes 3-1/5", "bytes 1-5/5", "bytes x/5", "bytes", "1-3/5", ""] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert_eq!(ContentRange { span: Some((1, 3)), total: Some(5) }.to_string(), "bytes 1-3/5");
    }
}
