//! Instructions per descriptor, counted by valgrind, against recorded bounds. Counts do not depend on
//! the load of the machine. Fails when a bound is exceeded.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on stops")]
#![allow(clippy::cast_possible_truncation, reason = "figures are far below")]

mod support;

use servent::library::Library;
use servent::servent::{LinkKey, RouteTable};
use servent::time::Instant;
use servent::wire::Deframer;
use std::hint::black_box;
use std::process::ExitCode;
use std::time::Duration;
use support::net::{Net, names};
use support::{heading, load, oneself, row};

/// The cases and their bounds: the recorded counts and at most a quarter more.
const CASES: [(&str, u64); 7] = [
    ("frame", 105),
    ("route", 555),
    ("flood-4", 1_215),
    ("flood-16", 1_235),
    ("flood-4-library", 1_795),
    ("duplicate", 640),
    ("hit-back", 1_375),
];
/// Descriptors of a short and a long run. Their difference leaves out setup costs.
const FEW: usize = 20_000;
const MANY: usize = 60_000;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    if let [_, mark, case, count] = &args[..]
        && mark == "--do"
    {
        work(case, count.parse().unwrap());
        return ExitCode::SUCCESS;
    }
    heading("instructions per descriptor");
    let mut exceeded = false;
    for (case, bound) in CASES {
        let counts = [FEW, MANY].map(|count| counted(case, count));
        let each = (counts[1] - counts[0]) / (MANY - FEW) as u64;
        let verdict = if each > bound { "TOO MANY" } else { "ok" };
        row(case, &format!("{each}, bound {bound}: {verdict}"));
        exceeded |= each > bound;
    }
    if exceeded { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// All instructions of this program running `case` with `count` descriptors.
fn counted(case: &str, count: usize) -> u64 {
    let own = oneself(&["--do", case, &count.to_string()]);
    let mut command = std::process::Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    let done = command.arg(own.get_program()).args(own.get_args()).output();
    let done = done.expect("valgrind is installed");
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    let line = said.lines().find_map(|line| line.split("Collected :").nth(1));
    line.unwrap_or_else(|| panic!("valgrind says {said}")).trim().parse().unwrap()
}

fn work(case: &str, count: usize) {
    let mut stream = load::Stream::new(&load::query(), 1);
    match case {
        "frame" => {
            let mut deframer = Deframer::default();
            each(&mut stream, count, |bytes| {
                let mut descriptors = deframer.feed(bytes);
                while let Ok(Some(raw)) = descriptors.next() {
                    black_box(raw.payload());
                }
            });
        }
        "route" => {
            let age = Duration::from_secs(3_600);
            let mut rng = servent::rng::Rng::new(1);
            let mut table = RouteTable::new(1 << 22, age, &mut rng);
            each(&mut stream, count, |bytes| {
                for one in bytes.chunks_exact(80) {
                    let id = one.first_chunk().unwrap();
                    black_box(table.insert(Instant::ZERO, id, LinkKey::new(1, 1)));
                }
            });
        }
        "flood-4" => flood(&mut stream, count, 4, Library::empty()),
        "flood-16" => flood(&mut stream, count, 16, Library::empty()),
        "flood-4-library" => flood(&mut stream, count, 4, names(20_000)),
        "duplicate" => {
            let mut net = Net::new(4, Library::empty());
            let bytes = stream.take(1_000).to_vec();
            (0..count / 1_000).for_each(|_| net.pass(&bytes));
        }
        "hit-back" => {
            let mut net = Net::new(4, Library::empty());
            // With the GUID of the hits.
            net.ask(&[&[0; 16], &load::query()[16..]].concat());
            let hits = load::hit().repeat(1_000);
            (0..count / 1_000).for_each(|_| net.pass(&hits));
        }
        other => panic!("no such case: {other}"),
    }
}

fn each(stream: &mut load::Stream, count: usize, mut act: impl FnMut(&[u8])) {
    (0..count / 1_000).for_each(|_| act(black_box(stream.take(1_000))));
}

fn flood(stream: &mut load::Stream, count: usize, sinks: usize, library: Library) {
    let mut net = Net::new(sinks, library);
    each(stream, count, |bytes| net.pass(bytes));
}
