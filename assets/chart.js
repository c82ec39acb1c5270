// A chart of a run's curves: raw and smoothed line, evaluation points, crosshair and tooltip.
// Goes in front of run_view.js in the same script; its small helpers serve that file too.
// Data reaches the page through textContent only, so that a log line cannot run scripts here.

const CHARTS = {
  loss: { label: "Loss", axis: "Loss (nats per token)", smooth: true, line: "train" },
  eval_loss: { label: "Held-out loss", axis: "Held-out loss (nats per token)", line: "held out" },
  learning_rate: { label: "Learning rate", axis: "Learning rate", line: "learning rate" },
  grad_norm: {
    label: "Gradient norm", axis: "Gradient norm (before clipping)", smooth: true, line: "gradient norm",
  },
  scores: { label: "Scores", axis: "Score on held-out rows (0 to 1)" },
  token_accuracy: { label: "Token accuracy", axis: "Tokens foretold on held-out rows (share)", line: "token accuracy" },
  exact_answers: { label: "Exact answers", axis: "Sample answers that are right (share)", line: "exact answers" },
  token_f1: { label: "Token F1", axis: "Token F1 of sample answers (0 to 1)", line: "token F1" },
  rouge_l: { label: "ROUGE-L", axis: "ROUGE-L of sample answers (0 to 1)", line: "ROUGE-L" },
  chrf: { label: "chrF", axis: "chrF of sample answers (0 to 1)", line: "chrF" },
};
const SCORES = ["token_accuracy", "exact_answers", "token_f1", "rouge_l", "chrf"];
const words = props.words?.[navigator.language.slice(0, 2)] ?? {};

// English is the key, so that a missing translation still reads well.
function say(text, ...parts) {
  return parts.reduce((out, part, i) => out.replace(`{${i}}`, part), words[text] ?? text);
}

function fill(made, className, content) {
  if (className) made.setAttribute("class", className);
  if (Array.isArray(content)) made.append(...content);
  else if (content !== undefined) made.textContent = content;
  return made;
}
const node = (tag, className, content) => fill(document.createElement(tag), className, content);
const svg = (tag, className, attributes = {}, content = undefined) => {
  const made = fill(document.createElementNS("http://www.w3.org/2000/svg", tag), className, content);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
};
// Writes only what changed, so that selections and screen readers are left in peace.
function write(target, text) {
  if (target.textContent !== text) target.textContent = text;
}
function labelled(type, text) {
  const input = node("input");
  input.type = type;
  return [input, node("label", "td-choice", [input, node("span", "", say(text))])];
}

const number = (n) => n.toLocaleString("en", { maximumFractionDigits: 2 });
function precise(value) {
  if (value === null || value === undefined) return "–";
  if (value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e6)) return value.toExponential(2);
  return String(Number(value.toPrecision(4)));
}

// ---- controls --------------------------------------------------------------------------

const plot = node("div", "td-plot"), tip = node("div", "td-tip"), legend = node("div", "td-chart-legend");
const chartTabs = node("div", "td-switch"), [smoothing, smoothLabel] = labelled("range", "Smoothing");
const [logScale, logScaleLabel] = labelled("checkbox", "Log scale"), smoothValue = node("output");
const wholeRun = chartButton("Whole run", () => zoom(null)), pictureButton = chartButton("Save as PNG", savePicture);
const valuesButton = chartButton("Save as CSV", saveValues);
const chartCard = node("section", "td-card td-chart", [
  node("div", "td-card-head", [chartTabs, logScaleLabel, smoothLabel]),
  node("div", "td-chart-line", [legend, node("div", "td-chart-buttons", [wholeRun, pictureButton, valuesButton])]),
  plot,
]);
wholeRun.hidden = true;
smoothLabel.append(smoothValue);
Object.assign(smoothing, { min: 0, max: 0.98, step: 0.02, value: 0.6 });
plot.tabIndex = 0;
plot.setAttribute("role", "application");
plot.setAttribute("aria-label", say("Chart; the arrow keys move along the steps, plus and minus zoom"));
plot.title = say("Drag across steps to zoom in; double-click for the whole run.");
tip.setAttribute("role", "status");

