//! Events: the core's observations agree with its counters, and from the files of `--events` the
//! path of a search can be read.

use crate::process::{Home, Running, assert_code, eventually, lines, stderr};
use crate::support::descriptor::{guid, hit, ping, query, servent_id};
use crate::support::{Bench, Descriptor, Graph, Holder, Net, shared_files};
use serde_json::Value;
use servent::servent::{CloseReason, IoFailure, Observation, PeerRole};
use servent::stats::{DropReason, Stats};
use servent::wire::{Dialect, Header, Kind};
use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddrV4;
use std::path::Path;
use std::process::{Command, Stdio};

fn header(descriptor: &Descriptor) -> Header {
    let Descriptor { guid, kind, ttl, hops, ref payload } = *descriptor;
    Header { guid, kind, ttl, hops, payload_len: u32::try_from(payload.len()).unwrap() }
}

const KINDS: [Kind; 7] =
    [Kind::Ping, Kind::Pong, Kind::Bye, Kind::Push, Kind::Query, Kind::QueryHit, Kind::Other(0x41)];

/// The counters that are not 0, by name and kind or reason.
fn counted(stats: &Stats) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::from([("answered".to_owned(), stats.queries_answered)]);
    for kind in KINDS {
        counts.insert(format!("received {kind}"), stats.received.get(kind));
        counts.insert(format!("forwarded {kind}"), stats.forwarded.get(kind));
        counts.insert(format!("originated {kind}"), stats.originated.get(kind));
    }
    counts.extend(DropReason::ALL.map(|reason| (reason.to_string(), stats.dropped(reason))));
    counts.retain(|_, count| *count > 0);
    counts
}

/// The same counts, from observations.
fn seen(observations: &[Observation]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for observation in observations {
        let (name, count) = match observation {
            Observation::Received { header, .. } => (format!("received {}", header.kind), 1),
            Observation::Forwarded { header, .. } => (format!("forwarded {}", header.kind), 1),
            Observation::Originated { header, .. } => (format!("originated {}", header.kind), 1),
            Observation::Answered { .. } => ("answered".to_owned(), 1),
            Observation::Dropped { reason, .. } => (reason.to_string(), 1),
            Observation::Refused { .. } => (DropReason::QueueFull.to_string(), 1),
            Observation::LinkDown { unsent, .. } => (DropReason::LinkEnded.to_string(), *unsent),
            Observation::LinkUp { .. } => continue,
        };
        *counts.entry(name).or_default() += count;
    }
    counts.retain(|_, count| *count > 0);
    counts
}

#[test]
fn observations_can_be_switched_on_and_off() {
    let mut sut = Bench::new();
    let [a, _b] = sut.links();
    sut.send(a, &query(guid(1), "hello"));
    assert_eq!(sut.net.observations(0), []);
    sut.tell(|core, _| core.set_observed(true));
    sut.send(a, &query(guid(2), "hello"));
    assert_ne!(sut.net.observations(0), []);
    sut.tell(|core, _| core.set_observed(false));
    sut.send(a, &query(guid(3), "hello"));
    assert_eq!(sut.net.observations(0), []);
}

fn link_up(peer: SocketAddrV4) -> Observation {
    let (dialect, role) = (Dialect::V0_4, PeerRole::Servent);
    Observation::LinkUp { peer, outbound: false, dialect, role }
}

