//! The table of GUIDs with a million entries; reference: a `HashMap` with a time stamp.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on stops")]
#![allow(clippy::cast_possible_truncation, reason = "figures are far below")]

mod support;

use servent::rng::Rng;
use servent::servent::{LinkKey, RouteTable};
use servent::time::Instant;
use std::collections::HashMap;
use std::hint::black_box;
use std::time::Duration;
use support::{beside, each_of, heading, interleaved, repetitions, resident, row};

const LIVE: u64 = 1_000_000;
/// Lookups or insertions per repetition.
const BATCH: u64 = 100_000;

fn id(number: u64) -> [u8; 16] {
    let mut id = [0xff; 16];
    id[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    id
}

fn main() {
    let (link, now, age) = (LinkKey::new(1, 1), Instant::ZERO, Duration::from_secs(3_600));
    let before = resident(std::process::id());
    let mut table = RouteTable::new(4 * LIVE as usize, age, &mut Rng::new(1));
    (0..LIVE).for_each(|number| _ = table.insert(now, &id(number), link));
    let held = (resident(std::process::id()) - before) as f64 / LIVE as f64;
    let mut map: HashMap<[u8; 16], (u32, u64)> = HashMap::new();
    (0..LIVE).for_each(|number| _ = map.insert(id(number), (1, number)));
    let mut rng = Rng::new(2);
    let mut some =
        || -> Vec<[u8; 16]> { (0..BATCH).map(|_| id(rng.below(LIVE as usize) as u64)).collect() };
    let (known, also_known) = (some(), some());
    let batches = |table: &mut RouteTable, ids: &[[u8; 16]]| {
        for batch in ids.chunks(RouteTable::PREFETCHED) {
            table.prefetch(batch.iter());
            batch.iter().for_each(|id| _ = black_box(table.insert(now, id, link)));
        }
    };
    let (mut next, mut next_of_map) = (LIVE, LIVE);
    let fresh = |next: &mut u64| -> Vec<[u8; 16]> {
        *next += BATCH;
        (*next - BATCH..*next).map(id).collect()
    };
    let count = BATCH as usize;
    let table = std::cell::RefCell::new(table);
    let map = std::cell::RefCell::new(map);
    let next_of_table = std::cell::RefCell::new(&mut next);
    let [duplicate, warmed, looked_up, added, added_warm, inserted] = interleaved(
        repetitions(7),
        [
            &mut || {
                let mut table = table.borrow_mut();
                each_of(count, || {
                    known.iter().for_each(|id| _ = black_box(table.insert(now, id, link)));
                })
            },
            &mut || each_of(count, || batches(&mut table.borrow_mut(), &also_known)),
            &mut || {
                let map = map.borrow();
                each_of(count, || known.iter().for_each(|id| _ = black_box(map.get(id))))
            },
            &mut || {
                let (ids, mut table) = (fresh(&mut next_of_table.borrow_mut()), table.borrow_mut());
                each_of(count, || ids.iter().for_each(|id| _ = table.insert(now, id, link)))
            },
            &mut || {
                let ids = fresh(&mut next_of_table.borrow_mut());
                each_of(count, || batches(&mut table.borrow_mut(), &ids))
            },
            &mut || {
                let (ids, mut map) = (fresh(&mut next_of_map), map.borrow_mut());
                each_of(count, || ids.iter().for_each(|id| _ = map.insert(*id, (1, 0))))
            },
        ],
    );
    heading(&format!("{LIVE} ids or more"));
    row("bytes per id", &format!("{held:.1}"));
    row("reference: lookup in a HashMap", &support::Spread::new(looked_up.clone()).show("ns"));
    beside("duplicate", &duplicate, &looked_up, "ns");
    beside("duplicate, prefetched in batches", &warmed, &looked_up, "ns");
    row("reference: insertion into a HashMap", &support::Spread::new(inserted.clone()).show("ns"));
    beside("insertion", &added, &inserted, "ns");
    beside("insertion, prefetched in batches", &added_warm, &inserted, "ns");
    heading("longest single call while a table of 1,048,576 ids is filled and rotated");
    let mut table = RouteTable::new(1 << 20, age, &mut Rng::new(1));
    let (mut growing, mut rotating) = (Duration::ZERO, Duration::ZERO);
    for number in 0..3 << 20 {
        let begun = std::time::Instant::now();
        table.insert(now, &id(number), link);
        let longest = if number < 1 << 19 { &mut growing } else { &mut rotating };
        *longest = (*longest).max(begun.elapsed());
    }
    row("while it grows for the first time", &format!("{growing:?}"));
    row("afterwards", &format!("{rotating:?}"));
}
