//! A servent on a terminal, and the meaning of signals with and without one.
#![cfg(target_os = "linux")]

use crate::process::{Home, Running, eventually};
use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::process::Command;

const RESCAN: &str = "scanning the shared folders";

/// A terminal; dropping it hangs up.
struct Terminal {
    _master: OwnedFd,
    line: File,
}

impl Terminal {
    fn new() -> Terminal {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let line = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        Terminal { _master: master, line }
    }
}

/// Not ignored even where the tests run under `nohup`.
const WITH_HUP: [&str; 2] = ["env", "--default-signal=HUP"];

/// A servent in a session of its own, as `setsid` starts it; with `--ctty` its standard input is
/// the terminal of the session.
fn start(home: &Home, wrapper: &[&str], terminal: Option<&Terminal>) -> Running {
    let program = home.command();
    let mut command = Command::new(wrapper[0]);
    command.args(&wrapper[1..]).arg(program.get_program());
    command.args(["run", "--listen", "127.0.0.1:0"]).current_dir(home.path("."));
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    if let Some(terminal) = terminal {
        command.stdin(terminal.line.try_clone().unwrap());
    }
    Running::start(command)
}

#[test]
fn a_servent_ends_with_its_terminal_and_not_before() {
    let (home, terminal) = (Home::new(), Terminal::new());
    let session = [&WITH_HUP[..], &["setsid", "--ctty"]].concat();
    let mut servent = start(&home, &session, Some(&terminal));
    servent.signal(Signal::HUP);
    servent.wait_for(RESCAN);
    drop(terminal);
    let (status, _) = servent.wait();
    assert!(status.success(), "{status}");
    assert!(servent.rest().iter().any(|line| line.contains("stopped: ")));
}

#[test]
fn a_servent_started_with_hup_ignored_outlives_its_terminal() {
    let (home, terminal) = (Home::new(), Terminal::new());
    let nohup = ["sh", "-c", "trap '' HUP; exec setsid --ctty \"$@\"", "sh"];
    let mut servent = start(&home, &nohup, Some(&terminal));
    // The kernel sends HUP when the terminal closes.
    drop(terminal);
    servent.wait_for(RESCAN);
    servent.signal(Signal::HUP);
    servent.wait_for(RESCAN);
    drop(servent.link());
}

#[test]
fn without_a_terminal_hup_rescans_and_usr1_logs_the_status() {
    let home = Home::new();
    let mut servent = start(&home, &[&WITH_HUP[..], &["setsid"]].concat(), None);
    servent.signal(Signal::HUP);
    servent.wait_for(RESCAN);
    for _ in 0..2 {
        // Each time, even if nothing has changed.
        servent.signal(Signal::USR1);
        servent.wait_for("0 links, ");
    }
}

#[test]
fn log_lines_left_out_by_the_rate_limit_are_counted() {
    const LINKS: u64 = 25;
    let home = Home::new();
    let mut servent = home.start(&["--links", "0"]);
    for _ in 0..LINKS {
        drop(servent.link());
    }
    let is_over = |servent: &mut Running| {
        servent.signal(Signal::USR1);
        servent.wait_for(" hosts known").contains(" 0 links")
    };
    eventually("all links have ended", || is_over(&mut servent).then_some(()));
    servent.signal(Signal::TERM);
    servent.wait();
    let said = servent.rest();
    let shown =
        said.iter().filter(|line| line.contains(" joined us") || line.contains(" lost 127"));
    let left_out = said.iter().filter_map(|line| {
        let (before, _) = line.split_once(" more links joined or lost")?;
        before.rsplit(' ').next()?.parse::<u64>().ok()
    });
    let (shown, left_out) = (shown.count() as u64, left_out.sum::<u64>());
    assert!(left_out > 0, "{said:#?}");
    assert_eq!(shown + left_out, 2 * LINKS, "{said:#?}");
}
