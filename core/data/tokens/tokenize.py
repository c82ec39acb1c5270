"""Messages to token ids and labels, built side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy

from core.data.messages.layouts import Message
from core.data.tokens.fit import Laid, fit, slice_of
from core.data.tokens.template import Segment, prompt_text, segments

IGNORED = -100  # torch's cross-entropy skips this label


@dataclass(frozen=True)
class Example:
    """One row as the model meets it. `ids` and `labels` have the same length; a label is the id
    itself where it is learned, else IGNORED. `lost` are the (ids, labels) that were cut off; they
    stood before position `lost_at` of `ids` (None: behind its end)."""

    ids: Sequence[int]
    labels: Sequence[int]
    lost: tuple[Sequence[int], Sequence[int]] = ((), ())
    lost_at: int | None = None

    @property
    def learned(self) -> int:
        return _learned(self.labels)

    @property
    def lost_learned(self) -> int:
        return _learned(self.lost[1])


@dataclass(frozen=True)
class Marks:
    """A tokenizer with what it puts around every text, looked up once."""

    tokenizer: Any

    @cached_property
    def opening(self) -> list[int]:
        """The tokens that it puts before any text."""
        empty = self.tokenizer("", add_special_tokens=True)["input_ids"]
        end, begin = self.tokenizer.eos_token_id, self.tokenizer.bos_token_id
        return [token for token in empty if token != end or token == begin]

    @cached_property
    def special(self) -> frozenset[int]:
        return frozenset(number for number, token in self.tokenizer.added_tokens_decoder.items()
                         if token.special)

    def opening_of(self, ids: list[int]) -> list[int]:
        """The opening, unless the template wrote it."""
        return [] if ids[: len(self.opening)] == self.opening else self.opening

    def ended(self, piece: list[int]) -> list[int]:
        """The last answer with a token that ends it."""
        end = self.tokenizer.eos_token_id
        if not piece or end is None or piece[-1] == end or piece[-1] in self.special:
            return piece
        return [*piece, end]


def encode_prompt(messages: list[Message], tokenizer: Any) -> list[int]:
    """The ids that the model reads before it answers, as chat and training both use them."""
    ids = _ids(prompt_text(messages, tokenizer), tokenizer)
    return Marks(tokenizer).opening_of(ids) + ids


def encode(messages: list[Message], tokenizer: Any, loss_on: str, max_length: int,
           too_long: str = "cut") -> Example:
    """Ids and labels of one dialogue. `loss_on` is 'answers', 'last answer' or 'all tokens';
    `too_long` what is done beyond `max_length`. A row to be split is given whole, one to be dropped
    as if it were cut, so that it can be looked at.

    Each piece is tokenized for itself, because that is how generation joins them: the prompt is
    read, then the answer's tokens follow. Exactly one BOS where the tokenizer uses one; each
    answer ends with an end-of-turn token that is learned.
    """
    marks = Marks(tokenizer)
    whole = laid_out(messages, marks, loss_on)
    if len(whole.ids) <= max_length or too_long == "split":
        return _example(whole)
    if too_long == "cut left":
        start = len(whole.ids) - (max_length - whole.opening)
        return _with_lost(whole, fit(whole, max_length, too_long)[0], whole.opening, start)
    if too_long == "cut context":
        return _shortened_example(messages, whole, marks, loss_on, max_length)
    return _with_lost(whole, fit(whole, max_length, "cut")[0], max_length, len(whole.ids))


def laid_out(messages: list[Message], marks: Marks, loss_on: str) -> Laid:
    """The whole row, however long."""
    parts = segments(messages, marks.tokenizer)
    return lay_out(parts, [_ids(part.text, marks.tokenizer) for part in parts], marks, loss_on)


def lay_out(parts: list[Segment], pieces: list[list[int]], marks: Marks, loss_on: str) -> Laid:
    """The pieces of one row behind each other, with the runs of positions that are learned."""
    last = max((i for i, part in enumerate(parts) if part.learned), default=-1)
    ids: list[int] = []
    runs: list[tuple[int, int]] = []
    for index, (part, piece) in enumerate(zip(parts, pieces, strict=True)):
        start = len(ids)
        ids += marks.ended(piece) if index == last else piece
        if loss_on == "all tokens" or part.learned and (loss_on == "answers" or index == last):
            runs.append((start, len(ids)))
    added = marks.opening_of(ids)
    opening = len(marks.opening)
    # Nothing comes before the first token that could predict it.
    shifted = [(max(1, start + len(added)), stop + len(added)) for start, stop in runs]
    return Laid(added + ids, [run for run in shifted if run[0] < run[1]], opening)


def shortened(messages: list[Message], marks: Marks, loss_on: str, max_length: int
              ) -> list[Message]:
    """The dialogue with the ends of its longest questions cut, so that its answers stay whole; as
    short as it gets where even that is too long."""
    messages = list(messages)
    over = len(laid_out(messages, marks, loss_on).ids) - max_length
    asked = [i for i, m in enumerate(messages) if m["role"] not in ("assistant", "tools", "text")]
    for index in sorted(asked, key=lambda i: len(messages[i]["content"]), reverse=True):
        while over > 0 and messages[index]["content"]:
            content = _without_end(messages[index]["content"], over, marks.tokenizer)
            messages[index] = {**messages[index], "content": content}
            over = len(laid_out(messages, marks, loss_on).ids) - max_length
    return messages


def _without_end(text: str, tokens: int, tokenizer: Any) -> str:
    """The text less at least one and about so many tokens."""
    if not tokenizer.is_fast:
        share = 1 - tokens / max(1, len(_ids(text, tokenizer)))
        return text[: int(len(text) * max(0.0, share))]
    starts = [start for start, _ in tokenizer(text, add_special_tokens=False,
                                              return_offsets_mapping=True)["offset_mapping"]]
    kept = text[: starts[-tokens]].rstrip() if tokens < len(starts) else ""
    return kept if len(kept) < len(text) else text[:-1]


def labels_of(laid: Laid) -> list[int]:
    labels = [IGNORED] * len(laid.ids)
    for start, stop in laid.runs:
        labels[start:stop] = laid.ids[start:stop]
    return labels


def _example(laid: Laid) -> Example:
    return Example(laid.ids, labels_of(laid))


def _with_lost(whole: Laid, kept: Laid, start: int, stop: int) -> Example:
    """`kept` is `whole` without its positions from `start` to `stop`."""
    lost = slice_of(whole, start, stop)
    return Example(kept.ids, labels_of(kept), (lost.ids, labels_of(lost)),
                   None if start >= len(kept.ids) else start)


def _shortened_example(messages: list[Message], whole: Laid, marks: Marks, loss_on: str,
                       max_length: int) -> Example:
    """What is lost is the end of a question, and the end of an answer that is too long alone."""
    kept = laid_out(shortened(messages, marks, loss_on, max_length), marks, loss_on)
    same = next((i for i, (a, b) in enumerate(zip(whole.ids, kept.ids, strict=False)) if a != b),
                len(kept.ids))
    context = whole.ids[same: same + max(0, len(whole.ids) - len(kept.ids))]
    beyond = slice_of(kept, max_length, len(kept.ids))
    seen = slice_of(kept, 0, max_length)
    return Example(seen.ids, labels_of(seen), (
        context + beyond.ids, [IGNORED] * len(context) + labels_of(beyond)),
        None if same >= len(seen.ids) else same)


def _ids(text: str, tokenizer: Any) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"] if text else []


def _learned(labels: Sequence[int]) -> int:
    return int(numpy.count_nonzero(numpy.asarray(labels) != IGNORED)) if len(labels) else 0
