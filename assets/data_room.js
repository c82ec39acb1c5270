// The data room: opens the data set that the settings name, walks its rows, shows what an audit
// found. Last of the scripts of gr.HTML(js_on_load=...); it asks read-only server functions, so
// that no row waits for an event of the page.

const POLL = 400, RELAXED_POLL = 1200, PATIENCE = 60_000, FIRST_SETTINGS = 10_000;
const VIEWS = { tokens: "Tokens", text: "As text", dialogue: "Dialogue", raw: "Raw row" };

const status = node("div", "td-room-status");
const title = node("h2", "td-tokens-title"), mark = node("span", "td-row-mark"), note = node("p", "td-tokens-note");
const partSwitch = node("div", "td-switch"), viewSwitch = node("div", "td-switch td-views");
const goTo = node("input", "td-go-to"), search = node("input", "td-search"), trail = node("p", "td-trail");
const body = node("div", "td-row-body"), notes = node("p", "td-tokens-note");
const card = node("section", "td-card td-room-card");
status.id = "data-status";
status.setAttribute("role", "status");
trail.setAttribute("role", "status");
Object.assign(goTo, { id: "row-number", inputMode: "numeric", value: "1", ariaLabel: say("Row number") });
Object.assign(search, { id: "row-search", type: "search", placeholder: say("Search in the rows"), ariaLabel: say("Search in the rows") });

let settings = null, key = "", stamp = 0, turn = 0, timer = 0;
let look = null, row = null, part = "train", index = 0, shownView = "tokens";
let onTrail = null, asked = 0;

// ---- asking ----------------------------------------------------------------------------

async function call(name, ...what) {
  const tooLate = new Promise((resolve) => setTimeout(resolve, PATIENCE, null));
  try {
    return await Promise.race([server[name](...what), tooLate]);
  } catch {
    return null; // the server is busy or gone; whoever asked asks again
  }
}

// A new turn makes answers that are still under way for former settings fall on deaf ears.
function onSettings() {
  const next = props.value?.settings;
  if (!next) return;
  const nextKey = JSON.stringify(next), nextStamp = props.value.stamp ?? 0;
  if (nextKey === key && nextStamp === stamp && look?.state !== "failed") return;
  if (next.dataset !== settings?.dataset) [part, index] = ["train", 0];
  [settings, key, stamp, onTrail] = [next, nextKey, nextStamp, null];
  turn += 1;
  look = null;
  clearTimeout(timer);
  Object.assign(root.dataset, { state: "opening", finished: false });
  drawTrail("");
  askLook(turn);
}

async function askLook(mine) {
  if (!element.isConnected) { // a page that is drawn anew takes it out for a moment
    timer = setTimeout(askLook, RELAXED_POLL, mine);
    return;
  }
  const answer = await call("look", settings);
  if (mine !== turn) return;
  if (answer) {
    const first = answer.state === "open" && look?.state !== "open";
    look = answer;
    if (first) {
      askRow();
      trigger("opened", { columns: answer.columns });
    }
    draw();
  }
  const ended = look?.state === "failed" || look?.finished;
  if (ended) return;
  timer = setTimeout(askLook, document.hidden || look?.state === "open" ? RELAXED_POLL : POLL, mine);
}

async function askRow() {
  const mine = turn, mark = (asked += 1);
  const answer = await call("read_row", settings, part, index);
  if (mine !== turn || mark !== asked) return;
  if (answer?.problem) {
    drawProblem(answer);
    return;
  }
  if (!answer) {
    setTimeout(() => mine === turn && mark === asked && askRow(), RELAXED_POLL);
    return;
  }
  row = answer;
  index = answer.index;
  drawRow();
}

function show(nextPart, nextIndex) {
  [part, index] = [nextPart, Math.max(0, nextIndex)];
  askRow();
}

function walk(step) {
  if (!onTrail) {
    show(part, index + step);
    return;
  }
  const { rows } = onTrail.finding;
  onTrail.at = (onTrail.at + step + rows.length) % rows.length;
  drawTrail();
  show(...rows[onTrail.at]);
}

// ---- finding rows ----------------------------------------------------------------------

const ranks = { longest: 0 };

