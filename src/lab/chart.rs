//! Charts as SVG: lines over the number of nodes, bars in groups, marks in rows.
//!
//! Each system has a colour and a mark of its own, so that it can be told without colours; names stand
//! beside the lines. Colours are those of Okabe and Ito (2008), which colour-blind people tell apart.

use crate::plan::picture::canvas::{INK, PAPER, Pen, Point, line, text, text_width};
use std::fmt::Write;

/// Colours of systems, by their place in the list of all.
const COLOURS: [&str; 9] = [
    "#000000", "#d55e00", "#e69f00", "#56b4e9", "#009e73", "#0072b2", "#cc79a7", "#7a4a21",
    "#7f7f7f",
];

const NOTE: &str = "#555555";
const GRID: Pen = Pen { colour: "#8a8f99", width: 1.0, opacity: 0.35, dash: None };
const AXIS: Pen = Pen { colour: "#444444", width: 1.5, opacity: 1.0, dash: None };

/// The corners of a cross.
const CROSS: [Point; 12] = [
    (-0.4, -1.15),
    (0.4, -1.15),
    (0.4, -0.4),
    (1.15, -0.4),
    (1.15, 0.4),
    (0.4, 0.4),
    (0.4, 1.15),
    (-0.4, 1.15),
    (-0.4, 0.4),
    (-1.15, 0.4),
    (-1.15, -0.4),
    (-0.4, -0.4),
];

/// What is drawn of one system.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) name: &'static str,
    /// Colour and mark.
    pub(super) look: usize,
    pub(super) values: Vec<Value>,
}

/// One figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    /// It does not apply.
    None,
    /// It is this.
    Is(f64),
    /// It is beyond the end of the axis.
    Beyond,
}

impl Value {
    fn number(self) -> Option<f64> {
        match self {
            Value::Is(number) => Some(number),
            Value::None | Value::Beyond => None,
        }
    }
}

/// How values are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A line for each system over the steps, which are numbers of nodes on a logarithmic axis.
    Lines,
    /// A bar for each system in a group for each step.
    Bars,
    /// A row for each system with one mark. There is one step.
    Rows,
}

/// A chart.
#[derive(Clone, Debug)]
pub(super) struct Chart {
    pub(super) title: String,
    /// What the values are, in which unit.
    pub(super) note: String,
    pub(super) form: Form,
    /// Whether the axis of the values is logarithmic.
    pub(super) is_log: bool,
    /// The steps: each has one value in each series.
    pub(super) steps: Vec<String>,
    pub(super) series: Vec<Series>,
}

/// Where a chart goes, and how large its text is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) at: Point,
    pub(super) size: Point,
    pub(super) text: f64,
}

/// The scale of an axis in pixels.
#[derive(Clone, Copy, Debug)]
struct Scale {
    is_log: bool,
    values: (f64, f64),
    pixels: (f64, f64),
}

impl Scale {
    /// From a little below the least of these values to a little above the greatest; a linear scale
    /// begins at 0.
    fn around(values: impl Iterator<Item = f64>, is_log: bool, pixels: (f64, f64)) -> Scale {
        let fits = |value: &f64| *value > 0.0 || !is_log;
        let (least, most) = values
            .filter(fits)
            .fold((f64::MAX, 0.0f64), |(least, most), it| (least.min(it), most.max(it)));
        let (least, most) = if least > most { (1.0, 10.0) } else { (least, most) };
        let values = match is_log {
            true => (least / 1.5, most * 1.5),
            false if most <= 0.0 => (0.0, 1.0),
            false => (0.0, most * 1.06),
        };
        Scale { is_log, values, pixels }
    }

    /// The pixel of a value; the ends for what is beyond them, as 0 is on a logarithmic scale.
    fn at(&self, value: f64) -> f64 {
        let (from, to) = self.values;
        let value = value.clamp(from, to);
        let share = match self.is_log {
            true => (value / from).ln() / (to / from).ln(),
            false => (value - from) / (to - from),
        };
        self.pixels.0 + share * (self.pixels.1 - self.pixels.0)
    }

