//! One cell of the table: a system with so many nodes, its lookups, and perhaps a failure.
//!
//! | phase | virtual time |
//! |---|---|
//! | nodes join, a fifth as many as there are at a time | 10 s a batch |
//! | the network settles | 2 min |
//! | upkeep is counted | 1 min |
//! | lookups, evenly spaced, and their end | 1 min, 30 s |
//! | a failure; lookups at the same rate, and their end | 1 min, 30 s |
//! | if success fell: lookups go on, until it is back | 5 min at most |
//!
//! Success has fallen if that of the minute after the failure is below 95 % of that of the minute
//! before. It is back from the first window of 30 s, after one that is below, that is not. Windows
//! begin every 5 s from the failure on, so one in the first minute may do.

use super::host::{Held, Participant};
use super::judge::{Judge, Verdict};
use super::message::Purpose;
use super::meter::Meter;
use super::report::{Row, Summary};
use super::workload::Lookups;
use super::{Cell, Failure};
use crate::net::{LinkParams, Net, State};
use crate::plan::chance::{pareto, unit};
use crate::rng::Rng;
use crate::time::Instant;
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::Range;
use std::time::Duration;

/// Where node 0 listens; the others follow.
pub(super) const FIRST_ADDR: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 6346);

const BATCH_INTERVAL: Duration = Duration::from_secs(10);
const SETTLE_TIME: Duration = Duration::from_secs(120);
const MINUTE: Duration = Duration::from_secs(60);
/// Lookups that began last end within this time.
const LOOKUP_TIME: Duration = Duration::from_secs(30);
/// Success is looked at in windows of this length until it is back: half a minute of lookups, so that
/// one that fails by chance does not matter. A window begins every step.
const RECOVERY_WINDOW: Duration = Duration::from_secs(30);
const RECOVERY_STEP: Duration = Duration::from_secs(5);
const MAX_RECOVERY: Duration = Duration::from_secs(300);
/// Success counts as back from this share of the one before.
const RECOVERED: f64 = 0.95;
/// Mean session and absence of a node under churn.
const MEAN_SESSION: Duration = Duration::from_secs(600);
const MEAN_ABSENCE: Duration = Duration::from_secs(60);

/// The addresses a newcomer is told.
#[derive(Clone, Debug)]
pub(super) enum Known {
    /// Node 0, which has the directory.
    Directory,
    /// Those of its neighbours, by node, that are there.
    Neighbours(Vec<Vec<usize>>),
    /// A random node that is there.
    Anyone,
}

/// Makes a node by its number.
pub(super) type Make<'a, P> = &'a dyn Fn(usize, Instant, Rng) -> P;

/// A cell under way.
struct CellRun<'a, P: Participant> {
    net: Net<P, Meter<'a, P>>,
    cell: &'a Cell<'a>,
    make: Make<'a, P>,
    known: Known,
    rng: Rng,
    lookups: Lookups,
    /// When lookups began, and how many there were since.
    began: (Instant, u32),
    joined: usize,
    /// Nodes from here on are of the batch that is joining: no newcomer is sent to them.
    placed: usize,
    /// When nodes leave or return, under churn.
    changes: BTreeSet<(Instant, usize)>,
}

/// Runs a cell and returns its row.
///
/// # Errors
/// The first rule of the judge that did not hold, or the first answer that was not true.
pub(super) fn measure<'a, P: Participant>(
    cell: &'a Cell<'a>,
    known: Known,
    make: Make<'a, P>,
    judge: impl Judge<P> + 'a,
) -> Result<Row, String> {
    let mut rng = Rng::new(cell.seed);
    let params =
        LinkParams { latency: cell.options.latencies(), ..LinkParams::even(Duration::ZERO) };
    let meter = Meter::new(cell.workload, FIRST_ADDR, Box::new(judge));
    let mut run = CellRun {
        net: Net::new(FIRST_ADDR, params, rng.fork(), meter),
        cell,
        make,
        known,
        lookups: Lookups::new(cell.seed),
        rng,
        began: (Instant::ZERO, 0),
        joined: 0,
        placed: 0,
        changes: BTreeSet::new(),
    };
    run.join_all();
    run.judge(|judge, live| judge.settled(live))?;
    let row = run.row();
    run.judge(|judge, live| judge.ended(live))?;
    Ok(row)
}

