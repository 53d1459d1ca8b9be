//! The control socket: clients on a Unix socket, one JSON object a line in both directions.
//!
//! What a client can make this servent hold is bounded: a line in, and lines out up to
//! [`MAX_OUTPUT_BYTES`] beyond which no more of its requests are read and records of events are lost.
//! Each client has one request answered in a turn of the loop, and all together a few, so that those that
//! ask without pause slow links little.

use crate::control::message::MAX_REQUEST_BYTES;
use crate::control::place;
use crate::driver::OWNER_TOKENS;
use mio::net::{UnixListener, UnixStream};
use mio::{Interest, Registry, Token};
use slab::Slab;
use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};

/// Most clients; further ones are closed at once.
pub const MAX_CLIENTS: usize = 64;
/// Most requests answered in one turn of the loop, whose links wait meanwhile.
const REQUESTS_PER_TURN: usize = 4;
/// Waiting output above which a client loses records and is read no further.
const MAX_OUTPUT_BYTES: usize = 256 * 1024;
/// Waiting output beyond [`MAX_OUTPUT_BYTES`] at which a client is closed that asks and reads nothing: the
/// longest answers, a thousand downloads with all their sources, fit into it.
const ANSWER_BYTES: usize = 4 * 1024 * 1024;
/// Most bytes a client holds: a line and a read beyond it, what waits to be sent, and an answer behind that;
/// buffers grow by doubling.
pub const CLIENT_BYTES: usize =
    2 * (MAX_REQUEST_BYTES + 4096) + 2 * (MAX_OUTPUT_BYTES + ANSWER_BYTES);
const LISTENER: Token = Token(OWNER_TOKENS.start);
const FIRST_CLIENT: usize = OWNER_TOKENS.start + 1;
/// Tokens of this door.
pub(super) const TOKENS: std::ops::Range<usize> =
    OWNER_TOKENS.start..OWNER_TOKENS.start + 1 + MAX_CLIENTS;

/// Names a client; no later one has the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    index: usize,
    number: u64,
}

/// The listening socket and its clients.
#[derive(Debug)]
pub(super) struct Door {
    listener: UnixListener,
    path: PathBuf,
    clients: Slab<Client>,
    next_number: u64,
    /// The first client to be looked at in the next turn.
    next_index: usize,
    /// Clients that ended and were not reported yet.
    gone: Vec<Key>,
}

#[derive(Debug)]
struct Client {
    stream: UnixStream,
    number: u64,
    input: Vec<u8>,
    /// Bytes of it that are known to hold no end of a line.
    scanned: usize,
    output: Vec<u8>,
    sent: usize,
    /// The socket may have more to read.
    readable: bool,
    /// The client will send no more.
    input_ended: bool,
    /// The client is gone: nothing reaches it any more.
    hung_up: bool,
    /// Requests without a reply, and subscriptions: reasons to keep a client that sends no more.
    owed: usize,
}

