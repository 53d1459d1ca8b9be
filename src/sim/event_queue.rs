//! What is going to happen, in order of time. Ties are broken by the order of scheduling, so a
//! run is the same on every machine.

use crate::time::Instant;
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// A queue of events of type `T`.
#[derive(Debug)]
pub(super) struct EventQueue<T> {
    heap: BinaryHeap<Entry<T>>,
    sequence: u64,
}

#[derive(Debug)]
struct Entry<T> {
    at: Instant,
    sequence: u64,
    event: T,
}

impl<T> EventQueue<T> {
    pub(super) fn new() -> EventQueue<T> {
        EventQueue { heap: BinaryHeap::new(), sequence: 0 }
    }

    pub(super) fn schedule(&mut self, at: Instant, event: T) {
        self.sequence += 1;
        self.heap.push(Entry { at, sequence: self.sequence, event });
    }

    pub(super) fn next_at(&self) -> Option<Instant> {
        self.heap.peek().map(|entry| entry.at)
    }

    pub(super) fn pop(&mut self) -> Option<(Instant, T)> {
        self.heap.pop().map(|entry| (entry.at, entry.event))
    }
}

impl<T> Ord for Entry<T> {
    /// The heap gives out its greatest: the earliest.
    fn cmp(&self, other: &Entry<T>) -> Ordering {
        (other.at, other.sequence).cmp(&(self.at, self.sequence))
    }
}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Entry<T>) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Entry<T>) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Entry<T> {}
