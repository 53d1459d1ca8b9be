//! Headless Chromium for the tests of pages, driven by WebDriver (W3C). It needs the Debian packages
//! `chromium` and `chromium-driver`.

use crate::process::Home;
use serde_json::{Value, json};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A session of Chromium, driven by WebDriver (W3C) over HTTP/1.1.
pub(crate) struct Browser {
    driver: Child,
    port: u16,
    session: String,
}

impl Browser {
    pub(crate) fn start(home: &Home) -> Browser {
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
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"},
        }}});
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

    pub(crate) fn command(&self, path: &str, body: &Value) -> Value {
        self.ask("POST", &format!("/session/{}/{path}", self.session), body)
    }

    /// Runs a script in the page.
    pub(crate) fn script(&self, script: &str) -> Value {
        self.command("execute/sync", &json!({"script": script, "args": []}))
    }

    /// What a script says, as text.
    pub(crate) fn text(&self, script: &str) -> String {
        match self.script(&format!("return {script}")) {
            Value::String(text) => text,
            other => other.to_string(),
        }
    }

    /// A command of the Chrome DevTools protocol.
    pub(crate) fn devtools(&self, cmd: &str, params: &Value) -> Value {
        self.command("goog/cdp/execute", &json!({"cmd": cmd, "params": params}))
    }

    /// Errors and warnings that the console got since it was asked last.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let log = self.command("se/log", &json!({"type": "browser"}));
        let rows = log.as_array().unwrap().iter();
        rows.filter(|row| row["level"] == "SEVERE" || row["level"] == "WARNING")
            .map(|row| row["message"].to_string())
            .collect()
    }

    /// Keeps a picture of the page as it is in the folder `SERVENT_SCREENSHOTS`, if that is set.
    pub(crate) fn picture(&self, name: &str) {
        let Some(folder) = std::env::var_os("SERVENT_SCREENSHOTS") else { return };
        let size = &self.devtools("Page.getLayoutMetrics", &json!({}))["cssContentSize"];
        let clip =
            json!({"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1});
        let options = json!({"captureBeyondViewport": true, "clip": clip});
        let taken = self.devtools("Page.captureScreenshot", &options);
        let png = data_encoding::BASE64.decode(taken["data"].as_str().unwrap().as_bytes()).unwrap();
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(Path::new(&folder).join(format!("{name}.png")), png).unwrap();
    }

    pub(crate) fn click(&self, id: &str) {
        self.script(&format!("document.getElementById('{id}').click()"));
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
