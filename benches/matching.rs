//! Time of a search in the library; reference: a scan of all names.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on stops")]
#![allow(clippy::cast_possible_truncation, reason = "figures are far below")]

mod support;

use servent::library::{Criteria, Library, LibraryBuilder};
use servent::rng::Rng;
use std::hint::black_box;
use std::time::Instant;
use support::{Spread, each_of, heading, repetitions, resident, row};

const WORDS: usize = 20_000;
const RESULTS: usize = 255;

/// A random rank by Zipf's law with exponent 1.
fn zipf(rng: &mut Rng) -> usize {
    let unit = rng.below(1 << 30) as f64 / f64::from(1 << 30);
    ((WORDS as f64).powf(unit) - 1.0) as usize
}

/// The word of a rank. Many words share prefixes.
fn word(rank: usize) -> String {
    let letters = b"etaoinshrdlcumwfgypb";
    let mut number = rank + 400;
    let mut word = String::new();
    while number > 0 {
        word.push(char::from(letters[number % letters.len()]));
        number /= letters.len();
    }
    word
}

fn names(count: usize) -> Vec<String> {
    let mut rng = Rng::new(3);
    let name = |number| {
        let words: Vec<String> = (0..3 + rng.below(4)).map(|_| word(zipf(&mut rng))).collect();
        format!("{} {number}.ogg", words.join(" "))
    };
    (0..count).map(name).collect()
}

fn build(names: &[String]) -> Library {
    let mut builder = LibraryBuilder::new();
    for (number, name) in (1..).zip(names) {
        builder.add(number, name, 1).unwrap();
    }
    loop {
        if let Some(library) = builder.step(usize::MAX) {
            return library;
        }
    }
}

/// Matches by a scan: each word of the query is a prefix of a word of the name.
fn scan(names: &[String], query: &str) -> usize {
    let words: Vec<&str> = query.split(' ').collect();
    let has = |name: &str, word: &str| name.split([' ', '.']).any(|other| other.starts_with(word));
    names.iter().filter(|name| words.iter().all(|word| has(name, word))).take(RESULTS).count()
}

fn queries(names: &[String]) -> [(&'static str, Vec<String>); 5] {
    let mut rng = Rng::new(4);
    let mut many = |make: &mut dyn FnMut(&mut Rng) -> String| -> Vec<String> {
        (0..200).map(|_| make(&mut rng)).collect()
    };
    [
        ("no word matches", many(&mut |rng| format!("xq{} zz{}", rng.below(999), rng.below(99)))),
        (
            "the third word does not match",
            many(&mut |rng| format!("{} {} xqz", word(zipf(rng)), word(zipf(rng)))),
        ),
        (
            "three words of a name",
            many(&mut |rng| {
                let name = &names[rng.below(names.len())];
                name.split(' ').take(3).collect::<Vec<_>>().join(" ")
            }),
        ),
        (
            "two common words",
            many(&mut |rng| format!("{} {}", word(rng.below(10)), word(rng.below(10)))),
        ),
        (
            "prefixes of two letters",
            many(&mut |rng| {
                let cut = |rank| word(rank)[..2].to_owned();
                format!("{} {} {}", cut(rng.below(400)), cut(rng.below(400)), cut(rng.below(400)))
            }),
        ),
    ]
}

fn main() {
    for count in [10_000, 100_000, 1_000_000] {
        heading(&format!("{count} names"));
        let names = names(count);
        let before = resident(std::process::id());
        let begun = Instant::now();
        let library = build(&names);
        let built = begun.elapsed();
        let text: usize = names.iter().map(String::len).sum();
        let held = resident(std::process::id()).saturating_sub(before) as f64 / count as f64;
        row(
            "time to build, per name",
            &format!("{:.2} us", built.as_nanos() as f64 / 1e3 / count as f64),
        );
        let own = text as f64 / count as f64;
        row("resident, per name", &format!("{held:.0} B, {own:.0} B of them the name itself"));
        for (what, queries) in queries(&names) {
            let (mut criteria, mut found) = (Criteria::default(), Vec::new());
            let mut worst = 0f64;
            let mut run = || {
                each_of(queries.len(), || {
                    for query in &queries {
                        found.clear();
                        let begun = Instant::now();
                        let _ = library.search_text(
                            query.as_bytes(),
                            &mut criteria,
                            RESULTS,
                            &mut found,
                        );
                        worst = worst.max(begun.elapsed().as_nanos() as f64);
                        black_box(found.len());
                    }
                })
            };
            run();
            let runs = Spread::new((0..repetitions(9)).map(|_| run()).collect());
            let few = &queries[..5.min(20_000_000 / count)];
            let plain = each_of(few.len(), || {
                few.iter().for_each(|query| {
                    black_box(scan(&names, query));
                });
            });
            let ratio = plain / runs.median();
            row(
                what,
                &format!(
                    "{}, {ratio:.0} times faster than a scan; slowest single one {worst:.0} ns",
                    runs.show("ns")
                ),
            );
        }
    }
}
