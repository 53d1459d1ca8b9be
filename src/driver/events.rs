//! The file of `--events`: what a servent sees, as JSON lines that other programs follow.
//!
//! One object a line, fields in this order. `time` is Unix time in microseconds: the wall clock of
//! the start of the run and from there on a monotonic clock, read once per turn of the loop. `seq`
//! is the running number of the record: 0 at `start`, one more with each record of the run.
//! `peer` is the remote end of a socket, `guid` 32 hex digits, `kind` one of `ping` `pong` `bye`
//! `push` `query` `query_hit`, or for example `unknown:0x41`.
//!
//! | `event` | when | other fields |
//! |---|---|---|
//! | `start` | a run begins | `listen` (`null` without a listening socket) |
//! | `link_up` | a link stands | `peer` `outbound` `dialect` (`0.4`, `0.6`) `role` of the peer (`servent`, `ultrapeer`, `leaf`) |
//! | `link_down` | it ended | `peer` `reason` `unsent` (copies that were queued and not sent in full) |
//! | `received` | a descriptor arrived | `peer` `kind` `guid` `ttl` `hops` as it arrived, `payload_bytes` |
//! | `forwarded` | a copy was queued on behalf of others | `peer` `kind` `guid` `ttl` `hops` as sent |
//! | `originated` | a copy of our own making was queued, replies included | the same |
//! | `dropped` | the descriptor that arrived went no further | the same, as it arrived; `reason` |
//! | `refused` | a neighbour's queue had no room for a copy | the same, as it would have been sent; `reason` |
//! | `answered` | a Query was answered from the library | `guid` `criteria` `results` |
//!
//! The records of one turn of the loop are appended in one write, and those of a turn with more than
//! [`WRITE_AFTER_BYTES`] in several. A `received` and its consequences are always in one write.
//! The last record of a write ends with `"last":true`: up to there, every `received` is followed by
//! all that came of it. A concurrent reader may see part of a write; records after the last
//! `"last":true` are incomplete. A gap in `seq` means that records were lost. A process that is
//! killed while it writes may leave an unfinished line; the next run starts a new one. Writing blocks
//! on the disk, and on the reader of a pipe.

use super::event_record::{EventRecord, RecordedEvent};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A turn whose records take more than this is written in several writes.
const WRITE_AFTER_BYTES: usize = 1024 * 1024;

/// An open file of events.
#[derive(Debug)]
pub(super) struct EventFile {
    pub(super) path: PathBuf,
    file: File,
    /// Lines of this turn.
    buffer: Vec<u8>,
    /// The most recent record. It becomes a line with the next record or the end of the write: only
    /// then is it known whether it is the last one.
    pending: Option<EventRecord>,
}

impl EventFile {
    /// Opens the file, and creates it if it is missing.
    pub(super) fn open(path: &Path) -> io::Result<EventFile> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        let path = path.to_path_buf();
        let mut events = EventFile { path, buffer: Vec::new(), pending: None, file };
        if ends_within_a_line(&events.path, &events.file) {
            events.file.write_all(b"\n")?;
        }
        Ok(events)
    }

    /// Appends a record.
    ///
    /// # Errors
    /// When the disk fails.
    pub(super) fn append(&mut self, record: EventRecord) -> io::Result<()> {
        let begins = matches!(record.event, RecordedEvent::Received { .. });
        if begins && self.buffer.len() >= WRITE_AFTER_BYTES {
            self.write()?;
        }
        self.pending.replace(record).map_or(Ok(()), |before| self.add_line(&before))
    }

    /// Writes what was appended to the file.
    pub(super) fn write(&mut self) -> io::Result<()> {
        let Some(mut last) = self.pending.take() else { return Ok(()) };
        last.last = true;
        self.add_line(&last)?;
        let written = self.file.write_all(&self.buffer);
        self.buffer.clear();
        self.buffer.shrink_to(WRITE_AFTER_BYTES);
        written
    }

    fn add_line(&mut self, record: &EventRecord) -> io::Result<()> {
        serde_json::to_writer(&mut self.buffer, record)?;
        self.buffer.push(b'\n');
        Ok(())
    }
}

/// Whether the file ends in an unfinished line of an earlier run. False for pipes and for files that
/// cannot be read.
fn ends_within_a_line(path: &Path, file: &File) -> bool {
    let len = file.metadata().ok().filter(|meta| meta.is_file()).map_or(0, |meta| meta.len());
    let mut last = [b'\n'];
    let Some(at) = len.checked_sub(1) else { return false };
    File::open(path).and_then(|file| file.read_exact_at(&mut last, at)).is_ok() && last != [b'\n']
}

#[cfg(test)]
mod tests {
    use super::super::tape::Recorder;
    use super::*;
    use crate::servent::PeerRole;
    use crate::servent::{CloseReason, Observation};
    use crate::stats::DropReason;
    use crate::time::Instant;
    use crate::wire::Dialect;
    use crate::wire::{Guid, Header, Kind};
    use std::fs;
    use std::net::SocketAddrV4;
    use std::time::SystemTime;

    const PEER: SocketAddrV4 = SocketAddrV4::new(std::net::Ipv4Addr::new(127, 1, 2, 3), 6346);
    const GUID: &str = "abababababababababababababababab";

    fn header(kind: Kind) -> Header {
        Header { guid: Guid([0xab; 16]), kind, ttl: 7, hops: 2, payload_len: 12 }
    }

    /// The lines of a file, without their times.
    fn records(path: &Path) -> Vec<String> {
        let text = fs::read_to_string(path).unwrap();
        let timeless = |line: &str| line.split_once(',').map_or(line, |(_, rest)| rest).to_owned();
        text.lines().map(timeless).collect()
    }

