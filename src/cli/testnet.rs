//! `servent testnet`: commands for a local network of real processes.

mod orders;
mod searches;
mod show;
mod watch;
mod watch_view;

use super::exit::Failure;
use super::interrupt::StopFlag;
use super::settings::parse_http;
use super::testnet_args::{TestnetArgs, TestnetCommand, UpArgs};
use super::{output, plan};
use crate::plan::Plan;
use crate::plan::topology::Topology;
use crate::testnet::{self, PageAddress, RunFolder, View, demo};
use clap::ArgMatches;
use etcetera::{BaseStrategy, base_strategy::Xdg};
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::time::Instant;

/// Number of nodes without a plan.
const DEFAULT_NODES: usize = 8;

pub(super) fn run(args: TestnetArgs, given: &ArgMatches) -> Result<(), Failure> {
    let folder = || folder(args.dir.clone());
    match args.command {
        TestnetCommand::Demo(args) => {
            let stop = StopFlag::new()?;
            demo::run(usize::from(args.nodes), args.svg.as_deref(), stop.flag()).map_err(of_io)
        }
        TestnetCommand::Up(args) => up(&folder()?, &args, given),
        TestnetCommand::Ps(args) => show::ps(&folder()?, args.json),
        TestnetCommand::Watch => watch::run(&folder()?),
        TestnetCommand::Query(args) => searches::query(&folder()?, args),
        TestnetCommand::Trace(args) => searches::trace(&folder()?, args),
        TestnetCommand::Graph(args) => show::graph(&folder()?, &args),
        TestnetCommand::Kill(args) => orders::kill(&folder()?, &args),
        TestnetCommand::Files(args) => show::files(&folder()?, &args),
        TestnetCommand::Fault(args) if args.list => show::faults(&folder()?),
        TestnetCommand::Fault(args) => orders::fault(&folder()?, &args),
        TestnetCommand::Check(args) => show::check(&folder()?, args.json),
        TestnetCommand::Logs(args) => show::logs(&folder()?, &args),
        TestnetCommand::Exec(args) => orders::exec(&folder()?, &args),
        TestnetCommand::Capture(args) => orders::capture(&folder()?, &args),
        TestnetCommand::Down => down(&folder()?),
        TestnetCommand::Keep(args) => testnet::keep(folder()?, args.attached).map_err(of_io),
        TestnetCommand::Page(args) => {
            testnet::serve_page(&folder()?, args.http_host).map_err(of_io)
        }
    }
}

fn folder(given: Option<PathBuf>) -> Result<RunFolder, Failure> {
    let path = match given {
        Some(path) => path,
        None => {
            let base = Xdg::new().map_err(|error| {
                Failure::usage(format!("no home folder ({error}): name a folder with --dir"))
            })?;
            let runtime = base.runtime_dir().filter(|path| path.is_dir());
            let state = || base.state_dir().map(|state| state.join("servent/testnet"));
            let home = || base.home_dir().join(".local/state/servent/testnet");
            let runtime = runtime.map(|path| path.join("servent-testnet"));
            runtime.or_else(state).unwrap_or_else(home)
        }
    };
    RunFolder::new(&path).map_err(of_io)
}

/// The exit code for an error of the network.
fn of_io(error: io::Error) -> Failure {
    let text = error.to_string();
    match error.kind() {
        ErrorKind::InvalidInput => Failure::usage(text),
        ErrorKind::NotConnected | ErrorKind::NotFound => Failure::not_connected(text),
        ErrorKind::TimedOut => Failure::no_answer(text),
        ErrorKind::Interrupted => Failure::interrupted("interrupted"),
        ErrorKind::StorageFull
        | ErrorKind::QuotaExceeded
        | ErrorKind::ReadOnlyFilesystem
        | ErrorKind::NotADirectory
        | ErrorKind::PermissionDenied => Failure::disk(text),
        ErrorKind::BrokenPipe => Failure::of_output(&error),
        _ => Failure::failed(text),
    }
}

fn up(folder: &RunFolder, args: &UpArgs, given: &ArgMatches) -> Result<(), Failure> {
    let started = Instant::now();
    let stop = StopFlag::new()?;
    let stopped = || stop.is_set();
    let page = args.http.as_deref().map(parse_http).transpose()?;
    let bare = args.plan.is_none() && args.settings == Default::default();
    if bare && !args.check && !args.foreground && folder.network().is_ok() {
        let page = page.map(PageAddress::bind).transpose().map_err(of_io)?;
        let count = testnet::heal(folder, &stopped).map_err(of_io)?;
        serve(folder, page, args)?;
        return tell_up(folder, count, started);
    }
    // A ring works with any number of nodes.
    let usual = Plan { nodes: DEFAULT_NODES, topology: Topology::Ring, ..Plan::default() };
    let (plan, graph) = plan::load(args.plan.as_deref(), given, usual)?;
    if args.check {
        return output::line(&plan::summary(&plan, &graph));
    }
    let page = page.map(PageAddress::bind).transpose().map_err(of_io)?;
    let running = testnet::up(folder, (&plan, &graph), args.port, args.foreground, &stopped)
        .map_err(of_io)?;
    if let Err(failure) = serve(folder, page, args) {
        testnet::down(folder).map_err(of_io)?;
        return Err(failure);
    }
    let told = tell_up(folder, graph.names.len(), started);
    if !args.foreground {
        running.detach();
        return told;
    }
    running.wait(&stopped).map_err(of_io)?;
    told.and_then(|()| output::line("the network is stopped, nothing is left behind"))
}

/// Serves the page, if one was asked for.
fn serve(folder: &RunFolder, page: Option<PageAddress>, args: &UpArgs) -> Result<(), Failure> {
    let serve = |page| testnet::open_page(folder, page, &args.http_host);
    page.map_or(Ok(()), serve).map_err(of_io)
}

/// Prints that `count` servents were started and all links that can stand do.
fn tell_up(folder: &RunFolder, count: usize, started: Instant) -> Result<(), Failure> {
    let view = View::open(folder).map_err(of_io)?;
    let network = &view.network;
    let (first, last) = (&network.nodes[0], &network.nodes[network.nodes.len() - 1]);
    let dark = (0..network.links.len()).filter(|link| view.is_dark(*link)).count();
    let links = match (network.links.len(), dark) {
        (links, 0) => format!("all {links} links stand"),
        (links, dark) => format!("{} of {links} links stand, {dark} blackholed", links - dark),
    };
    output::line(&format!(
        "started {count} of {} servents in {:.1} s; {links}: \"{}\" on {} to \"{}\" on {}; in {}",
        network.nodes.len(),
        started.elapsed().as_secs_f64(),
        output::shown(&first.name),
        first.addr,
        output::shown(&last.name),
        last.addr,
        folder.path().display()
    ))
}

fn down(folder: &RunFolder) -> Result<(), Failure> {
    let left = testnet::down(folder).map_err(of_io)?;
    match left {
        0 => output::line("the network is stopped, nothing is left behind"),
        left => output::line(&format!(
            "the keeper was gone; {left} processes it had started are stopped, nothing is left behind"
        )),
    }
}
