//! The log on stderr: `info` and above unless `RUST_LOG` says otherwise, or a client of a running
//! servent has said so since.

use super::progress;
use crate::daemon::log_ring;
use env_logger::{Builder, Env, Logger, Target};
use log::{Level, LevelFilter, Log, Metadata, Record};
use rustix::fs::fstat;
use std::io::{self, Write};

/// Begins to log. The lines of a servent that runs have time stamps, unless the system's log adds its
/// own, and the latest are kept to be asked for.
pub(super) fn start(runs: bool) {
    let timed = runs && !is_journal();
    let usual = Builder::from_env(Env::default().default_filter_or("info"));
    let mut all = Builder::new();
    all.filter_level(LevelFilter::Trace);
    let logger = Switched { usual: formatted(usual, timed), all: formatted(all, timed), runs };
    log::set_max_level(logger.usual.filter());
    // Nothing else in this process logs.
    let _ = log::set_boxed_logger(Box::new(logger));
}

fn formatted(mut builder: Builder, timed: bool) -> Logger {
    builder.target(Target::Pipe(Box::new(progress::LogPipe)));
    builder.format(move |out, record| {
        if timed {
            write!(out, "{} ", out.timestamp_seconds())?;
        }
        if record.level() != Level::Info {
            write!(out, "{}: ", record.level().as_str().to_lowercase())?;
        }
        writeln!(out, "{}", record.args())
    });
    builder.build()
}

/// Whether stderr leads to the journal of systemd, which stamps each line. It names the stream as
/// `DEVICE:INODE` (systemd.exec(5)).
fn is_journal() -> bool {
    let named = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    fstat(io::stderr()).is_ok_and(|stat| named == format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// Logs what `RUST_LOG` wants, or up to the level a client of the running servent has set.
struct Switched {
    usual: Logger,
    all: Logger,
    runs: bool,
}

impl Switched {
    fn by(&self) -> (&Logger, LevelFilter) {
        match log_ring::wanted() {
            Some(level) => (&self.all, level),
            None => (&self.usual, LevelFilter::Trace),
        }
    }
}

impl Log for Switched {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let (logger, level) = self.by();
        metadata.level() <= level && logger.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        let (logger, level) = self.by();
        if record.level() > level || !logger.matches(record) {
            return;
        }
        if self.runs {
            log_ring::keep(record.level(), &record.args().to_string());
        }
        logger.log(record);
    }

    fn flush(&self) {}
}
