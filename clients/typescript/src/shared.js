// One connection for all tabs of a browser: the tab that holds a lock leads and has the connection, and the others hear
// and speak through it. When it is closed, the next one leads, and resumes where it was.

import { Realtime } from "./client.js";
import { Emitter } from "./emitter.js";

/** @typedef {import("./client.js").Options} Options */
/** @typedef {import("./line.js").State} State */
/** @typedef {(number | string)[]} Ids */
/** @typedef {{ postMessage(said: any): void, close(): void, onmessage: any }} Channel */
/**
 * What it asks of the browser, so that tests need none.
 * @typedef {object} Browser
 * @property {{ request(name: string, options: any, granted: () => Promise<void>): Promise<void> }} [locks]
 * @property {(name: string) => Channel} channel
 * @property {(call: () => void, ms: number) => any} setTimeout
 * @property {(timer: any) => void} clearTimeout
 * @property {() => boolean} isVisible
 * @property {(seen: () => void) => () => void} listen  calls `seen` when the tab becomes visible; returns what ends that
 */

const ANSWER_WITHIN = 3_000; // ms in which a leader that is not frozen says that it is there
const REMEMBERED = 1_000; // ids

/** @returns {Browser} */
function thisBrowser() {
  const { document, navigator } = globalThis;
  return {
    locks: globalThis.BroadcastChannel && navigator?.locks, // not in pages without https, except on localhost
    channel: (name) => new BroadcastChannel(name),
    setTimeout: (call, ms) => setTimeout(call, ms),
    clearTimeout: (timer) => clearTimeout(timer),
    isVisible: () => document?.visibilityState === "visible",
    listen(seen) {
      document?.addEventListener("visibilitychange", seen);
      return () => document?.removeEventListener("visibilitychange", seen);
    },
  };
}

/** Stands for a `Realtime` in each tab. */
export class Shared extends Emitter {
  #id = Math.random();
  #options;
  #name;
  #browser;
  /** @type {Channel | null} */
  #channel = null;
  /** @type {Realtime | null} while this tab leads */
  #realtime = null;
  /** @type {State} */
  #state = "off";
  /** @type {Record<string, Record<string, string>>} how far the tab was that led last */
  #positions;
  #seen = new Set();
  /** @type {Map<number, Set<number | string>>} whom each tab watches */
  #watched = new Map();
  /** @type {Ids} whom this tab unwatched last */
  #last = [];
  #giveUp = new AbortController();
  #release = () => {};
  #unlisten = () => {};
  /** @type {any} */
  #timer;
  #isOpen = false;

  /**
   * `name` is the same for tabs that share, so it names the user, such as `user 123`.
   * @param {Options} options @param {{ name: string, browser?: Partial<Browser> }} shared
   */
  constructor(options, { name, browser }) {
    super();
    this.#options = options;
    this.#positions = options.positions ?? {};
    this.#name = `listener-realtime ${name}`;
    this.#browser = { ...thisBrowser(), ...browser };
    this.#watched.set(this.#id, new Set(options.watch));
  }

