// Listeners, and iterations over messages.

/** @typedef {import("./messages.js").Message} Message */
/** @template {string} T @typedef {Extract<Message, { type: T }>} MessageOf */

export class Emitter {
  /** @type {Map<string, Set<(message: any, stage: string) => void>>} */
  #listeners = new Map();
  /** @type {Set<() => void>} */
  #ends = new Set();

  /**
   * Call `listener` for each message of a type, or of all ("message"), or each change of "state"; returns what ends it.
   * @template {Message["type"] | "message" | "state" | "syncing" | "sent"} T
   * @param {T} type
   * @param {(message: T extends Message["type"] ? MessageOf<T> : T extends "message" ? Message : any, endpoint: string) => void} listener
   * @returns {() => void}
   */
  on(type, listener) {
    const listeners = this.#listeners.get(type) ?? new Set();
    const call = (/** @type {any} */ value, /** @type {string} */ stage) => listener(value, stage); // once for each `on`
    this.#listeners.set(type, listeners.add(call));
    return () => { listeners.delete(call); };
  }

  /** Messages from the first `next` on, until `close`. @returns {AsyncGenerator<Message, void, void>} */
  async* [Symbol.asyncIterator]() {
    /** @type {Message[]} */
    const waiting = [];
    let wake = () => {};
    let ended = false;
    const end = () => { ended = true; wake(); };
    const off = this.on("message", (message) => { waiting.push(message); wake(); });
    this.#ends.add(end);
    try {
      for (;;) {
        while (waiting.length) yield /** @type {Message} */ (waiting.shift());
        if (ended) return;
        await new Promise((resolve) => { wake = () => resolve(undefined); });
      }
    } finally {
      off();
      this.#ends.delete(end);
    }
  }

  /** Iterations end. @protected */
  end() {
    this.#ends.forEach((end) => end());
  }

  /** A listener that throws must not keep others from hearing. @protected @param {string} type @param {any} value */
  tell(type, value, stage = value.endpoint) {
    for (const listener of this.#listeners.get(type) ?? []) {
      try {
        listener(value, stage);
      } catch (error) {
        (globalThis.reportError ?? console.error)(error); // to throw it later would end a process of Node
      }
    }
  }
}
