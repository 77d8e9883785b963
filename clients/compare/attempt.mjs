// One client that a server refuses: node attempt.mjs NAME URL SPEED. Its timers run so many times faster.

import WebSocket from "ws";

import { CLIENTS } from "./clients.mjs";

const [name, url, speed] = process.argv.slice(2);
const { setTimeout: later, setInterval: often } = globalThis;
globalThis.setTimeout = (call, ms = 0, ...rest) => later(call, ms / Number(speed), ...rest);
globalThis.setInterval = (call, ms = 0, ...rest) => often(call, ms / Number(speed), ...rest);
const began = Date.now();
const { now } = Date;
Date.now = () => began + (now() - began) * Number(speed);
globalThis.WebSocket ??= WebSocket;
process.on("uncaughtException", () => {});
process.on("unhandledRejection", () => {});
await CLIENTS[name].connect(url, WebSocket);
later(() => process.exit(0), 600_000);
