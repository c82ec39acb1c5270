"""Cross-entropy at learned positions only, from the last hidden states and never all logits."""

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from core.data.tokens.tokenize import IGNORED
from core.model.attention import KNOWN
from core.model.estimate import LOGITS_AT_ONCE

ROWS_MULTIPLE = 128


class LearnedLoss:
    """Losses of what a model puts out at learned positions. Where its head is a plain frozen
    matrix the model runs without it (`headless`) and puts out hidden states, whose logits are
    made, used and dropped a part at a time."""

    def __init__(self, head: torch.nn.Linear | None):
        self._head = head
        self._gradient = _loss_and_gradient

    def compile(self) -> None:
        self._gradient = torch.compile(_loss_and_gradient, dynamic=True)

    def headless(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """A step of the trainer in which the model puts out hidden states instead of logits."""
        if self._head is None:
            return step

        def stepping(*arguments: Any, **named: Any) -> Any:
            self._head.forward = _as_it_is
            try:
                return step(*arguments, **named)
            finally:
                del self._head.forward

        return stepping

    def learned(self, outputs: Any, labels: torch.Tensor,
                num_items_in_batch: torch.Tensor | int | None = None) -> torch.Tensor:
        """Loss of outputs (rows, kept, ...) against the tokens that follow, labels (rows, 1 +
        kept) as pack.keep_learned makes them. Divided by the learned tokens of the whole step, so
        that passes of different sizes add up to what one large pass would give."""
        if not torch.is_grad_enabled():  # an evaluation counts by itself
            return outputs.logits.new_zeros(())
        wanted = labels[:, 1:].flatten()
        states = outputs.logits.flatten(0, 1)
        total = _summed(states, wanted) if self._head is None else _HeadLoss.apply(
            states, self._head.weight, wanted, self._gradient)
        return total / ((labels != IGNORED).sum() if num_items_in_batch is None
                        else num_items_in_batch)

    def count(self, outputs: Any, labels: torch.Tensor) -> torch.Tensor:
        """Summed loss, number of learned tokens, and how many of them were the likeliest, of one
        batch, shape (1, 3): all that evaluation needs to keep."""
        states = (outputs[0] if isinstance(outputs, tuple) else outputs).flatten(0, 1)
        wanted = labels[:, 1:].flatten()
        loss, right = states.new_zeros((), dtype=torch.float32), 0
        width = states.shape[1] if self._head is None else self._head.weight.shape[0]
        for part in _parts(len(states), width):
            logits = states[part] if self._head is None else _logits(
                states[part], self._head.weight)
            loss = loss + _summed(logits, wanted[part])
            right = right + ((logits.argmax(-1) == wanted[part])
                             & (wanted[part] != IGNORED)).sum()
        return torch.stack([loss, (wanted != IGNORED).sum().to(loss.dtype),
                            torch.as_tensor(right).to(loss)]).unsqueeze(0)


def plain_head(model: Any) -> torch.nn.Linear | None:
    """The output head where it is a frozen matrix after which nothing follows; else None."""
    base = model.get_base_model()
    head = base.get_output_embeddings()
    plain = (type(head) is torch.nn.Linear and head.bias is None
             and not head.weight.requires_grad and base.config.model_type in KNOWN)
    return head if plain else None


def token_loss(prediction: Any) -> dict[str, float]:
    """The mean over learned tokens, and the share of them that was foretold; transformers' own
    eval_loss is a mean of batches' means."""
    total, count, right = prediction.predictions.sum(axis=0)
    return {"token_loss": float(total / max(count, 1)),
            "token_accuracy": float(right / max(count, 1))}


def _as_it_is(states: torch.Tensor) -> torch.Tensor:
    return states


def _summed(logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    return cross_entropy(logits.float(), wanted, ignore_index=IGNORED, reduction="sum")


def _logits(states: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return states.to(weight.dtype) @ weight.t()


def _parts(tokens: int, vocabulary: int) -> list[slice]:
    """Slices of so many tokens that their logits stay small."""
    rows = max(ROWS_MULTIPLE, LOGITS_AT_ONCE // vocabulary // ROWS_MULTIPLE * ROWS_MULTIPLE)
    return [slice(start, start + rows) for start in range(0, tokens, rows)]


class _HeadLoss(torch.autograd.Function):
    """Summed cross-entropy of states (tokens, width) through a frozen head (vocabulary, width).
    The gradient towards the states is made at once, while their logits are there."""

    @staticmethod
    def forward(ctx: Any, states: torch.Tensor, weight: torch.Tensor, wanted: torch.Tensor,
                gradient: Callable[..., Any]) -> torch.Tensor:
        total = states.new_zeros((), dtype=torch.float32)
        towards = torch.empty_like(states)
        with torch.autocast(states.device.type, enabled=False):
            for part in _parts(len(states), weight.shape[0]):
                loss, slope = gradient(_logits(states[part], weight), wanted[part])
                total += loss
                towards[part] = (slope @ weight).to(states.dtype)
        ctx.save_for_backward(towards)
        return total

    @staticmethod
    def backward(ctx: Any, factor: torch.Tensor) -> tuple[Any, ...]:
        towards, = ctx.saved_tensors
        return (towards * factor).to(towards.dtype), None, None, None


def _loss_and_gradient(logits: torch.Tensor, wanted: torch.Tensor
                       ) -> tuple[torch.Tensor, torch.Tensor]:
    """Summed loss of logits (tokens, vocabulary) and its gradient towards them, in their dtype."""
    learned = wanted != IGNORED
    chosen = wanted.clamp_min(0)[:, None]
    full = logits.float()
    normal = full.logsumexp(dim=1, keepdim=True)
    loss = ((normal - full.gather(1, chosen))[:, 0] * learned).sum()
    slope = (full - normal).exp().scatter_add(1, chosen, -torch.ones_like(normal))
    return loss, (slope * learned[:, None]).to(logits.dtype)
