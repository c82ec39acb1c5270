"""A run to take elsewhere: a zip file with the program, settings, data and one script to start."""

import json
import zipfile
from pathlib import Path
from typing import Any

from core.config import Config
from core.errors import UserError
from core.export import luggage
from core.files import Folders

ROOT = Path(__file__).parents[2]
# What the page alone needs stays at home.
AT_HOME = ("gradio", "fastapi")
READ_ME = """This folder trains one adapter on another machine.

On a machine with a GPU and Python 3.11 or newer:

    python train.py

On Google Colab: upload this folder's zip file together with notebook.ipynb, or open the notebook
there and upload the zip file when it asks.

What comes out is a zip file with the run. Bring it home and take it in on TuneDesk's Runs tab.
"""


def pack(config: Config, folders: Folders, target: Path) -> Path:
    """Write the zip file `target`. UserError where something can't be carried: too large, or not
    there."""
    elsewhere, carried = luggage.packed(config, folders)
    aside = target.with_name(f".{target.name}.part")
    top = target.stem
    try:
        with zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED) as packed:
            for path, inside in [*_program(folders), *carried]:
                packed.write(path, f"{top}/{inside}")
            for name, text in {
                    "settings.yaml": elsewhere.to_yaml(), "README.txt": READ_ME,
                    "settings-at-home.yaml": config.to_yaml(), "requirements.txt": _requirements(),
                    "notebook.ipynb": json.dumps(notebook(target.name), indent=1)}.items():
                packed.writestr(f"{top}/{name}", text)
        aside.replace(target)
    except OSError as error:
        raise UserError(f"The zip file can't be written: {error.strerror or error}.",
                        "Free some disk space, then try again.") from error
    finally:
        aside.unlink(missing_ok=True)
    return target


def _program(folders: Folders) -> list[tuple[Path, str]]:
    """The code that trains, without the page, and what it reads."""
    files = [path for path in sorted((ROOT / "core").rglob("*.py"))]
    assets = folders.assets
    files += [assets / "catalogue.json", *sorted((assets / "presets").glob("*.yaml"))]
    files += [path for room in ("samples", "fairness")
              for path in sorted((assets / room).rglob("*")) if path.is_file()]
    return [(assets / "elsewhere" / "train.py", "train.py"),
            *((path, path.relative_to(ROOT).as_posix()) for path in files)]


def _requirements() -> str:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return "".join(f"{line}\n" for line in lines
                   if line and line.partition("==")[0] not in AT_HOME and line[0] != "#")


def notebook(name: str) -> dict[str, Any]:
    """A Colab notebook that trains the zip file `name` and downloads the run."""
    folder = Path(name).stem
    return {"nbformat": 4, "nbformat_minor": 5,
            "metadata": {"accelerator": "GPU", "colab": {"name": f"{folder}.ipynb"},
                         "kernelspec": {"name": "python3", "display_name": "Python 3"},
                         "language_info": {"name": "python"}},
            "cells": [
                _cell("about", "markdown", f"# {folder}\n\nChoose a GPU under Runtime, Change "
                      "runtime type. Then run the cells in their order."),
                _cell("upload", "code",
                      "import pathlib, zipfile\n\n"
                      f"if not pathlib.Path('{name}').exists():\n"
                      "    from google.colab import files\n"
                      f"    files.upload()  # choose {name}\n"
                      f"zipfile.ZipFile('{name}').extractall()"),
                _cell("train", "code", f"!python '{folder}/train.py'"),
                _cell("download", "code",
                      "from google.colab import files\n\n"
                      f"for run in pathlib.Path('{folder}').glob('*.zip'):\n"
                      "    files.download(str(run))  # take it in on TuneDesk's Runs tab")]}


def _cell(name: str, kind: str, source: str) -> dict[str, Any]:
    code = {"outputs": [], "execution_count": None} if kind == "code" else {}
    return {"id": name, "cell_type": kind, "metadata": {}, "source": source, **code}
