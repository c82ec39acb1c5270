"""Answers as the page draws them: turns with folded reasoning, cards side by side, the meter."""

import html
from typing import Any

from core.chat.difference import Pieces
from core.chat.report import score_words
from core.data.tokens.template import THINK_CLOSE, THINK_OPEN
from ui import words

ENDED = {"length": "cut at its length", "person": "stopped", "stop": "ended at a stop string"}


def split_thought(text: str) -> tuple[str, str, bool]:
    """(reasoning, answer, whether the reasoning is closed) of what a model said."""
    if not text.lstrip().startswith(THINK_OPEN):
        return "", text, True
    thought, closed, rest = text.lstrip().removeprefix(THINK_OPEN).partition(THINK_CLOSE)
    return thought.strip(), rest.lstrip("\n"), bool(closed)


def thought_words(answer: dict[str, Any]) -> str:
    """How much and how long an answer reasoned."""
    if not answer.get("think_tokens"):
        return ""
    return f"{answer['think_tokens']:,} tokens, {answer['think_seconds']:.1f} s"


def messages(turns: list[dict[str, str]], at_work: bool = False) -> list[dict[str, Any]]:
    """Turns for gr.Chatbot, reasoning as a block of its own that is folded once it is closed."""
    shown: list[dict[str, Any]] = []
    for number, turn in enumerate(turns):
        thought, rest, closed = split_thought(turn["content"])
        if turn["role"] == "assistant" and thought:
            thinking = at_work and number == len(turns) - 1 and not closed
            shown.append({"role": "assistant", "content": thought, "metadata": {
                "title": "Reasoning", "log": turn.get("note", ""),
                "status": "pending" if thinking else "done"}})
            if not rest and thinking:
                continue
        shown.append({"role": turn["role"], "content": rest})
    return shown


def turn_of(turns: list[dict[str, str]], shown_index: int) -> int:
    """Which turn a message of gr.Chatbot belongs to."""
    for number in range(len(turns)):
        if len(messages(turns[:number + 1])) > shown_index:
            return number
    return len(turns) - 1


def meter(answer: dict[str, Any], context: int) -> str:
    """How much of the model's context the conversation takes."""
    used = answer["prompt_tokens"] + answer["tokens"]
    if not context:
        return words.line(f"{used:,} tokens of context.")
    share = min(1.0, used / context)
    level = "td-context-full" if share > 0.9 else ""
    return (f'<div class="td-context {level}" role="meter" aria-label="Context" aria-valuemin="0" '
            f'aria-valuemax="{context}" aria-valuenow="{used}"><span class="td-context-bar">'
            f'<i style="width:{share:.1%}"></i></span>'
            f"<span>{used:,} of {context:,} tokens of context</span></div>")


def speed(answer: dict[str, Any]) -> str:
    ended = ENDED.get(answer["ended_by"], "")
    return (f"{answer['tokens']:,} tokens, the first after {answer['first_seconds']:.2f} s, then "
            f"{words.count(answer['tokens_per_second'])} a second" + (f"; {ended}" if ended else "")
            + ("." if answer["done"] else " …"))


def card(title: str, answer: dict[str, Any] | None, pieces: Pieces | None = None,
         score: dict[str, float] | None = None) -> str:
    """One model's answer; what `pieces` says the other lacks is marked. All of it is escaped."""
    if answer is None:
        return f'<div class="td-card td-answer"><h3>{html.escape(title)}</h3></div>'
    thought, rest, closed = split_thought(answer["text"])
    body = _marked(pieces) if pieces else html.escape(rest)
    if thought:
        about = thought_words(answer)
        body = (f"<details{'' if closed else ' open'}><summary>Reasoning"
                f"{f' <small>{about}</small>' if about else ''}</summary>"
                f"<div>{html.escape(thought)}</div></details>{body}")
    facts = speed(answer) if answer["tokens"] else ""
    if score:
        facts += f" Answer in the data: {score_words(score)}."
    state = "done" if answer["done"] else "at-work"
    return (f'<div class="td-card td-answer" data-state="{state}"><h3>{html.escape(title)}</h3>'
            f'<div class="td-said">{body}</div><p class="td-line">{html.escape(facts)}</p></div>')


def _marked(pieces: Pieces) -> str:
    return "".join(html.escape(text) if same or not text.strip()
                   else f"<mark>{html.escape(text)}</mark>" for text, same in pieces)


def _own(text: str) -> str:
    """Text of the person's or of a model, which is never translated."""
    return f'<span translate="no">{html.escape(text)}</span>'


def table(models: list[str], rows: list[dict[str, Any]]) -> str:
    """Answers of many prompts, a line each."""
    heads = "".join(f"<th scope='col'>{html.escape(m)}</th>" for m in models)
    lines = []
    for number, row in enumerate(rows, 1):
        cells = "".join(
            f"<td>{_own(split_thought(answer['text'])[1])}{_score(row, i)}</td>"
            for i, answer in enumerate(row["answers"]))
        expected = f"<small>In the data: {_own(row['answer'])}</small>" if row.get(
            "answer") else ""
        lines.append(f"<tr><th scope='row'>{number}</th><td>{_own(row['prompt'])}{expected}</td>"
                     f"{cells}</tr>")
    return (f'<div class="td-many" tabindex="0"><table><thead><tr><th></th><th scope="col">Prompt'
            f'</th>{heads}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>')


def _score(row: dict[str, Any], index: int) -> str:
    scores = row.get("scores") or []
    return f"<small>{score_words(scores[index])}</small>" if scores else ""
