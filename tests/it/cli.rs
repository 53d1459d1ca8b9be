//! The command line as scripts see it: what is printed where, and the exit codes.

use crate::process::{Home, Running, assert_code, descriptor, eventually, lines, stderr};
use rustix::process::{Pid, Signal, kill_process_group};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn run_prints_one_line_and_stops_on_a_signal() {
    for signal in [Signal::INT, Signal::TERM] {
        let home = Home::new();
        let mut command = home.command();
        command.args(["run", "--listen", "127.0.0.1:0"]).env("RUST_LOG", "off");
        let mut servent = Running::start(command);
        let link = servent.link();
        servent.signal(signal);
        let (status, took) = servent.wait();
        assert_eq!(status.code(), Some(0));
        assert!(took < Duration::from_secs(2), "{took:?}");
        assert_eq!(servent.rest(), Vec::<String>::new(), "nothing but the one line on stdout");
        drop(link);
    }
}

#[test]
fn wrong_arguments_exit_with_2_and_say_what_was_expected() {
    let home = Home::new();
    let cases: [(&[&str], &str); 12] = [
        (&["run", "--listen", "[::1]:6346"], "IPv4"),
        (&["run", "--listen", "localhost"], "--listen takes"),
        (&["run", "--connect", "a b"], "HOST:PORT"),
        (&["run", "--advertise", "0.0.0.0"], "--advertise takes"),
        (&["run", "--ttl", "99"], "1 to 15"),
        (&["run", "--links", "40", "--max-links", "8"], "--max-links"),
        (&["run", "--share", "no-such-folder"], "no-such-folder"),
        (&["run", "--scope", "galaxy"], "loopback"),
        (&["search", "a"], "one-letter"),
        (&["search", "*"], "letter"),
        (&["get", "ftp://x/y"], "http://"),
        (&["ping", "127.0.0.1:0"], "HOST:PORT"),
    ];
    for (args, expected) in cases {
        let output = home.run(args);
        assert_code(&output, 2);
        assert!(stderr(&output).contains(expected), "{args:?}: {}", stderr(&output));
        assert_eq!(lines(&output), Vec::<String>::new());
    }
}

#[test]
fn a_busy_port_and_a_locked_state_folder_are_named() {
    let home = Home::new();
    let first = home.start(&["--state", "state"]);
    let busy = home.run(&["run", "--listen", &first.host(), "--state", "other"]);
    assert_code(&busy, 1);
    assert!(stderr(&busy).contains(&first.host()), "{}", stderr(&busy));
    let locked = home.run(&["run", "--listen", "127.0.0.1:0", "--state", "state"]);
    assert_code(&locked, 1);
    assert!(stderr(&locked).contains("in use by another servent"), "{}", stderr(&locked));
    std::fs::write(home.path("file"), "").unwrap();
    let disk = home.run(&["run", "--listen", "127.0.0.1:0", "--state", "file/state"]);
    assert_code(&disk, 8);
}

#[test]
fn settings_come_from_flag_variable_file_in_this_order() {
    let home = Home::new();
    let share = home.share("share", &[("from file.txt", b"1")]);
    let config = home.share(".config/servent", &[]);
    let text = format!("share = [{share:?}]\nlisten = \"[::1]:1\"\nmax-links = 1\n");
    std::fs::write(config.join("servent.toml"), text).unwrap();
    let mut command = home.command();
    command.args(["run", "--links", "0"]).env("SERVENT_LISTEN", "127.0.0.1:0");
    let mut servent = Running::start(command);
    let link = servent.link();
    let mut refused = servent.dial();
    refused.write_all(b"GNUTELLA CONNECT/0.4\n\n").unwrap();
    let mut answer = Vec::new();
    refused.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"", "one link is all the file allows");
    drop(link);
    servent.wait_for("lost");
    let found = home.run(&["search", "from", "--connect", &servent.host(), "--wait", "1"]);
    assert_code(&found, 0);

    std::fs::write(config.join("servent.toml"), "max_links = 1").unwrap();
    let unknown = home.run(&["run"]);
    assert_code(&unknown, 2);
    assert!(stderr(&unknown).contains("max_links"), "{}", stderr(&unknown));
}

