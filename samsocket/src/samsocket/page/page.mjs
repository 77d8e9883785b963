// The page of a gateway: it asks what happened since it last asked, and shows it. It only reads.

import { showRoutes, showStages } from "./apis.mjs";
import { byId } from "./dom.mjs";
import { isBad } from "./entries.mjs";
import { Log } from "./log.mjs";

const AT_MOST_EVERY = 250; // ms between two questions, so that a flood of frames comes in few answers
const AGAIN_AFTER = 1_000; // ms after a question that nobody answered
const AGES_EVERY = 5_000; // ms

const log = new Log();
let stages = [];

/** What the gateway answers to a question of the page; the header shows that no other site's page asks. */
async function ask(what) {
  const answer = await fetch(`/_gateway/page/${what}`, { headers: { "X-Samsocket-Page": "1" } });
  if (!answer.ok) throw new Error((await answer.json()).message);
  return answer.json();
}

const pause = (ms) => new Promise((done) => { setTimeout(done, ms); });

function tell(text, { wrong = false } = {}) {
  const state = byId("state");
  if (state.textContent !== text) state.textContent = text;
  state.classList.toggle("wrong", wrong);
}

function drawStages() {
  showStages(stages, { chosen: log.searched, choose: (id) => log.search(id) });
}

async function refreshStages() {
  stages = await ask("connections");
  drawStages();
  const open = stages.reduce((sum, stage) => sum + stage.open, 0);
  tell(`live · ${open} ${open === 1 ? "connection" : "connections"}`);
}

const CHANGES = new Set(["opened", "closed", "adopted"]);

/** Follow what happens, for as long as the page is open. */
async function follow() {
  let last = "";
  let run = "";
  let isLost = true;
  for (;;) {
    try {
      const answer = await ask(`activity?after=${last}`);
      if (answer.run !== run) log.clear(); // what another run of the gateway told
      ({ last, run } = answer);
      const { entries, missed } = answer;
      log.add(entries, missed);
      const problem = entries.findLast(isBad);
      if (problem && !isLost) byId("announcer").textContent = problem.text ?? `${problem.route} answered ${problem.status}`;
      if (isLost || entries.some(({ kind }) => kind === "adopted")) showRoutes(await ask("apis"));
      if (isLost || entries.some(({ kind }) => CHANGES.has(kind))) await refreshStages();
      isLost = false;
      await pause(AT_MOST_EVERY);
    } catch (error) {
      isLost = true;
      tell(`the gateway does not answer (${error.message}); trying again`, { wrong: true });
      await pause(AGAIN_AFTER);
    }
  }
}

byId("show").addEventListener("searched", drawStages);
setInterval(() => { if (!document.hidden && stages.some(({ open }) => open)) refreshStages().catch(() => {}); }, AGES_EVERY);
follow();
