// One lasting connection: it reconnects, resumes, pings after silence, renews its token and moves before it must.

/** @typedef {import("./messages.js").Message} Message */
/** @typedef {"off" | "connecting" | "open" | "waiting" | "refused"} State */
/** @typedef {{ url: string, protocols: string[] }} Door */
/** @typedef {{ readyState: number, onopen: any, onmessage: any, onclose: any, onerror?: any, send(text: string): void, close(): void }} Socket */
/**
 * What a line asks of the world around it, so that tests are instant.
 * @typedef {object} World
 * @property {(url: string, protocols: string[]) => Socket} open
 * @property {(call: () => void, ms: number) => any} setTimeout
 * @property {(timer: any) => void} clearTimeout
 * @property {() => number} now  ms since the epoch
 * @property {() => number} random  0 to 1
 * @property {() => boolean} isOnline  false only if the machine knows that it has no network
 * @property {(wake: (why: string) => void) => () => void} listen  calls `wake` on "online", "offline", "visible" and
 *   "pageshow"; returns what ends that
 */
/**
 * @typedef {object} LineOptions
 * @property {(watched: string) => string} address  the URL, given the users of `watch=`
 * @property {(asked: { anew: boolean }) => string | Promise<string>} token
 * @property {boolean} presence  whether it answers `sync`
 * @property {Record<string, string>} [position]  where an earlier line ended
 * @property {number} longestPause  ms
 * @property {number} silence  ms
 * @property {(message: Message) => void} heard
 * @property {(state: State, why: string) => void} changed
 * @property {() => void} syncing  a snapshot of everyone was requested
 * @property {(frame: { type: string, data: any }) => void} sent
 */

const PONG_WITHIN = 10_000; // ms
const PROBE_WITHIN = 5_000; // ms for a pong when the line may well be dead
const LATE = 5_000; // ms: a timer that is so late has slept with its machine
const CONNECT_WITHIN = 20_000; // ms for a token and a handshake
const FIRST_PAUSE = 500; // ms
const LIVED = 30_000; // ms that a connection must last to show that all is well
const SYNC_WITHIN = 10_000; // ms after `stale`, at random
const SYNC_APART = 60_000; // ms
const RENEW_BEFORE = 60_000; // ms before a token expires
const RENEW_AGAIN = 10_000; // ms
const RESUME_AGAIN = 5; // s, where the service does not say
const RESUME_WITHIN = 30_000; // ms for the next frame of the answer
const MANY = 30; // failures, after which the pause no longer grows
const REMEMBERED = 1_000; // ids
const WATCH_IN_URL = 1_500; // characters; API Gateway takes URLs of 4,096
const LONGEST_TIMER = 2 ** 31 - 1;

/** A socket and what is specific to it. */
class Link {
  /** @type {Record<string, string> | null} positions that wait until the missed messages are here */
  held = null;
  /** @type {{ type: string, data: any }[]} frames that are not answered yet and must be */
  asked = [];
  /** @type {Message[]} live messages that wait likewise, with their positions */
  later = [];
  refusal = "";
  /** @param {Socket} socket @param {string} token @param {string[]} ids  the users whom its URL names */
  constructor(socket, token, ids) {
    this.socket = socket;
    this.token = token;
    this.ids = ids;
  }
}

export class Line {
  /** @type {Link | null} in use */
  #link = null;
  /** @type {Link | null} to come: it connects, or resumes before it replaces the one in use */
  #next = null;
  #isRunning = false;
  #attempts = 0;
  #failures = 0;
  #anew = false;
  #notBefore = 0;
  /** @type {number | undefined} */
  #expiry;
  #skew = 0; // ms that the service's clock is ahead of ours
  #synced = -Infinity;
  #isBehind = false; // presence is not known until a snapshot is complete
  /** @type {Record<string, any>} */
  #timers = {};
  /** @type {Record<string, string>} */
  #position = {};
  #seen = new Set();
  /** @type {Map<string, number | string>} */
  #watched = new Map();
  /** @type {string[]} whom it unwatched last: where nobody is left, a URL that names nobody would mean everyone */
  #last = [];
  #unlisten = () => {};
  #acknowledge = () => {}; // the message that is being heard
  #of;
  #world;

