//! Networks of real processes: start, searches, captures, faults, recovery, and an end without
//! leftovers.

use crate::process::{Home, assert_code, eventually, lines, stderr};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

/// A network of its own. Dropping it takes the network down.
pub(crate) struct Net {
    home: Home,
    port: String,
}

impl Net {
    pub(crate) fn new() -> Net {
        // The network picks addresses at random; the port is unused on 127.0.0.1 and so on the others.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port().to_string();
        Net { home: Home::new(), port }
    }

    pub(crate) fn command(&self, args: &[&str]) -> std::process::Command {
        let mut command = self.home.command();
        command.env("SERVENT_TESTNET_DIR", self.home.path("net")).arg("testnet").args(args);
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// A folder with these files, for plans.
    pub(crate) fn share(&self, name: &str, files: &[(&str, &[u8])]) -> PathBuf {
        self.home.share(name, files)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.home.path(name), text).unwrap();
    }

    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> Vec<String> {
        let output = self.run(args);
        assert_code(&output, 0);
        lines(&output)
    }

    #[track_caller]
    pub(crate) fn up(&self, args: &[&str]) -> String {
        let mut told = self.ok(&[&["up", "--port", &self.port], args].concat());
        assert!(told[0].contains("links stand"), "{told:?}");
        told.remove(0)
    }

