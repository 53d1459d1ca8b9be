//! Cost of idle links: memory and CPU each, and CPU of busy links among them.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on stops")]
#![allow(clippy::cast_possible_truncation, reason = "figures are far below")]

mod support;

use rustix::process::{Resource, getrlimit, setrlimit};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;
use support::load::{Stream, link};
use support::{Spread, cpu_of, heading, repetitions, resident, row};

const BUSY: usize = 64;
const LINKS: usize = 5_000;
/// Each busy link sends bursts of Queries with a pause between them.
const BURSTS: usize = 40;
const BURST: usize = 500;

fn servent(folder: &std::path::Path) -> (support::spawned::Process, SocketAddr) {
    let servent = support::servent(folder, &["--max-links", "10200"]);
    let addr = SocketAddr::V4(servent.addr());
    (servent, addr)
}

fn main() {
    let limit = getrlimit(Resource::Nofile);
    // Each link has an end here, and one in the servent, which inherits the limit.
    setrlimit(Resource::Nofile, rustix::process::Rlimit { current: limit.maximum, ..limit })
        .unwrap();
    let most = limit.maximum.map_or(10_000, |most| most.saturating_sub(100).min(10_000)) as usize;
    let folder = tempfile::tempdir().unwrap();
    for count in [100, 1_000, 10_000] {
        if count > most {
            row(&format!("{count} idle links"), "skipped: the limit on open files is too low");
            continue;
        }
        let (mut bytes, mut cpu) = (Vec::new(), Vec::new());
        for _ in 0..repetitions(3) {
            let (mut servent, addr) = servent(folder.path());
            let before = resident(servent.id());
            let links: Vec<TcpStream> = (0..count).map(|_| link(addr)).collect();
            bytes.push(resident(servent.id()).saturating_sub(before) as f64);
            let (user, system) = cpu_of(servent.id());
            thread::sleep(Duration::from_secs(2));
            let after = cpu_of(servent.id());
            cpu.push((after.0 + after.1 - user - system).as_secs_f64() / 2.0);
            drop(links);
            servent.stop().expect("it stops when asked");
        }
        heading(&format!("{count} idle links"));
        let each = bytes.iter().map(|all| all / count as f64).collect();
        row("resident, all", &Spread::new(bytes.clone()).show("B"));
        row("resident, each", &Spread::new(each).show("B"));
        row("CPU while idle", &Spread::new(cpu).show_percent());
    }
    heading(&format!("{BUSY} busy links, alone and among {LINKS}"));
    let (mut alone, mut among) = (Vec::new(), Vec::new());
    for _ in 0..repetitions(3) {
        alone.push(busy_cost(folder.path(), BUSY));
        among.push(busy_cost(folder.path(), LINKS.min(most)));
    }
    row("reference: CPU per descriptor, alone", &Spread::new(alone.clone()).show("ns"));
    row("among idle ones", &Spread::new(among.clone()).show("ns"));
    row("  of alone", &Spread::ratio(&among, &alone).show_percent());
}

/// CPU time per descriptor of the busy links among `count` links in all, in nanoseconds.
fn busy_cost(folder: &std::path::Path, count: usize) -> f64 {
    let (mut servent, addr) = servent(folder);
    let mut links: Vec<TcpStream> = (0..count).map(|_| link(addr)).collect();
    // TTL 1: not forwarded.
    let mut template = support::load::query();
    template[17] = 1;
    let mut streams: Vec<Stream> =
        (0..BUSY as u64).map(|number| Stream::new(&template, 1 + (number << 32))).collect();
    let before = cpu_of(servent.id());
    for _ in 0..BURSTS {
        for (link, stream) in links.iter_mut().zip(&mut streams) {
            link.write_all(stream.take(BURST)).unwrap();
        }
        thread::sleep(Duration::from_millis(10));
    }
    let after = cpu_of(servent.id());
    drop(links);
    servent.stop().expect("it stops when asked");
    let spent = (after.0 + after.1).saturating_sub(before.0 + before.1);
    spent.as_nanos() as f64 / (BUSY * BURSTS * BURST) as f64
}
