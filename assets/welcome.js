// The welcome: what this machine is good for, a goal, and what is set for it. Opened by itself at
// the first start, and by the button in the header. Body of gr.HTML(js_on_load=...).

const VERDICTS = { good: "Learns well", slow: "Learns slowly", no: "Too large" };
const GOALS = [
  ["try", "Try it", "A sample project with a small model. Nothing to prepare."],
  ["own", "Tune on my data", "A table, a workbook, JSON or text: questions with answers, dialogues, or plain text."],
  ["continue", "Continue", "Go on with a run, or bring one from another machine."],
];
const STEPS = ["Your machine", "Your goal", "Off you go"];

// ---- state -----------------------------------------------------------------------------

let step = 0, goal = "try", project = "film", about = null, asked = false;
const dialog = node("dialog", "td-welcome");
dialog.setAttribute("aria-labelledby", "td-welcome-head");
element.append(dialog);

async function ask() {
  if (asked) return;
  asked = true;
  try {
    about = JSON.parse(await server.read_machine([]));
  } catch {
    about = { problem: "The server does not answer. Close this and open it again.", projects: [] };
    asked = false;
  }
  draw();
}

// ---- the three steps -------------------------------------------------------------------

function machineStep() {
  if (!about) return [node("p", "td-welcome-lead", "Looking at this machine: which sizes of model can learn here…")];
  if (about.problem) return [node("p", "td-welcome-lead", about.problem)];
  const rows = about.sizes.map((size) => {
    const row = node("tr", `td-fits-${size.verdict}`, [
      node("th", "", [node("b", "", size.count), node("small", "", size.name)]),
      node("td", "", [node("span", "td-fits", VERDICTS[size.verdict])]),
      node("td", "td-num", size.memory),
    ]);
    row.firstChild.scope = "row";
    return row;
  });
  const head = ["Parameters", "Verdict", "Memory at its peak"].map((text) => {
    const cell = node("th", "", text);
    cell.scope = "col";
    return cell;
  });
  const table = node("table", "td-numbers", [node("thead", "", [node("tr", "", head)]), node("tbody", "", rows)]);
  const slow = about.kind === "cpu"
    ? "Without a graphics card small models learn in minutes. For a large one, pack the run and rent a GPU: Settings, Several GPUs, another machine."
    : "Larger models fit with 4-bit base weights. What won't fit here can learn on a rented machine: Settings, Several GPUs, another machine.";
  return [
    node("p", "td-welcome-lead", [node("span", "td-muted", "This machine"), " ", node("b", "", about.machine)]),
    node("p", "td-muted", "How models of each size would learn on it:"),
    node("div", "td-scroll", [table]), node("p", "td-muted", slow),
  ];
}

function card(name, value, title, text, chosen, onChosen) {
  const input = node("input");
  Object.assign(input, { type: "radio", name, value, checked: chosen });
  input.addEventListener("change", () => onChosen(value));
  return node("label", "td-goal", [input, node("span", "", [node("b", "", title), node("small", "", text)])]);
}

function choices(legend, cards) {
  const group = node("fieldset", "td-goals", [node("legend", "", legend), ...cards]);
  return group;
}

function goalStep() {
  const parts = [choices("What would you like to do?", GOALS.map(([value, title, text]) =>
    card("td-goal", value, title, text, value === goal, (next) => { goal = next; draw(`[value=${next}]`); })))];
  if (goal === "try" && about?.projects.length) {
    parts.push(choices("A sample project", about.projects.map(({ id, name, words }) =>
      card("td-project", id, name, words, id === project, (next) => { project = next; }))));
  }
  return parts;
}

function lastStep() {
  const chosen = about?.projects.find(({ id }) => id === project)?.name ?? "";
  const model = about?.sizes?.find((size) => size.model === about.suggested)?.name ?? "";
  const told = {
    try: ["The Data set tab shows what will be learned, token by token.", "Start training begins the run; you may close the page meanwhile.", "Compare sets the answers of the base model and of yours side by side."],
    own: ["In the Data set tab: Upload files, or type a path.", "If the columns aren't found, say under Columns what each holds. Then look at the rows and the audit.", "Start training begins the run. Model and Settings can stay as they are."],
    continue: ["Each run stands in the Runs tab, with what can be done with it.", "Resume goes on from the last checkpoint; Use its settings begins a similar one.", "A run of another machine is taken in there, as a folder or a zip file."],
  }[goal];
  const lead = { try: chosen, own: model, continue: about?.run ?? "" }[goal];
  const head = { try: "Sample project", own: "Suggested base model", continue: "Newest run" }[goal];
  return [
    ...(lead ? [node("p", "td-welcome-lead", [node("span", "td-muted", head), " ", node("b", "", lead)])] : []),
    node("ol", "td-welcome-steps", told.map((text) => node("li", "", text))),
  ];
}

// ---- drawing ---------------------------------------------------------------------------

function finish() {
  const model = goal === "own" ? about?.suggested ?? "" : "";
  dialog.close("chosen");
  trigger("chosen", { goal, project, model });
}

function go(by) {
  step += by;
  draw();
  dialog.querySelector("h2").focus();
}

// `focus` names what had the focus before the parts were made anew.
function draw(focus) {
  const title = node("h2", "", ["Welcome to TuneDesk", "Pick a goal", "Ready"][step]);
  title.id = "td-welcome-head";
  title.tabIndex = -1;
  const trail = node("ol", "td-welcome-trail", STEPS.map((text, at) => {
    const part = node("li", at < step ? "td-done" : "", text);
    if (at === step) part.setAttribute("aria-current", "step");
    return part;
  }));
  const close = button("×", () => dialog.close(), "td-welcome-close");
  close.setAttribute("aria-label", "Close the welcome");
  const last = { try: "Open the sample project", own: "Open the Data set tab", continue: "Open the Runs tab" }[goal];
  const forward = step < 2
    ? button("Next step", () => go(1), "td-small-button td-forward")
    : button(last, finish, "td-small-button td-forward");
  const back = button("Back", () => go(-1));
  back.hidden = step === 0;
  const body = node("div", "td-welcome-body", [machineStep, goalStep, lastStep][step]());
  body.tabIndex = 0; // it scrolls where the window is low
  body.setAttribute("role", "group");
  body.setAttribute("aria-labelledby", title.id);
  dialog.dataset.step = step + 1;
  dialog.dataset.known = Boolean(about);
  dialog.replaceChildren(
    close, trail, title,
    body,
    node("div", "td-welcome-foot", [back, forward]),
  );
  if (focus) dialog.querySelector(focus)?.focus();
}

function open() {
  if (dialog.open) return;
  step = 0;
  draw();
  dialog.showModal();
  dialog.querySelector("h2").focus();
  ask();
}
dialog.addEventListener("close", () => {
  if (dialog.returnValue !== "chosen") trigger("closed", {});
  dialog.returnValue = "";
});
element.querySelector("#welcome-open").addEventListener("click", open);
const showAtFirst = () => { if (props.value?.show) open(); };
watch("value", showAtFirst);
showAtFirst();
