"""Votes of blind comparisons: kept in one file of the data folder, counted with an interval."""

import math
import time
from dataclasses import dataclass
from pathlib import Path

from core.files import append_json_line, read_json_lines

TIE = "tie"
Z = 1.96  # of a 95 % interval


@dataclass(frozen=True)
class Count:
    """Votes between two models. `share` is the second's of those that were no tie, from `low` to
    `high` with 95 % confidence (Wilson's score interval)."""

    first: int
    second: int
    ties: int
    share: float
    low: float
    high: float

    @property
    def is_sure(self) -> bool:
        """Whether the interval leaves out one half."""
        return self.low > 0.5 or self.high < 0.5


def vote(folder: Path, models: tuple[str, str], prompt: str, winner: str) -> None:
    """Keep a vote; `winner` is one of the two models, or TIE."""
    append_json_line(folder / "votes.jsonl", {"models": list(models), "prompt": prompt,
                                              "winner": winner, "time": time.time()})


def count(folder: Path, models: tuple[str, str]) -> Count:
    """All votes so far between these two, whichever stood left."""
    winners = [record.get("winner") for record in read_json_lines(folder / "votes.jsonl")
               if sorted(record.get("models", [])) == sorted(models)]
    first, second = (winners.count(model) for model in models)
    share, low, high = wilson(second, first + second)
    return Count(first, second, winners.count(TIE), share, low, high)


def wilson(successes: int, total: int) -> tuple[float, float, float]:
    """The share and its 95 % interval; without trials anything is possible."""
    if not total:
        return 0.5, 0.0, 1.0
    share = successes / total
    middle = (share + Z * Z / (2 * total)) / (1 + Z * Z / total)
    half = Z / (1 + Z * Z / total) * math.sqrt(
        share * (1 - share) / total + Z * Z / (4 * total * total))
    return share, max(0.0, middle - half), min(1.0, middle + half)
