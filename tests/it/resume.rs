//! Downloads of real processes that resume: bytes of two different files are never joined, even
//! under one name.

use crate::process::{Home, assert_code, lines, names_in, read_head, stderr};
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::process::Output;
use std::thread;

const BYTES: usize = 400_000;

/// A file without repetitions, different for each seed.
fn content(seed: u32) -> Vec<u8> {
    (0..).flat_map(|n: u32| (n ^ seed.rotate_left(20)).to_le_bytes()).take(BYTES).collect()
}

/// A source that answers its first request with half of a file and closes. Its URL.
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

fn get(home: &Home, url: &str) -> Output {
    home.run(&["get", url, "--output", "in", "--retry", "0"])
}

/// A home with half of the file with this content.
fn with_half(seed: u32) -> Home {
    let home = Home::new();
    let broken = get(&home, &half_of(&content(seed)));
    assert_code(&broken, 1);
    assert!(stderr(&broken).contains("195.31 of 390.62 KiB kept"), "{}", stderr(&broken));
    let left = ["song.ogg.400000.part", "song.ogg.400000.part.source"];
    assert_eq!(names_in(&home.path("in")), left);
    home
}

#[track_caller]
fn assert_saved(home: &Home, output: &Output, content: &[u8]) {
    assert_code(output, 0);
    assert!(fs::read(home.path("in/song.ogg")).unwrap() == content, "the bytes differ");
}

#[test]
fn the_same_file_of_another_source_is_joined_and_that_is_said() {
    for ranges in [true, false] {
        let home = with_half(1);
        let share = home.share("share", &[("song.ogg", &content(1))]);
        let servent = home.start(&["--share", share.to_str().unwrap()]);
        let url = match ranges {
            true => format!("http://{}/get/1/song.ogg", servent.addr),
            false => whole_of(&content(1)),
        };
        let output = get(&home, &url);
        assert_saved(&home, &output, &content(1));
        assert!(stderr(&output).contains("going on with \"song.ogg\""), "{}", stderr(&output));
        assert!(stderr(&output).contains("joined from 2 sources"), "{}", stderr(&output));
        assert_eq!(names_in(&home.path("in")), ["song.ogg"]);
    }
}

/// The same name, the same size, other bytes.
#[test]
fn another_file_of_the_same_name_and_size_is_fetched_anew() {
    for ranges in [true, false] {
        let home = with_half(1);
        let share = home.share("share", &[("song.ogg", &content(2))]);
        let servent = home.start(&["--share", share.to_str().unwrap()]);
        let url = match ranges {
            true => format!("http://{}/get/1/song.ogg", servent.addr),
            false => whole_of(&content(2)),
        };
        let output = get(&home, &url);
        assert_saved(&home, &output, &content(2));
        assert!(!stderr(&output).contains("joined"), "{}", stderr(&output));
        let old = ["song.ogg", "song.ogg.400000.old.part", "song.ogg.400000.old.part.source"];
        assert_eq!(names_in(&home.path("in")), old);
        let kept = fs::read(home.path("in/song.ogg.400000.old.part")).unwrap();
        assert!(kept == content(1)[..BYTES / 2], "what was here is kept");
    }
}

/// The overlap agrees, but what lies before it does not: a source that sends everything is compared
/// from its first byte.
#[test]
fn a_source_without_ranges_is_compared_with_all_that_is_here() {
    let home = with_half(1);
    let mut other = content(1);
    other[7] ^= 1;
    let output = get(&home, &whole_of(&other));
    assert_saved(&home, &output, &other);
}

