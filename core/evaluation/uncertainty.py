"""How sure a number is: bootstrap intervals, and paired tests between two models."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

DRAWS = 2000
SURE = 0.05  # below this a difference counts as more than chance
FEWEST = 10  # rows; of fewer the bootstrap claims too much

# Rows' indices, shape (draws, rows), to a number for each draw, shape (draws,).
Statistic = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Interval:
    """A number with the bounds between which it lies in 95 of 100 draws of the rows."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Compared:
    """The second model less the first; `verdict` is better, worse or no clear difference."""

    difference: float
    low: float
    high: float
    p: float
    verdict: str


def draw_rows(rows: int, seed: int = 0) -> np.ndarray:
    """Indices (DRAWS, rows), each line drawn with replacement. All models get the same draws,
    which is what makes their comparison paired."""
    return np.random.default_rng(seed).integers(0, rows, size=(DRAWS, rows))


def interval(statistic: Statistic, rows: int, draws: np.ndarray) -> Interval:
    """The statistic of all rows with its percentile bootstrap interval (Efron, 1979)."""
    found = statistic(draws)
    return Interval(_whole(statistic, rows), *_bounds(found))


def compare(first: Statistic, second: Statistic, rows: int, draws: np.ndarray, better: str,
            right: tuple[np.ndarray, np.ndarray] | None = None) -> Compared:
    """`better` is 'higher' or 'lower'. `right` are (rows,) booleans of both, where the statistic
    counts right answers: then McNemar's exact test gives p, else the paired bootstrap."""
    gaps = second(draws) - first(draws)
    difference = _whole(second, rows) - _whole(first, rows)
    p = mcnemar(*right) if right else _bootstrap_p(gaps)
    sign = difference if better == "higher" else -difference
    unclear = p >= SURE or sign == 0 or rows < FEWEST
    verdict = "no clear difference" if unclear else "better" if sign > 0 else "worse"
    return Compared(difference, *_bounds(gaps), p, verdict)


def mcnemar(first: np.ndarray, second: np.ndarray) -> float:
    """The exact two-sided p of McNemar's test: whether the rows on which exactly one of two
    models is right fall to both sides alike."""
    from scipy.stats import binomtest

    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    if only_first + only_second == 0:
        return 1.0
    return float(binomtest(only_first, only_first + only_second, 0.5).pvalue)


def means(values: np.ndarray) -> Statistic:
    """The mean of one number a row; rows where it isn't known (NaN) don't count."""
    if not np.isnan(values).any():
        return lambda drawn: values[drawn].mean(axis=1)
    known = ~np.isnan(values)
    filled = np.where(known, values, 0.0)
    return lambda drawn: filled[drawn].sum(axis=1) / np.maximum(known[drawn].sum(axis=1), 1)


def _whole(statistic: Statistic, rows: int) -> float:
    return float(statistic(np.arange(rows)[None, :])[0])


def _bounds(found: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(found, (2.5, 97.5))
    return float(low), float(high)


def _bootstrap_p(gaps: np.ndarray) -> float:
    """Two-sided: twice the share of draws on the rarer side of zero, never below one draw."""
    rarer = min((gaps <= 0).mean(), (gaps >= 0).mean())
    return float(min(1.0, max(2 * rarer, 1 / len(gaps))))


def as_plain(value: Interval | Compared) -> dict[str, Any]:
    return asdict(value)
