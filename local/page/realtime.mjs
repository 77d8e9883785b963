// A client of the service: a connection that reconnects by itself, and the state that its messages add up to.
// It uses no DOM, so that `node --test` can run it.

const PING_AFTER = 240_000; // ms without a message; API Gateway ends a connection after 600,000
const PONG_WITHIN = 10_000; // ms; a broken socket that still looks open does not answer at all
const FIRST_PAUSE = 500; // ms, doubled with each attempt that fails
const LONGEST_PAUSE = 30_000; // ms
const REMEMBERED = 1_000; // ids of messages, to recognise a repeated one

/** Endpoints that answer `sync` with a snapshot. */
export const WITH_PRESENCE = new Set(["feed", "presence"]);

/**
 * A lasting connection to one endpoint: it reconnects with back-off and full jitter, and moves after a `reconnect`.
 * Each new connection requests a snapshot or the missed messages. It reports each event once, acknowledges messages
 * that require it, and pings only after a time without messages.
 *
 * `open(endpoint, token)` makes a WebSocket; `token({ anew })` promises a token, never one given before if `anew`;
 * `on.state(state, why)` gets "off", "connecting", "open", "waiting" or "refused"; `on.heard(message, frame)` gets
 * each message, with `frame.roundTrip` (ms) if it answers one of ours; `on.sent(message)` gets each message of ours.
 */
export class Connection {
  #socket = null;
  #run = 0; // results of an earlier run, such as a token that comes late, are ignored
  #failures = 0;
  #anew = false;
  #refusal = "";
  #timers = {};
  #asked = []; // frames that were sent and are not answered yet
  #last = ""; // the highest id that was heard
  #heard = new Set(); // the latest ids

  constructor(endpoint, { open, token, on, clock = globalThis, random = Math.random, now = () => performance.now() }) {
    Object.assign(this, { endpoint, open, token, on, clock, random, now });
    this.state = "off";
  }

  /** Connect, and stay connected until `stop`. */
  start() {
    this.stop();
    this.#failures = 0;
    this.#attempt(this.#run);
  }

  /** Close the connection, and do not reconnect. */
  stop() {
    this.#run += 1;
    Object.keys(this.#timers).forEach((name) => this.#cancel(name));
    this.#drop();
    this.#become("off");
  }

  /** Send a frame; false if there is no connection to send it on. */
  send(type, data = {}) {
    return this.sendText(JSON.stringify({ type, data, timestamp: new Date().toISOString() }));
  }

  /** Send any text, a frame or not. */
  sendText(text) {
    if (this.state !== "open") return false;
    if (typeOf(text) !== "ack") this.#asked.push({ type: typeOf(text), at: this.now() }); // an ack has no answer
    this.#socket.send(text);
    this.on.sent?.(text);
    return true;
  }

  async #attempt(run) {
    if (this.state !== "open") this.#become("connecting"); // else it only moves
    let socket;
    try {
      const token = await this.token({ anew: this.#anew });
      if (run !== this.#run) return;
      socket = this.open(this.endpoint, token);
    } catch (error) {
      if (run === this.#run) this.#again(error.message);
      return;
    }
    this.#anew = false;
    socket.onopen = () => run === this.#run && this.#opened(socket);
    socket.onmessage = ({ data }) => run === this.#run && this.#received(socket, data);
    // The new socket replaces the old one when it opens. If it fails before, an old one that is open stays in use.
    socket.onclose = ({ code }) => {
      if (run !== this.#run) return;
      if (socket === this.#socket || this.state !== "open") this.#ended(this.#refusal || `closed with ${code}`);
    };
  }

  #opened(socket) {
    this.#drop();
    this.#socket = socket;
    this.#asked = [];
    this.#refusal = "";
    this.#become("open");
    this.#listen();
    if (WITH_PRESENCE.has(this.endpoint)) this.send("sync");
    else if (this.#last) this.send("resume", { last_id: this.#last });
  }

  #received(socket, text) {
    if (!text) return; // AWS does not document what API Gateway sends without an answer, if it sends anything
    const heard = JSON.parse(text);
    for (const message of Array.isArray(heard) ? heard : [heard]) { // an array if the query has `batch=true`
      if (message.ack) this.send("ack", { id: message.id });
      if (!this.#isNew(message)) continue;
      this.on.heard(message, { roundTrip: this.#answers(message) });
      if (message.type === "error") this.#refused(message.data);
      else if (message.type === "reconnect") this.#move(message.data.within_seconds);
      else this.#failures = 0;
    }
    if (socket === this.#socket) this.#listen();
  }

  /** Delivery is at least once: a repeated message has the same id. */
  #isNew({ id }) {
    if (!id) return true; // an answer
    if (this.#heard.has(id)) return false;
    this.#heard.add(id);
    if (this.#heard.size > REMEMBERED) this.#heard.delete(this.#heard.values().next().value);
    if (id > this.#last) this.#last = id;
    return true;
  }

  /** How long ago we sent what a message answers, or undefined if it answers nothing. */
  #answers(message) {
    const asked = { pong: ["ping"], snapshot: ["sync", "watch", "unwatch"], resumed: ["resume"] }[message.type];
    const index = this.#asked.findIndex(({ type }) => (message.type === "error" ? true : asked?.includes(type)));
    if (index < 0) return undefined;
    const { at } = this.#asked[index];
    if (message.type !== "snapshot" || message.data.complete) this.#asked.splice(index, 1);
    return this.now() - at;
  }

  /** Three errors end a connection. Two of them are temporary; the third would end a new connection too. */
  #refused({ code, message }) {
    const refusal = `${code}: ${message}`;
    if (code === "PERMISSION_DENIED") {
      this.stop();
      this.#become("refused", refusal);
    } else if (code === "AUTH_FAILED") {
      this.#anew = true; // the token has expired, the secret was changed, or the session was revoked
      this.#refusal = refusal;
    } else if (code === "CONNECTION_LIMIT") {
      this.#refusal = refusal; // until other connections end, such as lost ones that the service still counts
    }
  }

  #move(seconds) {
    if (seconds > 0) this.#set("retry", this.random() * seconds * 1000, () => this.#attempt(this.#run));
    // else the service closes this connection, and we handle that like any other end
  }

  #ended(why) {
    this.#drop();
    this.#again(why);
  }

  #again(why) {
    const pause = this.random() * Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** this.#failures);
    this.#failures += 1;
    if (!this.#socket) { // else this was a move, and the old connection stays for now
      this.#cancel("silence");
      this.#become("waiting", `${why}; again in ${(pause / 1000).toFixed(1)} s`);
    }
    this.#set("retry", pause, () => this.#attempt(this.#run));
  }

  /** Wait for the next message: after a while of silence, ping; after a ping without an answer, start over. */
  #listen() {
    this.#set("silence", PING_AFTER, () => {
      this.send("ping");
      this.#set("silence", PONG_WITHIN, () => this.#ended("no answer to a ping"));
    });
  }

  #drop() {
    const socket = this.#socket;
    this.#socket = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  #become(state, why = "") {
    this.state = state;
    this.on.state?.(state, why);
  }

  #set(name, ms, call) {
    this.#cancel(name);
    this.#timers[name] = this.clock.setTimeout(call, ms);
  }

  #cancel(name) {
    this.clock.clearTimeout(this.#timers[name]);
  }
}

/** The online and busy users, from snapshots and events: the message about a user with the higher version holds. */
export class Roster {
  #users = new Map();
  #next = null; // the users of a snapshot that is not complete yet, with the events since its request

