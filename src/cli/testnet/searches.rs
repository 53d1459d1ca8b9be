//! Searches in a network of real servents: as a user would search, or traced copy by copy.

use super::super::args::{FetchArgs, JoinArgs, SearchArgs};
use super::super::exit::Failure;
use super::super::steer_args::SteerArgs;
use super::super::testnet_args::{QueryArgs, SearchingArgs, TraceArgs};
use super::super::{output, search};
use super::of_io;
use crate::plan::catalogue::{name_of, some_file};
use crate::plan::query_report::{QueryReport, table};
use crate::rng::Rng;
use crate::testnet::{
    self, FOLLOW_TIMEOUT, Followed, MAX_TTL, Network, RunFolder, Search, View, follow,
};

pub(super) fn query(folder: &RunFolder, args: QueryArgs) -> Result<(), Failure> {
    let Some(name) = &args.node else { return load(folder, &args) };
    let view = View::open(folder).map_err(of_io)?;
    let node = view.network.node(name).map_err(of_io)?;
    view.must_search(node).map_err(of_io)?;
    search::run(SearchArgs {
        words: args.words,
        join: JoinArgs {
            steer: SteerArgs { servent: Some(folder.control(node).display().to_string()) },
            ..JoinArgs::default()
        },
        wait: args.searching.wait,
        ttl: ttl(&view.network, &args.searching),
        get: args.get,
        fetch: FetchArgs::into_folder(args.output),
        json: args.json,
        events: None,
    })
}

/// Makes the searches of the plan in turn. One that fails, for example because its node is down, is
/// logged and skipped.
fn load(folder: &RunFolder, args: &QueryArgs) -> Result<(), Failure> {
    let mut view = View::open(folder).map_err(of_io)?;
    let (ttl, mut reports) = (ttl(&view.network, &args.searching), Vec::new());
    let (mut rng, mut failed) = (Rng::new(view.network.seed), None);
    for _ in 0..view.network.queries {
        let drawn = view.network.searcher_near(rng.below(view.network.nodes.len()));
        let named = view.network.from.clone();
        let node = named.map_or(Ok(drawn), |name| view.network.node(&name)).map_err(of_io)?;
        let words = vec![name_of(some_file(&mut rng))];
        let wait = args.searching.wait.unwrap_or(FOLLOW_TIMEOUT);
        let followed = match follow(&mut view, &Search { node, words, ttl, wait }) {
            Ok(followed) => followed,
            Err(error) => {
                // Fails if the whole network is gone.
                view.refresh().map_err(of_io)?;
                let failure = of_io(error);
                log::warn!("search skipped: {}", output::shown(failure.text()));
                failed = Some(failure);
                continue;
            }
        };
        tell_missing(&followed);
        let report = QueryReport::of(&followed.trace, ttl, followed.hits.len() as u64);
        if args.json {
            output::json(&report)?;
        }
        reports.push(report);
    }
    match failed {
        // Every search failed.
        Some(failure) if reports.is_empty() => return Err(failure),
        _ => {}
    }
    if !args.json {
        output::line(&output::shown_lines(&table(&reports)))?;
    }
    let hits: u64 = reports.iter().map(|report| report.hits).sum();
    log::info!(
        "{} in {}",
        output::count(hits, "hit", "hits"),
        output::count(reports.len() as u64, "search", "searches")
    );
    Ok(())
}

pub(super) fn trace(folder: &RunFolder, args: TraceArgs) -> Result<(), Failure> {
    let mut view = View::open(folder).map_err(of_io)?;
    let node = view.network.node(&args.node).map_err(of_io)?;
    let ttl = ttl(&view.network, &args.searching);
    let wait = args.searching.wait.unwrap_or(FOLLOW_TIMEOUT);
    let search = Search { node, words: args.words, ttl, wait };
    let followed = follow(&mut view, &search).map_err(of_io)?;
    let graph = view.network.graph();
    args.drawing.draw(&graph, &followed.trace, || file_names(&view.network))?;
    let traced = followed.traced(ttl);
    if args.json {
        return output::json(&traced);
    }
    output::line(&output::shown_lines(followed.trace.tree().trim_end()))?;
    output::line(&output::shown_lines(&table(&[traced.report])))?;
    tell_missing(&followed);
    Ok(())
}

/// The names of the files of each node.
fn file_names(network: &Network) -> Result<Vec<Vec<String>>, Failure> {
    let names = |node: &testnet::Node| {
        let files = testnet::files_in(&node.share)
            .map_err(|error| Failure::disk(format!("node \"{}\": {error}", node.name)))?;
        Ok(files.into_iter().map(|file| file.name).collect())
    };
    network.nodes.iter().map(names).collect()
}

fn tell_missing(followed: &Followed) {
    if followed.missing > 0 {
        log::warn!(
            "{} copies did not arrive in time: their links are slow, or were cut",
            followed.missing
        );
    }
}

fn ttl(network: &Network, args: &SearchingArgs) -> u8 {
    args.ttl.unwrap_or(network.ttl.min(MAX_TTL))
}
