//! The live screen of `status --watch`, on a terminal that is read as a person would; and that terminal.
#![cfg(target_os = "linux")]

use crate::process::{Home, Running, eventually};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};
use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

/// A terminal with a live screen on it.
pub(crate) struct Watched {
    child: Child,
    master: File,
    line: File,
    output: Receiver<Vec<u8>>,
    pub(crate) parser: vt100::Parser,
}

impl Watched {
    fn start(home: &Home, variables: &[(&str, &str)]) -> Watched {
        let mut program = home.command();
        program.args(["status", "--watch"]);
        Watched::run(&program, variables)
    }

    pub(crate) fn run(program: &Command, variables: &[(&str, &str)]) -> Watched {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let line = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        let master = File::from(master);
        resize(&master, 100, 30);
        // The terminal is that of the session, so that signals and /dev/tty are those of a user.
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait"]).arg(program.get_program()).args(program.get_args());
        command.current_dir(program.get_current_dir().unwrap());
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.env("TERM", "xterm-256color").env_remove("NO_COLOR");
        command.envs(variables.iter().copied());
        command.stdin(line.try_clone().unwrap()).stdout(line.try_clone().unwrap());
        command.stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        let (sender, output) = channel();
        let mut reader = master.try_clone().unwrap();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                let _ = sender.send(buffer[..count].to_vec());
            }
        });
        Watched { child, master, line, output, parser: vt100::Parser::new(rows(30), rows(100), 0) }
    }

    /// Takes in what was drawn within a moment.
    pub(crate) fn look(&mut self) -> String {
        while let Ok(bytes) = self.output.recv_timeout(Duration::from_millis(50)) {
            self.parser.process(&bytes);
        }
        self.parser.screen().contents()
    }

    #[track_caller]
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        let mut last = String::new();
        let shown = eventually_shown(|| {
            last = self.look();
            last.contains(text)
        });
        assert!(shown, "{text:?} does not appear on:\n{last}");
        last
    }

    /// Makes the terminal as large.
    pub(crate) fn resize(&mut self, columns: u16, lines: u16) {
        resize(&self.master, columns, lines);
        self.parser.screen_mut().set_size(rows(lines), rows(columns));
    }

    pub(crate) fn press(&mut self, keys: &[u8]) {
        self.master.write_all(keys).unwrap();
    }

    /// Waits for the end, and asserts that the terminal is as it was.
    #[track_caller]
    fn ends(self) {
        self.ends_with(0);
    }

    /// The same with another exit code; returns what was said.
    #[track_caller]
    pub(crate) fn ends_with(mut self, code: i32) -> String {
        let status = self.child.wait().unwrap();
        self.look();
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(status.code(), Some(code), "{said}");
        assert!(!self.parser.screen().alternate_screen() && !self.parser.screen().hide_cursor());
        let modes = tcgetattr(&self.line).unwrap().local_modes;
        assert!(
            modes.contains(rustix::termios::LocalModes::ICANON | rustix::termios::LocalModes::ECHO)
        );
        said
    }
}

/// Rows or columns.
fn rows(number: u16) -> NonZero<u16> {
    NonZero::new(number).unwrap()
}

fn resize(master: &File, columns: u16, rows: u16) {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(master, size).unwrap();
}

fn eventually_shown(mut shown: impl FnMut() -> bool) -> bool {
    (0..600).any(|_| shown())
}

fn start(home: &Home) -> Running {
    let share = home.share("share", &[("striped zebra.txt", b"hello")]);
    home.serve(&["--share", share.to_str().unwrap()])
}

#[test]
fn links_searches_and_the_end_of_a_servent_are_seen_as_they_happen() {
    let home = Home::new();
    let mut servent = start(&home);
    let mut watched = Watched::start(&home, &[]);
    watched.wait_for(&servent.host());
    watched.wait_for("0 in, 0 out");
    let mut link = servent.link();
    let peer = link.local_addr().unwrap().to_string();
    watched.wait_for(&format!("was joined by {peer}"));
    watched.wait_for("IN/s");
    let query = crate::process::descriptor(7, 0x80, 3, 2, &crate::process::query("zebra"));
    link.write_all(&query).unwrap();
    watched.wait_for("\"zebra\": 1 result from here");
    link.write_all(&query).unwrap();
    watched.wait_for("dropped query from");
    let screen = watched.wait_for("1 in, 0 out");
    println!("{screen}");
    assert!(screen.contains("q leaves"), "{screen}");

    watched.resize(60, 14);
    eventually("the smaller screen is drawn", || {
        let shown = watched.look();
        let last = shown.lines().rfind(|line| !line.is_empty());
        (last == Some("q leaves") && shown.lines().count() == 14).then_some(())
    });
    watched.resize(100, 30);

    servent.signal(Signal::TERM);
    servent.wait();
    watched.wait_for("has gone; waiting for it");
    let mut again = home.command();
    again.args(["run", "--listen", &servent.host()]);
    let again = Running::start(again);
    watched.wait_for("the servent is back");
    assert_eq!(again.addr, servent.addr);
    watched.press(b"q");
    watched.ends();
}

#[test]
fn every_way_out_restores_the_terminal() {
    let home = Home::new();
    let servent = start(&home);
    for way in ["q", "\x1b", "\x03", "TERM", "INT"] {
        let mut watched = Watched::start(&home, &[]);
        watched.wait_for(&servent.host());
        assert!(watched.parser.screen().alternate_screen());
        match way {
            "TERM" | "INT" => {
                let signal = if way == "TERM" { Signal::TERM } else { Signal::INT };
                kill_process(servent_of(&watched.child), signal).unwrap();
            }
            keys => watched.press(keys.as_bytes()),
        }
        watched.ends();
    }
}

/// The process that `setsid` has started, or become.
fn servent_of(child: &Child) -> Pid {
    let children = format!("/proc/{0}/task/{0}/children", child.id());
    let children = std::fs::read_to_string(children).unwrap_or_default();
    let first = children.split_whitespace().next().and_then(|id| id.parse().ok());
    first.and_then(Pid::from_raw).unwrap_or_else(|| Pid::from_child(child))
}

#[test]
fn a_servent_that_hangs_is_said_to_and_colours_are_only_drawn_where_wanted() {
    let home = Home::new();
    let mut servent = start(&home);
    let colours = |watched: &Watched| {
        let screen = watched.parser.screen();
        let coloured = |(row, column)| {
            screen.cell(row, column).is_some_and(|cell| cell.fgcolor() != vt100::Color::Default)
        };
        (0..30).flat_map(|row| (0..100).map(move |column| (row, column))).any(coloured)
    };
    let mut plain = Watched::start(&home, &[("NO_COLOR", "1")]);
    plain.wait_for("not reached");
    assert!(!colours(&plain));
    plain.press(b"q");
    plain.ends();
    let mut watched = Watched::start(&home, &[]);
    watched.wait_for("not reached");
    assert!(colours(&watched));
    servent.signal(Signal::STOP);
    watched.wait_for("the servent hangs");
    servent.signal(Signal::CONT);
    eventually("it answers again", || (!watched.look().contains("hangs")).then_some(()));
    watched.press(b"q");
    watched.ends();
}
