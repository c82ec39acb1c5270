"""A run's folder to what the live view draws: tiles, curves, log."""

import json
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.config import Config
from core.errors import UserError
from core.files import read_json_lines
from core.settings.progress import BEST_BY
from core.training.metrics import Measured, Reader
from core.training.names import name_of
from core.training.overfitting import overfitting
from core.training.quick import outlook
from core.training.run import FINAL, Run, Status, find_run
from ui import words

MOST_POINTS = 600
LOG_LINES = 200
VIEWS_KEPT = 8
SAMPLES = 20
CURVES = ("loss", "learning_rate", "grad_norm", *BEST_BY.values())
ASKS_PER_SECOND = 4  # of all pages together; more would take time from the trainer
LONGEST_WAIT = 10.0  # seconds
FORGOTTEN_SECONDS = 15.0  # a page that hasn't asked for so long is closed; above LONGEST_WAIT


def reader(runs: Path, measurements: Reader) -> Callable[[list[str]], dict[str, Any]]:
    """The server function of the live view: [run id, revision that is shown, name of the page] to
    {"revision", "wait": seconds until the page asks again} and, when something changed, "view": its
    JSON. A view is made once, however many pages ask for it, and as a text, so that Gradio doesn't
    walk through its thousands of points for each page."""
    made: OrderedDict[tuple[str, str], str] = OrderedDict()
    pages: dict[str, float] = {}
    lock = threading.Lock()

    def read_run(asked: list[str]) -> dict[str, Any]:
        run_id, revision, page = asked
        now = time.monotonic()
        with lock:
            pages[page] = now
            for old in [name for name, at in pages.items() if now - at > FORGOTTEN_SECONDS]:
                del pages[old]
            answer = {"wait": min(max(1.0, len(pages) / ASKS_PER_SECOND), LONGEST_WAIT)}
        try:
            run = find_run(runs, run_id)
        except UserError as error:
            return answer | {"revision": "gone", "view": json.dumps(_gone(run_id, error))}
        answer["revision"] = current = _revision(run)
        if current == revision:
            return answer
        with lock:
            if (run_id, current) not in made:
                made[run_id, current] = json.dumps(view(run, current, measurements))
                if len(made) > VIEWS_KEPT:
                    made.popitem(last=False)
            return answer | {"view": made[run_id, current]}

    return read_run


def _gone(run_id: str, error: UserError) -> dict[str, Any]:
    return {"revision": "gone", "run_id": run_id, "name": run_id, "subtitle": "", "state": "failed",
            "words": error.problem, "remedy": error.remedy, "detail": "", "phase": "", "step": 0,
            "total_steps": 0, "epoch": 0, "epochs": 0, "elapsed_seconds": 0, "left_seconds": None,
            "tiles": [], "series": {name: [] for name in CURVES}, "log": [], "samples": [],
            "notices": [], "warnings": []}


def _revision(run: Run) -> str:
    """Changes whenever a file that the view reads has changed, or the worker died."""
    sizes = [path.stat().st_size if path.exists() else 0
             for path in (run.folder / "metrics.jsonl", run.log)]
    return f"{run.written_at()}-{sizes[0]}-{sizes[1]}-{run.status().state}"


def view(run: Run, revision: str, measurements: Reader) -> dict[str, Any]:
    """Everything the live view shows; numbers that aren't finite arrive as None."""
    status = run.status()
    try:
        config = run.config()
    except UserError as error:
        return _gone(run.id, error)
    with measurements.read(run.folder) as measured:
        tiles = _tiles(measured, config)
        series = {name: measured.curves[name].thinned(MOST_POINTS) for name in CURVES}
        by_heart = overfitting([*measured.held_out, *measured.curves["loss"].records("loss")])
    until = status.ended if status.state in FINAL else time.time()
    return {
        "revision": revision, "run_id": run.id, "name": name_of(run),
        "subtitle": f"{words.model_name(config.base_model)} · LoRA r {config.lora_r}",
        "state": status.state, "words": status.words, "remedy": status.remedy,
        "detail": status.detail, "phase": status.phase, "step": status.step,
        "total_steps": status.total_steps, "epoch": status.epoch, "epochs": config.epochs,
        "elapsed_seconds": max(0.0, until - status.started) if status.started else 0,
        "left_seconds": _left(status), "tiles": tiles, "series": series,
        "log": _last_lines(run.log), "samples": _samples(run), "notices": _notices(run),
        "warnings": [*filter(None, [by_heart]), *_warnings(run)]}


