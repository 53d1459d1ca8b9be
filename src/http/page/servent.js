// The page of one servent. What the network says is shown by textContent only.

const POLL_MS = 1000;        // Status, links and transfers; the rest each fifth time.
const MAX_RESULTS = 500;
const RETRY_MS = [500, 1000, 2000, 5000];
const NEAR = 0.8;            // A limit is near when so much of it is used.
const WRONG_TOKEN = "That token is not this servent's: it may have been started with another state folder.";

const map = new NetworkMap(byId("map"), byId("tip"));
let stream = null, gone = false, round = 0, before = null;

function perSecond(rate) {
  if (!rate) return "0/s";
  return rate < 10 ? `${rate.toFixed(1)}/s` : `${Math.round(rate).toLocaleString("en")}/s`;
}

function time(seconds) {
  const [d, h, m] = [seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60].map(Math.floor);
  if (d) return `${d} d ${h} h`;
  if (h) return `${h} h ${m} min`;
  return m ? `${m} min` : `${Math.floor(seconds)} s`;
}

const words = name => name.replaceAll("_", " ");

// Each complete part of a stream's text.
async function* parts(answer, end) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    const complete = (held + value).split(end);
    held = complete.pop();
    yield* complete;
  }
  if (held.trim()) yield held;
}

// --- What the servent does

function showStatus(status) {
  const now = performance.now();
  const seconds = before ? Math.max(0.2, (now - before.now) / 1000) : Infinity;
  const total = counts => Object.values(counts || {}).reduce((sum, count) => sum + count, 0);
  const received = total(status.descriptors.received), dropped = total(status.descriptors.dropped);
  const rate = (count, name) => Math.max(0, count - (before ? before[name] : count)) / seconds;
  const { links, share, transfers } = status;
  text(byId("address"), status.listen);
  document.title = `servent ${status.listen}`;
  const facts = [
    ["Links", `${links.in + links.out}`, `${links.in} in, ${links.out} out, ${links.max} at most` +
      (links.leaves ? `, ${many(links.leaves, "leaf", "leaves")}` : "")],
    ["Descriptors", perSecond(rate(received, "received")), `${received.toLocaleString("en")} received`],
    ["Network", `${bytes(rate(status.bytes_in, "in") + rate(status.bytes_out, "out"))}/s`,
      `${bytes(status.bytes_in)} in, ${bytes(status.bytes_out)} out`],
    ["Searches answered", status.searches_answered.toLocaleString("en"), many(status.files_served, "file served", "files served")],
    ["Share", many(share.files, "file", "files"), bytes(share.bytes)],
    ["Transfers", `${transfers.up + transfers.down}`, `${transfers.down} down, ${transfers.up} up, ${transfers.queued} waiting`],
    ["Hosts known", status.hosts.toLocaleString("en"), "may be dialled"],
    ["Up", time(status.uptime_s), `version ${status.version}, ${status.role}`],
  ];
  before = { now, received, in: status.bytes_in, out: status.bytes_out };
  const list = byId("facts");
  if (!list.children.length) {
    list.append(...facts.map(([name]) => element("div", null, element("dt", null, name), element("dd", null, "", element("small")))));
  }
  facts.forEach(([, value, more], at) => {
    const [shown, small] = list.children[at].lastChild.childNodes;
    if (shown.data !== value) shown.data = value;
    text(small, more);
  });
  const { reachable } = status;
  const [reach, why] = byId("reach").children;
  text(reach, reachable.inbound_seen ? "Reachable." : "Not reached yet.");
  text(why, `${sentence(reachable.reason)}${status.advertise ? ` Others are told ${status.advertise}.` : ""}`);
  showDrops(status.descriptors.dropped, dropped, received);
}

function showDrops(dropped, total, received) {
  const rows = Object.entries(dropped).filter(([, count]) => count).sort((a, b) => b[1] - a[1]);
  text(byId("drops-said"), total ? `${many(total, "copy", "copies")} of ${received.toLocaleString("en")} descriptors received` : "Nothing was dropped.");
  const most = rows.length ? rows[0][1] : 1;
  bars(byId("drops"), rows.map(([name, count]) => [words(name), count.toLocaleString("en"), count / most, false]));
}

