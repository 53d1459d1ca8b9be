//! Rules about the source itself: which module may know which, and what the core must never touch.

use std::fs;
use std::path::Path;

/// Modules of the core: no clock, sockets, files, threads or globals.
const CORE: [&str; 7] = ["wire", "library", "transfer", "servent", "net", "rules", "lab"];

/// What the core must not name, and why.
const AMBIENT: [(&str, &str); 17] = [
    ("mio", "the core owns no sockets"),
    ("std::fs", "the core owns no files"),
    ("std::net::Tcp", "the core owns no sockets"),
    ("TcpStream", "the core owns no sockets"),
    ("TcpListener", "the core owns no sockets"),
    ("std::thread", "the core owns no threads"),
    ("std::time::Instant", "time is crate::time::Instant, handed in"),
    ("SystemTime", "time is crate::time::Instant, handed in"),
    ("Instant::now", "time is handed in"),
    ("static mut", "the core has no globals"),
    ("OnceLock", "the core has no globals"),
    ("LazyLock", "the core has no globals"),
    ("thread_local", "the core has no globals"),
    ("rand::", "randomness is crate::rng::Rng, handed in"),
    ("new_v4", "randomness is crate::rng::Rng, handed in"),
    ("HashMap", "its order differs from run to run"),
    ("HashSet", "its order differs from run to run"),
];

/// Whom a module may name, itself aside. `lib` and `main` may name all.
const KNOWS: [(&str, &[&str]); 23] = [
    ("time", &[]),
    ("rare", &[]),
    ("rng", &[]),
    ("wire", &["rng"]),
    ("config", &["wire"]),
    ("stats", &["rare", "wire"]),
    ("library", &["wire"]),
    ("transfer", &["time", "wire"]),
    ("servent", &["config", "library", "rare", "rng", "stats", "time", "transfer", "wire"]),
    ("net", &["rng", "time", "wire"]),
    ("rules", &["time", "wire"]),
    ("plan", &["rng", "time", "wire"]),
    ("capture", &["wire"]),
    (
        "sim",
        &[
            "config", "library", "net", "plan", "rng", "rules", "servent", "stats", "time",
            "transfer", "wire",
        ],
    ),
    (
        "lab",
        &["config", "library", "net", "plan", "rng", "rules", "servent", "sim", "time", "wire"],
    ),
    (
        "fuzzing",
        &[
            "config", "http", "library", "net", "plan", "rng", "rules", "servent", "sim", "stats",
            "time", "transfer", "wire",
        ],
    ),
    ("driver", &["config", "library", "rng", "servent", "stats", "time", "transfer", "wire"]),
    ("text", &["transfer"]),
    ("control", &["plan"]),
    ("http", &["control"]),
    (
        "daemon",
        &[
            "config", "control", "driver", "http", "library", "plan", "servent", "stats", "text",
            "time", "transfer", "wire",
        ],
    ),
    (
        "testnet",
        &[
            "capture", "control", "driver", "http", "library", "plan", "rng", "rules", "stats",
            "time", "wire",
        ],
    ),
    (
        "cli",
        &[
            "capture", "config", "control", "daemon", "driver", "http", "lab", "library", "plan",
            "rng", "servent", "sim", "stats", "testnet", "text", "time", "transfer", "wire",
        ],
    ),
];

/// Crates that only some modules may name.
const CRATES: [(&str, &[&str]); 8] = [
    ("clap::", &["cli"]),
    ("toml::", &["cli"]),
    ("indicatif::", &["cli", "text"]),
    ("env_logger::", &["cli"]),
    ("etherparse::", &["capture"]),
    ("pcap_parser::", &["capture"]),
    ("mio::", &["cli", "daemon", "driver", "http", "testnet"]),
    ("flate2::", &["wire"]),
];

/// Parts of the core: they hold state and must not know the façade that holds them.
const PARTS: [&str; 17] = [
    "servent/bridge.rs",
    "servent/budget.rs",
    "servent/connection/",
    "servent/dialer/",
    "servent/downloads.rs",
    "servent/dynamic_query.rs",
    "servent/encoded.rs",
    "servent/link_key.rs",
    "servent/links.rs",
    "servent/outbox.rs",
    "servent/per_address.rs",
    "servent/push_replies.rs",
    "servent/query_routing/",
    "servent/requests.rs",
    "servent/routing/",
    "servent/timers.rs",
    "servent/uploads.rs",
];

