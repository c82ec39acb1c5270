"""The object in the desk process: previews rows, counts parameters, tells what the machine has."""

import queue
import threading
from collections.abc import Generator, Iterator
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from core.config import Config
from core.data import build, preview
from core.errors import UserError
from core.export import elsewhere
from core.files import Folders
from core.model import hub, load, lora
from core.model.hardware import choose_formats, count_devices, find_device
from core.training import spread
from core.training.run import adapter_folder

SUMMARY_ROWS = 2000  # counted for the preview; the run itself counts all


class Desk:
    """Answers quickly from what it has opened before; the last few data sets and tokenizers stay
    open."""

    def __init__(self, folders: Folders):
        self._folders = folders
        self._lock = threading.Lock()
        self._open = lru_cache(4)(lambda config: build.open_dataset(config, folders))
        self._tokenizer = lru_cache(4)(load.load_tokenizer)
        self._count = lru_cache(4)(self._count_rows)

    def machine(self) -> dict[str, Any]:
        device = find_device()
        count = count_devices()
        return {"kind": device.kind, "has_bf16": device.has_bf16, "devices": count,
                "words": device.words if count == 1 else f"{count} × {device.words}"}

    def preview(self, settings: dict[str, Any], part: str = "train", index: int = 0
                ) -> Iterator[dict[str, Any]]:
        """One row of 'train' or 'eval' as preview.view tells it, with counts under 'facts'; before
        it {"phase", "share"} while the model's tokenizer is fetched."""
        config = Config.parse(settings)
        folder = yield from self._bring(config, only_config=True)
        with self._lock:
            tokenizer = self._tokenizer(folder)
            opened = self._open(_data_only(config))
            rows = opened.train if part == "train" else opened.held_out
            if rows is None or not len(rows):
                raise UserError("No rows are held out.", "Set Evaluation rows above 0.")
            index = max(0, min(int(index), len(rows) - 1))
            example = opened.example(rows[index], config, tokenizer)
            shown = preview.view(opened, example, tokenizer, index, part, rows[index], len(rows))
            report = self._count(_data_only(config), folder)
        yield shown | {
            "index": index, "total": len(rows),
            "facts": preview.facts(report, len(opened.held_out or ()),
                                   len(opened.train) <= SUMMARY_ROWS)}

    def held_out(self, settings: dict[str, Any], count: int = 20) -> list[dict[str, str]]:
        """Prompts of held-out rows with the answer that the data gives, for Chat and Compare."""
        config = Config.parse(settings)
        with self._lock:
            opened = self._open(_data_only(config))
        rows = opened.held_out
        if rows is None:
            return []
        dialogues = [opened.messages(row) for row in rows.select(range(min(count, len(rows))))]
        return [pair for pair in map(_question, dialogues) if pair]

    def check(self, settings: dict[str, Any]) -> None:
        """UserError where a run with these settings would end at once: a data set that can't be
        read, targets that match nothing, a number format that this machine lacks."""
        config = Config.parse(settings)
        self.describe(settings)
        spread.check(config)
        with self._lock:
            opened = self._open(_data_only(config))
        opened.messages(opened.train[0])
        adapter_folder(config, self._folders.runs)

    def pack(self, settings: dict[str, Any], name: str = "elsewhere") -> str:
        """A zip file with which another machine trains with these settings."""
        config = Config.parse(settings)
        self.describe(settings)
        return str(elsewhere.pack(config, self._folders, self._folders.temporary / f"{name}.zip"))

    def fetch(self, settings: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Bring the base model to this computer; yields {"phase": words, "share": 0..1 or None}
        and at the end {"folder": path}."""
        folder = yield from self._bring(Config.parse(settings), only_config=False)
        yield {"folder": str(folder)}

    def _bring(self, config: Config, only_config: bool
               ) -> Generator[dict[str, Any], None, Path]:
        """The model's folder, with progress on the way: the work is done in a thread that
        reports."""
        reports: queue.Queue = queue.Queue()

        def work() -> None:
            try:
                reports.put(hub.locate(config.base_model, self._folders, config.revision,
                                       only_config, lambda *report: reports.put(report)))
            except Exception as error:  # handed to the caller's thread, which raises it
                reports.put(error)

        threading.Thread(target=work, daemon=True).start()
        while isinstance(report := reports.get(), tuple):
            yield {"phase": report[0], "share": report[1]}
        if isinstance(report, Exception):
            raise report
        return report

    def describe(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Trainable and total parameters, the names of the layers, and what 'auto' comes to.
        UserError where these settings can't run here."""
        config = Config.parse(settings)
        with self._lock:  # transformers builds a model in a mode of the whole process
            found = lora.describe(config, load.load_shape(config, self._folders))
        formats = choose_formats(config, find_device())
        return {"trainable": found.trainable, "total": found.total, "modules": found.modules,
                "targets": found.targets, "weights": formats.weights,
                "precision": formats.precision, "processes": spread.processes(config)}

    def _count_rows(self, config: Config, folder: Path) -> build.Report:
        opened = self._open(config)
        first = opened.train.select(range(min(SUMMARY_ROWS, len(opened.train))))
        return build.tokenize_rows(opened, first, config, self._tokenizer(folder))[1]


def _question(messages: list[dict[str, str]]) -> dict[str, str] | None:
    """A dialogue's first question and its answer; of a plain text its two halves."""
    if messages and messages[0]["role"] == "text":
        text = messages[0]["content"]
        middle = text.find(" ", len(text) // 2)
        return {"prompt": text[:middle], "answer": text[middle:].strip()} if middle > 0 else None
    for asked, said in zip(messages, messages[1:], strict=False):
        if asked["role"] == "user" and said["role"] == "assistant":
            return {"prompt": asked["content"], "answer": said["content"]}
    return None


def _data_only(config: Config) -> Config:
    """The same data settings with all others at their defaults, as a key for what was opened."""
    return Config(**{f.name: getattr(config, f.name) for f in fields(Config)
                     if f.metadata["group"] == "data"})