    fn last_of_a_write(line: &str) -> String {
        format!("{},\"last\":true}}", line.strip_suffix('}').unwrap())
    }

    #[test]
    fn the_format_others_rely_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events");
        let at = Instant::from_micros;
        let mut file = Recorder::new(at(5));
        file.open(&path, at(5), Some(PEER)).unwrap();
        let (peer, query) = (PEER, header(Kind::Query));
        let (guid, odd) = (query.guid, header(Kind::Other(0x0a)));
        let cases = [
            (
                Observation::LinkUp {
                    peer,
                    outbound: true,
                    dialect: Dialect::V0_6,
                    role: PeerRole::Leaf,
                },
                r#""event":"link_up","peer":"127.1.2.3:6346","outbound":true,"dialect":"0.6","role":"leaf"}"#
                    .to_owned(),
            ),
            (
                Observation::Received { peer, header: query },
                format!(r#""event":"received",{},"payload_bytes":12}}"#, about("query")),
            ),
            (
                Observation::Forwarded { peer, header: query },
                format!(r#""event":"forwarded",{}}}"#, about("query")),
            ),
            (
                Observation::Originated { peer, header: header(Kind::QueryHit) },
                format!(r#""event":"originated",{}}}"#, about("query_hit")),
            ),
            (
                Observation::Answered { guid, criteria: b"a\n\xff".to_vec(), results: 2 },
                format!(
                    "\"event\":\"answered\",\"guid\":\"{GUID}\",\"criteria\":\"a\\n\u{fffd}\",\
                     \"results\":2}}"
                ),
            ),
            (
                Observation::Dropped { peer, header: odd, reason: DropReason::UnknownKind },
                format!(r#""event":"dropped",{},"reason":"unknown kind"}}"#, about("unknown:0x0a")),
            ),
            (
                Observation::Refused { peer, header: query },
                format!(r#""event":"refused",{},"reason":"queue full"}}"#, about("query")),
            ),
            (
                Observation::LinkDown { peer, reason: CloseReason::Stalled, unsent: 3 },
                format!(
                    r#""event":"link_down","peer":"{PEER}","reason":"{}","unsent":3}}"#,
                    CloseReason::Stalled
                ),
            ),
        ];
        for ((seen, _), now) in cases.iter().zip(6..) {
            file.note(at(now), seen);
        }
        file.write();
        let start = r#""event":"start","listen":"127.1.2.3:6346"}"#.to_owned();
        let (seen, lines): (Vec<_>, Vec<_>) = cases.into_iter().unzip();
        let lines = std::iter::once(start).chain(lines);
        let mut expected: Vec<String> =
            lines.enumerate().map(|(seq, line)| format!("\"seq\":{seq},{line}")).collect();
        let (first, last) = (0, expected.len() - 1);
        for number in [first, last] {
            expected[number] = last_of_a_write(&expected[number]);
        }
        assert_eq!(records(&path), expected);

        // What was written is read as what was seen.
        let text = fs::read_to_string(&path).unwrap();
        let start = RecordedEvent::Start { listen: Some(PEER) };
        let seen = std::iter::once(start).chain(seen.iter().map(RecordedEvent::from));
        for (line, event) in text.lines().zip(seen) {
            let record: EventRecord = serde_json::from_str(line).unwrap();
            assert_eq!(record.event, event, "{line}");
            assert_eq!(serde_json::to_string(&record).unwrap(), line);
        }
        let times = text.lines().map(|line| {
            let time = line.strip_prefix("{\"time\":").and_then(|rest| rest.split(',').next());
            time.unwrap().parse::<u64>().unwrap()
        });
        let times: Vec<u64> = times.collect();
        assert!(times.windows(2).all(|pair| pair[1] == pair[0] + 1), "{times:?}");
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros();
        assert!(u128::from(times[0]).abs_diff(unix) < 600_000_000, "{times:?}");
    }

    fn about(kind: &str) -> String {
        format!(r#""peer":"{PEER}","kind":"{kind}","guid":"{GUID}","ttl":7,"hops":2"#)
    }

    #[test]
    fn a_run_goes_on_where_another_was_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events");
        fs::write(&path, "{\"time\":1,\"ev").unwrap();
        for _ in 0..2 {
            Recorder::new(Instant::ZERO).open(&path, Instant::ZERO, None).unwrap();
        }
        let start = last_of_a_write(r#""seq":0,"event":"start","listen":null}"#);
        assert_eq!(records(&path), ["\"ev", &start, &start]);
    }

    #[test]
    fn a_long_turn_is_written_in_between_but_never_within_a_descriptor() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events");
        let mut file = Recorder::new(Instant::ZERO);
        file.open(&path, Instant::ZERO, None).unwrap();
        let (peer, header) = (PEER, header(Kind::Query));
        let written = || fs::metadata(&path).unwrap().len();
        let begun = written();
        file.note(Instant::ZERO, &Observation::Received { peer, header });
        let copies = 2 * WRITE_AFTER_BYTES / 100;
        for _ in 0..copies {
            file.note(Instant::ZERO, &Observation::Forwarded { peer, header });
        }
        assert_eq!(written(), begun, "one descriptor, one write");
        file.note(Instant::ZERO, &Observation::Received { peer, header });
        assert_eq!(records(&path).len(), 1 + 1 + copies, "the next one does not wait for more");
        file.write();
        let records = records(&path);
        assert_eq!(records.len(), 1 + 1 + copies + 1);
        let ends = records.iter().enumerate().filter(|(_, line)| line.ends_with("\"last\":true}"));
        let ends: Vec<usize> = ends.map(|(number, _)| number).collect();
        assert_eq!(ends, [0, 1 + copies, 2 + copies]);
    }
}
