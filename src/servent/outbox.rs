//! What the core has to say: things to be done outside, and observations if they are asked for.

use super::io::{Event, Output};
use super::observe::Observation;
use crate::rare::Rare;
use std::collections::VecDeque;

/// Outputs and observations not polled yet, in order.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    outputs: VecDeque<Output>,
    observed: bool,
    observations: Rare<VecDeque<Observation>>,
}

impl Outbox {
    pub(super) fn push(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(super) fn event(&mut self, event: Event) {
        self.push(Output::Event(event));
    }

    pub(super) fn pop(&mut self) -> Option<Output> {
        let next = self.outputs.pop_front();
        if next.is_none() && self.outputs.capacity() > 0 {
            // Most turns have no output, and an idle servent need not keep the room.
            self.outputs = VecDeque::new();
        }
        next
    }

    pub(super) fn set_observed(&mut self, observed: bool) {
        (self.observed, self.observations) = (observed, Rare::default());
    }

    #[inline]
    pub(super) fn is_observed(&self) -> bool {
        self.observed
    }

    #[inline]
    pub(super) fn observe(&mut self, seen: impl FnOnce() -> Observation) {
        if self.observed {
            self.observations.change().push_back(seen());
        }
    }

    pub(super) fn pop_observation(&mut self) -> Option<Observation> {
        self.observations.get_mut()?.pop_front()
    }
}
