//! Properties of pictures of all shapes: nothing overlaps, leaves the canvas or is too small to read,
//! and no third of the canvas is blank.

use super::canvas::text_width;
use super::layout::{MAX_SINGLE, layout};
use super::{page, svg};
use crate::plan::topology::Graph;
use crate::plan::trace::{Step, Trace};
use crate::rng::Rng;
use std::collections::BTreeMap;

/// A topology and a number of nodes, each above or near a bound of its layout.
const SHAPES: [(&str, usize); 23] = [
    ("line", 2),
    ("line", 6),
    ("line", 40),
    ("line", 3_000),
    ("ring", 3),
    ("ring", 20),
    ("ring", 400),
    ("ring", 2_999),
    ("star", 5),
    ("star", 60),
    ("star", 3_000),
    ("tree:2,1", 0),
    ("tree:2,4", 0),
    ("tree:3,6", 0),
    ("tree:1000,1", 0),
    ("scale-free:1", 500),
    ("regular:3", 8),
    ("regular:4", 24),
    ("regular:4", 600),
    ("random:0.01", 150),
    ("random:0.9", 20),
    ("scale-free:2", 700),
    ("regular:4", 3_200),
];

fn graph(shape: &str, count: usize) -> Graph {
    Graph::generate(&shape.parse().unwrap(), count, &mut Rng::new(3)).unwrap()
}

/// A flood with equal latencies; every tenth node that is reached answers.
fn flood(graph: &Graph, origin: usize, ttl: u8) -> Trace {
    let name = |node: usize| graph.names[node].clone();
    let neighbours = super::layout::neighbours(graph);
    let mut trace =
        Trace { from: name(origin), criteria: "a <b> & c".to_owned(), ..Trace::default() };
    let mut parent = BTreeMap::from([(origin, origin)]);
    let mut shell = vec![origin];
    for hops in 0..ttl {
        let micros = 1_000 * (u64::from(hops) + 1);
        let mut next = Vec::new();
        for from in shell {
            let above = parent[&from];
            for &to in neighbours[from].iter().filter(|to| **to != above) {
                let duplicate = parent.contains_key(&to);
                if !duplicate {
                    parent.insert(to, from);
                    next.push(to);
                }
                let (from, to) = (name(from), name(to));
                trace.copies.push(Step { micros, from, to, ttl: ttl - hops, hops, duplicate });
            }
        }
        shell = next;
    }
    let mut micros = 20_000;
    for &answering in parent.keys().filter(|node| **node != origin).step_by(10) {
        let (mut at, mut hops) = (answering, 0);
        while at != origin {
            let (from, to) = (name(at), name(parent[&at]));
            trace.hits.push(Step { micros, from, to, ttl, hops, duplicate: false });
            (at, hops, micros) = (parent[&at], hops + 1, micros + 100);
        }
    }
    trace
}

/// A mark on the canvas: left, top, right, bottom.
type Extent = [f64; 4];

/// The canvas, the marks on it, and the sizes of text in an SVG.
struct Read {
    canvas: (f64, f64),
    discs: Vec<Extent>,
    /// The first of the discs are nodes; the others are of the legend.
    nodes: usize,
    lines: Vec<Extent>,
    texts: Vec<Extent>,
    sizes: Vec<f64>,
}

fn attribute(element: &str, name: &str) -> Option<f64> {
    let (_, rest) = element.split_once(&format!(" {name}=\""))?;
    rest.split_once('"')?.0.parse().ok()
}

