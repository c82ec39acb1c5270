"""How long a run takes from the start of its process to its first step, its weights in main memory.

    python -m bench.first_step

Every line is a real run, started as a person starts one without a page.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from bench.two_gpus import ROOT, Bench, roomy, say
from core.training.run import list_runs

STEPS, PATIENCE = 4, 240.0  # seconds that a run may take
COMPILED = {"compile_layers": "always"}
CONTESTANTS = (("as it is set: compiled once that pays", {}, "first"),
               ("least memory", {"memory": "least"}, "first"),
               ("compiled before the first step, nothing in the cache", COMPILED, "kept"),
               ("the same again, from the cache", COMPILED, "kept"),
               ("least memory, compiled, nothing in the cache",
                COMPILED | {"memory": "least"}, "least"),
               ("the same again, from the cache", COMPILED | {"memory": "least"}, "least"))


def main() -> None:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=roomy()) as place:
        bench = Bench(Path(place), "cuda", began, STEPS)
        say(f"torch {torch.__version__}; {bench.machine()}; deepseek-llm-7b's shape, nf4")
        bench.make("deepseek-ai/deepseek-llm-7b-base")
        torch.cuda.empty_cache()
        say("| run | process start to first step, s | of these until the trainer was at work | "
            "second step after | how it ended |\n|---|---|---|---|---|")
        for number, (title, settings, cache) in enumerate(CONTESTANTS):
            _measure(bench, title, settings, f"home{number}", Path(place) / cache)


def _measure(bench: Bench, title: str, settings: dict, name: str, cache: Path) -> None:
    home = bench.folders(name).home
    path = home / "settings.yaml"
    path.write_text(bench.config(base_weights="4bit", **settings).to_yaml())
    caches = {"TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor"),
              "TRITON_CACHE_DIR": str(cache / "triton")}
    began = time.time()
    done = subprocess.run(
        [sys.executable, "app.py", "--data-folder", str(home), "train", str(path)], cwd=ROOT,
        env=os.environ | caches, capture_output=True, text=True, timeout=PATIENCE, check=False)
    run = next(iter(list_runs(home / "runs")), None)
    records = [r for r in run.metrics() if "loss" in r] if run else []
    if len(records) < 2:
        say(f"| {title} | no steps: {(done.stdout + done.stderr)[-600:]} | | | |")
        return
    status = run.status()
    say(f"| {title} | {records[0]['time'] - began:.1f} | {status.stepping_since - began:.1f} | "
        f"{records[1]['time'] - records[0]['time']:.1f} | {status.state} |")


if __name__ == "__main__":
    main()