function showLimits(limits) {
  const used = row => row.limit ? row.used / row.limit : 0;
  const rows = limits.filter(row => used(row) >= 0.25).sort((a, b) => used(b) - used(a)).slice(0, 12);
  const near = rows.filter(row => used(row) >= NEAR).length;
  const said = near ? `${near} of ${limits.length} near the end` : `None of ${limits.length} is near its end.`;
  text(byId("limits-said"), rows.length ? said : `${said} All are below a quarter.`);
  bars(byId("limits"), rows.map(row =>
    [words(row.name), `${row.used.toLocaleString("en")} of ${row.limit.toLocaleString("en")}`, used(row), used(row) >= NEAR]));
}

// Rows of a name, a figure and a bar. `near` is told by colour and by word.
function bars(list, rows) {
  while (list.children.length > rows.length) list.lastChild.remove();
  rows.forEach(([name, figure, part, near], at) => {
    let row = list.children[at];
    if (!row) {
      row = element("li", null, element("span"), element("span", { class: "count" }), element("progress", { max: 1 }));
      list.append(row);
    }
    row.className = near ? "near" : "";
    const [label, count, bar] = row.children;
    text(label, name);
    text(count, near ? `${figure}, near its end` : figure);
    bar.value = part;
    bar.setAttribute("aria-label", name);
  });
}

const linkRates = new Map();   // By address: time, received, sent

function showLinks(rows) {
  const now = performance.now();
  const known = new Map(linkRates);
  linkRates.clear();
  for (const row of rows) {
    const last = known.get(row.addr);
    const seconds = last ? Math.max(0.2, (now - last.now) / 1000) : Infinity;
    row.in_rate = last ? Math.max(0, row.received - last.received) / seconds : 0;
    row.out_rate = last ? Math.max(0, row.sent - last.sent) / seconds : 0;
    linkRates.set(row.addr, { now, received: row.received, sent: row.sent });
  }
  map.setLinks(rows);
  text(byId("links-said"), rows.length ? "" : "There is no link: nobody can be asked. servent run --connect HOST keeps one.");
  byId("links").hidden = !rows.length;
  const body = byId("links").tBodies[0];
  while (body.rows.length > rows.length) body.deleteRow(-1);
  rows.forEach((row, at) => {
    const line = body.rows[at] || body.insertRow();
    const cells = [
      `${row.addr} ${row.direction === "in" ? "in" : "out"}`, `${row.role} ${row.dialect}`, row.agent || "",
      perSecond(row.in_rate), perSecond(row.out_rate), bytes(row.queue_bytes), time(row.since_s),
    ];
    cells.forEach((value, column) => {
      const cell = line.cells[column] || line.insertCell();
      cell.className = column === 2 ? "agent" : column > 2 ? "number" : "";
      if (column === 2) cell.title = value;
      text(cell, value);
    });
  });
}

function showMapNote(hosts) {
  const left = map.left ? `; ${many(map.left, "descriptor was", "descriptors were")} not drawn, there are too many` : "";
  map.left = 0;
  const still = map.still.matches ? " Nothing moves, as this device asks for; busy links are thick." : "";
  text(byId("map-said"), `${many(hosts, "host", "hosts")} known beyond the links${left}.${still}`);
}

// --- Transfers

const transferRows = new Map();

function showTransfers(rows) {
  const list = byId("transfers");
  text(byId("transfers-said"), rows.length ? "" : "None. A result of a search can be downloaded.");
  const kept = new Set();
  for (const row of rows) {
    const key = `${row.direction} ${row.id}`;
    kept.add(key);
    if (!transferRows.has(key)) transferRows.set(key, transferRow(row));
    const made = transferRows.get(key);
    made.show(row);
    if (!made.element.isConnected) list.append(made.element);
  }
  for (const [key, made] of transferRows) {
    if (kept.has(key)) continue;
    made.element.remove();
    transferRows.delete(key);
  }
}

