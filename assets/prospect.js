// A remedy of the head of the page is a button that carries the settings it changes.
element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-fix]");
  if (button) trigger("fix", { settings: JSON.parse(button.dataset.fix) });
});
