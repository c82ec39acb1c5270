"""How the rows of a step are shared out among processes, so that they learn what one would."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from accelerate.data_loader import SeedableRandomSampler
from torch.utils.data import Sampler
from transformers import Trainer

from core.config import Config
from core.data.tokens.tokenize import IGNORED

Row = dict[str, Any]
MEASURED = 4  # times the tokens of a pass that learns: nothing is kept for gradients


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


def share_out(trainer: Trainer, config: Config, processes: int, pad_token_id: int) -> None:
    """Give each of several processes its share of the trainer's rows."""
    shared, train, held_out = share(config, processes), trainer.train_dataset, trainer.eval_dataset
    trainer.train_dataset = WithBlanks(train, 1, pad_token_id)
    trainer._get_train_sampler = lambda *_: Dealt(train.lengths, shared, config.seed)
    if held_out:
        trainer.eval_dataset = even(held_out, trainer.args.per_device_eval_batch_size, processes,
                                    pad_token_id)


@dataclass(frozen=True)
class WithBlanks(Sequence[Row]):
    """Rows, read when they are asked for, and `blanks` blank ones behind them."""

    rows: Sequence[Row]
    blanks: int
    pad_token_id: int

    def __len__(self) -> int:
        return len(self.rows) + self.blanks

    def __getitem__(self, index: int) -> Row:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self.rows[index] if index < len(self.rows) else blank(self.pad_token_id)


def even(rows: Sequence[Row], at_once: int, processes: int, pad_token_id: int) -> WithBlanks:
    """The rows, evened out so that every process has as many passes of `at_once` rows. Without
    blank ones the first rows would be measured twice."""
    return WithBlanks(rows, -len(rows) % (at_once * processes), pad_token_id)


def measured_at_once(lengths: Iterable[int], pass_tokens: int, most: int) -> int:
    """How many held-out rows a process measures in one go: as many as it learns in one, but no
    more tokens than fit where passes of `pass_tokens` are learned."""
    longest = max(lengths, default=1)
    return max(1, min(most, MEASURED * pass_tokens // longest))


class Dealt(Sampler[int]):
    """The order in which one process would learn rows of these `lengths`, each pass dealt out so
    that every process has about as many tokens: the slowest decides how long a step takes. Where a
    process has room left comes the index of a blank row, which stands behind the rows."""

    def __init__(self, lengths: Sequence[int], shares: Shares, seed: int):
        self._lengths = lengths
        self._order = SeedableRandomSampler(range(len(lengths)), data_seed=seed)
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
