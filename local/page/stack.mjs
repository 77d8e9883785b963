// Which stack the phones use: the one of this machine, or one in the cloud.

import { claimsOf, commandOf } from "./facts.mjs";

const RENEW_SECONDS = 60; // before a token expires

async function ask(path, body) {
  const answer = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(said.message ?? `${path} answered ${answer.status}`);
  return said;
}

/** The stack of this machine, which alone has the secret that signs tokens, and access to the bus and the logs. */
export class ThisMachine {
  name = "this machine";
  url = `${location.origin.replace(/^http/, "ws")}/ws`;
  #tokens = new Map();

  /** A token for a person: a new one if the last is of no use, or soon will not be. */
  async token({ user, username, role }, { anew = false } = {}) {
    const key = JSON.stringify([user, username, role]);
    const known = this.#tokens.get(key);
    if (!anew && known && claimsOf(known).exp - Date.now() / 1000 > RENEW_SECONDS) return known;
    const { token } = await ask("/_local/token", { user, username: username || undefined, role: role || undefined });
    this.#tokens.set(key, token);
    return token;
  }

  /** Put an event on the bus; the promise is its id. */
  async publish(type, detail) {
    return (await ask("/_local/events", { type, detail })).event_id;
  }

  /** What functions logged after a line with this number. */
  flow(after) { return ask("/_local/flow", after === undefined ? {} : { after }); }
}

/** A stack elsewhere: the page has its URL and two tokens, and nothing more. */
export class Elsewhere {
  #tokens;

  /** @param {string} url @param {{ listener: string, caller: string }} tokens */
  constructor(url, tokens) {
    const { protocol, hostname, host } = new URL(url);
    if (protocol !== "wss:" && !["localhost", "127.0.0.1"].includes(hostname)) {
      throw new Error("The URL must begin with wss://, or be of this machine: this page may open no other.");
    }
    this.url = url.replace(/\/$/, "");
    this.name = host;
    this.#tokens = tokens;
  }

  /** Who a phone's user is, as the token says. */
  person(side) {
    const { sub, username = "", role = "" } = claimsOf(this.#tokens[side]);
    if (!sub) throw new Error(`The token of the ${side} is not a JWT.`);
    return { side, user: String(sub), username, role };
  }

  token({ side }) { return this.#tokens[side]; }

  /** Events come from the backends of that stack: show how one of them would put this one on the bus. */
  async publish(type, detail) {
    throw new Error(`This page has no access to that stack's bus. Run: ${commandOf(type, detail)}`);
  }
}
