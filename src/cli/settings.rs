//! From arguments, environment and `servent.toml` to a checked configuration.

use super::args::{RunArgs, ScopeArg};
use super::exit::Failure;
use crate::config::{Config, Scope};
use crate::transfer::url::DEFAULT_PORT;
use etcetera::{BaseStrategy, base_strategy::Xdg};
use serde::Deserialize;
use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};
use std::path::{Path, PathBuf};

/// The same settings as [`RunArgs`], from the file. Unknown keys are errors, so that a typing
/// mistake does not go unnoticed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct FileSettings {
    listen: Option<String>,
    advertise: Option<String>,
    connect: Vec<String>,
    links: Option<usize>,
    max_links: Option<usize>,
    share: Vec<PathBuf>,
    ttl: Option<u8>,
    speed: Option<u32>,
    max_uploads: Option<usize>,
    scope: Option<ScopeArg>,
    state: Option<PathBuf>,
}

/// A host to link with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    /// Ready to be dialled.
    Addr(SocketAddrV4),
    /// To be looked up first.
    Name(String, u16),
}

/// What `run` goes by.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) listen: SocketAddrV4,
    pub(super) connect: Vec<Host>,
    pub(super) share: Vec<PathBuf>,
    pub(super) state: Option<PathBuf>,
    /// The port is filled in when it is known.
    pub(super) config: Config,
    /// The port to advertise if it is not the listening one.
    pub(super) advertise_port: Option<u16>,
}

/// Completes the arguments from the configuration file and checks everything.
pub(super) fn load(args: RunArgs) -> Result<Settings, Failure> {
    check(merge(args, read_file()?))
}

fn merge(args: RunArgs, file: FileSettings) -> RunArgs {
    let or = |args: Vec<String>, file| if args.is_empty() { file } else { args };
    RunArgs {
        listen: args.listen.or(file.listen),
        advertise: args.advertise.or(file.advertise),
        connect: or(args.connect, file.connect),
        links: args.links.or(file.links),
        max_links: args.max_links.or(file.max_links),
        share: if args.share.is_empty() { file.share } else { args.share },
        ttl: args.ttl.or(file.ttl),
        speed: args.speed.or(file.speed),
        max_uploads: args.max_uploads.or(file.max_uploads),
        scope: args.scope.or(file.scope),
        state: args.state.or(file.state),
    }
}

fn check(args: RunArgs) -> Result<Settings, Failure> {
    let defaults = Config::default();
    let listen = match &args.listen {
        None => SocketAddrV4::new(Ipv4Addr::LOCALHOST, DEFAULT_PORT),
        Some(text) => parse_listen(text)?,
    };
    let (advertise_ip, advertise_port) = match &args.advertise {
        None => (None, None),
        Some(text) => parse_advertise(text).map(|(ip, port)| (Some(ip), port))?,
    };
    let max_links = args.max_links.unwrap_or(defaults.max_links);
    let scope = match args.scope {
        None => Scope::of_listener(*listen.ip()),
        Some(ScopeArg::Loopback) => Scope::Loopback,
        Some(ScopeArg::Private) => Scope::Private,
        Some(ScopeArg::Public) => Scope::Public,
    };
    let mut limits = defaults.limits.clone();
    limits.max_connections = limits.max_connections.max(max_links.saturating_add(256));
    let config = Config {
        advertise_ip,
        links: args.links.unwrap_or(defaults.links.min(max_links)),
        max_links,
        ttl: args.ttl.unwrap_or(defaults.ttl),
        speed_kbps: args.speed.unwrap_or(defaults.speed_kbps),
        speed_known: args.speed.is_some(),
        scope,
        max_uploads: args.max_uploads.unwrap_or(defaults.max_uploads),
        limits,
        ..defaults
    };
    config.validate().map_err(|error| Failure::usage(error.to_string()))?;
    let connect = args.connect.iter().map(|text| parse_host(text)).collect::<Result<_, _>>()?;
    Ok(Settings { listen, connect, share: args.share, state: args.state, config, advertise_port })
}

fn parse_listen(text: &str) -> Result<SocketAddrV4, Failure> {
    text.parse().map_err(|_| {
        Failure::usage(format!(
            "--listen takes an IPv4 address and a port such as 127.0.0.1:6346, \"{text}\" was \
             given{}",
            if is_ipv6(text) { ": Gnutella 0.4 knows only IPv4 addresses" } else { "" }
        ))
    })
}