#[test]
fn exit_codes_tell_why_there_is_no_link() {
    let home = Home::new();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = closed.local_addr().unwrap().to_string();
    drop(closed);
    assert_code(&home.run(&["search", "abc", "--connect", &nobody]), 5);
    assert_code(&home.run(&["ping", &nobody]), 5);
    assert_code(&home.run(&["get", &format!("http://{nobody}/get/1/x.txt")]), 5);

    let full = home.start(&["--max-links", "0", "--links", "0", "--max-leaves", "0"]);
    assert_code(&home.run(&["search", "abc", "--connect", &full.host()]), 6);
    let lonely = home.start(&[]);
    let nothing = home.run(&["search", "abc", "--connect", &lonely.host(), "--wait", "0.1"]);
    assert_code(&nothing, 3);
    assert!(stderr(&nothing).contains("nothing found"), "{}", stderr(&nothing));
    assert_code(&home.run(&["get", &format!("http://{}/get/1/x.txt", lonely.host())]), 3);
}

#[test]
fn any_other_answer_to_the_handshake_is_a_refusal_and_is_shown() {
    let home = Home::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 22];
        stream.read_exact(&mut request).unwrap();
        stream.write_all(b"GNUTELLA BUSY\x1b[31m\n\n").unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        (request, rest)
    });
    let output = home.run(&["ping", &addr]);
    assert_code(&output, 6);
    assert!(stderr(&output).contains("GNUTELLA BUSY.[31m"), "{}", stderr(&output));
    let (request, rest) = server.join().unwrap();
    assert_eq!(&request, b"GNUTELLA CONNECT/0.4\n\n");
    assert_eq!(rest, b"", "no descriptor is sent after a refusal");
}

#[test]
fn json_lines_have_the_promised_names() {
    let home = Home::new();
    let share = home.share("share", &[("hello world.txt", b"hello")]);
    let servent = home.start(&["--share", share.to_str().unwrap(), "--speed", "350"]);
    let search =
        home.run(&["search", "hello", "--json", "--wait", "0.3", "--connect", &servent.host()]);
    assert_code(&search, 0);
    let hit: serde_json::Value = serde_json::from_str(&lines(&search)[0]).unwrap();
    let keys: Vec<&str> = hit.as_object().unwrap().keys().map(String::as_str).collect();
    for key in [
        "name",
        "size",
        "host",
        "port",
        "index",
        "speed_kbps",
        "servent_id",
        "hops",
        "push",
        "busy",
        "vendor",
        "url",
    ] {
        assert!(keys.contains(&key), "{key} is missing in {hit}");
    }
    assert_eq!(
        (&hit["size"], &hit["speed_kbps"], &hit["busy"]),
        (&5.into(), &350.into(), &false.into())
    );
    let url = format!("http://{}/get/1/hello%20world.txt", servent.addr);
    assert_eq!(hit["url"], url);

    let ping = home.run(&["ping", &servent.host(), "--ttl", "1", "--json"]);
    assert_code(&ping, 0);
    let pong: serde_json::Value = serde_json::from_str(&lines(&ping)[0]).unwrap();
    assert_eq!((&pong["files"], &pong["kib"], &pong["hops"]), (&1.into(), &1.into(), &0.into()));
    assert_eq!(pong["port"], servent.addr.port());
}

#[test]
fn a_search_ends_soon_after_its_last_hit_unless_wait_is_given() {
    let home = Home::new();
    let share = home.share("share", &[("abc 1.txt", b""), ("abc 2.txt", b"")]);
    let servent = home.start(&["--share", share.to_str().unwrap()]);
    let search = |words: &[&str]| {
        let started = Instant::now();
        let output = home.run(&[&["search", "--connect", &servent.host()], words].concat());
        (output, started.elapsed())
    };
    let (output, took) = search(&["abc"]);
    assert_code(&output, 0);
    assert!(took >= Duration::from_secs(2), "{took:?}");
    assert_eq!(stderr(&output).trim(), "2 hits from 1 servent");
    // Without a hit it waits the whole time. A search with hits ends sooner under any load.
    let (output, whole) = search(&["nothing"]);
    assert_code(&output, 3);
    assert!(whole >= Duration::from_secs(10) && took < whole, "{took:?}, {whole:?}");
    let (output, took) = search(&["abc", "--wait", "4"]);
    assert_code(&output, 0);
    assert!(took >= Duration::from_secs(4), "{took:?}");
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let home = Home::new();
    let share = home.share("share", &[("abc 1.txt", b""), ("abc 2.txt", b"")]);
    let servent = home.start(&["--share", share.to_str().unwrap()]);
    let mut search = home.command();
    search.args(["search", "abc", "--wait", "1", "--connect", &servent.host()]);
    let mut search = search.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    let mut reader = BufReader::new(search.stdout.take().unwrap());
    reader.read_line(&mut first).unwrap();
    drop(reader);
    let output = search.wait_with_output().unwrap();
    assert!(first.contains("abc"), "{first}");
    assert_code(&output, 0);
    // The summary is printed only if both hits were written before the pipe closed.
    assert!(["", "2 hits from 1 servent\n"].contains(&stderr(&output).as_str()), "{output:?}");
}

