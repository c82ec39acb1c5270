"""Attention over joined rows that never computes across them: PyTorch's varlen kernels on CUDA."""

import inspect
from typing import Any

import torch
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

from core.model.hardware import Device, Formats

NAME = "tunedesk_varlen"
# Architectures whose attention is plain causal softmax with one head size. Gemma 2 caps its scores
# and DeepSeek-V2 has values of another size; they keep transformers' own attention.
KNOWN = {"llama", "qwen2", "qwen3", "mistral", "smollm3", "glm", "glm4", "phi3", "gemma3_text"}
LARGEST_HEAD = 256
SHARES_HEADS = "enable_gqa" in inspect.signature(varlen_attn).parameters


def use_varlen(model: PreTrainedModel, device: Device, formats: Formats) -> bool:
    """Switch the model to varlen attention where that works; says whether it did. Otherwise a mask
    of the whole square keeps the rows apart, which costs time and memory with its square."""
    config = model.config
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if (device.kind != "cuda" or formats.precision == "fp32" or head > LARGEST_HEAD
            or config.model_type not in KNOWN):
        return False
    AttentionInterface.register(NAME, _attend)
    AttentionMaskInterface.register(NAME, lambda *_, **__: None)
    model.set_attn_implementation(NAME)
    return True


@torch.no_grad()
def rows_stay_apart(model: PreTrainedModel) -> bool:
    """Whether this architecture keeps joined rows apart: one short pass with two rows, joined and
    alone. Some never look at positions (OPT, BLOOM) or carry a state on (Mamba)."""
    was_training = model.training
    model.eval()
    together = _probe(model, [1, 2, 3, 4, 5, 6, 7, 8, 9], [0, 1, 2, 3, 4, 0, 1, 2, 3])[5:]
    alone = _probe(model, [6, 7, 8, 9], [0, 1, 2, 3])
    model.train(was_training)
    return bool((together - alone).abs().max() < 0.05 * alone.abs().max())


def _probe(model: PreTrainedModel, ids: list[int], positions: list[int]) -> torch.Tensor:
    """Logits (tokens, vocabulary) of one row."""
    device = model.device
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        return model(input_ids=torch.tensor([ids], device=device),
                     position_ids=torch.tensor([positions], device=device)).logits[0].float()


def _attend(module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
            attention_mask: None, scaling: float | None = None, *, cu_seq_lens_q: torch.Tensor,
            max_length_q: int, sliding_window: int | None = None, **_: Any
            ) -> tuple[torch.Tensor, None]:
    """query (1, heads, tokens, head size), key and value with as many heads or fewer;
    `cu_seq_lens_q` (rows + 1) says where each row begins. Returns (1, tokens, heads, head size)."""
    dtype = query.dtype if query.dtype != torch.float32 else torch.get_autocast_dtype("cuda")
    q, k, v = (t[0].transpose(0, 1).to(dtype) for t in (query, key, value))
    options = {"enable_gqa": True} if SHARES_HEADS else {}
    if not SHARES_HEADS and q.shape[1] != k.shape[1]:
        k, v = (t.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for t in (k, v))
    window = (sliding_window - 1 if sliding_window else -1, 0)
    attended = varlen_attn(q, k, v, cu_seq_lens_q, cu_seq_lens_q, max_length_q, max_length_q,
                           scale=scaling, window_size=window, **options)
    return attended.unsqueeze(0), None
