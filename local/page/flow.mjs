// The way of an event through the service. A function lights up when its own log says that it did its work.

import { byId, element } from "./dom.mjs";
import { clock } from "./facts.mjs";

const STEPS = 40;
const LIT = 1_600; // ms
const SOON = 350; // ms between requests while something goes on
const LATER = 3_000; // ms, when all is quiet
const GOES_ON = 8_000; // ms after the last thing that happened
const SVG = "http://www.w3.org/2000/svg";

// Where each thing is: the middle, and half its width.
const NODES = {
  "phones-in": { x: 108, y: 18, w: 60, kind: "end", text: "phones" },
  backend: { x: 305, y: 18, w: 48, kind: "end", text: "backend" },
  connect: { x: 38, y: 84, w: 34 },
  default: { x: 110, y: 84, w: 32 },
  disconnect: { x: 189, y: 84, w: 42 },
  ingest: { x: 305, y: 84, w: 34 },
  state: { x: 110, y: 150, w: 92, kind: "table", text: "Connections · Users" },
  announce: { x: 60, y: 214, w: 38 },
  deadlines: { x: 147, y: 214, w: 40 },
  sweep: { x: 224, y: 214, w: 28 },
  events: { x: 190, y: 280, w: 60, kind: "table", text: "Events" },
  farewell: { x: 42, y: 346, w: 36 },
  broadcast: { x: 128, y: 346, w: 40 },
  "broadcast-wide": { x: 232, y: 346, w: 54 },
  late: { x: 322, y: 346, w: 26 },
  "phones-out": { x: 190, y: 412, w: 60, kind: "end", text: "phones" },
};

const EDGES = [
  ["phones-in", "connect"], ["phones-in", "default"], ["phones-in", "disconnect"], ["backend", "ingest"],
  ["connect", "state"], ["disconnect", "state"], ["default", "state"], ["ingest", "state"], ["ingest", "events"],
  ["state", "announce"], ["deadlines", "state"], ["sweep", "state"], ["announce", "events"],
  ["events", "broadcast"], ["events", "broadcast-wide"], ["events", "late"],
  ["broadcast", "phones-out"], ["broadcast-wide", "phones-out"], ["late", "phones-out"], ["farewell", "phones-out"],
];

const DESCRIPTION = "Phones reach connect, default and disconnect; the backend reaches ingest. They write the tables "
  + "Connections and Users. announce tells of their changes in the table Events, where ingest writes too. broadcast, "
  + "broadcast-wide and late post from there to the phones; farewell posts refusals. deadlines and sweep check the tables.";

export class Flow {
  #drawn = {};
  #edges = [];
  #counts = {};
  #last;
  #activeUntil = 0;
  #beganAt = 0;
  #timer;
  #stack = null;
  #lightsOut = new Map();

