//! The books of a run: where every copy of a descriptor is, what nodes hold, and what to report.

use super::network::{Network, Node, State};
use super::oracle::{Ledger, Violation, check_bound};
use super::report::{QueryReport, Report};
use crate::plan::Plan;
use crate::servent::Servent;
use crate::stats::DropReason;
use crate::time::Instant;
use std::collections::BTreeMap;
use std::hash::Hasher;

/// What nodes did that have crashed since.
#[derive(Default)]
pub(super) struct Gone {
    sent: u64,
    received: u64,
    queued: u64,
    drops: [u64; DropReason::ALL.len()],
}

impl Network<'_> {
    /// A node is gone: keeps the books of what it did.
    pub(super) fn retire(&mut self, node: usize) {
        let (core, gone) = (&self.nodes[node].core, &mut self.gone);
        gone.sent += sent(core);
        gone.received += core.stats().received.total();
        gone.queued += core.copies_queued();
        for reason in DropReason::ALL {
            gone.drops[reason as usize] += core.stats().dropped(reason);
        }
    }

    fn up(&self) -> impl Iterator<Item = &Servent> {
        self.nodes.iter().filter(|node| node.state == State::Up).map(|node| &node.core)
    }

    /// Checks the bounds of nodes that did something since this was done last: those of the others
    /// hold as they did.
    pub(super) fn check_busy(&mut self) -> Result<(), Violation> {
        let mut busy = std::mem::take(&mut self.busy);
        for &node in &busy {
            self.nodes[node as usize].busy = false;
            self.check_bounds(&self.nodes[node as usize])?;
        }
        busy.clear();
        self.busy = busy;
        Ok(())
    }

    fn check_bounds(&self, node: &Node) -> Result<(), Violation> {
        if !self.oracles || node.state != State::Up {
            return Ok(());
        }
        let (limits, core) = (&self.config.limits, &node.core);
        let most =
            limits.ping_routes + limits.query_routes + limits.push_routes + limits.servent_routes;
        check_bound("routes", core.routes_held(), most)?;
        check_bound("links", core.neighbours().count(), self.config.max_links)
    }

    /// Closes the books: looks where every copy is, and says what the run showed.
    pub(super) fn report(
        mut self,
        plan: &Plan,
        queries: Vec<QueryReport>,
    ) -> Result<Report, Violation> {
        let now = self.now;
        let bounded = self.nodes.iter().try_for_each(|node| self.check_bounds(node));
        bounded.map_err(|violation| violation.at(now))?;
        let (wires, parcels) = (&mut self.wires, &mut self.parcels);
        let standing = wires.iter_mut().filter(|wire| !wire.dead);
        let in_flight = standing.map(|wire| wire.kill(parcels)).sum::<u64>();
        let mut drops = BTreeMap::new();
        for reason in DropReason::ALL {
            let standing: u64 = self.up().map(|core| core.stats().dropped(reason)).sum();
            let count = standing + self.gone.drops[reason as usize];
            if count > 0 {
                drops.insert(reason.name(), count);
            }
        }
        let ledger = Ledger {
            queued: self.gone.sent + self.up().map(sent).sum::<u64>(),
            received: self.gone.received
                + self.up().map(|core| core.stats().received.total()).sum::<u64>(),
            seen: self.descriptors - self.untaken,
            link_ended: drops.get(DropReason::LinkEnded.name()).copied().unwrap_or(0),
            waiting: self.up().map(Servent::copies_queued).sum(),
            crashed: self.gone.queued,
            lost: self.lost,
            in_flight,
        };
        if self.oracles {
            ledger.check().map_err(|violation| violation.at(now))?;
        }
        Ok(Report {
            checked: self.oracles,
            seed: plan.seed,
            trace_hash: format!("{:016x}", self.trace.finish()),
            nodes: self.graph.names.len(),
            links: self.graph.edges.len(),
            queries,
            bytes: self.bytes,
            descriptors: self.descriptors,
            drops,
            routes_held: self.up().map(Servent::routes_held).sum(),
            faults: self.injected,
            copies_lost: self.lost,
            trace: None,
            virtual_seconds: self.now.since(Instant::ZERO).as_secs_f64(),
            real_seconds: 0.0,
            search_seconds: 0.0,
            bytes_per_node: None,
        })
    }
}

/// Copies of descriptors put into send queues.
fn sent(core: &Servent) -> u64 {
    core.stats().forwarded.total() + core.stats().originated.total()
}
