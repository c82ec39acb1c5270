"""Whether a run that came to its end did anything: told before Start and after the end."""

import math
from typing import Any

from core.config import Config
from core.training.run import Run

FEW_STEPS = 10
NOTHING = 1e-9
SAME = 1e-3  # a change of the loss, in nats, below which nothing is said to have changed


def steps_of(config: Config, rows: int) -> int:
    """The steps that a run over so many rows will do."""
    passes = max(1, math.ceil(rows / config.batch_size))
    per_epoch = max(1, math.ceil(passes / config.gradient_accumulation))
    return config.max_steps or math.ceil(config.epochs * per_epoch)


def forewarnings(config: Config, rows: int) -> list[str]:
    """What makes it likely that nothing will be learned, before the start."""
    steps = steps_of(config, rows)
    told = []
    if steps < FEW_STEPS:
        told.append(f"Only {steps} step{'s' if steps > 1 else ''} will be done with {rows:,} rows: "
                    "hardly anything can be learned. More Epochs, a smaller Batch size or less "
                    "Gradient accumulation make more steps.")
    if config.learning_rate < 1e-6:
        told.append(f"The learning rate {config.learning_rate:g} is so low that hardly anything "
                    "will change; 1e-4 to 1e-3 suit LoRA.")
    return told


def weights_mark(model: Any) -> dict[str, tuple[float, float]]:
    """Sum and length of each tensor that learns, to tell whether it changed."""
    tensors = ((name, tensor.detach().cpu().double()) for name, tensor in model.named_parameters()
               if tensor.requires_grad and tensor.numel())  # Apple's GPU knows no doubles
    return {name: (float(tensor.sum()), float(tensor.norm())) for name, tensor in tensors}


def judge(run: Run, config: Config, before: dict, after: dict) -> tuple[str, list[str]]:
    """Why the run as a whole did nothing (empty: it did something), and sentences on signs that it
    did little. `before` and `after` are weights_mark of the model as it began and ended."""
    losses = [r["loss"] for r in run.metrics() if "loss" in r]
    if losses and all(loss == 0.0 for loss in losses):
        return ("The loss was 0 at every step: no token was learned. Look at the Data set tab, "
                "where learned tokens are marked; 'Loss on' or 'Max length' may leave none."), []
    if before and not _changed(before, after):
        return (f"No weight of the adapter changed in {len(losses)} logged steps. Raise the "
                f"learning rate (it was {config.learning_rate:g}) or do more steps."), []
    told = []
    effect = run.effect()
    if effect and effect[1] > effect[0] - SAME:
        told.append(f"The held-out loss didn't fall: {effect[0]:.3f} before, {effect[1]:.3f} "
                    "after. The adapter is no better on rows that it hasn't seen; try another "
                    "learning rate, more data or fewer epochs.")
    elif len(losses) >= FEW_STEPS and not effect and _mean(losses[-5:]) > _mean(losses[:5]) - SAME:
        told.append("The training loss didn't fall. Try a higher learning rate or more epochs.")
    if 0 < run.status().total_steps < FEW_STEPS:
        told.append(f"It had only {run.status().total_steps} steps; more Epochs or a smaller Batch "
                    "size teach more.")
    return "", told


def _changed(before: dict, after: dict) -> bool:
    """Whether any tensor moved by more than rounding: an optimizer moves zeros by 1e-30, too. Of
    one that lies elsewhere in the end, as ZeRO-3 deals them out, that isn't known."""
    return not before.keys() <= after.keys() or any(
        abs(old - new) > NOTHING * (1 + abs(old))
        for name in before for old, new in zip(before[name], after[name], strict=True))


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
