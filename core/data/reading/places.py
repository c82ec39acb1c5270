"""Which files on this computer a data set's name means."""

import stat
from collections.abc import Callable
from pathlib import Path

from core.data.reading.samples import PACKED, READERS, kind_of
from core.errors import UserError
from core.files import Folders

SEPARATOR = ";"  # between several files in one name
ALTERNATIVES = "Choose a sample, upload a file, or give the path of one on this computer."
HELD_OUT_NAMES = ("test", "eval", "validation", "valid", "dev")
# What looks like files there isn't: reading may never end.
NO_FILES = (Path("/proc"), Path("/sys"), Path("/dev"))
IN_MEMORY = Path("/dev/shm")  # an ordinary folder, whatever its place


def find_files(dataset: str, split: str, folders: Folders) -> list[Path]:
    """The files of one split; empty where the name is none of a place on this computer. UserError
    where the name is one and there is nothing to read."""
    files = _one_place(dataset, split, folders)
    if not files and SEPARATOR in dataset:
        names = [name.strip() for name in dataset.split(SEPARATOR) if name.strip()]
        files = [path for name in names for path in _required(name, split, folders)]
    if not files and _is_path(dataset):
        raise UserError(f"There is no data set at '{dataset}'.", ALTERNATIVES)
    kinds = {_kind_in_words(path) for path in files}
    if len(kinds) > 1:
        raise UserError(
            f"These files are of different kinds: {', '.join(path.name for path in files[:20])}.",
            "Put files of one kind in a folder, or choose one file.")
    return files


def renamed(dataset: str, rename: Callable[[str], str]) -> str:
    """The name of a data set with each place in it named anew; as it was where none changes."""
    if SEPARATOR not in dataset or _expanded(dataset):
        return rename(dataset)
    names = [name.strip() for name in dataset.split(SEPARATOR) if name.strip()]
    anew = [rename(name) for name in names]
    return dataset if anew == names else f"{SEPARATOR} ".join(anew)


def _is_path(dataset: str) -> bool:
    return dataset.startswith(("/", "~", ".", "\\", "sample:")) or bool(kind_of(dataset))


def _kind_in_words(path: Path) -> str:
    """'.csv' and '.tsv' differ in their delimiter, '.jsonl' and '.jsonl.gz' in nothing."""
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() not in PACKED]
    return suffixes[-1]


def _required(name: str, split: str, folders: Folders) -> list[Path]:
    files = _one_place(name, split, folders)
    if not files:
        raise UserError(f"There is no file at '{name}'.",
                        f"Several files are written with '{SEPARATOR}' between their paths.")
    return files


def _one_place(name: str, split: str, folders: Folders) -> list[Path]:
    if name.startswith("sample:"):
        place = folders.assets / "samples" / Path(name.removeprefix("sample:")).name
    else:
        place = _expanded(name)
    if place is None:
        return []
    if place.is_file():
        return [_checked(place, split)]
    if place.is_dir():
        return _of_folder(place, split)
    return []


def _expanded(name: str) -> Path | None:
    """The path that a name writes; None where it can't be one, or is of no file or folder."""
    try:
        place = Path(name).expanduser()
        mode = place.stat().st_mode
        real = place.resolve()
    except (OSError, ValueError, RuntimeError):  # too long, a NUL in it, no such user's home
        return None
    if any(real.is_relative_to(odd) for odd in NO_FILES) and not real.is_relative_to(IN_MEMORY):
        raise UserError(f"'{name}' is no file with data.", ALTERNATIVES)
    return place if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else None


def _checked(place: Path, split: str) -> Path:
    if split != "train":
        raise UserError(f"'{place.name}' is one file, so it has no split '{split}'.",
                        "Leave Evaluation split empty: rows are then held out from it.")
    if not kind_of(place.name):
        raise UserError(f"'{place.name}' is of a kind that can't be read here.",
                        f"Use one of {', '.join(READERS)}; texts also as .gz or .zst.")
    return place


def _of_folder(place: Path, split: str) -> list[Path]:
    found = _readable(place)
    named = [p for p in found if _stem(p) == split or _stem(p).startswith(f"{split}-")]
    # A folder without split names is all training data; one file named for a split isn't.
    others = [p for p in found if _stem(p).split("-")[0] not in HELD_OUT_NAMES]
    files = named or (others if split == "train" else [])
    if not files:
        raise UserError(f"The folder '{place.name}' has no file for the split '{split}'.",
                        f"Found: {', '.join(p.name for p in found[:8]) or 'no data files'}.")
    return files


def _readable(folder: Path) -> list[Path]:
    """The data files in a folder. Links that lead out of it are left out: a folder that somebody
    else made must not bring in other files of this computer."""
    try:
        inside = folder.resolve()
        return [p for p in sorted(folder.iterdir())
                if kind_of(p.name) and p.name.upper() != "README.MD" and p.is_file()
                and p.resolve().is_relative_to(inside)]
    except OSError as error:
        raise UserError(f"The folder '{folder.name}' can't be read: {error.strerror}.",
                        "Check its permissions, or choose another.") from error


def _stem(path: Path) -> str:
    """The name without any of its endings."""
    suffixes = "".join(s for s in path.suffixes if s.lower() in PACKED or s.lower() in READERS)
    return path.name.removesuffix(suffixes)
