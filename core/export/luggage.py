"""What a run reads besides the program, and where it lies in the zip file that goes elsewhere."""

import os
from dataclasses import replace
from pathlib import Path

from core.config import Config
from core.data import build
from core.data.changing import augment, paraphrase
from core.data.reading.samples import kind_of
from core.errors import UserError
from core.files import Folders
from core.training import moving
from core.training.run import adapter_folder

LARGEST_BYTES = 2 * 2**30
HOME = "home"  # the data folder there, as train.py makes it
INSIDE = {"base_model": "model", "adapter": "adapter"}  # all else lies in data, data-2, ...

Carried = list[tuple[Path, str]]


def packed(config: Config, folders: Folders) -> tuple[Config, Carried]:
    """The settings as they hold elsewhere, and the files here with their names there; './' marks
    what is carried. UserError where something is too large or not written yet."""
    files: Carried = []
    taken: dict[Path, str] = {}

    def carry(setting: str, name: str) -> str:
        if setting == "adapter":
            name = adapter_folder(config, folders.runs) or ""
        place = Path(os.path.expanduser(name))
        if not os.path.exists(place):
            _refuse_what_is_not_there(setting, name)
            return name  # a sample, a hub's id, the starter model: there as here
        if (known := place.resolve()) not in taken:
            found = _files_of(place)
            _refuse_what_is_too_large(place, found)
            # A data set keeps its own name, by which parts of a mix are told apart.
            inside = taken[known] = INSIDE.get(setting) or f"{_next_folder(taken)}/{known.name}"
            files.extend((path, inside if path == place else
                          f"{inside}/{path.relative_to(place).as_posix()}") for path in found)
        return f"./{taken[known]}"

    elsewhere = moving.renamed(replace(config, cluster=""), carry)
    return elsewhere, [*files, *_own(config, folders)]


def _refuse_what_is_not_there(setting: str, name: str) -> None:
    is_path = name.startswith(("/", "~", ".")) or (setting not in INSIDE and kind_of(name))
    if is_path:
        raise UserError(f"There is nothing at '{name}' to carry.", "Give the path of a file or "
                        "folder on this computer, or the id of a hub.")


def _files_of(place: Path) -> list[Path]:
    return [place] if place.is_file() else [p for p in sorted(place.rglob("*")) if p.is_file()]


def _next_folder(taken: dict[Path, str]) -> str:
    used = sum(inside.startswith("data") for inside in taken.values())
    return f"data-{used + 1}" if used else "data"


def _own(config: Config, folders: Folders) -> Carried:
    """What lies in the person's data folder: word lists, and paraphrases that the model wrote."""
    found = sorted((folders.home / "fairness").glob("*.json"))
    if config.paraphrase_share:
        _refuse_what_is_not_written(config, folders)
        found.append(paraphrase.store(config, folders))
    return [(path, f"{HOME}/{path.relative_to(folders.home).as_posix()}")
            for path in found if path.is_file()]


def _refuse_what_is_not_written(config: Config, folders: Folders) -> None:
    originals = build.open_dataset(replace(config, augment_copies=0), folders)
    missing = augment.unwritten(originals.train, originals.instruction, config, folders)
    if missing:
        raise UserError(f"{len(missing):,} paraphrases are wanted and not written yet.",
                        "Write them in the Data set tab first, or set Paraphrases to 0.")


def _refuse_what_is_too_large(place: Path, files: list[Path]) -> None:
    size = sum(path.stat().st_size for path in files)
    if size > LARGEST_BYTES:
        raise UserError(f"'{place.name}' has {size / 2**30:.1f} GB, too much to carry.",
                        "Put it on a hub and choose it by its id there, or bring it to the other "
                        "machine yourself and change settings.yaml.")
