"""Rows of one batch into tensors: laid end to end, or padded."""

from collections.abc import Callable
from typing import Any

import torch

from core.data.tokenize import IGNORED

Batch = dict[str, torch.Tensor]


def collator(packing: bool, pad_token_id: int) -> Callable[[list[dict[str, Any]]], Batch]:
    """A collate function for rows {"input_ids", "labels"} of any lengths."""
    return joined if packing else lambda rows: padded(rows, pad_token_id)


def joined(rows: list[dict[str, Any]]) -> Batch:
    """All rows in one row of shape (1, total length). Positions restart at 0 in each row, which is
    how transformers keeps them apart; an attention mask must not be passed, it would let the rows
    see each other. Each row's first label is ignored, since it would be predicted from the row
    before it."""
    ids = [token for row in rows for token in row["input_ids"]]
    labels = [label for row in rows for label in (IGNORED, *row["labels"][1:])]
    positions = [position for row in rows for position in range(len(row["input_ids"]))]
    return {"input_ids": torch.tensor([ids]), "labels": torch.tensor([labels]),
            "position_ids": torch.tensor([positions])}


def padded(rows: list[dict[str, Any]], pad_token_id: int) -> Batch:
    """Shape (rows, longest row); padding is masked and never learned."""
    longest = max(len(row["input_ids"]) for row in rows)

    def fill(key: str, value: int) -> torch.Tensor:
        return torch.tensor([[*row[key], *[value] * (longest - len(row[key]))] for row in rows])

    attention = [[1] * len(row["input_ids"]) + [0] * (longest - len(row["input_ids"]))
                 for row in rows]
    return {"input_ids": fill("input_ids", pad_token_id), "labels": fill("labels", IGNORED),
            "attention_mask": torch.tensor(attention)}
