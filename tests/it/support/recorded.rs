//! Conversations recorded with real 0.6 servents, from `tests/data/06`: `[seconds] SENT|RECV n bytes`
//! and a hex dump, where SENT is the probe's side and RECV the servent's.

use servent::capture::write;
use std::net::SocketAddrV4;
use std::path::Path;
use std::time::Duration;

/// A conversation in order: whether the servent sent it, when, what.
pub(crate) struct Recording {
    turns: Vec<(bool, Duration, Vec<u8>)>,
}

impl Recording {
    /// All recordings.
    pub(crate) const NAMES: [&str; 5] = [
        "bun-in-06-deflate-both",
        "gtkg-idle-silent",
        "gtkg-in-06-deflate-both",
        "gtkg-leafmode-in-06-1",
        "limewire-in-06-ultrafull",
    ];

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

    /// Turns of our own, a millisecond apart.
    pub(crate) fn of_turns<const N: usize>(turns: [(bool, Vec<u8>); N]) -> Recording {
        let turns = (0..).zip(turns);
        let turn = |(at, (received, bytes))| (received, Duration::from_millis(at), bytes);
        Recording { turns: turns.map(turn).collect() }
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

    /// The conversation as a capture, one packet a turn: 127.0.0.1:6346 is the servent, 127.0.0.2:40000 the
    /// probe.
    pub(crate) fn capture(&self) -> Vec<u8> {
        let servent = SocketAddrV4::new([127, 0, 0, 1].into(), 6346);
        let probe = SocketAddrV4::new([127, 0, 0, 2].into(), 40_000);
        let (mut file, mut next) = (write::file_header(), [1u32, 1]);
        for (received, time, bytes) in &self.turns {
            let from_to = if *received { (servent, probe) } else { (probe, servent) };
            let side = usize::from(*received);
            let packet = write::tcp_packet(from_to, (next[side], next[1 - side]), bytes).unwrap();
            file.extend(write::packet_block(*time, &packet));
            next[side] += u32::try_from(bytes.len()).unwrap();
        }
        file
    }
}
