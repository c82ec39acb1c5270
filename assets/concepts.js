// Help in place: a "?" beside what a concept explains; it opens the concept's words and picture.
// Runs in the page's head, behind the data that ui/concepts.py writes. Views draw themselves anew
// at any time, so marks are put where they are missing after each change.

(() => {
  if (!("showPopover" in HTMLElement.prototype)) return; // an old browser: the page works without
  const SOON = 300, GAP = 8, NARROW = 600, PAGE = ".contain";
  const concepts = JSON.parse(document.getElementById("td-concepts").textContent);

  function node(tag, className, content) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (content !== undefined) made.append(...[content].flat());
    return made;
  }

  // ---- the explanation, one for the whole page ---------------------------------------------

  const title = node("h3"), words = node("p"), picture = node("div", "td-concept-picture");
  const close = node("button", "td-concept-close", "×");
  const box = node("div", "td-concept", [node("header", "", [title, close]), picture, words]);
  box.id = "td-concept";
  box.popover = "auto";
  box.tabIndex = -1;
  title.id = "td-concept-title";
  box.setAttribute("role", "dialog");
  box.setAttribute("aria-labelledby", title.id);
  picture.setAttribute("aria-hidden", "true"); // it shows what the words say
  picture.setAttribute("translate", "no");
  close.type = "button";
  close.setAttribute("aria-label", "Close");
  close.addEventListener("click", () => box.hidePopover());
  addEventListener("scroll", () => { if (innerWidth > NARROW) box.hidePopover(); }, { passive: true });

  function explain(concept, mark) {
    // Inside what Gradio's copy of our style is meant for.
    if (!box.isConnected) (document.querySelector(PAGE) ?? document.body).append(box);
    title.textContent = concept.title;
    words.textContent = concept.words;
    picture.innerHTML = concept.picture; // our own file
    box.style.cssText = "";
    box.showPopover();
    if (innerWidth > NARROW) putBeside(mark.getBoundingClientRect());
    box.focus({ preventScroll: true });
  }

  function putBeside(mark) {
    const { width, height } = box.getBoundingClientRect();
    const below = mark.bottom + GAP, fits = below + height + GAP <= innerHeight;
    const top = fits ? below : Math.max(GAP, mark.top - GAP - height);
    const left = Math.min(Math.max(GAP, mark.right - width), innerWidth - width - GAP);
    box.style.cssText = `top: ${top}px; left: ${left}px; bottom: auto; right: auto`;
  }

  // ---- the marks ---------------------------------------------------------------------------

  function drawMark(concept) {
    const mark = node("button", "td-why", "?");
    mark.type = "button";
    mark.dataset.concept = concept.name;
    mark.setAttribute("aria-label", `Explain: ${concept.title}`);
    mark.setAttribute("aria-haspopup", "dialog");
    mark.addEventListener("click", (event) => {
      event.stopPropagation();
      explain(concept, mark);
    });
    return mark;
  }

  function putMarks() {
    for (const concept of concepts) {
      for (const place of document.querySelectorAll(concept.at.join())) {
        if (!place.querySelector(":scope > .td-why")) place.append(drawMark(concept));
      }
    }
  }

  let due = 0;
  new MutationObserver(() => {
    if (due) return;
    due = setTimeout(() => { due = 0; putMarks(); }, SOON);
  }).observe(document, { subtree: true, childList: true });
})();
