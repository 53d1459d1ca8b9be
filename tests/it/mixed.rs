//! Random networks of both dialects and all roles: every search finds what stands within its horizon,
//! and no leaf is asked for what it has not.

use crate::support::{Holder, Net};
use servent::config::{Config, Role};
use servent::rng::Rng;
use servent::servent::Event;
use servent::wire::{Dialect, Kind};
use std::collections::BTreeSet;
use std::time::Duration;

const SEEDS: u64 = 20;
/// Servents that route, and leaves behind them.
const ROUTING: usize = 10;
const LEAVES: usize = 8;

/// A network, and what is known of it without asking it.
struct Mixed {
    net: Net,
    /// Links of those that route.
    edges: Vec<(usize, usize)>,
    /// Each leaf with its ultrapeers.
    leaves: Vec<(usize, BTreeSet<usize>)>,
    /// Who has what is searched for.
    owners: BTreeSet<usize>,
}

impl Mixed {
    fn new(seed: u64) -> Mixed {
        let mut rng = Rng::new(seed);
        let mut net = Net::new(seed);
        let mut owners = BTreeSet::new();
        for node in 0..ROUTING + LEAVES {
            let role = if node < ROUTING { Role::Servent } else { Role::Leaf };
            let name = match rng.below(3) {
                0 => format!("straw {node}.txt"),
                _ => {
                    owners.insert(node);
                    format!("needle {node}.txt")
                }
            };
            // What crosses is read on the wires.
            let config = Config { role, compress: false, ..Net::still() };
            net.add(config, &[(1, &name, b"x".to_vec())]);
        }
        let mut edges = BTreeSet::new();
        for node in 1..ROUTING {
            // A tree, and some links more.
            edges.insert((rng.below(node), node));
            let other = rng.below(ROUTING);
            if rng.below(3) == 0 && other != node {
                edges.insert((other.min(node), other.max(node)));
            }
        }
        let leaf_of = |leaf, rng: &mut Rng| {
            (leaf, (0..1 + rng.below(3)).map(|_| rng.below(ROUTING)).collect::<BTreeSet<_>>())
        };
        let leaves: Vec<_> =
            (ROUTING..ROUTING + LEAVES).map(|leaf| leaf_of(leaf, &mut rng)).collect();
        let edges: Vec<_> = edges.into_iter().collect();
        let mut link = |from, to, dialect| {
            let addr = net.addr(to);
            net.tell(from, |core, now| core.add_static_peer_speaking(now, addr, dialect));
        };
        for &(from, to) in &edges {
            link(from, to, [Dialect::V0_4, Dialect::V0_6][rng.below(2)]);
        }
        for (leaf, ultrapeers) in &leaves {
            ultrapeers.iter().for_each(|ultrapeer| link(*leaf, *ultrapeer, Dialect::V0_6));
        }
        // Tables are merged once a minute.
        net.run_for(Duration::from_secs(130));
        Mixed { net, edges, leaves, owners }
    }

    /// Who is to answer a search of `origin`: within `ttl` links, and the leaves of those.
    fn within(&self, origin: usize, ttl: u8) -> BTreeSet<usize> {
        let mut ball = BTreeSet::from([origin]);
        for _ in 0..ttl {
            let mut next = ball.clone();
            for &(a, b) in &self.edges {
                if ball.contains(&a) || ball.contains(&b) {
                    next.extend([a, b]);
                }
            }
            ball = next;
        }
        let near = |ups: &BTreeSet<usize>| ups.iter().any(|up| ball.contains(up));
        let leaves = self.leaves.iter().filter(|(_, ups)| near(ups)).map(|(leaf, _)| *leaf);
        let all: BTreeSet<usize> = ball.iter().copied().chain(leaves).collect();
        all.into_iter().filter(|node| *node != origin && self.owners.contains(node)).collect()
    }

    /// Who has answered a search of `origin`.
    fn found(&mut self, origin: usize, ttl: u8) -> BTreeSet<usize> {
        self.net.events(origin);
        let search =
            |core: &mut servent::servent::Servent, now| core.search(now, "needle", Some(ttl));
        let guid = self.net.tell(origin, search).unwrap();
        self.net.run_for(Duration::from_secs(60));
        self.net.tell(origin, |core, _| core.end_request(guid));
        let mut found = BTreeSet::new();
        for event in self.net.events(origin) {
            let Event::Hit { hit, .. } = event else { continue };
            let number = hit.name.trim_start_matches("needle ").trim_end_matches(".txt");
            assert!(found.insert(number.parse().unwrap()), "{} answered twice", hit.name);
        }
        found
    }
}

#[test]
fn a_search_finds_what_its_horizon_holds_in_any_mix_of_dialects_and_roles() {
    for seed in 0..SEEDS {
        let mut mixed = Mixed::new(seed);
        for ttl in 1..=4 {
            let origin = usize::from(ttl) * 2;
            let found = mixed.found(origin, ttl);
            assert_eq!(found, mixed.within(origin, ttl), "seed {seed}: {origin} with TTL {ttl}");
        }
        // A leaf's search goes on in small steps: not beyond the horizon, and through its ultrapeers.
        let (leaf, ultrapeers) = mixed.leaves[0].clone();
        let found = mixed.found(leaf, 7);
        let mut most = BTreeSet::new();
        ultrapeers.iter().for_each(|up| most.extend(mixed.within(*up, 6)));
        most.extend(ultrapeers.iter().filter(|up| mixed.owners.contains(up)));
        assert!(found.is_subset(&most), "seed {seed}: {found:?} of {most:?}");
        for up in &ultrapeers {
            let mut least = mixed.within(*up, 0);
            least.remove(&leaf);
            least.extend(mixed.owners.contains(up).then_some(*up));
            assert!(found.is_superset(&least), "seed {seed}: {found:?}, not {least:?}");
        }
        for one in &mixed.net.observer.crossings {
            let Holder::Node(to) = one.to else { continue };
            let is_asked = to >= ROUTING && one.descriptor.kind == Kind::Query;
            assert!(!is_asked || mixed.owners.contains(&to), "seed {seed}: {one:?}");
        }
    }
}
