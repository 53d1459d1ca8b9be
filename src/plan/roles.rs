//! Roles of nodes, dialects of links, and which end of a link dials it.
//!
//! | node | speaks, unless the plan says otherwise | may be linked with |
//! |---|---|---|
//! | plain | 0.4 | all but leaves |
//! | `role = "ultrapeer"` | 0.6 | all |
//! | `role = "leaf"` | 0.6 | ultrapeers, which it dials itself: it accepts no link |
//!
//! `dialect = "auto"` makes a bridge of a node: each of its links speaks what the other end does, and 0.4
//! if that is a bridge too. The dialect of a node is the one it dials with; it accepts both. So a link
//! may speak another dialect than one of its ends dials with: the other end dials.

use super::topology::{Graph, Topology};
use super::{Place, Plan, PlanError};
use crate::wire::Dialect;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The place of a node in the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeRole {
    /// It routes for others.
    Ultrapeer,
    /// It has links with ultrapeers only and routes for nobody.
    Leaf,
}

/// What a node speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// What the other end of a link speaks.
    Auto,
    /// One dialect.
    Only(Dialect),
}

/// The settings in which one link differs from the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkPlan {
    /// The names of its ends.
    pub between: (String, String),
    /// What it speaks.
    pub dialect: Dialect,
}

/// A link, with the end that dials it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedLink {
    /// The node that dials.
    pub from: usize,
    /// The node that is dialled.
    pub to: usize,
    /// What the link speaks.
    pub dialect: Dialect,
}

/// The roles and dialects of a whole network. Empty for a network of 0.4, however large.
#[derive(Clone, Debug, Default)]
pub struct Roles {
    nodes: Vec<Member>,
    links: Vec<PlannedLink>,
}

/// A node that has a role or a dialect.
#[derive(Clone, Copy, Debug)]
struct Member {
    is_leaf: bool,
    /// Another program takes its place, which is dialled where possible: not every one can be given
    /// addresses to dial.
    is_foreign: bool,
    speaks: Speaks,
    /// What it dials with. `None` for a bridge that dials nobody.
    dials: Option<Dialect>,
}

impl Roles {
    /// Those of a plan and its graph.
    ///
    /// # Errors
    /// [`PlanError::Roles`] where they contradict each other.
    pub fn new(plan: &Plan, graph: &Graph) -> Result<Roles, PlanError> {
        if !plan.has_roles() {
            return Ok(Roles::default());
        }
        let ultrapeers = match plan.topology {
            Topology::Ultrapeers { count, .. } => Some(count),
            _ => None,
        };
        let by_shape = |node| {
            let shaped = |count| if node < count { NodeRole::Ultrapeer } else { NodeRole::Leaf };
            ultrapeers.map(shaped)
        };
        let nodes = graph.names.iter().enumerate();
        let members =
            nodes.map(|(node, name)| Member::new(name, plan.places.get(name), by_shape(node)));
        let mut roles = Roles { nodes: members.collect::<Result<_, _>>()?, links: Vec::new() };
        let named = named_links(plan, graph)?;
        let dialects = graph.edges.iter().map(|edge| roles.dialect_of(graph, *edge, &named));
        let dialects = dialects.collect::<Result<Vec<_>, _>>()?;
        roles.choose_diallers(graph, &dialects)?;
        Ok(roles)
    }

