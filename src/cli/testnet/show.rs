//! Views of a network: nodes, files, links, faults, logs, and checks.

use super::super::exit::Failure;
use super::super::output;
use super::super::show as drawings;
use super::super::testnet_args::{FilesArgs, GraphArgs, LogsArgs};
use super::of_io;
use crate::cli::interrupt::StopFlag;
use crate::plan::picture;
use crate::testnet::{self, Conditions, NodeState, RunFolder, View};
use indicatif::HumanBytes;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Write};
use std::thread;
use std::time::Duration;

/// Interval of reading a followed log.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

pub(super) fn ps(folder: &RunFolder, json: bool) -> Result<(), Failure> {
    let nodes = View::open(folder).map_err(of_io)?.nodes();
    if json {
        return nodes.iter().try_for_each(output::json);
    }
    let fault = |node: &NodeState| match node.faults.is_empty() {
        true => "-".to_owned(),
        false => {
            let each = node.faults.iter().map(|(fault, links)| match links {
                1 => format!("{fault} (1 link)"),
                links => format!("{fault} ({links} links)"),
            });
            each.collect::<Vec<_>>().join("; ")
        }
    };
    let faults: Vec<String> = nodes.iter().map(fault).collect();
    let width = faults.iter().map(String::len).max().unwrap_or(0).max("FAULT".len());
    let mut out = format!(
        "{:<12} {:<21} {:>8} {:>7} {:>6} {:>10}  {:<width$}  STATE",
        "NODE", "ADDRESS", "PID", "LINKS", "FILES", "MEMORY", "FAULT"
    );
    for (node, fault) in nodes.iter().zip(faults) {
        let pid = node.pid.map_or("-".to_owned(), |pid| pid.to_string());
        let links = format!("{}/{}", node.links, node.planned_links);
        let memory = node.resident_bytes.map_or("-".to_owned(), |b| HumanBytes(b).to_string());
        let files = node.files.map_or("-".to_owned(), |count| count.to_string());
        let (name, addr) = (output::shown(&node.name), node.addr.to_string());
        let _ = write!(
            out,
            "\n{name:<12} {addr:<21} {pid:>8} {links:>7} {files:>6} {memory:>10}  {fault:<width$}  {}",
            node.state
        );
    }
    output::line(&out)
}

/// A line of `files --json`.
#[derive(Serialize)]
struct FileLine<'a> {
    node: &'a str,
    name: &'a str,
    size: u64,
}

/// Lists the files that nodes share.
pub(super) fn files(folder: &RunFolder, args: &FilesArgs) -> Result<(), Failure> {
    let network = folder.network().map_err(of_io)?;
    let chosen = match &args.node {
        Some(name) => vec![network.node(name).map_err(of_io)?],
        None => (0..network.nodes.len()).collect(),
    };
    let mut lines = vec![format!("{:<12} {:>12}  NAME", "NODE", "BYTES")];
    for node in chosen.into_iter().map(|number| &network.nodes[number]) {
        let files = testnet::files_in(&node.share)
            .map_err(|error| Failure::disk(format!("node \"{}\": {error}", node.name)))?;
        for file in files {
            if args.json {
                let (node, name) = (node.name.as_str(), file.name.as_str());
                output::json(&FileLine { node, name, size: file.size })?;
                continue;
            }
            let (node, name) = (output::shown(&node.name), output::shown(&file.name));
            lines.push(format!("{node:<12} {:>12}  {name}", file.size));
        }
    }
    if args.json {
        return Ok(());
    }
    output::line(&lines.join("\n"))
}

/// Lists links with a fault.
pub(super) fn faults(folder: &RunFolder) -> Result<(), Failure> {
    let view = View::open(folder).map_err(of_io)?;
    let name = |node: usize| output::shown(&view.network.nodes[node].name);
    let links = view.network.links.iter().enumerate();
    let faults = links.map(|(number, link)| (link, view.fault(number)));
    let faults = faults.filter(|(_, fault)| !fault.is_empty());
    let lines: Vec<String> = faults
        .map(|(link, fault)| format!("{} - {}: {fault}", name(link.from), name(link.to)))
        .collect();
    match lines.is_empty() {
        true => output::line("no link has a fault"),
        false => output::line(&lines.join("\n")),
    }
}