#[test]
fn each_fate_of_a_descriptor_is_observed_with_its_link() {
    let mut sut = Bench::new();
    sut.tell(|core, _| core.set_observed(true));
    let [a, b] = sut.links();
    let peers: Vec<SocketAddrV4> = sut.core().neighbours().map(|link| link.addr).collect();
    let [from, to] = peers[..] else { panic!("two links are up") };
    let mut expected = peers.iter().map(|&peer| link_up(peer)).collect::<Vec<_>>();

    let asked = query(guid(1), "hello").hops(1).ttl(5);
    sut.send(a, &asked);
    let answer = sut.receive_one(a);
    let received = |peer, descriptor| Observation::Received { peer, header: header(descriptor) };
    let dropped = |peer, descriptor, reason| Observation::Dropped {
        peer,
        header: header(descriptor),
        reason,
    };
    expected.extend([
        received(from, &asked),
        Observation::Forwarded { peer: to, header: header(&asked.forwarded()) },
        Observation::Originated { peer: from, header: header(&answer) },
        Observation::Answered { guid: guid(1), criteria: b"hello".to_vec(), results: 1 },
    ]);
    // A duplicate on the other link; a Query with its TTL spent, which is not a drop.
    sut.send(b, &asked);
    let last = query(guid(2), "nobody has this").ttl(1);
    sut.send(b, &last);
    expected.extend([
        received(to, &asked),
        dropped(to, &asked, DropReason::Duplicate),
        received(to, &last),
    ]);
    // A hit to be routed, one with its TTL spent, a malformed payload, an unknown kind.
    let home = hit(guid(1), servent_id(1), "hello").ttl(3);
    sut.send(b, &home);
    let spent = hit(guid(1), servent_id(1), "hello").ttl(1);
    let bad = Descriptor::new(guid(3), Kind::Query, vec![0]);
    let strange = Descriptor::new(guid(4), Kind::from_code(0x41), vec![1, 2, 3]);
    expected.extend([
        received(to, &home),
        Observation::Forwarded { peer: from, header: header(&home.forwarded()) },
    ]);
    for (lost, reason) in [
        (&spent, DropReason::TtlSpent),
        (&bad, DropReason::Malformed),
        (&strange, DropReason::UnknownKind),
    ] {
        sut.send(b, lost);
        expected.extend([received(to, lost), dropped(to, lost, reason)]);
    }
    sut.net.hang_up(b);
    sut.net.settle();
    let reason = CloseReason::Io(IoFailure::Eof);
    expected.push(Observation::LinkDown { peer: to, reason, unsent: 0 });

    let observed = sut.net.observations(0);
    assert_eq!(observed, expected);
    assert_eq!(seen(&observed), counted(sut.core().stats()));
}

#[test]
fn copies_refused_and_copies_unsent_are_observed() {
    let mut sut = Bench::new();
    sut.tell(|core, _| core.set_observed(true));
    let [a, b] = sut.links();
    let deaf = sut.core().neighbours().nth(1).unwrap().addr;
    sut.net.stop_reading(b);
    let filler = "nobody has anything like this ".repeat(6);
    for n in 0..2_000 {
        sut.send(a, &query(guid(n), &filler));
    }
    sut.net.reset(b);
    sut.net.settle();
    let observed = sut.net.observations(0);
    assert_eq!(seen(&observed), counted(sut.core().stats()));
    let refused = observed.iter().filter_map(|observation| match observation {
        Observation::Refused { peer, header } => Some((*peer, header.ttl, header.hops)),
        _ => None,
    });
    let refused: Vec<_> = refused.collect();
    assert_eq!(refused.first(), Some(&(deaf, 6, 1)));
    assert!(refused.iter().all(|copy| *copy == refused[0]));
    let Some(Observation::LinkDown { unsent, .. }) = observed.last() else {
        panic!("the link's end is the last thing seen: {:?}", observed.last())
    };
    assert!(*unsent > 0 && sut.dropped(DropReason::QueueFull) == refused.len() as u64);
}