  /** Users by id, each `{user_id, username, is_online, is_busy, last_seen, version}`. */
  get users() {
    return this.#users;
  }

  /** Note the request of a snapshot. When it is complete, it and the later events replace all known users. */
  expect() {
    this.#next = new Map();
  }

  /** Take a message; returns whether it was about a user. */
  take({ type, data, version }) {
    if (type === "snapshot") {
      const into = this.#next ?? this.#users; // a snapshot that answers `watch` adds to the known users
      data.users.forEach((user) => keepYounger(into, user));
      if (data.complete && this.#next) [this.#users, this.#next] = [this.#next, null];
      return true;
    }
    if (version === undefined || data.user_id === undefined) return false;
    const user = { ...data, version };
    keepYounger(this.#users, user);
    if (this.#next) keepYounger(this.#next, user);
    return true;
  }
}

function keepYounger(users, user) {
  const known = users.get(user.user_id);
  if (!known) users.set(user.user_id, user);
  else if (user.version > known.version) users.set(user.user_id, { ...known, ...user });
  else users.set(user.user_id, { ...user, ...known }); // add values that the newer one lacks, such as a name
}

/** Calls by id, the newest first; a late message does not reopen an ended call. */
export class Calls {
  #calls = new Map();

  /** Take a message; returns whether it was about a call. */
  take({ type, data }) {
    if (!/^call_(started|billing|ended)$/.test(type)) return false;
    const known = this.#calls.get(data.call_id);
    const ended = type === "call_ended" || known?.ended === true;
    this.#calls.set(data.call_id, { ...known, ...data, ended });
    return true;
  }

  /** All calls. */
  list() {
    return [...this.#calls.values()].reverse();
  }

  /** The ongoing calls, for a reloaded page: no message announces a call that began before. */
  ongoing() {
    return this.list().filter(({ ended }) => !ended);
  }

  /** Restore the calls that `ongoing` returned; messages since then are newer. */
  restore(calls) {
    const heard = this.#calls;
    this.#calls = new Map([...calls].reverse().map((call) => [call.call_id, call]));
    heard.forEach((call, id) => this.#calls.set(id, call));
  }
}

/** How long a message was on its way (ms), by this machine's clock: an event's id begins with when it was recorded. */
export function delay({ id }, now = Date.now()) {
  return typeof id === "string" && /^[0-9a-f]{12}/.test(id) ? now - Number.parseInt(id.slice(0, 12), 16) : undefined;
}

/** Ids as the service writes them: whole numbers as numbers, all else as text. */
export function asId(text) {
  const id = text.trim();
  return /^(0|[1-9]\d{0,15})$/.test(id) && Number(id) <= Number.MAX_SAFE_INTEGER ? Number(id) : id;
}

function typeOf(text) {
  try {
    return JSON.parse(text)?.type;
  } catch {
    return undefined;
  }
}
