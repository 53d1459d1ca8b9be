//! HUP: the settings are read again. What can change does, and the log says what changed and what needs
//! a restart.

use super::notify;
use super::run::Run;
use super::settings::Settings;
use crate::driver::{Host, ScanTrigger, ShareRoot, Shares};
use crate::servent::Change;
use std::path::PathBuf;
use std::sync::Arc;

/// The options that differ: those that change at once, and those that need a restart.
#[derive(Debug, Default, PartialEq, Eq)]
struct Differences {
    live: Vec<&'static str>,
    later: Vec<&'static str>,
}

fn differences(old: &Settings, new: &Settings) -> Differences {
    let (a, b) = (&old.config, &new.config);
    let live = [
        ("connect", old.connect != new.connect),
        ("share", old.share != new.share),
        ("include or exclude", old.filter != new.filter),
        ("max-files", old.max_files != new.max_files),
        ("links", a.links != b.links),
        ("max-links", a.max_links != b.max_links),
        ("max-uploads", a.max_uploads != b.max_uploads),
        ("upload-limit", a.upload_limit != b.upload_limit),
        ("downloads", old.downloads != new.downloads),
        ("max-downloads", old.max_downloads != new.max_downloads),
        ("on-complete", old.on_complete != new.on_complete),
    ];
    let later = [
        ("listen", old.listen != new.listen),
        ("advertise", (a.advertise_ip, old.advertise_port) != (b.advertise_ip, new.advertise_port)),
        ("max-leaves", a.max_leaves != b.max_leaves),
        ("dialect", a.dialect != b.dialect),
        ("role", a.role != b.role),
        ("ttl", a.ttl != b.ttl),
        ("speed", (a.speed_kbps, a.speed_known) != (b.speed_kbps, b.speed_known)),
        ("no-pings", a.background_pings != b.background_pings),
        ("scope", a.scope != b.scope),
        ("state", old.state != new.state),
        ("events", old.events != new.events),
        ("control", old.control != new.control),
        ("http", (old.http, &old.http_hosts) != (new.http, &new.http_hosts)),
        ("browse", a.browse != b.browse),
    ];
    let named = |all: &[(&'static str, bool)]| {
        all.iter().filter(|(_, differs)| *differs).map(|(name, _)| *name).collect()
    };
    Differences { live: named(&live), later: named(&later) }
}

impl Run<'_> {
    /// Reads the settings again, and scans the shared folders.
    pub(super) fn reload(&mut self) {
        notify::tell(&format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic_micros()));
        match (self.reread)() {
            Ok(new) => self.adopt(new),
            Err(text) => log::warn!("the settings stay as they are: {text}"),
        }
        log::info!("scanning the shared folders");
        self.scan(ScanTrigger::Asked);
        notify::tell("READY=1");
    }

    fn adopt(&mut self, new: Settings) {
        let found = differences(&self.settings, &new);
        if found == Differences::default() {
            return;
        }
        if let Err(text) = self.apply(&new, &found) {
            return log::warn!("the settings stay as they are: {text}");
        }
        if !found.live.is_empty() {
            log::info!("changed: {}", found.live.join(", "));
        }
        if !found.later.is_empty() {
            log::warn!("changed in the settings, but needs a restart: {}", found.later.join(", "));
        }
        // What needs a restart is told again at the next HUP.
        let old = std::mem::replace(&mut self.settings, new);
        let own = &mut self.settings;
        (own.listen, own.advertise_port, own.state) = (old.listen, old.advertise_port, old.state);
        (own.events, own.control) = (old.events, old.control);
        (own.http, own.http_hosts) = (old.http, old.http_hosts);
        let new = own.config.clone();
        own.config = old.config;
        (own.config.links, own.config.max_links) = (new.links, new.max_links);
        (own.config.max_uploads, own.config.upload_limit) = (new.max_uploads, new.upload_limit);
        self.touch_transfers();
    }

    fn apply(&mut self, new: &Settings, found: &Differences) -> Result<(), String> {
        let open =
            |path: &PathBuf| ShareRoot::open(path).map(Arc::new).map_err(|error| error.to_string());
        let roots = new.share.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let changed = |name: &str| found.live.contains(&name);
        let config = &new.config;
        let change = Change {
            upload_limit: changed("upload-limit").then_some(config.upload_limit),
            max_uploads: changed("max-uploads").then_some(config.max_uploads),
            links: changed("links").then_some(config.links),
            max_links: changed("max-links").then_some(config.max_links),
        };
        self.driver
            .command(|core, now| core.reconfigure(now, &change))
            .map_err(|error| error.to_string())?;
        let gone: Vec<Host> = self
            .settings
            .connect
            .iter()
            .filter(|host| !new.connect.contains(host))
            .cloned()
            .collect();
        for host in gone {
            let addr = match host {
                Host::Addr(addr) => Some(addr),
                Host::Name(host, port) => self.names.remove(&host, port),
            };
            if let Some(addr) = addr {
                self.driver.command(|core, _| core.remove_static_peer(addr));
            }
        }
        for host in &new.connect {
            if !self.settings.connect.contains(host) {
                self.keep_link(host.clone()).map_err(|error| error.to_string())?;
            }
        }
        let (filter, max_files) = (new.filter.clone(), new.max_files);
        self.shares = Arc::new(Shares { roots, filter, max_files });
        Ok(())
    }
}

/// The system's monotonic clock, which a manager compares with its own.
fn monotonic_micros() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::daemon::ControlPlace;
    use crate::driver::Filter;

    fn settings() -> Settings {
        Settings {
            listen: "127.0.0.1:6346".parse().unwrap(),
            connect: Vec::new(),
            share: Vec::new(),
            filter: Filter::new(&[], &[]).unwrap(),
            max_files: 10,
            state: None,
            events: None,
            config: Config::default(),
            advertise_port: None,
            control: ControlPlace::Usual,
            http: None,
            http_hosts: Vec::new(),
            downloads: None,
            max_downloads: 3,
            on_complete: None,
        }
    }

    #[test]
    fn what_changed_is_told_apart_from_what_needs_a_restart() {
        let old = settings();
        assert_eq!(differences(&old, &settings()), Differences::default());
        let mut new = settings();
        new.config.upload_limit = Some(5);
        new.filter = Filter::new(&["*.ogg".to_owned()], &[]).unwrap();
        new.listen = "127.0.0.1:1".parse().unwrap();
        new.config.ttl = 3;
        let found = differences(&old, &new);
        assert_eq!(found.live, ["include or exclude", "upload-limit"]);
        assert_eq!(found.later, ["listen", "ttl"]);
    }
}
