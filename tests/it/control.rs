//! The control socket of a running servent, line by line: what its methods return, what it makes of bad
//! input, subscriptions, limits.

use crate::process::{Home, Running, eventually};
use serde_json::{Value, json};
use servent::control::client::Client;
use servent::control::message::MAX_REQUEST_BYTES;
use servent::control::methods::{METHODS, discover};
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Longest wait for a line; reaching it is a failure.
const WAIT: Duration = Duration::from_secs(60);

/// A connection on which lines are written and read as they are.
struct Line {
    reader: BufReader<UnixStream>,
}

impl Line {
    fn open(socket: &PathBuf) -> Line {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(WAIT)).unwrap();
        Line { reader: BufReader::new(stream) }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.reader.get_mut().write_all(bytes).unwrap();
    }

    fn read(&mut self) -> Value {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    fn ask(&mut self, request: Value) -> Value {
        self.write(format!("{request}\n").as_bytes());
        self.read()
    }
}

fn servent(home: &Home, args: &[&str]) -> (Running, PathBuf) {
    let socket = home.path("control.sock");
    let control = socket.to_str().unwrap().to_owned();
    let all: Vec<&str> = [&["--control", &control], args].concat();
    (home.start(&all), socket)
}

fn request(id: u64, method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

#[test]
fn every_method_returns_what_its_description_says() {
    let home = Home::new();
    let share = home.share("share", &[("free jazz.ogg", b"abc")]);
    let (running, socket) = servent(&home, &["--share", share.to_str().unwrap(), "--no-pings"]);
    let (other, _) = servent(&Home::new(), &["--connect", &running.host(), "--no-pings"]);
    let mut client = Client::connect(&socket).unwrap();
    eventually("a link", || {
        let links = client.call("links", &json!({})).unwrap();
        (!links.as_array().unwrap().is_empty()).then_some(())
    });
    let url = format!("http://{}/get/1/free%20jazz.ogg", running.host());
    let id = client.call("download", &json!({"url": url})).unwrap()["id"].clone();
    let arguments = |method: &str| match method {
        "search" => json!({"words": "free", "wait": 0.0}),
        "ping" => json!({"wait": 0.0}),
        "download" => json!({"url": url, "name": "again.ogg"}),
        "pause" | "resume" | "cancel" | "retry" => json!({"id": id}),
        "connect" | "disconnect" => json!({"addr": other.host()}),
        "subscribe" => json!({"events": []}),
        _ => json!({}),
    };
    let document = discover();
    for method in METHODS.iter().filter(|method| method.name != "stop") {
        let outcome = client.call(method.name, &arguments(method.name));
        let described = document["methods"].as_array().unwrap();
        let described = described.iter().find(|it| it["name"] == method.name).unwrap();
        match outcome {
            Ok(result) => check(&document, &described["result"]["schema"], &result, method.name),
            // A small download may be complete by now.
            Err(error) => assert!(
                matches!(method.name, "pause" | "resume" | "retry"),
                "{}: {error}",
                method.name
            ),
        }
    }
    assert_eq!(client.call("stop", &json!({})).unwrap(), json!({}));
    let mut running = running;
    assert!(running.wait().0.success());
    assert!(!socket.exists(), "a servent that has stopped leaves no socket");
}

/// Whether `value` has all that its schema says, and nothing else.
fn check(document: &Value, schema: &Value, value: &Value, place: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        return check(document, document.pointer(&reference[1..]).unwrap(), value, place);
    }
    if let Some(either) = schema["anyOf"].as_array() {
        let of_type = either.iter().find(|it| it["type"] != "null").unwrap();
        return if value.is_null() {
        } else {
            check(document, of_type, value, place)
        };
    }
    if let Some(item) = schema.get("items") {
        let items = value.as_array().unwrap_or_else(|| panic!("{place}: {value} is no list"));
        return items.iter().for_each(|value| check(document, item, value, place));
    }
    let Some(properties) = schema["properties"].as_object() else { return };
    let object = value.as_object().unwrap_or_else(|| panic!("{place}: {value} is no object"));
    for name in object.keys() {
        assert!(properties.contains_key(name), "{place}: \"{name}\" is not described");
    }
    for (name, schema) in properties {
        let value = object.get(name).unwrap_or_else(|| panic!("{place}: no \"{name}\" in {value}"));
        check(document, schema, value, &format!("{place}.{name}"));
    }
}

