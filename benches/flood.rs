//! Rate of Queries forwarded from one flooding neighbour to 1, 4 and 16 sinks; reference: a relay that
//! copies bytes verbatim. Deflated links stand beside deflate alone on the same bytes; `-- --deflated`
//! measures them only. `-- --peer HOST:PORT` drives any other 0.4 servent instead.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on stops")]
#![allow(clippy::cast_possible_truncation, reason = "figures are far below")]

mod support;

use servent::library::Library;
use servent::wire::deflate::Deflater;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use support::load::{self, Flooded, Stream, flood, link};
use support::net::Net;
use support::{Spread, cpu_of, heading, option, repetitions, row};

/// Long enough for the CPU times, which are in hundredths of a second.
const TIME: Duration = Duration::from_millis(1_500);
/// GUIDs in the tables before the measurement.
const FILL: u64 = 1_000_000;
const SINKS: [usize; 3] = [1, 4, 16];
const FILES: usize = 100_000;

/// Queries that deflated links are measured with, at once and in all.
const AT_ONCE: usize = 400;
const DEFLATED: usize = 40_000;

fn main() {
    if std::env::args().any(|arg| arg == "--as-relay") {
        return support::relay::main().expect("the relay runs");
    }
    let mut ids = 1;
    println!(
        "queries of 80 bytes; congestion control: ours cubic, others {}",
        support::congestion()
    );
    if let Some(peer) = option("--peer") {
        let addr = peer.parse().expect("--peer takes IP:PORT");
        return SINKS.iter().for_each(|sinks| drive(addr, *sinks, &mut ids));
    }
    deflated();
    if std::env::args().any(|arg| arg == "--deflated") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    support::library(folder.path(), FILES);
    let share = folder.path().join("share");
    for sinks in SINKS {
        heading(&format!("{sinks} sinks"));
        let (mut relay, mut empty, mut full) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..repetitions(5) {
            let (mut child, addr) = support::relay::spawn();
            relay.push(once(addr, sinks, &mut ids).rate(sinks));
            child.wait().unwrap();
            empty.push(measure(folder.path(), &[], sinks, &mut ids));
            full.push(measure(
                folder.path(),
                &["--share", share.to_str().unwrap()],
                sinks,
                &mut ids,
            ));
        }
        row("verbatim relay", &Spread::new(relay.clone()).show("queries/s"));
        for (what, runs) in [("empty library", &empty), ("100,000 names", &full)] {
            let rates: Vec<f64> = runs.iter().map(|run| run.flooded.rate(sinks)).collect();
            row(what, &Spread::new(rates.clone()).show("queries/s"));
            row("  of the relay", &Spread::ratio(&rates, &relay).show_percent());
            let each = |of: &dyn Fn(&Run) -> f64| Spread::new(runs.iter().map(of).collect());
            row("  user CPU per query", &each(&|run| per_query(run, run.user)).show("ns"));
            row("  system CPU per copy", &each(&|run| per_copy(run, run.system)).show("ns"));
            let lost = |run: &Run| {
                1.0 - run.flooded.copies as f64 / (run.flooded.sent * sinks as u64) as f64
            };
            row("  lost to full queues", &each(&lost).show_percent());
            row("  bytes per write", &each(&|run| run.bytes_per_write).show("B"));
        }
    }
}

