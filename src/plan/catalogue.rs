//! What the nodes share: files of one catalogue, of which few are common and most are rare.

use super::chance::zipf;
use crate::rng::Rng;

/// Words of the catalogue files are named from.
const WORDS: usize = 2_000;
/// Different files in all; the first is the most popular (Zipf with exponent 1).
const CATALOGUE: usize = 5_000;

/// A file to share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedFile {
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
}

/// `count` files, drawn by popularity.
pub(crate) fn some_files(count: usize, rng: &mut Rng) -> Vec<SharedFile> {
    let file = |_| {
        let file = some_file(rng);
        SharedFile { name: format!("{}.ogg", name_of(file)), size: 1_000 + file as u64 }
    };
    (0..count).map(file).collect()
}

/// A file, by popularity.
pub(crate) fn some_file(rng: &mut Rng) -> usize {
    zipf(CATALOGUE, rng)
}

/// Three words that no two files share in all.
pub(crate) fn name_of(file: usize) -> String {
    let word = |n: usize| format!("w{:03}", n % WORDS);
    format!("{} {} f{file:04}", word(file * 7), word(file * 13 + 5))
}
