//! A Gnutella 0.4 servent: it joins a network through any member, finds hosts by Ping and Pong,
//! floods Queries, routes QueryHits back the way the Query came, answers from shared folders and
//! moves files by HTTP.
//!
//! # The house
//!
//! ```text
//! time  rng  ←  wire  ←  library, transfer  ←  servent  ←  driver, sim  ←  cli
//!                        config, stats beside wire    wire  ←  plan  ←  sim, testnet  ←  cli
//! ```
//!
//! - [`servent`] is the core: a state machine without sockets, files, clock or threads. Time is an
//!   argument, randomness a seed, so equal input gives equal behaviour.
//! - [`wire`] turns bytes into meaning and back and cannot panic on any bytes.
//! - [`library`] knows the shared files by name and number; [`transfer`] speaks HTTP.
//! - [`driver`] is the only place with mio, sockets, files, signals and a clock.
//! - [`sim`] is the other place the core runs: a whole network in one process, under virtual time.
//! - [`testnet`] runs real processes on loopback; [`plan`] is what it has in common with [`sim`]:
//!   plans, topologies, and records and pictures of what a search did.
//! - [`cli`] reads arguments and prints.
//! - [`fuzzing`] says what must hold for any bytes; `fuzz/` and an ordinary test feed it.
//!
//! # Example
//!
//! Two servents without a network between them: bytes are carried by hand.
//!
//! ```
//! use servent::config::Config;
//! use servent::library::{Library, LibraryBuilder};
//! use servent::servent::{ConnId, Event, Output, Servent};
//! use servent::time::Instant;
//! use servent::wire::ServentId;
//! use std::sync::Arc;
//!
//! let now = Instant::ZERO;
//! let mut files = LibraryBuilder::new();
//! files.add(7, "free bsd notes.txt", 1_234)?;
//! let library = loop {
//!     if let Some(library) = files.step(100) {
//!         break Arc::new(library);
//!     }
//! };
//! let start = |library, id| {
//!     Servent::new(Arc::new(Config::default()), library, ServentId([id; 16]), id.into(), now)
//! };
//! let (mut seeker, mut sharer) = (start(Arc::new(Library::empty()), 1), start(library, 2));
//!
//! let addr = "127.0.0.2:6346".parse()?;
//! seeker.add_static_peer(now, addr);
//! seeker.handle_timeout(now);
//! let Some(Output::Connect { conn: there, .. }) = seeker.poll_output() else { unreachable!() };
//! seeker.handle_connected(now, there, "127.0.0.1:50000".parse()?);
//! let back = sharer.handle_accepted(now, "127.0.0.1:50000".parse()?, addr).unwrap();
//! let search = seeker.search(now, "notes", None)?;
//!
//! /// What one has to say, into the other's ear.
//! fn carry(from: &mut Servent, to: &mut Servent, conn: ConnId, now: Instant) {
//!     while let Some((id, chunk)) = from.poll_transmit(now) {
//!         let servent::servent::TxChunk::Bytes(bytes) = chunk else { unreachable!() };
//!         let bytes = bytes.to_vec();
//!         from.sent(now, id, bytes.len());
//!         to.handle_bytes(now, conn, &bytes);
//!     }
//! }
//! for _ in 0..3 {
//!     carry(&mut seeker, &mut sharer, back, now);
//!     carry(&mut sharer, &mut seeker, there, now);
//! }
//! let found = std::iter::from_fn(|| seeker.poll_output()).find_map(|output| match output {
//!     Output::Event(Event::Hit { search: of, hit }) if of == search => Some(hit.name),
//!     _ => None,
//! });
//! assert_eq!(found.as_deref(), Some("free bsd notes.txt"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Discrepancies
//!
//! What the 0.4 text leaves open or real servents do otherwise, and what this one does:
//!
//! - **Line ends.** The hello is sent with LF LF only (GNU Serveez compares bytes); CR LF is read.
//! - **Speed field.** Queries carry `01 00`: `00 00` is dropped by gtk-gnutella as ancient. A value
//!   with the top bit of its first byte set is read as flags, never as a speed, and a minimum
//!   speed filters only if a speed was configured.
//! - **TTL and hops.** A broadcast whose TTL and hops add up to more than 15 is dropped, above the
//!   configured TTL it is trimmed, never raised. Replies are trimmed to 15 in all.
//! - **TTL of replies.** QueryHit: hops + 2 (0.6 draft). Pong: hops + 1. A reply that arrives with
//!   TTL 0 and is ours is taken (Serveez sends such).
//! - **Duplicates.** The key is (GUID, kind); a copy with more TTL is a duplicate too. Serveez
//!   also drops equal texts within 10 s: we do not.
//! - **Pongs** carry the Ping's GUID; the text that wants a constant one would break routing.
//!   Pings are answered from a cache and flooded only while it is empty (0.6 draft, 2.2.4). The
//!   cache holds an address once, by its nearest fresh Pong, and tells nobody about itself. One Ping
//!   admits at most 1,000 Pongs on a link, and a link at most 1,000 a second.
//! - **Search text** above 256 bytes is neither looked for nor passed on: gtk-gnutella relays no
//!   longer Query.
//! - **Two links** between the same two servents: the one that the lower listening address dialled
//!   stays. A peer that dials again within a minute, as Serveez does, keeps its own instead.
//! - **Push** is routed by servent id only; the rule that also asks for the GUID contradicts it.
//! - **Trailing slash** of `/get/INDEX/NAME/`: served with and without, asked for without.
//! - **Status line.** `HTTP 200 OK` without version is understood, and sent to clients that ask in
//!   Serveez's way.
//! - **Sizes** from 4 GiB on do not fit a result and are sent as `ff ff ff ff`.
//! - **Index query** (four spaces) is answered to a direct neighbour only, once a second, and
//!   within the same number of results as any other.

#[cfg(feature = "cli")]
pub mod cli;
pub mod config;
#[cfg(feature = "driver")]
pub mod driver;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod library;
pub mod net;
pub mod plan;
pub mod rng;
pub mod rules;
pub mod servent;
pub mod sim;
pub mod stats;
#[cfg(feature = "testnet")]
pub mod testnet;
pub mod time;
pub mod transfer;
pub mod wire;
