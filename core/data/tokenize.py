"""Messages to token ids and labels, built side by side."""

from dataclasses import dataclass
from typing import Any

from core.data.layouts import Message
from core.data.template import prompt_text, segments

IGNORED = -100  # torch's cross-entropy skips this label


@dataclass(frozen=True)
class Example:
    """One row as the model meets it. `ids` and `labels` have the same length; a label is the id
    itself where it is learned, else IGNORED. `lost` are the (ids, labels) that were cut off."""

    ids: list[int]
    labels: list[int]
    lost: tuple[list[int], list[int]] = ((), ())

    @property
    def learned(self) -> int:
        return sum(label != IGNORED for label in self.labels)

    @property
    def lost_learned(self) -> int:
        return sum(label != IGNORED for label in self.lost[1])


def encode_prompt(messages: list[Message], tokenizer: Any) -> list[int]:
    """The ids that the model reads before it answers, as chat and training both use them."""
    ids = _ids(prompt_text(messages, tokenizer), tokenizer)
    return _opening(ids, tokenizer) + ids


def encode(messages: list[Message], tokenizer: Any, loss_on: str, max_length: int) -> Example:
    """Ids and labels of one dialogue. `loss_on` is 'answers', 'last answer' or 'all tokens'.

    Each piece is tokenized for itself, because that is how generation joins them: the prompt is
    read, then the answer's tokens follow. Exactly one BOS where the tokenizer uses one; each
    answer ends with an end-of-turn token that is learned.
    """
    parts = segments(messages, tokenizer)
    last = max((i for i, part in enumerate(parts) if part.learned), default=-1)
    ids: list[int] = []
    labels: list[int] = []
    for index, part in enumerate(parts):
        piece = _ids(part.text, tokenizer)
        if index == last and not _ends_turn(piece, tokenizer):
            piece.append(tokenizer.eos_token_id)
        learned = loss_on == "all tokens" or part.learned and (
            loss_on == "answers" or index == last)
        ids += piece
        labels += piece if learned else [IGNORED] * len(piece)
    opening = _opening(ids, tokenizer)
    ids, labels = opening + ids, [IGNORED] * len(opening) + labels
    if labels:
        labels[0] = IGNORED  # nothing comes before it that could predict it
    return Example(ids[:max_length], labels[:max_length],
                   (ids[max_length:], labels[max_length:]))


def _ids(text: str, tokenizer: Any) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"] if text else []


def _opening(ids: list[int], tokenizer: Any) -> list[int]:
    """The tokens that this tokenizer puts before any text, unless the template wrote them."""
    empty = tokenizer("", add_special_tokens=True)["input_ids"]
    end = {tokenizer.eos_token_id}
    opening = [token for token in empty if token not in end or token == tokenizer.bos_token_id]
    return [] if not opening or ids[: len(opening)] == opening else opening


def _ends_turn(piece: list[int], tokenizer: Any) -> bool:
    if not piece:
        return False
    token = tokenizer.added_tokens_decoder.get(piece[-1])
    return piece[-1] == tokenizer.eos_token_id or bool(token and token.special)
