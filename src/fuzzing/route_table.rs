//! Fuzz target for the route table: ids, links and time are decoded from bytes, and every answer is
//! compared with a plain list of entries.

use super::script::Script;
use crate::rng::Rng;
use crate::servent::{LinkKey, RouteTable};
use crate::time::Instant;
use std::fmt::Debug;
use std::time::Duration;

/// Slots of links.
const SLOTS: usize = 8;

/// After any sequence of operations: an id is known for one lifetime if it is among the newest that
/// are promised, unknown after two, and perhaps known in between; while it is known, it is known with
/// the right link; and no more ids than the limit are held.
///
/// The first two bytes of `data` are the limit and the lifetime, the rest are operations.
pub fn route_table(data: &[u8]) {
    let mut script = Script::new(data);
    let limit = usize::from(script.number());
    let lifetime = Duration::from_millis(100 * u64::from(script.number() % 64) + 1);
    let mut now = Instant::from_micros(u64::from(script.number()) * 1_000_000);
    let mut table = RouteTable::new(limit, lifetime, &mut Rng::new(1));
    let mut model = Routes::new(limit, lifetime);
    let mut generations = [0_u32; SLOTS];
    let key = |slot: u8, generations: &[u32; SLOTS]| {
        let slot = usize::from(slot) % (SLOTS + 1);
        generations.get(slot).map_or(LinkKey::OWN, |&generation| {
            LinkKey::new(u32::try_from(slot).expect("few"), generation)
        })
    };
    while let Some(operation) = script.next() {
        match operation % 8 {
            0 | 1 => {
                let (id, link) = (id(script.number()), key(script.number(), &generations));
                model.insert(now, id, link, table.insert(now, &id, link));
            }
            2 => {
                let (id, link) = (id(script.number()), key(script.number(), &generations));
                table.set(now, &id, link);
                model.set(now, id, link);
            }
            3 | 4 => {
                let id = id(script.number());
                model.check(now, &id, table.get(now, &id));
            }
            5 => now += Duration::from_millis(100 * u64::from(script.number())),
            // A link ends and another takes its slot: no route may lead to that one by itself.
            6 => {
                let slot = script.number() % u8::try_from(SLOTS).expect("few");
                let before = key(slot, &generations);
                generations[usize::from(slot)] += 1;
                assert_ne!(key(slot, &generations), before);
                assert_eq!(before.index(), usize::from(slot));
            }
            // Many ids at once.
            _ => {
                let (first, count) = (script.number(), script.number() % 64);
                let link = key(script.number(), &generations);
                for id in (0..count).map(|n| id(first.wrapping_add(n))) {
                    model.insert(now, id, link, table.insert(now, &id, link));
                }
            }
        }
        assert!(table.len() <= limit.max(2), "{} ids of {limit}", table.len());
    }
}

fn id(number: u8) -> [u8; 16] {
    let mut id = [0; 16];
    // All four words of an id count.
    id[usize::from(number % 4) * 4] = number;
    id
}

/// Whether an id must, may or must not be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known<L> {
    Surely(L),
    Perhaps(L),
    Not,
}

/// The promises of [`RouteTable`], for links of any kind: each id with its link and when it was
/// entered, oldest first.
#[derive(Debug)]
pub(super) struct Routes<L> {
    entries: Vec<([u8; 16], L, Instant)>,
    promised: usize,
    lifetime: Duration,
}

impl<L: Copy + Debug + PartialEq> Routes<L> {
    pub(super) fn new(limit: usize, lifetime: Duration) -> Routes<L> {
        Routes { entries: Vec::new(), promised: RouteTable::promised(limit), lifetime }
    }

    pub(super) fn known(&self, now: Instant, id: &[u8; 16]) -> Known<L> {
        let newest_first = self.entries.iter().rev().enumerate();
        let Some((newer, &(_, link, at))) = { newest_first }.find(|(_, entry)| entry.0 == *id)
        else {
            return Known::Not;
        };
        match now.since(at) {
            age if age >= self.lifetime * 2 => Known::Not,
            age if age < self.lifetime && newer < self.promised => Known::Surely(link),
            _ => Known::Perhaps(link),
        }
    }

    /// A table answers that `id` came from `answer`.
    pub(super) fn check(&self, now: Instant, id: &[u8; 16], answer: Option<L>) {
        let fits = match self.known(now, id) {
            Known::Surely(link) => answer == Some(link),
            Known::Perhaps(link) => answer.is_none() || answer == Some(link),
            Known::Not => answer.is_none(),
        };
        assert!(fits, "{answer:?} at {now:?} for {id:?} of {self:?}");
    }

    /// `id` came from `link`; before, a table answered that it came from `answer`.
    pub(super) fn insert(&mut self, now: Instant, id: [u8; 16], link: L, answer: Option<L>) {
        self.check(now, &id, answer);
        if answer.is_none() {
            self.set(now, id, link);
        }
    }

    pub(super) fn set(&mut self, now: Instant, id: [u8; 16], link: L) {
        self.entries.retain(|entry| entry.0 != id);
        self.entries.push((id, link, now));
    }
}
