// The page: a listener's phone and a caller's, the service between them, and the backend that causes what happens.

import { announce, byId, element, fields, on } from "./dom.mjs";
import { Backend } from "./backend.mjs";
import { Flow } from "./flow.mjs";
import { Frames } from "./frames.mjs";
import { Phone } from "./phone.mjs";
import { Screen } from "./screen.mjs";
import { Elsewhere, ThisMachine } from "./stack.mjs";

const LEARN_AFTER = 500; // ms: several new users are looked up at once
const PEOPLE = {
  listener: { side: "listener", user: "789", username: "jane_smith", role: "listener" },
  caller: { side: "caller", user: "123", username: "sam_lee", role: "" },
};

const home = new ThisMachine();
let stack = home;
const flow = new Flow();
const frames = new Frames();

// ---- the phones -----------------------------------------------------------------------------------------------------

const linked = new URLSearchParams(location.hash.slice(1));
const phones = {};
const screens = {};

/** The user of a side: of the address, such as #listener=5,jane&caller=6,sam; otherwise Jane or Sam. */
function personOf(side) {
  const [user, username = ""] = linked.get(side)?.split(",") ?? [];
  return user ? { ...PEOPLE[side], user, username } : PEOPLE[side];
}

/** A user's name, as the phones know it. */
function nameOf(id) {
  const [own] = Object.values(phones).filter(({ person }) => person.user === String(id) && person.username);
  const known = Object.values(phones).map(({ presence }) => presence.get(id)?.username).find(Boolean);
  return own?.person.username ?? known ?? `user ${id}`;
}

const asked = new Set(); // users whose names were looked up: not all have one
let learning;

/** Presence events of users without a name: a snapshot has it. */
function learnNames(phone) {
  const nameless = [...phone.presence.values()].filter(({ user_id: id, username, is_online: isOnline }) => (
    isOnline && !username && !asked.has(id) && nameOf(id) === `user ${id}`));
  nameless.forEach(({ user_id: id }) => asked.add(id));
  if (nameless.length === 0) return;
  clearTimeout(learning);
  learning = setTimeout(() => phone.sync(), LEARN_AFTER);
}

for (const side of Object.keys(PEOPLE)) {
  const phone = new Phone(personOf(side), {
    changed: () => {
      learnNames(phone);
      Object.values(screens).forEach((screen) => screen.show());
      showKnown();
    },
    exchanged: (frame) => {
      frames.add({ side, name: phone.person.username || phone.person.user, ...frame });
      flow.exchanged(frame);
      tellAloud(frame);
    },
  });
  phones[side] = phone;
}

function tellAloud({ kind, type, shown: { data } }) {
  if (kind === "heard" && type.startsWith("call_")) {
    announce(`${type.replace("_", " ")}, ${nameOf(data.user_id)} and ${nameOf(data.listener_id)}${data.amount ? `, ${data.amount}` : ""}`);
  }
}

function showKnown() {
  const ids = new Set(Object.values(phones).flatMap(({ presence }) => [...presence.keys()]));
  byId("known").replaceChildren(...[...ids].map((id) => element("option", { value: String(id) }, nameOf(id))));
}

function connect(phone, person = phone.person) {
  flow.begin();
  phone.connect(stack, person);
  const { listener, caller } = phones;
  backend.about(caller.person.user, listener.person.user);
  if (stack !== home) return;
  const people = Object.entries(phones).map(([side, { person: { user, username } }]) => `${side}=${encodeURIComponent(user)},${encodeURIComponent(username)}`);
  history.replaceState(null, "", `#${people.join("&")}`); // so that a reload has the same users
}

// ---- the backend ----------------------------------------------------------------------------------------------------

/** Put an event on the bus; promises whether it is there. */
async function publish(type, detail) {
  backend.edit(type, detail);
  const began = performance.now();
  const at = flow.begin();
  try {
    const id = await stack.publish(type, detail);
    frames.add({ side: "backend", name: "bus", kind: "published", type, took: performance.now() - began, shown: detail });
    flow.published(type, at);
    backend.tell(`${type} is on the bus, event ${id}`);
    return true;
  } catch (error) {
    backend.tell(error.message, { wrong: true });
    return false;
  }
}

/** The calls that the phones know, each once; the phone that heard more of one is right. */
function calls() {
  const all = new Map();
  for (const call of Object.values(phones).flatMap((phone) => phone.calls)) {
    const known = all.get(call.call_id);
    const isNews = !known || (call.minutes ?? 0) > (known.minutes ?? 0);
    all.set(call.call_id, { ...(isNews ? call : known), ended: call.ended || known?.ended === true });
  }
  return [...all.values()];
}

const backend = new Backend({ publish, calls, nameOf });

for (const [side, phone] of Object.entries(phones)) {
  screens[side] = new Screen(byId(side), phone, {
    nameOf,
    publish,
    startCall: (user, listener) => backend.startCall(user, listener),
    bill: (call) => backend.bill(call),
    endCall: (call) => backend.endCall(call),
    reconnect: (of, person) => connect(of, stack === home ? person : of.person), // elsewhere the token says who it is
    first: () => Object.values(phones).map(({ person }) => person.user),
  });
}

// ---- what else can be pressed ---------------------------------------------------------------------------------------

byId("frame-side").append(...Object.keys(phones).map((side) => element("option", { value: side }, side)));
on("frame", "submit", () => {
  const { side, text } = fields("frame");
  try {
    const { type, data } = JSON.parse(text.value);
    if (!phones[side.value].send(String(type), data)) announce(`the ${side.value}'s phone is not connected`);
  } catch (error) {
    announce(error.message);
  }
});

/** Let both phones use a stack. */
function use(next) {
  const people = Object.keys(phones).map((side) => (next === home ? personOf(side) : next.person(side)));
  stack = next;
  byId("where-name").textContent = next.name;
  flow.follow(next);
  Object.values(phones).forEach((phone, index) => {
    connect(phone, people[index]);
    screens[phone.side].fill();
  });
}

on("stack", "submit", () => {
  const { url, listener, caller } = fields("stack");
  const problem = byId("stack-problem");
  problem.textContent = "";
  try {
    use(new Elsewhere(url.value.trim(), { listener: listener.value.trim(), caller: caller.value.trim() }));
    byId("where").open = false;
  } catch (error) {
    problem.textContent = error.message;
  }
});
on("home", "click", () => {
  use(home);
  byId("where").open = false;
});

use(home);
