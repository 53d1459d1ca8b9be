//! The demo: starts a network, searches it, shows the path of the search, downloads a file, and stops
//! everything.

use super::folder::{RunFolder, cannot_write};
use super::follow::{MAX_TTL, Search, follow};
use super::process;
use super::up::{down, interrupted, up};
use super::view::View;
use crate::plan::picture;
use crate::plan::query_report::{QueryReport, table};
use crate::plan::roles::{NodeRole, Speaks};
use crate::plan::topology::{Graph, Topology};
use crate::plan::{Place, Plan};
use crate::rng::Rng;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tempfile::NamedTempFile;

/// The file to be found, at a leaf far from node 0.
const FAR_FILE: &str = "Zebra crossing at dusk.flac";
const FAR_FILE_BYTES: usize = 3_000_000;
/// The search: beginnings of its words, in another order.
const WORDS: [&str; 2] = ["dusk", "zeb"];
/// Files of the other nodes, which do not match.
const NEAR_FILES: [(&str, &str); 3] = [
    ("free bsd notes.txt", "ports, jails, pf\n"),
    ("hello.txt", "hello"),
    ("Zebra stripes.txt", "black and white\n"),
];
const PORT: u16 = 6346;
/// With few servents the default TTL reaches all; in larger networks the first copy to reach a servent
/// may come by a detour.
const fn ttl(count: usize) -> u8 {
    if count <= 8 { 7 } else { MAX_TTL }
}
/// Longest wait for the search.
const SEARCH_TIMEOUT: Duration = Duration::from_secs(20);
/// A seed for which the bridge is several links away.
const SEED: u64 = 12;

/// Runs the demo with `count` servents, and leaves a picture at `svg`. `stop` is checked between the
/// steps.
///
/// # Errors
/// When a step fails or its result is wrong. Nothing but the picture is left behind in any case.
pub fn run(count: usize, svg: Option<&Path>, stop: &AtomicBool) -> io::Result<()> {
    let started = Instant::now();
    let folder = tempfile::Builder::new().prefix("servent-demo-").tempdir()?;
    let network = RunFolder::new(&folder.path().join("network"))?;
    let svg = svg.unwrap_or(Path::new("servent-demo.svg"));
    let shown = demo(folder.path(), &network, count, svg, stop);
    let ended = if network.network().is_ok() { down(&network).map(|_| ()) } else { Ok(()) };
    folder.close()?;
    match shown.and(ended) {
        // Ctrl-C also ends the processes that the demo waits for.
        Err(_) if stop.load(Ordering::Relaxed) => return Err(interrupted()),
        done => done?,
    }
    say(&format!(
        "all servents stopped, nothing but the picture is left behind ({:.1} s)",
        started.elapsed().as_secs_f64()
    ))
}

fn demo(
    folder: &Path,
    network: &RunFolder,
    count: usize,
    svg: &Path,
    stop: &AtomicBool,
) -> io::Result<()> {
    // First: whether the picture can be written at all.
    let picture = draft(svg)?;
    let (plan, graph, sharer) = plan(folder, count)?;
    say(&format!(
        "starting {count} servents on loopback, {} links between them …",
        graph.edges.len()
    ))?;
    let stopped = || stop.load(Ordering::Relaxed);
    // Attached: the network stops even if this process is killed.
    let _running = up(network, (&plan, &graph), PORT, true, &stopped)?;
    let mut view = View::open(network)?;
    for (number, node) in view.network.nodes.iter().enumerate() {
        let neighbours: Vec<&str> = graph
            .edges
            .iter()
            .filter(|(a, b)| *a == number || *b == number)
            .map(|(a, b)| graph.names[if *a == number { *b } else { *a }].as_str())
            .collect();
        let (name, _) = shared_by(number, sharer);
        let linked = neighbours.join(" ");
        say(&format!(
            "  {:>2} on {}, {}, linked with {linked}, shares \"{name}\"",
            node.name,
            node.addr,
            part_of(&plan, &node.name)
        ))?;
    }
    interruptible(stop)?;

    let words = WORDS.join(" ");
    say(&format!(
        "searching for \"{words}\" from servent 0: the path of every copy, and of the hit"
    ))?;
    let words = WORDS.map(str::to_owned).to_vec();
    let search = Search { node: 0, words, ttl: ttl(count), wait: SEARCH_TIMEOUT };
    let followed = follow(&mut view, &search)?;
    say(followed.trace.tree().trim_end())?;
    let report = QueryReport::of(&followed.trace, ttl(count), followed.hits.len() as u64);
    say(&table(std::slice::from_ref(&report)))?;
    // All but the leaves that have nothing of the kind.
    let is_leaf = |place: &&Place| place.role == Some(NodeRole::Leaf);
    let spared = plan.places.values().filter(is_leaf).count() - 1;
    let expected = (graph.names.len() - 1 - spared) as u64;
    if (report.reached, report.hits) != (expected, 1) || followed.missing > 0 {
        let text =
            format!("the search should reach {expected} servents and find one hit: {report:?}");
        return Err(io::Error::other(text));
    }
    draw(picture, svg, &picture::svg(&graph, &followed.trace))?;
    interruptible(stop)?;

    let hit = &followed.hits[0];
    let from = &view.network.nodes[sharer];
    if hit.host != from.addr.ip().to_string() {
        return Err(io::Error::other(format!(
            "{} should have the file, not {}",
            from.addr, hit.host
        )));
    }
    say(&format!("fetching {}", hit.url))?;
    let output = folder.join("downloads");
    get(&hit.url, &output)?;
    let original = fs::read(share_of(folder, sharer).join(FAR_FILE))?;
    let copy = fs::read(output.join(FAR_FILE))?;
    if copy != original || hit.name != FAR_FILE {
        return Err(io::Error::other("the downloaded file differs from the shared one"));
    }
    say(&format!("  {} bytes, the same as at servent {}", copy.len(), from.name))?;
    say(&format!("the search as a picture: {}", svg.display()))
}

