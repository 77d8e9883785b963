// Loaded before a Node function (--require): AWS names lead to a port of this machine, and what the function does not
// bring itself is looked for where Lambda has it. All of it in this process alone.
"use strict";
const net = require("node:net");
const { register } = require("node:module");
const path = require("node:path");
const { pathToFileURL } = require("node:url");

const PORT = Number(process.env.SAMSOCKET_PORT);
const AWS = /\.(amazonaws\.com(\.cn)?|api\.aws)\.?$/i;

// TLS, the Host header and the signature keep the name: those who need it read it before the socket connects.
const led = (options) =>
  typeof options.host === "string" && AWS.test(options.host)
    ? { ...options, host: "127.0.0.1", port: PORT, lookup: undefined }
    : options;

const connect = net.Socket.prototype.connect;
net.Socket.prototype.connect = function (...given) {
  if (Array.isArray(given[0])) {
    given[0][0] = led(given[0][0]); // net and tls pass an array that is normalised: [options, callback]
  } else if (given[0] !== null && typeof given[0] === "object") {
    given[0] = led(given[0]);
  } else if (typeof given[1] === "string") {
    given.splice(0, 2, led({ port: given[0], host: given[1] }));
  }
  return connect.apply(this, given);
};

register(pathToFileURL(path.join(__dirname, "node_resolve.mjs")), {
  data: { folders: process.env.SAMSOCKET_NODE_PATH.split(path.delimiter).filter(Boolean) },
});