/// Each descriptor that crosses a link is observed at both ends.
#[test]
fn in_a_whole_network_observations_agree_with_counters_and_links() {
    let graph = Graph::random(5, 20, 20);
    let mut net = Net::new(5);
    for node in 0..graph.nodes {
        net.add(Net::still(), &shared_files());
        net.tell(node, |core, _| core.set_observed(true));
    }
    for &(a, b) in &graph.edges {
        let addr = net.addr(b);
        net.tell(a, |core, now| core.add_static_peer(now, addr));
    }
    net.settle();
    for node in [0, 7, 14] {
        net.tell(node, |core, now| core.search(now, "free notes", Some(3))).unwrap();
        net.tell(node, |core, now| core.ping(now, Some(4)));
        net.settle();
    }
    let outsider = net.dial(3);
    net.write(outsider, b"GNUTELLA CONNECT/0.4\n\n");
    net.write(outsider, &[ping(guid(1)).bytes(), query(guid(2), "").bytes()].concat());
    net.settle();

    // By core and direction; GUIDs and TTLs tell apart what crosses a link.
    let (mut noted, mut crossed) = (Vec::new(), Vec::new());
    let mut reasons = BTreeMap::<String, u64>::new();
    for node in 0..graph.nodes {
        let observed = net.observations(node);
        let tally = seen(&observed);
        assert_eq!(tally, counted(net.core(node).stats()), "node {node}");
        for (name, count) in tally {
            *reasons.entry(name).or_default() += count;
        }
        noted.extend(observed.iter().filter_map(|observation| match observation {
            Observation::Received { header, .. } => Some((node, "in", key(header))),
            Observation::Forwarded { header, .. } | Observation::Originated { header, .. } => {
                Some((node, "out", key(header)))
            }
            _ => None,
        }));
    }
    for crossing in &net.observer.crossings {
        let header = header(&crossing.descriptor);
        for (who, direction) in [(crossing.from, "out"), (crossing.to, "in")] {
            if let Holder::Node(node) = who {
                crossed.push((node, direction, key(&header)));
            }
        }
    }
    noted.sort();
    crossed.sort();
    assert!(noted == crossed, "{} notes, {} crossings", noted.len(), crossed.len());
    for name in ["answered", "duplicate", "forwarded QueryHit", "forwarded Ping"] {
        assert!(reasons.contains_key(name), "too little happened: {reasons:?}");
    }
}

fn key(header: &Header) -> (Kind, [u8; 16], u8, u8, u32) {
    (header.kind, header.guid.0, header.ttl, header.hops, header.payload_len)
}

/// The complete lines of a file of events, as text and as JSON.
fn read_events(path: &Path) -> Vec<(String, Value)> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    lines.map(|line| (line.to_owned(), serde_json::from_str(line).unwrap())).collect()
}

/// Waits for a line that contains all `parts`; all events recorded by then.
fn wait_for_event(path: &Path, parts: &[&str]) -> Vec<Value> {
    eventually(&format!("{parts:?} in {}", path.display()), || {
        let events = read_events(path);
        let found = events.iter().any(|(line, _)| parts.iter().all(|part| line.contains(part)));
        found.then(|| events.into_iter().map(|(_, event)| event).collect())
    })
}

/// The events of one GUID and kind: name, peer's address without its port, TTL and hops.
fn steps(events: &[Value], guid: &str, kind: &str) -> Vec<(String, String, u64, u64)> {
    let about = events.iter().filter(|event| event["guid"] == guid && event["kind"] == kind);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    about
        .map(|event| {
            let peer = text(&event["peer"]);
            let ip = peer.split(':').next().unwrap().to_owned();
            let (ttl, hops) = (event["ttl"].as_u64().unwrap(), event["hops"].as_u64().unwrap());
            (text(&event["event"]), ip, ttl, hops)
        })
        .collect()
}

