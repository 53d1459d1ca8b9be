//! File safety: a shared file cannot be swapped for one outside the share, and a download cannot
//! leave its folder.

use crate::process::{Home, Running, assert_code, descriptor, names_in, read_kind};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::thread;

const SECRET: &str = "not shared";

fn get(servent: &Running, path: &str) -> String {
    let mut stream = servent.dial();
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// Replaces a file or folder by a link to another.
fn swap(path: &Path, target: &Path) {
    fs::rename(path, path.with_extension("away")).unwrap();
    symlink(target, path).unwrap();
}

#[test]
fn a_link_that_takes_the_place_of_a_file_or_folder_is_not_followed() {
    let home = Home::new();
    let outside = home.share("outside", &[("b.txt", SECRET.as_bytes())]);
    let share = home.share("share", &[("a.txt", b"mine")]);
    fs::create_dir_all(share.join("sub/deep")).unwrap();
    fs::write(share.join("sub/deep/b.txt"), "mine too").unwrap();
    let servent = home.start(&["--share", share.to_str().unwrap()]);
    assert!(get(&servent, "/get/1/a.txt").ends_with("mine"));
    assert!(get(&servent, "/get/2/b.txt").ends_with("mine too"));

    swap(&share.join("a.txt"), &outside.join("b.txt"));
    swap(&share.join("sub/deep"), &outside);
    for path in ["/get/1/a.txt", "/get/2/b.txt"] {
        let answer = get(&servent, path);
        assert!(answer.starts_with("HTTP/1.0 404"), "{path}: {answer}");
        assert!(!answer.contains(SECRET), "{path}");
    }
    fs::remove_file(share.join("sub/deep")).unwrap();
    swap(&share.join("sub"), Path::new("/"));
    assert!(get(&servent, "/get/2/b.txt").starts_with("HTTP/1.0 404"));
}

#[test]
fn an_upload_goes_on_when_its_folder_is_renamed() {
    const BYTES: usize = 48 << 20;
    let home = Home::new();
    let share = home.share("share", &[]);
    fs::create_dir(share.join("sub")).unwrap();
    fs::write(share.join("sub/big.bin"), vec![b'a'; BYTES]).unwrap();
    let servent = home.start(&["--share", share.to_str().unwrap()]);
    let mut reader = servent.dial();
    reader.write_all(b"GET /get/1/big.bin HTTP/1.0\r\n\r\n").unwrap();
    let mut body = vec![0; 64 * 1024];
    reader.read_exact(&mut body).unwrap();
    fs::rename(share.join("sub"), share.join("other")).unwrap();
    reader.read_to_end(&mut body).unwrap();
    let head = body.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    assert!(body[head..] == vec![b'a'; BYTES], "{} bytes", body.len() - head);
}

/// A servent that answers any search with these names and any request with two bytes.
fn liar(names: Vec<Vec<u8>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let names = names.clone();
            // The thread ends with its connection.
            thread::spawn(move || lie(stream, &names, addr.port()));
        }
    });
    addr.to_string()
}

fn lie(mut stream: TcpStream, names: &[Vec<u8>], port: u16) {
    let mut first = [0; 1];
    stream.read_exact(&mut first).unwrap();
    if &first != b"G" {
        return;
    }
    let mut head = Vec::from(first);
    while !head.ends_with(b"\n\n") && !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    if head.starts_with(b"GET") {
        stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
        return;
    }
    stream.write_all(b"GNUTELLA OK\n\n").unwrap();
    let query = read_kind(&mut stream, 0x80);
    let count = u8::try_from(names.len()).unwrap();
    let mut payload = vec![count];
    payload.extend_from_slice(&port.to_le_bytes());
    payload.extend_from_slice(&[127, 0, 0, 1, 0, 0, 0, 0]);
    for (index, name) in (1u32..).zip(names) {
        payload.extend_from_slice(&index.to_le_bytes());
        payload.extend_from_slice(&2u32.to_le_bytes());
        payload.extend_from_slice(name);
        payload.extend_from_slice(&[0, 0]);
    }
    payload.extend_from_slice(&[9; 16]);
    let mut hit = descriptor(0, 0x81, 1, 0, &payload);
    hit[..16].copy_from_slice(&query[..16]);
    stream.write_all(&hit).unwrap();
    let _ = stream.read_to_end(&mut Vec::new());
}

