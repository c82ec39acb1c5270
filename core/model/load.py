"""A model folder to a model in memory, at 4, 8, 16 or 32 bit; or to its shape alone."""

import copy
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
)

from core.config import Config
from core.errors import UserError
from core.files import Folders
from core.model import hub
from core.model.catalog import load_catalog
from core.model.hardware import Device, Formats


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a model folder, with a padding token (the end token where it has none)."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # tokenizers raises bare Exceptions for damaged files
        raise _damaged("tokenizer", folder, error) from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_base(folder: Path, formats: Formats, config: Config, device: Device,
              streams: bool = False) -> PreTrainedModel:
    """The frozen base model on `device`; in main memory where several processes cut it up, which
    bring their parts to the device themselves, or where it `streams` from there."""
    options: dict[str, Any] = {"dtype": formats.weight_dtype, "use_safetensors": True,
                               "trust_remote_code": False}
    if formats.weights in ("4bit", "8bit"):
        options["quantization_config"] = _quantization(formats, config)
    if device.kind != "cpu" and not _is_cut_up(config, formats):
        options["device_map"] = {
            "": torch.cuda.current_device() if device.kind == "cuda" else device.kind}
    if streams:
        options["device_map"] = {"": "cpu"}  # without one bitsandbytes would choose the GPU
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, **options)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # safetensors, json and transformers each have classes of their own
        raise _damaged("model", folder, error) from error
    model.config.use_cache = False
    return model


def for_learning(model: PreTrainedModel) -> PreTrainedModel:
    """On processors with bf16 units bitsandbytes packs 4-bit weights in the first pass that no
    gradient is asked of, for a kernel that never gives one; a model that learns must stay as it
    is, since evaluations come in between."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return model


def _damaged(what: str, folder: Path, error: Exception) -> UserError:
    first = (str(error) or type(error).__name__).strip().splitlines()[0]
    return UserError(f"The {what} in '{folder}' can't be loaded: {first}",
                     "Its files may be damaged or incomplete: delete that folder to fetch it anew, "
                     "or choose another model.")


def _quantization(formats: Formats, config: Config) -> BitsAndBytesConfig:
    if formats.weights == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type=config.quant_type,
        bnb_4bit_use_double_quant=config.double_quantization,
        bnb_4bit_compute_dtype=formats.compute_dtype,
        # FSDP2 cuts up weights of the dtype that it computes in; the bytes inside stay the same.
        bnb_4bit_quant_storage=formats.compute_dtype if config.strategy == "fsdp2"
        and torch.distributed.is_initialized() else torch.uint8)


def _is_cut_up(config: Config, formats: Formats) -> bool:
    return (config.strategy == "fsdp2" and formats.weights in ("16bit", "32bit")
            and torch.distributed.is_initialized())


def load_shape(config: Config, folders: Folders) -> PreTrainedModel:
    """The model on the meta device: every layer and its size, no weights. Catalogue models need no
    hub for this."""
    entry = load_catalog(folders).get(config.base_model)
    if entry:
        # for_model writes into nested dicts of what it is given.
        shape = AutoConfig.for_model(**copy.deepcopy(entry.config))
    else:
        shape = load_config(hub.locate(config.base_model, folders, config.revision,
                                       only_config=True))
    return meta_model(shape)


def load_config(folder: Path) -> Any:
    """What transformers knows of a model folder: its architecture and sizes."""
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise _damaged("model", folder, error) from error


def meta_model(shape: Any) -> PreTrainedModel:
    """A model of the shape that transformers' config tells, without weights."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(shape)
