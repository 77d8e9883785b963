// The page: shows the messages of a client on the four endpoints, and lets you act as the backend that causes them.

import { Calls, Connection, Roster, WITH_PRESENCE, asId, delay } from "./realtime.mjs";

const ENDPOINTS = ["feed", "presence", "calls", "notifications"];
const PERSONAS = {
  jane: { user: "789", username: "jane_smith", role: "listener", name: "Jane" },
  mira: { user: "555", username: "mira_khan", role: "listener", name: "Mira" },
  sam: { user: "123", username: "sam_lee", role: "", name: "Sam" },
};
const LOG_LENGTH = 300;
const NOTIFICATIONS_LENGTH = 50;
const ENDED_CALLS = 5;
const RENEW_SECONDS = 60; // before a token expires

const byId = (id) => document.getElementById(id);
const form = (id) => byId(id).elements;

/** An element with attributes or properties, and children; texts are texts, never HTML. */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name in made && name !== "list") made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

// ---- the stack ------------------------------------------------------------------------------------------------------

/** Send a request to the local stack, which alone has the secret that signs tokens and access to the bus. */
async function ask(path, body) {
  const answer = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(said.message ?? `${path} answered ${answer.status}`);
  return said;
}

let token = null; // a promise, so that four connections share one request

async function currentToken({ anew }) {
  const given = await token?.catch(() => null);
  if (anew || !given || claimsOf(given).exp - Date.now() / 1000 < RENEW_SECONDS) {
    const { user, username, role } = me;
    const asked = ask("/_local/token", { user, username: username || undefined, role: role || undefined });
    token = asked.then((answer) => answer.token);
    token.then(showToken, () => {}); // the code that waits for the token reports the error
  }
  return token;
}

