// What the page says of messages beyond their words. test_page_logic.py runs it for pytest.

import assert from "node:assert/strict";
import { test } from "node:test";

import {
  RoundTrips, asId, claimsOf, commandOf, delay, duration, median, nextBill, ordered, statusOf,
} from "../../local/page/facts.mjs";

test("an event's id contains the time when it was recorded", () => {
  const at = Date.UTC(2026, 10, 23);
  assert.equal(delay({ id: `${at.toString(16).padStart(12, "0")}1122334455667788` }, at + 21), 21);
  assert.equal(delay({}, at), undefined);
  assert.equal(delay({ id: "of another kind" }, at), undefined);
});

test("ids that are whole numbers become numbers, others stay text", () => {
  assert.deepEqual(["5", " 5 ", "0", "05", "jane", "9007199254740993", 7].map(asId), [5, 5, 0, "05", "jane", "9007199254740993", 7]);
});

test("an answer is timed from the frame that it answers, an event is not", () => {
  const trips = new RoundTrips();
  trips.sent("sync", 0);
  trips.sent("ping", 10);
  assert.equal(trips.heard({ type: "snapshot", data: { complete: false } }, 20), 20);
  assert.equal(trips.heard({ type: "snapshot", data: { complete: true } }, 30), 30);
  assert.equal(trips.heard({ type: "listener_online", data: {} }, 35), undefined);
  assert.equal(trips.heard({ type: "pong", data: {} }, 40), 30);
  assert.equal(trips.heard({ type: "pong", data: {} }, 41), undefined);
});

test("an error answers the oldest frame, and a new connection answers nothing of before", () => {
  const trips = new RoundTrips();
  trips.sent("watch", 0);
  assert.equal(trips.heard({ type: "error", data: {} }, 5), 5);
  trips.sent("resume", 10);
  trips.forget();
  assert.equal(trips.heard({ type: "resumed", data: {} }, 20), undefined);
});

test("claims are read as text in any alphabet, and what is no token has none", () => {
  const claims = { sub: "5", username: "Zoë 李" };
  assert.deepEqual(claimsOf(`h.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.s`), claims);
  assert.deepEqual(claimsOf("no token"), {});
  assert.deepEqual(claimsOf(""), {});
});

test("the users of the page come first, then who can be called, then by name", () => {
  const user = (id, isOnline = true, isBusy = false) => ({ user_id: id, is_online: isOnline, is_busy: isBusy });
  const users = [user(1, false), user(2), user(3, true, true), user(4), user(5, false)];
  const names = { 1: "a", 2: "z", 3: "b", 4: "y", 5: "c" };
  assert.deepEqual(ordered(users, (id) => names[id], ["5"]).map(({ user_id: id }) => id), [5, 4, 2, 3, 1]);
});

test("who is offline is not busy, and who is unknown is offline", () => {
  assert.equal(statusOf({ is_online: true, is_busy: true }), "busy");
  assert.equal(statusOf({ is_online: true, is_busy: false }), "online");
  assert.equal(statusOf({ is_online: false, is_busy: true }), "offline");
  assert.equal(statusOf(undefined), "offline");
});

test("each bill is for a minute more", () => {
  const first = nextBill({});
  assert.deepEqual(first, { minutes: 1, amount: "1.50", currency: "USD" });
  assert.deepEqual(nextBill(first), { minutes: 2, amount: "3.00", currency: "USD" });
});

test("durations and medians are as people read them", () => {
  assert.deepEqual([-1, 0, 61_999, 3_600_000].map(duration), ["0:00", "0:00", "1:01", "60:00"]);
  assert.equal(median([9, 1, 5]), 5);
});

test("the command for a stack elsewhere survives a shell", () => {
  const command = commandOf("system_notification", { text: "it's" });
  assert.equal(command, String.raw`realtime publish system_notification --stack NAME --detail '{"text":"it'\''s"}'`);
});
