"""Refuses model files that run a program when they are read: pickled weights, code of their own."""

import json
from pathlib import Path
from typing import Any

from core.errors import UserError

# A pickle is a list of calls: reading one does whatever its maker wrote. Readers that allow only
# some calls have been got around before.
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
# Files of a checkpoint that PyTorch's trainer writes; it reads them with its restricted reader.
OF_THE_TRAINER = ("optimizer", "scheduler", "scaler", "rng_state", "training_args")
CONVERT = ("Take it from a place that offers safetensors or GGUF. On the hub, 'Convert to "
           "safetensors' does it without your computer reading the pickle.")


def require_safe(folder: Path, name: str) -> Path:
    """The model's folder, where nothing in it needs to be run to be read."""
    refuse_pickled(folder, f"The model '{name}'")
    files = _code_of(folder)
    if files:
        raise UserError(
            f"The model '{name}' needs program code of its own ({', '.join(files)}), which could "
            "do anything on this computer. TuneDesk never runs it.",
            "Choose a model whose architecture the transformers library knows itself.")
    return folder


def refuse_pickled(folder: Path, what: str) -> None:
    """UserError where `folder` has weights, but pickled ones only."""
    found = sorted(path.name for path in folder.iterdir() if is_pickled_weights(path.name))
    if found and not any(folder.glob("*.safetensors")):
        raise pickled(what, found)


def is_pickled_weights(name: str) -> bool:
    return name.lower().endswith(PICKLED) and not name.startswith(OF_THE_TRAINER)


def pickled(what: str, files: list[str]) -> UserError:
    return UserError(f"{what} has its weights as Python pickles only ({', '.join(files[:3])}): "
                     "reading one can run any program that its maker put in.", CONVERT)


def _code_of(folder: Path) -> list[str]:
    """The files of code that a model or its tokenizer can't be read without."""
    config, words = _read(folder / "config.json"), _read(folder / "tokenizer_config.json")
    wanted = [*_named(config)] if _named(config) and not _knows_model(config) else []
    if _named(words) and not _knows_tokenizer(words):
        wanted += _named(words)
    return sorted(set(wanted))


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # what is missing or damaged is told by who loads it
    return found if isinstance(found, dict) else {}


def _named(config: dict[str, Any]) -> list[str]:
    """'modeling_x.Model' and 'owner/name--modeling_x.Model' as the files that they mean."""
    auto = config.get("auto_map")
    values = auto.values() if isinstance(auto, dict) else [auto] if auto else []
    names = [name for value in values
             for name in (value if isinstance(value, list | tuple) else [value]) if name]
    return [f"{str(name).rpartition('.')[0] or name}.py" for name in names]


def _knows_model(config: dict[str, Any]) -> bool:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    return config.get("model_type") in CONFIG_MAPPING_NAMES


def _knows_tokenizer(config: dict[str, Any]) -> bool:
    from transformers.models.auto.tokenization_auto import tokenizer_class_from_name

    name = config.get("tokenizer_class")
    return isinstance(name, str) and tokenizer_class_from_name(name) is not None
