//! Which names a scan shares, and which changes it has to look at.

use crate::transfer::names::has_ending;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// Suffixes of unfinished downloads: of browsers, torrent clients and servents,
/// and of our records of them.
const PARTIAL: [&str; 6] =
    [".part", ".part.source", ".partial", ".crdownload", ".!ut", ".incomplete"];

/// Whether a name begins with a dot.
pub(super) fn is_hidden(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b".")
}

/// Whether a name is that of an unfinished download.
pub(super) fn is_partial(name: &str) -> bool {
    has_ending(name, &PARTIAL)
}

/// Whether peers of every dialect can ask for a file of this name: requests cannot carry control
/// characters, and many take a backslash for a path separator.
pub(super) fn is_obtainable(name: &str) -> bool {
    !name.contains(|c: char| c == '\\' || c.is_ascii_control())
}
