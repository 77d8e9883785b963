/**
 * The client of Listener Realtime.
 *
 *     const realtime = connect({ url: "wss://api.example.com/ws", token: async () => (await fetch("/token")).text() });
 *     realtime.on("call_started", ({ data }) => ring(data));
 *
 * Each event is reported once, also over reconnects.
 */

import { Emitter } from "./emitter.js";
import { Line } from "./line.js";

/** @typedef {import("./messages.js").Message} Message */
/** @typedef {import("./line.js").State} State */
/** @typedef {import("./line.js").World} World */
/** @typedef {"feed" | "presence" | "calls" | "notifications"} Endpoint */
/** @typedef {{ endpoint: string, state: State, why: string }} StateChange */
/** @template {string} T @typedef {Extract<Message, { type: T }>} MessageOf */
/**
 * @typedef {object} Options
 * @property {string} url  the stack's output `WebSocketUrl`
 * @property {(asked: { anew: boolean }) => string | Promise<string>} token  asked at each connect, and before a token
 *   expires; `anew` means that one given before is of no use
 * @property {Endpoint[]} [endpoints]  all that the token allows, unless you name some
 * @property {boolean} [oneSocket]  one socket for all endpoints (stage `live`), or one for each
 * @property {(number | string)[]} [watch]  hear of the presence of these users alone
 * @property {string[]} [types]  hear these types alone
 * @property {number} [longestPause]  ms between attempts, 60,000 by default
 * @property {number} [silence]  ms without a frame before a ping, 240,000 by default
 * @property {Record<string, Record<string, string>>} [positions]  go on from `positions` of an earlier client
 * @property {Partial<World>} [world]  what replaces the browser's sockets, events and timers: for React Native, for tests
 */

/** Whether one socket serves all endpoints where the application does not say. */
export const ONE_SOCKET = true;

const LONGEST_PAUSE = 60_000; // ms
const PING_AFTER = 240_000; // ms without a message; API Gateway ends a connection after 600,000

/** @type {Endpoint[]} */
const ENDPOINTS = ["feed", "presence", "calls", "notifications"];
/** @type {State[]} */
const WORST_FIRST = ["refused", "waiting", "connecting", "off", "open"];

/** @returns {World} */
function browserOrNode() {
  const { document, navigator, addEventListener, removeEventListener } = globalThis;
  return {
    open: (url, protocols) => new WebSocket(url, protocols),
    setTimeout: (call, ms) => setTimeout(call, ms),
    clearTimeout: (timer) => clearTimeout(timer),
    now: Date.now,
    random: Math.random,
    isOnline: () => navigator?.onLine !== false,
    listen(wake) {
      if (!addEventListener || !document) return () => {};
      const heard = (/** @type {Event} */ { type }) => {
        if (type !== "visibilitychange" || document.visibilityState === "visible") wake(type);
      };
      const names = ["online", "offline", "pageshow"];
      names.forEach((name) => addEventListener(name, heard));
      document.addEventListener("visibilitychange", heard);
      return () => {
        names.forEach((name) => removeEventListener(name, heard));
        document.removeEventListener("visibilitychange", heard);
      };
    },
  };
}

export class Realtime extends Emitter {
  /** @type {Map<string, Line>} */
  #lines = new Map();

  /** @param {Options} options */
  constructor({ url, token, endpoints, oneSocket = ONE_SOCKET, watch = [], types, positions = {}, longestPause = LONGEST_PAUSE, silence = PING_AFTER, world }) {
    super();
    const around = { ...browserOrNode(), ...world };
    const named = endpoints ?? ENDPOINTS;
    for (const stage of oneSocket ? ["live"] : named) {
      const presence = (oneSocket ? named : [stage]).some((name) => name === "feed" || name === "presence");
      const query = [
        "batch=true", oneSocket && endpoints && `endpoints=${endpoints.join()}`, types?.length && `types=${types.map(encodeURIComponent).join()}`,
      ];
      const line = new Line({
        address: (ids) => `${url.replace(/\/$/, "")}/${stage}?${[...query, presence && ids && `watch=${ids}`].filter(Boolean).join("&")}`,
        token,
        presence,
        longestPause,
        silence,
        position: positions[stage],
        heard: (message) => this.#emit(message.type, message, stage),
        changed: (state, why) => this.tell("state", { endpoint: stage, state, why }),
        syncing: () => this.tell("syncing", { endpoint: stage }),
        sent: (frame) => this.tell("sent", { endpoint: stage, ...frame }),
      }, around);
      this.#lines.set(stage, line);
      if (presence) line.watch(watch);
    }
  }

  /** "open" if every socket is; otherwise the state of the one that is worst off. @returns {State} */
  get state() {
    const states = [...this.#lines.values()].map(({ state }) => state);
    return WORST_FIRST.find((state) => states.includes(state)) ?? "off";
  }

  /** How far each socket is: what `positions` of a later client takes. @returns {Record<string, Record<string, string>>} */
  get positions() {
    return Object.fromEntries([...this.#lines].map(([stage, line]) => [stage, line.position]));
  }

  /** Connect, and stay connected until `close`. */
  open() {
    this.#lines.forEach((line) => line.start());
    return this;
  }

  /** Close all, for good: iterations end and nothing is left running. */
  close() {
    this.#lines.forEach((line) => line.stop());
    this.end();
  }

  /** Send a frame on the socket of an endpoint, or on the first that is open; false if none is. */
  send(/** @type {string} */ type, /** @type {any} */ data = {}, /** @type {string | undefined} */ endpoint = undefined) {
    return [...this.#lines].some(([stage, line]) => (!endpoint || stage === endpoint || stage === "live") && line.send(type, data));
  }

  /** Hear of these users' presence alone, on this and all later connections. @param {(number | string)[]} ids */
  watch(ids) {
    this.#withPresence((line) => line.watch(ids));
  }

  /** @param {(number | string)[]} ids */
  unwatch(ids) {
    this.#withPresence((line) => line.unwatch(ids));
  }

  /** Request a snapshot of who is online. */
  sync() {
    this.#withPresence((line) => line.sync());
  }

  /** Set your own status; false if no connection is open. @param {import("./messages.js").Status} status */
  setStatus(status) {
    return this.send("status", { status });
  }

  /** @param {(line: Line) => void} act */
  #withPresence(act) {
    this.#lines.forEach((line, stage) => { if (["live", "feed", "presence"].includes(stage)) act(line); });
  }

  /** @param {string} type @param {Message} message @param {string} stage */
  #emit(type, message, stage) {
    this.tell(type, message, stage);
    this.tell("message", message, stage);
  }
}

/** Connect, and stay connected until `close`. @param {Options} options */
export const connect = (options) => new Realtime(options).open();
