//! The workload: nodes, their files and the lookups, the same for every system.
//!
//! Files come from the common catalogue of 5,000 by popularity (Zipf), so popular ones
//! have many copies and most have one or none. Lookups ask for files by the same popularity. Half of
//! them give the whole name, half its first two words, which up to three files share.

use super::directory::matches;
use super::host::Wanted;
use super::options::Options;
use crate::plan::catalogue::{name_of, some_file_by};
use crate::rng::Rng;
use crate::wire::Guid;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Nodes and files.
#[derive(Clone, Debug)]
pub struct Workload {
    /// The names of each node's files.
    pub files: Vec<Arc<[String]>>,
    /// The nodes that have each file.
    holders: BTreeMap<String, BTreeSet<usize>>,
    /// Exponent of the files' popularity.
    zipf: f64,
}

/// A lookup and what it should find.
#[derive(Clone, Debug)]
pub(super) struct Lookup {
    /// The node that asks.
    pub from: usize,
    /// What it asks.
    pub wanted: Wanted,
    /// The copies at other nodes that were up when it began: name and holder.
    pub copies: BTreeSet<(String, usize)>,
}

/// Draws lookups one after the other.
#[derive(Clone, Debug)]
pub(super) struct Lookups {
    rng: Rng,
    drawn: usize,
}

impl Workload {
    /// As many nodes, with files by popularity.
    pub fn new(nodes: usize, options: &Options, rng: &mut Rng) -> Workload {
        let Options { files, zipf, .. } = *options;
        let mut holders: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
        let mut draw = |node| {
            let names: BTreeSet<String> =
                (0..files).map(|_| name_of(some_file_by(zipf, rng))).collect();
            for name in &names {
                holders.entry(name.clone()).or_default().insert(node);
            }
            names.into_iter().collect()
        };
        let files = (0..nodes).map(&mut draw).collect();
        Workload { files, holders, zipf }
    }

    /// Whether a node has a file of this name.
    pub(super) fn has(&self, node: usize, name: &str) -> bool {
        self.holders.get(name).is_some_and(|holders| holders.contains(&node))
    }

    /// The copies that a text stands for, at nodes that `is_there` accepts.
    fn copies_of(
        &self,
        wanted: &Wanted,
        is_there: impl Fn(usize) -> bool,
    ) -> BTreeSet<(String, usize)> {
        let named = self.holders.iter().filter(|(name, _)| match wanted.exact {
            true => **name == wanted.text,
            false => matches(name, &wanted.text),
        });
        let pairs = named.flat_map(|(name, holders)| holders.iter().map(move |&node| (name, node)));
        let there = pairs.filter(|&(_, node)| is_there(node));
        there.map(|(name, node)| (name.clone(), node)).collect()
    }
}

impl Lookups {
    /// Lookups of this seed.
    pub(super) fn new(seed: u64) -> Lookups {
        Lookups { rng: Rng::new(seed), drawn: 0 }
    }

    /// The next lookup by a node that is up, of which another such node has a copy. `None` if a
    /// thousand draws bring none.
    pub(super) fn next(
        &mut self,
        workload: &Workload,
        is_up: impl Fn(usize) -> bool,
    ) -> Option<Lookup> {
        (0..1_000).find_map(|_| {
            let from = self.rng.below(workload.files.len());
            let file = some_file_by(workload.zipf, &mut self.rng);
            let (guid, name) = (Guid::random(&mut self.rng), name_of(file));
            let exact = self.drawn.is_multiple_of(2);
            let words = name.rsplit_once(' ').map_or(&*name, |(words, _)| words);
            let text = if exact { name.clone() } else { words.to_owned() };
            let wanted = Wanted { guid, text, exact };
            if !is_up(from) {
                return None;
            }
            let copies = workload.copies_of(&wanted, |node| node != from && is_up(node));
            if copies.is_empty() {
                return None;
            }
            self.drawn += 1;
            Some(Lookup { from, wanted, copies })
        })
    }
}
