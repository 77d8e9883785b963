// Runs documented clients and prints their actions.
//
// Standard input, first line: {"address": "ws://localhost:8080", "speed": 20, "clients": [{"name", "kind", "endpoint", "token"}]}
//   kind "class": `WebSocketManager`, used by an application with handlers for all three calls that it makes
//   kind "page":  the same block as it is printed, its lines of usage included; it takes no endpoint and no token
//   kind "hook":  `useWebSocket`, mounted in a component by React itself
//   speed:        the clients' timers run so many times faster
// Standard output, an object a line: {"client", "did", …} where `did` is
//   "hear" {message}, "send" {message}, "close" {code}, "log" {words}, or "handle" {handler, data}
// It ends when its standard input does.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { transformSync } from 'esbuild';
import { act, createElement } from 'react';
import TestRenderer from 'react-test-renderer';
import WebSocket from 'ws';
import { block } from './document.mjs';

const HANDLERS = ['onPresenceUpdate', 'onCallStarted', 'onFavoriteAdded'];
const require = createRequire(import.meta.url);

/** What a client's code finds around it, by name: a browser's globals, watched from outside. */
function surroundings(client, speed) {
  const tell = (did, more) => process.stdout.write(`${JSON.stringify({ client: client.name, did, ...more })}\n`);
  const log = (...words) => tell('log', { words: words.map(String) });
  class WatchedWebSocket extends WebSocket {
    constructor(url) {
      super(url);
      this.addEventListener('message', ({ data }) => tell('hear', { message: JSON.parse(data) }));
      this.addEventListener('close', ({ code }) => tell('close', { code }));
    }
    send(text) {
      tell('send', { message: JSON.parse(text) });
      super.send(text);
    }
  }
  return {
    tell,
    globals: {
      WebSocket: WatchedWebSocket,
      console: { log, error: log },
      setInterval: (callback, delay) => setInterval(callback, delay / speed),
      setTimeout: (callback, delay) => setTimeout(callback, delay / speed),
      require,
    },
  };
}

/** Runs code among globals, and returns the value of an expression after it. */
function run(code, globals, expression) {
  return new Function(...Object.keys(globals), `${code}\nreturn ${expression};`)(...Object.values(globals));
}

const KINDS = {
  class(client, address, { tell, globals }) {
    const [definition] = block('javascript', address).split('// Usage');
    const manager = new (run(definition, globals, 'WebSocketManager'))(client.token);
    for (const handler of HANDLERS) manager[handler] = (data) => tell('handle', { handler, data });
    manager.connect(client.endpoint);
  },
  page(_client, address, { globals }) {
    run(block('javascript', address), globals, 'wsManager');
  },
  hook(client, address, { globals }) {
    const { code } = transformSync(block('typescript', address), { loader: 'ts', format: 'cjs' });
    const useWebSocket = run(code, { ...globals, module: { exports: {} } }, 'module.exports.default');
    const Screen = () => {
      useWebSocket(client.token, client.endpoint);
      return null;
    };
    act(() => TestRenderer.create(createElement(Screen)));
  },
};

globalThis.IS_REACT_ACT_ENVIRONMENT = true;
const input = createInterface({ input: process.stdin });
input.once('line', (line) => {
  const { address, speed, clients } = JSON.parse(line);
  for (const client of clients) KINDS[client.kind](client, address, surroundings(client, speed));
});
input.once('close', () => process.exit(0));
