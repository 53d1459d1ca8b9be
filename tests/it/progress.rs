//! Downloads on a terminal: progress bars leave whole lines behind, and the speed counts from where
//! a download resumes.
#![cfg(target_os = "linux")]

use crate::process::{Home, assert_code};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

const COLUMNS: usize = 120;

/// Runs `servent get` on a terminal; all that it wrote there.
fn get_on_terminal(home: &Home, args: &[&str]) -> String {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let columns = u16::try_from(COLUMNS).unwrap();
    let size = Winsize { ws_row: 40, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&master, size).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let line = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    let reader = thread::spawn(move || {
        let (mut master, mut written) = (File::from(master), Vec::new());
        // Ends with an error when the last handle of the other end closes.
        let _ = master.read_to_end(&mut written);
        String::from_utf8_lossy(&written).into_owned()
    });
    let mut command = home.command();
    command.arg("get").args(args).args(["--output", "in"]).env("TERM", "xterm");
    command.stdout(line.try_clone().unwrap()).stderr(line);
    let status = command.status().unwrap();
    // The command holds handles of the terminal.
    drop(command);
    assert!(status.success(), "{status}");
    reader.join().unwrap()
}

/// The lines left on the screen, by the control sequences that progress bars use.
fn screen(written: &str) -> Vec<String> {
    let (mut rows, mut row, mut column) = (vec![Vec::new()], 0usize, 0usize);
    let mut rest = written.chars();
    while let Some(c) = rest.next() {
        match c {
            '\r' => column = 0,
            '\n' => row += 1,
            '\u{1b}' => {
                let code: String = rest.by_ref().skip(1).take_while_inclusive_letter();
                let (number, letter) = code.split_at(code.len() - 1);
                let number = number.parse().unwrap_or(1);
                match letter {
                    "A" => row -= number,
                    "B" => row += number,
                    "K" => rows[row].clear(),
                    _ => {}
                }
            }
            c => {
                if column == COLUMNS {
                    (row, column) = (row + 1, 0);
                }
                rows.resize(rows.len().max(row + 1), Vec::new());
                let line: &mut Vec<char> = &mut rows[row];
                line.resize(line.len().max(column + 1), ' ');
                line[column] = c;
                column += 1;
            }
        }
        rows.resize(rows.len().max(row + 1), Vec::new());
    }
    let lines = rows.into_iter().map(|row| row.into_iter().collect::<String>());
    lines.map(|line| line.trim_end().to_owned()).filter(|line| !line.is_empty()).collect()
}

trait TakeCode {
    /// Characters up to the first letter.
    fn take_while_inclusive_letter(self) -> String;
}

impl<I: Iterator<Item = char>> TakeCode for I {
    fn take_while_inclusive_letter(mut self) -> String {
        let mut code = String::new();
        for c in self.by_ref() {
            code.push(c);
            if c.is_ascii_alphabetic() {
                break;
            }
        }
        code
    }
}

#[test]
fn no_remains_of_bars_stay_between_lines() {
    let home = Home::new();
    let files = [("one.bin", 200_000), ("two.bin", 300_000), ("three.bin", 400_000)]
        .map(|(name, bytes)| (name, vec![b'x'; bytes]));
    let shared = files.each_ref().map(|(name, bytes)| (*name, bytes.as_slice()));
    let share = home.share("share", &shared);
    let share = share.to_str().unwrap();
    let servent = home.start(&["--share", share, "--upload-limit", "600k"]);
    let url = |index, name| format!("http://{}/get/{index}/{name}", servent.addr);
    let urls = [url(1, "one.bin"), url(2, "three.bin"), url(3, "two.bin")];
    let written = get_on_terminal(&home, &urls.each_ref().map(String::as_str));
    assert!(written.contains("/s, "), "no bar was drawn: {written:?}");
    let mut lines = screen(&written);
    lines.sort();
    let getting = |name| format!("getting \"{name}\" from {}", servent.addr);
    let mut expected = vec![
        getting("one.bin"),
        getting("two.bin"),
        getting("three.bin"),
        "saved in/one.bin (195.31 KiB)".to_owned(),
        "saved in/two.bin (292.97 KiB)".to_owned(),
        "saved in/three.bin (390.62 KiB)".to_owned(),
    ];
    expected.sort();
    assert_eq!(lines, expected, "on a terminal the paths are not printed again");
}

#[test]
fn speed_counts_from_where_a_download_resumes() {
    let home = Home::new();
    let bytes = vec![b'x'; 8_000_000];
    // Most of the file came from a source that closed early.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let broken = format!("http://{}/get/1/long.bin", listener.local_addr().unwrap());
    let most = bytes[..7_000_000].to_vec();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 1024];
        let _ = stream.read(&mut request).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8000000\r\n\r\n").unwrap();
        stream.write_all(&most).unwrap();
    });
    assert_code(&home.run(&["get", &broken, "--retry", "0", "--output", "in"]), 1);
    server.join().unwrap();
    let share = home.share("share", &[("long.bin", &bytes)]);
    let slow = home.start(&["--share", share.to_str().unwrap(), "--upload-limit", "500k"]);
    let url = format!("http://{}/get/1/long.bin", slow.addr);
    let written = get_on_terminal(&home, &[&url]);
    let speeds: Vec<f64> = written
        .split("iB/s")
        .filter_map(|before| {
            let (number, unit) = before
                .rsplit_once(' ')
                .map(|(head, unit)| (head.rsplit(' ').next().unwrap_or_default(), unit))?;
            let scale = match unit {
                "M" => 1024.0 * 1024.0,
                "K" => 1024.0,
                _ => return None,
            };
            Some(number.parse::<f64>().ok()? * scale)
        })
        .collect();
    assert!(speeds.len() > 5, "{written:?}");
    let fastest = speeds.iter().copied().fold(0.0, f64::max);
    assert!(fastest < 3_000_000.0, "{fastest} bytes/s, though 500 kB/s are sent");
}
