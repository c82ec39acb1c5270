"""One number for every model with its interval, and the tables that such numbers make."""

from dataclasses import dataclass

import numpy as np

from core.evaluation.score import Score
from core.evaluation.uncertainty import (
    Compared,
    Interval,
    Statistic,
    compare,
    draw_rows,
    interval,
    means,
)


@dataclass(frozen=True)
class Number:
    """`values` has one Interval a model, the first (base) model first; `compared` says for each
    whether it differs from the first. `unit` is '%' for shares from 0 to 1, else ''. `better` is
    'higher', 'lower' or '' where neither is."""

    key: str
    label: str
    unit: str
    better: str
    rows: int
    values: list[Interval]
    compared: list[Compared | None]


@dataclass(frozen=True)
class Table:
    """Numbers that belong together; `help` says what they mean."""

    key: str
    title: str
    help: str
    numbers: list[Number]


def number(key: str, label: str, statistics: list[Statistic], rows: int, *, unit: str = "",
           better: str = "higher", right: list[np.ndarray] | None = None) -> Number:
    """`right` are booleans of rows for each model where the number counts right answers."""
    draws = draw_rows(rows)
    compared = [compare(statistics[0], other, rows, draws, better,
                        (right[0], right[place]) if right else None) if better else None
                for place, other in enumerate(statistics[1:], start=1)]
    return Number(key, label, unit, better, rows,
                  [interval(s, rows, draws) for s in statistics], [None, *compared])


def rate(key: str, label: str, right: list[np.ndarray], better: str = "higher") -> Number:
    """The share of rows that are True, compared by McNemar's test."""
    flags = [np.asarray(each, dtype=bool) for each in right]
    return number(key, label, [means(each.astype(float)) for each in flags], len(flags[0]),
                  unit="%", better=better, right=flags)


def mean(key: str, label: str, values: list[np.ndarray], *, unit: str = "",
         better: str = "higher") -> Number:
    return number(key, label, [means(np.asarray(each, dtype=float)) for each in values],
                  len(values[0]), unit=unit, better=better)


def likelihood(key: str, label: str, scores: list[list[Score]], perplexity: bool = True) -> Number:
    """Mean loss a token over all rows' tokens, or its exponential."""
    return number(key, label, [_loss(each, perplexity) for each in scores], len(scores[0]),
                  better="lower")


def _loss(scores: list[Score], perplexity: bool) -> Statistic:
    losses = np.array([-s.log_probability for s in scores])
    tokens = np.array([s.tokens for s in scores], dtype=float)

    def statistic(drawn: np.ndarray) -> np.ndarray:
        found = losses[drawn].sum(axis=1) / np.maximum(tokens[drawn].sum(axis=1), 1)
        return np.exp(np.minimum(found, 700)) if perplexity else found

    return statistic
