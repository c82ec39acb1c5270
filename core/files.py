"""Files that are whole or absent, and the folder in which everything of TuneDesk lies."""

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path


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

    def make(self) -> "Folders":
        """Create the data folders, readable by their owner only."""
        for folder in (self.home, self.runs, self.models, self.uploads, self.presets,
                       self.exports, self.temporary):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self


def default_folders(home: str | Path | None = None) -> Folders:
    """The folders of this installation; `home` falls back to $TUNEDESK_HOME, then ~/TuneDesk."""
    root = home or os.environ.get("TUNEDESK_HOME") or Path.home() / "TuneDesk"
    return Folders(Path(root).expanduser().resolve(), Path(__file__).parents[1] / "assets")


def write_whole(path: Path, text: str) -> None:
    """Write a text file so that readers see the old content or the new, never a part."""
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: object) -> None:
    write_whole(path, json.dumps(value, indent=1, ensure_ascii=False))


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
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            records.append(record)
    return records
