"""A run is a folder: its settings, state, measurements, log, checkpoints and adapter."""

import json
import math
import re
import shutil
import time
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from core.config import Config, read_settings
from core.confine import child
from core.errors import UserError
from core.files import append_json_line, read_json_lines, write_json, write_whole
from core.settings.progress import BEST_BY
from core.training.alive import is_alive, why_gone
from core.training.checkpoint import list_checkpoints
from core.training.metrics import effect

ACTIVE = ("starting", "running", "stopping")
EXIT_DISK_FULL = 28  # a worker's exit code when it couldn't even write its last words
FINAL = ("finished", "stopped", "failed", "interrupted")


@dataclass(frozen=True)
class Status:
    """Where a run stands. Times are seconds since 1970. `pid` with `pid_started` (alive.start_time)
    and `boot` (alive.boot_id) names the worker's process beyond doubt, since pids are used again;
    `memory_kills` is alive.memory_kills when it began. `devices` are the GPUs it may use, as
    CUDA_VISIBLE_DEVICES names them. `tries` counts how often it went on by itself from the
    checkpoint of step `tried_from`. `settled`: what was to be done about an interruption is."""

    state: str = "queued"
    words: str = "Waits for its turn."
    remedy: str = ""
    detail: str = ""
    phase: str = ""
    step: int = 0
    total_steps: int = 0
    epoch: float = 0.0
    pid: int = 0
    pid_started: float = 0.0
    boot: str = ""
    memory_kills: int = 0
    devices: tuple[str, ...] = ()
    tries: int = 0
    tried_from: int = 0
    settled: bool = False
    created: float = field(default_factory=time.time)
    started: float = 0.0
    stepping_since: float = 0.0
    stepping_from: int = 0
    ended: float = 0.0


