import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { begin, message, opened, refusal, reopened, resumed, settled, tokenFor } from "./world.mjs";

const since = message("pong", {}, { position: { since: "s" } });

test("it connects with a token that is not in the URL, and says so", async () => {
  const { sockets: [socket], states, realtime } = await opened();
  assert.equal(socket.url.href, "wss://example.test/ws/live?batch=true&endpoints=calls");
  assert.match(socket.token, /^h\./);
  assert.deepEqual(states.map(([state]) => state), ["connecting", "open"]);
  assert.equal(realtime.state, "open");
});

test("several endpoints share one socket, or have one each", async () => {
  const one = await opened({ endpoints: ["feed", "calls"], oneSocket: true, watch: [1, "a b"], types: ["call_started"] });
  assert.equal(one.sockets.length, 1);
  assert.equal(one.sockets[0].url.href, "wss://example.test/ws/live?batch=true&endpoints=feed,calls&types=call_started&watch=1,a%20b");
  const each = begin({ endpoints: ["feed", "calls"], oneSocket: false });
  each.realtime.open();
  await settled();
  assert.deepEqual(each.sockets.map(({ url }) => url.pathname), ["/ws/feed", "/ws/calls"]);
  each.sockets[0].opens();
  assert.equal(each.realtime.state, "connecting");
  each.sockets[1].opens();
  assert.equal(each.realtime.state, "open");
});

test("the first connection requests a snapshot where there is presence, otherwise a position", async () => {
  assert.deepEqual((await opened({ endpoints: ["feed"] })).sockets[0].sent, ["sync"]);
  assert.deepEqual((await opened({ endpoints: ["calls"] })).sockets[0].sent, ["ping"]);
});

test("it resumes from the merged positions, and from the first answer if there was no event", async () => {
  const world = await opened();
  world.sockets[0].says(since);
  world.sockets[0].ends();
  let socket = await reopened(world);
  assert.deepEqual(socket.of("resume"), [{ position: { since: "s" } }]);
  socket.says(resumed(true), message("call_started", {}, { id: "1", position: { "calls/1": "a" } }));
  socket.ends();
  socket = await reopened(world);
  assert.deepEqual(socket.of("resume"), [{ position: { since: "s", "calls/1": "a" } }]);
});

test("positions stay aside until all missed messages are here", async () => {
  const world = await opened();
  world.sockets[0].says(since);
  world.sockets[0].ends();
  let socket = await reopened(world);
  socket.says(message("call_started", {}, { id: "3", position: { "calls/1": "live" } }), resumed(false, { "calls/1": "half" }));
  assert.deepEqual(socket.of("resume").at(-1), { position: { since: "s", "calls/1": "half" } });
  socket.ends();
  socket = await reopened(world);
  assert.deepEqual(socket.of("resume"), [{ position: { since: "s", "calls/1": "half" } }]);
  socket.says(message("call_ended", {}, { id: "4", position: { "calls/1": "later" } }), resumed(true, { "calls/1": "all" }));
  socket.ends();
  socket = await reopened(world);
  assert.deepEqual(socket.of("resume"), [{ position: { since: "s", "calls/1": "later" } }]);
});

test("it asks again for missed messages after `retry_after`, and if the service does not say when", async () => {
  for (const [more, ms] of [[{ retry_after: 2 }, 2000], [{}, 5000]]) {
    const world = await opened();
    world.sockets[0].says(since);
    world.sockets[0].ends();
    const socket = await reopened(world);
    socket.says(refusal("INTERNAL", more));
    await world.clock.pass(ms - 1);
    assert.equal(socket.of("resume").length, 1);
    await world.clock.pass(1);
    assert.equal(socket.of("resume").length, 2);
  }
});

test("history that no longer reaches back leads to a snapshot", async () => {
  const world = await opened({ endpoints: ["presence"] });
  world.sockets[0].says(message("snapshot", { users: [], complete: true }, { position: { since: "s" } }));
  world.sockets[0].ends();
  const socket = await reopened(world);
  socket.says(resumed(true, {}, false));
  assert.deepEqual(socket.sent, ["resume", "sync"]);
});

test("a repeated event is reported once, also on another connection, and acknowledged each time", async () => {
  const world = await opened();
  const event = message("call_started", {}, { id: "1", ack: true });
  world.sockets[0].says([event, message("call_ended", {}, { id: "2" }), event]);
  assert.deepEqual(world.sockets[0].of("ack"), [{ id: "1" }, { id: "1" }]);
  world.sockets[0].ends();
  (await reopened(world)).says(event);
  assert.deepEqual(world.heard, ["call_started", "call_ended"]);
});

