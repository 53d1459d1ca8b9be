//! `servent get` and `search --get` as people and scripts use them: names, output, retries,
//! summaries and exit codes.

use crate::process::{
    Home, assert_code, descriptor, lines, names_in, read_head, read_kind, stderr,
};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Output;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A source that sends one of `answers` on each connection and then stops listening. Its URL, and
/// the time of each request.
pub(crate) fn source(answers: &[&str]) -> (String, JoinHandle<Vec<Instant>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/get/3/a%20song.ogg", listener.local_addr().unwrap());
    let answers: Vec<String> = answers.iter().map(|&answer| answer.to_owned()).collect();
    let serve = move || {
        let answer = |answer: String| {
            let (mut stream, _) = listener.accept().unwrap();
            read_head(&mut stream);
            let at = Instant::now();
            stream.write_all(answer.as_bytes()).unwrap();
            at
        };
        answers.into_iter().map(answer).collect()
    };
    (url, thread::spawn(serve))
}

pub(crate) const WHOLE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhelloworld";
pub(crate) const HALF: &str = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello";
pub(crate) const BUSY: &str = "HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n";
pub(crate) const GONE: &str = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";

fn get(home: &Home, args: &[&str]) -> Output {
    home.command().arg("get").args(args).args(["--output", "in"]).output().unwrap()
}

#[test]
fn a_busy_source_is_retried_after_the_time_it_states() {
    for busy in [BUSY, "HTTP/1.1 429 Slow\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"] {
        let home = Home::new();
        let (url, server) = source(&[busy, WHOLE]);
        let output = get(&home, &[&url]);
        assert_code(&output, 0);
        let asked = server.join().unwrap();
        let waited = asked[1].duration_since(asked[0]);
        assert!(waited >= Duration::from_millis(950), "{waited:?}");
        let said = stderr(&output);
        let reason = "the source is busy: all its upload slots are taken";
        assert!(said.contains(reason) && said.contains("next try in 1 s"), "{said}");
        assert_eq!(said.matches("getting").count(), 1, "announced once: {said}");
    }
}

#[test]
fn a_broken_transfer_resumes_after_growing_pauses() {
    let home = Home::new();
    let (url, server) = source(&[HALF, HALF, WHOLE]);
    let output = get(&home, &[&url]);
    assert_code(&output, 0);
    assert_eq!(fs::read(home.path("in/a song.ogg")).unwrap(), b"helloworld");
    let asked = server.join().unwrap();
    let pauses = [asked[1] - asked[0], asked[2] - asked[1]];
    let least = [1_900, 3_900].map(Duration::from_millis);
    assert!(pauses[0] > least[0] && pauses[1] > least[1], "growing: {pauses:?}");
}

#[test]
fn retries_are_limited() {
    let home = Home::new();
    // No retry; a shorter limit than the source asks for; some retries.
    let (url, server) = source(&[BUSY]);
    assert_code(&get(&home, &[&url, "--retry", "0"]), 6);
    server.join().unwrap();
    let (url, server) = source(&["HTTP/1.1 503 Busy\r\nRetry-After: 3600\r\n\r\n"]);
    assert_code(&get(&home, &[&url]), 6);
    server.join().unwrap();
    let (url, server) = source(&[BUSY, BUSY]);
    assert_code(&get(&home, &[&url, "--retry", "1.5"]), 6);
    server.join().unwrap();
    let (url, server) = source(&[HALF]);
    let broken = get(&home, &[&url, "--retry", "0"]);
    assert_code(&broken, 1);
    assert!(stderr(&broken).contains("5 of 10 B kept; run the same command to resume"));
    server.join().unwrap();
}

#[test]
fn permanent_failures_are_not_retried() {
    let cases = [
        (GONE, 3, "the source no longer shares \"a song.ogg\""),
        ("HTTP/1.1 416 Range\r\nContent-Length: 0\r\n\r\n", 1, "no bytes from 0 on"),
        ("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", 1, "status 403"),
        ("", 1, "without an answer"),
    ];
    for (answer, code, said) in cases {
        let home = Home::new();
        // Without an answer, the name is requested in both spellings.
        let answers = vec![answer; if answer.is_empty() { 2 } else { 1 }];
        let (url, server) = source(&answers);
        let output = get(&home, &[&url]);
        assert_code(&output, code);
        assert!(stderr(&output).contains(said), "{}", stderr(&output));
        server.join().unwrap();
        let refused = get(&home, &[&url]);
        assert_code(&refused, 5);
        assert!(stderr(&refused).contains("refused the connection"), "{}", stderr(&refused));
    }
}

#[test]
fn a_name_may_be_given_for_one_file() {
    let home = Home::new();
    for flag in ["-o", "--name"] {
        // The second download is compared with the file of that name.
        let answers = if flag == "-o" { &[WHOLE][..] } else { &[WHOLE, WHOLE] };
        let (url, server) = source(answers);
        let output = get(&home, &[&url, flag, "other.ogg"]);
        assert_code(&output, 0);
        assert_eq!(
            lines(&output),
            [if flag == "-o" { "in/other.ogg" } else { "in/other (2).ogg" }]
        );
        server.join().unwrap();
        fs::write(home.path("in/other.ogg"), "changed").unwrap();
    }
    for wrong in [
        &["-o", "x", "http://h/get/1/a", "http://h/get/1/b"][..],
        &["-o", "a/b", "http://h/get/1/a"],
    ] {
        let output = get(&home, wrong);
        assert_code(&output, 2);
        assert!(stderr(&output).contains("name"), "{}", stderr(&output));
    }
}