const clipName = `td-clip-${Math.random().toString(36).slice(2)}`;
let series = {}, shownChart = "loss", hoverStep = null, geometry = null;
let overlay = null; // several runs at once: [{key, label, series}]
let zoomed = null, dragFrom = null; // [first step, last step] that are shown; where a drag began

function chartButton(text, onClick) {
  const made = node("button", "td-chart-button", say(text));
  made.type = "button";
  made.addEventListener("click", onClick);
  return made;
}

// ---- curves ----------------------------------------------------------------------------

const usable = (value) => Number.isFinite(value) && (!logScale.checked || value > 0);

// Exponential average, corrected for its start; a gap stays a gap and does not feed it. The
// weight is what is left after a hundredth of the curve, or after one point where points are
// rarer, so that 60 and 6,000 steps look equally smooth.
function smooth(points) {
  const weight = Number(smoothing.value), hundredth = (points.at(-1)[0] - points[0][0]) / 100 || 1;
  let sum = 0, norm = 0, before = points[0][0] - hundredth;
  return points.map(([step, value]) => {
    if (!Number.isFinite(value)) return [step, null];
    const kept = weight ** Math.min(1, (step - before) / hundredth);
    before = step;
    sum = kept * sum + (1 - kept) * value;
    norm = kept * norm + (1 - kept);
    return [step, sum / norm];
  });
}

// At most the lowest and the highest point of each pixel column: fast, and no spike is lost.
function path(points, x, y) {
  let drawn = "", pen = "M", column = [];
  const flush = () => {
    const low = column.reduce((a, b) => (b[1] < a[1] ? b : a), column[0]);
    const high = column.reduce((a, b) => (b[1] > a[1] ? b : a), column[0]);
    const kept = column.filter((p, i) => i === 0 || i === column.length - 1 || p === low || p === high);
    for (const [step, value] of kept) {
      drawn += `${pen}${x(step).toFixed(1)} ${y(value).toFixed(1)}`;
      pen = "L";
    }
    column = [];
  };
  for (const point of points) {
    if (column.length && Math.floor(x(point[0])) !== Math.floor(x(column[0][0]))) flush();
    if (usable(point[1])) column.push(point);
    else {
      if (column.length) flush();
      pen = "M";
    }
  }
  if (column.length) flush();
  // A lone point between gaps is a line of no length; round caps make it a dot.
  return drawn.replace(/M([\d.-]+ [\d.-]+)(?=M|$)/g, "M$1l0.01 0");
}

function linearTicks(low, high, wanted) {
  const rough = (high - low) / wanted, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5].find((m) => m * power >= rough) ?? 10);
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) ticks.push(i * step + 0); // no -0
  return ticks;
}
function logTicks(low, high) {
  const ticks = [];
  for (let e = Math.floor(Math.log10(low)); e <= Math.log10(high); e++) {
    for (const m of [1, 2, 5]) if (m * 10 ** e >= low && m * 10 ** e <= high) ticks.push(m * 10 ** e);
  }
  return ticks.length > 8 ? ticks.filter((t) => Math.abs(Math.log10(t) % 1) < 1e-9) : ticks;
}

function range(values) {
  const low = values.reduce((a, b) => Math.min(a, b), Infinity);
  const high = values.reduce((a, b) => Math.max(a, b), -Infinity);
  if (logScale.checked) return [low / 1.08, high * 1.08];
  // The mean of one value is that value but for its last bit, which is no range to put ticks in.
  const flat = high - low <= Math.abs(high) * 1e-9;
  const margin = flat ? Math.abs(high) * 0.1 || 1 : (high - low) * 0.06;
  return [low >= 0 ? Math.max(0, low - margin) : low - margin, high + margin];
}

function lines() {
  if (overlay) return overlaid();
  if (shownChart === "scores") return SCORES.map((key, i) => ({ key: `run${i}`, label: CHARTS[key].line, dots: true, points: series[key] ?? [] }))
    .filter((line) => line.points.length);
  const chart = CHARTS[shownChart], raw = series[shownChart] ?? [];
  const all = [{ key: "raw", label: chart.line, points: raw }];
  if (chart.smooth && raw.length) all.push({ key: "smooth", label: "smoothed", points: smooth(raw) });
  if (shownChart === "loss") all.push({ key: "eval", label: "eval", dots: true, points: series.eval_loss ?? [] });
  if (!chart.smooth) all[0].key = "smooth";
  return all.filter((line) => line.points.length);
}

