//! What a change in a watched folder means for what is shared.

use super::file_names::{is_hidden, is_partial};
use std::ffi::OsStr;

/// A change that calls for a scan; the weightier one is the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "nothing is told there"))]
pub(super) enum Change {
    /// A file was written to, and may be again in a moment.
    Write,
    /// Something came or went as a whole, or events were lost.
    Move,
}

/// Whether what lies in a folder under this name may be shared.
#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "nothing is told there"))]
pub(super) fn concerns_shares(name: &OsStr, is_folder: bool) -> bool {
    !is_hidden(name) && (is_folder || !name.to_str().is_some_and(is_partial))
}
