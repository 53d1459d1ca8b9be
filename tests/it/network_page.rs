//! The page of a whole test network: what it may be asked, and what it shows and does in a real browser.

use crate::browser::Browser;
use crate::process::{Home, assert_code, eventually, stderr};
use crate::testnet::Net;
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

/// A name that would run a script if it were taken for markup; names have no blanks.
const EVIL: &str = "<img/src=x/onerror=document.title='owned'>";
/// A file that would, too.
const EVIL_FILE: &str = "zebra <img src=x onerror=document.title='owned'>.ogg";

/// A ring of four, a to d, and a fifth node with markup in its name behind c; it shares [`EVIL_FILE`].
struct Site {
    net: Net,
    url: String,
    token: String,
}

impl Site {
    fn new() -> Site {
        let net = Net::new();
        let share = net.share("share", &[(EVIL_FILE, b"neigh")]);
        net.write("edges.txt", &format!("a b\nb c\nc d\nd a\nc {EVIL}\n"));
        let plan = format!(
            "topology = \"file:edges.txt\"\nfiles = 0\n[[node]]\nname = \"{EVIL}\"\nshare = [{share:?}]\n"
        );
        net.write("plan.toml", &plan);
        let port = net.port().to_string();
        let output = net.run(&["up", "--port", &port, "--http", "127.0.0.1:0", "plan.toml"]);
        assert_code(&output, 0);
        let said = stderr(&output);
        let word = |start| said.split_whitespace().find(|word| word.starts_with(start));
        let url = word("http://").unwrap_or_else(|| panic!("no address: {said}"));
        let path = said.split("its token in ").nth(1).unwrap().lines().next().unwrap();
        let token = fs::read_to_string(path).unwrap().trim().to_owned();
        assert!(!said.contains(&token), "stderr is no terminal: {said}");
        Site { url: url.trim_end_matches([',', '/']).to_owned(), token, net }
    }

    fn addr(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// What is answered to a call, status line and all.
    fn exchange(&self, token: &str, body: &Value) -> String {
        let (mut stream, body) = (TcpStream::connect(self.addr()).unwrap(), body.to_string());
        let head = format!(
            "POST /rpc HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
             Content-Length: {}\r\n\r\n",
            self.addr(),
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn call(&self, method: &str, params: &Value) -> Value {
        let body = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params});
        let answer = self.exchange(&self.token, &body);
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let reply: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}"));
        assert_eq!(reply["id"], 7, "{reply}");
        reply
    }

    #[track_caller]
    fn ok(&self, method: &str, params: &Value) -> Value {
        let reply = self.call(method, params);
        assert!(reply["error"].is_null(), "{method} {params}: {reply}");
        reply["result"].clone()
    }

    #[track_caller]
    fn code(&self, method: &str, params: &Value) -> i64 {
        let reply = self.call(method, params);
        reply["error"]["code"].as_i64().unwrap_or_else(|| panic!("{method} {params}: {reply}"))
    }

    fn node(&self, name: &str) -> Value {
        let network = self.ok("network", &json!({}));
        let nodes = network["nodes"].as_array().unwrap();
        nodes.iter().find(|node| node["name"] == name).unwrap().clone()
    }
}