impl<P: Participant> CellRun<'_, P> {
    fn nodes(&self) -> usize {
        self.cell.workload.files.len()
    }

    fn is_up(&self, node: usize) -> bool {
        node < self.joined && self.net.state(node) == State::Up
    }

    /// Asks the judge about all live nodes. The error is the first rule that did not hold, now or
    /// before.
    fn judge(&mut self, ask: impl Fn(&mut dyn Judge<P>, &[(usize, &P)]) -> Verdict) -> Verdict {
        let mut judge = std::mem::replace(&mut self.net.observer.judge, Box::new(()));
        let live = (0..self.joined).filter(|&node| self.is_up(node));
        let live: Vec<(usize, &P)> = live.map(|node| (node, self.net.node(node))).collect();
        let verdict = ask(&mut *judge, &live);
        self.net.observer.judge = judge;
        self.net.observer.heed(verdict);
        self.net.observer.violation.clone().map_or(Ok(()), Err)
    }

    fn crash(&mut self, node: usize) {
        self.net.crash(node, false);
        self.net.observer.judge.crashed(node);
    }

    fn pass(&mut self, time: Duration) {
        self.pass_until(self.net.now() + time);
    }

    fn pass_until(&mut self, until: Instant) {
        self.net.run(until, until);
    }

    fn join_all(&mut self) {
        while self.joined < self.nodes() {
            let batch = (self.joined / 5).max(1).min(self.nodes() - self.joined);
            for _ in 0..batch {
                let rng = self.rng.fork();
                let node = self.net.add((self.make)(self.joined, self.net.now(), rng));
                self.joined += 1;
                self.enter(node);
            }
            self.pass(BATCH_INTERVAL);
            self.placed = self.joined;
        }
        self.pass(SETTLE_TIME);
    }

    fn enter(&mut self, node: usize) {
        let known = match &self.known {
            Known::Directory => vec![0],
            Known::Neighbours(neighbours) => {
                let others = neighbours[node].iter().copied().filter(|&other| other != node);
                others.filter(|&other| self.is_up(other)).collect()
            }
            Known::Anyone => self.anyone_but(node).into_iter().collect(),
        };
        let known: Vec<_> = known.into_iter().map(|other| self.net.addr_of(other)).collect();
        let now = self.net.now();
        self.net.node_mut(node).join(now, &known);
        self.net.turn(node);
    }

    /// A random node that has its place. `None` if a thousand draws bring none.
    fn anyone_but(&mut self, node: usize) -> Option<usize> {
        for _ in 0..1_000 {
            let other = self.rng.below(self.placed.max(1));
            if other != node && self.is_up(other) {
                return Some(other);
            }
        }
        None
    }

    /// Lookups at equal distances until then, from `began` on. Nodes come and go meanwhile, under
    /// churn.
    fn look_up_until(&mut self, until: Instant) {
        let queries = u32::try_from(self.cell.queries.max(1)).unwrap_or(u32::MAX);
        loop {
            let (began, count) = self.began;
            let lookup_at =
                began + MINUTE * (count / queries) + MINUTE * (count % queries) / queries;
            let change_at = self.changes.first().map_or(until, |(at, _)| *at);
            let next = lookup_at.min(change_at).max(self.net.now());
            if next >= until {
                break;
            }
            self.pass_until(next);
            self.change_nodes();
            if lookup_at <= next {
                self.began.1 += 1;
                self.look_up();
            }
        }
        self.pass_until(until);
    }

    /// One lookup by a random node begins.
    fn look_up(&mut self) {
        let (net, joined) = (&self.net, self.joined);
        let is_up = |node| node < joined && net.state(node) == State::Up;
        if let Some(lookup) = self.lookups.next(self.cell.workload, is_up) {
            let (now, from, wanted) = (self.net.now(), lookup.from, lookup.wanted.clone());
            self.net.observer.begin(now, lookup);
            self.net.node_mut(from).look_up(now, &wanted);
            self.net.turn(from);
        }
    }

    fn change_nodes(&mut self) {
        let now = self.net.now();
        while let Some((_, node)) = self.changes.first().copied().filter(|(at, _)| *at <= now) {
            self.changes.pop_first();
            let mean = if self.is_up(node) {
                self.crash(node);
                MEAN_ABSENCE
            } else {
                let rng = self.rng.fork();
                let revived = (self.make)(node, now, rng);
                self.net.revive(node, revived);
                self.enter(node);
                MEAN_SESSION
            };
            let next = now + pareto(mean, &mut self.rng);
            self.changes.insert((next, node));
        }
    }

    /// Nodes by this figure, the greatest first.
    fn by<K: Ord>(&self, figure: impl Fn(usize) -> K) -> Vec<usize> {
        let mut nodes: Vec<usize> = (0..self.nodes()).collect();
        nodes.sort_by_cached_key(|&node| Reverse(figure(node)));
        nodes
    }

    /// The best connected nodes first: by links, or by entries of state where there are no links.
    fn by_connections(&self) -> Vec<usize> {
        if self.cell.system.has_links() {
            let degrees = self.cell.graph.degrees();
            return self.by(|node| degrees[node]);
        }
        self.by(|node| self.net.node(node).state().entries)
    }

    fn fail(&mut self) {
        let part = |share: f64| {
            #[expect(clippy::cast_possible_truncation, reason = "a share of the nodes")]
            #[expect(clippy::cast_sign_loss, reason = "shares are positive")]
            let count = (self.nodes() as f64 * share).round() as usize;
            count.min(self.nodes())
        };
        let dying = match self.cell.failure {
            Failure::None => Vec::new(),
            Failure::Index => self.by(|node| self.net.observer.load.of(node))[..1].to_vec(),
            Failure::Top(share) => self.by_connections()[..part(share)].to_vec(),
            Failure::Random(share) => {
                let (count, mut rng) = (part(share), Rng::new(self.cell.seed).fork());
                let mut nodes: Vec<usize> = (0..self.nodes()).collect();
                for at in 0..count {
                    let other = at + rng.below(nodes.len() - at);
                    nodes.swap(at, other);
                }
                nodes.truncate(count);
                nodes
            }
            Failure::Churn => {
                for node in 0..self.nodes() {
                    // A session in the middle of which the churn begins.
                    let rest = pareto(MEAN_SESSION, &mut self.rng).mul_f64(unit(&mut self.rng));
                    self.changes.insert((self.net.now() + rest, node));
                }
                Vec::new()
            }
        };
        for node in dying {
            self.crash(node);
        }
    }

    /// Lookups of a minute. They have ended after [`LOOKUP_TIME`].
    fn look_up_for_a_minute(&mut self) -> Range<usize> {
        let first = self.net.observer.records.len();
        self.began = (self.net.now(), 0);
        self.look_up_until(self.net.now() + MINUTE);
        first..self.net.observer.records.len()
    }

    fn success(&self, records: Range<usize>) -> f64 {
        Summary::of(&self.net.observer.records[records]).success()
    }

    /// The lookups that began in this time.
    fn begun(&self, from: Instant, until: Instant) -> Range<usize> {
        let first = |at| self.net.observer.records.partition_point(|record| record.begun < at);
        first(from)..first(until)
    }

    /// Time from the failure until lookups succeed as they should; see the head of the file. The
    /// lookups of the minute after it have been made.
    fn recovery(&mut self, failed_at: Instant, enough: f64) -> Option<Duration> {
        let minute = self.begun(failed_at, failed_at + MINUTE);
        if self.success(minute.clone()) >= enough {
            self.pass(LOOKUP_TIME);
            return Some(Duration::ZERO);
        }
        // Some have not ended.
        self.look_up_until(failed_at + MINUTE + LOOKUP_TIME);
        if self.success(minute) >= enough {
            return Some(Duration::ZERO);
        }
        let (mut after, mut has_fallen) = (Duration::ZERO, false);
        while after <= MAX_RECOVERY {
            let (from, until) = (failed_at + after, failed_at + after + RECOVERY_WINDOW);
            let ended = until + LOOKUP_TIME;
            if self.net.now() < ended {
                self.look_up_until(ended);
            }
            let records = self.begun(from, until);
            // With few lookups a window may have none.
            if !records.is_empty() {
                let is_enough = self.success(records) >= enough;
                if is_enough && has_fallen {
                    return Some(after);
                }
                has_fallen |= !is_enough;
            }
            after += RECOVERY_STEP;
        }
        None
    }

    fn row(&mut self) -> Row {
        let join = self.net.observer.total(&[Purpose::Join, Purpose::Publish]);
        let before = self.net.observer.total(&[Purpose::Upkeep]);
        self.pass(MINUTE);
        let upkeep = self.net.observer.total(&[Purpose::Upkeep]) - before;
        let states: Vec<Held> = (0..self.nodes()).map(|node| self.net.node(node).state()).collect();
        let load = self.net.observer.load.clone();
        let mut records = self.look_up_for_a_minute();
        let mut busiest = self.net.observer.load.since(&load).busiest_share();
        self.pass(LOOKUP_TIME);
        let mut recovery = None;
        if self.cell.failure != Failure::None {
            let enough = RECOVERED * self.success(records);
            let (load, failed_at) = (self.net.observer.load.clone(), self.net.now());
            self.fail();
            records = self.look_up_for_a_minute();
            busiest = self.net.observer.load.since(&load).busiest_share();
            recovery = self.recovery(failed_at, enough);
        }
        let summary = Summary::of(&self.net.observer.records[records]);
        let nodes = self.nodes() as f64;
        Row {
            system: self.cell.system.name(),
            nodes: self.nodes(),
            failure: self.cell.failure.to_string(),
            join_messages_mean: join as f64 / nodes,
            upkeep_messages_per_node_minute: upkeep as f64 / nodes,
            busiest_share: busiest,
            recovery_seconds: recovery.map(|time| time.as_secs_f64()),
            ..Row::new(&summary, &states)
        }
    }
}
