//! The record beside a partial file: what it is a part of, and where its bytes come from.
//!
//! `NAME.SIZE.part.source` has one JSON object a line for each source whose bytes are in
//! `NAME.SIZE.part`, in the order in which they came:
//! `{"name":"a b.txt","size":10,"url":"http://192.0.2.1:6346/get/7/a%20b.txt"}`. A torn line is
//! ignored without loss: a line is written before the first byte of its source.

use crate::transfer::download::Source;
use crate::transfer::url::TransferUrl;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Most bytes of a record that are read: a line takes less than 1 KiB, and a file joined from more
/// sources than fit is known by the first ones.
const MAX_RECORD_BYTES: u64 = 256 * 1024;

/// The record of a partial file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// The name the file is to get here.
    pub(super) name: String,
    /// Size of the whole file in bytes, if known.
    pub(super) size: Option<u64>,
    /// URLs of the sources of its bytes.
    urls: BTreeSet<String>,
}

#[derive(Serialize, Deserialize)]
struct RecordLine {
    name: String,
    size: Option<u64>,
    url: String,
}

impl Record {
    /// A record of a file without bytes.
    pub(super) fn new(name: &str, size: Option<u64>) -> Record {
        Record { name: name.to_owned(), size, urls: BTreeSet::new() }
    }

    /// The path of the record of `partial`.
    pub(super) fn path_of(partial: &Path) -> PathBuf {
        let mut path = partial.as_os_str().to_owned();
        path.push(".source");
        path.into()
    }

    /// The record of `partial`; `None` if there is none that can be read.
    pub(super) fn read(partial: &Path) -> Option<Record> {
        let file = File::open(Record::path_of(partial)).ok()?;
        let mut text = String::new();
        file.take(MAX_RECORD_BYTES).read_to_string(&mut text).ok()?;
        let mut lines =
            text.lines().filter_map(|line| serde_json::from_str::<RecordLine>(line).ok());
        let first = lines.next()?;
        let mut record = Record::new(&first.name, first.size);
        record.urls.insert(first.url);
        record.urls.extend(lines.map(|line| line.url));
        Some(record)
    }

    /// Whether bytes of this source are in the file.
    pub(super) fn names(&self, source: &Source) -> bool {
        self.urls.contains(&url_of(source))
    }

    /// Servents whose bytes are in the file.
    pub(super) fn servents(&self) -> usize {
        let servents: BTreeSet<_> =
            self.urls.iter().map(|url| url.split('/').nth(2).unwrap_or(url)).collect();
        servents.len()
    }

    /// Records on the disk that bytes of `source` come next in `partial`.
    pub(super) fn add(&mut self, partial: &Path, source: &Source) -> io::Result<()> {
        if self.names(source) {
            return Ok(());
        }
        let url = url_of(source);
        let line = RecordLine { name: self.name.clone(), size: self.size, url };
        // Starts a new line, since the last one may be torn.
        let text = format!("\n{}\n", serde_json::to_string(&line)?);
        let mut options = OpenOptions::new();
        let (options, text) = match self.urls.is_empty() {
            true => (options.write(true).create(true).truncate(true), &text[1..]),
            false => (options.append(true), &text[..]),
        };
        let mut file = options.open(Record::path_of(partial))?;
        file.write_all(text.as_bytes())?;
        file.sync_data()?;
        self.urls.insert(line.url);
        Ok(())
    }

    /// Renames the record with its partial file, or removes it.
    pub(super) fn follow(from: &Path, to: Option<&Path>) -> io::Result<()> {
        let record = Record::path_of(from);
        match to {
            Some(to) => fs::rename(record, Record::path_of(to)),
            None => fs::remove_file(record),
        }
    }
}

fn url_of(source: &Source) -> String {
    let Source { addr, index, name, .. } = source;
    let (host, port) = (addr.ip().to_string(), addr.port());
    TransferUrl { host, port, index: *index, name: name.clone() }.to_string()
}
