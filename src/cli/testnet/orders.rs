//! Orders to a network: stop nodes, set faults, run commands, capture.

use super::super::exit::Failure;
use super::super::output;
use super::super::testnet_args::{CaptureArgs, ExecArgs, FaultArgs, KillArgs};
use super::of_io;
use crate::cli::interrupt::StopFlag;
use crate::testnet::{self, Conditions, Network, RunFolder};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

pub(super) fn kill(folder: &RunFolder, args: &KillArgs) -> Result<(), Failure> {
    let network = folder.network().map_err(of_io)?;
    let nodes = args.nodes.iter().map(|name| network.node(name));
    for node in nodes.collect::<io::Result<Vec<_>>>().map_err(of_io)? {
        testnet::kill(folder, node, args.hard).map_err(of_io)?;
        let name = output::shown(&network.nodes[node].name);
        output::line(&format!("stopped node {name}; \"servent testnet up\" starts it again"))?;
    }
    Ok(())
}

pub(super) fn fault(folder: &RunFolder, args: &FaultArgs) -> Result<(), Failure> {
    let network = folder.network().map_err(of_io)?;
    let links = links(&network, args).map_err(of_io)?;
    let plan = network.conditions.clone();
    let change = |conditions: &mut Conditions| {
        if args.clear {
            *conditions = plan.clone();
        }
        conditions.delay = args.delay.map_or(conditions.delay, |delay| delay.0);
        conditions.bandwidth = args.bandwidth.map(|rate| rate.0).or(conditions.bandwidth);
        conditions.blackhole |= args.blackhole;
        conditions.slow_reader |= args.slow_reader;
    };
    testnet::set(folder, &links, &change).map_err(of_io)?;
    if args.reset {
        testnet::reset(folder, &links).map_err(of_io)?;
    }
    let count = links.len();
    let done = if args.clear { "fault cleared" } else { "fault set" };
    output::line(&format!("{done} on {count} {}", if count == 1 { "link" } else { "links" }))
}

/// The links that the options name, each once.
fn links(network: &Network, args: &FaultArgs) -> io::Result<Vec<usize>> {
    let mut chosen = vec![args.all; network.links.len()];
    for name in &args.node {
        let node = network.node(name)?;
        for (number, link) in network.links.iter().enumerate() {
            chosen[number] |= link.from == node || link.to == node;
        }
    }
    for ends in args.link.chunks_exact(2) {
        let (a, b) = (network.node(&ends[0])?, network.node(&ends[1])?);
        let between = |link: &testnet::Link| [(a, b), (b, a)].contains(&(link.from, link.to));
        let Some(number) = network.links.iter().position(between) else {
            let text = format!("\"{}\" and \"{}\" are not linked", ends[0], ends[1]);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        };
        chosen[number] = true;
    }
    Ok((0..chosen.len()).filter(|number| chosen[*number]).collect())
}

/// Replaces this process by the command.
pub(super) fn exec(folder: &RunFolder, args: &ExecArgs) -> Result<(), Failure> {
    let network = folder.network().map_err(of_io)?;
    let number = network.node(&args.node).map_err(of_io)?;
    let (node, place) = (&network.nodes[number], folder.node(number));
    let mut words = args.command.iter();
    let program = words.next().cloned().unwrap_or_default();
    let mut command = Command::new(&program);
    command.args(words).current_dir(&place);
    command.env("NODE_NAME", &node.name).env("NODE_DIR", &place);
    command.env("NODE_IP", node.addr.ip().to_string());
    command.env("NODE_PORT", node.addr.port().to_string());
    command.env("NODE_ADDR", node.addr.to_string());
    command.env("SERVENT_CONNECT", node.addr.to_string());
    let error = command.exec();
    Err(Failure::failed(format!("cannot run {}: {error}", program.display())))
}

pub(super) fn capture(folder: &RunFolder, args: &CaptureArgs) -> Result<(), Failure> {
    folder.network().map_err(of_io)?;
    let stop = StopFlag::new()?;
    let deadline = args.time.map(|time| Instant::now() + time);
    let stopped = || {
        let late = deadline.is_some_and(|at| Instant::now() >= at);
        late || stop.is_set()
    };
    let mut out: Box<dyn Write> = match args.file == Path::new("-") {
        true => Box::new(io::stdout().lock()),
        false => Box::new(File::create(&args.file).map_err(|error| {
            Failure::disk(format!("cannot write {}: {error}", args.file.display()))
        })?),
    };
    let written = testnet::capture(folder, &mut out, &stopped).map_err(of_io)?;
    log::info!("{written} bytes written to {}", args.file.display());
    Ok(())
}