fn parse_advertise(text: &str) -> Result<(Ipv4Addr, Option<u16>), Failure> {
    let parsed = match text.parse::<SocketAddrV4>() {
        Ok(addr) => Some((*addr.ip(), Some(addr.port()))),
        Err(_) => text.parse().ok().map(|ip| (ip, None)),
    };
    parsed.filter(|(ip, port)| !ip.is_unspecified() && *port != Some(0)).ok_or_else(|| {
        Failure::usage(format!(
            "--advertise takes an IPv4 address others can reach, with or without a port, \
             \"{text}\" was given"
        ))
    })
}

/// Reads `HOST[:PORT]`, where HOST is a name or an IPv4 address.
pub(super) fn parse_host(text: &str) -> Result<Host, Failure> {
    let (host, port) = match text.rsplit_once(':') {
        None => (text, Some(DEFAULT_PORT)),
        Some((host, port)) => (host, port.parse().ok().filter(|&port| port != 0)),
    };
    let is_name = !host.is_empty()
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    match (port, host.parse::<Ipv4Addr>()) {
        (Some(port), Ok(ip)) => Ok(Host::Addr(SocketAddrV4::new(ip, port))),
        (Some(port), Err(_)) if is_name => Ok(Host::Name(host.to_owned(), port)),
        _ => Err(Failure::usage(format!(
            "expected HOST or HOST:PORT with a host name or an IPv4 address, \"{text}\" was \
             given{}",
            if is_ipv6(text) { ": Gnutella 0.4 knows only IPv4 addresses" } else { "" }
        ))),
    }
}

fn is_ipv6(text: &str) -> bool {
    let inner = text.strip_prefix('[').and_then(|rest| rest.split(']').next()).unwrap_or(text);
    inner.parse::<Ipv6Addr>().is_ok()
}

fn read_file() -> Result<FileSettings, Failure> {
    let Ok(base) = Xdg::new() else { return Ok(FileSettings::default()) };
    let path = base.config_dir().join("servent").join("servent.toml");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(FileSettings::default()),
        Err(error) => {
            let text = format!("cannot read the settings in {}: {error}", path.display());
            return Err(Failure::disk(text));
        }
    };
    parse_file(&path, &text)
}

fn parse_file(path: &Path, text: &str) -> Result<FileSettings, Failure> {
    toml::from_str(text).map_err(|error| {
        Failure::usage(format!("the settings in {} are wrong: {error}", path.display()))
    })
}

/// Where the servent that listens on `addr` keeps its state.
pub(super) fn default_state(addr: SocketAddrV4) -> Result<PathBuf, Failure> {
    let base = Xdg::new().map_err(|error| {
        Failure::usage(format!("no home folder for the state ({error}): name one with --state"))
    })?;
    let state = base.state_dir().unwrap_or_else(|| base.home_dir().join(".local/state"));
    Ok(state.join("servent").join(format!("{}-{}", addr.ip(), addr.port())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_win_over_the_file_and_the_file_over_defaults() {
        let file = "links = 2\nmax-links = 9\nshare = [\"/a\"]\nconnect = [\"x:1\"]";
        let file = parse_file(Path::new("servent.toml"), file).unwrap();
        let args = RunArgs { links: Some(3), connect: vec!["y".into()], ..RunArgs::default() };
        let settings = check(merge(args, file)).unwrap();
        assert_eq!((settings.config.links, settings.config.max_links), (3, 9));
        assert_eq!(settings.share, [PathBuf::from("/a")]);
        assert_eq!(settings.connect, [Host::Name("y".into(), 6346)]);
        assert_eq!(settings.config.ttl, 7);
    }

    #[test]
    fn a_typing_mistake_in_the_file_is_named() {
        let error = parse_file(Path::new("servent.toml"), "max_links = 9").unwrap_err();
        assert_eq!(error.code(), 2);
        assert!(error.text().contains("max_links"), "{}", error.text());
    }

    #[test]
    fn hosts() {
        let addr = |text: &str| Host::Addr(text.parse().unwrap());
        assert_eq!(parse_host("127.0.0.1").unwrap(), addr("127.0.0.1:6346"));
        assert_eq!(parse_host("127.0.0.1:5").unwrap(), addr("127.0.0.1:5"));
        assert_eq!(parse_host("a.example:5").unwrap(), Host::Name("a.example".into(), 5));
        for wrong in ["", ":5", "a:0", "a:x", "a b", "::1", "[::1]:6346", "http://a"] {
            assert_eq!(parse_host(wrong).unwrap_err().code(), 2, "{wrong}");
        }
        assert!(parse_host("::1").unwrap_err().text().contains("IPv4"));
    }
}
