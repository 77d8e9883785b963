// The page's logic. Run it with `node --test tests/local`; test_page_logic.py does so for pytest.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Calls, Connection, Roster, asId, delay } from "../../local/page/realtime.mjs";

/** Time that passes when a test says so. */
class Clock {
  at = 0;
  #timers = new Map();
  #next = 1;

  setTimeout = (call, ms) => {
    this.#timers.set(this.#next, { call, due: this.at + ms });
    return this.#next++;
  };

  clearTimeout = (id) => this.#timers.delete(id);

  async pass(ms) {
    const end = this.at + ms;
    for (;;) {
      await settled();
      const due = [...this.#timers].filter(([, timer]) => timer.due <= end).sort(([, a], [, b]) => a.due - b.due);
      if (due.length === 0) break;
      const [[id, timer]] = due;
      this.#timers.delete(id);
      this.at = timer.due;
      timer.call();
    }
    this.at = end;
  }
}

/** Let what was promised happen. */
const settled = () => new Promise((resolve) => { setImmediate(resolve); });

class Socket {
  frames = [];
  sent = []; // their types
  closed = false;

  constructor(token) { this.token = token; }
  send(text) {
    this.frames.push(JSON.parse(text));
    this.sent.push(this.frames.at(-1).type);
  }

  close() { this.closed = true; }

