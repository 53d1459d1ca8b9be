//! Live screens: the terminal is taken over and given back, keys that leave, lines in their places.

use super::exit::Failure;
use super::interrupt::StopFlag;
use super::status::paint::{FAINT, TITLE, columns, styled, wants_colour};
use ratatui::DefaultTerminal;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::style::{Color, Style};
use ratatui::text::Line;
use std::io::{self, IsTerminal};
use std::time::{Duration, SystemTime};

/// Interval of looking at keys.
pub(super) const KEY_INTERVAL: Duration = Duration::from_millis(50);

/// Refuses to draw where stdout is no terminal; `instead` is what programs use.
pub(super) fn must_be_terminal(command: &str, instead: &str) -> Result<(), Failure> {
    if io::stdout().is_terminal() {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "{command} draws on a terminal, and standard output is none; {instead} for programs"
    )))
}

/// Runs `watch` on a screen of its own. However it ends, the terminal is as it was before, also after a
/// panic.
pub(super) fn taken_over(
    watch: impl FnOnce(&mut DefaultTerminal, &StopFlag) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let stop = StopFlag::new()?;
    // A log line would be written across the screen.
    log::set_max_level(log::LevelFilter::Off);
    // Also has a panic restore the terminal.
    let mut terminal = ratatui::try_init().map_err(|error| failed(&error))?;
    let ended = watch(&mut terminal, &stop);
    ratatui::restore();
    ended
}

/// The terminal refuses.
pub(super) fn failed(error: &io::Error) -> Failure {
    Failure::failed(format!("cannot draw on the terminal: {error}"))
}

/// q, Esc and Ctrl-C.
pub(super) fn leaves(key: &KeyEvent) -> bool {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind != KeyEventKind::Release
        && match key.code {
            KeyCode::Char('c') => control,
            KeyCode::Char('q' | 'Q') | KeyCode::Esc => true,
            _ => false,
        }
}

/// Draws lines from the top, without colours where none are wanted.
pub(super) fn render(buffer: &mut Buffer, lines: Vec<Line<'static>>) {
    let (coloured, area) = (wants_colour(), buffer.area);
    for (y, mut line) in (0..area.height).zip(lines) {
        if !coloured {
            for span in &mut line.spans {
                span.style = Style { fg: span.style.fg.map(|_| Color::Reset), ..span.style };
            }
        }
        buffer.set_line(0, y, &line, area.width);
    }
}

/// The title of a part of the screen.
pub(super) fn rule(title: &str, width: usize) -> Line<'static> {
    let rest = width.saturating_sub(columns(title) + 1);
    Line::from(vec![styled(format!("{title} "), TITLE), styled("─".repeat(rest), FAINT)])
}

/// Unix time, for what happens.
pub(super) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}
