//! Real processes on loopback: joining, searching over several hops, serving and fetching.

use crate::process::{
    Home, Running, assert_code, descriptor, eventually, lines, names_in, query, read_descriptor,
    read_head, read_kind, stderr,
};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::{self, JoinHandle};

const PING: u8 = 0x00;
const PONG: u8 = 0x01;
const QUERY: u8 = 0x80;
const QUERY_HIT: u8 = 0x81;

/// Reads until the other side closes.
fn read_all(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("not closed: {error}"),
        _ => bytes,
    }
}

/// `count` servents, each linked to the one before, each with one folder.
fn line(home: &Home, shares: &[&[(&str, &[u8])]]) -> Vec<Running> {
    let mut servents: Vec<Running> = Vec::new();
    for (number, files) in shares.iter().enumerate() {
        let share = home.share(&format!("share-{number}"), files);
        let mut args = vec!["--links", "0", "--share", share.to_str().unwrap()];
        let before = servents.last().map(Running::host);
        args.extend(before.iter().flat_map(|host| ["--connect", host]));
        let mut servent = home.start(&args);
        if before.is_some() {
            servent.wait_for("joined");
        }
        servents.push(servent);
    }
    servents
}

#[test]
fn a_file_found_over_several_hops_arrives_intact() {
    let home = Home::new();
    let far: Vec<u8> = (0..1_000_000u32).flat_map(|n| n.to_le_bytes()).collect();
    let servents = line(&home, &[&[], &[("other.txt", b"x")], &[], &[("Far Away.bin", &far)]]);
    let output = home.path("in");
    let args = ["search", "away", "--connect", &servents[0].host(), "--get", "first"];
    let search = home.command().args(args).arg("--json").arg("--output").arg(&output).output();
    let search = search.unwrap();
    assert_code(&search, 0);
    let hit: serde_json::Value = serde_json::from_str(&lines(&search)[0]).unwrap();
    assert_eq!((&hit["name"], &hit["hops"]), (&"Far Away.bin".into(), &3.into()));
    assert_eq!(hit["port"], servents[3].addr.port());
    assert_eq!(names_in(&output), ["Far Away.bin"]);
    assert!(std::fs::read(output.join("Far Away.bin")).unwrap() == far, "the bytes differ");

    let url = hit["url"].as_str().unwrap();
    let get = home.run(&["get", url, "--output", output.to_str().unwrap()]);
    assert_code(&get, 0);
    assert_eq!(names_in(&output), ["Far Away.bin"], "it is not fetched again");
    assert!(stderr(&get).contains("already here"), "{}", stderr(&get));
    std::fs::write(output.join("Far Away.bin"), "mine").unwrap();
    assert_code(&home.run(&["get", url, "--output", output.to_str().unwrap()]), 0);
    assert_eq!(names_in(&output), ["Far Away (2).bin", "Far Away.bin"], "nothing is overwritten");
}

#[test]
fn the_network_outlives_its_bootstrap_node() {
    let home = Home::new();
    let bootstrap = home.start(&[]);
    let share = home.share("share", &[("survivor.txt", b"here")]);
    let join = ["--connect", &bootstrap.host(), "--links", "3"];
    let mut members: Vec<Running> = (0..3).map(|_| home.start(&join)).collect();
    members.push(home.start(&[&join[..], &["--share", share.to_str().unwrap()]].concat()));
    for member in &mut members {
        // Members learn each other's addresses from the bootstrap node and link directly.
        member.wait_for("joined");
        member.wait_for("joined");
    }
    drop(bootstrap);
    let search = ["search", "survivor", "--wait", "0.2", "--connect", &members[0].host()];
    let found = eventually("a hit without the bootstrap node", || {
        Some(home.run(&search)).filter(|output| output.status.success())
    });
    assert!(lines(&found)[0].contains("survivor.txt"), "{:?}", lines(&found));
}

#[test]
fn the_handshake_is_answered_with_exact_bytes_however_it_is_split() {
    let home = Home::new();
    let servent = home.start(&[]);
    let mut slow = servent.dial();
    slow.set_nodelay(true).unwrap();
    for byte in b"GNUTELLA CONNECT/0.4\n\n" {
        slow.write_all(&[*byte]).unwrap();
    }
    let mut answer = [0; 13];
    slow.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"GNUTELLA OK\n\n");

    let mut eager = servent.dial();
    let ping = descriptor(7, PING, 1, 0, &[]);
    eager.write_all(&[b"GNUTELLA CONNECT/0.4\n\n", &ping[..]].concat()).unwrap();
    eager.read_exact(&mut answer).unwrap();
    let pong = read_kind(&mut eager, PONG);
    assert_eq!((&pong[..16], pong.len()), (&[7; 16][..], 23 + 14));
}

