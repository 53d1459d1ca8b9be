//! The index against a plain matcher, and the slices it is built in.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

fn library<S: AsRef<str>>(names: &[S]) -> Library {
    build(names, usize::MAX)
}

/// Numbers descend, so that they never are positions by chance.
fn build<S: AsRef<str>>(names: &[S], budget: usize) -> Library {
    let mut builder = LibraryBuilder::new();
    for (name, number) in names.iter().zip((0..5_000_000).rev()) {
        builder.add(number, name.as_ref(), u64::from(number)).expect("fits");
    }
    loop {
        if let Some(library) = builder.step(budget) {
            return library;
        }
    }
}

fn search<'a>(library: &'a Library, text: &str) -> Vec<&'a str> {
    let mut criteria = Criteria::parse(text.as_bytes()).expect("answerable");
    let (mut found, mut at_once) = (Vec::new(), Vec::new());
    library.search(&criteria, usize::MAX, &mut found);
    let read = library.search_text(text.as_bytes(), &mut criteria, usize::MAX, &mut at_once);
    assert_eq!((read.is_ok(), &at_once), (true, &found), "{text:?} read while it is searched for");
    let mut names: Vec<_> = found.iter().map(|entry| entry.name).collect();
    names.sort_unstable();
    names
}

/// The rule of matching, written down without any thought of speed.
fn plainly_matches(name: &str, criteria: &str) -> bool {
    let words = |text: &str| -> Vec<String> {
        let folded: String = text.nfkd().filter(|&c| !is_combining_mark(c)).collect();
        let folded = folded.to_lowercase().replace('ς', "σ");
        folded.split(|c: char| !c.is_alphanumeric()).map(str::to_owned).collect()
    };
    let asked: Vec<_> = words(criteria).into_iter().filter(|w| w.chars().count() > 1).collect();
    !asked.is_empty() && asked.iter().all(|w| words(name).iter().any(|n| n.starts_with(w)))
}

#[test]
fn every_word_must_begin_a_word_of_the_name_in_any_order() {
    let library = library(&["Free-BSD Notes.txt", "freedom.ogg", "bsd free free.iso"]);
    assert_eq!(search(&library, "FREE notes"), ["Free-BSD Notes.txt"]);
    assert_eq!(search(&library, "bsd free"), ["Free-BSD Notes.txt", "bsd free free.iso"]);
    assert_eq!(search(&library, "ogg x"), ["freedom.ogg"], "one-letter words are passed over");
    assert_eq!(search(&library, "fre").len(), 3);
    assert_eq!(search(&library, "free xyzzy"), [""; 0]);
    assert_eq!(search(&library, "reedom"), [""; 0], "substrings do not match");
}

#[test]
fn files_are_found_by_number_and_by_name_if_it_is_unique() {
    let mut builder = LibraryBuilder::new();
    for (number, name, size) in [(9, "twice", 1), (7, "once", u64::MAX), (1 << 31, "twice", 3)] {
        builder.add(number, name, size).expect("fits");
    }
    assert_eq!(builder.add(7, "other", 1), Err(AddError::NumberTaken(7)));
    for unfit in ["", "nul\0", &"x".repeat(MAX_NAME_BYTES + 1)] {
        assert_eq!(builder.add(8, unfit, 1), Err(AddError::UnfitName));
    }
    assert!(builder.step(1).is_none());
    assert_eq!(builder.add(8, "late", 1), Err(AddError::Finishing));
    let library = builder.step(usize::MAX).expect("finished");

    let once = Entry { number: 7, name: "once", size: u64::MAX };
    assert_eq!(library.get(7), Some(once));
    assert_eq!(library.get(8), None);
    assert_eq!(library.by_unique_name("once"), Some(once));
    assert_eq!(library.by_unique_name("twice"), None);
    assert_eq!(library.by_unique_name("onc"), None);
    assert_eq!(library.entries().map(|e| e.number).collect::<Vec<_>>(), [7, 9, 1 << 31]);
    assert_eq!((library.len(), library.total_bytes()), (3, u64::MAX));
    builder.add(7, "again", 1).expect("the builder starts anew");
    assert_eq!(builder.step(usize::MAX).expect("finished").len(), 1);
}

