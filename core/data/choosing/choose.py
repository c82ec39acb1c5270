"""Which rows of a data set are used: filters, repeated rows, rows that leak, and their spread."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from core.config import Config
from core.data.choosing import alike, language
from core.data.messages import dialogues
from core.data.messages.dialogues import Reader
from core.errors import UserError

KEEP, EQUAL, NEAR = "keep", "leave equal ones out", "leave near ones out"
LENGTHS = 10        # strata of equal size, by length
MOST_LABELS = 1000  # more different answers aren't labels

Progress = Callable[[str, float | None], None]


@dataclass(frozen=True)
class Chosen:
    """Rows, and in words what was left out on the way."""

    rows: Dataset
    notes: tuple[str, ...] = ()


def chosen(rows: Dataset, read: Reader, config: Config, on_progress: Progress) -> Chosen:
    """The rows that pass the filters and don't repeat another one. `read` gives a row's dialogue
    without the instruction that all rows share. UserError where none is left."""
    kept, notes = rows, []
    if _has_filters(config):
        passes = _passing(rows, read, config, on_progress)
        kept = rows.select(np.flatnonzero(passes))
        notes.append(f"{len(rows) - len(kept):,} of {len(rows):,} rows are left out by the filters")
        if not len(kept):
            raise UserError(f"None of the {len(rows):,} rows passes the filters.",
                            "Loosen Shortest row, Longest row, Languages or the expressions.")
    if config.duplicates != KEEP:
        repeated = alike.copies(prints_of(kept, read, on_progress), text_reader(kept, read),
                                near=config.duplicates == NEAR)
        if repeated:
            notes.append(f"{len(repeated):,} rows that repeat another one are left out")
            kept = kept.select([i for i in range(len(kept)) if i not in repeated])
    return Chosen(kept, tuple(notes))


def without_leaks(rows: Dataset, read: Reader, held_out: Dataset, read_held_out: Reader,
                  config: Config, on_progress: Progress) -> Chosen:
    """The rows that repeat none of `held_out`, unless repeated ones are kept."""
    if config.duplicates == KEEP:
        return Chosen(rows)
    found = leaks(prints_of(rows, read, on_progress), text_reader(rows, read),
                  prints_of(held_out, read_held_out, on_progress),
                  text_reader(held_out, read_held_out), near=config.duplicates == NEAR)
    if not found:
        return Chosen(rows)
    if len(found) == len(rows):
        raise UserError("Every training row repeats one of the evaluation data set.",
                        "Choose another evaluation data set, or keep repeated rows.")
    return Chosen(rows.select([i for i in range(len(rows)) if i not in found]),
                  (f"{len(found):,} training rows that repeat a held-out one are left out",))


def leaks(rows: alike.Prints, row_text: Callable[[int], str], held_out: alike.Prints,
          held_out_text: Callable[[int], str], near: bool = True) -> dict[int, int]:
    """Index of each row that repeats a held-out one -> the index of that one."""
    count = len(held_out.keys)
    found = alike.copies(alike.together(held_out, rows), lambda number: (
        held_out_text(number) if number < count else row_text(number - count)), near)
    return {number - count: first for number, first in found.items()
            if number >= count and first < count}


def strata(rows: Dataset, read: Reader, config: Config) -> np.ndarray | None:
    """One value a row by which rows are spread, or None. UserError where the answers are no
    labels."""
    if config.stratify == "no":
        return None
    if config.stratify == "by length":
        lengths = np.array([len(dialogues.text(m)) for m in dialogues.read_all(rows, read)])
        rank = np.argsort(np.argsort(lengths, kind="stable"), kind="stable")
        return rank * LENGTHS // max(1, len(rank))
    answers = [alike.normal(dialogues.answer(m)) or dialogues.answer(m)
               for m in dialogues.read_all(rows, read)]
    different = len(set(answers))
    if different > MOST_LABELS or different > max(2, len(answers) // 2):
        raise UserError(f"Rows can't be spread by label: {len(answers):,} rows have {different:,} "
                        "different answers.", "Spread them by length, or choose the label column.")
    return np.array(answers)


def prints_of(rows: Dataset, read: Reader, on_progress: Progress) -> alike.Prints:
    return alike.prints(dialogues.text(m) for m in dialogues.read_all(
        rows, read, lambda done, total: on_progress("Looking for repeated rows", done / total)))


def text_reader(rows: Dataset, read: Reader) -> Callable[[int], str]:
    return lambda index: dialogues.text(read(rows[index]))


def _has_filters(config: Config) -> bool:
    return bool(config.min_characters or config.max_characters or config.languages
                or config.keep_pattern or config.drop_pattern)


def _passing(rows: Dataset, read: Reader, config: Config, on_progress: Progress) -> np.ndarray:
    passes: list[bool] = []
    batch: list[str] = []
    every = dialogues.read_all(rows, read, lambda done, total: on_progress(
        "Filtering rows", done / total))
    for messages in every:
        batch.append(dialogues.text(messages))
        if len(batch) == dialogues.BATCH:
            passes += _batch_passes(batch, config).tolist()
            batch = []
    return np.array(passes + _batch_passes(batch, config).tolist(), dtype=bool)


def _batch_passes(texts: list[str], config: Config) -> np.ndarray:
    lengths = np.array([len(text) for text in texts], dtype=np.int64)
    passes = lengths >= config.min_characters
    if config.max_characters:
        passes &= lengths <= config.max_characters
    if config.languages:
        wanted = {name.lower() for name in config.languages}
        passes &= np.array([language.guess(text) in wanted for text in texts], dtype=bool)
    if config.keep_pattern:
        passes &= _matches(texts, config.keep_pattern, "Keep rows with")
    if config.drop_pattern:
        passes &= ~_matches(texts, config.drop_pattern, "Leave out rows with")
    return passes


def _matches(texts: list[str], pattern: str, label: str) -> np.ndarray:
    """Arrow's RE2 needs time in proportion to the text, whatever the expression; Python's own
    engine can be made to run for years by a pattern of ten signs."""
    try:
        found = pc.match_substring_regex(pa.array(texts, pa.large_string()), pattern)
    except pa.ArrowInvalid as error:
        raise UserError(f"{label}: '{pattern}' is no regular expression: "
                        f"{str(error).rpartition('error: ')[2]}",
                        "Write it as RE2 does; look-around and back-references don't exist there."
                        ) from error
    return found.to_numpy(zero_copy_only=False).astype(bool)
