//! One direction of a carried connection: bytes go in, and come out later, slower, or never.

use super::super::folder::Conditions;
use crate::rng::Rng;
use mio::net::TcpStream;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

/// Read at once.
pub(super) const READ_BYTES: usize = 16 * 1024;
/// Reads in one turn; the rest waits for the next.
const READS_PER_TURN: usize = 16;
/// With a limited bandwidth, bytes are let out in steps of this time.
const STEP: Duration = Duration::from_millis(10);
/// With pieces cut at random, none is longer.
const MAX_PIECE: usize = 64;
/// So long after one another that they do not become one again.
const BETWEEN_PIECES: Duration = Duration::from_millis(1);
/// What a slow reader takes in each second, and holds.
const TRICKLE_BYTES: u64 = 1_000;
const TRICKLE_WINDOW: usize = 2_048;

/// The bytes under way in one direction.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    /// When each piece may come out, and where it goes on.
    held: VecDeque<(Instant, Vec<u8>, usize)>,
    held_bytes: usize,
    /// The bandwidth is used up until then.
    free_at: Option<Instant>,
    /// The source has said all.
    ended: bool,
    /// The other side knows.
    finished: bool,
    /// As far as is known; edges of mio set them.
    pub(super) readable: bool,
    pub(super) writable: bool,
}

/// What one step came to.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Stepped {
    /// When to step again, events aside.
    pub(super) again: Option<Instant>,
    /// Both ends are done with this direction.
    pub(super) finished: bool,
}

impl Pipe {
    /// Moves what may be moved from `source` to `sink`; `tap` sees what is read.
    ///
    /// # Errors
    /// When one of them has failed, and with it the connection.
    pub(super) fn step(
        &mut self,
        now: Instant,
        (source, sink): (&mut TcpStream, &mut TcpStream),
        conditions: &Conditions,
        (rng, buffer): (&mut Rng, &mut [u8; READ_BYTES]),
        tap: &mut dyn FnMut(&[u8]),
    ) -> io::Result<Stepped> {
        if conditions.blackhole {
            return Ok(Stepped::default());
        }
        for _ in 0..READS_PER_TURN {
            self.write(now, sink, conditions, rng)?;
            let room = conditions.window.saturating_sub(self.held_bytes).min(READ_BYTES);
            if !self.readable || self.ended || room == 0 {
                return self.stepped(now, sink);
            }
            match source.read(&mut buffer[..room]) {
                Ok(0) => self.ended = true,
                Ok(count) => {
                    tap(&buffer[..count]);
                    self.held.push_back((now + conditions.delay, buffer[..count].to_vec(), 0));
                    self.held_bytes += count;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.readable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Stepped { again: Some(now), finished: false })
    }

    fn write(
        &mut self,
        now: Instant,
        sink: &mut TcpStream,
        conditions: &Conditions,
        rng: &mut Rng,
    ) -> io::Result<()> {
        while let Some((ready, bytes, at)) = self.held.front_mut() {
            let paced = self.free_at.is_some_and(|free| free > now);
            if !self.writable || *ready > now || paced {
                return Ok(());
            }
            let mut len = bytes.len() - *at;
            if let Some(rate) = conditions.bandwidth {
                len = len.min(bytes_in(rate, STEP));
            }
            if conditions.split {
                len = len.min(1 + rng.below(MAX_PIECE));
            }
            match sink.write(&bytes[*at..*at + len]) {
                Ok(count) => {
                    *at += count;
                    self.held_bytes -= count;
                    if *at == bytes.len() {
                        self.held.pop_front();
                    }
                    let takes = match conditions.bandwidth {
                        Some(rate) => Duration::from_secs_f64(count as f64 / rate as f64),
                        None if conditions.split => BETWEEN_PIECES,
                        None => continue,
                    };
                    self.free_at = Some(self.free_at.map_or(now, |free| free.max(now)) + takes);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.writable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn stepped(&mut self, now: Instant, sink: &TcpStream) -> io::Result<Stepped> {
        if self.ended && self.held.is_empty() && !self.finished {
            self.finished = true;
            match sink.shutdown(Shutdown::Write) {
                // It has gone by itself.
                Err(error) if error.kind() == ErrorKind::NotConnected => {}
                done => done?,
            }
        }
        let again = match self.held.front() {
            Some((ready, ..)) if self.writable => Some((*ready).max(self.free_at.unwrap_or(now))),
            _ => None,
        };
        Ok(Stepped { again, finished: self.finished })
    }
}

fn bytes_in(rate: u64, time: Duration) -> usize {
    let bytes = u128::from(rate) * time.as_micros() / 1_000_000;
    usize::try_from(bytes).unwrap_or(usize::MAX).max(1)
}

/// What `conditions` mean for the direction towards the dialled side, or away from it.
pub(super) fn for_direction(conditions: &Conditions, towards_dialled: bool) -> Conditions {
    let mut own = conditions.clone();
    if conditions.slow_reader && towards_dialled {
        let rate = conditions.bandwidth.map_or(TRICKLE_BYTES, |rate| rate.min(TRICKLE_BYTES));
        own.bandwidth = Some(rate);
        own.window = own.window.min(TRICKLE_WINDOW);
    }
    own
}
