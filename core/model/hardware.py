"""What this machine has and which number formats it can train in."""

import importlib.util
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

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
    has_fp8: bool = False

    @property
    def words(self) -> str:
        return f"{self.name}, {self.memory_bytes / 2**30:.0f} GB"


def find_device() -> Device:
    """The fastest device that torch can use here."""
    if torch.cuda.is_available():
        about = torch.cuda.get_device_properties(torch.cuda.current_device())
        # Cards before Ampere only imitate bf16, slowly.
        return Device("cuda", about.name, about.total_memory,
                      torch.cuda.is_bf16_supported(including_emulation=False),
                      torch.version.cuda is not None and (about.major, about.minor) >= (8, 9))
    memory = psutil.virtual_memory().total
    if torch.backends.mps.is_available():
        return Device("mps", "Apple GPU", memory, torch.backends.mps.is_macos_or_newer(14, 0))
    cores = psutil.cpu_count(logical=False) or os.cpu_count()
    fast_bf16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return Device("cpu", f"CPU, {cores} cores", memory, fast_bf16)


def count_devices() -> int:
    """How many GPUs a run may use on this machine; 1 where there is none."""
    return torch.cuda.device_count() or 1


@dataclass(frozen=True)
class Formats:
    """What 'auto' came to: `weights` 4bit, 8bit, fp8, 16bit or 32bit, `precision` bf16, fp16 or
    fp32."""

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
    if config.base_weights == "fp8" and not device.has_fp8:
        problems.append("Base weights: fp8 needs an NVIDIA GPU of the Ada or Hopper generation or "
                        f"a later one, found {device.name}.")
    if config.base_weights == "fp8" and config.precision not in ("auto", "bf16"):
        problems.append(f"Precision: fp8 base weights need bf16, found {config.precision}.")
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


@dataclass(frozen=True)
class Advice:
    """Something that is advised for models of 7B, what was found, and whether it is enough.
    `unit` is empty for what is there or not."""

    what: str
    advised: float
    found: float
    unit: str

    @property
    def met(self) -> bool:
        return self.found >= self.advised


def advised(device: Device, folder: Path) -> list[Advice]:
    """What a course on tuning a 7B model advises, beside this machine; `folder` is on the disk
    that holds models and runs."""
    return [Advice("Graphics cards (GPU)", 1, count_devices() if device.kind != "cpu" else 0, ""),
            Advice("Processor cores", 8, psutil.cpu_count() or 1, ""),
            Advice("Main memory", 32, psutil.virtual_memory().total / 2**30, "GiB"),
            Advice("Free disk", 200, shutil.disk_usage(folder).free / 2**30, "GiB")]


def _can_quantize(device: Device) -> bool:
    return device.kind in ("cuda", "cpu") and importlib.util.find_spec("bitsandbytes") is not None
