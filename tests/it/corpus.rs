//! The committed fuzz corpus, replayed: what fuzzing once found, and what shows the shapes of the
//! protocol, keeps its promises in every ordinary test run.

use std::fs;
use std::path::Path;

type Body = fn(&[u8]);

const TARGETS: [(&str, Body); 14] = [
    ("deframe", servent::fuzzing::deframe),
    ("payload", servent::fuzzing::payload),
    ("handshake", servent::fuzzing::handshake),
    ("handshake06", servent::fuzzing::handshake06),
    ("ggep", servent::fuzzing::ggep),
    ("qrp", servent::fuzzing::qrp),
    ("codec", servent::fuzzing::codec),
    ("http", servent::fuzzing::http),
    ("http_server", servent::fuzzing::http_server),
    ("query_match", servent::fuzzing::query_match),
    ("route_table", servent::fuzzing::route_table),
    ("servent", servent::fuzzing::servent),
    ("transfer", servent::fuzzing::transfer),
    ("network", servent::fuzzing::network),
];

/// Bounds that keep the corpus small enough to be read.
const MAX_FILES: usize = 50;
const MAX_BYTES: usize = 4_096;

#[test]
fn every_corpus_file_keeps_its_promises() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (target, body) in TARGETS {
        let folder = corpus.join(target);
        let mut files: Vec<_> = fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        assert!(!files.is_empty(), "no corpus for {target}");
        assert!(files.len() <= MAX_FILES, "{target}: {} files, merge them", files.len());
        for file in files {
            let bytes = fs::read(&file).unwrap();
            assert!(bytes.len() <= MAX_BYTES, "{}: {} bytes", file.display(), bytes.len());
            // Shown only if the body panics.
            println!("{}", file.display());
            body(&bytes);
            for len in 0..bytes.len().min(256) {
                body(&bytes[..len]);
            }
        }
    }
}

#[test]
fn every_target_of_the_fuzzer_is_replayed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
    let mut found: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    found.sort();
    let mut known = TARGETS.map(|(target, _)| target);
    known.sort_unstable();
    assert_eq!(found, known);
}
