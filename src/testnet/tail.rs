//! Following files that grow: the events that servents write with `--events`, and the keeper's list
//! of connections.

use crate::driver::{EventRecord, RecordedEvent};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::net::SocketAddrV4;
use std::path::PathBuf;

/// Reads the events of one servent, whole writes at a time.
///
/// A servent appends a received descriptor and its consequences in one write, of which a reader may
/// see a part. Records wait until the last one of their write is there, so a record is never given
/// out without its consequences.
#[derive(Debug)]
pub(super) struct EventTail {
    tail: Tail,
    /// Records of an incomplete write.
    incomplete: Vec<EventRecord>,
}

impl EventTail {
    /// Reads `path` from its beginning. The file need not exist yet.
    pub(super) fn new(path: PathBuf) -> EventTail {
        EventTail { tail: Tail::new(path), incomplete: Vec::new() }
    }

    /// The records of the writes that completed since the last call.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn read(&mut self) -> io::Result<Vec<EventRecord>> {
        let mut complete = Vec::new();
        for record in self.tail.read::<EventRecord>()? {
            if matches!(record.event, RecordedEvent::Start { .. }) {
                // The run before was killed within a write: no more of it will come.
                complete.append(&mut self.incomplete);
            }
            let last = record.last;
            self.incomplete.push(record);
            if last {
                complete.append(&mut self.incomplete);
            }
        }
        Ok(complete)
    }

    /// All complete records of the last run, to be read once.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn read_run(mut self) -> io::Result<Vec<EventRecord>> {
        let records = self.read()?;
        let is_start = |record: &EventRecord| matches!(record.event, RecordedEvent::Start { .. });
        let start = records.iter().rposition(is_start).unwrap_or(0);
        Ok(records.into_iter().skip(start).collect())
    }
}

/// A connection the keeper carries, as a line of its list.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Carried {
    /// The number of the link.
    pub(super) link: usize,
    /// The peer's address as the dialling node sees it.
    pub(super) from_sees: SocketAddrV4,
    /// The peer's address as the dialled node sees it.
    pub(super) to_sees: SocketAddrV4,
}

/// Reads a growing file of JSON lines.
#[derive(Debug)]
pub(super) struct Tail {
    path: PathBuf,
    file: Option<File>,
    /// An incomplete line.
    unfinished: Vec<u8>,
}

impl Tail {
    /// Reads `path` from its beginning. The file need not exist yet.
    pub(super) fn new(path: PathBuf) -> Tail {
        Tail { path, file: None, unfinished: Vec::new() }
    }

    /// The complete lines that were added since the last call. Malformed lines are skipped: a
    /// servent that was killed may leave one.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn read<T: DeserializeOwned>(&mut self) -> io::Result<Vec<T>> {
        let mut bytes = std::mem::take(&mut self.unfinished);
        if let Some(file) = self.open()? {
            file.read_to_end(&mut bytes)?;
        }
        let complete = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let (lines, unfinished) = bytes.split_at(complete);
        self.unfinished = unfinished.to_vec();
        Ok(lines
            .split(|byte| *byte == b'\n')
            .filter_map(|l| serde_json::from_slice(l).ok())
            .collect())
    }

    fn open(&mut self) -> io::Result<Option<&mut File>> {
        if self.file.is_none() {
            match File::open(&self.path) {
                Ok(file) => self.file = Some(file),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.file.as_mut())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_record_is_read_only_with_all_that_came_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events");
        let mut tail = EventTail::new(path.clone());
        let mut file = File::create(&path).unwrap();
        let mut read_after = |text: &str| {
            file.write_all(text.as_bytes()).unwrap();
            let records = tail.read().unwrap();
            records.iter().map(|record| record.seq).collect::<Vec<_>>()
        };
        let line = |seq, event: &RecordedEvent, last| {
            let record = EventRecord { time: 1, seq, event: event.clone(), last };
            serde_json::to_string(&record).unwrap() + "\n"
        };
        let (start, more) = (RecordedEvent::Start { listen: None }, RecordedEvent::Unknown);
        assert_eq!(read_after(&line(0, &start, true)), [0]);
        assert_eq!(read_after(&line(1, &more, false)), [0; 0], "half a write");
        assert_eq!(read_after(&line(2, &more, false)), [0; 0]);
        assert_eq!(read_after(&line(3, &more, true)), [1, 2, 3]);
        assert_eq!(read_after(&line(4, &more, false)), [0; 0], "killed here");
        assert_eq!(read_after(&line(0, &start, true)), [4, 0], "the next run");
    }

    #[test]
    fn lines_are_read_once_and_only_when_complete() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events");
        let mut tail = Tail::new(path.clone());
        assert!(tail.read::<EventRecord>().unwrap().is_empty(), "not there yet");
        let mut file = File::create(&path).unwrap();
        let start = "{\"time\":1,\"seq\":0,\"event\":\"start\",\"listen\":null,\"last\":true}\n";
        file.write_all(start.as_bytes()).unwrap();
        file.write_all(b"{\"time\":2,\"seq\":1,\"eve").unwrap();
        let first: Vec<EventRecord> = tail.read().unwrap();
        assert_eq!(first.iter().map(|record| record.time).collect::<Vec<_>>(), [1]);
        file.write_all(b"nt\":\"new thing\",\"more\":[1]}\nnonsense\n").unwrap();
        let second: Vec<EventRecord> = tail.read().unwrap();
        assert_eq!((second.len(), second[0].time), (1, 2));
        assert_eq!(second[0].event, RecordedEvent::Unknown, "an event of a later version");
    }
}
