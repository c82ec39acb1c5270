"""The long-lived objects that the tabs work with; only app.py makes them."""

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from core.config import Config
from core.errors import UserError
from core.export.exports import Exports
from core.files import Folders, why_not_written, write_json
from core.presets import DEFAULT, load_preset
from core.process import Process
from core.training import quick
from core.training.archive import Archive, describe
from core.training.line import grid
from core.training.metrics import Reader
from core.training.queue import Queue
from core.training.run import Run, list_runs


@dataclass(frozen=True)
class Services:
    """`desk` tokenizes and counts, `chat` holds a model, `queue` owns the line of runs, `archive`
    knows all runs at a glance, `trashed` those in the trash, `reader` what each has measured,
    `examiner` judges models, `exports` makes exports one at a time."""

    folders: Folders
    desk: Process
    chat: Process
    queue: Queue
    reader: Reader
    archive: Archive
    trashed: Archive
    examiner: Process
    exports: Exports

    def runs(self) -> list[Run]:
        return list_runs(self.folders.runs)

    def draft(self) -> dict[str, Any]:
        """The settings as the page last had them, valid or not; at first the starter's."""
        starter = load_preset(DEFAULT, self.folders).to_dict()
        try:
            kept = json.loads((self.folders.home / "draft.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return starter
        return starter | {name: value for name, value in kept.items() if name in starter}

    def keep_draft(self, raw: dict[str, Any]) -> None:
        write_json(self.folders.home / "draft.json", raw, durable=False)

    def start(self, raw: dict[str, Any]) -> Run:
        """Check settings against the data set, the model and this machine; then put the run in
        the line. UserError before anything is written, where something doesn't fit."""
        config = Config.parse(raw)
        doubts = self.desk.call("check", settings=config.to_dict())
        run = self.queue.submit(config)
        run.write_facts("forewarned", {"notices": doubts})
        return run

    def with_rows(self, raw: dict[str, Any]) -> tuple[Config, int]:
        """Settings, and how many rows they would learn."""
        config = Config.parse(raw)
        return config, self.desk.call("preview", settings=config.to_dict())["total"]

    def start_quick(self, raw: dict[str, Any]) -> Run:
        """A quick test of a run: on a tenth of its rows, and its folder knows for what. That it
        does few steps is its purpose, so nothing warns of it."""
        config, rows = self.with_rows(raw)
        tried = quick.quick_config(config, rows)
        self.desk.call("check", settings=tried.to_dict())
        run = self.queue.submit(tried)
        quick.mark(run, config, rows)
        return run

    def start_grid(self, raw: dict[str, Any], values: dict[str, str]) -> list[Run]:
        """A run for each combination of the values that settings are given, under one tag."""
        configs = grid(Config.parse(raw), values)
        for config in configs:
            self.desk.call("check", settings=config.to_dict())
        runs = [self.queue.submit(config) for config in configs]
        for run in runs:
            describe(run, tags=[f"grid {runs[0].id[:15]}"])
        return runs


def friendly(function: Callable) -> Callable:
    """An event function whose UserErrors, and full or locked disks, show as a notice; works for
    generators too."""
    if _is_generator(function):
        @functools.wraps(function)
        def stream(*args: Any, **kwargs: Any) -> Any:
            try:
                yield from function(*args, **kwargs)
            except (UserError, OSError) as error:
                if (notice := _notice(error)) is None:
                    raise
                raise notice from error
        return stream

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except (UserError, OSError) as error:
            if (notice := _notice(error)) is None:
                raise
            raise notice from error
    return call


def _is_generator(function: Callable) -> bool:
    return bool(function.__code__.co_flags & 0x20)  # inspect.CO_GENERATOR


def _notice(error: UserError | OSError) -> gr.Error | None:
    """What the page shows; None for an OSError that no person can mend, which is a bug."""
    told = error if isinstance(error, UserError) else why_not_written(error)
    return told and gr.Error(f"{told.problem} {told.remedy}", duration=None,
                             print_exception=False)
