"""The models that TuneDesk knows by name, with what each needs."""

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from core.files import Folders

STARTER = "starter:SmolLM2-135M-Instruct"


@dataclass(frozen=True)
class Entry:
    """One model of assets/catalogue.json. `config` is the shape as in the hub's config.json, so
    that parameters can be counted without a hub; `wheel` is where the starter model comes from."""

    id: str
    name: str
    family: str
    kind: str
    parameters: int
    license: str
    context_length: int
    gated: bool
    config: dict[str, Any]
    active_parameters: int = 0
    license_note: str = ""
    modelscope: str = ""
    wheel: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def needs(self) -> str:
        """Memory for the frozen weights alone, at 16 and 4 bit (4.5 with its scales)."""
        sixteen, four = self.parameters * 2 / 1e9, self.parameters * 4.5 / 8 / 1e9
        return f"{sixteen:.1f} GB in 16 bit, {four:.1f} GB in 4 bit, and room to learn"


def load_catalog(folders: Folders) -> dict[str, Entry]:
    """All entries by id, in the order they are shown."""
    raw = json.loads((folders.assets / "catalogue.json").read_text(encoding="utf-8"))
    return {entry["id"]: Entry(**entry) for entry in raw}
