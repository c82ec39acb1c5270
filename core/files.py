"""Files that are whole or absent, and the folder in which everything of TuneDesk lies."""

import errno
import json
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from core.errors import UserError


@dataclass(frozen=True)
class Folders:
    """Where things live: `home` is the person's data folder, `assets` comes with the program."""

    home: Path
    assets: Path

    @property
    def runs(self) -> Path:
        return self.home / "runs"

    @property
    def models(self) -> Path:
        return self.home / "models"

    @property
    def uploads(self) -> Path:
        return self.home / "data"

    @property
    def presets(self) -> Path:
        return self.home / "presets"

    @property
    def exports(self) -> Path:
        return self.home / "exports"

    @property
    def temporary(self) -> Path:
        return self.home / "tmp"

    @property
    def trash(self) -> Path:
        return self.home / "trash"

    def make(self) -> "Folders":
        """Create the data folders, readable by their owner only."""
        for folder in (self.home, self.runs, self.models, self.uploads, self.presets,
                       self.exports, self.temporary, self.trash):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self


def default_folders(home: str | Path | None = None) -> Folders:
    """The folders of this installation; `home` falls back to $TUNEDESK_HOME, then ~/TuneDesk."""
    root = home or os.environ.get("TUNEDESK_HOME") or Path.home() / "TuneDesk"
    return Folders(Path(root).expanduser().resolve(), Path(__file__).parents[1] / "assets")


# How copies of folders, programs in Rust, and numpy ("8 requested and 0 written") say it.
FULL = re.compile(r"No space left on device|Disk quota exceeded|^\d+ requested and \d+ written")


def why_not_written(error: Exception) -> UserError | None:
    """What a person can do about a file that couldn't be written; None where it's a bug."""
    number = getattr(error, "errno", None)
    if number in (errno.ENOSPC, errno.EDQUOT) or (number is None and FULL.search(str(error))):
        return UserError("The disk of the data folder is full.",
                         "Free some space, then try again. Nothing that was there is lost.")
    if number in (errno.EROFS, errno.EACCES, errno.EPERM):
        return UserError(f"This can't be written: {os.strerror(number)}.",
                         "Make the data folder writable, or start with another --data-folder.")
    if number == errno.ENAMETOOLONG:
        return UserError("That name is too long for this disk.", "Take a shorter one.")
    return None


def write_whole(path: Path, text: str, durable: bool = True) -> None:
    """Write a text file so that readers see the old content or the new, never a part. What can be
    made again needn't be `durable`: nobody waits for the disk then."""
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: object, durable: bool = True) -> None:
    write_whole(path, json.dumps(value, indent=1, ensure_ascii=False), durable)


def flush(path: Path) -> None:
    """Ask the system to have a file, or a folder with all that is below it, on the disk."""
    below = sorted(path.rglob("*"), reverse=True) if path.is_dir() else []
    for each in [*below, path]:
        if each.is_dir() and os.name == "nt":
            continue  # Windows opens no folders
        handle = os.open(each, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def put_in_place(aside: Path, final: Path) -> None:
    """Give a folder that was written aside its final name, flushed before. A folder of that name
    gives way. Whoever is killed in between may leave the old one under '<name>.old' only;
    `settle` puts it back."""
    flush(aside)
    old = _old(final)
    shutil.rmtree(old, ignore_errors=True)
    if final.exists():
        os.replace(final, old)
    os.replace(aside, final)
    if os.name != "nt":  # which opens no folders
        handle = os.open(final.parent, os.O_RDONLY)
        os.fsync(handle)  # the new name, too, is on the disk
        os.close(handle)
    shutil.rmtree(old, ignore_errors=True)


def settle(final: Path) -> None:
    """Bring a folder back that a killed `put_in_place` had moved out of the way."""
    old = _old(final)
    if old.is_dir() and not final.exists():
        os.replace(old, final)
    shutil.rmtree(old, ignore_errors=True)


def _old(final: Path) -> Path:
    return final.with_name(f"{final.name}.old")


def size_bytes(folder: Path) -> int:
    """What all files below a folder take; links aren't followed."""
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(where, name)).st_size
            except OSError:
                continue  # gone since it was listed
    return total


def append_json_line(path: Path, record: dict) -> None:
    """Append a record; after a line that a crash cut, on a line of its own."""
    with path.open("a+b") as file:
        if file.tell() and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n":
            file.write(b"\n")
        file.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")


def read_json_lines(path: Path) -> list[dict]:
    """The whole records of a JSONL file; a last line cut by a crash is left out."""
    if not path.exists():
        return []
    records = []
    # Not by splitlines: a text may hold other line ends, such as U+2028, which JSON leaves as is.
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            records.append(record)
    return records
