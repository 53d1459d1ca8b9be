//! Settings of `run`, from flags, variables and `servent.toml`, checked.

use super::args::{DialectArg, RoleArg, RunArgs, ScopeArg};
use super::exit::Failure;
use super::values::amount;
use crate::config::{Config, Role, Scope};
use crate::control::place;
use crate::daemon::{ControlPlace, Settings};
use crate::driver::{Filter, Host, HostError, is_ipv6};
use crate::library::MAX_FILES;
use crate::transfer::url::DEFAULT_PORT;
use clap::parser::ValueSource;
use clap::{ArgMatches, FromArgMatches};
use etcetera::{BaseStrategy, base_strategy::Xdg};
use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};

/// Files shared unless `--max-files` says otherwise. A folder given by mistake, such as `/`, is not
/// indexed as a whole.
const USUAL_MAX_FILES: usize = 1_000_000;

/// Downloads at one time unless `--max-downloads` says otherwise.
const USUAL_MAX_DOWNLOADS: usize = 3;

/// Each active download takes a socket and a file.
const MAX_DOWNLOADS: usize = 64;

/// Ultrapeers that a leaf keeps links with: each sends it what it may answer, and one may go.
const LEAF_LINKS: usize = 3;

/// The settings: flags and variables `given`, the rest from the configuration file.
pub(super) fn load(given: &ArgMatches) -> Result<(Settings, bool), Failure> {
    let file = match given.get_one::<PathBuf>("config") {
        Some(path) => read_file(path, true)?,
        None => read_usual_file()?,
    };
    let args = merge(file, given)?;
    let explain_limits = args.explain_limits;
    Ok((check(args)?, explain_limits))
}

fn merge(file: RunArgs, given: &ArgMatches) -> Result<RunArgs, Failure> {
    let (no_pings, no_control, browse) = (file.no_pings, file.no_control, file.browse);
    let mut merged = over(file, given)?;
    // A flag that is not given says nothing.
    merged.no_pings |= no_pings;
    merged.no_control |= no_control && given.value_source("control").is_none();
    merged.browse |= browse;
    if given.value_source("share") == Some(ValueSource::EnvVariable) {
        let folders = merged.share.iter().flat_map(std::env::split_paths);
        merged.share = folders.filter(|folder| !folder.as_os_str().is_empty()).collect();
    }
    Ok(merged)
}

/// The options of a file, those that are `given` as flags or variables in their place.
pub(super) fn over<T: FromArgMatches>(mut file: T, given: &ArgMatches) -> Result<T, Failure> {
    let merged = file.update_from_arg_matches(given);
    merged.map_err(|error| Failure::usage(error.to_string()))?;
    Ok(file)
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
    let role = match args.role {
        None | Some(RoleArg::Ultrapeer) => Role::Servent,
        Some(RoleArg::Leaf) => Role::Leaf,
    };
    let usual_links = if role == Role::Leaf { LEAF_LINKS } else { defaults.links };
    // A leaf has none of its own.
    let max_leaves = match role {
        Role::Leaf => 0,
        _ => args.max_leaves.unwrap_or(defaults.max_leaves),
    };
    let mut limits = defaults.limits.clone();
    let links_and_leaves = max_links.saturating_add(max_leaves);
    limits.max_connections = limits.max_connections.max(links_and_leaves.saturating_add(256));
    let config = Config {
        role,
        dialect: args.dialect.and_then(DialectArg::only),
        max_leaves,
        advertise_ip,
        links: args.links.unwrap_or(usual_links.min(max_links)),
        max_links,
        ttl: args.ttl.unwrap_or(defaults.ttl),
        speed_kbps: args.speed.unwrap_or(defaults.speed_kbps),
        speed_known: args.speed.is_some(),
        scope,
        browse: args.browse,
        background_pings: !args.no_pings,
        max_uploads: args.max_uploads.unwrap_or(defaults.max_uploads),
        upload_limit: args.upload_limit.as_deref().map(parse_rate).transpose()?,
        limits,
        ..defaults
    };
    config.validate().map_err(|error| Failure::usage(error.to_string()))?;
    let connect = args.connect.iter().map(|text| parse_host(text)).collect::<Result<_, _>>()?;
    let filter = Filter::new(&args.include, &args.exclude)
        .map_err(|error| Failure::usage(error.to_string()))?;
    Ok(Settings {
        listen,
        connect,
        share: args.share,
        filter,
        max_files: parse_max_files(args.max_files)?,
        state: args.state,
        events: args.events,
        config,
        advertise_port,
        control: match args.control {
            _ if args.no_control => ControlPlace::Off,
            None => ControlPlace::Usual,
            Some(path) => ControlPlace::At(path),
        },
        http: args.http.as_deref().map(parse_http).transpose()?,
        http_hosts: args.http_host,
        downloads: args.downloads,
        max_downloads: parse_max_downloads(args.max_downloads)?,
        on_complete: args.on_complete,
    })
}

