//! A directory of files: pairs of name and holder, found by whole name or by words.

use super::host::Held;
use super::message::{Fields, Reader};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;

/// Most holders in one answer. An answer stays below 64 KiB.
const MAX_HOLDERS: usize = 4_000;

/// The words of a name or a text.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}

/// Whether a name has all words of a text, in any case.
pub(super) fn matches(name: &str, text: &str) -> bool {
    words(text).all(|word| words(name).any(|other| other.eq_ignore_ascii_case(word)))
}

/// See the module documentation.
#[derive(Clone, Debug, Default)]
pub(super) struct Directory {
    holders: BTreeMap<String, BTreeSet<SocketAddrV4>>,
    names: BTreeMap<String, BTreeSet<String>>,
    held: Held,
}

impl Directory {
    /// A node has a file.
    pub(super) fn add(&mut self, name: &str, holder: SocketAddrV4) {
        if self.holders.entry(name.to_owned()).or_default().insert(holder) {
            self.held = self.held.and(Held::new(1, name.len() + 6));
        }
        for word in words(name) {
            self.names.entry(word.to_ascii_lowercase()).or_default().insert(name.to_owned());
        }
    }

    /// A node is gone with all its files.
    pub(super) fn forget(&mut self, holder: SocketAddrV4) {
        for (name, holders) in &mut self.holders {
            if holders.remove(&holder) {
                self.held.entries -= 1;
                self.held.bytes -= name.len() + 6;
            }
        }
    }

    /// Whether it has this pair, and finds it by each word of the name.
    pub(super) fn has(&self, name: &str, holder: SocketAddrV4) -> bool {
        let is_found = |word: &str| {
            let names = self.names.get(&word.to_ascii_lowercase());
            names.is_some_and(|names| names.contains(name))
        };
        self.holders.get(name).is_some_and(|holders| holders.contains(&holder))
            && words(name).all(is_found)
    }

    /// Its entries.
    pub(super) fn state(&self) -> Held {
        self.held
    }

    /// The fields that answer a lookup; `None` if nothing fits.
    pub(super) fn answer(&self, text: &str) -> Option<Fields> {
        let listed = words(text).map(|word| self.names.get(&word.to_ascii_lowercase()).ok_or(()));
        let mut listed: Vec<&BTreeSet<String>> = listed.collect::<Result<_, ()>>().ok()?;
        listed.sort_by_key(|names| names.len());
        let (mut fields, mut room, mut any) = (Fields::new(), MAX_HOLDERS, false);
        for name in listed.first()?.iter().filter(|name| matches(name, text)) {
            let Some(holders) = self.holders.get(name).filter(|holders| !holders.is_empty()) else {
                continue;
            };
            let some: Vec<SocketAddrV4> = holders.iter().copied().take(room).collect();
            room -= some.len();
            any |= !some.is_empty();
            fields = fields.text(name).addrs(some.into_iter());
        }
        any.then_some(fields)
    }
}

/// Names and holders in the fields of an answer.
pub(super) fn answered<'a>(
    mut fields: Reader<'a>,
) -> impl Iterator<Item = (&'a str, Vec<SocketAddrV4>)> {
    std::iter::from_fn(move || Some((fields.text()?, fields.addrs()?)))
}
