//! SVG primitives: lines, discs and text, with escaping and an upper bound on the width of text.

use std::fmt::Write;

/// A position in pixels, y downwards.
pub(crate) type Point = (f64, f64);

/// No text is smaller than this, in pixels.
pub(super) const MIN_TEXT: f64 = 11.0;

/// Colours of nodes and links by hop, the origin first; the last also for all further hops.
pub(super) const HOPS: [&str; 16] = [
    "#1b1b3a", "#30509e", "#2a88b8", "#2bb3a3", "#58c65a", "#b5cf2f", "#f0b429", "#ef7b2c",
    "#a8551f", "#7a4a3a", "#8c6d9e", "#6a3d8f", "#4a2a63", "#7f7a3c", "#4f5d2f", "#2f4f4f",
];
/// Nodes that a search did not reach.
pub(super) const UNREACHED: &str = "#c3c7d0";
/// Hits and the nodes that answer.
pub(super) const HIT: &str = "#d7263d";
/// The paper.
pub(crate) const PAPER: &str = "#fdfdfb";
/// Text.
pub(crate) const INK: &str = "#1b1b1b";

/// The colour of `hop`.
pub(super) fn colour(hop: u8) -> &'static str {
    HOPS[usize::from(hop).min(HOPS.len() - 1)]
}

/// How a line is drawn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pen {
    pub(crate) colour: &'static str,
    pub(crate) width: f64,
    pub(crate) opacity: f64,
    /// Length of dashes; `None` is a solid line.
    pub(crate) dash: Option<f64>,
}

/// Draws a line.
pub(crate) fn line(out: &mut String, a: Point, b: Point, pen: Pen) {
    let Pen { colour, width, opacity, dash } = pen;
    let dash = dash.map_or(String::new(), |dash| format!(" stroke-dasharray=\"{dash:.1}\""));
    let _ = writeln!(
        out,
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{colour}\" \
         stroke-width=\"{width:.1}\" stroke-opacity=\"{opacity:.2}\"{dash}/>",
        a.0, a.1, b.0, b.1
    );
}

/// Draws a disc with a rim.
pub(super) fn disc(out: &mut String, at: Point, radius: f64, (fill, rim): (&str, &str)) {
    let width = (radius / 5.0).clamp(0.5, 4.0);
    let _ = writeln!(
        out,
        "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"{radius:.1}\" fill=\"{fill}\" stroke=\"{rim}\" \
         stroke-width=\"{width:.1}\"/>",
        at.0, at.1
    );
}

/// Writes `text` from `at`, the end of its baseline that `anchor` names.
pub(crate) fn text(
    out: &mut String,
    at: Point,
    size: f64,
    (anchor, ink): (&str, &str),
    text: &str,
) {
    let _ = writeln!(
        out,
        "<text x=\"{:.1}\" y=\"{:.1}\" font-size=\"{:.1}\" text-anchor=\"{anchor}\" \
         fill=\"{ink}\">{}</text>",
        at.0,
        at.1,
        size.max(MIN_TEXT),
        escaped(text)
    );
}

/// An upper bound on the width of `text` in a usual sans-serif font.
pub(crate) fn text_width(text: &str, size: f64) -> f64 {
    let ems: f64 = text.chars().map(|c| if c.is_ascii() { 0.62 } else { 1.0 }).sum();
    ems * size
}

/// The start of `text`, at most `max` characters long.
pub(super) fn shortened(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        None => text.to_owned(),
        Some(_) => text.chars().take(max - 1).chain(['…']).collect(),
    }
}

/// Whether white text is easier to read on `fill`, given as `#rrggbb`, than black text.
pub(super) fn is_dark(fill: &str) -> bool {
    let part = |at: usize| u32::from_str_radix(fill.get(at..at + 2).unwrap_or("ff"), 16);
    let [red, green, blue] = [1, 3, 5].map(|at| part(at).unwrap_or(255));
    299 * red + 587 * green + 114 * blue < 135_000
}

/// `text` as XML content: markup escaped, characters that XML forbids or that turn the direction of
/// text replaced.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(printable(c)),
        }
    }
    out
}

/// `c`, or the replacement character in its place.
pub(super) fn printable(c: char) -> char {
    match c {
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        '\u{fffe}' | '\u{ffff}' => '\u{fffd}',
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_leave_its_element() {
        assert_eq!(escaped("<a b=\"&\">"), "&lt;a b=&quot;&amp;&quot;&gt;");
        assert_eq!(escaped("a\u{1}b\u{202e}c\nd"), "a\u{fffd}b\u{fffd}c\u{fffd}d");
        assert_eq!(shortened("zebra", 5), "zebra");
        assert_eq!(shortened("zebras", 5), "zebr…");
    }

    #[test]
    fn labels_contrast_with_their_disc() {
        assert!(is_dark(HOPS[0]) && is_dark(HOPS[1]) && !is_dark(HOPS[5]) && !is_dark("#ffffff"));
    }
}
