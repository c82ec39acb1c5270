"""The constant parts of a chat template, so that most dialogues need no rendering.

A template is rendered once for each order of roles, with a mark in place of each turn's words; what
stands around the marks is a frame. A frame is used only for words that the template can't be
looking at: not those that contain or equal a text that it searches for, nor those with white space
at an end, which it may strip.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from jinja2 import Environment, TemplateSyntaxError, nodes
from jinja2.ext import loopcontrols

from core.data.messages.layouts import Message
from core.data.tokens.plain import PLAIN_TEMPLATE
from core.data.tokens.template import Segment, segments
from core.errors import UserError

MARK = "Zq{}vX"  # in both cases, so that a template that changes the case is seen
MOST_FRAMES, LONGEST_DIALOGUE = 200, 24
STRIPS = ("strip", "lstrip", "rstrip")
LOOKING_FILTERS = ("replace", "trim", "split")

Part = tuple[list[str | int], bool]  # literal texts and numbers of turns; whether it is learned


@dataclass(frozen=True)
class Sight:
    """What a template looks at in the words of a turn: texts inside, whole texts, and characters
    at the ends."""

    inside: frozenset[str]
    whole: frozenset[str]
    ends: frozenset[str]

    def sees(self, words: str) -> bool:
        return (not words or words[0].isspace() or words[-1].isspace() or words[0] in self.ends
                or words[-1] in self.ends or words in self.whole
                or any(text in words for text in self.inside))


@dataclass
class Frames:
    """The frames of one tokenizer's template, made as orders of roles are met."""

    tokenizer: Any
    sight: Sight | None
    frames: dict[tuple[str, ...], list[Part] | None] = field(default_factory=dict)

    def segments(self, messages: list[Message]) -> list[Segment]:
        """The same as template.segments."""
        framed = self.framed(messages)
        return segments(messages, self.tokenizer) if framed is None else framed

    def framed(self, messages: list[Message]) -> list[Segment] | None:
        """By the frame; None where only the template can tell."""
        if self.sight is None or len(messages) > LONGEST_DIALOGUE:
            return None
        words = [message["content"] for message in messages]
        if any(len(m) > 2 for m in messages) or any(self.sight.sees(text) for text in words):
            return None
        roles = tuple(message["role"] for message in messages)
        if roles not in self.frames and len(self.frames) < MOST_FRAMES:
            self.frames[roles] = _frame(roles, self.tokenizer)
        frame = self.frames.get(roles)
        return frame and [Segment("".join(words[p] if isinstance(p, int) else p for p in pieces),
                                  learned) for pieces, learned in frame]

    def distrust(self, messages: list[Message]) -> None:
        """Never use the frame of such a dialogue again."""
        self.frames[tuple(message["role"] for message in messages)] = None


def frames_of(tokenizer: Any) -> Frames:
    return Frames(tokenizer, _sight(tokenizer.chat_template or PLAIN_TEMPLATE))


def _sight(template: str) -> Sight | None:
    """None where the template can't be taken apart; then all is rendered."""
    try:
        tree = Environment(extensions=[loopcontrols]).parse(template)
    except TemplateSyntaxError:  # transformers' own tags
        return None
    inside, whole, ends = set(), set(), set()
    for node in tree.find_all(nodes.Compare):
        searched = any(operand.op in ("in", "notin") for operand in node.ops)
        others = [operand.expr for operand in node.ops]
        (inside if searched else whole).update(_texts([node.expr, *others]))
        whole.update(_texts(item for other in others for item in getattr(other, "items", ())))
    for node in tree.find_all(nodes.Call):
        if isinstance(node.node, nodes.Getattr) and node.node.attr in STRIPS:
            ends.update(*_texts(node.args))
        elif isinstance(node.node, nodes.Getattr):
            inside.update(_texts(node.args))
    for node in tree.find_all(nodes.Filter):
        inside.update(_texts(node.args) if node.name in LOOKING_FILTERS else ())
    return Sight(frozenset(inside - {""}), frozenset(whole), frozenset(ends))


def _texts(found: Iterable[nodes.Node]) -> set[str]:
    return {node.value for node in found
            if isinstance(node, nodes.Const) and isinstance(node.value, str)}


def _frame(roles: tuple[str, ...], tokenizer: Any) -> list[Part] | None:
    """None where a turn's words don't come exactly once, as they are."""
    if roles == ("text",):
        return [([0], True)]
    if not set(roles) <= {"system", "user", "assistant"}:
        return None
    marks = [MARK.format(number) for number in range(len(roles))]
    messages = [{"role": role, "content": mark} for role, mark in zip(roles, marks, strict=True)]
    try:
        parts = segments(messages, tokenizer)
    except UserError:
        return None
    text = "".join(part.text for part in parts)
    if any(text.count(mark) != 1 for mark in marks):
        return None
    return [(_taken_apart(part.text, marks), part.learned) for part in parts]


def _taken_apart(text: str, marks: list[str]) -> list[str | int]:
    """The marks in the order in which they stand: some templates put system turns first."""
    found = re.split(f"({'|'.join(marks)})", text)
    return [marks.index(piece) if piece in marks else piece for piece in found]