#[test]
fn bad_lines_are_refused_with_standard_codes_and_the_rest_is_answered() {
    let home = Home::new();
    let (running, socket) = servent(&home, &[]);
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let mut line = Line::open(&socket);
    for (sent, code) in [
        ("{", -32_700),
        ("[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"status\"}]", -32_600),
        ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"sattus\"}", -32_601),
        ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"cancel\",\"params\":{\"id\":\"x\"}}", -32_602),
        (
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"search\",\"params\":{\"words\":\"a\"}}",
            -32_602,
        ),
        ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"set\",\"params\":{\"links\":99}}", -32_602),
        ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"cancel\",\"params\":{\"id\":7}}", -32_000),
        (
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"disconnect\",\"params\":{\"addr\":\"1.2.3.4\"}}",
            -32_000,
        ),
        ("\u{0}\u{1}\u{7f}", -32_700),
    ] {
        line.write(format!("{sent}\r\n\n").as_bytes());
        let reply = line.read();
        assert_eq!(reply["error"]["code"], code, "{sent}: {reply}");
        assert!(reply["error"]["message"].as_str().unwrap().len() > 10, "{reply}");
    }
    // A request without an id has no reply; two in one write have two.
    let silent = json!({"jsonrpc": "2.0", "method": "status"});
    let both = format!(
        "{silent}\n{}\n{}\n",
        request(8, "hosts", json!({})),
        request(9, "links", json!({}))
    );
    line.write(both.as_bytes());
    let ids = [line.read()["id"].clone(), line.read()["id"].clone()];
    assert_eq!(ids, [json!(8), json!(9)]);
    // The last line needs no end.
    line.write(request(10, "links", json!({})).to_string().as_bytes());
    line.reader.get_ref().shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(line.read()["id"], 10);
    assert_eq!(line.reader.read(&mut [0]).unwrap(), 0, "nothing is owed any more");
    drop(running);
}

#[test]
fn a_line_without_end_ends_its_client_and_no_other() {
    let home = Home::new();
    let (_running, socket) = servent(&home, &[]);
    let (mut endless, mut honest) = (Line::open(&socket), Line::open(&socket));
    let chunk = vec![b'x'; MAX_REQUEST_BYTES / 4];
    let ended = (0..64).any(|_| endless.reader.get_mut().write_all(&chunk).is_err());
    let gone = ended || matches!(endless.reader.read(&mut [0]), Ok(0) | Err(_));
    assert!(gone, "it is read no further");
    assert!(honest.ask(request(1, "status", json!({})))["result"].is_object());
}

#[test]
fn a_client_that_never_reads_loses_records_and_is_told_how_many() {
    let home = Home::new();
    let (running, socket) = servent(&home, &["--no-pings"]);
    let mut deaf = Line::open(&socket);
    let subscribed = deaf.ask(request(1, "subscribe", json!({"events": ["drops", "searches"]})));
    assert_eq!(subscribed["result"]["events"], json!(["drops", "searches"]));
    // Each is received and dropped: two records.
    let mut link = running.link();
    let spent = crate::process::descriptor(1, 0x81, 1, 1, &[7; 60]);
    let pings: Vec<u8> = spent.iter().copied().cycle().take(spent.len() * 20_000).collect();
    link.write_all(&pings).unwrap();
    // The servent answers others while that client reads nothing.
    let mut other = Client::connect(&socket).unwrap();
    eventually("all were read", || {
        let status = other.call("status", &json!({})).unwrap();
        (status["descriptors"]["received"]["query_hit"] == 20_000).then_some(())
    });
    let (mut records, mut missed) = (0, 0);
    while records + missed < 40_000 {
        let said = deaf.read();
        match said["method"].as_str().unwrap() {
            "event" => records += 1,
            "missed" => missed += said["params"]["missed"].as_u64().unwrap(),
            other => panic!("{other}"),
        }
    }
    assert_eq!(records + missed, 40_000);
    assert!(missed > 0, "it kept up with {records}");
}