  // the actions of the service
  opens() { this.onopen?.(); }
  says(...messages) { messages.forEach((message) => this.onmessage?.({ data: JSON.stringify(message) })); }
  ends(code = 1006) { this.onclose?.({ code }); }
}

function begin(endpoint = "calls", { random = () => 1, token } = {}) {
  const clock = new Clock();
  const world = { clock, sockets: [], states: [], heard: [], asked: [] };
  world.connection = new Connection(endpoint, {
    open: (_, given) => {
      world.sockets.push(new Socket(given));
      return world.sockets.at(-1);
    },
    token: token ?? (async ({ anew }) => {
      world.asked.push(anew);
      return `token ${world.asked.length}`;
    }),
    on: {
      state: (state, why) => world.states.push([state, why]),
      heard: (message, { roundTrip }) => world.heard.push([message.type, roundTrip]),
    },
    clock,
    random,
    now: () => clock.at,
  });
  return world;
}

async function opened(...of) {
  const world = begin(...of);
  world.connection.start();
  await settled();
  world.sockets[0].opens();
  return world;
}

const message = (type, data = {}, more = {}) => ({ type, data, ...more });
const refusal = (code) => message("error", { code, message: "no" });

test("it connects with a token and says so", async () => {
  const { sockets, states } = await opened();
  assert.equal(sockets[0].token, "token 1");
  assert.deepEqual(states.map(([state]) => state), ["off", "connecting", "open"]);
});

test("a new connection to an endpoint with presence requests a snapshot", async () => {
  for (const [endpoint, sent] of [["feed", ["sync"]], ["presence", ["sync"]], ["calls", []], ["notifications", []]]) {
    const { sockets, clock } = await opened(endpoint);
    assert.deepEqual(sockets[0].sent, sent);
    sockets[0].ends();
    await clock.pass(60_000);
    sockets[1].opens();
    assert.deepEqual(sockets[1].sent, sent);
  }
});

test("a new connection to another endpoint requests missed messages, after an earlier one received any", async () => {
  const { sockets, clock, heard } = await opened("calls");
  sockets[0].says(message("call_ended", {}, { id: "2b" }), message("call_started", {}, { id: "1a" }), message("pong"));
  sockets[0].ends();
  await clock.pass(60_000);
  sockets[1].opens();
  assert.deepEqual(sockets[1].frames.map(({ type, data }) => [type, data]), [["resume", { last_id: "2b" }]]);
  await clock.pass(5);
  sockets[1].says(message("resumed", { recovered: true, replayed: 0 }));
  assert.deepEqual(heard.at(-1), ["resumed", 5]);
});

test("a repeated message is reported once", async () => {
  const { sockets, heard } = await opened();
  const twice = message("call_started", {}, { id: "1a" });
  sockets[0].says(twice, message("call_ended", {}, { id: "2b" }), twice);
  assert.deepEqual(heard.map(([type]) => type), ["call_started", "call_ended"]);
});

test("it acknowledges a message that requires it, each time", async () => {
  const { sockets, heard } = await opened();
  const asked = message("call_started", {}, { id: "1a", ack: true });
  sockets[0].says(asked, message("call_billing", {}, { id: "2b" }), asked);
  assert.deepEqual(sockets[0].frames.map(({ type, data }) => [type, data]), [["ack", { id: "1a" }], ["ack", { id: "1a" }]]);
  assert.equal(heard.length, 2);
});

test("it pings only when it has heard nothing for a while", async () => {
  const { sockets: [socket], clock } = await opened();
  for (let minutes = 0; minutes < 12; minutes += 3) {
    await clock.pass(180_000);
    socket.says(message("call_started"));
  }
  assert.deepEqual(socket.sent, []);
  await clock.pass(240_000);
  assert.deepEqual(socket.sent, ["ping"]);
  socket.says(message("pong"));
  await clock.pass(239_000);
  assert.deepEqual(socket.sent, ["ping"]);
});

test("it leaves a socket that does not answer a ping", async () => {
  const { sockets, clock } = await opened();
  await clock.pass(250_000);
  assert.equal(sockets[0].closed, true);
  await clock.pass(30_000);
  assert.equal(sockets.length, 2);
});

test("it waits longer after each failure, up to a limit, with a random part", async () => {
  const { sockets, states, clock, connection } = begin();
  connection.start();
  for (let failures = 0; failures < 9; failures += 1) {
    await settled();
    sockets.at(-1).ends();
    await clock.pass(30_000);
  }
  const pauses = states.filter(([state]) => state === "waiting").map(([, why]) => Number(/in ([\d.]+) s/.exec(why)[1]));
  assert.deepEqual(pauses, [0.5, 1, 2, 4, 8, 16, 30, 30, 30]);

  const lucky = begin("calls", { random: () => 0 });
  lucky.connection.start();
  await settled();
  lucky.sockets[0].ends();
  await lucky.clock.pass(0);
  assert.equal(lucky.sockets.length, 2);
});

test("a message shows that the connection works, an open socket does not", async () => {
  const { sockets, states, clock } = await opened();
  const pause = () => states.findLast(([state]) => state === "waiting")[1];
  sockets[0].ends(1011);
  await clock.pass(500);
  sockets[1].opens();
  sockets[1].ends(1011);
  assert.match(pause(), /closed with 1011; again in 1\.0 s/);
  await clock.pass(1000);
  sockets[2].opens();
  sockets[2].says(message("pong"));
  sockets[2].ends(1001);
  assert.match(pause(), /closed with 1001; again in 0\.5 s/);
});

test("it tries again if no token is available", async () => {
  let failures = 2;
  const token = async () => {
    failures -= 1;
    if (failures >= 0) throw new Error("nothing answers");
    return "token";
  };
  const { connection, sockets, states, clock } = begin("calls", { token });
  connection.start();
  await settled();
  assert.match(states.at(-1)[1], /nothing answers/);
  await clock.pass(10_000);
  assert.equal(sockets.length, 1);
});

test("a token that is refused is not used again", async () => {
  const { sockets, asked, clock } = await opened();
  sockets[0].says(refusal("AUTH_FAILED"));
  sockets[0].ends(1000);
  await clock.pass(500);
  assert.deepEqual(asked, [false, true]);
  sockets[1].opens();
  sockets[1].ends();
  await clock.pass(1000);
  assert.deepEqual(asked, [false, true, false]);
});

test("it does not reconnect to an endpoint without permission", async () => {
  const { sockets, states, clock } = await opened();
  sockets[0].says(refusal("PERMISSION_DENIED"));
  sockets[0].ends(1000);
  await clock.pass(600_000);
  assert.equal(sockets.length, 1);
  assert.deepEqual(states.at(-1), ["refused", "PERMISSION_DENIED: no"]);
});

test("at the limit of connections it tries again, ever later, until one of the others has ended", async () => {
  const { sockets, states, clock } = await opened();
  for (const seconds of ["0.5", "1.0", "2.0"]) {
    sockets.at(-1).says(refusal("CONNECTION_LIMIT"));
    sockets.at(-1).ends(1000);
    assert.deepEqual(states.at(-1), ["waiting", `CONNECTION_LIMIT: no; again in ${seconds} s`]);
    await clock.pass(Number(seconds) * 1000);
    sockets.at(-1).opens();
  }
  assert.equal(states.at(-1)[0], "open");
});

for (const code of ["RATE_LIMITED", "BAD_REQUEST", "INTERNAL"]) {
  test(`it lives on after ${code}`, async () => {
    const { sockets, states } = await opened();
    sockets[0].says(refusal(code));
    assert.equal(states.at(-1)[0], "open");
    assert.equal(sockets[0].closed, false);
  });
}

test("after `reconnect` it opens the new connection before it leaves the old one", async () => {
  const { sockets, states, heard, clock } = await opened();
  sockets[0].says(message("reconnect", { within_seconds: 60 }));
  await clock.pass(60_000);
  assert.equal(sockets.length, 2);
  sockets[0].says(message("call_started"));
  assert.equal(sockets[0].closed, false);
  sockets[1].opens();
  assert.equal(sockets[0].closed, true);
  sockets[1].says(message("call_ended"));
  assert.deepEqual(heard.map(([type]) => type), ["reconnect", "call_started", "call_ended"]);
  assert.ok(states.every(([state]) => state !== "waiting"));
});

test("a move that fails keeps the old connection", async () => {
  const { sockets, states, clock } = await opened();
  sockets[0].says(message("reconnect", { within_seconds: 1 }));
  await clock.pass(1000);
  sockets[1].ends();
  assert.equal(states.at(-1)[0], "open");
  sockets[0].ends();
  await clock.pass(500);
  assert.equal(sockets.length, 3);
});

test("it does not reconnect after a stop, and a token that comes late opens nothing", async () => {
  let give;
  const { connection, sockets, clock } = begin("calls", { token: () => new Promise((resolve) => { give = resolve; }) });
  connection.start();
  connection.stop();
  give("token");
  await clock.pass(600_000);
  assert.equal(sockets.length, 0);

  const other = await opened();
  other.connection.stop();
  assert.equal(other.sockets[0].closed, true);
  await other.clock.pass(600_000);
  assert.equal(other.sockets.length, 1);
});

test("an answer is reported with the time since its request, an event without", async () => {
  const { connection, sockets, heard, clock } = await opened("feed");
  await clock.pass(20);
  sockets[0].says(message("snapshot", { users: [], complete: false }), message("snapshot", { users: [], complete: true }));
  connection.send("ping");
  await clock.pass(7);
  sockets[0].says(message("listener_online"), message("pong"), message("pong"));
  assert.deepEqual(heard, [
    ["snapshot", 20], ["snapshot", 20], ["listener_online", undefined], ["pong", 7], ["pong", undefined],
  ]);
});

test("a frame of several messages is several messages", async () => {
  const { sockets, heard } = await opened();
  sockets[0].onmessage({ data: JSON.stringify([message("call_started"), message("call_ended")]) });
  assert.deepEqual(heard.map(([type]) => type), ["call_started", "call_ended"]);
});

const jane = (version, more = {}) => ({
  user_id: 789, username: "jane_smith", is_online: true, is_busy: false, last_seen: null, version, ...more,
});
const event = ({ version, ...data }, type = "listener_online") => message(type, data, { version });
const snapshot = (users, complete = true) => message("snapshot", { users, complete });

test("the message about a user with the higher version holds, whichever comes first", () => {
  for (const order of [[1, 2, 3], [3, 1, 2], [2, 3, 1], [3, 2, 1]]) {
    const roster = new Roster();
    order.forEach((version) => roster.take(event(jane(version, { is_busy: version === 3 }))));
    assert.equal(roster.users.get(789).version, 3);
    assert.equal(roster.users.get(789).is_busy, true);
  }
});

test("a name is kept when a newer message does not have it, and taken from an older one", () => {
  const { username: _, ...nameless } = jane(5, { is_busy: true });
  for (const order of [[jane(4), nameless], [nameless, jane(4)]]) {
    const roster = new Roster();
    order.forEach((user) => roster.take(event(user, "presence_update")));
    assert.deepEqual(roster.users.get(789), jane(5, { is_busy: true }));
  }
});

test("a user who is not in a requested snapshot is removed, unless a later event shows them", () => {
  const roster = new Roster();
  roster.take(event(jane(3)));
  roster.take(event({ ...jane(8), user_id: 5 }));
  roster.expect();
  roster.take(event({ ...jane(9), user_id: 6 }));
  roster.take(snapshot([{ ...jane(1), user_id: 7 }], false));
  assert.deepEqual([...roster.users.keys()], [789, 5, 6]);
  roster.take(snapshot([{ ...jane(1), user_id: 8 }]));
  assert.deepEqual([...roster.users.keys()].sort(), [6, 7, 8]);
});

test("lower versions hold after a new start of the stack", () => {
  const roster = new Roster();
  roster.take(event(jane(40)));
  roster.expect();
  roster.take(snapshot([jane(1)]));
  assert.equal(roster.users.get(789).version, 1);
});

test("an unexpected snapshot of watched users adds to the known users", () => {
  const roster = new Roster();
  roster.take(event(jane(3)));
  roster.take(snapshot([{ ...jane(1), user_id: 5 }]));
  assert.deepEqual([...roster.users.keys()], [789, 5]);
});

test("messages that are not about a user change no user", () => {
  const roster = new Roster();
  assert.equal(roster.take(message("pong")), false);
  assert.equal(roster.take(message("favorite_added", { user_id: 5 })), false);
  assert.equal(roster.users.size, 0);
});

test("a call that has ended does not come back", () => {
  const calls = new Calls();
  const call = { call_id: 456, user_id: 123, listener_id: 789 };
  calls.take(message("call_ended", call));
  calls.take(message("call_started", { ...call, call_type: "audio" }));
  assert.deepEqual(calls.list(), [{ ...call, call_type: "audio", ended: true }]);
});

test("calls are listed newest first, with the data of their bills", () => {
  const calls = new Calls();
  calls.take(message("call_started", { call_id: 1 }));
  calls.take(message("call_started", { call_id: 2 }));
  assert.equal(calls.take(message("call_billing", { call_id: 1, amount: "1.50" })), true);
  assert.equal(calls.take(message("pong")), false);
  assert.deepEqual(calls.list(), [{ call_id: 2, ended: false }, { call_id: 1, amount: "1.50", ended: false }]);
});

test("ongoing calls are restored after a new start, ended calls are not", () => {
  const calls = new Calls();
  [1, 2, 3].forEach((id) => calls.take(message("call_started", { call_id: id })));
  calls.take(message("call_ended", { call_id: 2 }));
  const again = new Calls();
  again.take(message("call_ended", { call_id: 1 }));
  again.restore(calls.ongoing());
  assert.deepEqual(again.list(), [{ call_id: 3, ended: false }, { call_id: 1, ended: true }]);
});

test("an event's id contains the time when it was recorded", () => {
  const at = Date.UTC(2026, 10, 23);
  assert.equal(delay({ id: `${at.toString(16).padStart(12, "0")}1122334455667788` }, at + 21), 21);
  assert.equal(delay({}, at), undefined);
  assert.equal(delay({ id: "of another kind" }, at), undefined);
});

test("ids that are whole numbers become numbers, others stay text", () => {
  assert.deepEqual(["5", " 5 ", "0", "05", "jane", "9007199254740993"].map(asId), [5, 5, 0, "05", "jane", "9007199254740993"]);
});
