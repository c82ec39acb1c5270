"""What the Runs tab's view asks the server for; nothing here changes anything."""

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

import orjson

from core.errors import UserError
from core.training import archive
from core.training.finding import Query, find
from core.training.metrics import CURVES
from core.training.run import ACTIVE, Run, find_run
from ui.services import Services

CURVE_POINTS = 400
MOST_COMPARED = 8
MOST_SHOWN = 100  # rows where the page doesn't say how many; and of those that wait in line


def readers(services: Services) -> list[Callable]:
    """The server functions of the view. Gradio hands each its arguments as one list."""
    runs = services.folders.runs

    def list_runs(asked: list[Any]) -> dict[str, Any]:
        """[revision that is shown, what is looked for] to {"revision"} and, when something changed,
        "list": its JSON. Of ten thousand runs only the rows that the page has room for are sent."""
        revision, wanted = asked
        # As one text, so that Gradio doesn't walk through hundreds of summaries.
        text = orjson.dumps(_list(services, wanted))
        current = hashlib.sha256(text).hexdigest()
        shown = {} if current == revision else {"list": text.decode()}
        return {"revision": current} | shown

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


def _list(services: Services, wanted: dict[str, Any]) -> dict[str, Any]:
    """`wanted` holds the fields of finding.Query and {"trash", "count": rows that are shown,
    "chosen": ids}; the answer's "asked" is it, so that another question has another answer."""
    looked = services.archive.look()
    listed = services.trashed.look() if wanted.get("trash") else looked
    by_id = {summary["id"]: summary for summary in listed["runs"]}
    found = find(listed["runs"], Query.parse(wanted))
    in_line = [s for s in looked["runs"] if s["state"] in ACTIVE]
    waiting = {s["id"]: s for s in looked["runs"] if s["state"] == "queued"}
    in_line += [waiting[run_id] for run_id in looked["waiting"][:MOST_SHOWN]]
    return {
        "asked": wanted, "found": len(found), "total": len(by_id), "unread": listed["unread"],
        "none": not looked["runs"] and not services.trashed.look()["runs"],
        "runs": _seen(found[:int(wanted.get("count") or MOST_SHOWN)]),
        "chosen": _seen(by_id[run_id] for run_id in wanted.get("chosen", []) if run_id in by_id),
        "line": _seen(in_line), "waiting": len(waiting), "held": looked["held"],
        "bytes": sum(summary["size_bytes"] for summary in found),
        "tags": sorted({tag for summary in looked["runs"] for tag in summary["tags"]})}


def _seen(summaries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in summary.items() if name != "stamp"}
            for summary in summaries]
