//! The rows of the table: what was measured in one cell, and how lookups grow with the network.

use super::SystemKind;
use super::host::Held;
use super::meter::Record;
use serde::Serialize;
use std::fmt::Write;

/// One row. Scripts rely on the field names; `null` is what does not apply.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the names say it, and the manual defines them")]
pub struct Row {
    pub system: &'static str,
    pub nodes: usize,
    pub failure: String,
    pub lookups: usize,
    pub exact_success: Option<f64>,
    pub exact_recall: Option<f64>,
    pub keyword_success: Option<f64>,
    pub keyword_recall: Option<f64>,
    pub messages_mean: Option<f64>,
    pub messages_p95: Option<f64>,
    pub messages_max: Option<f64>,
    pub bytes_mean: Option<f64>,
    pub hops_mean: Option<f64>,
    pub hops_p95: Option<f64>,
    pub first_answer_ms_mean: Option<f64>,
    pub state_entries_mean: Option<f64>,
    pub state_entries_max: Option<f64>,
    pub state_bytes_mean: Option<f64>,
    pub state_bytes_max: Option<f64>,
    pub join_messages_mean: f64,
    pub upkeep_messages_per_node_minute: f64,
    pub busiest_share: f64,
    pub recovery_seconds: Option<f64>,
}

impl Row {
    /// The part of a row that follows from lookups and states.
    pub(super) fn new(summary: &Summary, states: &[Held]) -> Row {
        let entries = Figures::of(states.iter().map(|held| held.entries as f64));
        let bytes = Figures::of(states.iter().map(|held| held.bytes as f64));
        Row {
            system: "",
            nodes: 0,
            failure: String::new(),
            lookups: summary.lookups,
            exact_success: summary.exact.0.mean(),
            exact_recall: summary.exact.1.mean(),
            keyword_success: summary.keyword.0.mean(),
            keyword_recall: summary.keyword.1.mean(),
            messages_mean: summary.messages.mean(),
            messages_p95: summary.messages.quantile(0.95),
            messages_max: summary.messages.quantile(1.0),
            bytes_mean: summary.bytes.mean(),
            hops_mean: summary.hops.mean(),
            hops_p95: summary.hops.quantile(0.95),
            first_answer_ms_mean: summary.first_answer_ms.mean(),
            state_entries_mean: entries.mean(),
            state_entries_max: entries.quantile(1.0),
            state_bytes_mean: bytes.mean(),
            state_bytes_max: bytes.quantile(1.0),
            join_messages_mean: 0.0,
            upkeep_messages_per_node_minute: 0.0,
            busiest_share: 0.0,
            recovery_seconds: None,
        }
    }
}

/// Figures in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures(Vec<f64>);

impl Figures {
    fn of(figures: impl Iterator<Item = f64>) -> Figures {
        let mut figures: Vec<f64> = figures.collect();
        figures.sort_by(f64::total_cmp);
        Figures(figures)
    }

    fn mean(&self) -> Option<f64> {
        (!self.0.is_empty()).then(|| self.0.iter().sum::<f64>() / self.0.len() as f64)
    }

    /// The least figure that this share of all does not exceed.
    fn quantile(&self, share: f64) -> Option<f64> {
        #[expect(clippy::cast_possible_truncation, reason = "at most the number of figures")]
        #[expect(clippy::cast_sign_loss, reason = "shares are positive")]
        let rank = (share * self.0.len() as f64).ceil() as usize;
        self.0.get(rank.max(1) - 1).copied()
    }
}

/// What came of some lookups. Pairs are success and recall.
#[derive(Clone, Debug)]
pub(super) struct Summary {
    lookups: usize,
    exact: (Figures, Figures),
    keyword: (Figures, Figures),
    messages: Figures,
    bytes: Figures,
    hops: Figures,
    first_answer_ms: Figures,
}

