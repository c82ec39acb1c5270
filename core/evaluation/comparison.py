"""Several runs on one page: where they differ, their curves, their numbers, what each cost."""

from collections.abc import Iterator
from typing import Any

from core.evaluation.blocks import (
    Block,
    Drawing,
    Heading,
    Paragraph,
    table,
    to_html,
    to_markdown,
)
from core.evaluation.curves import curves_svg
from core.evaluation.data_size import rows_learned, size_curve
from core.evaluation.findings import LIMITS, findings, samples
from core.evaluation.report import cost
from core.training.archive import differences
from core.training.names import name_of
from core.training.overfitting import overfitting
from core.training.run import Run


def html_page(runs: list[Run], evaluation: dict[str, Any]) -> str:
    """A self-contained page, made to be printed."""
    return to_html(_title(runs), [
        *_differences(runs), Heading("Curves"),
        Drawing(curves_svg([(name_of(run), run.metrics()) for run in runs])), *_warnings(runs),
        *findings(evaluation), *_size(runs, evaluation), *samples(evaluation), *_end(runs)])


def markdown(runs: list[Run], evaluation: dict[str, Any]) -> str:
    """The same without curves and rows."""
    return to_markdown(_title(runs), [
        *_differences(runs), *_warnings(runs), *findings(evaluation), *_size(runs, evaluation),
        *_end(runs)])


def _title(runs: list[Run]) -> str:
    return f"Comparison of {len(runs)} runs"


def _differences(runs: list[Run]) -> Iterator[Block]:
    config = runs[0].config()
    yield Paragraph(f"LoRA adapters for {config.base_model.removeprefix('starter:')}, trained with "
                    "TuneDesk. What isn't listed is the same for all.")
    yield Heading("Where they differ")
    yield table(["", *map(name_of, runs)], [
        ["run", *(run.id for run in runs)],
        *([line["name"], *line["values"]] for line in differences(runs))], own=True)


def _warnings(runs: list[Run]) -> Iterator[Block]:
    for run in runs:
        if warning := overfitting(run.metrics()):
            yield Paragraph(f"{name_of(run)}: {warning}")


def _size(runs: list[Run], evaluation: dict[str, Any]) -> Iterator[Block]:
    if curve := size_curve(evaluation, rows_learned(runs)):
        yield Heading("Would more rows help?")
        yield table(["Rows learned", "Loss"], [[f"{rows:,}", f"{loss:.4f}"]
                                               for rows, loss in curve["points"]])
        yield Paragraph(curve["words"])


def _end(runs: list[Run]) -> Iterator[Block]:
    costs = [dict(cost(run)) for run in runs]
    yield Heading("Cost")
    yield table(["", *map(name_of, runs)],
                [[name, *(each.get(name, "") for each in costs)]
                 for name in dict.fromkeys(name for each in costs for name in each)])
    yield Heading("Limits")
    yield Paragraph(LIMITS)
