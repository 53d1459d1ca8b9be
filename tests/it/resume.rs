//! Real processes and downloads that go on: bytes of two files are never joined, whatever their
//! sources call them.

use crate::process::{Place, assert_code, lines, names_in, told};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Output;
use std::thread;

const BYTES: usize = 400_000;

/// A file of which no two stretches are the same, other for each seed.
fn content(seed: u32) -> Vec<u8> {
    (0..).flat_map(|n: u32| (n ^ seed.rotate_left(20)).to_le_bytes()).take(BYTES).collect()
}

fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read_exact(&mut byte).is_err() {
            break;
        }
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// A source that gives half of a file to the first who asks, and hangs up. Its URL.
fn half_of(bytes: &[u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/get/3/song.ogg", listener.local_addr().unwrap());
    let half = bytes[..bytes.len() / 2].to_vec();
    let size = bytes.len();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        read_head(&mut stream);
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n").unwrap();
        stream.write_all(&half).unwrap();
    });
    url
}

/// A source that ignores ranges, as GNU Serveez does. Its URL.
fn whole_of(bytes: &[u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/get/3/song.ogg", listener.local_addr().unwrap());
    let bytes = bytes.to_vec();
    // Ends with the test.
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            read_head(&mut stream);
            let _ = write!(stream, "HTTP 200 OK\r\nContent-length: {}\r\n\r\n", bytes.len());
            let _ = stream.write_all(&bytes);
        }
    });
    url
}

fn get(place: &Place, url: &str) -> Output {
    place.run(&["get", url, "--output", "in", "--retry", "0"])
}

/// Half of the file with this content is here.
fn with_half(seed: u32) -> Place {
    let place = Place::new();
    let broken = get(&place, &half_of(&content(seed)));
    assert_code(&broken, 1);
    assert!(told(&broken).contains("195.31 of 390.62 KiB kept"), "{}", told(&broken));
    let left = ["song.ogg.400000.part", "song.ogg.400000.part.source"];
    assert_eq!(names_in(&place.path("in")), left);
    place
}

#[track_caller]
fn assert_saved(place: &Place, output: &Output, content: &[u8]) {
    assert_code(output, 0);
    assert!(fs::read(place.path("in/song.ogg")).unwrap() == content, "the bytes differ");
}

#[test]
fn the_same_file_of_another_source_is_joined_and_that_is_told() {
    for ranges in [true, false] {
        let place = with_half(1);
        let share = place.share("share", &[("song.ogg", &content(1))]);
        let servent = place.start(&["--share", share.to_str().unwrap()]);
        let url = match ranges {
            true => format!("http://{}/get/1/song.ogg", servent.addr),
            false => whole_of(&content(1)),
        };
        let output = get(&place, &url);
        assert_saved(&place, &output, &content(1));
        assert!(told(&output).contains("going on with \"song.ogg\""), "{}", told(&output));
        assert!(told(&output).contains("joined from 2 sources"), "{}", told(&output));
        assert_eq!(names_in(&place.path("in")), ["song.ogg"]);
    }
}

/// The same name, the same size, other bytes.
#[test]
fn another_file_of_the_same_name_and_size_is_fetched_anew() {
    for ranges in [true, false] {
        let place = with_half(1);
        let share = place.share("share", &[("song.ogg", &content(2))]);
        let servent = place.start(&["--share", share.to_str().unwrap()]);
        let url = match ranges {
            true => format!("http://{}/get/1/song.ogg", servent.addr),
            false => whole_of(&content(2)),
        };
        let output = get(&place, &url);
        assert_saved(&place, &output, &content(2));
        assert!(!told(&output).contains("joined"), "{}", told(&output));
        let old = ["song.ogg", "song.ogg.400000.old.part", "song.ogg.400000.old.part.source"];
        assert_eq!(names_in(&place.path("in")), old);
        let kept = fs::read(place.path("in/song.ogg.400000.old.part")).unwrap();
        assert!(kept == content(1)[..BYTES / 2], "what was here is kept");
    }
}

/// The overlap agrees, but what lies before it does not: a source that sends everything is compared
/// from its first byte.
#[test]
fn a_source_without_ranges_is_compared_with_all_that_is_here() {
    let place = with_half(1);
    let mut other = content(1);
    other[7] ^= 1;
    let output = get(&place, &whole_of(&other));
    assert_saved(&place, &output, &other);
}

