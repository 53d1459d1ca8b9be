//! Conversations recorded with real 0.6 servents, from `tests/data/06`: `[seconds] SENT|RECV n bytes`
//! and a hex dump, where SENT is the probe's side and RECV the servent's.

use std::path::Path;
use std::time::Duration;

/// A conversation in order: whether the servent sent it, when, what.
pub(crate) struct Recording {
    turns: Vec<(bool, Duration, Vec<u8>)>,
}

impl Recording {
    pub(crate) fn load(name: &str) -> Recording {
        let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/06"));
        let text = std::fs::read_to_string(folder.join(format!("{name}.txt"))).unwrap();
        let mut turns: Vec<(bool, Duration, Vec<u8>)> = Vec::new();
        let mut is_event = false;
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix('[') {
                let (seconds, rest) = rest.split_once(']').unwrap();
                is_event = rest.starts_with(" EVENT");
                let time = Duration::from_secs_f64(seconds.trim().parse().unwrap());
                if !is_event {
                    turns.push((rest.starts_with(" RECV"), time, Vec::new()));
                }
            } else if !is_event {
                let bytes = line[6..54].split_whitespace();
                let bytes = bytes.map(|byte| u8::from_str_radix(byte, 16).unwrap());
                turns.last_mut().unwrap().2.extend(bytes);
            }
        }
        Recording { turns }
    }

    /// All bytes of the probe.
    pub(crate) fn sent(&self) -> Vec<u8> {
        self.of(false)
    }

    /// All bytes of the servent.
    pub(crate) fn received(&self) -> Vec<u8> {
        self.of(true)
    }

    fn of(&self, servent: bool) -> Vec<u8> {
        let turns = self.turns.iter().filter(|(received, ..)| *received == servent);
        turns.flat_map(|(_, _, bytes)| bytes.clone()).collect()
    }
}
