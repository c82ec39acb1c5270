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

import numpy

CURVES = ("loss", "eval_loss", "learning_rate", "grad_norm", "tokens_per_second")
RECENT = 16
MOST_RUNS = 64
BLOCK_BYTES = 1 << 22


@dataclass
class Curve:
    """Steps and values of one measurement; a value that was no number is NaN."""

    steps: array = field(default_factory=lambda: array("q"))
    values: array = field(default_factory=lambda: array("d"))

    def add(self, step: int, value: float) -> None:
        self.steps.append(step)
        self.values.append(value if math.isfinite(value) else math.nan)

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
                for line in lines:
                    if not line.endswith(b"\n"):
                        return  # it isn't whole yet
                    self._read_bytes += len(line)
                    self._add(line)

    def _add(self, line: bytes) -> None:
        try:
            record = json.loads(line)
            step = int(record["step"])
        except (ValueError, KeyError, TypeError):
            return  # cut by a crash
        for name in CURVES:
            if isinstance(value := record.get(name), int | float):
                self.curves[name].add(step, value)
        if "loss" in record:
            self.recent.append(record)
        if "eval_loss" in record:
            self.held_out.append(record)

    def effect(self, keeps_best: bool) -> tuple[float, float] | None:
        """Held-out loss before and after, as Run.effect tells it."""
        found = {r["step"]: r["eval_loss"] for r in self.held_out}
        before = found.pop(0, None)
        if before is None or not found:
            return None
        return before, min(found.values()) if keeps_best else found[max(found)]


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
