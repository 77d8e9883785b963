// Prints a user's first call. Usage: node first.mjs wss://… TOKEN
import { connect } from "listener-realtime";

const [url, token] = process.argv.slice(2);
const realtime = connect({ url, token: () => token, endpoints: ["calls"] });
realtime.on("state", ({ state, why }) => console.log(state, why));
realtime.on("call_started", ({ data }) => {
  console.log("call", data.call_id);
  realtime.close();
});
