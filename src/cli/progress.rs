//! Progress bars, and printing beside them.
//!
//! A line printed over a bar would leave fragments of it, so all output goes through [`suspend`]: the
//! log by way of [`LogPipe`], and the lines of commands.

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal, Write};
use std::sync::LazyLock;

/// All bars of this process.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Prints something with the bars removed for that time.
pub(super) fn suspend<T>(print: impl FnOnce() -> T) -> T {
    BARS.suspend(print)
}

/// Shows no bar from now on.
pub(super) fn hide_bars() {
    BARS.set_draw_target(ProgressDrawTarget::hidden());
}

/// A bar for a download; hidden unless stderr is a terminal.
pub(super) fn bar(what: &str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = BARS.add(ProgressBar::no_length().with_message(what.to_owned()));
    let template = "{msg:30!} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// Removes a bar.
pub(super) fn remove(bar: &ProgressBar) {
    bar.finish_and_clear();
    BARS.remove(bar);
}

/// The log's way to stderr, around the bars.
pub(super) struct LogPipe;

impl Write for LogPipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        suspend(|| io::stderr().write_all(bytes)).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
