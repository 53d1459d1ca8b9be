//! Shared folders that change under a running servent.

use crate::process::{Home, Running, descriptor, eventually, query, read_descriptor};
use rustix::process::Signal;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

const PING: u8 = 0x00;
const QUERY: u8 = 0x80;

fn start(home: &Home, share: &Path, args: &[&str]) -> Running {
    home.start(&[&["--links", "0", "--share", share.to_str().unwrap()], args].concat())
}

/// The answers to a search: all that arrives before the Pong for the Ping behind it.
fn answer(servent: &Running, words: &str) -> Vec<u8> {
    let mut link = servent.link();
    let mut asked = descriptor(0, QUERY, 1, 0, &query(words));
    // A GUID used before would be a duplicate.
    asked[..16].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    let mut ping = descriptor(0, PING, 1, 0, &[]);
    ping[..16].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    asked.extend_from_slice(&ping);
    link.write_all(&asked).unwrap();
    let mut bytes = Vec::new();
    loop {
        let next = read_descriptor(&mut link);
        if next[..16] == ping[..16] {
            return bytes;
        }
        bytes.extend_from_slice(&next);
    }
}

/// The size in the result for `name`, if a search for it finds it.
fn size_of(servent: &Running, name: &str) -> Option<u32> {
    let bytes = answer(servent, name);
    let needle = [name.as_bytes(), &[0]].concat();
    let at = bytes.windows(needle.len()).rposition(|window| window == needle)?;
    // The Query itself is not returned; a result has its size before the name.
    Some(u32::from_le_bytes(bytes[at - 4..at].try_into().unwrap()))
}

#[track_caller]
fn eventually_found(servent: &Running, name: &str, size: Option<u32>) {
    eventually(&format!("{name} with {size:?} bytes"), || {
        (size_of(servent, name) == size).then_some(())
    });
}

#[test]
fn what_is_added_changed_moved_or_removed_is_found() {
    let home = Home::new();
    let share = home.share("share", &[("first.txt", b"1"), ("stays.txt", b"12")]);
    let aside = home.share("aside", &[("whole.txt", b"1234")]);
    let servent = start(&home, &share, &[]);
    assert_eq!(size_of(&servent, "first.txt"), Some(1), "at the start all is shared at once");

    fs::write(share.join("added.txt"), "123").unwrap();
    eventually_found(&servent, "added.txt", Some(3));
    fs::write(share.join("added.txt"), "12345").unwrap();
    eventually_found(&servent, "added.txt", Some(5));
    fs::rename(share.join("added.txt"), share.join("renamed.txt")).unwrap();
    eventually_found(&servent, "renamed.txt", Some(5));
    assert_eq!(size_of(&servent, "added.txt"), None);
    fs::rename(aside.join("whole.txt"), share.join("whole.txt")).unwrap();
    eventually_found(&servent, "whole.txt", Some(4));
    fs::remove_file(share.join("first.txt")).unwrap();
    eventually_found(&servent, "first.txt", None);
    assert_eq!(size_of(&servent, "stays.txt"), Some(2));
}

#[test]
fn new_folders_are_live_too() {
    let home = Home::new();
    let share = home.share("share", &[]);
    let servent = start(&home, &share, &[]);
    fs::create_dir_all(share.join("one/two")).unwrap();
    fs::write(share.join("one/two/deep.txt"), "1").unwrap();
    eventually_found(&servent, "deep.txt", Some(1));
    fs::write(share.join("one/two/later.txt"), "12").unwrap();
    eventually_found(&servent, "later.txt", Some(2));
    fs::rename(share.join("one"), share.join("uno")).unwrap();
    fs::write(share.join("uno/two/last.txt"), "123").unwrap();
    eventually_found(&servent, "last.txt", Some(3));
    fs::remove_dir_all(share.join("uno")).unwrap();
    eventually_found(&servent, "deep.txt", None);
}