#[test]
fn the_path_of_a_search_and_its_hit_can_be_read_from_the_files() {
    let home = Home::new();
    let share = home.share("share", &[("zebra.txt", b"stripes")]);
    let run = |listen: &str| {
        let mut command = home.command();
        command.args(["run", "--links", "0", "--listen", listen]);
        command
    };
    let mut near = run("127.1.0.1:0");
    near.env("SERVENT_EVENTS", "near.jsonl");
    let near = Running::start(near);
    let mut far = run("127.1.0.2:0");
    far.args(["--events", "far.jsonl", "--connect", &near.host(), "--share"]).arg(&share);
    let mut far = Running::start(far);
    far.wait_for("joined");
    let at_near = home.path("near.jsonl");
    wait_for_event(&at_near, &["link_up", "127.1.0.2:"]);

    let search = ["search", "zebra", "--wait", "1", "--events", "search.jsonl"];
    let search = home.run(&[&search[..], &["--connect", &near.host()]].concat());
    assert_code(&search, 0);
    let searched: Vec<Value> =
        read_events(&home.path("search.jsonl")).into_iter().map(|(_, event)| event).collect();
    let asked = searched.iter().find(|event| event["kind"] == "query").unwrap();
    let guid = asked["guid"].as_str().unwrap();
    let near_events = wait_for_event(&at_near, &["link_down"]);
    let far_events = wait_for_event(&home.path("far.jsonl"), &["answered", guid]);

    let step = |event: &str, ip: &str, ttl, hops| (event.to_owned(), ip.to_owned(), ttl, hops);
    let (guest, first, second) = ("127.0.0.1", "127.1.0.1", "127.1.0.2");
    let (received, forwarded) = ("received", "forwarded");
    let paths = [
        (&searched, "query", vec![step("originated", first, 7, 0)]),
        (&near_events, "query", vec![step(received, guest, 7, 0), step(forwarded, second, 6, 1)]),
        (&far_events, "query", vec![step(received, first, 6, 1)]),
        (&far_events, "query_hit", vec![step("originated", first, 3, 0)]),
        (
            &near_events,
            "query_hit",
            vec![step(received, second, 3, 0), step(forwarded, guest, 2, 1)],
        ),
        (&searched, "query_hit", vec![step(received, first, 2, 1)]),
    ];
    for (events, kind, path) in paths {
        assert_eq!(steps(events, guid, kind), path, "{events:#?}");
    }
    let answered = far_events.iter().find(|event| event["event"] == "answered").unwrap();
    assert_eq!((&answered["criteria"], &answered["results"]), (&"zebra".into(), &1.into()));
    for (events, listen) in [
        (&searched, Value::Null),
        (&near_events, near.host().into()),
        (&far_events, far.host().into()),
    ] {
        assert_eq!((&events[0]["event"], &events[0]["listen"]), (&"start".into(), &listen));
        assert!(events.is_sorted_by_key(|event| event["time"].as_u64().unwrap()), "{events:#?}");
    }
}

#[test]
fn a_file_that_cannot_be_written_is_named_at_the_start_and_later_does_no_harm() {
    let home = Home::new();
    for args in [&["run", "--listen", "127.0.0.1:0"][..], &["search", "zebra"]] {
        let output = home.run(&[args, &["--events", "none/events.jsonl"]].concat());
        assert_code(&output, 8);
        assert!(stderr(&output).contains("none/events.jsonl"), "{}", stderr(&output));
        assert_eq!(lines(&output), Vec::<String>::new());
    }
    // A pipe whose reader closes.
    let pipe = home.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // In a process of its own, so that no other process inherits its end.
    let reader = Command::new("head").arg("-n1").arg(&pipe).stdout(Stdio::piped()).spawn().unwrap();
    let mut servent = home.start(&["--events", "pipe"]);
    let first = reader.wait_with_output().unwrap();
    assert!(lines(&first)[0].contains("\"start\""), "{:?}", lines(&first));
    let mut link = servent.link();
    servent.wait_for("no more events are recorded");
    for number in 1..=3 {
        let ping = crate::process::descriptor(number, 0, 1, 0, &[]);
        link.write_all(&ping).unwrap();
        crate::process::read_kind(&mut link, 1);
    }
    servent.signal(rustix::process::Signal::TERM);
    assert!(servent.wait().0.success());
    let rest = servent.rest();
    assert!(!rest.iter().any(|line| line.contains("recorded")), "logged once: {rest:?}");
}