function transferRow({ id, direction }) {
  const name = element("span", { class: "name" }), about = element("span", { class: "about" });
  const bar = element("progress", { max: 1 }), acts = element("span", { class: "acts" });
  const act = (method, label) => {
    const button = element("button", { type: "button" }, label);
    button.onclick = async () => {
      button.disabled = true;
      try {
        await call(method, { id });
        await poll();
      } catch (error) {
        text(about, error.message);
      }
      button.disabled = false;
    };
    acts.append(button);
    return button;
  };
  const down = direction === "down";
  const buttons = down ? { pause: act("pause", "Pause"), resume: act("resume", "Resume"), retry: act("retry", "Retry"), cancel: act("cancel", "Cancel") } : { cancel: act("cancel", "Cancel") };
  const show = row => {
    text(name, `${down ? "↓" : "↑"} ${row.name}`);
    for (const [method, button] of Object.entries(buttons)) {
      button.hidden = !{
        pause: ["queued", "waiting", "active"], resume: ["paused"], retry: ["waiting", "failed"],
        cancel: ["queued", "waiting", "active", "paused", "failed", "done"],
      }[method].includes(row.state);
      if (method === "cancel") text(button, row.state === "done" ? "Remove" : "Cancel");
      button.setAttribute("aria-label", `${button.textContent} ${row.name}`);
    }
    const part = row.size ? Math.min(1, row.done / row.size) : row.state === "done" ? 1 : 0;
    bar.value = part;
    bar.className = row.state;
    bar.setAttribute("aria-label", row.name);
    const size = row.size === null ? bytes(row.done) : row.state === "done" ? bytes(row.size) : `${bytes(row.done)} of ${bytes(row.size)}`;
    const sources = down && row.sources.length ? ` · ${many(row.sources.length, "source", "sources")}` : "";
    const peer = down ? "" : ` · ${row.sources.join(", ")}`;
    const rate = row.state === "active" ? ` · ${bytes(row.rate)}/s` : "";
    const next = row.next_try_s === null || row.next_try_s === undefined ? "" : `, next try in ${time(row.next_try_s)}`;
    const error = row.error ? ` · ${row.error}${next}` : next;
    text(about, `${row.state} · ${size}${rate}${sources}${peer}${error}`);
    about.classList.toggle("bad", row.state === "failed");
    about.classList.toggle("done", row.state === "done");
  };
  return { element: element("li", { "data-id": id, "data-direction": direction }, name, acts, about, bar), show };
}

// --- Search

let search = null;

byId("search-form").onsubmit = async event => {
  event.preventDefault();
  if (search) search.abort();
  const mine = search = new AbortController();
  const said = byId("search-said"), list = byId("results"), groups = new Map();
  const asked = byId("words").value;
  const count = () => {
    const hits = [...groups.values()].reduce((sum, group) => sum + group.hits.length, 0);
    return groups.size ? `${many(groups.size, "file", "files")}, ${many(hits, "source", "sources")}` : "nothing";
  };
  list.replaceChildren();
  text(said, "Searching…");
  try {
    const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "search", params: { words: asked } });
    const answer = await ask("/rpc", { method: "POST", body, signal: mine.signal }, 0);
    for await (const line of parts(answer, "\n")) {
      if (!line.trim()) continue;
      const message = JSON.parse(line);
      if (message.method === "hit") addHit(groups, list, message.params);
      else if (!message.method) result(message);
      if (mine === search) text(said, `Found ${count()} so far…`);
    }
    if (mine === search) text(said, groups.size ? `Found ${count()}.` : "Nothing was found.");
  } catch (error) {
    if (mine === search) text(said, error instanceof Refused ? error.message : "The search was cut short.");
  }
  if (mine === search) search = null;
};

function addHit(groups, list, hit) {
  const key = `${hit.size} ${hit.name}`;
  let group = groups.get(key);
  if (!group) {
    if (groups.size >= MAX_RESULTS) return;
    group = { hits: [], about: element("span", { class: "about" }) };
    const button = element("button", { type: "button", "aria-label": `Download ${hit.name}` }, "Download");
    button.onclick = () => download(group, button);
    list.append(element("li", null, element("span", { class: "name" }, hit.name), element("span", { class: "acts" }, button), group.about));
    groups.set(key, group);
  }
  if (group.hits.some(known => known.host === hit.host && known.port === hit.port && known.index === hit.index)) return;
  group.hits.push(hit);
  const size = hit.size >= 4294967295 ? "size unknown" : bytes(hit.size);
  const nearest = Math.min(...group.hits.map(known => known.hops));
  const busy = group.hits.every(known => known.busy) ? " · busy" : "";
  text(group.about, `${size} · ${many(group.hits.length, "source", "sources")} · ${many(nearest, "hop", "hops")}${busy}`);
}

