//! Lines with styles, on a terminal of some width or without styles anywhere else.

use crate::cli::exit::Failure;
use crate::cli::output;
use ratatui::crossterm::terminal;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use std::io::{self, IsTerminal};
use unicode_width::UnicodeWidthChar;

/// Style of titles.
pub(in crate::cli) const TITLE: Style = Style::new().add_modifier(Modifier::BOLD);
/// Style of what is less important.
pub(in crate::cli) const FAINT: Style = Style::new().add_modifier(Modifier::DIM);
/// Style of what is well.
pub(in crate::cli) const GOOD: Style = Style::new().fg(Color::Green);
/// Style of what may need a hand.
pub(in crate::cli) const WARN: Style = Style::new().fg(Color::Yellow);
/// Style of what has failed.
pub(in crate::cli) const BAD: Style = Style::new().fg(Color::Red);

/// Whether colours are wanted: NO_COLOR, unless empty, says no (no-color.org).
pub(in crate::cli) fn wants_colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Columns of the terminal that stdout is.
pub(in crate::cli) fn width() -> Option<usize> {
    let columns = || terminal::size().ok().map(|(columns, _)| usize::from(columns));
    io::stdout().is_terminal().then(columns).flatten().filter(|&columns| columns > 0)
}

/// Prints lines on stdout, cut to the width of the terminal.
pub(in crate::cli) fn print(lines: &[Line<'_>]) -> Result<(), Failure> {
    let width = width();
    let coloured = width.is_some() && wants_colour();
    let lines = lines.iter().map(|line| text_of(line, width, coloured));
    output::line(&lines.collect::<Vec<_>>().join("\n"))
}

/// The line, cut to `width` columns, with its styles as escape sequences if it is `coloured`.
fn text_of(line: &Line<'_>, width: Option<usize>, coloured: bool) -> String {
    let mut out = String::new();
    let mut left = width.unwrap_or(usize::MAX);
    let all: usize = line.spans.iter().map(|span| columns(&span.content)).sum();
    let cut = all > left;
    left -= usize::from(cut).min(left);
    for span in &line.spans {
        let text = prefix(&span.content, left);
        left -= columns(text);
        match codes(span.style).filter(|_| coloured && !text.is_empty()) {
            Some(codes) => out.push_str(&format!("\x1b[{codes}m{text}\x1b[0m")),
            None => out.push_str(text),
        }
        if text.len() < span.content.len() {
            break;
        }
    }
    if cut {
        out.push('…');
    }
    out.trim_end().to_owned()
}

/// The longest start of `text` within `width` columns.
fn prefix(text: &str, width: usize) -> &str {
    let mut taken = 0;
    for (at, c) in text.char_indices() {
        taken += c.width().unwrap_or(0);
        if taken > width {
            return &text[..at];
        }
    }
    text
}

/// How many each second, in few columns.
pub(in crate::cli) fn rate(per_second: f64) -> String {
    if per_second >= 10.0 { format!("{per_second:.0}") } else { format!("{per_second:.1}") }
}

/// Columns that `text` takes.
pub(in crate::cli) fn columns(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// `text` in exactly `width` columns.
pub(in crate::cli) fn fitted(text: &str, width: usize) -> String {
    let all = columns(text);
    if all <= width {
        return format!("{text}{}", " ".repeat(width - all));
    }
    let start = prefix(text, width.saturating_sub(1));
    let rest = width.saturating_sub(columns(start) + 1);
    format!("{start}…{}", " ".repeat(rest))
}

/// The parameters of a "select graphic rendition" sequence.
fn codes(style: Style) -> Option<String> {
    let colour = match style.fg {
        Some(Color::Red) => Some("31"),
        Some(Color::Green) => Some("32"),
        Some(Color::Yellow) => Some("33"),
        _ => None,
    };
    let modifiers = [(Modifier::BOLD, "1"), (Modifier::DIM, "2")];
    let modifiers = modifiers.into_iter().filter(|(it, _)| style.add_modifier.contains(*it));
    let codes: Vec<&str> = modifiers.map(|(_, code)| code).chain(colour).collect();
    (!codes.is_empty()).then(|| codes.join(";"))
}

/// A bar of `width` columns.
pub(in crate::cli) fn bar(done: u64, total: u64, width: usize) -> String {
    let full = u128::from(done.min(total)) * width as u128 / u128::from(total.max(1));
    let full = usize::try_from(full).unwrap_or(width);
    format!("{}{}", "█".repeat(full), "░".repeat(width - full))
}

/// Plain text as a span.
pub(in crate::cli) fn plain(text: impl Into<String>) -> Span<'static> {
    Span::raw(text.into())
}

/// Styled text.
pub(in crate::cli) fn styled(text: impl Into<String>, style: Style) -> Span<'static> {
    Span::styled(text.into(), style)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_to_the_width_and_coloured_on_request() {
        let line = Line::from(vec![styled("ab", BAD), plain("日本語 long")]);
        assert_eq!(text_of(&line, None, false), "ab日本語 long");
        assert_eq!(text_of(&line, Some(13), false), "ab日本語 long");
        assert_eq!(text_of(&line, Some(12), false), "ab日本語 lo…");
        assert_eq!(text_of(&line, Some(6), false), "ab日…");
        assert_eq!(text_of(&line, Some(1), true), "…");
        assert_eq!(text_of(&line, Some(4), true), "\x1b[31mab\x1b[0m…");
        assert_eq!((fitted("日本", 3), fitted("a", 3)), ("日…".into(), "a  ".into()));
        assert_eq!(fitted("日本", 2), "… ");
    }

    #[test]
    fn a_bar_is_full_only_when_all_is_done() {
        assert_eq!(bar(0, 0, 4), "░░░░");
        assert_eq!(bar(99, 100, 4), "███░");
        assert_eq!(bar(7, 4, 4), "████");
    }
}