    /// Round values within the scale: at least three of them where they fit.
    fn ticks(&self) -> Vec<f64> {
        let (from, to) = self.values;
        if self.is_log {
            let decades = |steps: &[f64]| -> Vec<f64> {
                let all =
                    (-3..9).flat_map(|power| steps.iter().map(move |it| it * 10f64.powi(power)));
                all.filter(|it| (from..=to).contains(it)).collect()
            };
            let whole = decades(&[1.0]);
            return if whole.len() < 3 { decades(&[1.0, 2.0, 5.0]) } else { whole };
        }
        let rough = to / 6.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().find(|it| it * power >= rough);
        let step = step.unwrap_or(10.0) * power;
        (0..8).map(|tick| f64::from(tick) * step).filter(|it| *it <= to).collect()
    }
}

/// A number as it is written on an axis: thousands apart, no more digits than it needs.
pub(super) fn figure(number: f64) -> String {
    let written = match number {
        it if it >= 100.0 || it.fract() == 0.0 => format!("{it:.0}"),
        it if it >= 1.0 => format!("{it:.1}"),
        it => format!("{it:.2}"),
    };
    let (whole, rest) = written.split_at(written.find('.').unwrap_or(written.len()));
    let mut out = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out + rest
}

/// Draws the mark of a system.
fn mark(out: &mut String, (x, y): Point, radius: f64, look: usize) {
    let colour = COLOURS[look % COLOURS.len()];
    let points = |points: &[(f64, f64)]| {
        let moved =
            points.iter().map(|(dx, dy)| format!("{:.1},{:.1}", x + dx * radius, y + dy * radius));
        moved.collect::<Vec<_>>().join(" ")
    };
    let square = [(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)];
    let shape = match look % COLOURS.len() {
        0 | 7 => format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\""),
        1 | 8 => format!("<polygon points=\"{}\"", points(&square)),
        2 => format!(
            "<polygon points=\"{}\"",
            points(&[(0.0, -1.2), (1.2, 0.0), (0.0, 1.2), (-1.2, 0.0)])
        ),
        3 => format!("<polygon points=\"{}\"", points(&[(0.0, -1.15), (1.1, 0.85), (-1.1, 0.85)])),
        4 => format!("<polygon points=\"{}\"", points(&[(0.0, 1.15), (1.1, -0.85), (-1.1, -0.85)])),
        5 => format!(
            "<polygon points=\"{}\"",
            points(&[(-0.6, -1.1), (0.6, -1.1), (1.2, 0.0), (0.6, 1.1), (-0.6, 1.1), (-1.2, 0.0)])
        ),
        _ => format!("<polygon points=\"{}\"", points(&CROSS)),
    };
    // The last two are open: their shapes are taken.
    let (fill, rim, width) = match look % COLOURS.len() {
        7 | 8 => (PAPER, colour, radius * 0.45),
        _ => (colour, PAPER, 1.0),
    };
    let _ = writeln!(out, "{shape} fill=\"{fill}\" stroke=\"{rim}\" stroke-width=\"{width:.1}\"/>");
}

impl Chart {
    /// Whether there is anything to see.
    pub(super) fn is_empty(&self) -> bool {
        let mut values = self.series.iter().flat_map(|series| &series.values);
        values.all(|value| *value == Value::None)
    }

