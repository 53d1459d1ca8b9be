//! Searches: how one begins, when it is over, and what is told of it.

use super::network::{Network, PATIENCE, State};
use super::oracle::{QueryWatch, Violation};
use super::report::QueryReport;
use crate::plan::Plan;
use crate::plan::catalogue::{name_of, some_file};

impl Network<'_> {
    /// One search from start to silence, or as long as the plan gives it.
    pub(super) fn search(&mut self, plan: &Plan) -> Result<QueryReport, Violation> {
        let named = plan
            .from
            .as_ref()
            .and_then(|from| self.graph.names.iter().position(|name| name == from));
        let origin = named.unwrap_or_else(|| self.rng.below(self.graph.names.len()));
        let file = some_file(&mut self.rng);
        self.begin_search(origin, plan.ttl, file);
        let until = self.now + plan.pause();
        let most = if self.faults.is_none() { until + PATIENCE } else { until };
        self.run(until, most)?;
        self.end_search(origin, plan)
    }

    /// A node that is not there searches nothing and reaches nobody.
    pub(super) fn begin_search(&mut self, origin: usize, ttl: u8, file: usize) {
        self.hits = 0;
        if self.nodes[origin].state != State::Up {
            return;
        }
        let now = self.now;
        let guid = self.nodes[origin]
            .core
            .search(now, &name_of(file), Some(ttl))
            .expect("the catalogue's names are searchable");
        let changing = self.armed;
        let slate = std::mem::take(&mut self.slate);
        let mut watch = QueryWatch::new((origin, ttl), self.nodes.len(), changing, slate);
        watch.strict = self.oracles;
        self.watch = Some((guid, watch));
        if let Some((_, trace)) = &mut self.written {
            trace.from.clone_from(&self.graph.names[origin]);
            trace.criteria = name_of(file);
        }
        self.watched_until = now + self.config.limits.query_route_age;
        self.drain(origin);
    }

    pub(super) fn end_search(
        &mut self,
        origin: usize,
        plan: &Plan,
    ) -> Result<QueryReport, Violation> {
        self.check_busy().map_err(|violation| violation.at(self.now))?;
        let from = self.graph.names[origin].clone();
        let faded = self.faded.take();
        let even = plan.is_even() && !self.armed && faded.is_none();
        let Some((guid, watch)) = self.watch.take().or(faded) else {
            return Ok(QueryReport { from, ttl: plan.ttl, ..QueryReport::default() });
        };
        self.nodes[origin].core.end_request(guid);
        watch
            .finish(self.graph, &self.neighbours, even)
            .map_err(|violation| violation.at(self.now))?;
        let report = QueryReport {
            from,
            ttl: watch.ttl(),
            reached: watch.reached(),
            query_descriptors: watch.copies,
            duplicates: watch.copies - watch.reached(),
            hits: self.hits,
            reach_per_hop: watch.per_hop.get(1..).unwrap_or_default().to_vec(),
        };
        self.slate = watch.into_slate();
        Ok(report)
    }
}
