// What messages say beyond their words: times, ids, amounts. No DOM, so that `node --test` can run it.

/** How long an event was on its way (ms), by this machine's clock: its id begins with when it was recorded. */
export function delay({ id }, now = Date.now()) {
  return typeof id === "string" && /^[0-9a-f]{12}/.test(id) ? now - Number.parseInt(id.slice(0, 12), 16) : undefined;
}

/** Ids as the service writes them: whole numbers as numbers, all else as text. */
export function asId(text) {
  const id = String(text).trim();
  return /^(0|[1-9]\d{0,15})$/.test(id) && Number(id) <= Number.MAX_SAFE_INTEGER ? Number(id) : id;
}

/** The claims of a token; an empty object if it is none. */
export function claimsOf(token) {
  try {
    const bytes = Uint8Array.from(atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return {};
  }
}

const ANSWERS = {
  pong: ["ping"], snapshot: ["sync", "watch", "unwatch"], resumed: ["resume"], acknowledged: ["ack"], authenticated: ["authenticate"],
};

/** Which frame of ours a message answers, and how long ago it was sent. */
export class RoundTrips {
  #asked = [];

  /** Note a frame that is sent at a time (ms). */
  sent(type, at) {
    this.#asked.push({ type, at });
    if (this.#asked.length > 100) this.#asked.shift();
  }

  /** The time since the frame that a message answers was sent (ms); undefined if it answers none. */
  heard({ type, data }, now) {
    const index = this.#asked.findIndex((frame) => type === "error" || ANSWERS[type]?.includes(frame.type));
    if (index < 0) return undefined;
    const { at } = this.#asked[index];
    if (type !== "snapshot" || data.complete) this.#asked.splice(index, 1);
    return now - at;
  }

  /** The connection is another: what was sent on the old one is not answered. */
  forget() { this.#asked = []; }
}

const RANK = { online: 0, busy: 1, offline: 2 };

/** "online", "busy" or "offline". */
export const statusOf = (user) => (user?.is_online ? (user.is_busy ? "busy" : "online") : "offline");

/** Users as a phone lists them: those of the page first, then who can be called. */
export function ordered(users, nameOf, first = []) {
  const at = ({ user_id: id }) => (first.includes(String(id)) ? 0 : 1);
  return [...users].sort((a, b) => at(a) - at(b) || RANK[statusOf(a)] - RANK[statusOf(b)]
    || nameOf(a.user_id).localeCompare(nameOf(b.user_id)));
}

/** The next bill of a call: a minute more, at 1.50 a minute. */
export function nextBill({ minutes = 0 } = {}) {
  return { minutes: minutes + 1, amount: ((minutes + 1) * 1.5).toFixed(2), currency: "USD" };
}

/** A duration as a phone shows it: 0:07. */
export function duration(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

/** The command that puts an event on the bus of a stack in the cloud. */
export function commandOf(type, detail) {
  return `realtime publish ${type} --stack NAME --detail '${JSON.stringify(detail).replaceAll("'", "'\\''")}'`;
}

export const milliseconds = (ms) => (ms === undefined ? "" : `${Math.max(0, Math.round(ms))} ms`);
export const clock = (at) => `${new Date(at).toTimeString().slice(0, 8)}.${String(Math.floor(at % 1000)).padStart(3, "0")}`;
export const median = (numbers) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];
