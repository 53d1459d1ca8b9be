//! What a flood costs in memory allocations: none for each descriptor.

#[path = "../../benches/support/net.rs"]
mod net;

use crate::support::descriptor::{guid, hit, query, servent_id};
use net::{Net, names};
use servent::library::Library;

const BATCH: u32 = 10_000;

/// Queries with GUIDs from `first` on.
fn queries(first: u32, text: &str) -> Vec<u8> {
    (first..first + BATCH).flat_map(|n| query(guid(n), text).bytes()).collect()
}

/// Allocations while a core passes `bytes` on that has passed on `before`.
#[track_caller]
fn allocations(net: &mut Net, before: &[u8], bytes: &[u8]) -> u64 {
    net.pass(before);
    allocation_counter::measure(|| net.pass(bytes)).count_total
}

/// Tables and buffers grow by doubling: a few allocations while thousands of descriptors pass.
const GROWTH: u64 = 40;

#[test]
fn a_forwarded_query_allocates_nothing() {
    for library in [Library::empty(), names(2_000)] {
        let mut net = Net::new(8, library);
        let (before, bytes) = (queries(0, "w0007 nothing else"), queries(BATCH, "w0007 nor this"));
        let count = allocations(&mut net, &before, &bytes);
        assert!(count <= GROWTH, "{count} allocations for {BATCH} Queries to 8 links");
    }
}

#[test]
fn a_duplicate_allocates_nothing() {
    let mut net = Net::new(8, Library::empty());
    let bytes = queries(0, "anything");
    // The first duplicate of all makes its counter.
    let before = [&bytes[..], &queries(0, "anything")[..]].concat();
    assert_eq!(allocations(&mut net, &before, &bytes), 0);
}

#[test]
fn a_hit_on_its_way_home_allocates_nothing() {
    let mut net = Net::new(8, Library::empty());
    net.ask(&query(guid(1), "zebra").bytes());
    let hits = |from: u8| -> Vec<u8> {
        let names = (0..1_000).map(|n| format!("zebra {n}.txt"));
        names.flat_map(|name| hit(guid(1), servent_id(from), &name).bytes()).collect()
    };
    let count = allocations(&mut net, &hits(1), &hits(1));
    assert_eq!(count, 0, "allocations for a thousand hits");
}
