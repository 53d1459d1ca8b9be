//! What the live screen of a network shows: its nodes, and what happens from one look to the next.

use crate::cli::output::{count, shown};
use crate::cli::screen::{self, rule};
use crate::cli::status::news::News;
use crate::cli::status::paint::{BAD, FAINT, GOOD, TITLE, WARN, fitted, plain, rate, styled};
use crate::testnet::{Link, Look, Network, NodeLook};
use indicatif::HumanBytes;
use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::KeyCode;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use std::path::Path;

/// Columns of the name of a node.
const NAME: usize = 12;
/// Lines of what happens that are shown even if not all nodes are, on a screen that has room for both.
const MIN_NEWS: usize = 4;
/// Nodes that are shown before anything of what happens.
const MIN_NODES: usize = 3;

/// Everything on the screen.
pub(super) struct WatchView {
    folder: String,
    names: Vec<String>,
    links: Vec<Link>,
    look: Option<Look>,
    news: News,
    /// Why the last look failed.
    trouble: Option<String>,
    /// The first node that is shown, and how many are.
    first: usize,
    page: usize,
}

impl WatchView {
    pub(super) fn new(folder: &Path, network: &Network) -> WatchView {
        WatchView {
            folder: shown(&folder.display().to_string()),
            names: network.nodes.iter().map(|node| shown(&node.name)).collect(),
            links: network.links.clone(),
            look: None,
            news: News::default(),
            trouble: None,
            first: 0,
            page: 0,
        }
    }

    /// Shows a look, or why there is none; `time` is Unix time in seconds.
    pub(super) fn take_in(&mut self, look: Result<Look, String>, time: u64) {
        match look {
            Ok(look) => {
                self.note(&look, time);
                (self.look, self.trouble) = (Some(look), None);
            }
            Err(error) => self.trouble = Some(error),
        }
    }

    /// Notes what has happened since the look before.
    fn note(&mut self, now: &Look, time: u64) {
        let Some(before) = &self.look else { return };
        for ((name, old), new) in self.names.iter().zip(&before.nodes).zip(&now.nodes) {
            if let Some((text, style)) = happened(old, new) {
                self.news.text(time, format!("node {name} {text}"), style);
            }
        }
        for (stands, verb, style) in
            [(false, ["falls", "fall"], WARN), (true, ["stands", "stand"], GOOD)]
        {
            let links = self.links.iter().zip(before.links.iter().zip(&now.links));
            let changed = links.filter(|(_, (old, new))| old != new && **new == stands);
            let names: Vec<String> = changed
                .map(|(link, _)| format!("{} - {}", self.names[link.from], self.names[link.to]))
                .collect();
            if let [first, others @ ..] = &names[..] {
                let text = match others.len() {
                    0 => format!("link {first} {}", verb[0]),
                    more => format!("{} links {}: {}", more + 1, verb[1], names.join(", ")),
                };
                self.news.text(time, text, style);
            }
        }
    }

    /// Moves the list of nodes, by arrows and page keys; drawing it keeps it within its ends.
    pub(super) fn scroll(&mut self, key: KeyCode) {
        let page = self.page.max(1);
        self.first = match key {
            KeyCode::Up => self.first.saturating_sub(1),
            KeyCode::Down => self.first + 1,
            KeyCode::PageUp => self.first.saturating_sub(page),
            KeyCode::PageDown => self.first + page,
            KeyCode::Home => 0,
            KeyCode::End => self.names.len(),
            _ => self.first,
        };
    }

    /// Draws all of it.
    pub(super) fn draw(&mut self, frame: &mut Frame<'_>) {
        self.render(frame.buffer_mut());
    }

    fn render(&mut self, buffer: &mut Buffer) {
        let (width, height) = (buffer.area.width.into(), buffer.area.height.into());
        screen::render(buffer, self.lines(width, height));
    }