  /** The state of the connection, whichever tab has it. */
  get state() { return this.#state; }

  /** Whether this tab has the connection. */
  get leads() { return this.#realtime !== null; }

  /** How far each socket is: what `positions` of a later client takes. */
  get positions() { return this.#realtime?.positions ?? this.#positions; }

  /** Connect, or hear through the tab that is connected, until `close`. */
  open() {
    this.#isOpen = true;
    this.#become("connecting");
    if (!this.#browser.locks) {
      this.#lead();
      return this;
    }
    const channel = this.#channel = this.#browser.channel(this.#name);
    channel.onmessage = (/** @type {{ data: any }} */ { data }) => this.#hear(data);
    this.#unlisten = this.#browser.listen(() => this.#ask(false));
    this.#seek();
    this.#ask(true);
    return this;
  }

  /** Close it in this tab, for good. */
  close() {
    this.#isOpen = false;
    this.#post({ kind: "bye" });
    this.#unlisten();
    this.#browser.clearTimeout(this.#timer);
    this.#giveUp.abort();
    this.#follow();
    this.#release();
    this.#channel?.close();
    this.#channel = null;
    this.#become("off");
    this.end();
  }

  /** @param {Ids} ids */
  watch(ids) { this.#do({ kind: "watch", ids }); }

  /** Watch these users no more, unless another tab does. @param {Ids} ids */
  unwatch(ids) { this.#do({ kind: "unwatch", ids }); }

  /** Request a snapshot of who is online. */
  sync() { this.#do({ kind: "sync" }); }

  /** Send a frame; false if there is no connection. @param {string} type @param {any} [data] @param {string} [endpoint] */
  send(type, data = {}, endpoint = undefined) {
    if (this.#state !== "open") return false;
    this.#do({ kind: "send", type, data, endpoint });
    return true;
  }

  /** Set your own status; false if there is no connection. @param {import("./messages.js").Status} status */
  setStatus(status) { return this.send("status", { status }); }

  // ---- leading ----

  /** Wait until it may lead, or take the lead from a tab that is frozen. */
  async #seek(steal = false) {
    this.#giveUp.abort();
    const giveUp = this.#giveUp = new AbortController();
    try {
      await this.#browser.locks?.request(this.#name, steal ? { steal } : { signal: giveUp.signal }, () => this.#lead());
    } catch { /* the lead was taken from this tab, or it gave up */ }
    if (giveUp !== this.#giveUp || !this.#isOpen) return;
    this.#follow();
    this.#seek();
  }

  /** @returns {Promise<void>} while this tab leads */
  #lead() {
    if (!this.#isOpen) return Promise.resolve();
    this.#browser.clearTimeout(this.#timer);
    const own = this.#watched.get(this.#id) ?? new Set();
    this.#watched = new Map([[this.#id, own]]);
    const realtime = this.#realtime = new Realtime({ ...this.#options, watch: [...own], positions: this.#positions });
    /** @type {any} what the other tabs have not heard yet */
    let news = null;
    const pass = () => {
      if (news && realtime === this.#realtime) this.#post({ ...news, positions: this.#positions = realtime.positions });
      news = null;
    };
    for (const type of /** @type {const} */ (["state", "syncing", "sent", "message"])) {
      realtime.on(type, (/** @type {any} */ value, /** @type {string} */ stage) => {
        if (realtime !== this.#realtime) return; // it ends, and another tab's goes on
        // The line learns the position of a message once it has been heard, and before the next one is.
        // Later, it may be another tab that leads.
        pass();
        news = { kind: "told", type, value, stage, ...this.#facts() };
        this.#hear(news);
        queueMicrotask(pass);
      });
    }
    if (!own.size) { // having watched, it hears nobody now, rather than everyone
      realtime.watch(this.#last);
      realtime.unwatch(this.#last);
    }
    realtime.open();
    this.#post({ kind: "lead", ...this.#facts() });
    return new Promise((resolve) => { this.#release = resolve; });
  }

  #follow() {
    const realtime = this.#realtime;
    this.#realtime = null;
    realtime?.close();
  }

  #facts() {
    return { state: this.#realtime?.state, positions: this.#realtime?.positions };
  }

  // ---- between tabs ----

  /** Ask who leads. @param {boolean} isNew */
  #ask(isNew) {
    if (this.#realtime || !this.#browser.isVisible() && !isNew) return;
    this.#hello(isNew);
    this.#browser.clearTimeout(this.#timer);
    this.#timer = this.#browser.setTimeout(() => {
      if (this.#browser.isVisible()) this.#seek(true); // nobody answers, and somebody looks at this tab
    }, ANSWER_WITHIN);
  }

  /** @param {boolean} isNew */
  #hello(isNew) {
    this.#post({ kind: "hello", ids: [...this.#watched.get(this.#id) ?? []], isNew });
  }

  /** Do what an application asked for, in the tab that leads. @param {any} said */
  #do(said) {
    this.#note({ ...said, from: this.#id });
    if (this.#realtime) this.#act({ ...said, from: this.#id });
    else this.#post(said);
  }

  /** @param {any} said */
  #post(said) {
    this.#channel?.postMessage({ ...said, from: this.#id });
  }

  /** Remember whom a tab watches. @param {any} said */
  #note({ kind, ids, from }) {
    const watched = this.#watched.get(from) ?? new Set();
    if (kind === "watch" || kind === "hello") for (const id of ids) watched.add(id);
    if (kind === "unwatch") for (const id of ids) if (watched.delete(id) && from === this.#id) this.#last = [id];
    this.#watched.set(from, watched);
    if (kind === "bye") this.#watched.delete(from);
  }

  /** @param {any} said */
  #hear(said) {
    const { kind, type, value, stage, state, positions } = said;
    if (kind === "told" || kind === "lead" || kind === "here") {
      this.#browser.clearTimeout(this.#timer);
      if (kind === "lead") this.#hello(false);
      if (type === "message") this.#tellOnce(value, stage);
      else if (type && type !== "state") this.tell(type, value, stage);
      this.#positions = positions;
      if (this.#isOpen) this.#become(state, type === "state" ? value : undefined); // unless who heard it has closed
    } else if (this.#realtime) {
      const before = this.#watchedByAny();
      this.#note(said);
      this.#act(said, before);
    }
  }

  /** As the leader. @param {any} said */
  #act({ kind, ids, type, data, endpoint, isNew }, before = new Set()) {
    const realtime = /** @type {Realtime} */ (this.#realtime);
    const gone = () => {
      const left = this.#watchedByAny();
      const nobodys = [...kind === "unwatch" ? ids : before].filter((id) => !left.has(id));
      if (nobodys.length) realtime.unwatch(nobodys);
    };
    if (kind === "hello") this.#post({ kind: "here", ...this.#facts() });
    if (kind === "watch" || kind === "hello" && ids.length) realtime.watch(ids);
    if (kind === "unwatch" || kind === "bye") gone();
    if (kind === "sync" || isNew) realtime.sync(); // a new tab has not heard who is online
    if (kind === "send") realtime.send(type, data, endpoint);
  }

  #watchedByAny() {
    return new Set([...this.#watched.values()].flatMap((ids) => [...ids]));
  }

  // ---- telling ----

  /** The next leader may hear again what this one has heard. @param {any} message @param {string} stage */
  #tellOnce(message, stage) {
    const { id } = message;
    if (id) {
      if (this.#seen.has(id)) return;
      this.#seen.add(id);
      if (this.#seen.size > REMEMBERED) this.#seen.delete(this.#seen.values().next().value);
    }
    this.tell(message.type, message, stage);
    this.tell("message", message, stage);
  }

  /** @param {State} state @param {any} [change] */
  #become(state, change = undefined) {
    const isNews = state !== this.#state;
    this.#state = state;
    if (change || isNews) this.tell("state", change ?? { endpoint: "shared", state, why: "" });
  }
}

/** Share a connection with other tabs, until `close`. @param {Options} options @param {{ name: string }} shared */
export const share = (options, shared) => new Shared(options, shared).open();
