//! Words for people: numbers with what they count, amounts of bytes, text of strangers.

use crate::transfer::names::escape_for_terminal;
use indicatif::HumanBytes;

/// A number and what it counts.
pub(crate) fn count(count: u64, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

/// An amount such as `34.75 MiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    HumanBytes(bytes).to_string()
}

/// A part of an amount, such as `34.75 of 57.22 MiB`.
pub(crate) fn part_of(have: u64, total: Option<u64>) -> String {
    let have = bytes(have);
    let Some(total) = total.map(bytes) else { return have };
    match (have.split_once(' '), total.split_once(' ')) {
        (Some((number, unit)), Some((_, same))) if unit == same => format!("{number} of {total}"),
        _ => format!("{have} of {total}"),
    }
}

/// Text from the network, escaped for a terminal.
pub(crate) fn shown(text: &str) -> String {
    escape_for_terminal(text).to_string()
}

/// The same for several lines.
pub(crate) fn shown_lines(text: &str) -> String {
    text.lines().map(shown).collect::<Vec<_>>().join("\n")
}
