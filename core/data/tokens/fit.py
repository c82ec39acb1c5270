"""Rows longer than the model is given: cut, left out or learned in pieces."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Laid:
    """A row's ids and the runs of positions (start, stop) that are learned. The first `opening` ids
    stand before any text, a BOS for example."""

    ids: list[int]
    runs: list[tuple[int, int]]
    opening: int = 0


def learned_in(laid: Laid) -> int:
    return sum(stop - start for start, stop in laid.runs)


def fit(laid: Laid, max_length: int, too_long: str) -> list[Laid]:
    """The rows that are learned of one row; none where it is dropped. 'cut context' shortens a
    dialogue before it is laid out; what is too long even then is cut at its end."""
    length = len(laid.ids)
    if length <= max_length:
        return [laid]
    if too_long == "drop":
        return []
    if too_long == "split":
        return _windows(laid, max_length)
    if too_long == "cut left":
        return [_behind_opening(laid, length - (max_length - laid.opening), length)]
    return [slice_of(laid, 0, max_length)]


def slice_of(laid: Laid, start: int, stop: int) -> Laid:
    runs = [(max(first, start) - start, min(last, stop) - start) for first, last in laid.runs]
    return Laid(laid.ids[start:stop], [run for run in runs if run[0] < run[1]], laid.opening)


def _behind_opening(laid: Laid, start: int, stop: int) -> Laid:
    """A part of the row behind the opening again; its first token has nothing that predicts it."""
    part = slice_of(laid, start, stop)
    runs = [(max(1, first) + laid.opening, last + laid.opening) for first, last in part.runs]
    return Laid(laid.ids[: laid.opening] + part.ids, [run for run in runs if run[0] < run[1]],
                laid.opening)


def _windows(laid: Laid, max_length: int) -> list[Laid]:
    """Pieces that together learn all that the row would have. Each begins with the last token of
    the piece before, which predicts what follows; pieces that teach nothing are left out."""
    (_, stop), *others = regions(len(laid.ids), laid.opening, max_length)
    pieces = [slice_of(laid, 0, stop)]
    pieces += [_behind_opening(laid, start - 1, stop) for start, stop in others]
    return [piece for piece in pieces if piece.runs]


def regions(length: int, opening: int, max_length: int) -> list[tuple[int, int]]:
    """Where a row is split: the positions (start, stop) that each piece has to itself, beside the
    opening and the one token before them that all pieces but the first begin with."""
    found = [(0, min(max_length, length))]
    while (start := found[-1][1]) < length:
        found.append((start, min(start - 1 + max_length - opening, length)))
    return found
