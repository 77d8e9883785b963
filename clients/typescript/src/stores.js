// What messages add up to: who is online and busy, and which calls are going on. Each is a store for `useSyncExternalStore`.

/** @typedef {import("./client.js").Realtime} Realtime */
/** @typedef {import("./messages.js").Id} Id */
/** @typedef {import("./messages.js").User} User */
/** @typedef {import("./messages.js").Call & { ended: boolean }} Call */
/** @typedef {Map<Id, User>} Users */

/** @template T */
class Store {
  #listeners = new Set();
  /** @type {T} a new object with each change, as React wants it */
  #shown;

  /** @param {T} shown */
  constructor(shown) { this.#shown = shown; }

  /** Call `listener` after each change; returns what ends it. */
  subscribe = (/** @type {() => void} */ listener) => {
    this.#listeners.add(listener);
    return () => { this.#listeners.delete(listener); };
  };

  /** What is known now. */
  get = () => this.#shown;

  /** @protected @param {T} shown */
  show(shown) {
    this.#shown = shown;
    this.#listeners.forEach((listener) => listener());
  }
}

/** @extends {Store<Users>} The known users: the message about a user with the higher version holds. */
export class Presence extends Store {
  /** @type {Map<string, Users>} by endpoint */
  #known = new Map();
  /** @type {Map<string, Users>} users of snapshots that are not complete yet, with the events since their request */
  #next = new Map();

  /** @param {Pick<Realtime, "on">} realtime */
  constructor(realtime) {
    super(new Map());
    const offs = [
      realtime.on("syncing", ({ endpoint }) => { this.#next.set(endpoint, new Map()); }),
      realtime.on("message", (message, endpoint) => this.#take(message, endpoint)),
    ];
    /** Hear no more. */
    this.close = () => offs.forEach((off) => off());
  }

  /** @param {any} message @param {string} endpoint */
  #take({ type, data, version }, endpoint) {
    const known = this.#known.get(endpoint) ?? new Map();
    const next = this.#next.get(endpoint);
    if (type === "snapshot") { // without a request of everyone it answers `watch`, and adds users
      for (const user of data.users) keepYounger(next ?? known, user);
      this.#known.set(endpoint, data.complete && next ? next : known);
      if (data.complete) this.#next.delete(endpoint);
    } else if (version !== undefined && data.user_id !== undefined) {
      const user = { ...data, version };
      keepYounger(known, user);
      if (next) keepYounger(next, user);
      this.#known.set(endpoint, known);
    } else return;
    const all = new Map();
    for (const users of this.#known.values()) users.forEach((user) => keepYounger(all, user));
    this.show(all);
  }
}

/** @param {Users} users @param {User} user */
function keepYounger(users, user) {
  const known = users.get(user.user_id);
  const isYounger = !known || (user.version ?? 0) > (known.version ?? 0);
  users.set(user.user_id, isYounger ? { ...known, ...user } : { ...user, ...known }); // add what the younger lacks
}

/** @extends {Store<Call[]>} Calls, the newest first; a late message does not reopen an ended call. */
export class Calls extends Store {
  /** @type {Map<Id, Call>} */
  #calls = new Map();

  /** @param {Pick<Realtime, "on">} realtime @param {Call[]} known  calls from before, such as those of your backend */
  constructor(realtime, known = []) {
    super(known);
    for (const call of [...known].reverse()) this.#calls.set(call.call_id, call);
    /** Hear no more. */
    this.close = realtime.on("message", ({ type, data }) => {
      if (type !== "call_started" && type !== "call_billing" && type !== "call_ended") return;
      const before = this.#calls.get(data.call_id);
      this.#calls.set(data.call_id, { ...before, ...data, ended: type === "call_ended" || before?.ended === true });
      this.show([...this.#calls.values()].reverse());
    });
  }
}