fn read(svg: &str) -> Read {
    let number = |element: &str, name| attribute(element, name).unwrap();
    let root = svg.split_once('>').unwrap().0;
    let canvas = (number(root, "width"), number(root, "height"));
    let mut read =
        Read { canvas, discs: vec![], nodes: 0, lines: vec![], texts: vec![], sizes: vec![] };
    let (mut offset, mut depth) = ((0.0, 0.0), 0);
    for element in svg.split('<') {
        if let Some(rest) = element.strip_prefix("g transform=\"translate(") {
            let (x, y) = rest.split_once(')').unwrap().0.split_once(' ').unwrap();
            offset = (x.parse().unwrap(), y.parse().unwrap());
        }
        depth += i32::from(element.starts_with("g "));
        if element.starts_with("/g>") {
            depth -= 1;
            if depth == 0 {
                offset = (0.0, 0.0);
            }
        }
        let (dx, dy) = offset;
        if element.starts_with("circle") {
            let [x, y, r] = ["cx", "cy", "r"].map(|name| number(element, name));
            read.discs.push([x + dx - r, y + dy - r, x + dx + r, y + dy + r]);
            read.nodes += usize::from(offset != (0.0, 0.0));
        } else if element.starts_with("line") {
            let [x1, y1, x2, y2] = ["x1", "y1", "x2", "y2"].map(|name| number(element, name));
            read.lines.push([x1 + dx, y1 + dy, x2 + dx, y2 + dy]);
        } else if element.starts_with("text") {
            let [x, y, size] = ["x", "y", "font-size"].map(|name| number(element, name));
            let wide = text_width(element.split_once('>').unwrap().1, size);
            let left = if element.contains("\"middle\"") { x - wide / 2.0 } else { x };
            read.texts.push([left + dx, y + dy - size, left + wide + dx, y + dy]);
            read.sizes.push(size);
        }
    }
    assert_eq!(depth, 0, "groups are closed");
    read
}

/// The share of the canvas that the largest blank rectangle has.
fn largest_blank(read: &Read) -> f64 {
    const GRID: usize = 24;
    let (width, height) = read.canvas;
    let mut marked = [[false; GRID]; GRID];
    let mut mark = |x: f64, y: f64| {
        let cell = |part: f64| (1..GRID).filter(|line| *line as f64 <= part * GRID as f64).count();
        marked[cell(y / height)][cell(x / width)] = true;
    };
    for &[left, top, right, bottom] in read.discs.iter().chain(&read.texts).chain(&read.lines) {
        for part in 0..=40 {
            let part = f64::from(part) / 40.0;
            mark(left + (right - left) * part, top + (bottom - top) * part);
        }
    }
    let mut largest = 0;
    for top in 0..GRID {
        let mut free = [true; GRID];
        for (high, row) in (1..).zip(&marked[top..]) {
            let mut wide = 0;
            for (free, marked) in free.iter_mut().zip(row) {
                *free &= !marked;
                wide = if *free { wide + 1 } else { 0 };
                largest = largest.max(wide * high);
            }
        }
    }
    largest as f64 / (GRID * GRID) as f64
}

/// What is wrong with a picture.
fn flaws(svg: &str) -> Vec<String> {
    let (read, mut wrong) = (read(svg), Vec::new());
    let (width, height) = read.canvas;
    if width > 1_600.0 || height > 1_600.0 {
        wrong.push(format!("{width} by {height} pixels"));
    }
    if let Some(size) = read.sizes.iter().find(|size| **size < 10.0) {
        wrong.push(format!("text of {size} pixels"));
    }
    let outside = read.discs.iter().chain(&read.texts).find(|[left, top, right, bottom]| {
        *left < 0.0 || *top < 0.0 || *right > width || *bottom > height
    });
    wrong.extend(outside.map(|mark| format!("{mark:?} is outside of {width} by {height}")));
    let blank = largest_blank(&read);
    if blank >= 1.0 / 3.0 {
        wrong.push(format!("{blank:.2} of the canvas is blank"));
    }
    let (left, right) = read.discs[..read.nodes]
        .iter()
        .fold((width, 0.0f64), |(left, right), disc| (left.min(disc[0]), right.max(disc[2])));
    if (left - (width - right)).abs() > width / 8.0 {
        wrong.push(format!("{left} free on the left, {} on the right", width - right));
    }
    wrong
}

