"""Checkpoints that are whole or absent: written aside, sealed with hashes, flushed, renamed."""

import hashlib
import json
import os
import re
import shutil
from pathlib import Path

from core.files import put_in_place, write_json

SEAL = "seal.json"
STATE = "trainer_state.json"  # the last file that transformers writes
NAME = re.compile(r"checkpoint-(\d+)")


def step_of(folder: Path) -> int:
    """The step after which a checkpoint was taken; -1 where the name tells none."""
    found = NAME.fullmatch(folder.name)
    return int(found[1]) if found else -1


def list_checkpoints(checkpoints: Path) -> list[Path]:
    """All that have their final name, the newest first; not yet checked."""
    found = [p for p in checkpoints.glob("checkpoint-*") if step_of(p) >= 0 and p.is_dir()]
    return sorted(found, key=step_of, reverse=True)


def commit(aside: Path, checkpoints: Path) -> Path:
    """Seal a checkpoint that was written aside and put it among the others."""
    files = sorted(p for p in aside.rglob("*") if p.is_file() and p.name != SEAL)
    write_json(aside / SEAL, {
        "files": {p.relative_to(aside).as_posix(): [p.stat().st_size, _sha256(p)] for p in files}})
    checkpoints.mkdir(exist_ok=True)
    put_in_place(aside, checkpoints / aside.name)
    return checkpoints / aside.name


def damage(folder: Path) -> str:
    """What is wrong with a checkpoint, in words; empty where every byte is as it was written."""
    try:
        seal = json.loads((folder / SEAL).read_text(encoding="utf-8"))["files"]
    except FileNotFoundError:
        # Versions before the seal: whole when transformers' last file is there.
        return "" if (folder / STATE).is_file() else f"{STATE} is missing"
    except (OSError, ValueError, KeyError, TypeError):
        return f"{SEAL} can't be read"
    for name, (size, digest) in seal.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size or _sha256(path) != digest:
            return f"{name} isn't as it was written"
    return ""


def newest_whole(checkpoints: Path) -> tuple[Path | None, list[str]]:
    """The newest checkpoint that is whole, and a sentence on each newer one that is not. Those are
    set aside under another name."""
    told = []
    for folder in list_checkpoints(checkpoints):
        wrong = damage(folder)
        if not wrong:
            return folder, told
        told.append(f"The checkpoint of step {step_of(folder)} is damaged ({wrong}); the one "
                    "before it is used.")
        spoilt = folder.with_name(f"damaged-{folder.name}")
        shutil.rmtree(spoilt, ignore_errors=True)
        os.replace(folder, spoilt)
    return None, told


def prune(checkpoints: Path, keep: int, best_step: int | None) -> None:
    """Delete all but the `keep` newest and the best. Each loses its name first, so that nobody who
    is killed meanwhile leaves half of one under it."""
    for folder in list_checkpoints(checkpoints)[keep:]:
        if step_of(folder) != best_step:
            os.replace(folder, folder.with_name(f"pruned-{folder.name}"))
    clear_pruned(checkpoints)


def clear_pruned(checkpoints: Path) -> None:
    for folder in checkpoints.glob("pruned-*"):
        shutil.rmtree(folder, ignore_errors=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
