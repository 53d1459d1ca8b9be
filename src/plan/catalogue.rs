//! The catalogue of generated files: a few are popular, most are rare (Zipf).

use super::chance::zipf;
use crate::rng::Rng;

/// First word of a name.
const KINDS: [&str; 40] = [
    "striped", "red", "quiet", "early", "golden", "little", "wild", "blue", "distant", "slow",
    "green", "old", "silver", "warm", "lonely", "bright", "winter", "hidden", "white", "gentle",
    "summer", "deep", "broken", "happy", "black", "northern", "paper", "sleepy", "electric",
    "grey", "autumn", "velvet", "southern", "crystal", "midnight", "wooden", "spring", "rusty",
    "second", "last",
];
/// Second word of a name. The lengths of the lists are coprime, so that all pairs occur.
const THINGS: [&str; 47] = [
    "zebra",
    "river",
    "mountain",
    "piano",
    "garden",
    "train",
    "forest",
    "guitar",
    "ocean",
    "window",
    "lantern",
    "tiger",
    "harbour",
    "violin",
    "desert",
    "bridge",
    "storm",
    "island",
    "mirror",
    "falcon",
    "meadow",
    "engine",
    "candle",
    "castle",
    "rabbit",
    "tower",
    "drum",
    "valley",
    "comet",
    "market",
    "otter",
    "trumpet",
    "canyon",
    "kitchen",
    "wolf",
    "balloon",
    "glacier",
    "cello",
    "station",
    "orchard",
    "raven",
    "harp",
    "lighthouse",
    "marble",
    "fox",
    "waterfall",
    "heron",
];
/// Number of different files; the first is the most popular (Zipf, exponent 1).
const CATALOGUE: usize = 5_000;

/// A shared file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedFile {
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
}

fn shared(file: usize) -> SharedFile {
    SharedFile { name: format!("{}.ogg", name_of(file)), size: 1_000 + file as u64 }
}

/// All files, by number.
pub(crate) fn all_files() -> Vec<SharedFile> {
    (0..CATALOGUE).map(shared).collect()
}

/// `count` files, drawn by popularity.
#[cfg(feature = "testnet")]
pub(crate) fn some_files(count: usize, rng: &mut Rng) -> Vec<SharedFile> {
    (0..count).map(|_| shared(some_file(rng))).collect()
}

/// A file, drawn by popularity.
pub(crate) fn some_file(rng: &mut Rng) -> usize {
    some_file_by(1.0, rng)
}

/// A file, drawn by popularity with another exponent.
pub(crate) fn some_file_by(exponent: f64, rng: &mut Rng) -> usize {
    zipf(CATALOGUE, exponent, rng)
}

/// Two words and a number that no other file has: `striped zebra 0000` is the most popular.
pub(crate) fn name_of(file: usize) -> String {
    let (kind, thing) = (KINDS[file % KINDS.len()], THINGS[file % THINGS.len()]);
    format!("{kind} {thing} {file:04}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_differ_and_are_made_of_words() {
        let names: BTreeSet<String> = (0..CATALOGUE).map(name_of).collect();
        assert_eq!(names.len(), CATALOGUE);
        let words = names.iter().flat_map(|name| name.split(' ').take(2));
        let words: BTreeSet<&str> = words.collect();
        assert_eq!(words.len(), KINDS.len() + THINGS.len(), "no word stands for two things");
        assert!(words.iter().all(|word| word.bytes().all(|byte| byte.is_ascii_lowercase())));
    }
}
