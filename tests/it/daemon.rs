//! A servent at home on a machine: settings read again, the service manager, the journal, browsers.

use crate::process::{Home, Running, assert_code, eventually, read_head, stderr};
use rustix::process::Signal;
use serde_json::json;
use servent::control::client::Client;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

/// A servent with its settings in a file and its control socket in its home.
fn with_settings(home: &Home, text: &str) -> Running {
    fs::write(home.path("servent.toml"), text).unwrap();
    let paths = ["servent.toml", "control.sock"].map(|name| home.path(name));
    let [settings, control] = paths.map(|path| path.to_str().unwrap().to_owned());
    home.start(&["--config", &settings, "--control", &control])
}

#[test]
fn hup_reads_the_settings_again_and_says_what_changed_and_what_needs_a_restart() {
    let (home, other) = (Home::new(), Home::new());
    let (first, second) =
        (home.share("first", &[("a.txt", b"1")]), home.share("second", &[("b.txt", b"22")]));
    let share = |folder: &Path| format!("share = [\"{}\"]\n", folder.display());
    let mut running = with_settings(&home, &share(&first));
    let peer = other.start(&[]);
    let mut client = Client::connect(&home.path("control.sock")).unwrap();
    let reload = |running: &mut Running, text: &str| {
        fs::write(home.path("servent.toml"), text).unwrap();
        running.signal(Signal::HUP);
    };
    let text =
        format!("{}connect = [\"{}\"]\nmax-uploads = 3\nttl = 5\n", share(&second), peer.host());
    reload(&mut running, &text);
    running.wait_for("changed: connect, share, max-uploads");
    running.wait_for("needs a restart: ttl");
    running.wait_for("joined");
    eventually("the other folder", || {
        let shares = client.call("shares", &json!({})).unwrap();
        (shares[0]["path"] == second.canonicalize().unwrap().to_str().unwrap()).then_some(())
    });
    let limits = client.call("limits", &json!({})).unwrap();
    assert!(
        limits.as_array().unwrap().iter().any(|row| row["name"] == "uploads" && row["limit"] == 3)
    );

    reload(&mut running, "max-uploads = \"many\"");
    running.wait_for("the settings stay as they are");
    reload(&mut running, &text.replace(second.to_str().unwrap(), "/no/such/folder"));
    let said = running.wait_for("the settings stay as they are");
    assert!(said.contains("/no/such/folder"), "{said}");
    reload(&mut running, &text);
    running.wait_for("needs a restart: ttl");
    let set = client.call("set", &json!({})).unwrap();
    assert_eq!(set["max_uploads"], 3, "what was good stays");
}

#[test]
fn a_service_manager_hears_when_it_is_ready_and_when_it_stops() {
    let home = Home::new();
    let manager = UnixDatagram::bind(home.path("notify")).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let heard = || {
        let mut buffer = [0; 256];
        let count = manager.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..count]).into_owned()
    };
    let mut command = home.command();
    command.args(["run", "--listen", "127.0.0.1:0"]).env("NOTIFY_SOCKET", home.path("notify"));
    let mut running = Running::start(command);
    assert_eq!(heard(), "READY=1");
    running.signal(Signal::HUP);
    assert!(heard().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert_eq!(heard(), "READY=1");
    running.signal(Signal::TERM);
    assert_eq!(heard(), "STOPPING=1");
    assert!(running.wait().0.success());
}

#[test]
fn the_journal_has_its_own_times() {
    let home = Home::new();
    let run = |journal: bool| {
        let log = File::create(home.path("log")).unwrap();
        let meta = log.metadata().unwrap();
        let mut command = home.command();
        command
            .args(["run", "--listen", "127.0.0.1:0", "--control"])
            .arg(home.path("c"))
            .stderr(log);
        if journal {
            use std::os::unix::fs::MetadataExt;
            command.env("JOURNAL_STREAM", format!("{}:{}", meta.dev(), meta.ino()));
        }
        let mut child = command.stdout(std::process::Stdio::null()).spawn().unwrap();
        let text = eventually("a line", || {
            fs::read_to_string(home.path("log")).ok().filter(|text| text.ends_with('\n'))
        });
        child.kill().unwrap();
        child.wait().unwrap();
        text
    };
    assert!(run(true).starts_with("sharing nothing"));
    assert!(run(false).starts_with("20"), "a time");
}

#[test]
fn browsers_get_a_page_of_the_shared_files_if_they_may() {
    let home = Home::new();
    let share = home.share("share", &[("<b>bold & co.txt", b"12345")]);
    let share = share.to_str().unwrap();
    let ask = |running: &Running, method: &str| {
        let mut stream = running.dial();
        write!(stream, "{method} / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        let head = read_head(&mut stream);
        let mut body = String::new();
        stream.read_to_string(&mut body).unwrap();
        (head, body)
    };
    let shown = home.start(&["--share", share, "--browse"]);
    let (head, body) = ask(&shown, "GET");
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/html"), "{head}");
    assert!(head.contains("default-src 'none'"), "{head}");
    assert!(body.contains("&lt;b&gt;bold &amp; co.txt</a> 5 bytes"), "{body}");
    assert!(!body.contains("<b>"), "{body}");
    let link = body.split("href=\"").nth(1).unwrap().split('"').next().unwrap();
    let mut stream = shown.dial();
    let path = link.replace("&amp;", "&");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    assert!(read_head(&mut stream).starts_with("HTTP/1.1 200"), "its links lead to the files");
    let (head, body) = ask(&shown, "HEAD");
    assert!(head.contains("Content-Length: ") && body.is_empty(), "{head}");
    let hidden = home.start(&["--share", share]);
    assert!(ask(&hidden, "GET").0.starts_with("HTTP/1.1 404"));
}

#[test]
fn several_folders_stand_in_one_variable_and_a_named_file_must_exist() {
    let home = Home::new();
    let folders = [("one", "a.txt"), ("two", "b.txt")]
        .map(|(folder, file)| home.share(folder, &[(file, b"x")]));
    let mut command = home.command();
    command.args(["run", "--listen", "127.0.0.1:0"]);
    command.env("SERVENT_SHARE", std::env::join_paths(&folders).unwrap());
    let mut running = Running::start(command);
    running.wait_for("2 files");
    let missing = home.run(&["run", "--config", "/no/such/servent.toml"]);
    assert_code(&missing, 8);
    assert!(stderr(&missing).contains("/no/such/servent.toml"), "{}", stderr(&missing));
}
