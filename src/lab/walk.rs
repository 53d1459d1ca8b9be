//! `walk`: random walkers that check back with the searcher (Lv et al. 2002).
//!
//! A searcher sends out some copies of its lookup. Each goes from neighbour to neighbour at random, not
//! straight back, and every few links the node it is at asks the searcher whether to go on. A node that has the file tells the searcher itself. A walk ends when something
//! was found, or after [`MAX_STEPS`] links.

use super::directory::matches;
use super::host::{Held, Io, System, Wanted};
use super::judge::{Judge, Verdict};
use super::message::{Fields, Head, Purpose, Reader};
use super::options::Options;
use crate::net::Passed;
use crate::wire::Guid;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

/// Links of one walker at most.
const MAX_STEPS: u8 = 128;

/// Time between two Pings of all neighbours. A neighbour that missed two of them is dropped.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// Bytes of an address, and of a lookup remembered.
const ENTRY_BYTES: [usize; 2] = [6, 16];

/// The first byte of a message.
mod op {
    pub(super) const LINK: u8 = 0;
    pub(super) const WALK: u8 = 1;
    pub(super) const CHECK: u8 = 2;
    pub(super) const GO_ON: u8 = 3;
    pub(super) const HAVE: u8 = 4;
}

/// See the module documentation.
pub(super) struct Walk {
    files: Arc<[String]>,
    walkers: u16,
    /// Links between two checks.
    check_interval: u8,
    /// How many Pings each neighbour has missed.
    neighbours: BTreeMap<SocketAddrV4, u8>,
    /// Own lookups under way that have found nothing.
    unsatisfied: BTreeSet<Guid>,
    /// Walkers that wait here for the searcher's word, by lookup: their number, steps and text.
    waiting: BTreeMap<Guid, Vec<(u8, String)>>,
}

impl Walk {
    pub(super) fn new(files: Arc<[String]>, options: &Options) -> Walk {
        Walk {
            files,
            walkers: options.walkers,
            check_interval: options.check_interval,
            neighbours: BTreeMap::new(),
            unsatisfied: BTreeSet::new(),
            waiting: BTreeMap::new(),
        }
    }

    /// A random neighbour, other than the one a walker came from if there is a choice.
    fn step_to(&self, came_from: Option<SocketAddrV4>, io: &mut Io) -> Option<SocketAddrV4> {
        let mut others: Vec<_> =
            self.neighbours.keys().filter(|&&it| Some(it) != came_from).collect();
        if others.is_empty() {
            others.extend(self.neighbours.keys());
        }
        (!others.is_empty()).then(|| *others[io.rng.below(others.len())])
    }

    fn send_walker(
        &self,
        came_from: Option<SocketAddrV4>,
        (searcher, head, text): (SocketAddrV4, Head, &str),
        io: &mut Io,
    ) {
        if let Some(next) = self.step_to(came_from, io) {
            io.send(next, head, &Fields::new().byte(op::WALK).addr(searcher).text(text));
        }
    }

    /// A walker has come here.
    fn walked(
        &mut self,
        from: SocketAddrV4,
        head: Head,
        mut fields: Reader<'_>,
        io: &mut Io,
    ) -> Option<()> {
        let (searcher, text) = (fields.addr()?, fields.text()?);
        let (guid, hops) = (head.guid, head.hops + 1);
        let answer = Head { hops, ..Head::new(Purpose::Answer, guid) };
        let fitting: Vec<&String> = self.files.iter().filter(|name| matches(name, text)).collect();
        if searcher != io.own && !fitting.is_empty() {
            let fields =
                fitting.iter().fold(Fields::new().byte(op::HAVE), |to, name| to.text(name));
            io.send(searcher, answer, &fields);
            return Some(());
        }
        if hops >= MAX_STEPS {
            return Some(());
        }
        if hops.is_multiple_of(self.check_interval) && searcher != io.own {
            self.waiting.entry(guid).or_default().push((hops, text.to_owned()));
            let check = Head::new(Purpose::Lookup, guid);
            io.send(searcher, check, &Fields::new().byte(op::CHECK));
            return Some(());
        }
        self.send_walker(Some(from), (searcher, Head { hops, ..head }, text), io);
        Some(())
    }

    /// The searcher says whether its walkers here go on.
    fn told(
        &mut self,
        searcher: SocketAddrV4,
        guid: Guid,
        goes_on: bool,
        io: &mut Io,
    ) -> Option<()> {
        let walkers = self.waiting.get_mut(&guid)?;
        let walker = walkers.pop();
        if walkers.is_empty() {
            self.waiting.remove(&guid);
        }
        let (hops, text) = walker.filter(|_| goes_on)?;
        let head = Head { hops, ..Head::new(Purpose::Lookup, guid) };
        self.send_walker(None, (searcher, head, &text), io);
        Some(())
    }
}

