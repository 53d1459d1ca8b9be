//! What the nodes share: files of one catalogue, of which few are common and most are rare.

use super::topology::unit;
use crate::library::{Library, LibraryBuilder};
use crate::rng::Rng;

/// Words of the catalogue files are named from.
const WORDS: usize = 2_000;
/// Different files in all; the first is the most popular (Zipf with exponent 1).
const CATALOGUE: usize = 5_000;

/// `count` files.
pub(super) fn some_files(count: usize, rng: &mut Rng) -> Library {
    let mut builder = LibraryBuilder::new();
    for number in (1..).take(count) {
        let file = some_file(rng);
        let added = builder.add(number, &format!("{}.ogg", name_of(file)), 1_000 + file as u64);
        debug_assert!(added.is_ok(), "the catalogue's names are sound");
    }
    loop {
        if let Some(library) = builder.step(1_000) {
            return library;
        }
    }
}

/// A file, by popularity.
pub(super) fn some_file(rng: &mut Rng) -> usize {
    zipf(CATALOGUE, rng)
}

/// A rank from 0, where rank k comes up in proportion to 1 / (k + 1).
fn zipf(count: usize, rng: &mut Rng) -> usize {
    // Inverse of the continuous distribution with the same density, cut to whole ranks.
    let rank = ((count as f64 + 1.0).powf(unit(rng)) - 1.0).floor();
    #[expect(clippy::cast_possible_truncation, reason = "it is below count + 1")]
    #[expect(clippy::cast_sign_loss, reason = "a power above one, less one")]
    let rank = rank as usize;
    rank.min(count - 1)
}

/// Three words that no two files share in all.
pub(super) fn name_of(file: usize) -> String {
    let word = |n: usize| format!("w{:03}", n % WORDS);
    format!("{} {} f{file:04}", word(file * 7), word(file * 13 + 5))
}
