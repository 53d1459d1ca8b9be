//! `/metrics` of a running servent: what a scraper relies on, and what `promtool` says of it.

use crate::process::{Home, Running, descriptor, query, read_kind};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

fn start(home: &Home) -> (Running, String) {
    let share = home.share("share", &[("hello.txt", b"hello")]);
    let mut servent =
        home.start(&["--links", "0", "--http", "127.0.0.1:0", "--share", share.to_str().unwrap()]);
    let said = servent.wait_for("the page is at http://");
    let (_, rest) = said.split_once("http://").unwrap();
    let addr = rest.split('/').next().unwrap().to_owned();
    (servent, addr)
}

/// The body of the answer to a scraper that accepts `accept`.
fn scrape(addr: &str, accept: &str) -> String {
    let mut stream = TcpStream::connect(addr).unwrap();
    let text = format!(
        "GET /metrics HTTP/1.1\r\nHost: {addr}\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    body.to_owned()
}

/// Samples of counters: those a scraper must never see shrink.
fn counters(text: &str) -> Vec<(&str, f64)> {
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let of_sample = |line: &str| {
        let name = line.split(['{', ' ']).next().unwrap();
        ["_total", "_count", "_sum", "_bucket"].iter().any(|end| name.ends_with(end))
    };
    samples
        .filter(|line| of_sample(line))
        .map(|line| {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            (sample, value.parse().unwrap())
        })
        .collect()
}

#[test]
fn what_happens_is_counted_and_counters_only_grow() {
    let home = Home::new();
    let (servent, addr) = start(&home);
    let before = scrape(&addr, "*/*");
    let (mut a, mut b) = (servent.link(), servent.link());
    a.write_all(&descriptor(1, 0x80, 5, 0, &query("hello"))).unwrap();
    read_kind(&mut a, 0x81);
    read_kind(&mut b, 0x80);
    a.write_all(&descriptor(1, 0x80, 5, 0, &query("hello"))).unwrap();
    a.write_all(&descriptor(2, 0x80, 5, 0, &query("hello"))).unwrap();
    read_kind(&mut a, 0x81);
    let after = scrape(&addr, "*/*");
    let has = |line: &str| assert!(after.lines().any(|it| it == line), "{line} is not in\n{after}");
    has("servent_descriptors_received_total{kind=\"query\"} 3");
    has("servent_descriptors_dropped_total{reason=\"duplicate\"} 1");
    has("servent_queries_answered_total 2");
    has("servent_links{direction=\"in\"} 2");
    has("servent_links{direction=\"out\"} 0");
    has("servent_shared_files 1");
    has("servent_limit_used{name=\"links\"} 2");
    let (before, after) = (counters(&before), counters(&after));
    assert_eq!(before.len(), after.len(), "all are there from the start");
    for ((sample, before), (same, after)) in before.into_iter().zip(after) {
        assert_eq!(sample, same);
        assert!(after >= before, "{sample}: {before}, then {after}");
    }
}

#[test]
#[ignore = "needs promtool"]
fn promtool_finds_no_fault_with_the_metrics() {
    let home = Home::new();
    let (servent, addr) = start(&home);
    let _links = [servent.link(), servent.link()];
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed");
    promtool.stdin.take().unwrap().write_all(scrape(&addr, "*/*").as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap()).concat();
    assert!(output.status.success() && said.is_empty(), "{said}");
}
