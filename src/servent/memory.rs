//! Upper bound on a servent's memory: every queue, table and buffer at its limit.

use super::connection::{ACCOUNT_BYTES_PER_BYTE, CODEC_BYTES, Connection, Link};
use super::flood::URN_QUERIES;
use super::io::{ConnId, Event};
use super::routing::BYTES_PER_ID;
use super::uploads::UPLOAD_BYTES;
use super::{CachedPong, Observation, budget, dynamic_query, query_routing};
use crate::config::{Config, READ_BYTES, Role};
use crate::library::MAX_INDEX_BYTES;
use crate::time::Instant;
use crate::wire::http_head::MAX_HEAD_BYTES;
use crate::wire::{HEADER_BYTES, MAX_PAYLOAD_BYTES, MAX_QUERY_BYTES};
use std::net::SocketAddrV4;

/// Factor for buffers that grow while they are filled: they double, or hold old and new at once.
const GROWTH: usize = 2;
/// Bytes a map and the allocator add to a small entry.
const ENTRY_BYTES: usize = 64;
/// Code, stacks, and the fixed memory of allocator, clock and log.
const PROGRAM_BYTES: usize = 10 << 20;

/// One row of the bound: what is held, how many at most, and how large each may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// What is held, in the plural.
    pub what: &'static str,
    /// How many are held at most.
    pub count: usize,
    /// Bytes of each, at most.
    pub bytes: usize,
}

impl Cost {
    /// Bytes of all of them.
    pub fn total(self) -> usize {
        self.count * self.bytes
    }
}

impl Config {
    /// Everything a servent with these settings may hold, except its library: about 150 bytes for
    /// each shared file.
    ///
    /// `pending_events` is how many events its driver keeps; `observed` whether observations are
    /// switched on.
    pub fn memory(&self, pending_events: usize, observed: bool) -> Vec<Cost> {
        let limits = &self.limits;
        let cost = |what, count, bytes| Cost { what, count, bytes };
        // Leaves have queues and buffers as all links have.
        let leaves = if self.role == Role::Servent { self.max_leaves } else { 0 };
        let links = (self.max_links + leaves).min(limits.max_connections);
        let strangers = limits.max_connections - self.max_links;
        let page = if self.browse { MAX_INDEX_BYTES } else { 0 };
        let head = page + GROWTH * (2 * MAX_HEAD_BYTES + 1) + UPLOAD_BYTES + ENTRY_BYTES;
        let largest = HEADER_BYTES + MAX_PAYLOAD_BYTES;
        let queue = limits.send_queue_bytes;
        let pongs = self.max_links * limits.pongs_per_link;
        let event = size_of::<Event>() + MAX_QUERY_BYTES;
        // One share of work bounds the observations of one visit; each is formatted as text.
        let observations = if observed { budget::MOST_COPIES } else { 0 };
        let mut costs = vec![
            cost("the program itself", 1, PROGRAM_BYTES),
            cost(
                "sockets",
                limits.max_connections,
                GROWTH * size_of::<Connection>() + ENTRY_BYTES * 3,
            ),
            cost("request heads on sockets that are no links", strangers, head),
            cost("descriptors being assembled", links, GROWTH * largest + size_of::<Link>()),
            cost("send queues", links, GROWTH * queue),
            cost("accounts of who fills a send queue", links, ACCOUNT_BYTES_PER_BYTE * queue),
            cost("streams of deflated links", links, CODEC_BYTES),
            cost("ids of Pings", limits.ping_routes, BYTES_PER_ID),
            cost("ids of Queries", limits.query_routes, BYTES_PER_ID),
            cost("ids of Pushes", limits.push_routes, BYTES_PER_ID),
            cost("Queries that asked for URNs", URN_QUERIES, BYTES_PER_ID),
            cost("servent ids", limits.servent_routes, BYTES_PER_ID),
            // The largest table, while it doubles.
            cost("ids being moved to a larger table", limits.query_routes / 4, BYTES_PER_ID),
            cost("cached Pongs", pongs, size_of::<(Instant, CachedPong)>() + 2 * ENTRY_BYTES),
            cost(
                "hosts known",
                limits.host_cache_entries,
                size_of::<SocketAddrV4>() + 4 * ENTRY_BYTES,
            ),
            cost("Pushes remembered", limits.pushes_remembered(), size_of::<(Instant, ConnId)>()),
            // A read is forwarded before the next; the smallest descriptor causes one event.
            cost("bytes of one read, and what they cause", GROWTH * READ_BYTES, 16),
            cost("input that waits for its share of work", links, READ_BYTES),
            cost("pending events", pending_events, event),
            cost("records of --events", observations, GROWTH * size_of::<Observation>()),
        ];
        let modern = query_routing::bounds(links).into_iter().chain([dynamic_query::bounds(links)]);
        costs.extend(modern.map(|(what, count, bytes)| cost(what, count, bytes)));
        costs.retain(|cost| cost.count > 0);
        costs
    }
}
