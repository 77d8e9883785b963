// What a phone shows: its user, the call, the people, and what was told.

import { announce, button, element, replace } from "./dom.mjs";
import { duration, ordered, statusOf } from "./facts.mjs";

const PEOPLE = 6;
const NOTES = 4;
const ENDED_CALLS = 2;
const STATES = {
  off: "Off", connecting: "Connecting", open: "Live", waiting: "Will be back", refused: "Refused",
};
const STATUS = { online: "Available", busy: "Busy", offline: "Offline" };

export class Screen {
  #parts = {};
  #phone;
  #of;
  #isDue = false;
  #marks = new Set(); // "favourite 789": what this page has done, for buttons that undo it

  /**
   * `of.nameOf(id)`; `of.publish(type, detail)` puts an event on the bus; `of.startCall(user, listener)`,
   * `of.bill(call)`, `of.endCall(call)`; `of.reconnect(phone, person)`; `of.first()` lists the users of this page.
   */
  constructor(root, phone, of) {
    this.#phone = phone;
    this.#of = of;
    this.#build(root);
    setInterval(() => this.#tick(), 1000);
  }

  /** Show the phone as it is, once, however often this is called now. */
  show() {
    if (this.#isDue) return;
    this.#isDue = true;
    queueMicrotask(() => {
      this.#isDue = false;
      this.#show();
    });
  }

  #build(root) {
    const parts = this.#parts;
    const form = element(
      "form", { autocomplete: "off" },
      element("label", {}, "User id", parts.user = element("input", { name: "user", required: true, maxlength: 128, spellcheck: false })),
      element("label", {}, "Username", parts.username = element("input", { name: "username", spellcheck: false })),
      element(
        "label", {}, "Role",
        parts.role = element("select", { name: "role" }, element("option", { value: "listener" }, "listener"), element("option", { value: "" }, "none")),
      ),
      element(
        "div", { className: "row" },
        element("button", { className: "primary small" }, "Connect"),
        parts.disconnect = element("button", { type: "button", className: "small", onclick: () => this.#phone.disconnect() }, "Disconnect"),
        parts.copy = element("button", { type: "button", className: "small", onclick: () => this.#copyToken() }, "Copy token"),
      ),
    );
    form.onsubmit = (event) => {
      event.preventDefault();
      const { user, username, role } = parts;
      this.#of.reconnect(this.#phone, { side: this.#phone.side, user: user.value.trim(), username: username.value.trim(), role: role.value });
    };
    root.append(
      element(
        "div", { className: "bar" },
        parts.clock = element("span", { className: "time" }),
        parts.line = element("span", { className: "line" }),
      ),
      element(
        "div", { className: "who" },
        parts.face = element("span", { className: "face", ariaHidden: "true" }),
        element("div", {}, parts.name = element("h2", {}), parts.status = element("p", { className: "status" })),
        parts.own = element("div", { className: "own" }),
      ),
      parts.why = element("p", { className: "why" }),
      parts.call = element("div", { className: "calls" }),
      element("h3", {}, "People"),
      parts.people = element("ul", { className: "people" }),
      parts.nobody = element("p", { className: "empty" }, "Nobody else is here."),
      element("h3", {}, "Told"),
      parts.notes = element("ul", { className: "notes" }),
      parts.nothing = element("p", { className: "empty" }, "Nothing yet."),
      element(
        "div", { className: "foot" },
        parts.signal = element("button", { type: "button", className: "signal", onclick: () => this.#switch() }),
        parts.settings = element(
          "details", { className: "settings" }, element("summary", {}, "Who is this?"), form,
          parts.claims = element("pre", { tabIndex: 0, ariaLabel: "The token's claims" }),
        ),
      ),
    );
    this.fill();
  }

  /** Put the person into the fields of the settings. */
  fill() {
    const { user, username, role } = this.#phone.person;
    Object.entries({ user, username, role }).forEach(([name, value]) => { this.#parts[name].value = value; });
  }

  #switch() {
    if (this.#phone.hasNetwork) this.#phone.goOffline();
    else this.#phone.comeBack();
    this.show();
  }

  async #copyToken() {
    await navigator.clipboard.writeText(this.#phone.token);
    announce("Token copied");
  }

  #tick() {
    this.#parts.clock.textContent = new Date().toTimeString().slice(0, 5);
    for (const shown of this.#parts.call.querySelectorAll("time[data-began]")) {
      shown.textContent = duration(Date.now() - Number(shown.dataset.began));
    }
  }

  #show() {
    const { person, state, hasNetwork, isOn } = this.#phone;
    const parts = this.#parts;
    const name = person.username || `user ${person.user}`;
    const status = isOn && hasNetwork && state === "open" ? statusOf(this.#phone.me ?? { is_online: true }) : "offline";
    parts.face.textContent = name.slice(0, 1).toUpperCase();
    parts.name.textContent = name;
    parts.status.className = `status ${status}`;
    replace(parts.status, element("span", { className: `dot ${status}` }), ` ${STATUS[status]} · ${person.role || "caller"} #${person.user}`);
    parts.line.dataset.state = hasNetwork ? state : "waiting";
    parts.line.textContent = hasNetwork ? STATES[state] : "No network";
    this.#showWhy();
    replace(parts.own, this.#own());
    replace(parts.call, this.#calls());
    const people = this.#others();
    replace(parts.people, people);
    parts.nobody.hidden = people.length > 0;
    const notes = this.#phone.notifications.slice(0, NOTES).map((note) => this.#note(note));
    replace(parts.notes, notes);
    parts.nothing.hidden = notes.length > 0;
    parts.signal.textContent = hasNetwork ? "Go offline" : "Come back";
    parts.signal.setAttribute("aria-label", `${parts.signal.textContent}: the ${this.#phone.side}'s phone`);
    parts.signal.disabled = !isOn;
    parts.disconnect.disabled = !isOn;
    parts.copy.disabled = !this.#phone.token;
    parts.claims.hidden = !this.#phone.token;
    if (this.#phone.token) parts.claims.textContent = JSON.stringify(this.#phone.claims(), null, 2);
    this.#tick();
  }

  #showWhy() {
    const { back, why, hasNetwork, state } = this.#phone;
    const words = back && (back.recovered
      ? `Back after ${(back.ms / 1000).toFixed(0)} s: ${plural(back.replayed, "message")} replayed, nothing missed (recovered).`
      : `Back after ${(back.ms / 1000).toFixed(0)} s: history does not reach so far back; all is loaded again.`);
    const shown = !hasNetwork ? "Offline. What happens now comes when it is back." : back ? words : why;
    this.#parts.why.textContent = shown;
    this.#parts.why.className = `why ${back && hasNetwork ? "good" : state === "refused" || /^[A-Z_]+:/.test(shown) ? "wrong" : ""}`;
    if (back && this.#told !== back) announce(`${this.#phone.person.username}: ${words}`);
    this.#told = back;
  }

  #told = null;

  #own() {
    const { me, id, isOn, ongoing, person } = this.#phone;
    if (!isOn || ongoing.length || person.role !== "listener") return null;
    const isBusy = me?.is_busy;
    return button(isBusy ? "Be available" : "Be busy", "status", () => this.#of.publish("status_change", { user_id: id, is_busy: !isBusy }), { className: "small" });
  }

  #calls() {
    const ended = this.#phone.calls.filter((call) => call.ended).slice(0, ENDED_CALLS);
    return [...this.#phone.ongoing, ...ended].map((call) => {
      const { call_id: id, user_id: user, listener_id: listener, amount, currency = "", minutes } = call;
      const other = this.#of.nameOf(String(user) === this.#phone.person.user ? listener : user);
      const bill = amount ? `${amount} ${currency}${minutes ? ` · ${minutes} min` : ""}` : "not billed yet";
      const began = call.began ?? this.#began(call);
      return element(
        "div", { className: `call ${call.ended ? "ended" : "ongoing"}` },
        element("p", { className: "with" }, call.ended ? `Call with ${other} ended` : `In a call with ${other}`),
        element("p", { className: "bill" }, bill),
        call.ended ? null : element("time", { "data-began": String(began) }, duration(Date.now() - began)),
        call.ended ? null : element(
          "div", { className: "row" },
          button("Bill a minute", `bill ${id}`, () => this.#of.bill(call), { className: "small", ariaLabel: `Bill a minute of the call with ${other}` }),
          button("Hang up", `end ${id}`, () => this.#of.endCall(call), { className: "small", ariaLabel: `Hang up the call with ${other}` }),
        ),
      );
    });
  }

  #beganAt = new Map();

  #began({ call_id: id }) {
    if (!this.#beganAt.has(id)) this.#beganAt.set(id, Date.now());
    return this.#beganAt.get(id);
  }

  #others() {
    const { presence, person, hiding } = this.#phone;
    const users = [...presence.values()].filter(({ user_id: id }) => String(id) !== person.user && !hiding.has(id));
    const first = this.#of.first();
    const listed = ordered(users.filter((user) => user.is_online || first.includes(String(user.user_id))), this.#of.nameOf, first);
    const rest = listed.length - PEOPLE;
    return [
      ...listed.slice(0, PEOPLE).map((user) => this.#other(user)),
      rest > 0 ? element("li", { className: "rest" }, `and ${rest} more online`) : null,
    ].filter(Boolean);
  }

  #other(user) {
    const { user_id: id } = user;
    const status = statusOf(user);
    const name = this.#of.nameOf(id);
    const me = this.#phone.id;
    const isOn = this.#phone.isOn;
    return element(
      "li", { className: `person ${status}` },
      element("span", { className: `dot ${status}` }),
      element("span", { className: "name", title: `version ${user.version}` }, name),
      element("span", { className: "state" }, STATUS[status]),
      element(
        "span", { className: "acts" },
        button("Call", `call ${id}`, () => this.#of.startCall(me, id), { className: "small", disabled: !isOn || status !== "online", ariaLabel: `Call ${name}` }),
        this.#toggle(id, "favourite", ["♡", "♥"], ["favorite_added", "favorite_removed"], [`Add ${name} to favourites`, `Remove ${name} from favourites`]),
        this.#toggle(id, "block", ["Block", "Unblock"], ["user_blocked", "user_unblocked"], [`Block ${name}`, `Unblock ${name}`]),
      ),
    );
  }

  /** A button that does something to another user, and then undoes it. */
  #toggle(id, what, texts, types, labels) {
    const mark = `${what} ${id}`;
    const at = this.#marks.has(mark) ? 1 : 0;
    const act = async () => {
      const me = this.#phone.id;
      const isDone = await this.#of.publish(types[at], { user_id: me, username: this.#of.nameOf(me), delivery: { to: [id] } });
      if (!isDone) return;
      if (at) this.#marks.delete(mark);
      else this.#marks.add(mark);
      this.show();
    };
    return button(texts[at], mark, act, { className: "small", disabled: !this.#phone.isOn, ariaLabel: labels[at], ariaPressed: String(at === 1) });
  }

  #note({ type, data, timestamp }) {
    const words = type === "system_notification"
      ? data.text ?? data.message ?? JSON.stringify(data)
      : `${data.username ?? this.#of.nameOf(data.user_id)} ${String(data.action ?? type).replaceAll("_", " ")}`;
    return element(
      "li", {}, element("span", {}, words),
      element("time", { dateTime: timestamp }, new Date(timestamp).toTimeString().slice(0, 8)),
    );
  }
}

const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;
