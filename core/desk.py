"""The object in the desk process: shows and judges rows, counts parameters, knows the machine."""

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from core.config import Config
from core.data import build
from core.data.build import Opened
from core.data.looking import audit, preview
from core.data.looking.room import Cancelled, DataRoom, search, template_words
from core.data.looking.survey import survey
from core.data.tokens.plain import with_template
from core.data.tokens.token_rows import TokenRows
from core.data.tokens.tokenize import Example
from core.errors import UserError
from core.export import elsewhere
from core.files import Folders
from core.model import estimate, hub, load, lora
from core.model.hardware import choose_formats, count_devices, find_device
from core.training import fitting, prospect, spread
from core.training.forecast import Work, opening_of, work
from core.training.run import adapter_folder
from core.training.verdict import forewarnings

COMPARED_ROWS = 8  # to see what all rows begin with
CHECKED_ROWS = 200  # of a data set whose survey isn't finished when a run is started


class Desk:
    """Answers quickly from what it has opened before; the last few data sets and tokenizers stay
    open."""

    def __init__(self, folders: Folders):
        self._folders = folders
        self._lock = threading.Lock()
        self._room = DataRoom(folders)
        # A tokenizer may not be changed while another thread uses it: each purpose has its own.
        self._tokenizer = lru_cache(6)(lambda folder, template, purpose: with_template(
            load.load_tokenizer(folder), template))

    def machine(self) -> dict[str, Any]:
        device = find_device()
        count = count_devices()
        return {"kind": device.kind, "has_bf16": device.has_bf16, "devices": count,
                "words": device.words if count == 1 else f"{count} × {device.words}"}

    def fitting(self) -> dict[str, Any]:
        """Which sizes of model this machine can tune: {"sizes": as fitting.Size, "suggested": the
        id of a model that suits a first try}."""
        device = find_device()
        sizes = fitting.fitting(self._folders, device)
        return {"sizes": [asdict(size) for size in sizes],
                "suggested": fitting.suggested(sizes, device).model}

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
        yield preview.view(opened, example, tokenizer, index, part, rows[index], len(rows),
                           config) | {"index": index, "total": len(rows)}

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
        tokens, lost = facts.tokens, facts.lost_learned
        if facts.rows > facts.total and (every := self._all_tokens(config, part)):
            tokens, lost = every.row_lengths.tolist(), every.row_lost.tolist()
        if what == "longest":
            order = sorted(range(len(tokens)), key=lambda i: -tokens[i])
            return {"index": order[start % len(order)], "next": start + 1}
        wanted = {"loses": lost, "changed": facts.changed}[what]
        index = next((i for i in range(start, len(wanted)) if wanted[i]), None)
        return {"index": index, "next": 0 if index is None else index + 1}

    def _all_tokens(self, config: Config, part: str) -> TokenRows | None:
        """All rows of a part in tokens, once a run with these settings has made them: the survey
        looks at the first ones only."""
        opened = self._room.opened(config)
        rows = opened.train if part == "train" else opened.held_out
        return None if rows is None else build.known_tokens(
            opened, rows, config, self._tokenizer_of(config, "preview"))

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

    def _todo(self, config: Config) -> Work | None:
        """What there is to learn, as far as the survey knows; None while it knows nothing."""
        known = self._room.known(config)
        if known is None or not known.parts["train"].done:
            return None
        opened = self._room.opened(config)
        return work(config, len(opened.train), known.parts["train"].kept,
                    opening_of(self._first(opened, config)))

    def _first(self, opened: Opened, config: Config) -> list[Example]:
        """Some training rows as they are learned."""
        tokenizer, found = self._tokenizer_of(config, "describe"), []
        for row in opened.train.select(range(min(COMPARED_ROWS, len(opened.train)))):
            with suppress(UserError):  # a row that is refused
                found.append(opened.example(row, config, tokenizer))
        return found

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
        """Trainable and total parameters, the names of the layers, what 'auto' comes to, and what
        learning will take, as prospect tells it. UserError where these settings can't run here."""
        config = Config.parse(settings)
        with self._lock:  # transformers builds a model in a mode of the whole process
            shape = load.load_shape(config, self._folders)
            sizes = estimate.sizes_of(shape, config, 0)
            found = lora.describe(config, shape)
        device = find_device()
        formats = choose_formats(config, device)
        fixed, each_rank = found.trainable - found.by_rank, found.by_rank / config.lora_r
        subject = prospect.Subject(
            config, lambda c: replace(sizes, learned=fixed + round(each_rank * c.lora_r)),
            self._todo(config))
        return {**prospect.prospect(subject, device, formats, self._folders),
                "trainable": found.trainable, "total": found.total, "modules": found.modules,
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
