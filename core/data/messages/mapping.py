"""How a person reads a data set: its layout and columns, remembered for the next time."""

import json
from pathlib import Path
from typing import Any

from core.files import Folders, write_json

REMEMBERED = ("layout", "prompt_column", "input_column", "answer_column", "system_column",
              "reasoning_column", "label_words", "instruction", "file_encoding", "text_rows")
MOST = 500  # data sets; the one used longest ago is forgotten first


def load_mapping(dataset: str, folders: Folders) -> dict[str, str]:
    """The settings that were kept for this data set; empty for one that wasn't seen yet."""
    return _read(folders).get(_name(dataset), {})


def save_mapping(dataset: str, settings: dict[str, Any], folders: Folders) -> None:
    """Keeps what `settings` say on reading this data set."""
    every = _read(folders)
    every.pop(_name(dataset), None)
    every[_name(dataset)] = {key: str(settings[key]) for key in REMEMBERED if key in settings}
    write_json(_file(folders), dict(list(every.items())[-MOST:]))


def _read(folders: Folders) -> dict[str, dict[str, str]]:
    """A file that was damaged from outside is worth nothing and stops nobody."""
    try:
        found = json.loads(_file(folders).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: {k: v for k, v in kept.items() if k in REMEMBERED and isinstance(v, str)}
            for name, kept in found.items() if isinstance(kept, dict)}


def _name(dataset: str) -> str:
    return dataset.strip()


def _file(folders: Folders) -> Path:
    return folders.home / "mappings.json"
