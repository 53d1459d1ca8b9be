// The page of a whole test network. What nodes and files are called is shown by textContent only.

const POLL_MS = 1000;
const RETRY_MS = [500, 1000, 2000, 5000];
const HEAL_MS = 180000;      // Every node of a large network may have to be started.
const SPEEDS = [0.25, 0.5, 1, 2, 4];
const MAX_RESULTS = 200;
const WRONG_TOKEN = "That token is not this network's: it may have been started anew.";

const drawing = new Drawing(byId("drawing"), choose);
const replay = new Replay(drawing, tellReplay);
let network = null, chosen = null, gone = false, busy = false, wakeUp = null;

// --- The network

async function poll() {
  try {
    network = await call("network");
    show();
    present();
  } catch (error) {
    if (token) absent(error);
  }
}

async function pollForever() {
  for (let failures = 0; ; failures = gone ? failures + 1 : 0) {
    if (document.hidden || !token) await new Promise(done => { wakeUp = done; });
    else {
      await poll();
      const pause = gone ? RETRY_MS[Math.min(failures, RETRY_MS.length - 1)] : POLL_MS;
      await new Promise(done => setTimeout(done, pause));
    }
  }
}

function wake() {
  if (wakeUp) wakeUp();
  wakeUp = null;
}

function show() {
  const { nodes, links } = network;
  const up = nodes.filter(node => node.pid !== null).length, stand = links.filter(link => link.stands).length;
  text(byId("summary"), `${up} of ${many(nodes.length, "servent", "servents")} up, ${stand} of ${many(links.length, "link", "links")} standing`);
  byId("heal").disabled = busy || up === nodes.length && stand === links.length;
  drawing.show(network, chosen);
  showList(nodes);
  showNode();
}

function showList(nodes) {
  const list = byId("nodes");
  nodes.forEach((node, at) => {
    let row = list.children[at];
    if (!row) {
      const button = element("button", { type: "button" }, element("span", { class: "name" }, node.name), element("span", { class: "about" }));
      button.onclick = () => choose(node.name);
      list.append(row = element("li", null, button));
    }
    row.className = node.pid === null ? "down" : "";
    row.firstChild.setAttribute("aria-pressed", String(node.name === chosen));
    text(row.firstChild.lastChild, node.pid === null ? node.state : `${node.links} of ${many(node.planned_links, "link", "links")}`);
  });
}

function choose(name) {
  chosen = name;
  byId("files-box").open = false;
  text(byId("said"), "");
  show();
}

const node = () => network && network.nodes.find(it => it.name === chosen);

function showNode() {
  const it = node();
  byId("node").hidden = !it;
  byId("node-hint").hidden = Boolean(it);
  if (!it) return;
  text(byId("node-title"), `Node ${it.name}`);
  const faults = Object.entries(it.faults).map(([fault, links]) => `${fault} (${many(links, "link", "links")})`);
  const facts = [
    ["State", it.state], ["Address", it.addr],
    ["Role", `${it.ours ? it.leaf ? "leaf" : "servent" : "another program"}, dials ${it.dialect}`],
    ["Links", `${it.links} of ${it.planned_links} standing`],
    ["Faults", faults.join("; ") || "none"],
    ["Memory", it.resident_bytes === null ? "–" : bytes(it.resident_bytes)],
  ];
  const list = byId("node-facts");
  facts.forEach(([name, value], at) => {
    if (!list.children[2 * at]) list.append(element("dt", null, name), element("dd"));
    text(list.children[2 * at + 1], value);
  });
  const running = it.pid !== null;
  byId("search").disabled = busy || !running || !it.ours;
  byId("kill").disabled = byId("kill-hard").disabled = busy || !running;
  byId("files-box").hidden = !it.files;
  text(byId("files-said"), many(it.files || 0, "file", "files"));
  if (!byId("ttl").value) byId("ttl").value = network.ttl;
}

byId("files-box").ontoggle = async event => {
  const list = byId("files");
  list.replaceChildren();
  if (!event.target.open) return;
  const asked = chosen;
  try {
    const { count, files } = await call("files", { node: asked });
    if (asked !== chosen) return;
    list.append(...files.map(file => element("li", null, `${file.name} (${bytes(file.size)})`)));
    if (count > files.length) list.append(element("li", null, `and ${count - files.length} more`));
  } catch (error) {
    text(byId("said"), error.message);
  }
};

// --- Orders

