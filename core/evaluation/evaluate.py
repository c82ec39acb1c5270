"""Judges a base model and tuned ones: one model in memory, the same rows, one pass for each."""

import re
import time
from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from core import likeness
from core.chat.loaded import BASE, Loaded
from core.config import Config
from core.confine import child
from core.data.tokens.plain import with_template
from core.errors import UserError
from core.evaluation import fairness, harness, judge, probe, saved, tables
from core.evaluation.answer import answers
from core.evaluation.chain import chain_of, forgetting_matrix, learned_by
from core.evaluation.numbers import mean
from core.evaluation.rows import Held, held_rows
from core.evaluation.score import Asked, Score, can_join, probabilities, score
from core.files import Folders
from core.model import hub, load
from core.model.hardware import choose_formats, find_device
from core.training.names import name_of
from core.training.run import Run, find_run


@dataclass(frozen=True)
class Request:
    """What to judge, and on what. `runs` are run ids, or 'run@checkpoint-20'; `dataset` names other
    rows than the first run's held-out ones; `written` is for how many rows answers are written;
    `public_tasks` are names of lm-evaluation-harness with commas."""

    runs: tuple[str, ...]
    rows: int = 200
    written: int = 50
    max_new_tokens: int = 64
    dataset: str = ""
    allow_learned: bool = False
    forgetting: bool = True
    stages: bool = True
    fairness: bool = True
    pattern: str = ""
    group_column: str = ""
    judge_address: str = ""
    judge_model: str = ""
    judge_rubric: str = ""
    public_tasks: str = ""

    def __post_init__(self) -> None:
        ranges = (("Rows", self.rows, 1, 100_000), ("Written answers", self.written, 0, 10_000),
                  ("Longest answer", self.max_new_tokens, 1, 4096))
        problems = [f"{label}: found {value}, needs {low} to {high:,}."
                    for label, value, low, high in ranges if not low <= value <= high]
        if not self.runs:
            problems.append("No run is chosen.")
        if self.public_tasks and not harness.is_installed():
            problems.append("Public tasks: lm-evaluation-harness isn't installed (pip install "
                            "lm-eval).")
        try:
            re.compile(self.pattern)
        except re.error as error:
            problems.append(f"Pattern: '{self.pattern}' is no regular expression: {error}.")
        if problems:
            raise UserError("\n".join(problems), "Change it, then evaluate again.")

    @classmethod
    def parse(cls, raw: dict[str, Any]) -> "Request":
        """From JSON; unknown names are left out."""
        known = {f.name: raw[f.name] for f in fields(cls) if f.name in raw}
        return cls(**known | {"runs": tuple(raw.get("runs", ()))})


@dataclass(frozen=True)
class Contestant:
    """A model to judge: the run it comes from (None: the base model) and its adapter's folder."""

    id: str
    title: str
    run: Run | None = None
    adapter: Path | None = None


@dataclass(frozen=True)
class Questions:
    """All that each model is asked in its one pass, part after part."""

    held: Held
    probe: probe.Probe
    fairness: fairness.Fairness

    @property
    def asked(self) -> list[Asked]:
        return [*(row.asked for row in self.held.rows), *self.probe.asked, *self.fairness.asked]


Progress = Generator[dict[str, Any], None, Any]


def evaluate(request: Request, folders: Folders) -> Iterator[dict[str, Any]]:
    """Yields {"phase": words, "share": 0..1 or None} and at last the evaluation as it was saved,
    under "evaluation". UserError for what a person can mend; nothing is saved then."""
    began = time.time()
    contestants = find_contestants(request.runs, folders)
    configs = [config for c in contestants if c.run for config in learned_by(c.run, folders)]
    loaded = yield from _load(contestants, configs[0], folders)
    yield {"phase": "Reading the rows", "share": None}
    questions = _questions(request, configs, loaded, folders)
    scores = yield from _score_all(loaded, contestants, questions.asked)
    stages = yield from _stages(loaded, contestants[-1], request, folders)
    texts = yield from _write_all(loaded, contestants, questions.held, request)
    grades = yield from _grade_all(request, contestants, questions.held, texts)
    public = yield from harness.public_tasks(
        loaded, [(c.id or BASE, c.title) for c in contestants],
        harness.task_names(request.public_tasks), request.rows, folders)
    yield {"phase": "Working out intervals", "share": None}
    evaluation: dict[str, Any] = {
        "format": saved.FORMAT, "id": time.strftime("%Y%m%d-%H%M%S"), "created": began,
        "seconds": round(time.time() - began, 1), "request": asdict(request),
        "base_model": configs[0].base_model, "dataset": request.dataset or configs[0].dataset,
        "models": [{"id": c.id, "title": c.title, "run": c.run.id if c.run else ""}
                   for c in contestants],
        "labels": questions.held.labels, "remarks": questions.held.remarks,
        "stages": stages, **_results(questions, scores, texts, grades, request)}
    evaluation["tables"] += [asdict(public)] if public else []
    saved.save(evaluation, list({c.run.id: c.run for c in contestants if c.run}.values()))
    yield {"evaluation": evaluation}


