//! The download queue of a running servent: what it survives, what it waits for, what it refuses.

use crate::process::{Home, Running, eventually, names_in};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use servent::control::client::Client;
use servent::rng::Rng;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A servent with a queue, whose state outlives it.
struct Fetcher<'a> {
    home: &'a Home,
    running: Option<Running>,
}

impl Fetcher<'_> {
    fn new(home: &Home) -> Fetcher<'_> {
        Fetcher { home, running: None }
    }

    fn start(&mut self, args: &[&str]) -> Client {
        let [socket, state, downloads] =
            ["control.sock", "state", "downloads"].map(|name| self.home.path(name));
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let own = [
            "--control",
            &text(&socket),
            "--state",
            &text(&state),
            "--downloads",
            &text(&downloads),
        ];
        self.running = Some(self.home.start(&[&own[..], args].concat()));
        Client::connect(&socket).unwrap()
    }

    /// Kills it, as a power failure would.
    fn kill(&mut self) {
        let mut running = self.running.take().unwrap();
        let pid = Pid::from_raw(i32::try_from(running.pid()).unwrap()).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
        running.wait();
    }

    fn downloads(&self) -> PathBuf {
        self.home.path("downloads")
    }
}

fn row(client: &mut Client, id: &Value) -> Option<Value> {
    let rows = client.call("transfers", &json!({})).unwrap();
    rows.as_array()
        .unwrap()
        .iter()
        .find(|row| row["id"] == *id && row["direction"] == "down")
        .cloned()
}

fn wait_for(client: &mut Client, id: &Value, state: &str) -> Value {
    eventually(state, || row(client, id).filter(|row| row["state"] == state))
}

#[test]
fn a_queue_survives_a_kill_at_any_moment_and_fetches_nothing_twice() {
    let seed = u64::from_le_bytes(uuid::Uuid::new_v4().as_bytes()[..8].try_into().unwrap());
    println!("seed {seed}");
    let mut rng = Rng::new(seed);
    let sharer = Home::new();
    let files: Vec<(String, Vec<u8>)> = (0..6)
        .map(|number| {
            (format!("song {number}.ogg"), vec![number; 40_000 + 60_000 * usize::from(number)])
        })
        .collect();
    let listed: Vec<(&str, &[u8])> =
        files.iter().map(|(name, bytes)| (&name[..], &bytes[..])).collect();
    let share = sharer.share("share", &listed);
    let source = sharer.start(&["--share", share.to_str().unwrap(), "--upload-limit", "600k"]);
    let (home, hook) = (Home::new(), sharer.path("hook"));
    fs::write(&hook, format!("#!/bin/sh\necho \"$1\" >> {}\n", sharer.path("hooked").display()))
        .unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    let mut fetcher = Fetcher::new(&home);
    let hook = ["--on-complete", hook.to_str().unwrap()];
    let mut client = fetcher.start(&hook);
    let mut ids = Vec::new();
    let mut kills = 0;
    for (number, (name, _)) in files.iter().enumerate() {
        let url =
            format!("http://{}/get/{}/{}", source.host(), number + 1, name.replace(' ', "%20"));
        ids.push(client.call("download", &json!({"url": url})).unwrap()["id"].clone());
        // What was confirmed is there after a kill, whenever it comes.
        if rng.below(2) == 0 {
            fetcher.kill();
            kills += 1;
            client = fetcher.start(&hook);
        }
    }
    let is_done = |row: &Value| row["state"] == "done";
    loop {
        let rows = client.call("transfers", &json!({})).unwrap();
        let rows: Vec<&Value> =
            rows.as_array().unwrap().iter().filter(|row| row["direction"] == "down").collect();
        let listed: Vec<&Value> = rows.iter().map(|row| &row["id"]).collect();
        assert_eq!(listed, ids.iter().collect::<Vec<_>>(), "after {kills} kills");
        if rows.iter().all(|row| is_done(row)) {
            break;
        }
        if kills < 25 {
            // Some kills come at once, others after a few replies.
            (0..rng.below(6)).for_each(|_| drop(client.call("transfers", &json!({})).unwrap()));
            fetcher.kill();
            kills += 1;
            client = fetcher.start(&hook);
        }
    }
    let expected: Vec<String> = files.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(names_in(&fetcher.downloads()), expected, "no second copy, no partial file");
    for (name, bytes) in &files {
        assert!(fs::read(fetcher.downloads().join(name)).unwrap() == *bytes, "{name}");
    }
    fetcher.kill();
    let mut client = fetcher.start(&[]);
    // The last may be found complete by its inode only now.
    for id in &ids {
        wait_for(&mut client, id, "done");
    }
    assert_eq!(names_in(&fetcher.downloads()), expected, "and nothing is fetched again");
}

