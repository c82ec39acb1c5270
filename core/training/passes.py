"""A batch in passes of bounded size, each with whole rows; smaller ones where memory runs out."""

import gc
import heapq
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from transformers.trainer_callback import TrainerCallback

from core.data.tokens.pack import Batch, joined, keep_learned, share_opening
from core.data.tokens.token_rows import TrainingRows
from core.data.tokens.tokenize import IGNORED
from core.training import ranks

FEWEST_TOKENS = 256


class Passes:
    """A step of the trainer that goes through its batch in passes of at most `most_tokens`. What
    won't fit fails at once: before the first step the heaviest pass is tried. Where memory runs
    out, then or later, the passes become half as large and the step is done again; gradients add
    up to the same: `forget` lets go of what a broken pass left. Between passes `heed` may break
    off, for a Stop."""

    def __init__(self, step: Callable[..., torch.Tensor], learned: list[torch.nn.Parameter],
                 most_tokens: int, say: Callable[[str], None], heed: Callable[[], None],
                 forget: Callable[[], None], shares_opening: bool = False):
        self._step, self._learned, self._say, self._heed = step, learned, say, heed
        self._forget = forget
        self.most_tokens = most_tokens
        self._prepare = share_opening if shares_opening else _as_it_is

    def __call__(self, model: Any, batch: Batch,
                 num_items_in_batch: torch.Tensor | int | None = None) -> torch.Tensor:
        before = [_copy(p.grad) for p in self._learned]  # of earlier batches of the same step
        while True:
            try:
                return self._all(model, cut(batch, self.most_tokens), num_items_in_batch)
            except torch.OutOfMemoryError:
                if not self._can_halve(batch):
                    raise
            self._forget()
            self._halve()
            self._set_gradients(before)

    def rehearse(self, model: Any, batch: Batch) -> None:
        """Learn the heaviest pass of `batch` and forget it; random numbers are drawn anew after
        it as if it had not been."""
        device = model.device
        others = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(others), _unsynced(model):
            heaviest = max(cut(batch, self.most_tokens), key=lambda p: p["input_ids"].numel())
            items = (heaviest["labels"] != IGNORED).sum().to(device)
            self(model, heaviest, items)  # asked as a step asks, or it would be compiled twice
        self._set_gradients([None] * len(self._learned))

    def _all(self, model: Any, passes: list[Batch], items: torch.Tensor | int | None
             ) -> torch.Tensor:
        total = 0.0
        for at, part in enumerate(passes):
            if at and ranks.count() == 1:  # several processes may not have as many passes
                self._heed()
            last = at == len(passes) - 1
            with nullcontext() if last else _unsynced(model):
                total = total + self._step(model, self._prepare(part), items)
        return total

    def _set_gradients(self, gradients: list[torch.Tensor | None]) -> None:
        for parameter, gradient in zip(self._learned, gradients, strict=True):
            parameter.grad = gradient

    def _can_halve(self, batch: Batch) -> bool:
        """Not below the longest row, and not where other processes wait for this one."""
        starts = batch["cu_seq_lens_q"]
        rows = len(starts) - 1
        return rows > 1 and self.most_tokens > FEWEST_TOKENS and ranks.count() == 1 and (
            len(cut(batch, self.most_tokens)) < rows)

    def _halve(self) -> None:
        gc.collect()
        torch.cuda.empty_cache()
        found, self.most_tokens = self.most_tokens, max(FEWEST_TOKENS, self.most_tokens // 2)
        self._say(f"Passes of {found:,} tokens don't fit into memory; passes of "
                  f"{self.most_tokens:,} teach the same, a little slower.")


class Rehearsal(TrainerCallback):
    """Tries the heaviest rows before the first step."""

    def __init__(self, passes: Passes, trainer: Any, rows: list[dict[str, Any]]):
        self._passes, self._trainer, self._rows = passes, trainer, rows

    def on_train_begin(self, args, state, control, **_):
        self._passes.rehearse(self._trainer.model_wrapped, self._trainer.data_collator(self._rows))


def _as_it_is(batch: Batch) -> Batch:
    return batch


def heaviest_batch(rows: TrainingRows, count: int) -> list[dict[str, Any]]:
    """The `count` longest rows."""
    lengths = rows.lengths
    return [rows[at] for at in heapq.nlargest(count, range(len(rows)), key=lengths.__getitem__)]


def _unsynced(model: Any) -> Any:
    """Gradients of passes before the last stay here; with several processes the last sends all."""
    return model.no_sync() if hasattr(model, "no_sync") else nullcontext()


def _copy(gradient: torch.Tensor | None) -> torch.Tensor | None:
    return None if gradient is None else gradient.clone()


def cut(batch: Batch, most_tokens: int) -> list[Batch]:
    """A joined batch as passes of at most `most_tokens`, a longer row alone. The longest row that
    is left goes to the pass that has the fewest tokens, so that all are about as large."""
    starts = batch["cu_seq_lens_q"].tolist()
    lengths = [end - start for start, end in zip(starts, starts[1:], strict=False)]
    count = min(len(lengths), -(-starts[-1] // most_tokens))
    if count <= 1:
        return [batch]
    hands: list[list[int]] = [[]]
    while len(hands) < count or any(len(hand) > 1 and _sum(lengths, hand) > most_tokens
                                    for hand in hands):
        hands = _deal(lengths, max(count, len(hands) + 1))
    return [_pick(batch, starts, hand) for hand in hands]


def _sum(lengths: list[int], hand: list[int]) -> int:
    return sum(lengths[row] for row in hand)


def _deal(lengths: list[int], count: int) -> list[list[int]]:
    hands: list[list[int]] = [[] for _ in range(count)]
    tokens = [0] * count
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        least = tokens.index(min(tokens))
        hands[least].append(row)
        tokens[least] += lengths[row]
    return [sorted(hand) for hand in hands if hand]


def _pick(batch: Batch, starts: list[int], rows: list[int]) -> Batch:
    """The joined batch of some of its rows."""
    labels = _full_labels(batch)
    return keep_learned(joined([
        {"input_ids": batch["input_ids"][0, starts[row]:starts[row + 1]],
         "labels": labels[starts[row]:starts[row + 1]]} for row in rows]))


def _full_labels(batch: Batch) -> torch.Tensor:
    """One label for each token, from those that keep_learned has kept."""
    labels = torch.full_like(batch["input_ids"][0], IGNORED)
    labels[batch["logits_to_keep"] + 1] = batch["labels"][0, 1:]
    return labels
