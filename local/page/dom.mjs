// Small things to build the page with.

export const byId = (id) => document.getElementById(id);
export const fields = (id) => byId(id).elements;

/** An element with attributes or properties, and children; texts are texts, never HTML. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name in made && name !== "list") made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

/** A button that keeps the focus, by its `key`, when its list is built anew. */
export function button(text, key, onclick, attributes = {}) {
  const made = element("button", { type: "button", onclick, ...attributes }, text);
  made.dataset.key = key;
  return made;
}

/** Replace what is in a parent if it looks different, keeping the focus on the button that has it. */
export function replace(parent, ...children) {
  const next = children.flat().filter(Boolean);
  const looks = (node) => node.outerHTML ?? node.textContent ?? node;
  const isSame = next.length === parent.childNodes.length && next.every((each, n) => looks(each) === looks(parent.childNodes[n]));
  if (isSame) return; // so that neither a selection nor what a screen reader reads is lost
  const focused = parent.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  parent.replaceChildren(...next);
  if (focused) [...parent.querySelectorAll("[data-key]")].find(({ dataset }) => dataset.key === focused)?.focus();
}

/** Act when a form is submitted or something is clicked. */
export function on(id, event, act) {
  byId(id).addEventListener(event, (happened) => {
    happened.preventDefault();
    act(happened);
  });
}

/** Tell those who cannot see the page what happened. */
export function announce(text) { byId("announcer").textContent = text; }
