"""One base model in memory with any number of adapters, switched in without loading again."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors import SafetensorError

from core.errors import UserError

BASE = ""  # the adapter name of the base model itself
Biases = list[tuple[torch.nn.Parameter, torch.Tensor]]


@dataclass
class Loaded:
    """`adapters` are the names that `add` was given. Biases that an adapter learned can't be
    switched off by peft, so the values of each are kept in `biases` and exchanged."""

    model: Any
    tokenizer: Any
    adapters: dict[str, str] = field(default_factory=dict)
    biases: dict[str, Biases] = field(default_factory=dict)
    tried: int = 0

    def add(self, folder: Path, name: str) -> None:
        """Load the adapter in `folder`, unless `name` is there already."""
        if name in self.adapters:
            return
        if BASE not in self.biases:
            self.biases[BASE] = _biases(self.model)
        _put(self.biases[BASE])
        self.tried += 1
        peft_name = f"adapter{self.tried}"  # never used again, so a refused one leaves no trace
        try:
            if isinstance(self.model, PeftModel):
                self.model.load_adapter(str(folder), adapter_name=peft_name)
            else:
                self.model = PeftModel.from_pretrained(self.model, str(folder),
                                                       adapter_name=peft_name)
        except (RuntimeError, ValueError, SafetensorError) as error:
            self._forget(peft_name)
            raise UserError(
                f"The adapter doesn't fit this base model: {str(error).splitlines()[0]}",
                "It may have been trained on another one.") from error
        self.adapters[name] = peft_name
        self.biases[name] = _biases(self.model)
        self.model.eval()

    def _forget(self, peft_name: str) -> None:
        """Remove what a failed load left behind."""
        if isinstance(self.model, PeftModel) and peft_name in self.model.peft_config:
            self.model.delete_adapter(peft_name)

    @contextmanager
    def using(self, name: str) -> Iterator[Any]:
        """The model with this adapter on, or with all off for BASE."""
        _put(self.biases.get(name, []))
        if not isinstance(self.model, PeftModel):
            yield self.model
        elif name == BASE:
            with self.model.disable_adapter():
                yield self.model
        else:
            if self.model.active_adapter != self.adapters[name]:
                self.model.set_adapter(self.adapters[name], inference_mode=True)
            yield self.model


def _biases(model: Any) -> Biases:
    return [(p, p.detach().clone()) for name, p in model.named_parameters()
            if name.endswith("bias") and "lora_" not in name]


def _put(biases: Biases) -> None:
    for parameter, value in biases:
        parameter.data.copy_(value)
