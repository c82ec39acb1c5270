// The live view of one run: it asks the server for the run's record about each second and
// redraws what changed; the run never depends on this page. Body of gr.HTML(js_on_load=...),
// put behind chart.js, whose helpers (say, node, write, labelled, number) it uses.

const FINAL = ["finished", "stopped", "failed", "interrupted"];
const ACTIVE = ["starting", "running", "stopping"];
const STATES = {
  none: "No run yet", loading: "Loading", queued: "Queued", starting: "Starting",
  running: "Running", stopping: "Stopping", finished: "Finished", stopped: "Stopped",
  failed: "Failed", interrupted: "Interrupted",
};
const SECOND = 1000;

function duration(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return say("{0} s", s);
  if (s < 3600) return say("{0} min {1} s", Math.floor(s / 60), s % 60);
  return say("{0} h {1} min", Math.floor(s / 3600), Math.floor((s % 3600) / 60));
}

// ---- the parts of the view ---------------------------------------------------------------

const pill = node("span", "td-pill"), name = node("strong", "td-run-name");
const subtitle = node("span", "td-run-subtitle");
const elapsed = node("span"), left = node("strong");
const bar = node("div", "td-bar-fill"), track = node("div", "td-bar", [bar]);
const percent = node("strong"), stepText = node("span"), epochText = node("span"), phase = node("span");
const sentence = node("p", "td-run-words"), panel = node("div", "td-run-panel");
const notices = node("div", "td-run-notices"), tiles = node("div", "td-tiles");
const samples = node("section", "td-card td-samples");
const logBox = node("div", "td-log"), [follow, followLabel] = labelled("checkbox", "Follow");
track.setAttribute("role", "progressbar");
track.setAttribute("aria-label", say("Progress"));
sentence.setAttribute("role", "status");
logBox.tabIndex = 0;
logBox.setAttribute("role", "region");
logBox.setAttribute("aria-label", say("Log"));
follow.checked = true;

function teach() {
  const steps = [
    ["Choose", "a data set, a base model and a method in the tabs."],
    ["Start", "with the button at the top right."],
    ["Watch here", "progress, loss, speed, memory and the log, each second. You may close the page: the run goes on."],
  ];
  return node("div", "td-teach", [
    node("h2", "", say("No run yet")),
    node("ol", "", steps.map(([head, rest]) => node("li", "", [node("b", "", say(head)), ` ${say(rest)}`]))),
  ]);
}

const empty = teach();
const live = node("div", "td-run-live", [
  node("div", "td-run-head", [
    node("div", "td-run-title", [pill, name, subtitle]), node("div", "td-run-times", [elapsed, left]),
  ]),
  track,
  node("div", "td-run-progress", [percent, stepText, epochText, phase]),
  sentence, panel, notices, tiles,
  node("div", "td-run-body", [
    chartCard,
    node("section", "td-card td-run-log", [
      node("div", "td-card-head", [node("h2", "", say("Log")), followLabel]), logBox,
    ]),
  ]),
  samples,
]);
const root = node("section", "td-run", [empty, live]);
element.replaceChildren(root);

// ---- drawing ---------------------------------------------------------------------------

let view = null, receivedAt = 0, offline = false;

// The server answers only changes, so the clock of an active run goes on here.
function drawTimes() {
  const since = ACTIVE.includes(view?.state) ? (Date.now() - receivedAt) / SECOND : 0;
  const spent = view?.elapsed_seconds, rest = view?.left_seconds;
  write(elapsed, spent === null || spent === undefined ? "" : say("{0} elapsed", duration(spent + since)));
  const known = rest !== null && rest !== undefined && !FINAL.includes(view.state);
  write(left, known ? say("{0} left", duration(rest - since)) : "");
}

function drawProgress() {
  const { step = 0, total_steps: total = 0, epoch, epochs, state } = view;
  const part = total ? Math.min(1, step / total) : 0;
  const waiting = ACTIVE.includes(state) && !step;
  bar.style.width = waiting ? "" : `${100 * part}%`;
  track.classList.toggle("td-bar-waiting", waiting);
  if (waiting) track.removeAttribute("aria-valuenow");
  else track.setAttribute("aria-valuenow", Math.round(100 * part));
  write(percent, total && !waiting ? `${(100 * part).toFixed(part < 1 ? 1 : 0)} %` : "");
  write(stepText, total && !waiting ? say("Step {0} of {1}", number(step), number(total)) : "");
  write(epochText, epochs && !waiting ? say("Epoch {0} of {1}", (epoch ?? 0).toFixed(2), number(epochs)) : "");
  write(phase, view.phase ?? "");
}

