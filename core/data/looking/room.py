"""Data sets that are open for looking at: each opened once, surveyed in the background."""

import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, fields, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from core.config import Config
from core.data import build
from core.data.build import Opened
from core.data.changing import augment, paraphrase
from core.data.looking import audit, summary
from core.data.looking.survey import Survey, survey
from core.errors import UserError
from core.files import Folders

MOST_OPEN = 4
MOST_SURVEYS = 3     # finished ones that are kept
FORGOTTEN = 5.0      # seconds without a question, after which work ends
SEARCHED = 20_000    # rows in one call, so that none takes long

# Settings of the data that decide how rows become tokens, not which rows there are.
AFTER_OPENING = ("loss_on", "max_length", "too_long", "packing", "chat_template")

Progress = Callable[[str, float | None], None]


class Cancelled(Exception):
    """Nobody waits for this any more."""


@dataclass
class Look:
    """A data set that somebody looks at, from its opening to the end of its survey: how far the
    work is, and what is shown of it. It ends by itself when nobody asks any more."""

    shown: dict[str, Any] = field(default_factory=lambda: {"state": "opening", "phase": ""})
    survey: Survey | None = None
    asked: float = field(default_factory=time.monotonic)
    at_work: bool = True
    told: bool = False  # a failure that was told is tried again when asked for

    def report(self, words: str, share: float | None) -> None:
        self.go_on()
        self.shown = {"state": "opening", "phase": words, "share": share}

    def go_on(self) -> None:
        """Raises Cancelled where nobody has asked for FORGOTTEN seconds."""
        if time.monotonic() - self.asked > FORGOTTEN:
            raise Cancelled


