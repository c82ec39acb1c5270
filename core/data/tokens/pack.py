"""Rows of one batch into tensors: laid end to end, or padded."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from core.data.tokens.tokenize import IGNORED

Batch = dict[str, Any]
WORTH_SHARING = 0.05  # of the tokens of a batch


def collator(packing: bool, pad_token_id: int) -> Callable[[list[dict[str, Any]]], Batch]:
    """A collate function for rows {"input_ids", "labels"} of any lengths; its batches ask the
    model for the logits at learned positions only."""
    def collate(rows: list[dict[str, Any]]) -> Batch:
        return keep_learned(joined(rows) if packing else padded(rows, pad_token_id))

    return collate


def keep_learned(batch: Batch) -> Batch:
    """The batch with `logits_to_keep`, the positions (kept,) whose next token is learned in any
    row, and `labels` (rows, 1 + kept), those next tokens behind an ignored one: Trainer counts
    learned tokens without the first label, older versions with it."""
    kept = (batch["labels"][:, 1:] != IGNORED).any(dim=0).nonzero().flatten()
    labels = torch.nn.functional.pad(batch["labels"][:, kept + 1], (1, 0), value=IGNORED)
    return {**batch, "labels": labels, "logits_to_keep": kept}


def joined(rows: list[dict[str, Any]]) -> Batch:
    """All rows in one row of shape (1, total length). Positions restart at 0 in each row, which is
    how transformers keeps them apart; an attention mask must not be passed, it would let the rows
    see each other. Each row's first label is ignored, since it would be predicted from the row
    before it."""
    lengths = [len(row["input_ids"]) for row in rows]
    starts = torch.tensor([0, *lengths]).cumsum(0, dtype=torch.int32)
    ids = torch.cat([_tensor(row["input_ids"]) for row in rows])
    labels = torch.cat([_tensor(row["labels"]) for row in rows])
    labels[starts[:-1]] = IGNORED
    positions = torch.cat([torch.arange(length) for length in lengths]).to(ids.device)
    starts = starts.to(ids.device)
    return {"input_ids": ids[None], "labels": labels[None],
            "position_ids": positions[None], "cu_seq_lens_q": starts,
            "cu_seq_lens_k": starts, "max_length_q": max(lengths), "max_length_k": max(lengths)}


def share_opening(batch: Batch) -> Batch:
    """A batch of `joined` rows, with `keep_learned`, in which the tokens with which all rows begin
    stand once. Attention is causal, so they are computed alike for all rows, and their gradients
    add up; nothing of them may be learned. The lengths of keys then tell that each row but the
    first reads the first before itself. Unchanged where little would be saved."""
    starts = batch["cu_seq_lens_q"].tolist()
    ids, kept = batch["input_ids"][0], batch["logits_to_keep"]
    common = _common(ids, starts, kept)
    if (len(starts) - 2) * common < WORTH_SHARING * len(ids):
        return batch
    taken = torch.ones(len(ids), dtype=torch.bool, device=ids.device)
    for start in starts[1:-1]:
        taken[start:start + common] = False
    places = taken.cumsum(0) - 1
    lengths = [end - start - common for start, end in zip(starts, starts[1:], strict=False)]
    queries = torch.tensor([0, common, *lengths]).cumsum(0, dtype=torch.int32).to(ids.device)
    keys = torch.tensor([0, common, *(common + length for length in lengths)])
    return {**batch, "input_ids": ids[taken][None],
            "position_ids": batch["position_ids"][:, taken], "logits_to_keep": places[kept],
            "cu_seq_lens_q": queries,
            "cu_seq_lens_k": keys.cumsum(0, dtype=torch.int32).to(ids.device),
            "max_length_q": max(common, *lengths), "max_length_k": common + max(lengths)}


def _common(ids: torch.Tensor, starts: list[int], kept: torch.Tensor) -> int:
    """With how many tokens all rows begin alike, before the first whose next is learned; each row
    keeps one of its own."""
    first = torch.tensor(starts[:-1], device=ids.device)
    most = min(end - start for start, end in zip(starts, starts[1:], strict=False)) - 1
    row_of = torch.searchsorted(first, kept, right=True) - 1
    if len(kept):
        most = min(most, int((kept - first[row_of]).min()))
    if most <= 0:
        return 0
    openings = ids[first[:, None] + torch.arange(most, device=ids.device)]
    return int((openings == openings[0]).all(dim=0).int().cumprod(0).sum())


def _tensor(values: Sequence[int]) -> torch.Tensor:
    return torch.as_tensor(values, dtype=torch.long)


def padded(rows: list[dict[str, Any]], pad_token_id: int) -> Batch:
    """Shape (rows, longest row); padding is masked and never learned."""
    def fill(key: str, value: int) -> torch.Tensor:
        return torch.nn.utils.rnn.pad_sequence([_tensor(row[key]) for row in rows],
                                               batch_first=True, padding_value=value)

    attention = torch.nn.utils.rnn.pad_sequence(
        [torch.ones(len(row["input_ids"]), dtype=torch.long) for row in rows], batch_first=True)
    return {"input_ids": fill("input_ids", pad_token_id), "labels": fill("labels", IGNORED),
            "attention_mask": attention}