// Does one thing at a time, and says what came of it.
async function order(began, act) {
  if (busy) return;
  busy = true;
  text(byId("said"), began);
  if (network) show();
  try {
    text(byId("said"), await act());
  } catch (error) {
    text(byId("said"), error instanceof Refused ? sentence(error.message) : "The network did not answer in time.");
  }
  busy = false;
  await poll();
}

function kill(hard) {
  const name = chosen;
  order(`Stopping node ${name}…`, async () => {
    await call("kill", { node: name, hard });
    return `Node ${name} is stopped; Heal starts it again.`;
  });
}

byId("kill").onclick = () => kill(false);
byId("kill-hard").onclick = () => kill(true);
byId("heal").onclick = () => order("Starting what is stopped…", async () => {
  const { started } = await call("heal", {}, HEAL_MS);
  return `${many(started, "node was", "nodes were")} started, all links stand.`;
});

byId("search-form").onsubmit = event => {
  event.preventDefault();
  const asked = { node: chosen, words: byId("words").value, ttl: Number(byId("ttl").value) };
  order("Searching…", async () => {
    const found = await call("trace", asked);
    showResults(found);
    replay.load(found.trace);
    const missing = found.missing ? ` ${many(found.missing, "copy", "copies")} did not arrive in time.` : "";
    return `${many(found.hits, "result", "results")} for “${asked.words}” from node ${asked.node}.${missing}`;
  });
};

function showResults({ results }) {
  byId("results-card").hidden = false;
  text(byId("results-title"), many(results.length, "result", "results"));
  byId("results").replaceChildren(...results.slice(0, MAX_RESULTS).map(hit => {
    const addr = `${hit.host}:${hit.port}`, of = network.nodes.find(it => it.addr === addr);
    const about = `${bytes(hit.size)} · ${of ? `node ${of.name}` : addr} · ${many(hit.hops, "hop", "hops")}`;
    return element("li", null, element("span", { class: "name" }, hit.name), element("span", { class: "about" }, about));
  }));
}

// --- The replay

function tellReplay(it) {
  byId("player").hidden = !it.trace;
  if (!it.trace) return text(byId("counts"), "");
  const now = it.now();
  text(byId("play"), it.playing ? "Pause" : "Play");
  text(byId("clock"), now < 1000 ? `${Math.round(now)} µs` : `${(now / 1000).toFixed(1)} ms`);
  text(byId("speed"), `× ${it.speed}`);
  byId("slower").disabled = it.speed === SPEEDS[0];
  byId("faster").disabled = it.speed === SPEEDS.at(-1);
  byId("time").max = it.end;
  byId("time").value = it.at;
  const { reached, first, duplicates, hits } = it.counts;
  text(byId("counts"), `“${it.trace.criteria}” from node ${it.trace.from}: reached ${reached} · first copies ${first} · duplicates ${duplicates} · hits returned ${hits}`);
}

function faster(by) {
  replay.speed = SPEEDS[Math.min(SPEEDS.length - 1, Math.max(0, SPEEDS.indexOf(replay.speed) + by))];
  tellReplay(replay);
}

byId("play").onclick = () => replay.play(!replay.playing);
byId("slower").onclick = () => faster(-1);
byId("faster").onclick = () => faster(1);
byId("clear").onclick = () => {
  replay.clear();
  byId("results-card").hidden = true;
};
byId("time").oninput = event => replay.go(Number(event.target.value));

// --- Whether it answers

function present() {
  gone = false;
  byId("main").classList.remove("stale");
  byId("gone").hidden = true;
  byId("state").className = "state live";
  text(byId("state"), "live");
}

function absent(error) {
  if (!gone || error instanceof Refused) {
    const why = error instanceof Refused ? sentence(error.message) : "It was stopped, or cannot be reached from here.";
    text(byId("gone"), `The network has not answered since ${new Date().toLocaleTimeString()}. ${why} Trying again.`);
  }
  gone = true;
  byId("main").classList.add("stale");
  byId("gone").hidden = false;
  byId("state").className = "state gone";
  text(byId("state"), "gone");
}

function entered() {
  wake();
}

function left() {
  network = null;
}

// What nobody looks at is not asked for.
document.addEventListener("visibilitychange", wake);

function key() {
  const rows = [["--accent", "servent"], ["--leaf", "leaf"], ["--foreign", "another program"], ["--drop", "down"],
    ["--first", "first copy"], ["--duplicate", "duplicate"], ["--hit", "hit"]];
  for (const [colour, words] of rows) {
    const mark = element("i");
    mark.style.background = `var(${colour})`;
    byId("key").append(element("li", null, mark, words));
  }
}

key();
begin();
pollForever();