#[test]
fn no_name_from_the_network_leaves_the_folder_for_downloads() {
    let home = Home::new();
    let names = [
        &b"../../abc escape.txt"[..],
        b"/etc/abc absolute",
        b"..\\..\\abc back.ini",
        b"C:\\abc drive.bat",
        b"CON.abc",
        b".abc hidden",
        b"abc \xff\xfe bytes.txt",
        b"abc \x1b[2J.txt",
        b"..",
        &[b'a', b'b', b'c'].repeat(80),
    ];
    let server = liar(names.iter().map(|name| name.to_vec()).collect());
    let before = names_in(&home.path(""));
    let args = ["search", "abc", "--connect", &server, "--wait", "2", "--get", "all"];
    let output = home.command().args(args).args(["--output", "a/b/in"]).output().unwrap();
    assert_code(&output, 0);
    let mut now = names_in(&home.path(""));
    // One-shots keep what they learn of addresses in the folder for state.
    now.retain(|name| !before.contains(name) && name != ".local");
    assert_eq!(now, ["a"], "only the folder that was asked for");
    assert_eq!(names_in(&home.path("a")), ["b"]);
    assert_eq!(names_in(&home.path("a/b")), ["in"]);
    let fetched = names_in(&home.path("a/b/in"));
    assert_eq!(fetched.len(), names.len(), "{fetched:?}");
    for name in &fetched {
        let path = home.path("a/b/in").join(name);
        assert!(fs::symlink_metadata(&path).unwrap().is_file(), "{name}");
        assert_eq!(fs::read(&path).unwrap(), b"ok", "{name}");
        assert!(!name.starts_with('.') && !name.contains('\u{1b}'), "{name}");
    }
}

/// Root may read everything, so under root the servent runs as another user.
#[test]
fn a_file_that_cannot_be_read_is_not_offered() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::process::CommandExt;
    const NOBODY: u32 = 65_534;
    let home = Home::new();
    let open = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let share = home.share("share", &[("secret words.txt", b"no"), ("open words.txt", b"yes")]);
    symlink("secret words.txt", share.join("linked words.txt")).unwrap();
    open(&share.join("secret words.txt"), 0o000);
    open(&home.path(""), 0o777);
    let program = home.path("servent");
    fs::copy(env!("CARGO_BIN_EXE_servent"), &program).unwrap();
    let mut command = servent::testnet::command(&program);
    command.env("HOME", home.path("")).env("RUST_LOG", "info").current_dir(home.path(""));
    for folder in ["XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_STATE_HOME"] {
        command.env_remove(folder);
    }
    command.args(["run", "--listen", "127.0.0.1:0", "--state", "state", "--share", "share"]);
    if fs::metadata(home.path("")).unwrap().uid() == 0 {
        command.uid(NOBODY).gid(NOBODY);
    }
    let mut servent = Running::start(command);
    servent.wait_for("sharing 1 file (3 B); ");
    let search = ["search", "words", "--connect", &servent.host(), "--json"];
    let found = home.run(&search);
    assert_code(&found, 0);
    assert_eq!(crate::process::lines(&found).len(), 1, "{found:?}");
}

#[test]
fn refused_requests_are_logged_and_a_finished_upload_is_no_failed_link() {
    let home = Home::new();
    let share = home.share("share", &[("a.txt", b"mine")]);
    let mut command = home.command();
    command.env("RUST_LOG", "debug").args(["run", "--listen", "127.0.0.1:0"]);
    let mut servent = Running::start({
        command.args(["--share", share.to_str().unwrap()]);
        command
    });
    get(&servent, "/get/1/b%1b.txt");
    let line = servent.wait_for("refused 127.0.0.1:");
    assert!(line.ends_with("\"/get/1/b%1b.txt\": 404 Not Found"), "{line}");
    assert!(get(&servent, "/get/1/a.txt").ends_with("mine"));
    let line = servent.wait_for("all requests were answered");
    assert!(!line.contains("before it was a link"), "{line}");
}
