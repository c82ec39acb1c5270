"""Public tasks by lm-evaluation-harness, where a person has installed it."""

import importlib.util
from collections.abc import Generator
from typing import Any

import numpy as np

from core.chat.loaded import Loaded
from core.errors import UserError
from core.evaluation.numbers import Number, Table, mean, rate
from core.files import Folders

FOLDER = "tasks"  # in the data folder, for tasks of a person's own
BATCH = 8
HELP = ("Measured by lm-evaluation-harness on the first rows of each task, without a chat "
        "template. Intervals and comparisons are ours, as above.")

Samples = dict[str, list[dict[str, Any]]]  # of each task, as the harness logs them


def is_installed() -> bool:
    return importlib.util.find_spec("lm_eval") is not None


def task_names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def public_tasks(loaded: Loaded, models: list[tuple[str, str]], tasks: list[str], rows: int,
                 folders: Folders) -> Generator[dict[str, Any], None, Table | None]:
    """Yields progress; returns a table of `tasks` for each of `models`, (name in `loaded`, title).
    UserError for tasks that aren't known or whose data can't be had."""
    if not tasks:
        return None
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    own = folders.home / FOLDER
    manager = TaskManager(include_path=str(own) if own.is_dir() else None)
    if unknown := [task for task in tasks if task not in manager.all_tasks]:
        raise UserError(f"lm-evaluation-harness knows no task '{unknown[0]}'.",
                        "Its list: lm-eval ls tasks.")
    answered = []
    for place, (name, title) in enumerate(models):
        yield {"phase": f"{title} works at public tasks", "share": place / len(models)}
        with loaded.using(name) as model:
            judged = HFLM(pretrained=model, tokenizer=loaded.tokenizer, batch_size=BATCH)
            try:
                answered.append(simple_evaluate(
                    model=judged, tasks=tasks, limit=rows, bootstrap_iters=0, task_manager=manager))
            except (OSError, ValueError) as error:  # their data come from a hub
                raise UserError(f"lm-evaluation-harness couldn't do {', '.join(tasks)}: {error}",
                                "Look whether the hub answers, or leave public tasks out.") \
                    from error
    return Table("public", "Public tasks", HELP, list(_numbers(answered)))


def _numbers(answered: list[dict[str, Any]]) -> Generator[Number, None, None]:
    """One for each task and each of its metrics that counts row by row."""
    for task, first in answered[0]["samples"].items():
        better = answered[0]["higher_is_better"].get(task, {})
        for metric in first[0]["metrics"] if first else ():
            values = [_of_rows(each["samples"][task], metric) for each in answered]
            if any(value is None for value in values):
                continue
            key, label = f"public_{task}_{metric}", f"{task}, {metric}"
            if all(np.isin(value, (0, 1)).all() for value in values):
                yield rate(key, label, values)
            else:
                way = {True: "higher", False: "lower"}.get(better.get(metric), "")
                yield mean(key, label, values, better=way)


def _of_rows(samples: list[dict[str, Any]], metric: str) -> np.ndarray | None:
    """The metric of each row, by the task's first filter; None where it isn't one number a row."""
    chosen = [s for s in samples if s["filter"] == samples[0]["filter"]]
    values = [s.get(metric) for s in sorted(chosen, key=lambda s: s["doc_id"])]
    if not all(isinstance(value, (bool, int, float, np.number)) for value in values):
        return None
    return np.array(values, dtype=float)
