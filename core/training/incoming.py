"""Takes in a run's folder that was made on another machine: a folder or a zip file."""

import lzma
import os
import shutil
import stat
import tempfile
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path, PurePosixPath

from core.config import Config, read_settings
from core.errors import UserError
from core.files import Folders
from core.model.trusted import is_pickled_weights, pickled
from core.training.run import ACTIVE, Run

MOST_FILES = 20_000
NEEDED = "config.yaml"
# What zipfile raises at damaged, encrypted or unknown contents.
UNREADABLE = (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error,
              lzma.LZMAError)
# What a run's folder holds. Anything else in an archive, programs above all, is left out.
TAKEN = {"config.yaml", "status.json", "metrics.jsonl", "log.txt", "data.json", "environment.json",
         "about.json", "verdict.json", "resumed.json", "trackers.json", "samples.jsonl",
         "energy.json", "passes.json", "quick.json", "merge.json", "forewarned.json", "evaluation",
         "adapter", "initial_adapter", "checkpoints", "tensorboard"}


def import_run(source: str | Path, folders: Folders) -> Run:
    """A copy of a run among this machine's runs. UserError where `source` holds no run, or files
    that would land elsewhere than in its folder."""
    path = Path(str(source).strip()).expanduser()
    if not str(source).strip() or not path.exists():
        raise UserError(f"There is nothing at '{source}'.",
                        "Give the path of a run's folder, or of a zip file with one.")
    aside = Path(tempfile.mkdtemp(dir=folders.runs, prefix=".import-"))
    try:
        name = _copy(path, aside) if path.is_dir() else _unpack(path, aside)
        return _admit(aside, name, folders)
    except OSError as error:
        raise UserError(f"The run can't be taken in: {error.strerror or error}.",
                        "Look whether the disk is full and the files may be read.") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _copy(path: Path, aside: Path) -> str:
    if not (path / NEEDED).is_file():
        raise _no_run(path)
    for entry in path.iterdir():
        if entry.name not in TAKEN or entry.is_symlink():
            continue
        if entry.is_dir():
            shutil.copytree(entry, aside / entry.name, symlinks=True, ignore=_links)
        else:
            shutil.copyfile(entry, aside / entry.name)
    return path.resolve().name


def _links(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if os.path.islink(os.path.join(folder, name))]


def _unpack(path: Path, aside: Path) -> str:
    try:
        with zipfile.ZipFile(path) as packed:
            members = [m for m in packed.infolist() if not m.is_dir()]
            _refuse_tricks(path, members, shutil.disk_usage(aside).free)
            top = _top_of(path, members)
            for member in members:
                inside = PurePosixPath(member.filename)
                if top and inside.parts[0] != top:
                    continue
                inside = PurePosixPath(*inside.parts[1:]) if top else inside
                if inside.parts and inside.parts[0] in TAKEN:
                    _extract(packed, member, aside.joinpath(*inside.parts))
    except UNREADABLE as error:
        raise UserError(f"'{path.name}' can't be read as a zip file: {error}.",
                        "Make it again from the run's folder.") from error
    return top or path.stem


def _extract(packed: zipfile.ZipFile, member: zipfile.ZipInfo, to: Path) -> None:
    """Never more bytes than the archive said; zipfile checks their sum."""
    to.parent.mkdir(parents=True, exist_ok=True)
    with packed.open(member) as source, to.open("wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)


def _refuse_tricks(path: Path, members: list[zipfile.ZipInfo], free_bytes: int) -> None:
    for member in members:
        name = member.filename
        parts = PurePosixPath(name.replace("\\", "/")).parts
        if (name.startswith(("/", "\\")) or ".." in parts or ":" in name or "\0" in name
                or "\\" in name or stat.S_ISLNK(member.external_attr >> 16)):
            raise UserError(f"'{path.name}' holds '{name[:100]}', which would land outside of the "
                            "run's folder.", "Don't trust this file.")
    if len(members) > MOST_FILES:
        raise UserError(f"'{path.name}' holds {len(members):,} files.",
                        f"A run has fewer than {MOST_FILES:,}.")
    if sum(member.file_size for member in members) > free_bytes:
        raise UserError(f"'{path.name}' would not fit on the disk when unpacked.",
                        "Free some space, or unpack it elsewhere and look inside.")


def _top_of(path: Path, members: list[zipfile.ZipInfo]) -> str:
    """The folder in the archive that is the run; empty where the archive itself is."""
    names = {member.filename for member in members}
    if NEEDED in names:
        return ""
    tops = {PurePosixPath(name).parts[0] for name in names
            if PurePosixPath(name).parts[1:] == (NEEDED,)}
    if len(tops) != 1:
        raise _no_run(path)
    return tops.pop()


def _no_run(path: Path) -> UserError:
    return UserError(f"'{path.name}' holds no run: there is no {NEEDED} in it.",
                     "Give a run's own folder, or a zip file of one run.")


def _admit(aside: Path, name: str, folders: Folders) -> Run:
    """Check what came, say where it stands here, and give it its place."""
    bad = sorted(p.name for p in aside.rglob("*") if is_pickled_weights(p.name))
    if bad:
        raise pickled(f"The run '{name}'", bad)
    Config.forgiving(read_settings(aside / NEEDED))  # a UserError where these are no settings
    arrived = Run(aside)
    status = arrived.written_status()
    if status.state in (*ACTIVE, "queued"):
        status = replace(status, state="interrupted", words="It was brought from another machine "
                         f"while it was {status.state}, at step {status.step}.",
                         remedy="Resume goes on from its last checkpoint.")
    arrived.write_status(replace(status, pid=0, pid_started=0.0, boot="", devices=()))
    stem = "".join(c if c.isalnum() or c in "-_." else "-" for c in name).strip("-.")[:90] or "run"
    number, place = 1, folders.runs / stem
    while place.exists():
        number += 1
        place = folders.runs / f"{stem}-{number}"
    os.replace(aside, place)
    return Run(place)