#[test]
fn a_stale_socket_is_replaced_and_one_that_answers_is_not() {
    let home = Home::new();
    let socket = home.path("control.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    assert!(socket.exists(), "nobody answers there");
    let (_running, socket) = servent(&home, &[]);
    assert!(Client::connect(&socket).is_ok());
    let second =
        home.run(&["run", "--listen", "127.0.0.1:0", "--control", socket.to_str().unwrap()]);
    crate::process::assert_code(&second, 1);
    assert!(crate::process::stderr(&second).contains("answers on"));
    assert!(Client::connect(&socket).is_ok(), "the first still answers");

    let long = home.path(&"x".repeat(120));
    let refused =
        home.run(&["run", "--listen", "127.0.0.1:0", "--control", long.to_str().unwrap()]);
    crate::process::assert_code(&refused, 1);
    assert!(crate::process::stderr(&refused).contains("a Unix socket takes"));
}

#[test]
fn links_are_made_counted_and_ended_by_command() {
    let (near, far) = (Home::new(), Home::new());
    let (mut running, socket) = servent(&near, &["--no-pings"]);
    let (other, _) = servent(&far, &["--no-pings"]);
    let mut client = Client::connect(&socket).unwrap();
    client.call("connect", &json!({"addr": other.host()})).unwrap();
    running.wait_for("joined");
    let links = client.call("links", &json!({})).unwrap();
    assert_eq!(links[0]["addr"], other.host());
    assert_eq!((&links[0]["direction"], &links[0]["dialect"]), (&json!("out"), &json!("0.4")));
    client.call("ping", &json!({"ttl": 1, "wait": 0.0})).unwrap();
    eventually("the Pong", || {
        let links = client.call("links", &json!({})).unwrap();
        (links[0]["sent"].as_u64() >= Some(1) && links[0]["received"].as_u64() >= Some(1))
            .then_some(())
    });
    client.call("disconnect", &json!({"addr": other.host()})).unwrap();
    running.wait_for("ended by the user");
    assert_eq!(client.call("links", &json!({})).unwrap(), json!([]));
    assert!(client.call("disconnect", &json!({"addr": other.host()})).is_err(), "there is none");

    let set = client
        .call("set", &json!({"max_uploads": 2, "upload_limit": 5_000, "log": "debug"}))
        .unwrap();
    assert_eq!(
        (&set["max_uploads"], &set["upload_limit"], &set["log"]),
        (&json!(2), &json!(5_000), &json!("debug"))
    );
    assert!(client.call("set", &json!({"links": 50})).is_err(), "more than --max-links");
    assert_eq!(client.call("set", &json!({})).unwrap(), set, "nothing was changed by the mistake");
}

#[test]
fn searches_of_two_clients_end_by_themselves_and_with_their_client() {
    let home = Home::new();
    let share = home.share("share", &[("free jazz.ogg", b"abc")]);
    let (_running, socket) = servent(&home, &["--share", share.to_str().unwrap()]);
    let mut client = Line::open(&socket);
    let search = request(1, "search", json!({"words": "jazz", "wait": 0.2}));
    client.write(format!("{search}\n{}\n", request(2, "links", json!({}))).as_bytes());
    let hit = client.read();
    assert_eq!((&hit["method"], &hit["params"]["name"]), (&json!("hit"), &json!("free jazz.ogg")));
    assert_eq!(client.read()["id"], 2, "answered while the search goes on");
    let end = client.read();
    assert_eq!(end["result"], json!({"search": hit["params"]["search"], "hits": 1}));

    let mut other = Line::open(&socket);
    other.write(
        format!("{}\n", request(1, "search", json!({"words": "jazz", "wait": 3_000}))).as_bytes(),
    );
    other.read();
    let mut client = Client::connect(&socket).unwrap();
    let searches = |client: &mut Client| {
        let limits = client.call("limits", &json!({})).unwrap();
        let row = limits.as_array().unwrap().iter().find(|row| row["name"] == "searches_under_way");
        row.unwrap()["used"].as_u64().unwrap()
    };
    assert_eq!(searches(&mut client), 1);
    drop(other);
    eventually("its search ends with it", || (searches(&mut client) == 0).then_some(()));
}

#[test]
fn too_many_clients_are_turned_away_and_room_is_made_again() {
    let home = Home::new();
    let (_running, socket) = servent(&home, &[]);
    let mut clients: Vec<Line> = (0..64).map(|_| Line::open(&socket)).collect();
    assert!(clients.last_mut().unwrap().ask(request(1, "links", json!({})))["result"].is_array());
    let mut late = UnixStream::connect(&socket).unwrap();
    late.set_read_timeout(Some(WAIT)).unwrap();
    let ended = late.read(&mut [0]).map_err(|error| error.kind());
    assert!(matches!(ended, Ok(0) | Err(ErrorKind::ConnectionReset)), "{ended:?}");
    clients.clear();
    let deadline = Instant::now() + WAIT;
    while Client::connect(&socket).and_then(|mut client| client.call("links", &json!({}))).is_err()
    {
        assert!(Instant::now() < deadline, "no room is made");
    }
}

#[test]
fn a_client_that_asks_and_never_reads_is_read_no_further() {
    let home = Home::new();
    let (_running, socket) = servent(&home, &[]);
    let mut deaf = Line::open(&socket);
    let asks = format!("{}\n", request(1, "rpc.discover", json!({})));
    // It is read no further while much waits for it, so what it asks waits in the kernel.
    deaf.reader.get_ref().set_nonblocking(true).unwrap();
    let mut written = 0;
    while let Ok(count) = deaf.reader.get_mut().write(asks.as_bytes()) {
        written += count;
        assert!(written < 64 << 20, "it is read without end");
    }
    let mut other = Client::connect(&socket).unwrap();
    assert!(other.call("status", &json!({})).is_ok(), "others are answered");
    let limits = other.call("limits", &json!({})).unwrap();
    assert!(limits.as_array().unwrap().iter().any(|row| row["name"] == "control_clients"));
}

#[test]
fn blank_lines_cost_nothing_and_a_client_that_ends_in_one_is_let_go() {
    let home = Home::new();
    let (_running, socket) = servent(&home, &[]);
    let mut blank = Line::open(&socket);
    blank.write(&b"\n".repeat(MAX_REQUEST_BYTES * 4));
    assert!(blank.ask(request(1, "links", json!({})))["result"].is_array());
    // Pieces of a line, then two in one.
    for piece in request(2, "hosts", json!({})).to_string().as_bytes().chunks(7) {
        blank.write(piece);
    }
    blank.write(format!("\n{}\n", request(3, "links", json!({}))).as_bytes());
    assert_eq!([blank.read()["id"].clone(), blank.read()["id"].clone()], [json!(2), json!(3)]);
    // No longer subscribed, and within a line of blanks.
    for events in [json!(["drops"]), json!([])] {
        blank.ask(request(4, "subscribe", json!({"events": events})));
    }
    blank.write(b"  \t");
    blank.reader.get_ref().shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(blank.reader.read(&mut [0]).unwrap(), 0, "nothing is owed any more");
}
