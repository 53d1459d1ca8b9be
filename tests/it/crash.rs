//! State and partial downloads are intact after a kill at any moment.
//!
//! Each kill follows an observation: a line was printed, a file appeared or grew. So the speed of the
//! machine does not matter.

use crate::process::{Home, assert_code, eventually, names_in};
use rustix::process::{Pid, Signal, kill_process};
use servent::rng::Rng;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddrV4;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// A process that is to be killed.
struct Victim {
    child: Child,
    /// Lines of its log.
    said: Receiver<String>,
    heard: String,
}

impl Victim {
    fn start(command: &mut Command) -> Victim {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, said) = channel();
        let log = BufReader::new(child.stderr.take().unwrap());
        // Ends with the process.
        thread::spawn(move || {
            log.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok())
        });
        Victim { child, said, heard: String::new() }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    fn has_said(&mut self, text: &str) -> bool {
        for line in self.said.try_iter() {
            self.heard.push_str(&line);
            self.heard.push('\n');
        }
        self.heard.contains(text)
    }

    /// Waits until it has logged `text`.
    fn wait_for(&mut self, text: &str) {
        eventually(text, || self.has_said(text).then_some(()));
    }

    /// Kills it after `time`, which only varies the moment.
    fn kill_within(mut self, time: Duration) {
        let begun = Instant::now();
        while begun.elapsed() < time {
            std::hint::spin_loop();
        }
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// The id and the number of hosts in a state folder. Files that exist must be complete.
fn read_state(state: &Path) -> (Option<String>, usize) {
    let identity = fs::read_to_string(state.join("identity")).ok();
    if let Some(identity) = &identity {
        assert_eq!(identity.trim().len(), 32, "{identity:?}");
        assert!(identity.ends_with('\n'), "{identity:?}");
    }
    let hosts = fs::read_to_string(state.join("hosts")).unwrap_or_default();
    assert!(hosts.is_empty() || hosts.ends_with('\n'), "{hosts:?}");
    let hosts = hosts.lines().filter(|line| !line.starts_with('#'));
    let addrs = hosts.map(|line| {
        let addr = line.split_whitespace().next().unwrap_or(line);
        addr.parse::<SocketAddrV4>().unwrap_or_else(|error| panic!("{line}: {error}"))
    });
    (identity, addrs.count())
}

/// What a servent has reached when it is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    Started,
    StateFolder,
    Joined,
    Stopping,
    Saving,
    Saved,
}

const MOMENTS: [Moment; 6] = [
    Moment::Started,
    Moment::StateFolder,
    Moment::Joined,
    Moment::Stopping,
    Moment::Saving,
    Moment::Saved,
];