    #[track_caller]
    pub(crate) fn json(&self, args: &[&str]) -> Vec<Value> {
        self.ok(args).iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[track_caller]
    fn trace(&self, args: &[&str]) -> Value {
        self.json(&[&["trace", "--json"], args].concat()).remove(0)
    }

    /// The process of the keeper.
    pub(crate) fn keeper(&self) -> i32 {
        let is_keeper = |line: &str| line.lines().any(|word| word == "keep");
        marked(&self.mark()).iter().find(|(_, line)| is_keeper(line)).unwrap().0
    }

    pub(crate) fn port(&self) -> u16 {
        self.port.parse().unwrap()
    }

    /// A capture of one search in a ring of three, and how many copies it has.
    pub(crate) fn captured_search(&self, criteria: &str) -> (PathBuf, usize) {
        self.up(&["--nodes", "3", "--topology", "ring", "--files", "0"]);
        let file = self.home.path("a.pcapng");
        let capture = self.command(&["capture", "a.pcapng"]).spawn().unwrap();
        eventually("the capture begins", || {
            std::fs::metadata(&file).ok().filter(|file| file.len() > 0)
        });
        let copies = number(&self.trace(&["0", criteria]), "query_descriptors");
        eventually("the packets are written", || {
            let output = self.home.run(&["decode", "--json", file.to_str().unwrap()]);
            (lines(&output).len() as u64 == copies).then_some(())
        });
        kill(i32::try_from(capture.id()).unwrap(), Signal::INT);
        let ended = capture.wait_with_output().unwrap();
        assert!(ended.status.success(), "{ended:?}");
        (file, usize::try_from(copies).unwrap())
    }

    /// The environment variable that marks the processes of the running network.
    fn mark(&self) -> String {
        let network = std::fs::read(self.home.path("net/testnet.json")).unwrap();
        let network: Value = serde_json::from_slice(&network).unwrap();
        format!("GNUTELLA_TESTNET={}", network["id"].as_str().unwrap())
    }

    /// The findings of `check`, of kept and broken rules.
    pub(crate) fn findings(&self) -> Vec<Value> {
        let output = self.run(&["check", "--json"]);
        lines(&output).iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// How many scheduled faults happened, by kind.
    pub(crate) fn faults(&self) -> String {
        let log = std::fs::read_to_string(self.home.path("net/keeper.log")).unwrap();
        let count = |kind: &str| log.lines().filter(|line| line.contains(kind)).count();
        let kinds = ["is reset", "crashes", "stalls"];
        kinds.map(|kind| format!("{} × \"{kind}\"", count(kind))).join(", ")
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        if self.home.path("net/testnet.json").exists() {
            self.run(&["down"]);
        }
    }
}

/// The processes with this mark, and their command lines.
fn marked(mark: &str) -> Vec<(i32, String)> {
    let text = |pid: i32, file: &str| {
        let bytes = std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\0', "\n")
    };
    let pids = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<i32>().ok());
    let own = pids.filter(|pid| text(*pid, "environ").lines().any(|line| line == mark));
    own.map(|pid| (pid, text(pid, "cmdline"))).collect()
}

pub(crate) fn kill(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or_else(|| panic!("{name} in {value}"))
}

#[test]
fn a_search_costs_what_the_simulator_says() {
    let net = Net::new();
    // A high TTL: on a busy machine the first copy may arrive by a longer path.
    let plan = ["--nodes", "10", "--topology", "regular:4", "--seed", "5", "--files", "2"];
    let plan = [&plan[..], &["--ttl", "14"]].concat();
    net.up(&plan);
    let real = net.trace(&["0", "zebra"]);

    let sim = ["sim", "--json", "--queries", "1", "--from", "0", "--latency", "1ms"];
    let sim = net.home.run(&[&sim, &plan[..]].concat());
    assert_code(&sim, 0);
    let sim: Value = serde_json::from_slice(&sim.stdout).unwrap();
    let sim = &sim["queries"][0];
    for name in ["reached", "query_descriptors", "duplicates"] {
        assert_eq!(number(&real, name), number(sim, name), "{name}");
    }
    assert_eq!(number(&real, "reached"), 9);
    assert_eq!(number(&real, "query_descriptors"), 2 * 20 - 9);
    assert_eq!(number(&real, "missing"), 0);

    let near = net.trace(&["0", "zebra", "--ttl", "1"]);
    assert_eq!((number(&near, "reached"), number(&near, "query_descriptors")), (4, 4));
    for step in near["trace"]["copies"].as_array().unwrap() {
        assert_eq!(
            (&step["from"], &step["ttl"], &step["hops"]),
            (&"0".into(), &1.into(), &0.into())
        );
    }
    let findings = net.json(&["check", "--json"]);
    assert_eq!(findings.len(), 9);
    assert!(findings[..8].iter().all(|one| number(one, "looked_at") > 0), "{findings:?}");
}

#[test]
fn hits_return_and_every_output_shows_their_path() {
    let net = Net::new();
    let far = net.home.share("far", &[("Zebra crossing.ogg", b"black and white")]);
    let plan = format!(
        "nodes = 4\ntopology = \"line\"\nfiles = 0\nqueries = 2\nfrom = 1\n\
         [[node]]\nname = 3\nshare = [\"{}\"]\n",
        far.display()
    );
    std::fs::write(net.home.path("plan.toml"), plan).unwrap();
    let checked = net.ok(&["up", "--check", "plan.toml"]);
    assert!(checked[0].contains("4 nodes, 3 links"), "{checked:?}");
    net.up(&["plan.toml"]);

    let tree = net.ok(&[
        "trace", "0", "cross", "zeb", "--svg", "a.svg", "--dot", "a.dot", "--html", "a.html",
    ]);
    assert!(tree.contains(&"hit: 3 → 2 → 1 → 0".to_owned()), "{tree:?}");
    let svg = std::fs::read_to_string(net.home.path("a.svg")).unwrap();
    assert!(svg.contains("hits returned: 1") && svg.contains("hop 3: 1"), "{svg}");
    let page = std::fs::read_to_string(net.home.path("a.html")).unwrap();
    assert!(page.contains("\"Zebra crossing.ogg\""), "{page}");
    let dot = std::fs::read_to_string(net.home.path("a.dot")).unwrap();
    assert!(dot.contains("\"1\" -> \"2\""), "{dot}");
    let traced = net.trace(&["0", "zebra"]);
    assert_eq!(traced["results"][0]["name"], "Zebra crossing.ogg");
    assert_eq!(traced["trace"]["hits"].as_array().unwrap().len(), 3);

    let found = net.json(&["query", "2", "zebra", "--wait", "1", "--get", "first", "--json"]);
    let ends = (&found[0]["hops"], &found[1]["state"]);
    assert_eq!((found.len(), ends), (2, (&0.into(), &"done".into())));
    assert_eq!(std::fs::read(net.home.path("Zebra crossing.ogg")).unwrap(), b"black and white");
    let findings = net.json(&["check", "--json"]);
    assert!(findings.iter().all(|one| number(one, "looked_at") > 0), "{findings:?}");
    let load = net.json(&["query", "--json"]);
    assert_eq!(load.len(), 2);
    assert!(load.iter().all(|one| one["from"] == "1" && number(one, "reached") == 3), "{load:?}");

    let told = net.ok(&["exec", "2", "--", "sh", "-c", "echo $NODE_NAME $NODE_ADDR"]);
    let nodes = net.json(&["ps", "--json"]);
    assert_eq!(told[0], format!("2 {}", nodes[2]["addr"].as_str().unwrap()));
    assert!(net.ok(&["logs", "2"]).iter().any(|line| line.starts_with("listening on ")));
}

#[test]
fn what_is_shared_is_listed_and_found_and_searches_go_on_past_a_dead_node() {
    let net = Net::new();
    let plan = ["--nodes", "4", "--topology", "ring", "--files", "3", "--queries", "12"];
    net.up(&plan);
    let files = net.json(&["files", "--json"]);
    assert_eq!(files.len(), 4 * 3);
    let nodes = net.json(&["ps", "--json"]);
    assert!(nodes.iter().all(|node| node["files"] == 3), "{nodes:?}");
    let of_2 = net.ok(&["files", "2"]);
    assert_eq!(of_2.len(), 1 + 3);
    let name = files.iter().find(|file| file["node"] == "2").unwrap()["name"].as_str().unwrap();
    assert!(of_2.iter().any(|line| line.ends_with(name)), "{name}: {of_2:?}");
    // Its words, without the number and the extension.
    let words: Vec<&str> = name.split(' ').take(2).collect();
    let traced = net.trace(&[&["0"], &words[..]].concat());
    let found = traced["results"].as_array().unwrap();
    assert!(found.iter().any(|hit| hit["name"] == name), "{name}: {found:?}");

    net.ok(&["kill", "2", "--hard"]);
    eventually("the neighbours notice", || {
        let nodes = net.json(&["ps", "--json"]);
        (nodes[1]["links"] == 1 && nodes[3]["links"] == 1).then_some(())
    });
    let output = net.run(&["query", "--json"]);
    assert_code(&output, 0);
    let skipped = stderr(&output).matches("node \"2\" is down").count();
    assert!(skipped > 0, "{}", stderr(&output));
    assert_eq!(lines(&output).len() + skipped, 12);
    let closing = format!(" in {} searches", lines(&output).len());
    assert!(stderr(&output).trim_end().ends_with(&closing), "{}", stderr(&output));
}

#[test]
fn a_killed_node_is_missed_and_comes_back() {
    let net = Net::new();
    net.up(&["--nodes", "5", "--topology", "ring", "--files", "0"]);
    net.ok(&["kill", "2", "--hard"]);
    let around = eventually("the neighbours notice", || {
        let graph = net.json(&["graph", "--json"]).remove(0);
        let links = graph["links"].as_array().unwrap();
        (links.iter().filter(|link| link["stands"] == false).count() == 2).then_some(graph)
    });
    assert_eq!(around["nodes"][2]["state"], "stopped by you");
    let traced = net.trace(&["1", "anything"]);
    assert_eq!(number(&traced, "reached"), 3, "by the longer side of the ring");
    net.ok(&["check"]);

    let traced = net.run(&["trace", "2", "anything"]);
    assert_code(&traced, 5);
    assert!(stderr(&traced).contains("node \"2\" is down (stopped by you)"), "{}", stderr(&traced));
    assert!(stderr(&traced).contains("testnet up"), "{}", stderr(&traced));
    assert_code(&net.run(&["query", "2", "anything"]), 5);

    assert!(net.up(&[]).starts_with("started 1 of 5 servents"));
    assert!(net.up(&[]).starts_with("started 0 of 5 servents"));
    assert_eq!(number(&net.trace(&["1", "anything"]), "reached"), 4);

    // A crash, not a command.
    let nodes = net.json(&["ps", "--json"]);
    kill(i32::try_from(number(&nodes[4], "pid")).unwrap(), Signal::KILL);
    let checked = eventually("the keeper notices", || {
        let checked = net.run(&["check"]);
        (!checked.status.success()).then_some(checked)
    });
    assert_code(&checked, 1);
    assert!(lines(&checked).iter().any(|line| line.contains("\"4\" does not")));
}

#[test]
fn links_take_delays_blackholes_and_resets() {
    let net = Net::new();
    net.up(&["--nodes", "3", "--topology", "line", "--files", "0"]);
    net.ok(&["fault", "--link", "1", "0", "--delay", "300ms"]);
    let slow = net.trace(&["0", "anything"]);
    let took: Vec<u64> =
        slow["trace"]["copies"].as_array().unwrap().iter().map(|s| number(s, "micros")).collect();
    assert!(took.len() == 2 && took[0] >= 290_000, "{took:?}");

    assert_eq!(net.ok(&["fault", "--node", "2", "--blackhole"]), ["fault set on 1 link"]);
    assert_eq!(net.ok(&["fault", "--list"]), ["0 - 1: delay 300ms", "1 - 2: blackhole"]);
    let nodes = net.json(&["ps", "--json"]);
    assert_eq!(nodes[1]["faults"], serde_json::json!({"delay 300ms": 1, "blackhole": 1}));
    let table = net.ok(&["ps"]);
    assert!(table[0].contains(" FILES ") && table[0].contains(" FAULT "), "{table:?}");
    assert!(table[1].contains(" delay 300ms (1 link) "), "{table:?}");
    let dark = net.trace(&["0", "anything", "--wait", "1.5"]);
    assert_eq!((number(&dark, "reached"), number(&dark, "missing")), (1, 1));
    assert_eq!(net.ok(&["fault", "--all", "--clear"]), ["fault cleared on 2 links"]);
    assert_eq!(net.ok(&["fault", "--list"]), ["no link has a fault"]);
    assert_eq!(number(&net.trace(&["0", "anything"]), "reached"), 2);

    net.ok(&["fault", "--all", "--reset"]);
    net.up(&[]);
    assert_eq!(number(&net.trace(&["0", "anything"]), "reached"), 2);
    let events = net.ok(&["logs", "0", "--events"]);
    assert!(events.iter().any(|line| line.contains("\"link_down\"")), "{events:?}");
    for (args, hint) in [
        (["--link", "0", "2", "--reset"], "not linked"),
        (["--link", "0", "9", "--reset"], "no node called \"9\""),
    ] {
        let output = net.run(&[&["fault"], &args[..]].concat());
        assert_code(&output, 2);
        assert!(stderr(&output).contains(hint), "{}", stderr(&output));
    }
}

#[test]
fn a_capture_holds_what_the_links_carried() {
    let net = Net::new();
    let (file, packets) = net.captured_search("anything");
    let output = net.home.run(&["decode", "--json", file.to_str().unwrap()]);
    let decoded = lines(&output);
    assert_eq!(decoded.len(), packets);
    for packet in &decoded {
        let packet: Value = serde_json::from_str(packet).unwrap();
        assert_eq!(packet["kind"], "query", "{packet}");
    }
}

#[test]
fn another_program_can_be_a_node() {
    let net = Net::new();
    let plan = format!(
        "nodes = 3\ntopology = \"line\"\nfiles = 0\n\
         [[node]]\nname = \"0\"\nkind = \"exec\"\n\
         command = [\"{}\", \"run\", \"--listen\", \"{{ip}}:{{port}}\", \"--links\", \"0\", \
         \"--no-pings\", \"--state\", \"{{dir}}/state\"]\n",
        env!("CARGO_BIN_EXE_servent")
    );
    std::fs::write(net.home.path("plan.toml"), &plan).unwrap();
    net.up(&["plan.toml"]);
    let traced = net.trace(&["2", "anything"]);
    assert_eq!((number(&traced, "reached"), number(&traced, "missing")), (2, 0));
    net.ok(&["check"]);
    let sim = net.home.run(&["sim", "plan.toml"]);
    assert_code(&sim, 2);
    assert!(stderr(&sim).contains("another program"), "{}", stderr(&sim));

    let broken = Net::new();
    let plan = plan.replace("--no-pings", "--nonsense");
    std::fs::write(broken.home.path("plan.toml"), plan).unwrap();
    let up = broken.run(&["up", "plan.toml"]);
    assert_code(&up, 1);
    assert!(stderr(&up).contains("node \"0\" ended") && stderr(&up).contains("--nonsense"));
    assert!(!broken.home.path("net").exists(), "nothing is left of it");
}

#[test]
fn down_leaves_nothing_even_after_the_keeper_was_killed() {
    let net = Net::new();
    net.up(&["--nodes", "4", "--topology", "star"]);
    let mark = net.mark();
    let processes = marked(&mark);
    assert_eq!(processes.len(), 5, "{processes:?}");
    let keeper = processes.iter().find(|(_, command)| command.contains("keep\n")).unwrap();
    kill(keeper.0, Signal::KILL);
    eventually("the keeper is gone", || (net.run(&["ps"]).status.code() == Some(5)).then_some(()));
    let again = net.run(&["up", "--nodes", "3", "--port", &net.port]);
    assert_code(&again, 1);
    assert!(stderr(&again).contains("servent testnet down"), "{}", stderr(&again));

    let down = net.ok(&["down"]);
    assert!(down[0].contains("4 processes"), "{down:?}");
    assert_eq!(marked(&mark), []);
    assert!(!net.home.path("net").exists());
    let nothing = net.run(&["down"]);
    assert_code(&nothing, 5);
    assert!(stderr(&nothing).contains("testnet up"), "{}", stderr(&nothing));
}

#[test]
fn a_network_in_the_foreground_ends_with_what_started_it() {
    for signal in [Signal::INT, Signal::KILL] {
        let net = Net::new();
        let mut command = net.command(&["up", "--foreground", "--nodes", "4", "--port", &net.port]);
        let mut up = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        let mut out = BufReader::new(up.stdout.take().unwrap());
        out.read_line(&mut said).unwrap();
        assert!(said.starts_with("started 4 of 4 servents"), "{said}");
        let mark = net.mark();
        kill(i32::try_from(up.id()).unwrap(), signal);
        let status = up.wait().unwrap();
        assert_eq!(status.success(), signal == Signal::INT, "{status}");
        eventually("all processes have ended", || marked(&mark).is_empty().then_some(()));
        assert_eq!(net.home.path("net").exists(), signal == Signal::KILL);
    }
}

#[test]
fn scheduled_faults_happen() {
    let net = Net::new();
    let chances = ["--nodes", "6", "--topology", "ring", "--files", "0", "--crash", "0.9"];
    net.up(&chances);
    eventually("a node crashes", || {
        let nodes = net.json(&["ps", "--json"]);
        nodes.iter().any(|node| node["state"] == "stopped by the plan").then_some(())
    });
    // Links that end during a check are no violation.
    for _ in 0..5 {
        net.ok(&["check"]);
    }

    let net = Net::new();
    net.up(&["--nodes", "4", "--topology", "ring", "--files", "0", "--stall", "0.9"]);
    eventually("a node stalls", || {
        let nodes = net.json(&["ps", "--json"]);
        nodes.iter().any(|node| node["state"] == "up, stalled by the plan").then_some(())
    });
}

#[test]
fn plans_are_refused_with_the_reason() {
    let net = Net::new();
    for (plan, reason) in [
        ("nodes = 3\ntopology = \"ring\"\nspeed = 3\n", "speed"),
        ("nodes = 3\n[[node]]\nname = \"7\"\n", "no node called \"7\""),
        ("nodes = 4\n[[node]]\nname = 1\nkind = \"exec\"\n", "needs a command"),
        ("nodes = 4\n[[node]]\nname = 1\ncommand = [\"x\"]\n", "kind = \"exec\""),
        ("nodes = 4\n[[node]]\nname = 1\n[[node]]\nname = \"1\"\n", "twice"),
        ("nodes = 100000\n", "servent sim takes more"),
    ] {
        std::fs::write(net.home.path("plan.toml"), plan).unwrap();
        let output = net.run(&["up", "plan.toml"]);
        assert_code(&output, 2);
        assert!(stderr(&output).contains(reason), "{plan}: {}", stderr(&output));
    }
    assert!(!Path::new(&net.home.path("net")).exists());
}

#[test]
fn folders_of_a_plan_are_shared_in_the_simulator_too() {
    let home = Home::new();
    home.share("music", &[("Zebra crossing.ogg", b"black"), (".hidden zebra", b"")]);
    let plan = "nodes = 3\ntopology = \"line\"\nfiles = 0\nqueries = 0\n\
                [[node]]\nname = 2\nshare = [\"music\"]\n";
    std::fs::write(home.path("plan.toml"), plan).unwrap();
    assert_code(&home.run(&["sim", "plan.toml"]), 0);
    std::fs::write(home.path("plan.toml"), plan.replace("music", "nowhere")).unwrap();
    let output = home.run(&["sim", "plan.toml"]);
    assert_code(&output, 8);
    assert!(stderr(&output).contains("node \"2\""), "{}", stderr(&output));
}

/// A plain servent, a bridge, an ultrapeer and two leaves, in a line but for the second leaf.
#[test]
fn a_bridge_joins_servents_of_0_4_with_an_ultrapeer_and_its_leaves() {
    let net = Net::new();
    let shared = net.share("shared", &[("Zebra crossing.ogg", b"black and white")]);
    let plan = format!(
        "topology = \"file:edges\"\nfiles = 0\n\
         [[node]]\nname = \"bridge\"\nrole = \"ultrapeer\"\ndialect = \"auto\"\n\
         [[node]]\nname = \"up\"\nrole = \"ultrapeer\"\n\
         [[node]]\nname = \"other\"\nrole = \"leaf\"\n\
         [[node]]\nname = \"leaf\"\nrole = \"leaf\"\nshare = [\"{}\"]\n",
        shared.display()
    );
    net.write("plan.toml", &plan);
    net.write("edges", "plain bridge\nbridge up\nup leaf\nup other\n");
    net.up(&["plan.toml"]);
    let traced = net.trace(&["plain", "zebra"]);
    assert_eq!((number(&traced, "reached"), number(&traced, "hits")), (3, 1), "{traced}");
    let wrong = |finding: &&Value| finding["wrong"] != serde_json::json!([]);
    let findings = net.findings();
    assert_eq!(findings.iter().filter(wrong).count(), 0, "{findings:?}");
    let dialects = |node: usize| {
        let log = std::fs::read_to_string(net.home.path(&format!("net/nodes/{node}/events.jsonl")));
        let records = log.unwrap();
        let records = records.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let ups = records.filter(|record| record["event"] == "link_up");
        ups.map(|up| up["dialect"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    // In the order of the edge list.
    let (plain, mut bridge) = (dialects(0), dialects(1));
    // The check linked with it too.
    bridge.sort();
    bridge.dedup();
    assert!(plain.contains(&"0.4".to_owned()), "{plain:?}");
    assert_eq!(bridge, ["0.4", "0.6"]);
    // A leaf asks its ultrapeer.
    let found = net.json(&["query", "other", "zebra", "--wait", "1", "--json"]);
    assert_eq!(found.len(), 1, "{found:?}");
}
