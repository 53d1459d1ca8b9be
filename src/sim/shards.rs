//! The network of a simulation, in as many shards as there are cores.
//!
//! All shards run through a window of virtual time at once, then exchange letters, and so on. How many
//! there are makes no difference to the results: windows are the same, and so is the order of events
//! within each ([`crate::net`], `shard`). A network with faults or full windows is in one piece and
//! runs event by event.

use crate::net::{Letter, Net, Node, Observer};
use crate::time::Instant;
use std::any::Any;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// With fewer events in the window before, other threads are not worth waking.
const WORTH_WAKING: usize = 200;

/// The smallest time that differs.
const TICK: Duration = Duration::from_micros(1);

/// Sees all shards between two windows; true ends the run.
pub(super) type Look<'a, N, O> = &'a mut dyn FnMut(&mut [&mut Net<N, O>]) -> bool;

/// See the module documentation.
pub(super) struct Shards<N: Node, O> {
    nets: Vec<Net<N, O>>,
    nodes: usize,
    /// Nodes of each shard but the last, which may have fewer.
    nodes_each: usize,
    /// The length of a window; `None` for a network in one piece that runs event by event.
    window: Option<Duration>,
    now: Instant,
}

/// The numbers of the nodes of each of so many shards.
pub(super) fn ranges(nodes: usize, shards: usize) -> Vec<Range<usize>> {
    let each = nodes.div_ceil(shards.max(1)).max(1);
    (0..nodes).step_by(each).map(|first| first..nodes.min(first + each)).collect()
}

impl<N: Node + Send, O: Observer<N> + Send> Shards<N, O> {
    /// These shards, with their nodes by [`ranges`].
    pub(super) fn new(
        nets: Vec<Net<N, O>>,
        nodes: usize,
        window: Option<Duration>,
    ) -> Shards<N, O> {
        let nodes_each = nodes.div_ceil(nets.len().max(1)).max(1);
        Shards { nets, nodes, nodes_each, window, now: Instant::ZERO }
    }

    pub(super) fn now(&self) -> Instant {
        self.now
    }

    /// The shard that holds a node.
    pub(super) fn of(&self, node: usize) -> &Net<N, O> {
        &self.nets[node / self.nodes_each]
    }

    /// See [`Shards::of`].
    pub(super) fn of_mut(&mut self, node: usize) -> &mut Net<N, O> {
        &mut self.nets[node / self.nodes_each]
    }

    /// All of them.
    pub(super) fn all(&self) -> &[Net<N, O>] {
        &self.nets
    }

    /// See [`Shards::all`].
    pub(super) fn all_mut(&mut self) -> &mut [Net<N, O>] {
        &mut self.nets
    }

    /// The network with faults, which is in one piece.
    pub(super) fn whole(&mut self) -> &mut Net<N, O> {
        &mut self.nets[0]
    }

    /// Takes all shards down, each on a thread of its own.
    pub(super) fn end(self) {
        thread::scope(|scope| {
            for net in self.nets {
                scope.spawn(move || drop(net));
            }
        });
    }

    /// What the first shard sees; faults are seen there alone.
    pub(super) fn observer(&self) -> &O {
        &self.nets[0].observer
    }

    /// Does something with each shard and its nodes, each on a thread of its own, and returns what came
    /// of it.
    pub(super) fn each<T: Send>(
        &mut self,
        act: impl Fn(&mut Net<N, O>, Range<usize>) -> T + Sync,
    ) -> Vec<T> {
        let ranges = ranges(self.nodes, self.nets.len());
        if let [net] = &mut *self.nets {
            return ranges.into_iter().map(|range| act(net, range)).collect();
        }
        thread::scope(|scope| {
            let (act, nets) = (&act, self.nets.iter_mut().zip(ranges));
            let threads: Vec<_> =
                nets.map(|(net, range)| scope.spawn(move || act(net, range))).collect();
            let ended = threads.into_iter().map(|thread| thread.join());
            ended.map(|ended| ended.unwrap_or_else(|panic| resume_unwind(panic))).collect()
        })
    }

    /// Runs until `min`, and then on until nothing is under way, or `max`. After each window `look`
    /// sees all shards, and ends the run by true. True if it did, or if [`Observer::alarm`] ended it.
    pub(super) fn run(&mut self, min: Instant, max: Instant, look: Look<'_, N, O>) -> bool {
        let Some(window) = self.window else {
            let net = &mut self.nets[0];
            let is_alarmed = net.run(min, max);
            self.now = net.now();
            return look(&mut [net]) || is_alarmed;
        };
        let (count, now) = (self.nets.len(), self.now);
        let nets = self.nets.iter_mut().map(Mutex::new).collect();
        let mail = (0..count).map(|_| Mutex::default()).collect();
        let crew = Crew {
            nets,
            mail,
            nodes_each: self.nodes_each,
            barrier: Barrier::new(count),
            until: Mutex::new(now),
            is_over: AtomicBool::new(false),
            panic: Mutex::new(None),
        };
        let is_ended;
        (self.now, is_ended) = thread::scope(|scope| {
            let crew = &crew;
            (1..count).for_each(|shard| drop(scope.spawn(move || crew.work(shard))));
            let lead = || crew.lead(window, (now, min, max), look);
            let led = catch_unwind(AssertUnwindSafe(lead));
            crew.is_over.store(true, Ordering::Release);
            crew.barrier.wait();
            led.unwrap_or_else(|panic| resume_unwind(panic))
        });
        if let Some(panic) = lock(&crew.panic).take() {
            resume_unwind(panic);
        }
        is_ended
    }
}

