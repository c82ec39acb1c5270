"""An evaluation to what its view draws: tables with intervals, verdicts in words, rows."""

import math
from collections.abc import Callable
from typing import Any

from core.errors import UserError
from core.evaluation import saved
from core.evaluation.data_size import rows_learned, size_curve
from core.evaluation.findings import COUNTED, p_value, percent
from core.evaluation.saved import known_runs
from ui import words
from ui.services import Services

MOST_ROWS = 1000  # sent to the page; the exports hold all
HEADLINES = ("accuracy", "said_accuracy", "exact", "token_f1", "loss")  # the first that is there


def reader(services: Services) -> Callable[[list[str]], dict[str, Any]]:
    """The server function of the view: [evaluation's id, what is shown] to how far the work is,
    and the evaluation where another is wanted than is shown."""
    def read_evaluation(asked: list[str]) -> dict[str, Any]:
        wanted, shown = asked
        answer: dict[str, Any] = {"progress": progress(services)}
        if wanted and wanted != shown:
            try:
                found = saved.find(wanted, services.folders)
                answer["evaluation"] = view(found) | {"size": _size(found, services)}
            except UserError as error:
                answer["gone"] = f"{error.problem} {error.remedy}"
        return answer

    return read_evaluation


def progress(services: Services) -> dict[str, Any]:
    """How far an evaluation is; idle where its process isn't there."""
    if not services.examiner.is_alive:
        return {"state": "idle"}
    try:
        return services.examiner.call("progress")
    except UserError:
        return {"state": "idle"}  # the process ended while it was asked: a run took its memory


def view(evaluation: dict[str, Any]) -> dict[str, Any]:
    models = [model["title"] for model in evaluation["models"]]
    return {
        "id": evaluation["id"], "models": models, "remarks": evaluation["remarks"],
        "title": f"{len(evaluation['rows'])} rows of {words.data_name(evaluation['dataset'])}",
        "subtitle": f"{words.model_name(evaluation['base_model'])} · "
                    f"{words.when(evaluation['created'])} · took "
                    f"{words.duration(evaluation['seconds'])}",
        "verdicts": verdicts(evaluation), "labels": evaluation["labels"],
        "tables": [{"title": table["title"], "help": table["help"],
                    "lines": [_line(number, COUNTED.get(number["key"],
                                                        COUNTED.get(table["key"], "rows")))
                              for number in table["numbers"]]}
                   for table in evaluation["tables"]],
        "stages": _stages(evaluation.get("stages")),
        "confusion": evaluation.get("confusion", []),
        "groups": [_group_line(each) for each in evaluation["groups"]],
        "rows": [_row(place, row) for place, row in enumerate(evaluation["rows"][:MOST_ROWS])],
        "pairs": [{**pair, "shifts": [f"{shift:.1%}" if evaluation["labels"] else f"{shift:.2f}"
                                      for shift in pair["shifts"]]}
                  for pair in evaluation["pairs"]]}


def verdicts(evaluation: dict[str, Any]) -> list[dict[str, str]]:
    """For each tuned model what can be said with certainty, as {"level", "about", "text"}."""
    by_key = {n["key"]: n for table in evaluation["tables"] for n in table["numbers"]}
    headline = next((by_key[key] for key in HEADLINES if key in by_key), None)
    told = []
    for place, model in enumerate(evaluation["models"][1:], start=1):
        chosen = [(headline, "")] if headline else []
        chosen += [(by_key[key], what) for key, what in
                   (("general_accuracy", "Forgetting"), ("general_perplexity", "Forgetting"),
                    ("shift", "Fairness")) if key in by_key]
        told += [sentence for n, what in chosen
                 if (sentence := _sentence(n, place, model["title"], what))]
    return told


