"""A run's measurements, read once: what was appended since is read only, however long they are."""

import json
import math
import threading
from array import array
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy
import orjson

from core.settings.progress import BEST_BY

CURVES = ("loss", "learning_rate", "grad_norm", "tokens_per_second", *BEST_BY.values())
RECENT = 16
MOST_RUNS = 64
BLOCK_BYTES = 1 << 22
MOST_STEPS = 1 << 53


@dataclass
class Curve:
    """Steps and values of one measurement; a value that was no number is NaN."""

    steps: array = field(default_factory=lambda: array("q"))
    values: array = field(default_factory=lambda: array("d"))

    def add(self, steps: list[int], values: list[float]) -> None:
        found = numpy.array(values, numpy.float64)
        found[~numpy.isfinite(found)] = math.nan
        self.steps.frombytes(numpy.array(steps, numpy.int64).tobytes())
        self.values.frombytes(found.tobytes())

    def records(self, name: str) -> Iterator[dict[str, float]]:
        """The points as they stand in metrics.jsonl, under the curve's name."""
        for step, value in zip(self.steps, self.values, strict=True):
            yield {"step": step, name: value}

    def thinned(self, most: int) -> list[tuple[int, float | None]]:
        """At most about `most` points in the order of steps: the lowest and the highest of each
        stretch, so that no spike is lost. NaN comes as None."""
        steps, values = numpy.array(self.steps), numpy.array(self.values)
        if len(steps) and (numpy.diff(steps) < 0).any():
            order = numpy.argsort(steps, kind="stable")
            steps, values = steps[order], values[order]
        kept = _extremes(values, most)
        return [(int(steps[i]), None if math.isnan(values[i]) else float(values[i]))
                for i in kept]


def _extremes(values: numpy.ndarray, most: int) -> list[int]:
    """Where the lowest and the highest value of each stretch are, and the first and last of all."""
    if len(values) <= most:
        return list(range(len(values)))
    stretches = numpy.array_split(numpy.arange(len(values)), max(1, most // 2 - 1))
    found = {0, len(values) - 1}
    for part in stretches:
        known = part[~numpy.isnan(values[part])]
        if len(known):
            found |= {int(known[values[known].argmin()]), int(known[values[known].argmax()])}
        else:
            found.add(int(part[0]))  # a stretch without a number stays a gap
    return sorted(found)


class Measured:
    """What one metrics.jsonl holds."""

    def __init__(self) -> None:
        self.curves = {name: Curve() for name in CURVES}
        self.recent: deque[dict] = deque(maxlen=RECENT)  # records that have a loss
        self.held_out: list[dict] = []
        self._identity, self._read_bytes = (0, 0), 0

    def follow(self, path: Path) -> None:
        """Read what was appended; all of it where the file was written anew."""
        try:
            about = path.stat()
        except OSError:
            self.__init__()
            return
        identity = (about.st_dev, about.st_ino)
        if identity != self._identity or about.st_size < self._read_bytes:
            self.__init__()
            self._identity = identity
        with path.open("rb") as file:
            file.seek(self._read_bytes)
            while lines := file.readlines(BLOCK_BYTES):
                whole = lines if lines[-1].endswith(b"\n") else lines[:-1]
                self._read_bytes += sum(map(len, whole))
                self._add(whole)
                if len(whole) < len(lines):
                    return  # the last line is still being written

    def _add(self, lines: list[bytes]) -> None:
        records = [r for r in _parsed(lines) if _is_record(r)]
        for name, curve in self.curves.items():
            known = [r for r in records if name in r]
            curve.add([r["step"] for r in known], [r[name] for r in known])
        self.recent.extend(r for r in records if "loss" in r)
        self.held_out.extend(r for r in records if "eval_loss" in r)

    def effect(self, kept_by: str) -> tuple[float, float] | None:
        """Held-out loss before and after, as `effect` tells it."""
        curve = self.curves[BEST_BY[kept_by]] if kept_by else Curve()
        return effect({r["step"]: r["eval_loss"] for r in self.held_out},
                      dict(zip(curve.steps, curve.values, strict=True)), kept_by)


def effect(losses: dict[int, float], scores: dict[int, float], kept_by: str
           ) -> tuple[float, float] | None:
    """Held-out loss of the base model (at step 0) and of the state that is kept, where both are
    known: the best by `kept_by`, whose `scores` by step these are; the last where it is empty."""
    after = dict(losses)
    before = after.pop(0, None)
    if before is None or not after:
        return None
    if not kept_by:
        return before, after[max(after)]
    if kept_by == "loss":
        return before, min(after.values())
    best = {step: value for step, value in scores.items() if step in after}
    # Of equals the first is kept, as transformers does it.
    kept = max(best, key=lambda step: (best[step], -step)) if best else max(after)
    return before, after[kept]


def _is_record(found: Any) -> bool:
    """A step, and numbers where numbers belong: a run's folder may come from anybody."""
    return (isinstance(found, dict) and isinstance(found.get("step"), int)
            and abs(found["step"]) <= MOST_STEPS
            and all(isinstance(found.get(name, 0), int | float) for name in CURVES))


def _parsed(lines: list[bytes]) -> list[Any]:
    """The records of whole lines; those that a crash has cut are left out."""
    try:
        return orjson.loads(b"[" + b",".join(lines) + b"]")  # at once: faster
    except ValueError:  # a cut line, or NaN, which orjson doesn't know
        return [record for line in lines for record in _alone(line)]


def _alone(line: bytes) -> list[Any]:
    try:
        return [json.loads(line)]
    except ValueError:
        return []


class Reader:
    """The measurements of the runs that are looked at, the ones used last kept."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Path, Measured] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def read(self, folder: Path) -> Iterator[Measured]:
        """Measurements of a run's folder up to this moment; nobody else reads meanwhile."""
        with self._lock:
            measured = self._kept.pop(folder, None) or Measured()
            self._kept[folder] = measured
            if len(self._kept) > MOST_RUNS:
                self._kept.popitem(last=False)
            measured.follow(folder / "metrics.jsonl")
            yield measured