  constructor() {
    byId("diagram").append(this.#draw());
    document.addEventListener("visibilitychange", () => this.#later(0));
  }

  /** Show the flow of a stack from now on. */
  follow(stack) {
    this.#stack = stack;
    this.#last = undefined;
    byId("flow-state").textContent = stack.flow ? "" : "Only the phones light up: the logs of that stack are not here.";
    this.#later(0);
  }

  /** Something begins: steps are timed from here. Returns when it was. */
  begin() {
    this.#beganAt = Date.now();
    this.stir();
    return this.#beganAt;
  }

  /** Something goes on: look more often for a while. */
  stir() {
    this.#activeUntil = Date.now() + GOES_ON;
    this.#later(SOON);
  }

  /** A phone exchanged a frame. `default` answers without a line in its log, so its answers show that it ran. */
  exchanged({ kind, type }) {
    if (kind === "sent") return this.#light("phones-in");
    this.#light("phones-out");
    if (["pong", "snapshot", "resumed", "acknowledged", "authenticated"].includes(type)) this.#light("default");
    else this.stir();
  }

  /** An event is on the bus, which began at a time. */
  published(type, at) {
    this.#light("backend");
    this.#step(at, "backend", `put ${type} on the bus`);
  }

  #later(ms) {
    clearTimeout(this.#timer);
    if (this.#stack?.flow && document.visibilityState === "visible") this.#timer = setTimeout(() => this.#ask(), ms);
  }

  async #ask() {
    const stack = this.#stack;
    try {
      const { last, lines } = await stack.flow(this.#last);
      if (stack !== this.#stack) return;
      this.#last = last;
      lines.forEach((line) => this.#logged(line));
      if (lines.some((line) => line.function !== "sweep")) this.#activeUntil = Date.now() + GOES_ON;
      byId("flow-state").textContent = "";
    } catch (error) {
      if (stack === this.#stack) byId("flow-state").textContent = error.message;
    }
    this.#later(Date.now() < this.#activeUntil ? SOON : LATER);
  }

  #logged({ at, function: name, message, facts }) {
    this.#light(name);
    const words = Object.entries(facts)
      .filter(([key, value]) => !/_id$/.test(key) && value !== false && value !== 0)
      .map(([key, value]) => (key === "detail_type" ? value : `${key.replaceAll("_", " ")} ${value}`));
    this.#step(at, name, [...(message === name.split("-")[0] ? [] : [message]), ...words].join(" · "));
  }

  #step(at, name, words) {
    const since = at - this.#beganAt;
    const list = byId("steps");
    const item = element(
      "li", {},
      element("time", {}, clock(at).slice(0, 12)),
      element("b", {}, name),
      element("span", {}, words),
      element("span", { className: "since", title: "since the last button" }, this.#beganAt && since >= 0 && since < 60_000 ? `+${since} ms` : ""),
    );
    item.dataset.at = String(at);
    // Each function's log is read by itself: lines come in the order of time only within a reading.
    list.insertBefore(item, [...list.children].find(({ dataset }) => Number(dataset.at) <= at) ?? null);
    while (list.children.length > STEPS) list.lastChild.remove();
    byId("no-steps").hidden = true;
  }

  #light(name) {
    const node = this.#drawn[name];
    if (!node) return;
    const edges = this.#edges.filter(({ from, to }) => from === name || to === name).map(({ path }) => path);
    const lit = [node, ...(NODES[name].kind ? [] : edges)];
    lit.forEach((each) => each.classList.add("lit"));
    clearTimeout(this.#lightsOut.get(name));
    this.#lightsOut.set(name, setTimeout(() => lit.forEach((each) => each.classList.remove("lit")), LIT));
    if (NODES[name].kind) return;
    this.#counts[name] = (this.#counts[name] ?? 0) + 1;
    node.dataset.count = this.#counts[name];
    node.querySelector(".count").textContent = this.#counts[name];
  }

  #draw() {
    const svg = shape("svg", { viewBox: "0 0 356 432", role: "img", "aria-labelledby": "diagram-title diagram-about" });
    svg.append(
      shape("title", { id: "diagram-title" }, "The functions and tables that an event passes"),
      shape("desc", { id: "diagram-about" }, DESCRIPTION),
    );
    for (const [from, to] of EDGES) {
      const [a, b] = [NODES[from], NODES[to]];
      const [y1, y2] = a.y < b.y ? [a.y + 14, b.y - 14] : [a.y - 14, b.y + 14];
      const x2 = b.x + Math.max(-b.w * 0.7, Math.min(b.w * 0.7, (a.x - b.x) * 0.5));
      const x1 = a.x + Math.max(-a.w * 0.7, Math.min(a.w * 0.7, (b.x - a.x) * 0.5));
      const bend = Math.abs(y2 - y1) > 100 ? 0.85 : 0.5; // a long way goes straight at first, past what is between
      const at = y1 + (y2 - y1) * bend;
      const path = shape("path", { class: "edge", d: `M${x1} ${y1} C${x1} ${at} ${x2} ${at} ${x2} ${y2}` });
      this.#edges.push({ from, to, path });
      svg.append(path);
    }
    for (const [name, { x, y, w, kind = "function", text = name }] of Object.entries(NODES)) {
      const node = shape("g", { class: `node ${kind}`, "data-name": name });
      node.append(
        shape("rect", { x: x - w, y: y - 14, width: 2 * w, height: 28, rx: kind === "table" ? 3 : 14 }),
        shape("text", { x, y: y + 4 }, text),
      );
      if (kind === "function") node.append(shape("text", { class: "count", x, y: y + 26 }, ""));
      this.#drawn[name] = node;
      svg.append(node);
    }
    return svg;
  }
}

function shape(name, attributes, text = "") {
  const made = document.createElementNS(SVG, name);
  Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, String(value)));
  made.textContent = text;
  return made;
}
