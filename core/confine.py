"""Whether a name or path stays inside a folder, whatever dots, links and slashes are in it."""

import os
from pathlib import Path
from typing import Any

LONGEST_NAME = 255  # bytes, of the file systems that are about


def child(folder: Path, name: Any) -> Path | None:
    """What is called `name` directly in `folder`; None for what would be elsewhere, or hidden, or
    that no disk can hold."""
    if not isinstance(name, str) or not name or name.startswith(".") or set(name) & set('/\\\0'):
        return None
    try:
        return folder / name if len(os.fsencode(name)) <= LONGEST_NAME else None
    except UnicodeEncodeError:
        return None


def is_inside(path: str | Path, folder: Path) -> bool:
    """Whether an absolute path leads to something in `folder`, all links followed."""
    try:
        return Path(path).is_absolute() and folder.resolve() in Path(path).resolve().parents
    except (OSError, ValueError, RuntimeError):  # too long, a NUL in it, links in a circle
        return False