#[test]
fn a_growing_file_is_shared_once_it_settles() {
    let home = Home::new();
    let share = home.share("share", &[]);
    let servent = start(&home, &share, &[]);
    let mut file = File::create(share.join("growing.bin")).unwrap();
    let (begun, mut written_at, mut len) = (Instant::now(), Instant::now(), 0);
    let mut longest_rest = Duration::ZERO;
    while begun.elapsed() < Duration::from_millis(2_500) {
        file.write_all(&[7; 100]).unwrap();
        len += 100;
        longest_rest = longest_rest.max(written_at.elapsed());
        written_at = Instant::now();
        if size_of(&servent, "growing.bin").is_some() {
            // Or this machine paused between two writes for so long that the file had settled.
            longest_rest = longest_rest.max(written_at.elapsed());
            assert!(longest_rest > Duration::from_millis(900), "it is still being written");
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    // It settles without being closed.
    eventually_found(&servent, "growing.bin", Some(len));
    drop(file);
}

#[test]
fn hup_shares_even_what_was_just_written() {
    let home = Home::new();
    let share = home.share("share", &[]);
    let mut servent = start(&home, &share, &[]);
    let mut file = File::create(share.join("growing.bin")).unwrap();
    file.write_all(&[7; 100]).unwrap();
    // Keeps the file from settling until the end.
    let (stop, stopped) = mpsc::channel::<()>();
    let writer = thread::spawn(move || {
        while stopped.recv_timeout(Duration::from_millis(20)) == Err(RecvTimeoutError::Timeout) {
            file.write_all(&[7; 100]).unwrap();
        }
    });
    servent.signal(Signal::HUP);
    servent.wait_for("sharing 1 file");
    drop(stop);
    writer.join().unwrap();
}

#[test]
fn globs_and_the_limit_say_what_is_shared() {
    let home = Home::new();
    let share = home.share(
        "share",
        &[("a.ogg", b"1"), ("b.OGG", b"2"), ("c.txt", b"3"), ("x draft.ogg", b"4")],
    );
    fs::create_dir(share.join("Private")).unwrap();
    fs::write(share.join("Private/d.ogg"), "5").unwrap();
    let args = ["--include", "*.ogg", "--exclude", "private", "--exclude", "*draft*"];
    let mut servent = start(&home, &share, &args);
    servent.wait_for("sharing 2 files (2 B); skipped: 3 excluded");
    fs::write(share.join("Private/e.ogg"), "6").unwrap();
    fs::write(share.join("f.ogg"), "7").unwrap();
    eventually_found(&servent, "f.ogg", Some(1));
    assert_eq!(size_of(&servent, "e.ogg"), None);
    assert_eq!(size_of(&servent, "b.OGG"), Some(1));

    let mut limited = start(&home, &share, &["--max-files", "2"]);
    limited.wait_for("sharing 2 files");
    limited.wait_for("5 more files are left out: --max-files is 2");
}

#[test]
fn an_upload_survives_scans_and_the_removal_of_its_file() {
    let home = Home::new();
    let big: Vec<u8> = (0..4_000_000u32).flat_map(|n| n.to_le_bytes()).collect();
    let share = home.share("share", &[("big.bin", &big)]);
    let servent = start(&home, &share, &[]);
    let mut stream = servent.dial();
    stream.write_all(b"GET /get/1/big.bin HTTP/1.0\r\n\r\n").unwrap();
    let mut got = vec![0; 1000];
    stream.read_exact(&mut got).unwrap();
    fs::remove_file(share.join("big.bin")).unwrap();
    fs::write(share.join("other.txt"), "1").unwrap();
    eventually_found(&servent, "other.txt", Some(1));
    eventually_found(&servent, "big.bin", None);
    stream.read_to_end(&mut got).unwrap();
    assert!(got.ends_with(&big), "{} bytes of {}", got.len(), big.len());
}

#[test]
fn twenty_thousand_new_files_do_not_stop_forwarding() {
    let home = Home::new();
    let share = home.share("share", &[]);
    let servent = start(&home, &share, &[]);
    let (mut source, mut sink) = (servent.link(), servent.link());
    let writer = thread::spawn({
        let share = share.clone();
        move || {
            for number in 0..20_000 {
                fs::write(share.join(format!("dropped {number}.txt")), "").unwrap();
            }
        }
    });
    let mut number = 0u32;
    eventually("the last of the files", || {
        for _ in 0..100 {
            number += 1;
            let text = format!("passing {number}");
            let mut passing = descriptor(0, QUERY, 7, 0, &query(&text));
            passing[..4].copy_from_slice(&number.to_le_bytes());
            source.write_all(&passing).unwrap();
            while read_descriptor(&mut sink)[23..] != query(&text) {}
        }
        size_of(&servent, "dropped 19999.txt")
    });
    writer.join().unwrap();
}
