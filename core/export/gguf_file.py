"""A merged model written as one GGUF file, tensor by tensor, in f16, bf16 or q8_0."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf.quants import quantize
from transformers import AutoConfig

from core.errors import UserError
from core.export import gguf_words
from core.export.merge import Merge
from core.export.tensors import Spec

Q = gguf.GGMLQuantizationType
KINDS = {"f16": (Q.F16, gguf.LlamaFileType.MOSTLY_F16),
         "bf16": (Q.BF16, gguf.LlamaFileType.MOSTLY_BF16),
         "q8_0": (Q.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0)}
# transformers' model types to llama.cpp's architectures.
ARCHITECTURES = {"llama": gguf.MODEL_ARCH.LLAMA, "mistral": gguf.MODEL_ARCH.LLAMA,
                 "qwen2": gguf.MODEL_ARCH.QWEN2, "qwen3": gguf.MODEL_ARCH.QWEN3}


def require_known(config: Any, tokenizer: Any) -> None:
    """UserError where this model can't be written as GGUF here; asked before the work begins."""
    if config.model_type not in ARCHITECTURES or getattr(config, "mlp_bias", False):
        raise UserError(
            f"'{config.model_type}' models can't be written as GGUF here; "
            f"{', '.join(ARCHITECTURES)} can.",
            "Export it merged, then let llama.cpp convert that folder: "
            "python convert_hf_to_gguf.py <folder> --outtype q8_0")
    way = _rope(config).get("rope_type", "default")
    if way not in ("default", "linear", "yarn", "llama3"):
        raise UserError(f"GGUF has no words for the rope scaling '{way}' of this model.",
                        "Export it merged instead.")
    gguf_words.read_vocabulary(tokenizer, config.vocab_size)


def write(path: Path, merge: Merge, config: Any, tokenizer: Any, kind: str,
          name: str) -> Iterator[float]:
    """Write `merge` to `path`; yields the share that is done. `config` is transformers' config of
    the base model, `name` what programs show."""
    architecture = ARCHITECTURES[config.model_type]
    names = gguf.get_tensor_name_map(architecture, config.num_hidden_layers)
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[architecture])
    try:
        _describe(writer, config, KINDS[kind][1], name)
        gguf_words.write(writer, tokenizer, config.vocab_size)
        factors = _llama3_factors(config)
        if factors is not None:
            writer.add_tensor_info("rope_freqs.weight", factors.shape, factors.dtype,
                                   factors.nbytes)
        specs = {key: spec for key, spec in merge.merged_specs.items()
                 if not key.endswith("rotary_emb.inv_freq")}
        for key, spec in specs.items():
            number_type = _number_type(spec, kind)
            writer.add_tensor_info(_name(names, key), spec.shape, np.dtype(np.float32),
                                   _size_bytes(spec, number_type), raw_dtype=number_type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        if factors is not None:
            writer.write_tensor_data(factors)
        total, done = sum(spec.count for spec in specs.values()), 0
        for key, tensor in merge.tensors():
            if key in specs:
                values = _in_gguf_order(key, tensor.float(), config, architecture)
                writer.write_tensor_data(_packed(values.numpy(), _number_type(specs[key], kind)))
                done += specs[key].count
                yield done / total
    finally:
        writer.close()


def _describe(writer: gguf.GGUFWriter, config: Any, file_type: int, name: str) -> None:
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_name(name)
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_file_type(file_type)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_rope_dimension_count(head)
    writer.add_key_length(head)
    writer.add_value_length(head)
    rope = _rope(config)
    writer.add_rope_freq_base(float(rope.get("rope_theta", 10_000.0)))
    if rope.get("rope_type") in ("linear", "yarn"):
        writer.add_rope_scaling_type(gguf.RopeScalingType(rope["rope_type"]))
        writer.add_rope_scaling_factor(float(rope["factor"]))
    if rope.get("rope_type") == "yarn":
        writer.add_rope_scaling_orig_ctx_len(int(
            rope.get("original_max_position_embeddings") or config.max_position_embeddings))


def _rope(config: Any) -> dict[str, Any]:
    return dict(getattr(config, "rope_parameters", None) or {})


def unread(base: Path) -> Any:
    """The base model's config where transformers doesn't read its scaling of positions back from a
    GGUF file (llama.cpp does); else None."""
    config = AutoConfig.from_pretrained(base, trust_remote_code=False)
    return None if _rope(config).get("rope_type", "default") == "default" else config


def _llama3_factors(config: Any) -> np.ndarray | None:
    """Llama 3.1's divisors of the rotation frequencies: long waves are slowed by `factor`, short
    ones left, those between blended."""
    rope = _rope(config)
    if rope.get("rope_type") != "llama3":
        return None
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    length, low, high = (rope["original_max_position_embeddings"], rope["low_freq_factor"],
                         rope["high_freq_factor"])
    waves = 2 * math.pi * rope["rope_theta"] ** (np.arange(0, head, 2) / head)
    blend = np.clip((length / waves - low) / (high - low), 0, 1)
    return (1 / ((1 - blend) / rope["factor"] + blend)).astype(np.float32)


def _name(names: gguf.TensorNameMap, key: str) -> str:
    found = names.get_name(key, try_suffixes=(".weight", ".bias"))
    if found is None:
        raise UserError(f"GGUF has no name for this model's tensor '{key}'.",
                        "Export it merged, and let llama.cpp's convert_hf_to_gguf.py try.")
    return found


def _number_type(spec: Spec, kind: str) -> Q:
    """Vectors (norms, biases) stay in 32 bit, as llama.cpp wants them; rows that don't fill whole
    blocks can't be packed."""
    wanted = KINDS[kind][0]
    if len(spec.shape) < 2:
        return Q.F32
    return wanted if spec.shape[-1] % gguf.GGML_QUANT_SIZES[wanted][0] == 0 else Q.F16


def _size_bytes(spec: Spec, number_type: Q) -> int:
    block, size = gguf.GGML_QUANT_SIZES[number_type]
    return spec.count // block * size


def _packed(values: np.ndarray, number_type: Q) -> np.ndarray:
    if number_type == Q.F32:
        return values
    return values.astype(np.float16) if number_type == Q.F16 else quantize(values, number_type)


def _in_gguf_order(key: str, tensor: torch.Tensor, config: Any,
                   architecture: gguf.MODEL_ARCH) -> torch.Tensor:
    """llama.cpp's Llama rotates neighbouring numbers of a head, transformers' those half a head
    apart: the rows of queries and keys change places."""
    layer, _, leaf = key.rpartition(".")
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(
        layer.rpartition(".")[2])
    if architecture != gguf.MODEL_ARCH.LLAMA or heads is None:
        return tensor.contiguous()
    halves = tensor.reshape(heads, 2, -1, *tensor.shape[1:])
    return halves.swapaxes(1, 2).reshape(tensor.shape).contiguous()
