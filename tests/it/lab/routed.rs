//! The systems that route: the length of their paths, success, and how they come back after deaths.

use super::{row, row_of, success};
use servent::lab::{Failure, SystemKind};

/// The systems that find whole names only.
const ROUTED: [SystemKind; 4] =
    [SystemKind::Chord, SystemKind::Pastry, SystemKind::Can, SystemKind::Freenet];

/// Those that find each key as long as its nodes live.
const TABLES: [SystemKind; 3] = [SystemKind::Chord, SystemKind::Pastry, SystemKind::Can];

#[test]
fn a_path_of_chord_is_half_the_logarithm_of_its_size() {
    half_the_logarithm(1_000);
}

#[test]
#[ignore = "takes a minute"]
fn a_path_of_chord_is_half_the_logarithm_of_its_size_at_10_000_nodes() {
    half_the_logarithm(10_000);
}

fn half_the_logarithm(nodes: usize) {
    let row = row(SystemKind::Chord, nodes, Failure::None);
    let (hops, expected) = (row.hops_mean.unwrap(), (nodes as f64).log2() / 2.0);
    assert!((hops / expected - 1.0).abs() < 0.05, "{hops} hops, {expected} expected: {row:?}");
    assert!(row.exact_success >= Some(0.99), "{row:?}");
}

#[test]
fn a_path_of_pastry_is_a_digit_a_link() {
    a_digit_a_link(1_000);
}

#[test]
#[ignore = "takes a minute"]
fn a_path_of_pastry_is_a_digit_a_link_at_10_000_nodes() {
    a_digit_a_link(10_000);
}

fn a_digit_a_link(nodes: usize) {
    let row = row(SystemKind::Pastry, nodes, Failure::None);
    let (hops, most) = (row.hops_mean.unwrap(), (nodes as f64).log(16.0) + 0.5);
    assert!(hops <= most, "{hops} hops, at most {most} expected: {row:?}");
    assert!(row.exact_success >= Some(0.99), "{row:?}");
}

#[test]
fn a_path_of_can_is_a_quarter_of_the_torus_in_each_dimension() {
    a_quarter_in_each_dimension(1_000);
}

#[test]
#[ignore = "takes a minute"]
fn a_path_of_can_is_a_quarter_of_the_torus_in_each_dimension_at_10_000_nodes() {
    a_quarter_in_each_dimension(10_000);
}

fn a_quarter_in_each_dimension(nodes: usize) {
    let row = row(SystemKind::Can, nodes, Failure::None);
    let (hops, expected) = (row.hops_mean.unwrap(), (nodes as f64).powf(0.25));
    assert!((hops / expected - 1.0).abs() < 0.1, "{hops} hops, {expected} expected: {row:?}");
    assert!(row.exact_success >= Some(0.99), "{row:?}");
}

#[test]
fn freenet_finds_most_files_and_sends_nothing_for_upkeep() {
    let row = row(SystemKind::Freenet, 1_000, Failure::None);
    assert!(row.exact_success >= Some(0.5), "{row:?}");
    assert_eq!(row.upkeep_messages_per_node_minute, 0.0, "{row:?}");
}

/// The first lookups of a network have longer ways than all of many, which the same seed begins with.
#[test]
fn a_path_of_freenet_gets_shorter_as_the_network_is_used() {
    let mean = |queries| {
        let row = row_of(SystemKind::Freenet, 1_000, Failure::None, queries);
        (row.hops_mean.unwrap(), row)
    };
    let ((early, few), (late, many)) = (mean(1_000), mean(10_000));
    assert!(late < 0.9 * early, "{early} to {late} hops: {few:?} {many:?}");
}

#[test]
fn routed_systems_find_whole_names_only() {
    for system in ROUTED {
        let row = row_of(system, 100, Failure::None, 400);
        assert!(row.exact_success >= Some(0.9), "{row:?}");
        assert_eq!(row.keyword_success, Some(0.0), "only whole names have a key");
    }
}

/// Owners that die leave copies at the nodes that own their keys next, so most keys are found at once
/// and all soon: Chord's rounds are of 10 s, Pastry's of 20 s, CAN's of 15 s.
#[test]
fn tables_find_the_keys_of_the_living_soon_after_losing_every_third_node() {
    for system in TABLES {
        let row = row_of(system, 300, Failure::Random(0.3), 600);
        assert!(row.exact_success >= Some(0.95), "{row:?}");
        assert!(row.recovery_seconds.is_some_and(|seconds| seconds <= 60.0), "{row:?}");
    }
}

#[test]
fn routed_systems_live_through_every_failure() {
    let failures = [Failure::Index, Failure::Top(0.05), Failure::Churn];
    for (system, failure) in ROUTED.into_iter().flat_map(|it| failures.map(|failure| (it, failure)))
    {
        let row = row_of(system, 200, failure, 400);
        assert!(success(&row)[0] >= 0.8, "{row:?}");
    }
}
