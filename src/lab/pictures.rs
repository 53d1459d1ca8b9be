//! The pictures of a table: one for each measure, named after what it shows, and one with all of them.
//!
//! Measures without failures are drawn against the number of nodes, or as a row for each system where
//! there is one size only. Failures are drawn at the largest size that has most of them.

use super::SystemKind;
use super::chart::{Chart, Form, Frame, Series, Value, figure, picture};
use super::report::Row;
use std::collections::BTreeSet;

/// Width and height of a picture of one measure, the size of its text, and its margin.
const SIZE: (f64, f64) = (1_200.0, 760.0);
const TEXT: f64 = 20.0;
const MARGIN: f64 = 36.0;

/// The same of a chart in the overview, where two stand side by side.
const SMALL: (f64, f64) = (800.0, 500.0);
const SMALL_TEXT: f64 = 15.0;
const SMALL_MARGIN: f64 = 24.0;

/// A measure without failures.
struct Measure {
    /// The name of its file.
    file: &'static str,
    title: &'static str,
    note: &'static str,
    is_log: bool,
    figure: fn(&Row) -> Option<f64>,
}

const MEASURES: [Measure; 6] = [
    Measure {
        file: "messages-per-lookup",
        title: "Messages of a lookup",
        note: "mean, answers included",
        is_log: true,
        figure: |row| row.messages_mean,
    },
    Measure {
        file: "hops",
        title: "Hops to the first copy",
        note: "mean, as each system counts them",
        is_log: false,
        figure: |row| row.hops_mean,
    },
    Measure {
        file: "state-per-node",
        title: "State of a node",
        note: "mean entries kept of other nodes",
        is_log: true,
        figure: |row| row.state_entries_mean,
    },
    Measure {
        file: "state-of-fullest-node",
        title: "State of the fullest node",
        note: "entries kept of other nodes",
        is_log: true,
        figure: |row| row.state_entries_max,
    },
    Measure {
        file: "upkeep-per-node",
        title: "Upkeep",
        note: "messages of a node in a minute without lookups",
        is_log: true,
        figure: |row| Some(row.upkeep_messages_per_node_minute),
    },
    Measure {
        file: "busiest-node",
        title: "Work of the busiest node",
        note: "percent of all messages that it sends or receives",
        is_log: true,
        figure: |row| Some(row.busiest_share * 100.0),
    },
];

/// Files by name, with their content.
pub fn pictures(rows: &[Row]) -> Vec<(String, String)> {
    let mut charts: Vec<(&str, Chart)> =
        MEASURES.iter().map(|measure| (measure.file, measured(measure, rows))).collect();
    charts.extend(failed(rows));
    charts.retain(|(_, chart)| !chart.is_empty());
    let mut files = Vec::new();
    for (name, chart) in &charts {
        let at = (MARGIN, MARGIN);
        let size = (SIZE.0 - 2.0 * MARGIN, SIZE.1 - 2.0 * MARGIN);
        let svg = picture(SIZE, &[(chart, Frame { at, size, text: TEXT })]);
        files.push((format!("{name}.svg"), svg));
    }
    files.push(("overview.svg".to_owned(), overview(&charts)));
    files
}

/// All charts, two side by side.
fn overview(charts: &[(&str, Chart)]) -> String {
    let lines = charts.len().div_ceil(2) as f64;
    let height = (SMALL.1 * lines).min(1_600.0) / lines.max(1.0);
    let mut framed = Vec::new();
    for (number, (_, chart)) in charts.iter().enumerate() {
        let at = ((number % 2) as f64 * SMALL.0, (number / 2) as f64 * height);
        let at = (at.0 + SMALL_MARGIN, at.1 + SMALL_MARGIN * 0.6);
        let size = (SMALL.0 - 2.0 * SMALL_MARGIN, height - SMALL_MARGIN);
        framed.push((chart, Frame { at, size, text: SMALL_TEXT }));
    }
    picture((2.0 * SMALL.0, height * lines), &framed)
}