impl Summary {
    pub(super) fn of(records: &[Record]) -> Summary {
        let outcomes = |exact: bool| {
            let these = || records.iter().filter(move |it| it.lookup.wanted.exact == exact);
            let success = these().map(|it| f64::from(u8::from(!it.found.is_empty())));
            let recall = these().map(|it| it.found.len() as f64 / it.lookup.copies.len() as f64);
            (Figures::of(success), Figures::of(recall))
        };
        let firsts = || records.iter().filter_map(|it| it.first);
        Summary {
            lookups: records.len(),
            exact: outcomes(true),
            keyword: outcomes(false),
            messages: Figures::of(records.iter().map(|it| it.traffic.messages as f64)),
            bytes: Figures::of(records.iter().map(|it| it.traffic.bytes as f64)),
            hops: Figures::of(firsts().map(|(_, hops)| hops as f64)),
            first_answer_ms: Figures::of(firsts().map(|(time, _)| time.as_secs_f64() * 1_000.0)),
        }
    }

    /// The share of all lookups that found something.
    pub(super) fn success(&self) -> f64 {
        let found: f64 = self.exact.0.0.iter().chain(&self.keyword.0.0).sum();
        found / self.lookups.max(1) as f64
    }
}

/// The heads of the table's columns.
const COLUMNS: [&str; 18] = [
    "system",
    "nodes",
    "failure",
    "names",
    "recall",
    "words",
    "recall",
    "messages",
    "p95",
    "bytes",
    "hops",
    "ms",
    "state",
    "most",
    "join",
    "upkeep",
    "busiest",
    "back after",
];

/// All rows as one table: shares in percent, `-` where a thing does not apply.
pub fn table(rows: &[Row]) -> String {
    let percent =
        |share: Option<f64>| share.map_or("-".to_owned(), |it| format!("{:.1}%", it * 100.0));
    let number = |number: Option<f64>| number.map_or("-".to_owned(), |it| format!("{it:.1}"));
    let mut lines = vec![COLUMNS.map(str::to_owned)];
    lines.extend(rows.iter().map(|row| {
        [
            row.system.to_owned(),
            row.nodes.to_string(),
            row.failure.clone(),
            percent(row.exact_success),
            percent(row.exact_recall),
            percent(row.keyword_success),
            percent(row.keyword_recall),
            number(row.messages_mean),
            number(row.messages_p95),
            number(row.bytes_mean),
            number(row.hops_mean),
            number(row.first_answer_ms_mean),
            number(row.state_entries_mean),
            number(row.state_entries_max),
            number(Some(row.join_messages_mean)),
            number(Some(row.upkeep_messages_per_node_minute)),
            percent(Some(row.busiest_share)),
            row.recovery_seconds.map_or("-".to_owned(), |seconds| format!("{seconds:.0} s")),
        ]
    }));
    aligned(&lines, |column| ![0, 2].contains(&column))
}

/// What these systems cannot do, and how their lookups grow with the network.
pub fn limits(rows: &[Row], systems: &[SystemKind]) -> String {
    let heads = ["system", "finds", "robustness", "privacy", "messages of a lookup grow"];
    let mut lines = vec![heads.map(str::to_owned)];
    lines.extend(systems.iter().map(|system| {
        let mut parts = system.limits().splitn(3, "; ").map(str::to_owned);
        let mut part = || parts.next().unwrap_or_default();
        [system.name().to_owned(), part(), part(), part(), growth_in_words(rows, system.name())]
    }));
    aligned(&lines, |_| false)
}

