//! The settings of the nodes of a network: one for those that route, one for leaves.

use super::follower::Follower;
use crate::config::{Config, Limits, Role, Scope};
use crate::plan::roles::Roles;
use crate::wire::Dialect;
use std::sync::Arc;
use std::time::Duration;

/// The port all nodes listen on.
pub(super) const PORT: u16 = 6346;

/// Links above those of the plan, in networks of ultrapeers: one that has hardly any room left tells who
/// dials it that it needs no ultrapeer, and that one may become a leaf.
const SPARE_LINKS: usize = 2;

/// See the module documentation.
pub(super) struct Configs {
    pub(super) router: Arc<Config>,
    leaf: Arc<Config>,
}

impl Configs {
    /// Of this network. `changing` says that nodes and links may come and go.
    pub(super) fn new(changing: bool, follower: &Follower<'_>) -> Configs {
        let (neighbours, roles) = (&follower.neighbours, &follower.roles);
        let (mut links, mut leaves) = (0, 0);
        for node in 0..follower.graph.names.len() {
            let of_leaf = |other: &&u32| roles.is_leaf(**other as usize);
            let held = neighbours.of(node).iter().filter(of_leaf).count();
            leaves = leaves.max(held);
            links = links.max(neighbours.degree(node) - held);
        }
        if !roles.are_plain() {
            links += SPARE_LINKS;
        }
        let mut router = config(changing, links);
        router.max_leaves = leaves;
        if changing {
            router.max_links = with_ghosts(links);
            router.max_leaves = with_ghosts(leaves);
        }
        if !roles.are_plain() {
            router.dialect = None;
        }
        let leaf = Config { role: Role::Leaf, dialect: Some(Dialect::V0_6), ..router.clone() };
        Configs { router: Arc::new(router), leaf: Arc::new(leaf) }
    }

    /// The settings of a node.
    pub(super) fn of(&self, roles: &Roles, node: usize) -> Arc<Config> {
        Arc::clone(if roles.is_leaf(node) { &self.leaf } else { &self.router })
    }
}

/// Room for links that one side still holds for standing.
fn with_ghosts(links: usize) -> usize {
    2 * links + 8
}

fn config(changing: bool, max_links: usize) -> Config {
    let limits = Limits { max_connections: 65_535, ..Limits::default() };
    let usual = Config {
        dialect: Some(Dialect::V0_4),
        // Wires are counted by the descriptors on them.
        compress: false,
        links: 0,
        max_links,
        scope: Scope::Private,
        background_pings: false,
        advertise_port: PORT,
        ttl: 15,
        limits,
        ..Config::default()
    };
    if changing {
        return usual;
    }
    // Keepalives would only blur the counts; links do not die silently here.
    let limits = Limits {
        keepalive_after: Duration::from_secs(1 << 30),
        link_timeout: Duration::from_secs(1 << 31),
        stall_timeout: Duration::from_secs(1 << 31),
        ..usual.limits
    };
    Config { limits, ..usual }
}
