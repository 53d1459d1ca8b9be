//! The latest lines of the log, for those who ask a running servent, and what is logged at all. A logger
//! is global to its process, and so is this.

use crate::control::results::LogRow;
use log::{Level, LevelFilter};
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

/// Lines kept.
pub(super) const MAX_LINES: usize = 1_000;
/// Bytes kept of one line: parts of it are a peer's choice.
const MAX_LINE_BYTES: usize = 512;

static LINES: Mutex<VecDeque<LogRow>> = Mutex::new(VecDeque::new());
static WANTED: RwLock<Option<LevelFilter>> = RwLock::new(None);

/// Keeps a line that was logged.
pub fn keep(level: Level, text: &str) {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let row = LogRow {
        time: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX),
        level: level.as_str().to_lowercase(),
        text: text[..text.floor_char_boundary(MAX_LINE_BYTES)].to_owned(),
    };
    let mut lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    if lines.len() >= MAX_LINES {
        lines.pop_front();
    }
    lines.push_back(row);
}

/// What is to be logged instead of what `RUST_LOG` says, if a user has said so since.
pub fn wanted() -> Option<LevelFilter> {
    *WANTED.read().unwrap_or_else(PoisonError::into_inner)
}

/// Logs up to this level from now on.
pub(super) fn set_wanted(level: LevelFilter) {
    *WANTED.write().unwrap_or_else(PoisonError::into_inner) = Some(level);
    log::set_max_level(level);
}

/// The latest `count` lines, oldest first.
pub(super) fn latest(count: usize) -> Vec<LogRow> {
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    lines.iter().skip(lines.len().saturating_sub(count)).cloned().collect()
}
