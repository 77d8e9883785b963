// The compared clients: how an application imports each, and how it connects without end.

const home = new URL("../typescript/src/", import.meta.url);

/** @type {Record<string, { package: string, entry: string, connect: (url: string, WebSocket: any) => Promise<void> }>} */
export const CLIENTS = {
  "listener-realtime": {
    package: "",
    entry: `export { connect } from ${JSON.stringify(new URL("client.js", home).pathname)};`,
    async connect(url, WebSocket) {
      const { connect } = await import(new URL("client.js", home));
      connect({ url, token: () => "h.e30.s", endpoints: ["calls"], world: { open: (at, protocols) => new WebSocket(at, protocols) } });
    },
  },
  centrifuge: {
    package: "centrifuge",
    entry: `export { Centrifuge } from "centrifuge";`,
    async connect(url, WebSocket) {
      const { Centrifuge } = await import("centrifuge");
      new Centrifuge(`${url}/connection`, { websocket: WebSocket }).connect();
    },
  },
  partysocket: {
    package: "partysocket",
    entry: `export { WebSocket } from "partysocket";`,
    async connect(url, WebSocket) {
      const { WebSocket: Reconnecting } = await import("partysocket");
      new Reconnecting(url, [], { WebSocket }).onerror = () => {};
    },
  },
  "socket.io-client": {
    package: "socket.io-client",
    entry: `export { io } from "socket.io-client";`,
    async connect(url) {
      const { io } = await import("socket.io-client");
      io(url.replace(/^ws/, "http"), { transports: ["websocket"] });
    },
  },
  "ably (modular)": {
    package: "ably",
    entry: `export { BaseRealtime, WebSocketTransport, FetchRequest } from "ably/modular";`,
    connect: null, // as the whole: it is the same code
  },
  ably: {
    package: "ably",
    entry: `export { Realtime } from "ably";`,
    async connect(url) {
      const { Realtime } = await import("ably");
      const { hostname, port } = new URL(url);
      const ably = new Realtime({
        key: "app.key:secret", endpoint: hostname, port: Number(port), tls: false, fallbackHosts: [],
        disableConnectivityCheck: true, transports: ["web_socket"], logLevel: 0, useBinaryProtocol: false,
      });
      ably.connection.on(() => {});
    },
  },
};
