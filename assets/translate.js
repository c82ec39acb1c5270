// Puts the page into the person's language where it meets the eye: the code speaks English, and
// locale/<language>.json says each sentence in another one. Text of the person's own (rows,
// answers, logs, code) stays as it is. Runs in the page's head, before anything is drawn.

(() => {
  const KEPT = "tunedesk-language", LANGUAGES = ["en", "zh"];
  const ATTRIBUTES = ["placeholder", "title", "aria-label"];
  // What is inside these belongs to the person, or to a program.
  const OWN = [
    "[translate=no]", "script", "style", "pre", "code", "textarea", ".cm-editor", ".td-tokens-box", ".td-said", ".td-log",
    "#chat .message-content", "#chat .message .prose", ".td-raw-row",
    ".td-eval-said", ".td-run-id", ".td-name-model", ".td-eval-prompt p", ".td-eval-wanted span", ".td-pair span", ".td-run-name", ".td-link", ".td-tag",
    ".td-note-line", ".td-samples td", ".td-group-name", "#expected",
  ].join();
  const BOUNDARY = /(?:[.?!:;,…](?: +|$)|\n+| · )/g;
  const LONGEST = 3000, FAR = 12; // letters of a text, ends of sentences ahead: what more would freeze the page
  const MARKS = { ". ": "。", "? ": "？", "! ": "！", ": ": "：", "; ": "；", ", ": "，", " · ": " · " };

  // Gradio picks its own words by the browser's language; here they are translated like all others.
  const wished = navigator.languages?.[0] ?? navigator.language ?? "en";
  for (const [name, value] of [["language", "en"], ["languages", ["en"]]]) {
    Object.defineProperty(navigator, name, { get: () => value, configurable: true });
  }

  let language = remembered() ?? (/^zh/i.test(wished) ? "zh" : "en");
  let exact = new Map(), patterns = [], known = new Map();
  const texts = new WeakMap(), attributes = new WeakMap(), fields = new WeakMap();

  function remembered() {
    try {
      const kept = localStorage.getItem(KEPT);
      return LANGUAGES.includes(kept) ? kept : null;
    } catch {
      return null; // a browser that keeps nothing
    }
  }

  // ---- from one sentence to the other ----------------------------------------------------

  // In a short pattern a hole is a number or one word: else "{1} rows" would take any sentence. One
  // that begins with a word and a colon takes none that isn't meant.
  function compile([english, translated]) {
    const parts = english.split(/\{\d+\}/), letters = parts.join("").replace(/[^a-zA-Z]/g, "").length;
    const hole = letters < 9 && !/^[A-Za-z]+: /.test(english) ? "([^ ]*|[^a-z]*|[\\d.,]+ [^ ]+(?: [\\d.,]+ [^ ]+)*)" : "([\\s\\S]*?)";
    const source = parts.map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join(hole);
    return { expression: new RegExp(`^${source}$`), first: parts[0], translated, letters };
  }

  function learn(catalogue) {
    const entries = Object.entries(catalogue);
    exact = new Map(entries.map(([english, translated]) => [english.trim(), translated]));
    patterns = entries.filter(([english]) => /\{\d+\}/.test(english)).map(compile)
      .sort((a, b) => b.letters - a.letters);
    known = new Map();
  }

  // A whole sentence, or null. What stands in its holes is translated where it is known as well.
  // Unless `loose`, a hole holds no end of a sentence: then it may be several sentences.
  function sentence(text, loose, depth = 0) {
    if (exact.has(text)) return exact.get(text);
    if (depth > 3 || !/[a-zA-Z]/.test(text)) return null;
    for (const { expression, first, translated } of patterns) {
      if (!text.startsWith(first)) continue;
      const found = text.match(expression);
      if (!found || (!loose && found.slice(1).some((part) => /[.?!] [A-Z]/.test(part)))) continue;
      return translated.replace(/\{(\d+)\}/g, (_, n) => inHole(found[n] ?? "", depth + 1));
    }
    return null;
  }

  function inHole(text, depth) {
    if (!text.trim()) return text;
    if (/^e?s$/.test(text)) return ""; // the end of an English plural
    const whole = sentence(text.trim(), true, depth);
    if (whole !== null) return whole;
    const parts = text.split(", ").map((part) => sentence(part.trim(), true, depth));
    if (parts.length > 1 && parts.every((part) => part !== null)) return parts.join("、");
    return depth < 3 && /[a-z]{2} [a-z]{2}/.test(text) ? pieces(text, depth)[0] : text;
  }

  // Several sentences in one text: the longest beginning that is known, then the rest. With it
  // comes whether all of it was known.
  function pieces(text, depth = 0) {
    const ends = [...text.matchAll(BOUNDARY)].map((found) => [found.index, found[0]]);
    let out = "", start = 0, isWhole = true;
    while (start < text.length) {
      const later = [[text.length, ""], ...ends.filter(([at]) => at > start).slice(0, FAR).reverse()];
      let next = null;
      for (const [at, mark] of later) {
        const closed = mark.trim() && mark !== " · " && sentence(text.slice(start, at + 1).trim(), false, depth);
        const known = closed || sentence(text.slice(start, at).trim(), false, depth);
        if (known === null) continue;
        next = [known + (closed ? "" : MARKS[mark] ?? mark), at + mark.length];
        break;
      }
      if (!next) {
        const [at, mark] = later.at(-1);
        if (/[a-zA-Z]/.test(text.slice(start, at))) isWhole = false;
        next = [text.slice(start, at + mark.length), at + mark.length];
      }
      out += next[0];
      start = next[1];
    }
    return [out, isWhole];
  }

  function inOtherWords(text) {
    const whole = sentence(text, false);
    if (whole !== null) return whole;
    const [joined, isWhole] = pieces(text);
    return isWhole ? joined : sentence(text, true) ?? joined;
  }

  function translate(text) {
    if (language === "en" || text.length > LONGEST || !/[a-zA-Z]/.test(text)) return text;
    if (!known.has(text)) {
      if (known.size > 5000) known.clear();
      const [, before, middle, after] = text.match(/^(\s*)([\s\S]*?)(\s*)$/);
      known.set(text, before + inOtherWords(middle) + after);
    }
    return known.get(text);
  }

  // ---- at the border of the page ---------------------------------------------------------

  const isOwn = (element) => Boolean(element?.closest?.(OWN));

  function translateText(node) {
    if (!node.isConnected) return; // replaced since; who it belonged to can't be told any more
    const before = texts.get(node);
    const english = before && before.shown === node.data ? before.english : node.data;
    if (!/[a-zA-Z]/.test(english) || isOwn(node.parentElement)) return;
    const shown = translate(english);
    texts.set(node, { english, shown });
    if (node.data !== shown) node.data = shown;
  }

  function translateAttribute(element, name) {
    const now = element.getAttribute(name), all = attributes.get(element) ?? {};
    if (!now || isOwn(element.parentElement)) return;
    const english = all[name]?.shown === now ? all[name].english : now;
    const shown = translate(english);
    attributes.set(element, { ...all, [name]: { english, shown } });
    if (now !== shown) element.setAttribute(name, shown);
  }

  function translateAll(root) {
    if (root.nodeType === Node.TEXT_NODE) return translateText(root);
    if (root.nodeType === Node.ELEMENT_NODE) translateElement(root);
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT | NodeFilter.SHOW_ELEMENT);
    while (walker.nextNode()) {
      const node = walker.currentNode;
      if (node.nodeType === Node.TEXT_NODE) translateText(node);
      else translateElement(node);
    }
  }

  function translateElement(element) {
    for (const name of ATTRIBUTES) if (element.hasAttribute(name)) translateAttribute(element, name);
    if (element.shadowRoot) watch(element.shadowRoot);
  }

  // A closed dropdown shows its choice as the value of a field. The field gets its own English back
  // before it is used, so that what Gradio reads is never a translation.
  function translateField(field) {
    const before = fields.get(field);
    const english = before?.shown === field.value ? before.english : field.value;
    const shown = document.activeElement === field ? english : translate(english);
    fields.set(field, { english, shown: language === "en" ? english : shown });
    if (field.value !== fields.get(field).shown) field.value = fields.get(field).shown;
  }
  const translateFields = () => document.querySelectorAll("input[role=combobox]").forEach(translateField);
  document.addEventListener("focusin", (event) => {
    if (event.target.matches?.("input[role=combobox]")) translateField(event.target);
  }, true);
  document.addEventListener("focusout", () => setTimeout(translateFields), true);
  setInterval(translateFields, 400); // Gradio may set the value at any time, and no event tells of it

  function watch(root) {
    new MutationObserver((changes) => {
      for (const change of changes) {
        if (change.type === "characterData") translateText(change.target);
        else if (change.type === "attributes") translateAttribute(change.target, change.attributeName);
        else change.addedNodes.forEach(translateAll);
      }
    }).observe(root, {
      subtree: true, childList: true, characterData: true, attributes: true, attributeFilter: ATTRIBUTES,
    });
    translateAll(root);
  }

  // ---- the switch ------------------------------------------------------------------------

  function drawSwitch() {
    document.querySelectorAll(".td-language button").forEach((button) => {
      button.setAttribute("aria-pressed", button.dataset.language === language);
    });
  }

  async function speak(chosen) {
    // A report that was saved brings its catalogues along.
    const catalogue = chosen === "en" ? {} : window.tunedeskCatalogues?.[chosen] ??
      await (await fetch(`locale/${chosen}.json`)).json();
    language = chosen;
    learn(catalogue);
    document.documentElement.lang = chosen === "zh" ? "zh-CN" : "en";
    document.documentElement.dataset.language = chosen;
    translateAll(document);
    for (const root of shadows) translateAll(root);
    translateFields();
    drawSwitch();
  }

  const shadows = new Set();
  const attach = Element.prototype.attachShadow;
  Element.prototype.attachShadow = function attachShadow(options) {
    const root = attach.call(this, options);
    shadows.add(root);
    watch(root);
    return root;
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.(".td-language button");
    if (!button) return;
    try {
      localStorage.setItem(KEPT, button.dataset.language);
    } catch {
      console.info("This browser keeps nothing; the language is chosen for this page only.");
    }
    speak(button.dataset.language);
  });
  new MutationObserver(drawSwitch).observe(document, { subtree: true, childList: true });

  const ask = window.confirm.bind(window);
  window.confirm = (text) => ask(translate(text));
  window.tunedeskTranslate = translate; // for what is no part of the page, such as a notification

  watch(document);
  speak(language);
})();
