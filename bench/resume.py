"""Losses of an interrupted and resumed run beside those of one that never stopped, as a table:
`python -m bench.resume`. On the CPU they are equal to the last bit."""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from core.config import Config
from core.files import default_folders
from core.training import alive, checkpoint
from core.training.run import FINAL, Run, create
from tests.conftest import make_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--base-model", default="", help="a folder or id; a tiny one if left out")
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="tunedesk-bench-"))
    try:
        model = options.base_model or str(make_model(home / "tiny"))
        _compare(home, model, options.kills)
    finally:
        shutil.rmtree(home)


def _compare(home: Path, model: str, kills: int) -> None:
    folders = default_folders(home / "data").make()
    config = Config(dataset="sample:film-reviews", base_model=model, train_rows=60, eval_rows=12,
                    max_length=192, batch_size=2, gradient_accumulation=3, lora_dropout=0.2,
                    learning_rate=2e-3, epochs=2, eval_every="steps", eval_steps=4,
                    early_stopping_patience=3, save_total_limit=2)
    whole = create(config, folders.runs)
    _work(whole)
    killed = create(replace(config), folders.runs)
    met = _work_with_kills(killed, kills)
    print(f"{whole.status().words}\n{kills} kills, at steps {', '.join(map(str, met))}; dropout "
          "0.2, 3 passes a step, early stopping, checkpoints each 4 steps\n")
    print("| step | loss, never stopped | loss, killed and resumed | held out | held out, resumed "
          "|\n|---|---|---|---|---|")
    mine, other = _by_step(killed), _by_step(whole)
    for step in sorted(mine.keys() | other.keys()):
        print(f"| {step} | " + " | ".join(
            f"{run.get(step, {}).get(name, ''):}" for name in ("loss", "eval_loss")
            for run in (other, mine)) + " |")
    if mine == other:
        print("\nAll equal, bit for bit.")
        return
    apart = max(abs(mine[step][name] / value - 1) for step, row in other.items()
                for name, value in row.items())
    print(f"\nNot equal: at most {apart:.2e} apart, relatively.")
    sys.exit(1)


def _by_step(run: Run) -> dict[int, dict[str, float]]:
    found: dict[int, dict[str, float]] = {}
    for record in run.metrics():
        found.setdefault(record["step"], {}).update(
            {name: record[name] for name in ("loss", "eval_loss") if name in record})
    return found


def _start(run: Run) -> subprocess.Popen:
    worker = subprocess.Popen([sys.executable, "-m", "core.training.worker"],
                              stdin=subprocess.PIPE, text=True, start_new_session=True)
    run.update(state="starting", pid=worker.pid, pid_started=alive.start_time(worker.pid),
               boot=alive.boot_id(), memory_kills=alive.memory_kills(), started=time.time())
    worker.stdin.write(f"{run.folder}\n")
    worker.stdin.close()
    return worker


def _work(run: Run) -> None:
    _start(run).wait()
    assert run.status().state == "finished", run.status()


def _work_with_kills(run: Run, kills: int) -> list[int]:
    """Kill the worker one step behind a new checkpoint, so often; then let it end."""
    met: list[int] = []
    for _ in range(kills):
        worker, before = _start(run), checkpoint.step_of(run.last_checkpoint() or run.folder)
        while run.status().state not in FINAL:
            newest = checkpoint.step_of(run.last_checkpoint() or run.folder)
            steps = [r["step"] for r in run.metrics() if "loss" in r]
            if newest > before and steps and steps[-1] > newest:
                break
            time.sleep(0.005)
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
        met.append(max(r["step"] for r in run.metrics()))
    _work(run)
    return met


if __name__ == "__main__":
    main()
