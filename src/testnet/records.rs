//! Reading what servents write down with `--events`, and what the keeper writes of connections.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::net::SocketAddrV4;
use std::path::PathBuf;

/// One line of a servent's events. What an event does not have is empty.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Record {
    /// Unix time in microseconds.
    pub time: u64,
    /// The running number of the record in its run.
    pub seq: u64,
    /// The last record of a write: what was received so far has had all its consequences.
    pub last: bool,
    /// What happened.
    pub event: What,
    /// The other end of the link's socket.
    pub peer: Option<SocketAddrV4>,
    /// Of a link: who dialled.
    pub outbound: bool,
    /// Of a descriptor.
    pub kind: String,
    /// Of a descriptor, in hex.
    pub guid: String,
    /// Of a descriptor.
    pub ttl: u8,
    /// Of a descriptor.
    pub hops: u8,
    /// Of a drop, or of the end of a link.
    pub reason: String,
}

/// What a [`Record`] is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The servent starts.
    Start,
    /// A link stands.
    LinkUp,
    /// It does no more.
    LinkDown,
    /// A descriptor came.
    Received,
    /// A copy was queued on behalf of others.
    Forwarded,
    /// A copy of its own making was queued.
    Originated,
    /// A descriptor that came goes no further.
    Dropped,
    /// A neighbour's queue had no room for a copy.
    Refused,
    /// A Query was answered.
    Answered,
    /// Something this version does not know.
    #[default]
    #[serde(other)]
    Other,
}

/// Reads the events of one servent, whole writes at a time.
///
/// A servent appends all that it did with what it received in one write, but the system may let a
/// reader see part of a write. Records are held back until the last one of their write is there, so
/// that a record is never given out without its consequences.
#[derive(Debug)]
pub(super) struct EventTail {
    tail: Tail,
    /// Records of a write whose end is not there yet.
    held: Vec<Record>,
    /// The number that the next record must have.
    next_seq: u64,
    /// Records that were never written.
    lost: usize,
}

impl EventTail {
    /// Reads `path` from its beginning. The file may not be there yet.
    pub(super) fn new(path: PathBuf) -> EventTail {
        EventTail { tail: Tail::new(path), held: Vec::new(), next_seq: 0, lost: 0 }
    }

    /// The records of the writes that were completed since the last call.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn read(&mut self) -> io::Result<Vec<Record>> {
        let mut complete = Vec::new();
        for record in self.tail.read::<Record>()? {
            if record.event == What::Start {
                // The run before was killed within a write: there is no more of it to come.
                complete.append(&mut self.held);
                self.next_seq = 0;
            }
            let gap = record.seq.saturating_sub(self.next_seq);
            self.lost += usize::try_from(gap).unwrap_or(usize::MAX);
            self.next_seq = record.seq + 1;
            let last = record.last;
            self.held.push(record);
            if last {
                complete.append(&mut self.held);
            }
        }
        Ok(complete)
    }

    /// How many records are known to be missing, by the gaps in their numbers.
    pub(super) fn lost(&self) -> usize {
        self.lost
    }
}

/// A connection the keeper carries.
#[derive(Clone, Copy, Debug, Deserialize, serde::Serialize)]
pub(super) struct Carried {
    /// The number of the link.
    pub link: usize,
    /// What the dialling node sees as its peer.
    pub from_sees: SocketAddrV4,
    /// What the dialled node sees as its peer.
    pub to_sees: SocketAddrV4,
}

/// Reads a growing file of JSON lines.
#[derive(Debug)]
pub(super) struct Tail {
    path: PathBuf,
    file: Option<File>,
    /// The beginning of a line whose end is not there yet.
    rest: Vec<u8>,
}

impl Tail {
    /// Reads `path` from its beginning. The file may not be there yet.
    pub(super) fn new(path: PathBuf) -> Tail {
        Tail { path, file: None, rest: Vec::new() }
    }

    /// The complete lines that were added since the last call. Lines that make no sense are left
    /// out: a servent that was killed may leave one.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn read<T: DeserializeOwned>(&mut self) -> io::Result<Vec<T>> {
        let mut rest = std::mem::take(&mut self.rest);
        if let Some(file) = self.open()? {
            file.read_to_end(&mut rest)?;
        }
        let complete = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let (lines, unfinished) = rest.split_at(complete);
        self.rest = unfinished.to_vec();
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
            (records.iter().map(|record| record.seq).collect::<Vec<_>>(), tail.lost())
        };
        let line = |seq, event, end| format!("{{\"seq\":{seq},\"event\":\"{event}\"{end}}}\n");
        let last = ",\"last\":true";
        assert_eq!(read_after(&line(0, "start", last)), (vec![0], 0));
        assert_eq!(read_after(&line(1, "received", "")), (vec![], 0), "half a write");
        assert_eq!(read_after(&line(2, "forwarded", "")), (vec![], 0));
        assert_eq!(read_after(&line(3, "forwarded", last)), (vec![1, 2, 3], 0));
        assert_eq!(read_after(&line(4, "received", "")), (vec![], 0), "killed here");
        assert_eq!(read_after(&line(0, "start", last)), (vec![4, 0], 0), "the next run");
        assert_eq!(read_after(&line(4, "link_up", last)), (vec![4], 3), "1 to 3 were not written");
    }

    #[test]
    fn lines_are_read_once_and_only_when_complete() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events");
        let mut tail = Tail::new(path.clone());
        assert!(tail.read::<Record>().unwrap().is_empty(), "not there yet");
        let mut file = File::create(&path).unwrap();
        file.write_all(b"{\"time\":1,\"event\":\"start\"}\n{\"time\":2,\"eve").unwrap();
        let first: Vec<Record> = tail.read().unwrap();
        assert_eq!(first.iter().map(|r| r.time).collect::<Vec<_>>(), [1]);
        file.write_all(b"nt\":\"new thing\",\"more\":[1]}\nnonsense\n").unwrap();
        let second: Vec<Record> = tail.read().unwrap();
        assert_eq!((second.len(), second[0].time, second[0].event), (1, 2, What::Other));
    }
}