/// A link in the output of `graph --json`.
#[derive(Serialize)]
struct LinkState<'a> {
    from: &'a str,
    to: &'a str,
    stands: bool,
    conditions: &'a Conditions,
}

#[derive(Serialize)]
struct GraphState<'a> {
    nodes: Vec<NodeState>,
    links: Vec<LinkState<'a>>,
}

pub(super) fn graph(folder: &RunFolder, args: &GraphArgs) -> Result<(), Failure> {
    let view = View::open(folder).map_err(of_io)?;
    let network = &view.network;
    let link = |(number, link): (usize, &testnet::Link)| LinkState {
        from: &network.nodes[link.from].name,
        to: &network.nodes[link.to].name,
        stands: view.stands(number),
        conditions: view.conditions(number),
    };
    let links: Vec<LinkState<'_>> = network.links.iter().enumerate().map(link).collect();
    drawings::draw(
        &args.drawing,
        || dot(&links),
        || {
            let absent = (0..network.nodes.len()).filter(|node| !view.is_running(*node)).collect();
            let broken: BTreeSet<usize> =
                (0..links.len()).filter(|number| !links[*number].stands).collect();
            picture::map(&network.graph(), &absent, &broken)
        },
    )?;
    if args.json {
        return output::json(&GraphState { nodes: view.nodes(), links });
    }
    let line = |link: &LinkState<'_>| {
        let (from, to) = (output::shown(link.from), output::shown(link.to));
        let standing = if link.stands { "" } else { "  does not stand" };
        format!("{from} - {to}{standing}{}", behaves(link.conditions))
    };
    output::line(&links.iter().map(line).collect::<Vec<_>>().join("\n"))
}

fn behaves(conditions: &Conditions) -> String {
    let each = conditions.differences(&Conditions::default()).into_iter();
    each.map(|what| format!("  {what}")).collect()
}

fn dot(links: &[LinkState<'_>]) -> String {
    let mut out = String::from("graph network {\n  node [shape=circle];\n");
    for link in links {
        let quoted = crate::plan::trace::quoted;
        let style = if link.stands { "" } else { " [style=dashed, color=gray]" };
        let _ = writeln!(out, "  {} -- {}{style};", quoted(link.from), quoted(link.to));
    }
    out.push_str("}\n");
    out
}

pub(super) fn check(folder: &RunFolder, json: bool) -> Result<(), Failure> {
    let findings = testnet::check(folder).map_err(of_io)?;
    for finding in &findings {
        if json {
            output::json(finding)?;
            continue;
        }
        let count = finding.looked_at;
        let mark = match finding.holds() {
            _ if count == 0 => "-     ",
            true => "ok    ",
            false => "FAILED",
        };
        output::line(&format!("{mark}  {} ({count} looked at)", finding.rule))?;
        for wrong in &finding.wrong {
            output::line(&format!("        {}", output::shown(wrong)))?;
        }
        if finding.more_wrong > 0 {
            output::line(&format!("        and {} more", finding.more_wrong))?;
        }
    }
    let failed = findings.iter().filter(|finding| !finding.holds()).count();
    match failed {
        0 => Ok(()),
        failed => Err(Failure::failed(format!("{failed} of {} rules do not hold", findings.len()))),
    }
}

pub(super) fn logs(folder: &RunFolder, args: &LogsArgs) -> Result<(), Failure> {
    let network = folder.network().map_err(of_io)?;
    let node = network.node(&args.node).map_err(of_io)?;
    let path = if args.events { folder.events(node) } else { folder.log(node) };
    let stop = StopFlag::new()?;
    let mut file = File::open(&path)
        .map_err(|error| Failure::disk(format!("cannot read {}: {error}", path.display())))?;
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        file.read_to_end(&mut bytes).map_err(of_io)?;
        let mut out = io::stdout().lock();
        let printed = out.write_all(&bytes).and_then(|()| out.flush());
        printed.map_err(|error| Failure::of_output(&error))?;
        if !args.follow || stop.is_set() {
            return Ok(());
        }
        thread::sleep(POLL_INTERVAL);
    }
}
