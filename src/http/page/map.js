"use strict";
// The map: the servent in the middle, its neighbours around it, hosts beyond them as dots, and
// descriptors that move along the links. Frames are drawn while something moves, and no longer.

const MAX_MOVING = 240;      // Beyond this a canvas of a phone is no longer fluent: more is not drawn.
const MAX_HOSTS = 300;
const TRAVEL_MS = 650;       // Along a link.
const SPARK_MS = 500;

const KINDS = {
  query: { colour: "--query", words: "query", size: 3.6 },
  query_hit: { colour: "--hit", words: "hit", size: 4.2 },
  push: { colour: "--push", words: "push", size: 3.6 },
  other: { colour: "--other", words: "ping, pong", size: 2.2 },
};
const DROP = { colour: "--drop", words: "dropped" };

// A number from 0 to 1 that is always the same for a text.
function spread(text, salt) {
  let hash = 2166136261 ^ salt;
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 16777619);
  hash ^= hash >>> 15;
  return (Math.imul(hash, 2246822519) >>> 0) / 4294967296;
}

// What tells addresses apart where there is no room: on one machine the port, else the end of the host.
function brief(addr) {
  const [host, port] = addr.split(":");
  return host.startsWith("127.") ? `:${port}` : `…${host.split(".").slice(2).join(".")}`;
}

class NetworkMap {
  constructor(canvas, tip) {
    this.canvas = canvas;
    this.tip = tip;
    this.pen = canvas.getContext("2d");
    this.neighbours = new Map();   // By address: row, label, angle, x, y
    this.hosts = [];
    this.moving = [];
    this.causes = new Map();       // By GUID: when it is here, and when it is at neighbours.
    this.left = 0;                 // Not drawn, because too much moved.
    this.paused = false;
    this.framed = false;
    this.still = matchMedia("(prefers-reduced-motion: reduce)");
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    this.dark.addEventListener("change", () => { this.colours = null; this.draw(); });
    this.still.addEventListener("change", () => { this.moving = []; this.draw(); });
    new ResizeObserver(() => this.resize()).observe(canvas);
    canvas.addEventListener("pointermove", event => this.point(event));
    canvas.addEventListener("pointerdown", event => this.point(event));
    canvas.addEventListener("pointerleave", () => { tip.hidden = true; });
    this.resize();
  }

  colour(name) {
    if (!this.colours) this.colours = new Map();
    if (!this.colours.has(name)) {
      this.colours.set(name, getComputedStyle(document.documentElement).getPropertyValue(name).trim());
    }
    return this.colours.get(name);
  }

  resize() {
    const box = this.canvas.getBoundingClientRect();
    this.ratio = Math.min(2, devicePixelRatio || 1);
    this.width = box.width;
    this.height = box.height;
    this.canvas.width = Math.round(box.width * this.ratio);
    this.canvas.height = Math.round(box.height * this.ratio);
    this.place();
  }

  // Rows of `links`, with rates.
  setLinks(rows) {
    const known = this.neighbours;
    this.neighbours = new Map();
    for (const row of rows) {
      this.neighbours.set(row.addr, { ...(known.get(row.addr) || { born: performance.now() }), row });
    }
    this.moving = this.moving.filter(one => this.neighbours.has(one.peer));
    this.place();
  }

  setHosts(rows) {
    this.hosts = rows.slice(0, MAX_HOSTS).map(row => ({ row }));
    this.place();
  }

  place() {
    const count = this.neighbours.size;
    const [x, y] = [this.width / 2, this.height / 2];
    const narrow = this.width < 480;
    // Two rings where one would have labels upon each other.
    const rings = count > (narrow ? 10 : 18) ? 2 : 1;
    const sorted = [...this.neighbours.values()].sort((a, b) => a.row.addr < b.row.addr ? -1 : 1);
    sorted.forEach((node, at) => {
      const angle = -Math.PI / 2 + 2 * Math.PI * at / Math.max(count, 1);
      const far = rings === 1 ? 0.66 : at % 2 ? 0.78 : 0.5;
      node.x = x + Math.cos(angle) * far * Math.max(60, x - (narrow ? 34 : 70));
      node.y = y + Math.sin(angle) * far * Math.max(60, y - 26);
    });
    for (const host of this.hosts) {
      // Between the ellipse of the neighbours and the edge.
      const angle = 2 * Math.PI * spread(host.row.addr, 1);
      const [across, down] = [Math.cos(angle), Math.sin(angle)];
      const edge = Math.min((x - 6) / Math.abs(across), (y - 6) / Math.abs(down));
      const inner = Math.min(edge, 0.88 / Math.hypot(across / x, down / y));
      const far = inner + (edge - inner) * spread(host.row.addr, 2);
      [host.x, host.y] = [x + across * far, y + down * far];
    }
    this.draw();
  }

