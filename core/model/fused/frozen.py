"""A frozen weight multiplied in the form in which it is stored: plain numbers, 4 bit, or fp8."""

from dataclasses import dataclass

import torch

FP8 = torch.float8_e4m3fn


@dataclass(frozen=True)
class Form:
    """How a weight of shape (out, in) is stored; `kind` is plain, 4bit or fp8, and `parts` says how
    many tensors hold it. The rest is bitsandbytes' description of 4-bit blocks."""

    kind: str
    parts: int
    shape: tuple[int, int] = (0, 0)
    quant_type: str = ""
    block: int = 0
    outer_block: int = 0  # of the scales, which double quantization stores in 8 bit; else 0


def stored(layer: torch.nn.Module) -> tuple[Form, list[torch.Tensor]] | None:
    """The form of a linear layer's weight and the tensors that hold it; None for another one."""
    weight = layer.weight
    if weight.dtype == FP8:
        return Form("fp8", 2), [weight.detach(), layer.weight_scale]
    state = getattr(weight, "quant_state", None)
    if state is not None and weight.dtype == torch.uint8:
        scales = [state.absmax]
        if state.nested:
            scales += [state.state2.absmax, state.state2.code, state.offset]
        form = Form("4bit", 1 + len(scales), tuple(state.shape), state.quant_type,
                    state.blocksize, state.state2.blocksize if state.nested else 0)
        return form, [weight.detach(), *scales]
    if weight.is_floating_point() and type(layer) is torch.nn.Linear and weight.dim() == 2:
        return Form("plain", 1), [weight.detach()]
    return None


def to_fp8(layer: torch.nn.Linear) -> None:
    """Store the weight of `layer` in fp8, with one scale for each of its rows."""
    quantized, scale = by_row(layer.weight.detach())
    layer.weight = torch.nn.Parameter(quantized, requires_grad=False)
    layer.register_buffer("weight_scale", scale, persistent=False)


def by_row(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """x (rows, columns) in fp8, and the scale (rows, 1) by which each row is to be multiplied."""
    # 448 is the largest number in e4m3. A named constant would be compiled as an input.
    scale = x.abs().amax(dim=1, keepdim=True).float().clamp_min(1e-12) / 448.0
    return (x.float() / scale).to(FP8), scale


def times(form: Form, parts: list[torch.Tensor], x: torch.Tensor,
          in_fp8: tuple[torch.Tensor, torch.Tensor] | None) -> torch.Tensor:
    """x (tokens, in) times the transposed weight: (tokens, out). `in_fp8` is x `by_row`, which
    several weights share; None where no weight is in fp8."""
    if form.kind == "fp8" and in_fp8 is not None:
        weight, scale = parts
        values, row_scale = in_fp8
        return torch._scaled_mm(values, weight.t(), row_scale, scale.t(), out_dtype=x.dtype,
                                use_fast_accum=True)
    return x @ _plain(form, parts, x.dtype).t()


def add_times_back(total: torch.Tensor | None, form: Form, parts: list[torch.Tensor],
                   gradient: torch.Tensor) -> torch.Tensor:
    """The gradient (tokens, out) times the weight, added to `total` (tokens, in) in its place."""
    if form.kind == "fp8":
        weight, scale = parts
        # The scales of the weight's rows belong to the dimension that is summed over.
        values, row_scale = by_row(gradient.float() * scale.t())
        product = _fp8_back(values, row_scale, weight, gradient.dtype)
        return product if total is None else total.add_(product)
    if form.kind == "4bit":
        weight = _unpacked_again(parts[0], _scales(form, parts), gradient, form.block,
                                 form.quant_type, list(form.shape))
    else:
        weight = parts[0].to(gradient.dtype)
    return gradient @ weight if total is None else total.addmm_(gradient, weight)


def _plain(form: Form, parts: list[torch.Tensor], dtype: torch.dtype) -> torch.Tensor:
    if form.kind == "plain":
        return parts[0].to(dtype)
    return torch.ops.bitsandbytes.dequantize_4bit(
        parts[0], _scales(form, parts), form.block, form.quant_type, form.shape, dtype)


def _scales(form: Form, parts: list[torch.Tensor]) -> torch.Tensor:
    if not form.outer_block:
        return parts[1]
    _, scales, outer_scales, code, offset = parts
    return torch.ops.bitsandbytes.dequantize_blockwise(
        scales, outer_scales, code, form.outer_block, torch.float32) + offset


# A compiler would move what needs no gradient to the forward pass and keep its result, which is the
# whole model in 16 bits. These two take the gradient, so they stay in the backward pass.

@torch.library.custom_op("tunedesk::unpacked_again", mutates_args=())
def _unpacked_again(packed: torch.Tensor, scales: torch.Tensor, gradient: torch.Tensor, block: int,
                    quant_type: str, shape: list[int]) -> torch.Tensor:
    return torch.ops.bitsandbytes.dequantize_4bit(packed, scales, block, quant_type, shape,
                                                  gradient.dtype)


@_unpacked_again.register_fake
def _(packed: torch.Tensor, scales: torch.Tensor, gradient: torch.Tensor, block: int,
      quant_type: str, shape: list[int]) -> torch.Tensor:
    return gradient.new_empty(shape)


@torch.library.custom_op("tunedesk::fp8_back", mutates_args=())
def _fp8_back(values: torch.Tensor, row_scale: torch.Tensor, weight: torch.Tensor,
              dtype: torch.dtype) -> torch.Tensor:
    """values (tokens, out) in fp8 times weight (out, in), which the product wants column by
    column."""
    ones = row_scale.new_ones(1, weight.shape[1])
    return torch._scaled_mm(values, weight.t().contiguous().t(), row_scale, ones, out_dtype=dtype,
                            use_fast_accum=True)


@_fp8_back.register_fake
def _(values: torch.Tensor, row_scale: torch.Tensor, weight: torch.Tensor, dtype: torch.dtype
      ) -> torch.Tensor:
    return row_scale.new_empty((values.shape[0], weight.shape[1]), dtype=dtype)
