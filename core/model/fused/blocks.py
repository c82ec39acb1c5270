"""Decoder layers that compute their activations anew in the backward pass, or run compiled."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch.utils._pytree import tree_flatten, tree_unflatten

from core.model.fused.layers import Group, forget_waiting, group_of
from core.model.fused.parked import Parking, Streamed

# Architectures whose layers end with the MLP's output added to what came in, so that nobody reads
# that output in the backward pass. Gemma 3 and GLM-4-0414 have a norm behind it.
ENDS_IN_SUM = {"llama", "qwen2", "qwen3", "mistral", "smollm3", "glm", "phi3"}


def decoder_layers(model: Any) -> list[torch.nn.Module]:
    """The blocks that a transformers model repeats, in their order."""
    names = set(getattr(model, "_no_split_modules", None) or ())
    return [module for module in model.modules() if type(module).__name__ in names]


def let_inputs_have_gradients(model: Any) -> None:
    """So that the first layer is compiled as all others are."""
    model.get_input_embeddings().register_forward_hook(
        lambda _module, _inputs, output: output if output.requires_grad or not
        torch.is_grad_enabled() else output.requires_grad_())


class Blocks:
    """The decoder layers of a model and how they learn: every so manieth keeps nothing but its
    input (`recomputed` is their share), and where there is a `parking`, that waits in main memory,
    with the MLP's inner products of a share (`parked`) of these layers. Only passes that learn are
    changed; answers and evaluations run as they are. Weights that are `streamed` come for all, and
    then all layers are recomputed."""

    def __init__(self, layers: list[torch.nn.Module], model_type: str = "",
                 recomputed: float = 0.0, parked: float = 0.0, parking: Parking | None = None,
                 streamed: Streamed | None = None):
        self.layers, self._parking, self._streamed = layers, parking, streamed
        thrifty = _spread(range(len(layers)), recomputed)
        keeps = _spread(thrifty, parked if parking else 0.0)
        self._again = {at: Again(at, layers[at], at in keeps, model_type in ENDS_IN_SUM, parking,
                                 streamed)
                       for at in thrifty}
        self.run(compiled=False)

    def run(self, compiled: bool) -> None:
        """All of one kind share their code, so that it is compiled once."""
        made = partial(torch.compile, dynamic=True) if compiled else _as_it_is
        first, again = made(_first), made(_again)
        for at, layer in enumerate(self.layers):
            run = made(layer._call_impl)
            if at in self._again:
                run = partial(_recompute, self._again[at], first, again)
            bring = partial(self._streamed.bring, at, at + 1) if self._streamed else None
            layer._compiled_call_impl = partial(_learning, layer, bring, run)

    def forget(self) -> None:
        """Let go of what waits where a pass was broken off."""
        for layer in self.layers:
            forget_waiting(layer)
        if self._parking:
            self._parking.forget()


def _spread(places: Any, share: float) -> list[int]:
    """A share of the places, evenly among them."""
    return [place for at, place in enumerate(places)
            if int((at + 1) * share) > int(at * share)]


def _as_it_is(run: Callable[..., Any]) -> Callable[..., Any]:
    return run


def _learning(layer: torch.nn.Module, bring: Callable[[], None] | None, run: Callable[..., Any],
              *inputs: Any, **named: Any) -> Any:
    if bring:
        bring()
    if layer.training and torch.is_grad_enabled():
        return run(*inputs, **named)
    return layer._call_impl(*inputs, **named)


class Again:
    """A layer that is computed twice, the `number`th. `wide` are its layers whose outputs are kept
    from the first time, `last` is that whose output isn't needed the second time."""

    def __init__(self, number: int, layer: torch.nn.Module, keeps: bool, ends_in_sum: bool,
                 parking: Parking | None, streamed: Streamed | None):
        self.number, self.layer = number, layer
        self.parking, self.streamed = parking, streamed
        self.learned = [p for p in layer.parameters() if p.requires_grad]
        self.device = next(layer.parameters()).device.type
        self.wide = (group_of(layer, "gate_proj", "up_proj")
                     or group_of(layer, "gate_up_proj")) if keeps else None
        self.last = group_of(layer, "down_proj") if ends_in_sum else None


