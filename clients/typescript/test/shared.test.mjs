import assert from "node:assert/strict";
import { test } from "node:test";

import { Presence } from "../src/stores.js";
import { Shared } from "../src/shared.js";
import { Clock, Socket, message, settled, tokenFor } from "./world.mjs";

/** Web Locks as the standard has them, for one name: a queue, signals, and stealing. */
class Locks {
  #held = null;
  #queue = [];

  request(name, { signal, steal = false }, granted) {
    assert.ok(!(signal && steal), "the standard refuses both together");
    return new Promise((resolve, reject) => {
      const request = { granted, resolve, reject };
      signal?.addEventListener("abort", () => {
        if (!this.#queue.includes(request)) return;
        this.#queue = this.#queue.filter((each) => each !== request);
        reject(new DOMException("given up", "AbortError"));
      });
      if (steal) {
        this.#held?.reject(new DOMException("stolen", "AbortError"));
        this.#grant(request);
      } else {
        this.#queue.push(request);
        this.#next();
      }
    });
  }

  /** The tab of the holder is closed. */
  release() {
    this.#held = null;
    this.#next();
  }

  #next() {
    if (!this.#held && this.#queue.length) this.#grant(this.#queue.shift());
  }

  #grant(request) {
    this.#held = request;
    queueMicrotask(() => request.granted().then(() => {
      request.resolve();
      if (this.#held === request) this.release();
    }));
  }
}

/** A browser with tabs, which share a clock, locks and channels. */
class Tabs {
  clock = new Clock();
  locks = new Locks();
  sockets = [];
  #channels = new Set();

  async open(options = {}, { locks = this.locks } = {}) {
    const tab = { heard: [], states: [], isVisible: true, isFrozen: false, seen: () => {} };
    tab.shared = new Shared({
      url: "wss://example.test/ws",
      token: () => tokenFor(86_400, this.clock),
      endpoints: ["calls"],
      world: {
        open: (url, protocols) => {
          this.sockets.push(new Socket(url, protocols));
          return this.sockets.at(-1);
        },
        ...this.#timers(),
        now: () => this.clock.at,
        random: () => 1,
        isOnline: () => true,
        listen: () => () => {},
      },
      ...options,
    }, {
      name: "user 1",
      browser: {
        locks,
        channel: (name) => this.#channel(name, tab),
        ...this.#timers(),
        isVisible: () => tab.isVisible,
        listen: (seen) => {
          tab.seen = seen;
          return () => { tab.seen = null; };
        },
      },
    });
    tab.shared.on("message", ({ type }) => tab.heard.push(type));
    tab.shared.on("state", ({ state }) => tab.states.push(state));
    tab.shared.open();
    await settled();
    return tab;
  }

  /** A tab is closed without a word. */
  async kill(tab, socket = this.sockets.at(-1)) {
    tab.isFrozen = true;
    socket.onopen = socket.onmessage = socket.onclose = null;
    this.locks.release();
    await settled();
  }

  #timers() { return { setTimeout: this.clock.setTimeout, clearTimeout: this.clock.clearTimeout }; }

  #channel(name, tab) {
    const channel = {
      postMessage: (said) => {
        if (tab.isFrozen) return;
        const data = structuredClone(said);
        for (const other of this.#channels) {
          if (other !== channel && other.name === name) queueMicrotask(() => other.tab.isFrozen || other.onmessage?.({ data }));
        }
      },
      close: () => this.#channels.delete(channel),
      name,
      tab,
    };
    this.#channels.add(channel);
    return channel;
  }
}

const since = message("pong", {}, { position: { since: "s" } });
const event = (id, more = {}) => message("call_started", { call_id: 1 }, { id, position: { "calls/1": id }, ...more });

/** Some tabs, the first of which is connected. */
async function tabs(count, options) {
  const browser = new Tabs();
  const all = [];
  for (let n = 0; n < count; n += 1) all.push(await browser.open(options));
  browser.sockets[0].opens();
  await settled();
  return { browser, all, socket: browser.sockets[0] };
}

test("several tabs have one connection, and each hears every event once", async () => {
  const { browser, all, socket } = await tabs(3);
  socket.says(since, event("1"), event("1"), message("call_ended", {}, { id: "2" }));
  await settled();
  assert.equal(browser.sockets.length, 1);
  for (const { heard, shared } of all) {
    assert.deepEqual(heard, ["pong", "call_started", "call_ended"]);
    assert.equal(shared.state, "open");
  }
  assert.deepEqual(all.map(({ shared }) => shared.leads), [true, false, false]);
});