/// The systems in the rows, with their looks.
fn systems(rows: &[Row]) -> Vec<(usize, &'static str)> {
    let names = SystemKind::ALL.iter().map(|system| system.name()).enumerate();
    names.filter(|(_, name)| rows.iter().any(|row| row.system == *name)).collect()
}

/// One series for each system; `value` is given its row of each step.
fn series<S>(
    rows: &[Row],
    steps: &[S],
    is_of: impl Fn(&Row, &S) -> bool,
    value: impl Fn(&Row) -> Value,
) -> Vec<Series> {
    let of_system = |(look, name)| {
        let find = |step| rows.iter().find(|row| row.system == name && is_of(row, step));
        let values = steps.iter().map(|step| find(step).map_or(Value::None, &value)).collect();
        Series { name, look, values }
    };
    systems(rows).into_iter().map(of_system).collect()
}

fn measured(measure: &Measure, rows: &[Row]) -> Chart {
    let mut sizes: BTreeSet<usize> =
        rows.iter().filter(|row| row.failure == "none").map(|row| row.nodes).collect();
    let mut failure = "none";
    // A table of failures only: what was measured with the first of them.
    if let (true, Some(row)) = (sizes.is_empty(), rows.first()) {
        (sizes, failure) = (BTreeSet::from([row.nodes]), &row.failure);
    }
    let sizes: Vec<usize> = sizes.into_iter().collect();
    let is_of = |row: &Row, nodes: &usize| row.nodes == *nodes && row.failure == failure;
    let value = |row: &Row| (measure.figure)(row).map_or(Value::None, Value::Is);
    let (form, place) = match sizes[..] {
        [nodes] => (Form::Rows, format!(", {} nodes", figure(nodes as f64))),
        _ => (Form::Lines, String::new()),
    };
    let has_zero = measure.is_log && rows.iter().any(|row| (measure.figure)(row) == Some(0.0));
    let zero = if has_zero { "; 0 at the foot" } else { "" };
    let after = if failure == "none" { String::new() } else { format!(", failure {failure}") };
    Chart {
        title: measure.title.to_owned(),
        note: format!("{}{place}{after}{zero}", measure.note),
        form,
        is_log: measure.is_log,
        series: series(rows, &sizes, is_of, value),
        steps: sizes.iter().map(usize::to_string).collect(),
    }
}

/// The charts of failures, if there are any.
fn failed(rows: &[Row]) -> Vec<(&'static str, Chart)> {
    let count = |nodes: usize| rows.iter().filter(|row| row.nodes == nodes).count();
    let failing = rows.iter().filter(|row| row.failure != "none").map(|row| row.nodes);
    let Some(nodes) = failing.max_by_key(|&nodes| (count(nodes), nodes)) else {
        return Vec::new();
    };
    let mut steps: Vec<&str> = Vec::new();
    for row in rows.iter().filter(|row| row.nodes == nodes) {
        if !steps.contains(&row.failure.as_str()) {
            steps.push(&row.failure);
        }
    }
    let is_of = |row: &Row, step: &&str| row.nodes == nodes && row.failure == *step;
    let chart = |title: &str, note: &str, steps: &[&str], value: &dyn Fn(&Row) -> Value| Chart {
        title: title.to_owned(),
        note: format!("{note}, {} nodes", figure(nodes as f64)),
        form: Form::Bars,
        is_log: false,
        steps: steps.iter().map(|step| (*step).to_owned()).collect(),
        series: series(rows, steps, is_of, value),
    };
    let success = |row: &Row| row.exact_success.map_or(Value::None, |it| Value::Is(it * 100.0));
    let back = |row: &Row| row.recovery_seconds.map_or(Value::Beyond, Value::Is);
    let failures: Vec<&str> = steps.iter().copied().filter(|step| *step != "none").collect();
    vec![
        (
            "success-after-failure",
            chart(
                "Success after a failure",
                "percent of lookups by whole name in the minute after it",
                &steps,
                &success,
            ),
        ),
        (
            "recovery-after-failure",
            chart(
                "Recovery after a failure",
                "seconds until success is back at 95 % of before; pale: not within 5 minutes",
                &failures,
                &back,
            ),
        ),
    ]
}
