"""Tokenized rows on disk: mapped, so that they take no memory until they are read."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy

from core.data.tokens.fit import Laid
from core.data.tokens.tokenize import IGNORED, Example


class TokenRows(Sequence[Example]):
    """The rows that teach something, in their order, from a folder that a Writer filled.

    Of each row of the data set, also of those that were left out, there is how many tokens it had
    at first (`row_lengths`) and how many learned tokens it lost (`row_lost`); `sources` says from
    which of them each example comes.
    """

    def __init__(self, folder: Path):
        self._starts = numpy.load(folder / "starts.npy")
        self._ids = _mapped(folder / "ids.bin", numpy.int32)
        self._learned = _mapped(folder / "learned.bin", numpy.bool_)
        self.sources = numpy.load(folder / "sources.npy")
        self.row_lengths = numpy.load(folder / "row_lengths.npy")
        self.row_lost = numpy.load(folder / "row_lost.npy")

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, index: int) -> Example:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        start, stop = self._starts[index % len(self)], self._starts[index % len(self) + 1]
        ids = numpy.array(self._ids[start:stop])
        return Example(ids, numpy.where(self._learned[start:stop], ids, numpy.int32(IGNORED)))

    @property
    def lengths(self) -> numpy.ndarray:
        """Tokens of each example."""
        return numpy.diff(self._starts)


@dataclass(frozen=True)
class TrainingRows:
    """Examples as transformers' Trainer takes them, each made when it is asked for."""

    examples: Sequence[Example]

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> dict[str, numpy.ndarray]:
        example = self.examples[index]
        return {"input_ids": example.ids, "labels": example.labels}

    @property
    def lengths(self) -> Sequence[int]:
        """Tokens of each row, without reading it where they are known."""
        known = getattr(self.examples, "lengths", None)
        return [len(e.ids) for e in self.examples] if known is None else known.tolist()

    def __iter__(self) -> Iterator[dict[str, numpy.ndarray]]:
        return (self[index] for index in range(len(self)))


class Writer:
    """Fills a folder for TokenRows, a batch of rows at a time."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._ids = (folder / "ids.bin").open("wb")
        self._learned = (folder / "learned.bin").open("wb")
        self._lengths: list[int] = []
        self._sources: list[int] = []
        self._digest = hashlib.sha256()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_: Any) -> None:
        self._ids.close()
        self._learned.close()

    def add(self, rows: list[Laid], sources: list[int]) -> None:
        """Rows to be learned, and the number of the data set's row that each comes from."""
        flat: list[int] = []
        bounds: list[int] = []
        for row in rows:
            for start, stop in row.runs:
                bounds += (len(flat) + start, len(flat) + stop)
            flat += row.ids
            self._lengths.append(len(row.ids))
        learned = numpy.zeros(len(flat), numpy.bool_)
        for start, stop in zip(bounds[::2], bounds[1::2], strict=True):
            learned[start:stop] = True
        self._sources += sources
        ids = numpy.array(flat, numpy.int32)
        self._digest.update(ids)
        ids.tofile(self._ids)
        learned.tofile(self._learned)

    def finish(self, row_lengths: list[int], row_lost: list[int]) -> str:
        """Writes the rest; returns the fingerprint of what is learned."""
        starts = numpy.zeros(len(self._lengths) + 1, numpy.int64)
        numpy.cumsum(self._lengths, out=starts[1:])
        for name, values in (("starts", starts), ("sources", self._sources),
                             ("row_lengths", row_lengths), ("row_lost", row_lost)):
            numpy.save(self._folder / f"{name}.npy", numpy.asarray(values, numpy.int64))
        self._digest.update(starts)
        return self._digest.hexdigest()[:16]


def _mapped(path: Path, kind: Any) -> numpy.ndarray:
    """An empty file can't be mapped."""
    return numpy.memmap(path, kind, "r") if path.stat().st_size else numpy.zeros(0, kind)
