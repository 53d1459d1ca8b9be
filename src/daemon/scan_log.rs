//! What the log says of folder scans: how much is shared, what was skipped, and what to do about it.

use crate::driver::{ScanReport, Skip};
use crate::text;
use std::fmt::Write;
use std::io::ErrorKind;
use std::time::Duration;

/// Most roots that one line names.
const MAX_NAMED: usize = 8;

/// Logs the scans of one run; a scan that found what the one before had found is not logged.
#[derive(Debug, Default)]
pub(super) struct ScanLog {
    last: ScanReport,
    /// The lack of watches was logged.
    told_unwatched: bool,
}

impl ScanLog {
    /// The last scan.
    pub(super) fn last(&self) -> &ScanReport {
        &self.last
    }

    /// Logs a scan. `max_files` is the limit it had, `interval` the time between periodic scans.
    pub(super) fn tell(&mut self, report: ScanReport, max_files: usize, interval: Duration) {
        if report.roots.is_empty() {
            if report.asked {
                log::info!("sharing nothing; --share DIR shares a folder");
            }
            return;
        }
        if report.unwatched > 0 && !self.told_unwatched {
            self.told_unwatched = true;
            log::warn!("{}", unwatched(&report, interval));
        }
        let left_out = report.skipped(Skip::TooMany);
        let is_news = report.changed
            || report.unreadable != self.last.unreadable
            || left_out != self.last.skipped(Skip::TooMany);
        if !is_news && !report.asked {
            return;
        }
        log::info!("sharing {}", summary(&report));
        if left_out > 0 && report.files() >= max_files as u64 {
            log::warn!("{left_out} more files are left out: --max-files is {max_files}");
        }
        for (path, kind) in &report.unreadable {
            match kind {
                ErrorKind::NotFound => log::warn!("no such folder: {}", path.display()),
                kind => log::warn!("cannot read {}: {kind}", path.display()),
            }
        }
        if self.last.roots.is_empty() {
            tell_covered(&report);
        }
        self.last = report;
    }
}

/// Logs which roots are shared as part of another one.
fn tell_covered(report: &ScanReport) {
    for root in &report.roots {
        if let Some(outer) = root.covered_by.and_then(|at| report.roots.get(at)) {
            let (path, outer) = (root.path.display(), outer.path.display());
            log::info!("{path} is shared as part of {outer}");
        }
    }
}

/// Files and bytes shared, by root where there are several, and how many were skipped and why.
fn summary(report: &ScanReport) -> String {
    let files = report.files();
    let bytes = report.roots.iter().fold(0u64, |sum, root| sum.saturating_add(root.bytes));
    let noun = if files == 1 { "file" } else { "files" };
    let mut line = format!("{files} {noun} ({})", text::bytes(bytes));
    let walked = report.roots.iter().filter(|root| root.covered_by.is_none());
    if walked.clone().nth(1).is_some() {
        let named = walked.clone().take(MAX_NAMED);
        let named = named.map(|root| format!("{} {}", root.path.display(), root.files));
        let _ = write!(line, ": {}", named.collect::<Vec<_>>().join(", "));
        if let more @ 1.. = walked.count().saturating_sub(MAX_NAMED) {
            let _ = write!(line, " and {more} more folders");
        }
    }
    let skipped = Skip::ALL.into_iter().map(|reason| (report.skipped(reason), reason.label()));
    let skipped = skipped.filter(|(count, _)| *count > 0);
    let skipped = skipped.map(|(count, label)| format!("{count} {label}")).collect::<Vec<_>>();
    if !skipped.is_empty() {
        let _ = write!(line, "; skipped: {}", skipped.join(", "));
    }
    line
}

fn unwatched(report: &ScanReport, interval: Duration) -> String {
    format!(
        "{} of {} shared folders cannot be watched: the system has no watches left \
         (/proc/sys/fs/inotify/max_user_watches, and max_user_instances for programs); changes there \
         are found within {} minutes, or at once after HUP",
        report.unwatched,
        report.folders,
        interval.as_secs() / 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::{Filter, ShareRoot, Shares, list_shared};
    use std::fs;
    use std::path::Path;
    use std::sync::Arc;

    fn scanned(folders: &[&Path], max_files: usize) -> String {
        let roots = folders.iter().map(|path| Arc::new(ShareRoot::open(path).unwrap())).collect();
        let (_, report) = list_shared(Shares { roots, filter: Filter::default(), max_files });
        summary(&report)
    }

    #[test]
    fn one_line_says_what_is_shared_and_what_is_not() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for name in ["a.ogg", "b.ogg", ".hidden", "c.part"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        assert_eq!(
            scanned(&[folder.path()], 9),
            "2 files (10 B); skipped: 1 hidden, 1 partly downloaded"
        );
        let [first, second] = [&folder, &other].map(|it| it.path().canonicalize().unwrap());
        assert_eq!(
            scanned(&[folder.path(), other.path()], 1),
            format!(
                "1 file (5 B): {} 1, {} 0; skipped: 1 hidden, 1 partly downloaded, 1 over --max-files",
                first.display(),
                second.display()
            )
        );
    }
}
