// React hooks: the state of the connection, messages, and who is online.

import { useEffect, useMemo, useRef, useSyncExternalStore } from "react";

/** @typedef {import("./client.js").Realtime} Realtime */
/** @typedef {import("./messages.js").Message} Message */

/**
 * The state of the connection; `heard` is called for each message while the component is mounted.
 * @param {Pick<Realtime, "on" | "state">} realtime @param {(message: Message) => void} [heard]
 */
export function useRealtime(realtime, heard) {
  const latest = useRef(heard);
  useEffect(() => { latest.current = heard; });
  useEffect(() => realtime.on("message", (message) => latest.current?.(message)), [realtime]);
  const subscribe = useMemo(() => (/** @type {() => void} */ changed) => realtime.on("state", changed), [realtime]);
  return useSyncExternalStore(subscribe, () => realtime.state, () => realtime.state);
}

/** The users who are known, by id. Keep one `Presence` for the whole application. @param {import("./stores.js").Presence} presence */
export function usePresence(presence) {
  return useSyncExternalStore(presence.subscribe, presence.get, presence.get);
}
