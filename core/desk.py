"""The object in the desk process: shows and judges rows, counts parameters, knows the machine."""

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from core.config import Config
from core.data.looking import audit, preview
from core.data.looking.room import Cancelled, DataRoom, search, template_words
from core.data.looking.survey import survey
from core.data.tokens.plain import with_template
from core.errors import UserError
from core.export import elsewhere
from core.files import Folders
from core.model import hub, load, lora
from core.model.hardware import choose_formats, count_devices, find_device
from core.training import spread
from core.training.run import adapter_folder
from core.training.verdict import forewarnings

CHECKED_ROWS = 200  # of a data set whose survey isn't finished when a run is started


class Desk:
    """Answers quickly from what it has opened before; the last few data sets and tokenizers stay
    open."""

    def __init__(self, folders: Folders):
        self._folders = folders
        self._lock = threading.Lock()
        self._room = DataRoom(folders)
        # A tokenizer may not be changed while another thread uses it: each purpose has its own.
        self._tokenizer = lru_cache(4)(lambda folder, template, purpose: with_template(
            load.load_tokenizer(folder), template))

    def machine(self) -> dict[str, Any]:
        device = find_device()
        count = count_devices()
        return {"kind": device.kind, "has_bf16": device.has_bf16, "devices": count,
                "words": device.words if count == 1 else f"{count} × {device.words}"}

    def preview(self, settings: dict[str, Any], part: str = "train", index: int = 0
                ) -> Iterator[dict[str, Any]]:
        """One row of 'train' or 'eval' as preview.view tells it; before it {"phase", "share"}
        while the data set is opened and the model's tokenizer is fetched."""
        config = Config.parse(settings)
        folder = yield from self._bring(config, only_config=True)
        opened = yield from _told(lambda report: self._room.opened(config, report))
        rows = opened.train if part == "train" else opened.held_out
        if rows is None or not len(rows):
            raise UserError("No rows are held out.", "Set Evaluation rows above 0.")
        index = max(0, min(int(index), len(rows) - 1))
        tokenizer = self._tokenizer(folder, config.chat_template, "preview")
        example = opened.example(rows[index], config, tokenizer)
        yield preview.view(opened, example, tokenizer, index, part, rows[index], len(rows)) | {
            "index": index, "total": len(rows)}

    def look(self, settings: dict[str, Any]) -> dict[str, Any]:
        """How far the data set is opened and looked through, as DataRoom.look tells it. The first
        call begins the work; ask again to see it grow."""
        try:
            config = Config.parse(settings)
        except UserError as error:
            return {"state": "failed", "problem": error.problem, "remedy": error.remedy}
        return self._room.look(
            config, lambda report: self._tokenizer_of(config, "survey", report),
            lambda opened: template_words(opened, self._tokenizer_of(config, "preview")))

    def find_row(self, settings: dict[str, Any], part: str, what: str, start: int = 0,
                 text: str = "") -> dict[str, Any]:
        """{"index": a row or None, "next": where to go on}. `what` is 'text' (the next row from
        `start` on that holds `text`), 'longest' (the row of rank `start`), or 'loses' (the next
        that loses what should be learned), or 'changed' (the next changed copy)."""
        config = Config.parse(settings)
        if what == "text":
            opened = self._room.opened(config)
            rows = opened.train if part == "train" else opened.held_out
            return search(rows, text, start) if text and rows is not None else {
                "index": None, "next": 0}
        known = self._room.known(config)
        facts = known.parts.get(part) if known else None
        if not facts or not facts.done:
            return {"index": None, "next": 0}
        if what == "longest":
            order = sorted(range(facts.done), key=lambda i: -facts.tokens[i])
            return {"index": order[start % len(order)], "next": start + 1}
        wanted = {"loses": facts.lost_learned, "changed": facts.changed}[what]
        index = next((i for i in range(start, facts.done) if wanted[i]), None)
        return {"index": index, "next": 0 if index is None else index + 1}

    def unwritten(self, settings: dict[str, Any]) -> list[tuple[str, list[str]]]:
        """Texts that the model is to say in other words, with the words that must stay."""
        config = Config.parse(settings)
        return self._room.unwritten(config, self._room.opened(config))

    def held_out(self, settings: dict[str, Any], count: int = 20) -> list[dict[str, str]]:
        """Prompts of held-out rows with the answer that the data gives, for Chat and Compare."""
        opened = self._room.opened(Config.parse(settings))
        rows = opened.held_out
        if rows is None:
            return []
        dialogues = [opened.messages(row) for row in rows.select(range(min(count, len(rows))))]
        return [pair for pair in map(_question, dialogues) if pair]

    def check(self, settings: dict[str, Any]) -> list[str]:
        """What makes it likely that a run with these settings learns little. UserError where it
        would end at once or learn nothing: a data set that can't be read or that the audit finds
        red, targets that match nothing, a number format that this machine lacks."""
        config = Config.parse(settings)
        self.describe(settings)
        spread.check(config)
        opened = self._room.opened(config)
        adapter_folder(config, self._folders.runs)
        found = self._room.known(config)
        if found is None or not found.finished:
            first = opened.train.select(range(min(CHECKED_ROWS, len(opened.train))))
            *_, found = survey(replace(opened, train=first, held_out=None), config,
                               self._tokenizer_of(config, "check"))
        reds = audit.reds(audit.audit(found, config))
        if missing := self._room.unwritten(config, opened):
            reds.append(audit.unwritten(len(missing)))
        if reds:
            labels = [label for finding in reds for label, _ in finding.fixes]
            raise UserError("\n".join(finding.words for finding in reds),
                            "Look at the audit in the Data set tab"
                            + (f", or choose: {'; '.join(labels)}." if labels else "."))
        return forewarnings(config, len(opened.train))

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
        """The model's folder, with progress on the way."""
        return (yield from _told(lambda report: hub.locate(
            config.base_model, self._folders, config.revision, only_config, report)))

    def _tokenizer_of(self, config: Config, purpose: str,
                      *report: Callable[[str, float | None], None]) -> Any:
        folder = hub.locate(config.base_model, self._folders, config.revision, True, *report)
        return self._tokenizer(folder, config.chat_template, purpose)

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


def _told(work: Callable[[Callable[[str, float | None], None]], Any]
          ) -> Generator[dict[str, Any], None, Any]:
    """The result of `work`, done in a thread that reports {"phase", "share"} on the way. Where the
    reader leaves, the next report ends the work."""
    reports: queue.Queue = queue.Queue()
    left = threading.Event()

    def report(words: str, share: float | None) -> None:
        if left.is_set():
            raise Cancelled
        reports.put((words, share))

    def run() -> None:
        try:
            reports.put([work(report)])
        except BaseException as error:  # handed to the caller's thread, which raises it
            reports.put(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        while isinstance(told := reports.get(), tuple):
            yield {"phase": told[0], "share": told[1]}
    finally:
        left.set()
    if isinstance(told, BaseException):
        raise told
    return told[0]


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
