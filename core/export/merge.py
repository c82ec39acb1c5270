"""An adapter and the 16-bit weights of its base model to merged weights, layer by layer.

The arithmetic is peft's own, on one layer at a time: the model is built with shapes and without
weights, each layer gets its weights from the base model's files, merges, and gives them back. So
LoRA, rsLoRA, DoRA, learned biases and modules trained in full need no code here.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import ModulesToSaveWrapper, load_peft_weights
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM

from core.errors import UserError
from core.export.tensors import Spec, read_specs, read_tensors
from core.model.trusted import refuse_pickled


@dataclass(frozen=True)
class Merge:
    """What will be merged. `specs` are the base model's tensors; `layers` have adapter matrices,
    `modules` were trained in full, `values` are single learned tensors such as biases; each by the
    name that it has in the base model. `head` and `embedding` are the names of two tensors that
    the base model holds as one and the merged model can't, else ''."""

    specs: dict[str, Spec]
    layers: dict[str, Any]
    modules: dict[str, Any]
    values: dict[str, torch.Tensor]
    dtype: torch.dtype
    embedding: str = ""
    head: str = ""

    @property
    def missing(self) -> set[str]:
        """Adapted tensors that the files don't have under the name that the model uses: some
        architectures join or split weights on the way into memory."""
        wanted = {f"{path}.weight" for path in self.layers} | set(self.values) | {
            f"{path}.{name}" for path, module in self.modules.items()
            for name, _ in module.named_parameters()}
        return wanted - set(self.specs) - {self.head}

    @property
    def merged_specs(self) -> dict[str, Spec]:
        """The tensors that `tensors` gives, in its order, in 16 bit."""
        made: dict[str, Spec] = {}
        for name, spec in self.specs.items():
            dtype = self.dtype if spec.dtype.is_floating_point else spec.dtype
            made[name] = Spec(dtype, spec.shape)
            if self.head and name == self.embedding:
                made[self.head] = Spec(dtype, spec.shape)
        return made

    def tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Every tensor of the merged model: float32 where something was merged, so that it is
        rounded once only, when it is written."""
        for name, tensor in read_tensors(self.specs):
            yield name, self._merged(name, tensor)
            if self.head and name == self.embedding:
                yield self.head, self._merged(self.head, tensor)

    def _merged(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        if name in self.values:
            return self.values[name]
        for path, module in self.modules.items():
            if name.startswith(f"{path}."):
                return module.get_parameter(name.removeprefix(f"{path}.")).detach()
        path, _, leaf = name.rpartition(".")
        if path in self.layers and leaf == "weight":
            return _merge_layer(self.layers[path], tensor, name)
        return tensor


@torch.no_grad()
def _merge_layer(layer: Any, weight: torch.Tensor, name: str) -> torch.Tensor:
    base = layer.get_base_layer()
    base.weight = torch.nn.Parameter(weight.float(), requires_grad=False)
    try:
        layer.merge(safe_merge=True)
    except ValueError as error:  # peft's words for values that aren't finite
        raise UserError(f"The adapter can't be merged into '{name}': {error}",
                        "Its training went wrong; train again with a lower learning rate."
                        ) from error
    merged = base.weight.data
    layer.merged_adapters.clear()
    base.weight = _without_memory(base.weight)
    return merged


def _without_memory(parameter: torch.nn.Parameter) -> torch.nn.Parameter:
    """One number that is read as a whole tensor. Unlike the meta device, on which peft would put
    the adapter as well, it is on the CPU."""
    one = torch.zeros((), dtype=parameter.dtype)
    return torch.nn.Parameter(one.expand(parameter.shape), requires_grad=False)


def prepare(base: Path, adapter: Path) -> Merge:
    """Find what the adapter in `adapter` changes in the model in `base`. No weights are read but
    the adapter's."""
    shape = AutoConfig.from_pretrained(base, trust_remote_code=False)
    if getattr(shape, "quantization_config", None):
        raise UserError("The base model's files hold quantized weights.",
                        "Merging needs its 16-bit weights: fetch the unquantized model.")
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(shape)
    tied = bool(getattr(model.config, "tie_word_embeddings", False))
    embedding, head = _word_layers(model)
    adapted = _attach(model, adapter)
    layers = {path: module for path, module in adapted.named_modules()
              if isinstance(module, BaseTunerLayer)}
    modules = {path: module.modules_to_save[module.active_adapter]
               for path, module in adapted.named_modules()
               if isinstance(module, ModulesToSaveWrapper)}
    specs = read_specs(base)
    parts = tied and f"{head}.weight" not in specs and any(
        path in part for path in (embedding, head) for part in (layers, modules))
    return Merge(specs, layers, modules, _learned_biases(adapter), _dtype(specs),
                 f"{embedding}.weight" if parts else "", f"{head}.weight" if parts else "")


def _attach(model: Any, adapter: Path) -> Any:
    """The adapter's matrices in the layers of a model without weights."""
    refuse_pickled(adapter, "The adapter")
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            setattr(module, name, _without_memory(parameter))
    try:
        return PeftModel.from_pretrained(
            model, str(adapter), low_cpu_mem_usage=True, torch_device="cpu").get_base_model()
    except (RuntimeError, ValueError, OSError, SafetensorError) as error:
        raise UserError(f"The adapter doesn't fit the base model: {str(error).splitlines()[0]}",
                        "It may be damaged, or trained on another base model.") from error


def _learned_biases(adapter: Path) -> dict[str, torch.Tensor]:
    return {name.removeprefix("base_model.model.").replace(".base_layer.", "."): tensor
            for name, tensor in load_peft_weights(str(adapter), device="cpu").items()
            if name.endswith(".bias") and "lora_" not in name}


def _word_layers(model: Any) -> tuple[str, str]:
    """Where the input embedding and the output head lie."""
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    paths = {id(module): path for path, module in model.named_modules()}
    return paths.get(id(embedding), ""), paths.get(id(head), "")


def _dtype(specs: dict[str, Spec]) -> torch.dtype:
    """The base model's own 16-bit type; bf16 where it is held in 32 bit."""
    sizes: dict[torch.dtype, int] = {}
    for spec in specs.values():
        sizes[spec.dtype] = sizes.get(spec.dtype, 0) + spec.count
    most = max(sizes, key=lambda dtype: sizes[dtype])
    return most if most in (torch.float16, torch.bfloat16) else torch.bfloat16


def merged_config(base: Path, merge: Merge) -> dict[str, Any]:
    """config.json of the merged model."""
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    config["dtype"] = str(merge.dtype).removeprefix("torch.")
    config.pop("torch_dtype", None)
    if merge.head:
        config["tie_word_embeddings"] = False
    return config


def merge_whole(base: Path, adapter: Path, dtype: torch.dtype) -> Any:
    """The merged model in memory, by peft: for architectures whose files have other names than
    their layers."""
    model = AutoModelForCausalLM.from_pretrained(
        base, dtype=dtype, use_safetensors=True, trust_remote_code=False)
    return PeftModel.from_pretrained(model, str(adapter)).merge_and_unload(safe_merge=True)
