//! The page of a running servent in a real browser: what it shows, what it does, and that no name from
//! the network becomes markup.

use crate::browser::Browser;
use crate::process::{Home, Running, assert_code, eventually, lines, stderr};
use rustix::process::Signal;
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// A name that would run a script if it were taken for markup.
const EVIL: &str = "zebra <img src=x onerror=document.title='owned'><script>owned=1<>.ogg";

/// A servent with a page, and two neighbours that share files.
struct Scene {
    home: Home,
    servent: Running,
    neighbours: Vec<(Home, Running)>,
    url: String,
    token: String,
}

impl Scene {
    fn new() -> Scene {
        let long = vec![7; 24 << 20];
        let files: [&[(&str, &[u8])]; 2] = [
            &[(EVIL, b"neigh"), ("zebra crossing.txt", b"stripes"), ("zebra long.bin", &long)],
            &[("zebra crossing.txt", b"stripes"), ("other.txt", b"no")],
        ];
        let neighbours: Vec<(Home, Running)> = files
            .into_iter()
            .map(|files| {
                let home = Home::new();
                let share = home.share("share", files);
                let args =
                    ["--links", "0", "--upload-limit", "4M", "--share", share.to_str().unwrap()];
                let running = home.start(&args);
                (home, running)
            })
            .collect();
        let home = Home::new();
        let share = home.share("own", &[("giraffe.txt", b"tall")]);
        let hosts: Vec<String> = neighbours.iter().map(|(_, it)| it.host()).collect();
        let state = home.path("state");
        let mut servent = home.start(&[
            "--http",
            "127.0.0.1:0",
            "--state",
            state.to_str().unwrap(),
            "--share",
            share.to_str().unwrap(),
            "--connect",
            &hosts[0],
            "--connect",
            &hosts[1],
        ]);
        let said = servent.wait_for("the page is at http://");
        let token = fs::read_to_string(state.join("http-token")).unwrap().trim().to_owned();
        assert!(!said.contains(&token), "stderr is no terminal: {said}");
        let url = said.split_whitespace().find(|word| word.starts_with("http://")).unwrap();
        let url = url.trim_end_matches(',').to_owned();
        Scene { home, servent, neighbours, url, token }
    }
}

fn rows(browser: &Browser, list: &str) -> u64 {
    browser.script(&format!("return document.querySelectorAll('{list}').length")).as_u64().unwrap()
}

/// Waits until a script says true.
fn holds(browser: &Browser, script: &str) {
    eventually(script, || (browser.script(&format!("return {script}")) == true).then_some(()));
}

fn search(browser: &Browser, words: &str) {
    browser.script(&format!(
        "document.getElementById('words').value = '{words}'; \
         document.getElementById('search-form').requestSubmit()"
    ));
}