#[test]
fn a_finished_file_is_known_by_its_inode_when_its_source_is_gone() {
    let (sharer, home) = (Home::new(), Home::new());
    let share = sharer.share("share", &[("song.ogg", b"all of it")]);
    let source = sharer.start(&["--share", share.to_str().unwrap()]);
    let mut fetcher = Fetcher::new(&home);
    let mut client = fetcher.start(&[]);
    let url = format!("http://{}/get/1/song.ogg", source.host());
    let id = client.call("download", &json!({"url": url})).unwrap()["id"].clone();
    wait_for(&mut client, &id, "done");
    fetcher.kill();
    drop(source);
    // As if the program had been killed after the file got its name and before that was stored.
    let file = fetcher.downloads().join("song.ogg");
    let stored = home.path("state").join("downloads.json");
    let mut queue: Value = serde_json::from_slice(&fs::read(&stored).unwrap()).unwrap();
    let meta = fs::metadata(&file).unwrap();
    let inode = json!([
        std::os::unix::fs::MetadataExt::dev(&meta),
        std::os::unix::fs::MetadataExt::ino(&meta)
    ]);
    let job = &mut queue["jobs"][0];
    (job["standing"], job["inode"]) = (json!("open"), inode);
    fs::write(&stored, queue.to_string()).unwrap();
    let mut client = fetcher.start(&[]);
    let row = wait_for(&mut client, &id, "done");
    assert_eq!((&row["done"], &row["path"]), (&json!(9), &json!(file.to_str().unwrap())));
    assert_eq!(names_in(&fetcher.downloads()), ["song.ogg"]);
}

#[test]
fn downloads_are_held_steered_and_taken_off_the_list() {
    let (sharer, home) = (Home::new(), Home::new());
    let share = sharer.share("share", &[("song.ogg", &[7; 3_000_000])]);
    let source = sharer.start(&["--share", share.to_str().unwrap(), "--upload-limit", "200k"]);
    let mut fetcher = Fetcher::new(&home);
    let mut client = fetcher.start(&["--max-downloads", "1"]);
    let url = format!("http://{}/get/1/song.ogg", source.host());
    let first = client.call("download", &json!({"url": url})).unwrap()["id"].clone();
    let second =
        client.call("download", &json!({"url": url, "name": "b.ogg"})).unwrap()["id"].clone();
    wait_for(&mut client, &first, "active");
    assert_eq!(row(&mut client, &second).unwrap()["state"], "queued", "one at a time");
    client.call("pause", &json!({"id": first})).unwrap();
    assert_eq!(row(&mut client, &first).unwrap()["state"], "paused");
    wait_for(&mut client, &second, "active");
    fetcher.kill();
    let mut client = fetcher.start(&["--max-downloads", "1"]);
    assert_eq!(row(&mut client, &first).unwrap()["state"], "paused", "also after a kill");
    client.call("cancel", &json!({"id": second})).unwrap();
    assert_eq!(row(&mut client, &second), None);
    client.call("resume", &json!({"id": first})).unwrap();
    eventually("bytes are here", || {
        row(&mut client, &first).filter(|row| row["done"].as_u64() > Some(0))
    });
    client.call("cancel", &json!({"id": first})).unwrap();
    assert_eq!(client.call("transfers", &json!({})).unwrap(), json!([]));
    let kept = names_in(&fetcher.downloads());
    assert!(kept.iter().any(|name| name.ends_with(".part")), "a partial file stays: {kept:?}");
}

