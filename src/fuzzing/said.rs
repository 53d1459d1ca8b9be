//! Messages for people, about bytes from the network.

use std::fmt::Display;

/// A message about a peer's bytes is one line without control characters.
pub(super) fn said(what: &impl Display) {
    let text = what.to_string();
    assert!(!text.is_empty() && !text.contains(char::is_control), "{text:?}");
}
