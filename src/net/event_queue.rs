//! A priority queue of timed events. Ties are broken by a key that the scheduler gives, so a run is
//! the same on every machine.
//!
//! A timing wheel: hundreds of thousands of events are due within a second, and a binary heap of
//! them would miss the cache at every level. Events wait unsorted in the slot their time falls
//! into; a slot is sorted when its time comes.

use crate::time::Instant;
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Log2 of the width of a slot in microseconds: a large network puts some hundred events into one.
const SLOT_BITS: u32 = 8;
/// Slots of the wheel: together they span the latency of most links.
const SLOTS: u64 = 4_096;

/// The wheel turns until this many events are due …
const DUE_EVENTS: usize = 64;
/// … or by this many slots (8 ms): an event scheduled for a slot already passed goes to the heap,
/// which is slower.
const DUE_SLOTS: u64 = 32;

/// A queue of events of type `T`.
#[derive(Debug)]
pub(super) struct EventQueue<T> {
    /// Events of the slots whose time has come, the earliest last.
    due: Vec<Entry<T>>,
    /// The slot after those: time divided by the width of a slot.
    next_slot: u64,
    wheel: Vec<Vec<Entry<T>>>,
    in_wheel: usize,
    /// The room of slots that have passed, for those that fill next.
    spare: Vec<Vec<Entry<T>>>,
    /// Events without a slot: beyond the wheel, or before `next_slot`.
    others: BinaryHeap<Entry<T>>,
}

#[derive(Debug)]
struct Entry<T> {
    at: Instant,
    key: u64,
    event: T,
}

impl<T> EventQueue<T> {
    pub(super) fn new() -> EventQueue<T> {
        EventQueue {
            due: Vec::new(),
            next_slot: 0,
            wheel: (0..SLOTS).map(|_| Vec::new()).collect(),
            in_wheel: 0,
            spare: Vec::new(),
            others: BinaryHeap::new(),
        }
    }

    /// Events of one time come in the order of their keys; those of equal keys must be alike.
    pub(super) fn schedule(&mut self, at: Instant, key: u64, event: T) {
        let entry = Entry { at, key, event };
        let slot = slot_of(at);
        if (self.next_slot..self.next_slot + SLOTS).contains(&slot) {
            let slot = &mut self.wheel[wheel_index(slot)];
            if slot.capacity() == 0 {
                *slot = self.spare.pop().unwrap_or_default();
            }
            slot.push(entry);
            self.in_wheel += 1;
        } else {
            self.others.push(entry);
        }
    }

    pub(super) fn next_at(&mut self) -> Option<Instant> {
        self.turn();
        let other = self.others.peek().map(|entry| entry.at);
        match self.due.last() {
            Some(due) => Some(other.map_or(due.at, |other| other.min(due.at))),
            None => other,
        }
    }

    /// The next event, with its time and key.
    pub(super) fn pop(&mut self) -> Option<(Instant, u64, T)> {
        self.turn();
        let entry = if self.due.last() > self.others.peek() {
            self.due.pop()?
        } else {
            let entry = self.others.pop()?;
            if self.due.is_empty() {
                // The wheel is empty and may have fallen behind.
                self.next_slot = self.next_slot.max(slot_of(entry.at));
            }
            entry
        };
        Some((entry.at, entry.key, entry.event))
    }

    /// Up to `most` of the next events; those of later slots are left out.
    pub(super) fn ahead(&self, most: usize) -> impl Iterator<Item = &T> {
        self.due.iter().rev().take(most).map(|entry| &entry.event)
    }

    /// Turns the wheel to its next events once the due ones are gone. In a quiet network it turns
    /// by several slots: the more events are due, the more can be prefetched together.
    fn turn(&mut self) {
        if !self.due.is_empty() || self.in_wheel == 0 {
            return;
        }
        let mut slots = 0;
        while self.in_wheel > 0 && self.due.len() < DUE_EVENTS && slots < DUE_SLOTS {
            let mut slot = std::mem::take(&mut self.wheel[wheel_index(self.next_slot)]);
            self.next_slot += 1;
            self.in_wheel -= slot.len();
            self.due.append(&mut slot);
            if slot.capacity() > 0 {
                self.spare.push(slot);
            }
            slots += u64::from(!self.due.is_empty());
        }
        self.due.sort_unstable();
    }
}

fn slot_of(at: Instant) -> u64 {
    at.as_micros() >> SLOT_BITS
}

fn wheel_index(slot: u64) -> usize {
    usize::try_from(slot % SLOTS).expect("there are some thousand slots")
}

impl<T> Ord for Entry<T> {
    /// The greatest is the earliest: a heap gives it out first, a sorted list has it last.
    fn cmp(&self, other: &Entry<T>) -> Ordering {
        (other.at, other.key).cmp(&(self.at, self.key))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use std::collections::BTreeMap;

    /// Ties, the past, the same slot, the far future.
    #[test]
    fn events_come_in_order_of_time_and_then_of_keys() {
        let mut rng = Rng::new(9);
        let (mut queue, mut model) = (EventQueue::new(), BTreeMap::new());
        let mut now = 0;
        for number in 0..200_000 {
            let ahead = match rng.below(8) {
                0 => 0,
                1 => rng.below(300),
                2 => 1_000 * rng.below(5),
                3 => rng.below(5_000_000),
                4 if number % 100 == 0 => rng.below(3_600_000_000),
                _ => 10_000 + rng.below(90_000),
            };
            let at = now + ahead as u64;
            // Keys in another order than that of scheduling.
            let key = number ^ 0x5a5;
            queue.schedule(Instant::from_micros(at), key, number);
            model.insert((at, key), number);
            // The queue fills and empties by turns.
            for _ in 0..if number % 2_000 < 1_000 { rng.below(2) } else { rng.below(4) } {
                let expected = model.pop_first().map(|((at, key), number)| (at, key, number));
                assert_eq!(queue.next_at().map(Instant::as_micros), expected.map(|next| next.0));
                let next = queue.pop().map(|(at, key, number)| (at.as_micros(), key, number));
                assert_eq!(next, expected);
                now = next.map_or(now, |next| next.0);
            }
        }
        assert!(model.len() < 2_000, "{}", model.len());
    }

    #[test]
    fn after_a_long_silence_the_wheel_is_used_again() {
        let mut queue = EventQueue::new();
        let hour = Instant::from_micros(3_600_000_000);
        queue.schedule(hour, 0, 1);
        assert_eq!(queue.pop(), Some((hour, 0, 1)));
        queue.schedule(hour, 0, 2);
        assert_eq!(queue.in_wheel, 1);
        assert_eq!((queue.pop(), queue.pop()), (Some((hour, 0, 2)), None));
    }
}
