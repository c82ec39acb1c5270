"""Trains what lies in this folder on this machine, and packs the run to bring it home.

    python train.py

It installs what requirements.txt names (a torch that is there is kept: it fits its GPU), trains
with settings.yaml, and leaves a zip file that TuneDesk takes in under Runs. Cut off in the middle,
start it again: it goes on from its last checkpoint.
"""

import argparse
import importlib.util
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).resolve().parent
LEFT_HERE = {"checkpoints", "failures", "ray", "saving", "stop"}
CARRIED = ("dataset", "base_model", "adapter")  # settings that may name something in this folder


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--no-install", action="store_true", help="everything is installed already")
    options = parser.parse_args()
    os.chdir(HERE)
    sys.path.insert(0, str(HERE))
    if not options.no_install:
        install()
    from core.files import Folders
    from core.quiet import quieten
    from core.training import headless
    from core.training.run import list_runs

    quieten()
    folders = Folders(HERE / "home", HERE / "assets").make()
    begun = list_runs(folders.runs)
    if begun and begun[0].status().state != "finished":
        code = headless.resume(begun[0].id, folders)
    elif begun:
        code = 0
    else:
        code = headless.train_with(settings(), folders)
    print(f"Bring this home: {pack(list_runs(folders.runs)[0].folder)}")
    return code


def install() -> None:
    """Into the Python that runs this."""
    wanted = [line for line in (HERE / "requirements.txt").read_text().splitlines()
              if line and not line.startswith("#")
              and not (line.startswith("torch=") and importlib.util.find_spec("torch"))]
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *wanted], check=True)


def settings():
    """settings.yaml, with the places of what was carried here."""
    from core.config import load_yaml

    config = load_yaml(HERE / "settings.yaml")
    return replace(config, **{name: str(HERE / value) for name in CARRIED
                              if (value := getattr(config, name)).startswith("./")})


def pack(run: Path) -> Path:
    """The run without its checkpoints, with the settings as they were at home."""
    target = HERE / f"{run.name}.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(run.rglob("*")):
            inside = path.relative_to(run)
            if path.is_file() and inside.parts[0] not in LEFT_HERE:
                at_home = HERE / "settings-at-home.yaml"
                packed.write(at_home if str(inside) == "config.yaml" else path,
                             f"{run.name}/{inside.as_posix()}")
    return target


if __name__ == "__main__":
    sys.exit(main())