/// Who must not name whom inside the core: (part, what it must not name).
const INNER_DIRECTIONS: [(&str, &[&str]); 6] = [
    ("servent/routing/", &["connection", "links", "dialer", "requests", "uploads", "downloads"]),
    ("servent/connection/", &["links", "dialer", "requests", "uploads", "downloads"]),
    ("servent/links.rs", &["routing", "dialer", "requests", "uploads", "downloads"]),
    ("servent/dialer/", &["routing", "requests", "uploads", "downloads"]),
    ("servent/uploads.rs", &["links", "routing", "dialer", "requests", "downloads"]),
    ("servent/downloads.rs", &["links", "routing", "dialer", "requests", "uploads"]),
];

const MAX_LINES: usize = 700;

/// What is wrong with one file; `path` is relative to `src`.
fn check(path: &str, text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let module = path.split(['/', '.']).next().unwrap_or_default();
    let is_tests = path.ends_with("tests.rs");
    let known = KNOWS.iter().find(|(who, _)| *who == module).map(|(_, known)| *known);
    if known.is_none() && !["lib", "main"].contains(&module) {
        wrong.push(format!("{path}: KNOWS does not say whom {module} may know"));
    }
    let known = known.unwrap_or_default();
    let lines = text.lines().count();
    if lines > MAX_LINES {
        wrong.push(format!("{path}: {lines} lines, at most {MAX_LINES} are allowed: split it"));
    }
    if !text.starts_with("//!") {
        wrong.push(format!("{path}: should start with a //! that says what the module owns"));
    }
    let expanded = expand_std_groups(&join_uses(text));
    // Tests inside a module may use what they like.
    let code = expanded.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    for (number, line) in (1..).zip(code.lines()) {
        let line = line.split("//").next().unwrap_or_default();
        if CORE.contains(&module) && !is_tests {
            for (word, why) in AMBIENT {
                if names(line, word) {
                    wrong.push(format!("{path}:{number}: {word}: {why}"));
                }
            }
        }
        for (other, _) in KNOWS.iter().filter(|(other, _)| !known.contains(other)) {
            let named = names(line, &format!("crate::{other}"))
                || line.contains("crate::{") && names(line, other);
            if named && *other != module {
                wrong.push(format!("{path}:{number}: {module} must not know {other}"));
            }
        }
        for (other, who) in CRATES {
            if names(line, other) && !who.contains(&module) {
                wrong.push(format!("{path}:{number}: {module} must not name {other}"));
            }
        }
        let facade = line.contains("impl Servent") || is_use(line) && names(line, "Servent");
        if facade && PARTS.iter().any(|part| path.starts_with(part)) {
            wrong.push(format!("{path}:{number}: a part of the core must not know the façade"));
        }
        let inner = INNER_DIRECTIONS.iter().filter(|(part, _)| path.starts_with(part));
        for other in inner.flat_map(|(_, others)| *others) {
            if is_use(line)
                && ["super::", "servent::"].iter().any(|at| line.contains(at))
                && names(line, other)
            {
                wrong.push(format!("{path}:{number}: this part must not know {other}"));
            }
        }
    }
    wrong.dedup();
    wrong
}

fn is_use(line: &str) -> bool {
    ["use ", "pub use ", "pub(super) use "].iter().any(|start| line.trim().starts_with(start))
}

/// Whether `word` stands in `line`, not as the end of a longer name.
fn names(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let part_of_name = |c: char| c.is_alphanumeric() || c == '_';
        let open_end = word.ends_with([':', '_']) || word.ends_with("Tcp");
        !before.is_some_and(part_of_name) && (open_end || !after.is_some_and(part_of_name))
    })
}

/// A `use` of several lines on its first, so that numbers still fit.
fn join_uses(text: &str) -> String {
    let mut out = String::new();
    let mut held = 0;
    for line in text.lines() {
        let starts =
            ["use ", "pub use ", "pub(crate) use "].iter().any(|u| line.trim().starts_with(u));
        if (starts || held > 0) && !line.contains(';') {
            out.push_str(line);
            held += 1;
            continue;
        }
        out.push_str(line);
        out.push_str(&"\n".repeat(held + 1));
        held = 0;
    }
    out
}

/// `use std::{fs, thread};` says `std::fs` and `std::thread`.
fn expand_std_groups(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        out.push_str(line);
        for root in ["std::", "std::time::", "std::net::"] {
            let group = line.split_once(&format!("{root}{{")).map(|(_, group)| group);
            for item in group.into_iter().flat_map(|group| group.split([',', '}'])) {
                out.push_str(&format!(" {root}{}", item.trim()));
            }
        }
        out.push('\n');
    }
    out
}

fn check_tree(root: &Path, below: &Path, wrong: &mut Vec<String>) -> usize {
    let mut files = 0;
    for entry in fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files += check_tree(root, &path, wrong);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let relative = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
            wrong.extend(check(&relative, &fs::read_to_string(&path).unwrap()));
            files += 1;
        }
    }
    files
}