#[test]
fn a_closed_pipe_does_not_stop_downloads() {
    let home = Home::new();
    let share = home.share("share", &[("abc 1.txt", b"1"), ("abc 2.txt", b"2")]);
    let servent = home.start(&["--share", share.to_str().unwrap()]);
    let mut search = home.command();
    search.args(["search", "abc", "--wait", "0.3", "--get", "all", "--output", "in"]);
    search.args(["--connect", &servent.host()]).stdout(Stdio::piped());
    let mut search = search.spawn().unwrap();
    drop(search.stdout.take());
    assert!(search.wait().unwrap().success());
    assert_eq!(crate::process::names_in(&home.path("in")), ["abc 1.txt", "abc 2.txt"]);
}

#[test]
fn a_host_name_in_a_later_url_does_not_hold_up_the_first() {
    let home = Home::new();
    let share = home.share("share", &[("a.txt", b"a")]);
    let servent = home.start(&["--share", share.to_str().unwrap()]);
    let first = format!("http://{}/get/1/a.txt", servent.addr);
    let later = format!("http://localhost:{}/get/9/none.txt", servent.addr.port());
    assert_code(&home.run(&["get", &first, &later, "--output", "in"]), 3);
    assert_eq!(crate::process::names_in(&home.path("in")), ["a.txt"]);
}

#[test]
fn a_new_file_is_found_after_hup_and_a_vanished_one_is_not_served() {
    let home = Home::new();
    let share = home.share("share", &[("old.txt", b"old")]);
    let mut servent = home.start(&["--share", share.to_str().unwrap()]);
    let url = format!("http://{}/get/1/old.txt", servent.addr);
    std::fs::write(share.join("old.txt"), "changed").unwrap();
    assert_code(&home.run(&["get", &url]), 3);
    servent.wait_for("gone or changed");
    std::fs::write(share.join("new.txt"), "new").unwrap();
    servent.signal(Signal::HUP);
    servent.wait_for("sharing 2 files");
    let search = ["search", "new", "--connect", &servent.host(), "--wait", "0.2"];
    assert_code(&home.run(&search), 0);
    assert_code(&home.run(&["get", &url, "--output", "in"]), 0);
    assert_eq!(std::fs::read(home.path("in/old.txt")).unwrap(), b"changed", "the number is kept");
}

#[test]
fn hosts_and_identity_survive_a_restart() {
    let home = Home::new();
    let first = home.start(&["--state", "first"]);
    let mut second = home.start(&["--state", "second", "--connect", &first.host()]);
    second.wait_for("joined");
    eventually("the second servent knows the first", || {
        let ping = home.run(&["ping", &second.host(), "--wait", "0.2", "--json"]);
        lines(&ping).iter().any(|line| line.contains(&first.addr.port().to_string())).then_some(())
    });
    second.signal(Signal::TERM);
    second.wait();
    let hosts = std::fs::read_to_string(home.path("second/hosts")).unwrap();
    assert!(hosts.contains(&format!("{} answered\n", first.host())), "{hosts}");
    let identity = std::fs::read_to_string(home.path("second/identity")).unwrap();
    // Without --connect: the host cache is enough to join again.
    let mut again = home.start(&["--state", "second"]);
    again.wait_for("joined");
    again.signal(Signal::TERM);
    again.wait();
    assert_eq!(std::fs::read_to_string(home.path("second/identity")).unwrap(), identity);
}

