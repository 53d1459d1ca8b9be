//! A running servent, steered and watched from the command line: which servent a command uses, what it
//! prints, and its exit codes.

use crate::process::{
    Home, Running, assert_code, descriptor, eventually, lines, read_kind, stderr,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::thread;

const LISTS: [&str; 4] = ["links", "transfers", "downloads", "shares"];

/// The usual control socket of a servent.
fn socket(home: &Home, servent: &Running) -> PathBuf {
    let name = format!("{}-{}.sock", servent.addr.ip(), servent.addr.port());
    home.path("run").join("servent").join(name)
}

fn json_of(output: &Output) -> Value {
    assert_code(output, 0);
    let lines = lines(output);
    assert_eq!(lines.len(), 1, "one line of JSON: {lines:?}");
    serde_json::from_str(&lines[0]).unwrap()
}

/// The address of the servent that `status` with these arguments is about.
fn found(home: &Home, args: &[&str]) -> String {
    let status = json_of(&home.run(&[&["status", "--json"], args].concat()));
    status["listen"].as_str().unwrap().to_owned()
}

#[test]
fn a_command_uses_the_servent_named_else_the_usual_else_the_only_one() {
    let home = Home::new();
    let (one, mut two) = (home.serve(&[]), home.serve(&[]));
    for args in
        [&["status"][..], &["links"], &["search", "zebra"], &["get", "http://127.0.0.1:1/get/1/a"]]
    {
        let ambiguous = home.run(args);
        assert_code(&ambiguous, 2);
        let said = stderr(&ambiguous);
        assert!(said.contains(&one.host()) && said.contains(&two.host()), "{args:?}: {said}");
    }
    for servent in [&one, &two] {
        assert_eq!(found(&home, &["--servent", &servent.host()]), servent.host());
        let socket = socket(&home, servent);
        assert_eq!(found(&home, &["--servent", socket.to_str().unwrap()]), servent.host());
    }
    let config = home.share(".config/servent", &[]);
    fs::write(config.join("servent.toml"), format!("listen = \"{}\"\n", two.host())).unwrap();
    assert_eq!(found(&home, &[]), two.host());
    assert_eq!(found(&home, &["--servent", &one.host()]), one.host());
    // A socket that nobody answers is no running servent, wherever it is looked for.
    two.signal(Signal::KILL);
    two.wait();
    assert!(socket(&home, &two).exists());
    assert_eq!(found(&home, &[]), one.host());
    let gone = home.run(&["status", "--servent", &two.host()]);
    assert_code(&gone, 5);
    assert!(stderr(&gone).contains(&one.host()), "{}", stderr(&gone));
    let gone = home.run(&["status", "--servent", socket(&home, &two).to_str().unwrap()]);
    assert_code(&gone, 5);
    assert!(stderr(&gone).contains("has gone"), "{}", stderr(&gone));
}

#[test]
fn a_control_socket_named_in_the_settings_is_found() {
    let home = Home::new();
    let config = home.share(".config/servent", &[]);
    let path = home.path("elsewhere");
    fs::write(config.join("servent.toml"), format!("control = {path:?}\n")).unwrap();
    let (one, _other) = (home.serve(&[]), home.start(&[]));
    assert_eq!(found(&home, &[]), one.host());
}

#[test]
fn without_a_servent_there_is_nothing_to_ask() {
    let home = Home::new();
    for args in [
        &["status"][..],
        &["links"],
        &["transfers"],
        &["shares"],
        &["downloads"],
        &["ctl", "status"],
    ] {
        let output = home.run(args);
        assert_code(&output, 5);
        assert!(stderr(&output).contains("servent run"), "{}", stderr(&output));
    }
    for (args, code, said) in [
        (&["status", "--servent", "127.0.0.1:9"][..], 5, "127.0.0.1:9"),
        (&["status", "--servent", "/no/such.sock"], 5, "no control socket"),
        (&["status", "--servent", "localhost:9"], 2, "127.0.0.1:6346"),
        (&["status", "--watch"], 2, "terminal"),
        (&["get", "--queue", "http://127.0.0.1:9/get/1/a"], 5, "--queue"),
        (&["get", "3"], 2, "search"),
        (&["downloads", "pause"], 2, "ID"),
        (&["downloads", "stop", "3"], 2, "pause"),
        (&["search", "a", "--guest", "--servent", "127.0.0.1:9"], 2, "--guest"),
    ] {
        let output = home.run(args);
        assert_code(&output, code);
        assert!(stderr(&output).contains(said), "{args:?}: {}", stderr(&output));
    }
    let long = home.path(&"x".repeat(120));
    let output = home.run(&["status", "--servent", long.to_str().unwrap()]);
    assert_code(&output, 5);
    assert!(stderr(&output).contains("107"), "{}", stderr(&output));
}

#[test]
fn a_servent_that_hangs_is_given_up_after_a_while() {
    let home = Home::new();
    let folder = home.share("run/servent", &[]);
    // Connections are taken by the system; nobody ever reads them.
    let _hangs = UnixListener::bind(folder.join("127.0.0.1-6346.sock")).unwrap();
    let output = home.run(&["status"]);
    assert_code(&output, 4);
    assert!(stderr(&output).contains("hangs"), "{}", stderr(&output));
}

#[test]
fn json_has_the_promised_names() {
    let home = Home::new();
    let share = home.share("share", &[("hello zebra.txt", b"hello")]);
    let mut servent = home.serve(&["--share", share.to_str().unwrap()]);
    let _link = servent.link();
    servent.wait_for("joined us");
    let status = json_of(&home.run(&["status", "--json"]));
    for pointer in [
        "/version",
        "/servent_id",
        "/listen",
        "/advertise",
        "/uptime_s",
        "/links/in",
        "/links/out",
        "/links/leaves",
        "/links/max",
        "/hosts",
        "/share/files",
        "/share/bytes",
        "/transfers/up",
        "/transfers/down",
        "/transfers/queued",
        "/reachable/inbound_seen",
        "/reachable/reason",
        "/descriptors/received/query",
        "/descriptors/dropped/duplicate",
    ] {
        assert!(status.pointer(pointer).is_some(), "{pointer} is missing in {status}");
    }
    assert_eq!((&status["links"]["in"], &status["share"]["files"]), (&json!(1), &json!(1)));
    let links = json_of(&home.run(&["links", "--json"]));
    for key in [
        "addr",
        "direction",
        "dialect",
        "role",
        "agent",
        "since_s",
        "received",
        "sent",
        "dropped",
        "queue_bytes",
    ] {
        assert!(links[0].get(key).is_some(), "{key} is missing in {links}");
    }
    assert_eq!((&links[0]["direction"], &links[0]["dialect"]), (&json!("in"), &json!("0.4")));
    let shares = json_of(&home.run(&["shares", "--json"]));
    assert_eq!((shares[0]["path"].as_str(), &shares[0]["files"]), (share.to_str(), &json!(1)));
    for list in ["transfers", "downloads"] {
        assert_eq!(json_of(&home.run(&[list, "--json"])), json!([]));
    }

    let shown = home.run(&["status"]);
    assert_code(&shown, 0);
    let shown = lines(&shown).join("\n");
    for said in [&*servent.host(), "1 in, 0 out", "1 file, 5 B", "reachable", "0 answered"] {
        assert!(shown.contains(said), "{said} is missing in {shown}");
    }
    assert!(!shown.contains('\x1b'), "no colour without a terminal: {shown:?}");
    for list in LISTS {
        let output = home.run(&[list]);
        assert_code(&output, 0);
        assert!(!output.stdout.is_empty() && stderr(&output).is_empty(), "{list}: {output:?}");
    }
}

#[test]
fn any_method_can_be_called_and_its_errors_are_told_apart() {
    let home = Home::new();
    let share = home.share("share", &[("hello zebra.txt", b"hello")]);
    let servent = home.serve(&["--share", share.to_str().unwrap()]);
    let ctl = |args: &[&str]| home.run(&[&["ctl"], args].concat());
    assert_eq!(json_of(&ctl(&["status"]))["listen"], servent.host());
    assert!(json_of(&ctl(&["rpc.discover"]))["methods"].as_array().unwrap().len() > 15);
    let search = ctl(&["search", "{\"words\":\"zebra\",\"wait\":0.1}"]);
    assert_code(&search, 0);
    let said: Vec<Value> =
        lines(&search).iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(said[0]["method"], "hit");
    assert_eq!(said[0]["params"]["name"], "hello zebra.txt");
    assert_eq!((said.len(), &said[1]["hits"]), (2, &json!(1)));
    for (args, code, expected) in [
        (&["sattus"][..], 2, "sattus"),
        (&["search"], 2, "words"),
        (&["search", "{\"words\":\"a\"}"], 2, "letter"),
        (&["search", "[1]"], 2, "object"),
        (&["search", "{"], 2, "JSON"),
        (&["cancel", "{\"id\":9}"], 1, "9"),
        (&["disconnect", "{\"addr\":\"127.0.0.1:9\"}"], 1, "127.0.0.1:9"),
    ] {
        let output = ctl(args);
        assert_code(&output, code);
        assert!(stderr(&output).contains(expected), "{args:?}: {}", stderr(&output));
        assert!(output.stdout.is_empty(), "{output:?}");
    }
}

#[test]
fn a_subscription_is_printed_until_it_is_interrupted() {
    let home = Home::new();
    let servent = home.serve(&[]);
    let mut command = home.command();
    command.args(["ctl", "subscribe", "{\"events\":[\"links\"]}"]).stdout(Stdio::piped());
    let mut ctl = command.spawn().unwrap();
    let mut said = BufReader::new(ctl.stdout.take().unwrap()).lines().map_while(Result::ok);
    let first: Value = serde_json::from_str(&said.next().unwrap()).unwrap();
    assert_eq!(first["events"], json!(["links"]));
    let link = servent.link();
    let up: Value = serde_json::from_str(&said.next().unwrap()).unwrap();
    let peer = link.local_addr().unwrap().to_string();
    assert_eq!((&up["params"]["event"], &up["params"]["peer"]), (&json!("link_up"), &json!(peer)));
    kill_process(Pid::from_child(&ctl), Signal::INT).unwrap();
    assert_eq!(ctl.wait().unwrap().code(), Some(0));
}

/// Name and URL of each hit.
fn hits(output: &Output) -> BTreeSet<(String, String)> {
    assert_code(output, 0);
    let of = |line: &String| {
        let hit: Value = serde_json::from_str(line).unwrap();
        ["name", "url"].map(|key| hit[key].as_str().unwrap().to_owned()).into()
    };
    lines(output).iter().map(of).collect()
}

#[test]
fn a_search_through_the_servent_finds_what_a_guest_finds() {
    let home = Home::new();
    let shares = [
        home.share("near", &[("striped zebra.txt", b"near")]),
        home.share("far", &[("striped zebra.txt", b"near"), ("zebra crossing.txt", b"far")]),
    ];
    let far = home.start(&["--share", shares[1].to_str().unwrap()]);
    let mut near = home.serve(&["--share", shares[0].to_str().unwrap(), "--connect", &far.host()]);
    near.wait_for("joined");
    let search = |args: &[&str]| home.run(&[&["search", "zebra", "--wait", "1"], args].concat());
    let through = hits(&search(&["--json"]));
    assert_eq!(through.len(), 3, "{through:?}");
    assert_eq!(through, hits(&search(&["--json", "--connect", &near.host()])));
    let mut guest = home.command();
    guest.args(["search", "zebra", "--wait", "1", "--json", "--guest"]);
    guest.env("SERVENT_LISTEN", near.host());
    assert_eq!(through, hits(&guest.output().unwrap()));
    // Only the guests have had links of their own.
    near.signal(Signal::TERM);
    near.wait();
    let joined = near.rest().iter().filter(|line| line.contains("joined us")).count();
    assert_eq!(joined, 2);

    let last_search = home.path(".local/state/servent/last-search");
    assert!(!last_search.exists(), "hits in JSON have no numbers");
}

#[test]
fn hits_are_numbered_by_file_and_the_number_downloads_it() {
    let home = Home::new();
    let near = home.share("near", &[("a zebra.txt", b"same"), ("b zebra.txt", b"near")]);
    let far = home.share("far", &[("a zebra.txt", b"same"), ("c zebra.txt", b"far!!")]);
    let far = home.start(&["--share", far.to_str().unwrap()]);
    let mut near = home.serve(&["--share", near.to_str().unwrap(), "--connect", &far.host()]);
    near.wait_for("joined");
    let found = home.run(&["search", "zebra", "--wait", "1"]);
    assert_code(&found, 0);
    assert_eq!(stderr(&found), "4 hits from 2 servents\n");
    let said = lines(&found);
    let own = format!("  http://{}/get/1/a%20zebra.txt", near.host());
    assert_eq!(said[..2], ["1  a zebra.txt  (4 B, 0 hops)".to_owned(), own], "{said:#?}");
    let again = said.iter().find(|line| line.contains("source 2")).unwrap();
    assert!(again.starts_with("1  a zebra.txt  (4 B, 0 hops, source 2)"), "{again}");
    let table = said.iter().position(|line| line.contains("SOURCES")).unwrap();
    let rows: Vec<Vec<&str>> =
        said[table + 1..].iter().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["1", "2", "4", "B", "a", "zebra.txt"]);
    assert_eq!(rows.len(), 3);

    // All sources of a file are kept, in the order in which they came.
    let kept = fs::read_to_string(home.path(".local/state/servent/last-search")).unwrap();
    let kept: Vec<Value> = kept.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(kept.len(), 4);
    assert_eq!(kept.iter().filter(|hit| hit["name"] == "a zebra.txt").count(), 2);

    let number = rows.iter().find(|row| row[4] == "c").unwrap()[0];
    for (args, folder) in [(&["--guest"][..], "guest"), (&[], "through")] {
        let get = home.run(&[&["get", number, "--output", folder], args].concat());
        assert_code(&get, 0);
        let path = format!("{folder}/c zebra.txt");
        assert_eq!(lines(&get), [path.as_str()]);
        assert_eq!(fs::read(home.path(&path)).unwrap(), b"far!!");
        let saved = format!("saved {path} (5 B)");
        assert!(stderr(&get).contains(&saved), "{}", stderr(&get));
    }
    let none = home.run(&["get", "4"]);
    assert_code(&none, 2);
    assert!(stderr(&none).contains("3 files"), "{}", stderr(&none));
}

