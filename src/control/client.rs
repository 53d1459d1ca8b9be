//! A client of the control socket: one connection, blocking, with a limit on every wait.
//!
//! Notifications that arrive before a reply are kept for [`Client::receive`], or handed over as they
//! come by [`Client::follow`].

use super::message::{Request, RpcError, ServerLine};
use super::place;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longest wait for the reply to a request that takes no time.
pub const REPLY_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest line of a servent. A reply lists at most some thousands of hosts, links or transfers.
const MAX_LINE_BYTES: usize = 16 * 1024 * 1024;

/// Most notifications kept while a reply is waited for; the oldest are dropped beyond.
const MAX_KEPT: usize = 10_000;

/// Longest wait between two looks at whether to go on.
const SLICE: Duration = Duration::from_millis(100);

/// Bytes read at once.
const READ_BYTES: usize = 64 * 1024;

/// Why a request has no result.
#[derive(Debug)]
pub enum ClientError {
    /// Nobody answers at this socket.
    NotRunning(PathBuf, io::Error),
    /// The connection ended.
    Gone(PathBuf),
    /// No reply in time.
    Silent(PathBuf, Duration),
    /// The bytes that came are no lines of a servent.
    NotAServent(PathBuf, String),
    /// The servent refused the request.
    Refused(RpcError),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::NotRunning(socket, error) => {
                let socket = socket.display();
                match error.kind() {
                    ErrorKind::NotFound => write!(f, "there is no control socket {socket}"),
                    ErrorKind::ConnectionRefused => {
                        write!(f, "nobody answers at {socket}: the servent that made it has gone")
                    }
                    ErrorKind::PermissionDenied => {
                        write!(
                            f,
                            "{socket} belongs to another user, who alone may steer its servent"
                        )
                    }
                    ErrorKind::WouldBlock => write!(
                        f,
                        "the servent at {socket} takes no connections: it hangs, or is stopped"
                    ),
                    _ => write!(f, "cannot connect to {socket}: {error}"),
                }
            }
            ClientError::Gone(socket) => {
                write!(f, "the servent at {} has gone", socket.display())
            }
            ClientError::Silent(socket, waited) => write!(
                f,
                "no answer from the servent at {} for {} s: it hangs, or is stopped",
                socket.display(),
                waited.as_secs()
            ),
            ClientError::NotAServent(socket, text) => {
                write!(f, "{} is not the control socket of a servent: {text}", socket.display())
            }
            ClientError::Refused(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for ClientError {}

/// A connection to a running servent.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
    stream: UnixStream,
    /// Bytes that came.
    bytes: Vec<u8>,
    /// How many of them have been taken as lines.
    taken: usize,
    /// How many of them are known to hold no further end of a line.
    scanned: usize,
    /// Notifications that came before a reply.
    kept: VecDeque<ServerLine>,
    next_id: u64,
}

impl Client {
    /// Connects to the control socket at `socket`.
    ///
    /// # Errors
    /// When nobody answers there.
    pub fn connect(socket: &Path) -> Result<Client, ClientError> {
        Client::with(socket, place::connect(socket))
    }

    /// Connects to the control socket at `socket`, without waiting for a servent that hangs.
    ///
    /// # Errors
    /// When nobody answers there, or the servent would have to be waited for.
    pub fn connect_now(socket: &Path) -> Result<Client, ClientError> {
        Client::with(socket, place::connect_now(socket))
    }

    fn with(socket: &Path, stream: io::Result<UnixStream>) -> Result<Client, ClientError> {
        let stream = stream.map_err(|error| ClientError::NotRunning(socket.to_owned(), error))?;
        Ok(Client {
            socket: socket.to_owned(),
            stream,
            bytes: Vec::new(),
            taken: 0,
            scanned: 0,
            kept: VecDeque::new(),
            next_id: 1,
        })
    }

    /// The path of the socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Asks, and waits for the result.
    ///
    /// # Errors
    /// When the servent refuses, is gone, or sends no reply within [`REPLY_TIMEOUT`].
    pub fn call(&mut self, method: &str, params: &impl Serialize) -> Result<Value, ClientError> {
        let id = self.send(method, params)?;
        let until = Instant::now() + REPLY_TIMEOUT;
        loop {
            match self.read_line(until)? {
                Some(ServerLine::Reply { id: of, outcome }) if of == id => {
                    return outcome.map_err(ClientError::Refused);
                }
                // The reply to a request that was given up.
                Some(ServerLine::Reply { .. }) => {}
                Some(notification) => {
                    if self.kept.len() == MAX_KEPT {
                        self.kept.pop_front();
                    }
                    self.kept.push_back(notification);
                }
                None if Instant::now() < until => {}
                None => return Err(self.silent(REPLY_TIMEOUT)),
            }
        }
    }

