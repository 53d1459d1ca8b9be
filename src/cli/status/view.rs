//! What the live screen shows, and where.

use super::links::{self, LinkRates};
use super::news::News;
use super::paint::{FAINT, WARN, styled};
use super::summary::{self, Rates, Snapshot, per_second};
use super::transfers;
use crate::cli::screen::{self, rule};
use crate::control::results::{LimitRow, LinkRow, Status, TransferRow, TransferState};
use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::text::Line;
use std::collections::BTreeMap;
use std::time::Instant;

/// Lines of news that are shown even if other parts have to be cut for them.
const MIN_NEWS: usize = 4;

/// Everything on the screen.
#[derive(Default)]
pub(super) struct View {
    now: Snapshot,
    rates: Rates,
    /// When the status came.
    status_at: Option<Instant>,
    links: Vec<LinkRow>,
    link_rates: BTreeMap<String, LinkRates>,
    links_at: Option<Instant>,
    /// What has happened.
    pub(super) news: News,
    /// That the servent is gone or hangs.
    pub(super) trouble: Option<String>,
}

impl View {
    pub(super) fn set_status(&mut self, at: Instant, status: Status) {
        if let Some(before) = self.status_at {
            self.rates = Rates::between(&self.now.status, &status, at.duration_since(before));
        }
        (self.now.status, self.status_at) = (status, Some(at));
    }

    pub(super) fn set_links(&mut self, at: Instant, links: Vec<LinkRow>) {
        let before: BTreeMap<&str, &LinkRow> =
            self.links.iter().map(|link| (link.addr.as_str(), link)).collect();
        let apart = self.links_at.map(|before| at.duration_since(before));
        let rate = |link: &LinkRow| {
            let (apart, old) = (apart?, before.get(link.addr.as_str())?);
            let rate = |new: u64, old: u64| per_second(new.saturating_sub(old), apart);
            Some((rate(link.received, old.received), rate(link.sent, old.sent)))
        };
        self.link_rates =
            links.iter().map(|link| (link.addr.clone(), rate(link).unwrap_or_default())).collect();
        (self.links, self.links_at) = (links, Some(at));
    }

    pub(super) fn set_transfers(&mut self, rows: Vec<TransferRow>) {
        self.now.transfers = rows;
    }

    pub(super) fn set_limits(&mut self, rows: Vec<LimitRow>) {
        self.now.limits = rows;
    }

    /// The connection ended: what comes next has no rates yet.
    pub(super) fn forget_rates(&mut self) {
        (self.status_at, self.links_at, self.rates) = (None, None, Rates::default());
        self.link_rates.clear();
    }

    /// Draws all of it.
    pub(super) fn draw(&self, frame: &mut Frame<'_>) {
        self.render(frame.buffer_mut());
    }

    fn render(&self, buffer: &mut Buffer) {
        let (width, height) = (buffer.area.width.into(), buffer.area.height.into());
        screen::render(buffer, self.lines(width, height));
    }

    /// The lines of a screen of this size, from the top.
    fn lines(&self, width: usize, height: usize) -> Vec<Line<'static>> {
        let mut lines = Vec::new();
        if let Some(trouble) = &self.trouble {
            lines.push(Line::from(styled(format!("{trouble}; q leaves"), WARN)));
        }
        if self.now.status.listen.is_empty() {
            lines.truncate(height);
            return lines;
        }
        lines.extend(summary::head(&self.now.status, &self.rates, width));
        lines.extend(summary::near_limits(&self.now.limits));
        lines.truncate(height.saturating_sub(1));

        let left = height.saturating_sub(lines.len() + 1).saturating_sub(MIN_NEWS + 1);
        let transfers = self.transfers();
        let for_transfers =
            transfers.len().min((left / 3).max(left.saturating_sub(self.links.len() + 2)));
        lines.extend(section("transfers", width, transfers, for_transfers));
        let left = height.saturating_sub(lines.len() + 1).saturating_sub(MIN_NEWS + 1);
        let rate = |link: &LinkRow| self.link_rates.get(&link.addr).copied();
        let mut links = vec![links::title(true)];
        links.extend(self.links.iter().map(|link| links::line_of(link, rate(link))));
        let for_links = links.len().min(left.saturating_sub(1));
        let links = if self.links.is_empty() { Vec::new() } else { links };
        lines.extend(section("links", width, links, for_links));

