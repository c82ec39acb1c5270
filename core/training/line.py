"""The order of the runs that wait, and which are held: one small file beside them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import filelock

from core.config import Config
from core.errors import UserError
from core.files import write_json, write_whole
from core.training.run import Run, find_run, list_runs

MOST_OF_A_GRID = 64


@dataclass(frozen=True)
class Line:
    """`order` names runs from the first to the last; those that it doesn't name come behind, the
    oldest first. Names of runs that wait no more do no harm."""

    order: tuple[str, ...] = ()
    held: tuple[str, ...] = ()

    def sorted(self, waiting: list[Run]) -> list[Run]:
        place = {run_id: number for number, run_id in enumerate(self.order)}
        return sorted(waiting, key=lambda run: (
            place.get(run.id, len(place)), run.status().created, run.id))


def read(runs: Path) -> Line:
    try:
        raw = json.loads((runs / ".line.json").read_text(encoding="utf-8"))
        return Line(tuple(map(str, raw["order"])), tuple(map(str, raw["held"])))
    except (OSError, ValueError, KeyError, TypeError):
        return Line()


def waiting(runs: Path) -> list[Run]:
    """The runs that wait, in their order, the held ones too."""
    return read(runs).sorted([run for run in list_runs(runs) if run.status().state == "queued"])


@contextmanager
def locked(runs: Path) -> Iterator[None]:
    """Nobody else changes the line, or starts one of its runs, meanwhile."""
    with filelock.FileLock(runs / ".line.lock"):
        yield


def join(runs: Path, run_id: str, at_the_head: bool = False) -> None:
    """Give a run a place behind all that wait, or before them. The order doesn't hang on the
    clock, which may be set back between two runs. Only runs that the order names are read: of
    thousands all others have ended."""
    with locked(runs):
        now = read(runs)
        ids = [each for each in now.order if each != run_id
               and Run(runs / each).status().state == "queued"]
        _write(runs, replace(now, order=(run_id, *ids) if at_the_head else (*ids, run_id)))


def move(runs: Path, run_id: str, by: int) -> None:
    """Move a waiting run up (negative) or down."""
    with locked(runs):
        ids = [run.id for run in waiting(runs)]
        _must_wait(run_id, ids)
        at = ids.index(run_id)
        ids.insert(max(0, at + by), ids.pop(at))
        _write(runs, replace(read(runs), order=tuple(ids)))


def hold(runs: Path, run_id: str, is_held: bool) -> None:
    """Let a waiting run stay where it is in the line until it is released."""
    with locked(runs):
        _must_wait(run_id, [run.id for run in waiting(runs)])
        now = read(runs)
        others = tuple(each for each in now.held if each != run_id)
        _write(runs, replace(now, held=(*others, run_id) if is_held else others))


def edit(runs: Path, run_id: str, config: Config) -> None:
    """Give a waiting run other settings."""
    with locked(runs):
        _must_wait(run_id, [run.id for run in waiting(runs)])
        write_whole(find_run(runs, run_id).folder / "config.yaml", config.to_yaml())


def grid(config: Config, values: dict[str, str]) -> list[Config]:
    """Every combination of the values (text with commas) that settings are given; a setting
    without values keeps the one it has."""
    made = [config.to_dict()]
    for name, text in values.items():
        parts = [part.strip() for part in text.replace(";", ",").split(",") if part.strip()]
        if parts:
            made = [settings | {name: part} for settings in made for part in parts]
    if not 1 < len(made) <= MOST_OF_A_GRID:
        raise UserError(f"These values make {len(made)} run{'s' if len(made) != 1 else ''}.",
                        f"Give values with commas between them for 2 to {MOST_OF_A_GRID} runs.")
    return [Config.parse(settings) for settings in made]


def _must_wait(run_id: str, ids: list[str]) -> None:
    if run_id not in ids:
        raise UserError(f"The run '{run_id}' doesn't wait any more.",
                        "Only a run that waits can be moved, held or changed.")


def _write(runs: Path, line: Line) -> None:
    write_json(runs / ".line.json", {"order": line.order, "held": line.held})
