"""Looks at every row once: tokens, what is learned and lost, language, what an audit needs."""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from datasets import Dataset

from core.config import Config
from core.data.build import Opened
from core.data.choosing import alike, choose, language, personal
from core.data.messages import dialogues
from core.data.tokens.template import special_texts
from core.errors import UserError

PARTS = ("train", "eval")
REPORT_SECONDS = 0.5
MOST_ROWS = 20_000  # looked at in each part; rows are shuffled, so the first are a sample
BINS = 40
LONGEST_LABEL = 40  # characters; a longer answer is no label
MOST_LABELS = 20

# What chat templates write. Inside a person's words it comes from a data set that was made for
# another model, whose marks this one would learn as text.
MARKS = re.compile(r"<\|(?:im_start|im_end|user|assistant|system|eot_id|start_header_id|endoftext)"
                   r"\|>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|### (?:Instruction|Response):"
                   r"|<｜(?:User|Assistant)｜>")


@dataclass
class Facts:
    """One entry a row, in the order of the rows, of `total` that are looked at; the part has `rows`
    of them. Tokens are counted before anything is cut off; `asked` is a key of the question, `said`
    a short answer."""

    total: int
    rows: int
    tokens: list[int] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)  # tokens within the max length
    learned: list[int] = field(default_factory=list)
    lost_learned: list[int] = field(default_factory=list)
    unknown: list[int] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)
    silent: list[bool] = field(default_factory=list)
    languages: list[str] = field(default_factory=list)
    two_languages: list[bool] = field(default_factory=list)
    personal: dict[int, set[str]] = field(default_factory=dict)
    marks: dict[int, str] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    prints: alike.Prints | None = None
    origins: Counter = field(default_factory=Counter)
    changed: list[bool] = field(default_factory=list)

    @property
    def done(self) -> int:
        return len(self.tokens)


@dataclass
class Survey:
    """What is known so far of both parts. `copies` and `leaks` are found when all rows were
    seen: index -> index of the row that it repeats."""

    parts: dict[str, Facts]
    max_length: int
    drops_longer: bool = False
    finished: bool = False
    copies: dict[str, dict[int, int]] = field(default_factory=dict)
    leaks: dict[int, int] = field(default_factory=dict)

    @property
    def share(self) -> float:
        done = sum(facts.done for facts in self.parts.values())
        return done / max(1, sum(facts.total for facts in self.parts.values()))


def survey(opened: Opened, config: Config, tokenizer: Any) -> Iterator[Survey]:
    """Yields the same growing Survey now and then, and once more when it is finished."""
    rows = {part: r for part, r in zip(PARTS, (opened.train, opened.held_out), strict=True)
            if r is not None}
    found = Survey({part: Facts(min(len(r), MOST_ROWS), len(r)) for part, r in rows.items()},
                   config.max_length, config.too_long == "drop")
    looker = Looker(opened, config, tokenizer)
    told = time.monotonic()
    for part, part_rows in rows.items():
        prints = []
        for batch in _batches(part_rows.select(range(found.parts[part].total))):
            texts = [looker.look(row, found.parts[part]) for row in batch]
            prints.append(alike.prints(texts))
            if time.monotonic() - told > REPORT_SECONDS:
                yield found
                told = time.monotonic()
        found.parts[part].prints = _joined(prints)
    yield found
    texts = {part: _text_of(r, looker) for part, r in rows.items()}
    found.copies = {part: _copies(found.parts[part], texts[part]) for part in rows}
    if "eval" in rows:
        found.leaks = _leaks(found, texts)
    found.finished = True
    yield found


