// The view of evaluations: how far the one at work is, and the numbers and rows of a chosen one.
// Body of gr.HTML(js_on_load=...), behind nodes.js. The work goes on without this page; it asks each second while
// something is at work. Data reaches the page through textContent only.

const SECOND = 1000, MOST_SHOWN = 50;

const note = (level, text) => node("div", `td-note td-note-${level}`, [node("div", "", text)]);

// ---- the work --------------------------------------------------------------------------

const bar = node("div", "td-bar-fill"), track = node("div", "td-bar", [bar]);
const phase = node("div", "td-run-progress");
const work = node("section", "td-eval-work", [track, phase]);
const trouble = node("div"), results = node("div", "td-eval");
const root = node("section", "td-eval-root", [work, trouble, results]);
track.setAttribute("role", "progressbar");
track.setAttribute("aria-label", "Progress of the evaluation");
phase.setAttribute("role", "status");
element.replaceChildren(root);

function drawWork(progress) {
  const working = progress.state === "working";
  work.hidden = !working;
  root.dataset.state = progress.state;
  const share = progress.share;
  const known = share !== null && share !== undefined;
  track.classList.toggle("td-bar-waiting", working && !known);
  bar.style.width = known ? `${100 * share}%` : "";
  if (known) track.setAttribute("aria-valuenow", Math.round(100 * share));
  else track.removeAttribute("aria-valuenow");
  phase.textContent = working
    ? `${progress.phase}${known ? `, ${Math.round(100 * share)} %` : "…"}` : "";
}

function drawTrouble(progress, lost) {
  const told = progress.state === "failed" ? note("error", `${progress.problem} ${progress.remedy}`)
    : progress.state === "stopped" ? note("info", "Stopped. Nothing of it was kept.")
      : lost ? note("warning", "The evaluation ended: a run took its memory, or it was ended from outside. Evaluate again.")
        : null;
  trouble.replaceChildren(...(told ? [told] : []));
}

function teach() {
  const steps = [
    ["Choose", "one or more runs that have finished. Their base model is judged beside them."],
    ["Evaluate", "asks all of them the same held-out rows, which none of them has learned."],
    ["Read", "numbers with the interval in which they lie in 95 of 100 cases, whether “better” is more than chance, what was forgotten, and the rows behind the numbers."],
  ];
  return node("div", "td-teach", [
    node("h2", "", "Was it worth it?"),
    node("ol", "", steps.map(([head, rest]) => node("li", "", [node("b", "", head), ` ${rest}`]))),
  ]);
}

// ---- numbers ---------------------------------------------------------------------------

const VERDICTS = { better: "better", worse: "worse", "no clear difference": "no clear difference" };

function drawCell(cell) {
  const parts = [node("b", "", cell.value), node("small", "", cell.range)];
  if (cell.verdict) {
    const kind = cell.verdict === "better" ? "good" : cell.verdict === "worse" ? "bad" : "same";
    const pill = node("span", `td-verdict td-verdict-${kind}`, VERDICTS[cell.verdict]);
    pill.title = cell.p;
    parts.push(pill);
  }
  return node("td", "", parts);
}

function drawTable(table, models) {
  const head = node("tr", "", [node("th", "", ""), ...models.map((title) => node("th", "", title))]);
  const lines = table.lines.map((line) => {
    const name = node("th", "", [node("span", "", [line.label, ` ${line.better}`]), node("small", "", line.counted)]);
    name.scope = "row";
    name.firstChild.dataset.key = line.key;
    return node("tr", "", [name, ...line.cells.map(drawCell)]);
  });
  return node("section", "td-card", [
    node("h2", "", table.title), node("p", "td-line", table.help),
    scrolled(node("table", "td-numbers", [node("thead", "", [head]), node("tbody", "", lines)])),
  ]);
}

function scrolled(content) {
  const box = node("div", "td-scroll", [content]);
  box.tabIndex = 0;
  box.setAttribute("role", "region");
  box.setAttribute("aria-label", "Table");
  return box;
}

