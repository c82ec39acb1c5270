"""All runs at a glance: a summary of each, read again only when its files have changed."""

import contextlib
import os
import threading
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import orjson

from core.config import Config
from core.errors import UserError
from core.files import size_bytes, write_json
from core.training import line
from core.training.metrics import Reader
from core.training.names import begun_together, run_name
from core.training.run import ACTIVE, FINAL, Run

SPARK_POINTS = 24
KEPT = ".summaries.json"
VERSION = 3
YOUNG_NANOSECONDS = 10**9
PATIENCE_SECONDS = 0.3  # for one look; what isn't read by then is read at the next
SAVE_SECONDS = 5.0
LONG_BYTES = 1 << 20  # of measurements
FILES = ("status.json", "metrics.jsonl", "config.yaml", "about.json")
MEASURED_BYTES = 2 * FILES.index("metrics.jsonl") + 1  # where a stamp has their size


class Archive:
    """Summaries of the runs in a folder. They are kept in a file of it, which may be deleted at any
    time."""

    def __init__(self, runs: Path, reader: Reader):
        self._runs, self._reader = runs, reader
        self._known: dict[str, dict[str, Any]] | None = None
        self._lock = threading.Lock()
        self._saved_at = 0.0

    def look(self) -> dict[str, Any]:
        """{"runs": [summary, the newest first], "unread": how many are not read yet, "waiting": ids
        in their order, "held": ids}."""
        with self._lock:
            return self._look()

    def _look(self) -> dict[str, Any]:
        known = self._load() if self._known is None else self._known
        found, stale, changed = {}, [], False
        for name, folder_time in _list(self._runs):
            summary = known.get(name)
            if summary and _is_at_rest(summary, folder_time):
                found[name] = summary
                continue
            run = Run(self._runs / name)
            if summary is None and not (run.folder / "config.yaml").is_file():
                continue
            found[run.id] = summary  # keeps its place
            stamp = [*_stamp(run), folder_time]
            if summary is None or summary["stamp"][:-1] != stamp[:-1] or summary["state"] in ACTIVE:
                stale.append((run, stamp))
            else:
                found[run.id] = {**summary, "stamp": stamp}
        # Those that take long come last, so that the first look shows something soon.
        stale.sort(key=lambda each: each[1][MEASURED_BYTES] > LONG_BYTES)
        deadline, unread = time.monotonic() + PATIENCE_SECONDS, 0
        for run, stamp in stale:
            if changed and time.monotonic() > deadline:
                unread += 1
            else:
                found[run.id] = {**summarize(run, self._reader), "stamp": stamp}
                changed = True
        found = {run_id: summary for run_id, summary in found.items() if summary is not None}
        if changed or found.keys() != known.keys():
            together = begun_together(found)
            for run_id, summary in found.items():
                summary["name"] = run_name(run_id, summary["data"], together)
        self._known = found
        if changed:
            self._save(found, unread)
        now = line.read(self._runs)
        waiting = [Run(self._runs / s["id"]) for s in found.values()
                   if s["state"] == "queued"]
        return {"runs": list(found.values()), "unread": unread,
                "waiting": [run.id for run in now.sorted(waiting)] if waiting else [],
                "held": list(now.held)}

    def _load(self) -> dict[str, dict[str, Any]]:
        try:
            raw = orjson.loads((self._runs / KEPT).read_bytes())
            return dict(raw["runs"]) if raw["version"] == VERSION else {}
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def _save(self, found: dict[str, dict[str, Any]], unread: int) -> None:
        if not unread and time.monotonic() - self._saved_at > SAVE_SECONDS:
            self._saved_at = time.monotonic()
            try:
                write_json(self._runs / KEPT, {"version": VERSION, "runs": found},
                           durable=False)
            except OSError:
                return  # a full disk: they are read again by the next server


def _list(runs: Path) -> list[tuple[str, int]]:
    """Names of folders with the times at which something in them was last made or replaced, the
    newest first. Of ten thousand not even a path is made."""
    found: list[tuple[str, int]] = []
    if not runs.is_dir():
        return found  # nothing was thrown away yet
    with os.scandir(runs) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):  # gone since it was listed
                if entry.is_dir():
                    found.append((entry.name, entry.stat().st_mtime_ns))
    return sorted(found, reverse=True)


