// Small things to build the page with.

export const byId = (id) => document.getElementById(id);

/** An element with properties or attributes, and children; texts are texts, never HTML. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

/** Replace what is in a parent if it looks different; the control that has the focus keeps it, by its `data-key`. */
export function replace(parent, ...children) {
  const next = children.flat();
  const isSame = next.length === parent.childNodes.length
    && next.every((each, index) => each.outerHTML === parent.childNodes[index].outerHTML);
  if (isSame) return; // so that neither a selection nor what a screen reader reads is lost
  const focused = parent.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  parent.replaceChildren(...next);
  if (focused) [...parent.querySelectorAll("[data-key]")].find(({ dataset }) => dataset.key === focused)?.focus();
}
