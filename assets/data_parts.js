// What the views of the data room share, and the two that need no row: the audit and the lengths.
// First of the scripts of gr.HTML(js_on_load=...). Data reaches the page through textContent only,
// so that a data set cannot run scripts here.

const words = props.words?.[navigator.language.slice(0, 2)] ?? {};

// English is the key, so that a missing translation still reads well.
function say(text, ...parts) {
  return parts.reduce((out, part, i) => out.replace(`{${i}}`, part), words[text] ?? text);
}

function drawing(tag, className, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  if (className) made.setAttribute("class", className);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

const number = (n) => n.toLocaleString("en");

function percent(part, whole) {
  const value = whole ? (100 * part) / whole : 0;
  if (part && value < 1) return "< 1 %";
  if (part < whole && value > 99) return "> 99 %";
  return `${Math.round(value)} %`;
}

// ---- the audit -------------------------------------------------------------------------

const LEVELS = { red: "Stops the run", amber: "Worth a look", green: "Fine" };
const auditView = node("section", "td-audit");
auditView.setAttribute("aria-label", say("Audit of the data set"));

// `onRow(part, index, finding)` shows a row; `onFix(settings)` changes settings.
function drawAudit(findings, share, finished, onRow, onFix) {
  const counts = { red: 0, amber: 0, green: 0 };
  for (const { level } of findings) counts[level] += 1;
  const worst = ["red", "amber", "green"].find((level) => counts[level]) ?? "none";
  auditView.dataset.level = finished ? worst : counts.red ? "red" : "working";
  auditView.dataset.finished = finished;
  const head = node("div", "td-audit-head", [node("h2", "", say("Audit"))]);
  if (!finished) {
    head.append(node("span", "td-audit-working", say("Looking at the rows, {0}", percent(share, 1))));
  }
  for (const level of ["red", "amber", "green"]) {
    if (counts[level]) {
      head.append(node("span", `td-level td-level-${level}`, `${counts[level]} ${say(LEVELS[level]).toLowerCase()}`));
    }
  }
  const open = findings.filter(({ level }) => level !== "green");
  const fine = findings.filter(({ level }) => level === "green");
  const list = node("ul", "td-findings", open.map((found) => drawFinding(found, onRow, onFix)));
  const parts = open.length ? [head, list] : [head];
  if (fine.length) {
    const more = node("details", "td-fine", [
      node("summary", "", say("What is fine")),
      node("ul", "td-findings", fine.map((found) => drawFinding(found, onRow, onFix))),
    ]);
    more.open = auditView.querySelector("details")?.open ?? false;
    parts.push(more);
  }
  auditView.replaceChildren(...parts);
}

function drawFinding(found, onRow, onFix) {
  const row = node("li", `td-finding td-finding-${found.level}`);
  row.dataset.check = found.check;
  const head = node("p", "", [node("b", "", say(found.check)), document.createTextNode(` ${found.words}`)]);
  head.prepend(node("span", "td-hidden", `${say(LEVELS[found.level])}: `));
  row.append(head);
  const actions = node("div", "td-finding-actions");
  if (found.rows.length && found.level !== "green") {
    actions.append(button(say("Show these rows ({0})", found.rows.length), () => onRow(found)));
  }
  for (const [label, settings] of found.fixes) {
    actions.append(button(say(label), () => onFix(settings), "td-small-button td-fix"));
  }
  if (actions.childElementCount) row.append(actions);
  return row;
}

// ---- lengths of the rows ---------------------------------------------------------------

const lengthView = node("section", "td-lengths");
const HIGH = 150, FOOT = 22, ROOF = 18;
let lengthsShown = null, wide = 640;

// One unit of the drawing is one pixel, so that its words are as large as all others.
function drawLengths(about) {
  lengthsShown = about;
  wide = Math.max(260, lengthView.clientWidth || 640);
  if (!about?.counts.length) {
    lengthView.replaceChildren();
    return;
  }
  const { counts, width, cut } = about;
  const end = Math.max(counts.length * width, cut <= counts.length * width * 1.25 ? cut + width : 0);
  const x = (tokens) => (tokens / end) * wide;
  const top = Math.max(...counts);
  const chart = drawing("svg", "td-length-chart", { viewBox: `0 0 ${wide} ${HIGH}`, role: "img" });
  const tip = node("p", "td-length-tip", lengthWords(about));
  counts.forEach((count, bin) => {
    if (!count) return;
    const high = Math.max(2, (count / top) * (HIGH - FOOT - ROOF));
    const bar = drawing("rect", bin * width >= cut ? "td-bar-cut" : "td-bar-kept", {
      x: x(bin * width) + 0.5, width: Math.max(1, x(width) - 1), y: HIGH - FOOT - high, height: high, rx: 1.5,
    });
    const last = about.open_end && bin === counts.length - 1;
    const range = last ? say("{0} tokens or more", number(bin * width))
      : say("{0} to {1} tokens", number(bin * width), number((bin + 1) * width - 1));
    const told = `${range}: ${say("{0} rows", number(count))} (${percent(count, about.rows)})`;
    bar.addEventListener("pointerenter", () => { tip.textContent = told; });
    bar.addEventListener("pointerleave", () => { tip.textContent = lengthWords(about); });
    chart.append(bar);
  });
  chart.append(drawing("line", "td-length-base", { x1: 0, x2: wide, y1: HIGH - FOOT, y2: HIGH - FOOT }));
  for (const tokens of lengthTicks(counts.length * width)) label(chart, x(tokens), HIGH - 6, number(tokens), "");
  if (cut < end) {
    chart.append(drawing("line", "td-length-cut", { x1: x(cut), x2: x(cut), y1: ROOF - 4, y2: HIGH - FOOT }));
    const onLeft = x(cut) > wide / 2;
    label(chart, x(cut) + (onLeft ? -6 : 6), ROOF - 4, say("Max length {0}", number(cut)), "td-length-cut-words",
      onLeft ? "end" : "start");
  }
  chart.setAttribute("aria-label", lengthWords(about));
  lengthView.replaceChildren(node("h3", "", say("Length of the training rows, in tokens")), chart, tip);
}

function label(chart, x, y, text, className, anchor) {
  const side = anchor ?? (x < 12 ? "start" : x > wide - 20 ? "end" : "middle");
  const made = drawing("text", className, { x, y, "text-anchor": side });
  made.textContent = text;
  chart.append(made);
}

function lengthTicks(end) {
  const rough = end / 5, power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(1, power * ([1, 2, 5].find((m) => m * power >= rough) ?? 10));
  return Array.from({ length: Math.floor(end / step) + 1 }, (_, i) => i * step);
}

function lengthWords(about) {
  const typical = say("Half of the rows have {0} tokens or fewer, the longest {1}.",
    number(about.median), number(about.longest));
  const beyond = about.rows_cut
    ? say("{0} rows ({1}) are longer than the max length of {2}; {3} of all tokens lie beyond it.",
      number(about.rows_cut), percent(about.rows_cut, about.rows), number(about.cut), percent(about.lost, about.tokens))
    : say("Every row fits within the max length of {0}.", number(about.cut));
  return `${typical} ${beyond}`;
}

new ResizeObserver(() => {
  if (Math.abs(lengthView.clientWidth - wide) > 8) drawLengths(lengthsShown);
}).observe(lengthView);

// ---- counts ----------------------------------------------------------------------------

const factView = node("dl", "td-facts"), groupView = node("div", "td-groups");

function drawFacts(facts, groups) {
  factView.replaceChildren(...facts.map(([name, value]) =>
    node("div", "", [node("dt", "", say(name)), node("dd", "", value)])));
  factView.hidden = !facts.length;
  groupView.replaceChildren(...groups.map(({ name, counts }) => {
    const total = counts.reduce((sum, [, count]) => sum + count, 0);
    return node("section", "td-group", [node("h3", "", say(name)), node("ul", "", counts.slice(0, 12).map(([label, count]) => {
      const bar = node("i");
      bar.style.width = `${(100 * count) / counts[0][1]}%`;
      return node("li", "", [node("span", "td-group-name", label || "–"), node("span", "td-group-bar", [bar]),
        node("span", "td-group-count", `${number(count)} · ${percent(count, total)}`)]);
    }))]);
  }));
}
