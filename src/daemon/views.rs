//! What the control socket says of a servent, from its getters.

use super::reachability::WayIn;
use crate::control::results::{
    DescriptorCounts, HostRow, LimitRow, LinkCounts, LinkRow, Reachable, ShareCounts, ShareRow,
};
use crate::driver::{Driver, ScanReport, Skip};
use crate::library::{Criteria, Entry};
use crate::plan::hit_record::HitRecord;
use crate::servent::{Hit, PeerRole, Servent};
use crate::stats::{DropReason, PerKind};
use crate::time::Instant;
use crate::transfer::download::{PushVia, Source};
use crate::transfer::url::TransferUrl;
use crate::wire::{Dialect, Kind, ServentId};
use std::net::{Ipv4Addr, SocketAddrV4};
use uuid::Uuid;

/// Kinds of descriptors in the order of the specification; all unknown ones are `other`.
pub(super) const KINDS: [(&str, Kind); 7] = [
    ("ping", Kind::Ping),
    ("pong", Kind::Pong),
    ("query", Kind::Query),
    ("query_hit", Kind::QueryHit),
    ("push", Kind::Push),
    ("bye", Kind::Bye),
    ("other", Kind::Other(0xff)),
];

/// A reason in snake case.
pub(super) fn snake(reason: DropReason) -> String {
    reason.name().replace(' ', "_")
}

pub(super) fn role_name(role: PeerRole) -> &'static str {
    match role {
        PeerRole::Servent => "servent",
        PeerRole::Ultrapeer => "ultrapeer",
        PeerRole::Leaf => "leaf",
    }
}

pub(super) fn descriptors(core: &Servent) -> DescriptorCounts {
    let stats = core.stats();
    let by_kind = |counts: &PerKind| {
        KINDS.iter().map(|(name, kind)| ((*name).to_owned(), counts.get(*kind))).collect()
    };
    DescriptorCounts {
        received: by_kind(&stats.received),
        forwarded: by_kind(&stats.forwarded),
        originated: by_kind(&stats.originated),
        dropped: DropReason::ALL.iter().map(|why| (snake(*why), stats.dropped(*why))).collect(),
    }
}

pub(super) fn link_counts(core: &Servent) -> LinkCounts {
    let mut counts = LinkCounts { max: core.config().max_links, ..LinkCounts::default() };
    for link in core.neighbours() {
        match link.outbound {
            _ if link.peer.role == PeerRole::Leaf => counts.leaves += 1,
            true => counts.out += 1,
            false => counts.inbound += 1,
        }
    }
    counts
}

pub(super) fn links(core: &Servent, now: Instant) -> Vec<LinkRow> {
    let row = |link: crate::servent::Neighbour<'_>| {
        let tally = core.tally_of(link.conn);
        LinkRow {
            addr: link.addr.to_string(),
            direction: if link.outbound { "out" } else { "in" }.to_owned(),
            dialect: link.peer.dialect.name().to_owned(),
            role: role_name(link.peer.role).to_owned(),
            agent: link.peer.agent.clone(),
            since_s: now.since(link.since).as_secs_f64(),
            received: tally.received,
            sent: tally.sent,
            dropped: tally.dropped,
            routed: (link.peer.dialect == Dialect::V0_6)
                .then(|| core.route_table_of(link.conn).is_some()),
            queue_bytes: core.unsent_bytes(link.conn),
        }
    };
    core.neighbours().map(row).collect()
}

pub(super) fn hosts(core: &Servent) -> Vec<HostRow> {
    let row = |host: crate::servent::KnownHost| HostRow {
        addr: host.addr.to_string(),
        dialect: host.speaks.map(|dialect| dialect.name().to_owned()),
        answered: host.answered,
    };
    core.hosts().iter().map(row).collect()
}

pub(super) fn share_counts(core: &Servent) -> ShareCounts {
    let library = core.library();
    ShareCounts { files: library.len() as u64, bytes: library.total_bytes() }
}

/// What the last scan found in each folder. What was skipped is known of all folders together, and
/// stands with the first.
pub(super) fn shares(report: &ScanReport) -> Vec<ShareRow> {
    let mut rows: Vec<ShareRow> = report
        .roots
        .iter()
        .map(|root| {
            let path = root.path.display().to_string();
            let within = |path: &std::path::Path| path.starts_with(&root.path);
            let unreadable = report.unreadable.iter().find(|(path, _)| within(path));
            let covered = root.covered_by.and_then(|other| report.roots.get(other)).map(|other| {
                format!("it lies in {}, and its files count there", other.path.display())
            });
            let error =
                unreadable.map(|(path, kind)| format!("cannot read {}: {kind}", path.display()));
            ShareRow {
                path,
                files: root.files,
                bytes: root.bytes,
                error: error.or(covered),
                ..ShareRow::default()
            }
        })
        .collect();
    if let Some(first) = rows.first_mut() {
        let counted =
            Skip::ALL.into_iter().map(|why| (why.label().to_owned(), report.skipped(why)));
        first.skipped = counted.filter(|(_, count)| *count > 0).collect();
    }
    rows
}

