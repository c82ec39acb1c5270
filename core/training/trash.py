"""Deleted runs wait in a folder of their own until somebody empties it."""

import os
import shutil
from pathlib import Path

from core.errors import UserError
from core.files import Folders
from core.training.run import ACTIVE, Run, find_run, list_runs


def throw_away(run: Run, folders: Folders) -> None:
    """Move a run to the trash. UserError while it is at work."""
    if run.status().state in ACTIVE:
        raise UserError(f"The run '{run.id}' is at work.", "Stop it first.")
    folders.trash.mkdir(exist_ok=True, mode=0o700)
    _move(run.folder, folders.trash)


def restore(run_id: str, folders: Folders) -> Run:
    """Bring a run back from the trash."""
    return Run(_move(find_run(folders.trash, run_id).folder, folders.runs))


def list_trash(folders: Folders) -> list[Run]:
    return list_runs(folders.trash)


def empty(folders: Folders, run_id: str = "") -> None:
    """Delete a run in the trash, or all of them, for good."""
    for run in [find_run(folders.trash, run_id)] if run_id else list_trash(folders):
        if run.folder.is_symlink():
            run.folder.unlink()  # the person laid it elsewhere; what it leads to isn't ours
        else:
            shutil.rmtree(run.folder)


def _move(folder: Path, into: Path) -> Path:
    """The folder's new place; its name gets a number where another one has it."""
    number, place = 1, into / folder.name
    while place.exists():
        number += 1
        place = into / f"{folder.name}-{number}"
    os.replace(folder, place)
    return place
