//! Fuzz target for one servent: peers, disk, user and clock are decoded from bytes.
//!
//! | file | holds |
//! |---|---|
//! | `harness` | the network around it, and what the script does to both |
//! | `watched` | the servent as a node, every call looked at from both sides |
//! | `watch` | the rules of routing, with what a servent may have forgotten |
//! | `socket`, `disk`, `user` | what it has around it |
//! | `roles` | what 0.6 adds to them |
//! | `generators`, `generators06` | what peers send |

mod delta;
mod disk;
mod generators;
mod generators06;
mod harness;
mod roles;
mod socket;
mod user;
mod watch;
mod watched;

use super::script::Script;
use crate::config::{Config, Limits, Role, Scope};
use crate::wire::Dialect;
use harness::Harness;
use std::time::Duration;

/// Upper bound on the operations of one run; more only take longer.
const MAX_OPERATIONS: usize = 200;

/// For any input of peers, any back-pressure and any command of the user: every descriptor that
/// arrives is delivered, forwarded or dropped for one reason, and every copy queued is sent, waits
/// or ended with its link. TTL and hops never grow, nothing goes back where it came from, nothing
/// remembered is flooded twice, replies and Pushes keep to their recorded path. Between dialects only
/// what the bridge may change changes; a leaf gets the Queries that its route table matches and no
/// others, and passes nothing on; its searches go to each ultrapeer once. No table grows
/// beyond its limit, no peer is silent beyond its timeout, and no timer fires without end.
///
/// The first four bytes of `data` are settings, the rest are operations.
pub fn servent(data: &[u8]) {
    let mut script = Script::new(data);
    let config = config(&mut script);
    config.validate().expect("settings that go together");
    let mut harness = Harness::new(config);
    for _ in 0..MAX_OPERATIONS {
        let Some(operation) = script.next() else { break };
        harness.operate(operation, &mut script);
    }
    harness.end();
}

/// Small limits, so that a few operations reach them.
fn config(script: &mut Script<'_>) -> Config {
    let (switches, links, ttl, rate) =
        (script.number(), script.number(), script.number(), script.number());
    let max_links = 1 + usize::from(links % 8);
    let scopes = [Scope::Loopback, Scope::Private, Scope::Public, Scope::Loopback];
    let tables = if switches & 1 == 0 { 1_000 } else { 8 };
    Config {
        role: match switches {
            192.. => Role::Leaf,
            _ if switches & 2 == 0 => Role::Servent,
            _ => Role::Guest,
        },
        // What it dials.
        dialect: [Some(Dialect::V0_4), Some(Dialect::V0_6), None, Some(Dialect::V0_6)]
            [usize::from(switches >> 6)],
        // The `codec` target has links that are deflated; here, each queued byte is looked at.
        compress: false,
        max_leaves: 3,
        scope: scopes[usize::from(switches >> 2 & 3)],
        background_pings: switches & 16 == 0,
        speed_known: switches & 32 != 0,
        links: usize::from(links >> 3) % (max_links + 1),
        max_links,
        ttl: 1 + ttl % 15,
        max_uploads: 2,
        // From 10 bytes a second to 25 kB.
        upload_limit: Some(u64::from(rate)).filter(|&rate| rate > 0).map(|rate| 10 + rate * 100),
        limits: Limits {
            max_connections: 12,
            send_queue_bytes: 98_304,
            ping_routes: tables,
            query_routes: tables,
            push_routes: tables,
            servent_routes: tables,
            ping_route_age: Duration::from_secs(20),
            query_route_age: Duration::from_secs(40),
            servent_route_age: Duration::from_secs(60),
            pongs_per_ping: 5,
            pongs_per_second: 4,
            pongs_per_link: 3,
            pong_age: Duration::from_secs(50),
            host_cache_entries: 5,
            results_per_query: 3,
            hit_payload_bytes: 200,
            results_per_search: 4,
            uploads_per_address: 1,
            pushes_per_address: 2,
            pushes_in_all: 3,
            upload_step_bytes: 4_096,
            ..Limits::default()
        },
        ..Config::default()
    }
}