test("who is watched, or no longer, while it connects is told when it opens", async () => {
  const { realtime, sockets } = begin({ endpoints: ["presence"], watch: [1, 2] });
  realtime.open();
  await settled();
  const [socket] = sockets;
  realtime.watch([3]);
  realtime.unwatch([1]);
  assert.equal(socket.url.searchParams.get("watch"), "1,2");
  socket.opens();
  assert.deepEqual([...socket.of("watch"), ...socket.of("unwatch")], [{ user_ids: [3] }, { user_ids: ["1"] }]);
});

test("it goes on from the positions of an earlier client", async () => {
  const world = await opened();
  world.sockets[0].says(since);
  assert.deepEqual(world.realtime.positions, { live: { since: "s" } });
  const later = await opened({ positions: world.realtime.positions });
  assert.deepEqual(later.sockets[0].of("resume"), [{ position: { since: "s" } }]);
});

test("it pings after four minutes of silence, not before, and leaves a line that does not answer in 10 s", async () => {
  const { sockets, clock } = await opened();
  sockets[0].says(since);
  await clock.pass(200_000);
  sockets[0].says(message("call_started"));
  await clock.pass(239_999);
  assert.deepEqual(sockets[0].sent, ["ping"]);
  await clock.pass(1);
  assert.deepEqual(sockets[0].sent, ["ping", "ping"]);
  await clock.pass(9_999);
  assert.equal(sockets[0].closed, false);
  await clock.pass(1);
  assert.equal(sockets[0].closed, true);
});

for (const why of ["online", "offline", "visibilitychange", "pageshow"]) {
  test(`on ${why} it pings at once, and leaves the line after 5 s`, async () => {
    const { sockets, clock, wake, ...world } = await opened();
    world.sockets = sockets;
    sockets[0].says(since);
    wake(why);
    assert.deepEqual(sockets[0].sent, ["ping", "ping"]);
    await clock.pass(5_000);
    assert.equal(sockets[0].closed, true);
  });
}

test("a machine that slept pings at once, and leaves the line after 5 s", async () => {
  const { sockets, clock } = await opened();
  sockets[0].says(since);
  await clock.sleep(3_600_000);
  assert.deepEqual(sockets[0].sent.filter((type) => type === "ping").length, 2);
  await clock.pass(5_000);
  assert.equal(sockets[0].closed, true);
});

test("pauses double from 0.5 s up to 60 s, times a random number; failures after the opening count", async () => {
  const world = await opened();
  const pauses = [];
  for (let n = 0; n < 10; n += 1) {
    const at = world.clock.at;
    world.sockets.at(-1).ends(n % 2 ? 1000 : 1011);
    await reopened(world);
    pauses.push(world.clock.at - at);
  }
  assert.deepEqual(pauses, [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000]);
  await world.clock.pass(30_000); // it has lived
  const at = world.clock.at;
  world.sockets.at(-1).ends(1001);
  await reopened(world);
  assert.equal(world.clock.at - at, 500);
});

for (const code of [1000, 1001, 1005, 1006, 1008, 1009, 1011, 1012, 4000]) {
  test(`it reconnects after close ${code}`, async () => {
    const world = await opened();
    world.sockets[0].ends(code);
    assert.equal(world.states.at(-1)[0], "waiting");
    await reopened(world);
    assert.equal(world.realtime.state, "open");
  });
}

test("without a network it waits for `online`, and then does not wait long", async () => {
  const world = await opened();
  world.online = false;
  world.sockets[0].ends();
  await world.clock.pass(3_600_000);
  assert.equal(world.sockets.length, 1);
  world.online = true;
  world.wake("online");
  await world.clock.pass(500);
  assert.equal(world.sockets.length, 2);
});

test("`retry_after` of a refusal is waited for, also when the page wakes", async () => {
  const world = await opened();
  world.sockets[0].says(refusal("CONNECTION_LIMIT", { retry_after: 20 }));
  world.sockets[0].ends(1000);
  world.wake("online");
  await world.clock.pass(20_499);
  assert.equal(world.sockets.length, 1);
  await world.clock.pass(1);
  assert.equal(world.sockets.length, 2);
});

test("a connection replaced by a newer one of its user is in no hurry", async () => {
  const world = await opened();
  world.sockets[0].says(message("error", { code: "CONNECTION_LIMIT", message: "Replaced by a newer connection" }));
  world.sockets[0].ends(1000);
  await world.clock.pass(59_999);
  assert.equal(world.sockets.length, 1);
});

test("API Gateway's own refusal, a frame without a type, leads to a reconnect", async () => {
  const { sockets, states } = await opened();
  sockets[0].says({ message: "Too Many Requests", connectionId: "c" });
  assert.equal(sockets[0].closed, true);
  assert.deepEqual(states.at(-1).slice(0, 2), ["waiting", "Too Many Requests"]);
});

