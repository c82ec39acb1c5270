"""Attention over joined rows that never computes across them.

PyTorch's varlen kernels on CUDA; elsewhere the rows of like length side by side.
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch.nn.attention.varlen import varlen_attn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

NAME = "tunedesk_rows"
# Architectures whose attention is plain causal softmax with one head size. Gemma 2 caps its scores
# and DeepSeek-V2 has values of another size; they keep transformers' own attention.
KNOWN = {"llama", "qwen2", "qwen3", "mistral", "smollm3", "glm", "glm4", "phi3", "gemma3_text"}
LARGEST_HEAD = 256
SHARES_HEADS = "enable_gqa" in inspect.signature(varlen_attn).parameters
ALIKE = 0.75  # rows at least this share of a group's longest are computed with it
# Of so short rows processors compute attention twice as fast in 32 bits as in 16.
SHORT = 384


def attend_by_rows(model: PreTrainedModel) -> bool:
    """Switch the model to attention within rows where its architecture is known; says whether it
    did. Otherwise a mask of the whole square keeps the rows apart, which costs time and memory
    with its square. The model then takes batches of pack.joined only, but see `ordinary`."""
    if model.config.model_type not in KNOWN:
        return False
    AttentionInterface.register(NAME, _attend if _has_varlen() else _attend_in_groups)
    AttentionMaskInterface.register(NAME, lambda *_, **__: None)
    model.set_attn_implementation(NAME)
    return True


def _has_varlen() -> bool:
    """Whether a GPU, if there is one, has the varlen kernels: those of NVIDIA need Ampere."""
    return (not torch.cuda.is_available() or torch.version.hip is not None
            or torch.cuda.get_device_capability() >= (8, 0))


@contextmanager
def ordinary(model: PreTrainedModel) -> Iterator[None]:
    """For what isn't joined, such as answers being written: transformers' own attention."""
    used = model.config._attn_implementation
    if used == NAME:
        model.set_attn_implementation("sdpa")
    try:
        yield
    finally:
        if used == NAME:
            model.set_attn_implementation(NAME)


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
            cu_seq_lens_k: torch.Tensor, max_length_q: int, sliding_window: int | None = None,
            **_: Any) -> tuple[torch.Tensor, None]:
    """query (1, heads, tokens, head size), key and value with as many heads or fewer;
    `cu_seq_lens_q` (rows + 1) says where each row begins. Returns (1, tokens, heads, head size).
    Where `cu_seq_lens_k` has longer rows, each but the first reads the first before itself, see
    pack.share_opening; not on CUDA in 16 bits."""
    q, k, v = _by_token(query, key, value)
    if q.device.type != "cuda" or q.dtype == torch.float32 or q.shape[2] > LARGEST_HEAD:
        return _in_groups(q, k, v, (cu_seq_lens_q, cu_seq_lens_k), scaling,
                          sliding_window).unsqueeze(0), None
    options = {"enable_gqa": True} if SHARES_HEADS else {}
    if not SHARES_HEADS and q.shape[1] != k.shape[1]:
        k, v = (t.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for t in (k, v))
    window = (sliding_window - 1 if sliding_window else -1, 0)
    attended = varlen_attn(q, k, v, cu_seq_lens_q, cu_seq_lens_q, max_length_q, max_length_q,
                           scale=scaling, window_size=window, **options)
    return attended.unsqueeze(0), None


def _attend_in_groups(module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor,
                      value: torch.Tensor, attention_mask: None, scaling: float | None = None, *,
                      cu_seq_lens_q: torch.Tensor, cu_seq_lens_k: torch.Tensor,
                      sliding_window: int | None = None, **_: Any) -> tuple[torch.Tensor, None]:
    """As `_attend`, for GPUs that have no varlen kernels."""
    return _in_groups(*_by_token(query, key, value), (cu_seq_lens_q, cu_seq_lens_k), scaling,
                      sliding_window).unsqueeze(0), None


def _by_token(*states: torch.Tensor) -> list[torch.Tensor]:
    """Queries, keys, values (1, heads, tokens, head size) as (tokens, heads, head size), in the
    dtype that autocast asks for."""
    kind, dtype = states[0].device.type, states[0].dtype
    if dtype == torch.float32 and torch.is_autocast_enabled(kind):
        dtype = torch.get_autocast_dtype(kind)
    return [t[0].transpose(0, 1).to(dtype) for t in states]


@torch.compiler.disable  # lengths differ from batch to batch
def _in_groups(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor,
               starts: tuple[torch.Tensor, torch.Tensor], scaling: float | None,
               window: int | None) -> torch.Tensor:
    """q, k, v (tokens, heads, head size). Rows are filled up with what follows them, which causal
    attention never looks at."""
    groups = _groups(*(tuple(each.tolist()) for each in starts))
    taken = groups.taken.to(q.device)
    parts = [t.index_select(0, taken).split(groups.sizes) for t in (q, k, v)]
    done = []
    for length, before, *three in zip(groups.lengths, groups.before, *parts, strict=True):
        side_by_side = [t.unflatten(0, (-1, length)).transpose(1, 2) for t in three]
        if before:
            side_by_side[1:] = [
                torch.cat([t[:before].transpose(0, 1).expand(len(own), -1, -1, -1), own], 2)
                for t, own in zip((k, v), side_by_side[1:], strict=True)]
        if q.device.type == "cpu" and length <= SHORT:
            side_by_side = [t.float() for t in side_by_side]
        plain = not before and (window is None or window >= length)
        attended = scaled_dot_product_attention(
            *side_by_side, is_causal=plain, scale=scaling, enable_gqa=q.shape[1] != k.shape[1],
            attn_mask=None if plain else _near(length, before, window, q.device))
        done.append(attended.transpose(1, 2).flatten(0, 1).to(q.dtype))
    return torch.cat(done).index_select(0, groups.put_back.to(q.device))


@dataclass(frozen=True)
class Groups:
    """Rows in groups of like length. `taken` says which tokens stand in the filled-up rows of all
    groups, `sizes` and `lengths` how many tokens a group has and each of its rows, `before` how
    many of the first row its rows read before themselves, `put_back` where each token is then."""

    taken: torch.Tensor
    sizes: list[int]
    lengths: list[int]
    before: list[int]
    put_back: torch.Tensor


@lru_cache(8)  # all layers of a pass ask for the same
def _groups(starts: tuple[int, ...], key_starts: tuple[int, ...]) -> Groups:
    shared = starts[1] if starts != key_starts else 0
    rows = sorted(zip(starts, starts[1:], strict=False),
                  key=lambda row: (bool(shared and row[0]), row[0] - row[1]))
    taken, sizes, lengths, before = [], [], [], []
    put_back, at = torch.empty(starts[-1], dtype=torch.long), 0
    for start, end in rows:
        reads = shared if start else 0
        if not lengths or end - start < ALIKE * lengths[-1] or reads != before[-1]:
            lengths.append(end - start)
            sizes.append(0)
            before.append(reads)
        taken.append(torch.arange(start, start + lengths[-1]).clamp_max(starts[-1] - 1))
        put_back[start:end] = torch.arange(at, at + end - start)
        sizes[-1] += lengths[-1]
        at += lengths[-1]
    return Groups(torch.cat(taken), sizes, lengths, before, put_back)


def _near(length: int, before: int, window: int | None, device: torch.device) -> torch.Tensor:
    """Which of `before` + `length` keys each of the last `length` queries may look at: itself and
    those before it, as many as the window holds."""
    square = torch.ones(length, before + length, dtype=torch.bool, device=device).tril(before)
    return square if window is None else square.triu(before + 1 - window)


def reads_shared(model: PreTrainedModel) -> bool:
    """Whether the model's attention understands rows whose common beginning stands once."""
    return model.config._attn_implementation == NAME and (
        model.device.type != "cuda")
