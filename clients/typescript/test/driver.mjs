// Plays the client for tests/clients: commands come as lines of JSON, each is answered with what the client has done.
// Sockets are real; time passes and the machine sleeps when a command says so.

import { createInterface } from "node:readline";
import WebSocket from "ws";

import { Realtime } from "../src/client.js";
import { Calls, Presence } from "../src/stores.js";
import { Clock, settled, tokenFor } from "./world.mjs";

const clock = new Clock();
const seen = { opened: [], received: [], states: [], heard: [], sent: [], asked: [], iterated: [], iterationOver: false, failures: [], told: [], kept: [], syncing: 0 };
const sockets = [];
let realtime, presence, calls, isOnline = true, wake = () => {}, isListening = false, offs = {}, give;

globalThis.reportError = (error) => seen.failures.push(String(error.message)); // of listeners

/** The real `ws`, and how many frames have come. */
function open(url, protocols) {
  const number = seen.opened.length;
  seen.opened.push(url);
  seen.received.push(0);
  const socket = new WebSocket(url, protocols, { perMessageDeflate: false });
  sockets.push(socket);
  const shown = {
    get readyState() { return socket.readyState; },
    send: (text) => socket.send(text),
    close: () => socket.close(),
  };
  socket.onopen = () => shown.onopen?.();
  socket.onmessage = (event) => { shown.onmessage?.(event); seen.received[number] += 1; };
  socket.onclose = (event) => shown.onclose?.(event);
  socket.onerror = (event) => shown.onerror?.(event);
  return shown;
}

/** Tokens by plan: {"lasts": s}, {"fails": text} {"waits": true} or {"hangs": true}; the last one is used again. */
function provider(plans) {
  return ({ anew }) => {
    const plan = plans[Math.min(seen.asked.length, plans.length - 1)];
    seen.asked.push(anew);
    if (plan.fails) throw new Error(plan.fails);
    if (plan.waits) return new Promise((resolve) => { give = () => resolve(tokenFor(3600, clock, "late")); });
    if (plan.hangs) return new Promise(() => {});
    return tokenFor(plan.lasts, clock, String(seen.asked.length));
  };
}

const commands = {
  new({ endpoints, tokens = [{ lasts: 86_400 }], chances = [1], closeOn, failOn, ...options }) {
    let drawn = 0;
    realtime = new Realtime({
      ...options,
      endpoints: endpoints ?? undefined,
      token: provider(tokens),
      world: {
        open, setTimeout: clock.setTimeout, clearTimeout: clock.clearTimeout, now: () => clock.at,
        random: () => chances[drawn++ % chances.length],
        isOnline: () => isOnline,
        listen: (call) => {
          wake = call;
          isListening = true;
          return () => { isListening = false; };
        },
      },
    });
    if (failOn) realtime.on(failOn, () => { throw new Error("a listener failed"); });
    realtime.on("state", ({ endpoint, state, why }) => {
      seen.states.push({ endpoint, state, why, at: clock.at });
      if (state === closeOn) realtime.close();
    });
    realtime.on("message", (message) => {
      seen.heard.push(message);
      seen.kept.push(realtime.positions);
      if (message.type === closeOn) realtime.close();
    });
    realtime.on("syncing", () => { seen.syncing += 1; });
    realtime.on("sent", ({ type }) => seen.sent.push({ type, heard: seen.heard.length }));
    presence = new Presence(realtime);
    calls = new Calls(realtime);
  },
  open: () => { realtime.open(); },
  give: () => give(),
  close: () => { realtime.close(); },
  pass: ({ ms }) => clock.pass(ms),
  sleep: ({ ms }) => clock.sleep(ms),
  wake: ({ why }) => wake(why),
  online: ({ is_known: is }) => { isOnline = is; },
  watch: ({ ids }) => realtime.watch(ids),
  unwatch: ({ ids }) => realtime.unwatch(ids),
  sync: () => realtime.sync(),
  status: ({ status }) => { seen.told.push(realtime.setStatus(status)); },
  send: ({ type, data }) => { realtime.send(type, data); },
  on({ type }) {
    seen[`on ${type}`] = [];
    offs[type] = realtime.on(type, (message) => seen[`on ${type}`].push(message));
  },
  on_twice({ type }) {
    const listener = (message) => seen[`on ${type}`].push(message);
    seen[`on ${type}`] = [];
    offs[type] = realtime.on(type, listener);
    realtime.on(type, listener);
  },
  off: ({ type }) => offs[type](),
  async iterate() {
    for await (const { type } of realtime) seen.iterated.push(type);
    seen.iterationOver = true;
  },
  look: () => {},
};

for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...data } = JSON.parse(line);
  const done = commands[command](data);
  if (command !== "iterate") await done;
  await settled();
  process.stdout.write(`${JSON.stringify({
    ...seen, at: clock.at, state: realtime.state, timers: clock.pending, isListening,
    sockets: sockets.filter(({ readyState }) => readyState < 3).length,
    positions: realtime.positions, presence: [...presence.get().values()], calls: calls.get(),
  })}\n`);
}
process.exit(0);