  /** @type {State} */
  state = "off";

  /** @param {LineOptions} of @param {World} world */
  constructor(of, world) {
    this.#of = of;
    this.#world = world;
    Object.assign(this.#position, of.position);
  }

  /** How far it is. */
  get position() {
    return { ...this.#position };
  }

  start() {
    this.#unlisten();
    this.#unlisten = this.#world.listen((why) => this.#wake(why));
    this.#isRunning = true;
    this.#attempt();
  }

  /** Close, and do not come back. */
  stop(/** @type {State} */ state = "off", why = "") {
    this.#acknowledge(); // also if who hears it closes
    this.#isRunning = false;
    this.#attempts += 1;
    this.#unlisten();
    this.#unlisten = () => {};
    Object.keys(this.#timers).forEach((name) => this.#cancel(name));
    this.#drop(this.#link);
    this.#drop(this.#next);
    this.#link = this.#next = null;
    this.#become(state, why);
  }

  /** Send a frame; false if there is no connection. @param {string} type @param {any} data */
  send(type, data = {}) {
    return !!this.#link && this.#say(this.#link, type, data);
  }

  /** Watch these users on this and all later connections. @param {(number | string)[]} ids */
  watch(ids) {
    ids.forEach((id) => this.#watched.set(String(id), id));
    this.#ask("watch", { user_ids: ids });
  }

  /** @param {(number | string)[]} ids */
  unwatch(ids) {
    ids.forEach((id) => { if (this.#watched.delete(String(id))) this.#last = [String(id)]; });
    this.#ask("unwatch", { user_ids: ids });
  }

  sync() {
    this.#cancel("stale");
    this.#synced = this.#world.now();
    this.#isBehind = true;
    this.#of.syncing();
    if (this.#link) this.#tell(this.#link, "sync");
  }

  // ---- connecting ----

  async #attempt() {
    this.#cancel("retry");
    this.#drop(this.#next);
    this.#next = null;
    const attempt = ++this.#attempts;
    if (!this.#link) this.#become("connecting");
    if (attempt !== this.#attempts) return; // who heard of it has stopped the line
    this.#set("connect", CONNECT_WITHIN, () => {
      this.#attempts += 1; // a token that comes now is too late
      this.#lost(this.#next, "no connection in time");
    });
    try {
      // A refused handshake looks like a failed one in a browser: now and then, suspect the token.
      const anew = this.#anew || this.#failures % 5 === 4;
      let token = await this.#of.token({ anew });
      if (!anew && (expiryOf(token) ?? Infinity) <= this.#world.now() + this.#skew) token = await this.#of.token({ anew: true });
      if (attempt !== this.#attempts) return;
      let keys = this.#watched.size ? [...this.#watched.keys()] : this.#last;
      if (keys.map(encodeURIComponent).join().length > WATCH_IN_URL) keys = [];
      const link = new Link(this.#world.open(this.#of.address(keys.map(encodeURIComponent).join()), ["bearer", token]), token, keys);
      this.#next = link;
      this.#anew = false;
      link.socket.onopen = () => this.#opened(link);
      link.socket.onmessage = (/** @type {{ data: unknown }} */ { data }) => this.#received(link, data);
      link.socket.onclose = (/** @type {{ code: number }} */ { code }) => this.#lost(link, link.refusal || `closed with ${code}`);
      // A close follows. Only Node's `ws` tells the status of a refused handshake.
      link.socket.onerror = (/** @type {{ message?: string }} */ { message = "" }) => {
        const code = message.endsWith(": 401") ? "AUTH_FAILED" : message.endsWith(": 403") && "PERMISSION_DENIED";
        if (code) this.#refused(link, { code, message });
      };
    } catch (error) {
      if (attempt === this.#attempts) this.#lost(null, String(/** @type {any} */ (error)?.message ?? error));
    }
  }

  /** @param {Link} link */
  #opened(link) {
    const isMove = this.#link !== null;
    if (!isMove) this.#use(link);
    if (!this.#isCurrent(link)) return; // who heard of it has stopped the line
    const added = [...this.#watched].filter(([key]) => !link.ids.includes(key)).map(([, id]) => id);
    const removed = link.ids.filter((key) => !this.#watched.has(key)); // while it connected
    if (added.length) this.#tell(link, "watch", { user_ids: added });
    if (removed.length) this.#tell(link, "unwatch", { user_ids: removed });
    if (Object.keys(this.#position).length > 0) this.#resume(link);
    else if (this.#of.presence && !isMove) this.sync();
    else this.#tell(link, "ping"); // its answer brings a position, before there is any event
  }

  /** From now on this is the connection. @param {Link} link */
  #use(link) {
    this.#cancel("connect");
    this.#cancel("retry");
    this.#drop(this.#link);
    this.#link = link;
    this.#next = null;
    this.#renewBefore(expiryOf(link.token));
    this.#become("open");
    this.#quiet();
    this.#set("lived", LIVED, () => { this.#failures = 0; });
  }

  /** @param {Link | null} link @param {string} why */
  #lost(link, why) {
    this.#drop(link);
    if (link && link === this.#link) {
      this.#link = null;
      ["silence", "pong", "lived", "renew"].forEach((name) => this.#cancel(name));
      if (this.#next) return this.#become("connecting", why); // a move is under way, and becomes the connection
    } else {
      this.#next = null;
      this.#cancel("connect");
    }
    const wait = this.#notBefore - this.#world.now();
    const pause = Math.max(0, wait) + this.#jitter(FIRST_PAUSE * 2 ** this.#failures);
    this.#failures += 1;
    if (!this.#link) this.#become("waiting", why);
    if (this.#link || this.#world.isOnline()) this.#set("retry", pause, () => this.#attempt()); // else `online` wakes us
  }

  /** @param {number} most */
  #jitter(most) {
    return this.#world.random() * Math.min(this.#of.longestPause, most);
  }

  /** The machine or the page comes back: OPEN is no proof of a connection. @param {string} why */
  #wake(why) {
    if (this.#link) this.#probe(PROBE_WITHIN);
    else if (this.state === "waiting" && why !== "offline") {
      const wait = Math.max(0, this.#notBefore - this.#world.now());
      this.#set("retry", wait + this.#jitter(FIRST_PAUSE), () => this.#attempt());
    }
  }

  // ---- hearing ----

  /** @param {Link} link @param {unknown} text */
  #received(link, text) {
    /** @type {any} */
    let heard;
    try {
      heard = JSON.parse(String(text));
    } catch {
      return; // an empty frame, or not of the service
    }
    if (link === this.#link) this.#quiet();
    for (const message of Array.isArray(heard) ? heard : [heard]) {
      if (!this.#isCurrent(link)) return; // closed by what an earlier message led to
      if (typeof message?.type !== "string") return this.#lost(link, String(message?.message ?? "no message")); // API Gateway's own refusal
      message.data ??= {};
      if (link.held && message.id && message.position) link.later.push(message); // it is live; those missed come before
      else {
        if (link.held) this.#expect(link, false);
        this.#take(link, message);
      }
      if (this.#isCurrent(link)) this.#act(link, message); // unless who heard it has stopped the line
    }
  }

  /** @param {Link} link */
  #isCurrent(link) {
    return link === this.#link || link === this.#next;
  }

  /** Its position counts once it was heard. @param {Link} link @param {Message} message */
  #take(link, message) {
    this.#report(link, message);
    if (this.#isCurrent(link)) this.#learn(link, message);
  }

  /** @param {Link} link @param {Message} message */
  #report(link, message) {
    this.#acknowledge = () => {
      this.#acknowledge = () => {};
      if (message.ack) this.#say(link, "ack", { id: message.id });
    };
    if (this.#isNew(message)) this.#of.heard(message);
    this.#acknowledge();
  }

  /** Delivery is at least once: a repeated message has the same id. @param {Message} message */
  #isNew({ id }) {
    if (!id) return true;
    if (this.#seen.has(id)) return false;
    this.#seen.add(id);
    if (this.#seen.size > REMEMBERED) this.#seen.delete(this.#seen.values().next().value);
    return true;
  }

  /**
   * Remember how far we are: never past a message that is still to come, or waits to be reported.
   * @param {Link} link @param {Message} message
   */
  #learn(link, message) {
    if (message.type !== "resumed") {
      Object.assign(link.held ?? this.#position, message.position);
      return;
    }
    Object.assign(this.#position, message.position);
    if (!message.data.recovered) this.#isBehind = true;
    if (message.data.complete === false) return this.#resume(link);
    const { held } = link;
    link.held = null;
    this.#cancel("resume");
    link.later.splice(0).forEach((each) => this.#isCurrent(link) && this.#take(link, each));
    if (this.#isCurrent(link)) Object.assign(this.#position, held);
  }

  /** @param {Link} link @param {Message} message */
  #act(link, message) {
    const { type, data } = message;
    if (!message.id && message.timestamp) {
      const skew = Date.parse(message.timestamp) - this.#world.now() || 0;
      const isNews = Math.abs(skew - this.#skew) > LATE;
      this.#skew = skew;
      if (isNews) this.#renewBefore(this.#expiry);
    }
    if (type === "error") return this.#refused(link, data);
    if (type === "reconnect") return this.#move(link, data.within_seconds);
    if (type === "stale") return this.#syncSoon();
    if (type === "authenticated") this.#renewBefore(timeOf(data.expires_at));
    /** @type {Record<string, string[]>} */
    const answered = { snapshot: ["sync", "watch", "unwatch"], resumed: ["resume"], authenticated: ["authenticate"], pong: ["ping"] };
    const index = link.asked.findIndex((frame) => answered[type]?.includes(frame.type));
    if (index < 0 || /** @type {any} */ (data).complete === false) return; // more of the answer is to come
    const [frame] = link.asked.splice(index, 1);
    if (frame.type === "sync") this.#isBehind = false;
    if (link === this.#next && !link.held) this.#use(link);
    const mustSync = this.#isBehind && this.#of.presence && link === this.#link && !link.held;
    if (mustSync && !link.asked.some(({ type }) => type === "sync")) this.sync();
  }

  /** @param {Link} link @param {import("./messages.js").ErrorData} data */
  #refused(link, { code, message, retry_after: after }) {
    const ends = code === "AUTH_FAILED" || code === "PERMISSION_DENIED";
    // this connection lives until its old token expires
    if (ends && this.#forget(link, "authenticate")) return this.#set("renew", RENEW_AGAIN, () => this.#renew());
    if (code === "PERMISSION_DENIED") return this.stop("refused", `${code}: ${message}`);
    if (code === "AUTH_FAILED") this.#anew = true;
    if (code === "BAD_REQUEST") { // `sync`, with a token that is good for no presence
      if (this.#forget(link, "sync")) this.#isBehind = false;
      if (!Object.keys(this.#position).length) this.#tell(link, "ping");
    }
    if (ends || code === "CONNECTION_LIMIT") link.refusal = `${code}: ${message}`;
    if (`${message}`.startsWith("Replaced")) this.#failures = MANY; // this user is elsewhere: no hurry
    const seconds = after ?? (link.held && !link.refusal ? RESUME_AGAIN : 0);
    if (!seconds) return;
    const ms = seconds * 1000;
    this.#notBefore = this.#world.now() + ms;
    if (link.held) this.#cancel("resume");
    this.#set("again", ms, () => this.#isCurrent(link) && link.asked.splice(0).forEach((frame) => (
      frame.type === "resume" ? this.#resume(link) : this.#tell(link, frame.type, frame.data))));
  }

  /** @param {Link} link @param {number} seconds */
  #move(link, seconds) {
    if (seconds > 0) this.#set("retry", this.#world.random() * seconds * 1000, () => this.#attempt());
    else this.#lost(link, "unknown to the service");
  }

  // ---- asking ----

  /** @param {Link} link */
  #resume(link) {
    link.held ??= {};
    this.#forget(link, "resume");
    this.#tell(link, "resume", { position: this.#position });
    this.#expect(link, false);
  }

  /** Until `resumed`, live events wait: for an answer that does not come, ask once more. @param {Link} link @param {boolean} isLast */
  #expect(link, isLast) {
    this.#set("resume", RESUME_WITHIN, () => {
      if (!this.#isCurrent(link)) return;
      if (isLast) return this.#lost(link, "no answer to resume");
      this.#resume(link);
      this.#expect(link, true);
    });
  }

  /** Await no answer to frames of a type any more; returns whether there was one. @param {Link} link @param {string} type */
  #forget(link, type) {
    const before = link.asked;
    link.asked = before.filter((frame) => frame.type !== type);
    return link.asked.length < before.length;
  }

  #syncSoon() {
    if (this.#timers.stale !== undefined) return;
    const apart = Math.max(0, this.#synced + SYNC_APART - this.#world.now());
    this.#set("stale", apart + this.#world.random() * SYNC_WITHIN, () => this.sync());
  }

  /** @param {string} type @param {any} [data] */
  #ask(type, data) {
    if (this.#link) this.#tell(this.#link, type, data);
    if (this.#next && this.#next.asked.length) this.#tell(this.#next, type, data); // it is open already
  }

  /** Send what must be answered, and sent again if it is refused. @param {Link} link @param {string} type */
  #tell(link, type, data = {}) {
    link.asked.push({ type, data });
    this.#say(link, type, data);
  }

  /** @param {Link} link @param {string} type @param {any} data */
  #say(link, type, data) {
    if (link.socket.readyState !== 1) return false;
    link.socket.send(JSON.stringify({ type, data, timestamp: new Date(this.#world.now()).toISOString() }));
    this.#of.sent({ type, data });
    return true;
  }

  /** After a while in which nothing is heard, ping. */
  #quiet() {
    this.#cancel("pong");
    const due = this.#world.now() + this.#of.silence;
    this.#set("silence", this.#of.silence, () => this.#probe(this.#world.now() - due > LATE ? PROBE_WITHIN : PONG_WITHIN));
  }

  /** @param {number} within */
  #probe(within) {
    if (this.#timers.pong !== undefined) return;
    this.send("ping");
    this.#set("pong", within, () => this.#lost(this.#link, "no answer to a ping"));
  }

  // ---- tokens ----

  /** @param {number | undefined} expiry  ms since the epoch, by the service's clock */
  #renewBefore(expiry) {
    this.#expiry = expiry;
    if (!expiry) return this.#cancel("renew");
    const left = expiry - this.#world.now() - this.#skew;
    const ms = left - Math.min(RENEW_BEFORE, left / 4) * (1 + this.#world.random());
    this.#set("renew", Math.min(LONGEST_TIMER, Math.max(RENEW_AGAIN, ms)), () => (
      ms > LONGEST_TIMER ? this.#renewBefore(expiry) : this.#renew()));
  }

  async #renew() {
    const link = this.#link;
    this.#set("renew", RENEW_AGAIN, () => this.#renew()); // until it is answered
    try {
      const token = await this.#of.token({ anew: true });
      if (link && link === this.#link) {
        this.#forget(link, "authenticate");
        this.#tell(link, "authenticate", { token });
      }
    } catch { /* the timer tries again; at the end the connection is closed, and that is reported */ }
  }

  // ---- small things ----

  /** @param {Link | null} link */
  #drop(link) {
    if (!link) return;
    const { socket } = link;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  /** @param {State} state */
  #become(state, why = "") {
    if (state === this.state && !why) return;
    this.state = state;
    this.#of.changed(state, why);
  }

  /** @param {string} name @param {number} ms @param {() => void} call */
  #set(name, ms, call) {
    this.#cancel(name);
    if (this.#isRunning) this.#timers[name] = this.#world.setTimeout(() => {
      delete this.#timers[name];
      call();
    }, ms);
  }

  /** @param {string} name */
  #cancel(name) {
    this.#world.clearTimeout(this.#timers[name]);
    delete this.#timers[name];
  }
}

/** When a token expires (ms since the epoch, by the service's clock); undefined if it does not say. @param {string} token */
function expiryOf(token) {
  try {
    const { exp } = JSON.parse(atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/")));
    return typeof exp === "number" ? exp * 1000 : undefined;
  } catch {
    return undefined;
  }
}

/** @param {string | number} time */
const timeOf = (time) => (typeof time === "number" ? time * 1000 : Date.parse(time));