function note(kind, content) {
  return node("div", `td-note td-note-${kind}`, [node("div", "", content)]);
}

async function copy(source, button) {
  try {
    await navigator.clipboard.writeText(source.textContent);
    button.textContent = say("Copied");
  } catch {
    // Browsers refuse the clipboard to plain http pages of another host: leave it selected.
    getSelection().selectAllChildren(source);
    button.textContent = say("Selected: press Ctrl+C");
  }
  setTimeout(() => { button.textContent = say("Copy"); }, 2 * SECOND);
}

function drawDetail(text) {
  const source = node("pre", "", text), button = node("button", "td-button", say("Copy"));
  button.type = "button";
  source.tabIndex = 0;
  button.addEventListener("click", () => copy(source, button));
  return node("details", "td-detail", [
    node("summary", "", say("Technical details")), node("div", "", [button, source]),
  ]);
}

const inTrouble = () => view?.state === "failed" || view?.state === "interrupted";

function drawSentence() {
  const gone = say("The server does not answer; the run goes on. Trying again.");
  write(sentence, offline ? gone : inTrouble() ? "" : view?.words ?? "");
  sentence.classList.toggle("td-offline", offline);
}

function drawPanel() {
  const { state, words: sentenceText = "", remedy = "", detail = "" } = view;
  const content = JSON.stringify([state, sentenceText, remedy, detail]);
  if (panel.dataset.content === content) return;
  panel.dataset.content = content;
  const parts = [];
  if (inTrouble()) parts.push(node("b", "", sentenceText));
  if (remedy) parts.push(node("p", "", remedy));
  if (detail) parts.push(drawDetail(detail));
  const kind = state === "failed" ? "error" : state === "interrupted" ? "warning" : "info";
  panel.replaceChildren(...(parts.length ? [note(kind, parts)] : []));
}

function drawNotices() {
  const told = [["warning", view.warnings ?? []], ["info", view.notices ?? []]]
    .flatMap(([kind, texts]) => texts.map((text) => [kind, text]));
  if (told.map((pair) => pair[1]).join("\n") === [...notices.children].map((n) => n.textContent).join("\n")) return;
  notices.replaceChildren(...told.map(([kind, text]) => note(kind, [node("span", "", text)])));
}

function drawSamples() {
  const rows = view.samples ?? [], content = JSON.stringify(rows);
  samples.hidden = !rows.length;
  if (samples.dataset.content === content) return;
  samples.dataset.content = content;
  const cells = (tag, texts) => node("tr", "", texts.map((text) => node(tag, "", text)));
  samples.replaceChildren(
    node("h2", "", say("Answers at step {0}", rows[0]?.step ?? "")),
    node("div", "td-scroll", [node("table", "td-numbers", [
      cells("th", [say("Asked"), say("In the data"), say("Answer")]),
      ...rows.map((row) => cells("td", [row.prompt, row.answer, row.text])),
    ])]),
  );
}

function drawTile(tile) {
  let box = [...tiles.children].find((other) => other.dataset.key === tile.key);
  if (!box) {
    box = node("div", "td-tile", [
      node("span", "td-tile-label"), node("span", "td-tile-value", [node("b"), node("span")]),
      node("span", "td-tile-share", [node("i")]), node("span", "td-tile-note"),
    ]);
    box.dataset.key = tile.key;
    tiles.append(box);
  }
  const [label, value, share, remark] = box.children;
  write(label, tile.label);
  write(value.firstChild, tile.value);
  write(value.lastChild, tile.unit ?? "");
  share.hidden = !Number.isFinite(tile.share);
  share.firstChild.style.width = `${100 * Math.min(1, tile.share ?? 0)}%`;
  write(remark, tile.note ?? "");
}

function drawTiles() {
  const keys = (view.tiles ?? []).map((tile) => tile.key);
  for (const box of [...tiles.children]) if (!keys.includes(box.dataset.key)) box.remove();
  view.tiles?.forEach(drawTile);
}

// Drops lines that left at the top and adds the new ones, so that a selection survives.
function drawLog() {
  const next = view.log ?? [], shown = [...logBox.children].map((line) => line.textContent);
  let gone = 0;
  while (!shown.slice(gone).every((line, i) => line === next[i])) gone += 1;
  for (let i = 0; i < gone; i++) logBox.firstChild.remove();
  logBox.append(...next.slice(shown.length - gone).map((line) => node("div", "", line)));
  if (follow.checked) logBox.scrollTop = logBox.scrollHeight;
}
follow.addEventListener("change", () => { if (follow.checked) logBox.scrollTop = logBox.scrollHeight; });
// Only a person's scrolling counts: scroll events also follow from lines that wrap anew. The
// wait lets the browser move first.
const atEnd = () => logBox.scrollHeight - logBox.scrollTop - logBox.clientHeight < 8;
for (const gesture of ["wheel", "touchmove", "keydown", "pointerup"]) {
  const settle = () => setTimeout(() => { follow.checked = atEnd(); }, 150);
  logBox.addEventListener(gesture, settle, { passive: true });
}

