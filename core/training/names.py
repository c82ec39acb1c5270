"""What a person calls a run: what it learned from, and when it was started."""

import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from core.errors import UserError
from core.training.run import Run

MINUTE, SECOND = len("20261125-1504"), len("20261125-150410")
STAMP = re.compile(r"\d{4}(\d\d)(\d\d)-(\d\d)(\d\d)(\d\d)-(.+)")  # as run.create makes an id


def begun_together(run_ids: Iterable[str]) -> Counter[str]:
    """How many runs were started in each minute and in each second, by the beginnings of ids."""
    return Counter(run_id[:length] for run_id in run_ids for length in (MINUTE, SECOND))


def run_name(run_id: str, dataset: str, together: Counter[str]) -> str:
    """The data set's name and the time, to the second where a minute has several runs; where even
    a second has, the words of the id. An id that says no time is the name itself."""
    if not (found := STAMP.fullmatch(run_id)) or not dataset:
        return run_id
    month, day, hour, minute, second, slug = found.groups()
    what = slug if together[run_id[:SECOND]] > 1 else Path(dataset.removeprefix("sample:")).stem
    seconds = f":{second}" if together[run_id[:MINUTE]] > 1 else ""
    return f"{what} · {month}-{day} {hour}:{minute}{seconds}"


def name_of(run: Run) -> str:
    """The name of one run, read from its folder and the folders beside it."""
    try:
        dataset = run.config().dataset
    except UserError:
        return run.id
    beside = (name for name in os.listdir(run.folder.parent) if name.startswith(run.id[:MINUTE]))
    return run_name(run.id, dataset, begun_together(beside))
