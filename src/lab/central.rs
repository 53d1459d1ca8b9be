//! `central`, as Napster: every node registers its files with one directory node and asks it.
//!
//! A lookup is one message to the directory and one back, whatever the size of the network. The
//! directory holds every (name, holder) pair, learns every search, and nothing works without it.
//! Nodes register anew every minute, so that a directory that lost its memory fills again; a
//! registration replaces the one before.

use super::addr_of;
use super::directory::{Directory, answered};
use super::host::{Held, Host, Io, System, Wanted};
use super::judge::Verdict;
use super::message::{Fields, Head, Purpose, Reader};
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

/// Time between registrations.
const REGISTER_INTERVAL: Duration = Duration::from_secs(60);

/// Bytes of an address.
const ADDR_BYTES: usize = 6;

/// A node, and on the directory node the directory.
#[derive(Debug)]
pub(super) struct Central {
    files: Arc<[String]>,
    server: Option<SocketAddrV4>,
    directory: Directory,
}

impl Central {
    /// A node with these files.
    pub(super) fn new(files: Arc<[String]>) -> Central {
        Central { files, server: None, directory: Directory::default() }
    }

    fn register(&mut self, purpose: Purpose, io: &mut Io) {
        let Some(server) = self.server else { return };
        let fields = self.files.iter().fold(Fields::new(), |fields, name| fields.text(name));
        if server == io.own {
            self.files.iter().for_each(|name| self.directory.add(name, server));
        } else {
            io.tell(server, purpose, &fields);
            io.wake_after(REGISTER_INTERVAL);
        }
    }
}

/// The rule of a settled network: the directory has each file of each node once, and nothing else.
pub(super) fn rule(files: &[Arc<[String]>], live: &[(usize, &Host<Central>)]) -> Verdict {
    let Some((_, server)) = live.first() else { return Ok(()) };
    let directory = &server.system().directory;
    let mut due = (0..).zip(files).flat_map(|(node, names)| names.iter().map(move |it| (node, it)));
    if let Some((node, name)) = due.find(|(node, name)| !directory.has(name, addr_of(*node))) {
        return Err(format!("the directory does not know that node {node} has \"{name}\""));
    }
    let (due, held) =
        (files.iter().map(|names| names.len()).sum::<usize>(), directory.state().entries);
    match held == due {
        true => Ok(()),
        false => Err(format!("the directory has {held} entries, the network {due} files")),
    }
}

impl System for Central {
    /// The first address known is that of the directory.
    fn join(&mut self, known: &[SocketAddrV4], io: &mut Io) {
        self.server = known.first().copied().or(Some(io.own));
        self.register(Purpose::Publish, io);
    }

    fn look_up(&mut self, wanted: &Wanted, io: &mut Io) {
        let Some(server) = self.server else { return };
        if server == io.own {
            let own = self.directory.answer(&wanted.text);
            let bytes = own.map(|fields| Head::new(Purpose::Answer, wanted.guid).frame(&fields));
            let read = bytes.as_deref().and_then(Head::read);
            for (name, holders) in read.into_iter().flat_map(|(_, fields)| answered(fields)) {
                io.found(wanted.guid, name, holders, 0);
            }
            return;
        }
        let head = Head::new(Purpose::Lookup, wanted.guid);
        io.send(server, head, &Fields::new().text(&wanted.text));
    }

    fn message(
        &mut self,
        from: SocketAddrV4,
        head: Head,
        mut fields: Reader<'_>,
        io: &mut Io,
    ) -> Option<()> {
        match head.purpose {
            Purpose::Publish | Purpose::Upkeep => {
                while let Some(name) = fields.text() {
                    self.directory.add(name, from);
                }
            }
            Purpose::Lookup => {
                let found = self.directory.answer(fields.text()?).unwrap_or_default();
                io.send(from, Head::new(Purpose::Answer, head.guid), &found);
            }
            Purpose::Answer => {
                for (name, holders) in answered(fields) {
                    io.found(head.guid, name, holders, 1);
                }
            }
            Purpose::Join => return None,
        }
        Some(())
    }

    fn timeout(&mut self, io: &mut Io) {
        self.register(Purpose::Upkeep, io);
    }

    fn state(&self) -> Held {
        let server = Held::new(usize::from(self.server.is_some()), ADDR_BYTES);
        self.directory.state().and(server)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::host::Participant;
    use crate::rng::Rng;
    use crate::time::Instant;

    #[test]
    fn a_name_that_is_missing_or_too_many_breaks_the_rule() {
        let own: Arc<[String]> = Arc::from(["red river 0001".to_owned()]);
        let mut node = Host::new(Central::new(Arc::clone(&own)), addr_of(0), Rng::new(1));
        let files = [own, Arc::from([])];
        assert!(rule(&files, &[(0, &node)]).is_err_and(|wrong| wrong.contains("does not know")));
        node.join(Instant::ZERO, &[]);
        assert_eq!(rule(&files, &[(0, &node)]), Ok(()));
        let fewer = [Arc::from([]), Arc::from([])];
        assert!(rule(&fewer, &[(0, &node)]).is_err_and(|wrong| wrong.contains("1 entries")));
    }
}