// Whether a chart may come to show something: scores only where rows are held out.
function isKnown(key) {
  const keys = key === "scores" ? SCORES : [key];
  if (!SCORES.includes(keys[0]) || key === shownChart) return true;
  return keys.some((each) => overlay ? overlay.some((run) => run.series[each]?.length) : series[each]?.length);
}

function overlaid() {
  const known = overlay.map(({ key, label, series: own }) => ({ key, label, points: own[shownChart] ?? [] }))
    .filter((line) => line.points.length);
  if (!CHARTS[shownChart].smooth) return known;
  return known.map((line) => ({ ...line, points: smooth(line.points) }));
}

// The points within what is zoomed to, with a neighbour on each side so that lines lead out of it.
function within(points) {
  if (!zoomed) return points;
  const [first, last] = zoomed, inside = ([step]) => step >= first && step <= last;
  return points.filter((p, i) => inside(p) || (points[i + 1] && inside(points[i + 1])) || (points[i - 1] && inside(points[i - 1])));
}

function drawChart() {
  const chart = CHARTS[shownChart];
  const shown = lines().map((line) => ({ ...line, points: within(line.points) })).filter((line) => line.points.length);
  for (const tab of chartTabs.children) tab.hidden = !isKnown(tab.dataset.key);
  wholeRun.hidden = !zoomed;
  pictureButton.disabled = valuesButton.disabled = !shown.length;
  const width = plot.clientWidth, height = plot.clientHeight;
  const values = shown.flatMap((line) => line.points.map((p) => p[1]).filter(usable));
  smoothLabel.hidden = !chart.smooth;
  smoothValue.textContent = Number(smoothing.value).toFixed(2);
  legend.replaceChildren(...shown.map((line) => node("span", `td-key td-key-${line.key}`, say(line.label))));
  if (!width) return;
  if (!values.length) {
    geometry = null;
    plot.replaceChildren(node("p", "td-plot-empty", say("The curve appears with the first logged step.")), tip);
    return drawHover();
  }
  const steps = shown.flatMap((line) => [line.points[0][0], line.points.at(-1)[0]]);
  let [first, last] = [Math.min(...steps), Math.max(...steps)];
  if (zoomed) [first, last] = zoomed;
  if (first === last) [first, last] = [first - 1, last + 1];
  const [low, high] = range(values), by = logScale.checked ? Math.log : (v) => v;
  const area = { left: 58, right: width - 22, top: 24, bottom: height - 24 };
  const x = (step) => area.left + ((step - first) / (last - first)) * (area.right - area.left);
  const y = (value) => area.bottom - ((by(value) - by(low)) / (by(high) - by(low))) * (area.bottom - area.top);
  let yTicks = logScale.checked ? logTicks(low, high) : [];
  if (yTicks.length < 2) yTicks = linearTicks(low, high, 5).filter(usable);
  const clip = svg("clipPath", "", { id: clipName }, [svg("rect", "", { x: area.left - 5, y: 0,
    width: area.right - area.left + 10, height })]);
  const xTicks = linearTicks(first, last, Math.max(2, Math.min(8, width / 110))).filter(Number.isInteger);
  const picture = svg("svg", "", { width, height, "aria-hidden": "true" }, [
    ...yTicks.flatMap((v) => [
      svg("line", "td-grid", { x1: area.left, x2: area.right, y1: y(v), y2: y(v) }),
      svg("text", "", { x: area.left - 8, y: y(v) + 4, "text-anchor": "end" }, precise(v)),
    ]),
    ...xTicks.map((v) => svg("text", "", { x: x(v), y: height - 5, "text-anchor": "middle" }, number(v))),
    svg("text", "td-axis", { x: 0, y: 11 }, say(chart.axis)),
    svg("text", "td-axis", { x: area.left - 16, y: height - 5, "text-anchor": "end" }, say("Step")),
    clip, svg("g", "", { "clip-path": `url(#${clipName})` }, [
    ...shown.map((line) => svg("path", `td-curve td-line-${line.key}`, { d: path(line.points, x, y) })),
    ...shown.filter((line) => line.dots || line.points.length === 1)
      .flatMap((line) => line.points.filter((p) => usable(p[1])).map(([step, value]) =>
        svg("circle", `td-dot td-line-${line.key}`, { cx: x(step), cy: y(value), r: 3.5 }))),
    ]),
    svg("rect", "td-drag", { y: area.top, height: area.bottom - area.top, width: 0 }),
  ]);
  geometry = { area, x, y, first, last, shown, picture };
  plot.replaceChildren(picture, tip);
  drawHover();
}