#[test]
fn a_source_that_is_busy_is_waited_for_and_one_that_is_gone_searched_for() {
    let (sharer, home) = (Home::new(), Home::new());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let busy = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 1024];
        assert!(stream.read(&mut head).unwrap() > 0);
        stream
            .write_all(b"HTTP/1.1 503 Busy\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
    });
    let share = sharer.share("share", &[("free jazz.ogg", b"all of it")]);
    let other = sharer.start(&["--share", share.to_str().unwrap()]);
    let mut fetcher = Fetcher::new(&home);
    let mut client = fetcher.start(&["--connect", &other.host()]);
    let url = format!("http://{addr}/get/1/free%20jazz.ogg");
    let id = client.call("download", &json!({"url": url})).unwrap()["id"].clone();
    let row = wait_for(&mut client, &id, "waiting");
    assert!(row["error"].as_str().unwrap().contains("busy"), "{row}");
    assert!(row["next_try_s"].as_f64() > Some(3_000.0), "as long as it wants: {row}");
    busy.join().unwrap();
    // Its listener is gone now: the next try fails, and others are searched for.
    client.call("retry", &json!({"id": id})).unwrap();
    let row = wait_for(&mut client, &id, "done");
    assert_eq!(row["sources"].as_array().unwrap().len(), 2, "{row}");
    assert_eq!(fs::read(fetcher.downloads().join("free jazz.ogg")).unwrap(), b"all of it");
}

#[test]
fn what_cannot_be_written_or_asked_for_is_refused_at_once() {
    let home = Home::new();
    let mut fetcher = Fetcher::new(&home);
    let mut client = fetcher.start(&[]);
    let blocked = home.path("a file");
    fs::write(&blocked, "in the way").unwrap();
    for (params, code) in [
        (json!({}), "-32602"),
        (json!({"url": "ftp://a/get/1/b"}), "-32602"),
        (json!({"url": "http://127.0.0.1:1/get/1/b", "output": "relative"}), "-32602"),
        (json!({"url": "http://127.0.0.1:1/get/1/b", "name": "../up"}), "-32602"),
        (json!({"url": "http://127.0.0.1:1/get/1/b", "output": blocked.join("below")}), "-32002"),
    ] {
        let error = client.call("download", &params).unwrap_err();
        assert!(format!("{error:?}").contains(code), "{params}: {error:?}");
    }
    assert_eq!(client.call("transfers", &json!({})).unwrap(), json!([]));
    // A command's download is given up as soon as its sources are.
    let url = "http://127.0.0.1:1/get/1/b";
    let id = client.call("download", &json!({"url": url, "retry": 0.0})).unwrap()["id"].clone();
    let row = wait_for(&mut client, &id, "failed");
    assert_eq!(row["exit_code"], 5, "{row}");
}

#[test]
fn uploads_are_listed_told_and_ended_by_command() {
    let (sharer, home) = (Home::new(), Home::new());
    let share = sharer.share("share", &[("long.ogg", &[7; 2_000_000]), ("short.ogg", &[7; 10])]);
    let control = sharer.path("control.sock");
    let args = ["--control", control.to_str().unwrap(), "--upload-limit", "100k"];
    let source = sharer.start(&[&["--share", share.to_str().unwrap()], &args[..]].concat());
    let (mut client, mut told) =
        (Client::connect(&control).unwrap(), Client::connect(&control).unwrap());
    told.call("subscribe", &json!({"events": ["transfers"]})).unwrap();
    let mut fetcher = Fetcher::new(&home);
    let mut other = fetcher.start(&[]);
    for (number, name) in [(2, "short.ogg"), (1, "long.ogg")] {
        let url = format!("http://{}/get/{number}/{name}", source.host());
        other.call("download", &json!({"url": url})).unwrap();
    }
    let upload = eventually("the long upload", || {
        let rows = client.call("transfers", &json!({})).unwrap();
        rows.as_array().unwrap().iter().find(|row| row["name"] == "long.ogg").cloned()
    });
    assert_eq!((&upload["direction"], &upload["state"]), (&json!("up"), &json!("active")));
    assert_eq!(upload["size"], 2_000_000);
    client.call("cancel", &json!({"id": upload["id"]})).unwrap();
    let mut states = Vec::new();
    let mut note = |_: &str, row: Value| {
        states.push((
            row["name"].as_str().unwrap().to_owned(),
            row["state"].as_str().unwrap().to_owned(),
        ));
        !states.iter().any(|(name, state)| name == "long.ogg" && state == "failed")
    };
    told.listen(|said| {
        Ok::<bool, servent::control::client::ClientError>(
            said.is_none_or(|(method, row)| note(method, row)),
        )
    })
    .unwrap();
    assert!(states.contains(&("short.ogg".to_owned(), "done".to_owned())), "{states:?}");
}