// The browser tells the end of a run that was seen at work, if the person asked for it.
const [wantsNews, newsLabel] = labelled("checkbox", "Notify me");
newsLabel.title = say("The browser tells you when the run has ended, while this page is open.");
newsLabel.hidden = !("Notification" in window);
wantsNews.checked = !newsLabel.hidden && Notification.permission === "granted" && localStorage.getItem("td-news") === "yes";
wantsNews.addEventListener("change", async () => {
  if (wantsNews.checked && Notification.permission !== "granted") {
    wantsNews.checked = (await Notification.requestPermission()) === "granted";
  }
  localStorage.setItem("td-news", wantsNews.checked ? "yes" : "no");
});
live.querySelector(".td-run-times").append(newsLabel);
let seenAtWork = "";
function notify() {
  if (ACTIVE.includes(view.state)) seenAtWork = runId;
  else if (seenAtWork === runId && FINAL.includes(view.state)) {
    seenAtWork = "";
    if (wantsNews.checked) {
      const spoken = window.tunedeskTranslate ?? String;
      try {
        new Notification(spoken(`TuneDesk: ${say(STATES[view.state])}`), { body: `${view.name}\n${spoken(view.words)}` });
      } catch {
        // Browsers of phones have the class but refuse to make one; the page shows the end anyway.
      }
    }
  }
}

let told = "";
function tell(state, run_id) {
  if (told === `${state} ${run_id}`) return;
  told = `${state} ${run_id}`;
  trigger("state_changed", { state, run_id });
}

function draw() {
  const state = !runId ? "none" : view?.state ?? "loading";
  const losses = view?.series?.loss ?? [];
  const known = losses.findLast(([, value]) => Number.isFinite(value));
  Object.assign(root.dataset, {
    state, step: view?.step ?? "", total: view?.total_steps ?? "", loss: known?.[1] ?? "", revision,
  });
  empty.hidden = Boolean(runId);
  live.hidden = !runId;
  write(pill, say(STATES[state] ?? state));
  write(name, view?.name ?? "");
  name.title = runId;
  write(subtitle, view?.subtitle ?? "");
  drawSentence();
  if (!view) return;
  drawTimes();
  drawProgress();
  drawPanel();
  drawNotices();
  drawTiles();
  drawSamples();
  drawLog();
  drawSeries(view.series ?? {});
}

// ---- asking ----------------------------------------------------------------------------

let runId = "", revision = "", timer = 0, asking = 0, pace = SECOND;
const pageName = crypto.randomUUID?.() ?? String(Math.random());

async function ask(turn) {
  const late = new Promise((_, fail) => setTimeout(() => fail(new Error("late")), 10 * SECOND));
  let answer = null;
  try {
    answer = await Promise.race([server.read_run(runId, revision, pageName), late]);
  } catch {
    // Nothing to do but to ask again: after a restart the server knows the run from its folder.
  }
  if (turn !== asking) return;
  offline = !answer;
  if (answer?.view) {
    view = JSON.parse(answer.view);
    revision = answer.revision;
    receivedAt = Date.now();
  }
  pace = (answer?.wait ?? 1) * SECOND;
  draw();
  if (view) {
    // Of a run that isn't there any more, or can't be read, no button can do anything.
    tell(view.revision === "gone" ? "gone" : view.state, runId);
    notify();
  }
  askAgain(offline || FINAL.includes(view?.state) ? Math.max(pace, 3 * SECOND) : pace);
}

function askAgain(wait) {
  clearTimeout(timer);
  if (!element.isConnected || !runId) return;
  if (document.hidden && !(wantsNews.checked && seenAtWork)) return;
  timer = setTimeout(ask, document.hidden ? Math.max(wait, 5 * SECOND) : wait, asking);
}
document.addEventListener("visibilitychange", () => askAgain(0));

// A new turn makes answers that are still under way for the former run fall on deaf ears.
function switchRun() {
  const next = props.value?.run_id ?? "";
  if (next === runId && asking) return;
  asking += 1;
  clearTimeout(timer);
  runId = next;
  view = null;
  revision = "";
  logBox.replaceChildren();
  tiles.replaceChildren();
  zoomed = null;
  drawSeries({});
  draw();
  if (runId) ask(asking);
  else tell("none", "");
}
watch("value", switchRun);
switchRun();