    /// Asks, and reads the result.
    ///
    /// # Errors
    /// As [`Client::call`]; also when the result is another than was expected.
    pub fn ask<T: DeserializeOwned>(
        &mut self,
        method: &str,
        params: &impl Serialize,
    ) -> Result<T, ClientError> {
        let result = self.call(method, params)?;
        serde_json::from_value(result).map_err(|error| {
            self.not_a_servent(format!("{method} returned something else: {error}"))
        })
    }

    /// Asks, and hands what comes before the result to `each`, until it says `false`. `wait` is how long
    /// the reply may take beside [`REPLY_TIMEOUT`]. Returns `None` if `each` ended it, which is also
    /// asked with `None` after a signal and every tenth of a second.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn follow<E: From<ClientError>>(
        &mut self,
        method: &str,
        params: &impl Serialize,
        wait: Duration,
        mut each: impl FnMut(Option<(&str, Value)>) -> Result<bool, E>,
    ) -> Result<Option<Value>, E> {
        let id = self.send(method, params)?;
        let wait = wait.saturating_add(REPLY_TIMEOUT);
        let until = Instant::now() + wait;
        loop {
            let now = Instant::now();
            let goes_on = match self.receive((now + SLICE).min(until))? {
                Some(ServerLine::Reply { id: of, outcome }) if of == id => {
                    return Ok(Some(outcome.map_err(ClientError::Refused)?));
                }
                Some(ServerLine::Reply { .. }) => true,
                Some(ServerLine::Notification { method, params }) => each(Some((&method, params)))?,
                None if now >= until => return Err(self.silent(wait).into()),
                None => each(None)?,
            };
            if !goes_on {
                return Ok(None);
            }
        }
    }

    /// Hands what comes to `each`, until it says `false`; see [`Client::follow`].
    ///
    /// # Errors
    /// When the servent is gone, or sends what no servent does.
    pub fn listen<E: From<ClientError>>(
        &mut self,
        mut each: impl FnMut(Option<(&str, Value)>) -> Result<bool, E>,
    ) -> Result<(), E> {
        loop {
            let goes_on = match self.receive(Instant::now() + SLICE)? {
                Some(ServerLine::Notification { method, params }) => each(Some((&method, params)))?,
                Some(ServerLine::Reply { .. }) => true,
                None => each(None)?,
            };
            if !goes_on {
                return Ok(());
            }
        }
    }

