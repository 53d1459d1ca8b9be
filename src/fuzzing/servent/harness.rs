//! The network around one fuzzed servent: peers, dials and time, decoded from a script.

use super::disk::DiskFault;
use super::generators::{self, Descriptor, LOCAL};
use super::generators06::{self, Opening};
use super::socket::State;
use super::watched::Watched;
use crate::config::Config;
use crate::fuzzing::script::Script;
use crate::net::{Dial, DialFate, Failure, Holder, LinkParams, Net, Observer, Peer};
use crate::rng::Rng;
use crate::servent::ConnId;
use crate::time::Instant;
use crate::wire::handshake;
use crate::wire::{Header, Kind};
use std::sync::Arc;
use std::time::Duration;

/// Steps of the network at one moment. There are few sockets, and what comes of one operation is
/// soon done.
const MAX_STEPS_AT_ONCE: usize = 1_000;

/// Steps within one wait: a servent has nothing to do every millisecond but an upload with a limit.
const MAX_STEPS: usize = 20_000;

/// Operations from this number on are those of 0.6.
const FIRST_OF_06: u8 = 192;

/// Dials wait for the script to answer them.
struct Unanswered;

impl Observer<Watched> for Unanswered {
    fn dialled(&mut self, _dial: &Dial, _rng: &mut Rng) -> DialFate {
        DialFate::Swallowed
    }
}

/// See the module documentation. The servent is held, so that it takes its turns when the script
/// says so.
pub(super) struct Harness {
    net: Net<Watched, Unanswered>,
}

impl Harness {
    pub(super) fn new(config: Config) -> Harness {
        let params = LinkParams::even(Duration::ZERO);
        let mut net = Net::new(LOCAL, params, Rng::new(1), Unanswered);
        let start = Instant::from_micros(1_000_000);
        net.run(start, start);
        net.add(Watched::new(config, start));
        net.hold(0);
        Harness { net }
    }

    fn servent(&mut self) -> &mut Watched {
        let now = self.net.now();
        let servent = self.net.node_mut(0);
        servent.now = now;
        servent
    }

    pub(super) fn operate(&mut self, operation: u8, script: &mut Script<'_>) {
        match operation {
            FIRST_OF_06.. => self.operate_06(operation - FIRST_OF_06, script),
            _ => self.operate_04(operation, script),
        }
        self.settle();
        self.servent().check();
    }

    fn operate_04(&mut self, operation: u8, script: &mut Script<'_>) {
        match operation % 24 {
            0 => drop(self.accept(script.number())),
            1 => {
                let peer = self.accept(script.number());
                self.write(Some(peer), handshake::CONNECT);
            }
            2 => self.answer_dial(script),
            3 => {
                let (peer, text) = (self.pick(script.number()), script.choice(&generators::TEXTS));
                self.write(peer, text);
            }
            4 => {
                let (peer, bytes) = (self.pick(script.number()), script.raw());
                self.write(peer, bytes);
            }
            5..=10 => self.peer_says(1, script),
            11 => {
                let pieces = 1 + usize::from(script.number() % 16);
                self.peer_says(pieces, script);
            }
            12 => self.burst(script),
            13 => self.wait(script),
            // The servent's loop is busy for a while.
            14 => {
                let later = script.later(self.net.now());
                self.net.run(later, later);
            }
            15 => self.turn(),
            16 => {
                let (peer, room) = (self.pick(script.number()), usize::from(script.number()));
                if let Some(peer) = peer {
                    self.net.take_up_to(peer, room * room);
                }
            }
            17 => {
                if let Some(peer) = self.pick(script.number()) {
                    self.net.set_reading(peer, true);
                }
            }
            18 => self.hang_up(script),
            19 => self.servent().ask(script),
            20 => self.servent().name_host(script),
            21 => self.servent().fetch(script),
            22 => {
                let library = Arc::new(generators::library(script.number()));
                self.servent().tell(|core, _| core.handle_library(library));
            }
            _ => {
                let (gone, changed, full) = (DiskFault::Gone, DiskFault::Changed, DiskFault::Full);
                let faults = [None, Some(gone), Some(changed), Some(full)];
                self.servent().disk.fault = script.choice(&faults);
            }
        }
    }

    /// Operations of which 0.4 knows nothing.
    fn operate_06(&mut self, operation: u8, script: &mut Script<'_>) {
        match operation % 8 {
            0 | 1 => self.join(script),
            2 => self.answer_dial_06(script),
            3 => {
                let link = self.pick_link(script.number());
                for message in generators06::route_table(script) {
                    self.write(link, &message.bytes());
                }
            }
            4 => {
                let link = self.pick_link(script.number());
                self.write(link, &generators06::vendor_message(script).bytes());
            }
            // A leg where none belongs.
            5 => {
                let peer = self.pick(script.number());
                let opening = script.choice(&[Opening::Request, Opening::Ok, Opening::Refusal]);
                self.write(peer, &generators06::leg(opening, script));
            }
            6 => {
                let peer = self.pick(script.number());
                self.write(peer, script.choice(&generators06::TEXTS));
            }
            _ => self.servent().tell(|core, now| core.shut_down(now)),
        }
    }

    /// A peer asks for a 0.6 link, and confirms what it is offered; in one write, or two.
    fn join(&mut self, script: &mut Script<'_>) {
        let peer = self.accept(script.number());
        let request = generators06::leg(Opening::Request, script);
        match script.number() {
            0 => {
                self.write(Some(peer), &request);
                self.write(Some(peer), b"GNUTELLA/0.6 200 OK\r\n\r\n");
            }
            1 => {
                self.write(Some(peer), &request);
                self.write(Some(peer), &generators06::leg(Opening::Ok, script));
            }
            2 => {
                self.write(Some(peer), &request);
                self.write(Some(peer), &generators06::leg(Opening::Refusal, script));
            }
            // With a descriptor behind.
            3 => {
                let descriptor = generators::descriptor(script, &self.servent().watch.own);
                let all = [&request, &b"GNUTELLA/0.6 200 OK\r\n\r\n"[..], &descriptor.bytes()];
                self.write(Some(peer), &all.concat());
            }
            _ => self.write(Some(peer), &request),
        }
    }

