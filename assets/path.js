// Marks each tab of the path: done, at work, or what is missing there, by what the page shows.
// Body of gr.HTML(js_on_load=...). Only attributes are set: the tabs' own nodes belong to Gradio.

const AT_WORK = ["queued", "starting", "running", "stopping"];
const LATER = ["chat", "compare", "evaluate", "export"];

function marks() {
  const room = document.querySelector(".td-room")?.dataset.state;
  const audit = document.querySelector(".td-audit")?.dataset.level;
  const summary = document.querySelector("#summary");
  const wrong = Boolean(summary?.querySelector(".td-note-error"));
  const fits = summary?.querySelector(".td-memory")?.dataset.fits;
  const run = document.querySelector(".td-run")?.dataset.state
    ?? document.querySelector("#path [data-run]")?.dataset.run;
  const found = {};
  if (room === "failed") found.data = ["missing", "The data set can't be read"];
  else if (audit === "red") found.data = ["missing", "The audit found what stops the run"];
  else if (["amber", "green"].includes(audit)) found.data = ["done", "The data set is looked through"];
  if (fits === "false") found.model = ["missing", "The model won't fit in memory"];
  else if (fits && !wrong) found.model = ["done", "The model fits"];
  if (wrong) found.settings = ["missing", "A setting needs a change"];
  else if (fits) found.settings = ["done", "The settings are sound"];
  if (AT_WORK.includes(run)) found.train = ["working", "A run is at work"];
  else if (run === "finished") found.train = ["done", "The run has finished"];
  else if (["failed", "interrupted"].includes(run)) found.train = ["missing", "The run has not finished"];
  else if (run === "none") {
    found.train = ["next", "No run yet: Start training begins one"];
    for (const tab of LATER) found[tab] = ["later", "Better with a run that has finished"];
  }
  return found;
}

let timer = 0;
function mark() {
  timer = 0;
  const found = marks();
  for (const tab of document.querySelectorAll("[role=tab][data-tab-id]")) {
    const [state, words] = found[tab.dataset.tabId] ?? ["", ""];
    if ((tab.dataset.mark ?? "") !== state) tab.dataset.mark = state;
    if (tab.dataset.told === words) continue; // the title itself may be in another language
    tab.dataset.told = words;
    if (words) tab.title = words;
    else tab.removeAttribute("title");
  }
}
new MutationObserver(() => { timer ||= setTimeout(mark, 250); }).observe(document.body, {
  subtree: true, childList: true, attributes: true,
  attributeFilter: ["data-state", "data-level", "data-fits", "data-tab-id"],
});
mark();
