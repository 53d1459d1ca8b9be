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
