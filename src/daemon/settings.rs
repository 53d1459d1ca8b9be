//! The checked settings of a running servent.

use crate::config::Config;
use crate::driver::{Filter, Host};
use std::net::SocketAddrV4;
use std::path::PathBuf;

/// Where the control socket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlPlace {
    /// There is none.
    Off,
    /// Where commands look for it: see [`crate::control::place`].
    Usual,
    /// At this path.
    At(PathBuf),
}

/// All settings. `config` has those of the core.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The address to listen on; port 0 picks one.
    pub listen: SocketAddrV4,
    /// Hosts to keep links with.
    pub connect: Vec<Host>,
    /// Folders to share.
    pub share: Vec<PathBuf>,
    /// Which files of these folders.
    pub filter: Filter,
    /// Most files to share.
    pub max_files: usize,
    /// The state folder, if it is not the usual one of the address.
    pub state: Option<PathBuf>,
    /// The file of `--events`.
    pub events: Option<PathBuf>,
    /// Without the listening port, which is filled in when it is known.
    pub config: Config,
    /// The port to advertise if it is not the listening one.
    pub advertise_port: Option<u16>,
    /// Where the control socket is.
    pub control: ControlPlace,
    /// The address of the page and the metrics.
    pub http: Option<SocketAddrV4>,
    /// Names under which they may be asked for.
    pub http_hosts: Vec<String>,
    /// The folder of finished downloads, if it is not the usual one.
    pub downloads: Option<PathBuf>,
    /// Downloads at one time.
    pub max_downloads: usize,
    /// The program to run for each finished download.
    pub on_complete: Option<PathBuf>,
}
