//! Response heads: which bytes of the file follow, or why the request failed.

use super::{Body, ConnectionState, Download, DownloadError, Goal};
use crate::time::Instant;
use crate::wire::http_head::{ResponseError, ResponseHead};

impl Download {
    pub(super) fn handle_head(&mut self, now: Instant, response: &ResponseHead, rest: &[u8]) {
        self.answered_here = true;
        self.answered = true;
        let body = match response.status {
            200 | 206 if self.has_changed(response) => Err(DownloadError::Changed),
            200 | 206 => self.plan_body(response),
            416 => self.range_refused(response),
            404 | 410 => Err(DownloadError::NotFound),
            429 | 503 => Err(DownloadError::Busy { retry_after: response.retry_after }),
            status => Err(DownloadError::Refused { status }),
        };
        match body {
            Ok(Some(body)) => {
                self.connection = ConnectionState::Body(body);
                match self.goal {
                    Goal::Check { .. } if self.expected.is_none() => self.give_up_check(now),
                    Goal::Check { .. } => self.take_body(now, rest),
                    Goal::Fetch => {
                        self.open_partial();
                        self.take_body(now, rest);
                    }
                }
            }
            Ok(None) => {}
            // The expected size came from another source's partial file, which is of another file.
            Err(DownloadError::SizeMismatch { .. })
                if self.foreign && self.source.size.is_none() && !self.disk.holds_ours() =>
            {
                let told = response.content_length.filter(|_| response.status == 200);
                self.expected = response.content_range.map_or(told, |range| range.total);
                self.restart(now);
            }
            Err(error) => {
                let empty = response.content_length == Some(0) && rest.is_empty();
                self.leave(response.keep_alive && empty);
                self.fail(error);
            }
        }
    }

    /// Whether ETag or Last-Modified say that the file has changed since the last response.
    fn has_changed(&mut self, response: &ResponseHead) -> bool {
        let Some(told) = &response.validator else { return false };
        self.validator.get_or_insert_with(|| told.clone()) != told
    }

    /// The range of the body. A `Content-Range` counts under any status.
    fn plan_body(&mut self, response: &ResponseHead) -> Result<Option<Body>, DownloadError> {
        let wanted = self.position;
        let range = response.content_range;
        let keep_alive = response.keep_alive;
        let Some((start, end)) = range.and_then(|range| range.span) else {
            if response.status == 206 {
                return Err(DownloadError::WrongRange { wanted, offered: None });
            }
            if let Some(size) = response.content_length {
                self.learn_size(size)?;
            }
            self.read_from(0, response.content_length);
            return Ok(Some(Body { left: response.content_length, keep_alive }));
        };
        let length = end - start + 1;
        if response.content_length.is_some_and(|told| told != length) {
            return Err(DownloadError::Response(ResponseError::Malformed));
        }
        if let Some(total) = range.and_then(|range| range.total) {
            self.learn_size(total)?;
        } else if let Some(expected) = self.expected.filter(|&expected| end >= expected) {
            return Err(DownloadError::SizeMismatch { expected, offered: end + 1 });
        }
        if start > wanted || end < wanted {
            return Err(DownloadError::WrongRange { wanted, offered: Some(start) });
        }
        self.read_from(start, Some(end + 1));
        Ok(Some(Body { left: Some(length), keep_alive }))
    }

    /// A body begins at `start`. One longer than the range to be checked ignores the range: then all of
    /// it is compared.
    fn read_from(&mut self, start: u64, body_end: Option<u64>) {
        self.position = start;
        if let (Goal::Check { end, last }, Some(total)) = (&mut self.goal, self.expected) {
            let ignores_range = body_end.is_some_and(|body_end| body_end > *end);
            if ignores_range {
                *end = total;
            }
            *end = total.min(*end);
            *last = *end == total;
        }
    }

    fn learn_size(&mut self, offered: u64) -> Result<(), DownloadError> {
        match self.expected {
            Some(expected) if expected != offered => {
                Err(DownloadError::SizeMismatch { expected, offered })
            }
            None if offered < self.received => {
                Err(DownloadError::SizeMismatch { expected: self.received, offered })
            }
            _ => {
                self.expected = Some(offered);
                Ok(())
            }
        }
    }

    /// Handles 416. An empty file has no range, but is compared all the same.
    fn range_refused(&mut self, response: &ResponseHead) -> Result<Option<Body>, DownloadError> {
        if let Some(total) = response.content_range.and_then(|range| range.total) {
            self.learn_size(total)?;
            if total == 0 && matches!(self.goal, Goal::Check { .. }) {
                self.complete(false);
                return Ok(None);
            }
        }
        Err(DownloadError::WrongRange { wanted: self.position, offered: None })
    }
}
