//! Transfers under fire: operations decoded from bytes, played against one upload or one download
//! by an owner that keeps its side of the contract and holds the machine to the other.

mod download;
mod upload;

use crate::time::Instant;
use std::time::Duration;

/// Whatever a peer sends, however the disk answers and whenever time passes: uploads hold a file
/// exactly between `Open` and `Release` and send nothing but whole heads and what they promise,
/// downloads write each byte once and in order and end at most once, and neither waits for ever.
///
/// The first byte of `data` chooses the machine and its settings, the rest are operations.
pub fn transfer(data: &[u8]) {
    let Some((&settings, rest)) = data.split_first() else { return };
    let mut script = Script { rest };
    match settings & 1 {
        0 => upload::play(settings >> 1, &mut script),
        _ => download::play(settings >> 1, &mut script),
    }
}

/// The bytes not yet decoded.
struct Script<'a> {
    rest: &'a [u8],
}

impl<'a> Script<'a> {
    /// The next operation, if there is one.
    fn next(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte)
    }

    /// A number that belongs to it; zero at the end.
    fn number(&mut self) -> u8 {
        self.next().unwrap_or(0)
    }

    /// Some raw bytes, their count first.
    fn raw(&mut self) -> &'a [u8] {
        let count = usize::from(self.number()).min(self.rest.len());
        let (raw, rest) = self.rest.split_at(count);
        self.rest = rest;
        raw
    }

    /// One of a few texts.
    fn choice<T: Copy>(&mut self, texts: &[T]) -> T {
        texts[usize::from(self.number()) % texts.len()]
    }

    /// From a tenth of a second to two minutes.
    fn later(&mut self, now: Instant) -> Instant {
        let number = u64::from(self.number());
        now + match number {
            0..=127 => Duration::from_millis(100 * (number + 1)),
            _ => Duration::from_secs(number - 127),
        }
    }
}