    /// Sends a request and returns its id, for [`Client::receive`].
    ///
    /// # Errors
    /// When the servent is gone or reads nothing for [`REPLY_TIMEOUT`].
    pub fn send(&mut self, method: &str, params: &impl Serialize) -> Result<u64, ClientError> {
        let id = self.next_id;
        self.next_id += 1;
        let params = serde_json::to_value(params).map_err(|error| {
            ClientError::Refused(RpcError::new(RpcError::INVALID_PARAMS, error.to_string()))
        })?;
        let mut line = Request { id: Some(id.into()), method: method.to_owned(), params }.to_line();
        line.push('\n');
        self.stream.write_all(line.as_bytes()).map_err(|error| match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => self.silent(REPLY_TIMEOUT),
            _ => ClientError::Gone(self.socket.clone()),
        })?;
        Ok(id)
    }

    /// The next line: a notification kept before, or what comes until `until`. `None` if nothing has
    /// come by then, or earlier after a signal.
    ///
    /// # Errors
    /// When the servent is gone, or sends what no servent does.
    pub fn receive(&mut self, until: Instant) -> Result<Option<ServerLine>, ClientError> {
        match self.kept.pop_front() {
            Some(line) => Ok(Some(line)),
            None => self.read_line(until),
        }
    }

    /// The next line, if one has come.
    ///
    /// # Errors
    /// As [`Client::receive`].
    pub fn receive_now(&mut self) -> Result<Option<ServerLine>, ClientError> {
        let gone = |_| ClientError::Gone(self.socket.clone());
        self.stream.set_nonblocking(true).map_err(gone)?;
        let line = self.receive(Instant::now());
        self.stream.set_nonblocking(false).map_err(|_| ClientError::Gone(self.socket.clone()))?;
        line
    }

    fn read_line(&mut self, until: Instant) -> Result<Option<ServerLine>, ClientError> {
        loop {
            if let Some(line) = self.take_line() {
                let parsed = ServerLine::parse(&String::from_utf8_lossy(&line));
                return parsed.map(Some).map_err(|text| self.not_a_servent(text));
            }
            if self.bytes.len() - self.taken > MAX_LINE_BYTES {
                return Err(self.not_a_servent(format!("a line has over {MAX_LINE_BYTES} bytes")));
            }
            if !self.read(until)? {
                return Ok(None);
            }
        }
    }

    /// Reads once; `false` if nothing came until `until`.
    fn read(&mut self, until: Instant) -> Result<bool, ClientError> {
        // A timeout of 0 would be none.
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let gone = |_| ClientError::Gone(self.socket.clone());
        self.stream.set_read_timeout(Some(left)).map_err(gone)?;
        self.bytes.drain(..self.taken);
        self.scanned -= self.taken;
        self.taken = 0;
        let before = self.bytes.len();
        self.bytes.resize(before + READ_BYTES, 0);
        let read = self.stream.read(&mut self.bytes[before..]);
        self.bytes.truncate(before + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => Err(ClientError::Gone(self.socket.clone())),
            Ok(_) => Ok(true),
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => Ok(false),
                _ => Err(ClientError::Gone(self.socket.clone())),
            },
        }
    }

    /// The next whole line, without its end.
    fn take_line(&mut self) -> Option<Vec<u8>> {
        let Some(at) = memchr::memchr(b'\n', &self.bytes[self.scanned..]) else {
            self.scanned = self.bytes.len();
            return None;
        };
        let end = self.scanned + at;
        let line = self.bytes[self.taken..end].to_vec();
        (self.taken, self.scanned) = (end + 1, end + 1);
        Some(line)
    }

    fn not_a_servent(&self, text: String) -> ClientError {
        ClientError::NotAServent(self.socket.clone(), text)
    }

    fn silent(&self, waited: Duration) -> ClientError {
        ClientError::Silent(self.socket.clone(), waited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::io::{BufRead, BufReader};
    use std::os::unix::net::UnixListener;
    use std::thread::{self, JoinHandle};

    /// A server that reads a line and then writes `answer`, in pieces of `piece` bytes.
    fn server(answer: &str, piece: usize) -> (tempfile::TempDir, PathBuf, JoinHandle<String>) {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        let answer = answer.as_bytes().to_vec();
        let serve = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let (mut line, mut reader) = (String::new(), BufReader::new(&stream));
            reader.read_line(&mut line).unwrap();
            for piece in answer.chunks(piece) {
                (&stream).write_all(piece).unwrap();
            }
            line
        });
        (folder, socket, serve)
    }

    #[test]
    fn a_reply_is_found_among_others_and_notifications_are_kept() {
        let answer = "{\"jsonrpc\":\"2.0\",\"method\":\"missed\",\"params\":{\"missed\":4}}\n\
                      {\"jsonrpc\":\"2.0\",\"id\":9,\"result\":0}\n\
                      {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":[1]}\n";
        for piece in [1, 7, 1_000] {
            let (_folder, socket, serve) = server(answer, piece);
            let mut client = Client::connect(&socket).unwrap();
            assert_eq!(client.call("links", &json!({})).unwrap(), json!([1]));
            let kept = client.receive(Instant::now()).unwrap();
            let params = json!({"missed": 4});
            assert_eq!(kept, Some(ServerLine::Notification { method: "missed".into(), params }));
            let asked = Request::parse(serve.join().unwrap().as_bytes()).unwrap();
            assert_eq!((asked.method, asked.id), ("links".into(), Some(1.into())));
            assert!(matches!(client.receive(Instant::now()), Err(ClientError::Gone(_))));
        }
    }

    #[test]
    fn what_is_followed_comes_in_order_and_can_be_ended() {
        let hit = |name: &str| format!("{{\"method\":\"hit\",\"params\":\"{name}\"}}\n");
        let answer = format!("{}{}{{\"id\":1,\"result\":2}}\n", hit("a"), hit("b"));
        for (most, result) in [(9, Some(json!(2))), (1, None)] {
            let (_folder, socket, serve) = server(&answer, 10);
            let mut client = Client::connect(&socket).unwrap();
            let mut seen = Vec::new();
            let ended = client.follow("search", &json!({}), Duration::ZERO, |said| {
                seen.extend(said.map(|(_, params)| params));
                Ok::<bool, ClientError>(seen.len() < most)
            });
            assert_eq!(ended.unwrap(), result);
            assert_eq!(seen, ["a", "b"][..seen.len()]);
            assert_eq!(seen.len(), most.min(2));
            drop(client);
            serve.join().unwrap();
        }
    }

    #[test]
    fn errors_name_what_is_wrong_with_the_socket() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("s");
        let text = |socket: &Path| Client::connect(socket).unwrap_err().to_string();
        assert!(text(&socket).contains("there is no control socket"));
        drop(UnixListener::bind(&socket).unwrap());
        assert!(text(&socket).contains("has gone"), "{}", text(&socket));
        let long = folder.path().join("x".repeat(200));
        assert!(text(&long).contains(&place::MAX_SOCKET_PATH.to_string()), "{}", text(&long));

        let (_folder, socket, _serve) = server("HTTP/1.1 400 Bad Request\r\n", 100);
        let error = Client::connect(&socket).unwrap().call("status", &json!({})).unwrap_err();
        assert!(matches!(error, ClientError::NotAServent(..)), "{error}");
        let refusal = "{\"id\":1,\"error\":{\"code\":-32601,\"message\":\"no\"}}\n";
        let (_folder, socket, _serve) = server(refusal, 100);
        let error = Client::connect(&socket).unwrap().call("status", &json!({})).unwrap_err();
        assert!(matches!(&error, ClientError::Refused(it) if it.code == -32_601), "{error}");
    }
}