#[test]
fn a_search_is_interrupted_at_once_and_keeps_what_it_has_found() {
    let home = Home::new();
    let share = home.share("share", &[("zebra.txt", b"")]);
    let _servent = home.serve(&["--share", share.to_str().unwrap()]);
    for (words, code) in [("zebra", 0), ("nothing", 130)] {
        let mut command = home.command();
        command
            .args(["search", words, "--wait", "60"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut search = command.spawn().unwrap();
        if code == 0 {
            let mut first = String::new();
            BufReader::new(search.stdout.as_mut().unwrap()).read_line(&mut first).unwrap();
            assert!(first.contains("zebra.txt"), "{first}");
        } else {
            eventually("the search is under way", || handles_signals(search.id()).then_some(()));
        }
        kill_process(Pid::from_child(&search), Signal::INT).unwrap();
        assert_code(&search.wait_with_output().unwrap(), code);
    }
    assert_code(&home.run(&["get", "1", "--guest", "--output", "in"]), 0);
}

/// Whether a process has a handler for INT.
fn handles_signals(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    u64::from_str_radix(mask.trim(), 16).unwrap() & (1 << (Signal::INT.as_raw() - 1)) != 0
}

#[test]
fn nothing_found_says_if_there_are_no_links() {
    let home = Home::new();
    let servent = home.serve(&[]);
    let output = home.run(&["search", "nothing", "--wait", "0.1"]);
    assert_code(&output, 3);
    let said = stderr(&output);
    assert!(said.contains("no links") && said.contains(&servent.host()), "{said}");
    let wrong = home.run(&["search", "a"]);
    assert_code(&wrong, 2);
    assert!(stderr(&wrong).contains("one-letter"), "{}", stderr(&wrong));
}

#[test]
fn events_of_a_search_are_those_of_a_guest() {
    let home = Home::new();
    let share = home.share("share", &[("zebra.txt", b"")]);
    let servent = home.serve(&["--share", share.to_str().unwrap()]);
    let mut search = home.command();
    search.args(["search", "zebra", "--wait", "0.5", "--events", "events.jsonl"]);
    search.env("SERVENT_LISTEN", servent.host());
    assert_code(&search.output().unwrap(), 0);
    assert!(fs::read_to_string(home.path("events.jsonl")).unwrap().contains("\"originated\""));
}

/// A guest of `get` has a link if `--connect` says so, and asks a source behind a firewall over it.
#[test]
fn a_guest_gets_a_file_behind_a_firewall_by_its_number() {
    let home = Home::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let servent = thread::spawn(move || {
        let answer = |stream: &mut std::net::TcpStream| {
            stream.read_exact(&mut [0; 22]).unwrap();
            stream.write_all(b"GNUTELLA OK\n\n").unwrap();
        };
        let hit = |link: &mut std::net::TcpStream| {
            let query = read_kind(link, 0x80);
            let mut payload = vec![1, 9, 0, 127, 0, 0, 1, 0, 0, 0, 0, 3, 0, 0, 0, 5, 0, 0, 0];
            payload.extend_from_slice(b"zebra.txt\0\0");
            // A vendor's trailer that says: behind a firewall.
            payload.extend_from_slice(b"TEST\x02\x1d\x1d");
            payload.extend_from_slice(&[9; 16]);
            let mut hit = descriptor(0, 0x81, 1, 0, &payload);
            hit[..16].copy_from_slice(&query[..16]);
            link.write_all(&hit).unwrap();
        };
        let (mut link, _) = listener.accept().unwrap();
        answer(&mut link);
        hit(&mut link);
        let _ = link.read_to_end(&mut Vec::new());
        let (mut link, _) = listener.accept().unwrap();
        answer(&mut link);
        // The way of a Push is that of a hit, which is asked for again.
        hit(&mut link);
        let push = read_kind(&mut link, 0x40);
        let port = u16::from_le_bytes([push[23 + 24], push[23 + 25]]);
        let mut given = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        given.write_all(format!("GIV 3:{}/zebra.txt\n\n", "09".repeat(16)).as_bytes()).unwrap();
        crate::process::read_head(&mut given);
        given.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").unwrap();
        let _ = link.read_to_end(&mut Vec::new());
    });
    let found = home.run(&["search", "zebra", "--wait", "0.5", "--connect", &host]);
    assert_code(&found, 0);
    assert!(lines(&found)[0].contains("behind a firewall"), "{found:?}");
    let get = home.run(&["get", "1", "--connect", &host, "--output", "in"]);
    assert_code(&get, 0);
    assert_eq!(fs::read(home.path("in/zebra.txt")).unwrap(), b"hello");
    servent.join().unwrap();
}
