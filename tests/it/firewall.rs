//! Transfers between real processes under difficulties: unreachable sources, interruptions, several
//! at a time, and files that change during an upload.

use crate::process::{Home, Running, assert_code, eventually, lines, names_in, read_head, stderr};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::thread;

/// A port of 127.0.0.1 on which nobody listens.
fn dead_end() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[test]
fn a_source_that_cannot_be_reached_is_pushed_across_the_network() {
    let home = Home::new();
    let bytes: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
    let share = home.share("share", &[("behind the wall.bin", &bytes)]);
    let near = home.start(&["--links", "0"]);
    let mut between = home.start(&["--links", "0", "--connect", &near.host()]);
    between.wait_for("joined");
    let mut far = home.start(&[
        "--links",
        "0",
        "--connect",
        &between.host(),
        "--advertise",
        &dead_end(),
        "--share",
        share.to_str().unwrap(),
    ]);
    far.wait_for("joined");
    let args = ["search", "behind wall", "--connect", &near.host(), "--get", "first"];
    let search = home.command().args(args).args(["--output", "in"]).output().unwrap();
    assert_code(&search, 0);
    assert!(stderr(&search).contains("to connect to us"), "{}", stderr(&search));
    assert!(!lines(&search)[0].contains(&far.host()), "the hit names the dead end");
    assert_eq!(names_in(&home.path("in")), ["behind the wall.bin"]);
    assert!(fs::read(home.path("in/behind the wall.bin")).unwrap() == bytes, "the bytes differ");
}

#[test]
fn twelve_files_behind_a_firewall_are_fetched_over_few_connections() {
    let home = Home::new();
    let files: Vec<(String, Vec<u8>)> =
        (1..=12).map(|n| (format!("wall {n:02}.bin"), vec![n; 50_000])).collect();
    let shared: Vec<(&str, &[u8])> =
        files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    let share = home.share("share", &shared);
    let near = home.start(&["--links", "0"]);
    let args = ["--links", "0", "--connect", &near.host(), "--advertise", &dead_end()];
    let mut far = home.start(&[&args[..], &["--share", share.to_str().unwrap()]].concat());
    far.wait_for("joined");
    let args = ["search", "wall", "--connect", &near.host(), "--get", "all", "--output", "in"];
    let search = home.run(&args);
    assert_code(&search, 0);
    assert_eq!(names_in(&home.path("in")), shared.iter().map(|file| file.0).collect::<Vec<_>>());
    let pushes = stderr(&search).matches("to connect to us").count();
    assert!((1..=3).contains(&pushes), "{pushes} Pushes: {}", stderr(&search));
}

#[test]
fn an_interrupted_get_leaves_one_partial_and_goes_on_from_there() {
    let home = Home::new();
    let bytes: Vec<u8> = (0..50_000u32).flat_map(u32::to_le_bytes).collect();
    let (listener, served) = (TcpListener::bind("127.0.0.1:0").unwrap(), bytes.clone());
    let url = format!("http://{}/get/3/long%20song.ogg", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let size = served.len();
        let (mut first, _) = listener.accept().unwrap();
        read_head(&mut first);
        write!(first, "HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n").unwrap();
        first.write_all(&served[..size / 2]).unwrap();
        // The rest is never sent; this returns when the reader closes.
        let _ = first.read(&mut [0]);
        let (mut second, _) = listener.accept().unwrap();
        let request = read_head(&mut second);
        let from = request.split("Range: bytes=").nth(1).and_then(|rest| rest.split('-').next());
        let from: usize = from.expect("a range").parse().unwrap();
        let range = format!("bytes {from}-{}/{size}", size - 1);
        write!(second, "HTTP/1.1 206 P\r\nContent-Range: {range}\r\n\r\n").unwrap();
        second.write_all(&served[from..]).unwrap();
        from
    });
    let args = ["get", &url, "--output", "in"];
    let mut get = home.command();
    let get = get.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let partial = home.path("in/long song.ogg.200000.part");
    eventually("half of the file in the partial", || {
        fs::metadata(&partial).ok().filter(|meta| meta.len() >= 100_000)
    });
    kill_process(Pid::from_child(&get), Signal::INT).unwrap();
    let get = get.wait_with_output().unwrap();
    assert_code(&get, 130);
    let left = ["long song.ogg.200000.part", "long song.ogg.200000.part.source"];
    assert_eq!(names_in(&home.path("in")), left);
    assert!(stderr(&get).contains("long song.ogg.200000.part: "), "{}", stderr(&get));
    assert_code(&home.run(&args), 0);
    assert_eq!(names_in(&home.path("in")), ["long song.ogg"]);
    assert!(fs::read(home.path("in/long song.ogg")).unwrap() == bytes, "the bytes differ");
    assert_eq!(server.join().unwrap(), 100_000 - 64 * 1024, "what is asked for again");
}

