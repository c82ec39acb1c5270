"""Linear layers that read the same input, as one; and the LoRA of each row beside them."""

import importlib.util
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn import functional

from core.chat.adapter import Adapter

PER_SCALE = 64  # weights that share a scale, bitsandbytes' default
Rows = slice | torch.Tensor  # which rows of the bank the input's rows are
FEW = 16  # tokens for which the weight goes first on a processor


@dataclass
class Joined:
    """`weight` (out, in) holds the parts one below the other; the modules' own weights are views of
    it, so nothing lies in memory twice. 4-bit weights are packed bytes with `scales` and `code`.
    `down` (rows, parts x rank, in) and `up` (rows, out, rank) are A and B of each row."""

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    width: int
    weight: torch.Tensor
    bias: torch.Tensor | None = None
    scales: torch.Tensor | None = None
    code: torch.Tensor | None = None
    table: torch.Tensor | None = None  # `code` as core/chat/packed.py takes it, where that may work
    down: torch.Tensor | None = None
    up: torch.Tensor | None = None
    tuned: set[int] = field(default_factory=set)  # rows whose adapter has a part here

    @property
    def out(self) -> int:
        return sum(self.sizes)


def can_pack() -> bool:
    return torch.cuda.is_available() and importlib.util.find_spec("triton") is not None


def joinable(module: Any) -> bool:
    """Whether this linear layer is of a kind that `join` knows."""
    if type(module) is torch.nn.Linear:
        return True
    state = getattr(getattr(module, "weight", None), "quant_state", None)
    return (type(module).__name__ == "Linear4bit" and can_pack() and state is not None
            and state.blocksize == PER_SCALE)


def join(parent: torch.nn.Module, names: tuple[str, ...]) -> Joined:
    """The layers of these names below `parent` as one."""
    modules = [parent.get_submodule(name) for name in names]
    sizes = tuple(m.out_features for m in modules)
    weight = _share([m.weight for m in modules])
    bias = _share([m.bias for m in modules]) if modules[0].bias is not None else None
    joined = Joined(names, sizes, modules[0].in_features, weight, bias)
    states = [getattr(m.weight, "quant_state", None) for m in modules]
    if states[0] is not None:
        joined.scales = torch.cat([_scales(state) for state in states])
        joined.code = states[0].code.float()
        joined.table = _table(joined.code)
    return joined


def _table(code: torch.Tensor) -> torch.Tensor:
    from core.chat.packed import table_of

    return table_of(code)


def _share(parameters: list[torch.nn.Parameter]) -> torch.Tensor:
    """The parameters' values in one tensor, of which each becomes a view."""
    if len(parameters) == 1:
        return parameters[0].data
    joined = torch.cat([p.data for p in parameters])
    for parameter, part in zip(parameters, joined.split([len(p) for p in parameters]),
                               strict=True):
        parameter.data = part
    return joined


def _scales(state: Any) -> torch.Tensor:
    """One float32 scale for each 64 weights; bitsandbytes may have quantized them once more."""
    if not state.nested:
        return state.absmax.float()
    from bitsandbytes.functional import dequantize_blockwise

    return dequantize_blockwise(state.absmax, state.state2).float() + state.offset


def make_room(joined: Joined, rows: int, rank: int, dtype: torch.dtype) -> None:
    """Place for the LoRA of `rows` rows, at first none."""
    device = joined.weight.device
    joined.down = torch.zeros(rows, len(joined.names) * rank, joined.width, dtype=dtype,
                              device=device)
    joined.up = torch.zeros(rows, joined.out, rank, dtype=dtype, device=device)
    joined.tuned = set()


def put(joined: Joined, row: int, layer: int, adapter: Adapter | None) -> None:
    """This layer's part of an adapter into a row; None is the base model."""
    joined.down[row].zero_()
    joined.up[row].zero_()
    joined.tuned.discard(row)
    rank, at = joined.up.shape[2], 0
    for part, (name, size) in enumerate(zip(joined.names, joined.sizes, strict=True)):
        if adapter is not None and (layer, name) in adapter.pairs:
            down, up = adapter.pairs[layer, name]
            # Moved as they are: a processor with much else to do is slow to round them first.
            down, up = (matrix.to(joined.down.device) for matrix in (down, up))
            joined.down[row, part * rank:part * rank + len(down)].copy_(down)
            joined.up[row, at:at + size, :up.shape[1]].copy_(up)
            joined.tuned.add(row)
        at += size


def project(joined: Joined, x: torch.Tensor, rows: Rows | None) -> torch.Tensor:
    """x (rows, tokens, in) to (rows, tokens, out), with each row's LoRA; `rows` None: without."""
    y = times(x, _matrix(joined, x.dtype), joined.bias)
    if rows is None or not joined.tuned:
        return y
    down, up = joined.down[rows], joined.up[rows]
    low = x.to(down.dtype) @ down.transpose(1, 2)
    rank, at = up.shape[2], 0
    for part, size in enumerate(joined.sizes):
        y[..., at:at + size] += low[..., part * rank:(part + 1) * rank] @ up[
            :, at:at + size].transpose(1, 2)
        at += size
    return y


def times(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """x (..., in) times weight (out, in), as functional.linear. MKL reads a float32 weight three to
    eight times faster for a few tokens where it stands first, but not for one: that comes twice."""
    count = x.numel() // x.shape[-1]
    if x.device.type != "cpu" or x.dtype != torch.float32 or count > FEW:
        return functional.linear(x, weight, bias)
    flat = x.reshape(count, -1)
    pair = flat if count > 1 else flat.expand(2, -1).contiguous()
    y = (weight @ pair.t())[:, :count].t().contiguous()
    return (y if bias is None else y + bias).view(*x.shape[:-1], -1)


def _matrix(joined: Joined, dtype: torch.dtype) -> torch.Tensor:
    if joined.scales is None:
        return joined.weight
    from core.chat.kernels import unpack

    return unpack(joined.weight, joined.scales, joined.code, joined.out, joined.width, dtype)