    /// A dial is answered in 0.6.
    fn answer_dial_06(&mut self, script: &mut Script<'_>) {
        let number = script.number();
        let dials = self.net.unanswered();
        let Some(&dial) = dials.get(usize::from(number >> 1) % dials.len().max(1)) else { return };
        let peer = self.net.answer(dial, None);
        let opening = if number & 1 == 0 { Opening::Ok } else { Opening::Refusal };
        self.write(peer, &generators06::leg(opening, script));
    }

    /// The peers fall silent: no wait for them may last for ever.
    pub(super) fn end(&mut self) {
        self.turn();
        for guid in std::mem::take(&mut self.servent().requests) {
            self.servent().watch.request_ended(guid);
            self.servent().core.end_request(guid);
        }
        for _ in 0..4 {
            let later = self.net.now() + Duration::from_secs(100);
            self.net.run(later, later);
            self.turn();
            self.servent().check();
        }
        self.servent().check_end();
    }

    /// Lets everything happen that is due.
    fn settle(&mut self) {
        let now = self.net.now();
        self.run_until(now, MAX_STEPS_AT_ONCE);
    }

    fn run_until(&mut self, end: Instant, max_steps: usize) {
        let mut steps = 0;
        while self.net.next_at().is_some_and(|at| at <= end) {
            self.net.step();
            steps += 1;
            assert!(steps < max_steps, "{steps} steps until {end:?}");
        }
        self.net.run(end, end);
    }

    /// The servent takes its turn, and those that it asks for at once.
    fn turn(&mut self) {
        self.net.release(0);
        self.settle();
        self.net.hold(0);
        self.servent().check_timeouts();
    }

    /// Time passes, and the servent is woken whenever it asks for it.
    fn wait(&mut self, script: &mut Script<'_>) {
        let target = script.later(self.net.now());
        self.net.release(0);
        self.run_until(target, MAX_STEPS);
        self.net.hold(0);
        self.servent().check_timeouts();
    }

    /// The peer at one of the sockets, if it may still say something.
    fn pick(&mut self, number: u8) -> Option<Peer> {
        let sockets = &self.net.node(0).sockets;
        let count = sockets.len().max(1);
        let (&conn, socket) = sockets.iter().nth(usize::from(number) % count)?;
        self.peer_at(conn).filter(|_| socket.state == State::Open)
    }

    fn pick_link(&self, number: u8) -> Option<Peer> {
        let links = self.net.node(0).links();
        let link = links.get(usize::from(number) % links.len().max(1)).copied()?;
        self.peer_at(link)
    }

    fn peer_at(&self, conn: ConnId) -> Option<Peer> {
        match self.net.other_end(0, conn) {
            Some(Holder::Peer(peer)) => Some(peer),
            _ => None,
        }
    }

    fn accept(&mut self, from: u8) -> Peer {
        self.net.dial_from(*generators::addr(from).ip(), 0)
    }

    /// A dial ends one way or the other.
    fn answer_dial(&mut self, script: &mut Script<'_>) {
        let number = script.number();
        let dials = self.net.unanswered();
        let Some(&dial) = dials.get(usize::from(number >> 2) % dials.len().max(1)) else { return };
        let fails = match number & 3 {
            0 => Some(Failure::Refused),
            1 => Some(Failure::Unreachable),
            _ => None,
        };
        let peer = self.net.answer(dial, fails);
        if number & 3 == 3 {
            self.write(peer, handshake::OK);
        }
    }

    fn write(&mut self, peer: Option<Peer>, bytes: &[u8]) {
        if let Some(peer) = peer {
            self.net.write(peer, bytes);
            self.settle();
        }
    }

    /// A neighbour sends a descriptor in `reads` pieces.
    fn peer_says(&mut self, reads: usize, script: &mut Script<'_>) {
        let link = self.pick_link(script.number());
        let bytes = generators::descriptor(script, &self.servent().watch.own).bytes();
        let size = bytes.len().div_ceil(reads);
        for piece in bytes.chunks(size) {
            self.write(link, piece);
        }
    }

    /// Many descriptors of one kind with GUIDs of their own.
    fn burst(&mut self, script: &mut Script<'_>) {
        let (link, count, pad) =
            (self.pick_link(script.number()), script.number(), script.number());
        let Descriptor { header, payload } =
            generators::descriptor(script, &self.servent().watch.own);
        let kind = header.kind;
        for n in 0..count % 64 {
            let mut guid = header.guid;
            if matches!(kind, Kind::Ping | Kind::Query | Kind::Push) {
                (guid.0[3], guid.0[4]) = (n, pad);
            }
            let mut payload = payload.clone();
            if !payload.is_empty() && kind != Kind::QueryHit {
                payload.resize(payload.len() + usize::from(pad) * 8, 1);
            }
            self.write(link, &Descriptor { header: Header { guid, ..header }, payload }.bytes());
        }
    }

    fn hang_up(&mut self, script: &mut Script<'_>) {
        let (peer, how) = (self.pick(script.number()), script.number());
        let Some(peer) = peer else { return };
        match how % 4 {
            0 => self.net.vanish(peer),
            1 | 2 => self.net.abort(peer),
            _ => self.net.hang_up(peer),
        }
    }
}
