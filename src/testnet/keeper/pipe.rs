//! One direction of a relayed connection, with the delay, bandwidth and faults of its link.

use super::super::folder::Conditions;
use crate::rng::Rng;
use mio::net::TcpStream;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

/// Bytes of one read.
pub(super) const READ_BYTES: usize = 16 * 1024;
/// Most reads in one turn.
const READS_PER_TURN: usize = 16;
/// With a limited bandwidth, one write has the bytes of this time.
const PACING_STEP: Duration = Duration::from_millis(10);
/// Longest piece, with pieces cut at random.
const MAX_PIECE: usize = 64;
/// Pause between pieces, so that the kernel does not join them.
const PIECE_PAUSE: Duration = Duration::from_millis(1);
/// Bytes per second of a slow reader.
const SLOW_READER_RATE: u64 = 1_000;
/// Bytes in flight to a slow reader.
const SLOW_READER_WINDOW: usize = 2_048;

/// The bytes in flight in one direction.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    /// Pieces with the time they may be written, and how much of each was written.
    in_flight: VecDeque<(Instant, Vec<u8>, usize)>,
    in_flight_bytes: usize,
    /// Time from which the bandwidth allows the next write.
    free_at: Option<Instant>,
    /// The source has ended its stream.
    ended: bool,
    /// The end was passed to the sink.
    finished: bool,
    /// Set by edge-triggered events.
    pub(super) readable: bool,
    pub(super) writable: bool,
}

/// The result of one step.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Stepped {
    /// Time of the next step without an event.
    pub(super) again: Option<Instant>,
    /// This direction has ended.
    pub(super) finished: bool,
}

impl Pipe {
    /// Moves bytes from `source` to `sink`; `tap` is shown what is read.
    ///
    /// # Errors
    /// When one of the sockets has failed, which ends the connection.
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
            let room = conditions.window.saturating_sub(self.in_flight_bytes).min(READ_BYTES);
            if !self.readable || self.ended || room == 0 {
                return self.stepped(now, sink);
            }
            match source.read(&mut buffer[..room]) {
                Ok(0) => self.ended = true,
                Ok(count) => {
                    tap(&buffer[..count]);
                    self.in_flight.push_back((now + conditions.delay, buffer[..count].to_vec(), 0));
                    self.in_flight_bytes += count;
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
        while let Some((ready, bytes, at)) = self.in_flight.front_mut() {
            let paced = self.free_at.is_some_and(|free| free > now);
            if !self.writable || *ready > now || paced {
                return Ok(());
            }
            let mut len = bytes.len() - *at;
            if let Some(rate) = conditions.bandwidth {
                len = len.min(bytes_in(rate, PACING_STEP));
            }
            if conditions.split {
                len = len.min(1 + rng.below(MAX_PIECE));
            }
            match sink.write(&bytes[*at..*at + len]) {
                Ok(count) => {
                    *at += count;
                    self.in_flight_bytes -= count;
                    if *at == bytes.len() {
                        self.in_flight.pop_front();
                    }
                    let takes = match conditions.bandwidth {
                        Some(rate) => Duration::from_secs_f64(count as f64 / rate as f64),
                        None if conditions.split => PIECE_PAUSE,
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
        if self.ended && self.in_flight.is_empty() && !self.finished {
            self.finished = true;
            match sink.shutdown(Shutdown::Write) {
                // The sink is closed already.
                Err(error) if error.kind() == ErrorKind::NotConnected => {}
                done => done?,
            }
        }
        let again = match self.in_flight.front() {
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

/// The conditions of one direction: a slow reader concerns the one towards the dialled side.
pub(super) fn for_direction(conditions: &Conditions, towards_dialled: bool) -> Conditions {
    let mut own = conditions.clone();
    if conditions.slow_reader && towards_dialled {
        let rate = conditions.bandwidth.map_or(SLOW_READER_RATE, |rate| rate.min(SLOW_READER_RATE));
        own.bandwidth = Some(rate);
        own.window = own.window.min(SLOW_READER_WINDOW);
    }
    own
}
