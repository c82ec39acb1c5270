"""Says in words when a run learns its rows by heart: training loss falls, held-out loss rises."""

from typing import Any

RISE = 0.02  # of the best held-out loss; less is noise
REMEDY = ("Switch early stopping on, train fewer epochs, or hold against it with dropout, weight "
          "decay, NEFTune noise, a smaller rank or more rows.")


def overfitting(records: list[dict[str, Any]]) -> str:
    """A sentence with what to do, or nothing. Two evaluations after the best one must both lie
    above it while the training loss went on falling; one alone may be chance."""
    held = [(r["step"], r["eval_loss"]) for r in records if "eval_loss" in r and r["step"] > 0]
    if len(held) < 3:
        return ""
    best_step, best = min(held, key=lambda point: point[1])
    later = [loss for step, loss in held if step > best_step]
    if len(later) < 2 or min(later[-2:]) < best * (1 + RISE):
        return ""
    before, after = _train_loss(records, best_step), _train_loss(records, held[-1][0])
    if before is None or after is None or after >= before:
        return ""
    return (f"This run overfits: the held-out loss was best at step {best_step} ({best:.3f}) and "
            f"has risen to {later[-1]:.3f}, while the training loss fell from {before:.3f} to "
            f"{after:.3f}. It learns its rows by heart. {REMEDY}")


def _train_loss(records: list[dict[str, Any]], until: int, window: int = 5) -> float | None:
    """The mean of the last logged losses up to a step."""
    losses = [r["loss"] for r in records if "loss" in r and r["step"] <= until][-window:]
    return sum(losses) / len(losses) if losses else None