def _sentence(number: dict[str, Any], place: int, title: str, what: str) -> dict[str, str] | None:
    compared = number["compared"][place]
    if compared["verdict"] == "no clear difference" and what:
        return None  # as it should be
    before, after = (_shown(number["values"][at]["value"], number["unit"]) for at in (0, place))
    level = {"better": "good", "worse": "warning"}.get(compared["verdict"], "info")
    how = {"better": "better than the base model", "worse": "worse than the base model"}.get(
        compared["verdict"], "not clearly different from the base model")
    text = (f"{title} is {how}. {number['label']}: {before} before, {after} after "
            f"({p_value(compared['p'])}).")
    return {"level": level, "about": what, "text": text}


def _line(number: dict[str, Any], counted: str) -> dict[str, Any]:
    cells = []
    for value, compared in zip(number["values"], number["compared"], strict=True):
        cells.append({
            "value": _shown(value["value"], number["unit"]),
            "range": f"{_shown(value['low'], number['unit'])} to "
                     f"{_shown(value['high'], number['unit'])}",
            "verdict": compared["verdict"] if compared else "",
            "p": p_value(compared["p"]) if compared else ""})
    return {"key": number["key"], "label": number["label"],
            "counted": f"{number['rows']} {counted}", "cells": cells,
            "better": {"higher": "↑", "lower": "↓"}.get(number["better"], "")}


def _shown(value: float, unit: str) -> str:
    if not math.isfinite(value):
        return "–"
    if unit == "%":
        return percent(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _size(evaluation: dict[str, Any], services: Services) -> str:
    """A sentence on whether more rows would help, where runs of several sizes are compared."""
    runs = known_runs(evaluation, services.folders)
    curve = size_curve(evaluation, rows_learned(runs))
    return curve["words"] if curve else ""


def _stages(matrix: dict[str, Any] | None) -> dict[str, Any] | None:
    """The forgetting matrix: a line a model, a column a stage's rows."""
    if not matrix:
        return None
    lines = []
    for place, name in enumerate(["Base model", *matrix["stages"]]):
        cells = [f"{loss:.3f}" + ("" if right is None else f" ({right:.0%} right)")
                 for loss, right in zip(matrix["loss"][place], matrix["accuracy"][place],
                                        strict=True)]
        lines.append({"name": name, "cells": cells})
    return {"columns": [f"Rows of stage {n + 1}" for n in range(len(matrix["stages"]))],
            "lines": lines, "forgotten": [f"{change:+.3f}" for change in matrix["forgotten"]]}


def _group_line(gaps: dict[str, Any]) -> dict[str, Any]:
    return {"parity": f"{gaps['demographic_parity']:.1%}", "odds": f"{gaps['equalised_odds']:.1%}",
            "groups": [{"name": name, "accuracy": f"{each['accuracy']:.1%}",
                        "rate": f"{each['rate']:.1%}"} for name, each in gaps["groups"].items()]}


def _row(place: int, row: dict[str, Any]) -> dict[str, Any]:
    """`gain` sorts rows from those where tuning helped most to those where it hurt most."""
    return {"number": place + 1, "prompt": row["prompt"], "answer": row["answer"],
            "group": row["group"], "by": [_by(row, by) for by in row["by"]],
            "gain": _quality(row, row["by"][-1]) - _quality(row, row["by"][0])}


def _by(row: dict[str, Any], by: dict[str, Any]) -> dict[str, Any]:
    right = by["label"] == row["answer"] if "label" in by else by.get("f1", 0.0) == 1.0
    loss = -by["log_probability"] / max(by["tokens"], 1)
    facts = [f"{by['probability']:.0%} on the right label"] if "probability" in by else []
    facts += [f"loss {loss:.2f}"]
    facts += [f"grade {by['grade']:g}"] if by.get("grade") else []
    return {"label": by.get("label", ""), "text": by.get("text"), "right": right,
            "judged": "label" in by or "f1" in by, "facts": " · ".join(facts)}


def _quality(row: dict[str, Any], by: dict[str, Any]) -> float:
    return by["probability"] if "probability" in by else \
        by["log_probability"] / max(by["tokens"], 1)
