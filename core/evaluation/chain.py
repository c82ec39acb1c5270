"""Tuning in stages: what each stage of a chain of runs still knows of the stages before it."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

from core.chat.loaded import BASE, Loaded
from core.config import Config
from core.data.tokens.plain import with_template
from core.evaluation.rows import Held, held_rows
from core.evaluation.score import Score, can_join, score
from core.files import Folders
from core.training.run import Run, find_run


def chain_of(run: Run, folders: Folders) -> list[Run]:
    """The runs of which each went on from the last one's adapter, the first stage first."""
    stages = [run]
    while (before := stages[0].config().adapter) and not Path(before).is_absolute():
        if not (folders.runs / Path(before).name / "config.yaml").is_file():
            break  # deleted since; the chain begins where it is known
        stages.insert(0, find_run(folders.runs, before))
    return stages


def learned_by(run: Run, folders: Folders) -> list[Config]:
    """The settings of all runs whose rows this one's adapter has learned: its own, those of the
    stages before it, those of adapters that were merged into it."""
    found: list[Config] = []
    for stage in reversed(chain_of(run, folders)):
        found.append(stage.config())
        for name in stage.facts("merge").get("runs", []):
            part = folders.runs / Path(name.partition("@")[0]).name
            if (part / "config.yaml").is_file():
                found += learned_by(Run(part), folders)
    return found


def forgetting_matrix(stages: list[Run], loaded: Loaded, rows: int, folders: Folders
                      ) -> Generator[dict[str, Any], None, dict[str, Any]]:
    """Yields progress; returns {"stages": run ids, "loss": [[...]], "accuracy": [[...]]}, where
    line 0 is the base model, line i + 1 the model after stage i, and a column the held-out rows of
    a stage, which that stage didn't learn. Accuracy is None for stages of free text. `forgotten`
    is for each stage how much its loss rose from the model that had just learned it to the last
    one."""
    for stage in stages:
        loaded.add(stage.adapter, stage.id)
    configs = [stage.config() for stage in stages]
    held = [held_rows([own, *(c for c in configs if c is not own)], rows,
                      with_template(loaded.tokenizer, own.chat_template), folders)
            for own in configs]
    joins = can_join(loaded.model)
    losses: list[list[float]] = []
    right: list[list[float | None]] = []
    for name in (BASE, *(stage.id for stage in stages)):
        losses.append([])
        right.append([])
        for place, part in enumerate(held):
            yield {"phase": f"{name or 'Base model'} on the rows of stage {place + 1}",
                   "share": ((len(losses) - 1) * len(held) + place) / len(held)
                   / (len(stages) + 1)}
            with loaded.using(name) as judged:
                found = [s for batch in score(judged, [row.asked for row in part.rows], joins)
                         for s in batch]
            own = [s[row.answer_at] for row, s in zip(part.rows, found, strict=True)]
            losses[-1].append(-sum(s.log_probability for s in own)
                              / max(1, sum(s.tokens for s in own)))
            right[-1].append(_accuracy(part, found))
    return {"stages": [stage.id for stage in stages], "loss": losses, "accuracy": right,
            "forgotten": [losses[-1][at] - losses[at + 1][at] for at in range(len(stages))]}


def _accuracy(held: Held, found: list[list[Score]]) -> float | None:
    if not held.labels:
        return None
    hits = [max(range(len(s)), key=lambda at: s[at].log_probability) == row.answer_at
            for row, s in zip(held.rows, found, strict=True) if row.has_all(held.labels)]
    return sum(hits) / len(hits) if hits else None
