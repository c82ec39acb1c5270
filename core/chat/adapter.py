"""A plain LoRA read from its folder, without peft: what a decoder can hold many of side by side."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig
from safetensors import SafetensorError
from safetensors.torch import load_file

from core.errors import UserError

# What an adapter's config may say without changing how it is computed. Anything else that isn't
# peft's default (DoRA, trained modules, ranks by layer, what is newer) is left to peft.
HARMLESS = {"peft_type", "r", "lora_alpha", "use_rslora", "target_modules", "lora_dropout",
            "task_type", "base_model_name_or_path", "revision", "inference_mode", "auto_mapping",
            "exclude_modules", "layers_to_transform", "layers_pattern", "init_lora_weights", "bias",
            "peft_version"}
KEY = re.compile(r"base_model\.model\.model\.layers\.(\d+)\."
                 r"((?:self_attn|mlp)\.[a-z]+_proj)\.lora_([AB])\.weight")


@dataclass(frozen=True)
class Adapter:
    """`pairs`: layer number and projection to A (rank, in) and B (out, rank), B scaled already."""

    rank: int
    pairs: dict[tuple[int, str], tuple[torch.Tensor, torch.Tensor]]


def read_plain(folder: Path) -> Adapter | None:
    """The adapter in `folder`; None where it is of a kind that only peft can compute. UserError
    where its files are damaged."""
    try:
        about = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        if not _is_plain(about):
            return None
        tensors = load_file(folder / "adapter_model.safetensors")
    except FileNotFoundError:
        return None  # peft also reads other kinds of files, and has words where there are none
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"The adapter in '{folder}' can't be read: {str(error).splitlines()[0]}",
                        "Its files may be damaged: train or copy it anew.") from error
    found: dict[tuple[int, str], dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        match = KEY.fullmatch(key)
        if match is None:
            return None
        found.setdefault((int(match[1]), match[2]), {})[match[3]] = tensor
    if not found or any(pair.keys() != {"A", "B"} for pair in found.values()):
        return None
    rank = about["r"]
    scale = about["lora_alpha"] / (rank ** 0.5 if about.get("use_rslora") else rank)
    return Adapter(rank, {place: (pair["A"], pair["B"].float() * scale)
                          for place, pair in found.items()})


def _is_plain(about: dict) -> bool:
    usual = LoraConfig().to_dict()
    return (about.get("peft_type") == "LORA" and about.get("bias", "none") == "none"
            and about.get("init_lora_weights", True) in (True, False, "gaussian")
            and not any(value and value != usual.get(name) for name, value in about.items()
                        if name not in HARMLESS))