#[test]
fn connections_that_are_not_gnutella_are_closed_without_an_answer() {
    let home = Home::new();
    let servent = home.start(&[]);
    let before = servent.resident_bytes();
    let strange: [&[u8]; 4] = [
        b"HELLO\n\n",
        b"GIV 7:F0E1D2C3B4A59687FF78695A4B3C2D00/hello.txt\n\n",
        b"\x16\x03\x01\x02\x00",
        &[b'A'; 100_000],
    ];
    for bytes in strange {
        let mut stream = servent.dial();
        // The servent may close before all of it is written.
        let _ = stream.write_all(bytes);
        assert_eq!(read_all(&mut stream), b"", "{}", String::from_utf8_lossy(&bytes[..4]));
    }
    assert!(servent.resident_bytes() < before + 4 * 1024 * 1024);
    servent.link();
}

#[test]
fn a_query_is_answered_and_forwarded_and_its_hit_is_routed_back() {
    let home = Home::new();
    let share = home.share("share", &[("free bsd notes.txt", b"ports")]);
    let servent = home.start(&["--share", share.to_str().unwrap(), "--links", "0"]);
    let (mut a, mut b) = (servent.link(), servent.link());
    a.write_all(&descriptor(5, QUERY, 7, 0, &query("BSD fre"))).unwrap();
    let hit = read_kind(&mut a, QUERY_HIT);
    assert_eq!((&hit[..16], hit[17], hit[18]), (&[5; 16][..], 2, 0), "TTL is hops + 2");
    let forwarded = read_kind(&mut b, QUERY);
    assert_eq!((&forwarded[..16], forwarded[17], forwarded[18]), (&[5; 16][..], 6, 1));
    assert_eq!(forwarded[23..], query("BSD fre"));
    // The other link answers as well, with the payload of a real servent.
    let mut answer = hit.clone();
    let end = answer.len();
    answer[17] = 4;
    answer[end - 16..].fill(9);
    b.write_all(&answer).unwrap();
    let returned = read_kind(&mut a, QUERY_HIT);
    assert_eq!((returned[17], returned[18]), (3, 1));
    assert_eq!(returned[23..], answer[23..]);
}

#[test]
fn a_payload_length_out_of_bounds_ends_only_its_link() {
    let home = Home::new();
    let servent = home.start(&[]);
    let (mut bad, mut good) = (servent.link(), servent.link());
    let mut header = descriptor(1, QUERY, 7, 0, &[]);
    header[19..23].fill(0xff);
    bad.write_all(&header).unwrap();
    read_all(&mut bad);
    good.write_all(&descriptor(2, PING, 1, 0, &[])).unwrap();
    read_kind(&mut good, PONG);
}

#[test]
fn files_are_served_on_the_same_port_and_nothing_else_is() {
    let home = Home::new();
    std::fs::write(home.path("secret.txt"), "secret").unwrap();
    let share = home.share("share", &[("hello.txt", b"hello")]);
    let servent = home.start(&["--share", share.to_str().unwrap()]);
    let ask = |request: &str| {
        let mut stream = servent.dial();
        stream.write_all(format!("{request}\r\n\r\n").as_bytes()).unwrap();
        String::from_utf8(read_all(&mut stream)).unwrap()
    };
    let whole = ask("GET /get/1/hello.txt HTTP/1.0");
    assert!(whole.starts_with("HTTP/1.0 200") && whole.ends_with("\r\n\r\nhello"), "{whole}");
    let range = ask("GET /get/1/hello.txt/ HTTP/1.0\r\nRange: bytes=1-3");
    assert!(range.starts_with("HTTP/1.0 206") && range.ends_with("\r\n\r\nell"), "{range}");
    let head = ask("HEAD /get/0/hello.txt HTTP/1.0");
    assert!(head.starts_with("HTTP/1.0 200") && head.ends_with("\r\n\r\n"), "{head}");
    for path in ["/get/1/../../secret.txt", "/get/1/%2e%2e%2fsecret.txt", "/get/1//etc/passwd"] {
        let refused = ask(&format!("GET {path} HTTP/1.0"));
        assert!(refused.starts_with("HTTP/1.0 404"), "{path}: {refused}");
        assert!(!refused.contains("secret\n") && !refused.contains("root:"), "{refused}");
    }
}

/// A server that sends one of `replies` on each connection and closes it. Its URL, and the requests
/// it received.
fn scripted_server(replies: Vec<Vec<u8>>) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let serve = move || {
        let mut requests = Vec::new();
        for reply in replies {
            let (mut stream, _) = listener.accept().unwrap();
            requests.push(read_head(&mut stream));
            stream.write_all(&reply).unwrap();
        }
        requests
    };
    (format!("http://{addr}/get/3/two%20words.txt"), thread::spawn(serve))
}

#[test]
fn an_interrupted_download_is_kept_and_resumed() {
    let home = Home::new();
    let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello".to_vec();
    let rest = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhelloworld".to_vec();
    let (url, server) = scripted_server(vec![cut, rest]);
    let output = home.path("in");
    let args = ["get", &url, "--retry", "0", "--output", output.to_str().unwrap()];
    let first = home.run(&args);
    assert_code(&first, 1);
    assert_eq!(names_in(&output), ["two words.txt.10.part", "two words.txt.10.part.source"]);
    let kept = "two words.txt.10.part: 5 of 10 B kept; run the same command to resume";
    assert!(stderr(&first).contains(kept), "{}", stderr(&first));
    let second = home.run(&args);
    assert_code(&second, 0);
    assert_eq!(names_in(&output), ["two words.txt"]);
    assert_eq!(std::fs::read(output.join("two words.txt")).unwrap(), b"helloworld");
    server.join().unwrap();
}