#[test]
fn the_source_keeps_its_own_rules() {
    let src = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"));
    let mut wrong = Vec::new();
    let files = check_tree(src, src, &mut wrong);
    assert!(files > 30, "only {files} files were looked at");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_rule_fires() {
    let broken = [
        ("wire/a.rs", "use mio::Token;"),
        ("servent/a.rs", "use std::fs;"),
        ("servent/a.rs", "use std::{fmt, fs};"),
        ("library/a.rs", "let t = std::thread::spawn(f);"),
        ("transfer/a.rs", "use std::net::TcpStream;"),
        ("transfer/a.rs", "use std::net::{Ipv4Addr, TcpListener};"),
        ("servent/a.rs", "use std::time::Instant;"),
        ("servent/a.rs", "use std::time::{Duration, Instant};"),
        ("servent/a.rs", "let now = SystemTime::now();"),
        ("wire/a.rs", "static mut COUNT: u32 = 0;"),
        ("wire/a.rs", "static A: OnceLock<u8> = OnceLock::new();"),
        ("wire/a.rs", "thread_local! { static A: u8 = 0; }"),
        ("servent/a.rs", "let n = rand::random();"),
        ("wire/guid.rs", "Uuid::new_v4()"),
        ("servent/a.rs", "use std::collections::HashMap;"),
        ("wire/a.rs", "use crate::servent::Hit;"),
        ("wire/a.rs", "use crate::library::Library;"),
        ("library/a.rs", "use crate::servent::Hit;"),
        ("transfer/a.rs", "use crate::{servent::Hit, time};"),
        ("servent/a.rs", "use crate::driver::Driver;"),
        ("servent/a.rs", "use std::{\n    fmt,\n    fs,\n};"),
        ("servent/a.rs", "use crate::{\n    sim,\n    time,\n};"),
        ("driver/a.rs", "use crate::sim::Net;"),
        ("sim/a.rs", "use crate::driver::Driver;"),
        ("net/a.rs", "use crate::servent::Servent;"),
        ("net/a.rs", "use crate::config::Config;"),
        ("rules/a.rs", "use crate::net::Crossing;"),
        ("rules/a.rs", "use std::thread;"),
        ("driver/a.rs", "use crate::rules::Rule;"),
        ("testnet/a.rs", "use crate::servent::Servent;"),
        ("fuzzing.rs", "use crate::driver::Driver;"),
        ("config.rs", "use crate::driver::Driver;"),
        ("plan/a.rs", "use crate::capture::Capture;"),
        ("capture/a.rs", "use crate::plan::Plan;"),
        ("library/a.rs", "use crate::{time::Instant, transfer::Head};"),
        ("room/a.rs", "use crate::wire::Kind;"),
        ("driver/a.rs", "use indicatif::ProgressBar;"),
        ("plan/a.rs", "#[derive(clap::Args)]"),
        ("plan/a.rs", "toml::from_str(text)"),
        ("driver/a.rs", "env_logger::init();"),
        ("testnet/a.rs", "use etherparse::PacketBuilder;"),
        ("cli/a.rs", "use pcap_parser::PcapError;"),
        ("sim/a.rs", "use mio::Token;"),
        ("capture/a.rs", "use flate2::Decompress;"),
        ("servent/uploads.rs", "impl Servent {"),
        ("servent/dialer/a.rs", "use crate::servent::{LinkKey, Servent};"),
        ("servent/routing/a.rs", "use crate::servent::links::Links;"),
        ("servent/uploads.rs", "use super::{downloads::Downloads, io};"),
    ];
    for (path, line) in broken {
        let text = format!("//! About.\n{line}\n");
        assert_ne!(check(path, &text), [""; 0], "{path}: {line}");
    }
    assert_ne!(check("cli/a.rs", "use std::fs;\n"), [""; 0], "no //!");
    let long = "//! About.\n".repeat(MAX_LINES + 1);
    assert_ne!(check("cli/a.rs", &long), [""; 0], "too long");
}

#[test]
fn what_is_allowed_is_not_complained_about() {
    let fine = [
        ("driver/mod.rs", "use crate::servent::Servent; use std::fs; use mio::Poll;"),
        ("cli/run.rs", "use crate::driver::Driver;"),
        ("servent/a.rs", "use crate::time::Instant;\nuse std::time::Duration;"),
        ("servent/a.rs", "// mio would want std::fs here"),
        ("servent/a.rs", "let brand::new = commiodore;"),
        ("transfer/a.rs", "let operand = x; use crate::wire::http_head;"),
        (
            "library/a.rs",
            "//! Knows std::fs by name only\n#[cfg(test)]\nmod tests {\n use std::fs;",
        ),
    ];
    for (path, text) in fine {
        let text = format!("//! About.\n{text}\n");
        assert_eq!(check(path, &text), [""; 0], "{text}");
    }
}
