// Prints a table of clients: how large each is, and how long it pauses between attempts while a server refuses it.
//
// node compare.mjs [--clients 12]   after `npm ci` here. The sizes are those of a bundle (esbuild, minified, gzip 9) with
// what an application needs to connect. The pauses are measured: clients, each in a process of its own with timers that
// run 5 times faster, meet a server that answers each handshake with 503.

import { build } from "esbuild";
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { gzipSync } from "node:zlib";

import { CLIENTS } from "./clients.mjs";

const SPEED = 5; // a delay of 20 ms on the way looks like 100 ms of pause
const TOGETHER = 6; // clients at once
const PAUSES = 9; // the last of which is the longest
const LONGEST = 90_000; // ms that a measurement may take
const { values } = parseArgs({ options: { clients: { type: "string", default: "12" } } });

async function sizeOf(entry) {
  const { outputFiles } = await build({
    stdin: { contents: entry, resolveDir: fileURLToPath(new URL(".", import.meta.url)) },
    bundle: true, minify: true, format: "esm", platform: "browser", write: false, logLevel: "error",
  });
  return gzipSync(outputFiles[0].contents, { level: 9 }).length;
}

/** The pauses of one client between the ends of its attempts and the next ones, in ms of its own time. */
function pausesOf(name) {
  return new Promise((resolve) => {
    const at = [];
    let client;
    const refuse = (answer) => {
      at.push(performance.now());
      answer();
      if (at.length > PAUSES) end();
    };
    const server = createServer((_, response) => refuse(() => response.writeHead(503).end()));
    server.on("upgrade", (_, socket) => refuse(() => socket.on("error", () => {}).end("HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\r\n")));
    const timer = setTimeout(() => end(), LONGEST);
    function end() {
      clearTimeout(timer);
      client.kill();
      server.close();
      server.closeAllConnections();
      resolve(at.slice(1).map((each, index) => (each - at[index]) * SPEED));
    }
    server.listen(0, "127.0.0.1", () => {
      const url = `ws://127.0.0.1:${server.address().port}`;
      client = spawn(process.execPath, [fileURLToPath(new URL("attempt.mjs", import.meta.url)), name, url, String(SPEED)], { stdio: "ignore" });
    });
  });
}

const seconds = (ms) => (ms / 1000).toFixed(1);

/** From the shortest to the longest that several clients made, as their n-th. */
function range(all, n) {
  const those = all.map((pauses) => pauses[n]).filter((pause) => pause !== undefined).sort((a, b) => a - b);
  return those.length ? `${seconds(those[0])} to ${seconds(those.at(-1))} s` : "none";
}

function versionOf({ package: name }) {
  const file = name ? `./node_modules/${name}/package.json` : "../typescript/package.json";
  return JSON.parse(readFileSync(new URL(file, import.meta.url), "utf8")).version;
}

console.log("| client | version | gzipped | 1st pause | 4th | 9th |");
console.log("| --- | --- | ---: | ---: | ---: | ---: |");
for (const [name, client] of Object.entries(CLIENTS)) {
  const all = [];
  for (let left = Number(values.clients); client.connect && left > 0; left -= TOGETHER) {
    all.push(...await Promise.all(Array.from({ length: Math.min(TOGETHER, left) }, () => pausesOf(name))));
  }
  const pauses = client.connect ? [0, 3, PAUSES - 1].map((n) => range(all, n)) : ["as below", "", ""];
  console.log(`| ${name} | ${versionOf(client)} | ${await sizeOf(client.entry)} | ${pauses.join(" | ")} |`);
}