test("a tab that comes later knows the state at once", async () => {
  const { browser } = await tabs(1);
  const late = await browser.open();
  assert.deepEqual(late.states, ["connecting", "open"]);
});

test("an event that must be acknowledged is acknowledged once, by the tab that leads", async () => {
  const { browser, socket } = await tabs(3);
  socket.says(event("1", { ack: true }));
  await settled();
  assert.deepEqual(browser.sockets.map((each) => each.of("ack")), [[{ id: "1" }]]);
});

test("when the leading tab is closed, the next one resumes from its position, and nothing is told twice", async () => {
  const { browser, all: [first, second, third], socket } = await tabs(3);
  socket.says(since, event("1"));
  await settled();
  await browser.kill(first);
  assert.equal(second.shared.leads, true);
  assert.equal(browser.sockets.length, 2);
  browser.sockets[1].opens();
  assert.deepEqual(browser.sockets[1].of("resume"), [{ position: { since: "s", "calls/1": "1" } }]);
  browser.sockets[1].says(event("1"), event("2"), message("resumed", { recovered: true, replayed: 2, complete: true }));
  await settled();
  for (const { heard } of [second, third]) {
    assert.deepEqual(heard.filter((type) => type === "call_started"), ["call_started", "call_started"]);
  }
  assert.equal(third.shared.state, "open");
});

test("the next leader resumes also if there was no event yet", async () => {
  const { browser, all: [first, second], socket } = await tabs(2);
  socket.says(since);
  await settled();
  assert.deepEqual(second.shared.positions, { live: { since: "s" } });
  first.shared.close();
  await settled();
  browser.sockets[1].opens();
  assert.deepEqual(browser.sockets[1].frames.map(({ type, data }) => [type, data]), [["resume", { position: { since: "s" } }]]);
});

test("what the leading tab closes on, the next leader asks for again", async () => {
  const { browser, all: [first, second], socket } = await tabs(2);
  socket.says(since);
  await settled();
  first.shared.on("call_started", () => first.shared.close());
  socket.says(event("1"));
  await settled();
  browser.sockets[1].opens();
  assert.deepEqual(browser.sockets[1].of("resume"), [{ position: { since: "s" } }]);
  assert.deepEqual(second.heard, ["pong"]);
});

test("the positions of no tab cover an event that this tab has not heard", async () => {
  const { all, socket } = await tabs(2);
  const kept = all.map(({ shared }) => {
    const known = [];
    shared.on("call_started", ({ id }) => known.push([id, shared.positions.live["calls/1"]]));
    return known;
  });
  socket.says(since);
  await settled();
  socket.says(JSON.stringify([event("1", { position: {} }), event("2"), event("3")]));
  await settled();
  for (const [index, known] of kept.entries()) {
    assert.deepEqual(known.map(([id]) => id), ["1", "2", "3"]);
    for (const [id, position] of known) assert.ok(!position || position <= id, `tab ${index} at ${id}: ${position}`);
    assert.deepEqual(all[index].shared.positions, { live: { since: "s", "calls/1": "3" } });
  }
});

test("a tab that is closed still tells how far it was", async () => {
  const { all: [first, second], socket } = await tabs(2);
  socket.says(since, event("1"));
  await settled();
  first.shared.close();
  second.shared.close();
  await settled();
  for (const { shared } of [first, second]) assert.deepEqual(shared.positions, { live: { since: "s", "calls/1": "1" } });
});

for (const index of [0, 1]) {
  test(`a tab that a listener of a message closes stays off, if it ${index ? "follows" : "leads"}`, async () => {
    const { all, socket } = await tabs(2);
    const { shared, states } = all[index];
    shared.on("call_started", () => shared.close());
    socket.says(since, event("1"));
    await settled();
    assert.deepEqual([shared.state, states.at(-1)], ["off", "off"]);
  });
}

test("tabs go on from the positions of an earlier client, and tell theirs", async () => {
  const positions = { live: { since: "kept" } };
  const { browser, all: [first, second], socket } = await tabs(2, { positions });
  assert.deepEqual(socket.of("resume"), [{ position: positions.live }]);
  assert.deepEqual(first.shared.positions, positions);
  assert.deepEqual(second.shared.positions, positions);
  await browser.kill(first);
  browser.sockets[1].opens();
  assert.deepEqual(browser.sockets[1].of("resume"), [{ position: positions.live }]);
});