def _is_at_rest(summary: dict[str, Any], folder_time: int) -> bool:
    """A run that has ended changes by whole files only, which its folder's time tells at once; of
    ten thousand runs nothing else is looked at then. A time as young as the clock's grain isn't
    trusted."""
    return (summary["state"] in FINAL and summary["stamp"][-1] == folder_time
            and time.time_ns() - folder_time > YOUNG_NANOSECONDS)


def _stamp(run: Run) -> list[int]:
    stamp = []
    for name in FILES:
        try:
            about = (run.folder / name).stat()
            stamp += [about.st_mtime_ns, about.st_size]
        except OSError:
            stamp += [0, 0]
    return stamp


def summarize(run: Run, reader: Reader) -> dict[str, Any]:
    """What the list of runs shows of one."""
    status = run.status()
    try:
        config = run.config()
    except UserError:
        config = None
    with reader.read(run.folder) as measured:
        effect = measured.effect(config.kept_by if config else "")
        spark = measured.curves["loss"].thinned(SPARK_POINTS)
    last = next((value for _, value in reversed(spark) if value is not None), None)
    about = run.facts("about")
    until = status.ended if status.state in FINAL else time.time()
    return {
        "id": run.id, "state": status.state, "words": status.words, "step": status.step,
        "total_steps": status.total_steps, "created": status.started or status.created,
        "seconds": max(0.0, until - status.started) if status.started else 0.0,
        "model": config.base_model if config else "", "data": config.dataset if config else "",
        "lora_r": config.lora_r if config else 0,
        "learning_rate": config.learning_rate if config else 0.0,
        "loss": last,
        "before": effect[0] if effect else None, "after": effect[1] if effect else None,
        # A picture 84 points wide needs no more; of ten thousand runs it is most of what is kept.
        "spark": [value and float(f"{value:.4g}") for _, value in spark],
        "tags": [str(tag) for tag in _list_of(about, "tags")], "note": str(about.get("note", "")),
        "has_adapter": (run.adapter / "adapter_config.json").is_file(),
        "has_notices": bool(run.facts("verdict").get("notices")),
        "size_bytes": size_bytes(run.folder)}


def _list_of(facts: dict[str, Any], name: str) -> list[Any]:
    found = facts.get(name)
    return found if isinstance(found, list) else []


def describe(run: Run, tags: list[str] | None = None, note: str | None = None) -> None:
    """Give a run tags and a note of the person's own."""
    about = run.facts("about")
    if tags is not None:
        about["tags"] = sorted({tag.strip() for tag in tags if tag.strip()})
    if note is not None:
        about["note"] = note.strip()
    run.write_facts("about", about)


def differences(runs: list[Run]) -> list[dict[str, Any]]:
    """Settings, data and machine of several runs, where they differ, and their results:
    [{"group", "name", "values": one text a run}]."""
    rows: list[dict[str, Any]] = []
    for group, tables in (("settings", [_settings(run) for run in runs]),
                          ("data", [_flat(run.facts("data")) for run in runs]),
                          ("machine", [_flat(run.facts("environment")) for run in runs])):
        for name in dict.fromkeys(name for table in tables for name in table):
            values = [table.get(name, "") for table in tables]
            if len(set(values)) > 1:
                rows.append({"group": group, "name": name, "values": values})
    results = [_results(run) for run in runs]
    return [{"group": "results", "name": name, "values": [table[name] for table in results]}
            for name in results[0]] + rows if results else rows


def _settings(run: Run) -> dict[str, str]:
    settings = run.config().to_dict()
    settings.pop("webhook_url")  # it may hold a token
    labels = {f.name: f.metadata["label"] for f in fields(Config)}
    return {labels[name]: _text(value) for name, value in settings.items()}


def _flat(facts: dict[str, Any], before: str = "") -> dict[str, str]:
    """Nested facts by names with dots."""
    flat: dict[str, str] = {}
    for name, value in facts.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{before}{name}.")
        elif not isinstance(value, list):
            flat[before + name] = _text(value)
    return flat


def _results(run: Run) -> dict[str, str]:
    status, effect = run.status(), run.effect()
    seconds = max(0.0, (status.ended or time.time()) - status.started) if status.started else 0
    return {"state": status.state, "steps": f"{status.step} of {status.total_steps}",
            "held-out loss before": f"{effect[0]:.4f}" if effect else "",
            "held-out loss after": f"{effect[1]:.4f}" if effect else "",
            "minutes": f"{seconds / 60:.1f}",
            "size": f"{size_bytes(run.folder) / 2**20:,.0f} MiB"}


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
