//! A Gnutella servent, of 0.4 and of 0.6: it joins a network through any member, finds hosts by Ping and Pong,
//! floods Queries, routes QueryHits back the way the Query came, answers from shared folders and
//! moves files by HTTP.
//!
//! Everything but the program itself is a library of state machines without input and output.
//!
//! # Where to start
//!
//! - To read or write descriptors: [`wire`], with `examples/decode_descriptor.rs`.
//! - To put a servent into a program of your own: [`servent::Servent`], with
//!   `examples/two_cores.rs` (no network at all) and `examples/std_net.rs` (plain sockets).
//! - To see what a network of them does: [`sim`].
//!
//! # The house
//!
//! ```text
//! time  rng  ←  wire  ←  library, transfer  ←  servent  ←  driver  ←  daemon, testnet  ←  cli
//!                  ↖  net  rules  plan  ←  sim (with servent)  ←  lab, fuzzing, cli
//!                                    ↖  control  ←  http  ←  daemon, testnet
//! ```
//!
//! An arrow points at what is known. `config` and `stats` stand beside `wire`; `driver` and
//! `net`/`sim` never see each other.
//!
//! | module | holds |
//! |---|---|
//! | [`wire`] | bytes to meaning and back, of 0.4 and of what 0.6 adds; no bytes can make it panic |
//! | [`library`] | the index of shared files, by number and by word |
//! | [`transfer`] | HTTP as Gnutella speaks it: one upload, one download |
//! | [`servent`] | the core: a state machine without sockets, files, clock or threads. Time is an argument, randomness a seed, so equal input gives equal behaviour |
//! | [`net`] | a network in memory under virtual time, for any kind of node |
//! | [`rules`] | what must hold in any Gnutella network, checked over what was observed |
//! | [`plan`] | plans, topologies, faults; records and pictures of searches |
//! | [`sim`] | plans run on `net` with real cores |
//! | `lab` | ways to look files up, side by side: the real core and others (feature `lab`) |
//! | `capture` | packet captures, read into descriptors (deflated links too), and written (feature `tools`) |
//! | `http` | the small server of the page, the metrics and the control methods (feature `http`) |
//! | `driver` | the only place with mio, sockets, files, signals and a clock (feature `driver`) |
//! | `control` | requests and results of the control socket, its client (feature `control`) |
//! | `daemon` | what `servent run` is: a driver that can be steered and watched (feature `daemon`) |
//! | `testnet` | networks of real processes on loopback (feature `testnet`) |
//! | `cli` | arguments, output, exit codes (feature `cli`) |
//! | `fuzzing` | what must hold for any bytes; `fuzz/` and an ordinary test feed it (feature `fuzzing`) |
//!
//! # Example
//!
//! A servent is told what happened (`handle_…`) and asked what to do (`poll_…`):
//!
//! ```
//! use servent::config::Config;
//! use servent::library::Library;
//! use servent::servent::{Output, Servent};
//! use servent::time::Instant;
//! use servent::wire::ServentId;
//! use std::sync::Arc;
//!
//! let (now, seed) = (Instant::ZERO, 1);
//! let (config, library) = (Arc::new(Config::default()), Arc::new(Library::empty()));
//! let mut servent = Servent::new(config, library, ServentId([1; 16]), seed, now);
//!
//! let peer = "127.0.0.2:6346".parse()?;
//! servent.add_static_peer(now, peer);
//! servent.handle_timeout(now);
//! let Some(Output::Connect { conn, addr }) = servent.poll_output() else { unreachable!() };
//! assert_eq!(addr, peer);
//!
//! // The socket is connected: the handshake is to be sent.
//! servent.handle_connected(now, conn, "127.0.0.1:50000".parse()?);
//! assert!(servent.poll_transmit(now).is_some());
//! # Ok::<(), std::net::AddrParseError>(())
//! ```
//!
//! # Discrepancies
//!
//! Where the 0.4 text leaves a choice, or real servents differ from it, this servent does this:
//!
//! - **Line ends.** The handshake is sent with LF LF only (GNU Serveez compares bytes); CR LF is
//!   accepted.
//! - **Speed field.** Queries carry `01 00`: `00 00` is dropped by gtk-gnutella as ancient. A value
//!   with the top bit of its first byte set is read as flags, never as a speed, and a minimum
//!   speed filters only if a speed was configured.
//! - **TTL and hops.** A broadcast whose TTL and hops add up to more than 15 is dropped, above the
//!   configured TTL it is trimmed, never raised. Replies are trimmed to 15 in all.
//! - **TTL of replies.** QueryHit: hops + 2 (0.6 draft). Pong: hops + 1. A reply to us that
//!   arrives with TTL 0 is accepted (Serveez sends such).
//! - **Duplicates.** The key is (GUID, kind); a copy with more TTL is a duplicate too. Serveez
//!   also drops equal texts within 10 s; this servent does not.
//! - **Pongs** carry the Ping's GUID; the text that wants a constant one would break routing.
//!   Pings are answered from a cache and flooded only while it is empty (0.6 draft, 2.2.4). The
//!   cache holds an address once, by its nearest fresh Pong, and is never sent to the servent it is about. One Ping
//!   admits at most 1,000 Pongs on a link, and a link at most 1,000 a second.
//! - **Search text** above 256 bytes is neither answered nor forwarded: gtk-gnutella relays no longer
//!   Query.
//! - **Two links** between the same two servents: the one that the lower listening address dialled
//!   stays. A peer that dials again within a minute, as Serveez does, keeps its own instead.
//! - **Push** is routed by servent id only; the rule that also asks for the GUID contradicts it.
//! - **Trailing slash** of `/get/INDEX/NAME/`: accepted in requests, not sent.
//! - **Status line.** `HTTP 200 OK` without a version is accepted, and sent to clients that send
//!   requests as Serveez does.
//! - **Sizes** from 4 GiB on do not fit a result and are sent as `ff ff ff ff`, towards 0.6 with GGEP `LF`.
//! - **Dialect.** An address of which nothing is known is dialled with 0.4, and with 0.6 two seconds later
//!   if it closes without a byte. No address gets a third handshake within a minute unless it is known to
//!   speak 0.4: gtk-gnutella bans for less.
//! - **Leaves** get a Query if their route table has all its words of three letters or more, or a URN in
//!   it; gtk-gnutella is content with two thirds. What crosses dialects and is changed on the way stands
//!   in the table of `servent::bridge`.
//! - **Stepping down.** An ultrapeer that is told it is not needed becomes a leaf on that link if it has
//!   no other: those behind it would be cut off.
//! - **Index query** (four spaces) is answered to a direct neighbour only, once a second, and
//!   within the same number of results as any other.

#[cfg(feature = "tools")]
pub mod capture;
#[cfg(feature = "cli")]
pub mod cli;
pub mod config;
#[cfg(feature = "control")]
pub mod control;
#[cfg(feature = "daemon")]
pub mod daemon;
#[cfg(feature = "driver")]
pub mod driver;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
#[cfg(any(feature = "fuzzing", feature = "http"))]
pub mod http;
#[cfg(feature = "lab")]
pub mod lab;
pub mod library;
pub mod net;
pub mod plan;
mod rare;
pub mod rng;
pub mod rules;
pub mod servent;
pub mod sim;
pub mod stats;
#[cfg(feature = "testnet")]
pub mod testnet;
#[cfg(feature = "daemon")]
mod text;
pub mod time;
pub mod transfer;
pub mod wire;
