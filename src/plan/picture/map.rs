//! The drawing of a network as it stands: what is up, what is down.

use super::canvas::{HOPS, PAPER, Pen, UNREACHED, line};
use super::layout::{Layout, layout};
use super::legend::{Mark, Sheet};
use super::search::{MAX_NAMED, labelled, name_below};
use crate::plan::topology::Graph;
use std::collections::BTreeSet;

const STANDS: Pen = Pen { colour: HOPS[2], width: 2.0, opacity: 0.8, dash: None };
const BROKEN: Pen = Pen { colour: "#9aa0aa", width: 1.6, opacity: 0.9, dash: Some(5.0) };

/// Draws `graph`, with absent nodes grey and broken edges dashed; both by number.
pub fn map(graph: &Graph, absent: &BTreeSet<usize>, broken: &BTreeSet<usize>) -> String {
    let Layout { places, size, radius, hollow } = layout(graph);
    let mut body = String::new();
    for (number, &(a, b)) in graph.edges.iter().enumerate() {
        let pen = if broken.contains(&number) { BROKEN } else { STANDS };
        line(&mut body, places[a], places[b], pen);
    }
    for (node, name) in graph.names.iter().enumerate() {
        let (fill, told) = match absent.contains(&node) {
            true => (UNREACHED, "down"),
            false => (HOPS[1], "up"),
        };
        labelled(&mut body, (places[node], radius), (fill, PAPER), name, told);
        if graph.names.len() <= MAX_NAMED {
            name_below(&mut body, (places[node], radius), name);
        }
    }
    let (up, stand) = (graph.names.len() - absent.len(), graph.edges.len() - broken.len());
    let mut legend = vec![
        (Mark::Disc(HOPS[1], PAPER), format!("servents: {up}")),
        (Mark::Line(STANDS), format!("links: {stand}")),
    ];
    if !absent.is_empty() {
        legend.push((Mark::Disc(UNREACHED, PAPER), format!("servents down: {}", absent.len())));
    }
    if !broken.is_empty() {
        legend.push((Mark::Line(BROKEN), format!("links that do not stand: {}", broken.len())));
    }
    let title = format!("{} servents, {} links", graph.names.len(), graph.edges.len());
    let note = match (absent.len(), broken.len()) {
        (0, 0) => "all stand".to_owned(),
        (nodes, links) => format!("{nodes} servents are down, {links} links do not stand"),
    };
    Sheet { title, note, size, hollow, legend }.render(&body)
}
