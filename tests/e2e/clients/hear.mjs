// Prints each message that the TypeScript client reports, until standard input ends. Usage: node hear.mjs ws://… TOKEN
import WebSocket from "ws";

import { connect } from "../../../clients/typescript/src/client.js";

globalThis.WebSocket = WebSocket;
const [url, token] = process.argv.slice(2);
const realtime = connect({ url, token: () => token, longestPause: 1000 });
realtime.on("message", (message) => console.log(JSON.stringify(message)));
process.stdin.on("end", () => realtime.close()).resume();
