// How the page words what happens: `node --test`, by test_page_logic.py.

import assert from "node:assert/strict";
import { test } from "node:test";

import { age, countOf, groupsOf, isBad, kindOf, milliseconds, pretty, size, whatOf, whoOf } from "../../samsocket/src/samsocket/page/entries.mjs";

test("a message says which route it took, what became of it, and in what time", () => {
  assert.equal(whatOf({ kind: "heard", route: "$default" }), "$default");
  assert.equal(whatOf({ kind: "heard", route: "$default", status: 200, took: 12.4 }), "$default · 200 · 12 ms");
  assert.equal(whatOf({ kind: "heard", route: "-", status: 403 }), "no route · 403");
});

test("a frame to the client says what sent it and how long it is", () => {
  assert.equal(whatOf({ kind: "sent", origin: "post", bytes: 10 }), "@connections · 10 B");
  assert.equal(whatOf({ kind: "sent", origin: "answer", bytes: 2048 }), "the route's answer · 2.0 KB");
});

test("the beginning and the end of a connection say from where and why", () => {
  assert.equal(whatOf({ kind: "opened", ip: "127.0.0.1" }), "from 127.0.0.1");
  assert.equal(whatOf({ kind: "closed", code: 1001, reason: "Going away" }), "1001 · Going away");
  assert.equal(whatOf({ kind: "closed", code: 1006 }), "1006");
});

test("what failed is a problem, whatever else it is", () => {
  assert.deepEqual(groupsOf({ kind: "heard" }), ["frames"]);
  assert.deepEqual(groupsOf({ kind: "heard", status: 502 }), ["frames", "problems"]);
  assert.deepEqual(groupsOf({ kind: "answered", route: "$connect", status: 401 }), ["connections", "problems"]);
  assert.deepEqual(groupsOf({ kind: "log" }), ["output"]);
  assert.equal(isBad({ kind: "problem" }), true);
  assert.equal(isBad({ kind: "answered", status: 204 }), false);
});

test("a line of a function is shown with its name, all else with its connection", () => {
  assert.equal(whoOf({ kind: "log", function: "Echo" }), "Echo");
  assert.equal(whoOf({ kind: "heard", id: "abc=" }), "abc=");
  assert.equal(whoOf({ kind: "problem" }), "");
  assert.equal(kindOf({ kind: "answered", route: "$connect" }), "$connect");
});

test("JSON is indented, and other texts stay as they are", () => {
  assert.equal(pretty('{"a":1}'), '{\n  "a": 1\n}');
  assert.equal(pretty("not {JSON"), "not {JSON");
});

test("times and sizes are short", () => {
  assert.equal(milliseconds(1.25), "1.3 ms");
  assert.equal(milliseconds(1234.5), "1235 ms");
  assert.equal(size(1023), "1023 B");
  assert.equal(age(0, 59_000), "59 s");
  assert.equal(age(0, 3_599_000), "59 min");
  assert.equal(age(0, 5_400_000), "1.5 h");
  assert.equal(age(1_000, 0), "0 s");
});

test("the count says what a pause holds back and what was not kept", () => {
  assert.equal(countOf({ shown: 3, missed: 0 }), "3 shown");
  assert.equal(countOf({ shown: 3, held: 0, missed: 20 }), "3 shown · 0 came since the pause · 20 not kept");
});
