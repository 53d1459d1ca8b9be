//! What the core observes, numbered once for all who follow it: the file of `--events`, and clients of a
//! running servent.

use super::event_record::{EventRecord, RecordedEvent};
use super::events::EventFile;
use crate::servent::Observation;
use crate::time::Instant;
use crate::wire::MAX_QUERY_BYTES;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddrV4;
use std::path::Path;
use std::time::SystemTime;

/// Most records that wait for clients; the oldest are lost first. A turn of the loop at full speed makes
/// some thousand.
pub const MAX_TAPED: usize = 16 * 1024;
/// Bytes of one of them, with the longest text: the words of a Query.
pub const TAPED_BYTES: usize = size_of::<EventRecord>() + MAX_QUERY_BYTES;

/// Numbers what is observed, and passes it on.
#[derive(Debug)]
pub(super) struct Recorder {
    /// The number of the next record.
    next_seq: u64,
    /// Unix time at [`Instant::ZERO`], in microseconds.
    epoch_micros: u64,
    file: Option<EventFile>,
    tape: Option<VecDeque<EventRecord>>,
    /// Records that the tape had no room for.
    missed: u64,
    /// The file has failed since this was last asked.
    gave_up: bool,
}

impl Recorder {
    pub(super) fn new(now: Instant) -> Recorder {
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let unix_micros = u64::try_from(unix.as_micros()).unwrap_or(u64::MAX);
        let epoch_micros = unix_micros.saturating_sub(now.as_micros());
        Recorder { next_seq: 0, epoch_micros, file: None, tape: None, missed: 0, gave_up: false }
    }

    /// Whether anybody follows.
    pub(super) fn is_followed(&self) -> bool {
        self.file.is_some() || self.tape.is_some()
    }

    /// Opens the file, creates it if it is missing, and writes the record of a new run.
    ///
    /// # Errors
    /// When the file cannot be opened or written.
    pub(super) fn open(
        &mut self,
        path: &Path,
        now: Instant,
        listen: Option<SocketAddrV4>,
    ) -> io::Result<()> {
        let mut file = EventFile::open(path)?;
        file.append(self.number(now, RecordedEvent::Start { listen }))?;
        file.write()?;
        self.file = Some(file);
        Ok(())
    }

    /// Whether nobody follows any more because the file has failed; told once.
    pub(super) fn take_given_up(&mut self) -> bool {
        std::mem::take(&mut self.gave_up) && !self.is_followed()
    }

    /// Keeps records for clients from now on, or no more.
    pub(super) fn set_taped(&mut self, taped: bool) {
        (self.tape, self.missed) = (taped.then(VecDeque::new), 0);
    }

    /// The number of the next record.
    pub(super) fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// The records kept since the last call, and how many were lost before them.
    pub(super) fn take_tape(&mut self) -> (u64, VecDeque<EventRecord>) {
        let records = self.tape.as_mut().map(std::mem::take).unwrap_or_default();
        (std::mem::take(&mut self.missed), records)
    }

    /// Records what was observed.
    pub(super) fn note(&mut self, now: Instant, seen: &Observation) {
        let record = self.number(now, seen.into());
        if let Some(tape) = &mut self.tape {
            if tape.len() >= MAX_TAPED {
                tape.pop_front();
                self.missed += 1;
            }
            tape.push_back(record.clone());
        }
        self.with_file(|file| file.append(record));
    }

    /// Writes what the file has not got yet.
    pub(super) fn write(&mut self) {
        self.with_file(EventFile::write);
    }

    fn number(&mut self, now: Instant, event: RecordedEvent) -> EventRecord {
        let (time, seq) = (self.epoch_micros.saturating_add(now.as_micros()), self.next_seq);
        self.next_seq += 1;
        EventRecord { time, seq, event, last: false }
    }

    /// Uses the file, if there is one. A failure is logged and ends the recording.
    fn with_file(&mut self, act: impl FnOnce(&mut EventFile) -> io::Result<()>) {
        let Some(file) = &mut self.file else { return };
        if let Err(error) = act(file) {
            let path = file.path.display();
            log::warn!("cannot write to {path}: {error}; no more events are recorded");
            self.file = None;
            self.gave_up = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Guid, Header, Kind};

    #[test]
    fn a_client_that_does_not_keep_up_loses_the_oldest_and_is_told_how_many() {
        let mut recorder = Recorder::new(Instant::ZERO);
        let peer = "127.0.0.2:1".parse().unwrap();
        let header =
            Header { guid: Guid([1; 16]), kind: Kind::Ping, ttl: 1, hops: 0, payload_len: 0 };
        let seen = Observation::Received { peer, header };
        recorder.note(Instant::ZERO, &seen);
        assert_eq!(recorder.take_tape(), (0, VecDeque::new()), "nobody followed");
        recorder.set_taped(true);
        (0..MAX_TAPED + 3).for_each(|_| recorder.note(Instant::ZERO, &seen));
        let (missed, records) = recorder.take_tape();
        assert_eq!((missed, records.len(), records[0].seq), (3, MAX_TAPED, 4));
        assert_eq!(recorder.take_tape(), (0, VecDeque::new()));
    }
}