function drawConfusion(matrix, labels, title) {
  const most = Math.max(1, ...matrix.flat());
  const head = node("tr", "", [node("th", "", "data ↓ model →"), ...labels.map((label) => node("th", "", [own(label)]))]);
  const lines = matrix.map((counts, truth) => {
    const name = node("th", "", [own(labels[truth])]);
    name.scope = "row";
    return node("tr", "", [name, ...counts.map((count, said) => {
      const cell = node("td", truth === said ? "td-hit" : "td-miss", String(count));
      cell.style.setProperty("--td-share", `${Math.round(count ? 12 + 68 * count / most : 0)}%`);
      return cell;
    })]);
  });
  return node("div", "", [
    node("h3", "", title),
    scrolled(node("table", "td-confusion", [node("thead", "", [head]), node("tbody", "", lines)])),
  ]);
}

function drawGroups(groups, models) {
  return node("section", "td-card", [
    node("h2", "", "Groups of rows"),
    node("p", "td-line", "Demographic parity: the largest gap between groups in how often the first label is given. Equalised odds: the same among rows with the same right label. 0 % is even."),
    ...groups.map((each, place) => node("div", "", [
      node("h3", "", models[place]),
      node("p", "td-line", `Demographic parity ${each.parity}, equalised odds ${each.odds}. ` + each.groups.map((g) => `${g.name}: ${g.accuracy} right, first label ${g.rate}`).join("; ")),
    ])),
  ]);
}

function drawStages(stages) {
  const cells = (tag, texts) => texts.map((text) => node(tag, "", text));
  const lines = [...stages.lines, { name: "Forgotten since", cells: stages.forgotten }];
  return node("section", "td-card", [
    node("h2", "", "What each stage still knows"),
    node("p", "td-line", "Loss of each stage's model on the held-out rows of every stage. The last line says how much a stage's loss rose from the model that had just learned it to the last one; near 0 is good. Against forgetting: mix rows of earlier stages in, or use a smaller rank or learning rate."),
    scrolled(node("table", "td-numbers", [
      node("thead", "", [node("tr", "", cells("th", ["After", ...stages.columns]))]),
      node("tbody", "", lines.map((line) => node("tr", "", [node("th", "", line.name), ...cells("td", line.cells)]))),
    ])),
  ]);
}

function drawPairs(pairs, models) {
  const details = node("details", "td-detail td-pairs", [node("summary", "", "Pairs whose answers differ most")]);
  for (const pair of pairs) {
    details.append(node("div", "td-pair", [
      node("small", "", pair.kind), node("span", "", pair.first), node("span", "", pair.second),
      node("small", "", models.map((title, place) => `${title} ${pair.shifts[place]}`).join(" · ")),
    ]));
  }
  return details;
}

// ---- rows ------------------------------------------------------------------------------

const first = (row) => row.by[0], last = (row) => row.by[row.by.length - 1];
const FILTERS = {
  "Tuning helped most": { sort: (a, b) => b.gain - a.gain },
  "Tuning hurt most": { sort: (a, b) => a.gain - b.gain },
  "Wrong after, right before": { keep: (row) => first(row).right && !last(row).right },
  "Right after, wrong before": { keep: (row) => !first(row).right && last(row).right },
  "Wrong for all": { keep: (row) => row.by.every((by) => !by.right) },
  "All rows": {},
};

function drawAnswer(by, title) {
  const said = by.text ?? by.label;
  const kind = !by.judged ? "" : by.right ? " td-right" : " td-wrong";
  return node("div", `td-eval-answer${kind}`, [
    node("small", "", [title, by.judged ? node("span", "", by.right ? "answered right" : "answered wrong") : null]),
    said ? node("div", "td-eval-said", said) : null,
    by.label && by.text !== undefined && by.text !== null ? node("small", "td-likeliest", ["likeliest label:", own(by.label)]) : null,
    node("small", "", by.facts),
  ]);
}

function drawRow(row, models) {
  const by = node("div", "td-eval-by", row.by.map((each, place) => drawAnswer(each, models[place])));
  return node("article", "td-eval-row", [
    node("div", "td-eval-prompt", [node("small", "", `Row ${row.number}${row.group ? ` · ${row.group}` : ""}`), node("p", "", row.prompt)]),
    node("p", "td-eval-wanted", [node("small", "", "In the data"), node("span", "", row.answer)]), by,
  ]);
}

