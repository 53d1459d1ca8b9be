//! `servent testnet watch`: the loop of the live screen.
//!
//! A thread of its own looks at the network, so that keys are answered however long that takes.

use super::of_io;
use super::watch_view::WatchView;
use crate::cli::exit::Failure;
use crate::cli::interrupt::StopFlag;
use crate::cli::screen::{self, KEY_INTERVAL, failed, leaves, unix_seconds};
use crate::testnet::{Look, RunFolder, Watcher};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use std::io::{self, ErrorKind};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// Interval of looking at the network.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Time without a look after which the keeper is said to hang.
const HANGS_AFTER: Duration = Duration::from_secs(4);

pub(super) fn run(folder: &RunFolder) -> Result<(), Failure> {
    screen::must_be_terminal("watch", "'servent testnet ps --json' is")?;
    let watcher = Watcher::open(folder).map_err(of_io)?;
    let mut view = WatchView::new(folder.path(), watcher.network());
    let looks = looks(watcher).map_err(of_io)?;
    screen::taken_over(|terminal, stop| until_left(&mut view, &looks, terminal, stop))
}

/// Looks once a second until nobody takes the looks any more. One waits at most.
fn looks(mut watcher: Watcher) -> io::Result<Receiver<io::Result<Look>>> {
    let (sender, looks) = sync_channel(1);
    let look = move || {
        let mut due = Instant::now();
        while sender.send(watcher.look()).is_ok() {
            due = (due + LOOK_INTERVAL).max(Instant::now());
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    };
    thread::Builder::new().name("looks".into()).spawn(look)?;
    Ok(looks)
}

fn until_left(
    view: &mut WatchView,
    looks: &Receiver<io::Result<Look>>,
    terminal: &mut DefaultTerminal,
    stop: &StopFlag,
) -> Result<(), Failure> {
    let (mut changed, mut looked) = (true, Instant::now());
    while !stop.is_set() {
        match looks.try_recv() {
            Ok(Err(error)) if is_end(&error) => return Err(of_io(error)),
            Ok(look) => {
                view.take_in(look.map_err(|error| error.to_string()), unix_seconds());
                (changed, looked) = (true, Instant::now());
            }
            Err(TryRecvError::Empty) if looked.elapsed() >= HANGS_AFTER => {
                let text = "no answer from the keeper of the network: it hangs, or is stopped";
                view.take_in(Err(text.to_owned()), unix_seconds());
                (changed, looked) = (true, Instant::now());
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => {
                return Err(Failure::failed("nothing looks at the network any more"));
            }
        }
        if changed {
            terminal.draw(|frame| view.draw(frame)).map_err(|error| failed(&error))?;
            changed = false;
        }
        if event::poll(KEY_INTERVAL).map_err(|error| failed(&error))? {
            match event::read().map_err(|error| failed(&error))? {
                Event::Key(key) if leaves(&key) => return Ok(()),
                Event::Key(key) if key.kind != KeyEventKind::Release => {
                    view.scroll(key.code);
                    changed = true;
                }
                Event::Resize(..) => changed = true,
                _ => {}
            }
        }
    }
    Ok(())
}

/// Whether the network is no more; anything else may be better at the next look.
fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotConnected | ErrorKind::NotFound)
}
