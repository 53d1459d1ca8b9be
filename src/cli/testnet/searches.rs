//! Searches in a network of real servents: like a user's, or followed copy by copy.

use super::super::args::{JoinArgs, SearchArgs};
use super::super::exit::Failure;
use super::super::testnet_args::{QueryArgs, SearchingArgs, TraceArgs};
use super::super::{output, search, show as drawings};
use super::of_io;
use crate::plan::catalogue::{name_of, some_file};
use crate::plan::query_report::{QueryReport, table};
use crate::plan::trace::Trace;
use crate::rng::Rng;
use crate::testnet::{Followed, MAX_TTL, Network, RunFolder, Search, View, follow};
use serde::Serialize;
use serde_json::Value;

/// What `trace --json` prints.
#[derive(Serialize)]
struct Traced<'a> {
    #[serde(flatten)]
    report: QueryReport,
    /// Copies that had not arrived when the time was over.
    missing: usize,
    trace: &'a Trace,
    results: &'a [Value],
}

pub(super) fn query(folder: &RunFolder, args: QueryArgs) -> Result<(), Failure> {
    let network = folder.network().map_err(of_io)?;
    let Some(name) = &args.node else { return load(folder, &args) };
    let node = network.node(name).map_err(of_io)?;
    search::run(SearchArgs {
        words: args.words,
        join: JoinArgs { connect: vec![network.nodes[node].addr.to_string()] },
        wait: args.searching.wait,
        ttl: ttl(&network, &args.searching) + 1,
        get: args.get,
        output: args.output,
        json: args.json,
        events: None,
    })
}

/// The searches of the plan, one after the other.
fn load(folder: &RunFolder, args: &QueryArgs) -> Result<(), Failure> {
    let mut view = View::open(folder).map_err(of_io)?;
    let (ttl, mut reports) = (ttl(&view.network, &args.searching), Vec::new());
    let mut rng = Rng::new(view.network.seed);
    for _ in 0..view.network.queries {
        let drawn = rng.below(view.network.nodes.len());
        let named = view.network.from.clone();
        let node = named.map_or(Ok(drawn), |name| view.network.node(&name)).map_err(of_io)?;
        let words = vec![name_of(some_file(&mut rng))];
        let search = Search { node, words, ttl, wait: args.searching.wait };
        let followed = follow(&mut view, &search).map_err(of_io)?;
        tell_missing(&followed);
        let report = QueryReport::of(&followed.trace, ttl, followed.hits.len() as u64);
        if args.json {
            output::json(&report)?;
        }
        reports.push(report);
    }
    if args.json { Ok(()) } else { output::line(&output::shown_lines(&table(&reports))) }
}

pub(super) fn trace(folder: &RunFolder, args: TraceArgs) -> Result<(), Failure> {
    let mut view = View::open(folder).map_err(of_io)?;
    let node = view.network.node(&args.node).map_err(of_io)?;
    let ttl = ttl(&view.network, &args.searching);
    let search = Search { node, words: args.words, ttl, wait: args.searching.wait };
    let followed = follow(&mut view, &search).map_err(of_io)?;
    drawings::draw(
        &args.drawing,
        || followed.trace.dot(),
        || crate::plan::picture::svg(&view.network.graph(), &followed.trace),
    )?;
    let report = QueryReport::of(&followed.trace, ttl, followed.hits.len() as u64);
    if args.json {
        let Followed { trace, hits, missing } = &followed;
        return output::json(&Traced { report, missing: *missing, trace, results: hits });
    }
    output::line(&output::shown_lines(followed.trace.tree().trim_end()))?;
    output::line(&output::shown_lines(&table(&[report])))?;
    tell_missing(&followed);
    Ok(())
}

fn tell_missing(followed: &Followed) {
    if followed.missing > 0 {
        log::warn!(
            "{} copies had not arrived when the time was over: their links are slow, or broke",
            followed.missing
        );
    }
}

fn ttl(network: &Network, args: &SearchingArgs) -> u8 {
    args.ttl.unwrap_or(network.ttl.min(MAX_TTL))
}