/// The plan, its graph, and the node with the file: a leaf behind a bridge, which joins a part of 0.4
/// around node 0 to an ultrapeer. The last nodes are the bridge, the ultrapeer and its leaves.
fn plan(folder: &Path, count: usize) -> io::Result<(Plan, Graph, usize)> {
    let leaves = if count < 6 { 1 } else { 2 };
    let (bridge, ultrapeer) = (count - leaves - 2, count - leaves - 1);
    let old = bridge + 1;
    let degree = if old.is_multiple_of(2) { 3 } else { 4 }.min(old - 1);
    let topology = Topology::Regular { degree };
    let mut plan = Plan { nodes: old, topology, seed: SEED, ..Plan::default() };
    // A random graph need not be connected.
    let mut graph = plan.graph(None).map_err(io::Error::other)?;
    while graph.distances_from(0).contains(&None) {
        plan.seed += 1;
        graph = plan.graph(None).map_err(io::Error::other)?;
    }
    graph.names.extend((old..count).map(|node| node.to_string()));
    graph.edges.push((bridge, ultrapeer));
    graph.edges.extend((ultrapeer + 1..count).map(|leaf| (ultrapeer, leaf)));
    let sharer = count - 1;
    for number in 0..count {
        let share = share_of(folder, number);
        fs::create_dir_all(&share)?;
        let (name, bytes) = shared_by(number, sharer);
        fs::write(share.join(name), bytes)?;
        let place = Place {
            folders: vec![share],
            role: match number {
                _ if number > ultrapeer => Some(NodeRole::Leaf),
                _ if number == ultrapeer => Some(NodeRole::Ultrapeer),
                _ => None,
            },
            speaks: (number == bridge).then_some(Speaks::Auto),
            ..Place::default()
        };
        plan.places.insert(graph.names[number].clone(), place);
    }
    Ok((plan, graph, sharer))
}

/// The part of a node in the network, in words.
fn part_of(plan: &Plan, name: &str) -> &'static str {
    let place = plan.places.get(name);
    match place.map(|place| (place.role, place.speaks)) {
        Some((Some(NodeRole::Leaf), _)) => "a leaf",
        Some((Some(NodeRole::Ultrapeer), _)) => "an ultrapeer",
        Some((None, Some(_))) => "a bridge from 0.4 to 0.6",
        _ => "0.4",
    }
}

fn share_of(folder: &Path, number: usize) -> PathBuf {
    folder.join("shared").join(number.to_string())
}

/// The file of a node.
fn shared_by(number: usize, sharer: usize) -> (&'static str, Vec<u8>) {
    if number == sharer {
        let mut rng = Rng::new(SEED);
        let bytes = std::iter::repeat_with(|| rng.bytes16()).flatten().take(FAR_FILE_BYTES);
        return (FAR_FILE, bytes.collect());
    }
    let (name, text) = NEAR_FILES[number % NEAR_FILES.len()];
    (name, text.into())
}

/// Runs `servent get` as a user would.
fn get(url: &str, output: &Path) -> io::Result<()> {
    let mut command = process::command(&std::env::current_exe()?);
    command.args(["get", "--guest", url]).arg("--output").arg(output).env("RUST_LOG", "warn");
    let done = command.stdout(Stdio::null()).output()?;
    if done.status.success() {
        return Ok(());
    }
    let told = String::from_utf8_lossy(&done.stderr);
    Err(io::Error::other(format!("the download ended with {}: {}", done.status, told.trim())))
}

/// A draft beside `svg`, renamed when it is complete: an existing file is replaced atomically.
fn draft(svg: &Path) -> io::Result<NamedTempFile> {
    let folder = svg.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    // The permissions of a file created the usual way, before the umask.
    let mode = fs::Permissions::from_mode(0o644);
    let mut draft = tempfile::Builder::new();
    let draft = draft.prefix(".servent-demo-").permissions(mode).tempfile_in(folder);
    // The error names the draft; the user knows the picture.
    draft.map_err(|error| cannot_write(svg)(error.kind().into()))
}

fn draw(mut draft: NamedTempFile, svg: &Path, text: &str) -> io::Result<()> {
    let written = draft.write_all(text.as_bytes());
    let drawn = written.and_then(|()| draft.persist(svg).map_err(|error| error.error));
    drawn.map(|_| ()).map_err(cannot_write(svg))
}

fn interruptible(stop: &AtomicBool) -> io::Result<()> {
    if stop.load(Ordering::Relaxed) {
        return Err(interrupted());
    }
    Ok(())
}

fn say(text: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_has_a_network_in_which_all_are_reached() {
        let folder = tempfile::tempdir().unwrap();
        for count in 4..=64 {
            let (_, graph, sharer) = plan(folder.path(), count).unwrap();
            let distances = graph.distances_from(0);
            assert!(distances.iter().all(|far| far.is_some_and(|links| links < ttl(count).into())));
            assert_ne!(sharer, 0, "{count}");
        }
    }
}
