//! The main job in one command: a line of servents, a search across all of them, a download.

use super::process::{Process, command};
use crate::rng::Rng;
use serde::Deserialize;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// The file that lies at the far end.
const FAR_FILE: &str = "Zebra crossing at dusk.flac";
const FAR_FILE_BYTES: usize = 3_000_000;
/// What is searched for: beginnings of its words, in another order.
const WORDS: [&str; 2] = ["dusk", "zeb"];
/// What the others share, so that there is something that does not match.
const NEAR_FILES: [(&str, &str); 3] = [
    ("free bsd notes.txt", "ports, jails, pf\n"),
    ("hello.txt", "hello"),
    ("Zebra stripes.txt", "black and white\n"),
];

/// What a hit of `servent search --json` has that the demo looks at.
#[derive(Debug, Deserialize)]
struct HitLine {
    name: String,
    size: u64,
    host: String,
    port: u16,
    hops: u8,
}

/// Shows the whole job with `count` servents on loopback.
///
/// # Errors
/// When any part of it did not hold, in one sentence. Nothing is left behind either way.
pub fn run(count: usize) -> io::Result<()> {
    let started = Instant::now();
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let folder = tempfile::Builder::new().prefix("servent-demo-").tempdir()?;
    let result = demo(folder.path(), count, &stop);
    folder.close()?;
    result?;
    say(&format!(
        "all {count} servents stopped, nothing is left behind ({:.1} s)",
        started.elapsed().as_secs_f64()
    ))
}

fn demo(folder: &Path, count: usize, stop: &AtomicBool) -> io::Result<()> {
    say(&format!("starting {count} servents on loopback, each linked to the one before"))?;
    let mut line: Vec<Process> = Vec::new();
    for number in 1..=count {
        interruptible(stop)?;
        let place = folder.join(format!("servent-{number}"));
        let (share, state) = (place.join("share"), place.join("state"));
        fs::create_dir_all(&share)?;
        fs::create_dir_all(&state)?;
        let shared = fill(&share, number, count)?;
        let mut process = Process::spawn(servent(&share, &state, line.last())?)?;
        if number > 1 {
            process.wait_for("joined")?;
        }
        let role = if number == 1 { ", the bootstrap node" } else { "" };
        say(&format!("  servent {number} on {} shares {shared}{role}", process.addr()))?;
        line.push(process);
    }
    let (first, last) = (line[0].addr(), line[count - 1].addr());

    interruptible(stop)?;
    say(&format!("searching for \"{}\" through servent 1", WORDS.join(" ")))?;
    let output = folder.join("downloads");
    let found = search(&["--connect", &first.to_string(), "--get", "first"], &output)?;
    let hit = parse_hit(&found)?;
    say(&format!(
        "  found \"{}\" ({} bytes) at {}:{}, {} hops away",
        hit.name, hit.size, hit.host, hit.port, hit.hops
    ))?;
    let expected_hops = count - 1;
    if (hit.port, usize::from(hit.hops)) != (last.port(), expected_hops) {
        let text = format!("the hit should come from {last} over {expected_hops} hops");
        return Err(io::Error::other(text));
    }

    let original = fs::read(folder.join(format!("servent-{count}/share")).join(FAR_FILE))?;
    let copy = fs::read(output.join(FAR_FILE))?;
    if copy != original {
        return Err(io::Error::other("the downloaded file differs from the shared one"));
    }
    say(&format!("fetched it: {} bytes, the same as at servent {count}", copy.len()))?;
    line.iter_mut().try_for_each(Process::stop)
}

/// The running binary as a servent on a free port, linked to `neighbour` and nobody else.
fn servent(share: &Path, state: &Path, neighbour: Option<&Process>) -> io::Result<Command> {
    let mut command = command(&std::env::current_exe()?);
    command.args(["run", "--listen", "127.0.0.1:0", "--links", "0"]);
    command.arg("--share").arg(share).arg("--state").arg(state);
    if let Some(neighbour) = neighbour {
        command.args(["--connect", &neighbour.addr().to_string()]);
    }
    // Settings of the caller's own servent are none of these servents' business.
    command.env("XDG_CONFIG_HOME", state).env("RUST_LOG", "info");
    Ok(command)
}

/// Puts the files of one servent into its folder and says what they are.
fn fill(share: &Path, number: usize, count: usize) -> io::Result<String> {
    if number == count {
        let mut rng = Rng::new(4);
        let bytes: Vec<u8> =
            std::iter::repeat_with(|| rng.bytes16()).flatten().take(FAR_FILE_BYTES).collect();
        fs::write(share.join(FAR_FILE), bytes)?;
        return Ok(format!("\"{FAR_FILE}\""));
    }
    let (name, text) = NEAR_FILES[number % NEAR_FILES.len()];
    fs::write(share.join(name), text)?;
    Ok(format!("\"{name}\""))
}

/// Runs `servent search` as a user would.
fn search(args: &[&str], output: &Path) -> io::Result<Output> {
    let mut command = command(&std::env::current_exe()?);
    command.arg("search").args(WORDS).args(args).arg("--json").arg("--output").arg(output);
    let done = command.env("RUST_LOG", "warn").output()?;
    if done.status.success() {
        return Ok(done);
    }
    let told = String::from_utf8_lossy(&done.stderr);
    Err(io::Error::other(format!("the search ended with {}: {}", done.status, told.trim())))
}

fn parse_hit(found: &Output) -> io::Result<HitLine> {
    let text = String::from_utf8_lossy(&found.stdout);
    let line = text.lines().next().ok_or_else(|| io::Error::other("the search printed no hit"))?;
    Ok(serde_json::from_str(line)?)
}

fn interruptible(stop: &AtomicBool) -> io::Result<()> {
    if stop.load(Ordering::Relaxed) {
        return Err(io::Error::new(io::ErrorKind::Interrupted, "interrupted"));
    }
    Ok(())
}

fn say(text: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{text}")
}
