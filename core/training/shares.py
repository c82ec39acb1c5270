"""How the rows of a step are shared out among processes, so that they learn what one would."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from accelerate.data_loader import SeedableRandomSampler
from torch.utils.data import Sampler

from core.config import Config
from core.data.tokens.tokenize import IGNORED

Row = dict[str, list[int]]


@dataclass(frozen=True)
class Shares:
    """A step is `passes` passes of `pass_rows` rows by all processes together, of which each has
    room for `rows`. What is left of the room in the end is filled with blank rows."""

    processes: int
    passes: int
    pass_rows: int
    rows: int


def share(config: Config, processes: int) -> Shares:
    """A step has the rows that the person set, however many processes there are. Fewer passes are
    better than smaller ones: they cost no speed."""
    fewer = math.gcd(config.gradient_accumulation, processes)
    pass_rows = config.batch_size * fewer
    return Shares(processes, config.gradient_accumulation // fewer, pass_rows,
                  math.ceil(pass_rows / processes))


def blank(pad_token_id: int) -> Row:
    """A row that teaches nothing."""
    return {"input_ids": [pad_token_id], "labels": [IGNORED]}


def even(rows: list[Row], shares: Shares, pad_token_id: int) -> list[Row]:
    """The rows with blank ones behind them, so that every process has as many passes. Without
    them the first rows would be measured twice."""
    return [*rows, *[blank(pad_token_id)] * (-len(rows) % (shares.rows * shares.processes))]


class Dealt(Sampler[int]):
    """The order in which one process would learn `rows`, each pass dealt out so that every process
    has about as many tokens: the slowest decides how long a step takes. Where a process has room
    left comes the index of a blank row, which stands behind the rows."""

    def __init__(self, rows: list[Row], shares: Shares, seed: int):
        self._lengths = [len(row["input_ids"]) for row in rows]
        self._order = SeedableRandomSampler(range(len(rows)), data_seed=seed)
        self._shares = shares

    def __len__(self) -> int:
        passes = math.ceil(len(self._lengths) / self._shares.pass_rows)
        return passes * self._shares.rows * self._shares.processes

    def __iter__(self) -> Iterator[int]:
        order = list(self._order)
        for start in range(0, len(order), self._shares.pass_rows):
            for hand in self._deal(order[start:start + self._shares.pass_rows]):
                yield from hand
                yield from [len(self._lengths)] * (self._shares.rows - len(hand))

    def set_epoch(self, epoch: int) -> None:
        self._order.set_epoch(epoch)

    def _deal(self, rows: list[int]) -> list[list[int]]:
        """The longest row that is left goes to the hand that has the fewest tokens and room."""
        hands: list[list[int]] = [[] for _ in range(self._shares.processes)]
        tokens = [0] * len(hands)
        for row in sorted(rows, key=lambda row: -self._lengths[row]):
            free = [at for at, hand in enumerate(hands) if len(hand) < self._shares.rows]
            least = min(free, key=lambda at: tokens[at])
            hands[least].append(row)
            tokens[least] += self._lengths[row]
        return hands
