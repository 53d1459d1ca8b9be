//! The rules of a Gnutella network, judged in cells of `flood` and `ring` as in the simulator: each
//! copy of each Query, each hit, and what a flood reached and cost in all.

use super::Cell;
use super::flood::Flooder;
use super::host::Told;
use super::judge::{Judge, Verdict};
use crate::net::{Crossing, Holder};
use crate::rules::{self, Flood, Scratch, Violation, check_bound};
use crate::sim::neighbours::Neighbours;
use crate::time::Instant;
use crate::wire::{Guid, Header, Kind};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// See the module documentation.
pub(super) struct FloodRules<'a> {
    cell: &'a Cell<'a>,
    neighbours: Neighbours,
    /// The node that asks, of Queries that have not been seen yet.
    asked: BTreeMap<Guid, usize>,
    floods: BTreeMap<Guid, (usize, Flood)>,
    /// Floods by the time of their first copy. After `lifetime` their search has ended, so that no new
    /// link is asked, and all copies and hits are through.
    begun: VecDeque<(Instant, Guid)>,
    lifetime: Duration,
    scratch: Vec<Scratch>,
}

impl<'a> FloodRules<'a> {
    pub(super) fn new(cell: &'a Cell<'a>) -> FloodRules<'a> {
        let time_per_link = cell.options.ring_time_per_link() + cell.options.latencies().1;
        FloodRules {
            cell,
            neighbours: Neighbours::new(cell.graph),
            asked: BTreeMap::new(),
            floods: BTreeMap::new(),
            begun: VecDeque::new(),
            lifetime: time_per_link * 2 * cell.ttl.into() + Duration::from_secs(1),
            scratch: Vec::new(),
        }
    }

    /// Judges floods as a whole that began before `until`.
    fn finish(&mut self, until: Instant) -> Result<(), Violation> {
        while let Some((at, guid)) = self.begun.front().copied().filter(|(at, _)| *at < until) {
            self.begun.pop_front();
            let Some((origin, flood)) = self.floods.remove(&guid) else { continue };
            let evenly = self.cell.options.latency.is_some() && !self.is_changing();
            let shells = self.neighbours.shells(origin, flood.ttl().into());
            flood
                .finish(&shells, |node| self.neighbours.degree(node), evenly)
                .map_err(|violation| violation.at(at))?;
            self.scratch.push(flood.into_scratch());
        }
        Ok(())
    }

    /// Whether nodes die or come back in this cell.
    fn is_changing(&self) -> bool {
        self.cell.failure != super::Failure::None
    }

    /// A descriptor crossed a wire from one node to another.
    fn judge(
        &mut self,
        at: Instant,
        (from, to): (usize, usize),
        wire: u32,
        header: &Header,
    ) -> Result<(), Violation> {
        if header.kind == Kind::Query
            && let Some(origin) = self.asked.remove(&header.guid)
        {
            let scratch = self.scratch.pop().unwrap_or_default();
            // Another TTL than this, on another link, breaks a rule.
            let (ttl, nodes) = (header.ttl.min(self.cell.ttl), self.cell.graph.names.len());
            let flood = Flood::new((origin, ttl), nodes, self.is_changing(), true, scratch);
            self.floods.insert(header.guid, (origin, flood));
            self.begun.push_back((at, header.guid));
        }
        let flood = self.floods.get_mut(&header.guid).map(|(_, flood)| flood);
        let judged = match (header.kind, flood) {
            (Kind::Query, Some(flood)) => {
                flood.query((from, to), wire, header, || self.neighbours.degree(from))
            }
            (Kind::Query, None) => Err(rules::unasked(header).by(format_args!("node {from}"))),
            (Kind::QueryHit, Some(flood)) => flood.hit(from, to),
            _ => Ok(()),
        };
        judged.map_err(|violation| violation.at(at))?;
        self.finish(Instant::ZERO + at.since(Instant::ZERO).saturating_sub(self.lifetime))
    }
}

impl Judge<Flooder> for FloodRules<'_> {
    fn told(&mut self, node: usize, told: &Told) {
        if let Told::Alias { guid, .. } = told {
            self.asked.insert(*guid, node);
        }
    }

    fn crossed(&mut self, crossing: &Crossing<'_>) -> Verdict {
        let (Holder::Node(from), Holder::Node(to)) = (crossing.from, crossing.to) else {
            return Ok(());
        };
        self.judge(crossing.at, (from, to), crossing.wire, &crossing.raw.header())
            .map_err(|violation| violation.to_string())
    }

    fn crashed(&mut self, node: usize) {
        self.floods.values_mut().for_each(|(_, flood)| flood.forget(node));
    }

    fn ended(&mut self, live: &[(usize, &Flooder)]) -> Verdict {
        let bounded = live.iter().try_for_each(|(node, flooder)| {
            let (config, core) = (flooder.servent().config(), flooder.servent());
            let limits = &config.limits;
            let routes = limits.ping_routes + limits.query_routes;
            let routes = routes + limits.push_routes + limits.servent_routes;
            check_bound("routes", core.routes_held(), routes)
                .and_then(|()| check_bound("links", core.neighbours().count(), config.max_links))
                .map_err(|violation| violation.by(format_args!("node {node}")))
        });
        let finished = self.finish(Instant::FAR_FUTURE);
        bounded.and(finished).map_err(|violation| violation.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::{Failure, Options, SystemKind, Workload};
    use crate::plan::topology::Graph;
    use crate::rng::Rng;
    use crate::rules::Rule;

    #[test]
    fn what_no_node_asked_and_what_does_not_reach_all_break_rules() {
        let mut rng = Rng::new(1);
        let graph = Graph::generate(&"line".parse().unwrap(), 3, &mut rng).unwrap();
        let options = Options { latency: Some(Duration::from_millis(50)), ..Options::default() };
        let workload = Workload::new(3, &options, &mut rng);
        let cell = Cell {
            system: SystemKind::Flood,
            failure: Failure::None,
            graph: &graph,
            workload: &workload,
            queries: 1,
            ttl: 7,
            seed: 1,
            options,
        };
        let (mut rules, guid) = (FloodRules::new(&cell), Guid::random(&mut rng));
        let header = Header { guid, kind: Kind::Query, ttl: 7, hops: 0, payload_len: 0 };
        let unasked = rules.judge(Instant::ZERO, (0, 1), 0, &header);
        assert!(unasked.is_err_and(|violation| violation.rule == Rule::OnlyWhatCame));
        rules.told(0, &Told::Alias { lookup: guid, guid });
        assert_eq!(rules.judge(Instant::ZERO, (0, 1), 0, &header), Ok(()));
        let back = Header { ttl: 6, hops: 1, ..header };
        let back = rules.judge(Instant::ZERO, (1, 0), 0, &back);
        assert!(back.is_err_and(|violation| violation.rule == Rule::NotBackToSource));
        let missing = rules.finish(Instant::FAR_FUTURE);
        assert!(missing.is_err_and(|violation| violation.rule == Rule::Reach));
    }
}
