//! The list of links.

use super::paint::{FAINT, TITLE, fitted, plain, rate, styled};
use super::summary::age;
use crate::cli::output::shown;
use crate::control::results::LinkRow;
use indicatif::{HumanBytes, HumanCount};
use ratatui::text::Line;

/// Columns of an address and its port.
const ADDR: usize = 21;

/// Descriptors per second, received and sent.
pub(super) type LinkRates = (f64, f64);

/// The names of the columns.
pub(super) fn title(with_rates: bool) -> Line<'static> {
    let [first, second] = if with_rates { ["IN/s", "OUT/s"] } else { ["RECEIVED", "SENT"] };
    let text = format!(
        "{:<ADDR$} {:<3} {:<3} {:<9} {:>8} {first:>9} {second:>9} {:>7} {:>10}  AGENT",
        "ADDRESS", "WAY", "", "ROLE", "SINCE", "DROPPED", "QUEUED"
    );
    Line::from(styled(text, TITLE))
}

/// A link in a line: with its rates, or what was received and sent since it stands.
pub(super) fn line_of(link: &LinkRow, rates: Option<LinkRates>) -> Line<'static> {
    let LinkRow { direction, dialect, role, .. } = link;
    let [received, sent] = match rates {
        Some((received, sent)) => [rate(received), rate(sent)],
        None => [link.received, link.sent].map(|count| HumanCount(count).to_string()),
    };
    let queued = match link.queue_bytes {
        0 => "0".to_owned(),
        bytes => HumanBytes(bytes as u64).to_string(),
    };
    let text = format!(
        "{} {:<3} {:<3} {:<9} {:>8} {received:>9} {sent:>9} {:>7} {queued:>10}  ",
        fitted(&shown(&link.addr), ADDR),
        shown(direction),
        shown(dialect),
        shown(role),
        age(link.since_s),
        HumanCount(link.dropped).to_string(),
    );
    let agent = link.agent.as_deref().map(shown).unwrap_or_default();
    Line::from(vec![plain(text), styled(agent, FAINT)])
}