function nearest(points, step) {
  return points.reduce((best, p) => (Math.abs(p[0] - step) < Math.abs(best[0] - step) ? p : best), points[0]);
}

function drawHover() {
  tip.hidden = hoverStep === null || !geometry;
  geometry?.picture.querySelector(".td-hover")?.remove();
  if (tip.hidden) return;
  const { area, x, y, shown, picture } = geometry;
  const [step] = nearest(shown[0].points, hoverStep);
  const hits = shown.map((line) => [line, nearest(line.points, step)]);
  picture.append(svg("g", "td-hover", {}, [
    svg("line", "", { x1: x(step), x2: x(step), y1: area.top, y2: area.bottom }),
    ...hits.filter(([line, [, value]]) => line.key !== "raw" && usable(value))
      .map(([line, [at, value]]) => svg("circle", `td-line-${line.key}`, { cx: x(at), cy: y(value), r: 4.5 })),
  ]));
  tip.replaceChildren(node("b", "", say("Step {0}", number(step))), ...hits.map(([line, [at, value]]) =>
    node("span", `td-key td-key-${line.key}`,
      `${say(line.label)} ${precise(value)}${at === step ? "" : ` (${say("step {0}", number(at))})`}`)));
  const room = plot.clientWidth - tip.offsetWidth - 8;
  const side = x(step) + 14 > room ? x(step) - tip.offsetWidth - 14 : x(step) + 14;
  tip.style.transform = `translate(${Math.max(4, Math.min(room, side))}px, ${area.top + 4}px)`;
}

function hover(step) {
  hoverStep = step;
  drawHover();
}
function stepAt(event) {
  const { area, first, last } = geometry;
  const part = (event.clientX - plot.getBoundingClientRect().left - area.left) / (area.right - area.left);
  return first + Math.min(1, Math.max(0, part)) * (last - first);
}
function hoverAt(event) {
  if (!geometry) return;
  hover(stepAt(event));
  if (dragFrom === null) return;
  const { x, picture } = geometry, [from, to] = [x(dragFrom), x(stepAt(event))];
  const band = picture.querySelector(".td-drag");
  band.setAttribute("x", Math.min(from, to));
  band.setAttribute("width", Math.abs(to - from));
}

// ---- zoom ------------------------------------------------------------------------------

function zoom(next) {
  zoomed = next;
  drawChart();
}
function endDrag(event) {
  if (dragFrom === null || !geometry) return;
  const [low, high] = [dragFrom, stepAt(event)].sort((a, b) => a - b), { x } = geometry;
  dragFrom = null;
  geometry.picture.querySelector(".td-drag").setAttribute("width", 0);
  if (x(high) - x(low) > 12) zoom([Math.floor(low), Math.ceil(high)]); // less is a click
}
function zoomBy(factor) {
  if (!geometry) return;
  const { first, last } = geometry, centre = hoverStep ?? (first + last) / 2;
  const half = ((last - first) / 2) * factor;
  if (factor > 1 && zoomed === null) return;
  const everything = lines().flatMap((line) => [line.points[0][0], line.points.at(-1)[0]]);
  const [least, most] = [Math.min(...everything), Math.max(...everything)];
  const next = [Math.max(least, Math.floor(centre - half)), Math.min(most, Math.ceil(centre + half))];
  if (next[1] - next[0] < 2) return;
  zoom(next[0] <= least && next[1] >= most ? null : next);
}

// ---- saving ----------------------------------------------------------------------------

