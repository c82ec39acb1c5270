"""Several linear layers with LoRA that read the same input, as one function with its own gradient.

What it saves beside separate layers: the input is read once for all their A matrices, their
gradients towards it add up inside the matrix products, and B's part is added to the output by the
product itself. Nothing is kept for the backward pass but the input and its (tokens, r) products.
"""

from dataclasses import dataclass
from typing import Any

import torch

from core.model.fused.frozen import Form, add_times_back, by_row, times


@dataclass(frozen=True)
class Plan:
    """One of the layers: how its weight is stored, LoRA's scale, and whether it has a bias. Its
    tensors follow each other as: the weight's parts, A (r, in), B (out, r), the bias."""

    form: Form
    scaling: float
    has_bias: bool

    @property
    def tensors(self) -> int:
        return self.form.parts + 2 + self.has_bias


def linear(plans: tuple[Plan, ...], x: torch.Tensor, dropped: torch.Tensor | None,
           tensors: list[torch.Tensor], known: tuple[torch.Tensor, ...] = (),
           needed: bool = True) -> tuple[torch.Tensor, ...]:
    """x (tokens, in) through all layers: a tuple of (tokens, out). LoRA reads `dropped`, the input
    after dropout, where it isn't None. `known` are the outputs if they were computed before; what
    isn't `needed` is left undefined. The gradients are the same in any case."""
    return _Linear.apply(plans, needed, len(known), x, dropped, *known, *tensors)


def _cut(plans: tuple[Plan, ...], tensors: Any) -> list[tuple[list[torch.Tensor], Any, Any, Any]]:
    """The tensors of each layer: weight's parts, A, B, bias or None."""
    cut, start = [], 0
    for plan in plans:
        mine = list(tensors[start:start + plan.tensors])
        parts = plan.form.parts
        cut.append((mine[:parts], mine[parts], mine[parts + 1],
                    mine[parts + 2] if plan.has_bias else None))
        start += plan.tensors
    return cut


def _added(total: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """total + left @ right. In place, which spares a copy; a compiler spares that by itself, and
    torch 2.11 loses the gradients where a compiled forward changes what it puts out."""
    if torch.compiler.is_compiling():
        return total.addmm(left, right)
    return total.addmm_(left, right)


class _Linear(torch.autograd.Function):

    @staticmethod
    def forward(ctx: Any, plans: tuple[Plan, ...], needed: bool, count: int, x: torch.Tensor,
                dropped: torch.Tensor | None, *rest: torch.Tensor) -> tuple[torch.Tensor, ...]:
        known, tensors = rest[:count], rest[count:]
        cut = _cut(plans, tensors)
        joint = torch.cat([a for _, a, _, _ in cut]).to(x.dtype)
        narrow = (x if dropped is None else dropped) @ joint.t()  # (tokens, r of all layers)
        ctx.plans, ctx.count, ctx.drops = plans, count, dropped is not None
        ctx.save_for_backward(x, x if dropped is None else dropped, narrow, *tensors)
        if known or not needed:
            return tuple(known) or tuple(x.new_empty(len(x), b.shape[0]) for _, _, b, _ in cut)
        in_fp8 = by_row(x) if plans[0].form.kind == "fp8" else None  # then all of them are
        outputs, at = [], 0
        for plan, (parts, a, b, bias) in zip(plans, cut, strict=True):
            output = times(plan.form, parts, x, in_fp8)
            if bias is not None:
                output = output + bias.to(output.dtype)
            share = narrow[:, at:at + a.shape[0]]
            outputs.append(_added(output, share, (b * plan.scaling).to(x.dtype).t()))
            at += a.shape[0]
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[Any, ...]:
        x, dropped, narrow, *tensors = ctx.saved_tensors
        cut = _cut(ctx.plans, tensors)
        joint = torch.cat([a for _, a, _, _ in cut]).to(x.dtype)
        to_input, back, to_b, at = None, [], [], 0
        for plan, (parts, a, b, _), gradient in zip(ctx.plans, cut, gradients, strict=True):
            to_input = add_times_back(to_input, plan.form, parts, gradient)
            back.append(gradient @ (b * plan.scaling).to(x.dtype))
            share = narrow[:, at:at + a.shape[0]]
            to_b.append((gradient.t() @ share).to(b.dtype) * plan.scaling)
            at += a.shape[0]
        back = torch.cat(back, 1) if len(back) > 1 else back[0]
        to_a = (back.t() @ dropped).split([a.shape[0] for _, a, _, _ in cut])
        to_dropped = back @ joint if ctx.drops else None
        if not ctx.drops:
            to_input = to_input.addmm_(back, joint)
        found: list[torch.Tensor | None] = []
        for plan, (_, a, _, _), mine_a, mine_b in zip(ctx.plans, cut, to_a, to_b, strict=True):
            found += [*[None] * plan.form.parts, mine_a.to(a.dtype), mine_b,
                      *[None] * plan.has_bias]
        return None, None, None, to_input, to_dropped, *[None] * ctx.count, *found
