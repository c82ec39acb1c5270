// The Runs tab: the line, the list of all runs, and what is chosen in it: one run's notes and
// actions, or several runs' curves and differences. Body of gr.HTML(js_on_load=...), put behind
// chart.js, whose helpers it uses. What changes something goes to Python by trigger().

const STEP = 200, SECOND = 1000, COLOURS = 8;
const WORK = ["starting", "running", "stopping"], EARLY = ["stopped", "failed", "interrupted"];
const COLUMNS = [
  ["id", "Run"], ["state", "State"], ["spark", "Loss"], ["loss", "Train"], ["after", "Held out"],
  ["step", "Steps"], ["seconds", "Took"], ["created", "Started"], ["size_bytes", "Disk"],
];

let runs = [], trash = [], waiting = [], held = [], unread = 0, revision = "";
let chosen = new Set(), sortBy = "created", falling = true, shown = STEP, inTrash = false, turn = 0;

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
const find = (id) => runs.find((run) => run.id === id);
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
lineCard.append(node("h2", "", say("In line")), lineList);

function lineItem(run, place, last) {
  const isHeld = held.includes(run.id), waits = run.state === "queued";
  const label = [run.id, ` · LoRA r ${run.lora_r} · ${precise(run.learning_rate)}`];
  const name = node("button", "td-link", label[0]);
  name.type = "button";
  name.addEventListener("click", () => trigger("watch", { run_id: run.id }));
  const item = node("li", "", [
    node("span", `td-state td-state-${isHeld ? "held" : run.state}`, say(isHeld ? "held" : run.state)), name,
    node("span", "td-run-subtitle", label[1]),
  ]);
  const buttons = node("span", "td-line-actions");
  if (waits) {
    const up = button("↑", () => act("move", { run_id: run.id, by: -1 })), down = button("↓", () => act("move", { run_id: run.id, by: 1 }));
    up.setAttribute("aria-label", say("Move up: {0}", run.id));
    down.setAttribute("aria-label", say("Move down: {0}", run.id));
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
  const working = runs.filter((run) => WORK.includes(run.state)), line = waiting.map(find).filter(Boolean);
  lineCard.hidden = !working.length && !line.length;
  lineList.replaceChildren(...working.map((run) => lineItem(run)), ...line.map((run, i) => lineItem(run, i, i === line.length - 1)));
}

// ---- the list --------------------------------------------------------------------------

const search = node("input"), stateChoice = node("select"), tagChoice = node("select");
const [trashBox, trashLabel] = labelled("checkbox", "Trash");
const count = node("span", "td-run-subtitle"), table = node("table", ""), body = node("tbody"), headRow = node("tr");
const more = button("Show more", () => { shown += STEP; drawTable(); });
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
  const tags = [...new Set(runs.flatMap((run) => run.tags))].sort(), now = tagChoice.value;
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

function filtered() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  const kept = (inTrash ? trash : runs).filter((run) =>
    (!stateChoice.value || run.state === stateChoice.value || (stateChoice.value === "running" && WORK.includes(run.state)))
    && (!tagChoice.value || run.tags.includes(tagChoice.value))
    && words.every((word) => `${run.id} ${run.model} ${run.data} ${run.note} ${run.tags.join(" ")}`.toLowerCase().includes(word)));
  const by = (run) => (sortBy === "spark" ? run.loss : run[sortBy]);
  return kept.sort((a, b) => {
    const [x, y] = [by(a), by(b)];
    if (x === y || (x ?? null) === (y ?? null)) return 0;
    if ((x ?? null) === null || (y ?? null) === null) return (x ?? null) === null ? 1 : -1; // unknown ones last
    return (x < y ? -1 : 1) * (falling ? -1 : 1);
  });
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
  box.setAttribute("aria-label", say("Choose {0}", run.id));
  const name = node("button", "td-link", run.id);
  name.type = "button";
  const heading = node("td", "td-name", [name, ...run.tags.map((tag) => node("span", "td-tag", tag))]);
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
  box.addEventListener("change", () => choose1(run.id, true));
  line.addEventListener("click", (event) => { if (event.target !== box) choose1(run.id, event.ctrlKey || event.metaKey); });
  return line;
}

// One run, or, with a checkbox or Ctrl, one more or less.
function choose1(id, adds) {
  if (!adds) chosen = new Set(chosen.size === 1 && chosen.has(id) ? [] : [id]);
  else if (!chosen.delete(id)) chosen.add(id);
  drawTable();
  drawChosen();
}

