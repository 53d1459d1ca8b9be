//! What the page may ask of a network, and the answers.
//!
//! | method | arguments | result |
//! |---|---|---|
//! | `network` | | size of the drawing, nodes with their state and place, links with their state |
//! | `files` | `node` | how many files it shares, and the first of them |
//! | `trace` | `node`, `words`, `ttl` (default: the plan's) | what `testnet trace --json` prints |
//! | `kill` | `node`, `hard` (default: no) | the node, which is down |
//! | `heal` | | how many nodes were started; all links stand |
//!
//! Nodes are named as in the plan.

use super::lane::Lane;
use crate::control::message::RpcError;
use crate::plan::catalogue::SharedFile;
use crate::plan::picture::{Places, places};
use crate::testnet::folder::RunFolder;
use crate::testnet::follow::{FOLLOW_TIMEOUT, MAX_TTL, Search, follow};
use crate::testnet::orders;
use crate::testnet::shared::files_in;
use crate::testnet::up::heal;
use crate::testnet::view::{NodeState, View};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

/// The methods, and where each is handled.
const METHODS: [(&str, Lane); 5] = [
    ("network", Lane::State),
    ("files", Lane::State),
    ("trace", Lane::Searches),
    ("kill", Lane::Orders),
    ("heal", Lane::Orders),
];
/// The state of the network is asked for again after this time: each answer asks every node.
const STATE_LIFETIME: Duration = Duration::from_millis(200);
/// Files of a node that are listed.
const MAX_FILES: usize = 100;

/// Where a method is handled.
pub(super) fn lane_of(method: &str) -> Option<Lane> {
    METHODS.iter().find(|(name, _)| *name == method).map(|(_, lane)| *lane)
}

