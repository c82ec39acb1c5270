// Shows one row as the model reads it: every token, and whether it is learned.
// Stands between data_parts.js and data_room.js in the same script. Data reaches the page through
// textContent only, so that a data set cannot run scripts here.

const LEARNED = 1, SPECIAL = 2, CUT = 4, PIECE = 8;

// One class a token, so that the shares add up: what is cut off is never learned, and a
// special token that is learned counts as learned.
function kindOf(flags) {
  if (flags & CUT) return "cut";
  if (flags & LEARNED) return "learned";
  return flags & SPECIAL ? "special" : "context";
}

const KINDS = {
  learned: ["Learned", "learned: the answer that counts in the loss"],
  context: ["Context", "context: read, not learned"],
  special: ["Special", "special token of the chat template: read, not learned"],
  cut: ["Cut off", "cut off: beyond the maximum length, the model will not see it"],
};

// Line ends and tabs get a visible sign in front of their effect; other control characters
// get their picture from U+2400, because they would otherwise draw nothing.
function visible(text) {
  return text
    .replace(/\r?\n/g, (end) => (end === "\n" ? "↵\n" : "␍↵\n"))
    .replace(/\t/g, "⇥\t")
    .replace(/[\x00-\x08\x0b-\x1f]/g, (c) => String.fromCharCode(0x2400 + c.charCodeAt(0)));
}

const hasInk = (text) => /[^\u200b-\u200f\u2060\ufeff\ufe0f]/.test(text);

function drawToken([text, , flags], index) {
  const token = node("span", `td-tok td-tok-${kindOf(flags)}`);
  if (flags & SPECIAL) token.classList.add("td-tok-mark");
  if (!hasInk(text)) token.classList.add("td-tok-byte");
  else token.textContent = visible(text);
  if (!text.trim()) token.setAttribute("aria-label", JSON.stringify(text));
  token.dataset.index = index;
  token.tabIndex = -1;
  token.setAttribute("role", "option");
  return token;
}

const tokenView = node("div", "td-tokens");
const legend = node("ul", "td-legend");
const meter = node("div", "td-meter");
const box = node("div", "td-tokens-box");
const detail = node("p", "td-tokens-detail");
meter.setAttribute("role", "img");
box.setAttribute("role", "listbox");
box.setAttribute("aria-label", say("Tokens; move with the arrow keys"));
tokenView.append(legend, meter, box, detail);

let tokens = [];
let spans = [];
let active = null;

function count() {
  const counts = { learned: 0, context: 0, special: 0, cut: 0, learnedSpecial: 0 };
  for (const [, , flags] of tokens) {
    const kind = kindOf(flags);
    counts[kind] += 1;
    if (kind === "learned" && flags & SPECIAL) counts.learnedSpecial += 1;
  }
  return counts;
}

function share(part) {
  const percent = (100 * part) / tokens.length;
  if (part && percent < 1) return "< 1 %";
  if (part < tokens.length && percent > 99) return "> 99 %";
  return `${Math.round(percent)} %`;
}

function drawLegend(counts) {
  const shown = Object.keys(KINDS).filter((kind) => kind !== "cut" || counts.cut);
  const parts = shown.map((kind) => `${say(KINDS[kind][0])} ${share(counts[kind])}`);
  meter.setAttribute("aria-label", parts.join(", "));
  legend.replaceChildren(...shown.map((kind) => {
    const entry = node("li");
    const swatch = node("span", `td-swatch td-tok-${kind}`);
    if (kind === "special") swatch.classList.add("td-tok-mark");
    entry.append(swatch, node("b", "", say(KINDS[kind][0])));
    let text = `${number(counts[kind])} · ${share(counts[kind])}`;
    if (kind === "special" && counts.learnedSpecial) {
      text += ` ${say("(+ {0} learned)", counts.learnedSpecial)}`;
    }
    entry.append(node("span", "td-legend-count", text));
    return entry;
  }));
  meter.replaceChildren(...shown.filter((kind) => counts[kind]).map((kind) => {
    const part = node("span", `td-meter-${kind}`);
    part.style.flexGrow = counts[kind];
    return part;
  }));
}

function describe(index) {
  const [text, id, flags] = tokens[index];
  const kind = kindOf(flags);
  let shown = JSON.stringify(text);
  if (text === "") {
    const first = tokens.slice(0, index).findLast(([before]) => before !== "");
    shown = say("a later byte of {0}", JSON.stringify(first?.[0] ?? ""));
  }
  let meaning = say(KINDS[kind][1]);
  if (flags & SPECIAL && kind !== "special") meaning = `${say("special token")}, ${meaning}`;
  return [say("Position {0}", number(index + 1)), `id ${id}`, shown, meaning];
}

