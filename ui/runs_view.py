"""What the Runs tab's view asks the server for; nothing here changes anything."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

from core.errors import UserError
from core.training import archive, trash
from core.training.metrics import CURVES
from core.training.run import Run, find_run
from ui.services import Services

CURVE_POINTS = 400
MOST_COMPARED = 8


def readers(services: Services) -> list[Callable]:
    """The server functions of the view. Gradio hands each its arguments as one list."""
    runs = services.folders.runs

    def list_runs(asked: list[str]) -> dict[str, Any]:
        found = services.archive.look()
        found["trash"] = [archive.summarize(run, services.reader)
                          for run in trash.list_trash(services.folders)]
        revision = hashlib.sha256(json.dumps(found).encode()).hexdigest()
        same = revision == asked[0]
        return {"revision": revision} if same else found | {"revision": revision}

    def read_curves(asked: list[Any]) -> dict[str, Any]:
        found = {}
        for run in _known(asked[0]):
            with services.reader.read(run.folder) as measured:
                found[run.id] = {name: measured.curves[name].thinned(CURVE_POINTS)
                                 for name in CURVES}
        return found

    def read_differences(asked: list[Any]) -> list[dict[str, Any]]:
        return archive.differences(_known(asked[0]))

    def _known(run_ids: list[str]) -> list[Run]:
        found = []
        for run_id in run_ids[:MOST_COMPARED]:
            try:
                found.append(find_run(runs, run_id))
            except UserError:
                continue  # deleted since the page listed it
        return found

    return [list_runs, read_curves, read_differences]