/// The threads of a run, one for each shard. That of the first leads.
struct Crew<'a, N: Node, O> {
    nets: Vec<Mutex<&'a mut Net<N, O>>>,
    /// Letters for each shard.
    mail: Vec<Mutex<Vec<Letter>>>,
    nodes_each: usize,
    barrier: Barrier,
    /// The end of the window.
    until: Mutex<Instant>,
    is_over: AtomicBool,
    /// A thread panicked. The others go on to the end of the window, so that none waits for it.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// Whoever panicked with a lock has said so in [`Crew::panic`].
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<N: Node, O: Observer<N>> Crew<'_, N, O> {
    /// Window after window, until all is over.
    fn work(&self, shard: usize) {
        loop {
            self.barrier.wait();
            if self.is_over.load(Ordering::Acquire) {
                return;
            }
            self.run_window(shard);
            self.barrier.wait();
            self.receive(shard);
            self.barrier.wait();
        }
    }

    fn run_window(&self, shard: usize) -> usize {
        let until = *lock(&self.until);
        let ran = catch_unwind(AssertUnwindSafe(|| {
            let mut net = lock(&self.nets[shard]);
            let events = net.run_before(until);
            (events, net.take_letters())
        }));
        match ran {
            Ok((events, letters)) => {
                self.post(letters);
                events
            }
            Err(panic) => {
                *lock(&self.panic) = Some(panic);
                0
            }
        }
    }

    fn post(&self, letters: Vec<Letter>) {
        let mut sorted: Vec<Vec<Letter>> = self.nets.iter().map(|_| Vec::new()).collect();
        for letter in letters {
            sorted[letter.to() / self.nodes_each].push(letter);
        }
        for (mail, letters) in self.mail.iter().zip(sorted) {
            if !letters.is_empty() {
                lock(mail).extend(letters);
            }
        }
    }

    fn receive(&self, shard: usize) {
        let received = catch_unwind(AssertUnwindSafe(|| {
            let letters = std::mem::take(&mut *lock(&self.mail[shard]));
            let mut net = lock(&self.nets[shard]);
            letters.into_iter().for_each(|letter| net.receive(letter));
        }));
        if let Err(panic) = received {
            *lock(&self.panic) = Some(panic);
        }
    }

    /// Leads the others through all windows. Returns the time in the end, and whether `look` ended it.
    fn lead(
        &self,
        window: Duration,
        (mut now, min, max): (Instant, Instant, Instant),
        look: Look<'_, N, O>,
    ) -> (Instant, bool) {
        let shards = 0..self.nets.len();
        for shard in shards.clone() {
            let letters = lock(&self.nets[shard]).take_letters();
            self.post(letters);
        }
        shards.clone().for_each(|shard| self.receive(shard));
        let (mut events, mut is_moving);
        events = 0;
        loop {
            let mut nets: Vec<_> = self.nets.iter().map(lock).collect();
            now = nets.iter().fold(now, |now, net| now.max(net.now()));
            is_moving = nets.iter().any(|net| net.is_moving());
            let next = nets.iter_mut().filter_map(|net| net.next_at()).min();
            drop(nets);
            let is_due = |at: &Instant| *at <= max && (is_moving || *at <= min.max(now));
            let Some(at) = next.filter(is_due) else { break };
            *lock(&self.until) = (at + window).min(max + TICK);
            events = if events < WORTH_WAKING || shards.len() == 1 {
                let events = shards.clone().map(|shard| self.run_window(shard)).sum();
                shards.clone().for_each(|shard| self.receive(shard));
                events
            } else {
                self.barrier.wait();
                let events = self.run_window(0) * shards.len();
                self.barrier.wait();
                self.receive(0);
                self.barrier.wait();
                events
            };
            let mut nets: Vec<_> = self.nets.iter().map(lock).collect();
            let mut nets: Vec<&mut Net<N, O>> = nets.iter_mut().map(|net| &mut ***net).collect();
            if lock(&self.panic).is_some() || look(&mut nets) {
                return (now, true);
            }
        }
        now = now.max(if is_moving { max } else { min });
        self.nets.iter().for_each(|net| lock(net).pass_to(now));
        (now, false)
    }
}