function drawRows(view) {
  const choice = node("select"), search = node("input"), list = node("div", "td-eval-rows");
  const counted = node("p", "td-line");
  const names = Object.keys(FILTERS).filter((name) => !FILTERS[name].keep || view.rows.some((row) => last(row).judged));
  choice.append(...names.map((name) => node("option", "", name)));
  choice.setAttribute("aria-label", "Which rows");
  search.type = "search";
  search.placeholder = "Search in rows and answers";
  search.setAttribute("aria-label", "Search in rows and answers");
  counted.setAttribute("role", "status");
  const draw = () => {
    const { keep, sort } = FILTERS[choice.value], wanted = search.value.trim().toLowerCase();
    const holds = (row) => !wanted || [row.prompt, row.answer, ...row.by.map((by) => `${by.text ?? ""} ${by.label}`)].join("\n").toLowerCase().includes(wanted);
    let found = view.rows.filter((row) => (!keep || keep(row)) && holds(row));
    if (sort) found = [...found].sort(sort);
    counted.textContent = found.length ? `${found.length} rows${found.length > MOST_SHOWN ? `, the first ${MOST_SHOWN} shown` : ""}` : "No row fits.";
    list.replaceChildren(...found.slice(0, MOST_SHOWN).map((row) => drawRow(row, view.models)));
  };
  choice.addEventListener("change", draw);
  search.addEventListener("input", draw);
  draw();
  return node("section", "td-card", [
    node("div", "td-card-head", [node("h2", "", "Rows, side by side"), choice, search]), counted, list,
  ]);
}

function drawResults(view) {
  const parts = [
    node("div", "td-run-title", [node("strong", "td-eval-title", view.title), node("span", "td-run-subtitle", view.subtitle)]),
    ...view.verdicts.map((each) => note(each.level, each.about ? [node("b", "", each.about), node("span", "", each.text)] : each.text)),
    ...(view.size ? [note("info", view.size)] : []),
    ...view.remarks.map((text) => note("info", text)),
    ...view.tables.map((table) => drawTable(table, view.models)),
  ];
  if (view.confusion.length) {
    parts.push(node("section", "td-card", [
      node("h2", "", "Which labels are taken for which"),
      node("div", "td-confusions", view.confusion.map((matrix, place) => drawConfusion(matrix, view.labels, view.models[place]))),
    ]));
  }
  if (view.stages) parts.push(drawStages(view.stages));
  if (view.groups.length) parts.push(drawGroups(view.groups, view.models));
  if (view.pairs.length) parts.push(node("section", "td-card", [drawPairs(view.pairs, view.models)]));
  parts.push(drawRows(view));
  results.replaceChildren(...parts);
}

// ---- asking ----------------------------------------------------------------------------

let wanted = "", shown = "", toldEnd = "", wasWorking = false, toldWorking = false, timer = 0, turn = 0, clicked = 0;

async function ask(mine) {
  let answer = null;
  try {
    answer = await server.read_evaluation(wanted, shown);
  } catch {
    // The server may be starting anew; the next turn asks again.
  }
  if (mine !== turn) return;
  if (answer) draw(answer);
  askAgain(!answer || answer.progress.state === "working" ? SECOND : 0);
}

function draw(answer) {
  const { progress } = answer;
  drawWork(progress);
  drawTrouble(progress, wasWorking && progress.state === "idle");
  // It may have ended between the look at what there is and the first look at the work.
  const isNews = wasWorking || (!shown && !wanted);
  if (progress.state === "done" && isNews && progress.evaluation !== toldEnd) {
    toldEnd = progress.evaluation;
    trigger("evaluated", { evaluation: progress.evaluation });
  }
  wasWorking = progress.state === "working";
  if (wasWorking !== toldWorking) {
    toldWorking = wasWorking;
    trigger("worked", { working: wasWorking });
  }
  if (answer.evaluation) {
    drawResults(answer.evaluation);
    shown = answer.evaluation.id;
  } else if (answer.gone) results.replaceChildren(note("error", answer.gone));
  else if (!shown && !wanted) results.replaceChildren(...(wasWorking ? [] : [teach()]));
  root.dataset.shown = shown;
}

function askAgain(wait) {
  clearTimeout(timer);
  if (wait && !document.hidden && element.isConnected) timer = setTimeout(ask, wait, turn);
}
document.addEventListener("visibilitychange", () => { if (!document.hidden) askAgain(100); });

function begin() {
  turn += 1;
  // What is at work is told by the first answer; a click on Evaluate comes with a new turn.
  const value = props.value ?? {};
  if (value.evaluation) wanted = value.evaluation;
  else if (value.turn && value.turn !== clicked) {
    clicked = value.turn;
    wasWorking = true;
  }
  clearTimeout(timer);
  ask(turn);
}
watch("value", begin);
begin();
