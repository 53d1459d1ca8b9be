//! Host names given to `--connect`. A name is looked up again when its address cannot be dialled, since
//! the address may have changed.

use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

/// Time until a name that was not found, or whose address cannot be dialled, is looked up again.
const RESOLVE_INTERVAL: Duration = Duration::from_secs(60);

/// The names and their addresses.
#[derive(Default)]
pub(super) struct Names(Vec<Name>);

struct Name {
    host: String,
    port: u16,
    /// Its most recent address.
    addr: Option<SocketAddrV4>,
    looked_up: Instant,
    /// It was not found, or its address cannot be dialled: it is to be looked up again.
    again: bool,
}

/// The change of static peers after a look-up.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PeerChange {
    /// The address to keep a link with.
    pub(super) keep: SocketAddrV4,
    /// The address it had before, if no other name has it.
    pub(super) instead_of: Option<SocketAddrV4>,
}

impl Names {
    /// Adds a name whose look-up was started.
    pub(super) fn add(&mut self, now: Instant, host: String, port: u16) {
        self.0.push(Name { host, port, addr: None, looked_up: now, again: false });
    }

    /// A look-up found an address.
    pub(super) fn found(
        &mut self,
        host: &str,
        port: u16,
        addr: SocketAddrV4,
    ) -> Option<PeerChange> {
        let name = self.get(host, port)?;
        let before = name.addr.replace(addr);
        let gone = before.filter(|before| *before != addr);
        let shared = |gone: &SocketAddrV4| self.0.iter().any(|name| name.addr == Some(*gone));
        Some(PeerChange { keep: addr, instead_of: gone.filter(|gone| !shared(gone)) })
    }

    /// A look-up failed.
    pub(super) fn not_found(&mut self, host: &str, port: u16) {
        if let Some(name) = self.get(host, port) {
            name.again = true;
        }
    }

    /// A dial failed: names with this address are to be looked up again.
    pub(super) fn failed(&mut self, addr: SocketAddrV4) {
        let failed = self.0.iter_mut().filter(|name| name.addr == Some(addr));
        failed.for_each(|name| name.again = true);
    }

    /// Whether it is one of them.
    pub(super) fn contains(&self, host: &str, port: u16) -> bool {
        self.0.iter().any(|name| name.host == host && name.port == port)
    }

    /// A name is of no interest any more. Returns its most recent address.
    pub(super) fn remove(&mut self, host: &str, port: u16) -> Option<SocketAddrV4> {
        let at = self.0.iter().position(|name| name.host == host && name.port == port)?;
        self.0.remove(at).addr
    }

    /// Time of the next look-up.
    pub(super) fn next(&self) -> Option<Instant> {
        let again = self.0.iter().filter(|name| name.again);
        again.map(|name| name.looked_up + RESOLVE_INTERVAL).min()
    }

    /// A name whose look-up is due.
    pub(super) fn due(&mut self, now: Instant) -> Option<(String, u16)> {
        let due = |name: &&mut Name| name.again && name.looked_up + RESOLVE_INTERVAL <= now;
        let name = self.0.iter_mut().find(due)?;
        (name.again, name.looked_up) = (false, now);
        Some((name.host.clone(), name.port))
    }

    fn get(&mut self, host: &str, port: u16) -> Option<&mut Name> {
        self.0.iter_mut().find(|name| name.host == host && name.port == port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_whose_address_fails_is_looked_up_again_and_may_move() {
        let [old, new] = ["127.0.0.2:1", "127.0.0.3:1"].map(|addr| addr.parse().unwrap());
        let (mut names, start) = (Names::default(), Instant::now());
        names.add(start, "a.example".into(), 1);
        names.add(start, "b.example".into(), 1);
        assert_eq!(names.next(), None, "both are being looked up");
        let kept = |keep, instead_of| Some(PeerChange { keep, instead_of });
        assert_eq!(names.found("a.example", 1, old), kept(old, None));
        names.not_found("b.example", 1);
        assert_eq!(names.due(start), None);
        let later = start + RESOLVE_INTERVAL;
        assert_eq!(names.next(), Some(later));
        assert_eq!(names.due(later), Some(("b.example".into(), 1)));
        assert_eq!(names.due(later), None);
        assert_eq!(names.found("b.example", 1, old), kept(old, None));

        names.failed(old);
        let due: Vec<_> = std::iter::from_fn(|| names.due(later + RESOLVE_INTERVAL)).collect();
        assert_eq!(due.len(), 2, "both have that address");
        assert_eq!(names.found("a.example", 1, new), kept(new, None), "the other still has it");
        assert_eq!(names.found("b.example", 1, new), kept(new, Some(old)));
        assert_eq!(names.found("b.example", 1, new), kept(new, None));
        assert_eq!(names.found("c.example", 1, new), None, "nobody asked for it");
    }
}
