"""Opens a data set by its name: a sample, a file, a folder or a hub id."""

from pathlib import Path

from datasets import Dataset, load_dataset

from core.data.samples import READERS
from core.errors import UserError
from core.files import Folders
from core.reach import require_hub

ALTERNATIVES = "Choose a sample, upload a file, or give the path of one on this computer."


def open_rows(dataset: str, split: str, folders: Folders, config_name: str = "") -> Dataset:
    """The rows of one split, memory-mapped. UserError where there are none or none can be read."""
    files = _local_files(dataset, split, folders)
    if files:
        rows = _read_files(files, folders)
    elif dataset.startswith(("/", "~", ".", "sample:")) or Path(dataset).suffix.lower() in READERS:
        raise UserError(f"There is no data set at '{dataset}'.", ALTERNATIVES)
    else:
        rows = _read_hub(dataset, config_name, split)
    if len(rows) == 0:
        raise UserError(f"The data set '{dataset}' has no rows.", "Choose another file or split.")
    return rows


def _local_files(dataset: str, split: str, folders: Folders) -> list[Path]:
    if dataset.startswith("sample:"):
        place = folders.assets / "samples" / Path(dataset.removeprefix("sample:")).name
    else:
        place = Path(dataset).expanduser()
    if place.is_file():
        if split != "train":
            raise UserError(f"'{place.name}' is one file, so it has no split '{split}'.",
                            "Leave Evaluation split empty: rows are then held out from it.")
        if place.suffix.lower() not in READERS:
            raise UserError(f"'{place.name}' is of a kind that can't be read here.",
                            f"Use one of {', '.join(READERS)}.")
        return [place]
    if not place.is_dir():
        return []
    found = [p for p in sorted(place.iterdir())
             if p.suffix.lower() in READERS and p.name.upper() != "README.MD"]
    named = [p for p in found if p.stem == split or p.stem.startswith(f"{split}-")]
    # A folder without split names is all training data; one file named for a split isn't.
    others = [p for p in found if p.stem.split("-")[0] not in ("test", "eval", "validation", "dev")]
    files = named or (others if split == "train" else [])
    if not files:
        raise UserError(f"The folder '{place.name}' has no file for the split '{split}'.",
                        f"Found: {', '.join(p.name for p in found[:8]) or 'no data files'}.")
    return files


def _read_files(files: list[Path], folders: Folders) -> Dataset:
    kinds = {READERS[p.suffix.lower()] for p in files}
    if len(kinds) > 1:
        names = ", ".join(p.name for p in files)
        raise UserError(f"These files are of different kinds: {names}.",
                        "Put files of one kind in a folder, or choose one file.")
    kind = kinds.pop()
    options = {"sep": "\t"} if files[0].suffix.lower() == ".tsv" else {}
    if kind == "text":
        options["sample_by"] = "paragraph"
    try:
        return load_dataset(kind, data_files=[str(p) for p in files], split="train",
                            cache_dir=str(folders.home / "cache"), **options)
    except Exception as error:  # each reader has its own error classes for damaged input
        raise _unreadable(files, error) from error


def _unreadable(files: list[Path], error: Exception) -> UserError:
    cause = error.__cause__ or error
    names = ", ".join(p.name for p in files[:3])
    return UserError(f"{names} can't be read as {files[0].suffix.lstrip('.').upper()}: "
                     f"{str(cause).splitlines()[0] if str(cause) else type(cause).__name__}",
                     "Check that the file is whole, UTF-8, and what its ending says.")


def _read_hub(dataset: str, config_name: str, split: str) -> Dataset:
    require_hub(f"The data set '{dataset}'", ALTERNATIVES)
    try:
        return load_dataset(dataset, config_name or None, split=split)
    except Exception as error:  # the hub, its mirrors and their readers raise a dozen kinds
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"The data set '{dataset}' (split '{split}') can't be opened: {first}",
                        f"Check its name, configuration and split on the hub. {ALTERNATIVES}"
                        ) from error