async function find(what, missing) {
  const mine = turn, text = search.value.trim();
  if (what === "text" && !text) return;
  onTrail = null;
  drawTrail(say("Searching…"));
  let start = what === "longest" ? ranks.longest : index + (row ? 1 : 0), wrapped = false, answer;
  do {
    answer = await call("find_row", settings, part, what, start, text);
    if (mine !== turn || !answer) return;
    if (answer.index === null && !wrapped && answer.next >= total()) [wrapped, start] = [true, 0];
    else start = answer.next;
  } while (answer.index === null && start && start < total());
  if (answer.index === null && !wrapped && what !== "longest") {
    answer = await call("find_row", settings, part, what, 0, text);
    if (mine !== turn || !answer) return;
  }
  if (what === "longest") ranks.longest = answer.next;
  if (answer.index === null && what !== "text" && !look?.finished) { // rows are still being looked at
    setTimeout(() => mine === turn && !onTrail && find(what, missing), RELAXED_POLL);
    return;
  }
  if (answer.index === null) {
    drawTrail(missing);
    return;
  }
  drawTrail(what === "longest" ? say("The longest row, number {0}.", answer.next) : "");
  show(part, answer.index);
}

const total = () => look?.rows?.[part] ?? 0;

function followFinding(finding) {
  onTrail = { finding, at: 0 };
  drawTrail();
  show(...finding.rows[0]);
  card.scrollIntoView({ block: "nearest" });
}

function drawTrail(words) {
  if (onTrail) {
    const { finding, at } = onTrail;
    trail.replaceChildren(node("b", "", say(finding.check)),
      document.createTextNode(` ${say("row {0} of {1}", at + 1, finding.rows.length)} `),
      button(say("Back to all rows"), () => { onTrail = null; drawTrail(""); }));
  } else trail.textContent = words ?? "";
  trail.hidden = !trail.textContent;
}

// ---- drawing ---------------------------------------------------------------------------

function draw() {
  root.dataset.state = look.state;
  root.dataset.finished = Boolean(look.finished);
  if (look.state === "failed") {
    if (look.columns?.length) trigger("opened", { columns: look.columns });
    drawProblem(look);
    return;
  }
  if (look.state === "opening") {
    const share = look.share ? `, ${percent(look.share, 1)}` : "…";
    status.replaceChildren(node("p", "td-line", `${say(look.phase || "Opening the data set")}${share}`));
    return;
  }
  const line = say("Layout '{0}', from the columns {1}.", look.layout, look.columns.join(", "));
  status.replaceChildren(node("p", "td-line", line));
  notes.textContent = look.notes.map((words) => `${words}.`).join(" ");
  notes.hidden = !look.notes.length;
  status.append(notes);
  drawAudit(look.findings, look.share, look.finished, followFinding, (fix) => trigger("fix", { settings: fix }));
  drawFacts(look.facts, look.groups);
  drawLengths(look.histogram);
  countCard.hidden = !look.histogram;
  changedButton.hidden = !look.notes.some((words) => /copies|paraphrases/.test(words));
  for (const each of partSwitch.children) each.disabled = !look.rows[each.dataset.part];
}

function drawProblem({ problem, remedy }) {
  const lines = `${problem}\n${remedy}`.trim().split("\n");
  const words = node("div", "", lines.flatMap((text, i) => (i ? [node("br"), text] : [text])));
  status.replaceChildren(node("div", "td-note td-note-error", [words]));
  row = null;
  drawAudit([], 0, true, null, null);
  drawFacts([], []);
  drawLengths(null);
  countCard.hidden = true;
  drawRow();
}

function drawRow() {
  title.textContent = row?.title ?? say("No row yet");
  const marks = [row?.origin, row?.change && say("changed copy: {0}", row.change)].filter(Boolean);
  mark.textContent = marks.join(" · ");
  mark.hidden = !marks.length;
  note.textContent = row?.note ?? "";
  note.hidden = !row?.note;
  if (row) goTo.value = row.index + 1;
  for (const each of partSwitch.children) each.setAttribute("aria-pressed", each.dataset.part === part);
  for (const each of viewSwitch.children) each.setAttribute("aria-pressed", each.dataset.view === shownView);
  drawRowTokens(row);
  const views = { tokens: [tokenView], text: drawText, dialogue: drawDialogue, raw: drawRaw };
  const view = views[shownView];
  body.replaceChildren(...(typeof view === "function" ? (row ? view() : []) : view));
  card.dataset.index = row ? row.index : "";
  card.dataset.part = part;
}

function pane(heading, text, className = "") {
  const made = node("div", `td-pane ${className}`, [node("h3", "", heading), node("pre", "", text)]);
  made.lastChild.tabIndex = 0;
  return made;
}

