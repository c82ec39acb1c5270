"""Adversarial training on embeddings, FGM (Miyato et al., 2017).

A batch is learned, then once more with its embeddings moved to where the loss grows fastest."""

from collections.abc import Callable
from typing import Any

import torch


def adversarial(step: Callable[..., torch.Tensor], model: Any, strength: float
                ) -> Callable[..., torch.Tensor]:
    """A training step that calls `step` twice; gradients of both add up before the optimizer
    moves. The second pass moves the embeddings (rows, tokens, width) along their gradient, by
    `strength` times their own length. Returns the loss of the first."""
    embedding = model.get_input_embeddings()

    def training_step(*arguments: Any, **named: Any) -> torch.Tensor:
        seen: dict[str, torch.Tensor] = {}
        hook = embedding.register_forward_hook(_watch(seen))
        try:
            # Trainer takes the labels out of the batch that it is given.
            loss = step(*(dict(a) if isinstance(a, dict) else a for a in arguments), **named)
        finally:
            hook.remove()
        gradient = seen.get("gradient")
        if gradient is None or not torch.isfinite(gradient).all():
            return loss  # an overflow in fp16, whose step the scaler will leave out
        size = strength * seen["output"].norm() / gradient.norm().clamp_min(1e-12)
        hook = embedding.register_forward_hook(_move(gradient * size))
        try:
            step(*arguments, **named)
        finally:
            hook.remove()
        return loss

    return training_step


def _watch(seen: dict[str, torch.Tensor]) -> Callable[..., torch.Tensor]:
    def hook(_module: Any, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
        # The embedding itself is frozen; a leaf of its own makes its gradient known.
        leaf = output.detach().requires_grad_() if not output.requires_grad else output
        seen["output"] = leaf.detach()
        leaf.register_hook(lambda gradient: seen.__setitem__("gradient", gradient.detach()))
        return leaf

    return hook


def _move(shift: torch.Tensor) -> Callable[..., torch.Tensor]:
    return lambda _module, _inputs, output: output + shift.to(output.dtype)
