"""How likely a model finds each of several answers to a question; the question is read once."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

TOKENS_ON_CPU, TOKENS_ON_GPU = 512, 4096  # of one pass; its mask grows with their square
MASKED = -1e9  # added to a score; the smallest float16 would turn rows of them into NaN


@dataclass(frozen=True)
class Candidate:
    """An answer in tokens; `counted` says which of them belong to it (turns between don't)."""

    ids: list[int]
    counted: list[bool]


@dataclass(frozen=True)
class Asked:
    """What is read, and the answers that may follow it."""

    prefix: list[int]
    candidates: list[Candidate]

    @property
    def size(self) -> int:
        return len(self.prefix) + sum(len(c.ids) for c in self.candidates)


@dataclass(frozen=True)
class Score:
    """The summed log-probability of an answer's tokens, and how many they are."""

    log_probability: float
    tokens: int


def score(model: Any, asked: list[Asked], joins: bool) -> Iterator[list[list[Score]]]:
    """For each row the Score of each of its candidates, a batch of rows at a time, in order.

    With `joins`, several rows lie end to end in one pass without padding, and the candidates of a
    row share its prefix: a mask lets each see the prefix and itself only, positions restart behind
    the prefix. Without, each candidate is a padded row of its own: the same numbers, dearer.
    """
    most = TOKENS_ON_GPU if model.device.type == "cuda" else TOKENS_ON_CPU
    for batch in _batches(asked, most):
        yield _joined(model, batch) if joins else _padded(model, batch)


def probabilities(candidates: list[Score]) -> np.ndarray:
    """The candidates' shares of the probability that falls on any of them."""
    logs = np.array([c.log_probability for c in candidates])
    odds = np.exp(logs - logs.max())
    return odds / odds.sum()


def can_join(model: Any) -> bool:
    """Whether the joined pass gives this architecture's own numbers: tried on a short one. Some
    never look at positions or masks (OPT, BLOOM, Mamba)."""
    words = [3, 5, 7, 4, 6, 8, 9, 2]
    rows = [Asked(words[:5], [Candidate([6, 4], [True, True]), Candidate([9], [True])]),
            Asked(words[3:], [Candidate([5, 3, 7], [True] * 3)])]
    try:
        together = [s.log_probability for row in _joined(model, rows) for s in row]
    except (TypeError, ValueError, RuntimeError):  # it takes no positions or no such mask
        return False
    alone = [s.log_probability for row in _padded(model, rows) for s in row]
    return all(abs(a - b) < 0.05 * (1 + abs(b)) for a, b in zip(together, alone, strict=True))


def _batches(asked: list[Asked], most: int) -> Iterator[list[Asked]]:
    batch: list[Asked] = []
    for row in asked:
        if batch and sum(r.size for r in batch) + row.size > most:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


@torch.inference_mode()
def _joined(model: Any, batch: list[Asked]) -> list[list[Score]]:
    ids: list[int] = []
    positions: list[int] = []
    owner: list[int] = []  # which row a token belongs to
    branch: list[int] = []  # 0 in the prefix, else the number of its candidate
    told: list[tuple[int, int, int]] = []  # where it is predicted, the token, whose it is
    whose = 0
    for number, row in enumerate(batch):
        start, length = len(ids), len(row.prefix)
        ids += row.prefix
        positions += range(length)
        branch += [0] * length
        for which, candidate in enumerate(row.candidates, start=1):
            before = [start + length - 1, *range(len(ids), len(ids) + len(candidate.ids) - 1)]
            told += [(at, token, whose) for at, token, counted in
                     zip(before, candidate.ids, candidate.counted, strict=True)
                     if counted and (length or at >= len(ids))]
            ids += candidate.ids
            positions += range(length, length + len(candidate.ids))
            branch += [which] * len(candidate.ids)
            whose += 1
        owner += [number] * (len(ids) - start)
    if not told:
        return [[Score(0.0, 0) for _ in row.candidates] for row in batch]
    at, tokens, owners = (torch.tensor(column, device=model.device)
                          for column in zip(*told, strict=True))
    kept, place = at.unique(return_inverse=True)
    logits = model(input_ids=torch.tensor([ids], device=model.device),
                   position_ids=torch.tensor([positions], device=model.device),
                   attention_mask=_mask(owner, branch, model), logits_to_keep=kept,
                   use_cache=False).logits[0].float()
    found = logits[place, tokens] - logits.logsumexp(-1)[place]
    return _by_candidate(batch, found, owners)


def _mask(owner: list[int], branch: list[int], model: Any) -> torch.Tensor:
    """Shape (1, 1, tokens, tokens): 0 where a token may look, MASKED where it may not."""
    rows = torch.tensor(owner, device=model.device)
    branches = torch.tensor(branch, device=model.device)
    of_one_kind = (branches[None, :] == 0) | (branches[:, None] == branches)
    may = ((rows[:, None] == rows) & of_one_kind).tril()
    mask = torch.zeros(may.shape, dtype=model.dtype, device=model.device)
    lowest = MASKED if model.dtype != torch.float16 else -6e4
    return mask.masked_fill(~may, lowest)[None, None]


@torch.inference_mode()
def _padded(model: Any, batch: list[Asked]) -> list[list[Score]]:
    texts = [(row.prefix + candidate.ids, [False] * len(row.prefix) + candidate.counted)
             for row in batch for candidate in row.candidates]
    longest = max(len(ids) for ids, _ in texts)
    ids = torch.zeros(len(texts), longest, dtype=torch.long)
    attention, counted = torch.zeros_like(ids), torch.zeros_like(ids, dtype=torch.bool)
    for line, (tokens, flags) in enumerate(texts):
        ids[line, :len(tokens)] = torch.tensor(tokens)
        counted[line, :len(tokens)] = torch.tensor(flags)
        attention[line, :len(tokens)] = 1
    ids, attention, counted = (t.to(model.device) for t in (ids, attention, counted))
    logits = model(input_ids=ids, attention_mask=attention, use_cache=False).logits[:, :-1].float()
    lines, places = counted[:, 1:].nonzero(as_tuple=True)
    at = logits[lines, places]
    found = at.gather(1, ids[lines, places + 1, None])[:, 0] - at.logsumexp(-1)
    return _by_candidate(batch, found, lines)


def _by_candidate(batch: list[Asked], found: torch.Tensor, owners: torch.Tensor
                  ) -> list[list[Score]]:
    """Log-probabilities of tokens, added up for each candidate of each row."""
    total = sum(len(row.candidates) for row in batch)
    sums = torch.zeros(total, dtype=torch.float64)
    sums.index_add_(0, owners.cpu(), found.cpu().double())
    counts = torch.bincount(owners.cpu(), minlength=total)
    flat = iter([Score(float(s), int(c)) for s, c in zip(sums, counts, strict=True)])
    return [[next(flat) for _ in row.candidates] for row in batch]