function pointOut(token) {
  if (!token || token === active) return;
  active?.removeAttribute("aria-selected");
  active = token;
  token.setAttribute("aria-selected", "true");
  const [position, id, text, meaning] = describe(Number(token.dataset.index));
  detail.replaceChildren(
    node("span", "", `${position} · ${id}`), node("code", "", text), node("span", "", meaning),
  );
}

// One tab stop for the whole row; the arrow keys move it.
function focusToken(token) {
  if (!token) return;
  box.querySelector('[tabindex="0"]')?.setAttribute("tabindex", "-1");
  token.tabIndex = 0;
  token.setAttribute("aria-label", describe(Number(token.dataset.index)).join(", "));
  token.focus();
}

// The nearest token of the next line in this direction, as in a text editor.
function onOtherLine(index, direction) {
  const from = spans[index].getClientRects()[0];
  let best = null, line = null, distance = Infinity;
  for (let i = index + direction; i >= 0 && i < spans.length; i += direction) {
    const at = spans[i].getClientRects()[0];
    if (direction * (at.top - from.top) < from.height / 2) continue;
    line ??= at.top;
    if (Math.abs(at.top - line) > from.height / 2) break;
    if (Math.abs(at.left - from.left) < distance) {
      distance = Math.abs(at.left - from.left);
      best = spans[i];
    }
  }
  return best;
}

const MOVES = {
  ArrowRight: (i) => spans[i + 1],
  ArrowLeft: (i) => spans[i - 1],
  ArrowDown: (i) => onOtherLine(i, 1),
  ArrowUp: (i) => onOtherLine(i, -1),
  Home: () => spans[0],
  End: () => spans.at(-1),
};

// Scrolling by key moves tokens under a mouse at rest; only a mouse that moved may take over.
let mouse = "";
box.addEventListener("pointerover", (event) => {
  const place = `${event.screenX} ${event.screenY}`;
  if (place !== mouse) pointOut(event.target.closest(".td-tok"));
  mouse = place;
});
box.addEventListener("focusin", (event) => pointOut(event.target.closest(".td-tok")));
box.addEventListener("pointerdown", (event) => focusToken(event.target.closest(".td-tok")));
box.addEventListener("keydown", (event) => {
  const move = MOVES[event.key];
  const token = event.target.closest(".td-tok");
  if (!move || !token) return;
  event.preventDefault();
  focusToken(move(Number(token.dataset.index)));
});

// What stands on the line before a token; empty where there is none.
function lineBefore(flags, index, firstCut) {
  if (flags & PIECE) {
    return flags & CUT ? say("A piece that teaches nothing and is left out")
      : say("A piece of its own: it sees one token of what stands before");
  }
  return index === firstCut ? say("Maximum length: the model will not see what follows") : "";
}

function drawTokens() {
  spans = tokens.map(drawToken);
  const firstCut = tokens.findIndex(([, , flags]) => flags & CUT);
  const all = document.createDocumentFragment();
  spans.forEach((span, index) => {
    const words = lineBefore(tokens[index][2], index, firstCut);
    if (words) {
      const line = node("span", "td-cut-line", words);
      line.setAttribute("role", "presentation");
      all.append(line);
    }
    all.append(span);
  });
  if (spans.length) spans[0].tabIndex = 0;
  box.replaceChildren(all);
  box.scrollTop = 0;
}

// `row` is null before one is known.
function drawRowTokens(row) {
  tokens = row?.tokens ?? [];
  active = null;
  const counts = count();
  tokenView.dataset.learned = counts.learned;
  tokenView.dataset.total = tokens.length;
  tokenView.classList.toggle("td-empty", !tokens.length);
  legend.hidden = meter.hidden = detail.hidden = !tokens.length;
  if (!tokens.length) {
    const empty = row ? say("This row holds no tokens.")
      : say("Each token of a row shows here, coloured by whether it is learned.");
    box.removeAttribute("role");
    spans = [];
    box.replaceChildren(node("p", "td-tokens-empty", empty));
    return;
  }
  box.setAttribute("role", "listbox");
  drawLegend(counts);
  drawTokens();
  detail.textContent = say("Point at a token, or press Tab and use the arrow keys, to see what it is.");
}
