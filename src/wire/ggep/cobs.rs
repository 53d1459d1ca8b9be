//! Consistent overhead byte stuffing (Cheshire and Baker, SIGCOMM 1997): bytes without zeros.
//!
//! A code c stands for c − 1 bytes that are not zero and then a zero, which is left out after code ff
//! and at the end.

/// Bytes that one code can stand for.
const MAX_RUN: usize = 254;

/// Decodes; `None` if a code is zero, reaches over the end, or covers a zero.
pub(super) fn decode(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(bytes.len());
    while let Some((&code, rest)) = bytes.split_first() {
        let (run, rest) = rest.split_at_checked(usize::from(code).checked_sub(1)?)?;
        if run.contains(&0) {
            return None;
        }
        out.extend_from_slice(run);
        if usize::from(code) <= MAX_RUN && !rest.is_empty() {
            out.push(0);
        }
        bytes = rest;
    }
    Some(out)
}

/// Encodes; the result has no zero byte.
pub(super) fn encode(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / MAX_RUN + 1);
    let mut rest = Some(bytes);
    while let Some(left) = rest {
        let window = &left[..left.len().min(MAX_RUN)];
        let run = memchr::memchr(0, window).unwrap_or(window.len());
        out.push(u8::try_from(run + 1).unwrap_or(u8::MAX));
        out.extend_from_slice(&left[..run]);
        rest = match (run, &left[run..]) {
            (_, []) => None,
            (MAX_RUN, more) => Some(more),
            (_, more) => Some(&more[1..]),
        };
    }
    out
}
