//! The core alone, driven by hand: no sockets, and no network in memory that would be measured too.
#![allow(dead_code, unreachable_pub, reason = "each who includes it uses a part of it")]

use servent::config::Config;
use servent::library::{Library, LibraryBuilder};
use servent::servent::{ConnId, Output, Servent, TxChunk};
use servent::time::Instant;
use servent::wire::ServentId;
use std::sync::Arc;
use std::time::Duration;

/// A library of `count` names that no flood finds.
pub fn names(count: u32) -> Library {
    let mut builder = LibraryBuilder::new();
    for number in 1..=count {
        let [a, b, c] = [7, 13, 29].map(|step| (number * step) % 5_000);
        builder.add(number, &format!("w{a:04} w{b:04} w{c:04} {number}.ogg"), 1).unwrap();
    }
    loop {
        if let Some(library) = builder.step(usize::MAX) {
            return library;
        }
    }
}

/// A core whose links take everything at once.
pub struct Net {
    core: Servent,
    source: ConnId,
    asker: ConnId,
    now: Instant,
}

impl Net {
    pub fn new(sinks: usize, library: Library) -> Net {
        let now = Instant::ZERO;
        let config = Config { background_pings: false, max_links: 64, ..Config::default() };
        let identity = ServentId([1; 16]);
        let mut core = Servent::new(Arc::new(config), Arc::new(library), identity, 1, now);
        let local = "127.0.0.1:6346".parse().unwrap();
        let link = |at: usize| {
            let remote = format!("127.0.0.{}:5000", at + 2).parse().unwrap();
            let conn = core.handle_accepted(now, remote, local).unwrap();
            core.handle_bytes(now, conn, b"GNUTELLA CONNECT/0.4\n\n");
            conn
        };
        let conns: Vec<_> = (0..=sinks).map(link).collect();
        let mut net = Net { core, source: conns[0], asker: conns[sinks], now };
        net.drain();
        net
    }

    /// All links but the source are deflated from now on.
    pub fn deflate(&mut self) {
        let sinks: Vec<ConnId> = self.core.neighbours().map(|link| link.conn).collect();
        for sink in sinks.into_iter().filter(|sink| *sink != self.source) {
            servent::fuzzing::set_coding(&mut self.core, sink, false, true);
        }
    }

    /// Descriptors sent, on all links.
    pub fn sent(&self) -> u64 {
        self.core.stats().sent
    }

    /// The last link sends these bytes.
    pub fn ask(&mut self, bytes: &[u8]) {
        self.core.start_turn();
        self.core.handle_bytes(self.now, self.asker, bytes);
        self.drain();
    }

    pub fn pass(&mut self, bytes: &[u8]) {
        // Time for the link to have its full share again.
        self.now += Duration::from_millis(100);
        // As much as a servent handles before it writes.
        for part in bytes.chunks(32 * 1024) {
            self.core.start_turn();
            self.core.handle_bytes(self.now, self.source, part);
            while self.core.read_allowance(self.now, self.source) == 0 {
                self.core.start_turn();
                self.core.handle_timeout(self.now);
            }
            self.drain();
        }
    }

    fn drain(&mut self) {
        let now = self.now;
        while let Some(output) = self.core.poll_output() {
            assert!(!matches!(output, Output::Close { .. }), "no link ends here");
        }
        while let Some((conn, chunk)) = self.core.poll_transmit(now) {
            let TxChunk::Bytes(bytes) = chunk else { unreachable!("there are no uploads") };
            let written = bytes.len();
            self.core.sent(now, conn, written);
        }
    }
}
