//! The arguments of `servent testnet`.

use super::plan_args::PlanArgs;
use super::show::{DrawingArgs, SearchDrawingArgs};
use super::values::{Bytes, Delay, GetMode, seconds};
use crate::testnet::MAX_TTL;
use clap::{Args, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Args)]
pub(super) struct TestnetArgs {
    /// The folder of the network; with one for each, several can run at a time [default:
    /// servent-testnet in $XDG_RUNTIME_DIR, or servent/testnet in $XDG_STATE_HOME]
    #[arg(long, value_name = "DIR", global = true, env = "SERVENT_TESTNET_DIR")]
    pub(super) dir: Option<PathBuf>,
    #[command(subcommand)]
    pub(super) command: TestnetCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum TestnetCommand {
    /// Show everything: start a network, search it, download a file, stop it
    Demo(DemoArgs),
    /// Start a network, or the stopped nodes of the running one
    #[command(after_long_help = UP_NOTES)]
    Up(Box<UpArgs>),
    /// Show the state of every node
    Ps(JsonArgs),
    /// Show nodes, their rates and what happens, live; q leaves
    ///
    /// Once a second. The arrow and page keys scroll the nodes. Where the numbers are dim, the node does
    /// not answer: they are the last it told.
    Watch,
    /// Search from a node; without one, the searches of the plan
    Query(QueryArgs),
    /// Search from a node and show the path of every copy and hit
    Trace(TraceArgs),
    /// Show the links between nodes
    Graph(GraphArgs),
    /// Stop a node; "up" starts it again
    Kill(KillArgs),
    /// List the files that nodes share
    Files(FilesArgs),
    /// Inject link faults
    Fault(FaultArgs),
    /// Check the network against the protocol's rules; the exit code tells whether they hold
    Check(JsonArgs),
    /// Print the log of a node
    Logs(LogsArgs),
    /// Run a command for a node
    #[command(after_long_help = EXEC_NOTES)]
    Exec(ExecArgs),
    /// Record what the links carry, for Wireshark (pcapng); needs no privileges
    Capture(CaptureArgs),
    /// Stop the network and remove its files
    Down,
    /// Run the keeper of a network
    #[command(hide = true)]
    Keep(KeepArgs),
    /// Serve the page of a network on the socket that is standard input
    #[command(hide = true)]
    Page(PageArgs),
}

const UP_NOTES: &str = "\
The plan is the one of servent sim: see its help for the keys. Every node is one servent run with \
--links 0, a TTL limit of 15 and no Pings of its own, on an address of its own in 127.0.0.0/8. Links \
have no delay unless the plan has a latency. Nodes share empty files with generated names, unless \
the plan names folders for them:

