"""The object in the desk process: previews rows, counts parameters, tells what the machine has."""

import threading
from functools import lru_cache
from typing import Any

from core.config import Config
from core.data import build, preview
from core.data.tokenize import encode
from core.errors import UserError
from core.files import Folders
from core.model import hub, load, lora
from core.model.hardware import choose_formats, find_device

SUMMARY_ROWS = 2000  # counted for the preview; the run itself counts all


class Desk:
    """Answers quickly from what it has opened before; the last few data sets and tokenizers stay
    open."""

    def __init__(self, folders: Folders):
        self._folders = folders
        self._lock = threading.Lock()
        self._open = lru_cache(4)(lambda config: build.open_dataset(config, folders))
        self._tokenizer = lru_cache(4)(self._load_tokenizer)
        self._count = lru_cache(4)(self._count_rows)

    def machine(self) -> dict[str, Any]:
        device = find_device()
        return {"kind": device.kind, "words": device.words, "has_bf16": device.has_bf16}

    def preview(self, settings: dict[str, Any], part: str = "train", index: int = 0
                ) -> dict[str, Any]:
        """One row of 'train' or 'eval' as preview.view tells it, with counts under 'facts'."""
        config = Config.parse(settings)
        with self._lock:
            tokenizer = self._tokenizer(config.base_model, config.revision)
            opened = self._open(_data_only(config))
            rows = opened.train if part == "train" else opened.held_out
            if rows is None or not len(rows):
                raise UserError("No rows are held out.", "Set Evaluation rows above 0.")
            index = max(0, min(int(index), len(rows) - 1))
            row = rows[index]
            example = encode(opened.messages(row), tokenizer, config.loss_on, config.max_length)
            shown = preview.view(opened, example, tokenizer, index, part, row, len(rows))
            report = self._count(_data_only(config), config.base_model, config.revision)
        return shown | {
            "index": index, "total": len(rows),
            "facts": preview.facts(report, len(opened.held_out or ()),
                                   len(opened.train) <= SUMMARY_ROWS)}

    def held_out(self, settings: dict[str, Any], count: int = 20) -> list[dict[str, str]]:
        """Prompts of held-out rows with the answer that the data gives, for Chat and Compare."""
        config = Config.parse(settings)
        with self._lock:
            opened = self._open(_data_only(config))
        rows = opened.held_out if opened.held_out is not None else opened.train
        dialogues = [opened.messages(row) for row in rows.select(range(min(count, len(rows))))]
        return [{"prompt": messages[0]["content"] if len(messages) == 1
                 else next(m["content"] for m in messages if m["role"] == "user"),
                 "answer": messages[-1]["content"]}
                for messages in dialogues if messages]

    def describe(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Trainable and total parameters, the names of the layers, and what 'auto' comes to.
        UserError where these settings can't run here."""
        config = Config.parse(settings)
        found = lora.describe(config, load.load_shape(config, self._folders))
        formats = choose_formats(config, find_device())
        return {"trainable": found.trainable, "total": found.total, "modules": found.modules,
                "targets": found.targets, "weights": formats.weights,
                "precision": formats.precision}

    def _load_tokenizer(self, base_model: str, revision: str) -> Any:
        return load.load_tokenizer(
            hub.locate(base_model, self._folders, revision, only_config=True))

    def _count_rows(self, config: Config, base_model: str, revision: str) -> build.Report:
        opened = self._open(config)
        first = opened.train.select(range(min(SUMMARY_ROWS, len(opened.train))))
        return build.tokenize_rows(opened, first, config,
                                   self._tokenizer(base_model, revision))[1]


def _data_only(config: Config) -> Config:
    """The same data settings with all others at their defaults, as a key for what was opened."""
    from dataclasses import fields

    return Config(**{f.name: getattr(config, f.name) for f in fields(Config)
                     if f.metadata["group"] == "data"})