#[test]
#[ignore = "needs chromium and chromedriver"]
fn a_browser_shows_a_running_servent_and_steers_it() {
    let mut scene = Scene::new();
    let browser = Browser::start(&scene.home);
    browser.command("url", &json!({"url": scene.url}));
    holds(&browser, "!document.getElementById('enter').hidden");
    browser.picture("no token");
    browser.script(
        "document.getElementById('token').value = 'a wrong one'; \
         document.getElementById('token-form').requestSubmit()",
    );
    holds(
        &browser,
        "document.getElementById('token-said').textContent.includes('not this servent')",
    );
    browser.command("url", &json!({"url": format!("{}#{}", scene.url, scene.token)}));
    browser.command("refresh", &json!({}));

    // Its neighbours and itself. The token is gone from the address bar, and kept for this tab.
    holds(&browser, "document.getElementById('links').tBodies[0].rows.length === 2");
    assert_eq!(browser.text("location.hash"), "");
    holds(&browser, "document.getElementById('state').textContent === 'live'");
    assert!(browser.text("document.title").contains(&scene.servent.host()));
    let links = browser.text("document.getElementById('links').innerText");
    for (_, neighbour) in &scene.neighbours {
        assert!(links.contains(&neighbour.host()), "{links}");
    }
    assert_eq!(browser.script("return map.neighbours.size"), 2);
    let facts = browser.text("document.getElementById('facts').innerText");
    assert!(facts.contains("1 file") && facts.contains("2 out"), "{facts}");

    // A search: results by file, and a name with markup is a name.
    search(&browser, "zebra");
    holds(
        &browser,
        "document.getElementById('search-said').textContent.startsWith('Found 3 files, 4')",
    );
    assert_eq!(rows(&browser, "#results li"), 3);
    let names = browser.text("document.getElementById('results').innerText");
    assert!(names.contains(EVIL), "{names}");
    assert!(names.contains("7 B · 2 sources"), "{names}");
    assert_eq!(rows(&browser, "img"), 0);
    assert_eq!(browser.script("return typeof owned"), "undefined");
    assert!(browser.text("document.title").starts_with("servent "), "no script of a name ran");

    // Descriptors move on the map; paused, nothing begins to move.
    browser.script("window.seen = 0; const show = map.show; map.show = function (record) { \
                    show.call(map, record); window.seen = Math.max(window.seen, map.moving.length) }");
    search(&browser, "crossing");
    holds(&browser, "window.seen > 0");
    browser.picture("wide");
    browser.click("pause");
    assert_eq!(browser.text("document.getElementById('pause').textContent"), "Resume");
    browser.script(
        "window.events = 0; const shown = map.show; map.show = function (record) { \
                    window.events++; shown.call(map, record) }",
    );
    let moving = browser.script("return map.moving.length");
    search(&browser, "zebra");
    holds(&browser, "window.events > 0");
    assert_eq!(browser.script("return map.moving.length"), moving);
    browser.click("pause");
    assert_eq!(browser.text("document.getElementById('pause').textContent"), "Pause");

    downloads(&browser);
    looks(&browser);
    let mut complaints = browser.complaints();
    complaints.retain(|line| !line.contains("status of 401"));
    assert_eq!(complaints, [""; 0], "but for the token that was wrong");

    // It says when the servent has gone.
    scene.servent.signal(Signal::TERM);
    assert!(scene.servent.wait().0.success());
    holds(&browser, "!document.getElementById('gone').hidden");
    assert_eq!(browser.text("document.getElementById('state').textContent"), "gone");
    browser.picture("gone");
}

fn downloads(browser: &Browser) {
    browser.script(
        "for (const name of ['zebra long.bin', 'zebra crossing.txt']) \
           document.querySelector(`[aria-label='Download ${name}']`).click()",
    );
    let long = "[...document.querySelectorAll('#transfers li')]\
                .find(row => row.innerText.includes('zebra long.bin'))";
    holds(browser, &format!("{long}?.querySelector('progress').value > 0"));
    let act = |label: &str| {
        browser.script(&format!("{long}.querySelector('[aria-label^={label}]').click()"));
    };
    act("Pause");
    holds(browser, &format!("{long}.innerText.includes('paused')"));
    browser.picture("downloads");
    act("Resume");
    holds(browser, &format!("{long}.innerText.includes('done')"));
    let all = "document.getElementById('transfers').innerText";
    holds(browser, &format!("{all}.match(/done/g).length === 2"));
    act("Remove");
    holds(browser, "document.querySelectorAll('#transfers li').length === 1");
}

/// On a phone nothing sticks out, and the dark is dark.
fn looks(browser: &Browser) {
    let size = |width: u32, height: u32| {
        let params =
            json!({"width": width, "height": height, "deviceScaleFactor": 2, "mobile": true});
        browser.devtools("Emulation.setDeviceMetricsOverride", &params);
    };
    let scheme = |value: &str| {
        let features = json!([{"name": "prefers-color-scheme", "value": value}]);
        browser.devtools("Emulation.setEmulatedMedia", &json!({"features": features}));
    };
    let light = || {
        let colour = browser.text("getComputedStyle(document.documentElement).backgroundColor");
        let rgb = colour.trim_start_matches("rgb(").trim_end_matches(')');
        rgb.split(", ").map(|part| part.parse::<u32>().unwrap()).sum::<u32>() > 3 * 128
    };
    size(360, 740);
    let sticks_out = "[...document.querySelectorAll('body *')].filter(it => \
                      !it.closest('.scroll') && it.getBoundingClientRect().right > innerWidth + 0.5)\
                      .map(it => it.tagName + it.id)";
    assert_eq!(browser.script(&format!("return {sticks_out}")), json!([]));
    assert_eq!(browser.text("document.documentElement.scrollWidth"), "360");
    scheme("light");
    assert!(light());
    browser.picture("phone");
    scheme("dark");
    assert!(!light());
    browser.picture("phone dark");
    browser.devtools("Emulation.clearDeviceMetricsOverride", &json!({}));
    browser.picture("dark");
    scheme("light");
}