    /// The lines of a screen of this size, from the top.
    fn lines(&mut self, width: usize, height: usize) -> Vec<Line<'static>> {
        let mut lines = self.head();
        let Some(look) = &self.look else { return lines };
        let count = look.nodes.len();
        // Without the titles of the nodes and the last line.
        let room = height.saturating_sub(lines.len() + 3);
        let with_news = room.saturating_sub(MIN_NEWS + 1);
        self.page = count.min(if with_news >= MIN_NODES { with_news } else { room });
        self.first = self.first.min(count - self.page);
        let last = self.first + self.page;
        let title = match self.page {
            all if all == count => "nodes".to_owned(),
            _ => format!("nodes {} to {last} of {count}", self.first + 1),
        };
        lines.push(rule(&title, width));
        lines.push(Line::from(styled(
            format!(
                "{:<NAME$} {:<9} {:>7} {:>8} {:>10} {:>10}  STATE, FAULTS",
                "NODE", "ROLE", "LINKS", "IN/s", "DROPPED/s", "MEMORY"
            ),
            TITLE,
        )));
        let nodes = self.names.iter().zip(&look.nodes).skip(self.first).take(self.page);
        lines.extend(nodes.map(|(name, node)| row(name, node)));
        let left = height.saturating_sub(lines.len() + 1);
        if left > 1 {
            lines.push(rule("what happens", width));
            lines.extend(self.news.latest(left - 1));
        }
        lines.resize(height.saturating_sub(1), Line::default());
        let keys = match self.page {
            all if all == count => "q leaves",
            _ => "arrows, PgUp and PgDn scroll, q leaves",
        };
        lines.push(Line::from(styled(keys, FAINT)));
        lines
    }

    /// The network as a whole.
    fn head(&self) -> Vec<Line<'static>> {
        let mut lines = Vec::new();
        if let Some(trouble) = &self.trouble {
            lines.push(Line::from(styled(format!("{trouble}; q leaves"), WARN)));
        }
        let folder = styled(self.folder.clone(), TITLE);
        let Some(Look { nodes, links, faulty_links }) = &self.look else {
            lines.push(Line::from(folder));
            return lines;
        };
        let up = nodes.iter().filter(|node| node.pid.is_some()).count();
        let standing = links.iter().filter(|stands| **stands).count();
        let of_all = |part: usize, all: usize, what: &str| {
            let style = if part < all { WARN } else { Style::new() };
            styled(format!("{part} of {all} {what}"), style)
        };
        let mut spans = vec![folder, plain("  "), of_all(up, nodes.len(), "nodes up"), plain(", ")];
        spans.push(of_all(standing, links.len(), "links stand"));
        if *faulty_links > 0 {
            let text = count(*faulty_links as u64, "link has a fault", "links have a fault");
            spans.extend([plain(", "), styled(text, WARN)]);
        }
        lines.push(Line::from(spans));
        let rates = || nodes.iter().filter(|node| !node.is_old).filter_map(|node| node.rates);
        let (received, dropped) =
            (rates().map(|it| it.received).sum(), rates().map(|it| it.dropped).sum());
        let memory = nodes.iter().filter_map(|node| node.resident_bytes).sum();
        let text = format!(
            "{} descriptors received per second, {} dropped; {} of memory",
            rate(received),
            rate(dropped),
            HumanBytes(memory)
        );
        lines.push(Line::from(styled(text, FAINT)));
        lines
    }
}

/// What has become of a node since the look before.
fn happened(old: &NodeLook, new: &NodeLook) -> Option<(String, Style)> {
    match (old.pid, new.pid) {
        (Some(_), None) => Some((format!("is down: {}", new.state), BAD)),
        (None, Some(pid)) => Some((format!("starts as process {pid}"), GOOD)),
        (Some(old), Some(new)) if old != new => {
            Some((format!("has ended and starts again as process {new}"), WARN))
        }
        _ if old.state != new.state => Some((format!("is {}", new.state), WARN)),
        _ => match (old.silent, new.silent) {
            (None, Some(_)) => Some(("does not answer: it hangs, or is stopped".to_owned(), WARN)),
            (Some(_), None) => Some(("answers again".to_owned(), GOOD)),
            _ => None,
        },
    }
}

/// The line of a node.
fn row(name: &str, node: &NodeLook) -> Line<'static> {
    let style = |style: Style| if node.is_old { FAINT } else { style };
    let [received, dropped] = match node.rates.filter(|_| node.pid.is_some()) {
        Some(rates) => [rate(rates.received), rate(rates.dropped)],
        None => ["-", "-"].map(str::to_owned),
    };
    let role = node.role.as_deref().map_or("-".to_owned(), shown);
    let links = format!("{}/{}", node.links, node.planned_links);
    let lacks_links = node.links < node.planned_links;
    let memory = node.resident_bytes.map_or("-".to_owned(), |bytes| HumanBytes(bytes).to_string());
    let mut spans = vec![
        plain(format!("{} ", fitted(name, NAME))),
        styled(format!("{role:<9} "), style(Style::new())),
        styled(format!("{links:>7} "), style(if lacks_links { WARN } else { Style::new() })),
        styled(format!("{received:>8} {dropped:>10} {memory:>10}  "), style(Style::new())),
        state(node),
    ];
    let faults = node.faults.iter().map(|(fault, links)| {
        let links = count(*links as u64, "link", "links");
        styled(format!("; {fault} ({links})"), WARN)
    });
    spans.extend(faults);
    Line::from(spans)
}

