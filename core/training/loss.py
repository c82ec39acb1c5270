"""Cross-entropy at learned positions only: the other logits are never computed."""

from typing import Any

import torch
from torch.nn.functional import cross_entropy

from core.data.tokens.tokenize import IGNORED


def learned_loss(outputs: Any, labels: torch.Tensor,
                 num_items_in_batch: torch.Tensor | int | None = None) -> torch.Tensor:
    """Loss of logits (rows, kept, vocabulary) against the tokens that follow, labels (rows, 1 +
    kept) as pack.keep_learned makes them.
    Divided by the learned tokens of the whole step, so that passes of different sizes add up to
    what one large pass would give."""
    total = _summed(outputs.logits, labels)
    return total / ((labels != IGNORED).sum() if num_items_in_batch is None
                    else num_items_in_batch)


def loss_and_count(logits: Any, labels: torch.Tensor) -> torch.Tensor:
    """Summed loss, number of learned tokens, and how many of them were the likeliest, of one
    batch, shape (1, 3): all that evaluation needs to keep of its logits (rows, kept,
    vocabulary)."""
    logits = logits[0] if isinstance(logits, tuple) else logits
    loss = _summed(logits, labels)
    wanted = labels[:, 1:]
    right = ((logits.argmax(-1) == wanted) & (wanted != IGNORED)).sum()
    return torch.stack([loss, (labels != IGNORED).sum().to(loss.dtype),
                        right.to(loss.dtype)]).unsqueeze(0)


def _summed(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return cross_entropy(logits.flatten(0, 1).float(), labels[:, 1:].flatten(),
                         ignore_index=IGNORED, reduction="sum")


def token_loss(prediction: Any) -> dict[str, float]:
    """The mean over learned tokens, and the share of them that was foretold; transformers' own
    eval_loss is a mean of batches' means."""
    total, count, right = prediction.predictions.sum(axis=0)
    return {"token_loss": float(total / max(count, 1)),
            "token_accuracy": float(right / max(count, 1))}
