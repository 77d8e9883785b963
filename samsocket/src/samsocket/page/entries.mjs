// How an entry of the gateway's activity reads: pure functions, without the page.

const ARROWS = { heard: "→ heard", sent: "← sent" };
const ORIGINS = { answer: "the route's answer", error: "an error frame", post: "@connections", control: "samsocket post" };

/** The check boxes that an entry belongs to: it is shown if one of them is checked. */
export function groupsOf(entry) {
  const group = { heard: "frames", sent: "frames", log: "output", problem: "problems" }[entry.kind] ?? "connections";
  return isBad(entry) ? [group, "problems"] : [group];
}

/** Whether it shows something that went wrong. */
export const isBad = ({ kind, status }) => kind === "problem" || (status !== undefined && !(status >= 200 && status < 300));

export const kindOf = ({ kind, route }) => ARROWS[kind] ?? { answered: route, log: "output", adopted: "template" }[kind] ?? kind;

/** The client or function that an entry is about. */
export const whoOf = ({ function: name, id }) => name ?? id ?? "";

/** What happened, in a few words. */
export function whatOf({ kind, route, status, took, origin, code, reason, ip, bytes }) {
  const time = took === undefined ? "" : milliseconds(took);
  switch (kind) {
    case "heard": return [route === "-" ? "no route" : route, status, time].filter(Boolean).join(" · ");
    case "answered": return [status, time].filter(Boolean).join(" · ");
    case "sent": return [ORIGINS[origin], size(bytes)].join(" · ");
    case "opened": return `from ${ip}`;
    case "closed": return [code, reason].filter(Boolean).join(" · ");
    case "adopted": return "taken over";
    default: return "";
  }
}

/** A text with indentation if it is JSON, else as it is. */
export function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

/** How many entries are shown, held back by a pause, and were not kept until the page asked. */
export function countOf({ shown, held, missed }) {
  const parts = [`${shown} shown`];
  if (held !== undefined) parts.push(`${held} came since the pause`);
  if (missed) parts.push(`${missed} not kept`);
  return parts.join(" · ");
}

export function milliseconds(took) {
  return took < 10 ? `${took.toFixed(1)} ms` : `${Math.round(took)} ms`;
}

export function size(bytes) {
  return bytes < 1024 ? `${bytes} B` : `${(bytes / 1024).toFixed(1)} KB`;
}

export function clock(at) {
  const time = new Date(at);
  const two = (number) => String(number).padStart(2, "0");
  const seconds = `${two(time.getSeconds())}.${String(time.getMilliseconds()).padStart(3, "0")}`;
  return `${two(time.getHours())}:${two(time.getMinutes())}:${seconds}`;
}

export function age(since, now) {
  const seconds = Math.max(0, Math.round((now - since) / 1000));
  if (seconds < 60) return `${seconds} s`;
  return seconds < 3600 ? `${Math.floor(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}
