"""What this machine has and which number formats it can train in."""

import importlib.util
import os
from dataclasses import dataclass

import psutil
import torch

from core.config import Config
from core.errors import UserError


@dataclass(frozen=True)
class Device:
    """Where a model runs. `kind` is torch's device type: cuda, mps or cpu."""

    kind: str
    name: str
    memory_bytes: int
    has_bf16: bool

    @property
    def words(self) -> str:
        return f"{self.name}, {self.memory_bytes / 2**30:.0f} GB"


def find_device() -> Device:
    """The fastest device that torch can use here."""
    if torch.cuda.is_available():
        about = torch.cuda.get_device_properties(torch.cuda.current_device())
        return Device("cuda", about.name, about.total_memory, torch.cuda.is_bf16_supported())
    memory = psutil.virtual_memory().total
    if torch.backends.mps.is_available():
        return Device("mps", "Apple GPU", memory, has_bf16=True)
    cores = psutil.cpu_count(logical=False) or os.cpu_count()
    fast_bf16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return Device("cpu", f"CPU, {cores} cores", memory, fast_bf16)


def count_devices() -> int:
    """How many GPUs a run may use on this machine; 1 where there is none."""
    return torch.cuda.device_count() or 1


@dataclass(frozen=True)
class Formats:
    """What 'auto' came to: `weights` 4bit, 8bit, 16bit or 32bit, `precision` bf16, fp16 or fp32."""

    weights: str
    precision: str

    @property
    def compute_dtype(self) -> torch.dtype:
        return {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[
            self.precision]

    @property
    def weight_dtype(self) -> torch.dtype:
        """The dtype of weights that aren't quantized (norms, embeddings, or all of them)."""
        if self.weights == "32bit":
            return torch.float32
        return self.compute_dtype if self.precision != "fp32" else torch.bfloat16


def choose_formats(config: Config, device: Device) -> Formats:
    """Resolve 'auto', and refuse with words what this device can't do."""
    problems = []
    if config.precision == "fp16" and device.kind != "cuda":
        problems.append("Precision: fp16 trains on an NVIDIA or AMD GPU only, and none was found.")
    if config.precision == "bf16" and device.kind == "cuda" and not device.has_bf16:
        problems.append(f"Precision: {device.name} has no bf16.")
    if config.base_weights in ("4bit", "8bit") and not _can_quantize(device):
        problems.append(f"Base weights: {config.base_weights} needs bitsandbytes, which doesn't "
                        f"work on this {device.name}.")
    if config.optimizer in ("adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit",
                            "lion_32bit") and device.kind != "cuda":
        problems.append(f"Optimizer: {config.optimizer} needs an NVIDIA or AMD GPU, and none was "
                        "found.")
    if problems:
        raise UserError(
            "\n".join(problems),
            "Choose 'auto' for Precision and Base weights and adamw_torch as Optimizer, or the "
            "preset Starter.")
    precision = config.precision
    if precision == "auto":
        precision = "bf16" if device.has_bf16 else "fp16" if device.kind == "cuda" else "fp32"
    weights = config.base_weights
    if weights == "auto":
        weights = "32bit" if precision == "fp32" else "16bit"
    return Formats(weights, precision)


def _can_quantize(device: Device) -> bool:
    return device.kind in ("cuda", "cpu") and importlib.util.find_spec("bitsandbytes") is not None
