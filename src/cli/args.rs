//! The arguments, as `--help` shows them.

use super::lab::LabArgs;
use super::plan_args::PlanArgs;
use super::show::SearchDrawingArgs;
use super::steer_args::{CtlArgs, DownloadsArgs, ListArgs, StatusArgs, SteerArgs};
use super::testnet_args::TestnetArgs;
use super::values::{GetMode, number_or_text, seconds};
use crate::wire::Dialect;
use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

/// A Gnutella servent: joins a network, shares folders, searches and fetches files.
#[derive(Debug, Parser)]
#[command(name = "servent", version, max_term_width = 100)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Join a network: share, answer, forward and serve until stopped by INT or TERM
    #[command(after_long_help = RUN_NOTES)]
    Run(RunArgs),
    /// Search the network and print what is found
    Search(SearchArgs),
    /// Download files, by their URLs or by their numbers in the last search
    Get(GetArgs),
    /// Show which servents are reachable
    Ping(PingArgs),
    /// Show what the running servent is doing
    Status(StatusArgs),
    /// List the links of the running servent
    Links(ListArgs),
    /// List the uploads and downloads of the running servent
    Transfers(ListArgs),
    /// List and steer the downloads of the running servent
    Downloads(DownloadsArgs),
    /// List the folders that the running servent shares
    Shares(ListArgs),
    /// Call any method of the running servent's control socket
    Ctl(CtlArgs),
    /// Explain descriptors given in hex, as raw bytes or as a packet capture
    Decode(DecodeArgs),
    /// Simulate a network of thousands of servents in this process
    Sim(SimArgs),
    /// Measure ways to look files up, side by side
    Lab(LabArgs),
    /// Run a local network of real servents
    Testnet(TestnetArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
    /// Print the manual page of servent or of one of its commands, or write all of them
    Man(ManArgs),
}

/// Ends the long help of `run`.
const RUN_NOTES: &str = "\
On Linux, files that are added, changed, moved or removed in a shared folder are noticed within two \
seconds, elsewhere within ten minutes. A file that is being written is shared one second after its \
last change. HUP reads the configuration file again, says what changed and what needs a restart, scans \
all folders at once and shares every file as it is; once the terminal it was \
started on is gone, HUP stops the servent, unless HUP was ignored at the start, as under nohup. USR1 \
logs the status line.

Lines of --events begin with time (Unix time in microseconds), seq (their running number) and event: \
start, link_up, link_down, received, forwarded, originated, dropped, refused or answered. Those about \
a descriptor have the peer it came from or went to, its kind, guid, ttl and hops; dropped and refused \
ones also the reason. The lines of one turn of the loop are written when it ends, the last of them \
with \"last\":true. Nothing of it is sent over the network.

Each option can also be set by its variable, or under its long name in the file \
servent/servent.toml in the XDG configuration folder. A flag wins over a variable, a variable over \
the file. SERVENT_CONNECT takes several hosts with commas between them, SERVENT_SHARE several folders \
with colons between them; the variables for globs take one, where {*.ogg,*.flac} stands for several.";

