"""How long a run takes from the start of its process to its first step, its weights in main memory.

    python -m bench.first_step

Every line is a real run, started as a person starts one without a page.
"""

import argparse
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from bench.two_gpus import ROOT, Bench, end, roomy, say
from core.training.queue import Queue
from core.training.run import FINAL, Run, list_runs

STEPS, PATIENCE = 4, 240.0  # seconds that a run may take
READY_AFTER = 25.0
COMPILED = {"compile_layers": "always"}
CONTESTANTS = {
    "ready": ("as it is set, Start while a trainer stands ready", {}, ""),
    "set": ("as it is set: compiled once that pays", {}, "set"),
    "least": ("least memory", {"memory": "least"}, "least"),
    "cold": ("compiled before the first step, nothing in the cache", COMPILED, "kept"),
    "warm": ("the same, from the cache of the run before", COMPILED, "kept"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(CONTESTANTS), help="in this order")
    only = parser.parse_args().only.split(",")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=roomy()) as place:
        bench = Bench(Path(place), "cuda", began, STEPS)
        say(f"torch {torch.__version__}; {bench.machine()}; deepseek-llm-7b's shape, nf4")
        bench.make("deepseek-ai/deepseek-llm-7b-base")
        torch.cuda.empty_cache()
        say("| run | process start to first step, s | second step after | its phases, each from "
            "second |\n|---|---|---|---|")
        for name in only:
            title, settings, cache = CONTESTANTS[name]
            if name == "ready":
                _measure_ready(bench, title)
            else:
                _measure(bench, title, settings, name, Path(place) / cache)


def _measure(bench: Bench, title: str, settings: dict, name: str, cache: Path) -> None:
    home = bench.folders(name).home
    path = home / "settings.yaml"
    path.write_text(bench.config(base_weights="4bit", **settings).to_yaml())
    caches = {"TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor"),
              "TRITON_CACHE_DIR": str(cache / "triton")}
    began = time.time()
    with (home / "out").open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "app.py", "--data-folder", str(home), "train", str(path)], cwd=ROOT,
            env=os.environ | caches, stdout=out, stderr=out)
    phases = _watch(home, process, began)
    run = next(iter(list_runs(home / "runs")), None)
    if run is None:
        process.kill()
        say(f"| {title} | did not begin: {(home / 'out').read_text()[-600:]} | |")
        return
    end(process, run)
    _tell(title, run, began, phases)


def _measure_ready(bench: Bench, title: str) -> None:
    """As the page does it: a trainer's imports are done before Start."""
    folders = bench.folders("ready")
    queue = Queue(folders)
    queue.start()
    try:
        time.sleep(READY_AFTER)
        began = time.time()
        run = queue.submit(bench.config(base_weights="4bit"))
        phases = _watch(folders.home, None, began)
        _tell(title, run, began, phases)
    finally:
        queue.close()


def _watch(home: Path, process: subprocess.Popen | None, began: float) -> dict[str, float]:
    """Until the run has ended: when each of its phases was first seen, seconds from the start."""
    phases: dict[str, float] = {}
    while time.time() < began + PATIENCE:
        run = next(iter(list_runs(home / "runs")), None)
        if run is not None:
            status = run.status()
            words = (status.phase or status.words).partition(",")[0]
            phases.setdefault(words, time.time() - began)
            if status.state in FINAL:
                break
        if process is not None and process.poll() is not None:
            break
        time.sleep(0.05)
    return phases


def _tell(title: str, run: Run, began: float, phases: dict[str, float]) -> None:
    records = [r for r in run.metrics() if "loss" in r]
    status = run.status()
    told = "; ".join(f"{words} {seconds:.1f}" for words, seconds in phases.items())
    first, second = ([r["time"] - began for r in records] + [math.nan] * 2)[:2]
    say(f"| {title} | {first:.1f} | {second - first:.1f} | {told}; {status.detail[-400:]} |")


if __name__ == "__main__":
    main()
