"""Trains what lies in this folder on this machine, and packs the run to bring it home.

    python train.py

It installs what requirements.txt names (a torch that is there fits its GPU and is kept, unless it
is older than 2.11), trains with settings.yaml, and leaves a zip file that TuneDesk takes in under
Runs. Cut off in the middle, start it again: it goes on from its last checkpoint.
"""

import argparse
import importlib.metadata
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
LEFT_HERE = {"checkpoints", "failures", "ray", "saving", "stop"}
LEAST_TORCH = (2, 11)  # the first whose varlen_attn has a window


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
        code = headless.train_with(settings(folders), folders)
    print(f"Bring this home: {pack(list_runs(folders.runs)[0].folder)}")
    return code


def install() -> None:
    """Into the Python that runs this."""
    wanted = [line for line in (HERE / "requirements.txt").read_text().splitlines()
              if line and not line.startswith("#") and not (line.startswith("torch=") and keeps())]
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *wanted], check=True)


def keeps() -> bool:
    """Whether the torch of this machine can stay; says so where it can't."""
    try:
        found = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return False
    numbers = re.match(r"(\d+)\.(\d+)", found)
    if numbers and tuple(map(int, numbers.groups())) >= LEAST_TORCH:
        return True
    least = ".".join(map(str, LEAST_TORCH))
    print(f"The torch {found} of this machine is older than {least}; another is installed. Should "
          "it not find the GPU, take an image with a newer driver.")
    return False


def settings(folders):
    """settings.yaml, with the places of what was carried here. Paraphrases are kept under their
    model's name, which is another here where the model was carried."""
    from core.config import load_yaml
    from core.data.changing import paraphrase
    from core.training import moving

    config = moving.renamed(load_yaml(HERE / "settings.yaml"), lambda setting, name:
                            str(HERE / name) if name.startswith("./") else name)
    if config.paraphrase_share:
        brought = paraphrase.store(load_yaml(HERE / "settings-at-home.yaml"), folders)
        if brought.is_file():
            brought.replace(paraphrase.store(config, folders))
    return config


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
