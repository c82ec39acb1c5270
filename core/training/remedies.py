"""What to change where a run won't fit, from what costs the least speed to what costs the most."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from core.config import Config
from core.model.hardware import count_devices
from core.training import spread
from core.training.pace import Fit, splits_batches

WORTH = 0.02  # a remedy that saves a smaller share isn't told


@dataclass(frozen=True)
class Remedy:
    """Settings that need less memory: how much then, in bytes, and whether that fits."""

    label: str
    settings: dict[str, Any]
    total: float
    fits: bool


def remedies(config: Config, before: Fit, fit: Callable[[dict[str, Any]], Fit | None]
             ) -> list[Remedy]:
    """Each remedy that helps, alone; then, where none of them is enough, as many together as are
    needed. `fit` tells how `config` fits with some changes, None where it can't have them here."""
    found, together, total, enough = [], {}, 0.0, False
    for label, settings in _changes(config):
        alone = fit(settings)
        if alone is None or alone.needed.total > before.needed.total * (1 - WORTH):
            continue
        found.append(Remedy(label, settings, alone.needed.total, alone.fits))
        wanted = together | settings
        if not enough and (joint := fit(wanted)) is not None:
            together, total, enough = wanted, joint.needed.total, joint.fits
    if enough and not any(remedy.fits for remedy in found):
        found.append(Remedy("All that is needed of these", together, total, True))
    return found


def _changes(config: Config) -> Iterator[tuple[str, dict[str, Any]]]:
    if config.base_weights not in ("4bit", "8bit"):
        yield "Base weights in 4 bit", {"base_weights": "4bit"}
    if config.optimizer in ("adamw_torch", "adamw_torch_fused"):
        yield "Paged 8-bit optimizer", {"optimizer": "paged_adamw_8bit"}
    processes = spread.processes(config)
    if config.strategy == "ddp" and max(processes, count_devices()) > 1 and not config.cluster:
        yield "Weights cut up among all GPUs", {"processes": 0, "strategy": "fsdp2"} \
            if processes == 1 else {"strategy": "fsdp2"}
    if config.memory != "auto" or config.pass_tokens:
        yield "'Speed or memory' at auto", {"memory": "auto", "pass_tokens": 0}
    rows = config.batch_size
    if rows > 1 and not splits_batches(config, processes):
        yield "One row at a time, as many before a step", {
            "batch_size": 1, "gradient_accumulation": rows * config.gradient_accumulation}
    if config.lora_r > 8:
        yield "LoRA rank 8", {"lora_r": 8, "lora_alpha": max(1, config.lora_alpha * 8
                                                              // config.lora_r)}
    if config.max_length > 512:
        yield "Max length 512", {"max_length": 512}
