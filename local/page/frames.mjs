// The frames that both phones exchange, and what is put on the bus, in the order of time.

import { byId, element, on } from "./dom.mjs";
import { clock, median, milliseconds } from "./facts.mjs";

const LENGTH = 300;
const ARROWS = { heard: "↓", error: "↓", sent: "↑", published: "→" };
const WORDS = { heard: "heard", error: "heard", sent: "sent", published: "put on the bus" };
const HEARTBEATS = new Set(["ping", "pong"]);

export class Frames {
  #heard = 0;
  #delays = [];
  #list = byId("log");

  constructor() {
    on("clear", "click", () => {
      this.#list.replaceChildren();
      this.#heard = 0;
      this.#delays = [];
      this.#count();
      byId("no-frames").hidden = false;
    });
    byId("heartbeats").onchange = ({ target }) => { this.#list.classList.toggle("all", target.checked); };
  }

  /** Add a line. `side` is a phone or "backend"; `took` (ms) is a round trip, or an event's way from its recording. */
  add({ side, name, kind, type, took, shown }) {
    if (kind === "heard" || kind === "error") {
      this.#heard += 1;
      if (shown.id && took !== undefined) this.#delays = [...this.#delays.slice(1 - LENGTH), took];
      this.#count();
    }
    const whole = element("pre", {});
    const line = element(
      "details", {},
      element(
        "summary", {},
        element("time", {}, clock(Date.now())),
        element("span", { className: "from" }, element("span", { className: "hidden" }, `${WORDS[kind]} `), `${ARROWS[kind]} ${name}`),
        element("span", { className: "type" }, type),
        element("span", { className: "took" }, milliseconds(took)),
        element("span", { className: "data" }, JSON.stringify(shown.data ?? shown)),
      ),
      whole,
    );
    line.ontoggle = () => { whole.textContent = JSON.stringify(shown, null, 2); };
    const item = element("li", { className: `${kind} ${HEARTBEATS.has(type) ? "heartbeat" : ""}` }, line);
    item.dataset.side = side;
    this.#list.prepend(item);
    while (this.#list.children.length > LENGTH) this.#list.lastChild.remove();
    byId("no-frames").hidden = true;
  }

  #count() {
    const middle = this.#delays.length ? `; an event takes ${milliseconds(median(this.#delays))} (median)` : "";
    byId("figures").textContent = this.#heard ? `${this.#heard} heard${middle}` : "";
  }
}
