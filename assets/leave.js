// Asked in TuneDesk's own window when it is closed while a run is at work. ui/window.py runs it.
(() => {
  document.querySelector(".td-leave")?.remove();
  const dialog = document.createElement("dialog"), head = document.createElement("h2");
  const told = document.createElement("p"), foot = document.createElement("div");
  dialog.className = "td-welcome td-leave";
  head.id = "td-leave-head";
  dialog.setAttribute("aria-labelledby", head.id);
  head.textContent = "A run is at work";
  told.textContent = "It can go on without this window: open TuneDesk again, and it is there. Runs that wait in line start then.";
  foot.className = "td-welcome-foot";
  const api = window.pywebview.api;
  const answers = [
    ["Stay here", "td-small-button", () => dialog.close()],
    ["Stop and save it", "td-small-button", () => api.leave(true)],
    ["Let it go on", "td-small-button td-forward", () => api.leave(false)],
  ];
  for (const [text, look, act] of answers) {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", className: look, textContent: text });
    button.addEventListener("click", act);
    foot.append(button);
  }
  dialog.addEventListener("close", () => api.stay());
  dialog.append(head, told, foot);
  (document.querySelector(".gradio-container") ?? document.body).append(dialog);
  dialog.showModal();
  foot.lastChild.focus();
})();
