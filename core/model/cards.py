"""GPUs that people have or rent: their memory, and how fast their makers say they multiply."""

import json
import re
from dataclasses import dataclass

from core.files import Folders
from core.model.hardware import Device


@dataclass(frozen=True)
class Card:
    """One card of assets/cards.json. `tflops` are dense matrix products in 16 bits, summed in 32,
    without sparsity, as its maker's data sheet has them."""

    name: str
    memory_gib: float
    tflops: float
    has_bf16: bool
    has_fp8: bool

    @property
    def device(self) -> Device:
        return Device("cuda", self.name, int(self.memory_gib * 2**30), self.has_bf16, self.has_fp8)


def load_cards(folders: Folders) -> list[Card]:
    """All cards, those with little memory first."""
    raw = json.loads((folders.assets / "cards.json").read_text(encoding="utf-8"))
    return [Card(**each) for each in raw]


def card_of(device: Device, cards: list[Card]) -> Card | None:
    """The card that a GPU's name means, such as 'NVIDIA A100-SXM4-80GB'; of several, that with the
    longest name, so that an RTX 4060 Ti isn't taken for an RTX 4060."""
    named = re.sub(r"[\s-]+", " ", device.name)
    found = [card for card in cards if device.kind == "cuda"
             and re.search(rf"(?<!\w){re.escape(card.name)}(?!\w)", named)]
    return max(found, key=lambda card: len(card.name), default=None)
