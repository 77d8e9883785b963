// The backend of the marketplace, as buttons: each puts an event on the bus.

import { byId, element, fields, on } from "./dom.mjs";
import { asId, nextBill } from "./facts.mjs";

const MINUTE = 5_000; // ms that a minute of a call takes here
const LONGEST_CALL = 20; // minutes: a page that is left open hangs up

export class Backend {
  #of;
  #clocks = new Map(); // of calls, by id

  /** `of.publish(type, detail)` promises whether it is on the bus; `of.calls()` are those that the phones know. */
  constructor(of) {
    this.#of = of;
    for (const [about, acts] of Object.entries(this.#events())) {
      const buttons = Object.entries(acts).map(([text, act]) => {
        const onclick = () => {
          const { who, whom } = fields("parties");
          if (byId("parties").reportValidity()) act(asId(who.value), asId(whom.value));
        };
        return element("button", { type: "button", className: "small", onclick, ariaLabel: `${about} ${text}` }, text);
      });
      byId("events").append(element("div", {}, element("span", {}, about), element("p", {}, ...buttons)));
    }
    fields("editor").detail.value = JSON.stringify({ text: "Hello.", delivery: { to: "everyone" } }, null, 2);
    on("parties", "submit", () => {});
    on("editor", "submit", () => this.#publishOwn());
  }

  /** Name the two users that the buttons are about. */
  about(who, whom) {
    Object.assign(fields("parties").who, { value: who });
    Object.assign(fields("parties").whom, { value: whom });
  }

  /** Say what became of the last event. */
  tell(text, { wrong = false } = {}) {
    byId("outcome").textContent = text;
    byId("outcome").classList.toggle("wrong", wrong);
  }

  /** Show an event in the editor, so that it can be changed and sent again. */
  edit(type, detail) {
    fields("editor").type.value = type;
    fields("editor").detail.value = JSON.stringify(detail, null, 2);
  }

  /** Begin a call, and bill it while it lasts. */
  async startCall(user, listener) {
    const id = Date.now() % 1_000_000_000;
    const parts = { call_id: id, user_id: user, listener_id: listener };
    const isDone = await this.#of.publish("call_started", { ...parts, call_type: "audio", status: "ongoing" });
    if (isDone) this.#clocks.set(id, setInterval(() => this.#minute(id), MINUTE));
  }

  bill(call) {
    return this.#of.publish("call_billing", { ...partsOf(call), ...nextBill(call) });
  }

  endCall(call) {
    this.#stopClock(call.call_id);
    return this.#of.publish("call_ended", { ...partsOf(call), status: "completed" });
  }

  /** A minute of a call has passed. */
  #minute(id) {
    const call = this.#of.calls().find((each) => each.call_id === id);
    if (!call) return; // no phone has heard of it yet
    if (call.ended) this.#stopClock(id);
    else if ((call.minutes ?? 0) >= LONGEST_CALL) this.endCall(call);
    else if (fields("parties").bills.checked) this.bill(call);
  }

  #stopClock(id) {
    clearInterval(this.#clocks.get(id));
    this.#clocks.delete(id);
  }

  #acquaint(type, who, whom) {
    return this.#of.publish(type, { user_id: who, username: this.#of.nameOf(who), delivery: { to: [whom] } });
  }

  /** Go on with the last call of two users, or say that there is none. */
  #withCall(who, whom, act) {
    const call = this.#of.calls().find(({ ended, user_id: user, listener_id: listener }) => (
      !ended && [user, listener].every((id) => id === who || id === whom)));
    if (call) return act(call);
    return this.tell(`Between ${this.#of.nameOf(who)} and ${this.#of.nameOf(whom)} no phone here has heard of a call.`, { wrong: true });
  }

  #publishOwn() {
    const { type, detail } = fields("editor");
    try {
      this.#of.publish(type.value.trim(), JSON.parse(detail.value || "{}"));
    } catch (error) {
      this.tell(error.message, { wrong: true });
    }
  }

  #events() {
    const { publish } = this.#of;
    return {
      Call: {
        started: (who, whom) => this.startCall(who, whom),
        billed: (who, whom) => this.#withCall(who, whom, (call) => this.bill(call)),
        ended: (who, whom) => this.#withCall(who, whom, (call) => this.endCall(call)),
      },
      Favourite: {
        added: (who, whom) => this.#acquaint("favorite_added", who, whom),
        removed: (who, whom) => this.#acquaint("favorite_removed", who, whom),
      },
      User: {
        blocked: (who, whom) => this.#acquaint("user_blocked", who, whom),
        unblocked: (who, whom) => this.#acquaint("user_unblocked", who, whom),
      },
      Status: {
        busy: (who) => publish("status_change", { user_id: who, is_busy: true }),
        available: (who) => publish("status_change", { user_id: who, is_busy: false }),
      },
      Session: {
        revoked: (who) => publish("session_revoked", { user_id: who }),
      },
      Notification: {
        "to one": (_, whom) => publish("system_notification", { text: "Your payout is on its way.", delivery: { to: [whom] } }),
        "to everyone": () => publish("system_notification", { text: "We pause at 10 for a minute.", delivery: { to: "everyone" } }),
      },
    };
  }
}

const partsOf = ({ call_id, user_id, listener_id }) => ({ call_id, user_id, listener_id });