#[test]
fn a_network_is_shown_searched_broken_and_healed_over_http() {
    let site = Site::new();
    let network = site.ok("network", &json!({}));
    assert_eq!(network["nodes"].as_array().unwrap().len(), 5);
    let links = network["links"].as_array().unwrap();
    assert_eq!(links.len(), 5);
    assert!(links.iter().all(|link| link["stands"] == true), "{links:?}");
    let evil = site.node(EVIL);
    assert_eq!((&evil["state"], &evil["files"]), (&json!("up"), &json!(1)));
    assert_eq!(
        (&evil["links"], &evil["leaf"], &evil["ours"]),
        (&json!(1), &json!(false), &json!(true))
    );
    let files = site.ok("files", &json!({"node": EVIL}));
    assert_eq!((&files["count"], &files["files"][0]["name"]), (&json!(1), &json!(EVIL_FILE)));

    // The flood of 5 nodes over 5 links costs 2 × 5 − (5 − 1) copies; the hit takes the way back.
    let found = site.ok("trace", &json!({"node": "a", "words": "zebra"}));
    assert_eq!((&found["reached"], &found["query_descriptors"]), (&json!(4), &json!(6)), "{found}");
    assert_eq!(found["results"][0]["name"], EVIL_FILE);
    assert_eq!(found["trace"]["hits"].as_array().unwrap().len(), 3);
    let near = site.ok("trace", &json!({"node": "a", "words": "zebra", "ttl": 1}));
    assert_eq!((&near["reached"], &near["hits"]), (&json!(2), &json!(0)));

    for hard in [false, true] {
        site.ok("kill", &json!({"node": "c", "hard": hard}));
        eventually("c is down", || (site.node("c")["state"] == "stopped by you").then_some(()));
        assert_eq!(site.code("trace", &json!({"node": "c", "words": "zebra"})), -32_001);
        let lost = site.ok("trace", &json!({"node": "a", "words": "zebra"}));
        assert_eq!((&lost["reached"], &lost["hits"]), (&json!(2), &json!(0)), "{lost}");
        assert_eq!(site.ok("heal", &json!({}))["started"], 1);
        eventually("c is up", || (site.node("c")["links"] == 3).then_some(()));
    }
    let metrics = TcpStream::connect(site.addr()).and_then(|mut stream| {
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text).map(|_| text)
    });
    let metrics = metrics.unwrap();
    assert!(metrics.contains("\nservent_testnet_links_standing 5\n"), "{metrics}");

    // The page ends with its network, and leaves nothing.
    site.net.ok(&["down"]);
    assert!(TcpStream::connect(site.addr()).is_err());
}

#[test]
fn what_cannot_be_done_is_refused_with_the_codes_of_the_control_socket() {
    let site = Site::new();
    let cases = [
        ("status", json!({}), -32_601),
        ("network", json!({"all": true}), -32_602),
        ("trace", json!({"node": "a"}), -32_602),
        ("trace", json!({"node": "a", "words": " "}), -32_602),
        ("trace", json!({"node": "a", "words": "zebra", "ttl": 0}), -32_602),
        ("trace", json!({"node": "a", "words": "zebra", "ttl": 300}), -32_602),
        ("trace", json!({"node": "a", "words": "z"}), -32_001),
        ("trace", json!({"node": "nobody", "words": "zebra"}), -32_000),
        ("kill", json!({"node": "nobody"}), -32_000),
        ("kill", json!({"node": 1}), -32_602),
        ("files", json!({"node": "nobody"}), -32_000),
        ("subscribe", json!({"events": ["links"]}), -32_001),
    ];
    for (method, params, code) in cases {
        assert_eq!(site.code(method, &params), code, "{method} {params}");
    }
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "kill", "params": {"node": "a"}});
    let refused = site.exchange("a wrong one", &body);
    assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
    assert_eq!(site.node("a")["state"], "up");

    // The running network gets a second page; an address that is taken is refused at once.
    let taken = site.net.run(&["up", "--http", site.addr()]);
    assert_code(&taken, 1);
    assert!(stderr(&taken).contains("choose another port with --http"), "{}", stderr(&taken));
    let second = site.net.run(&["up", "--http", "127.0.0.1:0"]);
    assert_code(&second, 0);
    assert!(stderr(&second).contains("the page is at http://127.0.0.1:"), "{}", stderr(&second));
    assert_code(&site.net.run(&["up", "--http", "8080"]), 2);
}

/// Waits until a script says true.
#[track_caller]
fn holds(browser: &Browser, script: &str) {
    eventually(script, || (browser.script(&format!("return {script}")) == true).then_some(()));
}

fn choose(browser: &Browser, node: &str) {
    browser.script(&format!(
        "[...document.querySelectorAll('.node')].find(it => it.dataset.node === {})\
         .dispatchEvent(new MouseEvent('click', {{ bubbles: true }}))",
        json!(node)
    ));
}

fn said(id: &str) -> String {
    format!("document.getElementById('{id}').textContent")
}

