// One phone: a client of the service with its stores. It has no look; screen.mjs shows it.

import { Realtime } from "./client/client.js";
import { Calls, Presence } from "./client/stores.js";
import { RoundTrips, asId, claimsOf, delay } from "./facts.mjs";
import { Network } from "./network.mjs";

const NOTIFICATIONS = 30;
const NOTIFYING = new Set(["favorite_added", "favorite_removed", "user_blocked", "user_unblocked", "system_notification"]);

export class Phone {
  /** Who uses it: `{ side, user, username, role }`, "listener" or "caller" the side. */
  person;
  state = "off";
  why = "";
  token = "";
  notifications = [];
  /** How it came back after an interruption: `{ recovered, replayed, ms }`, until the next one. */
  back = null;
  presence = new Map();
  /** Users who have blocked this one since it connected: nothing is heard of them, and snapshots leave them out. */
  hiding = new Set();
  calls = [];

  #client = null;
  #network = new Network();
  #trips = new RoundTrips();
  #lostAt = 0;
  #replayed = 0;
  #closing = [];
  #of;

  /**
   * `changed()` is called when something that can be seen did; `exchanged(frame)` for each frame, `{ kind, type, took,
   * shown }` with `kind` "heard", "sent" or "error" and `took` in ms.
   */
  constructor(person, of) {
    this.person = person;
    this.#of = of;
  }

  get side() { return this.person.side; }
  get id() { return asId(this.person.user); }
  get hasNetwork() { return this.#network.isOn; }
  get isOn() { return this.#client !== null; }
  /** Its user as others see them. */
  get me() { return this.presence.get(this.id); }
  get ongoing() { return this.calls.filter(({ ended }) => !ended); }

  /** Connect to a stack as a person, from nothing. */
  connect(stack, person = this.person) {
    this.disconnect();
    Object.assign(this, { person, notifications: [], back: null, presence: new Map(), hiding: new Set(), calls: [], token: "" });
    this.#lostAt = 0;
    if (!this.#network.isOn) this.#network.on();
    this.#client = new Realtime({
      url: stack.url,
      token: async (asked) => {
        this.token = await stack.token(this.person, asked);
        return this.token;
      },
      oneSocket: true,
      world: this.#network.world,
    });
    this.#listen(this.#client);
    this.#client.open();
    this.#of.changed();
  }

  disconnect() {
    this.#client?.close();
    this.#closing.forEach((close) => close());
    this.#closing = [];
    this.#client = null;
    this.state = "off";
    this.#of.changed();
  }

  goOffline() { this.#network.off(); }
  comeBack() { this.#network.on(); }

  /** Send a frame; false if there is no connection. */
  send(type, data) { return this.#client?.send(type, data) ?? false; }
  sync() { this.#client?.sync(); }
  claims() { return claimsOf(this.token); }

  #listen(client) {
    const known = remembered(this.person.user);
    const presence = new Presence(client);
    const calls = new Calls(client, known);
    const forgotten = new Set();
    const show = () => {
      this.calls = calls.get().filter(({ call_id: id }) => !forgotten.has(id));
      remember(this.person.user, this.ongoing);
      this.#of.changed();
    };
    this.calls = known;
    let isRestored = known.length > 0;
    const offs = [
      client.on("state", ({ state, why }) => this.#became(state, why)),
      client.on("sent", (frame) => this.#sent(frame)),
      client.on("message", (message) => this.#heard(message)),
      presence.subscribe(() => {
        this.presence = presence.get();
        this.#of.changed();
      }),
      calls.subscribe(show),
      client.on("message", ({ type, data }) => {
        if (!isRestored || type !== "snapshot" || !data.complete) return;
        isRestored = false;
        if (this.me?.is_busy) return;
        // Who is not busy has no call: those kept are of an earlier stack, or ended while the page was closed.
        known.forEach(({ call_id: id }) => forgotten.add(id));
        show();
      }),
    ];
    this.#closing = [...offs, presence.close, calls.close];
  }

  #became(state, why) {
    if (this.state === "open" && state !== "open") {
      this.#lostAt = performance.now();
      this.back = null;
    }
    if (state === "open") {
      this.#trips.forget();
      this.#replayed = 0;
    }
    Object.assign(this, { state, why });
    this.#of.changed();
  }

  #sent({ type, data }) {
    this.#trips.sent(type, performance.now());
    const shown = { type, data: type === "authenticate" ? { token: "…" } : data };
    this.#of.exchanged({ kind: "sent", type, shown });
  }

  #heard(message) {
    const { type, data } = message;
    const took = this.#trips.heard(message, performance.now()) ?? delay(message);
    this.#of.exchanged({ kind: type === "error" ? "error" : "heard", type, took, shown: message });
    if (type === "error") this.why = wordsOf(data);
    if (type === "resumed") this.#resumed(data);
    if (type === "user_blocked") this.hiding.add(data.user_id);
    if (type === "user_unblocked") this.hiding.delete(data.user_id);
    if (NOTIFYING.has(type)) this.notifications = [message, ...this.notifications].slice(0, NOTIFICATIONS);
    this.#of.changed();
  }

  #resumed({ recovered, replayed, complete }) {
    this.#replayed += replayed;
    if (complete === false || !this.#lostAt) return;
    this.back = { recovered, replayed: this.#replayed, ms: performance.now() - this.#lostAt };
    this.#lostAt = 0;
  }
}

const wordsOf = ({ code, message, retry_after: wait }) => `${code}: ${message}${wait ? ` (in ${wait} s)` : ""}`;

// No message announces a call that began before the page was loaded.
const keptAs = (user) => `calls of ${user}`;
const remembered = (user) => JSON.parse(localStorage.getItem(keptAs(user)) ?? "[]");
function remember(user, calls) {
  if (calls.length) localStorage.setItem(keptAs(user), JSON.stringify(calls));
  else localStorage.removeItem(keptAs(user));
}
