"""The object in the export process: makes one export at a time, proves it, puts it in place."""

import os
import shutil
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import filelock
import torch

from core.data import build as data
from core.errors import UserError
from core.export import gguf_file, make, proof, publish, records
from core.export.card import export_card
from core.export.commands import commands
from core.export.curve import loss_curve
from core.export.forms import FORMS, gguf_name
from core.export.make import Report, Source
from core.export.proof import Place, Question, Seen
from core.files import Folders, write_json
from core.model import hub
from core.model.hardware import find_device
from core.training.run import Run, find_run

SAMPLE = "sample:film-reviews"


class Exporter:
    """Exports and pushes. An export lies aside, under a name with a dot, until it is whole."""

    def __init__(self, folders: Folders):
        self._folders = folders
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """End the work that is going on; it cleans up behind itself."""
        self._cancelled.set()

    def export(self, run_id: str, form: str, gpu_is_taken: bool = False) -> Iterator[Report]:
        """Yields {"phase": words, "share": 0..1 or None}, and at the end {"done": record} as it
        lies in the export's folder. UserError where it can't be made; nothing is left then."""
        self._cancelled.clear()
        run = _require(self._folders, run_id, form)
        if gpu_is_taken and find_device().kind == "cuda":
            raise UserError("A run is using the GPU, and the proof needs memory on it.",
                            "Wait until the run has ended, or stop it.")
        with one_at_a_time(self._folders.exports):
            records.sweep(self._folders.exports)
            aside = records.aside(self._folders.exports, run_id, form)
            aside.mkdir(parents=True)
            try:
                with closing(self._make(run, form, aside)) as work:
                    for report in work:
                        self._go_on()
                        yield report
            finally:
                shutil.rmtree(aside, ignore_errors=True)
                records.drop_if_empty(aside.parent)

    def push(self, run_id: str, form: str, repository: str, where: str = "huggingface",
             private: bool = True) -> Iterator[Report]:
        """Upload a proven export; the last report is {"done": {"address": url}}."""
        record = records.read(self._folders.exports, run_id, form)
        yield from publish.push(record, repository, where, private)

    def _go_on(self) -> None:
        if self._cancelled.is_set():
            raise UserError("The export was cancelled.", "Nothing of it was left behind.")

    def _make(self, run: Run, form: str, aside: Path) -> Iterator[Report]:
        began = time.time()
        yield {"phase": "Opening the base model", "share": None}
        config = run.config()
        base = hub.locate(config.base_model, self._folders, config.revision)
        source = make.open_source(run, base)
        make.require_means(source, form)
        make.require_room(source, form, aside)
        place = proof.choose_place(source.parameters, find_device(), _free_gpu_bytes())
        asked, rows = _questions(source, self._folders)
        before, wanted = yield from _in_phase(
            "Asking base model and adapter", _watch_source(source, asked, place))
        yield from make.write_form(source, form, aside)
        found = yield from _in_phase(
            "Loading the export back and asking it", _watch_export(source, form, aside, asked,
                                                                   place))
        told = proof.compare(wanted, found, before, FORMS[form].bounds)
        told |= {"place": place.words, "rows": rows,
                 "answers": proof.told_answers(asked, wanted, found, source.tokenizer)}
        yield {"phase": "Writing the model card", "share": None}
        yield {"done": self._finish(source, form, aside, told, began)}

    def _finish(self, source: Source, form: str, aside: Path, told: Report, began: float
                ) -> Report:
        """Write what tells of the export, then put it in the place of an older one."""
        place = records.place(self._folders.exports, source.run.id, form)
        record = {
            "run": source.run.id, "form": form, "made": began, "seconds": time.time() - began,
            "size_bytes": sum(file.stat().st_size for file in aside.rglob("*")),
            "learned_on": source.run.facts("environment").get("base_weights", ""),
            "folder": str(place), "proof": told,
            "commands": commands(form, place, source.name, source.config, not source.plain_text)}
        curve = loss_curve(source.run.metrics())
        if curve:
            (aside / "loss.svg").write_text(curve, encoding="utf-8")
        (aside / "README.md").write_text(
            export_card(source.run, source.config, record, self._folders, bool(curve)),
            encoding="utf-8")
        write_json(aside / records.RECORD, record)
        old = aside.with_name(f"{aside.name}{records.OLD}")
        if place.exists():
            os.replace(place, old)
        os.replace(aside, place)
        shutil.rmtree(old, ignore_errors=True)
        return record


def one_at_a_time(exports: Path) -> filelock.AcquireReturnProxy:
    """Held by whoever exports in this data folder, a page's process or a terminal's."""
    try:
        return filelock.FileLock(exports / ".lock").acquire(timeout=0)
    except filelock.Timeout as error:
        raise UserError("Another export is at work.", "Wait until it has ended, or cancel it."
                        ) from error


def _require(folders: Folders, run_id: str, form: str) -> Run:
    run = find_run(folders.runs, run_id)
    if form not in FORMS:
        raise UserError(f"There is no form '{form}' of export.", f"Choose of {', '.join(FORMS)}.")
    if not (run.adapter / "adapter_config.json").is_file():
        raise UserError(f"The run '{run_id}' has no adapter yet.",
                        "Wait until it has finished, or choose another run.")
    return run


def _free_gpu_bytes() -> int:
    return torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else 0


def _questions(source: Source, folders: Folders) -> tuple[list[Question], str]:
    """Rows that the run didn't learn, as it would have read them, and which they are in words."""
    config, words = source.config, "held-out rows"
    try:
        opened = data.open_dataset(config, folders)
    except UserError:  # the person's file may be gone since; any words show a wrong merge
        opened, words = data.open_dataset(replace(
            config, dataset=SAMPLE, layout="auto", prompt_column="", input_column="",
            answer_column="", system_column="", train_split="train", eval_split=""),
            folders), "rows of a shipped sample, since the run's own can't be read"
    if opened.held_out is None:
        words = "rows that it learned, since none were held out"
    rows = opened.train if opened.held_out is None else opened.held_out
    first = rows.select(range(min(4 * proof.ROWS, len(rows))))
    asked = proof.questions(data.tokenize_rows(opened, first, config, source.tokenizer)[0])
    if not asked:
        raise UserError("None of the run's rows can be asked, so the export can't be proven.",
                        "Look at the rows in the Data set tab.")
    return asked, f"{len(asked)} {words}"


def _in_phase(words: str, work: Generator[float, None, Any]) -> Generator[Report, None, Any]:
    """The shares that `work` yields as reports; its result."""
    yield {"phase": words, "share": None}
    while True:
        try:
            yield {"phase": words, "share": next(work)}
        except StopIteration as end:
            return end.value


def _watch_source(source: Source, asked: list[Question], place: Place
                  ) -> Generator[float, None, tuple[Seen, Seen]]:
    """What the 16-bit base model does, and what it does with the adapter."""
    model = proof.load_folder(source.base, place)
    before = yield from proof.watch(model, asked, answer=False)
    wanted = yield from proof.watch(proof.with_adapter(model, source.run.adapter), asked)
    del model
    proof.forget()
    return before, wanted


def _watch_export(source: Source, form: str, folder: Path, asked: list[Question], place: Place
                  ) -> Generator[float, None, Seen]:
    if form == "adapter":
        model = proof.with_adapter(proof.load_folder(source.base, place), folder)
    else:
        gguf = gguf_name(source.name, form) if FORMS[form].kind else ""
        model = proof.load_folder(folder, place, gguf, gguf_file.unread(source.base))
    found = yield from proof.watch(model, asked)
    del model
    proof.forget()
    return found