    /// Draws the chart into its frame.
    pub(super) fn draw(&self, out: &mut String, frame: Frame) {
        let Frame { at: (x, y), size: (width, height), text: size } = frame;
        text(out, (x, y + size * 1.2), size * 1.25, ("start", INK), &self.title);
        text(out, (x, y + size * 2.6), size * 0.9, ("start", NOTE), &self.note);
        let names = self.series.iter().map(|series| text_width(series.name, size));
        let names = names.fold(0.0, f64::max) + size * 2.2;
        let (top, bottom) = (y + size * 3.8, y + height - size * 3.2);
        match self.form {
            Form::Rows => {
                let plot = (x + names, x + width - size * 4.0);
                self.rows(out, plot, (top, bottom), size);
            }
            Form::Lines | Form::Bars => {
                let ticks = self.scale((bottom, top)).ticks();
                let labels = ticks.iter().map(|tick| text_width(&figure(*tick), size));
                let left = x + labels.fold(0.0, f64::max) + size * 0.6;
                let plot = (left, x + width - names);
                self.values_axis(out, plot, (bottom, top), size);
                match self.form {
                    Form::Lines => self.lines(out, plot, (bottom, top), size),
                    _ => self.bars(out, plot, (bottom, top), size),
                }
            }
        }
    }

    fn scale(&self, pixels: (f64, f64)) -> Scale {
        let values = self.series.iter().flat_map(|series| &series.values);
        Scale::around(values.filter_map(|value| value.number()), self.is_log, pixels)
    }

    /// The axis of values on the left, with lines across the plot.
    fn values_axis(&self, out: &mut String, plot: (f64, f64), pixels: (f64, f64), size: f64) {
        let scale = self.scale(pixels);
        for tick in scale.ticks() {
            let y = scale.at(tick);
            line(out, (plot.0, y), (plot.1, y), GRID);
            let at = (plot.0 - size * 0.5, y + size * 0.36);
            text(out, at, size, ("end", INK), &figure(tick));
        }
        line(out, (plot.0, pixels.0), (plot.1, pixels.0), AXIS);
    }

    fn lines(&self, out: &mut String, plot: (f64, f64), pixels: (f64, f64), size: f64) {
        let nodes: Vec<f64> = self.steps.iter().map(|step| step.parse().unwrap_or(1.0)).collect();
        let inner = (plot.0 + size * 1.5, plot.1 - size * 1.5);
        let ends = (nodes.first().copied().unwrap_or(1.0), nodes.last().copied().unwrap_or(10.0));
        let across = Scale { is_log: true, values: ends, pixels: inner };
        let up = self.scale(pixels);
        for &step in &nodes {
            let at = (across.at(step), pixels.0 + size * 1.4);
            line(out, (at.0, pixels.0), (at.0, pixels.1), GRID);
            text(out, at, size, ("middle", INK), &figure(step));
        }
        let middle = (f64::midpoint(plot.0, plot.1), pixels.0 + size * 2.8);
        text(out, middle, size, ("middle", NOTE), "nodes");
        let mut ends = Vec::new();
        for series in &self.series {
            let values = nodes.iter().zip(&series.values);
            let points: Vec<Point> = values
                .filter_map(|(&step, value)| Some((step, value.number()?)))
                .map(|(step, value)| (across.at(step), up.at(value)))
                .collect();
            let colour = COLOURS[series.look % COLOURS.len()];
            let pen = Pen { colour, width: size / 6.0, opacity: 0.9, dash: None };
            points.windows(2).for_each(|pair| line(out, pair[0], pair[1], pen));
            points.iter().for_each(|&point| mark(out, point, size * 0.42, series.look));
            ends.extend(points.last().map(|&end| (end, series)));
        }
        self.names(out, ends, plot.1, (pixels.1, pixels.0), size);
    }

    /// The names beside the ends of their lines, moved up or down so that none covers another.
    fn names(
        &self,
        out: &mut String,
        mut ends: Vec<(Point, &Series)>,
        right: f64,
        (top, bottom): (f64, f64),
        size: f64,
    ) {
        ends.sort_by(|(a, _), (b, _)| a.1.total_cmp(&b.1));
        let step = size * 1.3;
        let mut heights: Vec<f64> = Vec::new();
        for ((_, y), _) in &ends {
            let free = heights.last().map_or(top, |above| above + step);
            heights.push(y.max(free));
        }
        let mut most = bottom;
        for height in heights.iter_mut().rev() {
            *height = height.min(most);
            most = *height - step;
        }
        for (((x, y), series), height) in ends.into_iter().zip(heights) {
            let colour = COLOURS[series.look % COLOURS.len()];
            let pen = Pen { colour, width: 1.0, opacity: 0.6, dash: Some(3.0) };
            line(out, (x + size * 0.6, y), (right + size * 0.2, height), pen);
            mark(out, (right + size * 0.8, height), size * 0.42, series.look);
            let at = (right + size * 1.6, height + size * 0.36);
            text(out, at, size, ("start", INK), series.name);
        }
    }