    nodes = 3
    topology = \"line\"
    [[node]]
    name = \"2\"
    share = [\"music\"]
    [[node]]
    name = \"0\"
    kind = \"exec\"
    command = [\"another-servent\", \"--listen\", \"{ip}:{port}\"]

A node of the kind \"exec\" is another program. {ip}, {port}, {dir} and {connect} are filled in; it \
is dialled by its neighbours, with its dialect if the plan has one. It is given addresses to dial ({connect}, once for each) only for links \
whose both ends are of this kind.";

const EXEC_NOTES: &str = "\
The command runs in the folder of the node and finds it in its environment: NODE_NAME, NODE_IP, \
NODE_PORT, NODE_ADDR (IP:PORT) and NODE_DIR, and in SERVENT_CONNECT, so that \"servent testnet exec \
3 -- servent search zebra\" searches through node 3.";

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Servents, 4 to 64
    #[arg(long, value_name = "N", default_value = "8", value_parser = clap::value_parser!(u8).range(4..=64))]
    pub(super) nodes: u8,
    /// Where to draw the search [default: servent-demo.svg in the current folder]
    #[arg(long, value_name = "FILE")]
    pub(super) svg: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct UpArgs {
    /// A plan, in TOML; edge lists and folders it names lie next to it
    #[arg(value_name = "PLAN")]
    pub(super) plan: Option<PathBuf>,
    #[command(flatten)]
    pub(super) settings: PlanArgs,
    /// Only check the plan
    #[arg(long)]
    pub(super) check: bool,
    /// The port every node listens on
    #[arg(long, value_name = "PORT", default_value = "6346", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) port: u16,
    /// Stay in the foreground, and stop the network on Ctrl-C
    #[arg(long)]
    pub(super) foreground: bool,
    /// Serve a page that shows the network and steers it; port 0 picks a free one. For the running
    /// network too
    #[arg(long, value_name = "ADDR:PORT")]
    pub(super) http: Option<String>,
    /// A host name under which --http may be asked for, beside IP addresses and localhost; may be
    /// repeated [default: none]
    #[arg(long, value_name = "NAME", requires = "http")]
    pub(super) http_host: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct PageArgs {
    /// A host name of the page
    #[arg(long, value_name = "NAME")]
    pub(super) http_host: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct JsonArgs {
    /// JSON instead of a table
    #[arg(long)]
    pub(super) json: bool,
}

/// Range and duration of a search.
#[derive(Debug, Args)]
pub(super) struct SearchingArgs {
    /// Links the search may cross from the node on, 1 to 14 [default: that of the plan]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=i64::from(MAX_TTL)))]
    pub(super) ttl: Option<u8>,
    /// Seconds to wait; a traced search ends as soon as all its copies have arrived
    /// [default: until no hit has come for 2 seconds, at most 10]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(super) wait: Option<Duration>,
}

#[derive(Debug, Args)]
pub(super) struct FilesArgs {
    /// The node; without one, all of them
    #[arg(value_name = "NODE")]
    pub(super) node: Option<String>,
    /// One JSON object a line for each file
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct QueryArgs {
    /// The node to search from
    #[arg(value_name = "NODE", requires = "words")]
    pub(super) node: Option<String>,
    /// Words that must all begin a word of the file's name
    #[arg(value_name = "WORDS")]
    pub(super) words: Vec<String>,
    #[command(flatten)]
    pub(super) searching: SearchingArgs,
    /// Download the first hit, or all
    #[arg(long, value_name = "WHICH", requires = "node")]
    pub(super) get: Option<GetMode>,
    /// Folder for downloads; created if missing
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(super) output: PathBuf,
    /// JSON: an object a line for each hit, or for each search of the plan
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct TraceArgs {
    /// The node to search from
    #[arg(value_name = "NODE")]
    pub(super) node: String,
    /// Words that must all begin a word of the file's name
    #[arg(value_name = "WORDS", required = true)]
    pub(super) words: Vec<String>,
    #[command(flatten)]
    pub(super) searching: SearchingArgs,
    #[command(flatten)]
    pub(super) drawing: SearchDrawingArgs,
    /// One JSON object instead of a tree
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct GraphArgs {
    #[command(flatten)]
    pub(super) drawing: DrawingArgs,
    /// One JSON object instead of a list
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct KillArgs {
    /// The nodes to stop
    #[arg(value_name = "NODE", required = true)]
    pub(super) nodes: Vec<String>,
    /// With KILL instead of TERM: it cannot shut down cleanly
    #[arg(long)]
    pub(super) hard: bool,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("which").required(true).multiple(true).args(["link", "node", "all", "list"]))]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true).args(["delay", "bandwidth", "blackhole", "slow_reader", "reset", "clear", "list"]))]
pub(super) struct FaultArgs {
    /// List the links that have a fault, and which
    #[arg(long, conflicts_with_all = ["link", "node", "all", "delay", "bandwidth", "blackhole", "slow_reader", "reset", "clear"])]
    pub(super) list: bool,
    /// The link between two nodes; may be repeated
    #[arg(long, num_args = 2, value_names = ["NODE", "NODE"], action = clap::ArgAction::Append)]
    pub(super) link: Vec<String>,
    /// All links of a node; may be repeated
    #[arg(long, value_name = "NODE")]
    pub(super) node: Vec<String>,
    /// All links
    #[arg(long)]
    pub(super) all: bool,
    /// One-way delay, such as 50ms
    #[arg(long, value_name = "TIME")]
    pub(super) delay: Option<Delay>,
    /// Bytes per second, each way, such as 500k
    #[arg(long, value_name = "RATE")]
    pub(super) bandwidth: Option<Bytes>,
    /// Let nothing through, without closing the connections
    #[arg(long)]
    pub(super) blackhole: bool,
    /// Have the dialled side read 1 kB/s
    #[arg(long)]
    pub(super) slow_reader: bool,
    /// Reset the connections once; the servents dial again
    #[arg(long)]
    pub(super) reset: bool,
    /// Restore what the plan says, before applying the other options
    #[arg(long)]
    pub(super) clear: bool,
}

#[derive(Debug, Args)]
pub(super) struct LogsArgs {
    /// The node
    #[arg(value_name = "NODE")]
    pub(super) node: String,
    /// Print its events, in JSON lines, instead of its log
    #[arg(long)]
    pub(super) events: bool,
    /// Keep printing until Ctrl-C
    #[arg(long)]
    pub(super) follow: bool,
}

#[derive(Debug, Args)]
pub(super) struct ExecArgs {
    /// The node
    #[arg(value_name = "NODE")]
    pub(super) node: String,
    /// The command and its arguments
    #[arg(value_name = "COMMAND", required = true, last = true)]
    pub(super) command: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(super) struct CaptureArgs {
    /// The file to write; - is standard output
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
    /// Stop after this many seconds [default: on Ctrl-C]
    #[arg(long = "for", value_name = "SECONDS", value_parser = seconds)]
    pub(super) time: Option<Duration>,
}

#[derive(Debug, Args)]
pub(super) struct KeepArgs {
    /// Stop the network when standard input ends
    #[arg(long)]
    pub(super) attached: bool,
}
