"""What transformers' loop asks of the whole model at every step, answered from a short list.

A frozen 7B model has over a thousand modules. Walking through them five times a step keeps a GPU
waiting for longer than a tenth of its work takes.
"""

from typing import Any

from transformers import Trainer
from transformers.trainer_callback import TrainerCallback


class Lean(TrainerCallback):
    """For a model that is whole on each process: only what learns has gradients to clear and to
    clip, the mode is set when it changes, and nobody reads the count of operations."""

    def __init__(self, trainer: Trainer):
        self._trainer = trainer

    def on_train_begin(self, args, state, control, **_):
        trainer = self._trainer
        learned = [p for p in trainer.model.parameters() if p.requires_grad]
        clip = type(trainer.accelerator).clip_grad_norm_.__get__(trainer.accelerator)

        def clip_grad_norm(_: Any, max_norm: float, norm_type: float = 2) -> Any:
            return clip(learned, max_norm, norm_type)

        def zero_grad(set_to_none: bool = True) -> None:
            for parameter in learned:
                parameter.grad = None

        trainer.accelerator.clip_grad_norm_ = clip_grad_norm
        trainer.model.zero_grad = trainer.model_wrapped.zero_grad = zero_grad
        trainer.model.train = _set_once(trainer.model.train)
        trainer.floating_point_ops = lambda _: 0


def _set_once(train: Any) -> Any:
    """`train(mode)` that does nothing where that mode is set already. The `training` of the
    outermost module tells nothing about the others."""
    model, now = train.__self__, []

    def set_mode(mode: bool = True) -> Any:
        if now != [mode]:
            now[:] = [mode]
            train(mode)
        return model

    return set_mode
