// The APIs: addresses and open connections of each stage, and where each route leads.

import { byId, element, replace } from "./dom.mjs";
import { age } from "./entries.mjs";

/** Show the stages with their connections; `choose` is called with the id of the connection that is pressed. */
export function showStages(stages, { chosen, choose }) {
  const now = Date.now();
  replace(byId("stages"), stages.map(({ name, stage, path, open, connections }) => {
    const url = `${location.protocol === "https:" ? "wss:" : "ws:"}//${location.host}${path}`;
    const more = open - connections.length;
    return element(
      "div", { className: "stage" },
      element("h3", {}, `${name}, ${stage}: ${open} open`),
      element("div", { className: "address" }, element("code", {}, url), copier(url)),
      element("ul", { className: "connections" }, connections.map((connection) => (
        element("li", {}, connectionButton(connection, now, chosen, choose))))),
      more > 0 ? element("p", { className: "quiet" }, `and ${more} more`) : null,
    );
  }));
}

function connectionButton({ connection_id: id, source_ip: ip, connected_at: since, last_active_at: active }, now, chosen, choose) {
  const button = element(
    "button", { type: "button", title: "Show what happens on this connection alone", onclick: () => choose(id === chosen ? "" : id) },
    element("span", { className: "mono" }, id),
    element("span", { className: "quiet" }, `${ip} · open ${age(since, now)} · quiet ${age(active, now)}`),
  );
  button.setAttribute("aria-pressed", String(id === chosen));
  button.dataset.key = id;
  return button;
}

function copier(text) {
  const button = element("button", { type: "button", title: `Copy ${text}` }, "Copy");
  button.dataset.key = text;
  button.setAttribute("aria-label", `Copy ${text}`);
  button.onclick = async () => {
    await navigator.clipboard.writeText(text);
    byId("announcer").textContent = `${text} is copied`;
  };
  return button;
}

/** Show the routes of each API. */
export function showRoutes(apis) {
  replace(byId("routes"), apis.map(({ name, selection, routes, notes }) => element(
    "div", {},
    element("h3", {}, name),
    element("p", { className: "quiet" }, "by ", element("code", {}, selection)),
    element(
      "table", {},
      element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "Route"), element("th", { scope: "col" }, "Leads to"))),
      element("tbody", {}, routes.map((route) => element("tr", {}, element("td", {}, route.key), element("td", {}, target(route))))),
    ),
    notes.length ? element("ul", { className: "notes" }, notes.map((note) => element("li", {}, note))) : null,
  )));
}

function target({ kind, target: where, answers, authorization, api_key: needsKey, problem }) {
  const facts = [
    kind === "AWS_PROXY" ? "" : kind,
    answers ? "answers the client" : "",
    authorization === "NONE" ? "" : `authorization: ${authorization}`,
    needsKey ? "API key" : "",
  ].filter(Boolean).join(" · ");
  return [
    where || "—",
    facts ? element("span", { className: "quiet" }, facts) : null,
    problem ? element("span", { className: "wrong" }, ` ${problem}`) : null,
  ];
}