def find_contestants(wanted: tuple[str, ...], folders: Folders) -> list[Contestant]:
    """The base model, then each run or checkpoint that was named. UserError where one has no
    adapter or another base model."""
    found = [Contestant("", "Base model")]
    for name in dict.fromkeys(wanted):
        run_id, _, checkpoint = name.partition("@")
        run = find_run(folders.runs, run_id)
        folder = child(run.checkpoints, checkpoint) if checkpoint else run.adapter
        if checkpoint and run.config().init_lora != "default":
            raise UserError(f"A checkpoint of '{run_id}' can't be judged: {run.config().init_lora} "
                            "changed the base weights.", "Judge the finished run.")
        if folder is None or not (folder / "adapter_config.json").is_file():
            raise UserError(f"'{name}' has no adapter yet.",
                            "Wait until it has finished, or choose another.")
        step = checkpoint.replace("checkpoint-", ", step ")
        found.append(Contestant(name, name_of(run) + step, run, folder))
    bases = {(c.run.config().base_model, c.run.config().revision) for c in found if c.run}
    if len(bases) > 1:
        raise UserError("These runs have different base models: "
                        f"{', '.join(sorted(base for base, _ in bases))}.",
                        "Evaluate runs of one base model together.")
    if len({c.run.config().chat_template for c in found if c.run}) > 1:
        raise UserError("These runs have different chat templates, and each was tuned to answer "
                        "by its own.", "Evaluate or merge runs of one chat template together.")
    return found


def _load(contestants: list[Contestant], config: Config, folders: Folders) -> Progress:
    yield {"phase": f"Loading {config.base_model.removeprefix('starter:')}", "share": None}
    device = find_device()
    folder = hub.locate(config.base_model, folders, config.revision)
    model = load.load_base(folder, choose_formats(config, device), config, device).eval()
    loaded = Loaded(model, load.load_tokenizer(folder))
    for contestant in contestants:
        if contestant.adapter:
            loaded.add(contestant.adapter, contestant.id)
    return loaded


def _questions(request: Request, configs: list[Config], loaded: Loaded, folders: Folders
               ) -> Questions:
    config = configs[0]
    tokenizer = with_template(loaded.tokenizer, config.chat_template)
    held = held_rows(configs, request.rows, tokenizer, folders, dataset=request.dataset,
                     allow_learned=request.allow_learned, group_column=request.group_column)
    general = probe.load_probe(config, tokenizer, folders) if request.forgetting \
        else probe.Probe([], [])
    pairs = fairness.make_pairs(held.rows, held.labels, held.instruction, config, tokenizer,
                                folders) if request.fairness else fairness.Fairness([], [])
    return Questions(held, general, pairs)


def _score_all(loaded: Loaded, contestants: list[Contestant], asked: list[Asked]) -> Progress:
    """Scores of all questions by each model."""
    joins = can_join(loaded.model)
    scores: list[list[list[Score]]] = []
    for place, contestant in enumerate(contestants):
        found: list[list[Score]] = []
        with loaded.using(contestant.id or BASE) as model:
            for batch in score(model, asked, joins):
                found += batch
                yield {"phase": f"Asking {contestant.title}",
                       "share": (place + len(found) / len(asked)) / len(contestants)}
        scores.append(found)
    return scores


def _stages(loaded: Loaded, contestant: Contestant, request: Request, folders: Folders
            ) -> Progress:
    """The forgetting matrix where the last run went on from another's adapter; else None."""
    chain = chain_of(contestant.run, folders) if request.stages else []
    whole = all((stage.adapter / "adapter_config.json").is_file() for stage in chain)
    if len(chain) < 2 or not whole or "@" in contestant.id:
        return None
    return (yield from forgetting_matrix(chain, loaded, request.rows, folders))


