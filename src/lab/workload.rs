//! The workload: nodes, their files and the lookups, the same for every system.
//!
//! Files come from the common catalogue of 5,000 by popularity (Zipf), so popular ones have many copies
//! and most have one or none; or they are named, node by node. Lookups ask for files by the same
//! popularity; where files are named, for a random copy, so as often as a file has copies. Half of them
//! give the whole name, half its first two words, which other files may share.

use super::directory::{matches, words};
use super::host::Wanted;
use super::options::Options;
use crate::plan::catalogue::{name_of, some_file_by};
use crate::rng::Rng;
use crate::wire::Guid;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Longer names do not fit into a message.
const MAX_NAME_BYTES: usize = 255;

/// Shorter words are not searched for, by themselves.
const MIN_WORD_BYTES: usize = 3;

/// Nodes and files.
#[derive(Clone, Debug)]
pub struct Workload {
    /// The names of each node's files.
    pub files: Vec<Arc<[String]>>,
    /// The nodes that have each file.
    holders: BTreeMap<String, BTreeSet<usize>>,
    popularity: Popularity,
}

/// What lookups ask for.
#[derive(Clone, Debug)]
enum Popularity {
    /// Files of the catalogue, by Zipf's law with this exponent.
    Zipf(f64),
    /// One of these copies, by name.
    Copies(Vec<String>),
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
    /// As many nodes, with files of the catalogue by popularity.
    pub fn new(nodes: usize, options: &Options, rng: &mut Rng) -> Workload {
        Workload::with_files(vec![None; nodes], options, rng)
    }

    /// Nodes whose files have these names; for `None` they are drawn from the catalogue.
    pub fn with_files(
        named: Vec<Option<Vec<String>>>,
        options: &Options,
        rng: &mut Rng,
    ) -> Workload {
        let Options { files, zipf, .. } = *options;
        let is_named = named.iter().any(Option::is_some);
        let mut draw = |names: Option<Vec<String>>| -> BTreeSet<String> {
            let some = || (0..files).map(|_| name_of(some_file_by(zipf, rng))).collect();
            let names: Vec<String> = names.unwrap_or_else(some);
            names.into_iter().filter(|name| name.len() <= MAX_NAME_BYTES).collect()
        };
        let files: Vec<BTreeSet<String>> = named.into_iter().map(&mut draw).collect();
        let mut holders: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
        for (node, name) in
            (0..).zip(&files).flat_map(|(node, it)| it.iter().map(move |n| (node, n)))
        {
            holders.entry(name.clone()).or_default().insert(node);
        }
        let popularity = match is_named {
            true => Popularity::Copies(files.iter().flatten().cloned().collect()),
            false => Popularity::Zipf(zipf),
        };
        let files = files.into_iter().map(|names| names.into_iter().collect()).collect();
        Workload { files, holders, popularity }
    }

    /// The name of a file to look for, by popularity.
    fn some_name(&self, rng: &mut Rng) -> Option<String> {
        match &self.popularity {
            Popularity::Zipf(exponent) => Some(name_of(some_file_by(*exponent, rng))),
            Popularity::Copies(names) if names.is_empty() => None,
            Popularity::Copies(names) => Some(names[rng.below(names.len())].clone()),
        }
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
            let name = workload.some_name(&mut self.rng)?;
            let guid = Guid::random(&mut self.rng);
            let exact = self.drawn.is_multiple_of(2);
            let text = if exact { name } else { first_words(&name)? };
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

/// The first two words of a name that are long enough. `None` if there are none.
fn first_words(name: &str) -> Option<String> {
    let long = words(name).filter(|word| word.len() >= MIN_WORD_BYTES);
    let first: Vec<&str> = long.take(2).collect();
    (!first.is_empty()).then(|| first.join(" "))
}
