//! Killed at any moment, a servent finds its state and its partial downloads whole again.

use crate::process::{Place, assert_code, names_in};
use rustix::process::{Pid, Signal, kill_process};
use servent::rng::Rng;
use std::fs;
use std::net::SocketAddrV4;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Starts it and kills it after some time, in whatever it is doing then. With `stop` it is asked to
/// stop so long before.
fn kill_after(command: &mut Command, time: Duration, stop: Option<Duration>) {
    let mut child: Child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let spin = |time: Duration| {
        let begun = Instant::now();
        while begun.elapsed() < time {
            std::hint::spin_loop();
        }
    };
    spin(time);
    if let Some(before) = stop {
        let _ = kill_process(Pid::from_child(&child), Signal::TERM);
        spin(before);
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The id and the hosts in a state folder, which must be whole if they are there.
fn read_state(state: &Path) -> (Option<String>, usize) {
    let identity = fs::read_to_string(state.join("identity")).ok();
    if let Some(identity) = &identity {
        assert_eq!(identity.trim().len(), 32, "{identity:?}");
        assert!(identity.ends_with('\n'), "{identity:?}");
    }
    let hosts = fs::read_to_string(state.join("hosts")).unwrap_or_default();
    for line in hosts.lines().filter(|line| !line.starts_with('#')) {
        line.parse::<SocketAddrV4>().unwrap_or_else(|error| panic!("{line}: {error}"));
    }
    assert!(hosts.is_empty() || hosts.ends_with('\n'), "{hosts:?}");
    (identity, hosts.lines().count())
}

#[test]
fn the_state_is_whole_whenever_the_servent_is_killed() {
    let seed = 11;
    println!("seed {seed}");
    let (mut rng, place) = (Rng::new(seed), Place::new());
    let state = place.path("state");
    // Hosts to be learnt and saved: neighbours of a neighbour.
    let near = place.start(&["--links", "0", "--state", "near"]);
    let far = place.start(&["--links", "0", "--state", "far", "--connect", &near.host()]);
    let known: String = (1..900).map(|port| format!("127.0.0.9:{port}\n")).collect();
    fs::create_dir(&state).unwrap();
    fs::write(state.join("hosts"), &known).unwrap();
    let (mut id, mut saved) = (None, 0);
    for round in 0..60 {
        let args = ["run", "--listen", "127.0.0.1:0", "--links", "0", "--state", "state"];
        let mut command = place.command();
        command.args(args).args(["--connect", &near.host()]);
        let time = Duration::from_micros(rng.next_u64() % 60_000);
        // Mostly it is just about to save what it knows.
        let stop = Duration::from_micros(rng.next_u64() % 3_000);
        kill_after(&mut command, time, (round % 4 > 0).then_some(stop));
        let (now, hosts) = read_state(&state);
        assert!(id.is_none() || now == id, "round {round}: {id:?} became {now:?}");
        id = now;
        assert!(hosts >= 899, "round {round}: {hosts} hosts are left");
        saved = saved.max(hosts);
    }
    assert!(id.is_some() && saved > 900, "it never came to save anything: {id:?}, {saved}");
    let known = ["hosts", "hosts.new", "identity", "identity.new", "lock"];
    let left = names_in(&state);
    assert!(left.iter().all(|name| known.contains(&name.as_str())), "a heap of drafts: {left:?}");
    let again = place.start(&["--state", "state"]);
    assert_eq!(read_state(&state).0, id);
    drop((again, far));
}

#[test]
fn a_partial_download_is_whole_whenever_the_download_is_killed() {
    let seed = 12;
    println!("seed {seed}");
    let (mut rng, place) = (Rng::new(seed), Place::new());
    let bytes: Vec<u8> =
        std::iter::repeat_with(|| rng.bytes16()).flatten().take(3_000_000).collect();
    let share = place.share("share", &[("big.bin", &bytes)]);
    let share = share.to_str().unwrap();
    let servent = place.start(&["--share", share, "--upload-limit", "8M"]);
    let url = format!("http://{}/get/1/big.bin", servent.addr);
    let mut longest = 0;
    for round in 0..12 {
        let mut command = place.command();
        command.args(["get", &url, "--output", "in"]);
        kill_after(&mut command, Duration::from_micros(rng.next_u64() % 60_000), None);
        if !place.path("in").exists() {
            continue;
        }
        for name in names_in(&place.path("in")) {
            let found = fs::read(place.path("in").join(&name)).unwrap();
            assert!(bytes.starts_with(&found), "round {round}: {name} is no beginning of it");
            longest = longest.max(found.len());
        }
    }
    assert!(longest > 0, "it never came to write anything");
    assert_code(&place.run(&["get", &url, "--output", "in"]), 0);
    assert!(fs::read(place.path("in/big.bin")).unwrap() == bytes, "the bytes differ");
    let left = names_in(&place.path("in"));
    assert!(left.len() <= 2, "one file, and no heap of partial ones: {left:?}");
}