class Looker:
    """Fills in the facts of a row; holds what is the same for all rows."""

    def __init__(self, opened: Opened, config: Config, tokenizer: Any):
        self._opened, self._config, self._tokenizer = opened, config, tokenizer
        self._unknown = tokenizer.unk_token_id
        self._special = set(special_texts(tokenizer))

    def look(self, row: dict[str, Any], facts: Facts) -> str:
        """Adds a row to `facts`; returns the text by which it is compared with others."""
        index = facts.done
        try:
            example = self._opened.example(row, self._config, self._tokenizer)
            ids, lost = example.ids, example.lost[0]
            counts = (len(ids) + len(lost), len(ids), example.learned, example.lost_learned)
        except UserError as error:
            facts.refused[index], ids, counts = error.problem, [], (0, 0, 0, 0)
        messages = [] if index in facts.refused and not dialogues.is_carried(row) \
            and not self._readable(row) else self._opened.messages(row)
        text = self.text(messages)
        for values, count in zip((facts.tokens, facts.kept, facts.learned, facts.lost_learned),
                                 counts, strict=True):
            values.append(count)
        # Some tokenizers name a token "unknown" that they also use as an end or for padding.
        unknown = text.count("\ufffd") if self._unknown is None or \
            self._unknown in (self._tokenizer.eos_token_id, self._tokenizer.pad_token_id) \
            else ids.count(self._unknown) + text.count("\ufffd")
        facts.unknown.append(unknown)
        self._look_at_words(messages, text, index, facts)
        facts.origins[row.get(dialogues.ORIGIN, "")] += 1
        facts.changed.append(bool(row.get(dialogues.CHANGE)))
        return text

    def _look_at_words(self, messages: list, text: str, index: int, facts: Facts) -> None:
        answer = dialogues.answer(messages)
        plain = bool(messages) and messages[0]["role"] == "text"
        facts.silent.append(not (text if plain else answer).strip())
        facts.languages.append(language.guess(text))
        facts.two_languages.append(language.has_two(text))
        if kinds := personal.kinds(text):
            facts.personal[index] = kinds
        if mark := MARKS.search(text):
            facts.marks[index] = mark.group()
        question = self._without_instruction(dialogues.question(messages))
        facts.asked.append(alike.key(alike.normal(question)))
        facts.said.append(answer.strip() if len(answer) <= LONGEST_LABEL and not plain else "")

    def text(self, messages: list) -> str:
        return self._without_instruction(dialogues.text(messages))

    def _without_instruction(self, text: str) -> str:
        """The instruction that all rows share would make short rows alike."""
        return text.removeprefix(self._opened.instruction)

    def _readable(self, row: dict[str, Any]) -> bool:
        try:
            self._opened.messages(row)
        except UserError:
            return False
        return True

    def read(self, row: dict[str, Any]) -> str:
        return self.text(self._opened.messages(row)) if self._readable(row) else ""


def _batches(rows: Dataset) -> Iterator[list[dict[str, Any]]]:
    for batch in rows.iter(200):
        yield [dict(zip(batch, values, strict=True)) for values in zip(*batch.values(),
                                                                       strict=True)]


def _joined(prints: list[alike.Prints]) -> alike.Prints:
    return alike.Prints(np.concatenate([p.keys for p in prints]),
                        np.concatenate([p.bands for p in prints]))


def _text_of(rows: Dataset, looker: Looker) -> Callable[[int], str]:
    return lambda index: looker.read(rows[index])


def _copies(facts: Facts, text_of: Callable[[int], str]) -> dict[int, int]:
    """Rows that repeat another one; a changed copy does so because it was asked to."""
    originals = np.flatnonzero(~np.array(facts.changed, dtype=bool))
    prints = alike.Prints(facts.prints.keys[originals], facts.prints.bands[originals])
    found = alike.copies(prints, lambda number: text_of(int(originals[number])))
    return {int(originals[i]): int(originals[first]) for i, first in found.items()}


def _leaks(found: Survey, texts: dict[str, Callable[[int], str]]) -> dict[int, int]:
    """Training rows that repeat a held-out one, or ask its very question."""
    train, held_out = found.parts["train"], found.parts["eval"]
    questions = {key: index for index, key in enumerate(held_out.asked)}
    leaked = {index: questions[key] for index, key in enumerate(train.asked) if key in questions}
    return leaked | choose.leaks(train.prints, texts["train"], held_out.prints, texts["eval"])


def histogram(facts: Facts, max_length: int) -> dict[str, Any]:
    """Row lengths in tokens, in at most BINS bins of equal width, the rarest longest rows in the
    last one."""
    lengths = np.array(facts.tokens[: facts.done])
    if not len(lengths):
        return {"counts": [], "width": 1, "cut": max_length}
    # One row of a book's length must not press all others into one bin.
    top = max(int(np.quantile(lengths, 0.995) * 1.1), 2)
    width = max(1, -(-top // BINS))
    counts = np.bincount(np.minimum(lengths // width, BINS), minlength=1)
    return {"counts": counts.tolist(), "width": width, "cut": max_length,
            "longest": int(lengths.max()), "median": int(np.median(lengths)),
            "open_end": bool(len(counts) > BINS), "rows": len(lengths),
            "rows_cut": int((lengths > max_length).sum()),
            "lost": int(np.maximum(0, lengths - max_length).sum()), "tokens": int(lengths.sum())}


def label_counts(facts: Facts) -> list[tuple[str, int]]:
    """Answers that are labels, with their counts, the commonest first; empty where they aren't."""
    counts = Counter(facts.said)
    labels = [(label, count) for label, count in counts.most_common() if label]
    few = 2 <= len(labels) <= MOST_LABELS and len(labels) * 3 <= facts.done
    return labels if few and counts[""] * 10 <= facts.done else []


def language_counts(facts: Facts) -> list[tuple[str, int]]:
    return Counter(name for name in facts.languages if name).most_common()
