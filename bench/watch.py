"""What pages that watch a run cost its trainer. `python -m bench.watch`.

Trainer and server share one core, so that all the server does is taken from the trainer; the
watchers have another core, as they would have another machine."""

import argparse
import asyncio
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from bench.start_up import serve
from core.config import Config
from core.files import Folders, default_folders
from core.training.run import FINAL, Run, list_runs

WORK_CORE, WATCH_CORE = 0, 1
SETTLE_SECONDS = 2.0
RESAMPLES = 10_000
# The server closes what was idle for 5 s; a browser then opens another connection, as this does.
IDLE = httpx.Limits(keepalive_expiry=3.0)


@dataclass(frozen=True)
class Turn:
    """Seconds a step, seconds of processor time that the trainer took for one, and the server's
    share of the core that both work on."""

    step: float
    trainer: float
    server: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--watchers", type=int, default=20)
    parser.add_argument("--turns", type=int, default=10, help="pairs of alone and watched")
    parser.add_argument("--seconds", type=float, default=15.0, help="of a turn")
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="tunedesk-bench-"))
    os.sched_setaffinity(0, {WORK_CORE})  # what is started from here inherits it
    server, url = serve(home)
    try:
        run = _begin(home, default_folders(home).make())
        os.sched_setaffinity(0, {WATCH_CORE})
        _report(_measure(run, server.pid, url, options), options)
        run.ask_to_stop(at_once=True)
        while run.status().state not in FINAL:
            time.sleep(0.1)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()
        shutil.rmtree(home)


def _begin(home: Path, folders: Folders) -> Run:
    """A run of the starter model that has done its first steps."""
    starter = Path("build/test-home/models/SmolLM2-135M-Instruct").resolve()
    os.symlink(starter, folders.models / starter.name)
    config = Config(max_steps=100_000, batch_size=1, max_length=64, eval_rows=0,
                    save_every="never")
    (home / "settings.yaml").write_text(config.to_yaml())
    subprocess.run([sys.executable, "-c", (
        "import sys; from core.training import run; from core.config import load_yaml; "
        "from core.files import default_folders; from pathlib import Path; "
        "run.create(load_yaml(Path(sys.argv[1]) / 'settings.yaml'), "
        "default_folders(sys.argv[1]).runs)"), str(home)], check=True)
    run = list_runs(folders.runs)[0]
    while len(run.metrics()) < 5:
        assert run.status().state not in FINAL, run.status()
        time.sleep(0.2)
    return run


def _measure(run: Run, server: int, url: str, options: argparse.Namespace
             ) -> list[tuple[Turn, Turn]]:
    """Pairs of a turn alone and one watched, each pair beginning with the other one."""
    pairs = []
    for number in range(options.turns):
        turns = {}
        for watched in (False, True) if number % 2 else (True, False):
            if watched:
                with Watchers(url, run.id, options.watchers):
                    time.sleep(SETTLE_SECONDS)
                    turns[watched] = _turn(run, server, options.seconds)
            else:
                time.sleep(SETTLE_SECONDS)
                turns[watched] = _turn(run, server, options.seconds)
        pairs.append((turns[False], turns[True]))
        alone, seen = pairs[-1]
        print(f"turn {number + 1}: a step {alone.step:.4f} s alone, {seen.step:.4f} s watched; "
              f"trainer's time for it {alone.trainer:.4f}, {seen.trainer:.4f} s; server "
              f"{alone.server:.2%}, {seen.server:.2%} of the core", flush=True)
    return pairs


def _turn(run: Run, server: int, seconds: float) -> Turn:
    processes = [psutil.Process(pid) for pid in (run.status().pid, server)]
    first, before, began = run.metrics()[-1], [_used(p) for p in processes], time.monotonic()
    time.sleep(seconds)
    last, after, took = run.metrics()[-1], [_used(p) for p in processes], time.monotonic() - began
    steps = last["step"] - first["step"]
    trainer, served = (b - a for a, b in zip(before, after, strict=True))
    return Turn((last["time"] - first["time"]) / steps, trainer / steps, served / took)


def _used(process: psutil.Process) -> float:
    """Seconds of processor time so far, of this process without its children."""
    return sum(process.cpu_times()[:2])


def _report(pairs: list[tuple[Turn, Turn]], options: argparse.Namespace) -> None:
    print(f"\n{options.watchers} pages that watch, medians of {options.turns} turns of "
          f"{options.seconds:g} s with 95 % intervals by bootstrap:")
    for title, gaps in (
            ("a step takes longer by", [w.step / a.step - 1 for a, w in pairs]),
            ("the trainer's own time for a step grows by",
             [w.trainer / a.trainer - 1 for a, w in pairs]),
            ("the server takes more of the core by", [w.server - a.server for a, w in pairs])):
        draw = random.Random(0)
        medians = sorted(statistics.median(draw.choices(gaps, k=len(gaps)))
                         for _ in range(RESAMPLES))
        low, high = medians[int(0.025 * RESAMPLES)], medians[int(0.975 * RESAMPLES)]
        print(f"| {title} | {statistics.median(gaps):+.2%} | {low:+.2%} to {high:+.2%} |")


class Watchers:
    """Sessions that ask as the live view does: with the revision they show, when they are told."""

    def __init__(self, url: str, run_id: str, count: int):
        self._ends = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._watch(url, run_id, count)))

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_) -> None:
        self._ends.set()
        self._thread.join()

    async def _watch(self, url: str, run_id: str, count: int) -> None:
        async with httpx.AsyncClient(base_url=url, headers={"Origin": url}, timeout=30,
                                     limits=IDLE) as client:
            page = (await client.get("/config")).json()
            view = next(c["id"] for c in page["components"]
                        if c["props"].get("elem_id") == "run-view")

            async def one(number: int) -> None:
                await asyncio.sleep(number / count)
                revision = ""
                while not self._ends.is_set():
                    answer = await client.post("/gradio_api/component_server", json={
                        "data": [run_id, revision, f"watcher{number}"], "component_id": view,
                        "fn_name": "read_run", "session_hash": f"watcher{number}"})
                    answer.raise_for_status()
                    revision = answer.json()["revision"]
                    await asyncio.sleep(answer.json()["wait"])

            await asyncio.gather(*(one(number) for number in range(count)))


if __name__ == "__main__":
    main()
