// What messages add up to: who is online and busy, and which calls are going on. Each is a store for `useSyncExternalStore`.

/** @typedef {import("./client.js").Realtime} Realtime */
/** @typedef {import("./messages.js").Id} Id */
/** @typedef {import("./messages.js").User} User */
/** @typedef {import("./messages.js").Call & { ended: boolean }} Call */
/** @typedef {Map<Id, User>} Users */

/** @template T */
class Store {
  #listeners = new Set();
  /** @type {T | null} a new object after each change, as React wants it, made when somebody looks */
  #shown = null;

  /** Call `listener` after each change; returns what ends it. */
  subscribe = (/** @type {() => void} */ listener) => {
    this.#listeners.add(listener);
    return () => { this.#listeners.delete(listener); };
  };

  /** What is known now. @returns {T} */
  get = () => (this.#shown ??= this.make());

  /** @protected @abstract @returns {T} */
  make() { throw new TypeError("a store makes what it shows"); }

  /** @protected */
  changed() {
    this.#shown = null;
    this.#listeners.forEach((listener) => listener());
  }
}

/** @extends {Store<Users>} The known users: the message about a user with the higher version holds. */
export class Presence extends Store {
  /** @type {Map<string, Users>} by endpoint */
  #known = new Map();
  /** @type {Map<string, Users>} users of snapshots that are not complete yet, with the events since their request */
  #next = new Map();
  /** @type {Users} of all endpoints */
  #all = new Map();

  /** @param {Pick<Realtime, "on">} realtime */
  constructor(realtime) {
    super();
    const offs = [
      realtime.on("syncing", ({ endpoint }) => { this.#next.set(endpoint, new Map()); }),
      realtime.on("message", (message, endpoint) => this.#take(message, endpoint)),
    ];
    /** Hear no more. */
    this.close = () => offs.forEach((off) => off());
  }

  /** @protected @override */
  make() { return new Map(this.#all); }

  /** @param {any} message @param {string} endpoint */
  #take({ type, data, version }, endpoint) {
    const known = this.#known.get(endpoint) ?? new Map();
    this.#known.set(endpoint, known);
    const next = this.#next.get(endpoint);
    if (type === "snapshot" && next) {
      for (const user of data.users) keepYounger(next, user);
      if (!data.complete) return;
      this.#known.set(endpoint, next);
      this.#next.delete(endpoint);
      this.#all = new Map();
      for (const users of this.#known.values()) users.forEach((user) => keepYounger(this.#all, user));
    } else if (type === "snapshot" || version !== undefined && data.user_id !== undefined) {
      // A snapshot without a request of everyone answers `watch`, and adds users.
      for (const user of type === "snapshot" ? data.users : [{ ...data, version }]) {
        for (const users of [known, this.#all, next]) if (users) keepYounger(users, user);
      }
    } else return;
    this.changed();
  }
}

/** @param {Users} users @param {User} user */
function keepYounger(users, user) {
  const known = users.get(user.user_id);
  const isYounger = !known || (user.version ?? 0) > (known.version ?? 0);
  users.set(user.user_id, isYounger ? { ...known, ...user } : { ...user, ...known }); // add what the younger lacks
}

const MOST_CALLS = 1_000; // beyond which the oldest ended one is forgotten

/** @extends {Store<Call[]>} Calls, the newest first; a late message does not reopen an ended call. */
export class Calls extends Store {
  /** @type {Map<Id, Call>} */
  #calls = new Map();

  /** @param {Pick<Realtime, "on">} realtime @param {Call[]} known  calls from before, such as those of your backend */
  constructor(realtime, known = []) {
    super();
    for (const call of [...known].reverse()) this.#calls.set(call.call_id, call);
    /** Hear no more. */
    this.close = realtime.on("message", ({ type, data }) => {
      if (type !== "call_started" && type !== "call_billing" && type !== "call_ended") return;
      const before = this.#calls.get(data.call_id);
      this.#calls.set(data.call_id, { ...before, ...data, ended: type === "call_ended" || before?.ended === true });
      const oldest = this.#calls.size > MOST_CALLS && [...this.#calls.values()].find(({ ended }) => ended);
      if (oldest) this.#calls.delete(oldest.call_id);
      this.changed();
    });
  }

  /** @protected @override */
  make() { return [...this.#calls.values()].reverse(); }
}