    /// Whether all nodes are plain servents of 0.4.
    pub fn are_plain(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Whether a node is a leaf.
    pub fn is_leaf(&self, node: usize) -> bool {
        self.nodes.get(node).is_some_and(|member| member.is_leaf)
    }

    /// What a node dials with; `None` for a bridge that dials nobody.
    pub fn dials(&self, node: usize) -> Option<Dialect> {
        self.nodes.get(node).map_or(Some(Dialect::V0_4), |member| member.dials)
    }

    /// The links, in the order of the graph's edges. Empty if the nodes are plain.
    pub fn links(&self) -> &[PlannedLink] {
        &self.links
    }

    /// What a link speaks, by its number among the graph's edges.
    pub fn dialect(&self, link: usize) -> Dialect {
        self.links.get(link).map_or(Dialect::V0_4, |link| link.dialect)
    }

    fn dialect_of(
        &self,
        graph: &Graph,
        (a, b): (usize, usize),
        named: &BTreeMap<(usize, usize), Dialect>,
    ) -> Result<Dialect, PlanError> {
        let (first, second) = (&graph.names[a], &graph.names[b]);
        let ends = [self.nodes[a], self.nodes[b]];
        if ends.iter().all(|end| end.is_leaf) {
            return wrong(format!(
                "nodes \"{first}\" and \"{second}\" are leaves: a leaf has links with ultrapeers only"
            ));
        }
        if let Some(&dialect) = named.get(&(a, b)) {
            if dialect == Dialect::V0_4 && ends.iter().any(|end| end.is_leaf) {
                let leaf = if ends[0].is_leaf { first } else { second };
                return wrong(format!(
                    "the link of \"{first}\" and \"{second}\" has the dialect 0.4, but \"{leaf}\" is \
                     a leaf: leaves speak 0.6"
                ));
            }
            return Ok(dialect);
        }
        match ends.map(|end| end.speaks) {
            [Speaks::Auto, Speaks::Auto] => Ok(Dialect::V0_4),
            [Speaks::Only(dialect), Speaks::Auto] | [Speaks::Auto, Speaks::Only(dialect)] => {
                Ok(dialect)
            }
            [Speaks::Only(one), Speaks::Only(other)] if one == other => Ok(one),
            [Speaks::Only(one), Speaks::Only(other)] => wrong(format!(
                "\"{first}\" speaks {one} and its neighbour \"{second}\" {other}: make one of them a \
                 bridge with dialect = \"auto\""
            )),
        }
    }

    /// Links with only one possible end come first: a bridge dials with one dialect, so that what it
    /// speaks on a link never depends on what it has learnt of an address.
    fn choose_diallers(&mut self, graph: &Graph, dialects: &[Dialect]) -> Result<(), PlanError> {
        let mut from: Vec<Option<usize>> = vec![None; dialects.len()];
        for is_first_round in [true, false] {
            for (link, (&(a, b), &dialect)) in graph.edges.iter().zip(dialects).enumerate() {
                let ends = [a, b].map(|node| (node, self.nodes[node]));
                let others = |at: usize| ends[1 - at].1;
                let may_dial = |at: &usize| {
                    let (_, end) = ends[*at];
                    !others(*at).is_leaf && (!end.is_foreign || others(*at).is_foreign)
                };
                let fits = |at: &usize| ends[*at].1.dials == Some(dialect);
                let is_free = |at: &usize| ends[*at].1.dials.is_none();
                let candidates = || (0..2).filter(may_dial);
                let chosen = candidates().find(fits);
                let chosen =
                    chosen.or_else(|| candidates().find(is_free).filter(|_| !is_first_round));
                if from[link].is_some() {
                    continue;
                }
                let Some(at) = chosen else {
                    if is_first_round {
                        continue;
                    }
                    let [first, second] = [a, b].map(|node| &graph.names[node]);
                    return wrong(format!(
                        "neither end of the link of \"{first}\" and \"{second}\" dials {dialect}: \
                         give one of them the dialect {dialect}, it accepts both"
                    ));
                };
                self.nodes[ends[at].0].dials = Some(dialect);
                from[link] = Some(ends[at].0);
            }
        }
        let all = graph.edges.iter().zip(dialects).zip(from);
        self.links = all
            .map(|((&(a, b), &dialect), from)| {
                let from = from.unwrap_or(a);
                PlannedLink { from, to: a + b - from, dialect }
            })
            .collect();
        Ok(())
    }
}

impl Member {
    fn new(
        name: &str,
        place: Option<&Place>,
        shaped: Option<NodeRole>,
    ) -> Result<Member, PlanError> {
        let role = place.and_then(|place| place.role).or(shaped);
        let is_leaf = role == Some(NodeRole::Leaf);
        let usual = if role.is_some() { Dialect::V0_6 } else { Dialect::V0_4 };
        let given = place.and_then(|place| place.speaks);
        if is_leaf && given == Some(Speaks::Only(Dialect::V0_4)) {
            return wrong(format!(
                "node \"{name}\" is a leaf and has the dialect 0.4: leaves speak 0.6"
            ));
        }
        let speaks = match is_leaf {
            true => Speaks::Only(Dialect::V0_6),
            false => given.unwrap_or(Speaks::Only(usual)),
        };
        let dials = match speaks {
            Speaks::Only(dialect) => Some(dialect),
            Speaks::Auto => None,
        };
        let is_foreign = place.is_some_and(|place| !place.command.is_empty());
        Ok(Member { is_leaf, is_foreign, speaks, dials })
    }
}

/// The links that the plan gives a dialect, by their ends, the lower first.
fn named_links(plan: &Plan, graph: &Graph) -> Result<BTreeMap<(usize, usize), Dialect>, PlanError> {
    let numbers = graph.numbers();
    let mut named = BTreeMap::new();
    for link in &plan.links {
        let (first, second) = (&link.between.0, &link.between.1);
        let number = |name: &String| {
            numbers.get(name.as_str()).copied().ok_or_else(|| PlanError::UnknownNode(name.clone()))
        };
        let (a, b) = (number(first)?, number(second)?);
        let edge = (a.min(b), a.max(b));
        if graph.edges.binary_search(&edge).is_err() {
            return wrong(format!("there is no link between \"{first}\" and \"{second}\""));
        }
        if named.insert(edge, link.dialect).is_some() {
            return wrong(format!("the link of \"{first}\" and \"{second}\" stands there twice"));
        }
    }
    Ok(named)
}

fn wrong<T>(text: String) -> Result<T, PlanError> {
    Err(PlanError::Roles(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use NodeRole::{Leaf, Ultrapeer};
    use Speaks::{Auto, Only};

    const V0_4: Dialect = Dialect::V0_4;
    const V0_6: Dialect = Dialect::V0_6;

    type Given = (&'static str, Option<NodeRole>, Option<Speaks>);

    /// The links of a network, as (from, to, dialect).
    fn links(
        edges: &str,
        nodes: &[Given],
        named: &[(&str, &str, Dialect)],
    ) -> Result<Vec<(String, String, Dialect)>, String> {
        let graph = Graph::from_edge_list(edges).unwrap();
        let place = |&(name, role, speaks): &Given| {
            (name.to_owned(), Place { role, speaks, ..Place::default() })
        };
        let link = |&(a, b, dialect): &(&str, &str, Dialect)| LinkPlan {
            between: (a.to_owned(), b.to_owned()),
            dialect,
        };
        let plan = Plan {
            places: nodes.iter().map(place).collect(),
            links: named.iter().map(link).collect(),
            ..Plan::default()
        };
        let roles = Roles::new(&plan, &graph).map_err(|error| error.to_string())?;
        let name = |node: usize| graph.names[node].clone();
        let all = roles.links().iter();
        Ok(all.map(|link| (name(link.from), name(link.to), link.dialect)).collect())
    }

    fn expect(
        links: Result<Vec<(String, String, Dialect)>, String>,
        wanted: &[(&str, &str, Dialect)],
    ) {
        let links = links.unwrap();
        let links: Vec<_> = links.iter().map(|(a, b, d)| (a.as_str(), b.as_str(), *d)).collect();
        assert_eq!(links, wanted);
    }

    #[test]
    fn a_plan_without_roles_is_plain_and_costs_nothing() {
        let plan = Plan::default();
        let roles = Roles::new(&plan, &plan.graph(None).unwrap()).unwrap();
        assert!(roles.are_plain() && roles.links().is_empty());
        assert_eq!((roles.dialect(3), roles.dials(3), roles.is_leaf(3)), (V0_4, Some(V0_4), false));
    }

    #[test]
    fn a_bridge_speaks_what_its_neighbours_do_and_is_dialled_by_them() {
        let nodes = [
            ("bridge", Some(Ultrapeer), Some(Auto)),
            ("up", Some(Ultrapeer), None),
            ("leaf", Some(Leaf), None),
        ];
        let edges = "bridge plain\nbridge up\nup leaf\nleaf bridge";
        let wanted = [
            ("plain", "bridge", V0_4),
            ("up", "bridge", V0_6),
            ("leaf", "bridge", V0_6),
            ("leaf", "up", V0_6),
        ];
        expect(links(edges, &nodes, &[]), &wanted);
    }

    #[test]
    fn two_bridges_speak_0_4_unless_their_link_says_otherwise() {
        let nodes = [("a", None, Some(Auto)), ("b", None, Some(Auto))];
        expect(links("a b", &nodes, &[]), &[("a", "b", V0_4)]);
        expect(links("a b", &nodes, &[("b", "a", V0_6)]), &[("a", "b", V0_6)]);
    }

    #[test]
    fn a_link_with_a_dialect_of_its_own_is_dialled_by_the_end_that_has_it() {
        let nodes = [("a", None, None), ("b", None, Some(Only(V0_6)))];
        expect(links("a b", &nodes, &[("a", "b", V0_6)]), &[("b", "a", V0_6)]);
        expect(links("b a", &nodes, &[("a", "b", V0_4)]), &[("a", "b", V0_4)]);
    }

    #[test]
    fn contradictions_are_named() {
        let leaf = |name| (name, Some(Leaf), None);
        for (nodes, named, expected) in [
            (vec![leaf("a"), leaf("b")], vec![], "links with ultrapeers only"),
            (vec![leaf("a")], vec![], "speaks 0.6 and its neighbour \"b\" 0.4"),
            (vec![("a", Some(Leaf), Some(Only(V0_4)))], vec![], "leaves speak 0.6"),
            (
                vec![leaf("a"), ("b", Some(Ultrapeer), None)],
                vec![("a", "b", V0_4)],
                "\"a\" is a leaf: leaves speak 0.6",
            ),
            (vec![], vec![("a", "b", V0_6)], "neither end"),
            (vec![], vec![("a", "c", V0_6)], "no link between"),
            (vec![], vec![("a", "b", V0_4), ("b", "a", V0_4)], "twice"),
            (vec![], vec![("a", "x", V0_4)], "no node called \"x\""),
        ] {
            let error = links("a b\nb c", &nodes, &named).unwrap_err();
            assert!(error.contains(expected), "{nodes:?} {named:?}: {error}");
        }
    }
}
