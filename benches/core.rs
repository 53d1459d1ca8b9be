//! CPU time of the core per flooded Query, without system calls; reference: copying the same bytes to
//! the same number of buffers.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on stops")]
#![allow(clippy::cast_possible_truncation, reason = "figures are far below")]

mod support;

use servent::library::Library;
use std::hint::black_box;
use std::time::{Duration, Instant};
use support::net::{Net, names};
use support::{beside, each_of, heading, interleaved, load, repetitions, row};

/// GUIDs in the tables before the measurement.
const FILL: usize = 1_000_000;
/// Queries per repetition, in reads of a typical size.
const READS: usize = 100;
const READ: usize = 800;

fn main() {
    let mut stream = load::Stream::new(&load::query(), 1);
    for sinks in [0, 1, 4, 16] {
        heading(&format!("{sinks} sinks, 80 bytes a query"));
        let mut empty = filled(sinks, Library::empty(), &mut stream);
        let mut full = filled(sinks, names(100_000), &mut stream);
        let mut buffers = vec![Vec::with_capacity(READ * 80); sinks];
        let template = stream.take(READ).to_vec();
        let stream = std::cell::RefCell::new(&mut stream);
        // Into one buffer again and again, as a servent reads.
        let flood = |net: &mut Net| {
            let mut time = Duration::ZERO;
            for _ in 0..READS {
                let mut stream = stream.borrow_mut();
                let read = stream.take(READ);
                let begun = Instant::now();
                net.pass(read);
                time += begun.elapsed();
            }
            time.as_nanos() as f64 / (READS * READ) as f64
        };
        let [copied, empty, full] = interleaved(
            repetitions(9),
            [
                &mut || {
                    each_of(READS * READ, || {
                        for _ in 0..READS {
                            for buffer in &mut buffers {
                                buffer.clear();
                                let query = black_box(&template).chunks_exact(80);
                                query.for_each(|query| buffer.extend_from_slice(query));
                            }
                        }
                    })
                },
                &mut || flood(&mut empty),
                &mut || flood(&mut full),
            ],
        );
        row("reference: copied", &support::Spread::new(copied.clone()).show("ns"));
        beside("a query, nothing shared", &empty, &copied, "ns");
        beside("a query, 100,000 names", &full, &copied, "ns");
    }
}

fn filled(sinks: usize, library: Library, stream: &mut load::Stream) -> Net {
    let mut net = Net::new(sinks, library);
    (0..FILL / READ).for_each(|_| net.pass(stream.take(READ)));
    net
}
