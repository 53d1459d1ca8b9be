// The drawing of a network, and a search replayed on it copy by copy.

const SVG = "http://www.w3.org/2000/svg";
const MARGIN = 44;           // Around the discs, for names.
const MOMENT_MS = 350;       // On screen, between one arrival and the next,
const REPLAY_MS = [3000, 15000];  // for a whole replay within these.
const MAX_NAMED = 120;       // Larger networks are drawn without names.

function shape(tag, of, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(of)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

class Drawing {
  constructor(svg, choose) {
    this.svg = svg;
    this.choose = choose;
    this.nodes = new Map();
    this.links = [];
  }

  // The state of the network; its nodes and links never change.
  show(network, chosen) {
    if (this.nodes.size !== network.nodes.length) this.#build(network);
    for (const node of network.nodes) {
      const { group } = this.nodes.get(node.name);
      group.classList.toggle("down", node.pid === null);
      group.classList.toggle("chosen", node.name === chosen);
      group.setAttribute("aria-label", `Node ${node.name}, ${node.state}`);
      group.setAttribute("aria-pressed", String(node.name === chosen));
    }
    network.links.forEach((link, at) => {
      const { line, title } = this.links[at];
      line.setAttribute("class", `link ${link.stands ? link.fault && "faulty" : "broken"}`);
      text(title, `${link.from} – ${link.to}: ${link.stands ? "stands" : "does not stand"}${link.fault && `, ${link.fault}`}`);
    });
  }

  #build({ nodes, links, width, height, radius }) {
    this.radius = Math.max(radius, 3);
    const room = MARGIN + this.radius;
    this.svg.setAttribute("viewBox", `${-room} ${-room} ${width + 2 * room} ${height + 2 * room}`);
    this.nodes.clear();
    for (const node of nodes) {
      const group = shape("g", { class: `node ${node.ours ? node.leaf ? "leaf" : "" : "foreign"}`, tabindex: 0, role: "button", transform: `translate(${node.x} ${node.y})` });
      group.append(shape("circle", { r: this.radius }), shape("circle", { class: "ring", r: this.radius + 5 }));
      if (nodes.length <= MAX_NAMED) group.append(this.#name(node.name));
      group.dataset.node = node.name;
      group.onclick = () => this.choose(node.name);
      group.onkeydown = event => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        this.choose(node.name);
      };
      this.nodes.set(node.name, { x: node.x, y: node.y, group });
    }
    this.links = links.map(({ from, to }) => {
      const title = shape("title", {});
      return { line: shape("line", { ...this.ends(from, to), class: "link" }, title), title };
    });
    this.crossed = shape("g", {});
    this.copies = shape("g", {});
    this.svg.replaceChildren(shape("g", {}, ...this.links.map(it => it.line)), this.crossed,
      shape("g", {}, ...[...this.nodes.values()].map(it => it.group)), this.copies);
  }

  #name(name) {
    const short = [...name].length > 12 ? `${[...name].slice(0, 11).join("")}…` : name;
    const within = 1.7 * this.radius / (0.62 * [...short].length);
    const size = Math.min(within, this.radius);
    if (size >= 9) return shape("text", { "font-size": size }, short);
    return shape("text", { class: "below", y: this.radius + 12, "font-size": Math.min(13, Math.max(11, this.radius)) }, short);
  }

  ends(from, to) {
    const [a, b] = [this.nodes.get(from), this.nodes.get(to)];
    return { x1: a.x, y1: a.y, x2: b.x, y2: b.y };
  }
}

// Each copy and hit with the time it was sent: when its sender had what made it send.
function movesOf(trace) {
  const queryAt = new Map([[trace.from, 0]]), hitAt = new Map(), moves = [];
  for (const step of trace.copies) {
    if (!step.duplicate && !queryAt.has(step.to)) queryAt.set(step.to, step.micros);
  }
  for (const step of trace.copies) {
    const sent = Math.min(queryAt.get(step.from) ?? 0, step.micros);
    moves.push({ kind: step.duplicate ? "duplicate" : "first", sent, step });
  }
  for (const step of trace.hits) {
    const before = hitAt.get(`${step.hops - 1} ${step.from}`) ?? queryAt.get(step.from) ?? 0;
    hitAt.set(`${step.hops} ${step.to}`, step.micros);
    moves.push({ kind: "hit", sent: Math.min(before, step.micros), step });
  }
  return moves.sort((a, b) => a.step.micros - b.step.micros || a.step.hops - b.step.hops);
}

