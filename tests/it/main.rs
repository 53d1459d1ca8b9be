//! Behaviour of the servent, from outside: first the core in memory under virtual time, then real
//! processes.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

// Cores in memory, scripted peers, and vectors: what the stories below are told with.
mod support;

// Bytes to meaning and back: vectors, truncations, and splits of the stream.
mod wire;
// The hello in both directions, and everything that is none.
mod handshake;
// Who gets a copy of what, on scripted links and in whole networks.
mod routing;
// Pings, Pongs, and how the cache keeps Pings from flooding.
mod pong_cache;
// Searches: what is answered, with what, and what comes back.
mod query;
// Pushes find their servent, and it connects to whom they name.
mod push;
// When a download asks its source to connect, and what a GIV brings.
mod giv;
// Files from core to core: slots, shares, steps and refusals.
mod transfer;
// What is noted of each descriptor, in the core and in the files of `--events`.
mod events;
// What a flood may not cost: allocations.
mod hot_path;
// Slow and silent neighbours.
mod flow_control;
// Shares of work: a link that asks for much waits for it.
mod fairness;
// Peers that mean harm: nothing panics, loops or grows.
mod hostile;
// Finding neighbours, keeping them, and leaving alone who should be left alone.
mod discovery;
// Two servents that dial each other keep one link.
mod mutual;

// The same attacks on a real process, with its memory watched.
mod storm;

// Real processes on loopback: starting, talking to, and ending them.
mod process;
// A few of them as a network.
mod loopback;
// Shared folders that change while they are shared.
mod live_folder;
// Sources that cannot be reached, downloads cut short, several at a time, files that change.
mod firewall;
// Downloads that go on, from their own source or another.
mod resume;
// Second tries, several sources, names, output and exit codes of downloads.
mod get;
// Downloads on a terminal.
mod progress;
// Shared files cannot be swapped, fetched ones cannot land elsewhere.
mod files;
// Killed at any moment.
mod crash;
// A test network of real processes: up, searched, hurt, healed, down.
mod testnet;
// Everything at once for minutes, where it is asked for.
mod soak;
// The command line: output, exit codes, files left behind.
mod cli;
// Terminals and signals.
mod terminal;
// Completions and manual pages.
mod shell;
// `servent decode` explains hex, raw descriptors and captures.
mod decode;
// Wireshark's dissector reads what the servent sends.
mod judge;

// Virtual networks under the eyes of the oracles.
mod sim;
// Ten servents that break the rules, caught in the simulator and live.
mod spoilers;

// The committed fuzz corpus, replayed.
mod corpus;

// What the README promises.
mod readme;

// Rules about the source itself.
mod tidy;