#[test]
fn quiet_prints_errors_only() {
    let home = Home::new();
    let (url, server) = source(&[BUSY, WHOLE]);
    let output = get(&home, &[&url, "--quiet"]);
    assert_code(&output, 0);
    assert_eq!(stderr(&output), "");
    server.join().unwrap();
    let (url, server) = source(&[GONE]);
    let output = get(&home, &[&url, "--quiet"]);
    assert_code(&output, 3);
    assert!(stderr(&output).contains("no longer shares"), "{}", stderr(&output));
    server.join().unwrap();
}

fn objects(output: &Output) -> Vec<Value> {
    lines(output).iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn json_has_one_object_for_each_file_at_its_end() {
    let home = Home::new();
    let (done, served) = source(&[WHOLE]);
    let output = get(&home, &[&done, "--json"]);
    assert_code(&output, 0);
    served.join().unwrap();
    let path = "in/a song.ogg";
    let object = json!({
        "url": done, "name": "a song.ogg", "size": 10, "path": path, "state": "done", "error": null
    });
    assert_eq!(objects(&output), [object]);

    let (kept, first) = source(&[HALF]);
    let kept = kept.replace("a%20song", "b");
    let (failed, second) = source(&[GONE]);
    let failed = failed.replace("a%20song", "c");
    let output = get(&home, &[&kept, &failed, "--json", "--retry", "0"]);
    assert_code(&output, 1);
    first.join().unwrap();
    second.join().unwrap();
    let mut found = objects(&output);
    found.sort_by_key(|object| object["name"].to_string());
    let states: Vec<_> = found.iter().map(|it| (&it["name"], &it["state"], &it["path"])).collect();
    let (b, c) = (json!("b.ogg"), json!("c.ogg"));
    let partial = json!("in/b.ogg.10.part");
    let expected = [(&b, &json!("kept"), &partial), (&c, &json!("failed"), &Value::Null)];
    assert_eq!(states, expected);
    assert!(found.iter().all(|object| object["error"].is_string()), "{found:?}");
    assert_eq!((&found[0]["size"], &found[1]["size"]), (&json!(10), &Value::Null));
}

/// A servent that answers any search with these files, each at its own address.
pub(crate) fn index_of(files: Vec<(String, u32, String)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0; 22]).unwrap();
        stream.write_all(b"GNUTELLA OK\n\n").unwrap();
        let query = read_kind(&mut stream, 0x80);
        for (name, size, url) in &files {
            let port: u16 = url.split([':', '/']).nth(4).unwrap().parse().unwrap();
            let mut payload = vec![1];
            payload.extend_from_slice(&port.to_le_bytes());
            payload.extend_from_slice(&[127, 0, 0, 1, 0, 0, 0, 0, 3, 0, 0, 0]);
            payload.extend_from_slice(&size.to_le_bytes());
            payload.extend_from_slice(name.as_bytes());
            payload.extend_from_slice(&[0, 0]);
            payload.extend_from_slice(&[9; 16]);
            let mut hit = descriptor(0, 0x81, 1, 0, &payload);
            hit[..16].copy_from_slice(&query[..16]);
            stream.write_all(&hit).unwrap();
        }
        let _ = stream.read_to_end(&mut Vec::new());
    });
    host
}

fn search(home: &Home, host: &str, args: &[&str]) -> Output {
    let search = ["search", "song", "--connect", host, "--output", "in"];
    home.command().args(search).args(args).output().unwrap()
}

#[test]
fn all_files_are_tried_and_the_failed_ones_summed_up() {
    let home = Home::new();
    let (good, first) = source(&[WHOLE]);
    let (bad, second) = source(&[GONE]);
    let files = vec![("good song".to_owned(), 10, good), ("bad song".to_owned(), 10, bad)];
    let output = search(&home, &index_of(files), &["--get", "all", "--json"]);
    assert_code(&output, 1);
    first.join().unwrap();
    second.join().unwrap();
    let said = stderr(&output);
    assert!(said.contains("1 of 2 files not downloaded: \"bad song\""), "{said}");
    assert!(said.contains("the source no longer shares \"bad song\""), "{said}");
    assert_eq!(names_in(&home.path("in")), ["good song"]);
    let objects = objects(&output);
    let hits = objects.iter().filter(|object| object["servent_id"].is_string()).count();
    let ends: Vec<_> = objects.iter().filter_map(|object| object["state"].as_str()).collect();
    assert_eq!((hits, ends.len()), (2, 2), "{objects:?}");
    assert!(ends.contains(&"done") && ends.contains(&"failed"), "{ends:?}");
}

#[test]
fn a_source_that_fails_leaves_the_file_to_the_others() {
    for which in ["first", "all"] {
        let home = Home::new();
        let (broken, first) = source(&[HALF]);
        let (gone, second) = source(&[GONE]);
        let (good, third) = source(&[WHOLE]);
        let files = [broken, gone, good].map(|url| ("a song".to_owned(), 10, url));
        let output = search(&home, &index_of(files.to_vec()), &["--get", which]);
        assert_code(&output, 0);
        first.join().unwrap();
        second.join().unwrap();
        third.join().unwrap();
        assert_eq!(names_in(&home.path("in")), ["a song"]);
        assert_eq!(fs::read(home.path("in/a song")).unwrap(), b"helloworld");
        assert!(stderr(&output).contains("joined from 2 sources"), "{}", stderr(&output));
    }
}
