"""Rows of one batch into tensors: laid end to end, or padded."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from core.data.tokens.tokenize import IGNORED

Batch = dict[str, Any]


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
    positions = torch.cat([torch.arange(length) for length in lengths])
    return {"input_ids": ids[None], "labels": labels[None],
            "position_ids": positions[None], "cu_seq_lens_q": starts,
            "cu_seq_lens_k": starts, "max_length_q": max(lengths), "max_length_k": max(lengths)}


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
