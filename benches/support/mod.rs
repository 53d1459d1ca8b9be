//! Shared by the benches: interleaved repetitions, medians with their spread, and processes with
//! their costs.
#![allow(dead_code, unreachable_pub, reason = "each bench uses a part of it")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

pub mod attacks;
pub mod load;
pub mod net;
pub mod relay;
#[path = "../../tests/it/process/spawned.rs"]
pub mod spawned;

/// The figures of several repetitions.
#[derive(Clone, Debug)]
pub struct Spread {
    sorted: Vec<f64>,
}

impl Spread {
    pub fn new(mut figures: Vec<f64>) -> Spread {
        figures.sort_by(f64::total_cmp);
        Spread { sorted: figures }
    }

    pub fn median(&self) -> f64 {
        self.sorted[self.sorted.len() / 2]
    }

    fn least(&self) -> f64 {
        self.sorted[0]
    }

    fn most(&self) -> f64 {
        self.sorted[self.sorted.len() - 1]
    }

    /// The ratio of each repetition to the reference measured beside it.
    pub fn ratio(figures: &[f64], references: &[f64]) -> Spread {
        Spread::new(figures.iter().zip(references).map(|(a, b)| a / b).collect())
    }

    /// The median with least and most, with a prefix of the unit.
    pub fn show(&self, unit: &str) -> String {
        let (scale, prefix) = match self.median().abs() {
            x if x >= 1e9 => (1e9, "G"),
            x if x >= 1e6 => (1e6, "M"),
            x if x >= 1e4 => (1e3, "k"),
            _ => (1.0, ""),
        };
        let [median, least, most] = [self.median(), self.least(), self.most()].map(|x| x / scale);
        format!("{median:.2} {prefix}{unit} ({least:.2} to {most:.2})")
    }

    /// The same in percent.
    pub fn show_percent(&self) -> String {
        let [median, least, most] =
            [self.median(), self.least(), self.most()].map(|x| (x * 100.0).round());
        format!("{median:.0} % ({least:.0} to {most:.0})")
    }
}

/// One line of a table.
pub fn row(what: &str, figure: &str) {
    println!("  {what:<44} {figure}");
}

pub fn heading(what: &str) {
    println!("\n{what}");
}

/// The argument after `name`.
pub fn option(name: &str) -> Option<String> {
    let mut args = std::env::args().skip_while(|arg| arg != name);
    args.next().and_then(|_| args.next())
}

/// The number of repetitions: `--reps N`.
pub fn repetitions(usual: usize) -> usize {
    option("--reps").map_or(usual, |text| text.parse().expect("--reps takes a number"))
}

/// The CPU time a process has used so far: user and system.
pub fn cpu_of(pid: u32) -> (Duration, Duration) {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name in parentheses may contain blanks.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    // In hundredths of a second on Linux.
    let ticks = |at: usize| Duration::from_millis(10 * fields[at].parse::<u64>().unwrap());
    (ticks(11), ticks(12))
}

/// Pins this thread to the first processor and `pid` to the last. Otherwise the scheduler may leave
/// both on one for many milliseconds. No effect with one processor.
pub fn pin_apart(pid: u32) {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    let all: &CpuSet = {
        static ALL: std::sync::OnceLock<CpuSet> = std::sync::OnceLock::new();
        ALL.get_or_init(|| sched_getaffinity(None).unwrap())
    };
    let usable: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&cpu| all.is_set(cpu)).collect();
    let only = |cpu: usize| {
        let mut set = CpuSet::new();
        set.set(cpu);
        set
    };
    let process = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap());
    sched_setaffinity(None, &only(usable[0])).unwrap();
    sched_setaffinity(process, &only(usable[usable.len() - 1])).unwrap();
}

/// Resident bytes of a process.
pub fn resident(pid: u32) -> u64 {
    servent::testnet::memory(pid, "VmRSS").unwrap()
}

/// A `servent run` of this build, with `state` as its home.
pub fn servent(state: &Path, args: &[&str]) -> spawned::Process {
    let mut command = servent::testnet::command(Path::new(env!("CARGO_BIN_EXE_servent")));
    command.args(["run", "--listen", "127.0.0.1:0", "--links", "0", "--no-pings", "--state"]);
    command.arg(state.join("state")).args(args).env("XDG_CONFIG_HOME", state);
    command.env("XDG_RUNTIME_DIR", state);
    command.env("RUST_LOG", "info,servent::writes=debug");
    spawned::Process::spawn(command).expect("the servent starts")
}

/// This program again, with other arguments.
pub fn oneself(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(args);
    command
}

/// Fills `folder/share` with empty files, each named by three common words.
pub fn library(folder: &Path, files: usize) {
    let share = folder.join("share");
    fs::create_dir_all(&share).unwrap();
    for file in 0..files {
        let [a, b, c] = [7, 13, 29].map(|step| (file * step) % 5_000);
        // The floods do not find these: Queries are to be matched, not answered.
        fs::File::create(share.join(format!("w{a:04} w{b:04} w{c:04} {file}.ogg"))).unwrap();
    }
}

/// The system's congestion control, which the sockets under test use.
pub fn congestion() -> String {
    fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control")
        .map_or("unknown".to_owned(), |name| name.trim().to_owned())
}

/// Repeats all in turn, so that other load on the machine affects all of them.
pub fn interleaved<const N: usize>(
    repetitions: usize,
    mut runs: [&mut dyn FnMut() -> f64; N],
) -> [Vec<f64>; N] {
    let mut figures = [const { Vec::new() }; N];
    for _ in 0..repetitions {
        for (run, figures) in runs.iter_mut().zip(&mut figures) {
            figures.push(run());
        }
    }
    figures
}

/// Nanoseconds per item when `run` does `count` of them.
pub fn each_of(count: usize, run: impl FnOnce()) -> f64 {
    let begun = std::time::Instant::now();
    run();
    begun.elapsed().as_nanos() as f64 / count as f64
}

/// A figure beside its reference.
pub fn beside(what: &str, figures: &[f64], reference: &[f64], unit: &str) {
    let ratio = Spread::ratio(figures, reference);
    let figures = Spread::new(figures.to_vec()).show(unit);
    row(what, &format!("{figures}, {:.2} of the reference", ratio.median()));
}