// A replay. Every moment at which something arrives gets as much time on screen as any other, so that the
// order is seen; the clock shows the time that really passed.
class Replay {
  constructor(drawing, told) {
    this.drawing = drawing;
    this.told = told;
    this.still = matchMedia("(prefers-reduced-motion: reduce)");
    this.speed = 1;
    this.trace = null;
  }

  load(trace) {
    this.trace = trace;
    this.moves = movesOf(trace).filter(({ step }) => this.drawing.nodes.has(step.from) && this.drawing.nodes.has(step.to));
    this.moments = [...new Set([0, ...this.moves.map(it => it.step.micros)])].sort((a, b) => a - b);
    this.end = this.moments.length - 1;
    this.perMoment = Math.min(REPLAY_MS[1], Math.max(REPLAY_MS[0], this.end * MOMENT_MS)) / Math.max(1, this.end);
    this.at = 0;
    this.play(true);
  }

  clear() {
    this.trace = null;
    this.playing = false;
    const { svg, crossed, copies, nodes } = this.drawing;
    svg.classList.remove("replaying");
    crossed.replaceChildren();
    copies.replaceChildren();
    for (const { group } of nodes.values()) group.classList.remove("reached", "origin", "answers");
    this.told(this);
  }

  play(on) {
    if (on && this.at >= this.end) this.at = 0;
    this.playing = on && this.trace !== null;
    this.before = performance.now();
    if (this.playing) requestAnimationFrame(time => this.#frame(time));
    this.draw();
  }

  go(at) {
    this.playing = false;
    this.at = Math.min(this.end, Math.max(0, at));
    this.draw();
  }

  #frame(time) {
    if (!this.playing) return;
    this.at = Math.min(this.end, this.at + Math.max(0, time - this.before) * this.speed / this.perMoment);
    this.before = time;
    if (this.at >= this.end) this.playing = false;
    this.draw();
    if (this.playing) requestAnimationFrame(next => this.#frame(next));
  }

  // Microseconds since the search.
  now() {
    const at = this.still.matches ? Math.floor(this.at) : this.at;
    const [low, high] = [this.moments[Math.floor(at)], this.moments[Math.ceil(at)]];
    return low + (high - low) * (at - Math.floor(at));
  }

  draw() {
    const { svg, crossed, copies, nodes, radius } = this.drawing, now = this.now();
    const there = this.moves.filter(({ step }) => step.micros <= now);
    const lines = new Map(), reached = new Set([this.trace.from]), answers = new Set();
    for (const { kind, step } of there) {
      const ends = [step.from, step.to].sort().join("\n");
      lines.set(`${kind} ${ends}`, { kind, step });
      if (kind === "first") reached.add(step.to);
      if (kind === "hit" && step.hops === 0) answers.add(step.from);
    }
    const below = { hit: 0, duplicate: 1, first: 2 };
    crossed.replaceChildren(...[...lines.values()].sort((a, b) => below[a.kind] - below[b.kind])
      .map(({ kind, step }) => shape("line", { ...this.drawing.ends(step.from, step.to), class: `crossed ${kind}` })));
    for (const [name, { group }] of nodes) {
      group.classList.toggle("reached", reached.has(name));
      group.classList.toggle("origin", name === this.trace.from);
      group.classList.toggle("answers", answers.has(name));
    }
    svg.classList.add("replaying");
    const moving = this.still.matches ? [] : this.moves.filter(({ sent, step }) => sent <= now && step.micros > now);
    copies.replaceChildren(...moving.map(({ kind, sent, step }) => {
      const part = (now - sent) / Math.max(1, step.micros - sent);
      const { x1, y1, x2, y2 } = this.drawing.ends(step.from, step.to);
      const size = Math.max(3, radius * (kind === "duplicate" ? 0.28 : 0.42));
      return shape("circle", { cx: x1 + (x2 - x1) * part, cy: y1 + (y2 - y1) * part, r: size, class: `copy ${kind}` });
    }));
    const count = kind => there.filter(it => it.kind === kind).length;
    this.counts = { reached: reached.size - 1, first: count("first"), duplicates: count("duplicate"),
      hits: there.filter(it => it.kind === "hit" && it.step.to === this.trace.from).length };
    this.told(this);
  }
}