#[test]
fn a_file_that_changed_at_its_source_is_fetched_anew() {
    let home = Home::new();
    let share = home.share("share", &[("song.ogg", &content(1))]);
    let servent = home.start(&["--share", share.to_str().unwrap(), "--upload-limit", "1k"]);
    let url = format!("http://{}/get/1/song.ogg", servent.addr);
    let mut command = home.command();
    command.args(["get", &url, "--output", "in"]);
    let mut first = command.spawn().unwrap();
    crate::process::eventually("some bytes", || {
        let partial = fs::metadata(home.path("in/song.ogg.400000.part")).ok()?;
        (partial.len() > 0).then_some(())
    });
    first.kill().unwrap();
    first.wait().unwrap();
    fs::write(share.join("song.ogg"), content(2)).unwrap();
    drop(servent);
    let servent = home.start(&["--share", share.to_str().unwrap()]);
    let url = format!("http://{}/get/1/song.ogg", servent.addr);
    assert_saved(&home, &get(&home, &url), &content(2));
}

#[test]
fn a_finished_download_is_never_taken_for_a_partial_one() {
    let home = Home::new();
    let files: [(&str, &[u8]); 3] =
        [("x", b"0123456789"), ("x.10.part_", b"mine"), ("x.10.part.source_", b"{}")];
    let share = home.share("share", &files);
    let servent = home.start(&["--share", share.to_str().unwrap()]);
    // Names that a source may choose by malice or accident.
    let url = |index: u32, name: &str| format!("http://{}/get/{index}/{name}", servent.addr);
    let listener = whole_of(b"0123");
    for name in ["x.10.part", "x.10.part.source"] {
        let bad = listener.replace("song.ogg", name);
        assert_code(&get(&home, &bad), 0);
    }
    assert_eq!(names_in(&home.path("in")), ["x.10.part.source_", "x.10.part_"]);
    // And a file of such a name that is no partial download.
    fs::write(home.path("in/x.10.part"), "01234").unwrap();
    assert_code(&get(&home, &url(1, "x")), 0);
    assert_eq!(fs::read(home.path("in/x")).unwrap(), b"0123456789");
    assert_eq!(fs::read(home.path("in/x.10.part")).unwrap(), b"01234");
    assert_eq!(fs::read(home.path("in/x.10.part_")).unwrap(), b"0123");
}

#[test]
fn what_is_complete_is_already_here() {
    let home = Home::new();
    let share = home.share("share", &[("song.ogg", &content(1))]);
    let servent = home.start(&["--share", share.to_str().unwrap()]);
    let url = format!("http://{}/get/1/song.ogg", servent.addr);
    assert_code(&get(&home, &url), 0);
    for url in [&url, &whole_of(&content(1))] {
        let again = get(&home, url);
        assert_saved(&home, &again, &content(1));
        assert!(stderr(&again).contains("already here: in/song.ogg"), "{}", stderr(&again));
        assert_eq!(lines(&again), ["in/song.ogg"]);
        assert_eq!(names_in(&home.path("in")), ["song.ogg"]);
    }
    // One byte differs in the middle: found where the source sends the whole file.
    let mut other = content(1);
    other[BYTES / 2] ^= 1;
    assert_code(&get(&home, &whole_of(&other)), 0);
    assert_eq!(names_in(&home.path("in")), ["song (2).ogg", "song.ogg"]);
    assert!(fs::read(home.path("in/song (2).ogg")).unwrap() == other);
}

#[test]
fn two_copies_of_a_file_are_one_download() {
    let home = Home::new();
    let (one, two) = (
        home.share("one", &[("song.ogg", &content(1)), ("song b.ogg", b"b")]),
        home.share("two", &[("song.ogg", &content(1))]),
    );
    let first = home.start(&["--links", "0", "--share", one.to_str().unwrap()]);
    let host = first.host();
    let mut second =
        home.start(&["--links", "0", "--connect", &host, "--share", two.to_str().unwrap()]);
    second.wait_for("joined");
    let args = ["search", "song", "--connect", &host, "--get", "all"];
    let search = || home.command().args(args).args(["--output", "in"]).output().unwrap();
    assert_code(&search(), 0);
    assert_eq!(names_in(&home.path("in")), ["song b.ogg", "song.ogg"]);
    let again = search();
    assert_code(&again, 0);
    assert_eq!(stderr(&again).matches("already here").count(), 2, "{}", stderr(&again));
    assert_eq!(names_in(&home.path("in")), ["song b.ogg", "song.ogg"]);
}
