//! What a check found.

use serde::Serialize;

/// Violations of a rule that are listed; the rest is counted.
const MAX_NAMED: usize = 10;

/// One thing that was asserted.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What should hold.
    pub rule: &'static str,
    /// How often it was looked at.
    pub looked_at: usize,
    /// Where it does not hold.
    pub wrong: Vec<String>,
    /// More of them.
    pub more_wrong: usize,
}

impl Finding {
    pub(super) fn new(rule: &'static str) -> Finding {
        Finding { rule, looked_at: 0, wrong: Vec::new(), more_wrong: 0 }
    }

    pub(super) fn look(&mut self, holds: bool, what: impl FnOnce() -> String) {
        self.looked_at += 1;
        match holds {
            true => {}
            false if self.wrong.len() < MAX_NAMED => self.wrong.push(what()),
            false => self.more_wrong += 1,
        }
    }

    /// Whether it holds everywhere.
    pub fn holds(&self) -> bool {
        self.wrong.is_empty()
    }
}
