"""Rows as dialogues: read in a stream, summed up as text, and carried where parts are mixed."""

import hashlib
import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from datasets import Dataset, Features, Value

from core.data.messages.layouts import Message

# Columns of a row that carries its dialogue with it. Rows of several data sets, and changed copies
# of rows, have no columns in common; their dialogues have.
DIALOGUE, ORIGIN, CHANGE, SOURCE = "td_dialogue", "td_origin", "td_change", "td_source"
CARRIED = Features({DIALOGUE: Value("string"), ORIGIN: Value("string"), CHANGE: Value("string"),
                    SOURCE: Value("int64")})
BATCH = 1000
SMALL = 20_000  # rows; more are kept on disk

Reader = Callable[[dict[str, Any]], list[Message]]
Progress = Callable[[int, int], None]


def is_carried(row: dict[str, Any]) -> bool:
    return DIALOGUE in row


def carried_messages(row: dict[str, Any]) -> list[Message]:
    return json.loads(row[DIALOGUE])


def carry(rows: Dataset, read: Reader, origin: str) -> Dataset:
    """The same rows as dialogues; `source` is the index of the row that each was made from. Equal
    dialogues have an equal fingerprint, by which tokenized rows are kept."""
    digest = hashlib.sha256(origin.encode())

    def as_carried(batch: dict[str, list], indices: list[int]) -> dict[str, list]:
        dialogues = [json.dumps(read(dict(zip(batch, values, strict=True))), ensure_ascii=False)
                     for values in zip(*batch.values(), strict=True)]
        digest.update("\n".join(dialogues).encode("utf-8", "surrogatepass"))
        return {DIALOGUE: dialogues, ORIGIN: [origin] * len(dialogues),
                CHANGE: [""] * len(dialogues), SOURCE: indices}

    carried = rows.map(as_carried, batched=True, with_indices=True, features=CARRIED,
                       remove_columns=rows.column_names, load_from_cache_file=False,
                       new_fingerprint=uuid.uuid4().hex, keep_in_memory=len(rows) <= SMALL)
    carried._fingerprint = digest.hexdigest()[:16]
    return carried


def read_all(rows: Dataset, read: Reader, on_progress: Progress = lambda done, total: None
             ) -> Iterator[list[Message]]:
    """The dialogue of each row, a batch in memory at a time."""
    done = 0
    for batch in rows.iter(BATCH):
        for values in zip(*batch.values(), strict=True):
            yield read(dict(zip(batch, values, strict=True)))
        done += len(next(iter(batch.values())))
        on_progress(done, len(rows))


def question(messages: list[Message]) -> str:
    """What the model is asked: all that comes before its last answer, without system words; of a
    plain text all of it."""
    last = max((i for i, m in enumerate(messages) if m["role"] == "assistant"), default=-1)
    asked = messages if last < 0 else messages[:last]
    return "\n".join(m["content"] for m in asked if m["role"] != "system")


def answer(messages: list[Message]) -> str:
    """The last answer; '' where there is none."""
    return next((m["content"] for m in reversed(messages) if m["role"] == "assistant"), "")


def text(messages: list[Message]) -> str:
    return "\n".join(m["content"] for m in messages if m["role"] != "system")