#[test]
fn five_urls_are_fetched_three_at_a_time() {
    let home = Home::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let answer = |mut stream: TcpStream, request: &str| {
        let name = request.split(['/', ' ']).nth(4).unwrap().to_owned();
        let size = name.len();
        write!(stream, "HTTP/1.0 200 OK\r\nContent-Length: {size}\r\n\r\n{name}").unwrap();
    };
    let server = thread::spawn(move || {
        let accept = || {
            let (mut stream, _) = listener.accept().unwrap();
            let request = read_head(&mut stream);
            (stream, request)
        };
        // No answer is sent before three requests are in.
        let waiting: Vec<_> = (0..3).map(|_| accept()).collect();
        listener.set_nonblocking(true).unwrap();
        let fourth = listener.accept().map(|_| ()).map_err(|error| error.kind());
        listener.set_nonblocking(false).unwrap();
        waiting.into_iter().for_each(|(stream, request)| answer(stream, &request));
        for _ in 3..5 {
            let (stream, request) = accept();
            answer(stream, &request);
        }
        fourth
    });
    let names = ["a.txt", "b.txt", "c.txt", "d.txt", "e.txt"];
    let urls = names.map(|name| format!("http://{addr}/get/1/{name}"));
    let get = home.command().arg("get").args(&urls).args(["--output", "in"]).output().unwrap();
    assert_code(&get, 0);
    let mut paths = lines(&get);
    paths.sort();
    assert_eq!(paths, names.map(|name| format!("in/{name}")));
    assert_eq!(names_in(&home.path("in")), names);
    for name in names {
        assert_eq!(fs::read_to_string(home.path("in").join(name)).unwrap(), name);
    }
    assert_eq!(server.join().unwrap(), Err(ErrorKind::WouldBlock), "a fourth at the same time");
}

#[test]
fn a_search_can_fetch_all_it_finds() {
    let home = Home::new();
    let files: Vec<(String, Vec<u8>)> =
        (1..=7).map(|n| (format!("holiday {n}.jpg"), vec![n; 10_000])).collect();
    let files: Vec<(&str, &[u8])> =
        files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    let (one, two) = (home.share("one", &files[..4]), home.share("two", &files[4..]));
    let first = home.start(&["--links", "0", "--share", one.to_str().unwrap()]);
    let host = first.host();
    let mut second =
        home.start(&["--links", "0", "--connect", &host, "--share", two.to_str().unwrap()]);
    second.wait_for("joined");
    let args = ["search", "holiday", "--connect", &host, "--wait", "1", "--get", "all"];
    let search = home.command().args(args).args(["--output", "in"]).output().unwrap();
    assert_code(&search, 0);
    assert_eq!(names_in(&home.path("in")), files.iter().map(|file| file.0).collect::<Vec<_>>());
    for (name, bytes) in files {
        assert!(fs::read(home.path("in").join(name)).unwrap() == bytes, "{name}");
    }
}

/// More than the sockets between two processes hold.
const BIG_BYTES: usize = 48 << 20;

/// The body of an upload of a big file of `a`s to which `change`, given its path, happens once the
/// head and a little of the body are read.
fn body_while(change: impl FnOnce(&std::path::Path)) -> Vec<u8> {
    let home = Home::new();
    let share = home.share("share", &[("big.bin", &vec![b'a'; BIG_BYTES])]);
    let servent = home.start(&["--share", share.to_str().unwrap()]);
    let mut reader = ask_for_big(&servent);
    let mut body = vec![0; 64 * 1024];
    reader.read_exact(&mut body).unwrap();
    change(&share.join("big.bin"));
    reader.read_to_end(&mut body).unwrap();
    // The servent goes on after the upload.
    servent.link();
    body
}

fn ask_for_big(servent: &Running) -> TcpStream {
    let mut reader = servent.dial();
    reader.write_all(b"GET /get/1/big.bin HTTP/1.0\r\n\r\n").unwrap();
    let head = read_head(&mut reader);
    assert!(head.contains(&format!("Content-Length: {BIG_BYTES}\r\n")), "{head}");
    reader
}

#[test]
fn a_file_that_is_truncated_ends_its_upload_early() {
    // Truncated to 0: when a page that is queued in a socket is truncated in its middle, the kernel
    // zeroes its rest.
    let body = body_while(|path| {
        fs::OpenOptions::new().write(true).open(path).unwrap().set_len(0).unwrap();
    });
    assert!(body.len() < BIG_BYTES, "what is gone cannot be sent");
    assert!(body.iter().all(|&byte| byte == b'a'), "nothing stands in for what is gone");
}

/// As `cp` does it: the same file, the same size, other bytes.
#[test]
fn a_file_that_is_overwritten_ends_its_upload_early() {
    let body = body_while(|path| fs::write(path, vec![b'b'; BIG_BYTES]).unwrap());
    assert!(body.len() < BIG_BYTES, "what was there is gone");
    assert!(body.iter().all(|&byte| byte == b'a'), "another file's bytes were sent");
}

#[test]
fn a_file_that_is_replaced_or_renamed_is_sent_as_it_was() {
    let replaced = body_while(|path| {
        let other = path.with_extension("new");
        fs::write(&other, vec![b'b'; BIG_BYTES]).unwrap();
        fs::rename(&other, path).unwrap();
    });
    assert!(replaced == vec![b'a'; BIG_BYTES], "{} bytes", replaced.len());
    let renamed = body_while(|path| fs::rename(path, path.with_extension("old")).unwrap());
    assert!(renamed == vec![b'a'; BIG_BYTES], "{} bytes", renamed.len());
    let removed = body_while(|path| fs::remove_file(path).unwrap());
    assert!(removed == vec![b'a'; BIG_BYTES], "{} bytes", removed.len());
}