test("an attempt that leads nowhere ends after 20 s", async () => {
  const { realtime, sockets, clock } = begin();
  realtime.open();
  await clock.pass(20_000);
  assert.equal(sockets[0].closed, true);
  assert.equal(realtime.state, "waiting");
});

test("a token that is refused is not used again", async () => {
  const world = await opened();
  world.sockets[0].says(refusal("AUTH_FAILED"));
  world.sockets[0].ends(1000);
  await reopened(world);
  assert.deepEqual(world.asked, [false, true]);
});

test("a token that expired while offline is not used", async () => {
  const asked = [];
  const world = begin({ token: ({ anew }, clock) => {
    asked.push(anew);
    return tokenFor(anew ? 3600 : -5, clock);
  } });
  world.realtime.open();
  await settled();
  assert.deepEqual(asked, [false, true]);
});

test("it tries again if no token is to be had", async () => {
  let failures = 2;
  const world = begin({ token: (_, clock) => {
    failures -= 1;
    if (failures >= 0) throw new Error("nothing answers");
    return tokenFor(3600, clock);
  } });
  world.realtime.open();
  await settled();
  assert.deepEqual(world.states.at(-1).slice(0, 2), ["waiting", "nothing answers"]);
  await reopened(world);
  assert.equal(world.realtime.state, "open");
});

test("a token is renewed on the open connection before it expires", async () => {
  const world = await opened({ token: (_, clock) => tokenFor(3600, clock) });
  const [socket] = world.sockets;
  for (let n = 1; n <= 2; n += 1) {
    for (let minutes = 0; minutes < 58; minutes += 1) {
      await world.clock.pass(60_000);
      socket.says(message("call_billing"));
    }
    assert.equal(socket.of("authenticate").length, n);
    socket.says(message("authenticated", { expires_at: new Date(world.clock.at + 3_600_000).toISOString() }));
  }
  assert.equal(world.sockets.length, 1);
});

test("a refused renewal is tried again and does not end the connection", async () => {
  const world = await opened({ token: (_, clock) => tokenFor(3600, clock) });
  const [socket] = world.sockets;
  for (let minutes = 0; minutes < 58; minutes += 1) {
    await world.clock.pass(60_000);
    socket.says(message("call_billing"));
  }
  socket.says(refusal("AUTH_FAILED"));
  assert.equal(world.realtime.state, "open");
  await world.clock.pass(10_000);
  assert.equal(socket.of("authenticate").length, 2);
});

test("a clock that is an hour slow does not let the token expire", async () => {
  const world = await opened({ token: (_, clock) => tokenFor(3600 + 3600, clock) }); // by the service's clock: one hour
  const [socket] = world.sockets;
  socket.says(message("pong", {}, { timestamp: new Date(world.clock.at + 3_600_000).toISOString() }));
  for (let minutes = 0; minutes < 58; minutes += 1) {
    await world.clock.pass(60_000);
    socket.says(message("call_billing"));
  }
  assert.equal(socket.of("authenticate").length, 1);
});

test("it does not reconnect without permission", async () => {
  const { sockets, states, clock } = await opened();
  sockets[0].says(refusal("PERMISSION_DENIED"));
  await clock.pass(600_000);
  assert.equal(sockets.length, 1);
  assert.deepEqual(states.at(-1).slice(0, 2), ["refused", "PERMISSION_DENIED: no"]);
});

test("it moves within the time of `reconnect`, and leaves the old connection when the new one has resumed", async () => {
  const world = await opened();
  const [old] = world.sockets;
  old.says(since, message("reconnect", { within_seconds: 60 }));
  await world.clock.pass(60_000);
  const young = world.sockets[1];
  young.opens();
  old.says(message("call_started", {}, { id: "1" }));
  assert.equal(old.closed, false);
  young.says(message("call_started", {}, { id: "1" }), resumed(true));
  assert.equal(old.closed, true);
  young.says(message("call_ended", {}, { id: "2" }));
  assert.deepEqual(world.heard, ["pong", "reconnect", "call_started", "resumed", "call_ended"]);
  assert.deepEqual(world.states.map(([state]) => state), ["connecting", "open", "open"].slice(0, world.states.length));
});

test("a move that fails keeps the old connection, and is tried again", async () => {
  const world = await opened();
  world.sockets[0].says(since, message("reconnect", { within_seconds: 1 }));
  await world.clock.pass(1000);
  world.sockets[1].ends();
  assert.equal(world.realtime.state, "open");
  await world.clock.pass(500);
  assert.equal(world.sockets.length, 3);
  assert.equal(world.sockets[0].closed, false);
});