#[test]
fn the_state_is_whole_whenever_the_servent_is_killed() {
    const KNOWN: usize = 899;
    let seed = 11;
    println!("seed {seed}");
    let (mut rng, home) = (Rng::new(seed), Home::new());
    let state = home.path("state");
    // Neighbours of a neighbour: hosts to be learnt and saved.
    let near = home.start(&["--links", "0", "--state", "near"]);
    let far = home.start(&["--links", "0", "--state", "far", "--connect", &near.host()]);
    let known: String = (1..=KNOWN).map(|port| format!("127.0.0.9:{port}\n")).collect();
    fs::create_dir(&state).unwrap();
    let mut id = None;
    for round in 0..42 {
        let moment = MOMENTS[round % MOMENTS.len()];
        // So that each round has something new to save.
        fs::write(state.join("hosts"), &known).unwrap();
        let args = ["run", "--listen", "127.0.0.1:0", "--links", "0", "--state", "state"];
        let mut command = home.command();
        command.args(args).args(["--connect", &near.host()]);
        let mut servent = Victim::start(&mut command);
        let begun = || state.join("identity").exists() || state.join("identity.new").exists();
        let learn_and_stop = |servent: &mut Victim| {
            servent.wait_for("joined");
            let more = format!(" {} hosts known", KNOWN + 2);
            eventually("it has learnt hosts", || {
                servent.signal(Signal::USR1);
                thread::yield_now();
                servent.has_said(&more).then_some(())
            });
            servent.signal(Signal::TERM);
        };
        let saving = || state.join("hosts.new").exists() || read_state(&state).1 > KNOWN;
        match moment {
            Moment::Started => {}
            Moment::StateFolder => eventually("the state is begun", || begun().then_some(())),
            Moment::Joined => servent.wait_for("joined"),
            Moment::Stopping => learn_and_stop(&mut servent),
            Moment::Saving => {
                learn_and_stop(&mut servent);
                eventually("it saves", || (saving() || servent.has_ended()).then_some(()));
            }
            Moment::Saved => {
                learn_and_stop(&mut servent);
                eventually("it ends", || servent.has_ended().then_some(()));
            }
        }
        servent.kill_within(Duration::from_micros(rng.next_u64() % 2_000));
        let (now, hosts) = read_state(&state);
        assert!(id.is_none() || now == id, "round {round}, {moment:?}: {id:?} became {now:?}");
        id = now;
        assert!(hosts >= KNOWN, "round {round}, {moment:?}: {hosts} hosts are left");
        if matches!(moment, Moment::Saved) {
            assert_eq!(hosts, KNOWN + 2, "round {round}");
        }
    }
    assert!(id.is_some());
    let known = ["hosts", "hosts.new", "identity", "identity.new", "lock"];
    let left = names_in(&state);
    assert!(left.iter().all(|name| known.contains(&name.as_str())), "drafts pile up: {left:?}");
    let again = home.start(&["--state", "state"]);
    assert_eq!(read_state(&state).0, id);
    drop((again, far));
}

#[test]
fn a_partial_download_is_whole_whenever_the_download_is_killed() {
    let seed = 12;
    println!("seed {seed}");
    let (mut rng, home) = (Rng::new(seed), Home::new());
    let bytes: Vec<u8> =
        std::iter::repeat_with(|| rng.bytes16()).flatten().take(3_000_000).collect();
    let share = home.share("share", &[("big.bin", &bytes)]);
    let share = share.to_str().unwrap();
    let servent = home.start(&["--share", share, "--upload-limit", "8M"]);
    let url = format!("http://{}/get/1/big.bin", servent.addr);
    let folder = home.path("in");
    // The largest file is the partial one; the record of its source is small.
    let kept = || {
        let names = if folder.exists() { names_in(&folder) } else { Vec::new() };
        let len = |name: &String| fs::metadata(folder.join(name)).map_or(0, |file| file.len());
        names.iter().map(len).max().unwrap_or(0)
    };
    let mut longest = 0;
    for round in 0..8 {
        let mut command = home.command();
        command.args(["get", &url, "--output", "in"]);
        let mut get = Victim::start(&mut command);
        if round % 4 > 0 {
            let enough = kept() + 1 + rng.next_u64() % 200_000;
            eventually("the file grows", || (kept() >= enough || get.has_ended()).then_some(()));
        }
        get.kill_within(Duration::from_micros(rng.next_u64() % 5_000));
        for name in if folder.exists() { names_in(&folder) } else { Vec::new() } {
            let found = fs::read(folder.join(&name)).unwrap();
            let is_whole = found.len() < 4_096 || bytes.starts_with(&found);
            assert!(is_whole, "round {round}: {name} is not a prefix of the file");
            longest = longest.max(found.len());
        }
    }
    assert!(longest >= 4_096, "nothing was ever written: {longest}");
    assert_code(&home.run(&["get", &url, "--output", "in"]), 0);
    assert!(fs::read(home.path("in/big.bin")).unwrap() == bytes, "the bytes differ");
    let left = names_in(&folder);
    assert!(left.len() <= 2, "partial files pile up: {left:?}");
}
