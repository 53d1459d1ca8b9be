//! `servent run --explain-limits`: the most memory a servent takes, and its other limits.

use super::exit::Failure;
use super::output;
use crate::config::{Config, Scope};
use crate::daemon::{self, ControlPlace, Settings};
use crate::driver::{MAX_PENDING_EVENTS, MAX_TAPED, TAPED_BYTES};
use crate::http;
use crate::servent::Cost;
use crate::wire::MAX_FORWARDED_CRITERIA_BYTES;
use indicatif::BinaryBytes;
use std::time::Duration;

pub(super) fn explain(settings: &Settings) -> Result<(), Failure> {
    let (config, max_files) = (&settings.config, settings.max_files);
    output::line("Memory at most:")?;
    let mut costs = config.memory(MAX_PENDING_EVENTS, settings.events.is_some());
    if settings.control != ControlPlace::Off {
        let (count, bytes) = (daemon::MAX_CLIENTS, daemon::CLIENT_BYTES);
        costs.push(Cost { what: "clients of the control socket", count, bytes });
        let (count, bytes) = (MAX_TAPED, TAPED_BYTES);
        costs.push(Cost { what: "records for clients", count, bytes });
    }
    if settings.http.is_some() {
        let (count, bytes) = (http::MAX_CLIENTS, http::CLIENT_BYTES);
        costs.push(Cost { what: "clients of the page", count, bytes });
    }
    let row = |total: usize, what: &str| {
        output::line(&format!("{:>12}  {what}", BinaryBytes(total as u64).to_string()))
    };
    for cost in &costs {
        let Cost { what, count, bytes } = *cost;
        let what = match count {
            1 => what.to_owned(),
            _ => format!("{what}: {count} of {} each", BinaryBytes(bytes as u64)),
        };
        row(cost.total(), &what)?;
    }
    row(costs.iter().map(|cost| cost.total()).sum(), "in all")?;
    output::line(&format!(
        "and about 150 bytes for each shared file, of which there may be {max_files} (--max-files)"
    ))?;
    output::line("\nOther limits:")?;
    for (what, limit) in others(config) {
        output::line(&format!("{limit:>12}  {what}"))?;
    }
    Ok(())
}

fn others(config: &Config) -> Vec<(String, String)> {
    let limits = &config.limits;
    let mut rows = Vec::new();
    let mut count = |what: &str, limit: usize| rows.push((what.to_owned(), limit.to_string()));
    count("links (--max-links)", config.max_links);
    count("leaves beside them (--max-leaves)", config.max_leaves);
    count("sockets in all", limits.max_connections);
    if config.scope != Scope::Loopback {
        count("inbound sockets of one address", limits.connections_per_address);
        count("inbound links with one address", limits.links_per_address);
        count("uploads to one address", limits.uploads_per_address);
    }
    count("uploads in all (--max-uploads)", config.max_uploads);
    count("results to one Query", limits.results_per_query);
    count("bytes of a search text, above which a Query is dropped", MAX_FORWARDED_CRITERIA_BYTES);
    count("Pongs that one Ping admits on a link", limits.pongs_per_ping as usize);
    count("Pongs accepted from one link in a second", limits.pongs_per_second as usize);
    count("results accepted for one search of our own", limits.results_per_search);
    let window = limits.push_window.as_secs();
    count(
        &format!("connections for Pushes to one address in {window} s"),
        limits.pushes_per_address,
    );
    count(&format!("connections for Pushes in all in {window} s"), limits.pushes_in_all);
    let mut time = |what: &str, limit: Duration| {
        rows.push((what.to_owned(), format!("{} s", limit.as_secs())));
    };
    time("until a handshake or a request must have begun", limits.handshake_timeout);
    time("of silence until a keepalive is sent", limits.keepalive_after);
    time("of silence until a link is closed", limits.link_timeout);
    time("without a byte read by the peer until a link is closed", limits.stall_timeout);
    time("without another connection to the target of a failed Push", limits.push_rest);
    time("a Query is remembered, at most twice this", limits.query_route_age);
    rows
}
