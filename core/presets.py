"""Settings with a name: the shipped ones and the person's own."""

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

from core.config import Config, read_settings
from core.errors import UserError
from core.files import Folders, write_whole

SHIPPED = {"Starter (any computer)": "starter", "Tutorial run": "tutorial", "Balanced": "balanced",
           "Best quality": "best-quality", "Least memory": "least-memory"}
DEFAULT = "Starter (any computer)"
LONGEST_BYTES = 200  # of a name: file systems allow 255, of which writing takes some


def list_presets(folders: Folders) -> dict[str, Path]:
    """Name to file, the shipped ones first."""
    shipped = {name: folders.assets / "presets" / f"{stem}.yaml" for name, stem in SHIPPED.items()}
    own = {path.stem: path for path in sorted(folders.presets.glob("*.yaml"))}
    return shipped | {name: path for name, path in own.items() if name not in shipped}


def load_preset(name: str, folders: Folders, onto: dict[str, Any] | None = None) -> Config:
    """The Config of a preset. One that names no data set keeps the data settings and the base model
    of `onto`."""
    presets = list_presets(folders)
    if name not in presets:
        raise UserError(f"There is no preset '{name}'.", f"Choose one of {', '.join(presets)}.")
    settings = read_settings(presets[name])
    kept = {} if "dataset" in settings else {
        f.name: onto[f.name] for f in fields(Config)
        if onto and (f.metadata["group"] == "data" or f.name in ("base_model", "revision"))}
    return Config.parse(kept | settings)


def save_preset(name: str, config: Config, folders: Folders) -> None:
    """Keep `config` under a name of the person's own."""
    stem = re.sub(r"[^\w .()-]+", "-", name).strip(" .-")
    if not stem:
        raise UserError("The preset has no name.", "Type one, then save again.")
    if len(stem.encode()) > LONGEST_BYTES:
        raise UserError(f"The preset's name has {len(stem)} characters.", "Take a shorter one.")
    if stem in SHIPPED:
        raise UserError(f"'{stem}' is the name of a shipped preset.", "Choose another name.")
    write_whole(folders.presets / f"{stem}.yaml", config.to_yaml())
