//! Time to read a descriptor; reference: copying its bytes.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on stops")]
#![allow(clippy::cast_possible_truncation, reason = "figures are far below")]

mod support;

use servent::wire::{Deframer, Query, QueryHit};
use std::hint::black_box;
use support::{beside, each_of, heading, interleaved, load, repetitions, row};

/// About the size of a read buffer.
const BYTES: usize = 256 * 1024;
const ROUNDS: usize = 40;

fn main() {
    let hit = [
        &[3, 0xca, 0x18, 127, 0, 0, 1, 0xe8, 3, 0, 0][..],
        &[7, 0, 0, 0, 5, 0, 0, 0],
        b"free bsd notes of some length.txt\0\0",
        &[8, 0, 0, 0, 5, 0, 0, 0],
        b"another file that was found.ogg\0\0",
        &[9, 0, 0, 0, 5, 0, 0, 0],
        b"and a third one.flac\0\0",
        b"SRVT\x02\x00\x00",
        &[9; 16],
    ]
    .concat();
    for (what, one) in
        [("Query, 80 bytes", load::query()), ("QueryHit", load::descriptor(0x81, 5, 2, &hit))]
    {
        heading(&format!("{what} ({} bytes)", one.len()));
        let count = BYTES / one.len();
        let bytes = one.repeat(count);
        let mut target = vec![0; bytes.len()];
        let is_query = one[16] == 0x80;
        let frame = |look: &dyn Fn(&[u8])| {
            let mut deframer = Deframer::default();
            each_of(count * ROUNDS, || {
                for _ in 0..ROUNDS {
                    let mut descriptors = deframer.feed(black_box(&bytes));
                    while let Ok(Some(raw)) = descriptors.next() {
                        look(black_box(raw.payload()));
                    }
                }
            })
        };
        let view = |payload: &[u8]| match is_query {
            true => drop(black_box(Query::decode(payload))),
            false => drop(black_box(QueryHit::decode(payload))),
        };
        let all = |payload: &[u8]| {
            if let Ok(hit) = QueryHit::decode(payload) {
                hit.results().for_each(|result| _ = black_box(result));
            }
        };
        let [copied, framed, viewed, read] = interleaved(
            repetitions(15),
            [
                &mut || {
                    each_of(count * ROUNDS, || {
                        (0..ROUNDS).for_each(|_| target.copy_from_slice(black_box(&bytes)));
                    })
                },
                &mut || frame(&|_| ()),
                &mut || frame(&view),
                &mut || if is_query { f64::NAN } else { frame(&all) },
            ],
        );
        row("reference: its bytes copied", &support::Spread::new(copied.clone()).show("ns"));
        beside("framed", &framed, &copied, "ns");
        beside("framed and viewed", &viewed, &copied, "ns");
        if !is_query {
            beside("and every result read", &read, &copied, "ns");
        }
    }
}
