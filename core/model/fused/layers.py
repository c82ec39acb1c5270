"""Puts the fused product in the place of peft's layers, those that read one input together."""

from types import MethodType
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch.nn.functional import dropout

from core.model.fused.frozen import stored, to_fp8
from core.model.fused.product import Plan, linear

ADAPTER = "default"
# Names of layers that transformers' blocks call one after the other with the same input.
TOGETHER = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))


def fuse(model: torch.nn.Module, in_fp8: bool) -> int:
    """Give each plain LoRA layer of `model` the fused forward; returns how many have it. The others
    (DoRA, learned biases, 8-bit weights) keep peft's. `in_fp8` stores their 16-bit weights so."""
    count = 0
    for parent in list(model.modules()):
        children = {name: child for name, child in parent.named_children() if _can(child)}
        for child in children.values() if in_fp8 else ():
            to_fp8(child.base_layer)
        for names in TOGETHER:
            if all(name in children for name in names):
                count += _join([children.pop(name) for name in names])
        count += sum(_join([child]) for child in children.values())
    return count


def _can(layer: Any) -> bool:
    """Whether it is a linear layer with one plain LoRA adapter that learns."""
    return (isinstance(layer, LoraLayer) and list(getattr(layer, "lora_A", {})) == [ADAPTER]
            and not layer.lora_variant and not layer.merged and not layer.lora_bias[ADAPTER]
            and isinstance(layer.lora_A[ADAPTER], torch.nn.Linear)
            and stored(layer.base_layer) is not None
            and not (layer.base_layer.bias is not None and layer.base_layer.bias.requires_grad))


class Group:
    """Layers that read the same input. The first that is called computes for all of them; the
    others find their outputs here, and the last of them leaves nothing behind. Whoever computes a
    block twice can ask for the outputs (`keeps`, then `kept`), say them (`known`), or say that
    nobody reads them (not `needed`)."""

    def __init__(self, layers: list[Any]):
        self.layers = layers
        self.waiting: tuple[torch.Tensor, ...] | None = None
        self.input: torch.Tensor | None = None
        self.keeps, self.needed = False, True
        self.kept: tuple[torch.Tensor, ...] = ()
        self.known: tuple[torch.Tensor, ...] = ()


def _join(layers: list[Any]) -> int:
    group = Group(layers)
    for at, layer in enumerate(layers):
        layer.__dict__["_fused"] = (group, at)  # not a child: the group holds its own members
        layer.forward = MethodType(_forward, layer)
    return len(layers)


def _forward(self: Any, x: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    group, at = self.__dict__["_fused"]
    if at and group.input is x:
        outputs = group.waiting
    elif at:  # called without those before it
        return _compute([self], x)[0]
    else:
        outputs = _compute(group.layers, x, group.known, group.needed)
        if group.keeps:
            group.kept = outputs
    last = at == len(group.layers) - 1
    group.input, group.waiting = (None, None) if last else (x, outputs)
    return outputs[at]


def forget_waiting(model: torch.nn.Module) -> None:
    """Let go of outputs that nobody came for, with the graph behind them, where a pass was broken
    off."""
    for module in model.modules():
        if "_fused" in module.__dict__:
            group, _ = module.__dict__["_fused"]
            group.input = group.waiting = None


def group_of(block: torch.nn.Module, *names: str) -> Group | None:
    """The fused layers of `block` that have these names, where there is one of each and they read
    one input; else None."""
    found = [[module for path, module in block.named_modules()
              if path.rpartition(".")[2] == name and "_fused" in module.__dict__]
             for name in names]
    groups = {id(modules[0].__dict__["_fused"][0]) for modules in found if len(modules) == 1}
    if len(groups) != 1 or any(len(modules) != 1 for modules in found):
        return None
    group, _ = found[0][0].__dict__["_fused"]
    return group if len(group.layers) == len(names) else None


def _compute(layers: list[Any], x: torch.Tensor, known: tuple[torch.Tensor, ...] = (),
             needed: bool = True) -> tuple[torch.Tensor, ...]:
    first = layers[0]
    kind = x.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
    flat = x.reshape(-1, x.shape[-1]).to(dtype)
    share = first.lora_dropout[ADAPTER].p if hasattr(first.lora_dropout[ADAPTER], "p") else 0.0
    dropped = dropout(flat, share) if share and first.training else None
    plans, tensors = [], []
    for layer in layers:
        form, parts = stored(layer.base_layer)
        bias = layer.base_layer.bias
        scaling = 0.0 if layer.disable_adapters else layer.scaling[ADAPTER]
        plans.append(Plan(form, scaling, bias is not None))
        tensors += [*parts, layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight]
        tensors += [] if bias is None else [bias]
    with torch.autocast(kind, enabled=False):
        known = tuple(output.view(len(flat), -1) for output in known)
        outputs = linear(tuple(plans), flat, dropped, tensors, known, needed)
    return tuple(output.view(*x.shape[:-1], -1) for output in outputs)
