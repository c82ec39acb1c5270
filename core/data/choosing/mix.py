"""Several data sets in one: each with a name and a weight, and a share of general data."""

from collections.abc import Callable

import numpy as np
from datasets import Dataset, concatenate_datasets

from core.config import Config
from core.data.choosing import split
from core.data.choosing.parts import GENERAL, parts

# How often a small data set may be repeated to reach its weight: up to four passes are nearly as
# good as new rows (Muennighoff et al. 2023, "Scaling data-constrained language models").
MOST_PASSES = 4


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