/// The core alone, its sinks deflated, beside deflate alone on the bytes that it forwards.
fn deflated() {
    for sinks in SINKS {
        heading(&format!("{sinks} deflated sinks, in memory"));
        let (mut alone, mut core) = (Vec::new(), Vec::new());
        for _ in 0..repetitions(5) {
            let (mut stream, mut states, mut piece) = (
                Stream::new(&load::query(), 1),
                (0..sinks).map(|_| Deflater::default()).collect::<Vec<_>>(),
                Vec::new(),
            );
            let began = Instant::now();
            for _ in 0..DEFLATED / AT_ONCE {
                let bytes = stream.take(AT_ONCE);
                for state in &mut states {
                    for part in bytes.chunks(16 * 1024) {
                        piece.clear();
                        state.deflate(part, &mut piece);
                    }
                }
            }
            alone.push(DEFLATED as f64 / began.elapsed().as_secs_f64());
            let (mut stream, mut net) =
                (Stream::new(&load::query(), 1), Net::new(sinks, Library::empty()));
            net.deflate();
            let began = Instant::now();
            for _ in 0..DEFLATED / AT_ONCE {
                net.pass(stream.take(AT_ONCE));
            }
            core.push(DEFLATED as f64 / began.elapsed().as_secs_f64());
            assert_eq!(net.sent(), (DEFLATED * sinks) as u64, "nothing is lost");
        }
        row("deflate alone", &Spread::new(alone.clone()).show("queries/s"));
        row("forwarded", &Spread::new(core.clone()).show("queries/s"));
        row("  of deflate alone", &Spread::ratio(&core, &alone).show_percent());
    }
}

struct Run {
    flooded: Flooded,
    user: Duration,
    system: Duration,
    bytes_per_write: f64,
}

fn per_query(run: &Run, time: Duration) -> f64 {
    time.as_nanos() as f64 / run.flooded.sent as f64
}

fn per_copy(run: &Run, time: Duration) -> f64 {
    time.as_nanos() as f64 / run.flooded.copies as f64
}

fn once(addr: SocketAddr, sinks: usize, ids: &mut u64) -> Flooded {
    let mut stream = Stream::new(&load::query(), *ids);
    let source = link(addr);
    let sinks = (0..sinks).map(|_| link(addr)).collect();
    let flooded = flood(source, sinks, &mut stream, TIME);
    *ids += 1 << 32;
    flooded
}

/// A servent whose table already holds [`FILL`] other Queries.
fn measure(folder: &std::path::Path, args: &[&str], sinks: usize, ids: &mut u64) -> Run {
    let mut servent = support::servent(folder, &[&["--max-links", "64"], args].concat());
    let addr = SocketAddr::V4(servent.addr());
    let mut fill = Stream::new(&load::query(), *ids);
    while fill.sent() < *ids + FILL {
        flood(link(addr), vec![link(addr)], &mut fill, Duration::from_millis(100));
    }
    *ids += 1 << 32;
    let before = cpu_of(servent.id());
    let flooded = once(addr, sinks, ids);
    let after = cpu_of(servent.id());
    servent.stop().expect("it stops when asked");
    let bytes_per_write = bytes_per_write(&servent.rest()).unwrap_or(f64::NAN);
    Run { flooded, user: after.0 - before.0, system: after.1 - before.1, bytes_per_write }
}

/// Bytes per write, from the servent's last log lines.
fn bytes_per_write(said: &[String]) -> Option<f64> {
    let line = said.iter().find(|line| line.contains(" writes"))?;
    let words: Vec<&str> = line.split_whitespace().collect();
    let at = words.iter().position(|word| *word == "bytes")?;
    let [bytes, writes] = [words[at - 1], words[at + 2]].map(|word| word.parse::<f64>().ok());
    Some(bytes? / writes?)
}

/// Any servent: the rate and the share of copies that arrive.
fn drive(addr: SocketAddr, sinks: usize, ids: &mut u64) {
    heading(&format!("{addr}, {sinks} sinks"));
    let runs: Vec<Flooded> = (0..repetitions(3)).map(|_| once(addr, sinks, ids)).collect();
    let each = |of: &dyn Fn(&Flooded) -> f64| Spread::new(runs.iter().map(of).collect());
    row("forwarded", &each(&|run| run.rate(sinks)).show("queries/s"));
    let share = |run: &Flooded| run.copies as f64 / (run.sent * sinks as u64) as f64;
    row("share delivered", &each(&share).show_percent());
}
