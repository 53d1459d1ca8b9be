//! The page that replays a search, in a real browser: it plays, steps, shows a node's files, and ends
//! with the counts of the search.

use crate::browser::Browser;
use crate::process::{Home, assert_code, eventually, lines};
use serde_json::{Value, json};

/// The counters: reached, first copies, duplicates, hits.
fn counters(browser: &Browser) -> [u64; 4] {
    ["reached", "copies", "duplicates", "hits"].map(|id| {
        let value = browser.script(&format!("return document.getElementById('{id}').value"));
        value.as_str().unwrap().parse().unwrap()
    })
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
    assert_eq!(counters(&browser), [0; 4]);

    // Step by step: after the first, what arrived first.
    browser.click("step");
    let first = &moments[0]["micros"];
    let arrived = moments.iter().filter(|step| &step["micros"] == first).count() as u64;
    assert_eq!(counters(&browser), [arrived, arrived, 0, 0]);
    browser.click("back");
    assert_eq!(counters(&browser), [0; 4]);

    // The slider, to the end and back to the start.
    let slide = |to: u32| {
        browser.script(&format!(
            "const it = document.getElementById('time'); it.value = {to}; \
             it.dispatchEvent(new Event('input'))"
        ));
    };
    slide(1_000);
    assert_eq!(counters(&browser), end);
    slide(0);
    assert_eq!(counters(&browser), [0; 4]);

    // It plays, pauses, and plays to the end.
    let label = || browser.script("return document.getElementById('play').textContent");
    browser.click("play");
    assert_eq!(label(), "Pause");
    eventually("copies arrive", || (counters(&browser)[0] > 0).then_some(()));
    browser.click("play");
    let paused = (label(), counters(&browser));
    assert_eq!(paused, (json!("Play"), counters(&browser)));
    browser.script("document.getElementById('speed').value = '5'");
    browser.click("play");
    eventually("the replay ends", || (label() == "Play").then_some(()));
    assert_eq!(counters(&browser), end);

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