#[test]
fn each_file_has_the_place_it_was_added_at() {
    let mut builder = LibraryBuilder::new();
    let folders: [(u32, &str, &[&str]); 5] = [
        (0, "", &["a", "c"]),
        (0, "empty", &[]),
        (0, "sub", &["b"]),
        (0, "sub/sub", &["a", "link", "z"]),
        (2, "sub", &["b"]),
    ];
    let mut number = 0;
    for (root, path, names) in folders {
        builder.enter(root, path);
        for name in names {
            number += 1;
            builder.add(number, name, 1).expect("fits");
            if *name == "link" {
                builder.set_link_target("sub/b");
            }
        }
    }
    let library = builder.step(usize::MAX).expect("finished");
    let mut numbers = 1..;
    for (root, path, names) in folders {
        let folder = library.folder(root as usize, path);
        assert_eq!(folder.is_some(), !names.is_empty(), "{root} {path}");
        for (name, number) in names.iter().zip(numbers.by_ref()) {
            let folder = folder.as_ref().expect("it has files");
            assert_eq!(library.find_in(folder, name), library.get(number), "{root} {path} {name}");
            assert_eq!(library.find_in(folder, "none"), None);
            let expected = match *name {
                "link" => Location { root: root as usize, folder: "", file: "sub/b" },
                file => Location { root: root as usize, folder: path, file },
            };
            assert_eq!(library.location(number), Some(expected));
            assert_eq!(library.link_target(number).is_some(), *name == "link");
        }
    }
    assert!(library.folder(1, "sub").is_none() && library.folder(0, "su").is_none());
    assert_eq!(library.location(number + 1), None);
    // Without folders there are no locations.
    assert_eq!(self::library(&["a"]).location(4_999_999), None);
}

#[test]
fn an_empty_library_finds_nothing() {
    for library in [Library::empty(), LibraryBuilder::new().step(100).expect("finished")] {
        assert_eq!(search(&library, "free notes"), [""; 0]);
        assert!(library.is_empty() && library.get(0).is_none());
        assert!(library.by_unique_name("").is_none());
    }
}

#[test]
fn a_search_stops_at_its_limit() {
    let library = library(&(0..10_000).map(|n| format!("same {n}.bin")).collect::<Vec<_>>());
    let criteria = Criteria::parse(b"same bin").expect("answerable");
    let mut found = Vec::new();
    library.search(&criteria, 50, &mut found);
    assert_eq!(found.len(), 50);
    library.search(&criteria, 0, &mut found);
    assert_eq!(found.len(), 50);
    library.search(&criteria, usize::MAX, &mut found);
    assert_eq!(found.len(), 10_050);
    assert_eq!(found.iter().map(|e| e.number).collect::<BTreeSet<_>>().len(), 10_000);
    assert_eq!(format!("{library:?}").matches("10000").count(), 1, "{library:?}");
}

#[test]
fn each_step_keeps_to_its_budget() {
    let names: Vec<_> = (0..2000).map(|n| format!("common word{n} {}.mp3", n % 7)).collect();
    // Three words in each name: 2002 words to move, and 3 + 2 units for each file. Room for
    // postings and names, and bitmaps, add a little.
    let work = 2002 + 2000 * 5;
    let mut builder = LibraryBuilder::new();
    for (name, number) in names.iter().zip(0..) {
        builder.add(number, name, 1).expect("fits");
    }
    let steps = 1 + (0..).take_while(|_| builder.step(100).is_none()).count();
    assert!(steps > work / 100 && steps < work / 100 * 2, "{steps} steps");
}

/// Names over few words and letters, so that every shape of query finds, misses and repeats.
fn text() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        4 => "[ab]{1,4}",
        2 => prop::sample::select(vec![
            "the", "mp3", "Café", "cafe\u{301}", "CAFES", "ﬁn", "fin", "日本語", "日本", "ΟΔΟΣ",
            "οδο", "İz", "iz", "x", "é", "e\u{301}", "०१", "½", "한글",
        ]).prop_map(str::to_owned),
        1 => "\\PC{0,6}",
    ];
    let separator = prop::sample::select(vec![" ", "_", ".", "-", "", "  "]);
    prop::collection::vec((word, separator), 1..6)
        .prop_map(|pairs| pairs.into_iter().map(|(word, sep)| word + sep).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Repeating the names makes the library large enough for bitmaps in about half of the cases,
    /// with common and rare words side by side.
    #[test]
    fn the_index_agrees_with_a_plain_matcher(
        some in prop::collection::vec(text(), 1..60),
        copies in prop::sample::select(vec![1_usize, 1, 60]),
        rare in prop::collection::vec(text(), 0..60),
        queries in prop::collection::vec(text(), 1..20),
        budget in 1_usize..40,
    ) {
        let mut names: Vec<String> = some.iter().cycle().take(some.len() * copies).cloned().collect();
        names.extend(rare);
        names.retain(|name| !name.is_empty());
        let library = build(&names, budget);
        for query in &queries {
            let mut expected: Vec<&str> =
                names.iter().map(String::as_str).filter(|n| plainly_matches(n, query)).collect();
            expected.sort_unstable();
            match Criteria::parse(query.as_bytes()) {
                Ok(_) => prop_assert_eq!(search(&library, query), expected, "query {:?}", query),
                Err(_) => prop_assert!(expected.is_empty(), "query {:?}", query),
            }
        }
    }
}