  // One record of the stream of events.
  show(record) {
    const node = this.neighbours.get(record.peer);
    if (this.paused || !node) return;
    const kind = KINDS[record.kind] || KINDS.other;
    const inward = record.event === "received";
    const drop = record.event === "dropped" || record.event === "refused";
    if (!inward && !drop && record.event !== "forwarded" && record.event !== "originated") return;
    if (this.still.matches || document.hidden) return;
    // Pings and Pongs are many and say little: they go first when there is much to see.
    const room = kind === KINDS.other || drop ? MAX_MOVING / 2 : MAX_MOVING;
    if (this.moving.length >= room) {
      this.left++;
      return;
    }
    const begin = this.begin(record.guid, record.event);
    this.moving.push({ peer: record.peer, kind, inward, drop: drop ? record.event : null, begin });
    this.wake();
  }

  // When a descriptor sets off: what causes it has arrived by then, though on a fast network both happen
  // in the same moment. A GUID is that of a Query and of its hits.
  begin(guid, event) {
    const now = performance.now();
    const times = this.causes.get(guid) || { here: now, there: now };
    this.causes.delete(guid);
    this.causes.set(guid, times);
    if (this.causes.size > MAX_MOVING) this.causes.delete(this.causes.keys().next().value);
    const begin = Math.min(now + 4 * TRAVEL_MS, Math.max(now, event === "received" ? times.there : times.here));
    if (event === "received") times.here = begin + TRAVEL_MS;
    else if (event !== "dropped") times.there = begin + TRAVEL_MS;
    return event === "refused" ? begin + TRAVEL_MS : begin;
  }

  wake() {
    if (this.framed || this.paused) return;
    this.framed = true;
    requestAnimationFrame(now => {
      this.framed = false;
      this.moving = this.moving.filter(one => now < one.begin + (one.drop ? SPARK_MS : TRAVEL_MS));
      this.draw(now);
      if (this.moving.length) this.wake();
    });
  }

  pause(paused) {
    this.paused = paused;
    if (paused) {
      this.pausedAt = performance.now();
    } else {
      const away = performance.now() - (this.pausedAt || performance.now());
      for (const one of this.moving) one.begin += away;
      this.wake();
    }
  }

  draw(now = this.paused ? this.pausedAt : performance.now()) {
    const { pen, width, height } = this;
    const [x, y] = [width / 2, height / 2];
    pen.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    for (const host of this.hosts) {
      pen.globalAlpha = host.row.answered ? 0.95 : 0.55;
      this.disc(host.x, host.y, 2, "--host");
    }
    pen.globalAlpha = 1;
    for (const node of this.neighbours.values()) {
      // A busy link is a thick one: also where nothing may move.
      const rate = (node.row.in_rate || 0) + (node.row.out_rate || 0);
      pen.strokeStyle = this.colour("--link");
      pen.lineWidth = 1.2 + Math.min(5, Math.log2(1 + rate));
      pen.beginPath();
      pen.moveTo(x, y);
      pen.lineTo(node.x, node.y);
      pen.stroke();
    }
    for (const one of this.moving) this.drawMoving(one, now, x, y);
    this.disc(x, y, 15, "--accent");
    this.disc(x, y, 5, "--card");
    if (!this.neighbours.size) this.label("no links", x, y + 36, "--quiet", 12);
    for (const node of this.neighbours.values()) this.drawNeighbour(node);
  }