/// The address after `--http`.
pub(super) fn parse_http(text: &str) -> Result<SocketAddrV4, Failure> {
    text.parse().map_err(|_| {
        Failure::usage(format!(
            "--http takes an IPv4 address and a port such as 127.0.0.1:8080, \"{text}\" was given"
        ))
    })
}

fn parse_max_downloads(given: Option<usize>) -> Result<usize, Failure> {
    match given.unwrap_or(USUAL_MAX_DOWNLOADS) {
        0 => Err(Failure::usage("--max-downloads 0 would never begin a download: give at least 1")),
        downloads if downloads > MAX_DOWNLOADS => Err(Failure::usage(format!(
            "--max-downloads takes a number from 1 to {MAX_DOWNLOADS}, {downloads} was given"
        ))),
        downloads => Ok(downloads),
    }
}

fn parse_max_files(given: Option<usize>) -> Result<usize, Failure> {
    match given.unwrap_or(USUAL_MAX_FILES) {
        0 => Err(Failure::usage("--max-files 0 shares nothing: leave out --share instead")),
        files if files > MAX_FILES => Err(Failure::usage(format!(
            "--max-files takes a number from 1 to {MAX_FILES}, {files} was given"
        ))),
        files => Ok(files),
    }
}

/// Reads bytes per second such as `2000`, `500k` or `2.5M`; the letters stand for powers of 1000.
fn parse_rate(text: &str) -> Result<u64, Failure> {
    match amount(text) {
        Some(0) => Err(Failure::usage(
            "--upload-limit 0 would never finish an upload: leave it out for no limit, or give at \
             least 1",
        )),
        Some(rate) => Ok(rate),
        None => Err(Failure::usage(format!(
            "--upload-limit takes bytes per second such as 2000, 500k, 2.5M or 1G, \"{text}\" was \
             given"
        ))),
    }
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

/// Reads `HOST[:PORT]`.
pub(super) fn parse_host(text: &str) -> Result<Host, Failure> {
    text.parse().map_err(|error: HostError| Failure::usage(error.to_string()))
}

/// The file in the XDG configuration folder; none is like an empty one.
fn read_usual_file() -> Result<RunArgs, Failure> {
    if let Some(path) = std::env::var_os("SERVENT_CONFIG").filter(|path| !path.is_empty()) {
        return read_file(Path::new(&path), true);
    }
    match Xdg::new() {
        Ok(base) => read_file(&base.config_dir().join("servent").join("servent.toml"), false),
        Err(_) => Ok(RunArgs::default()),
    }
}

fn read_file(path: &Path, must_exist: bool) -> Result<RunArgs, Failure> {
    match fs::read_to_string(path) {
        Ok(text) => parse_file(path, &text),
        Err(error) if error.kind() == ErrorKind::NotFound && !must_exist => Ok(RunArgs::default()),
        Err(error) => {
            let text = format!("cannot read the settings in {}: {error}", path.display());
            Err(Failure::disk(text))
        }
    }
}

fn parse_file(path: &Path, text: &str) -> Result<RunArgs, Failure> {
    toml::from_str(text).map_err(|error| {
        let reason = plain_reason(&error);
        Failure::usage(format!("the settings in {} are wrong: {reason}", path.display()))
    })
}

/// The error in a TOML file, with words for the names of types.
pub(super) fn plain_reason(error: &toml::de::Error) -> String {
    let mut reason = error.to_string();
    for number in ["usize", "u8", "u16", "u32", "u64", "f64"] {
        reason = reason.replace(&format!("expected {number}"), "expected a number");
    }
    reason
        .replace("expected a sequence", "expected a list such as [\"/srv/a\", \"/srv/b\"]")
        .replace("expected a boolean", "expected true or false")
}

/// The servent that commands use by default: the address that `run` would listen on, and
/// the address to dial.
pub(super) fn usual_servent() -> Result<(SocketAddrV4, SocketAddrV4), Failure> {
    let named = std::env::var("SERVENT_LISTEN").ok().filter(|text| !text.is_empty());
    let listen = match named {
        Some(text) => Some(text),
        None => read_usual_file()?.listen,
    };
    let default = SocketAddrV4::new(Ipv4Addr::LOCALHOST, DEFAULT_PORT);
    let mut listen = listen.map_or(Ok(default), |text| parse_listen(&text))?;
    if listen.port() == 0 {
        listen.set_port(DEFAULT_PORT);
    }
    let mut dialled = listen;
    if listen.ip().is_unspecified() {
        dialled.set_ip(Ipv4Addr::LOCALHOST);
    }
    Ok((listen, dialled))
}

/// The control socket of the servent that commands use by default.
pub(super) fn usual_socket() -> Result<Option<PathBuf>, Failure> {
    let (listen, _) = usual_servent()?;
    let file = read_usual_file()?;
    let variable = |name| std::env::var_os(name).filter(|it| !it.is_empty()).map(PathBuf::from);
    let named = variable("SERVENT_CONTROL").or(file.control);
    let state = variable("SERVENT_STATE").or(file.state).or_else(|| default_state(listen).ok());
    Ok(named.or_else(|| Some(place::default_socket(listen, &state?))))
}

/// The default state folder of the servent that listens on `addr`.
pub(super) fn default_state(addr: SocketAddrV4) -> Result<PathBuf, Failure> {
    place::default_state(addr).map_err(|error| {
        Failure::usage(format!("no home folder for the state ({error}): name one with --state"))
    })
}

/// Where one-shot commands keep what the addresses they dialled speak.
pub(super) fn dialects_file() -> Option<PathBuf> {
    place::states().ok().map(|states| states.join("dialects"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args, Command};

    /// The options that this line gives.
    fn given(line: &str) -> ArgMatches {
        RunArgs::augment_args(Command::new("run")).get_matches_from(line.split(' '))
    }

    #[test]
    fn arguments_win_over_the_file_and_the_file_over_defaults() {
        let file = "links = 2\nmax-links = 9\nshare = [\"/a\"]\nconnect = [\"x:1\"]\nevents = \"e\"\n\
                    no-pings = true\nupload-limit = 500000";
        let file = parse_file(Path::new("servent.toml"), file).unwrap();
        let merged = merge(file, &given("run --links 3 --connect y --connect z")).unwrap();
        let settings = check(merged).unwrap();
        assert_eq!((settings.config.links, settings.config.max_links), (3, 9));
        assert_eq!(settings.share, [PathBuf::from("/a")]);
        assert_eq!(settings.connect, ["y", "z"].map(|host| Host::Name(host.into(), 6346)));
        assert_eq!((settings.config.ttl, settings.config.background_pings), (7, false));
        assert_eq!(settings.config.upload_limit, Some(500_000));
        assert_eq!(settings.events, Some(PathBuf::from("e")));
    }

    #[test]
    fn a_typing_mistake_in_the_file_is_named() {
        for key in ["max_links", "explain-limits"] {
            let error = parse_file(Path::new("servent.toml"), &format!("{key} = 9")).unwrap_err();
            assert_eq!(error.code(), 2);
            assert!(error.text().contains(key), "{}", error.text());
        }
    }

    #[test]
    fn a_rate_of_nothing_is_refused() {
        assert_eq!(parse_rate("2.5M").unwrap(), 2_500_000);
        let error = parse_rate("1kB").unwrap_err();
        assert_eq!(error.code(), 2);
        assert!(error.text().contains("2.5M"), "{}", error.text());
        for nothing in ["0", "0.0k", "0.1"] {
            assert!(parse_rate(nothing).unwrap_err().text().contains("no limit"), "{nothing}");
        }
    }
}
