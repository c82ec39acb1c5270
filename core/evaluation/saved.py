"""Evaluations as files in the folders of the runs that they judge; whole or absent."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from core.confine import child
from core.errors import UserError
from core.files import Folders, write_json
from core.training.run import Run, list_runs

FOLDER = "evaluation"
FORMAT = 1
NEEDED = {"id", "created", "models", "labels", "tables", "groups", "rows", "pairs"}


def save(evaluation: dict[str, Any], runs: list[Run]) -> None:
    """One file in each run's folder, named by the evaluation's id."""
    for run in runs:
        (run.folder / FOLDER).mkdir(exist_ok=True)
        write_json(run.folder / FOLDER / f"{evaluation['id']}.json", evaluation)


def of_run(run: Run) -> list[Path]:
    """A run's evaluations, the newest first."""
    return sorted((run.folder / FOLDER).glob("*.json"), reverse=True)


def newest(run: Run) -> dict[str, Any] | None:
    return next((found for path in of_run(run) if (found := read(path))), None)


def list_all(folders: Folders) -> dict[str, Path]:
    """All evaluations by id, the newest first."""
    found = {path.stem: path for run in list_runs(folders.runs) for path in of_run(run)}
    return dict(sorted(found.items(), reverse=True))


def read(path: Path) -> dict[str, Any] | None:
    """None where the file is damaged, another version's, or no evaluation: a run that was brought
    from elsewhere may hold anything."""
    try:
        evaluation = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    is_ours = isinstance(evaluation, dict) and evaluation.get("format") == FORMAT
    return evaluation if is_ours and evaluation.keys() >= NEEDED else None


def find(evaluation_id: str, folders: Folders) -> dict[str, Any]:
    path = list_all(folders).get(evaluation_id)
    evaluation = read(path) if path else None
    if evaluation is None:
        raise UserError(f"There is no evaluation '{evaluation_id}' any more.", "Evaluate again.")
    return evaluation


def known_runs(evaluation: dict[str, Any], folders: Folders) -> list[Run]:
    """The runs that it judges, each once, without those that were deleted since."""
    ids = dict.fromkeys(model["run"] for model in evaluation["models"] if model["run"])
    return [Run(folder) for run_id in ids if (folder := child(folders.runs, run_id))
            and (folder / "config.yaml").is_file()]


def to_csv(evaluation: dict[str, Any]) -> str:
    """One line a row: what was asked, the data's answer, and each model's."""
    file = io.StringIO()
    columns = ("label", "probability", "log_probability", "tokens", "text", "grade")
    titles = [model["title"] for model in evaluation["models"]]
    writer = csv.writer(file)
    writer.writerow(["row", "prompt", "answer", "group",
                     *(f"{title}: {column}" for title in titles for column in columns)])
    for place, row in enumerate(evaluation["rows"], start=1):
        writer.writerow([place, row["prompt"], row["answer"], row["group"],
                         *(by.get(column, "") for by in row["by"] for column in columns)])
    return file.getvalue()
