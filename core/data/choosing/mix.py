"""Several data sets in one: each with a name and a weight, and a share of general data."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from datasets import Dataset, concatenate_datasets

from core.config import Config
from core.data.choosing import split
from core.errors import UserError

# How often a small data set may be repeated to reach its weight: up to four passes are nearly as
# good as new rows (Muennighoff et al. 2023, "Scaling data-constrained language models").
MOST_PASSES = 4
GENERAL = "general"


@dataclass(frozen=True)
class Part:
    """`weight` rows for each row of the main data set."""

    name: str
    dataset: str
    weight: float


def parts(text: str) -> list[Part]:
    """The lines 'name = data set * weight'; name and weight may be left out. UserError with the
    line where one can't be read."""
    found = []
    for line in filter(None, map(str.strip, text.splitlines())):
        name, equals, rest = line.partition(" = ")
        dataset, times, weight = (rest if equals else line).rpartition(" * ")
        dataset = (dataset if times else weight).strip()
        name = name.strip() if equals else dataset.rstrip("/").rpartition("/")[2]
        found.append(Part(name.removeprefix("sample:"), dataset, _weight(weight, line) if times
                          else 1.0))
    names = [*(part.name for part in found), GENERAL]
    if len(set(names)) < len(names):
        raise UserError(f"Other data sets: two have one name ({', '.join(names)}).",
                        "Write another name before the ' = '.")
    return found


def renamed(text: str, rename: Callable[[str], str]) -> str:
    """The same lines with other names of their data sets; each part keeps its own name."""
    lines = []
    for line in text.splitlines():
        for part in parts(line):
            anew = rename(part.dataset)
            if anew != part.dataset:
                line = f"{part.name} = {anew} * {part.weight!r}"
        lines.append(line)
    return "\n".join(lines)


def _weight(text: str, line: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = 0.0
    if not 0 < weight <= 1000:
        raise UserError(f"Other data sets: '{line}' has the weight '{text}'.",
                        "It needs a number above 0, such as: letters = letters.jsonl * 0.5")
    return weight


def wanted_general(others: int, share: float) -> int:
    """How many general rows make `share` of all, beside `others` rows."""
    return round(others * share / (1 - share))


def mixed(main: Dataset, config: Config, open_part: Callable[[str, str, int], Dataset]
          ) -> tuple[Dataset, tuple[str, ...]]:
    """`main` (carried) with its other parts in one shuffled order, and in words what each part
    came to. `open_part` gives the carried rows for a part's name, its data set, and how many."""
    pieces, notes = [main], []

    def add(name: str, dataset: str, wanted: int) -> None:
        rows = open_part(name, dataset, wanted)
        pieces.append(rows)
        notes.append(_told(name, len(rows), wanted))

    for part in parts(config.mix):
        add(part.name, part.dataset, max(1, round(len(main) * part.weight)))
    if config.general_share:
        wanted = wanted_general(sum(map(len, pieces)), config.general_share)
        add(GENERAL, config.general_dataset, max(1, wanted))
    together = concatenate_datasets(pieces)
    return together.shuffle(seed=config.data_seed), tuple(notes)


def take(rows: Dataset, count: int, seed: int) -> Dataset:
    """`count` rows drawn by `seed`; a smaller data set is gone through up to MOST_PASSES times."""
    if count <= len(rows):
        return split.draw(rows, count, seed)
    order = np.concatenate([np.random.default_rng((seed, turn)).permutation(len(rows))
                            for turn in range(min(MOST_PASSES, -(-count // len(rows))))])
    return rows.select(order[:count])


def _told(name: str, found: int, wanted: int) -> str:
    if found < wanted:
        return (f"'{name}' adds {found:,} rows; {wanted:,} were wanted, but a row is learned "
                f"{MOST_PASSES} times at most")
    return f"'{name}' adds {found:,} rows"