@dataclass(frozen=True)
class Run:
    """One run's folder. Reading never fails on a half-written or older folder: what is missing is
    taken as not there yet. Of several processes that train it one writes; in the others `writes`
    is false, and what they would write is dropped."""

    folder: Path
    writes: bool = True

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def adapter(self) -> Path:
        return self.folder / "adapter"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def saving(self) -> Path:
        """Where a checkpoint is written before it gets its place."""
        return self.folder / "checkpoint.part"

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    def config(self) -> Config:
        """Its settings; those that another version wrote are read as far as they are known."""
        return Config.forgiving(read_settings(self.folder / "config.yaml"))[0]

    def config_problems(self) -> list[str]:
        return Config.forgiving(read_settings(self.folder / "config.yaml"))[1]

    def status(self) -> Status:
        """The state as it is: a worker that is gone can't be running, whatever the file says."""
        status = self.written_status()
        if status.state in ACTIVE and not is_alive(status.pid, status.pid_started):
            return interrupted(status)
        return status

    def written_status(self) -> Status:
        """What the status file says."""
        try:
            raw = json.loads((self.folder / "status.json").read_text(encoding="utf-8"))
            return _read_status(raw)
        except (OSError, ValueError, TypeError, RecursionError):
            return Status(state="failed", words="The run's status can't be read.",
                          remedy="Its folder may be damaged.", created=0.0)

    def written_at(self) -> int:
        """When the status was last written, in nanoseconds; 0 where it can't be read."""
        try:
            return (self.folder / "status.json").stat().st_mtime_ns
        except OSError:
            return 0

    def write_status(self, status: Status) -> Status:
        if self.writes:
            write_json(self.folder / "status.json", asdict(status))
        return status

    def update(self, **changes: Any) -> Status:
        return self.write_status(replace(self.status(), **changes))

    def metrics(self) -> list[dict[str, Any]]:
        return read_json_lines(self.folder / "metrics.jsonl")

    def effect(self) -> tuple[float, float] | None:
        """Held-out loss of the base model and of the adapter that is kept, where both are known:
        with early stopping that is the best one, else the last."""
        records = self.metrics()
        losses = {r["step"]: r["eval_loss"] for r in records if "eval_loss" in r}
        kept_by = self.config().kept_by
        name = BEST_BY.get(kept_by)
        return effect(losses, {r["step"]: r[name] for r in records if name in r}, kept_by)

    def forget_steps_after(self, step: int) -> None:
        """Drop measurements of steps that a resumed run will do again."""
        kept = [r for r in self.metrics() if r.get("step", 0) <= step]
        if self.writes:
            write_whole(self.folder / "metrics.jsonl",
                        "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in kept))

    def append_metrics(self, record: dict[str, Any]) -> None:
        if self.writes:
            append_json_line(self.folder / "metrics.jsonl", record)

    def write_facts(self, name: str, facts: dict[str, Any]) -> None:
        """data.json, environment.json: what was learned from, and with which versions."""
        if self.writes:
            write_json(self.folder / f"{name}.json", facts)

    def facts(self, name: str) -> dict[str, Any]:
        try:
            facts = json.loads((self.folder / f"{name}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        return facts if isinstance(facts, dict) else {}

    def notices(self, name: str) -> list[str]:
        """The sentences for a person among facts."""
        found = self.facts(name).get("notices")
        return [str(sentence) for sentence in found] if isinstance(found, list) else []

    def ask_to_stop(self, at_once: bool) -> None:
        write_whole(self.folder / "stop", "now" if at_once else "save")

    def stop_asked(self) -> str:
        """'' (no), 'save' or 'now'."""
        try:
            return (self.folder / "stop").read_text(encoding="utf-8")
        except OSError:
            return ""

    def withdraw_stop(self) -> None:
        (self.folder / "stop").unlink(missing_ok=True)

    def drop_unfinished_checkpoints(self) -> None:
        if self.writes:
            shutil.rmtree(self.saving, ignore_errors=True)

    def last_checkpoint(self) -> Path | None:
        """The newest checkpoint, not yet checked, or None."""
        return next(iter(list_checkpoints(self.checkpoints)), None)


def _read_status(raw: dict[str, Any]) -> Status:
    """TypeError or ValueError where it holds what no status does: a folder may come from anybody,
    and one that is damaged mustn't spoil the list of all."""
    kinds = {f.name: f.type for f in fields(Status)}
    status = Status(**{name: raw[name] for name in raw if name in kinds})
    status = replace(status, devices=tuple(status.devices))
    for name, kind in kinds.items():
        value = getattr(status, name)
        is_right = (isinstance(value, int | float) and math.isfinite(value)
                    if kind in (int, float) else isinstance(value, str) if kind is str else True)
        if not is_right:
            raise TypeError(f"{name} is {value!r}")
    return status


def interrupted(status: Status) -> Status:
    """The status of a run whose worker is gone without a last word."""
    words, remedy = why_gone(status.boot, status.memory_kills, status.step)
    return replace(status, state="interrupted", ended=status.ended or time.time(), phase="",
                   words=words, remedy=remedy)


def create(config: Config, runs: Path) -> Run:
    """A new run folder in state 'queued'. Its name tells when, what and on which model."""
    words = f"{Path(config.dataset.removeprefix('sample:')).stem}-{Path(config.base_model).name}"
    slug = re.sub(r"[^\w.]+", "-", words.replace("starter:", "")).strip("-.").lower()[:60]
    stem = f"{time.strftime('%Y%m%d-%H%M%S')}-{slug}"
    try:
        folder = _fresh_folder(runs, stem)
        write_whole(folder / "config.yaml", config.to_yaml())
        run = Run(folder)
        run.write_status(Status())
    except OSError as error:
        raise UserError(f"The run's folder can't be written in {runs}: {error.strerror}.",
                        "Free some disk space or choose another --data-folder, then start again."
                        ) from error
    return run


def _fresh_folder(runs: Path, stem: str) -> Path:
    for number in range(1, 1000):
        folder = runs / (stem if number == 1 else f"{stem}-{number}")
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            continue
        return folder
    raise OSError(0, "a thousand runs were started within one second")


def list_runs(runs: Path) -> list[Run]:
    """All runs, the newest first."""
    folders = [p for p in runs.iterdir() if (p / "config.yaml").is_file()] if runs.is_dir() else []
    return [Run(p) for p in sorted(folders, key=lambda p: p.name, reverse=True)]


def find_run(runs: Path, run_id: str) -> Run:
    folder = child(runs, run_id)
    if folder is None or not (folder / "config.yaml").is_file():
        raise UserError(f"There is no run '{run_id}'.", "Choose one from the Runs tab.")
    return Run(folder)


def adapter_folder(config: Config, runs: Path) -> str | None:
    """Where the adapter lies from which a run goes on: a folder's path or a run's name.
    UserError where it belongs to another base model."""
    if not config.adapter:
        return None
    folder = Path(config.adapter).expanduser()
    if not folder.is_absolute():
        origin = find_run(runs, config.adapter)
        if origin.config().base_model != config.base_model:
            raise UserError(
                f"The adapter of '{config.adapter}' was trained on "
                f"'{origin.config().base_model}', not on '{config.base_model}'.",
                "Choose that base model, or start without an adapter.")
        folder = origin.adapter
    if not (folder / "adapter_config.json").is_file():
        raise UserError(f"There is no adapter in '{folder}'.",
                        "Choose a finished run or a folder with adapter_config.json.")
    return str(folder)
