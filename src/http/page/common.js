// What the pages have in common: words, elements, calls, the token. A page has WRONG_TOKEN, the text for one
// that is refused, and is told by entered() and left() when there is a token, and when there is none.

const CALL_MS = 15000;       // A call that takes longer has failed.
const byId = id => document.getElementById(id);
let token = "";

// --- Words and numbers

function bytes(count) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let at = 0;
  for (; count >= 1000 && at < units.length - 1; at++) count /= 1000;
  return `${at && count < 100 ? count.toFixed(1) : Math.round(count)} ${units[at]}`;
}

const many = (count, one, more) => `${count.toLocaleString("en")} ${count === 1 ? one : more}`;
const sentence = said => said && `${said[0].toUpperCase()}${said.slice(1)}${/[.!?]$/.test(said) ? "" : "."}`;

function element(tag, of, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(of || {})) {
    if (name === "class") made.className = value;
    else if (name.startsWith("on")) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

function text(node, value) {
  if (node.textContent !== value) node.textContent = value;
}

// --- Calls

class Refused extends Error {}

async function ask(path, options, patience) {
  const headers = { Authorization: `Bearer ${token}` };
  const signal = options.signal || AbortSignal.timeout(patience);
  const answer = await fetch(path, { ...options, headers, signal, cache: "no-store" });
  if (answer.status === 401) {
    leave(WRONG_TOKEN);
    throw new Refused("no token");
  }
  if (!answer.ok) throw new Refused((await answer.text()).trim());
  return answer;
}

function request(method, params, patience = CALL_MS) {
  const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method, params: params || {} });
  return ask("/rpc", { method: "POST", body }, patience);
}

function result(reply) {
  if (reply.error) throw new Refused(reply.error.message);
  return reply.result;
}

const call = async (method, params, patience) => result(await (await request(method, params, patience)).json());

// --- The token

function enter(given) {
  token = given;
  sessionStorage.setItem("servent-token", given);
  byId("enter").hidden = true;
  byId("main").hidden = false;
  entered();
}

function leave(said) {
  token = "";
  left();
  sessionStorage.removeItem("servent-token");
  byId("main").hidden = true;
  byId("enter").hidden = false;
  byId("state").className = "state waiting";
  text(byId("state"), "waiting for the token");
  text(byId("token-said"), said);
}

function readFragment() {
  const given = location.hash.slice(1);
  if (given) history.replaceState(null, "", location.pathname + location.search);
  return given;
}

byId("token-form").onsubmit = event => {
  event.preventDefault();
  text(byId("token-said"), "");
  enter(byId("token").value.trim());
  byId("token").value = "";
};

addEventListener("hashchange", () => {
  const given = readFragment();
  if (given) enter(given);
});

// Begins with the token of the address or of this tab, if there is one.
function begin() {
  const given = readFragment() || sessionStorage.getItem("servent-token");
  given ? enter(given) : leave("");
}
