// The Runs tab: the line, the list of all runs, and what is chosen in it: one run's notes and
// actions, or several runs' curves and differences. Body of gr.HTML(js_on_load=...), put behind
// chart.js, whose helpers it uses. The server searches and sorts, and sends the rows that are shown.
// What changes something goes to Python by trigger().

const STEP = 100, SECOND = 1000, TYPING = 150, COLOURS = 8;
const WORK = ["starting", "running", "stopping"], EARLY = ["stopped", "failed", "interrupted"];
const COLUMNS = [
  ["name", "Run"], ["state", "State"], ["spark", "Loss"], ["loss", "Train"], ["after", "Held out"],
  ["step", "Steps"], ["seconds", "Took"], ["created", "Started"], ["size_bytes", "Disk"],
];

// What the server says: the rows that are shown, those in line, and how many there are of all.
let list = { asked: {}, runs: [], line: [], waiting: 0, held: [], tags: [], found: 0, total: 0, bytes: 0, unread: 0 };
let revision = "";
let chosen = new Map(), sortBy = "created", falling = true, shown = STEP, inTrash = false, turn = 0; // chosen: id to run

function duration(seconds) {
  const s = Math.round(seconds ?? 0);
  if (s < 60) return `${s} s`;
  return s < 3600 ? `${Math.floor(s / 60)} min` : `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
}
function size(bytes) {
  const [unit, by] = [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10]].find(([, by]) => bytes >= by) ?? ["KiB", 2 ** 10];
  return `${(bytes / by).toFixed(unit === "GiB" ? 1 : 0)} ${unit}`;
}
const when = (time) => (time ? new Date(time * 1000).toLocaleString([], { dateStyle: "short", timeStyle: "short" }) : "");
const tail = (path) => path.replace(/\/+$/, "").split(/[/:]/).at(-1);
const loss = (value) => (value === null || value === undefined ? "" : value.toFixed(3));

function button(text, onClick, className = "td-small", id = "") {
  const made = node("button", className, say(text));
  made.type = "button";
  if (id) made.id = id;
  made.addEventListener("click", onClick);
  return made;
}
const act = (what, more = {}) => trigger("act", { what, ...more });

// ---- the line --------------------------------------------------------------------------

const lineCard = node("section", "td-card td-line-card"), lineList = node("ol", "td-line-list");
const lineMore = node("p", "td-run-subtitle");
lineCard.append(node("h2", "", say("In line")), lineList, lineMore);

function lineItem(run, place, last) {
  const isHeld = list.held.includes(run.id), waits = run.state === "queued";
  const label = `${tail(run.model)} · LoRA r ${run.lora_r} · ${precise(run.learning_rate)}`;
  const name = node("button", "td-link", run.name);
  name.type = "button";
  name.title = run.id;
  name.addEventListener("click", () => trigger("watch", { run_id: run.id }));
  const item = node("li", "", [
    node("span", `td-state td-state-${isHeld ? "held" : run.state}`, say(isHeld ? "held" : run.state)), name,
    node("span", "td-run-subtitle", label),
  ]);
  const buttons = node("span", "td-line-actions");
  if (waits) {
    const up = button("↑", () => act("move", { run_id: run.id, by: -1 })), down = button("↓", () => act("move", { run_id: run.id, by: 1 }));
    up.setAttribute("aria-label", say("Move up: {0}", run.name));
    down.setAttribute("aria-label", say("Move down: {0}", run.name));
    up.disabled = place === 0;
    down.disabled = last;
    buttons.append(up, down, button(isHeld ? "Release" : "Hold", () => act("hold", { run_id: run.id, held: !isHeld })),
      button("Edit", () => trigger("edit", { run_id: run.id })),
      button("Cancel", () => act("stop", { run_id: run.id, at_once: true })));
  } else buttons.append(button("Stop and save", () => act("stop", { run_id: run.id, at_once: false })));
  item.append(buttons);
  return item;
}

function drawLine() {
  const working = list.line.filter((run) => WORK.includes(run.state)), line = list.line.filter((run) => !WORK.includes(run.state));
  lineCard.hidden = !list.line.length;
  lineList.replaceChildren(...working.map((run) => lineItem(run)), ...line.map((run, i) => lineItem(run, i, i === list.waiting - 1)));
  lineMore.hidden = list.waiting <= line.length;
  write(lineMore, say("{0} more wait", number(list.waiting - line.length)));
}

// ---- the list --------------------------------------------------------------------------

const search = node("input"), stateChoice = node("select"), tagChoice = node("select");
const [trashBox, trashLabel] = labelled("checkbox", "Trash");
const count = node("span", "td-run-subtitle"), table = node("table", ""), body = node("tbody"), headRow = node("tr");
const more = button("Show more", () => { shown += STEP; look(); }, "td-small", "runs-more");
const bulk = node("span", "td-line-actions"), said = node("p", "td-run-words");
search.type = "search";
search.placeholder = say("Search names, models, data, notes");
search.setAttribute("aria-label", say("Search runs"));
search.id = "runs-search";
stateChoice.setAttribute("aria-label", say("State"));
tagChoice.setAttribute("aria-label", say("Tag"));
said.setAttribute("role", "status");
said.id = "runs-said";
trashBox.id = "runs-trash";
table.append(node("thead", "", [headRow]), body);
for (const [value, text] of [["", "All states"], ["finished", "finished"], ["running", "running"], ["queued", "queued"], ["stopped", "stopped"], ["interrupted", "interrupted"], ["failed", "failed"]]) {
  const option = node("option", "", say(text));
  option.value = value;
  stateChoice.append(option);
}

function drawTags() {
  const { tags } = list, now = tagChoice.value;
  if (tags.join("\n") === tagChoice.dataset.tags) return;
  tagChoice.dataset.tags = tags.join("\n");
  tagChoice.replaceChildren(...["", ...tags].map((tag) => {
    const option = node("option", "", tag || say("All tags"));
    option.value = tag;
    return option;
  }));
  tagChoice.value = tags.includes(now) ? now : "";
  tagChoice.hidden = !tags.length;
}

function spark(values) {
  const known = values.filter(Number.isFinite);
  const picture = svg("svg", "td-spark", { width: 84, height: 22, viewBox: "0 0 84 22", "aria-hidden": "true" });
  if (known.length < 2) return picture;
  const low = Math.min(...known), span = Math.max(...known) - low || 1;
  let pen = "M";
  const drawn = values.map((value, i) => {
    if (!Number.isFinite(value)) { pen = "M"; return ""; }
    const point = `${pen}${(2 + (80 * i) / (values.length - 1)).toFixed(1)} ${(19 - (16 * (value - low)) / span).toFixed(1)}`;
    pen = "L";
    return point;
  }).join("");
  picture.append(svg("path", "", { d: drawn }));
  return picture;
}

function row(run) {
  const box = node("input"), line = node("tr", chosen.has(run.id) ? "td-chosen" : "");
  box.type = "checkbox";
  box.checked = chosen.has(run.id);
  box.setAttribute("aria-label", say("Choose {0}", run.name));
  const name = node("button", "td-link", run.name);
  name.type = "button";
  name.title = run.id;
  const heading = node("td", "td-name", [name, node("span", "td-name-model", tail(run.model)), ...run.tags.map((tag) => node("span", "td-tag", tag))]);
  if (run.note) heading.append(node("span", "td-note-line", run.note.split("\n")[0]));
  const flagged = run.has_notices && run.state === "finished";
  const state = node("span", `td-state td-state-${run.state}`, say(run.state) + (flagged ? " ⚠" : ""));
  state.title = run.words;
  const effect = run.after === null ? "" : `${loss(run.before)} → ${loss(run.after)}`;
  line.append(
    node("td", "", [box]), heading, node("td", "", [state]), node("td", "", [spark(run.spark)]),
    node("td", "td-num", loss(run.loss)), node("td", "td-num", effect),
    node("td", "td-num", run.total_steps ? `${run.step}/${run.total_steps}` : ""), node("td", "td-num", duration(run.seconds)),
    node("td", "td-num", when(run.created)), node("td", "td-num", size(run.size_bytes)),
  );
  line.dataset.id = run.id;
  box.addEventListener("change", () => choose1(run, true));
  line.addEventListener("click", (event) => { if (event.target !== box) choose1(run, event.ctrlKey || event.metaKey); });
  return line;
}

// One run, or, with a checkbox or Ctrl, one more or less.
function choose1(run, adds) {
  if (!adds) chosen = new Map(chosen.size === 1 && chosen.has(run.id) ? [] : [[run.id, run]]);
  else if (!chosen.delete(run.id)) chosen.set(run.id, run);
  drawTable();
  drawChosen();
}

function drawTable() {
  headRow.replaceChildren(node("th", ""), ...COLUMNS.map(([key, label]) => {
    const head = node("button", "", say(label) + (sortBy === key ? (falling ? " ↓" : " ↑") : ""));
    head.type = "button";
    head.addEventListener("click", () => {
      [sortBy, falling] = [key, sortBy === key ? !falling : !["name", "state"].includes(key)];
      drawTable();
      look();
    });
    const cell = node("th", ["name", "state", "spark"].includes(key) ? "" : "td-num", [head]);
    cell.setAttribute("aria-sort", sortBy !== key ? "none" : falling ? "descending" : "ascending");
    return cell;
  }));
  body.replaceChildren(...list.runs.map(row));
  more.hidden = list.found <= list.runs.length;
  const none = list.none && !list.unread;
  for (const part of [bar, scroll]) part.hidden = none;
  lesson.hidden = !none;
  empty.hidden = list.found > 0 || none;
  write(empty, inTrash ? say("The trash is empty.") : say("No run fits the search."));
  write(count, say("{0} of {1} runs, {2}", number(list.found), number(list.total), size(list.bytes))
    + (list.unread ? `, ${say("{0} are still being read", number(list.unread))}` : ""));
  root.dataset.count = list.found;
  root.dataset.unread = list.unread;
  drawBulk();
}

function drawBulk() {
  const ids = [...chosen.keys()];
  const sure = (text) => confirm(text);
  const parts = [];
  if (inTrash) {
    if (ids.length) parts.push(button("Restore", () => act("restore", { run_ids: ids }), "td-small", "runs-restore"));
    if (list.total) {
      parts.push(button(ids.length ? "Delete for good" : "Empty the trash", () => {
        if (sure(say("Delete {0} runs for good, with their adapters?", ids.length || list.total))) act("erase", { run_ids: ids });
      }, "td-small td-danger", "runs-erase"));
    }
  } else if (ids.length) parts.push(button(`Delete (${ids.length})`, () => act("delete", { run_ids: ids }), "td-small td-danger", "runs-delete"));
  bulk.replaceChildren(...parts);
}

// ---- what is chosen --------------------------------------------------------------------

const empty = node("p", "td-plot-empty"), panel = node("section", "td-card td-chosen-card");
const heading = node("h2"), actions = node("div", "td-line-actions"), facts = node("div", "td-chosen-facts");
const tagField = node("input"), noteField = node("textarea"), differences = node("div", "td-differences");
const aboutRun = node("div", "td-about"), words2 = node("p", "td-run-words");
const folder = node("p", "td-run-id");
tagField.setAttribute("aria-label", say("Tags, with commas between them"));
tagField.placeholder = say("Tags, with commas between them");
tagField.id = "runs-tags";
noteField.setAttribute("aria-label", say("Note"));
noteField.placeholder = say("Note: what you tried, what you saw");
noteField.rows = 2;
noteField.id = "runs-note";
aboutRun.append(tagField, noteField, button("Save tags and note", () => act("describe", {
  run_id: [...chosen.keys()][0], tags: tagField.value.split(","), note: noteField.value,
}), "td-small", "runs-describe"));
panel.append(node("div", "", [heading, folder]), words2, actions, aboutRun, facts, chartCard, differences);
offerCharts("loss", "eval_loss", ...SCORES, "learning_rate", "grad_norm");

function drawActions(run) {
  const one = { run_id: run.id };
  const parts = [
    button("Watch", () => trigger("watch", one), "td-small", "runs-watch"),
    button("Use its settings", () => trigger("use", { ...one, adapter: false }), "td-small", "runs-use"),
  ];
  if (run.has_adapter) parts.push(button("Continue from its adapter", () => trigger("use", { ...one, adapter: true }), "td-small", "runs-continue"));
  parts.push(button("Duplicate", () => act("duplicate", one), "td-small", "runs-duplicate"));
  if (EARLY.includes(run.state)) parts.push(button("Resume", () => act("resume", one), "td-small", "runs-resume"));
  parts.push(button("Open folder", () => act("open", one), "td-small", "runs-open"));
  actions.replaceChildren(...parts);
}

function drawDifferences(rows, ids) {
  const head = node("tr", "", [node("th", "", ""), ...ids.map((id, i) => node("th", "", [node("span", `td-key td-key-run${i % COLOURS}`, chosen.get(id)?.name ?? id)]))]);
  let group = "";
  const lines = rows.flatMap((row) => {
    const made = [];
    if (row.group !== group) {
      group = row.group;
      const title = node("th", "td-group", say(group));
      title.colSpan = ids.length + 1;
      made.push(node("tr", "", [title]));
    }
    made.push(node("tr", "", [node("th", "", row.name), ...row.values.map((value) => node("td", "", value))]));
    return made;
  });
  differences.replaceChildren(node("table", "", [node("thead", "", [head]), node("tbody", "", lines)]));
}

async function drawChosen() {
  const picked = [...chosen.values()].slice(0, COLOURS), ids = picked.map((run) => run.id), mine = ++turn;
  panel.hidden = !ids.length || inTrash;
  if (panel.hidden) return;
  const one = ids.length === 1 ? picked[0] : null;
  write(heading, one ? one.name : say("{0} runs compared", ids.length));
  write(folder, one ? one.id : "");
  write(words2, one ? one.words : "");
  for (const part of [actions, aboutRun, folder]) part.hidden = !one;
  if (one) {
    drawActions(one);
    if (aboutRun.dataset.id !== one.id) [tagField.value, noteField.value] = [one.tags.join(", "), one.note];
    aboutRun.dataset.id = one.id;
  }
  const key = `${ids.join("\n")} ${picked.map((run) => run.step).join()}`;
  if (panel.dataset.key === key) return;
  try {
    const curves = await server.read_curves(ids, "");
    const rows = ids.length > 1 ? await server.read_differences(ids, "") : [];
    if (mine !== turn) return;
    panel.dataset.key = key;
    drawOverlay(picked.map(({ id, name }, i) => ({ key: `run${i}`, label: name, series: curves[id] ?? {} })));
    differences.hidden = ids.length < 2;
    if (ids.length > 1) drawDifferences(rows, ids);
    root.dataset.compared = ids.length;
  } catch {
    // The server is away for a moment; the next look draws it.
  }
}

// ---- together --------------------------------------------------------------------------

const importPath = node("input");
importPath.placeholder = say("Path of a run's folder or zip file");
importPath.setAttribute("aria-label", say("Path of a run's folder or zip file"));
importPath.id = "runs-import-path";
const importLine = node("div", "td-import", [importPath, button("Import", () => act("import", { source: importPath.value }), "td-small", "runs-import")]);
table.id = "runs-table";
const bar = node("div", "td-runs-bar", [search, stateChoice, tagChoice, trashLabel, count, bulk]);
const scroll = node("div", "td-runs-scroll", [table]);
const lesson = node("div", "td-teach", [
  node("h2", "", say("No run yet")),
  node("ol", "", [
    ["Start", "one with the button at the top right. It is kept here with its settings, curves and adapter."],
    ["Choose", "one to note what you tried, to use its settings again or to go on from it; several to compare them."],
    ["Import", "a run from another machine, below, as a folder or a zip file."],
  ].map(([head, rest]) => node("li", "", [node("b", "", say(head)), ` ${say(rest)}`]))),
]);
const root = node("section", "td-runs", [
  said, lineCard,
  bar, scroll, lesson, empty, more, panel, importLine,
]);
element.replaceChildren(root);
panel.hidden = true;

search.addEventListener("input", () => {
  shown = STEP;
  clearTimeout(timer);
  timer = setTimeout(look, TYPING);
});
for (const field of [stateChoice, tagChoice]) field.addEventListener("change", () => { shown = STEP; look(); });
trashBox.addEventListener("change", () => {
  inTrash = trashBox.checked;
  chosen = new Map();
  shown = STEP;
  drawChosen();
  look();
});

const wanted = () => ({
  search: search.value, state: stateChoice.value, tag: tagChoice.value, sort: sortBy === "spark" ? "loss" : sortBy, falling,
  trash: inTrash, count: shown, chosen: [...chosen.keys()],
});

function take(answer) {
  revision = answer.revision;
  list = JSON.parse(answer.list);
  if (list.asked.trash === inTrash) {
    const known = new Map(list.chosen.map((run) => [run.id, run]));
    for (const id of list.asked.chosen) {
      if (!known.has(id)) chosen.delete(id); // it was deleted, or moved
      else if (chosen.has(id)) chosen.set(id, known.get(id));
    }
  }
  drawTags();
  drawLine();
  drawTable();
  drawChosen();
  root.dataset.revision = revision;
}

let timer = 0, busy = false, again = false;
async function look() {
  clearTimeout(timer);
  if (!element.isConnected) return;
  again = busy; // what was asked for has changed since
  if (busy) return;
  busy = true;
  try {
    do {
      again = false;
      if (document.hidden || element.offsetParent === null) break;
      const answer = await server.list_runs(revision, wanted());
      if (answer.list) take(answer);
    } while (again);
  } catch {
    // Asked again in a moment: a restarted server knows all runs from their folders.
  }
  busy = false;
  timer = setTimeout(look, list.unread ? 100 : 2 * SECOND);
}
document.addEventListener("visibilitychange", look);
new IntersectionObserver((seen) => seen.at(-1).isIntersecting && look()).observe(element); // the tab was opened
watch("value", () => {
  write(said, props.value?.said ?? "");
  look();
});
look();