#[test]
fn every_picture_can_be_shown() {
    let mut wrong = Vec::new();
    for (shape, count) in SHAPES {
        let graph = graph(shape, count);
        for origin in [0, graph.names.len() / 2] {
            let flaws = flaws(&svg(&graph, &flood(&graph, origin, 7)));
            wrong.extend(flaws.iter().map(|flaw| format!("{shape} {count} from {origin}: {flaw}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nodes_do_not_overlap() {
    let mut wrong = Vec::new();
    for (shape, count) in SHAPES {
        let graph = graph(shape, count);
        if graph.names.len() > MAX_SINGLE {
            continue;
        }
        let layout = layout(&graph);
        let places = &layout.places;
        let nearest = places.iter().enumerate().flat_map(|(number, at)| {
            places[..number].iter().map(move |to| (at.0 - to.0).hypot(at.1 - to.1))
        });
        let nearest = nearest.fold(f64::INFINITY, f64::min);
        let least = 2.0 * layout.radius * 0.9;
        if nearest < least {
            wrong.push(format!("{shape} {count}: {nearest:.2} apart, at least {least:.2}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_same_graph_has_the_same_picture() {
    let graph = graph("scale-free:2", 80);
    let trace = flood(&graph, 7, 5);
    assert_eq!(svg(&graph, &trace), svg(&graph, &trace));
}

/// Every colour and dash that is drawn is explained, and nothing else is.
#[test]
fn the_legend_explains_every_mark() {
    for (shape, count) in [("ring", 20), ("regular:4", 30), ("tree:2,5", 0), ("line", 30)] {
        let graph = graph(shape, count);
        let svg = svg(&graph, &flood(&graph, 1, 3));
        let (body, legend) = svg.split_once("<g class=\"legend\">").unwrap();
        let colours = |text: &str| -> Vec<String> {
            let all = ["fill=\"#", "stroke=\"#"].map(|start| text.split(start).skip(1));
            all.into_iter()
                .flatten()
                .map(|rest| rest.get(..6).unwrap_or_default().to_owned())
                .collect()
        };
        let explained = colours(legend);
        let (_, drawing) = body.split_once("<g transform").unwrap();
        for colour in colours(drawing) {
            assert!(explained.contains(&colour), "{shape}: {colour}");
        }
        assert_eq!(drawing.contains("dasharray"), drawing.contains("#8a8f99"), "{shape}");
    }
}

#[test]
fn the_page_has_all_of_the_search_and_needs_nothing_else() {
    let mut graph = graph("regular:4", 30);
    graph.names[4] = "</script><b>@@data@@\"\\\u{202e}".to_owned();
    let trace = flood(&graph, 4, 6);
    let files = vec![vec!["a </script> \"b\".ogg".to_owned(); 30]; 30];
    let page = page(&graph, &trace, &files);
    assert_eq!(page.matches("</script>").count(), 2, "names cannot end the data");
    assert!(!page.contains("<b>") && !page.contains('\u{202e}'));
    for word in ["http:", "https:", "src=", "@import", "url(", "fetch(", "<link"] {
        assert!(!page.contains(word), "{word}");
    }
    let (_, rest) = page.split_once("type=\"application/json\">").unwrap();
    let (data, _) = rest.split_once("</script>").unwrap();
    let steps: Vec<Vec<u64>> = data
        .split_once("\"steps\":[")
        .unwrap()
        .1
        .split('[')
        .skip(1)
        .map(|step| {
            step.split(']').next().unwrap().split(',').map(|n| n.parse().unwrap()).collect()
        })
        .collect();
    let count = |kind| steps.iter().filter(|step| step[0] == kind).count();
    let duplicates = trace.copies.iter().filter(|step| step.duplicate).count();
    assert!(duplicates > 0 && !trace.hits.is_empty());
    assert_eq!(
        [count(0), count(1), count(2)],
        [trace.copies.len() - duplicates, duplicates, trace.hits.len()]
    );
    assert!(steps.iter().all(|step| step[3] <= step[4]), "sent before it arrives");
    assert!(steps.is_sorted_by_key(|step| step[4]), "by arrival");
    // With equal latencies a copy of hop 3 is sent when hop 2 has it, and a hit after the one before.
    let third = steps.iter().find(|step| step[0] == 0 && step[6] == 3).unwrap();
    assert_eq!((third[3], third[4]), (2_000, 3_000));
    let passed = steps.iter().find(|step| step[0] == 2 && step[6] == 2).unwrap();
    assert_eq!(passed[4] - passed[3], 100);
}
