"""One base model in memory with any number of adapters, switched in without loading again."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors import SafetensorError

from core.chat.adapter import Adapter, read_plain
from core.chat.decoder import PROBE, Decoder, agrees, fits
from core.errors import UserError
from core.model.trusted import refuse_pickled

BASE = ""  # the adapter name of the base model itself
Biases = list[tuple[torch.nn.Parameter, torch.Tensor]]


@dataclass
class Loaded:
    """`plain` are the adapters by the names that `add` was given, None for a kind that only peft
    computes; peft reads an adapter when it is first needed. Biases that one learned can't be
    switched off by peft, so the values of each are kept in `biases` and exchanged."""

    model: Any
    tokenizer: Any
    plain: dict[str, Adapter | None] = field(default_factory=dict)
    folders: dict[str, Path] = field(default_factory=dict)
    adapters: dict[str, str] = field(default_factory=dict)  # peft's name for each that it has read
    biases: dict[str, Biases] = field(default_factory=dict)
    decoder: Decoder | None = None
    tried: int = 0

    def __post_init__(self) -> None:
        if fits(self.model):
            probe = self.tokenizer(PROBE, add_special_tokens=False)["input_ids"]
            decoder = Decoder(self.model, probe)
            self.decoder = decoder if agrees(decoder) else None

    def add(self, folder: Path, name: str) -> None:
        """Make the adapter in `folder` known, unless `name` is already. UserError where it doesn't
        fit this model or is damaged."""
        if name in self.plain:
            return
        adapter = read_plain(folder) if self.decoder else None
        if adapter is None:
            self._read_by_peft(folder, name)
        elif misfit := self.decoder.misfit(adapter):
            raise _doesnt_fit(misfit)
        self.plain[name], self.folders[name] = adapter, folder

    def runs_together(self, names: list[str]) -> bool:
        """Whether these can answer in one batch: DoRA, learned biases and modules trained in full
        can't, nor architectures that the decoder doesn't know."""
        return self.decoder is not None and all(
            name == BASE or self.plain[name] is not None for name in names)

    def hold(self, names: list[str]) -> Decoder:
        """The decoder with these adapters in its first rows."""
        _put(self.biases.get(BASE, []))
        self.decoder.hold(names, [self.plain.get(name) for name in names])
        return self.decoder

    def _read_by_peft(self, folder: Path, name: str) -> None:
        refuse_pickled(folder, "The adapter")
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
            raise _doesnt_fit(str(error).splitlines()[0]) from error
        self.adapters[name] = peft_name
        self.biases[name] = _biases(self.model)
        self.model.eval()

    def _forget(self, peft_name: str) -> None:
        """Remove what a failed load left behind."""
        if isinstance(self.model, PeftModel) and peft_name in self.model.peft_config:
            self.model.delete_adapter(peft_name)

    def peft_name(self, name: str) -> str:
        """Peft's own name for an adapter, which it has read by then."""
        if name not in self.adapters:
            self._read_by_peft(self.folders[name], name)
        return self.adapters[name]

    @contextmanager
    def using(self, name: str) -> Iterator[Any]:
        """The model with this adapter on, computed by peft, or with all off for BASE."""
        peft_name = "" if name == BASE else self.peft_name(name)
        _put(self.biases.get(name, []))
        if not isinstance(self.model, PeftModel):
            yield self.model
        elif name == BASE:
            with self.model.disable_adapter():
                yield self.model
        else:
            if self.model.active_adapter != peft_name:
                self.model.set_adapter(peft_name, inference_mode=True)
            yield self.model


def _doesnt_fit(reason: str) -> UserError:
    return UserError(f"The adapter doesn't fit this base model: {reason}",
                     "It may have been trained on another one.")


def _biases(model: Any) -> Biases:
    return [(p, p.detach().clone()) for name, p in model.named_parameters()
            if name.endswith("bias") and "lora_" not in name]


def _put(biases: Biases) -> None:
    for parameter, value in biases:
        parameter.data.copy_(value)
