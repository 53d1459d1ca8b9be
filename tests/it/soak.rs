//! A long run with everything at once: churn, broken links, attackers and honest searchers.
//!
//! It takes a minute, or `SERVENT_SOAK_MINUTES`, and prints a summary:
//! `SERVENT_SOAK_MINUTES=10 cargo test --release soak -- --ignored --nocapture`.

use crate::process::descriptor;
use crate::testnet::Net;
use serde_json::Value;
use servent::rng::Rng;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const NODES: usize = 12;
const ATTACKERS: u64 = 2;
/// Time between the connections of an attacker.
const ATTACK_INTERVAL: Duration = Duration::from_millis(200);

/// One hostile connection to a servent. It must not affect others.
fn attack(addr: SocketAddr, rng: &mut Rng) -> std::io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&addr, ATTACK_INTERVAL)?;
    stream.set_read_timeout(Some(ATTACK_INTERVAL))?;
    stream.set_write_timeout(Some(ATTACK_INTERVAL))?;
    let noise: Vec<u8> = std::iter::repeat_with(|| rng.bytes16()).flatten().take(4_096).collect();
    if rng.below(4) == 0 {
        // Noise, half a handshake, or an unterminated request.
        let openings = [&noise[..], b"GNUTELLA CONN", b"GET /get/1/", b"GIV 1:"];
        return stream.write_all(openings[rng.below(openings.len())]);
    }
    stream.write_all(b"GNUTELLA CONNECT/0.4\n\n")?;
    let mut buffer = [0; 4_096];
    let _ = stream.read(&mut buffer)?;
    for _ in 0..10 {
        let (kind, ttl) = ([0x00, 0x01, 0x40, 0x80, 0x81, 0x77][rng.below(6)], 1 + rng.below(2));
        let payload = match kind {
            0x80 => [&[1, 0], &b"zebra"[..], &[0]].concat(),
            _ => noise[..rng.below(64)].to_vec(),
        };
        let mut bytes = descriptor(0, kind, u8::try_from(ttl).unwrap(), 0, &payload);
        bytes[..16].copy_from_slice(&rng.bytes16());
        match rng.below(20) {
            0 => bytes[19..23].copy_from_slice(&u32::MAX.to_le_bytes()),
            1 => bytes.truncate(20),
            2 => bytes[17] = 255,
            _ => {}
        }
        stream.write_all(&bytes)?;
    }
    Ok(())
}

fn resident(nodes: &[Value]) -> (u64, u64) {
    let bytes = nodes.iter().filter_map(|node| node["resident_bytes"].as_u64());
    let bytes: Vec<u64> = bytes.collect();
    (bytes.iter().sum::<u64>() / bytes.len() as u64, bytes.into_iter().max().unwrap_or(0))
}

#[test]
#[ignore = "takes a minute, or SERVENT_SOAK_MINUTES"]
fn a_network_under_churn_and_attack_keeps_its_rules() {
    let minutes = std::env::var("SERVENT_SOAK_MINUTES").map_or(1.0, |text| text.parse().unwrap());
    let length = Duration::from_secs_f64(minutes * 60.0);
    let (net, seed) = (Net::new(), 21u64);
    println!("seed {seed}");
    let faults = ["--crash", "0.002", "--stall", "0.0005", "--reset", "0.002"];
    let plan = ["--topology", "regular:4", "--files", "3", "--queries", "20", "--seed"];
    net.up(&[&["--nodes", &NODES.to_string()], &plan[..], &[&seed.to_string()], &faults].concat());
    let first = net.json(&["ps", "--json"]);
    let addrs: Vec<SocketAddr> =
        first.iter().map(|node| node["addr"].as_str().unwrap().parse().unwrap()).collect();
    let (over, attacks, begun) = (AtomicBool::new(false), AtomicU64::new(0), Instant::now());
    let (mut searches, mut short, mut hits) = (0u64, 0u64, 0u64);
    thread::scope(|scope| {
        for attacker in 0..ATTACKERS {
            let (over, attacks, addrs) = (&over, &attacks, &addrs);
            scope.spawn(move || {
                let mut rng = Rng::new(seed + attacker);
                while !over.load(Ordering::Relaxed) {
                    // The servent may be down, and should close the connection.
                    let _ = attack(addrs[rng.below(addrs.len())], &mut rng);
                    attacks.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(ATTACK_INTERVAL);
                }
            });
        }
        while begun.elapsed() < length {
            // Searches from nodes that are down are skipped.
            let output = net.run(&["query", "--json", "--wait", "5"]);
            for line in String::from_utf8_lossy(&output.stdout).lines() {
                let report: Value = serde_json::from_str(line).unwrap();
                searches += 1;
                short += u64::from(report["reached"].as_u64().unwrap() < NODES as u64 - 1);
                hits += report["hits"].as_u64().unwrap();
            }
            thread::sleep(5 * ATTACK_INTERVAL);
        }
        over.store(true, Ordering::Relaxed);
    });
    let last = net.json(&["ps", "--json"]);
    let mut received = 0;
    for node in 0..NODES {
        let events = net.ok(&["logs", &node.to_string(), "--events"]);
        received += events.iter().filter(|line| line.contains("\"event\":\"received\"")).count();
    }
    let ((mean, most), (mean_last, most_last)) = (resident(&first), resident(&last));
    println!(
        "{:.1} minutes, {} attacks, {received} descriptors received, {searches} searches, {short} \
         of them did not reach every node, {hits} hits; resident memory of a node at first {mean} \
         (most {most}), at last {mean_last} (most {most_last}) bytes; {}",
        begun.elapsed().as_secs_f64() / 60.0,
        attacks.load(Ordering::Relaxed),
        net.faults(),
    );
    assert!(searches > 0 && hits > 0, "honest searches found nothing");
    assert!(most_last < 3 * most + (16 << 20), "memory grew from {most} to {most_last}");
    // Which links are up at the end is random, so only the rules of routing are asserted.
    for finding in &net.findings()[3..] {
        assert_eq!(finding["wrong"], Value::Array(vec![]), "{finding}");
    }
}
