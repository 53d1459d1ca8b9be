//! The sheet around a drawing: title above, legend below or, where the drawing has a hollow, in its
//! middle. The canvas is as large as its content.

use super::canvas::{INK, PAPER, Pen, Point, disc, line, text, text_width};
use std::fmt::Write;

/// Space between the drawing and the edge of the canvas.
pub(super) const MARGIN: f64 = 56.0;
const TITLE_SIZE: f64 = 27.0;
const NOTE_SIZE: f64 = 20.0;
const TEXT_SIZE: f64 = 20.0;
/// Height of title and note.
pub(super) const TITLE_HEIGHT: f64 = 92.0;
/// From the lowest node to the first row of the legend, and to the edge where there is none.
const LEGEND_GAP: f64 = 64.0;
const ROW_HEIGHT: f64 = 36.0;
/// From the start of a mark to the start of its words.
const MARK_WIDTH: f64 = 34.0;
/// Between two entries of a row.
const ENTRY_GAP: f64 = 34.0;
/// The legend has this width at least.
const MIN_WIDTH: f64 = 620.0;

/// What an entry of the legend explains.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mark {
    /// A node with this fill and rim.
    Disc(&'static str, &'static str),
    /// A link.
    Line(Pen),
}

/// A mark and its meaning.
pub(super) type Entry = (Mark, String);

/// A drawing and what is written around it.
pub(super) struct Sheet {
    pub(super) title: String,
    /// One line of figures below the title.
    pub(super) note: String,
    /// Width and height of the drawing.
    pub(super) size: Point,
    /// Radius of the empty circle in the middle of the drawing, if there is one.
    pub(super) hollow: Option<f64>,
    pub(super) legend: Vec<Entry>,
}

impl Sheet {
    /// The whole SVG; `body` is drawn from (0, 0) to the size of the sheet.
    pub(super) fn render(&self, body: &str) -> String {
        let written = text_width(&self.title, TITLE_SIZE).max(text_width(&self.note, NOTE_SIZE));
        let width = (self.size.0.max(MIN_WIDTH).max(written) + 2.0 * MARGIN).min(1_600.0);
        let inside = self.hollow.is_some_and(|radius| self.fits_inside(radius));
        let rows = if inside { Vec::new() } else { self.rows(width - 2.0 * MARGIN) };
        let below = if inside { 0.0 } else { rows.len() as f64 * ROW_HEIGHT };
        let height = TITLE_HEIGHT + MARGIN / 2.0 + self.size.1 + LEGEND_GAP + below;
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
             viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"DejaVu Sans, sans-serif\" \
             stroke-linecap=\"round\">\n<rect width=\"100%\" height=\"100%\" fill=\"{PAPER}\"/>\n"
        );
        let middle = width / 2.0;
        text(&mut out, (middle, 46.0), TITLE_SIZE, ("middle", INK), &self.title);
        text(&mut out, (middle, 78.0), NOTE_SIZE, ("middle", "#555555"), &self.note);
        let origin = (middle - self.size.0 / 2.0, TITLE_HEIGHT + MARGIN / 2.0);
        let _ = writeln!(out, "<g transform=\"translate({:.1} {:.1})\">", origin.0, origin.1);
        out.push_str(body);
        out.push_str("</g>\n");
        if inside {
            self.write_column(&mut out, (middle, origin.1 + self.size.1 / 2.0));
        } else {
            self.write_rows(&mut out, &rows, (middle, height - below));
        }
        out.push_str("</svg>\n");
        out
    }

    /// Whether the legend as a column fits into a circle.
    fn fits_inside(&self, radius: f64) -> bool {
        let (width, height) = (self.column_width(), self.legend.len() as f64 * ROW_HEIGHT);
        (width / 2.0).hypot(height / 2.0) <= radius
    }

    fn column_width(&self) -> f64 {
        self.legend.iter().map(entry_width).fold(0.0, f64::max)
    }

    fn write_column(&self, out: &mut String, middle: Point) {
        let x = middle.0 - self.column_width() / 2.0;
        let mut y = middle.1 - (self.legend.len() as f64 - 1.0) / 2.0 * ROW_HEIGHT;
        for entry in &self.legend {
            write_entry(out, (x, y), entry);
            y += ROW_HEIGHT;
        }
    }

    /// The entries, broken into rows that are not wider than `width`.
    fn rows(&self, width: f64) -> Vec<Vec<&Entry>> {
        let mut rows: Vec<Vec<&Entry>> = Vec::new();
        let mut used = f64::INFINITY;
        for entry in &self.legend {
            let wide = entry_width(entry) + ENTRY_GAP;
            if used + wide - ENTRY_GAP > width {
                rows.push(Vec::new());
                used = 0.0;
            }
            used += wide;
            rows.iter_mut().last().into_iter().for_each(|row| row.push(entry));
        }
        rows
    }

    fn write_rows(&self, out: &mut String, rows: &[Vec<&Entry>], (middle, top): Point) {
        for (number, row) in rows.iter().enumerate() {
            let wide: f64 = row.iter().map(|entry| entry_width(entry) + ENTRY_GAP).sum();
            let mut x = middle - (wide - ENTRY_GAP) / 2.0;
            let y = top + number as f64 * ROW_HEIGHT;
            for entry in row {
                write_entry(out, (x, y), entry);
                x += entry_width(entry) + ENTRY_GAP;
            }
        }
    }
}

fn entry_width((_, words): &Entry) -> f64 {
    MARK_WIDTH + text_width(words, TEXT_SIZE)
}

fn write_entry(out: &mut String, (x, y): Point, (mark, words): &Entry) {
    out.push_str("<g class=\"legend\">");
    match *mark {
        Mark::Disc(fill, rim) => disc(out, (x + 13.0, y), 10.0, (fill, rim)),
        Mark::Line(pen) => line(
            out,
            (x, y),
            (x + 26.0, y),
            Pen { width: pen.width.max(1.8), opacity: pen.opacity.max(0.7), ..pen },
        ),
    }
    text(out, (x + MARK_WIDTH, y + 7.0), TEXT_SIZE, ("start", INK), words);
    out.push_str("</g>\n");
}