test("if the old connection ends during a move, the new one goes on alone", async () => {
  const world = await opened();
  world.sockets[0].says(since, message("reconnect", { within_seconds: 1 }));
  await world.clock.pass(1000);
  world.sockets[1].opens();
  world.sockets[0].ends();
  world.sockets[1].says(resumed(true));
  assert.equal(world.realtime.state, "open");
  await world.clock.pass(60_000);
  assert.equal(world.sockets.length, 2);
});

test("`reconnect` within 0 s means at once", async () => {
  const { sockets, clock } = await opened({ random: () => 0 });
  sockets[0].says(message("reconnect", { within_seconds: 0 }));
  await clock.pass(0);
  assert.equal(sockets.length, 2);
});

test("watched users are watched again by a later connection", async () => {
  const world = await opened({ endpoints: ["presence"], watch: [1] });
  world.realtime.watch([2, 3]);
  world.realtime.unwatch([1]);
  assert.deepEqual(world.sockets[0].of("watch"), [{ user_ids: [2, 3] }]);
  assert.deepEqual(world.sockets[0].of("unwatch"), [{ user_ids: [1] }]);
  world.sockets[0].ends();
  assert.equal((await reopened(world)).url.searchParams.get("watch"), "2,3");
});

test("watched users who do not fit into a URL are watched by a frame", async () => {
  const ids = Array.from({ length: 20 }, (_, n) => `${n}${"x".repeat(120)}`);
  const { sockets: [socket] } = await opened({ endpoints: ["presence"], watch: ids });
  assert.equal(socket.url.searchParams.has("watch"), false);
  assert.deepEqual(socket.of("watch"), [{ user_ids: ids }]);
});

test("after `stale` it requests one snapshot, at random, at most once a minute", async () => {
  const { clock, sockets: [socket] } = await opened({ endpoints: ["presence"], random: () => 0.5 });
  await clock.pass(120_000);
  for (let n = 0; n < 3; n += 1) socket.says(message("stale", { since: "…" }));
  await clock.pass(4_999);
  assert.equal(socket.of("sync").length, 1);
  await clock.pass(1);
  assert.equal(socket.of("sync").length, 2);
  socket.says(message("stale"));
  await clock.pass(64_999);
  assert.equal(socket.of("sync").length, 2);
  await clock.pass(1);
  assert.equal(socket.of("sync").length, 3);
});

test("frames that are not messages change nothing", async () => {
  const { sockets: [socket], heard, realtime } = await opened();
  socket.says("", "{", message("new_type_of_2030"));
  assert.deepEqual(heard, ["new_type_of_2030"]);
  assert.equal(realtime.state, "open");
});

test("nothing is left after `close`: no socket, no timer, no listener, and a late token opens nothing", async () => {
  const world = await opened();
  world.sockets[0].says(since, message("reconnect", { within_seconds: 1 }));
  await world.clock.pass(1000);
  world.realtime.close();
  await world.clock.pass(3_600_000);
  assert.deepEqual(world.sockets.map(({ closed }) => closed), [true, true]);
  assert.equal(world.clock.pending, 0);
  assert.equal(world.listening, false);
  assert.equal(world.realtime.state, "off");

  let give;
  const late = begin({ token: () => new Promise((resolve) => { give = resolve; }) });
  late.realtime.open();
  late.realtime.close();
  give("token");
  await late.clock.pass(0);
  assert.equal(late.sockets.length, 0);
});

test("an iteration gives the messages in order and ends with `close`", async () => {
  const { sockets: [socket], realtime } = await opened();
  const types = [];
  const done = (async () => { for await (const { type } of realtime) types.push(type); })();
  await settled();
  socket.says(message("call_started"), message("call_ended"));
  await settled();
  realtime.close();
  await done;
  assert.deepEqual(types, ["call_started", "call_ended"]);
});

test("`on` hears one type until its end", async () => {
  const { sockets: [socket], realtime } = await opened();
  const ids = [];
  const off = realtime.on("call_started", ({ id }) => ids.push(id));
  socket.says(message("call_ended", {}, { id: "1" }), message("call_started", {}, { id: "2" }));
  off();
  socket.says(message("call_started", {}, { id: "3" }));
  assert.deepEqual(ids, ["2"]);
});

test("a listener that fails is printed where nothing else reports errors, and ends no process", async () => {
  const printed = mock.method(console, "error", () => {});
  const { realtime, sockets: [socket], heard } = await opened();
  realtime.on("call_started", () => { throw new Error("a listener failed"); });
  socket.says(message("call_started"));
  await settled();
  assert.deepEqual(printed.mock.calls.map(({ arguments: [error] }) => error.message), ["a listener failed"]);
  assert.deepEqual(heard, ["call_started"]);
  printed.mock.restore();
});