#[test]
fn a_one_shot_stops_at_once_on_ctrl_c() {
    let home = Home::new();
    let mut servent = home.start(&[]);
    let mut search = home.command();
    search.args(["search", "abc", "--wait", "60", "--connect", &servent.host()]);
    let search = search.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    servent.wait_for("joined us");
    rustix::process::kill_process(Pid::from_child(&search), Signal::INT).unwrap();
    assert_code(&search.wait_with_output().unwrap(), 130);
}

#[test]
fn control_characters_in_names_do_not_reach_the_terminal() {
    let home = Home::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0; 22]).unwrap();
        stream.write_all(b"GNUTELLA OK\n\n").unwrap();
        let query = crate::process::read_kind(&mut stream, 0x80);
        let mut payload = vec![1, 0xca, 0x18, 127, 0, 0, 1, 0, 0, 0, 0, 7, 0, 0, 0, 5, 0, 0, 0];
        payload.extend_from_slice(b"abc \x1b[2J\xe2\x80\xae.txt\0\0");
        payload.extend_from_slice(&[9; 16]);
        let mut hit = descriptor(0, 0x81, 1, 0, &payload);
        hit[..16].copy_from_slice(&query[..16]);
        stream.write_all(&hit).unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    });
    let output = home.run(&["search", "abc", "--wait", "1", "--connect", &addr]);
    assert_code(&output, 0);
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(text.contains("abc"), "{text}");
    assert!(text.chars().all(|c| c == '\n' || (!c.is_control() && c != '\u{202e}')), "{text:?}");
    server.join().unwrap();
}

