"""A comparison as a report that needs no app: one HTML file, or Markdown."""

import html
import json
import time
from dataclasses import dataclass, field
from typing import Any

from core.chat.difference import against_first

STYLE = """
body { font: 16px/1.55 system-ui, sans-serif; max-width: 1200px; margin: 2rem auto; padding: 0 1rem;
  color: #14212a; background: #fff; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
table { border-collapse: collapse; width: 100%; table-layout: fixed; }
th, td { border: 1px solid #cfd8dd; padding: .5rem .7rem; vertical-align: top; text-align: left; }
td { white-space: pre-wrap; overflow-wrap: anywhere; }
mark { background: #fdf2dc; border-bottom: 2px solid #ad4f06; color: inherit; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; }
dt { color: #4d5f6b; } dd { margin: 0; } small { color: #4d5f6b; }
@media (prefers-color-scheme: dark) { body { color: #e7edf0; background: #0e1418; }
  th, td { border-color: #46555f; } mark { background: #33280f; } dt, small { color: #a5b4bd; } }
"""


@dataclass(frozen=True)
class Report:
    """`rows` are those of Talk.answer_many: prompt, answer of the data where there is one, and each
    model's answers and scores. `votes` is a sentence on the blind votes, or ''."""

    models: list[str]
    rows: list[dict[str, Any]]
    settings: dict[str, Any]
    votes: str = ""
    made: float = field(default_factory=time.time)

    @property
    def facts(self) -> list[tuple[str, str]]:
        """What a reader needs to repeat it."""
        facts = [("Made", time.strftime("%Y-%m-%d %H:%M", time.localtime(self.made))),
                 ("Models", ", ".join(self.models)), ("Prompts", str(len(self.rows)))]
        facts += [(name.replace("_", " "), value if isinstance(value, str) else json.dumps(
            value, ensure_ascii=False)) for name, value in self.settings.items()]
        means = mean_scores(self.rows)
        if means:
            facts.append(("log-probability of the data's answer, a token", ", ".join(
                f"{model} {mean:.3f}" for model, mean in zip(self.models, means, strict=True))))
        return facts + ([("Blind votes", self.votes)] if self.votes else [])


def mean_scores(rows: list[dict[str, Any]]) -> list[float]:
    """Log-probability a token of the data's answers under each model; [] where there are none."""
    scored = [row["scores"] for row in rows if row.get("scores")]
    if not scored:
        return []
    return [sum(s["log_probability"] for s in column) / max(1, sum(s["tokens"] for s in column))
            for column in zip(*scored, strict=True)]


def to_html(report: Report) -> str:
    """One file with everything in it; nothing that a model said can run in it."""
    facts = "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>"
                    for name, value in report.facts)
    rows = "".join(_html_row(number, row, report.models)
                   for number, row in enumerate(report.rows, 1))
    return ("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">"
            "<meta name=\"viewport\" content=\"width=device-width\">"
            f"<title>Comparison</title><style>{STYLE}</style></head><body><h1>Comparison</h1>"
            f"<p>Words that an answer doesn't share with the first one are marked; in the first, "
            f"those that the second lacks.</p><dl>{facts}</dl>{rows}</body></html>")


def _html_row(number: int, row: dict[str, Any], models: list[str]) -> str:
    marked = against_first([answer["text"] for answer in row["answers"]])
    heads = "".join(f"<th>{html.escape(model)}</th>" for model in models)
    cells = "".join(f'<td translate="no">{_marked(pieces)}</td>' for pieces in marked)
    scores = "".join(f"<td><small>{score_words(s)}</small></td>" for s in row.get("scores") or [])
    expected = (f"<p><small>Answer in the data:</small> <span translate=\"no\">"
                f"{html.escape(row['answer'])}</span></p>" if row.get("answer") else "")
    return (f"<h2>{number}. <span translate=\"no\" style=\"white-space:pre-wrap;font-weight:400\">"
            f"{html.escape(row['prompt'])}</span></h2>{expected}<table><tr>{heads}</tr>"
            f"<tr>{cells}</tr>{f'<tr>{scores}</tr>' if scores else ''}</table>")


def _marked(pieces: list[tuple[str, bool]]) -> str:
    return "".join(html.escape(text) if same or not text.strip()
                   else f"<mark>{html.escape(text)}</mark>" for text, same in pieces)


def to_markdown(report: Report) -> str:
    """The same without the marks, for places that show Markdown."""
    lines = ["# Comparison", ""]
    lines += [f"- {name}: {value}" for name, value in report.facts]
    for number, row in enumerate(report.rows, 1):
        lines += ["", f"## {number}.", "", _fenced(row["prompt"])]
        if row.get("answer"):
            lines += ["", "Answer in the data:", "", _fenced(row["answer"])]
        for index, (model, answer) in enumerate(zip(report.models, row["answers"], strict=True)):
            scores = row.get("scores") or []
            score = f" ({score_words(scores[index])})" if scores else ""
            lines += ["", f"**{model}**{score}", "", _fenced(answer["text"])]
    return "\n".join(lines) + "\n"


def _fenced(text: str) -> str:
    """A fence longer than any in the text, so that nothing in it is taken as Markdown."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}\n{text}\n{fence}"


def score_words(score: dict[str, float]) -> str:
    each = score["log_probability"] / max(1, score["tokens"])
    return f"log-probability {score['log_probability']:.2f}, {each:.3f} a token"
