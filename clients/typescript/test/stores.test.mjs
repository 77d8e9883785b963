import assert from "node:assert/strict";
import { test } from "node:test";

import { Calls, Presence } from "../src/stores.js";
import { message, opened } from "./world.mjs";

const jane = (version, more = {}) => ({ user_id: 789, username: "jane", is_online: true, is_busy: false, version, ...more });
const event = ({ version, ...data }) => message("presence_update", data, { version });
const snapshot = (users, complete = true) => message("snapshot", { users, complete });

async function presence() {
  const world = await opened({ endpoints: ["presence"] });
  return { ...world, socket: world.sockets[0], store: new Presence(world.realtime) };
}

test("the message about a user with the higher version holds, whichever comes first", async () => {
  for (const order of [[1, 2, 3], [3, 1, 2], [2, 3, 1], [3, 2, 1]]) {
    const { store, socket } = await presence();
    order.forEach((version) => socket.says(event(jane(version, { is_busy: version === 3 }))));
    assert.equal(store.get().get(789).is_busy, true);
  }
});

test("a name is kept when a newer message does not have it, and taken from an older one", async () => {
  const { username: _, ...nameless } = jane(5, { is_busy: true });
  for (const order of [[jane(4), nameless], [nameless, jane(4)]]) {
    const { store, socket } = await presence();
    order.forEach((user) => socket.says(event(user)));
    assert.deepEqual(store.get().get(789), jane(5, { is_busy: true }));
  }
});

test("a user who is not in a requested snapshot is removed, unless a later event shows them", async () => {
  const { store, socket, realtime } = await presence();
  socket.says(event(jane(3)), event({ ...jane(8), user_id: 5 }));
  realtime.sync();
  socket.says(event({ ...jane(9), user_id: 6 }), snapshot([{ ...jane(1), user_id: 7 }], false));
  assert.deepEqual([...store.get().keys()], [789, 5, 6]);
  socket.says(snapshot([{ ...jane(1), user_id: 8 }]));
  assert.deepEqual([...store.get().keys()].sort(), [6, 7, 8]);
});

test("a snapshot of watched users adds to the known users", async () => {
  const { store, socket, realtime } = await presence();
  socket.says(snapshot([]), event(jane(3)));
  realtime.watch([5]);
  socket.says(snapshot([{ ...jane(1), user_id: 5 }]));
  assert.deepEqual([...store.get().keys()], [789, 5]);
});

test("a store tells of changes, each with a new object, and of nothing else", async () => {
  const { store, socket } = await presence();
  const shown = [store.get()];
  const off = store.subscribe(() => shown.push(store.get()));
  socket.says(message("pong"), message("favorite_added", { user_id: 5 }), event(jane(1)));
  off();
  socket.says(event(jane(2)));
  assert.equal(shown.length, 2);
  assert.notEqual(shown[0], shown[1]);
});

test("calls are listed newest first, with their bills; a call that has ended does not come back", async () => {
  const { sockets: [socket], realtime } = await opened();
  const calls = new Calls(realtime, [{ call_id: 1, user_id: 2, listener_id: 3, ended: false }]);
  socket.says(
    message("call_ended", { call_id: 4 }), message("call_started", { call_id: 4, call_type: "audio" }),
    message("call_billing", { call_id: 1, amount: "1.50" }),
  );
  assert.deepEqual(calls.get(), [
    { call_id: 4, call_type: "audio", ended: true }, { call_id: 1, user_id: 2, listener_id: 3, amount: "1.50", ended: false },
  ]);
});