async function download(group, button) {
  button.disabled = true;
  try {
    await call("download", { hits: group.hits });
    text(button, "Added");
    await poll();
  } catch (error) {
    button.disabled = false;
    text(byId("search-said"), error.message);
  }
}

// --- The stream of events, and the rest that is asked for

async function follow() {
  for (let failures = 0; ; failures++) {
    if (document.hidden || !token) await until(() => !document.hidden && token);
    stream = new AbortController();
    try {
      const answer = await ask("/events?events=links,searches,drops", { signal: stream.signal }, 0);
      failures = 0;
      for await (const block of parts(answer, "\n\n")) happened(block);
    } catch {
      // The next try tells.
    }
    await new Promise(done => setTimeout(done, RETRY_MS[Math.min(failures, RETRY_MS.length - 1)]));
  }
}

function happened(block) {
  const field = name => block.split("\n").find(line => line.startsWith(`${name}: `))?.slice(name.length + 2);
  const [name, data] = [field("event"), field("data")];
  if (!data) return;
  const record = JSON.parse(data);
  if (name === "missed") map.left += record.missed;
  else if (name !== "event") return;
  else if (record.event === "link_up" || record.event === "link_down") pollSoon();
  else map.show(record);
}

const waiting = [];

function until(holds) {
  return holds() ? Promise.resolve() : new Promise(done => waiting.push({ holds, done }));
}

function wake() {
  for (const one of waiting.splice(0)) one.holds() ? one.done() : waiting.push(one);
}

async function poll() {
  try {
    const rare = round++ % 5 === 0;
    const names = ["status", "links", "transfers", ...(rare ? ["limits", "hosts"] : [])];
    // One after the other: a client asks for one thing at a time.
    const got = {};
    for (const name of names) got[name] = await call(name);
    showStatus(got.status);
    showLinks(got.links);
    showTransfers(got.transfers);
    if (rare) {
      const near = new Set(got.links.map(row => row.addr));
      const beyond = got.hosts.filter(row => !near.has(row.addr));
      map.setHosts(beyond);
      showMapNote(beyond.length);
      showLimits(got.limits);
    }
    present();
  } catch (error) {
    if (error instanceof Refused) round = 0;
    else absent();
  }
}

let soon = null;

function pollSoon() {
  soon ??= setTimeout(() => { soon = null; poll(); }, 150);
}

async function pollForever() {
  for (let failures = 0; ; failures = gone ? failures + 1 : 0) {
    await until(() => !document.hidden && token);
    await poll();
    const pause = gone ? RETRY_MS[Math.min(failures, RETRY_MS.length - 1)] : POLL_MS;
    await new Promise(done => setTimeout(done, pause));
  }
}

function present() {
  gone = false;
  byId("main").classList.remove("stale");
  byId("gone").hidden = true;
  byId("state").className = "state live";
  text(byId("state"), map.paused ? "live, map paused" : "live");
}

function absent() {
  if (!gone) {
    const since = new Date().toLocaleTimeString();
    text(byId("gone"), `The servent has not answered since ${since}: it was stopped, or cannot be reached from here. Trying again.`);
    // Counters may begin at zero again.
    before = null;
    round = 0;
    linkRates.clear();
  }
  gone = true;
  byId("main").classList.add("stale");
  byId("gone").hidden = false;
  byId("state").className = "state gone";
  text(byId("state"), "gone");
}

// What is shown begins when there is a token.
function entered() {
  map.resize();
  wake();
}

function left() {
  if (stream) stream.abort();
}

byId("pause").onclick = () => {
  map.pause(!map.paused);
  byId("pause").setAttribute("aria-pressed", String(map.paused));
  text(byId("pause"), map.paused ? "Resume" : "Pause");
  if (!gone) present();
};

// What nobody looks at is not asked for.
document.addEventListener("visibilitychange", () => {
  if (document.hidden && stream) stream.abort();
  wake();
});

function key() {
  for (const { colour, words } of [...Object.values(KINDS), DROP]) {
    const mark = element("i");
    mark.style.background = `var(${colour})`;
    byId("key").append(element("li", null, mark, words));
  }
}

key();
begin();
follow();
pollForever();
