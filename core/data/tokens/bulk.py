"""Many rows to ids and labels, about as fast as the tokenizer alone.

Texts are made here while the tokenizer works on the batch before in threads of its own. It says the
same as tokenize.encode, row for row.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from datasets import Dataset

from core.data.messages.layouts import Message
from core.data.tokens.fit import Laid, fit, learned_in
from core.data.tokens.frames import Frames, frames_of
from core.data.tokens.template import Segment, segments
from core.data.tokens.token_rows import Writer
from core.data.tokens.tokenize import Marks, laid_out, lay_out, shortened

READ_ROWS = 64
BATCH_CHARACTERS, BATCH_ROWS = 1 << 20, 1024
REMEMBERED_CHARACTERS, REMEMBERED = 64, 50_000  # short pieces, such as labels, come again

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Plan:
    """How rows become tokens; settings of these names."""

    loss_on: str
    max_length: int
    too_long: str


@dataclass
class Counts:
    """What was found, in rows and tokens. A row is cut if it loses any token, it loses its answer
    if it loses a learned one."""

    empty: int = 0
    cut: int = 0
    dropped: int = 0
    split: int = 0
    used: int = 0
    tokens: int = 0
    learned: int = 0
    lost: int = 0
    lost_learned: int = 0
    losing_answer: int = 0
    row_lengths: list[int] = field(default_factory=list)
    row_lost: list[int] = field(default_factory=list)
    fingerprint: str = ""


def tokenize(rows: Dataset, messages_of: Callable[[dict[str, Any]], list[Message]],
             tokenizer: Any, plan: Plan, writer: Writer, on_progress: Progress) -> Counts:
    """Writes what `rows` teach. An error that `on_progress` raises ends the work."""
    counts, marks = Counts(), Marks(tokenizer)
    work = _Work(marks, frames_of(tokenizer), plan)
    with ThreadPoolExecutor(1) as encoder:
        waiting = None
        for batch in _batches(rows, messages_of):
            parts = work.segments(batch)
            asked = encoder.submit(work.encode, parts)
            if waiting:
                work.write(*waiting[:2], waiting[2].result(), writer, counts)
                on_progress(len(counts.row_lengths), len(rows))
            waiting = batch, parts, asked
        if waiting:
            work.write(*waiting[:2], waiting[2].result(), writer, counts)
            on_progress(len(counts.row_lengths), len(rows))
    counts.fingerprint = writer.finish(counts.row_lengths, counts.row_lost)
    return counts


def _batches(rows: Dataset, messages_of: Callable) -> Iterator[list[list[Message]]]:
    """Dialogues, as many at a time as are worth a batch and fit into memory."""
    batch: list[list[Message]] = []
    characters = 0
    for start in range(0, len(rows), READ_ROWS):
        columns = rows[start: start + READ_ROWS]
        for cells in zip(*columns.values(), strict=True):
            messages = messages_of(dict(zip(columns, cells, strict=True)))
            batch.append(messages)
            characters += sum(len(m["content"] or "") for m in messages)
            if characters >= BATCH_CHARACTERS or len(batch) >= BATCH_ROWS:
                yield batch
                batch, characters = [], 0
    if batch:
        yield batch


class _Work:
    """Owns what is remembered from batch to batch."""

    def __init__(self, marks: Marks, frames: Frames, plan: Plan):
        self._marks, self._frames, self._plan = marks, frames, plan
        self._remembered: dict[str, list[int]] = {}
        self._encode = _encoder(marks.tokenizer)

    def segments(self, batch: list[list[Message]]) -> list[list[Segment]]:
        """By frames. One row of each batch is rendered too: should a template do what its frame
        doesn't show, all such rows are rendered from then on."""
        for messages in batch[:1]:
            framed = self._frames.framed(messages)
            if framed is not None and framed != segments(messages, self._marks.tokenizer):
                self._frames.distrust(messages)
        return [self._frames.segments(messages) for messages in batch]

    def encode(self, parts: list[list[Segment]]) -> dict[str, list[int]]:
        """The ids of each text, of each but once."""
        texts = {part.text: None for row in parts for part in row}
        new = [text for text in texts if text and text not in self._remembered]
        ids = dict(zip(new, self._encode(new), strict=True))
        known = {t: self._remembered[t] for t in texts if t in self._remembered} | {"": []}
        for text in new:
            if len(text) <= REMEMBERED_CHARACTERS and len(self._remembered) < REMEMBERED:
                self._remembered[text] = ids[text]
        return known | ids

    def write(self, batch: list[list[Message]], parts: list[list[Segment]],
              ids: dict[str, list[int]], writer: Writer, counts: Counts) -> None:
        kept: list[Laid] = []
        sources: list[int] = []
        for messages, row in zip(batch, parts, strict=True):
            whole = lay_out(row, [ids[part.text] for part in row], self._marks,
                            self._plan.loss_on)
            fitted = self._fit(whole, messages)
            used = [piece for piece in fitted if piece.runs]
            sources += [len(counts.row_lengths)] * len(used)
            kept += used
            _count(counts, whole, fitted, used, self._plan)
        writer.add(kept, sources)

    def _fit(self, whole: Laid, messages: list[Message]) -> list[Laid]:
        plan = self._plan
        if len(whole.ids) > plan.max_length and plan.too_long == "cut context":
            whole = laid_out(shortened(messages, self._marks, plan.loss_on, plan.max_length),
                             self._marks, plan.loss_on)
        return fit(whole, plan.max_length, plan.too_long)


def _count(counts: Counts, whole: Laid, fitted: list[Laid], used: list[Laid], plan: Plan) -> None:
    too_long = len(whole.ids) > plan.max_length
    was_learned, is_learned = learned_in(whole), sum(learned_in(piece) for piece in fitted)
    dropped = too_long and plan.too_long == "drop"
    counts.dropped += dropped
    counts.empty += not used and not dropped
    counts.used += bool(used)
    counts.split += too_long and plan.too_long == "split"
    counts.cut += too_long and plan.too_long not in ("split", "drop")
    counts.tokens += sum(len(piece.ids) for piece in used)
    counts.learned += is_learned
    counts.lost += max(0, len(whole.ids) - sum(len(piece.ids) for piece in fitted))
    counts.lost_learned += was_learned - is_learned
    counts.losing_answer += was_learned > is_learned
    counts.row_lengths.append(len(whole.ids))
    counts.row_lost.append(was_learned - is_learned)


def _encoder(tokenizer: Any) -> Callable[[list[str]], list[list[int]]]:
    """The ids of texts, by the Rust library itself where there is one: without offsets, in
    parallel, and with the interpreter free meanwhile."""
    if not tokenizer.is_fast:
        return lambda texts: tokenizer(texts, add_special_tokens=False)["input_ids"] \
            if texts else []
    library = tokenizer.backend_tokenizer
    library.no_truncation()
    library.no_padding()
    return lambda texts: [found.ids for found in library.encode_batch_fast(
        texts, add_special_tokens=False)]
