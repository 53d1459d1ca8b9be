//! Downloads through a running servent: the same words, files and exit codes as those of a guest; the
//! queue, steered; interrupts.

use crate::get::{BUSY, GONE, HALF, WHOLE, index_of, source};
use crate::process::{Home, Running, assert_code, eventually, lines, names_in, stderr};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Output, Stdio};

fn json_of(home: &Home, args: &[&str]) -> Value {
    let output = home.run(args);
    assert_code(&output, 0);
    serde_json::from_str(&lines(&output).join("")).unwrap()
}

fn downloads(home: &Home) -> Vec<Value> {
    json_of(home, &["downloads", "--json"]).as_array().unwrap().clone()
}

/// Exit code, stdout and stderr of `get`, with a word for the port of its source.
fn got(home: &Home, args: &[&str], url: &str) -> (Option<i32>, String, String) {
    let output = home.run(&[&["get", url, "--output", "in"], args].concat());
    let host = url.split('/').nth(2).unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(host, "SOURCE");
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn words_and_exit_codes_are_those_of_a_guest() {
    let cases: [(&[&str], &[&str], i32); 8] = [
        (&[WHOLE], &[], 0),
        (&[WHOLE], &["--json"], 0),
        (&[WHOLE], &["-o", "other.ogg"], 0),
        (&[GONE], &[], 3),
        (&[HALF], &["--retry", "0"], 1),
        (&[HALF], &["--retry", "0", "--json"], 1),
        (&[BUSY], &["--retry", "0"], 6),
        (&[BUSY, WHOLE], &[], 0),
    ];
    for (answers, args, code) in cases {
        let results = [true, false].map(|guest| {
            let home = Home::new();
            let _servent = (!guest).then(|| home.serve(&[]));
            let (url, server) = source(answers);
            let result = got(&home, args, &url);
            server.join().unwrap();
            (result, names_in(&home.path("in")))
        });
        assert_eq!(results[0], results[1], "guest and servent: {args:?}");
        assert_eq!(results[0].0.0, Some(code), "{results:?}");
    }
    let home = Home::new();
    let _servent = home.serve(&[]);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/get/1/x.txt", closed.local_addr().unwrap());
    drop(closed);
    let (code, _, said) = got(&home, &[], &url);
    assert_eq!((code, said.contains("refused the connection")), (Some(5), true), "{said}");
    assert_eq!(downloads(&home), Vec::<Value>::new(), "what has failed was told, and is not kept");
}

#[test]
fn a_download_is_resumed_and_a_complete_one_is_already_here() {
    let home = Home::new();
    let _servent = home.serve(&[]);
    let (url, first) = source(&[HALF]);
    let (code, _, said) = got(&home, &["--retry", "0"], &url);
    assert_eq!(code, Some(1));
    assert!(said.contains("in/a song.ogg.10.part: 5 of 10 B kept; run the same"), "{said}");
    first.join().unwrap();
    let (url, second) = source(&[WHOLE]);
    let (code, _, said) = got(&home, &[], &url);
    assert_eq!(code, Some(0));
    assert!(said.starts_with("going on with \"a song.ogg\" from SOURCE: 5 of 10 B are"), "{said}");
    second.join().unwrap();
    assert_eq!(names_in(&home.path("in")), ["a song.ogg"]);
    let (url, third) = source(&[WHOLE]);
    let (code, out, said) = got(&home, &[], &url);
    assert_eq!((code, out.trim()), (Some(0), "in/a song.ogg"));
    assert!(said.contains("already here: in/a song.ogg (10 B)"), "{said}");
    third.join().unwrap();
}

/// A servent that shares a file and sends it slowly.
fn slow(home: &Home) -> (Running, String) {
    let share = home.share("share", &[("long zebra.bin", &vec![b'x'; 2_000_000])]);
    let slow = home.start(&["--share", share.to_str().unwrap(), "--upload-limit", "100k"]);
    let url = format!("http://{}/get/1/long%20zebra.bin", slow.addr);
    (slow, url)
}

#[test]
fn ctrl_c_ends_the_download_and_keeps_its_partial() {
    let home = Home::new();
    let (_slow, url) = slow(&home);
    let _servent = home.serve(&[]);
    let mut command = home.command();
    command.args(["get", &url, "--output", "in"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let get = command.spawn().unwrap();
    eventually("bytes have come", || {
        let rows = downloads(&home);
        (rows.first()?["done"].as_u64()? > 0).then_some(())
    });
    kill_process(Pid::from_child(&get), Signal::INT).unwrap();
    let output = get.wait_with_output().unwrap();
    assert_code(&output, 130);
    let said = stderr(&output);
    assert!(said.contains("interrupted; in/long zebra.bin.2000000.part: "), "{said}");
    assert!(said.contains(" kept; run the same command to resume"), "{said}");
    assert_eq!(downloads(&home), Vec::<Value>::new());
    let partial = "long zebra.bin.2000000.part".to_owned();
    assert!(names_in(&home.path("in")).contains(&partial));
}

#[test]
fn the_queue_is_listed_and_steered() {
    let home = Home::new();
    let (_slow, url) = slow(&home);
    let mut servent = home.serve(&["--max-downloads", "1"]);
    let queued = home.run(&["get", "--queue", &url, "--output", "in"]);
    assert_code(&queued, 0);
    let id = lines(&queued)[0].clone();
    let other = url.replace("long%20zebra", "other");
    let second = json_of(&home, &["get", "--queue", "--json", &other]);
    let second = second["id"].to_string();
    let state = |id: &str| {
        let rows = downloads(&home);
        let row = rows.into_iter().find(|row| row["id"].to_string() == id)?;
        Some(row["state"].as_str().unwrap().to_owned())
    };
    eventually("bytes have come", || {
        let rows = downloads(&home);
        (rows.first()?["done"].as_u64()? > 0).then_some(())
    });
    assert_code(&home.run(&["downloads", "pause", &id]), 0);
    assert_eq!(state(&id).as_deref(), Some("paused"));
    let shown = lines(&home.run(&["downloads"])).join("\n");
    for said in ["STATE", "paused", "long zebra.bin", "░"] {
        assert!(shown.contains(said), "{said} is missing in {shown}");
    }
    // It outlives the servent.
    servent.signal(Signal::KILL);
    servent.wait();
    let mut again = home.command();
    again.args(["run", "--listen", &servent.host(), "--max-downloads", "1"]);
    let _servent = Running::start(again);
    assert_eq!(state(&id).as_deref(), Some("paused"));
    let resumed = home.run(&["downloads", "resume", &id]);
    assert_eq!(lines(&resumed), [format!("{id} resumed")]);
    eventually("it is active again", || (state(&id)? == "active").then_some(()));
    let uploads = json_of(&home, &["transfers", "--json"]);
    assert!(uploads.as_array().unwrap().iter().all(|row| row["direction"] == "down"), "{uploads}");
    assert_code(&home.run(&["downloads", "cancel", &id, &second]), 0);
    assert_eq!(downloads(&home), Vec::<Value>::new());
    let unknown = home.run(&["downloads", "retry", &id]);
    assert_code(&unknown, 1);
    assert!(stderr(&unknown).contains(&id), "{}", stderr(&unknown));
}

#[test]
fn an_upload_is_listed_with_the_one_who_gets_it() {
    let home = Home::new();
    let share = home.share("share", &[("long zebra.bin", &vec![b'x'; 2_000_000])]);
    let servent = home.serve(&["--share", share.to_str().unwrap(), "--upload-limit", "100k"]);
    let url = format!("http://{}/get/1/long%20zebra.bin", servent.addr);
    let mut get = home.command();
    let mut get = get.args(["get", "--guest", &url, "--output", "in"]).spawn().unwrap();
    let row = eventually("the upload is listed", || {
        json_of(&home, &["transfers", "--json"]).get(0).cloned()
    });
    assert_eq!(
        (row["direction"].as_str(), row["name"].as_str()),
        (Some("up"), Some("long zebra.bin"))
    );
    let shown = lines(&home.run(&["transfers"])).join("\n");
    assert!(shown.contains("↑ active") && shown.contains("to 127.0.0.1:"), "{shown}");
    kill_process(Pid::from_child(&get), Signal::INT).unwrap();
    get.wait().unwrap();
}

#[test]
fn where_the_servent_may_not_write_the_command_does_it_itself() {
    let home = Home::new();
    let _servent = home.serve(&[]);
    fs::write(home.path("file"), "").unwrap();
    let (url, _server) = source(&[WHOLE]);
    let output = home.run(&["get", &url, "--output", "file/in"]);
    // Nor may the command.
    assert_code(&output, 8);
    let said = stderr(&output);
    assert!(said.contains("the servent cannot write to") && said.contains("as a guest"), "{said}");
    let queue = home.run(&["get", "--queue", &url, "--output", "file/in"]);
    assert_code(&queue, 8);
}

#[test]
fn a_servent_that_goes_away_goes_on_with_the_download_later() {
    let home = Home::new();
    let (_slow, url) = slow(&home);
    let mut servent = home.serve(&[]);
    let mut command = home.command();
    command.args(["get", &url, "--output", "in"]).stderr(Stdio::piped());
    let mut get = command.spawn().unwrap();
    let mut said = BufReader::new(get.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(said.any(|line| line.starts_with("getting ")));
    servent.signal(Signal::TERM);
    servent.wait();
    assert_eq!(get.wait().unwrap().code(), Some(4));
    let rest: Vec<String> = said.collect();
    assert!(
        rest.iter().any(|line| line.contains("goes on with \"long zebra.bin\" when")),
        "{rest:?}"
    );
}

/// A search for "song" through a servent that is linked with an index.
fn search(home: &Home, host: &str, args: &[&str]) -> Output {
    let mut servent = home.serve(&["--connect", host]);
    servent.wait_for("joined");
    home.run(&[&["search", "song", "--wait", "2", "--output", "in"], args].concat())
}

#[test]
fn a_search_downloads_through_the_servent_what_it_finds() {
    for (which, args) in [("first", &["--json"][..]), ("all", &[])] {
        let home = Home::new();
        let (good, first) = source(&[WHOLE]);
        let files = vec![("good song".to_owned(), 10, good)];
        let output = search(&home, &index_of(files), &[&["--get", which], args].concat());
        assert_code(&output, 0);
        first.join().unwrap();
        assert_eq!(fs::read(home.path("in/good song")).unwrap(), b"helloworld");
        if which == "first" {
            let ends = lines(&output);
            let end: Value = serde_json::from_str(ends.last().unwrap()).unwrap();
            assert_eq!((&end["state"], &end["path"]), (&"done".into(), &"in/good song".into()));
        } else {
            assert!(stderr(&output).contains("saved in/good song (10 B)"), "{output:?}");
        }
    }
}

#[test]
fn a_source_found_later_is_used_when_the_first_has_failed() {
    let home = Home::new();
    let (broken, first) = source(&[HALF]);
    let (gone, second) = source(&[GONE]);
    let (good, third) = source(&[WHOLE]);
    let files = [broken, gone, good].map(|url| ("a song".to_owned(), 10, url));
    let output = search(&home, &index_of(files.to_vec()), &["--get", "all"]);
    assert_code(&output, 0);
    first.join().unwrap();
    second.join().unwrap();
    third.join().unwrap();
    assert_eq!(fs::read(home.path("in/a song")).unwrap(), b"helloworld");
    assert!(stderr(&output).contains("joined from 2 sources"), "{}", stderr(&output));
}
