"""What was read once, kept in folders that are whole or absent, within a bound of bytes."""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import filelock

from core.files import Folders

LARGEST_BYTES = 40 << 30
LARGEST_SHARE = 0.5  # of what the disk could hold besides: others need it too


def kept(folders: Folders, room: str, key: str, make: Callable[[Path], None]) -> Path:
    """The folder `key` of the cache's `room`, made by `make(folder)` where it isn't there yet.
    Two processes that want it at once make it once."""
    place = folders.home / "cache" / room
    done = place / key
    if not done.is_dir():
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = place / f".{key}.lock"
        try:
            with filelock.FileLock(lock):
                if not done.is_dir():
                    _make_aside(place, done, make)
                    _tidy(folders.home / "cache", keep=done)
        finally:
            lock.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # a disk that can't be written can still be read
        os.utime(done)
    return done


def already_kept(folders: Folders, room: str, key: str) -> Path | None:
    """The folder `key` of the cache's `room` where it was made before."""
    done = folders.home / "cache" / room / key
    return done if done.is_dir() else None


def key_of(*parts: object) -> str:
    """The same short name for the same parts, in any process."""
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:32]


def _make_aside(place: Path, done: Path, make: Callable[[Path], None]) -> None:
    aside = Path(tempfile.mkdtemp(dir=place, prefix=".making-"))
    try:
        make(aside)
        try:
            os.replace(aside, done)
        except OSError:
            if not done.is_dir():  # else another process was first
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _tidy(cache: Path, keep: Path) -> None:
    """Deletes what was used longest ago until all fits the bound."""
    found = [(folder.stat().st_mtime, _bytes_of(folder), folder)
             for room in ("rows", "tokens") for folder in (cache / room).glob("[!.]*")]
    total = sum(size for _, size, _ in found)
    allowed = min(LARGEST_BYTES, LARGEST_SHARE * (shutil.disk_usage(cache).free + total))
    for _, size, folder in sorted(found):
        if total <= allowed:
            return
        if folder != keep:
            shutil.rmtree(folder, ignore_errors=True)  # in use on Windows: it goes another time
            total -= size


def _bytes_of(folder: Path) -> int:
    return sum(entry.stat().st_size for entry in os.scandir(folder) if entry.is_file())