function drawTable() {
  const kept = filtered();
  headRow.replaceChildren(node("th", ""), ...COLUMNS.map(([key, label]) => {
    const head = node("button", "", say(label) + (sortBy === key ? (falling ? " ↓" : " ↑") : ""));
    head.type = "button";
    head.addEventListener("click", () => {
      [sortBy, falling] = [key, sortBy === key ? !falling : !["id", "state"].includes(key)];
      drawTable();
    });
    const cell = node("th", "", [head]);
    cell.setAttribute("aria-sort", sortBy !== key ? "none" : falling ? "descending" : "ascending");
    return cell;
  }));
  body.replaceChildren(...kept.slice(0, shown).map(row));
  more.hidden = kept.length <= shown;
  empty.hidden = kept.length > 0;
  write(empty, inTrash ? say("The trash is empty.") : runs.length ? say("No run fits the search.") : say("No run yet. Start one with the button at the top right; it is kept here."));
  const bytes = kept.reduce((sum, run) => sum + run.size_bytes, 0);
  write(count, say("{0} of {1} runs, {2}", number(kept.length), number((inTrash ? trash : runs).length), size(bytes))
    + (unread ? `, ${say("{0} are still being read", number(unread))}` : ""));
  root.dataset.count = kept.length;
  root.dataset.unread = unread;
  drawBulk();
}

function drawBulk() {
  const ids = [...chosen];
  const sure = (text) => confirm(text);
  const parts = [];
  if (inTrash) {
    if (ids.length) parts.push(button("Restore", () => act("restore", { run_ids: ids }), "td-small", "runs-restore"));
    if (trash.length) {
      parts.push(button(ids.length ? "Delete for good" : "Empty the trash", () => {
        if (sure(say("Delete {0} runs for good, with their adapters?", ids.length || trash.length))) act("erase", { run_ids: ids });
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
tagField.setAttribute("aria-label", say("Tags, with commas between them"));
tagField.placeholder = say("Tags, with commas between them");
tagField.id = "runs-tags";
noteField.setAttribute("aria-label", say("Note"));
noteField.placeholder = say("Note: what you tried, what you saw");
noteField.rows = 2;
noteField.id = "runs-note";
aboutRun.append(tagField, noteField, button("Save tags and note", () => act("describe", {
  run_id: [...chosen][0], tags: tagField.value.split(","), note: noteField.value,
}), "td-small", "runs-describe"));
panel.append(heading, words2, actions, aboutRun, facts, chartCard, differences);
offerCharts("loss", "eval_loss", "learning_rate", "grad_norm");

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
  const head = node("tr", "", [node("th", "", ""), ...ids.map((id, i) => node("th", "", [node("span", `td-key td-key-run${i % COLOURS}`, id)]))]);
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
  const ids = [...chosen].filter((id) => find(id)).slice(0, COLOURS), mine = ++turn;
  panel.hidden = !ids.length || inTrash;
  if (panel.hidden) return;
  const one = ids.length === 1 ? find(ids[0]) : null;
  write(heading, one ? one.id : say("{0} runs compared", ids.length));
  write(words2, one ? one.words : "");
  for (const part of [actions, aboutRun]) part.hidden = !one;
  if (one) {
    drawActions(one);
    if (aboutRun.dataset.id !== one.id) [tagField.value, noteField.value] = [one.tags.join(", "), one.note];
    aboutRun.dataset.id = one.id;
  }
  const key = `${ids.join("\n")} ${ids.map((id) => find(id).step).join()}`;
  if (panel.dataset.key === key) return;
  try {
    const curves = await server.read_curves(ids, "");
    const rows = ids.length > 1 ? await server.read_differences(ids, "") : [];
    if (mine !== turn) return;
    panel.dataset.key = key;
    drawOverlay(ids.map((id, i) => ({ key: `run${i}`, label: id, series: curves[id] ?? {} })));
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
const root = node("section", "td-runs", [
  said, lineCard,
  node("div", "td-runs-bar", [search, stateChoice, tagChoice, trashLabel, count, bulk]),
  node("div", "td-runs-scroll", [table]), empty, more, panel, importLine,
]);
element.replaceChildren(root);
panel.hidden = true;

for (const [field, event] of [[search, "input"], [stateChoice, "change"], [tagChoice, "change"]]) {
  field.addEventListener(event, () => { shown = STEP; drawTable(); });
}
trashBox.addEventListener("change", () => {
  inTrash = trashBox.checked;
  chosen = new Set();
  drawTable();
  drawChosen();
});

let timer = 0, busy = false;
async function look() {
  clearTimeout(timer);
  if (!element.isConnected) return;
  const visible = !document.hidden && element.offsetParent !== null;
  if (visible && !busy) {
    busy = true;
    try {
      const answer = await server.list_runs(revision, "");
      if (answer.runs) {
        ({ runs, trash, waiting, held, unread, revision } = answer);
        chosen = new Set([...chosen].filter((id) => [...runs, ...trash].some((run) => run.id === id)));
        drawTags();
        drawLine();
        drawTable();
        drawChosen();
        root.dataset.revision = revision;
      }
    } catch {
      // Asked again in a moment: a restarted server knows all runs from their folders.
    }
    busy = false;
  }
  timer = setTimeout(look, unread ? 300 : 2 * SECOND);
}
document.addEventListener("visibilitychange", look);
new IntersectionObserver((seen) => seen.at(-1).isIntersecting && look()).observe(element); // the tab was opened
watch("value", () => {
  write(said, props.value?.said ?? "");
  look();
});
look();