function save(content, ending) {
  const link = node("a"), address = URL.createObjectURL(content);
  Object.assign(link, { href: address, download: `${shownChart}.${ending}` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000); // a busy computer saves it late
}

function saveValues() {
  const shown = lines().map((line) => ({ ...line, points: new Map(within(line.points)) }));
  const steps = [...new Set(shown.flatMap((line) => [...line.points.keys()]))].sort((a, b) => a - b);
  const quoted = (text) => `"${text.replaceAll('"', '""')}"`;
  const rows = [["step", ...shown.map((line) => quoted(line.label))],
    ...steps.map((step) => [step, ...shown.map((line) => line.points.get(step) ?? "")])];
  save(new Blob([rows.map((row) => row.join(",")).join("\n"), "\n"], { type: "text/csv" }), "csv");
}

// The picture leaves the page's style sheet behind, so each part takes its own style along.
const DRAWN_WITH = ["fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-linecap", "stroke-linejoin", "font", "opacity"];
async function savePicture() {
  const { picture } = geometry, copy = picture.cloneNode(true), parts = copy.querySelectorAll("*");
  picture.querySelectorAll("*").forEach((part, i) => {
    const style = getComputedStyle(part);
    for (const name of DRAWN_WITH) parts[i].style.setProperty(name, style.getPropertyValue(name));
  });
  copy.querySelector(".td-hover")?.remove();
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  const [width, height] = [picture.clientWidth || plot.clientWidth, picture.clientHeight || plot.clientHeight];
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(new XMLSerializer().serializeToString(copy))}`;
  await image.decode();
  const canvas = node("canvas"), sharp = 2;
  Object.assign(canvas, { width: sharp * width, height: sharp * height });
  const pen = canvas.getContext("2d");
  pen.fillStyle = getComputedStyle(chartCard).backgroundColor;
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.drawImage(image, 0, 0, canvas.width, canvas.height);
  canvas.toBlob((blob) => save(blob, "png"));
}
function hoverByKey(event) {
  const points = geometry?.shown[0].points;
  const moves = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
  if (event.key === "Escape") return hoverStep === null ? zoom(null) : hover(null);
  if (event.key === "+" || event.key === "=") return zoomBy(0.5);
  if (event.key === "-") return zoomBy(2);
  if (!points || !(event.key in moves)) return;
  event.preventDefault();
  const now = hoverStep === null ? points.length : points.indexOf(nearest(points, hoverStep));
  hover(points[Math.min(points.length - 1, Math.max(0, now + moves[event.key]))][0]);
}

// ---- events ----------------------------------------------------------------------------

function choose(key) {
  shownChart = key;
  for (const tab of chartTabs.children) tab.setAttribute("aria-pressed", tab.dataset.key === key);
  drawChart();
}
function offerCharts(...keys) {
  chartTabs.replaceChildren(...keys.map((key) => {
    const tab = node("button", "", say(CHARTS[key].label));
    tab.type = "button";
    tab.dataset.key = key;
    tab.addEventListener("click", () => choose(key));
    return tab;
  }));
  choose(keys[0]);
}
smoothing.addEventListener("input", drawChart);
logScale.addEventListener("change", drawChart);
plot.addEventListener("pointermove", hoverAt);
plot.addEventListener("pointerdown", (event) => {
  hoverAt(event);
  if (!geometry || event.button || event.pointerType === "touch") return; // a finger scrolls the page
  dragFrom = stepAt(event);
  plot.setPointerCapture(event.pointerId);
});
plot.addEventListener("pointerup", endDrag);
plot.addEventListener("pointercancel", () => { dragFrom = null; });
plot.addEventListener("dblclick", () => zoom(null));
plot.addEventListener("pointerleave", () => hover(null));
plot.addEventListener("keydown", hoverByKey);
plot.addEventListener("blur", () => hover(null));
new ResizeObserver(drawChart).observe(plot);
offerCharts("loss", "scores", "learning_rate", "grad_norm"); // held-out loss is drawn with the loss

function drawOverlay(runs) {
  if (runs.map((run) => run.label).join() !== overlay?.map((run) => run.label).join()) zoomed = null;
  overlay = runs;
  drawChart();
}

function drawSeries(next) {
  if (JSON.stringify(next) === JSON.stringify(series)) return;
  series = next;
  drawChart();
}