function claimsOf(text) {
  const bytes = Uint8Array.from(atob(text.split(".")[1].replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
  return JSON.parse(new TextDecoder().decode(bytes));
}

function showToken(text) {
  byId("claims").textContent = JSON.stringify(claimsOf(text), null, 2);
  byId("copy").onclick = () => navigator.clipboard.writeText(text).then(() => announce("Token copied"), complain);
  byId("token").hidden = false;
}

/** Put an event on the bus. */
async function publish(type, detail) {
  form("editor").type.value = type;
  form("editor").detail.value = JSON.stringify(detail, null, 2);
  const began = performance.now();
  try {
    const { event_id: id } = await ask("/_local/events", { type, detail });
    const took = performance.now() - began;
    log({ kind: "published", from: "to the bus", type, took, shown: detail });
    tell(`${type} is on the bus, event ${id}`);
  } catch (error) {
    complain(error);
  }
}

function tell(text, { wrong = false } = {}) {
  byId("outcome").textContent = text;
  byId("outcome").classList.toggle("wrong", wrong);
}

const complain = (error) => tell(error.message, { wrong: true });
const announce = (text) => { byId("announcer").textContent = text; };

// ---- who I am -------------------------------------------------------------------------------------------------------

let me = null; // while connected

const identity = () => {
  const { user, username, role } = form("identity");
  return { user: user.value.trim(), username: username.value.trim(), role: role.value };
};

function fillIdentity({ user, username = "", role = "" }) {
  Object.entries({ user, username, role }).forEach(([name, value]) => { form("identity")[name].value = value; });
  showIdentity();
}

function showIdentity() {
  const { user } = identity();
  for (const button of document.querySelectorAll("[data-persona]")) {
    button.setAttribute("aria-pressed", String(PERSONAS[button.dataset.persona].user === user));
    button.disabled = me !== null;
  }
  for (const name of ["user", "username", "role"]) form("identity")[name].disabled = me !== null;
  byId("connect").textContent = me ? "Disconnect" : "Connect";
  const other = user === PERSONAS.sam.user ? PERSONAS.jane : PERSONAS.sam;
  byId("second").textContent = `Open a tab as ${other.name}`;
  byId("second").href = hashOf(other);
  const { who, whom } = form("parties");
  who.value = user;
  whom.value = other.user;
}

const hashOf = ({ user, username, role }) => `#${new URLSearchParams({ user, username, role })}`;

function enter() {
  me = identity();
  token = null;
  history.replaceState(null, "", hashOf(me)); // so that a reload, or a copy of the tab, has the same user
  document.title = `${me.username || me.user} · Listener Realtime`;
  restoreCalls();
  ENDPOINTS.filter((endpoint) => rows[endpoint].wanted.checked).forEach((endpoint) => connections[endpoint].start());
  showIdentity();
}

function leave() {
  me = null;
  ENDPOINTS.forEach((endpoint) => connections[endpoint].stop());
  document.title = "Listener Realtime";
  byId("token").hidden = true;
  showIdentity();
}

// ---- the four connections -------------------------------------------------------------------------------------------

const rosters = { feed: new Roster(), presence: new Roster() };
let calls = new Calls();
const connections = {};
const rows = {};

for (const endpoint of ENDPOINTS) {
  const row = {
    wanted: element("input", { type: "checkbox", checked: true, id: `wanted-${endpoint}` }),
    dot: element("span", { className: "dot" }),
    state: element("span", { className: "state" }),
    took: element("span", { className: "took", title: "how long the last message took" }),
    why: element("span", { className: "why" }),
  };
  row.wanted.onchange = () => me && (row.wanted.checked ? connections[endpoint].start() : connections[endpoint].stop());
  row.item = element(
    "li", {},
    row.wanted,
    element("label", { htmlFor: row.wanted.id }, element("code", {}, endpoint)),
    element("span", {}, row.dot, " ", row.state),
    row.took,
    row.why,
  );
  rows[endpoint] = row;
  byId("endpoints").append(row.item);
  byId("frame-endpoint").append(element("option", { value: endpoint }, endpoint));

  connections[endpoint] = new Connection(endpoint, {
    open: (name, given) => new WebSocket(`${location.origin.replace(/^http/, "ws")}/ws/${name}`, ["bearer", given]),
    token: currentToken,
    on: {
      state: (state, why) => showState(endpoint, state, why),
      heard: (message, { roundTrip }) => hear(endpoint, message, roundTrip),
      sent: (text) => log({ kind: "sent", from: endpoint, ...frameOf(text) }),
    },
  });
}

const STATES = {
  off: "off", connecting: "connecting", open: "connected", waiting: "will be back", refused: "refused",
};

function showState(endpoint, state, why) {
  const row = rows[endpoint];
  const before = row.item.dataset.state;
  row.item.dataset.state = state;
  row.dot.className = `dot ${state}`;
  row.state.textContent = STATES[state];
  if (state !== "connecting") showWhy(endpoint, why, state === "refused");
  if (state === "off") row.took.textContent = "";
  if (state === "open" && WITH_PRESENCE.has(endpoint)) rosters[endpoint].expect();
  if (before === "open" && state === "waiting") announce(`${endpoint} is interrupted`);
}

function showWhy(endpoint, why, wrong) {
  rows[endpoint].why.textContent = why;
  rows[endpoint].why.classList.toggle("wrong", wrong);
}

function hear(endpoint, message, roundTrip) {
  const took = roundTrip ?? delay(message);
  if (roundTrip === undefined && took !== undefined) figures.took = [...figures.took.slice(1 - LOG_LENGTH), took];
  if (took !== undefined) rows[endpoint].took.textContent = milliseconds(took);
  log({ kind: message.type === "error" ? "error" : "heard", from: endpoint, type: message.type, took, shown: message });
  if (rosters[endpoint]?.take(message)) {
    if (message.type === "presence_update") learnName(message.data.user_id);
    show();
  }
  if (endpoint === "presence" && message.type === "snapshot" && message.data.complete) forgetCalls();
  if (calls.take(message)) {
    keepCalls();
    announce(`${message.type.replace("_", " ")}, ${nameOf(message.data.user_id)} and ${nameOf(message.data.listener_id)}`);
  }
  showWhy(endpoint, message.type === "error" ? wordsOf(message.data) : "", message.type === "error");
  if (endpoint === "notifications" && message.id) notify(message);
}

const wordsOf = ({ code, message, retry_after: wait }) => `${code}: ${message}${wait ? ` (in ${wait} s)` : ""}`;
const milliseconds = (ms) => `${Math.max(0, Math.round(ms))} ms`;
const isMe = (id) => me !== null && String(id) === me.user;

// ---- people ---------------------------------------------------------------------------------------------------------

const RANK = { online: 0, busy: 1, offline: 2 };
const WORDS = { online: "Available", busy: "Busy", offline: "Offline" };
const statusOf = (user) => (user.is_online ? (user.is_busy ? "busy" : "online") : "offline");

function nameOf(id) {
  if (isMe(id) && me.username) return me.username;
  const known = [rosters.feed, rosters.presence].map((roster) => roster.users.get(id)?.username).find(Boolean);
  return known ?? Object.values(PERSONAS).find(({ user }) => user === String(id))?.username ?? `user ${id}`;
}

const asked = new Set(); // users whose names were requested: not all have one

/** A presence event has no name of its user, a snapshot has. */
function learnName(id) {
  if (isMe(id) || asked.has(id) || rosters.presence.users.get(id).username) return;
  asked.add(id);
  connections.presence.send("sync");
}

function sorted(roster) {
  return [...roster.users.values()].sort(
    (a, b) => RANK[statusOf(a)] - RANK[statusOf(b)] || nameOf(a.user_id).localeCompare(nameOf(b.user_id)),
  );
}

/** Replace a list's items, keeping the focus on the button that has it. */
function replace(list, items) {
  const focused = list.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  list.replaceChildren(...items);
  if (focused) [...list.querySelectorAll("[data-key]")].find(({ dataset }) => dataset.key === focused)?.focus();
}

function button(text, key, onclick, attributes = {}) {
  const made = element("button", { type: "button", className: "small", onclick, ...attributes }, text);
  made.dataset.key = key;
  return made;
}

/** Show people and calls: each list needs the data of the other. */
function show() {
  showPeople();
  showCalls();
}

function showPeople() {
  const listeners = sorted(rosters.feed);
  replace(byId("listeners"), listeners.map(card));
  byId("no-listeners").hidden = listeners.length > 0;
  const everyone = sorted(rosters.presence).filter((user) => user.is_online);
  byId("everyone").replaceChildren(...everyone.map(chip));
  byId("known").replaceChildren(
    ...[...rosters.presence.users.keys()].map((id) => element("option", { value: String(id) }, nameOf(id))),
  );
}

function card(user) {
  const id = user.user_id;
  const name = nameOf(id);
  const status = statusOf(user);
  const face = element("span", { className: "face", ariaHidden: "true" }, name.slice(0, 1).toUpperCase());
  face.style.setProperty("--hue", [...String(id)].reduce((sum, letter) => (sum * 31 + letter.charCodeAt(0)) % 360, 7));
  const acts = isMe(id) ? ownActs(user) : [
    button("Call", `call ${id}`, () => startCall(asId(me.user), id), { disabled: !me || status !== "online", ariaLabel: `Call ${name}` }),
    button("Favourite", `favourite ${id}`, () => acquaint("favorite_added", asId(me.user), id), { disabled: !me, ariaLabel: `Add ${name} to favourites` }),
    button("Block", `block ${id}`, () => acquaint("user_blocked", asId(me.user), id), { disabled: !me, ariaLabel: `Block ${name}` }),
  ];
  return element(
    "li", { className: `card ${status}` },
    face,
    element("span", { className: "name", title: name }, name),
    element("span", { className: "version", title: "of two messages about a user the higher version holds" }, `v${user.version}`),
    element("span", { className: "state" }, element("span", { className: `dot ${status}` }), WORDS[status]),
    element("span", { className: "id" }, isMe(id) ? "you" : `#${id}`),
    element("span", { className: "acts" }, ...acts),
  );
}

function ownActs({ user_id: id, is_busy: isBusy }) {
  const key = `status ${id}`;
  if (calls.ongoing().length > 0) return [button("In a call", key, null, { disabled: true })];
  const text = isBusy ? "Be available" : "Be busy";
  return [button(text, key, () => publish("status_change", { user_id: id, is_busy: !isBusy }))];
}

function chip(user) {
  const status = statusOf(user);
  const words = isMe(user.user_id) ? " (you)" : "";
  return element(
    "li", {},
    element("span", { className: `dot ${status}` }),
    element("span", { className: "hidden" }, WORDS[status]),
    `${nameOf(user.user_id)}${words}`,
  );
}

// ---- calls and notifications ----------------------------------------------------------------------------------------

function showCalls() {
  const ended = calls.list().filter((call) => call.ended);
  const listed = [...calls.ongoing(), ...ended.slice(0, ENDED_CALLS)];
  byId("no-calls").hidden = listed.length > 0;
  replace(byId("calls"), listed.map((call) => {
    const { call_id: id, user_id: user, listener_id: listener } = call;
    const parts = { call_id: id, user_id: user, listener_id: listener };
    const other = nameOf(isMe(user) ? listener : user);
    const words = [
      call.call_type, call.ended ? "ended" : call.status, call.amount && `${call.amount} ${call.currency ?? ""}`,
    ];
    return element(
      "li", { className: call.ended ? "ended" : "" },
      element("span", { className: "what" }, `${nameOf(user)} → ${nameOf(listener)}`),
      element("span", { className: "quiet" }, `#${id} ${words.filter(Boolean).join(" · ")}`),
      call.ended ? null : element(
        "span", { className: "acts" },
        button("Bill", `bill ${id}`, () => publish("call_billing", { ...parts, ...bill(call) }), { ariaLabel: `Bill the call with ${other}` }),
        button("End", `end ${id}`, () => publish("call_ended", { ...parts, status: "completed" }), { ariaLabel: `End the call with ${other}` }),
      ),
    );
  }));
}

let restored = [];
const keptAs = () => `calls of ${me.user}`;

function keepCalls() {
  localStorage.setItem(keptAs(), JSON.stringify(calls.ongoing()));
  show();
}

function restoreCalls() {
  calls = new Calls();
  restored = JSON.parse(localStorage.getItem(keptAs()) ?? "[]");
  calls.restore(restored);
  show();
}

/** A user who is not busy has no call: remaining calls are of an earlier stack, or ended while the page was closed. */
function forgetCalls() {
  if (!rosters.presence.users.get(asId(me.user))?.is_busy) {
    restored.forEach((call) => calls.take({ type: "call_ended", data: call }));
    keepCalls();
  }
  restored = [];
}

const bill = ({ minutes = 0 }) => ({ minutes: minutes + 1, amount: ((minutes + 1) * 1.5).toFixed(2), currency: "USD" });

const told = new Set(); // an event may come twice, with one id

function notify({ id, type, data, timestamp }) {
  if (told.has(id)) return;
  told.add(id);
  byId("no-notifications").hidden = true;
  const who = data.username ?? (data.user_id === undefined ? "" : nameOf(data.user_id));
  const words = type === "system_notification"
    ? data.text ?? data.message ?? JSON.stringify(data)
    : `${who} ${data.action.replaceAll("_", " ")}`;
  announce(words);
  const list = byId("notifications");
  list.prepend(element(
    "li", {},
    element("span", { className: "what" }, words),
    element("time", { dateTime: timestamp, className: "quiet" }, new Date(timestamp).toLocaleTimeString()),
  ));
  while (list.children.length > NOTIFICATIONS_LENGTH) list.lastChild.remove();
}

// ---- the backend ----------------------------------------------------------------------------------------------------

function startCall(user, listener) {
  const id = Date.now() % 1_000_000_000;
  return publish("call_started", { call_id: id, user_id: user, listener_id: listener, call_type: "audio", status: "ongoing" });
}

const acquaint = (type, who, whom) => publish(type, { user_id: who, username: nameOf(who), delivery: { to: [whom] } });

/** The calls between the two users that this page knows. */
const callsOf = (who, whom) => calls.list().filter(
  ({ ended, user_id: user, listener_id: listener }) => !ended && [user, listener].every((id) => id === who || id === whom),
);

/** Continue with the last call of the two, or say that there is none. */
function withCall(who, whom, type, more) {
  const [call] = callsOf(who, whom);
  if (!call) return tell(`Between ${nameOf(who)} and ${nameOf(whom)} this tab has heard of no call.`, { wrong: true });
  const { call_id, user_id, listener_id } = call;
  return publish(type, { call_id, user_id, listener_id, ...more(call) });
}

const EVENTS = {
  Call: {
    started: startCall,
    billed: (who, whom) => withCall(who, whom, "call_billing", bill),
    ended: (who, whom) => withCall(who, whom, "call_ended", () => ({ status: "completed" })),
  },
  Favourite: {
    added: (who, whom) => acquaint("favorite_added", who, whom),
    removed: (who, whom) => acquaint("favorite_removed", who, whom),
  },
  User: {
    blocked: (who, whom) => acquaint("user_blocked", who, whom),
    unblocked: (who, whom) => acquaint("user_unblocked", who, whom),
  },
  Status: {
    busy: (who) => publish("status_change", { user_id: who, is_busy: true }),
    available: (who) => publish("status_change", { user_id: who, is_busy: false }),
  },
  Session: {
    revoked: (who) => publish("session_revoked", { user_id: who }),
  },
  Notification: {
    "to one": (_, whom) => publish("system_notification", { text: "Your payout is on its way.", delivery: { to: [whom] } }),
    "to everyone": () => publish("system_notification", { text: "We pause at 10 for a minute.", delivery: { to: "everyone" } }),
  },
};

for (const [about, acts] of Object.entries(EVENTS)) {
  const buttons = Object.entries(acts).map(([text, act]) => {
    const onclick = () => {
      const { who, whom } = form("parties");
      if (byId("parties").reportValidity()) act(asId(who.value), asId(whom.value));
    };
    return element("button", { type: "button", onclick, ariaLabel: `${about} ${text}` }, text);
  });
  byId("events").append(element("div", {}, element("span", {}, about), element("p", {}, ...buttons)));
}

// ---- messages -------------------------------------------------------------------------------------------------------

const figures = { heard: 0, took: [] };

/** Add a line: a received, sent or published message, its endpoint, and its time in ms. */
function log({ kind, from, type, took, shown }) {
  if (kind === "heard" || kind === "error") figures.heard += 1;
  showFigures();
  const isHeartbeat = type === "ping" || type === "pong";
  if (isHeartbeat && !byId("heartbeats").checked && kind !== "sent") return;
  const text = typeof shown === "string" ? shown : JSON.stringify(shown);
  const whole = element("pre", {});
  const line = element(
    "details", {},
    element(
      "summary", {},
      element("time", {}, clock(new Date())),
      element("span", { className: "from" }, `${ARROWS[kind]} ${from}`),
      element("span", { className: "type" }, type),
      element("span", { className: "took" }, took === undefined ? "" : milliseconds(took)),
      element("span", { className: "data" }, typeof shown === "string" ? text : JSON.stringify(shown.data ?? shown)),
    ),
    whole,
  );
  line.ontoggle = () => { whole.textContent = typeof shown === "string" ? text : JSON.stringify(shown, null, 2); };
  const list = byId("log");
  list.prepend(element("li", { className: kind }, line));
  while (list.children.length > LOG_LENGTH) list.lastChild.remove();
  byId("no-messages").hidden = true;
}

const ARROWS = { heard: "↓", error: "↓", sent: "↑", published: "→" };
const clock = (date) => `${date.toTimeString().slice(0, 8)}.${String(date.getMilliseconds()).padStart(3, "0")}`;

function showFigures() {
  const { heard, took } = figures;
  const middle = [...took].sort((a, b) => a - b)[Math.floor(took.length / 2)];
  byId("figures").textContent = heard ? `${heard} heard${took.length ? `; events took ${milliseconds(middle)} (median)` : ""}` : "";
}

function frameOf(text) {
  try {
    const frame = JSON.parse(text);
    return { type: String(frame?.type ?? "?"), shown: frame };
  } catch {
    return { type: "?", shown: text };
  }
}

// ---- what you can press ---------------------------------------------------------------------------------------------

function on(id, event, act) {
  byId(id).addEventListener(event, (happened) => {
    happened.preventDefault();
    act();
  });
}

on("identity", "submit", () => (me ? leave() : enter()));
on("parties", "submit", () => {});
byId("identity").addEventListener("input", showIdentity);
for (const pressed of document.querySelectorAll("[data-persona]")) {
  pressed.onclick = () => fillIdentity(PERSONAS[pressed.dataset.persona]);
}
on("editor", "submit", () => {
  const { type, detail } = form("editor");
  try {
    publish(type.value.trim(), JSON.parse(detail.value || "{}"));
  } catch (error) {
    complain(error);
  }
});
on("frame", "submit", () => {
  const { endpoint, text } = form("frame");
  if (!connections[endpoint.value].sendText(text.value)) announce(`${endpoint.value} is not connected`);
});
on("clear", "click", () => {
  byId("log").replaceChildren();
  Object.assign(figures, { heard: 0, took: [] });
  showFigures();
  byId("no-messages").hidden = false;
});

form("editor").detail.value = JSON.stringify({ text: "Hello.", delivery: { to: "everyone" } }, null, 2);
ENDPOINTS.forEach((endpoint) => showState(endpoint, "off", ""));
const linked = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
fillIdentity(linked.user ? linked : PERSONAS.jane);
show();
if (linked.user) enter();