#[test]
#[ignore = "needs chromium and chromedriver"]
fn a_browser_shows_a_network_replays_a_search_kills_and_heals() {
    let site = Site::new();
    let browser = Browser::start(&Home::new());
    browser.command("url", &json!({"url": site.url}));
    holds(&browser, "!document.getElementById('enter').hidden");
    browser.command("url", &json!({"url": format!("{}/#{}", site.url, site.token)}));
    browser.command("refresh", &json!({}));
    let all = "5 of 5 servents up, 5 of 5 links standing";
    holds(&browser, &format!("{} === '{all}'", said("summary")));
    assert_eq!(browser.text("location.hash"), "");
    assert_eq!(browser.script("return document.querySelectorAll('.node').length"), 5);
    assert_eq!(browser.script("return document.querySelectorAll('.link.broken').length"), 0);

    // A node is chosen by a key as by a click.
    browser.script(
        "document.querySelector('[data-node=b]').dispatchEvent(\
         new KeyboardEvent('keydown', { key: 'Enter', bubbles: true }))",
    );
    holds(&browser, &format!("{} === 'Node b'", said("node-title")));
    choose(&browser, EVIL);
    assert_eq!(browser.text(&said("node-title")), format!("Node {EVIL}"));
    browser.script("document.getElementById('files-box').open = true");
    holds(&browser, &format!("{}.startsWith({})", said("files"), json!(EVIL_FILE)));

    // A search by clicks: found, and replayed copy by copy.
    choose(&browser, "a");
    browser.script("document.getElementById('words').value = 'zebra'");
    browser.click("search");
    holds(&browser, "replay.trace !== null && replay.at > 0 && replay.at < replay.end");
    holds(&browser, "document.querySelectorAll('.copy').length > 0");
    browser.picture("network replay");
    browser.click("play");
    let at = browser.script("return replay.at");
    assert_eq!(browser.text(&said("play")), "Play");
    browser.click("faster");
    browser.click("faster");
    assert_eq!(browser.script("return [replay.speed, replay.at]"), json!([4, at]));
    browser.click("play");
    let end = "“zebra” from node a: reached 4 · first copies 4 · duplicates 2 · hits returned 1";
    holds(&browser, &format!("{} === '{end}'", said("counts")));
    assert_eq!(browser.script("return document.querySelectorAll('.crossed.hit').length"), 3);
    let results = browser.text("document.getElementById('results').innerText");
    assert!(results.contains(EVIL_FILE) && results.contains(EVIL), "{results}");
    browser.picture("network found");

    // What is killed is seen to be down, and heals.
    choose(&browser, "c");
    browser.click("kill");
    holds(
        &browser,
        &format!("{} === '4 of 5 servents up, 2 of 5 links standing'", said("summary")),
    );
    assert_eq!(browser.script("return document.querySelectorAll('.link.broken').length"), 3);
    assert_eq!(browser.script("return document.querySelectorAll('.node.down').length"), 1);
    looks(&browser);
    holds(&browser, "!document.getElementById('heal').disabled");
    browser.click("heal");
    holds(&browser, &format!("{} === '{all}'", said("summary")));

    assert_eq!(browser.script("return document.images.length"), 0);
    assert_eq!(browser.text("document.title"), "servent test network", "no script of a name ran");
    assert_eq!(browser.complaints(), [""; 0]);

    // Where motion is not wanted nothing moves, and the replay goes on from moment to moment.
    let features = json!([{"name": "prefers-reduced-motion", "value": "reduce"}]);
    browser.devtools("Emulation.setEmulatedMedia", &json!({"features": features}));
    browser.script(
        "window.moved = 0; const draw = replay.draw; replay.draw = function () { \
                    draw.call(replay); window.moved += document.querySelectorAll('.copy').length }",
    );
    browser.click("play");
    holds(&browser, "replay.at === replay.end && !replay.playing");
    assert_eq!(browser.script("return window.moved"), 0);

    // It says when the network has gone.
    site.net.ok(&["down"]);
    holds(&browser, "!document.getElementById('gone').hidden");
}

/// On a phone nothing sticks out, in the light as in the dark.
fn looks(browser: &Browser) {
    let phone = json!({"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": true});
    browser.devtools("Emulation.setDeviceMetricsOverride", &phone);
    let sticks_out = "[...document.querySelectorAll('body *')].filter(it => \
                      it.getBoundingClientRect().right > innerWidth + 0.5).map(it => it.tagName + it.id)";
    assert_eq!(browser.script(&format!("return {sticks_out}")), json!([]));
    let mut grounds = Vec::new();
    for scheme in ["light", "dark"] {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        browser.devtools("Emulation.setEmulatedMedia", &json!({"features": features}));
        grounds.push(browser.text("getComputedStyle(document.documentElement).backgroundColor"));
        browser.picture(&format!("network phone {scheme}"));
    }
    assert_ne!(grounds[0], grounds[1]);
    browser.devtools("Emulation.clearDeviceMetricsOverride", &json!({}));
    browser.picture("network dark");
}
