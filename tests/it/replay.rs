//! The page that replays a search, in a real browser: it plays, steps, shows a node's files, and ends
//! with the counts of the search.

use crate::process::{Home, assert_code, eventually, lines};
use serde_json::{Value, json};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

/// A session of Chromium, driven by WebDriver (W3C) over HTTP/1.1.
struct Browser {
    driver: Child,
    port: u16,
    session: String,
}

impl Browser {
    fn start(home: &Home) -> Browser {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .env("HOME", home.path("."))
            .stdout(Stdio::piped())
            .spawn()
            .expect("chromedriver is installed");
        let said = BufReader::new(driver.stdout.take().unwrap());
        let port = said.lines().map_while(Result::ok).find_map(|line| {
            let (_, port) = line.split_once("started successfully on port ")?;
            port.trim_end_matches('.').parse().ok()
        });
        let mut browser = Browser {
            driver,
            port: port.expect("chromedriver says its port"),
            session: String::new(),
        };
        let options = json!({"args": ["--headless", "--no-sandbox", "--window-size=1200,900"]});
        let wanted = json!({"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}});
        let made = browser.ask("POST", "/session", &wanted);
        browser.session = made["sessionId"].as_str().unwrap().to_owned();
        browser
    }

    /// Sends a request and returns the value of its answer.
    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let answer = self.exchange(method, path, body).unwrap();
        assert!(answer["value"]["error"].is_null(), "{path}: {answer}");
        answer["value"].clone()
    }

    fn exchange(&self, method: &str, path: &str, body: &Value) -> io::Result<Value> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        let body = body.to_string();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost:{}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            self.port,
            body.len()
        );
        stream.write_all((head + &body).as_bytes())?;
        let (mut reader, mut length) = (BufReader::new(stream), 0);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            match line.split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.trim().parse().map_err(io::Error::other)?;
                }
                None if line.trim().is_empty() => break,
                _ => {}
            }
        }
        let mut answer = vec![0; length];
        reader.read_exact(&mut answer)?;
        serde_json::from_slice(&answer).map_err(io::Error::other)
    }

    fn command(&self, path: &str, body: &Value) -> Value {
        self.ask("POST", &format!("/session/{}/{path}", self.session), body)
    }

    /// Runs a script in the page.
    fn script(&self, script: &str) -> Value {
        self.command("execute/sync", &json!({"script": script, "args": []}))
    }

    fn click(&self, id: &str) {
        self.script(&format!("document.getElementById('{id}').click()"));
    }

    /// The counters: reached, first copies, duplicates, hits.
    fn counters(&self) -> [u64; 4] {
        ["reached", "copies", "duplicates", "hits"].map(|id| {
            let value = self.script(&format!("return document.getElementById('{id}').value"));
            value.as_str().unwrap().parse().unwrap()
        })
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends the browser, which would outlive its driver.
        let _ = self.exchange("DELETE", &format!("/session/{}", self.session), &json!({}));
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

#[test]
#[ignore = "needs chromium and chromedriver"]
fn a_browser_replays_a_search() {
    let home = Home::new();
    let args =
        ["sim", "--nodes", "24", "--topology", "regular:3", "--queries", "1", "--seed", "41"];
    let output = home.run(&[&args[..], &["--html", "a.html", "--json", "--trace"]].concat());
    assert_code(&output, 0);
    let report: Value = serde_json::from_str(&lines(&output)[0]).unwrap();
    let query = &report["queries"][0];
    let figure = |name: &str| query[name].as_u64().unwrap();
    let (copies, duplicates) = (figure("query_descriptors"), figure("duplicates"));
    let end = [figure("reached"), copies - duplicates, duplicates, figure("hits")];
    let moments = report["trace"]["copies"].as_array().unwrap();

    let browser = Browser::start(&home);
    let page = home.path("a.html").canonicalize().unwrap();
    browser.command("url", &json!({"url": format!("file://{}", page.display())}));
    assert_eq!(browser.counters(), [0; 4]);

    // Step by step: after the first, what arrived first.
    browser.click("step");
    let first = &moments[0]["micros"];
    let arrived = moments.iter().filter(|step| &step["micros"] == first).count() as u64;
    assert_eq!(browser.counters(), [arrived, arrived, 0, 0]);
    browser.click("back");
    assert_eq!(browser.counters(), [0; 4]);

    // The slider, to the end and back to the start.
    let slide = |to: u32| {
        browser.script(&format!(
            "const it = document.getElementById('time'); it.value = {to}; \
             it.dispatchEvent(new Event('input'))"
        ));
    };
    slide(1_000);
    assert_eq!(browser.counters(), end);
    slide(0);
    assert_eq!(browser.counters(), [0; 4]);

    // It plays, pauses, and plays to the end.
    let label = || browser.script("return document.getElementById('play').textContent");
    browser.click("play");
    assert_eq!(label(), "Pause");
    eventually("copies arrive", || (browser.counters()[0] > 0).then_some(()));
    browser.click("play");
    let paused = (label(), browser.counters());
    assert_eq!(paused, (json!("Play"), browser.counters()));
    browser.script("document.getElementById('speed').value = '5'");
    browser.click("play");
    eventually("the replay ends", || (label() == "Play").then_some(()));
    assert_eq!(browser.counters(), end);

    // The files of the node under the pointer.
    let told = browser.script(
        "const { factor, x, y } = scale(), box = canvas.getBoundingClientRect(); \
         const node = nodes[data.origin]; \
         canvas.dispatchEvent(new MouseEvent('mousemove', \
           { clientX: box.left + x + node.x * factor, clientY: box.top + y + node.y * factor })); \
         return document.getElementById('tip').innerText",
    );
    let told = told.as_str().unwrap();
    assert!(told.starts_with(&format!("{}: searches", query["from"].as_str().unwrap())), "{told}");
    assert_eq!(told.lines().count(), 1 + 4, "its files: {told}");
}
