//! The hits of the last search, for `servent get NUMBER`: `$XDG_STATE_HOME/servent/last-search`, one
//! JSON object a line, in the order in which they came. Their files are numbered in that order.

use super::exit::Failure;
use super::output::count;
use crate::control::place;
use crate::plan::hit_record::HitRecord;
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

/// Longest file that is read; the longest that is written is far shorter.
const MAX_BYTES: u64 = 256 * 1024 * 1024;

fn path() -> io::Result<PathBuf> {
    Ok(place::states().map_err(io::Error::other)?.join("last-search"))
}

/// Replaces what was kept. A crash leaves the old hits or the new ones.
///
/// # Errors
/// When the disk refuses.
pub(super) fn save(hits: &[HitRecord]) -> io::Result<()> {
    let path = path()?;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut text = Vec::new();
    for hit in hits {
        serde_json::to_writer(&mut text, hit)?;
        text.push(b'\n');
    }
    // Several searches may end at once.
    let draft = path.with_extension(format!("{}.new", std::process::id()));
    // What was searched for is nobody else's business.
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(&text)?;
    fs::rename(&draft, &path)
}

/// The hits of a file by its number, from 1 on.
///
/// # Errors
/// When there was no search, or it found fewer files.
pub(super) fn file(number: usize) -> Result<Vec<HitRecord>, Failure> {
    let path = path().map_err(|error| Failure::usage(format!("no state folder: {error}")))?;
    let mut text = String::new();
    let read =
        fs::File::open(&path).and_then(|file| file.take(MAX_BYTES).read_to_string(&mut text));
    match read {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let text = format!(
                "file {number} of which search? None has found anything yet; search first: servent \
                 search WORDS"
            );
            return Err(Failure::usage(text));
        }
        Err(error) => {
            let text = format!("cannot read the last search in {}: {error}", path.display());
            return Err(Failure::disk(text));
        }
        Ok(_) => {}
    }
    let hits = text.lines().filter_map(|line| serde_json::from_str(line).ok());
    let mut files = by_file(hits);
    let found = files.len();
    match number.checked_sub(1).filter(|&at| at < found) {
        Some(at) => Ok(files.swap_remove(at)),
        None => Err(Failure::usage(format!(
            "there is no file {number}: the last search found {}, numbered from 1",
            count(found as u64, "file", "files")
        ))),
    }
}

/// Hits of the same name and size together, in the order of the first of each.
fn by_file(hits: impl Iterator<Item = HitRecord>) -> Vec<Vec<HitRecord>> {
    let mut files: Vec<Vec<HitRecord>> = Vec::new();
    let mut numbers = BTreeMap::new();
    for hit in hits {
        let at = *numbers.entry((hit.name.clone(), hit.size)).or_insert(files.len());
        if at == files.len() {
            files.push(Vec::new());
        }
        files[at].push(hit);
    }
    files
}
