// Prints how large the client is, minified and gzipped, and fails if a part is over its limit.

import { build } from "esbuild";
import { gzipSync } from "node:zlib";

const LIMITS = { client: 4096, stores: 1024, hooks: 1024, shared: 1792 }; // bytes; shared: what it adds to the client

const EXTERNAL = { hooks: ["react", "./stores.js"], shared: ["./client.js", "./emitter.js"] };

for (const [name, limit] of Object.entries(LIMITS)) {
  const { outputFiles } = await build({
    entryPoints: [new URL(`src/${name}.js`, import.meta.url).pathname],
    bundle: true, minify: true, format: "esm", write: false, external: EXTERNAL[name] ?? [],
  });
  const size = gzipSync(outputFiles[0].contents, { level: 9 }).length;
  console.log(`${name.padEnd(8)} ${size} of ${limit} bytes`);
  if (size > limit) process.exitCode = 1;
}
