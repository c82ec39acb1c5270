"""Which layers learn: target modules by name, the LoRA config, and what it will train."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import SafetensorError

from core.config import TARGET_PRESETS, Config
from core.errors import UserError
from core.model.trusted import refuse_pickled

# Names of the query and value projections in the architectures that transformers has; the joint
# ones hold q, k and v in one matrix, and in MLA (DeepSeek-V2) kv_b_proj makes keys and values.
QUERY_VALUE = ("q_proj", "v_proj", "query", "value", "q_lin", "v_lin", "wq", "wv", "kv_b_proj",
               "query_key_value", "qkv_proj", "c_attn", "Wqkv", "W_pack")


@dataclass(frozen=True)
class Description:
    """What an adapter on a base model will train, counted without its weights. `by_rank` are those
    numbers that grow with the rank, not those of modules trained in full."""

    trainable: int
    by_rank: int
    total: int
    modules: list[str]
    targets: list[str]


def linear_names(model: torch.nn.Module) -> dict[str, bool]:
    """Last part of each linear layer's name, and whether it belongs to attention. The output head
    isn't among them."""
    head = model.get_output_embeddings()
    names: dict[str, bool] = {}
    for path, module in model.named_modules():
        # bitsandbytes' layers are Linear too; Conv1D is GPT-2's linear layer.
        if module is head or not (isinstance(module, torch.nn.Linear)
                                  or type(module).__name__ == "Conv1D"):
            continue
        parent, _, last = path.rpartition(".")
        names[last] = names.get(last, False) or "att" in parent.rpartition(".")[2].lower()
    return names


def resolve_targets(wanted: tuple[str, ...], model: torch.nn.Module) -> list[str]:
    """Presets and names to the names of layers. UserError where one matches nothing."""
    linear = linear_names(model)
    by_preset = {
        "all linear": list(linear),
        "attention": [name for name, is_attention in linear.items() if is_attention],
        "attention q and v": [name for name in linear if name in QUERY_VALUE],
    }
    targets: list[str] = []
    for name in wanted:
        found = by_preset.get(name, [name] if _matches(name, model) else [])
        if not found:
            raise UserError(f"Target modules: '{name}' matches no layer of this model.",
                            f"It has {', '.join(linear)}; or choose {', '.join(TARGET_PRESETS)}.")
        targets += [target for target in found if target not in targets]
    return targets


def _matches(name: str, model: torch.nn.Module) -> bool:
    return any(path == name or path.endswith(f".{name}") for path, _ in model.named_modules())


def lora_config(config: Config, model: torch.nn.Module) -> LoraConfig:
    """peft's LoraConfig for `model`, its target names resolved."""
    for name in config.modules_to_save:
        if not _matches(name, model):
            raise UserError(f"Modules trained in full: '{name}' matches nothing in this model.",
                            "Remove it, or use a name such as lm_head or embed_tokens.")
    return LoraConfig(
        r=config.lora_r, lora_alpha=config.lora_alpha, lora_dropout=config.lora_dropout,
        target_modules=resolve_targets(config.target_modules, model), bias=config.lora_bias,
        use_rslora=config.use_rslora, use_dora=config.use_dora,
        init_lora_weights=True if config.init_lora == "default" else config.init_lora,
        modules_to_save=list(config.modules_to_save) or None, task_type="CAUSAL_LM")


def describe(config: Config, model: torch.nn.Module) -> Description:
    """Counts on a model on the meta device, which is changed by it."""
    modules = list(linear_names(model))
    total = sum(p.numel() for p in model.parameters())
    wanted = lora_config(config, model)
    # Initialisations that decompose the weights need real ones; sizes don't depend on them.
    wanted.init_lora_weights = False
    adapted = _adapt(model, wanted, low_cpu_mem_usage=True)
    learned = {name: p.numel() for name, p in adapted.named_parameters() if p.requires_grad}
    by_rank = sum(count for name, count in learned.items()
                  if ".lora_A." in name or ".lora_B." in name)
    return Description(sum(learned.values()), by_rank, total, modules,
                       sorted(wanted.target_modules))


def attach(config: Config, model: Any, adapter_folder: str | None) -> PeftModel:
    """The base model with a fresh adapter, or with that of `adapter_folder` to go on learning."""
    if adapter_folder is None:
        return _in_full_precision(_adapt(model, lora_config(config, model)))
    refuse_pickled(Path(adapter_folder), f"The adapter '{config.adapter}'")
    try:
        return _in_full_precision(
            PeftModel.from_pretrained(model, adapter_folder, is_trainable=True))
    except (RuntimeError, ValueError, SafetensorError) as error:
        raise UserError(
            f"The adapter '{config.adapter}' doesn't fit the base model '{config.base_model}': "
            f"{str(error).strip().splitlines()[0]}",
            "Choose the base model that it was trained on.") from error


def _adapt(model: Any, wanted: LoraConfig, **options: Any) -> PeftModel:
    try:
        return get_peft_model(model, wanted, **options)
    except (ValueError, TypeError) as error:  # peft's words for what an architecture can't do
        raise UserError(f"This adapter can't be put on this model: {error}",
                        "Change the LoRA setting that it names (joint expert layers need "
                        "dropout 0), or choose other target modules.") from error


def _in_full_precision(model: PeftModel) -> PeftModel:
    """All that learns in float32: peft sees to its own matrices, not to biases and full modules,
    whose small updates 16 bits would round away."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return model
