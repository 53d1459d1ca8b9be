//! The pictures of the lab's table: their files, and what they may not do whatever the figures are.

use super::row_of;
use crate::process::{Home, assert_code};
use servent::lab::report::Row;
use servent::lab::{Failure, SystemKind, pictures};
use std::fs;

/// Numbers in front of which `key` stands.
fn numbers<'a>(svg: &'a str, key: &str) -> impl Iterator<Item = f64> + use<'a> {
    let parts: Vec<&str> = svg.split(&format!(" {key}=\"")).skip(1).collect();
    parts.into_iter().map(|part| part.split('"').next().unwrap().parse().unwrap())
}

fn check(name: &str, svg: &str, systems: &[SystemKind]) {
    let (width, height) = (numbers(svg, "width").next(), numbers(svg, "height").next());
    let (width, height) = (width.unwrap(), height.unwrap());
    assert!(width <= 1_600.0 && height <= 1_600.0, "{name}: {width} x {height}");
    assert!(numbers(svg, "font-size").all(|size| size >= 11.0), "{name}");
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{name}");
    for (key, most) in [("x", width), ("y", height), ("x1", width), ("y2", height)] {
        assert!(numbers(svg, key).all(|at| (0.0..=most).contains(&at)), "{name}: {key} outside");
    }
    for system in systems {
        assert!(svg.contains(&format!(">{}<", system.name())), "{name}: no {}", system.name());
    }
}

/// Rows of every system with the figures of one.
fn rows(sizes: &[usize], failures: &[Failure], change: impl Fn(&mut Row)) -> Vec<Row> {
    let model = row_of(SystemKind::Central, 20, Failure::None, 20);
    let mut rows = Vec::new();
    for &nodes in sizes {
        for failure in failures {
            for system in SystemKind::ALL {
                let (system, failure) = (system.name(), failure.to_string());
                let mut row = Row { system, nodes, failure, ..model.clone() };
                change(&mut row);
                rows.push(row);
            }
        }
    }
    rows
}

#[test]
fn pictures_fit_their_canvas_whatever_the_figures_are() {
    let failures = [Failure::None, Failure::Index, Failure::Churn];
    let large = |row: &mut Row| {
        row.messages_mean = Some(1e9);
        row.recovery_seconds = Some(300.0);
    };
    let nothing = |row: &mut Row| {
        (row.messages_mean, row.hops_mean, row.exact_success) = (Some(0.0), None, Some(0.0));
        (row.busiest_share, row.upkeep_messages_per_node_minute) = (0.0, 0.0);
    };
    let tables = [
        rows(&[10, 100, 1_000_000], &failures, |_| {}),
        rows(&[10, 11], &failures, large),
        rows(&[10, 1_000], &failures, nothing),
        rows(&[10], &failures, nothing),
        rows(&[10], &failures[1..], |_| {}),
        rows(&[10], &failures[..1], |_| {}),
    ];
    for table in &tables {
        for (name, svg) in pictures(table) {
            check(&name, &svg, SystemKind::ALL);
        }
    }
    let names: Vec<String> = pictures(&tables[0]).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), 9, "{names:?}");
}

#[test]
fn svg_writes_one_file_for_each_measure_and_one_with_all() {
    let home = Home::new();
    let folder = home.path("made/pictures");
    let text = folder.to_str().unwrap();
    let args =
        ["lab", "--nodes", "20,40", "--queries", "10", "--systems", "central,flood", "--svg", text];
    assert_code(&home.run(&args), 0);
    for name in
        ["messages-per-lookup", "state-per-node", "hops", "success-after-failure", "overview"]
    {
        let svg = fs::read_to_string(folder.join(format!("{name}.svg"))).unwrap();
        check(name, &svg, &[SystemKind::Central, SystemKind::Flood]);
    }
    fs::write(home.path("file"), "x").unwrap();
    let inside = home.path("file/pictures");
    let output = home.run(&["lab", "--svg", inside.to_str().unwrap()]);
    assert_code(&output, 8);
    assert!(String::from_utf8(output.stderr).unwrap().contains("cannot create"));
}