    fn bars(&self, out: &mut String, plot: (f64, f64), pixels: (f64, f64), size: f64) {
        let up = self.scale(pixels);
        let group = (plot.1 - plot.0) / self.steps.len().max(1) as f64;
        let width = (group * 0.84 / self.series.len().max(1) as f64).min(size * 3.0);
        let radius = (width * 0.4).min(size * 0.42);
        for (number, step) in self.steps.iter().enumerate() {
            let middle = plot.0 + group * (number as f64 + 0.5);
            text(out, (middle, pixels.0 + size * 1.5), size, ("middle", INK), step);
            let first = middle - width * self.series.len() as f64 / 2.0;
            for (place, series) in self.series.iter().enumerate() {
                let x = first + width * (place as f64 + 0.5);
                let (top, opacity) = match series.values[number] {
                    Value::None => continue,
                    Value::Is(value) => (up.at(value), 0.75),
                    Value::Beyond => (pixels.1, 0.25),
                };
                let colour = COLOURS[series.look % COLOURS.len()];
                let _ = writeln!(
                    out,
                    "<rect x=\"{:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" \
                     fill=\"{colour}\" fill-opacity=\"{opacity}\"/>",
                    x - width * 0.44,
                    width * 0.88,
                    pixels.0 - top
                );
                mark(out, (x, top), radius, series.look);
            }
        }
        let step = ((pixels.0 - pixels.1) / self.series.len().max(1) as f64).min(size * 1.8);
        for (place, series) in self.series.iter().enumerate() {
            let y = pixels.1 + step * (place as f64 + 0.5);
            mark(out, (plot.1 + size * 0.8, y), size * 0.42, series.look);
            let at = (plot.1 + size * 1.6, y + size * 0.36);
            text(out, at, size, ("start", INK), series.name);
        }
    }

    fn rows(&self, out: &mut String, plot: (f64, f64), (top, bottom): (f64, f64), size: f64) {
        let across = self.scale(plot);
        for tick in across.ticks() {
            let x = across.at(tick);
            line(out, (x, top), (x, bottom), GRID);
            text(out, (x, bottom + size * 1.4), size, ("middle", INK), &figure(tick));
        }
        let step = (bottom - top) / self.series.len().max(1) as f64;
        for (place, series) in self.series.iter().enumerate() {
            let y = top + step * (place as f64 + 0.5);
            let label = (plot.0 - size * 0.8, y + size * 0.36);
            text(out, label, size, ("end", INK), series.name);
            let Some(value) = series.values.first().and_then(|value| value.number()) else {
                continue;
            };
            let x = across.at(value);
            line(
                out,
                (plot.0, y),
                (x, y),
                Pen { colour: COLOURS[series.look % COLOURS.len()], ..AXIS },
            );
            mark(out, (x, y), size * 0.5, series.look);
            text(out, (x + size * 0.9, y + size * 0.36), size, ("start", INK), &figure(value));
        }
    }
}

/// One picture of charts in frames.
pub(super) fn picture((width, height): Point, charts: &[(&Chart, Frame)]) -> String {
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"DejaVu Sans, sans-serif\" \
         stroke-linecap=\"round\">\n<rect width=\"100%\" height=\"100%\" fill=\"{PAPER}\"/>\n"
    );
    charts.iter().for_each(|(chart, frame)| chart.draw(&mut out, *frame));
    out.push_str("</svg>\n");
    out
}