def _first(layer: torch.nn.Module, wide: Group | None, inputs: Any, named: Any
           ) -> tuple[Any, tuple[torch.Tensor, ...]]:
    """What the layer puts out, and what its wide products do."""
    if wide is None:
        return layer._call_impl(*inputs, **named), ()
    wide.keeps = True
    try:
        output = layer._call_impl(*inputs, **named)
        return output, wide.kept
    finally:
        wide.keeps, wide.kept = False, ()


def _again(layer: torch.nn.Module, wide: Group | None, last: Group | None,
           known: tuple[torch.Tensor, ...], inputs: Any, named: Any) -> Any:
    """As the first time for the backward pass, whatever it puts out."""
    if wide is not None:
        wide.known = known
    if last is not None:
        last.needed = False
    try:
        return layer._call_impl(*inputs, **named)
    finally:
        if wide is not None:
            wide.known = ()
        if last is not None:
            last.needed = True


def _recompute(how: Again, first: Callable[..., Any], again: Callable[..., Any], *inputs: Any,
               **named: Any) -> Any:
    flat, form = tree_flatten((inputs, named))
    return _Recomputed.apply(how, first, again, form, len(flat), *flat, *how.learned)


class _Recomputed(torch.autograd.Function):
    """A layer of which nothing is kept but its inputs. Parameters are inputs too, so that their
    gradients add up where those of other layers do."""

    @staticmethod
    def forward(ctx: Any, how: Again, first: Callable[..., Any], again: Callable[..., Any],
                form: Any, count: int, *tensors: Any) -> Any:
        flat = tensors[:count]
        inputs, named = tree_unflatten(list(flat), form)
        device = how.device
        ctx.how, ctx.again, ctx.form, ctx.count = how, again, form, count
        ctx.autocast = (torch.is_autocast_enabled(device), torch.get_autocast_dtype(device))
        ctx.draws = _draws(device)
        output, kept = first(how.layer, how.wide, inputs, named)
        ctx.moving = [at for at in range(count) if ctx.needs_input_grad[at + 5]]
        waits = [flat[at] for at in ctx.moving]
        ctx.flat = [None if at in ctx.moving else value for at, value in enumerate(flat)]
        if how.parking:
            how.parking.leave(how.number, [*waits, *kept])
        else:
            ctx.save_for_backward(*waits)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[Any, ...]:
        how = ctx.how
        if how.streamed:
            how.streamed.bring(how.number, how.number - 1)
        waited = how.parking.fetch(how.number) if how.parking else ctx.saved_tensors
        moving = [tensor.detach().requires_grad_() for tensor in waited[:len(ctx.moving)]]
        flat = list(ctx.flat)
        for at, tensor in zip(ctx.moving, moving, strict=True):
            flat[at] = tensor
        inputs, named = tree_unflatten(flat, ctx.form)
        device = how.device
        enabled, dtype = ctx.autocast
        with torch.enable_grad(), _drawing(device, ctx.draws), \
                torch.autocast(device, dtype, enabled):
            output = ctx.again(how.layer, how.wide, how.last, tuple(waited[len(moving):]), inputs,
                               named)
        del waited
        outputs = output if isinstance(output, tuple) else (output,)
        pairs = [(out, gradient) for out, gradient in zip(outputs, gradients, strict=True)
                 if gradient is not None]
        wanted = [*moving, *how.learned]
        found = torch.autograd.grad([out for out, _ in pairs], wanted,
                                    [gradient for _, gradient in pairs], allow_unused=True)
        to_flat: list[torch.Tensor | None] = [None] * ctx.count
        for at, gradient in zip(ctx.moving, found, strict=False):
            to_flat[at] = gradient
        return None, None, None, None, None, *to_flat, *found[len(moving):]


def _draws(device: str) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Where the random numbers stand, of which dropout takes some."""
    return torch.get_rng_state(), torch.cuda.get_rng_state() if device == "cuda" else None


@contextmanager
def _drawing(device: str, draws: tuple[torch.Tensor, torch.Tensor | None]) -> Iterator[None]:
    """Random numbers as they were drawn the first time."""
    with torch.random.fork_rng(enabled=True, devices=[torch.cuda.current_device()]
                               if device == "cuda" else []):
        on_host, on_device = draws
        torch.set_rng_state(on_host)
        if on_device is not None:
            torch.cuda.set_rng_state(on_device)
        yield