impl Door {
    /// Listens at `path`, in whose folder nobody else may look. A socket that nobody answers is replaced.
    ///
    /// # Errors
    /// With a sentence: the path is too long, a servent answers there, the folder cannot be written.
    pub(super) fn open(path: &Path, registry: &Registry) -> Result<Door, String> {
        place::check_path(path)?;
        let fail = |error: io::Error| {
            format!(
                "cannot open the control socket {}: {error}; choose another with --control, or run \
                 without with --no-control",
                path.display()
            )
        };
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(fail)?;
        }
        match StdStream::connect(path) {
            Ok(_) => return Err(format!("a servent answers on {} already", path.display())),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                fs::remove_file(path).map_err(fail)?;
            }
            Err(_) => {}
        }
        let mut listener = bind(path).map_err(fail)?;
        registry.register(&mut listener, LISTENER, Interest::READABLE).map_err(fail)?;
        let path = path.to_owned();
        Ok(Door {
            listener,
            path,
            clients: Slab::new(),
            next_number: 0,
            next_index: 0,
            gone: Vec::new(),
        })
    }

    /// Number of clients.
    pub(super) fn len(&self) -> usize {
        self.clients.len()
    }

    /// Something happened on one of this door's sockets.
    pub(super) fn handle(&mut self, registry: &Registry, event: &mio::event::Event) {
        if event.token() == LISTENER {
            return self.accept(registry);
        }
        let Some(index) = event.token().0.checked_sub(FIRST_CLIENT) else { return };
        let Some(client) = self.clients.get_mut(index) else { return };
        client.readable |= event.is_readable() || event.is_error();
        client.hung_up |= event.is_read_closed() && event.is_write_closed();
        if event.is_writable() {
            self.flush(index);
        }
    }

    fn accept(&mut self, registry: &Registry) {
        // mio reports each readiness once: all that wait are accepted.
        loop {
            match self.listener.accept() {
                Ok((mut stream, _)) => {
                    if self.clients.len() >= MAX_CLIENTS {
                        continue;
                    }
                    let slot = self.clients.vacant_entry();
                    let token = Token(FIRST_CLIENT + slot.key());
                    let interest = Interest::READABLE | Interest::WRITABLE;
                    if registry.register(&mut stream, token, interest).is_err() {
                        continue;
                    }
                    let number = self.next_number;
                    self.next_number += 1;
                    slot.insert(Client {
                        stream,
                        number,
                        input: Vec::new(),
                        scanned: 0,
                        output: Vec::new(),
                        sent: 0,
                        readable: true,
                        input_ended: false,
                        hung_up: false,
                        owed: 0,
                    });
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    /// The requests of this turn: at most one of each client, and [`REQUESTS_PER_TURN`] in all, from the
    /// clients whose turn it is.
    pub(super) fn requests(&mut self) -> Vec<(Key, Vec<u8>)> {
        let mut indexes: Vec<usize> = self.clients.iter().map(|(index, _)| index).collect();
        let first = indexes.partition_point(|index| *index < self.next_index);
        indexes.rotate_left(first);
        let mut requests = Vec::new();
        for index in indexes {
            if requests.len() == REQUESTS_PER_TURN {
                self.next_index = index;
                break;
            }
            let Some(client) = self.clients.get_mut(index) else { continue };
            match client.next_line() {
                Ok(Some(line)) => {
                    client.owed += 1;
                    requests.push((Key { index, number: client.number }, line));
                }
                Ok(None) if client.is_over() => self.close(index),
                Ok(None) => {}
                Err(_) => self.close(index),
            }
        }
        requests
    }

    /// Whether a client has more to be looked at without waiting for its socket.
    pub(super) fn is_busy(&self) -> bool {
        self.clients.iter().any(|(_, client)| client.may_have_more())
    }

    /// A client that has ended; told once.
    pub(super) fn next_gone(&mut self) -> Option<Key> {
        self.gone.pop()
    }

    /// Sends the reply to a request.
    pub(super) fn answer(&mut self, key: Key, line: &str) {
        if let Some(client) = self.get(key) {
            client.owed = client.owed.saturating_sub(1);
            self.send(key, line);
        }
    }

    /// A request that wants no reply is done.
    pub(super) fn forget(&mut self, key: Key) {
        if let Some(client) = self.get(key) {
            client.owed = client.owed.saturating_sub(1);
        }
    }

    /// The client is kept while it is subscribed, even if it sends no more.
    pub(super) fn keep(&mut self, key: Key) {
        if let Some(client) = self.get(key) {
            client.owed += 1;
        }
    }

    /// Sends a notification that belongs to a request.
    pub(super) fn notify(&mut self, key: Key, line: &str) {
        self.send(key, line);
    }

    fn send(&mut self, key: Key, line: &str) {
        let Some(client) = self.get(key) else { return };
        client.add(line);
        match client.unsent() > MAX_OUTPUT_BYTES + ANSWER_BYTES {
            true => self.close(key.index),
            false => self.flush(key.index),
        }
    }

    /// Whether a client reads what it is told.
    pub(super) fn has_room(&mut self, key: Key) -> bool {
        self.get(key).is_some_and(|client| client.unsent() < MAX_OUTPUT_BYTES)
    }

    fn get(&mut self, key: Key) -> Option<&mut Client> {
        self.clients.get_mut(key.index).filter(|client| client.number == key.number)
    }

    fn flush(&mut self, index: usize) {
        let Some(client) = self.clients.get_mut(index) else { return };
        if client.flush().is_err() {
            self.close(index);
        }
    }

    /// Sends what sockets take at the end of the program.
    pub(super) fn flush_all(&mut self) {
        let indexes: Vec<usize> = self.clients.iter().map(|(index, _)| index).collect();
        indexes.into_iter().for_each(|index| self.flush(index));
    }

    fn close(&mut self, index: usize) {
        if let Some(client) = self.clients.try_remove(index) {
            self.gone.push(Key { index, number: client.number });
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl Client {
    /// The next request, if one is complete.
    ///
    /// # Errors
    /// The line is too long, or the socket fails.
    fn next_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        if self.unsent() >= MAX_OUTPUT_BYTES && !self.hung_up {
            return Ok(None);
        }
        loop {
            if self.scanned == 0 {
                // Blank lines ask nothing, and are many for their bytes.
                let is_text = |byte: &u8| !byte.is_ascii_whitespace();
                let blank = self.input.iter().position(is_text).unwrap_or(self.input.len());
                self.input.drain(..blank);
            }
            if let Some(end) = memchr::memchr(b'\n', &self.input[self.scanned..]) {
                let mut line: Vec<u8> = self.input.drain(..=self.scanned + end).collect();
                line.pop();
                self.scanned = 0;
                return Ok(Some(line));
            }
            self.scanned = self.input.len();
            if self.input.len() > MAX_REQUEST_BYTES {
                return Err(ErrorKind::InvalidData.into());
            }
            if !self.readable || self.input_ended {
                // A last line without an end is a line too.
                let is_last = self.input_ended && !self.input.is_empty();
                self.scanned = if is_last { 0 } else { self.scanned };
                return Ok(is_last.then(|| std::mem::take(&mut self.input)));
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) => self.input_ended = true,
                Ok(count) => self.input.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.readable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn may_have_more(&self) -> bool {
        let has_input = self.readable && !self.input_ended || self.scanned < self.input.len();
        has_input && self.unsent() < MAX_OUTPUT_BYTES || self.is_over()
    }

    /// Nothing more comes from it, and nothing is owed to it.
    fn is_over(&self) -> bool {
        let is_done = self.owed == 0 && self.unsent() == 0;
        self.input_ended && self.input.is_empty() && (is_done || self.hung_up)
    }

    fn unsent(&self) -> usize {
        self.output.len() - self.sent
    }

    fn add(&mut self, line: &str) {
        self.output.extend_from_slice(line.as_bytes());
        self.output.push(b'\n');
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.sent < self.output.len() {
            match self.stream.write(&self.output[self.sent..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.output.clear();
        self.output.shrink_to(MAX_REQUEST_BYTES);
        self.sent = 0;
        Ok(())
    }
}

/// A socket that only this user can connect to from its first moment on: it is made under another name.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let mut draft = path.as_os_str().to_owned();
    draft.push("~");
    let draft = match place::check_path(Path::new(&draft)) {
        Ok(()) => PathBuf::from(draft),
        Err(_) => path.to_owned(),
    };
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&draft)?;
    fs::set_permissions(&draft, Permissions::from_mode(0o600))?;
    if draft != path {
        fs::rename(&draft, path)?;
    }
    Ok(listener)
}