fn state(node: &NodeLook) -> Span<'static> {
    match (node.pid, node.silent) {
        (None, _) => styled(node.state.clone(), BAD),
        (Some(_), Some(silent)) => {
            styled(format!("{}, no answer for {} s", node.state, silent.as_secs()), WARN)
        }
        (Some(_), None) if node.is_old => styled(node.state.clone(), WARN),
        (Some(_), None) => plain(node.state.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testnet::DescriptorRates;
    use ratatui::layout::Rect;
    use std::time::Duration;

    fn node(links: usize) -> NodeLook {
        NodeLook {
            state: "up".into(),
            pid: Some(7),
            role: Some("leaf".into()),
            links,
            planned_links: 2,
            rates: Some(DescriptorRates { received: 12.4, dropped: 1.25 }),
            resident_bytes: Some(3 << 20),
            ..NodeLook::default()
        }
    }

    /// A ring of so many nodes, all of which stand.
    fn ring(count: usize) -> (WatchView, Look) {
        let view = WatchView {
            folder: "/run/net".into(),
            names: (0..count).map(|number| format!("n{number}")).collect(),
            links: (0..count).map(|from| Link { from, to: (from + 1) % count }).collect(),
            look: None,
            news: News::default(),
            trouble: None,
            first: 0,
            page: 0,
        };
        (view, Look { nodes: vec![node(2); count], links: vec![true; count], faulty_links: 0 })
    }

    fn screen(view: &mut WatchView, width: u16, height: u16) -> Vec<String> {
        let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
        view.render(&mut buffer);
        let row = |y| (0..width).map(|x| buffer[(x, y)].symbol().to_owned()).collect::<String>();
        (0..height).map(|y| row(y).trim_end().to_owned()).collect()
    }

    fn news(view: &WatchView) -> Vec<String> {
        view.news.latest(99).iter().map(|line| line.to_string()[10..].to_owned()).collect()
    }

    #[test]
    fn what_changes_from_look_to_look_is_told_once() {
        let (mut view, all_up) = ring(4);
        view.take_in(Ok(all_up.clone()), 0);
        assert_eq!(news(&view), [""; 0], "nothing is known to have changed");
        let mut look = all_up.clone();
        (look.nodes[1].pid, look.nodes[1].state) = (None, "stopped by you".into());
        look.links[..2].fill(false);
        look.nodes[2].silent = Some(Duration::from_secs(2));
        look.nodes[3].state = "up, stalled by the plan".into();
        view.take_in(Ok(look.clone()), 0);
        view.take_in(Ok(look), 0);
        let mut again = all_up;
        again.links[0] = false;
        again.nodes[0].pid = Some(8);
        view.take_in(Ok(again), 0);
        assert_eq!(
            news(&view),
            [
                "node n1 is down: stopped by you",
                "node n2 does not answer: it hangs, or is stopped",
                "node n3 is up, stalled by the plan",
                "2 links fall: n0 - n1, n1 - n2",
                "node n0 has ended and starts again as process 8",
                "node n1 starts as process 7",
                "node n2 answers again",
                "node n3 is up",
                "link n1 - n2 stands",
            ]
        );
    }

    #[test]
    fn a_hundred_nodes_are_scrolled_and_any_size_is_drawn() {
        let (mut view, look) = ring(100);
        assert_eq!(screen(&mut view, 80, 24)[0], "/run/net", "before the first look");
        view.take_in(Ok(look), 0);
        let usual = screen(&mut view, 80, 24);
        assert_eq!(usual[0], "/run/net  100 of 100 nodes up, 100 of 100 links stand");
        assert_eq!(
            usual[1],
            "1240 descriptors received per second, 125 dropped; 300.00 MiB of memory"
        );
        assert!(usual[2].starts_with("nodes 1 to 14 of 100 ─"), "{usual:?}");
        assert!(
            usual[4]
                .starts_with("n0           leaf          2/2       12        1.2   3.00 MiB  up")
        );
        assert!(usual[18].starts_with("what happens"), "{usual:?}");
        assert_eq!(usual[23], "arrows, PgUp and PgDn scroll, q leaves");
        for (key, first) in [
            (KeyCode::Up, 1),
            (KeyCode::PageDown, 15),
            (KeyCode::Down, 16),
            (KeyCode::PageUp, 2),
            (KeyCode::End, 87),
            (KeyCode::Down, 87),
            (KeyCode::Home, 1),
            (KeyCode::End, 87),
        ] {
            view.scroll(key);
            let title = screen(&mut view, 80, 24)[2].clone();
            assert!(title.starts_with(&format!("nodes {first} to {} ", first + 13)), "{title}");
        }
        assert!(
            screen(&mut view, 80, 120)[4].starts_with("n0 "),
            "all fit, and the first is shown"
        );
        for (width, height) in [(1, 1), (20, 2), (3, 40), (300, 3), (40, 12)] {
            screen(&mut view, width, height);
        }
    }

    #[test]
    fn old_numbers_are_dimmed_and_not_added_up() {
        let (mut view, mut look) = ring(2);
        let hung = &mut look.nodes[1];
        (hung.is_old, hung.silent) = (true, Some(Duration::from_secs(5)));
        hung.faults = [("blackhole".to_owned(), 1)].into();
        let line = row("n1", hung);
        assert!(line.spans[1..4].iter().all(|span| span.style == FAINT), "{line:?}");
        assert!(line.to_string().ends_with("up, no answer for 5 s; blackhole (1 link)"), "{line}");
        view.take_in(Ok(look), 0);
        view.take_in(Err("the keeper is busy".into()), 0);
        let shown = screen(&mut view, 80, 24);
        assert_eq!(shown[0], "the keeper is busy; q leaves");
        assert!(
            shown[2].starts_with("12 descriptors received per second, 1.2 dropped"),
            "{shown:?}"
        );
        view.take_in(Ok(ring(2).1), 0);
        assert!(screen(&mut view, 80, 24)[0].starts_with("/run/net"));
    }
}
