"""What an evaluation found, as blocks of a report."""

import math
from collections.abc import Iterator
from typing import Any

from core.evaluation.blocks import Block, Cell, Heading, Paragraph, Table, table

# What a number or a table counts, where it isn't rows.
COUNTED = {"fairness": "pairs", "general_perplexity": "texts", "general_accuracy": "questions"}
SAMPLES = 6  # rows shown, half of them where tuning helped most, half where it hurt most
INTERVALS = "Intervals are 95 % bootstrap intervals over rows; p compares with the base model."
LIMITS = ("These numbers hold for rows like those that were judged; elsewhere the model wasn't "
          "measured. An interval covers the chance in which rows were drawn, not a change of the "
          "data. The licences of the base model and of the data apply to what is made from them.")


def findings(evaluation: dict[str, Any]) -> Iterator[Block]:
    """Tables with intervals, what stages forgot, gaps between groups of rows."""
    titles = [model["title"] for model in evaluation["models"]]
    yield from (Paragraph(remark) for remark in evaluation["remarks"])
    for found in evaluation["tables"]:
        yield Heading(found["title"])
        yield Paragraph(found["help"])
        yield Table(["", *titles], [_number_line(n, found["key"]) for n in found["numbers"]])
    yield Paragraph(INTERVALS)
    if evaluation.get("stages"):
        yield from _stages(evaluation["stages"])
    if evaluation.get("groups"):
        yield from _groups(evaluation["groups"], titles)


def _number_line(number: dict[str, Any], table_key: str) -> list[Cell]:
    counted = COUNTED.get(number["key"], COUNTED.get(table_key, "rows"))
    cells = [Cell(number["label"], f"{number['rows']} {counted}")]
    for value, compared in zip(number["values"], number["compared"], strict=True):
        shown, low, high = (_shown(value[at], number["unit"]) for at in ("value", "low", "high"))
        verdict = compared["verdict"] if compared else ""
        told = f"{low} to {high}" + (f", {verdict}, {p_value(compared['p'])}" if compared else "")
        cells.append(Cell(shown, told, verdict if verdict in ("better", "worse") else ""))
    return cells


def _shown(value: float, unit: str) -> str:
    if not math.isfinite(value):
        return "not known"
    return percent(value) if unit == "%" else f"{value:.4g}"


def percent(share: float) -> str:
    """A share with one decimal; more where one would hide that it isn't nothing."""
    if share == 0 or abs(share) >= 1e-3:
        return f"{100 * share:.1f} %"
    return f"{100 * share:.1g} %" if abs(share) >= 1e-5 else "< 0.001 %"


def p_value(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _stages(matrix: dict[str, Any]) -> Iterator[Block]:
    """The forgetting matrix: a line a model, a column a stage's rows."""
    yield Heading("What each stage still knows")
    yield Paragraph("Loss of each stage's model on the held-out rows of every stage. The last line "
                    "says how much a stage's loss rose from the model that had just learned it to "
                    "the last one; near 0 is good.")
    lines = [[name, *(f"{loss:.3f}" + ("" if right is None else f" ({right:.0%} right)")
                      for loss, right in zip(losses, rights, strict=True))]
             for name, losses, rights in zip(["Base model", *matrix["stages"]], matrix["loss"],
                                             matrix["accuracy"], strict=True)]
    lines.append(["Forgotten since", *(f"{change:+.3f}" for change in matrix["forgotten"])])
    yield table(["After", *(f"Rows of stage {n + 1}" for n in range(len(matrix["stages"])))],
                lines)


def _groups(gaps: list[dict[str, Any]], titles: list[str]) -> Iterator[Block]:
    """One column a model; for each group of rows how many are right, and how often the first label
    is given."""
    yield Heading("Groups of rows")
    yield Paragraph("Demographic parity: the largest gap between groups in how often the first "
                    "label is given. Equalised odds: the same among rows with the same right "
                    "label. 0 % is even.")
    lines = [["Demographic parity", *(f"{each['demographic_parity']:.1%}" for each in gaps)],
             ["Equalised odds", *(f"{each['equalised_odds']:.1%}" for each in gaps)]]
    for name in gaps[0]["groups"]:
        each = [gap["groups"][name] for gap in gaps]
        lines += [[f"{name}: right", *(f"{group['accuracy']:.1%}" for group in each)],
                  [f"{name}: first label", *(f"{group['rate']:.1%}" for group in each)]]
    yield table(["", *titles], lines)


def samples(evaluation: dict[str, Any]) -> Iterator[Block]:
    """Rows with every model's answer, from those where the last one gained most on the base model
    to those where it lost most."""
    def gain(row: dict[str, Any]) -> float:
        first, last = (by.get("probability", by["log_probability"]) for by in
                       (row["by"][0], row["by"][-1]))
        return last - first

    ordered = sorted(evaluation["rows"], key=gain, reverse=True)
    half = SAMPLES // 2
    shown = ordered if len(ordered) <= SAMPLES else [*ordered[:half], *ordered[-half:]]
    titles = [model["title"] for model in evaluation["models"]]
    yield Heading("Samples")
    yield table(["Asked", "In the data", *titles], [
        [row["prompt"], row["answer"],
         *map(_said, row["by"])] for row in shown], own=True)


def _said(by: dict[str, Any]) -> str:
    """What a model answered, or how surprised it was by the data's answer."""
    if "text" in by:
        return by["text"]
    return by.get("label") or f"loss {-by['log_probability'] / max(by['tokens'], 1):.2f}"
