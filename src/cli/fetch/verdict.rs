//! The failures of the downloads of one command, and what the command makes of them.

use crate::cli::exit::Failure;

/// Failures and the names of their files, in the order in which they ended.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    failures: Vec<Failure>,
    failed: Vec<String>,
}

impl Verdict {
    /// Adds the failure of one file of several, or of the only one.
    pub(super) fn add(&mut self, failure: Failure, what: &str, files: usize) {
        // A single failure is printed as the command ends.
        if files > 1 {
            log::warn!("{}", failure.text());
        }
        self.failures.push(failure);
        self.failed.push(what.to_owned());
    }

    /// The result of a command with so many files. The exit code of several failures is their common
    /// one, or 1 if they differ or `summed` is set.
    pub(super) fn outcome(self, files: usize, summed: bool) -> Result<(), Failure> {
        let failed = self.failures.len();
        let alike = self.failures.windows(2).all(|pair| pair[0].code() == pair[1].code());
        let text = format!("{failed} of {files} files not downloaded{}", named(&self.failed));
        match self.failures.into_iter().next() {
            None => Ok(()),
            Some(only) if files == 1 => Err(only),
            Some(first) if alike && !summed => Err(first.with_text(text)),
            Some(_) => Err(Failure::failed(text)),
        }
    }
}

/// The first few names, as the end of a sentence.
fn named(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(3).map(|name| format!("\"{name}\"")).collect();
    let more = if names.len() > shown.len() { ", …" } else { "" };
    format!(": {}{more}", shown.join(", "))
}

/// The failure of a command that was stopped, from a sentence about each file that is not complete.
pub(super) fn interrupted(told: &[String]) -> Failure {
    Failure::interrupted(match told {
        [] => "interrupted".to_owned(),
        [only] => only.clone(),
        several => {
            several.iter().for_each(|line| log::warn!("{line}"));
            format!("interrupted: {} files are not complete", several.len())
        }
    })
}

/// The part of a file that is kept, as the end of a sentence about it.
pub(super) fn kept(path: &std::path::Path, amount: &str, of_another_size: bool) -> String {
    let advice = match of_another_size {
        true => "remove it to start anew",
        false => "run the same command to resume",
    };
    format!("; {}: {amount} kept; {advice}", path.display())
}