#[test]
fn a_server_that_wants_raw_names_gets_the_raw_name_once() {
    let home = Home::new();
    let body = b"HTTP 200 OK\r\nContent-length: 2\r\n\r\nok".to_vec();
    let (url, server) = scripted_server(vec![Vec::new(), body]);
    let get = home.run(&["get", &url]);
    assert_code(&get, 0);
    let requests = server.join().unwrap();
    assert!(requests[0].starts_with("GET /get/3/two%20words.txt "), "{}", requests[0]);
    assert!(requests[1].starts_with("GET /get/3/two words.txt "), "{}", requests[1]);
}

#[test]
fn a_source_that_lies_about_the_size_is_caught() {
    let home = Home::new();
    let output = home.path("in");
    let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello".to_vec();
    let other = b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhellohello".to_vec();
    let (url, server) = scripted_server(vec![cut, other]);
    let args = ["get", &url, "--retry", "0", "--output", output.to_str().unwrap()];
    assert_code(&home.run(&args), 1);
    let other = home.run(&args);
    assert_code(&other, 7);
    assert!(stderr(&other).contains("kept; remove it to start anew"), "{}", stderr(&other));
    let left = names_in(&output);
    assert_eq!(left[0], "two words.txt.10.part");
    assert_eq!(std::fs::read(output.join(&left[0])).unwrap(), b"hello", "what was there is kept");
    server.join().unwrap();
}

#[test]
fn a_full_disk_ends_the_download_with_its_own_code_and_keeps_what_fits() {
    let home = Home::new();
    let big = vec![b'x'; 300_000];
    let share = home.share("share", &[("big.bin", &big)]);
    let servent = home.start(&["--share", share.to_str().unwrap()]);
    let exe = env!("CARGO_BIN_EXE_servent");
    // A limit of 64 blocks on file size, without its signal, acts as a full disk.
    let script = format!(
        "trap '' XFSZ; ulimit -f 64; exec {exe} get http://{}/get/1/big.bin --output in",
        servent.addr
    );
    let mut shell = std::process::Command::new("bash");
    let output = shell.args(["-c", &script]).current_dir(home.path("")).output().unwrap();
    assert_code(&output, 8);
    let left = ["big.bin.300000.part", "big.bin.300000.part.source"];
    assert_eq!(names_in(&home.path("in")), left);
    assert!(
        stderr(&output).contains("cannot write in/big.bin.300000.part: "),
        "{}",
        stderr(&output)
    );
    let again =
        home.run(&["get", &format!("http://{}/get/1/big.bin", servent.addr), "--output", "in"]);
    assert_code(&again, 0);
    assert!(std::fs::read(home.path("in/big.bin")).unwrap() == big, "the bytes differ");
}

#[test]
fn running_out_of_file_descriptors_delays_but_ends_nothing() {
    let home = Home::new();
    let exe = env!("CARGO_BIN_EXE_servent");
    let mut command = std::process::Command::new("bash");
    let script = format!("ulimit -n 24; exec {exe} run --listen 127.0.0.1:0 --state s");
    command.args(["-c", &script]).current_dir(home.path("")).env("RUST_LOG", "info");
    let mut servent = Running::start(command);
    let mut crowd: Vec<TcpStream> = (0..40).map(|_| servent.dial()).collect();
    servent.wait_for("cannot accept connections");
    crowd.clear();
    let mut late = servent.link();
    late.write_all(&descriptor(3, PING, 1, 0, &[])).unwrap();
    read_kind(&mut late, PONG);
}

#[test]
fn a_neighbour_that_stops_reading_costs_only_itself() {
    let home = Home::new();
    let servent = home.start(&["--links", "0"]);
    let (mut source, deaf, mut good) = (servent.link(), servent.link(), servent.link());
    let before = servent.resident_bytes();
    let reader = thread::spawn(move || {
        // The last Query is told by its text.
        loop {
            let descriptor = read_descriptor(&mut good);
            if descriptor[23..] == query("the end") {
                return;
            }
        }
    });
    let filler = query(&"x".repeat(200));
    for number in 0..40_000u32 {
        let mut flood = descriptor(0, QUERY, 7, 0, &filler);
        flood[..4].copy_from_slice(&number.to_le_bytes());
        source.write_all(&flood).unwrap();
    }
    // Repeated, as a full queue may refuse a copy.
    let mut number = 1_000_000u32;
    eventually("the last Query at the good neighbour", || {
        number += 1;
        let mut last = descriptor(0, QUERY, 7, 0, &query("the end"));
        last[..4].copy_from_slice(&number.to_le_bytes());
        source.write_all(&last).unwrap();
        reader.is_finished().then_some(())
    });
    reader.join().unwrap();
    let grown = servent.resident_bytes().saturating_sub(before);
    assert!(grown < 24 * 1024 * 1024, "{grown} bytes more");
    drop(deaf);
}