/// Lines of cells below each other, at the right of their columns if `is_right`.
fn aligned<const N: usize>(lines: &[[String; N]], is_right: impl Fn(usize) -> bool) -> String {
    let widths: [usize; N] = std::array::from_fn(|column| {
        lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0)
    });
    let mut out = String::new();
    for line in lines {
        for (column, (cell, &width)) in line.iter().zip(&widths).enumerate() {
            let _ = match is_right(column) {
                true => write!(out, "{cell:>width$}  "),
                false => write!(out, "{cell:<width$}  "),
            };
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    out
}

/// Exponents nearer to 0 than this are no growth.
const NO_GROWTH: f64 = 0.02;

/// How messages per lookup grow: by the exponent, or with the logarithm where that fits better.
fn growth_in_words(rows: &[Row], system: &str) -> String {
    match (growth(rows, system), logarithmic_growth(rows, system)) {
        (None, _) => "-".to_owned(),
        (Some(exponent), _) if exponent.abs() < NO_GROWTH => format!("not, N^{exponent:.2}"),
        (Some(exponent), Some((step, true))) => {
            format!("by {step:.2} per doubling of N (N^{exponent:.2} fits worse)")
        }
        (Some(exponent), Some((step, false))) => {
            format!("as N^{exponent:.2} ({step:.2} per doubling fits worse)")
        }
        (Some(exponent), None) => format!("as N^{exponent:.2}"),
    }
}

/// Nodes and messages per lookup, over the sizes of one system without failures.
fn sizes(rows: &[Row], system: &str) -> Vec<(f64, f64)> {
    let these = rows.iter().filter(|row| row.system == system && row.failure == "none");
    these.filter_map(|row| Some((row.nodes as f64, row.messages_mean?.max(1e-9)))).collect()
}

/// Least squares: a and b of y = a + b x. `None` where all x are the same.
fn fit(points: &[(f64, f64)]) -> Option<(f64, f64)> {
    let count = points.len() as f64;
    let (x, y): (f64, f64) =
        points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0 / count, y + point.1 / count));
    let spread: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    let both: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let slope = both / spread;
    (spread > 0.0).then_some((y - slope * x, slope))
}

/// The exponent b of messages per lookup = a · N^b over the sizes of one system without failures:
/// 0 is constant, 1 linear. `None` with fewer than two sizes.
pub fn growth(rows: &[Row], system: &str) -> Option<f64> {
    let points: Vec<(f64, f64)> = sizes(rows, system)
        .into_iter()
        .map(|(nodes, messages)| (nodes.ln(), messages.ln()))
        .collect();
    fit(&points).map(|(_, exponent)| exponent)
}

/// The slope b of messages per lookup = a + b · log2 N, and whether this fits better than [`growth`],
/// by the relative errors. `None` with fewer than three sizes, which any curve fits.
pub fn logarithmic_growth(rows: &[Row], system: &str) -> Option<(f64, bool)> {
    let points = sizes(rows, system);
    if points.len() < 3 {
        return None;
    }
    let (start, step) = fit(&points.iter().map(|(x, y)| (x.log2(), *y)).collect::<Vec<_>>())?;
    let (log_start, power) =
        fit(&points.iter().map(|(x, y)| (x.ln(), y.ln())).collect::<Vec<_>>())?;
    let error = |model: &dyn Fn(f64) -> f64| -> f64 {
        points.iter().map(|(x, y)| (model(*x) / y - 1.0).powi(2)).sum()
    };
    let by_logarithm = error(&|x| start + step * x.log2());
    let by_power = error(&|x| (log_start + power * x.ln()).exp());
    Some((step, by_logarithm < by_power))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_that_was_drawn_is_found() {
        let rows = |messages: &dyn Fn(f64) -> f64| -> Vec<Row> {
            let row = |nodes: usize| Row {
                system: "drawn",
                nodes,
                failure: "none".to_owned(),
                messages_mean: Some(messages(nodes as f64)),
                ..Row::new(&Summary::of(&[]), &[])
            };
            [100, 1_000, 10_000].map(row).to_vec()
        };
        let linear = rows(&|nodes| 3.0 * nodes);
        assert!((growth(&linear, "drawn").unwrap() - 1.0).abs() < 1e-9);
        assert!(!logarithmic_growth(&linear, "drawn").unwrap().1);
        let by_logarithm = rows(&|nodes| 2.0 + 0.5 * nodes.log2());
        let (step, fits_better) = logarithmic_growth(&by_logarithm, "drawn").unwrap();
        assert!((step - 0.5).abs() < 1e-9 && fits_better, "{step}");
        assert_eq!(
            growth_in_words(&by_logarithm, "drawn"),
            "by 0.50 per doubling of N (N^0.11 fits worse)"
        );
        assert_eq!(growth_in_words(&rows(&|_| 2.0), "drawn"), "not, N^0.00");
        assert_eq!(logarithmic_growth(&linear[..2], "drawn"), None);
        assert_eq!(growth(&linear[..1], "drawn"), None);
    }
}
