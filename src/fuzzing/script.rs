//! Bytes read as a script: operations one after the other, each with the numbers and texts that
//! belong to it. Every input is a script; one that is cut short is a shorter one.

use crate::time::Instant;
use std::time::Duration;

/// The bytes not yet decoded.
pub(super) struct Script<'a> {
    rest: &'a [u8],
}

impl<'a> Script<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Script<'a> {
        Script { rest: bytes }
    }

    /// The next operation, if there is one.
    pub(super) fn next(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte)
    }

    /// A number that belongs to it; zero at the end.
    pub(super) fn number(&mut self) -> u8 {
        self.next().unwrap_or(0)
    }

    /// Some raw bytes, their count first.
    pub(super) fn raw(&mut self) -> &'a [u8] {
        let count = usize::from(self.number()).min(self.rest.len());
        let (raw, rest) = self.rest.split_at(count);
        self.rest = rest;
        raw
    }

    /// One of a few.
    pub(super) fn choice<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.number()) % choices.len()]
    }

    /// From a tenth of a second to two minutes.
    pub(super) fn later(&mut self, now: Instant) -> Instant {
        let number = u64::from(self.number());
        now + match number {
            0..=127 => Duration::from_millis(100 * (number + 1)),
            _ => Duration::from_secs(number - 127),
        }
    }
}
