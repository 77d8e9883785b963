// The list of what happened, the youngest first, and the controls that choose what of it is shown.

import { byId, element } from "./dom.mjs";
import { clock, countOf, groupsOf, isBad, kindOf, pretty, whatOf, whoOf } from "./entries.mjs";

const ROWS = 500;

export class Log {
  #list = byId("log");
  #form = byId("show");
  #rows = new Map(); // by an entry's number, the oldest first
  #held = []; // what came while the list is paused
  #isPaused = false;
  #missed = 0; // what came and was not kept for us

  constructor() {
    this.#form.oninput = () => this.#filter();
    this.#form.onsubmit = (event) => event.preventDefault();
    byId("clear").onclick = () => this.clear();
    byId("pause").onclick = ({ currentTarget }) => {
      this.#isPaused = !this.#isPaused;
      currentTarget.setAttribute("aria-pressed", String(this.#isPaused));
      if (!this.#isPaused) this.add(this.#held.splice(0));
      this.#count();
    };
  }

  clear() {
    this.#rows.clear();
    this.#held = [];
    this.#missed = 0;
    this.#list.replaceChildren();
    this.#count();
  }

  /** Show only what contains a text, such as a connection's id; an empty text shows all. */
  search(text) {
    this.#form.elements.text.value = text;
    this.#filter();
  }

  get searched() { return this.#form.elements.text.value; }

  add(entries, missed = 0) {
    this.#missed += missed;
    if (this.#isPaused) {
      this.#held = [...this.#held, ...entries].slice(-ROWS);
      this.#count();
      return;
    }
    const fresh = [];
    for (const entry of entries) {
      const asked = entry.of === undefined ? undefined : this.#rows.get(entry.of);
      if (asked) this.#draw(asked, { ...asked.entry, status: entry.status, took: entry.took });
      else if (entry.of === undefined) fresh.unshift(this.#row(entry));
    }
    this.#list.prepend(...fresh);
    for (const [number, { item }] of this.#rows) {
      if (this.#rows.size <= ROWS) break;
      item.remove();
      this.#rows.delete(number);
    }
    this.#count();
  }

  #row(entry) {
    const item = element("li");
    const row = { entry, item };
    this.#rows.set(entry.n, row);
    this.#draw(row, entry);
    return item;
  }

  #draw(row, entry) {
    const { item } = row;
    row.entry = entry;
    const whole = element("pre", { tabIndex: 0 });
    const details = element(
      "details", { open: item.firstChild?.open ?? false },
      element(
        "summary", {},
        element("time", {}, clock(entry.at)),
        element("span", { className: "kind" }, kindOf(entry)),
        element("span", { className: "who" }, whoOf(entry)),
        element("span", { className: "what" }, whatOf(entry)),
        element("span", { className: "text" }, entry.text ?? ""),
      ),
      whole,
    );
    const fill = () => { whole.textContent = details.open ? this.#whole(entry) : ""; };
    details.ontoggle = fill;
    fill();
    const hadFocus = item.contains(document.activeElement);
    item.className = `${entry.kind}${isBad(entry) ? " bad" : ""}`;
    item.replaceChildren(details);
    if (hadFocus) details.firstChild.focus();
    item.hidden = !this.#isShown(entry);
  }

  #whole({ n: _number, at, text, ...facts }) {
    const rest = Object.entries({ at: new Date(at).toISOString(), ...facts }).map(([name, value]) => `${name}: ${value}`);
    return [...rest, ...(text === undefined ? [] : ["", pretty(text)])].join("\n");
  }

  #isShown(entry) {
    const { elements } = this.#form;
    const text = elements.text.value.trim().toLowerCase();
    const words = [whoOf(entry), kindOf(entry), whatOf(entry), entry.text ?? ""].join(" ").toLowerCase();
    return groupsOf(entry).some((group) => elements[group].checked) && words.includes(text);
  }

  #filter() {
    this.#rows.forEach(({ entry, item }) => { item.hidden = !this.#isShown(entry); });
    this.#form.dispatchEvent(new Event("searched"));
    this.#count();
  }

  #count() {
    const shown = [...this.#rows.values()].filter(({ item }) => !item.hidden).length;
    const held = this.#isPaused ? this.#held.length : undefined;
    byId("count").textContent = countOf({ shown, held, missed: this.#missed });
    byId("nothing").hidden = this.#rows.size > 0;
  }
}
