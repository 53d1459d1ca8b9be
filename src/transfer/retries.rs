//! When a source that has failed is tried again.

use super::download_error::DownloadError;
use std::time::Duration;

/// Pause after a transfer broke off, doubled each time up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// Pause after a source was busy and named no time. Servents may ban a client that
/// returns within 50 s (0.6 draft, 4.3: once a minute).
const BUSY_PAUSE: Duration = Duration::from_secs(60);
/// See [`FIRST_PAUSE`].
const LONGEST_PAUSE: Duration = Duration::from_secs(120);
/// Failed connections in a row after which a source that has sent bytes is given up: it may be
/// restarting.
const MAX_LOST_TRIES: u32 = 3;

/// The failures of one source so far.
#[derive(Clone, Debug, Default)]
pub struct Retries {
    /// Failures after which it was to be tried again.
    failures: u32,
    /// Failed connections in a row.
    lost: u32,
    /// It has sent bytes of the file.
    begun: bool,
}

impl Retries {
    /// It has failed once more. Returns the pause before it is tried again; `None` gives it up.
    pub fn failed(&mut self, error: &DownloadError) -> Option<Duration> {
        let unreachable = matches!(
            error,
            DownloadError::Connect { .. }
                | DownloadError::ConnectTimeout(_)
                | DownloadError::NoAnswer
                | DownloadError::Stalled { begun: false, .. }
        );
        if unreachable && self.begun && self.lost < MAX_LOST_TRIES {
            self.lost += 1;
            return Some(FIRST_PAUSE * 2u32.pow(self.lost - 1));
        }
        if !error.may_pass() {
            return None;
        }
        self.lost = 0;
        self.failures += 1;
        let doubled = |first: Duration| first * 2u32.pow((self.failures - 1).min(10));
        Some(match error {
            DownloadError::Busy { retry_after: Some(wish) } => {
                (*wish).max(doubled(Duration::from_secs(1)).min(BUSY_PAUSE))
            }
            DownloadError::Busy { retry_after: None } => doubled(BUSY_PAUSE),
            _ => {
                self.begun = true;
                doubled(FIRST_PAUSE).min(LONGEST_PAUSE)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_source_is_asked_as_rarely_as_it_wants_and_a_lost_one_given_up() {
        let busy =
            |seconds| DownloadError::Busy { retry_after: Some(Duration::from_secs(seconds)) };
        let mut retries = Retries::default();
        let pauses: Vec<_> = (0..4).map(|_| retries.failed(&busy(3)).unwrap().as_secs()).collect();
        assert_eq!(pauses, [3, 3, 4, 8], "a source that is always busy is asked less and less");
        assert_eq!(retries.failed(&busy(600)), Some(Duration::from_secs(600)));
        let unnamed = DownloadError::Busy { retry_after: None };
        assert!(Retries::default().failed(&unnamed) >= Some(Duration::from_secs(50)));

        let lost = DownloadError::Connect { refused: true };
        assert_eq!(Retries::default().failed(&lost), None, "nobody was ever there");
        let mut retries = Retries::default();
        retries.failed(&DownloadError::Interrupted).unwrap();
        assert!((0..3).all(|_| retries.failed(&lost).is_some()), "it may be restarting");
        assert_eq!(retries.failed(&lost), None);
        assert_eq!(retries.failed(&DownloadError::NotFound), None);
    }
}
