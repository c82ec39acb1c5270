"""A run without a page: the same queue and the same worker, followed on the terminal."""

import os
import time
from collections.abc import Callable
from pathlib import Path

from core.config import Config, load_yaml
from core.files import Folders
from core.presets import list_presets, load_preset
from core.training import moving
from core.training.queue import Queue
from core.training.run import FINAL, Run

LOOK_SECONDS = 0.5


def train_from_file(settings: str, folders: Folders) -> int:
    """Train with a YAML file or a preset's name."""
    return train_with(named_settings(settings, folders), folders)


def named_settings(settings: str, folders: Folders) -> Config:
    """Those of a YAML file, or of a preset by its name. What they name from the folder in which a
    person stands is named from the root: the trainer stands elsewhere."""
    if settings in list_presets(folders):
        return load_preset(settings, folders)
    return moving.renamed(load_yaml(Path(settings)), lambda setting, name:
                          str(Path(name).resolve()) if os.path.exists(name) else name)


def train_with(config: Config, folders: Folders) -> int:
    return _work(folders, lambda queue: queue.submit(config))


def resume(run_id: str, folders: Folders) -> int:
    return _work(folders, lambda queue: queue.resume(run_id))


def _work(folders: Folders, begin: Callable[[Queue], Run]) -> int:
    """Do one run; prints what the page would show. The exit code is 0 for a finished run, else 1.
    Interrupting stops the run and saves it."""
    queue = Queue(folders, keep_spare=False)
    queue.start()
    run = begin(queue)
    print(f"Run {run.id}")
    try:
        return _follow(run)
    except KeyboardInterrupt:
        print("Stops and saves.")
        queue.stop(run.id)
        return _follow(run)
    finally:
        queue.close()


def _follow(run: Run) -> int:
    shown, told = 0, ""
    while True:
        status = run.status()
        records = run.metrics()
        for record in records[shown:]:
            print("  ".join(f"{name} {value:.6g}" for name, value in record.items()
                            if name in ("step", "loss", "eval_loss", "learning_rate",
                                        "tokens_per_second")), flush=True)
        shown = len(records)
        words = status.phase or status.words
        if words != told:
            print(words, flush=True)
            told = words
        if status.state in FINAL:
            if status.remedy or status.detail:
                print(status.remedy, status.detail, sep="\n")
            if status.state == "finished":
                print(f"The adapter is in {run.adapter}")
            return 0 if status.state == "finished" else 1
        time.sleep(LOOK_SECONDS)