/// Tables and queues with their limits, those nearest to their end first.
pub(super) fn limits(core: &Servent, more: &[(&str, usize, usize)]) -> Vec<LimitRow> {
    let (config, limits) = (core.config(), &core.config().limits);
    let counts = link_counts(core);
    let routes =
        limits.ping_routes + limits.query_routes + limits.push_routes + limits.servent_routes;
    let fullest = core.neighbours().map(|link| core.unsent_bytes(link.conn)).max().unwrap_or(0);
    let own = [
        ("links", counts.inbound + counts.out, config.max_links),
        ("leaves", counts.leaves, config.max_leaves),
        ("connections", core.connections_held(), limits.max_connections),
        ("uploads", core.uploads(), config.max_uploads),
        ("hosts", core.hosts().len(), limits.host_cache_entries),
        ("routes", core.routes_held(), routes),
        ("fullest_queue_bytes", fullest, limits.send_queue_bytes),
    ];
    let mut rows: Vec<LimitRow> = own
        .iter()
        .chain(more)
        .filter(|(.., limit)| *limit > 0)
        .map(|&(name, used, limit)| LimitRow {
            name: name.to_owned(),
            used: used as u64,
            limit: limit as u64,
        })
        .collect();
    rows.sort_by(|a, b| {
        let share = |row: &LimitRow| row.used as f64 / row.limit as f64;
        share(b).total_cmp(&share(a))
    });
    rows
}

/// The address others are told, as far as a link has shown it.
pub(super) fn advertised(core: &Servent) -> Option<SocketAddrV4> {
    let local = core.neighbours().map(|link| link.local_ip).max_by_key(|ip| !ip.is_loopback());
    let config = core.config();
    let known = config.advertise_ip.or(Some(config.listen_ip).filter(|ip| !ip.is_unspecified()));
    let told = core.advertised(local.or(known)?);
    (told.port() != 0).then_some(told)
}

pub(super) fn reachable(driver: &Driver, listen: SocketAddrV4) -> Reachable {
    let core = driver.core();
    let mut seen_as: Vec<Ipv4Addr> =
        core.neighbours().filter_map(|link| link.peer.our_ip).collect();
    let mut local: Vec<Ipv4Addr> = core.neighbours().map(|link| link.local_ip).collect();
    for list in [&mut seen_as, &mut local] {
        list.sort_unstable();
        list.dedup();
    }
    let (advertised, first_inbound) = (advertised(core), driver.first_inbound());
    WayIn { listen, advertised, first_inbound, seen_as, local }.explain()
}

/// A hit as `search --json` prints it.
pub(crate) fn hit_record(hit: &Hit) -> HitRecord {
    let (host, port) = (hit.addr.ip().to_string(), hit.addr.port());
    let url = TransferUrl { host: host.clone(), port, index: hit.index, name: hit.name.clone() };
    HitRecord {
        name: hit.name.clone(),
        size: hit.size,
        host,
        port,
        index: hit.index,
        speed_kbps: hit.speed_kbps,
        servent_id: hit.servent.to_string(),
        hops: hit.hops,
        push: hit.push,
        busy: hit.busy,
        vendor: hit.vendor.map(|code| String::from_utf8_lossy(&code).into_owned()),
        url: url.to_string(),
    }
}

/// The source that a hit stands for.
///
/// # Errors
/// With a sentence, when its address or servent id is none.
pub(crate) fn hit_source(hit: &HitRecord) -> Result<Source, String> {
    let addr = format!("{}:{}", hit.host, hit.port);
    let addr = addr.parse().map_err(|_| format!("\"{addr}\" is no address"))?;
    let servent = Uuid::try_parse(&hit.servent_id)
        .map_err(|_| format!("\"{}\" is no servent id", hit.servent_id))?;
    Ok(Source {
        addr,
        index: hit.index,
        name: hit.name.clone(),
        size: (hit.size != u64::from(u32::MAX)).then_some(hit.size),
        push: Some(PushVia {
            servent: ServentId(servent.into_bytes()),
            ttl: hit.hops.saturating_add(2),
            firewalled: hit.push == Some(true),
        }),
    })
}

/// The files this servent shares itself, as a guest that searches through it would get them.
pub(super) fn own_hits(core: &Servent, words: &str, listen: SocketAddrV4) -> Vec<HitRecord> {
    let mut found = Vec::new();
    let Ok(criteria) = Criteria::parse(words.as_bytes()) else { return Vec::new() };
    core.library().search(&criteria, core.config().limits.results_per_query, &mut found);
    let mut addr = advertised(core).unwrap_or(listen);
    if addr.ip().is_unspecified() {
        addr.set_ip(Ipv4Addr::LOCALHOST);
    }
    let record = |entry: Entry<'_>| {
        let (host, port) = (addr.ip().to_string(), addr.port());
        let name = entry.name.to_owned();
        let url = TransferUrl { host: host.clone(), port, index: entry.number, name: name.clone() };
        HitRecord {
            name,
            size: entry.size,
            host,
            port,
            index: entry.number,
            speed_kbps: core.config().speed_kbps,
            servent_id: core.identity().to_string(),
            hops: 0,
            push: Some(false),
            busy: Some(core.uploads() >= core.config().max_uploads),
            vendor: Some("SRVT".to_owned()),
            url: url.to_string(),
        }
    };
    found.into_iter().map(record).collect()
}
