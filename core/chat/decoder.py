"""Reads and continues many rows at once, each with its own adapter, on models built like Llama."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn import functional

from core.chat.adapter import Adapter
from core.chat.joined import Joined, Rows, join, joinable, make_room, project, put, times

# Architectures whose layers are: norm, attention with rotary positions, norm, gated MLP. A probe
# shows for each loaded model that this file computes what its own code does.
KNOWN = {"llama", "mistral", "qwen2", "qwen3"}
ROPE = {"default", "linear", "llama3", "yarn"}  # angles that don't depend on the text's length
CHUNK = 512  # tokens of a prompt that are read in one go
CAPACITY_STEP = 256  # the cache grows by this many tokens
# An ordinary sentence: on special tokens in a row 16-bit rounding alone puts two ways of computing
# half of their logits apart (0.57 measured, 0.02 to 0.03 on such words).
PROBE = "Snow is white, and coal is black."
PARTS = {"qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
         "o": ("self_attn.o_proj",), "gate_up": ("mlp.gate_proj", "mlp.up_proj"),
         "down": ("mlp.down_proj",)}


@dataclass
class Layer:
    module: Any
    qkv: Joined
    o: Joined
    gate_up: Joined
    down: Joined

    @property
    def joined(self) -> tuple[Joined, ...]:
        return self.qkv, self.o, self.gate_up, self.down


@dataclass
class Row:
    """What the cache holds of one answer: `length` tokens; `read` are those of them that whole
    chunks of a prompt gave, which the same prompt may use again."""

    adapter: str = ""
    length: int = 0
    read: list[int] = field(default_factory=list)


def fits(model: Any) -> bool:
    """Whether a Decoder can be made of this model."""
    config = model.config
    layers = getattr(getattr(model, "model", None), "layers", None)
    if config.model_type not in KNOWN or not layers or type(model.lm_head) is not torch.nn.Linear:
        return False
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if getattr(config, "sliding_window", None) and config.model_type == "mistral":
        return False
    rope = getattr(config, "rope_parameters", None) or {}
    return (kinds == {"full_attention"} and config.hidden_act == "silu"
            and rope.get("rope_type", "default") in ROPE and model.lm_head.bias is None
            and all(joinable(layer.get_submodule(name)) for layer in layers
                    for names in PARTS.values() for name in names)
            and len({type(layer.self_attn.q_proj) for layer in layers}) == 1)


class Decoder:
    """Owns the cache (layers, rows, heads, tokens, head size) and the rows' LoRA. A step costs one
    pass over the weights, however many rows there are."""

    def __init__(self, model: Any, probe: list[int]):
        self.model, self.config = model, model.config
        self.probe = probe  # PROBE as this model's tokens
        self.device, self.dtype = model.device, model.dtype
        self.layers = [Layer(m, **{part: join(m, names) for part, names in PARTS.items()})
                       for m in model.model.layers]
        self.heads, self.kv_heads = self.config.num_attention_heads, self.config.num_key_value_heads
        self.head = getattr(self.config, "head_dim", None) or (
            self.config.hidden_size // self.heads)
        self.rows: list[Row] = []
        self.keys = self.values = torch.empty(len(self.layers), 0, self.kv_heads, 0, self.head,
                                              dtype=self.dtype, device=self.device)
        self.cos = self.sin = torch.empty(0, self.head)
        self.rank = 0
        self.is_tuned = False  # any of the rows at work has an adapter
        self.places = 0  # changes whenever a tensor moved that a captured graph reads
        self.steps: Any = None  # captured on CUDA, see core/chat/graph.py
        self.without_kernels = False
        self._held: list[str] = []

    def misfit(self, adapter: Adapter) -> str:
        """What of an adapter doesn't fit this model, in words; '' where all fits."""
        places = {(number, name): (joined.width, size) for number, layer in enumerate(self.layers)
                  for joined in layer.joined
                  for name, size in zip(joined.names, joined.sizes, strict=True)}
        for (number, name), (down, up) in adapter.pairs.items():
            shape = (down.shape[1], up.shape[0])
            if places.get((number, name)) != shape:
                return (f"{name} of its layer {number} has the shape {shape}, of the model "
                        f"{places.get((number, name))}.")
        return ""

    @torch.no_grad()
    def hold(self, names: list[str], adapters: list[Adapter | None]) -> None:
        """Put these adapters into the first rows, None for the base model. Those that are there
        already stay."""
        rank = max((a.rank for a in adapters if a), default=0)
        self.is_tuned = rank > 0
        while len(self.rows) < len(names):
            self.rows.append(Row())
        if self.is_tuned and (rank > self.rank or len(self._held) < len(names)):
            self.rank = max(self.rank, 16, 1 << (rank - 1).bit_length())
            for joined in (j for layer in self.layers for j in layer.joined):
                make_room(joined, len(names), self.rank, self.dtype)
            self._held, self.places = [""] * len(names), self.places + 1
        for index, (name, adapter) in enumerate(zip(names, adapters, strict=True)):
            row = self.rows[index]
            if row.adapter != name:
                row.adapter, row.read = name, []
            if self.is_tuned and self._held[index] != name:
                for number, layer in enumerate(self.layers):
                    for joined in layer.joined:
                        put(joined, index, number, adapter)
                self._held[index] = name

    def tuned_parts(self) -> tuple[bool, ...]:
        """For each linear layer whether any row's adapter has a part there: a step without the
        others' LoRA is another one than a step with it. () where no row at work has an adapter."""
        if not self.is_tuned:
            return ()
        return tuple(bool(joined.tuned) for layer in self.layers for joined in layer.joined)

    @torch.no_grad()
    def reserve(self, rows: int, tokens: int) -> None:
        """Make the cache large enough, keeping what it holds."""
        capacity = -(-tokens // CAPACITY_STEP) * CAPACITY_STEP
        _, had_rows, _, had, _ = self.keys.shape
        if had_rows >= rows and had >= capacity:
            return
        shape = (len(self.layers), max(rows, had_rows), self.kv_heads, max(capacity, had),
                 self.head)
        for name in ("keys", "values"):
            larger = torch.zeros(shape, dtype=self.dtype, device=self.device)
            larger[:, :had_rows, :, :had] = getattr(self, name)
            setattr(self, name, larger)
        positions = torch.arange(shape[3], device=self.device)[None]
        sample = torch.empty(0, device=self.device)  # its dtype is that of the angles
        cos, sin = self.model.model.rotary_emb(sample, positions)
        self.cos, self.sin = cos[0].contiguous(), sin[0].contiguous()
        self.places += 1

    def known(self, row: int, ids: list[int]) -> int:
        """How many tokens of a prompt needn't be read again: whole chunks, so that a prompt gives
        the same numbers whether it was known or not."""
        read, same = self.rows[row].read, 0
        while same + CHUNK < len(ids) and read[same:same + CHUNK] == ids[same:same + CHUNK]:
            same += CHUNK
        return same

    @torch.no_grad()
    def read(self, row: int, ids: list[int]) -> Iterator[torch.Tensor]:
        """Read a prompt chunk by chunk; yields after each the hidden states of its tokens, of shape
        (tokens, hidden)."""
        state, done = self.rows[row], self.known(row, ids)
        state.read, state.length = ids[:done], done
        while done < len(ids):
            part = ids[done:done + CHUNK]
            hidden = self._read_chunk(row, part, done)
            done += len(part)
            state.length = done
            if len(part) == CHUNK:
                state.read = ids[:done]
            yield hidden

    def _read_chunk(self, row: int, ids: list[int], start: int) -> torch.Tensor:
        end = start + len(ids)
        mask = None
        if start and len(ids) > 1:
            mask = torch.ones(len(ids), end, dtype=torch.bool, device=self.device).tril(start)

        def attend(number: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            keys, values = self.keys[number, row:row + 1], self.values[number, row:row + 1]
            keys[:, :, start:end], values[:, :, start:end] = k, v
            return functional.scaled_dot_product_attention(
                q, keys[:, :, :end], values[:, :, :end], attn_mask=mask,
                is_causal=mask is None and len(ids) > 1, enable_gqa=self.heads != self.kv_heads)

        tokens = torch.tensor([ids], device=self.device)
        positions = torch.arange(start, end, device=self.device)[None]
        return self._pass(tokens, positions, slice(row, row + 1), attend)[0]

    @torch.no_grad()
    def step(self, rows: list[int], tokens: torch.Tensor) -> torch.Tensor:
        """One more token for each of `rows`; returns logits (rows, vocabulary) in float32."""
        lengths = [self.rows[row].length for row in rows]

        def attend(number: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            said = []
            for i, (row, at) in enumerate(zip(rows, lengths, strict=True)):
                keys, values = self.keys[number, row:row + 1], self.values[number, row:row + 1]
                keys[:, :, at], values[:, :, at] = k[i, :, 0], v[i, :, 0]
                said.append(functional.scaled_dot_product_attention(
                    q[i:i + 1], keys[:, :, :at + 1], values[:, :, :at + 1],
                    enable_gqa=self.heads != self.kv_heads))
            return torch.cat(said)

        positions = torch.tensor(lengths, device=self.device)[:, None]
        hidden = self._pass(tokens[:, None], positions, which(rows), attend)
        for row in rows:
            self.rows[row].length += 1
        return self.logits(hidden[:, 0])

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """hidden (rows, hidden) to logits (rows, vocabulary) in float32."""
        return times(self._norm(self.model.model.norm, hidden), self.model.lm_head.weight).float()

    def _pass(self, tokens: torch.Tensor, positions: torch.Tensor, rows: Rows, attend: Any
              ) -> torch.Tensor:
        """tokens and positions (rows, tokens) through all layers to (rows, tokens, hidden)."""
        hidden = self.model.model.embed_tokens(tokens)
        cos, sin = (table[positions].to(self.dtype)[:, None] for table in (self.cos, self.sin))
        rows = rows if self.is_tuned else None
        for number, layer in enumerate(self.layers):
            own = layer.module.self_attn
            qkv = project(layer.qkv, self._norm(layer.module.input_layernorm, hidden), rows)
            q, k, v = (part.unflatten(-1, (-1, self.head)) for part in
                       qkv.split(layer.qkv.sizes, -1))
            if hasattr(own, "q_norm"):
                q, k = self._norm(own.q_norm, q), self._norm(own.k_norm, k)
            q, k, v = (part.transpose(1, 2) for part in (q, k, v))
            said = attend(number, _turned(q, cos, sin), _turned(k, cos, sin), v)
            hidden = hidden + project(layer.o, said.transpose(1, 2).flatten(2), rows)
            normed = self._norm(layer.module.post_attention_layernorm, hidden)
            gate, up = project(layer.gate_up, normed, rows).chunk(2, -1)
            hidden = hidden + project(layer.down, functional.silu(gate) * up, rows)
        return hidden

    def _norm(self, module: Any, x: torch.Tensor) -> torch.Tensor:
        return functional.rms_norm(x, x.shape[-1:], module.weight, module.variance_epsilon)


def which(rows: list[int]) -> Rows:
    """Rows as an index that copies nothing where they are neighbours."""
    if rows == list(range(rows[0], rows[0] + len(rows))):
        return slice(rows[0], rows[0] + len(rows))
    return torch.tensor(rows)


def _turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """x (rows, heads, tokens, head size) with rotary positions."""
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat((-second, first), -1) * sin


@torch.no_grad()
def agrees(decoder: Decoder) -> bool:
    """Whether the decoder computes what the model's own code does: one short text read by both, and
    a step after it."""
    ids = decoder.probe
    decoder.hold([""], [None])
    decoder.reserve(1, len(ids))
    expected = decoder.model(input_ids=torch.tensor([ids], device=decoder.device)).logits[0, -2:]
    *_, hidden = decoder.read(0, ids[:-1])
    last = torch.tensor(ids[-1:], device=decoder.device)
    found = torch.cat([decoder.logits(hidden[-1:]), decoder.step([0], last)])
    return apart(found, expected.float()) < 0.1


def apart(found: torch.Tensor, expected: torch.Tensor) -> float:
    """How far logits are from those expected, as a share of these; what all share of a row makes no
    difference to it."""
    found, expected = (each - each.mean(-1, keepdim=True) for each in (found, expected))
    return float(((found - expected).norm(dim=-1) / expected.norm(dim=-1)).max())