/// The options of `run`, as flags and variables and, under their long names, in servent.toml. Unknown
/// keys are errors, so that a typing mistake does not go unnoticed.
#[derive(Clone, Debug, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct RunArgs {
    /// IPv4 address and port to listen on; port 0 picks a free one [default: 127.0.0.1:6346]
    #[arg(long, value_name = "ADDR:PORT", env = "SERVENT_LISTEN")]
    pub(super) listen: Option<String>,
    /// IPv4 address, and port if it differs, at which others are told to reach this servent
    /// [default: the local address of each link, and the listening port]
    #[arg(long, value_name = "ADDR[:PORT]", env = "SERVENT_ADVERTISE")]
    pub(super) advertise: Option<String>,
    /// A servent to keep a link with, by name or address; may be repeated [default port: 6346]
    #[arg(long, value_name = "HOST[:PORT]", env = "SERVENT_CONNECT", value_delimiter = ',')]
    pub(super) connect: Vec<String>,
    /// Outbound links to keep with learnt hosts; 0 keeps only those of --connect [default: 4; of a
    /// leaf 3, with those of --connect]
    #[arg(long, value_name = "N", env = "SERVENT_LINKS")]
    pub(super) links: Option<usize>,
    /// Most links, inbound and outbound together [default: 32]
    #[arg(long, value_name = "N", env = "SERVENT_MAX_LINKS")]
    pub(super) max_links: Option<usize>,
    /// Most leaves, beside the links of --max-links [default: 100]
    #[arg(long, value_name = "N", env = "SERVENT_MAX_LEAVES")]
    pub(super) max_leaves: Option<usize>,
    /// What is spoken when dialling: Gnutella 0.4, 0.6, or what an address is known to speak, 0.4 first;
    /// inbound links choose for themselves [default: auto]
    #[arg(long, env = "SERVENT_DIALECT")]
    pub(super) dialect: Option<DialectArg>,
    /// Place in the network towards 0.6 servents: an ultrapeer has leaves and routes for them, a leaf
    /// has 3 ultrapeers and no 0.4 links [default: ultrapeer]
    #[arg(long, env = "SERVENT_ROLE")]
    pub(super) role: Option<RoleArg>,
    /// A folder to share with all its subfolders; may be repeated [default: none]
    #[arg(long, value_name = "DIR", env = "SERVENT_SHARE")]
    pub(super) share: Vec<PathBuf>,
    /// Share only files whose path within the shared folder, or bare name, matches: '*.ogg',
    /// 'albums/**', '*.{ogg,flac}'; '*' stays within one folder, '**' does not, case does not
    /// matter; may be repeated [default: all files]
    #[arg(long, value_name = "GLOB", env = "SERVENT_INCLUDE")]
    pub(super) include: Vec<String>,
    /// Do not share files that match likewise, even if they are included, nor anything in folders
    /// that match; a folder in there that is itself given with --share is shared by itself; may be
    /// repeated [default: none]
    #[arg(long, value_name = "GLOB", env = "SERVENT_EXCLUDE")]
    pub(super) exclude: Vec<String>,
    /// Most files to share; the log says how many are left out [default: 1000000]
    #[arg(long, value_name = "N", env = "SERVENT_MAX_FILES")]
    pub(super) max_files: Option<usize>,
    /// Links a descriptor may cross, 1 to 15: the limit for those of others, the start of our own
    /// [default: 7]
    #[arg(long, value_name = "N", env = "SERVENT_TTL")]
    pub(super) ttl: Option<u8>,
    /// Speed to advertise, in kbit/s; if given, searches for faster servents are not answered
    /// [default: 1000]
    #[arg(long, value_name = "KBPS", env = "SERVENT_SPEED")]
    pub(super) speed: Option<u32>,
    /// Uploads at one time; further requests are answered 503, try later [default: 8]
    #[arg(long, value_name = "N", env = "SERVENT_MAX_UPLOADS")]
    pub(super) max_uploads: Option<usize>,
    /// Most bytes per second for all uploads together; k, M and G stand for thousands, millions and
    /// billions (powers of 1000): 500k, 2.5M [default: no limit]
    #[arg(long, value_name = "RATE", env = "SERVENT_UPLOAD_LIMIT")]
    #[serde(deserialize_with = "number_or_text")]
    pub(super) upload_limit: Option<String>,
    /// Print how much memory these settings may take, and all other limits, instead of running
    #[arg(long)]
    #[serde(skip)]
    pub(super) explain_limits: bool,
    /// Originate no Pings: hosts are learnt only from what others send
    #[arg(long, env = "SERVENT_NO_PINGS", value_parser = clap::builder::BoolishValueParser::new())]
    pub(super) no_pings: bool,
    /// Which learnt addresses may be dialled and passed on [default: what --listen suggests]
    #[arg(long, env = "SERVENT_SCOPE")]
    pub(super) scope: Option<ScopeArg>,
    /// Folder of the identity and the host cache, locked while in use [default:
    /// $XDG_STATE_HOME/servent/ADDR-PORT]
    #[arg(long, value_name = "DIR", env = "SERVENT_STATE")]
    pub(super) state: Option<PathBuf>,
    /// Append what happens to each descriptor to a file, one JSON object a line; it grows while the
    /// servent runs [default: none]
    #[arg(long, value_name = "FILE", env = "SERVENT_EVENTS")]
    pub(super) events: Option<PathBuf>,
    /// The control socket, for status, search, get and ctl [default: ADDR-PORT.sock in
    /// $XDG_RUNTIME_DIR/servent, without that variable in the state folder]
    #[arg(long, value_name = "PATH", env = "SERVENT_CONTROL")]
    pub(super) control: Option<PathBuf>,
    /// Have no control socket
    #[arg(long, env = "SERVENT_NO_CONTROL", conflicts_with = "control", value_parser = clap::builder::BoolishValueParser::new())]
    pub(super) no_control: bool,
    /// Serve a page for browsers at /, Prometheus metrics at /metrics and /healthz; port 0 picks a free
    /// one [default: off]
    #[arg(long, value_name = "ADDR:PORT", env = "SERVENT_HTTP")]
    pub(super) http: Option<String>,
    /// A host name under which --http may be asked for, beside IP addresses and localhost; may be
    /// repeated [default: none]
    #[arg(long, value_name = "NAME", env = "SERVENT_HTTP_HOST", value_delimiter = ',')]
    pub(super) http_host: Vec<String>,
    /// Folder of finished downloads; shared only if it lies in a shared folder [default: downloads in the
    /// state folder]
    #[arg(long, value_name = "DIR", env = "SERVENT_DOWNLOADS")]
    pub(super) downloads: Option<PathBuf>,
    /// Downloads at one time [default: 3]
    #[arg(long, value_name = "N", env = "SERVENT_MAX_DOWNLOADS")]
    pub(super) max_downloads: Option<usize>,
    /// A program to run for each finished download, with the file's path as its last argument
    /// [default: none]
    #[arg(long, value_name = "PROGRAM", env = "SERVENT_ON_COMPLETE")]
    pub(super) on_complete: Option<PathBuf>,
    /// Answer browsers that ask the Gnutella port for / with a page of the shared files
    #[arg(long, env = "SERVENT_BROWSE", value_parser = clap::builder::BoolishValueParser::new())]
    pub(super) browse: bool,
    /// The configuration file, which must exist [default: servent/servent.toml in the XDG configuration
    /// folder, if it exists]
    #[arg(long, value_name = "FILE", env = "SERVENT_CONFIG")]
    #[serde(skip)]
    pub(super) config: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ScopeArg {
    /// 127.0.0.0/8 only
    Loopback,
    /// Private and link-local networks
    Private,
    /// Globally routable addresses
    Public,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
pub(super) enum DialectArg {
    /// What an address is known to speak, 0.4 first
    #[value(name = "auto")]
    #[serde(rename = "auto")]
    Auto,
    /// Gnutella 0.4 only
    #[value(name = "0.4")]
    #[serde(rename = "0.4")]
    V04,
    /// Gnutella 0.6 only
    #[value(name = "0.6")]
    #[serde(rename = "0.6")]
    V06,
}

impl DialectArg {
    /// The one dialect it allows, if it does not choose.
    pub(super) fn only(self) -> Option<Dialect> {
        match self {
            DialectArg::Auto => None,
            DialectArg::V04 => Some(Dialect::V0_4),
            DialectArg::V06 => Some(Dialect::V0_6),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RoleArg {
    /// Routes for others
    Ultrapeer,
    /// Routes for nobody
    Leaf,
}

/// The options by which a one-shot command reaches the network.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct JoinArgs {
    /// A servent to join through, by name or address, as with --guest; may be repeated [default: the
    /// servent of this machine, on 127.0.0.1:6346 or where servent.toml has it listen, then up to 8 hosts
    /// it knew]
    #[arg(long, value_name = "HOST[:PORT]", env = "SERVENT_CONNECT", value_delimiter = ',')]
    pub(super) connect: Vec<String>,
    /// Have a connection of its own, even if a servent is running
    #[arg(long, conflicts_with = "servent")]
    pub(super) guest: bool,
    #[command(flatten)]
    pub(super) steer: SteerArgs,
}

/// Ends the long help of `search`.
const SEARCH_NOTES: &str = "\
If a servent is running, the search goes through it and over its links; files it shares itself are among \
the hits. With --guest, --connect or --events, or if none is running, the search has a connection of its \
own.

Hits of the same name and size are one file with several sources, and have its number. 'servent get \
NUMBER' downloads a file of the last search that was printed as text.";

#[derive(Debug, Args)]
#[command(after_long_help = SEARCH_NOTES)]
pub(super) struct SearchArgs {
    /// Words that must all begin a word of the file's name
    #[arg(required = true, value_name = "WORDS")]
    pub(super) words: Vec<String>,
    #[command(flatten)]
    pub(super) join: JoinArgs,
    /// Seconds to wait for hits, from the first link on [default: until no hit has come for 2
    /// seconds, at most 10; 10 while there is none]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(super) wait: Option<Duration>,
    /// Links the search may cross, 1 to 15
    #[arg(long, value_name = "N", default_value = "7", value_parser = clap::value_parser!(u8).range(1..=15))]
    pub(super) ttl: u8,
    /// Download the first hit, or all
    #[arg(long, value_name = "WHICH")]
    pub(super) get: Option<GetMode>,
    #[command(flatten)]
    pub(super) fetch: FetchArgs,
    /// One JSON object a line for each hit, and for each download at its end
    #[arg(long)]
    pub(super) json: bool,
    /// Append what happens to each descriptor to a file, as 'run --events' does; implies --guest
    #[arg(long, value_name = "FILE")]
    pub(super) events: Option<PathBuf>,
}

/// Options of downloads.
#[derive(Clone, Debug, Args)]
pub(super) struct FetchArgs {
    /// Folder for downloads; created if missing
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(super) output: PathBuf,
    /// Seconds to wait in all for sources of a file that are busy or broke off; 0 tries each source
    /// once
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = seconds)]
    pub(super) retry: Duration,
}

impl FetchArgs {
    /// The defaults, for another folder.
    pub(super) fn into_folder(output: PathBuf) -> FetchArgs {
        FetchArgs { output, retry: Duration::from_secs(600) }
    }
}

/// Ends the long help of `get`.
const GET_NOTES: &str = "\
If a servent is running, it downloads, to the folder named here; where it may not write, or with --guest \
or --connect, the command does it with connections of its own. Ctrl-C ends the download and keeps its \
partial file, and the same command resumes it.";

#[derive(Debug, Args)]
#[command(after_long_help = GET_NOTES)]
pub(super) struct GetArgs {
    /// What to download: http://HOST:PORT/get/INDEX/NAME, as a search prints it, or the number of a file
    /// of the last search
    #[arg(required = true, value_name = "URL|NUMBER")]
    pub(super) wanted: Vec<String>,
    #[command(flatten)]
    pub(super) join: JoinArgs,
    /// Leave it to the running servent, which goes on for days: print the number of the download and
    /// return at once
    #[arg(long, conflicts_with_all = ["guest", "retry"])]
    pub(super) queue: bool,
    #[command(flatten)]
    pub(super) fetch: FetchArgs,
    /// Name for the file; one URL only [default: the name in the URL]
    #[arg(short = 'o', long, value_name = "NAME")]
    pub(super) name: Option<String>,
    /// No progress on stderr, only warnings and errors
    #[arg(long)]
    pub(super) quiet: bool,
    /// One JSON object a line for each download at its end: url, name, size, path, state (done,
    /// kept or failed) and error
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct PingArgs {
    /// The servent to ping
    #[arg(value_name = "HOST[:PORT]")]
    pub(super) host: String,
    /// Links the Ping may cross, 1 to 15; 1 pings only the servent itself
    #[arg(long, value_name = "N", default_value = "7", value_parser = clap::value_parser!(u8).range(1..=15))]
    pub(super) ttl: u8,
    /// Seconds to wait for Pongs, from the link on
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = seconds)]
    pub(super) wait: Duration,
    /// One JSON object a line for each Pong
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct DecodeArgs {
    /// A file of hex digits, raw descriptors, or a pcap or pcapng capture; - is standard input. Deflated
    /// links are inflated, and offsets in them count inflated bytes
    #[arg(value_name = "FILE", default_value = "-")]
    pub(super) file: PathBuf,
    /// One JSON object a line for each descriptor
    #[arg(long)]
    pub(super) json: bool,
}

/// Ends the long help of `sim`.
const SIM_NOTES: &str = "\
Each option but --check, --no-oracles and --json can also stand under its long name in the plan, a TOML file: \
topology = \"ring\", latency = \"50ms\", reset = 0.01. A flag wins over the plan. Options without a \
default do nothing unless given, and faults begin when all links stand.

Nodes speak 0.4 unless the plan says otherwise: [[node]] with name and role = \"ultrapeer\" or \"leaf\" \
(0.6, unless an ultrapeer has another dialect), or dialect = \"0.4\", \"0.6\" or, for a bridge, \"auto\"; \
[[link]] with between = [\"a\", \"b\"] and a dialect. With --topology ultrapeers:COUNT,LEAVES all have \
roles.";

#[derive(Debug, Args)]
#[command(after_long_help = SIM_NOTES)]
pub(super) struct SimArgs {
    /// A plan, in TOML; edge lists it names lie next to it
    #[arg(value_name = "PLAN")]
    pub(super) plan: Option<PathBuf>,
    #[command(flatten)]
    pub(super) settings: PlanArgs,
    /// Only check the plan
    #[arg(long)]
    pub(super) check: bool,
    /// Do not check the rules of the protocol: a little faster, and the report says so. Run and trace
    /// are the same
    #[arg(long)]
    pub(super) no_oracles: bool,
    /// Most cores to use; the results are the same for any number [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1_024))]
    pub(super) cores: Option<u16>,
    /// Show what the first search did, copy by copy, as a tree
    #[arg(long)]
    pub(super) trace: bool,
    #[command(flatten)]
    pub(super) drawing: SearchDrawingArgs,
    /// One JSON object instead of a table; with --trace it has the search in it
    #[arg(long)]
    pub(super) json: bool,
}

impl SimArgs {
    /// Cores to use.
    pub(super) fn cores(&self) -> usize {
        let all = || std::thread::available_parallelism().map_or(1, usize::from);
        self.cores.map_or_else(all, usize::from)
    }
}

#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell; its manual says where to put the script
    #[arg(value_name = "SHELL")]
    pub(super) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// A command, such as run; without one the page of servent itself
    #[arg(value_name = "COMMAND")]
    pub(super) command: Vec<String>,
    /// Write all pages into a folder, which is created if missing
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    pub(super) all: Option<PathBuf>,
}
