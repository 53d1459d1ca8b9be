//! Searches: start, end, report.

use super::node::ServentNode;
use super::report::QueryReport;
use super::simulation::{SETTLE_TIMEOUT, Simulation};
use crate::net::State;
use crate::plan::Plan;
use crate::plan::catalogue::{name_of, some_file};
use crate::rules::{Flood, Violation};

impl<N: ServentNode> Simulation<'_, N> {
    /// One search from start to silence, or as long as the plan gives it.
    pub(super) fn search(&mut self, plan: &Plan) -> Result<QueryReport, Violation> {
        let names = &self.follower.graph.names;
        let named = plan.from.as_ref().and_then(|from| names.iter().position(|name| name == from));
        let origin = named.unwrap_or_else(|| self.rng.below(names.len()));
        let file = some_file(&mut self.rng);
        self.begin_search(origin, plan.ttl, file);
        let until = self.net.now() + plan.pause();
        let most = if plan.faults.is_none() { until + SETTLE_TIMEOUT } else { until };
        self.run(until, most)?;
        self.end_search(origin, plan)
    }

    /// A node that is down searches nothing and reaches no other.
    pub(super) fn begin_search(&mut self, origin: usize, ttl: u8, file: usize) {
        let (now, forgotten_at) = (self.net.now(), self.net.now() + self.query_route_age());
        let net = self.net.of_mut(origin);
        if net.state(origin) != State::Up {
            return;
        }
        let servent = net.node_mut(origin).servent_mut();
        let guid = servent
            .search(now, &name_of(file), Some(ttl))
            .expect("the catalogue's names are searchable");
        let (follower, watcher) = (&mut self.follower, self.net.observer());
        let (changing, scratch) = (watcher.armed, std::mem::take(&mut follower.scratch));
        let nodes = follower.graph.names.len();
        let flood = Flood::new((origin, ttl), nodes, changing, watcher.oracles, scratch);
        let flood = match follower.role_rules(&name_of(file)) {
            Some(rules) => flood.among(rules),
            None => flood,
        };
        follower.search = Some((guid, flood));
        if let Some((_, trace)) = &mut follower.written {
            trace.from.clone_from(&follower.graph.names[origin]);
            trace.criteria = name_of(file);
        }
        for net in self.net.all_mut() {
            net.observer.begin(guid, forgotten_at);
        }
        self.net.of_mut(origin).turn(origin);
    }

    pub(super) fn end_search(
        &mut self,
        origin: usize,
        plan: &Plan,
    ) -> Result<QueryReport, Violation> {
        // What was seen and not judged yet is of this search, not of the next.
        self.follow();
        if let Some(violation) = self.follower.violation.take() {
            return Err(violation);
        }
        self.check_busy()?;
        let from = self.follower.graph.names[origin].clone();
        let (mut hits, mut outlasted) = (0, false);
        let (mut descriptors, mut bytes) = (0, 0);
        for net in self.net.all_mut() {
            net.observer.search = None;
            hits += net.observer.hits;
            descriptors += net.observer.search_descriptors;
            bytes += net.observer.search_bytes;
            outlasted |= net.observer.outlasted;
        }
        let even = plan.is_even() && !self.net.observer().armed && !outlasted;
        let Some((guid, flood)) = self.follower.search.take() else {
            return Ok(QueryReport { from, ttl: plan.ttl, ..QueryReport::default() });
        };
        self.net.of_mut(origin).node_mut(origin).servent_mut().end_request(guid);
        let neighbours = &self.follower.neighbours;
        let shells = neighbours.shells(origin, flood.radius().into());
        // Route tables leave out nodes within reach.
        let is_plain = flood.roles().is_none();
        flood
            .finish(&shells, |node| neighbours.degree(node), even && is_plain)
            .and_then(|()| match even {
                true => flood.must_reach(self.follower.within_reach(origin, &flood)),
                false => Ok(()),
            })
            .map_err(|violation| self.now_broken(violation))?;
        let report = QueryReport {
            from,
            ttl: flood.ttl(),
            reached: flood.reached(),
            query_descriptors: flood.copies(),
            duplicates: flood.copies() - flood.reached(),
            hits,
            descriptors,
            bytes,
            reach_per_hop: flood.per_hop().to_vec(),
        };
        self.follower.scratch = flood.into_scratch();
        Ok(report)
    }
}