#[test]
fn the_demo_shows_the_main_job_and_leaves_nothing_but_its_picture() {
    let home = Home::new();
    let (temp, here) = (home.share("tmp", &[]), home.share("here", &[]));
    let demo = |args: &[&str]| {
        let mut command = home.command();
        command.args(["testnet", "demo"]).args(args).env("TMPDIR", &temp).current_dir(&here);
        command.output().unwrap()
    };
    let shown = demo(&[]);
    assert_code(&shown, 0);
    let text = lines(&shown).join("\n");
    for said in ["8 servents", "hit: ", "the same as at servent", "nothing but the picture"] {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert_eq!(crate::process::names_in(&temp), Vec::<String>::new());
    assert_eq!(crate::process::names_in(&here), ["servent-demo.svg"]);
    let mode = std::fs::metadata(here.join("servent-demo.svg")).unwrap().permissions().mode();
    // The mode of any newly created file, under any umask.
    std::fs::write(here.join("usual"), "").unwrap();
    let usual = std::fs::metadata(here.join("usual")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, usual & 0o644);

    let nowhere = demo(&["--svg", "nowhere/a.svg"]);
    assert_code(&nowhere, 8);
    assert!(stderr(&nowhere).contains("cannot write nowhere/a.svg: "), "{}", stderr(&nowhere));
    let file = home.path("here/usual/network");
    let nowhere = home.run(&["testnet", "up", "--dir", file.to_str().unwrap()]);
    assert_code(&nowhere, 8);
    assert!(stderr(&nowhere).contains("here/usual/network: "), "{}", stderr(&nowhere));
}

#[test]
fn ctrl_c_ends_the_demo_and_all_its_processes() {
    let home = Home::new();
    let temp = home.share("tmp", &[]);
    let interrupt_at = |moment: &str| {
        let mut command = home.command();
        command.args(["testnet", "demo", "--nodes", "16"]).env("TMPDIR", &temp).process_group(0);
        let mut demo = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(demo.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(said.any(|line| line.starts_with(moment)), "{moment}");
        // As a terminal does: to all processes of the command, in any order.
        kill_process_group(Pid::from_child(&demo), Signal::INT).unwrap();
        said.for_each(drop);
        demo.wait_with_output().unwrap()
    };
    let mut interrupted = 0;
    for moment in ["starting", "   0 on", "searching", "fetching"].repeat(3) {
        let output = interrupt_at(moment);
        // The demo may have finished first.
        if output.status.code() != Some(0) {
            assert_code(&output, 130);
            assert_eq!(stderr(&output).trim(), "servent: interrupted", "{moment}");
            interrupted += 1;
        }
        assert_eq!(crate::process::names_in(&temp), Vec::<String>::new(), "{moment}");
    }
    assert!(interrupted > 0);
}

#[test]
fn a_search_joins_through_the_servent_that_the_settings_describe() {
    let home = Home::new();
    let share = home.share("share", &[("hello.txt", b"hello")]);
    let servent = home.start(&["--share", share.to_str().unwrap()]);
    let config = home.share(".config/servent", &[]);
    let search = ["search", "hello", "--wait", "1"];
    for ip in ["127.0.0.1", "0.0.0.0"] {
        let text = format!("listen = \"{ip}:{}\"\n", servent.addr.port());
        std::fs::write(config.join("servent.toml"), text).unwrap();
        let found = home.run(&search);
        assert_code(&found, 0);
    }
    std::fs::write(config.join("servent.toml"), "listen = \"127.0.0.2:1\"\n").unwrap();
    assert_code(&home.run(&search), 5);
    let variable = home.command().args(search).env("SERVENT_LISTEN", servent.host()).output();
    assert_code(&variable.unwrap(), 0);
}

#[test]
fn errors_in_the_settings_do_not_show_rust_types() {
    let home = Home::new();
    let config = home.share(".config/servent", &[]);
    for (text, expected) in [
        ("links = \"four\"", "expected a number"),
        ("share = \"/srv/a\"", "expected a list such as [\"/srv/a\", \"/srv/b\"]"),
        ("no-pings = 1", "expected true or false"),
    ] {
        std::fs::write(config.join("servent.toml"), text).unwrap();
        let output = home.run(&["run", "--listen", "127.0.0.1:0"]);
        assert_code(&output, 2);
        assert!(stderr(&output).contains(expected), "{text}: {}", stderr(&output));
    }
}

/// A peer that closes without a byte may speak 0.6 only, so it is asked in both dialects, once each.
#[test]
fn a_peer_that_closes_during_the_handshake_is_asked_in_the_other_dialect() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let hangs_up = thread::spawn(move || {
        let mut asked = Vec::new();
        for _ in 0..4 {
            let (mut stream, _) = listener.accept().unwrap();
            let mut first = [0; 20];
            stream.read_exact(&mut first).unwrap();
            asked.push(String::from_utf8_lossy(&first[17..]).into_owned());
        }
        asked
    });
    for args in [&["ping", &host][..], &["search", "--connect", &host, "zebra"]] {
        // What one has learnt, the next would know.
        let output = Home::new().run(args);
        assert_code(&output, 6);
        let said = stderr(&output);
        let reason = "closed the connection: it speaks neither Gnutella 0.4 nor 0.6";
        assert!(said.contains(reason) && !said.contains("links are taken"), "{said}");
    }
    assert_eq!(hangs_up.join().unwrap(), ["0.4", "0.6", "0.4", "0.6"]);
}

/// One-shots keep what they learnt, and when they dialled.
#[test]
fn one_shots_remember_what_an_address_speaks_and_do_not_get_themselves_banned() {
    let home = Home::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let ultrapeer = thread::spawn(move || {
        let answer = b"GNUTELLA/0.6 200 OK\r\nX-Ultrapeer: True\r\n\r\n";
        let (mut old, _) = listener.accept().unwrap();
        old.read_exact(&mut [0; 22]).unwrap();
        drop(old);
        let (mut stream, _) = listener.accept().unwrap();
        let mut hello = vec![0; 4_096];
        let count = stream.read(&mut hello).unwrap();
        stream.write_all(answer).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
        String::from_utf8_lossy(&hello[..count]).into_owned()
    });
    let output = home.run(&["ping", &host, "--wait", "0.2"]);
    assert_code(&output, 4);
    let hello = ultrapeer.join().unwrap();
    assert!(hello.starts_with("GNUTELLA CONNECT/0.6\r\n"), "{hello}");
    assert!(hello.contains("\r\nX-Ultrapeer: False\r\n"), "one-shots are leaves: {hello}");
    let known = std::fs::read_to_string(home.path(".local/state/servent/dialects")).unwrap();
    let words: Vec<_> = known.split_whitespace().collect();
    assert_eq!((words.len(), words[0], words[1]), (4, &*host, "0.6"), "{known}");
    let mut third = home.command().args(["ping", &host]).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    let mut lines = std::io::BufReader::new(third.stderr.take().unwrap());
    std::io::BufRead::read_line(&mut lines, &mut said).unwrap();
    third.kill().unwrap();
    third.wait().unwrap();
    assert!(said.contains("banned: dialling it in "), "{said}");
}