/// Thirty links and hundreds of descriptors a second: what is drawn is bounded, frames go on, and where
/// motion is not wanted nothing moves.
#[test]
#[ignore = "needs chromium and chromedriver"]
fn the_map_stays_fluent_among_many_descriptors() {
    let scene = Scene::new();
    let browser = Browser::start(&scene.home);
    browser.command("url", &json!({"url": format!("{}#{}", scene.url, scene.token)}));
    holds(&browser, "document.getElementById('links').tBodies[0].rows.length === 2");
    // The page is given what a busy servent would say; the poll must not take it away again.
    browser.script(
        "showLinks = () => {}; showMapNote = () => {}; window.frames_drawn = 0; window.most = 0; \
         const rows = Array.from({ length: 30 }, (_, n) => ({ addr: `10.0.${n}.${n * 7 % 250}:6346`, \
           direction: n % 2 ? 'in' : 'out', dialect: n % 3 ? '0.4' : '0.6', \
           role: ['servent', 'ultrapeer', 'leaf'][n % 3], agent: 'gtk-gnutella/1.2', since_s: 60 * n, \
           received: 100 * n, sent: 90 * n, dropped: n, queue_bytes: 0, in_rate: n, out_rate: n / 2 })); \
         map.setLinks(rows); \
         map.setHosts(Array.from({ length: 200 }, (_, n) => ({ addr: `10.1.${n}.7:6346`, answered: n % 4 === 0 }))); \
         const draw = map.draw; map.draw = function (now) { draw.call(map, now); window.frames_drawn++; }; \
         const kinds = ['query', 'query_hit', 'ping', 'push'], \
               events = ['received', 'forwarded', 'originated', 'dropped', 'refused']; \
         let n = 0; window.feed = setInterval(() => { for (let i = 0; i < 30; i++, n++) \
           map.show({ event: events[n % 5], kind: kinds[n % 4], peer: rows[n % 30].addr }); \
           window.most = Math.max(window.most, map.moving.length); }, 20)",
    );
    holds(&browser, "window.frames_drawn > 40");
    let most = browser.script("return window.most").as_u64().unwrap();
    assert!((100..=240).contains(&most), "{most} move at once");
    browser.picture("busy");
    browser.script("clearInterval(window.feed)");
    holds(&browser, "map.moving.length === 0");

    let features = json!([{"name": "prefers-reduced-motion", "value": "reduce"}]);
    browser.devtools("Emulation.setEmulatedMedia", &json!({"features": features}));
    browser.script("map.show({ event: 'received', kind: 'query', peer: '10.0.0.0:6346' })");
    assert_eq!(browser.script("return map.moving.length"), 0);
}

/// What else a start with a page promises, without a browser.
#[test]
fn the_token_is_kept_and_a_busy_port_is_an_error() {
    let home = Home::new();
    let state = home.path("state");
    let args = ["--links", "0", "--state", state.to_str().unwrap(), "--http"];
    let start = |http: &str| home.start(&[&args[..], &[http]].concat());
    let token = || fs::read_to_string(state.join("http-token")).unwrap();
    let mut first = start("127.0.0.1:0");
    first.wait_for("the page is at http://127.0.0.1:");
    let made = token();
    assert_eq!((made.len(), made.trim().len()), (65, 64));
    let mode = fs::metadata(state.join("http-token")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    first.signal(Signal::TERM);
    assert!(first.wait().0.success());
    drop(first);

    // On every address: allowed, since it was asked for, with a warning.
    let mut second = start("0.0.0.0:0");
    second.wait_for("can be reached from other machines, and is not encrypted");
    assert_eq!(token(), made, "kept");

    let other = home.path("other");
    let busy = second.host();
    let (at, elsewhere) = (["--http", &busy], other.to_str().unwrap());
    let fails = [&["run", "--listen", "127.0.0.1:0", "--state", elsewhere][..], &at].concat();
    let output = home.run(&fails);
    assert_code(&output, 1);
    let said = stderr(&output);
    assert!(said.contains(&format!("cannot serve the page on {busy}")), "{said}");
    assert!(said.contains("another program has it; choose another port with --http"), "{said}");
    assert_eq!(lines(&output), [""; 0]);
}