function drawText() {
  const taught = row.taught.length ? row.taught.join("\n⋯\n") : say("Nothing.");
  return [pane(say("The model reads"), row.seen), pane(say("It learns to write"), taught, "td-pane-learned")];
}

function drawDialogue() {
  const turns = (messages) => messages.map(({ role, content }) =>
    node("div", `td-turn td-turn-${role}`, [node("b", "", say(role)), node("pre", "", content)]));
  if (!row.before.length) return turns(row.messages);
  return row.messages.map(({ role, content }, i) => {
    const before = row.before[i]?.content ?? "";
    const made = node("div", `td-turn td-turn-${role}`, [node("b", "", say(role))]);
    if (before === content) made.append(node("pre", "", content));
    else made.append(differing(before, content, "td-before", say("before")), differing(content, before, "td-after", say("after")));
    return made;
  });
}

// The text with those words marked that the other doesn't have.
function differing(text, other, className, name) {
  const split = (all) => all.match(/[\u4e00-\u9fff]|[^\s\u4e00-\u9fff]+|\s+/gu) ?? [];
  const rest = new Map();
  for (const word of split(other)) rest.set(word, (rest.get(word) ?? 0) + 1);
  const parts = split(text).map((word) => {
    const left = rest.get(word) ?? 0;
    rest.set(word, left - 1);
    return left > 0 || !word.trim() ? word : node("mark", "", word);
  });
  const made = node("pre", className, parts);
  made.prepend(node("small", "", name));
  return made;
}

function drawRaw() {
  return [node("dl", "td-raw-row", Object.entries(row.raw).flatMap(([column, value]) =>
    [node("dt", "", column), node("dd", "", value)]))];
}

// ---- put together ----------------------------------------------------------------------

for (const [value, text] of [["train", "Training rows"], ["eval", "Held-out rows"]]) {
  const each = button(say(text), () => { onTrail = null; drawTrail(""); show(value, 0); }, "");
  each.dataset.part = value;
  partSwitch.append(each);
}
for (const [value, text] of Object.entries(VIEWS)) {
  const each = button(say(text), () => { shownView = value; drawRow(); }, "");
  each.dataset.view = value;
  viewSwitch.append(each);
}
const back = button(say("Previous"), () => walk(-1)), ahead = button(say("Next"), () => walk(1));
back.id = "row-back";
ahead.id = "row-next";
const longest = button(say("Longest"), () => find("longest", say("There is no row.")));
const loses = button(say("Loses its answer"), () => find("loses", say("No row loses what should be learned.")));
const changedButton = button(say("Changed copy"), () => find("changed", say("No changed copy.")));
longest.id = "show-longest";
loses.id = "show-loses";
changedButton.id = "show-changed";
changedButton.hidden = true;
goTo.addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  const wanted = Number.parseInt(goTo.value.replace(/\D/g, ""), 10);
  if (Number.isFinite(wanted)) show(part, wanted - 1);
  else goTo.value = index + 1;
});
search.addEventListener("keydown", (event) => {
  if (event.key === "Enter") find("text", say("No row holds '{0}'.", search.value.trim()));
});
const searchButton = button(say("Find"), () => find("text", say("No row holds '{0}'.", search.value.trim())));

const walkBar = node("div", "td-walk", [partSwitch, node("div", "td-steps", [back, goTo, ahead])]);
const findBar = node("div", "td-walk", [node("div", "td-steps td-find", [search, searchButton]),
  node("div", "td-steps", [node("span", "td-muted", say("Show")), longest, loses, changedButton])]);
card.append(walkBar, findBar, trail, node("div", "td-card-head", [title, mark, viewSwitch]), note, body);
const countCard = node("section", "td-card td-count-card", [lengthView, groupView]);
const root = node("div", "td-room", [status, auditView, card, factView, countCard]);
root.dataset.state = "opening";
element.replaceChildren(root);
countCard.hidden = true;
status.append(node("p", "td-line", say("Opening the data set…")));
drawTrail("");
drawRow();
watch("value", onSettings);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && look?.state === "open" && !look.finished) {
    clearTimeout(timer);
    askLook(turn);
  }
});
onSettings();
// The settings come when the page has loaded; where that answer was lost they are asked for.
const hungry = setInterval(() => settings ? clearInterval(hungry) : trigger("wanting"), FIRST_SETTINGS);