def _write_all(loaded: Loaded, contestants: list[Contestant], held: Held, request: Request
               ) -> Progress:
    """What each model answers to the first rows; empty lists where nothing is to be written."""
    rows = [row for row in held.rows[:request.written] if row.prompt_ids is not None]
    if not rows or len(rows) < len(held.rows[:request.written]):
        return [[] for _ in contestants]
    texts: list[list[str]] = []
    for contestant in contestants:
        written: dict[int, str] = {}
        with loaded.using(contestant.id or BASE) as model:
            for batch in answers(model, loaded.tokenizer, [row.prompt_ids for row in rows],
                                 request.max_new_tokens):
                written |= batch
                done = len(texts) + len(written) / len(rows)
                yield {"phase": f"{contestant.title} writes answers",
                       "share": done / len(contestants)}
        texts.append([written[number] for number in range(len(rows))])
    return texts


def _grade_all(request: Request, contestants: list[Contestant], held: Held,
               texts: list[list[str]]) -> Progress:
    """The judge's grades of what was written; empty lists without a judge."""
    grades: list[list[float | None]] = [[] for _ in contestants]
    if not request.judge_address:
        return grades
    for place, written in enumerate(texts):
        asked = [(row.prompt, row.answer, text)
                 for row, text in zip(held.rows, written, strict=False)]
        for grade in judge.grades(request.judge_address, request.judge_model,
                                  request.judge_rubric, asked):
            grades[place].append(grade)
            yield {"phase": "The judge grades answers",
                   "share": (place + len(grades[place]) / len(asked)) / len(contestants)}
    return grades


def _results(questions: Questions, scores: list[list[list[Score]]], texts: list[list[str]],
             grades: list[list[float | None]], request: Request) -> dict[str, Any]:
    """Tables, pictures and rows as plain JSON."""
    rows, labels = questions.held.rows, questions.held.labels
    ends = np.cumsum([len(rows), len(questions.probe.asked), len(questions.fairness.asked)])
    own, general, paired = ([each[start:end] for each in scores]
                            for start, end in zip([0, *ends[:-1]], ends, strict=True))
    found, pictures, pairs = [], {}, []
    if labels and any(row.has_all(labels) for row in rows):
        table, pictures = tables.labels_table(rows, labels, own)
        found.append(table)
    if texts[0]:
        written = tables.written_table(rows, labels, texts, request.pattern)
        found.append(_with_grades(written, grades))
    found.append(tables.answers_table(rows, own))
    if questions.probe.asked:
        found.append(probe.forgetting(questions.probe, general))
    if questions.fairness.asked:
        found.append(fairness.unfairness(questions.fairness, paired))
        pairs = fairness.worst_pairs(questions.fairness, paired)
    return {"tables": [asdict(table) for table in found], **pictures, "pairs": pairs,
            "groups": tables.group_tables(rows, labels, own),
            "rows": [_told(place, row, labels, own, texts, grades)
                     for place, row in enumerate(rows)]}


def _with_grades(table: tables.Table, grades: list[list[float | None]]) -> tables.Table:
    if not grades[0]:
        return table
    known = [np.array([np.nan if g is None else g for g in each]) for each in grades]
    return replace(table, numbers=[*table.numbers, mean("grade", "Judge's grade, 1 to 5", known)])


def _told(place: int, row: Any, labels: list[str], own: list[list[list[Score]]],
          texts: list[list[str]], grades: list[list[float | None]]) -> dict[str, Any]:
    """One row with what each model made of it."""
    by = []
    for model, each in enumerate(own):
        candidates = each[place]
        answer = candidates[row.answer_at]
        told = {"log_probability": round(answer.log_probability, 4), "tokens": answer.tokens}
        if labels and row.has_all(labels):
            shares = probabilities(candidates)
            told |= {"label": labels[int(shares.argmax())],
                     "probability": float(shares[row.answer_at])}
        if place < len(texts[model]):
            text = texts[model][place]
            told |= {"text": text, "f1": likeness.token_f1(row.answer, text)}
        if place < len(grades[model]):
            told["grade"] = grades[model][place]
        by.append(told)
    return {"prompt": row.prompt, "answer": row.answer, "group": row.group, "by": by}