  drawMoving(one, now, x, y) {
    const node = this.neighbours.get(one.peer);
    if (!node || now < one.begin) return;
    const { pen } = this;
    if (one.drop) {
      const part = (now - one.begin) / SPARK_MS;
      const at = one.drop === "refused" ? node : { x: x + (node.x - x) * 0.16, y: y + (node.y - y) * 0.16 };
      pen.globalAlpha = Math.max(0, 1 - part);
      pen.strokeStyle = this.colour(DROP.colour);
      pen.lineWidth = 1.6;
      pen.beginPath();
      pen.arc(at.x, at.y, 3 + 7 * part, 0, 2 * Math.PI);
      pen.stroke();
    } else {
      const part = Math.min(1, (now - one.begin) / TRAVEL_MS);
      const way = one.inward ? 1 - part : part;
      this.disc(x + (node.x - x) * way, y + (node.y - y) * way, one.kind.size, one.kind.colour);
    }
    pen.globalAlpha = 1;
  }

  // Ultrapeers have a ring, leaves are small and hollow.
  drawNeighbour({ x, y, row }) {
    const { pen } = this;
    const leaf = row.role === "leaf";
    this.disc(x, y, leaf ? 6 : 9, leaf ? "--card" : "--ink");
    pen.strokeStyle = this.colour("--ink");
    pen.lineWidth = leaf ? 2 : 1.4;
    if (leaf || row.role === "ultrapeer") {
      pen.beginPath();
      pen.arc(x, y, leaf ? 6 : 12.5, 0, 2 * Math.PI);
      pen.stroke();
    }
    const narrow = this.width < 480;
    const crowded = this.neighbours.size > (narrow ? 8 : 24);
    if (narrow && this.neighbours.size > 14) return;
    const name = narrow || crowded ? brief(row.addr) : row.addr;
    const below = y >= this.height / 2;
    this.label(name, x, y + (below ? 27 : -18), "--ink", 12);
    if (!crowded) {
      const rate = `${row.dialect} · ${perSecond(row.in_rate)} in, ${perSecond(row.out_rate)} out`;
      this.label(narrow ? row.dialect : rate, x, y + (below ? 41 : -32), "--quiet", 11);
    }
  }

  label(text, x, y, colour, size) {
    const { pen } = this;
    pen.font = `${size}px system-ui, "DejaVu Sans", sans-serif`;
    pen.textAlign = "center";
    const half = pen.measureText(text).width / 2;
    const at = Math.min(this.width - half - 2, Math.max(half + 2, x));
    pen.lineWidth = 3.5;
    pen.lineJoin = "round";
    pen.strokeStyle = this.colour("--card");
    pen.strokeText(text, at, y);
    pen.fillStyle = this.colour(colour);
    pen.fillText(text, at, y);
  }

  disc(x, y, radius, colour) {
    this.pen.fillStyle = this.colour(colour);
    this.pen.beginPath();
    this.pen.arc(x, y, radius, 0, 2 * Math.PI);
    this.pen.fill();
  }

  point(event) {
    const box = this.canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const near = (list, reach) => list.find(one => Math.hypot(one.x - x, one.y - y) < reach);
    const node = near([...this.neighbours.values()], 18);
    const host = node ? null : near(this.hosts, 6);
    this.tip.hidden = !node && !host;
    if (node) {
      const { row } = node;
      this.tip.textContent = [
        row.addr,
        `${row.role}, ${row.dialect}, ${row.direction === "in" ? "it dialled" : "dialled from here"}`,
        ...(row.agent ? [row.agent] : []),
        `${row.received} descriptors in, ${row.sent} out, ${row.dropped} dropped`,
      ].join("\n");
    } else if (host) {
      this.tip.textContent = `${host.row.addr}\n${host.row.answered ? "a link with it stood" : "heard of"}`;
    } else {
      return;
    }
    const clamp = (at, size, most) => Math.max(0, Math.min(at, most - size));
    this.tip.style.left = `${clamp(x + 14, this.tip.offsetWidth, box.width)}px`;
    this.tip.style.top = `${clamp(y + 14, this.tip.offsetHeight, box.height)}px`;
  }
}
