//! Behaviour of the servent, from outside: first in memory under virtual time, then as real
//! processes.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

// Networks in memory, scripted peers, vectors.
mod support;

// Bytes to meaning and back: vectors, truncations, and splits of the stream.
mod wire;
// The handshake in both directions, and input that is none.
mod handshake;
// Links of 0.6: which dialect is dialled, roles, refusals, Byes.
mod dialect;
// Leaves and ultrapeers: route tables, what each is sent, searches in small steps.
mod roles;
// What changes where descriptors cross from one dialect to the other.
mod bridge;
// Random networks of both dialects and all roles, and what a search must find there.
mod mixed;
// Vendor messages: hops flow, connect-backs, push proxies.
mod neighbourly;
// The legs of the 0.6 handshake.
mod handshake06;
// GGEP, HUGE and deflate.
mod ggep;
// Query routing tables: hashes, sequences, errors.
mod qrp;
// Vendor messages, and Byes of our own.
mod vendor;
// Deflated links: flushes, bounds, bombs and broken streams.
mod compression;
// Routing, on scripted links and in whole networks.
mod routing;
// Pings, Pongs, and how the cache keeps Pings from flooding.
mod pong_cache;
// Searches: Queries, answers, hits.
mod query;
// Pushes find their servent, and it connects to the address they name.
mod push;
// Downloads by Push, and the GIVs that answer.
mod giv;
// Transfers in memory: slots, shares, steps and refusals.
mod transfer;
// Observations of descriptors, in the core and in the files of `--events`.
mod events;
// A flood allocates nothing per descriptor.
mod hot_path;
// Back-pressure, keepalives and timeouts: slow and silent neighbours.
mod flow_control;
// Shares of work: a link that causes much work waits for it.
mod fairness;
// Hostile peers: nothing panics, loops or grows.
mod hostile;
// Finding and keeping neighbours, and addresses that must not be dialled.
mod discovery;
// Two servents that dial each other keep one link.
mod mutual;

// The same attacks on a real process, with its memory watched.
mod storm;

// Helpers for real processes on loopback.
mod process;
// A few real processes as a network.
mod loopback;
// Shared folders that change while they are shared.
mod live_folder;
// Sources that cannot be reached, downloads cut short, several at a time, files that change.
mod firewall;
// Downloads that resume, from their own source or another.
mod resume;
// Retries, several sources, names, output and exit codes of downloads.
mod get;
// Downloads on a terminal.
mod progress;
// Shared files cannot be swapped, fetched ones cannot land elsewhere.
mod files;
// Kills at any moment.
mod crash;
// The control socket, line by line.
mod control;
// The download queue of a running servent.
mod queue;
// Settings read again, the service manager, the journal, browsers.
mod daemon;
// Test networks of real processes: start, searches, faults, recovery, end.
mod testnet;
// Churn, faults and attacks for minutes, on request.
mod soak;
// The command line: output, exit codes, files left behind.
mod cli;
// Terminals and signals.
mod terminal;
// Commands that steer and watch a running servent.
mod steer;
// Downloads through a running servent, as those of a guest.
mod get_through;
// Its live screen.
mod watch;
// That of a test network.
mod testnet_watch;
// Completions and manual pages.
mod shell;
// `servent decode` explains hex, raw descriptors and captures.
mod decode;
// ... and conversations of 0.6, deflated or not.
mod decode06;
// Wireshark's dissector reads what the servent sends.
mod judge;

// The simulator, with the rules checked.
mod sim;
// The same with ultrapeers, leaves and bridges.
mod sim_roles;
// Headless Chromium.
mod browser;
// The page that replays a search, in a browser.
mod replay;
// The page of a running servent, in a browser.
mod page;
// The page of a whole test network.
mod network_page;
// The lookup lab: theory, determinism, output.
mod lab;
// Ten servents that each break a rule, caught in the simulator and live.
mod spoilers;

// The small HTTP server by itself.
mod http;
// What it tells scrapers.
mod metrics;

// The committed fuzz corpus, replayed.
mod corpus;

// What the README promises.
mod readme;

// Rules about the source itself.
mod tidy;
