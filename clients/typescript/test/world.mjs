// A world for tests: time passes, sockets open and events happen when a test says so.

import { Realtime } from "../src/client.js";

export class Clock {
  at = Date.UTC(2026, 0, 1);
  #timers = new Map();
  #next = 1;

  setTimeout = (call, ms) => {
    this.#timers.set(this.#next, { call, due: this.at + (ms || 0) }); // NaN is 0, as everywhere
    return this.#next++;
  };

  clearTimeout = (id) => this.#timers.delete(id);

  get pending() { return this.#timers.size; }

  async pass(ms) {
    const end = this.at + ms;
    for (;;) {
      await settled();
      const [first] = [...this.#timers].filter(([, timer]) => timer.due <= end).sort(([, a], [, b]) => a.due - b.due);
      if (!first) break;
      this.#timers.delete(first[0]);
      this.at = Math.max(this.at, first[1].due);
      first[1].call();
    }
    this.at = Math.max(this.at, end);
  }

  /** The machine sleeps: time passes, and no timer fires until it wakes. */
  async sleep(ms) {
    this.at += ms;
    await this.pass(0);
  }
}

/** Let what was promised happen. */
export const settled = () => new Promise((resolve) => { setImmediate(resolve); });

export class Socket {
  frames = [];
  readyState = 0;

  constructor(url, protocols) {
    this.url = new URL(url);
    [, this.token] = protocols;
  }

  send(text) { this.frames.push(JSON.parse(text)); }
  close() { this.readyState = 3; }

  get sent() { return this.frames.map(({ type }) => type); }
  get closed() { return this.readyState === 3; }
  of(type) { return this.frames.filter((frame) => frame.type === type).map(({ data }) => data); }

  // what the service does
  opens() { this.readyState = 1; this.onopen?.(); }
  says(...messages) { messages.forEach((each) => this.onmessage?.({ data: typeof each === "string" ? each : JSON.stringify(each) })); }
  ends(code = 1006) { this.readyState = 3; this.onclose?.({ code }); }
}

/** A token that expires in so many seconds. */
export const tokenFor = (seconds, clock, name = "") => (
  `h.${Buffer.from(JSON.stringify({ sub: 1, name, exp: clock.at / 1000 + seconds })).toString("base64url")}.s`);

export function begin({ random = () => 1, token, ...options } = {}) {
  const clock = new Clock();
  const world = { clock, sockets: [], states: [], heard: [], asked: [], online: true, wake: () => {}, listening: false };
  world.realtime = new Realtime({
    url: "wss://example.test/ws/",
    endpoints: ["calls"],
    token: token ? (asked) => token(asked, clock) : ({ anew }) => {
      world.asked.push(anew);
      return tokenFor(86_400, clock, String(world.asked.length));
    },
    world: {
      open: (url, protocols) => {
        world.sockets.push(new Socket(url, protocols));
        return world.sockets.at(-1);
      },
      setTimeout: clock.setTimeout,
      clearTimeout: clock.clearTimeout,
      now: () => clock.at,
      random,
      isOnline: () => world.online,
      listen: (wake) => {
        Object.assign(world, { wake, listening: true });
        return () => { world.listening = false; };
      },
    },
    ...options,
  });
  world.realtime.on("state", ({ state, why }) => world.states.push([state, why, clock.at]));
  world.realtime.on("message", (message) => world.heard.push(message.type));
  return world;
}

/** A client whose first connection has opened. */
export async function opened(options) {
  const world = begin(options);
  world.realtime.open();
  await settled();
  world.sockets[0].opens();
  return world;
}

/** The next connection opens, after at most a minute. */
export async function reopened({ sockets, clock }) {
  const before = sockets.length;
  for (let tries = 0; sockets.length === before && tries < 600; tries += 1) await clock.pass(100);
  sockets.at(-1).opens();
  return sockets.at(-1);
}

export const message = (type, data = {}, more = {}) => ({ type, data, ...more });
export const refusal = (code, more = {}) => message("error", { code, message: "no", ...more });
export const resumed = (complete, position = {}, recovered = true) => (
  message("resumed", { recovered, replayed: 1, complete }, { position }));
