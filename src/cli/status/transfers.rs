//! The lists of transfers and of downloads.

use super::paint::{self, BAD, FAINT, GOOD, TITLE, WARN, bar, fitted, plain, styled};
use crate::cli::exit::Failure;
use crate::cli::output::shown;
use crate::control::results::{TransferRow, TransferState};
use indicatif::HumanBytes;
use ratatui::style::Style;
use ratatui::text::Line;

/// Columns of a bar.
const BAR: usize = 12;
/// Prints transfers, or `none` if there are none.
pub(in crate::cli) fn print(rows: &[TransferRow], none: &str) -> Result<(), Failure> {
    if rows.is_empty() {
        return paint::print(&[Line::from(none.to_owned())]);
    }
    let mut lines = vec![title()];
    lines.extend(rows.iter().flat_map(lines_of));
    paint::print(&lines)
}

/// The names of the columns.
pub(super) fn title() -> Line<'static> {
    let bar = fitted("DONE", BAR + 5);
    Line::from(styled(format!("{:>5}   {:<8} {bar}  {:>13}  NAME", "ID", "STATE", "RATE"), TITLE))
}

/// A transfer in a line, and why it waits or has failed in a second one.
pub(super) fn lines_of(row: &TransferRow) -> Vec<Line<'static>> {
    let arrow = if row.direction == "up" { "↑" } else { "↓" };
    let rate = match row.rate {
        0 => String::new(),
        rate => format!("{}/s", HumanBytes(rate)),
    };
    let name = shown(&row.name);
    let (done, share) = match row.size {
        Some(size) => (bar(row.done, size, BAR), percent(row.done, size)),
        None => (fitted(&HumanBytes(row.done).to_string(), BAR), String::new()),
    };
    let spans = vec![
        plain(format!("{:>5} {arrow} ", row.id)),
        styled(format!("{:<8} ", row.state.name()), style_of(row.state)),
        plain(format!("{done} {share:>4}  {rate:>13}  {name}")),
        styled(details(row), FAINT),
    ];
    let mut lines = vec![Line::from(spans)];
    if let Some(error) = &row.error {
        let next = row.next_try_s.map_or_else(String::new, |seconds| {
            format!("; next try in {:.0} s", seconds.max(0.0).ceil())
        });
        let style = if row.state == TransferState::Failed { BAD } else { FAINT };
        lines.push(Line::from(styled(format!("{:8}{}{next}", "", shown(error)), style)));
    }
    lines
}

/// Size and sources, behind the name.
fn details(row: &TransferRow) -> String {
    let size = row.size.map(|size| HumanBytes(size).to_string());
    let (first, more) = (row.sources.first(), row.sources.len().saturating_sub(1));
    let way = if row.direction == "up" { "to" } else { "from" };
    let peers = first.map(|first| match more {
        0 => format!("{way} {first}"),
        more => format!("{way} {first} and {more} more"),
    });
    let details: Vec<String> = size.into_iter().chain(peers).collect();
    if details.is_empty() { String::new() } else { format!("  ({})", details.join(", ")) }
}

/// Rounded down: 100 % is all.
fn percent(done: u64, size: u64) -> String {
    let percent = if size == 0 { 100 } else { u128::from(done) * 100 / u128::from(size) };
    format!("{} %", percent.min(100))
}

fn style_of(state: TransferState) -> Style {
    match state {
        TransferState::Active | TransferState::Done => GOOD,
        TransferState::Waiting | TransferState::Paused => WARN,
        TransferState::Failed => BAD,
        TransferState::Queued => FAINT,
    }
}