class DataRoom:
    """`opened` and `survey` may be called from many threads; each data set is opened once."""

    def __init__(self, folders: Folders):
        self._folders = folders
        self._lock = threading.Lock()
        self._open: dict[tuple, Future] = {}
        self._looks: dict[tuple, Look] = {}

    def opened(self, config: Config, on_progress: Progress = lambda words, share: None) -> Opened:
        """The data set as `config` chooses it. An exception that `on_progress` raises ends the
        work, so that the next call begins anew."""
        key = self._key(config, AFTER_OPENING)
        with self._lock:
            waiting = self._open.get(key)
            mine = waiting is None
            if mine:
                waiting = self._open[key] = Future()
                for old in list(self._open)[:-MOST_OPEN]:
                    del self._open[old]
        if mine:
            try:
                waiting.set_result(build.open_dataset(config, self._folders, on_progress))
            except BaseException as error:  # handed to all who wait for it
                with self._lock:
                    if self._open.get(key) is waiting:
                        del self._open[key]
                waiting.set_exception(error)
        return self._outcome(waiting, config, on_progress)

    def _outcome(self, waiting: Future, config: Config, on_progress: Progress) -> Opened:
        try:
            return waiting.result()
        except Cancelled:
            on_progress("Opening the data set", None)  # raises where this call is the cancelled one
            return self.opened(config, on_progress)

    def look(self, config: Config, tokenizer: Callable[[Progress], Any],
             template: Callable[[Opened], str]) -> dict[str, Any]:
        """How far the opening and the survey of a data set are: {"state": "opening", "phase",
        "share"}, {"state": "failed", "problem", "remedy"}, or {"state": "open", ...} as
        summary.py tells it. The first call begins the work; `tokenizer` fetches what it needs."""
        key = self._key(config)
        with self._lock:
            look = self._looks.pop(key, None)
            if look is None or not look.at_work and (look.shown["state"] == "opening" or look.told):
                look = Look()
                threading.Thread(target=self._work, args=(look, config, tokenizer, template),
                                 daemon=True).start()
            self._looks[key] = look
            look.asked, look.told = time.monotonic(), look.shown["state"] == "failed"
            for old in [k for k, v in self._looks.items() if not v.at_work][:-MOST_SURVEYS]:
                del self._looks[old]
        return look.shown

    def known(self, config: Config) -> Survey | None:
        """The survey of these settings as far as it is."""
        look = self._looks.get(self._key(config))
        return look.survey if look else None

    def _work(self, look: Look, config: Config, tokenizer: Callable[[Progress], Any],
              template: Callable[[Opened], str]) -> None:
        try:
            fetched = tokenizer(look.report)
            look.report("Opening the data set", None)
            opened = self.opened(config, look.report)
            look.shown = about = summary.opened(opened)
            unfitting = template(opened)
            for found in survey(opened, config, fetched):
                look.go_on()
                look.survey = found
                findings = audit.audit(found, config, unfitting)
                if found.finished and (missing := self.unwritten(config, opened)):
                    findings.insert(0, audit.unwritten(len(missing)))
                look.shown = about | summary.shown(found, findings, about["rows"])
        except Cancelled:
            look.shown = {"state": "opening", "phase": ""}  # whoever asks again begins anew
        except UserError as error:
            look.shown = {"state": "failed", "problem": error.problem, "remedy": error.remedy,
                          "columns": build.columns(config, self._folders)}
        except Exception as error:  # the thread's last frame: a bug is told, not lost
            traceback.print_exc()
            look.shown = {"state": "failed", "problem": "The data set can't be shown: "
                          f"{type(error).__name__}: {error}", "remedy": "This is a bug; the log "
                          "of the desk process tells more."}
        finally:
            look.at_work = False

    def unwritten(self, config: Config, opened: Opened) -> list[tuple[str, list[str]]]:
        """Texts that the model is asked to rewrite and hasn't yet, with the words that must stay.
        Which they are is seen before any copy is added."""
        if not config.paraphrase_share:
            return []
        originals = self.opened(replace(config, augment_copies=0))
        return augment.unwritten(originals.train, opened.instruction, config, self._folders)

    def _key(self, config: Config, leaving_out: tuple[str, ...] = ()) -> tuple:
        """The data settings, the model where it matters, and how much was paraphrased so far."""
        parts = [getattr(config, f.name) for f in fields(Config)
                 if f.metadata["group"] == "data" and f.name not in leaving_out]
        if not leaving_out:
            parts += [config.base_model, config.revision]
        if config.paraphrase_share:
            written = paraphrase.store(config, self._folders)
            parts += [str(written), written.stat().st_size if written.exists() else 0]
        return tuple(parts)


def template_words(opened: Opened, tokenizer: Any) -> str:
    """What doesn't fit between a model's chat template and a data set; empty where all does."""
    if opened.layout.name == "text":
        if tokenizer.chat_template:
            return ("The rows are plain text and the model is a chat model: it will learn to go on "
                    "with texts, not to answer.")
        return ""
    if not tokenizer.chat_template:
        return ("This model has no chat template, so a plain one with '### Instruction:' and "
                "'### Response:' is used, in training and in chat alike.")
    return ""


def search(rows: Dataset, text: str, start: int) -> dict[str, Any]:
    """{"index": of the next row from `start` on that holds `text`, upper or lower case, or None;
    "next": where to go on}. Columns of text are searched by Arrow, others as they are shown."""
    end = min(start + SEARCHED, len(rows))
    for first in range(start, end, 1000):
        table = rows.with_format("arrow")[first: min(first + 1000, end)]
        hits = _hits(table, text)
        if hits is not None:
            return {"index": first + hits, "next": first + hits + 1}
    return {"index": None, "next": end}


def _hits(table: pa.Table, text: str) -> int | None:
    """The index of the first row of a table that holds a text."""
    found = None
    for column in table.columns:
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            column = pa.array([str(value) for value in column.to_pylist()], pa.large_string())
        matches = pc.fill_null(pc.match_substring(column, text, ignore_case=True), False)
        index = pc.index(matches, True).as_py()
        if index >= 0 and (found is None or index < found):
            found = index
    return found