test("a tab that closes properly hands over, and says that it is off", async () => {
  const { browser, all: [first, second], socket } = await tabs(2);
  first.shared.close();
  await settled();
  assert.equal(socket.closed, true);
  assert.equal(first.shared.state, "off");
  assert.equal(second.shared.leads, true);
  assert.equal(second.states.includes("off"), false);
  second.shared.close();
  await settled();
  assert.equal(browser.sockets.every((each) => each.closed), true);
  assert.equal(browser.clock.pending, 0);
});

test("a visible tab takes the lead from one that is frozen, which follows when it wakes", async () => {
  const { browser, all: [first, second], socket } = await tabs(2);
  socket.says(since);
  await settled();
  first.isFrozen = true;
  second.seen();
  await browser.clock.pass(2_999);
  assert.equal(second.shared.leads, false);
  await browser.clock.pass(1);
  assert.equal(second.shared.leads, true);
  assert.equal(browser.sockets.length, 2);
  first.isFrozen = false;
  assert.equal(first.shared.leads, false);
  assert.equal(socket.closed, true);
  browser.sockets[1].opens();
  browser.sockets[1].says(message("resumed", { recovered: true, replayed: 0, complete: true }), event("1"));
  await settled();
  assert.equal(first.heard.at(-1), "call_started");
});

test("a hidden tab takes the lead from nobody, and a leader that answers keeps it", async () => {
  const { browser, all: [first, second] } = await tabs(2);
  second.seen();
  await browser.clock.pass(10_000);
  assert.equal(first.shared.leads, true);
  first.isFrozen = true;
  second.isVisible = false;
  second.seen();
  await browser.clock.pass(10_000);
  assert.equal(first.shared.leads, true);
});

test("the leading tab watches for all, and forgets whom no tab watches any more", async () => {
  const { all: [, second, third], socket } = await tabs(3, { endpoints: ["presence"], watch: [1] });
  second.shared.watch([2]);
  third.shared.watch([2, 3]);
  await settled();
  second.shared.unwatch([2]);
  await settled();
  assert.deepEqual(socket.of("unwatch"), []);
  third.shared.close();
  await settled();
  assert.deepEqual(socket.of("unwatch"), [{ user_ids: [2, 3] }]);
  second.shared.unwatch([1]);
  await settled();
  assert.equal(socket.of("unwatch").length, 1); // the first tab watches 1 too
});

test("the next leader watches for the other tabs too", async () => {
  const { browser, all: [first, second, third] } = await tabs(3, { endpoints: ["presence"], watch: [1] });
  third.shared.watch([9]);
  await settled();
  await browser.kill(first);
  assert.equal(second.shared.leads, true);
  browser.sockets[1].opens();
  const asked = [browser.sockets[1].url.searchParams.get("watch"), ...browser.sockets[1].of("watch").flatMap(({ user_ids: ids }) => ids)];
  assert.ok(asked.join().split(",").includes("9"), asked.join());
});

test("the next leader watches nobody if its tab watches nobody any more", async () => {
  const { browser, all: [first, second] } = await tabs(2, { endpoints: ["presence"], watch: [1] });
  first.shared.unwatch([1]);
  second.shared.unwatch([1]);
  await settled();
  await browser.kill(first);
  browser.sockets[1].opens();
  assert.equal(browser.sockets[1].url.searchParams.get("watch"), "1"); // a URL that names nobody would mean everyone
  assert.deepEqual(browser.sockets[1].of("unwatch"), [{ user_ids: ["1"] }]);
});

test("a new tab hears who is online, and any tab can send", async () => {
  const { browser, socket, all: [, second] } = await tabs(2, { endpoints: ["presence"] });
  const before = socket.of("sync").length;
  const late = await browser.open({ endpoints: ["presence"] });
  const presence = new Presence(late.shared);
  assert.equal(socket.of("sync").length, before + 1);
  socket.says(message("snapshot", { users: [{ user_id: 5, is_online: true, version: 1 }], complete: true }));
  await settled();
  assert.equal(presence.get().get(5).is_online, true);
  assert.equal(second.shared.send("ping"), true);
  await settled();
  assert.equal(socket.sent.filter((type) => type === "ping").length, 1);
});

test("without Web Locks each tab has a connection of its own", async () => {
  const browser = new Tabs();
  const [first, second] = [await browser.open({}, { locks: null }), await browser.open({}, { locks: null })];
  browser.sockets.forEach((socket) => socket.opens());
  browser.sockets[1].says(event("1"));
  assert.deepEqual([first.heard, second.heard], [[], ["call_started"]]);
  assert.deepEqual(browser.sockets.map(({ closed }) => closed), [false, false]);
  first.shared.close();
  second.shared.close();
  assert.deepEqual(browser.sockets.map(({ closed }) => closed), [true, true]);
});
