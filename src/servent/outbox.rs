//! What the core has to say: things to be done outside, and observations if they are asked for.

use super::io::{Event, Output};
use super::observe::Observation;
use std::collections::VecDeque;

/// Outputs and observations not polled yet, in order.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    outputs: VecDeque<Output>,
    /// `None` unless the servent is observed.
    observations: Option<VecDeque<Observation>>,
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
        self.observations = observed.then(VecDeque::new);
    }

    #[inline]
    pub(super) fn is_observed(&self) -> bool {
        self.observations.is_some()
    }

    #[inline]
    pub(super) fn observe(&mut self, seen: impl FnOnce() -> Observation) {
        if let Some(observations) = &mut self.observations {
            observations.push_back(seen());
        }
    }

    pub(super) fn pop_observation(&mut self) -> Option<Observation> {
        self.observations.as_mut()?.pop_front()
    }
}
