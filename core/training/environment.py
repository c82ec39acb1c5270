"""With what a run was made: versions of the packages, and the machine."""

import platform
from importlib import metadata
from typing import Any

from core.model.hardware import Device, Formats
from core.training import ranks

PACKAGES = ("torch", "transformers", "peft", "datasets", "accelerate", "bitsandbytes",
            "tokenizers", "safetensors", "gradio")


def describe_environment(device: Device, formats: Formats) -> dict[str, Any]:
    return {"python": platform.python_version(), "system": platform.platform(),
            "device": device.words if ranks.count() == 1 else f"{ranks.count()} × {device.words}",
            "base_weights": formats.weights,
            "precision": formats.precision,
            "packages": {name: _version(name) for name in PACKAGES}}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