/// The rule of walks: no walker takes more than [`MAX_STEPS`] steps, and all of a lookup together take
/// no more than its walkers may.
pub(super) struct WalkRules {
    max_steps: u32,
    /// By lookup.
    steps: BTreeMap<Guid, u32>,
}

impl WalkRules {
    pub(super) fn new(options: &Options) -> WalkRules {
        let max_steps = u32::from(options.walkers) * u32::from(MAX_STEPS);
        WalkRules { max_steps, steps: BTreeMap::new() }
    }
}

impl<P> Judge<P> for WalkRules {
    fn datagram(&mut self, passed: &Passed<'_>) -> Verdict {
        let Some((head, mut fields)) = Head::read(passed.bytes) else { return Ok(()) };
        if head.purpose != Purpose::Lookup || fields.byte() != Some(op::WALK) {
            return Ok(());
        }
        let steps = self.steps.entry(head.guid).or_default();
        *steps += 1;
        if head.hops < MAX_STEPS && *steps <= self.max_steps {
            return Ok(());
        }
        let (node, crossed) = (passed.from, head.hops);
        Err(format!(
            "node {node} sent on a walker after {crossed} links; step {steps} of its lookup"
        ))
    }
}

impl System for Walk {
    fn join(&mut self, known: &[SocketAddrV4], io: &mut Io) {
        for &addr in known {
            self.neighbours.insert(addr, 0);
            io.tell(addr, Purpose::Join, &Fields::new().byte(op::LINK));
        }
        io.wake_after(PING_INTERVAL);
    }

    fn look_up(&mut self, wanted: &Wanted, io: &mut Io) {
        self.unsatisfied.insert(wanted.guid);
        let head = Head::new(Purpose::Lookup, wanted.guid);
        for _ in 0..self.walkers {
            self.send_walker(None, (io.own, head, &wanted.text), io);
        }
    }

    fn message(
        &mut self,
        from: SocketAddrV4,
        head: Head,
        mut fields: Reader<'_>,
        io: &mut Io,
    ) -> Option<()> {
        match fields.byte()? {
            op::LINK => {
                self.neighbours.insert(from, 0);
            }
            op::WALK => self.walked(from, head, fields, io)?,
            op::CHECK => {
                let goes_on = u8::from(self.unsatisfied.contains(&head.guid));
                let answer = Head::new(Purpose::Answer, head.guid);
                io.send(from, answer, &Fields::new().byte(op::GO_ON).byte(goes_on));
            }
            op::GO_ON => {
                let goes_on = fields.byte()? == 1;
                self.told(from, head.guid, goes_on, io);
            }
            op::HAVE => {
                self.unsatisfied.remove(&head.guid);
                while let Some(name) = fields.text() {
                    io.found(head.guid, name, vec![from], head.hops.into());
                }
            }
            _ => return None,
        }
        Some(())
    }

    fn timeout(&mut self, io: &mut Io) {
        self.neighbours.retain(|_, missed| *missed < 2);
        for (addr, missed) in &mut self.neighbours {
            *missed += 1;
            io.tell(*addr, Purpose::Upkeep, &Fields::new().byte(op::LINK));
        }
        io.wake_after(PING_INTERVAL);
    }

    fn state(&self) -> Held {
        let [link, lookup] = ENTRY_BYTES;
        let waiting = self.waiting.values().map(Vec::len).sum::<usize>() + self.unsatisfied.len();
        Held::new(self.neighbours.len(), link).and(Held::new(waiting, lookup))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Instant;

    #[test]
    fn a_walker_that_goes_on_too_long_and_one_too_many_break_the_rule() {
        let options = Options { walkers: 1, ..Options::default() };
        let mut rules = WalkRules::new(&options);
        let mut step = |hops| {
            let head = Head { hops, ..Head::new(Purpose::Lookup, Guid::default()) };
            let bytes = head.frame(&Fields::new().byte(op::WALK));
            let (at, from, to) = (Instant::ZERO, 0, None);
            Judge::<()>::datagram(
                &mut rules,
                &Passed { at, from, to, bytes: &bytes, arrived: true },
            )
        };
        assert!((0..MAX_STEPS).all(|hops| step(hops).is_ok()));
        assert!(step(0).is_err_and(|wrong| wrong.contains("step 129 of its lookup")));
        assert!(step(MAX_STEPS).is_err_and(|wrong| wrong.contains("after 128 links")));
    }
}
