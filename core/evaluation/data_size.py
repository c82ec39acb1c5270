"""Whether more rows would help: the same run on an eighth, a quarter, a half and all of them."""

from dataclasses import replace
from typing import Any

from core.config import Config
from core.errors import UserError
from core.training.run import Run

PARTS = (8, 4, 2, 1)
FEWEST = 8  # rows in the smallest part; fewer teach nothing
STEEP = 0.02  # of the last doubling, as a share of the base model's number: worth another doubling


def part_configs(config: Config, rows: int) -> list[Config]:
    """Settings of runs on growing parts of `rows` training rows, all judged on the same held-out
    ones. UserError where there are too few."""
    if rows // PARTS[0] < FEWEST:
        raise UserError(f"{rows} training rows are too few for a curve.",
                        f"It takes at least {FEWEST * PARTS[0]}.")
    return [replace(config, train_rows=rows // part) for part in PARTS]


def rows_learned(runs: list[Run]) -> dict[str, int]:
    """How many rows each run learned, by its id; 0 where that isn't known."""
    return {run.id: run.facts("data").get("train", {}).get("used_rows", 0) for run in runs}


def size_curve(evaluation: dict[str, Any], rows_of: dict[str, int]) -> dict[str, Any] | None:
    """{"points": [(rows, loss)], "words"} where an evaluation holds three runs or more that learned
    different numbers of rows; `rows_of` says how many each run learned."""
    loss = next(n for table in evaluation["tables"] for n in table["numbers"]
                if n["key"] == "loss")
    points = sorted({rows_of[model["id"]]: value["value"] for model, value in
                     zip(evaluation["models"], loss["values"], strict=True)
                     if rows_of.get(model["id"])}.items())
    if len(points) < 3:
        return None
    (fewer, before), (most, after) = points[-2:]
    gained = (before - after) / max(loss["values"][0]["value"], 1e-9)
    words = (f"From {fewer:,} to {most:,} rows the loss still fell from {before:.3f} to "
             f"{after:.3f}: more rows would probably help further." if gained > STEEP else
             f"From {fewer:,} to {most:,} rows the loss went from {before:.3f} to {after:.3f}: "
             "more rows of this kind would help little.")
    return {"points": points, "words": words}