        let left = height.saturating_sub(lines.len() + 1);
        if left > 1 {
            lines.push(rule("what happens", width));
            lines.extend(self.news.latest(left - 1));
        }
        lines.truncate(height.saturating_sub(1));
        lines.resize(height.saturating_sub(1), Line::default());
        lines.push(Line::from(styled("q leaves", FAINT)));
        lines
    }

    /// Transfers that are not over, then the others.
    fn transfers(&self) -> Vec<Line<'static>> {
        let over = |row: &&TransferRow| row.state == TransferState::Done;
        let (done, open): (Vec<_>, Vec<_>) = self.now.transfers.iter().partition(over);
        open.into_iter().chain(done).flat_map(transfers::lines_of).collect()
    }
}

/// A title and the first lines of a part; nothing of an empty one, or without room for it.
fn section(
    title: &str,
    width: usize,
    mut lines: Vec<Line<'static>>,
    room: usize,
) -> Vec<Line<'static>> {
    if lines.is_empty() || room == 0 {
        return Vec::new();
    }
    let hidden = lines.len().saturating_sub(room);
    lines.truncate(room);
    let title = match hidden {
        0 => title.to_owned(),
        hidden => format!("{title}, {hidden} more lines than fit"),
    };
    lines.insert(0, rule(&title, width));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::layout::Rect;

    fn screen(view: &View, width: u16, height: u16) -> Vec<String> {
        let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
        view.render(&mut buffer);
        let row = |y| (0..width).map(|x| buffer[(x, y)].symbol().to_owned()).collect::<String>();
        (0..height).map(|y| row(y).trim_end().to_owned()).collect()
    }

    fn view() -> View {
        let mut view = View::default();
        let begun = Instant::now();
        let mut status = Status { listen: "127.0.0.1:6346".into(), ..Status::default() };
        status.reachable.reason = "nobody has connected from outside yet".into();
        view.set_status(begun, status);
        let link = |at: usize, received| LinkRow {
            addr: format!("127.0.0.{at}:6346"),
            direction: "in".into(),
            received,
            ..LinkRow::default()
        };
        view.set_links(begun, (1..40).map(|at| link(at, 0)).collect());
        let later = begun + std::time::Duration::from_secs(2);
        view.set_links(later, (1..40).map(|at| link(at, 100)).collect());
        view.set_transfers(vec![TransferRow {
            id: 5,
            direction: "down".into(),
            name: "zebra.flac".into(),
            size: Some(100),
            done: 25,
            ..TransferRow::default()
        }]);
        view.news.text(0, "the first".into(), WARN);
        view.news.text(0, "the last".into(), WARN);
        view
    }

    #[test]
    fn all_parts_fit_on_a_usual_terminal_and_none_breaks_a_small_one() {
        let view = view();
        let usual = screen(&view, 100, 30);
        let text = usual.join("\n");
        for part in [
            "127.0.0.1:6346",
            "more lines than fit",
            "50",
            "25 %",
            "the first",
            "the last",
            "q leaves",
        ] {
            assert!(text.contains(part), "{part} is missing:\n{text}");
        }
        assert_eq!(usual.last().map(String::as_str), Some("q leaves"));
        for (width, height) in [(1, 1), (20, 2), (3, 40), (300, 3), (40, 12)] {
            screen(&view, width, height);
        }
        let small = screen(&view, 80, 16);
        assert!(small.join("\n").contains("what happens"), "{}", small.join("\n"));
    }

    #[test]
    fn trouble_is_on_top_and_rates_start_anew_after_it() {
        let mut view = view();
        view.trouble = Some("the servent has gone".into());
        view.forget_rates();
        let shown = screen(&view, 60, 24);
        assert!(shown[0].starts_with("the servent has gone"), "{shown:?}");
        view.set_links(Instant::now(), view.links.clone());
        assert!(view.link_rates.values().all(|rates| *rates == (0.0, 0.0)));
    }
}
