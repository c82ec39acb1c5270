"""Which rows are learned and which are held out."""

import numpy as np
from datasets import Dataset

from core.errors import UserError


def draw(rows: Dataset, count: int, seed: int, strata: np.ndarray | None = None) -> Dataset:
    """`count` rows in an order decided by `seed`, as datasets' shuffle(seed).select(range(count));
    0 means all rows. With `strata`, one value a row, each value keeps its share."""
    shuffled = in_order(rows, seed, strata)
    return shuffled if count == 0 or count >= len(rows) else shuffled.select(range(count))


def hold_out(rows: Dataset, train_rows: int, eval_rows: int, seed: int,
             strata: np.ndarray | None = None) -> tuple[Dataset, Dataset]:
    """Train and eval rows from one split, never the same row twice. The held-out rows are the last
    ones of the shuffled order; at most half of the rows are held out."""
    shuffled = in_order(rows, seed, strata)
    held = min(eval_rows, len(rows) // 2)
    if len(rows) - held < 1:
        raise UserError(f"The data set has {len(rows)} rows, too few to hold some out.",
                        "Use more rows, or set Evaluation rows to 0.")
    learned = len(rows) - held if train_rows == 0 else min(train_rows, len(rows) - held)
    return (shuffled.select(range(learned)),
            shuffled.select(range(len(rows) - held, len(rows))))


def in_order(rows: Dataset, seed: int, strata: np.ndarray | None) -> Dataset:
    return rows.shuffle(seed=seed) if strata is None else rows.select(spread(strata, seed))


def spread(strata: np.ndarray, seed: int) -> np.ndarray:
    """An order of the rows in which any run from the start, and any to the end, holds each value
    of `strata` in its share, to within a row: the k-th of a value's n rows lies at (k + u) / n."""
    random = np.random.default_rng(seed)
    _, codes, sizes = np.unique(strata, return_inverse=True, return_counts=True)
    shuffled = random.permutation(len(codes))
    by_value = shuffled[np.argsort(codes[shuffled], kind="stable")]
    starts = np.cumsum(sizes) - sizes
    rank = np.arange(len(codes)) - np.repeat(starts, sizes)
    place = (rank + np.repeat(random.random(len(sizes)), sizes)) / np.repeat(sizes, sizes)
    return by_value[np.argsort(place, kind="stable")]