#[test]
fn a_file_that_changed_at_its_source_is_fetched_anew() {
    let place = Place::new();
    let share = place.share("share", &[("song.ogg", &content(1))]);
    let servent = place.start(&["--share", share.to_str().unwrap(), "--upload-limit", "1k"]);
    let url = format!("http://{}/get/1/song.ogg", servent.addr);
    let mut command = place.command();
    command.args(["get", &url, "--output", "in"]);
    let mut first = command.spawn().unwrap();
    crate::process::eventually("some bytes", || {
        let partial = fs::metadata(place.path("in/song.ogg.400000.part")).ok()?;
        (partial.len() > 0).then_some(())
    });
    first.kill().unwrap();
    first.wait().unwrap();
    fs::write(share.join("song.ogg"), content(2)).unwrap();
    drop(servent);
    let servent = place.start(&["--share", share.to_str().unwrap()]);
    let url = format!("http://{}/get/1/song.ogg", servent.addr);
    assert_saved(&place, &get(&place, &url), &content(2));
}

#[test]
fn a_finished_download_is_never_taken_for_a_partial_one() {
    let place = Place::new();
    let files: [(&str, &[u8]); 3] =
        [("x", b"0123456789"), ("x.10.part_", b"mine"), ("x.10.part.source_", b"{}")];
    let share = place.share("share", &files);
    let servent = place.start(&["--share", share.to_str().unwrap()]);
    // What a hostile or unlucky source may call its files.
    let url = |index: u32, name: &str| format!("http://{}/get/{index}/{name}", servent.addr);
    let listener = whole_of(b"0123");
    for name in ["x.10.part", "x.10.part.source"] {
        let bad = listener.replace("song.ogg", name);
        assert_code(&get(&place, &bad), 0);
    }
    assert_eq!(names_in(&place.path("in")), ["x.10.part.source_", "x.10.part_"]);
    // And what lies there for other reasons.
    fs::write(place.path("in/x.10.part"), "01234").unwrap();
    assert_code(&get(&place, &url(1, "x")), 0);
    assert_eq!(fs::read(place.path("in/x")).unwrap(), b"0123456789");
    assert_eq!(fs::read(place.path("in/x.10.part")).unwrap(), b"01234");
    assert_eq!(fs::read(place.path("in/x.10.part_")).unwrap(), b"0123");
}

#[test]
fn what_is_complete_is_already_here() {
    let place = Place::new();
    let share = place.share("share", &[("song.ogg", &content(1))]);
    let servent = place.start(&["--share", share.to_str().unwrap()]);
    let url = format!("http://{}/get/1/song.ogg", servent.addr);
    assert_code(&get(&place, &url), 0);
    for url in [&url, &whole_of(&content(1))] {
        let again = get(&place, url);
        assert_saved(&place, &again, &content(1));
        assert!(told(&again).contains("already here: in/song.ogg"), "{}", told(&again));
        assert_eq!(lines(&again), ["in/song.ogg"]);
        assert_eq!(names_in(&place.path("in")), ["song.ogg"]);
    }
    // One byte in the middle: seen where the source sends everything.
    let mut other = content(1);
    other[BYTES / 2] ^= 1;
    assert_code(&get(&place, &whole_of(&other)), 0);
    assert_eq!(names_in(&place.path("in")), ["song (2).ogg", "song.ogg"]);
    assert!(fs::read(place.path("in/song (2).ogg")).unwrap() == other);
}

#[test]
fn two_copies_of_a_file_are_one_download() {
    let place = Place::new();
    let (one, two) = (
        place.share("one", &[("song.ogg", &content(1)), ("song b.ogg", b"b")]),
        place.share("two", &[("song.ogg", &content(1))]),
    );
    let first = place.start(&["--links", "0", "--share", one.to_str().unwrap()]);
    let host = first.host();
    let mut second =
        place.start(&["--links", "0", "--connect", &host, "--share", two.to_str().unwrap()]);
    second.wait_for("joined");
    let args = ["search", "song", "--connect", &host, "--get", "all"];
    let search = || place.command().args(args).args(["--output", "in"]).output().unwrap();
    assert_code(&search(), 0);
    assert_eq!(names_in(&place.path("in")), ["song b.ogg", "song.ogg"]);
    let again = search();
    assert_code(&again, 0);
    assert_eq!(told(&again).matches("already here").count(), 2, "{}", told(&again));
    assert_eq!(names_in(&place.path("in")), ["song b.ogg", "song.ogg"]);
}