/// The error for a method that does not exist.
pub(super) fn unknown(method: &str) -> RpcError {
    let known = METHODS.map(|(name, _)| name).join(", ");
    let text = format!("there is no method \"{method}\"; there are {known}");
    RpcError::new(RpcError::UNKNOWN_METHOD, text)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoParams {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FilesParams {
    node: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TraceParams {
    node: String,
    words: String,
    ttl: Option<u8>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KillParams {
    node: String,
    #[serde(default)]
    hard: bool,
}

/// A node of `network`.
#[derive(Serialize)]
struct NodeRow<'a> {
    #[serde(flatten)]
    state: NodeState,
    leaf: bool,
    /// Whether it is a servent of ours, which can be told to search.
    ours: bool,
    dialect: &'a str,
    x: f64,
    y: f64,
}

/// A link of `network`.
#[derive(Serialize)]
struct LinkRow<'a> {
    from: &'a str,
    to: &'a str,
    stands: bool,
    /// In words; empty without one.
    fault: String,
}

/// A network, asked.
pub(super) struct Answers {
    folder: RunFolder,
    view: Option<View>,
    places: Option<Places>,
    /// The last answer to `network`, and when it was made.
    state: Option<(Instant, Value)>,
}

impl Answers {
    pub(super) fn new(folder: RunFolder) -> Answers {
        Answers { folder, view: None, places: None, state: None }
    }

    /// The result of a method.
    ///
    /// # Errors
    /// For other parameters, a node that does not exist, and where the network does not do it.
    pub(super) fn answer(&mut self, method: &str, params: Value) -> Result<Value, RpcError> {
        match method {
            "network" => {
                let NoParams {} = read(params)?;
                self.network()
            }
            "files" => {
                let FilesParams { node } = read(params)?;
                self.files(&node)
            }
            "trace" => self.trace(read(params)?),
            "kill" => {
                let KillParams { node, hard } = read(params)?;
                let number = self.node(&node)?;
                orders::kill(&self.folder, number, hard).map_err(of_io)?;
                Ok(json!({"node": node}))
            }
            "heal" => {
                let NoParams {} = read(params)?;
                let started = heal(&self.folder, &|| false).map_err(of_io)?;
                Ok(json!({"started": started}))
            }
            other => Err(unknown(other)),
        }
    }

    /// How many nodes and links there are and stand, for Prometheus.
    pub(super) fn metrics(&mut self, open: bool) -> String {
        let mut rows = Vec::new();
        if let Ok(view) = self.view().and_then(refreshed) {
            let count = view.network.nodes.len();
            let up = (0..count).filter(|node| view.is_running(*node)).count();
            let (links, standing) = (view.network.links.len(), view.standing());
            rows = vec![
                ("nodes", "Nodes of the plan", count),
                ("nodes_up", "Nodes whose process runs", up),
                ("links", "Links of the plan", links),
                ("links_standing", "Links that stand at both ends", standing),
            ];
        }
        let row = |(name, about, value): (&str, &str, usize)| {
            let name = format!("servent_testnet_{name}");
            format!("# HELP {name} {about}.\n# TYPE {name} gauge\n{name} {value}\n")
        };
        let mut text: String = rows.into_iter().map(row).collect();
        if open {
            text.push_str("# EOF\n");
        }
        text
    }

    fn view(&mut self) -> Result<&mut View, RpcError> {
        opened(&self.folder, &mut self.view)
    }

    /// The number of the node called `name`.
    fn node(&mut self, name: &str) -> Result<usize, RpcError> {
        let not_found = |error: io::Error| RpcError::new(RpcError::NOT_FOUND, error.to_string());
        self.view()?.network.node(name).map_err(not_found)
    }

    fn network(&mut self) -> Result<Value, RpcError> {
        if let Some((made, state)) = &self.state
            && made.elapsed() < STATE_LIFETIME
        {
            return Ok(state.clone());
        }
        let view = opened(&self.folder, &mut self.view).and_then(refreshed)?;
        let Places { nodes: at, size, radius } =
            self.places.get_or_insert_with(|| places(&view.network.graph()));
        let nodes = view.nodes().into_iter().zip(&view.network.nodes).zip(at.iter());
        let nodes = nodes.map(|((state, node), at)| NodeRow {
            state,
            leaf: node.leaf,
            ours: node.is_ours(),
            dialect: &node.dialect,
            x: at.0,
            y: at.1,
        });
        let name = |node: usize| view.network.nodes[node].name.as_str();
        let links = view.network.links.iter().enumerate().map(|(number, link)| LinkRow {
            from: name(link.from),
            to: name(link.to),
            stands: view.stands(number),
            fault: view.fault(number),
        });
        let state = json!({
            "width": size.0,
            "height": size.1,
            "radius": *radius,
            "ttl": view.network.ttl.min(MAX_TTL),
            "nodes": nodes.collect::<Vec<_>>(),
            "links": links.collect::<Vec<_>>(),
        });
        self.state = Some((Instant::now(), state.clone()));
        Ok(state)
    }

    fn files(&mut self, name: &str) -> Result<Value, RpcError> {
        let node = self.node(name)?;
        let files = files_in(&self.view()?.network.nodes[node].share)
            .map_err(|error| RpcError::new(RpcError::INTERNAL, error.to_string()))?;
        let row = |file: &SharedFile| json!({"name": file.name, "size": file.size});
        let rows: Vec<Value> = files.iter().take(MAX_FILES).map(row).collect();
        Ok(json!({"count": files.len(), "files": rows}))
    }

    fn trace(&mut self, asked: TraceParams) -> Result<Value, RpcError> {
        let node = self.node(&asked.node)?;
        let view = self.view()?;
        let ttl = asked.ttl.unwrap_or(view.network.ttl.min(MAX_TTL));
        let words: Vec<String> = asked.words.split_whitespace().map(str::to_owned).collect();
        if words.is_empty() || !(1..=MAX_TTL).contains(&ttl) {
            let text = format!("a search has words, and a TTL of 1 to {MAX_TTL}");
            return Err(RpcError::new(RpcError::INVALID_PARAMS, text));
        }
        let search = Search { node, words, ttl, wait: FOLLOW_TIMEOUT };
        let followed = follow(view, &search).map_err(of_io)?;
        let internal =
            |error: serde_json::Error| RpcError::new(RpcError::INTERNAL, error.to_string());
        serde_json::to_value(followed.traced(ttl)).map_err(internal)
    }
}

/// The view of the network in `folder`, which is opened when it is first asked for.
fn opened<'a>(folder: &RunFolder, view: &'a mut Option<View>) -> Result<&'a mut View, RpcError> {
    match view {
        Some(view) => Ok(view),
        none => Ok(none.insert(View::open(folder).map_err(of_io)?)),
    }
}

/// As the network is now.
fn refreshed(view: &mut View) -> Result<&mut View, RpcError> {
    view.refresh().map_err(of_io)?;
    Ok(view)
}

fn read<T: serde::de::DeserializeOwned>(params: Value) -> Result<T, RpcError> {
    let wrong =
        |error: serde_json::Error| RpcError::new(RpcError::INVALID_PARAMS, error.to_string());
    serde_json::from_value(params).map_err(wrong)
}

fn of_io(error: io::Error) -> RpcError {
    let code = match error.kind() {
        ErrorKind::InvalidInput
        | ErrorKind::NotConnected
        | ErrorKind::TimedOut
        | ErrorKind::Other => RpcError::REFUSED,
        _ => RpcError::INTERNAL,
    };
    RpcError::new(code, error.to_string())
}
