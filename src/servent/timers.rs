//! Deadlines of connections, kept lazily: activity only moves a connection's own deadline, and an
//! entry that comes up early is put back. A connection has one entry at most, and none once it is
//! closed: coming and going quickly leaves nothing behind.

use super::io::ConnId;
use crate::rare::Rare;
use crate::time::Instant;
use std::collections::BTreeSet;

/// So many entries are searched one by one: a node of a tree has room for more than most servents have.
const FEW: usize = 8;

type Entry = (Instant, ConnId);

/// Moments and connections. Ties are broken by connection, so runs replay.
#[derive(Debug, Default)]
pub(super) struct Timers {
    /// In no order; empty while there are many.
    few: Vec<Entry>,
    many: Rare<BTreeSet<Entry>>,
}

impl Timers {
    pub(super) fn schedule(&mut self, at: Instant, conn: ConnId) {
        let has_many = self.many.get().is_some_and(|many| !many.is_empty());
        if !has_many && self.few.len() < FEW {
            return self.few.push((at, conn));
        }
        let many = self.many.change();
        many.extend(self.few.drain(..));
        many.insert((at, conn));
    }

    pub(super) fn cancel(&mut self, at: Instant, conn: ConnId) {
        if let Some(many) = self.many.get_mut() {
            many.remove(&(at, conn));
        }
        self.few.retain(|entry| *entry != (at, conn));
    }

    fn first(&self) -> Option<&Entry> {
        self.few.iter().min().or_else(|| self.many.get()?.first())
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.first().map(|(at, _)| *at)
    }

    /// Takes one entry that is due.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<ConnId> {
        let (at, conn) = *self.first().filter(|(at, _)| *at <= now)?;
        self.cancel(at, conn);
        Some(conn)
    }

    pub(super) fn len(&self) -> usize {
        self.few.len() + self.many.get().map_or(0, BTreeSet::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn few_or_many_entries_come_in_order() {
        let (mut rng, mut timers, mut model) = (Rng::new(5), Timers::default(), BTreeSet::new());
        let conn = |index| ConnId { index, generation: 0 };
        for step in 0..20_000u32 {
            // Up to two dozen entries, and then none, by turns.
            let grows = step % 60 < 30;
            let at = Instant::from_micros(rng.below(50) as u64);
            let now = Instant::from_micros(if grows { 2 } else { 60 });
            timers.schedule(at, conn(step));
            model.insert((at, conn(step)));
            if rng.below(4) == 0 {
                let any = *model.iter().nth(rng.below(model.len())).expect("one was inserted");
                timers.cancel(any.0, any.1);
                model.remove(&any);
            }
            for _ in 0..if grows { 1 } else { 3 } {
                assert_eq!(timers.next(), model.first().map(|(at, _)| *at));
                let due = model.first().copied().filter(|(at, _)| *at <= now);
                due.inspect(|due| assert!(model.remove(due)));
                assert_eq!(timers.pop_due(now), due.map(|(_, conn)| conn));
            }
            assert_eq!(timers.len(), model.len());
        }
    }
}
