//! The live screen of `testnet watch`, over a real network.
#![cfg(target_os = "linux")]

use crate::process::{assert_code, eventually, stderr};
use crate::testnet::{Net, kill};
use crate::watch::Watched;
use rustix::process::Signal;

/// The process of a node.
fn pid(net: &Net, node: usize) -> i32 {
    let pid = net.json(&["ps", "--json"])[node]["pid"].as_i64().unwrap();
    i32::try_from(pid).unwrap()
}

/// Whether the numbers of the node in this row are dimmed.
fn is_dimmed(watched: &Watched, node: &str) -> bool {
    let screen = watched.parser.screen();
    let text = screen.contents();
    let row = text.lines().position(|line| line.starts_with(&format!("{node} "))).unwrap();
    // The first number of its links is here.
    screen.cell(u16::try_from(row).unwrap(), 27).unwrap().dim()
}

#[test]
fn a_network_is_seen_as_nodes_and_links_come_and_go() {
    let net = Net::new();
    net.up(&["--nodes", "4", "--topology", "ring", "--files", "0"]);
    let hung = pid(&net, 3);
    let mut watched = Watched::run(&net.command(&["watch"]), &[]);
    watched.wait_for("4 of 4 nodes up, 4 of 4 links stand");
    // Rates come with the second answers.
    watched.wait_for(" 0.0 ");
    println!("{}", watched.wait_for("q leaves"));

    net.ok(&["kill", "--hard", "2"]);
    watched.wait_for("node 2 is down: stopped by you");
    watched.wait_for("2 links fall: ");
    let screen = watched.wait_for("3 of 4 nodes up, 2 of 4 links stand");
    assert_eq!(screen.matches(" 1/2 ").count(), 2, "its neighbours have one link each:\n{screen}");
    net.ok(&["up"]);
    watched.wait_for("node 2 starts as process ");
    watched.wait_for("4 of 4 nodes up, 4 of 4 links stand");
    net.ok(&["fault", "--link", "0", "1", "--blackhole"]);
    let screen = watched.wait_for("blackhole (1 link)");
    println!("{screen}");
    assert!(screen.contains("1 link has a fault"), "{screen}");

    watched.resize(100, 7);
    watched.wait_for("nodes 1 to 2 of 4");
    for (keys, seen) in
        [("\x1b[B", "2 to 3"), ("\x1b[6~", "3 to 4"), ("\x1b[A", "2 to 3"), ("\x1b[5~", "1 to 2")]
    {
        watched.press(keys.as_bytes());
        watched.wait_for(&format!("nodes {seen} of 4"));
    }
    watched.resize(100, 30);

    kill(hung, Signal::STOP);
    watched.wait_for("node 3 does not answer");
    watched.wait_for("up, no answer for ");
    println!("{}", watched.look());
    assert!(is_dimmed(&watched, "3") && !is_dimmed(&watched, "1"));
    // The others are still looked at.
    net.ok(&["kill", "1"]);
    watched.wait_for("node 1 is down: stopped by you");
    kill(hung, Signal::CONT);
    watched.wait_for("node 3 answers again");
    eventually("its numbers are new", || {
        watched.look();
        (!is_dimmed(&watched, "3")).then_some(())
    });

    kill(net.keeper(), Signal::STOP);
    watched.wait_for("no answer from the keeper of the network");
    kill(net.keeper(), Signal::CONT);
    eventually("its answers are shown again", || {
        (!watched.look().contains("no answer from the keeper")).then_some(())
    });

    net.ok(&["down"]);
    let said = watched.ends_with(5);
    assert!(said.contains("is no longer running"), "{said}");
}

#[test]
fn it_is_left_by_key_and_signal_and_refused_where_nothing_can_be_watched() {
    let net = Net::new();
    let output = net.run(&["watch"]);
    assert_code(&output, 2);
    assert!(stderr(&output).contains("'servent testnet ps --json' is for programs"), "{output:?}");
    let said = Watched::run(&net.command(&["watch"]), &[]).ends_with(5);
    assert!(said.contains("there is no network in"), "{said}");
    net.up(&["--nodes", "2", "--topology", "line", "--files", "0"]);
    for keys in ["q", "\x1b", "\x03"] {
        let mut watched = Watched::run(&net.command(&["watch"]), &[]);
        watched.wait_for("1 of 1 links stand");
        assert!(watched.parser.screen().alternate_screen());
        watched.press(keys.as_bytes());
        watched.ends_with(0);
    }
}
