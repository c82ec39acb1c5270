// Elements and buttons of the page's own views; stands before the scripts that use them.

// `content` is text or a list of parts, of which those that are null are left out.
function node(tag, className, content) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (Array.isArray(content)) made.append(...content.filter((part) => part !== null));
  else if (content !== undefined) made.textContent = content;
  return made;
}

// Words of the person's or of a model, which stay as they are in any language.
function own(text) {
  const made = node("span", "", text);
  made.translate = false;
  return made;
}

function button(text, onClick, className = "td-small-button") {
  const made = node("button", className, text);
  made.type = "button";
  made.addEventListener("click", onClick);
  return made;
}