def _left(status: Status) -> float | None:
    """Seconds to the last step at the speed so far; None where that isn't known."""
    done = status.step - status.stepping_from
    if status.state != "running" or done <= 0 or not status.stepping_since:
        return None
    spent = time.time() - status.stepping_since
    return spent / done * (status.total_steps - status.step) if spent > 0 else None


def _tiles(measured: Measured, config: Config) -> list[dict[str, Any]]:
    train, held = list(measured.recent), measured.held_out
    tiles = []
    if train:
        recent = train[-11]["loss"] if len(train) > 10 else train[0]["loss"]
        change = train[-1]["loss"] - recent
        tiles.append(_tile("loss", "Train loss", f"{train[-1]['loss']:.3f}",
                           note=f"{'↓' if change <= 0 else '↑'} {abs(change):.3f} recently"))
    if held:
        best = min(held, key=lambda r: r["eval_loss"])
        before = f"{held[0]['eval_loss']:.3f} before" if held[0]["step"] == 0 else ""
        tiles.append(_tile("eval_loss", "Held-out loss", f"{held[-1]['eval_loss']:.3f}",
                           note=before or f"best {best['eval_loss']:.3f} at {best['step']}"))
    if train:
        last = train[-1]
        tiles += [_tile("speed", "Speed", words.count(_typical_speed(train)), "tokens/s"),
                  *_memory_tile(last),
                  _tile("learning_rate", "Learning rate", f"{last.get('learning_rate', 0):.2e}",
                        note=f"{config.lr_scheduler}, {config.warmup_ratio:.0%} warm-up"),
                  _tile("grad_norm", "Gradient norm", f"{last.get('grad_norm', 0):.2f}",
                        note=f"clipped at {config.max_grad_norm:g}" if config.max_grad_norm
                        else "not clipped")]
    return tiles


def _tile(key: str, label: str, value: str, unit: str = "", note: str = "",
          share: float | None = None) -> dict[str, Any]:
    return {"key": key, "label": label, "value": value, "unit": unit, "note": note, "share": share}


def _typical_speed(train: list[dict]) -> float:
    """Median of the last logs, so that one slow step doesn't jump about."""
    speeds = sorted(r["tokens_per_second"] for r in train[-9:] if "tokens_per_second" in r)
    return speeds[len(speeds) // 2] if speeds else 0.0


def _memory_tile(last: dict) -> list[dict[str, Any]]:
    ram = words.memory(last["ram_bytes"]) if "ram_bytes" in last else ""
    if "gpu_bytes" in last:
        return [_tile("memory", "GPU memory, peak", words.memory(last["gpu_bytes"]),
                      note=f"RAM {ram}")]
    return [_tile("memory", "RAM", ram)] if ram else []


def _warnings(run: Run) -> list[str]:
    """What a person should know of a run that went, or goes, another way than they think."""
    return [*run.config_problems(),
            *(sentence for name in ("forewarned", "resumed", "passes", "trackers", "verdict")
              for sentence in run.notices(name))]


def _notices(run: Run) -> list[str]:
    found = _quick_test(run)
    report = run.facts("data").get("train")
    if not report:
        return found
    if report["cut_rows"]:
        found.append(f"{report['cut_rows']:,} rows are longer than the max length; their ends, "
                     f"with {report['lost_learned_tokens']:,} learned tokens, are cut off.")
    if report["empty_rows"] or report["dropped_rows"]:
        found.append(f"{report['empty_rows'] + report['dropped_rows']:,} rows are left out: "
                     f"{report['empty_rows']:,} teach nothing, {report['dropped_rows']:,} are too "
                     "long.")
    return found


def _quick_test(run: Run) -> list[str]:
    """What a quick test took, and what the long run will: time, steps and memory in one place."""
    if (told := outlook(run)) is None:
        return []
    memory = f", at most {words.memory(told.memory_bytes)}" if told.memory_bytes else ""
    return [f"This quick test learned {told.rows:,} of {told.of_rows:,} rows in "
            f"{words.duration(told.seconds)}{memory}. The long run takes {told.long_steps:,} steps "
            f"in place of {told.steps:,}, at this speed about {words.duration(told.long_seconds)}, "
            "and as much memory."]


def _samples(run: Run) -> list[dict[str, Any]]:
    """What the model answered at its last evaluation."""
    records = read_json_lines(run.folder / "samples.jsonl")
    last = max((r.get("step", 0) for r in records), default=0)
    # A resumed run may have answered twice at one step; the later answer counts.
    return list({r["prompt"]: r for r in records if r.get("step") == last}.values())[:SAMPLES]


def _last_lines(log: Path) -> list[str]:
    """The end of the log, read from at most its last 64 kB."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 65_536))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return []
    return list(deque(text.splitlines(), LOG_LINES))
