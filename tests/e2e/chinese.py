"""What of a page in Chinese is still English."""

import json
import re

from playwright.sync_api import Page

from tests.conftest import ROOT

CHINESE = json.loads((ROOT / "assets/locale/zh.json").read_text(encoding="utf-8"))
# Names of things, which stay as they are in any language.
NAMES = {"TuneDesk", "Token", "film-reviews", "SmolLM2-135M-Instruct",
         "SmolLM2 135M Instruct (starter)", "Apache-2.0",
         *(text for text, said in CHINESE.items() if text == said)}
# The person's own: rows, their labels and answers, logs, code, names of runs and files.
OWN = ("[translate=no], script, style, pre, code, textarea, .cm-editor, .td-tokens-box, .td-log, "
       ".td-run-name, .td-link, .td-tag, .td-note-line, .td-group-name, .td-chosen-card h2, "
       ".td-differences td, .td-raw-row, .td-said, .td-eval-said, .td-eval-prompt p, "
       ".td-eval-wanted span, .td-pair span, #chat .message")
ENGLISH = """own => {
  const found = new Set(), names = ["placeholder", "title", "aria-label"];
  const see = (text) => { if (/[A-Za-z]{3}/.test(text)) found.add(text.trim()); };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const parent = walker.currentNode.parentElement;
    if (!parent.closest(own) && parent.checkVisibility()) see(walker.currentNode.data);
  }
  for (const element of document.querySelectorAll("[placeholder], [title], [aria-label]")) {
    const isField = element.tagName === "TEXTAREA";
    if ((element.closest(own) && !isField) || !element.checkVisibility()) continue;
    for (const name of names) see(element.getAttribute(name) ?? "");
  }
  return [...found];
}"""


def left_in_english(page: Page, *names: str) -> list[str]:
    """Texts with no Chinese in them, and texts with two English words in a row; `names` count as
    no words."""
    found = []
    for text in page.evaluate(ENGLISH, OWN):
        words = text
        for name in sorted({*NAMES, *names}, key=len, reverse=True):
            words = words.replace(name, "")
        has_chinese = re.search(r"[\u4e00-\u9fff]", text)
        if re.search(r"[a-z]{3,} [a-z]{2,}" if has_chinese else r"[A-Za-z]{3}", words):
            found.append(text)
    return found
